"""The pool of upstream connections: bounded, last used first, and every place comes back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.upstream import UpstreamAddress
from gateway.errors import UpstreamError
from gateway.proxy.pool import FRESH, UpstreamPool
from gateway.proxy.upstream_conn import UpstreamConn
from tests.proxy.loopback import LONG, Upstream, pool_for, until

MakePool = Callable[..., UpstreamPool]


@pytest.fixture
async def make_pool(upstream: Upstream) -> AsyncIterator[MakePool]:
    """Make pools for the upstream, which are closed after the test."""
    made: list[UpstreamPool] = []

    def make(**limits: float) -> UpstreamPool:
        made.append(upstream.pool(**limits))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def now() -> float:
    return asyncio.get_running_loop().time()


async def free_places(pool: UpstreamPool, limit: int) -> int:
    """Count how many connections can still be leased without a wait; those are given back."""
    pool._limits = replace(pool._limits, upstream_waiting=0)
    leased: list[UpstreamConn] = []
    while len(leased) <= limit:
        try:
            leased.append(pool.lease_idle(now(), repeatable=True) or await pool.connect(LONG))
        except UpstreamError:
            break
    for conn in leased:
        pool.discard(conn)
    return len(leased)


async def test_the_last_used_is_leased_first(make_pool: MakePool) -> None:
    """Idle connections are a stack: the warmest serves, the others may run out."""
    pool = make_pool()
    first, second, third = [await pool.connect(LONG) for _ in range(3)]
    for conn in (second, third, first):
        pool.release(conn, now())
    assert [pool.lease_idle(now(), repeatable=True) for _ in range(4)] == [first, third, second, None]


async def test_the_limit_holds(make_pool: MakePool, upstream: Upstream) -> None:
    """No more requests are in flight than may be; a place that comes back is given to who waited longest."""
    pool = make_pool(upstream_connections=2, upstream_wait_time=LONG)
    held = [await pool.connect(LONG) for _ in range(2)]
    assert pool.lease_idle(now(), repeatable=True) is None
    waiting = [asyncio.ensure_future(pool.connect(LONG)) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert len(upstream.peers) == 2
    assert not any(task.done() for task in waiting)
    pool.discard(held[0])
    await waiting[0]
    assert not waiting[1].done()
    pool.release(held[1], now())
    await waiting[1]


async def test_who_waited_takes_what_was_given_back(make_pool: MakePool, upstream: Upstream) -> None:
    """Under steady load no more connections are opened than may be in flight."""
    pool = make_pool(upstream_connections=2, upstream_waiting=100, upstream_wait_time=LONG)

    async def ask() -> None:
        conn = pool.lease_idle(now(), repeatable=True) or await pool.connect(LONG)
        await asyncio.sleep(0.001)
        pool.release(conn, now())

    await asyncio.gather(*(ask() for _ in range(60)))
    assert len(upstream.peers) <= 2


async def test_too_many_wait(make_pool: MakePool) -> None:
    """Beyond the limit of those who wait the answer is 503 at once, and nothing was sent."""
    pool = make_pool(upstream_connections=1, upstream_waiting=1, upstream_wait_time=LONG)
    held = await pool.connect(LONG)
    waiting = asyncio.ensure_future(pool.connect(LONG))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamError) as caught:
        await pool.connect(LONG)
    assert (caught.value.status, caught.value.sent) == (503, False)
    pool.discard(held)
    await waiting


async def test_waiting_ends(make_pool: MakePool) -> None:
    """Who gets no place in time gets 503, and is then nobody's place taken."""
    pool = make_pool(upstream_connections=1, upstream_wait_time=0.05)
    held = await pool.connect(LONG)
    with pytest.raises(UpstreamError) as caught:
        await pool.connect(LONG)
    assert (caught.value.status, caught.value.sent) == (503, False)
    pool.discard(held)
    assert await free_places(pool, 1) == 1


