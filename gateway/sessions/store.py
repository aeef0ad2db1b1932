"""What a session store is. `Opened` is a session as the gateway holds it while it is in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.core.gate import Verdict, rule_verdict
from gateway.core.policy import Address, Rule
from gateway.core.session import Session, SessionSummary

_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Header lines for one upstream, ready to be sent."""

    data: bytes
    stale_at: float = float("inf")
    """From when on they are to be made anew, by the clock of the event loop."""


@dataclass(slots=True, init=False)
class Opened:
    """An opened session and what was prepared from it. Its constructor is its own for the reason of `Session`.

    What each request asks for is here itself: where very many sessions are in use, none is in the processor's
    caches, and each further object that a request looks at takes as long as several hundred instructions.
    """

    session: Session
    token: str
    until: float
    """The session's end by this token, seconds since the epoch: see `Session.ends`."""
    user: str
    """Whose it is."""
    admitted_by: Rule | None
    """The rule that last let them in, of those that judge by who they are alone."""
    lines: bytes | None
    """Identity header lines for the routes without a token, made at the first request."""
    headers: dict[str, Prepared] | None
    """Those with a token by route name, made again before it ends; None until there is one."""
    renew_at: float
    """From when on the session is to be written anew, seconds since the epoch."""
    refresh_at: float
    """From when on its provider is to be asked again: see `ProviderSession`."""
    renewing: bool
    doubtful: bool
    """Whether somebody else has changed or ended the session since: open connections ask `load` again."""
    renewed: Opened | None
    """The same session as written anew, for the next answer's Set-Cookie."""
    owed_since: float
    """Since when the browser has not got that; 0.0 while nothing is owed. Seconds since the epoch."""
    host: str
    """The host that the token is good for, in lower case; empty for every host."""
    token_id: str
    """What tells the tokens of a session apart; it stays the same when one is renewed."""
    closed: bool
    """Whether new requests are refused to the token, since another login of its user took its place. What is open
    under it goes on for as long as the session does."""

    def __init__(self, session: Session, token: str, until: float, host: str = "", token_id: str = "") -> None:
        self.session = session
        self.token = token
        self.until = until
        self.host = host
        self.token_id = token_id
        self.closed = False
        self.user = session.identity.user
        self.admitted_by = None
        self.lines = None
        self.headers = None
        self.renew_at = self.refresh_at = _NEVER
        self.renewing = self.doubtful = False
        self.renewed = None
        self.owed_since = 0.0

    def verdict(self, rule: Rule, method: str, client: Address | None, now: float) -> Verdict:
        """Return the verdict of a rule on a request of this session: see `rule_verdict`."""
        if self.admitted_by is rule:
            return Verdict.FORWARD
        verdict = rule_verdict(rule, self.session, method, client, now)
        if verdict is Verdict.FORWARD and rule.of_identity:
            self.admitted_by = rule
        return verdict

    def is_due(self, now: float) -> bool:
        """Tell whether it has run out, or its provider is to be asked again: then memory alone does not decide."""
        return self.until <= now or self.refresh_at <= now

    def change_to(self, session: Session) -> None:
        """Be the same session as it was told later; nothing that followed from what it was before is left."""
        self.session = session
        self.user = session.identity.user
        self.admitted_by = self.lines = self.headers = None

    def latest(self) -> Opened:
        """Return the newest known state of the session."""
        opened = self
        while opened.renewed is not None:
            opened = opened.renewed
        return opened

    def told_later_than(self, other: Opened) -> bool:
        """Tell whether this is what the provider said later, of two states of one session."""
        return _told(self.session) > _told(other.session)


def _told(session: Session) -> float:
    """Return until when a session's word of its provider is good: what came later is good for longer."""
    login = session.login
    return float("inf") if login is None or login.refresh_at is None else login.refresh_at


def can_list(store: SessionStore) -> bool:
    """Tell whether a store knows the sessions of a user; else only the browsers do, and its list is empty."""
    return bool(getattr(store, "lists", True))


