"""Keeping a provider's description at hand: fetched in the background, kept for hours, asked for again when down.

Whoever logs in never waits for a provider that is known to be down.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass

from gateway.core.provider import Provider
from gateway.errors import ProviderDown
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.oidc.metadata import Metadata, metadata_url, parse_metadata

_log = logging.getLogger("gateway.login")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a provider is asked about itself, in seconds."""

    keep: float = 4 * 3600.0
    """A good answer is kept so long; a bad one later does not undo it."""
    first_retry: float = 1.0
    last_retry: float = 60.0
    """Waits double from the first to the last, each cut at random by up to half, so that no herd forms."""


class Discovery:
    """The description of one provider."""

    def __init__(self, provider: Provider, http: ProviderHttp, pace: Pace) -> None:
        self._provider = provider
        self._http = http
        self._pace = pace
        self._found: Metadata | None = None
        self._why = "was not asked yet"
        self._task: asyncio.Task[None] | None = None
        self._first_try = asyncio.Event()

    def is_down(self) -> bool:
        """Tell whether it was asked in vain, and never answered."""
        return self._found is None and self._first_try.is_set()

    def known(self) -> Metadata | None:
        """Return the description if there is one, without waiting."""
        return self._found

    async def start(self) -> None:
        """Begin to ask, in the background."""
        self._task = asyncio.create_task(self._keep_asking(), name=f"provider-{self._provider.id}")

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def get(self) -> Metadata:
        """Return the description. Raises ProviderDown (503) where there is none yet."""
        if self._found is None and self._task is not None:
            # Somebody may come in the very second after the start.
            await self._first_try.wait()
        if self._found is None:
            raise ProviderDown(f"{self._provider.issuer} {self._why}", 503)
        return self._found

    async def _keep_asking(self) -> None:
        failures = 0
        while True:
            try:
                self._found = await self._ask()
                failures = 0
            except ProviderDown as error:
                failures += 1
                self._why = str(error)
                _log.warning("the provider %s: %s", self._provider.id, error)
            except Exception:  # noqa: BLE001 - whatever one answer was, the next is to come
                failures += 1
                self._why = "gave an answer that could not be dealt with"
                _log.exception("the provider %s could not be asked", self._provider.id)
            self._first_try.set()
            await asyncio.sleep(self._wait(failures))

    async def _ask(self) -> Metadata:
        reply = await self._http.get(metadata_url(self._provider.issuer))
        if reply.status != 200:
            raise ProviderDown(f"answered {reply.status} when asked about itself", 503)
        return parse_metadata(reply.fields(), self._provider)

    def _wait(self, failures: int) -> float:
        if not failures:
            return self._pace.keep
        longest = min(self._pace.first_retry * 2 ** min(failures - 1, 30), self._pace.last_retry)
        return float(longest * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, keeps no secret
