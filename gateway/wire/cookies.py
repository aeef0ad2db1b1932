"""Picking the gateway's cookies out of the raw Cookie bytes, and everything else for the upstream.

Split on ``;`` only, trim space and tab only, exact names, no unquoting; two different values of one
name mean that there is none (RFC 6265bis §5.8.3 and cookie tossing). General cookie parsers can be
made to forge a ``__Host-`` cookie from a neighbour's value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gateway.core.cookie import MAX_PARTS
from gateway.wire.grammar import DIGITS, OWS, consists_of


class PickedCookies:
    """The cookies of one request, sorted into ours and the upstream's."""

    __slots__ = ("kept", "others", "token")

    def __init__(self, token: str | None, kept: bytes, others: bytes) -> None:
        self.token = token
        """The session token, put together from its parts; None if there is none or it is ambiguous."""
        self.kept = kept
        """Our other cookies, for the control plane, as a Cookie value."""
        self.others = others
        """What an upstream may see, as a Cookie value."""


NO_COOKIES: Final = PickedCookies(None, b"", b"")


class CookiePicker:
    """Knows the names of the gateway's cookies."""

    def __init__(self, session_name: str, own_prefixes: Iterable[str]) -> None:
        self._session = session_name.encode("ascii")
        self._part = self._session + b"_"
        self._own = tuple(name.encode("ascii") for name in own_prefixes)
        self._starts = (self._session, *self._own)
        """What the names of all our cookies begin with; some others' do too."""
        self._bare = _without_prefix(self._session.lower())
        self._own_bare = tuple(dict.fromkeys(_without_prefix(name.lower()) for name in self._own))

    def claims(self, name: bytes) -> bool:
        """Tell whether an upstream may not set a cookie of this name.

        Compared without regard to case, as browsers compare the prefixes (RFC 6265bis §4.1.3), and
        with parts, with and without a prefix, so that no app tosses a cookie that could be taken for ours.
        """
        bare = _without_prefix(name.lower())
        if bare.startswith(self._own_bare):
            return True
        rest = bare[len(self._bare) :] if bare.startswith(self._bare) else b"?"
        return not rest or (rest.startswith(b"_") and consists_of(rest[1:], DIGITS))

    def _is_session(self, name: bytes) -> bool:
        if name == self._session:
            return True
        return name.startswith(self._part) and consists_of(name[len(self._part) :], DIGITS)

    def pick(self, lines: Sequence[bytes]) -> PickedCookies:
        """Sort the pairs of all Cookie lines of one request."""
        if not lines:
            return NO_COOKIES
        if len(lines) == 1 and (picked := self._pick_usual(lines[0])) is not None:
            return picked
        session: dict[bytes, bytes | None] = {}
        kept: list[bytes] = []
        others: list[bytes] = []
        starts = self._starts
        for line in lines:
            for piece in line.split(b";"):
                pair = piece.strip(OWS)
                if not pair.startswith(starts):
                    if pair:
                        others.append(pair)
                    continue
                name, equals, value = pair.partition(b"=")
                name = name.rstrip(OWS)
                if equals and self._is_session(name):
                    value = value.lstrip(OWS)
                    session[name] = value if session.get(name, value) == value else None
                elif name.startswith(self._own):
                    kept.append(pair)
                else:
                    others.append(pair)
        token = self._token(session) if session else None
        return PickedCookies(token, b"; ".join(kept), b"; ".join(others))

    def _pick_usual(self, line: bytes) -> PickedCookies | None:
        """Return the same for a line that names the session cookie once, whole, and no other of ours; else None.

        A browser's is like that, and it costs a third then. What others see stays as it was sent.
        """
        name = self._session
        start = line.find(name)
        after = start + len(name)
        # With one or two before it there is no pair; nor can mypyc slice [-1:1], as it would have to with one.
        if start in {-1, 1, 2} or (start and line[start - 2 : start] != b"; ") or line[after : after + 1] != b"=":
            return None
        end = line.find(b";", after)
        if end < 0:
            value, others = line[after + 1 :], line[: start - 2] if start else b""
        elif line[end : end + 2] != b"; ":
            return None
        else:
            value, others = line[after + 1 : end], line[: start - 2] + line[end:] if start else line[end + 2 :]
        if others and (others.find(name) >= 0 or self._names_own(others)):
            return None
        if not value or not value.isascii() or value.strip(OWS) != value or value[1:2] == b".":
            return None
        return PickedCookies(value.decode("ascii"), b"", others)

    def _names_own(self, pairs: bytes) -> bool:
        for bare in self._own_bare:  # noqa: SIM110 - a generator costs more than it looks through
            if pairs.find(bare) >= 0:
                return True
        return False

    def _token(self, found: Mapping[bytes, bytes | None]) -> str | None:
        first = found.get(self._session)
        if not first or not first.isascii():
            return None
        if first[1:2] == b"." and consists_of(count := first[:1], DIGITS):
            if not 2 <= int(count) <= MAX_PARTS:
                return None
            parts = [first[2:]]
            for index in range(1, int(count)):
                part = found.get(self._part + str(index).encode("ascii"))
                if not part or not part.isascii():
                    return None
                parts.append(part)
            if not parts[0]:
                return None
            first = b"".join(parts)
        return first.decode("ascii")


def _without_prefix(name: bytes) -> bytes:
    return name.removeprefix(b"__host-").removeprefix(b"__secure-")
