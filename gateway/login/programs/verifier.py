"""Verifying credentials of programs, by whichever of a route's sources knows them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from gateway.core.programs import KEY_PREFIX, Credential, Refused, Verdict
from gateway.errors import BadCredentials, GatewayError, LoginDenied, LoginRefused, TooManyAttempts
from gateway.login.programs.source import Source

SECONDS = 4.5
"""For all that has to be asked of others."""
RETRY_SECONDS = 5
_log = logging.getLogger("gateway.login")
_WEIGHT = (401, 403, 429, 503)
"""Of several refusals the last of these counts: nobody is told that a token is bad while one source is unheard."""
Count = Callable[[str, str], None]
"""Counts a verdict: by the `kind` of a source, and as ``accepted``, ``refused`` or ``unavailable``."""


class CredentialVerifier:
    """All sources of one configuration."""

    def __init__(self, sources: Mapping[str, Source], clock: Callable[[], float], count: Count) -> None:
        """Hold ``sources`` by id; ``clock`` tells seconds since the epoch."""
        self._sources = sources
        self._clock = clock
        self._count = count

    async def start(self) -> None:
        """Start every source."""
        for source in self._sources.values():
            await source.start()

    async def close(self) -> None:
        """Close every source."""
        for source in self._sources.values():
            await source.close()

    def forget(self) -> None:
        """Forget what was verified."""
        for source in self._sources.values():
            source.forget()

    async def verify(self, credential: Credential) -> Verdict:
        """Return whose a credential is, or why that is not known; never raises."""
        accepted = [self._sources[name] for name in credential.sources if name in self._sources]
        asked = [source for source in accepted if source.takes(credential)]
        verdict = await self._in_time(credential, asked)
        if isinstance(verdict, Refused):
            kind = asked[0].kind if asked else _kind_by_looks(credential)
            self._count(kind, "unavailable" if verdict.status == 503 else "refused")
        return verdict

    async def _in_time(self, credential: Credential, asked: Sequence[Source]) -> Verdict:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._verify(credential, asked)
        except TimeoutError:
            return Refused(503, f"a credential could not be verified within {SECONDS} s", RETRY_SECONDS)
        except Exception:  # noqa: BLE001 - whatever went wrong, nobody is let in by it
            _log.exception("a credential could not be verified")
            return Refused(503, "verifying a credential failed", RETRY_SECONDS)

    async def _verify(self, credential: Credential, asked: Sequence[Source]) -> Verdict:
        refused = Refused(401, "of no kind that is known here", at=self._clock())
        for index, source in enumerate(asked):
            try:
                verified = await source.verify(credential)
            except GatewayError as error:
                reason = self._refused(error)
                if not index or _WEIGHT.index(reason.status) > _WEIGHT.index(refused.status):
                    refused = reason
            else:
                self._count(source.kind, "accepted")
                return verified
        return refused

    def _refused(self, error: GatewayError) -> Refused:
        if isinstance(error, TooManyAttempts):
            return Refused(429, str(error), error.retry_after)
        if isinstance(error, LoginDenied):
            return Refused(403, str(error), at=self._clock())
        if isinstance(error, BadCredentials | LoginRefused):
            return Refused(401, str(error), at=self._clock())
        # A provider that is down, too much to do, a throttle or file that fails: nothing is known.
        return Refused(503, str(error), RETRY_SECONDS)


def _kind_by_looks(credential: Credential) -> str:
    """Return what a credential is counted as that no source takes for its own."""
    if credential.scheme == "basic":
        return "basic"
    return "api_key" if credential.text.startswith(KEY_PREFIX) else "bearer"
