"""Giving tokens back to their providers (RFC 7009), in the background: nobody waits for that."""

from __future__ import annotations

import asyncio
import logging

from gateway.core.provider import ProviderTokens
from gateway.errors import ProviderDown
from gateway.login.redirect import RedirectLogin

PATIENCE = 2.0
"""Seconds that a stop waits for what is on its way."""
_log = logging.getLogger("gateway.control")


class GivingBack:
    """Tokens on their way back."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def give_back(self, login: RedirectLogin, tokens: ProviderTokens) -> None:
        """Give back the tokens of a login that is over, where its provider takes them."""
        if not tokens.refresh_token and not tokens.access_token:
            return
        task = asyncio.get_running_loop().create_task(_revoke(login, tokens), name="give back tokens")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Let what is on its way arrive, for a moment."""
        tasks = list(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def _revoke(login: RedirectLogin, tokens: ProviderTokens) -> None:
    try:
        await login.revoke(tokens)
    except ProviderDown as error:
        _log.warning("the provider %s did not take back a token: %s", login.provider.id, error)
    except Exception:  # noqa: BLE001 - the logout is done; what became of the token, the log tells
        _log.exception("a token could not be given back to the provider %s", login.provider.id)
