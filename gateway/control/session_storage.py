"""aiohttp-session over our own session stores: handlers use ``get_session``, the store keeps what it keeps.

The data plane has opened the caller's cookie and passes the token on. What the handlers see as a
mapping holds one value, the `Session`; changing it is a login, taking it away a logout.
"""

from __future__ import annotations

from collections.abc import Callable

import aiohttp_session
from aiohttp import hdrs, web
from aiohttp_session import AbstractStorage, get_session

from gateway.control.facts import SESSION_HEADER, cookie_domains, has_ambiguous_cookies, host_name, host_of
from gateway.core.cookie import PART_BYTES, CookiePolicy
from gateway.core.session import Session
from gateway.errors import BadToken
from gateway.sessions.finish import finish
from gateway.sessions.store import Opened, SessionStore

KEY = "session"
REPLACED = web.RequestKey("replaced", Session)
"""The session that a login took the place of, and put an end to unless it is the same user's."""

ADOPTED = web.RequestKey("adopted", Opened)
"""A session that was begun on another host."""

# aiohttp warns about strings as keys of a request; aiohttp-session 2.12 still has two of them.
aiohttp_session.SESSION_KEY = web.RequestKey("aiohttp_session", aiohttp_session.Session)  # type: ignore[assignment]
aiohttp_session.STORAGE_KEY = web.RequestKey("aiohttp_session_storage", AbstractStorage)  # type: ignore[assignment]


async def current_session(request: web.Request) -> Session | None:
    """Return the caller's session, or None. Raises StoreUnavailable where nothing is known."""
    found = (await get_session(request)).get(KEY)
    return found if isinstance(found, Session) else None


async def current_opened(request: web.Request) -> Opened | None:
    """Return the caller's session with its token, or None. Raises StoreUnavailable where nothing is known."""
    found = (await get_session(request)).identity
    return found if isinstance(found, Opened) else None


async def sign_in(request: web.Request, session: Session) -> None:
    """Make ``session`` the caller's, in place of any other, when the answer is sent."""
    (await get_session(request))[KEY] = session


async def adopt(request: web.Request, opened: Opened) -> None:
    """Make a session that is there already the caller's as well, when the answer is sent."""
    request[ADOPTED] = opened
    await sign_in(request, opened.session)


async def sign_out(request: web.Request) -> None:
    """End the caller's session when the answer is sent."""
    (await get_session(request)).invalidate()


class StoreStorage(AbstractStorage):
    """Loads and saves the sessions of `aiohttp-session` in a `SessionStore`."""

    def __init__(
        self,
        store: SessionStore,
        cookie: CookiePolicy,
        clock: Callable[[], float],
        session_host: Callable[[web.Request], str],
    ) -> None:
        """``session_host`` returns the host that tokens given with an answer are good for; empty for every host."""
        super().__init__(cookie_name=cookie.full_name)
        self._store = store
        self._cookie = cookie
        self._clock = clock
        self._session_host = session_host

    async def load_session(self, request: web.Request) -> aiohttp_session.Session:
        """Return what the data plane's token opens; an empty one where there is none."""
        opened = await self._open(request.headers.get(SESSION_HEADER, ""), host_name(host_of(request)))
        if opened is None:
            return aiohttp_session.Session(None, data=None, new=True)
        session = opened.session
        data = aiohttp_session.SessionData(created=int(session.created), session={KEY: session})
        return aiohttp_session.Session(opened, data=data, new=False)

    async def _open(self, token: str, host: str) -> Opened | None:
        if not token:
            return None
        now = self._clock()
        opened = self._store.peek(token)
        if opened is None or now >= opened.until or (opened.host and opened.host != host):
            try:
                opened = await self._store.load(token, now, host=host)
            except BadToken:
                return None
        return opened

    async def save_session(
        self, request: web.Request, response: web.StreamResponse, session: aiohttp_session.Session
    ) -> None:
        """Store the session after a login, or end it after a logout, and write the cookies.

        The store comes first: where it fails, the answer is 503 and the browser keeps what it has.
        """
        old: Opened | None = session.identity
        new: Session | None = session.get(KEY)
        held = _parts(len(request.headers.get(SESSION_HEADER, "")))
        if new is not None:
            cookies = await self._cookies_for(request, old, new, held)
        else:
            if old is not None:
                await self._store.revoke(old.session)
            # A session that is over may still lie in as many cookies as there can be.
            cookies = self._others_removed(request) + self._cookie.clear(held or _parts(self._cookie.budget))
        for cookie in cookies:
            response.headers.add(hdrs.SET_COOKIE, cookie)

    async def _cookies_for(self, request: web.Request, old: Opened | None, new: Session, held: int) -> list[str]:
        """Store a session; return its cookies, and the removal of those that the old one filled beyond them."""
        adopted, host = request.get(ADOPTED), self._session_host(request)
        if old is not None and old.session.id != new.id:
            opened = await finish(self._succeed(old, new, adopted, host), "let a session take another's place")
            request[REPLACED] = old.session
        else:
            opened = adopted or await self._store.save(new, host=host)
        now = self._clock()
        max_age = max(0, int(new.expires - now)) if new.remembered else None
        cookies = self._cookie.set(opened.token, max_age=max_age, now=now)
        return self._others_removed(request) + cookies + self._cookie.clear(held)[len(cookies) :]

    def _others_removed(self, request: web.Request) -> list[str]:
        """Return the removal of cookies of the same name that browsers keep beside ours, for another domain.

        One for the host alone would come back with ours for the domain; where two of ours came, whichever there are.
        """
        own = self._cookie.domain
        if has_ambiguous_cookies(request):
            domains: list[str | None] = [None, *cookie_domains(host_name(host_of(request)))]
            return self._cookie.clear_under([domain for domain in domains if domain != own])
        return self._cookie.clear_under([None]) if own else []

    async def _succeed(self, old: Opened, new: Session, adopted: Opened | None, host: str) -> Opened:
        """Let a session take another's place: of another user's nothing is left, of the same user's only this token."""
        if old.user == new.user:
            await self._store.supersede(old, new)
            return adopted or await self._store.save(new, host=host)
        if adopted is None:
            return await self._store.replace(old.session, new, host=host)
        await self._store.revoke(old.session)
        return adopted


def _parts(size: int) -> int:
    """Return how many cookies a token of that size fills."""
    return -(-size // PART_BYTES)
