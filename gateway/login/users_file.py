"""The users file on disk: noticing that it changed, and putting a new hash into it without losing a comment."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

Stamp = tuple[int, int, int, int]


class UsersFile:
    """One file, known by device, inode, time and size.

    Those are polled: inotify does not see that a file mounted by itself was replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: Stamp | None = None

    def changed(self) -> bool:
        """Tell whether the file is another than `mark_read` saw, and take note of what it is now.

        So a change is told once; a file that cannot be seen counts as one more state of it.
        """
        now = self._stamp()
        if now == self._read:
            return False
        self._read = now
        return True

    def mark_read(self) -> None:
        """Take note of what the file is now. To be called before it is read: then no change is missed."""
        self._read = self._stamp()

    def _stamp(self) -> Stamp | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def replace_text(self, old: str, new: str) -> bool:
        """Put ``new`` in the place of ``old``, atomically, with the same mode and owner.

        Returns False, and changes nothing, where the file was changed since it was read or holds
        ``old`` not exactly once. Raises OSError where it cannot be written.
        """
        # A symbolic link stays one: what it leads to is replaced.
        path = self.path.resolve(strict=True)
        content = path.read_bytes()
        if self._read is None or self._stamp() != self._read or content.count(old.encode()) != 1:
            return False
        if not os.access(path, os.W_OK):
            # Replacing asks the directory's leave only; a read-only file says that its owner means it.
            raise PermissionError(f"{path} is read-only")
        copy = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            _write_like(copy, content.replace(old.encode(), new.encode()), path.stat())
            if self._stamp() != self._read:
                return False
            copy.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                copy.unlink()
        self.mark_read()
        _sync_directory(path.parent)
        return True


def _write_like(copy: Path, content: bytes, like: os.stat_result) -> None:
    """Write a new file with the mode and owner of another, down to the disk."""
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(file.fileno(), like.st_uid, like.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
