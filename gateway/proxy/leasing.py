"""Leasing a connection to one of an app's addresses."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.retry import may_replay
from gateway.errors import UpstreamError
from gateway.proxy.downstream import Downstream
from gateway.proxy.plan import RoutePlan
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.wire.head import RequestHead


def lease_idle(client: Downstream, head: RequestHead, pool: UpstreamPool) -> UpstreamConn | None:
    """Lease an idle connection to an address; None if there is none."""
    repeatable = may_replay(head.method, has_body=client.upload is not None)
    conn = pool.lease_idle(client.plane.now, repeatable=repeatable)
    client.upstream = conn
    return conn


def may_replace(client: Downstream, head: RequestHead, conn: UpstreamConn, error: UpstreamError) -> bool:
    """Tell whether a request may be sent again over another connection than ``conn``.

    It may not where that one was new, where a response had begun, or where method or body forbid it (RFC 9110 §9.2.2).
    """
    if conn.requests < 2 or conn.answered or error.status != 502:
        return False
    return may_replay(head.method, has_body=client.upload is not None)


async def connect(client: Downstream, plan: RoutePlan, pools: Sequence[UpstreamPool]) -> UpstreamConn:
    """Connect to one address after the other until one answers. Raises UpstreamError; nothing was sent."""
    failure: UpstreamError | None = None
    for pool in pools:
        try:
            client.upstream = conn = await pool.connect(plan.route.connect_timeout)
        except UpstreamError as error:
            plan.counters.upstream_error("connect")
            if error.status != 503:
                plan.mark_down(pool, client.plane.now)
            failure = error
        else:
            return conn
    raise failure or UpstreamError(502, "no address", sent=False)
