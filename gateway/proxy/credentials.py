"""What programs send to prove who they are: which credential of a request counts, and what is known of it.

Whoever verifies them is asked once; the answer is remembered under a keyed hash, so that no credential
lies in this memory. It is as bounded as that of sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from gateway.core.programs import API_KEY, BASIC, KEY_PREFIX, Credential, Refused, Verdict, Verified, Verify
from gateway.core.reasons import BAD_HEADER, CROSS_SITE
from gateway.core.session import Session
from gateway.errors import GatewayError, RequestError
from gateway.sessions.recent import RecentSessions
from gateway.sessions.store import Opened
from gateway.wire.authorization import challenges, is_token68, split_authorization
from gateway.wire.head import RequestHead

MAX_ASKED: Final = 512
"""Questions under way at once; beyond: 503."""
MAX_REFUSED: Final = 4096
REFUSED_TIME: Final = 5.0
"""Seconds for which a refusal is remembered."""
RETRY_SECONDS: Final = 5
OTHER_SITES: Final = frozenset({b"cross-site", b"same-site"})


async def verify_nothing(_: Credential) -> Verdict:
    """Refuse every credential: there is nobody to ask."""
    return Refused(401, "no credentials are verified here")


class Accepts:
    """What one route accepts from programs, prepared."""

    __slots__ = ("api_keys", "basic", "challenges", "keeps", "route", "salt", "sources", "tokens")

    def __init__(self, route: str, sources: tuple[str, ...], *, keeps: bool) -> None:
        self.route = route
        self.sources = sources
        self.keeps = keeps
        """Whether the upstream gets the credential too."""
        self.basic = BASIC in sources
        self.api_keys = API_KEY in sources
        self.tokens = bool(set(sources) - {BASIC, API_KEY})
        self.challenges = challenges(sources)
        self.salt = f"{route} {' '.join(sources)} ".encode("ascii")

    def takes(self, scheme: str, text: bytes) -> bool:
        """Tell whether a credential is for us; else it is the upstream's own."""
        if scheme == "bearer":
            return self.tokens or (self.api_keys and text.startswith(KEY_PREFIX.encode("ascii")))
        return scheme == "basic" and self.basic


class Presented:
    """A credential that counts for a request."""

    __slots__ = ("accepts", "client", "digest", "scheme", "text", "value")

    def __init__(self, accepts: Accepts, value: bytes, scheme: str, text: bytes, digest: str) -> None:
        self.accepts = accepts
        self.value = value
        """The field's, as it was sent."""
        self.scheme = scheme
        self.text = text
        self.digest = digest
        """What it is remembered by, with the route."""
        self.client = ""
        """The address it came from."""

    def is_repeated(self, accepts: Accepts, values: tuple[bytes, ...]) -> bool:
        """Tell whether the next request on its connection presents it again, to the same route.

        Programs do so on every request; to read and hash a token of 700 bytes anew takes 12 000 instructions.
        """
        return self.accepts is accepts and len(values) == 1 and values[0] == self.value


class NotProved(GatewayError):
    """A credential that counts for a request, and proves nothing."""

    def __init__(self, refused: Refused, scheme: str) -> None:
        super().__init__(f"credential: {refused.reason}")
        self.refused = refused
        self.scheme = scheme


