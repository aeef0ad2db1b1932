"""What can be prepared for a route at the start, so that a request does not do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from gateway.core.balance import RoundRobin
from gateway.core.header_name import normalised
from gateway.core.limits import Limits
from gateway.core.metrics import RouteCounters
from gateway.core.route import Route
from gateway.core.session import Session
from gateway.proxy.credentials import wanted
from gateway.proxy.pool import UpstreamPool, UpstreamPools
from gateway.proxy.service_workers import WorkerScope
from gateway.sessions.store import Opened, Prepared
from gateway.wire.identity_headers import IdentityHeaders

DOWN_TIME: Final = 5.0
"""Seconds for which an address that could not be reached is tried last."""


class TokenLines(Protocol):
    """Who makes the signed identity tokens."""

    def line(self, session: Session, audience: str, now: float) -> tuple[bytes, float]:
        """Return a header line, and when to ask again by the clock of the event loop. Raises StoreUnavailable."""


class RoutePlan:
    """A route, ready to serve."""

    __slots__ = (
        "_asked", "_balancer", "_empty", "_identity", "_tokens", "accepts", "counters", "drop_headers", "edits",
        "makes_private", "max_body", "name", "pools", "prefix", "route", "set_headers", "worker_scope",
    )  # fmt: skip

    def __init__(
        self,
        route: Route,
        identity: IdentityHeaders,
        counters: RouteCounters,
        pools: UpstreamPools,
        limits: Limits,
        tokens: TokenLines | None = None,
        public_names: frozenset[str] = frozenset(),
    ) -> None:
        self.route = route
        self.name = route.name
        self.counters = counters
        self.accepts = wanted(route.programs, route.name, route.pass_headers)
        """What it accepts from programs, if anything."""
        self.pools = tuple(map(pools.pool, route.upstreams))
        self.max_body = limits.body if route.max_body is None else min(route.max_body, limits.body)
        self.set_headers = tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in route.set_headers)
        changed = (*route.drop_headers, *(name for name, _ in route.set_headers))
        self.drop_headers = frozenset(normalised(name.encode("ascii")) for name in changed)
        self.edits = bool(self.set_headers or self.drop_headers)
        """Whether the route changes the client's header lines."""
        prefix = route.path.rstrip("/")
        self.prefix = f"X-Forwarded-Prefix: {prefix}\r\n".encode("ascii") if route.strip_prefix and prefix else b""
        self.worker_scope = WorkerScope(route, public_names)
        self.makes_private = not (route.cache_as_is or route.control)
        """Whether responses that say nothing about caches become private where there is a session."""
        self._identity = identity
        self._tokens = tokens if route.audience else None
        self._balancer = RoundRobin()
        self._asked = "?" + route.name
        """What a session's lines for those who ask are found by among the prepared ones."""
        self._empty = identity.empty_block()

    def identity_block(self, opened: Opened, now: float) -> bytes:
        """Return the identity header lines for a session, made once per session, or per token.

        ``now`` is the time of the event loop. Raises StoreUnavailable where no token can be made.
        """
        lines = opened.lines
        if lines is None:
            lines = opened.lines = self._identity.block(opened.session.identity)
        if self._tokens is None:
            return lines
        if opened.headers is None:
            opened.headers = {}
        block = opened.headers.get(self.name)
        if block is None or block.stale_at <= now:
            token, stale_at = self._tokens.line(opened.session, self.route.audience, now)
            block = opened.headers[self.name] = Prepared(lines + token, stale_at)
        return block.data

    def whole_identity(self, opened: Opened | None, now: float) -> bytes:
        """Return every configured identity header, empty where there is nothing to say, for a proxy that asks.

        Made once per session, or per token. Raises StoreUnavailable as `identity_block` does.
        """
        if opened is None:
            return self._empty
        prepared = opened.headers
        if prepared is None:
            prepared = opened.headers = {}
        block = prepared.get(self._asked)
        if block is None or block.stale_at <= now:
            lines = self._identity.block(opened.session.identity, whole=True)
            if self._tokens is None:
                block = Prepared(lines + self._identity.no_token)
            else:
                token, stale_at = self._tokens.line(opened.session, self.route.audience, now)
                block = Prepared(lines + token, stale_at)
            prepared[self._asked] = block
        return block.data

    def pools_in_turn(self, now: float) -> Sequence[UpstreamPool]:
        """Return the pools in the order to try them: the one whose turn it is first, those that failed lately last."""
        if len(self.pools) == 1:
            return self.pools
        return sorted(self._balancer.order(self.pools), key=lambda pool: pool.down_until > now)

    def mark_down(self, pool: UpstreamPool, now: float) -> None:
        """Try other addresses first for a while."""
        pool.down_until = now + DOWN_TIME
