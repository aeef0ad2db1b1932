"""One session's tokens at work: made new at their provider by whoever has the lease, and kept before all else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from gateway.control.back_off import LAST, BackOff
from gateway.control.give_back import GivingBack
from gateway.control.metrics import RefreshCounts
from gateway.core.audit import AuditEvent
from gateway.core.cookie import CookiePolicy
from gateway.core.provider import ProviderTokens
from gateway.core.refresh import Refreshed
from gateway.core.session import Session
from gateway.errors import GrantOver, LoginDenied, LoginRefused, ProviderDown, StoreUnavailable
from gateway.login.redirect import RedirectLogin
from gateway.sessions.store import SessionStore
from gateway.sessions.token_vault import KeptLogin, TokenVault

LEASE = 10.0
"""Seconds that a session's tokens are one gateway's: more than a provider and a vault may take together."""
LOOK_EVERY = 0.1
"""Seconds between two looks at what another gateway does."""
SOON = 1.0
"""Seconds until it is worth asking again where somebody else is at it."""
OVER = Refreshed("over")
_log = logging.getLogger("gateway.control")

Found = KeptLogin | Refreshed
"""What the vault has now; or that the session is over, or nothing is known."""


@dataclass
class RefreshState:
    """What refreshers have in common before and after a reload."""

    clock: Callable[[], float]
    """Tells seconds and is never set back."""
    counts: RefreshCounts = field(default_factory=RefreshCounts)
    under_way: dict[str, asyncio.Task[Found]] = field(default_factory=dict)
    """By the session's handle."""
    sessions: BackOff = field(init=False)
    """By handle."""
    providers: BackOff = field(init=False)
    """By id."""

    def __post_init__(self) -> None:
        self.sessions, self.providers = BackOff(self.clock), BackOff(self.clock)


@dataclass(frozen=True)
class RefresherParts:
    """What a refresher is made of."""

    store: SessionStore
    vault: TokenVault | None
    """None where there are no providers."""
    logins: Mapping[str, RedirectLogin]
    cookie: CookiePolicy
    state: RefreshState
    audit: Callable[[AuditEvent], None]
    clock: Callable[[], float]
    """Seconds since the epoch."""
    lease: float = LEASE
    giving_back: GivingBack = field(default_factory=GivingBack)


class LoggedOut(Exception):
    """Somebody has logged out while the provider was asked: what it gives is for nobody."""


class Renewal:
    """Brings what the vault has of one session up to date, once."""

    def __init__(self, parts: RefresherParts, session: Session, login: RedirectLogin, vault: TokenVault) -> None:
        self._parts = parts
        self._state = parts.state
        self._session = session
        self._login = login
        self._vault = vault

    async def run(self) -> Found:
        """Return what the vault has then. Raises StoreUnavailable."""
        session, state, vault = self._session, self._state, self._vault
        if found := self._settled(await vault.get(session)):
            return found
        if wait := state.sessions.wait(session.handle) or state.providers.wait(self._login.provider.id):
            return Refreshed("later", again=wait)
        clock = asyncio.get_running_loop().time
        until = clock() + self._parts.lease + SOON
        while not await vault.lease(session.handle, self._parts.lease):
            if clock() > until:
                return Refreshed("later", again=SOON)
            await asyncio.sleep(LOOK_EVERY)
            if found := self._settled(await vault.get(session)):
                return found
        try:
            # As whoever had the lease last has left it.
            kept = await vault.get(session)
            return self._settled(kept) or await self._ask(kept)
        finally:
            with suppress(StoreUnavailable):
                await vault.release(session.handle)

    def _settled(self, kept: KeptLogin | None) -> Found | None:
        """Return what needs no token call: what is fresh, and what there is nothing to make fresh with."""
        if kept is None or (kept.login.refresh_at is not None and not kept.tokens.refresh_token):
            _log.error("the tokens of the session %s are not there any more", self._session.handle)
            return Refreshed("later", again=LAST)
        due = kept.login.refresh_at
        return kept if due is None or due > self._parts.clock() else None

    async def _ask(self, kept: KeptLogin | None) -> Found:
        """Ask the provider, with tokens that nobody else uses meanwhile."""
        assert kept is not None  # noqa: S101 - what is not there is settled
        provider, handle = self._login.provider.id, self._session.handle

        async def keep(tokens: ProviderTokens) -> None:
            await self._keep(replace(kept, tokens=tokens.worth_keeping(refresh=True)))

        try:
            proof = await self._login.refresh(kept.login, kept.tokens, kept.identity, keep)
            found = KeptLogin(proof.identity, proof.session, proof.tokens.worth_keeping(refresh=True))
            await self._keep(found)
        except LoggedOut:
            self._worked("refreshed")
            return OVER
        except (GrantOver, LoginDenied) as error:
            self._worked("ended")
            await end_session(self._parts, self._session, f"{provider}: {error}")
            return OVER
        except (LoginRefused, ProviderDown) as error:
            _log.warning("the provider %s did not refresh the session %s: %s", provider, handle, error)
            return self._failed(is_down=isinstance(error, ProviderDown))
        except Exception:  # noqa: BLE001 - whatever the provider said, no session ends by it
            _log.exception("the provider %s could not be asked about the session %s", provider, handle)
            return self._failed(is_down=False)
        self._state.sessions.worked(handle)
        self._worked("refreshed")
        return found

    async def _keep(self, kept: KeptLogin) -> None:
        """Keep what the provider gave; it gets it back where a logout has taken what was there. Raises LoggedOut."""
        if not await self._vault.renew(self._session, kept):
            self._parts.giving_back.give_back(self._login, kept.tokens)
            raise LoggedOut

    def _worked(self, outcome: str) -> None:
        self._state.counts.count(self._login.provider.id, outcome)
        self._state.providers.worked(self._login.provider.id)

    def _failed(self, *, is_down: bool) -> Refreshed:
        provider, state = self._login.provider.id, self._state
        state.counts.count(provider, "failed")
        waits = [state.sessions.failed(self._session.handle)]
        if is_down:
            waits.append(state.providers.failed(provider))
        else:
            state.providers.worked(provider)
        return Refreshed("later", again=max(waits))


async def end_session(parts: RefresherParts, session: Session, reason: str) -> None:
    """End a session that its provider ended, or that can be no more."""
    try:
        await parts.store.revoke(session, alone=True)
        if parts.vault is not None:
            await parts.vault.drop(session)
    except StoreUnavailable as error:
        _log.error("the session %s is over, but could not be ended everywhere: %s", session.handle, error)
    parts.audit(
        AuditEvent(
            "session_ended",
            user=session.user,
            by="provider",
            session=session.handle,
            reason=reason,
            time=parts.clock(),
        )
    )