@pytest.mark.parametrize("cancel", [True, False])
async def test_who_has_given_up_makes_room(make_pool: MakePool, cancel: bool) -> None:
    """Requests whose wait has ended do not count among those who wait."""
    pool = make_pool(upstream_connections=1, upstream_waiting=2, upstream_wait_time=LONG if cancel else 0.03)
    held = await pool.connect(LONG)
    for _ in range(3):
        waiting = [asyncio.ensure_future(pool.connect(LONG)) for _ in range(2)]
        await asyncio.sleep(0.01)
        if cancel:
            for task in waiting:
                task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert not any("too many" in str(result) for result in results)
    pool.discard(held)


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_connect_gives_its_place_back(make_pool: MakePool, upstream: Upstream, steps: int) -> None:
    """At whatever step a request is given up while it connects, its place and its connection come back."""
    pool = make_pool(upstream_connections=1, upstream_wait_time=0.05)
    task = asyncio.ensure_future(pool.connect(LONG))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(result, UpstreamConn):
        pool.discard(result)
    else:
        assert isinstance(result, asyncio.CancelledError)
    assert await free_places(pool, 1) == 1
    for peer in list(upstream.peers):
        assert await peer.is_closed()


@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize("given_first", [True, False])
async def test_a_cancelled_wait_gives_its_place_back(make_pool: MakePool, steps: int, given_first: bool) -> None:
    """A request given up while it waits, or in the moment in which it gets its place, loses nothing."""
    pool = make_pool(upstream_connections=1, upstream_wait_time=LONG)
    held = await pool.connect(LONG)
    first, second = (asyncio.ensure_future(pool.connect(LONG)) for _ in range(2))
    await asyncio.sleep(0.01)
    if given_first:
        pool.discard(held)
    for _ in range(steps):
        await asyncio.sleep(0)
    first.cancel()
    if not given_first:
        pool.discard(held)
    (result,) = await asyncio.gather(first, return_exceptions=True)
    if isinstance(result, UpstreamConn):
        pool.discard(result)
    pool.discard(await second)
    assert await free_places(pool, 1) == 1


async def test_all_who_wait_are_cancelled_at_once(make_pool: MakePool) -> None:
    """Many that give up together leave every place free."""
    pool = make_pool(upstream_connections=3, upstream_wait_time=LONG)
    held = [await pool.connect(LONG) for _ in range(3)]
    waiting = [asyncio.ensure_future(pool.connect(LONG)) for _ in range(20)]
    await asyncio.sleep(0.01)
    for conn in held:
        pool.release(conn, now())
    for task in waiting:
        task.cancel()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        if isinstance(result, UpstreamConn):
            pool.discard(result)
    assert await free_places(pool, 3) == 3


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\n", b"x" * 100_000])
async def test_words_that_nobody_asked_for(make_pool: MakePool, upstream: Upstream, data: bytes) -> None:
    """Bytes on an idle connection are no answer to anything: it is closed (RFC 9112 §9.2)."""
    pool = make_pool()
    conn = await pool.connect(LONG)
    peer = await upstream.peer()
    pool.release(conn, now())
    peer.writer.write(data)
    assert await peer.is_closed()
    assert pool.lease_idle(now(), repeatable=True) is None


async def test_words_before_the_lease_ends(make_pool: MakePool, upstream: Upstream) -> None:
    """What came beyond the answer while the connection was leased closes it when it is given back."""
    pool = make_pool()
    conn = await pool.connect(LONG)
    peer = await upstream.peer()
    await peer.say(b"surplus")
    await until(lambda: not conn.is_usable())
    pool.release(conn, now())
    assert pool.lease_idle(now(), repeatable=True) is None
    assert await peer.is_closed()


@pytest.mark.parametrize("how", ["close", "abort", "half"])
async def test_an_upstream_that_has_closed(make_pool: MakePool, upstream: Upstream, how: str) -> None:
    """A connection that the upstream has closed is not leased again."""
    pool = make_pool()
    conn = await pool.connect(LONG)
    peer = await upstream.peer()
    pool.release(conn, now())
    if how == "half":
        peer.writer.write_eof()
    elif how == "close":
        peer.writer.close()
    else:
        peer.writer.transport.abort()
    await until(conn.has_ended)
    assert pool.lease_idle(now(), repeatable=True) is None
    assert await free_places(pool, 1) >= 1


