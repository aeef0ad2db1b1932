"""Keeping sessions as their identity providers tell them: whose word is due is asked for again, beside the requests.

The parent process asks the providers. Known here is what is being asked, what was asked lately in vain, and
for how long a session goes on by what was told before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from gateway.core.refresh import Refresh, Refreshed
from gateway.errors import SessionError
from gateway.sessions.store import Opened, SessionStore

MAX_ASKED: Final = 512
"""Questions under way at once; beyond, sessions wait for their turn."""
MAX_LATER: Final = 4096
ASK_AGAIN: Final = 1.0
"""Seconds after an answer of which the session did not come out fresh."""
NOBODY_TIME: Final = 60.0

_log = logging.getLogger("gateway.proxy")


async def ask_nobody(_: str, __: str) -> Refreshed:
    """Know nothing: there is nobody to ask."""
    return Refreshed("later", again=NOBODY_TIME)


class Question:
    """A provider that is being asked about a session."""

    __slots__ = ("opened", "task")

    def __init__(self) -> None:
        self.opened: list[Opened] = []
        """The session as it is in use, under each of its tokens."""
        self.task: asyncio.Task[None] | None = None


class Logins:
    """What one worker knows of it."""

    def __init__(
        self,
        refresh: Refresh,
        graces: Mapping[str, float],
        store: SessionStore,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``graces`` are seconds by the provider's id, beyond the end of its access token."""
        self._refresh = refresh
        self._graces = graces
        self._store = store
        self._clock = clock
        self._loop = loop
        self._asked: dict[bytes, Question] = {}
        self._later: dict[bytes, float] = {}
        """Until when it is vain to ask again, by the clock of the event loop."""

    async def current(self, opened: Opened) -> Opened | None:
        """Return a session that is due as it may be used now; None where it may not.

        Within the grace time its provider is asked beside the request; beyond, the request waits for that.
        """
        asked = self.ask(opened)
        if asked is not None and not self.is_usable(opened):
            # Shielded: others may wait for the same answer.
            await asyncio.shield(asked)
        return opened if self.is_usable(opened) else None

    def is_usable(self, opened: Opened) -> bool:
        """Tell whether what a session's provider told last is young enough to let somebody in."""
        login = opened.session.login
        if login is None or login.access_expires is None:
            return True
        return self._clock() < login.access_expires + self._graces.get(login.provider, 0.0)

    def is_too_old(self, opened: Opened) -> bool:
        """Tell whether a session in use, whose provider is asked if that is due, may be used no more."""
        if opened.refresh_at > self._clock() or self.ask(opened) is not None:
            return False
        return opened.session.id in self._later and not self.is_usable(opened)

    def ask(self, opened: Opened) -> asyncio.Task[None] | None:
        """Ask a session's provider, unless that is vain for now; return the question under way."""
        key = opened.session.id
        question = self._asked.get(key)
        if question is None:
            if self._later.get(key, 0.0) > self._loop.time() or len(self._asked) >= MAX_ASKED:
                return None
            question = self._asked[key] = Question()
            question.task = self._loop.create_task(self._settle(question, opened.latest()), name="refresh a login")
        if all(known is not opened for known in question.opened):
            question.opened.append(opened)
        return question.task

    async def _settle(self, question: Question, latest: Opened) -> None:
        again = ASK_AGAIN
        try:
            again = await self._answer(question, latest)
        except SessionError as error:
            _log.info("a session was not refreshed: %s", error)
        except Exception:  # noqa: BLE001 - whatever it is, the session goes on as far as it may
            _log.exception("a session could not be refreshed")
        finally:
            self._put_off(latest.session.id, again)

    async def _answer(self, question: Question, latest: Opened) -> float:
        """Ask, and let the session be as it is told; return the seconds until it is worth asking again.

        Raises SessionError.
        """
        answer = await self._refresh(latest.token, latest.host)
        if answer.kind != "fresh":
            # One that is over is refused by the store; should it not know of that yet, it is asked again.
            return max(answer.again, ASK_AGAIN)
        held = self._store.peek(answer.token)
        if held is not None:
            # Of what was written just now, the news may not be here yet.
            held.doubtful = True
        # It may be asked about for what is open under a token that was closed since.
        fresh = await self._store.load(answer.token, self._clock(), host=latest.host, streaming=True)
        if fresh is held:
            fresh.doubtful = False
        for opened in question.opened:
            take_over(opened, fresh)
        return 0.0 if fresh.refresh_at > self._clock() else ASK_AGAIN

    def _put_off(self, key: bytes, seconds: float) -> None:
        del self._asked[key]
        self._later.pop(key, None)
        if seconds > 0.0:
            if len(self._later) >= MAX_LATER:
                self._later.clear()
            self._later[key] = self._loop.time() + seconds

    def close(self) -> None:
        """Ask no more."""
        for question in self._asked.values():
            if question.task is not None:
                question.task.cancel()


def take_over(opened: Opened, fresh: Opened) -> None:
    """Let a session in use, and whatever it was renewed to, be as its provider told it later in ``fresh``."""
    last, newest = opened.latest(), fresh.latest()
    if last.told_later_than(newest):
        return
    each: Opened | None = opened
    while each is not None:
        if fresh.told_later_than(each):
            each.change_to(replace(each.session, identity=fresh.session.identity, login=fresh.session.login))
            each.refresh_at = fresh.refresh_at
        each = each.renewed
    if newest is not last:
        last.renewed = newest
