"""Refreshing what providers told of the people in sessions: one token call, however many ask on however many hosts.

What is in the vault is true, and what sessions say is a copy of it. So no refresh token is used twice:
whoever comes with an old copy gets what the vault has, and that is written into the session.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

from gateway.control.back_off import LAST
from gateway.control.refresh_once import OVER, SOON, Found, RefresherParts, Renewal, end_session
from gateway.core.refresh import Refreshed
from gateway.core.session import Session
from gateway.errors import BadToken, SessionTooLarge, StoreUnavailable
from gateway.login.redirect import RedirectLogin
from gateway.sessions.token_vault import TokenVault

LATER = 5.0
"""Seconds until it is worth asking again where a store fails."""
PATIENCE = 5.5
"""Seconds that a stop waits for the answers of providers."""
_log = logging.getLogger("gateway.control")


class Refresher:
    """Answers the questions of data planes; see `core.refresh`."""

    def __init__(self, parts: RefresherParts) -> None:
        self._parts = parts
        self._asked: dict[str, asyncio.Task[Refreshed]] = {}
        self._begun: set[asyncio.Task[Any]] = set()

    async def refresh(self, token: str, host: str = "") -> Refreshed:
        """Bring the session of a token, which is good for ``host``, up to date; never raises.

        It is done even where the caller goes away.
        """
        task = self._asked.get(token)
        if task is None:
            task = self._asked[token] = asyncio.create_task(self._answer(token, host), name="refresh")
            task.add_done_callback(lambda _: self._asked.pop(token, None))
        await asyncio.wait({task})
        return Refreshed("later", again=SOON) if task.cancelled() else task.result()

    async def close(self) -> None:
        """Let providers that were asked answer, for a moment: what they say then is kept."""
        tasks = {*self._begun, *self._asked.values()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._parts.giving_back.settle()

    async def _answer(self, token: str, host: str) -> Refreshed:
        try:
            return await self._brought_up_to_date(token, host)
        except BadToken:
            return OVER
        except StoreUnavailable as error:
            _log.warning("a session could not be refreshed: %s", error)
        except Exception:  # noqa: BLE001 - whatever went wrong, no session ends by it
            _log.exception("a session could not be refreshed")
        return Refreshed("later", again=LATER)

    async def _brought_up_to_date(self, token: str, host: str) -> Refreshed:
        """Let a session say what the vault has, after a token call if need be."""
        # It may be asked about for what is open under a token that was closed.
        opened = await self._parts.store.load(token, self._parts.clock(), host=host, streaming=True)
        session = opened.session
        login, vault = session.login, self._parts.vault
        if login is None or login.refresh_at is None:
            return Refreshed("fresh", token)
        provider = self._parts.logins.get(login.provider)
        if provider is None or vault is None:
            _log.warning("the session %s is of %r, which is no provider any more", session.handle, login.provider)
            return Refreshed("later", again=LAST)
        if not provider.provider.refresh:
            # It was when they logged in.
            login = replace(login, access_expires=None, refresh_at=None)
            return await self._write(replace(session, login=login), token, host)
        found = await self._found(session, provider, vault)
        if isinstance(found, Refreshed):
            return found
        return await self._write(replace(session, identity=found.identity, login=found.login), token, host)

    async def _write(self, session: Session, token: str, host: str) -> Refreshed:
        """Write a session anew, even where it says so already: another copy of it may be the one that was asked about.

        Raises StoreUnavailable.
        """
        try:
            opened = await self._parts.store.save(session, token, host=host)
            self._parts.cookie.split(opened.token)
        except BadToken:
            # It was ended meanwhile. A logout takes the tokens that it finds in the vault. After a new login they stay
            # there: a provider that gets them back may end that login as well.
            return OVER
        except SessionTooLarge as error:
            await end_session(self._parts, session, f"{session.identity.method}: {error}")
            return OVER
        return Refreshed("fresh", opened.token)

    async def _found(self, session: Session, provider: RedirectLogin, vault: TokenVault) -> Found:
        """Return what the vault has once it is up to date; all that ask about a session wait for the same."""
        under_way, handle = self._parts.state.under_way, session.handle
        task = under_way.get(handle)
        if task is None:
            work = Renewal(self._parts, session, provider, vault).run()
            task = under_way[handle] = asyncio.create_task(work, name=f"refresh {handle}")
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)
            task.add_done_callback(lambda _: under_way.pop(handle, None))
        await asyncio.wait({task})
        # One that a generation began which has just ended may have been cancelled.
        return Refreshed("later", again=SOON) if task.cancelled() else task.result()
