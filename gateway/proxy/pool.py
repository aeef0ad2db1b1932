"""Connections to one upstream address: leased in O(1), the last used first, bounded.

A lease comes back on every path: `UpstreamPool.release` keeps the connection, `discard` closes it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Final

from gateway.core.limits import Limits
from gateway.core.upstream import UpstreamAddress
from gateway.errors import UpstreamError
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.tls import client_context
from gateway.wire.head import AnswerParser

EVER: Final = float("-inf")
FRESH: Final = 1.0
"""Seconds of idleness up to which a connection is trusted with a request that cannot be repeated.

Servers close idle connections after 2 s (gunicorn), 5 s (Node) and more; a POST must not meet that close.
"""


class UpstreamPool:
    """The connections to one address."""

    def __init__(
        self, address: UpstreamAddress, parser: AnswerParser, limits: Limits, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.address = address
        self.loop = loop
        self.down_until = 0.0
        """Until when other addresses are preferred, because connecting failed; loop time."""
        self._parser = parser
        self._limits = limits
        self._tls = tls_context(address) if address.tls else None
        self._idle: list[UpstreamConn] = []
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def lease_idle(self, now: float, *, repeatable: bool) -> UpstreamConn | None:
        """Return an idle connection, or None. One that is not ``repeatable`` gets a fresh one only."""
        if self._in_flight >= self._limits.upstream_connections:
            return None
        conn = self._take_idle(EVER if repeatable else now - FRESH)
        if conn is not None:
            self._in_flight += 1
        return conn

    def _take_idle(self, since: float) -> UpstreamConn | None:
        """Lease the connection that was used last, if it is usable and was idle no earlier than ``since``."""
        idle = self._idle
        while idle:
            conn = idle[-1]
            if conn.is_usable():
                if conn.idle_since < since:
                    return None
                idle.pop()
                conn.lease()
                return conn
            idle.pop()
        return None

    async def connect(self, seconds: float) -> UpstreamConn:
        """Open and lease a connection; within ``seconds``.

        Raises UpstreamError: 502 refused or bad certificate, 504 too slow, 503 too many waiting.
        """
        if await self._slot():
            # Somebody gave a connection back while we waited for a place.
            idle = self._take_idle(self.loop.time() - FRESH)
            if idle is not None:
                return idle
        try:
            async with asyncio.timeout(seconds):
                conn = await self._open()
        except TimeoutError as error:
            self._give_slot_back()
            raise UpstreamError(504, f"{self.address}: no connection within {seconds:g} s", sent=False) from error
        except (OSError, ssl.SSLError, UnicodeError) as error:
            self._give_slot_back()
            raise UpstreamError(502, f"{self.address}: {error}", sent=False) from error
        except BaseException:
            self._give_slot_back()
            raise
        conn.lease()
        return conn

    async def _open(self) -> UpstreamConn:
        address = self.address
        name = (address.tls.server_name or address.host) if address.tls else None

        def make() -> UpstreamConn:
            return UpstreamConn(self, self._parser, self._limits)

        if address.path:
            _, conn = await self.loop.create_unix_connection(
                make, address.path, ssl=self._tls, server_hostname=name or ("localhost" if self._tls else None)
            )
        else:
            _, conn = await self.loop.create_connection(
                make, address.host, address.port, ssl=self._tls, server_hostname=name
            )
        if conn.transport is not None:
            conn.transport.set_write_buffer_limits(high=self._limits.write_buffer)
        return conn

    async def _slot(self) -> bool:
        """Take a place among the requests in flight; return whether it had to be waited for."""
        if self._in_flight < self._limits.upstream_connections:
            self._in_flight += 1
            return False
        if len(self._waiting) >= self._limits.upstream_waiting:
            raise UpstreamError(503, f"{self.address}: too many requests wait", sent=False)
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._limits.upstream_wait_time):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self._give_slot_back()
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if isinstance(error, TimeoutError):
                raise UpstreamError(503, f"{self.address}: all connections are busy", sent=False) from error
            raise
        return True

    def _give_slot_back(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._in_flight -= 1

    def release(self, conn: UpstreamConn, now: float) -> None:
        """Take back a connection whose answer is complete and that may serve another request."""
        conn.leased = False
        conn.sink = None
        conn.source = None
        if conn.is_usable() and len(self._idle) < self._limits.upstream_connections:
            conn.idle_since = now
            conn.resume()
            self._idle.append(conn)
        else:
            conn.close()
        self._give_slot_back()

    def discard(self, conn: UpstreamConn) -> None:
        """Close a leased connection."""
        conn.leased = False
        conn.sink = None
        conn.source = None
        conn.close()
        self._give_slot_back()

    def detach(self) -> None:
        """Give back the place of a connection that has become a tunnel; it no longer counts here."""
        self._give_slot_back()

    def forget(self, conn: UpstreamConn) -> None:
        """Drop an idle connection that has closed."""
        if not conn.leased and conn in self._idle:
            self._idle.remove(conn)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        limit = now - self._limits.upstream_idle_time
        for conn in [conn for conn in self._idle if conn.idle_since < limit]:
            conn.close()

    def close(self) -> None:
        """Close all idle connections."""
        for conn in list(self._idle):
            conn.close()


class UpstreamPools:
    """The pools of a data plane: one for each address, however many routes lead there.

    The limits on requests in flight are per address, and a connection that one route has left is good for another.
    """

    def __init__(self, parser: AnswerParser, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._parser = parser
        self._limits = limits
        self._loop = loop
        self._by_address: dict[UpstreamAddress, UpstreamPool] = {}

    def pool(self, address: UpstreamAddress) -> UpstreamPool:
        """Return the pool of an address. Raises OSError or ssl.SSLError for unusable certificate files."""
        found = self._by_address.get(address)
        if found is None:
            found = self._by_address[address] = UpstreamPool(address, self._parser, self._limits, self._loop)
        return found

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        for pool in self._by_address.values():
            pool.sweep(now)

    def close(self) -> None:
        """Close all idle connections."""
        for pool in self._by_address.values():
            pool.close()


def tls_context(address: UpstreamAddress) -> ssl.SSLContext:
    """Return the context for an https upstream. Raises OSError or ssl.SSLError for unusable files."""
    tls = address.tls
    context = client_context(tls.ca if tls else None)
    if tls and tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