def stats_of(store: SessionStore) -> Mapping[str, float]:
    """Return what a store has counted in this process since its start; nothing where it counts nothing.

    A store that counts has a method ``stats() -> Mapping[str, float]``. Names are snake case: ``errors_KIND``
    and those in ``_total`` only grow, the others tell what there is now; ``up`` is 1 while the store is trusted.
    They become metrics by their names, summed over all processes.
    """
    stats: Callable[[], Mapping[str, float]] | None = getattr(store, "stats", None)
    return stats() if stats else {}


class SessionStore(Protocol):
    """Where sessions live. One contract suite runs over all of them.

    Each coroutine may raise StoreUnavailable; then nothing is known and nobody is let in.
    """

    async def start(self) -> None:
        """Begin to follow what others do to the sessions. A store that cannot be reached is no error here."""

    def peek(self, token: str) -> Opened | None:
        """Return an opened session from memory, without I/O; None means "ask `load`".

        The caller checks ``until``: memory may hold what has just run out.
        """

    def is_over(self, opened: Opened, now: float) -> bool:
        """Tell whether a session in use has run out or was ended, from memory; for open connections."""

    def is_ours(self, token: str, host: str) -> bool:
        """Tell whether a token authenticates under a key of the ring for ``host``, or for every host.

        The session may have expired, been revoked, or never have been. No I/O; never raises.
        """

    async def load(
        self, token: str, now: float, *, host: str = "", grace: float | None = None, streaming: bool = False
    ) -> Opened:
        """Open a token. Raises BadToken where it is forged, over, revoked, or for another host than ``host``.

        It is IdleSession where a session only was not used for too long, and was not revoked.

        While the store does not answer, what is in memory goes on for a grace time: the configured
        one, or ``grace`` seconds, whichever is shorter; then it is StoreUnavailable. ``streaming`` is for
        responses under way: a token that is closed opens for them, and for nothing else.
        """

    async def keep(self, opened: Opened, seconds: float) -> None:
        """Remember for some time, be the session idle by then, whether it was revoked: a response is under way for it.

        It is used no longer by that. A store that remembers in any case does nothing.
        """

    async def save(self, session: Session, token: str | None = None, *, host: str = "") -> Opened:
        """Store a new session, or with the ``token`` it has a changed one; return it with its cookie's token.

        A new token is for ``host``; one that is renewed stays for the host that it is for, which is ``host`` or
        every host. Raises BadToken where a session that has a token is no longer there: saving never brings one back.
        """

    async def replace(self, old: Session | None, new: Session, *, host: str = "") -> Opened:
        """Store ``new`` and end ``old`` as `revoke` does; return it with the token for the cookie."""

    async def supersede(self, old: Opened, new: Session) -> None:
        """Let ``new``, a session of the same user, take the place of a token.

        New requests are refused to the token from now on, in all processes. What is open under it and the other
        tokens of its session go on, until that or ``new`` is revoked (OWASP ASVS 5.0, 7.2.4).
        """

    def token_for(self, opened: Opened, host: str) -> Opened:
        """Return a session with a further token, which is good for one host."""

    async def revoke(self, session: Session | SessionSummary, *, spare: str = "", alone: bool = False) -> None:
        """End a session, and those that it took the place of or that took its; returns when no restart brings it back.

        The session with the handle ``spare`` stays; with ``alone`` all others do.
        """

    async def revoke_user(self, user: str, now: float) -> None:
        """End every session of ``user`` that was created before or at ``now``."""

    async def revoke_logins(self, marks: Sequence[str], now: float) -> int:
        """End every session created before or at ``now`` whose login bears a mark (`ProviderSession.marks`).

        Returns how many, 0 where the store cannot count them.
        """

    async def revoke_all(self, now: float) -> None:
        """End every session of everybody that was created before or at ``now``."""

    async def list(self, user: str) -> list[SessionSummary]:
        """Return the sessions of ``user`` that are not over, so far as the store knows them, newest first."""

    async def refresh(self) -> None:
        """Learn at once what other processes on this host have ended, where the store is a file."""

    async def check(self) -> None:
        """Raise StoreUnavailable unless the store works."""

    async def close(self) -> None:
        """Give back what the store holds open."""