class Credentials:
    """The memory of one worker."""

    def __init__(self, verify: Verify, key: bytes, capacity: int) -> None:
        """``key`` is random, up to 64 bytes; ``capacity`` credentials are kept."""
        self._verify = verify
        self._key = key
        self._known = RecentSessions(capacity)
        self._refused: dict[str, tuple[float, Refused]] = {}
        self._asked: dict[str, asyncio.Future[Verdict]] = {}
        self._forgotten = 0
        """How often everything was forgotten."""

    def presented(self, accepts: Accepts, head: RequestHead) -> Presented | None:
        """Return the credential that counts, in place of any cookie; None where there is none for us.

        Raises RequestError: 400 for several, 403 for a password that a browser added to another site's request.
        """
        values = head.credentials
        scheme, text = split_authorization(values[0])
        if len(values) > 1:
            raise RequestError(400, "more than one Authorization", BAD_HEADER)
        if not accepts.takes(scheme, text):
            return None
        if scheme == "basic" and head.get(b"sec-fetch-site") in OTHER_SITES and not _is_followed_link(head):
            raise RequestError(403, "a password with a request of another site's page", CROSS_SITE)
        digest = blake2b(accepts.salt + scheme.encode("ascii") + b" " + text, digest_size=16, key=self._key)
        return Presented(accepts, values[0], scheme, text, digest.hexdigest())

    def peek(self, presented: Presented, now: float) -> Opened | None:
        """Return what is remembered, if anything that still holds."""
        opened = self._known.get(presented.digest)
        return opened if opened is not None and opened.until > now else None

    async def prove(self, presented: Presented, now: float) -> Opened:
        """Return whose a credential is; it is asked about once, however many wait for it. Raises NotProved."""
        digest = presented.digest
        remembered = self._refused.get(digest)
        if remembered is not None and remembered[0] > now:
            raise NotProved(remembered[1], presented.scheme)
        if not is_token68(presented.text):
            raise NotProved(Refused(401, "not a single token in the Authorization field"), presented.scheme)
        asked = self._asked.get(digest)
        if asked is None:
            if len(self._asked) >= MAX_ASKED:
                refused = Refused(503, "too many credentials are being verified", RETRY_SECONDS)
                raise NotProved(refused, presented.scheme)
            loop = asyncio.get_running_loop()
            asked = self._asked[digest] = loop.create_task(self._ask(presented, self._forgotten), name="credential")
        verdict = await asyncio.shield(asked)
        if isinstance(verdict, Refused):
            raise NotProved(verdict, presented.scheme)
        opened = self._known.get(digest)
        # One that was forgotten meanwhile holds for this request, which came before.
        return opened if opened is not None else _opened(digest, verdict, now)

    async def _ask(self, presented: Presented, forgotten: int) -> Verdict:
        digest, accepts = presented.digest, presented.accepts
        credential = Credential(
            presented.scheme, presented.text.decode("ascii"), accepts.sources, accepts.route, presented.client
        )
        try:
            verdict = await self._verify(credential)
        finally:
            if forgotten == self._forgotten:
                del self._asked[digest]
        if forgotten == self._forgotten:
            self._remember(digest, verdict)
        return verdict

    def _remember(self, digest: str, verdict: Verdict) -> None:
        if isinstance(verdict, Verified):
            self._known.put(_opened(digest, verdict, verdict.at))
        elif verdict.status in (401, 403):
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused[digest] = (verdict.at + REFUSED_TIME, verdict)

    def forget(self) -> None:
        """Forget everything: some credential is good no more, or has become another's."""
        self._forgotten += 1
        self._known.clear()
        self._refused.clear()
        # What is being asked is told to those who wait for it, and to nobody who comes from now on.
        self._asked.clear()

    def __len__(self) -> int:
        return len(self._known)


def _opened(digest: str, verdict: Verified, now: float) -> Opened:
    """Return a session for as long as a credential is remembered; there is no cookie for it, and no store."""
    who, until = verdict.identity, verdict.until
    session = Session(bytes.fromhex(digest), who, now, now, until, None, login=verdict.login)
    return Opened(session, digest, verdict.until)


def _is_followed_link(head: RequestHead) -> bool:
    return head.method in ("GET", "HEAD") and head.get(b"sec-fetch-mode") == b"navigate"


def wanted(sources: Iterable[str], route: str, passed: Iterable[str]) -> Accepts | None:
    """Return what a route accepts; None for nothing. ``passed`` are the headers that it lets through."""
    found = tuple(sources)
    return Accepts(route, found, keeps="authorization" in set(passed)) if found else None
