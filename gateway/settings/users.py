"""The users file: names, password hashes, groups. It knows no ``${…}``, for hashes are full of ``$``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gateway.core.local_user import LocalUser
from gateway.errors import ConfigError
from gateway.settings import fields as f
from gateway.settings.document import read_document
from gateway.settings.part import Part
from gateway.settings.reading import read_file
from gateway.settings.validation import validate

MAX_BYTES = 16 * 1024 * 1024


class UserPart(Part):
    """One user."""

    password: f.PasswordHash
    """An argon2id hash, from ``gateway hash-password``."""
    name: f.OptionalText = ""
    """The name that people know."""
    email: f.Email = ""
    """The address; compared and passed on in lower case."""
    groups: list[f.GroupName] = Field(default_factory=list)
    """Groups, for rules and for upstreams."""
    disabled: f.Switch = False
    """Whether logging in is refused."""


class UsersFile(Part):
    """The users who log in with a password."""

    users: dict[f.UserName, UserPart]
    """Users by the name they log in with."""


def load_users(path: Path) -> dict[str, LocalUser]:
    """Read the users file at ``path``.

    Raises ConfigError with every problem of the file; no text of one holds a hash.
    """
    return parse_users(read_file(path, MAX_BYTES), path)


def parse_users(content: bytes, path: Path) -> dict[str, LocalUser]:
    """Return the users in a file's content; ``path`` is its name in messages."""
    document = read_document(content, str(path))
    found, draft = validate(document, UsersFile)
    if found or not draft:
        raise ConfigError(document.problems(found))
    return {
        user: LocalUser(
            user=user,
            password_hash=entry.password,
            name=entry.name,
            email=entry.email,
            groups=tuple(entry.groups),
            disabled=entry.disabled,
            where=document.where(("users", user), at_key=True),
        )
        for user, entry in draft.config.users.items()
    }
