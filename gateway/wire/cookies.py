"""Picking the gateway's cookies out of the raw Cookie bytes, and everything else for the upstream.

Split on ``;`` only, trim space and tab only, exact names, no unquoting: general cookie parsers can be made to
forge a ``__Host-`` cookie from a neighbour's value. Ours are exactly the names that this configuration sets. Where
the session's name comes with several values, whoever has the keys decides which is ours (see `PickedCookies`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.core.cookie import HELPER_COOKIES, MAX_PARTS, TRANSFER_COOKIE_START, CookiePolicy, is_transfer_rest
from gateway.wire.grammar import DIGITS, OWS, consists_of

MAX_CANDIDATES: Final = 8
"""Tokens of one request that are looked at; a browser whose sites toss more is told nothing by us."""
OWN_STEM: Final = b"gateway_"
"""What the names of all our cookies but a renamed session hold."""


class PickedCookies:
    """The cookies of one request, sorted into ours and the upstream's."""

    __slots__ = ("ambiguous", "candidates", "kept", "others", "token")

    def __init__(self, token: str | None, kept: bytes, others: bytes, candidates: tuple[str, ...] = ()) -> None:
        self.token = token
        """The session token, put together from its parts; None if there is none, or more than one."""
        self.kept = kept
        """Our other cookies, for the control plane, as a Cookie value."""
        self.others = others
        """What an upstream may see, as a Cookie value."""
        self.candidates = candidates
        """Where the session's cookies have several values, the tokens that they make, `MAX_CANDIDATES` at most."""
        self.ambiguous = False
        """Whether several of them are ours, so that none counts."""

    def settle(self, ours: Sequence[str]) -> None:
        """Take the candidate that is the gateway's own, expired or not; of two, none counts (cookie tossing)."""
        self.token = ours[0] if len(ours) == 1 else None
        self.ambiguous = len(ours) > 1


NO_COOKIES: Final = PickedCookies(None, b"", b"")


class CookiePicker:
    """Knows the names of the gateway's cookies under one configuration."""

    def __init__(self, policy: CookiePolicy) -> None:
        self._session = policy.full_name.encode("ascii")
        names = [policy.part_name(index).encode("ascii") for index in range(policy.most_parts)]
        self._parts = {name: index for index, name in enumerate(names)}
        helpers = [CookiePolicy(name=name, secure=policy.secure).full_name for name in HELPER_COOKIES]
        self._helpers = frozenset(name.encode("ascii") for name in helpers)
        self._transfer = CookiePolicy(name=TRANSFER_COOKIE_START, secure=policy.secure).full_name.encode("ascii")

    def claims(self, name: bytes) -> bool:
        """Tell whether a cookie of this name is the gateway's own, so that no upstream may set it."""
        return name in self._parts or self._is_helper(name)

    def _is_helper(self, name: bytes) -> bool:
        if name in self._helpers:
            return True
        if not name.startswith(self._transfer):
            return False
        return is_transfer_rest(name[len(self._transfer) :].decode("latin-1"))

    def pick(self, lines: Sequence[bytes]) -> PickedCookies:
        """Sort the pairs of all Cookie lines of one request."""
        if not lines:
            return NO_COOKIES
        if len(lines) == 1 and (picked := self._pick_usual(lines[0])) is not None:
            return picked
        session: dict[int, list[bytes]] = {}
        kept: list[bytes] = []
        others: list[bytes] = []
        for line in lines:
            for piece in line.split(b";"):
                pair = piece.strip(OWS)
                name, equals, value = pair.partition(b"=")
                name = name.rstrip(OWS)
                index = self._parts.get(name, -1) if equals else -1
                if index >= 0:
                    values = session.setdefault(index, [])
                    value = value.lstrip(OWS)
                    # No more than can be looked at: what comes with a request must cost little to sort.
                    if value and len(values) < MAX_CANDIDATES and value not in values and value.isascii():
                        values.append(value)
                elif self._is_helper(name):
                    kept.append(pair)
                elif pair:
                    others.append(pair)
        found = _tokens(session)
        token = found[0] if len(found) == 1 else None
        candidates = tuple(found) if len(found) > 1 else ()
        return PickedCookies(token, b"; ".join(kept), b"; ".join(others), candidates)

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
        if others and (others.find(name) >= 0 or others.find(OWN_STEM) >= 0):
            return None
        if not value or not value.isascii() or value.strip(OWS) != value or value[1:2] == b".":
            return None
        return PickedCookies(value.decode("ascii"), b"", others)


def _tokens(found: dict[int, list[bytes]]) -> list[str]:
    """Return the different tokens that the values of the session's cookies make, `MAX_CANDIDATES` at most."""
    tokens: list[str] = []
    for first in found.get(0, ()):
        for token in _put_together(first, found):
            if token not in tokens:
                tokens.append(token)
            if len(tokens) == MAX_CANDIDATES:
                return tokens
    return tokens


def _put_together(first: bytes, found: dict[int, list[bytes]]) -> list[str]:
    """Return what a first value makes with the other parts, where it says that there are some."""
    if first[1:2] != b"." or not consists_of(count := first[:1], DIGITS):
        return [first.decode("ascii")]
    if not 2 <= int(count) <= MAX_PARTS or len(first) == 2:
        return []
    made = [first[2:]]
    for index in range(1, int(count)):
        made = [start + part for start in made for part in found.get(index, ())][:MAX_CANDIDATES]
    return [token.decode("ascii") for token in made]