async def test_only_a_fresh_connection_for_what_cannot_be_repeated(make_pool: MakePool) -> None:
    """A POST gets no connection that may be about to be closed; a GET does, and leaves it in the pool until then."""
    pool = make_pool()
    conn = await pool.connect(LONG)
    since = now()
    pool.release(conn, since)
    assert pool.lease_idle(since + FRESH + 0.01, repeatable=False) is None
    assert pool.lease_idle(since + FRESH + 0.01, repeatable=True) is conn
    pool.release(conn, since)
    assert pool.lease_idle(since + FRESH - 0.01, repeatable=False) is conn


async def test_idle_connections_run_out(make_pool: MakePool, upstream: Upstream) -> None:
    """What was not used for the idle time is closed, what was is kept, and closing closes all."""
    pool = make_pool(upstream_idle_time=60)
    old, new = await pool.connect(LONG), await pool.connect(LONG)
    peers = [await upstream.peer(), await upstream.peer()]
    pool.release(old, now() - 61)
    pool.release(new, now() - 59)
    pool.sweep(now())
    assert await peers[0].is_closed()
    assert new.is_usable()
    pool.close()
    assert await peers[1].is_closed()
    assert pool.lease_idle(now(), repeatable=True) is None


async def test_idle_connections_are_bounded(make_pool: MakePool) -> None:
    """After a burst of tunnels no more connections lie idle than may be in flight."""
    pool = make_pool(upstream_connections=2)
    held = []
    for _ in range(6):
        held.append(await pool.connect(LONG))
        pool.detach()
    for conn in held:
        pool.release(conn, now())
    assert sum(conn.is_usable() for conn in held) <= 2


async def test_a_discarded_connection_is_closed(make_pool: MakePool, upstream: Upstream) -> None:
    """In the middle of an exchange the upstream is left in no doubt."""
    pool = make_pool(upstream_connections=1)
    pool.discard(await pool.connect(LONG))
    assert await (await upstream.peer()).is_closed()
    assert await free_places(pool, 1) == 1


async def test_a_tunnel_takes_no_place(make_pool: MakePool, upstream: Upstream) -> None:
    """A connection that has become a tunnel lives on, and does not count."""
    pool = make_pool(upstream_connections=1)
    conn = await pool.connect(LONG)
    peer = await upstream.peer()
    pool.detach()
    assert await free_places(pool, 1) == 1
    conn.send(b"hello")
    assert await peer.hear(5) == b"hello"
    conn.close()


async def test_nobody_listens(make_pool: MakePool) -> None:
    """A refused connection is 502, nothing was sent, and the place comes back."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        pool = pool_for(UpstreamAddress("127.0.0.1", bound.getsockname()[1]), upstream_connections=1)
        for _ in range(3):
            with pytest.raises(UpstreamError) as caught:
                await pool.connect(LONG)
            assert (caught.value.status, caught.value.sent) == (502, False)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "a..b", ""])
async def test_a_name_that_is_none(host: str) -> None:
    """A host that has no address is 502, whatever is wrong with its name."""
    pool = pool_for(UpstreamAddress(host, 1))
    with pytest.raises(UpstreamError) as caught:
        await pool.connect(LONG)
    assert caught.value.status == 502


async def test_a_host_that_never_answers() -> None:
    """Connecting ends after its time with 504, and the place comes back."""
    loop = asyncio.get_running_loop()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        crowd = [socket.socket() for _ in range(8)]  # they fill the queue of who waits to be accepted
        for client in crowd:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        pool = pool_for(UpstreamAddress("127.0.0.1", full.getsockname()[1]), upstream_connections=1)
        begun = loop.time()
        for _ in range(2):
            with pytest.raises(UpstreamError) as caught:
                await pool.connect(0.1)
            assert (caught.value.status, caught.value.sent) == (504, False)
        assert loop.time() - begun < LONG
        for client in crowd:
            client.close()


async def test_a_unix_socket(tmp_path: Path) -> None:
    """An upstream may be a unix socket; one that is not there is 502."""
    path = str(tmp_path / "app.sock")
    pool = pool_for(UpstreamAddress(path=path))
    with pytest.raises(UpstreamError) as caught:
        await pool.connect(LONG)
    assert caught.value.status == 502
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_unix_server(lambda _, writer: accepted.put_nowait(writer), path)
    conn = await pool.connect(LONG)
    assert conn.is_usable()
    pool.discard(conn)
    (await accepted.get()).transport.abort()
    server.close()
