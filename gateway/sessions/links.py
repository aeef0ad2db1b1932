"""Which sessions are one person's in one browser: where one took the place of a token of another at a login.

Who ends one of them ends them all. Known of a session are its handle, its end, and the marks of its login.
"""

from __future__ import annotations

from collections.abc import Iterable


class Links:
    """Handles with their neighbours, and when a link matters no more: seconds since the epoch."""

    def __init__(self) -> None:
        self._neighbours: dict[str, dict[str, float]] = {}
        self._marked: dict[str, dict[str, float]] = {}

    def add(self, one: str, other: str, until: float) -> None:
        """Link two sessions."""
        for handle, neighbour in ((one, other), (other, one)):
            self._neighbours.setdefault(handle, {})[neighbour] = until

    def add_mark(self, mark: str, handle: str, until: float) -> None:
        """Note a mark of the login of a session that is linked."""
        self._marked.setdefault(mark, {})[handle] = until

    def around(self, handles: Iterable[str]) -> list[tuple[str, float]]:
        """Return every session that is linked with one of these, over others too, and how long that matters."""
        if not self._neighbours:
            return []
        seen = set(handles)
        waiting, found = list(seen), list[tuple[str, float]]()
        while waiting:
            for handle, until in self._neighbours.get(waiting.pop(), {}).items():
                if handle not in seen:
                    seen.add(handle)
                    waiting.append(handle)
                    found.append((handle, until))
        return found

    def of_marks(self, marks: Iterable[str]) -> list[tuple[str, float]]:
        """Return every linked session whose login bears one of these marks, and what is around them."""
        if not self._marked:
            return []
        marked: dict[str, float] = {}
        for mark in marks:
            marked.update(self._marked.get(mark, {}))
        return [*marked.items(), *self.around(marked)]

    def prune(self, limit: float) -> None:
        """Forget what mattered until ``limit`` only."""
        for table in (self._neighbours, self._marked):
            for name, entries in list(table.items()):
                kept = {handle: until for handle, until in entries.items() if until > limit}
                if kept:
                    table[name] = kept
                else:
                    del table[name]
