"""Time limits are reckoned from the last sweep, and yet never take effect early."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.proxy.loopback import LONG, Upstream
from tests.proxy.planes import running_plane
from tests.support.gateway import route
from tests.support.messages import Request
from tests.support.upstream import OK, RecorderUpstream

LIMIT = 0.2
GET = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def _ask(port: int, stands_still: float = 0.0) -> tuple[int, float]:
    """Return the status of one request, and how long it took; it comes while the process stands still."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.01)
    started = time.monotonic()
    writer.write(GET)
    time.sleep(stands_still)  # noqa: ASYNC251 - that is how a process stands still
    async with asyncio.timeout(LONG):
        answer = await reader.read()
    writer.close()
    return int(answer.split()[1]), time.monotonic() - started


async def test_no_limit_takes_effect_early(tmp_path: Path, upstream: Upstream) -> None:
    """Whenever between two sweeps a request comes, its upstream has all the time that the route gives it."""
    slow = route(
        "app", "/", f"http://127.0.0.1:{upstream.address.port}", public=True, timeout={"response": f"{LIMIT:g}s"}
    )

    async def later(port: int, seconds: float) -> tuple[int, float]:
        await asyncio.sleep(seconds)
        return await _ask(port)

    async with running_plane(tmp_path, slow) as (_, port):
        answers = await asyncio.gather(*[later(port, tenth * 0.025) for tenth in range(20)])
    assert {status for status, _ in answers} == {504}
    assert min(seconds for _, seconds in answers) >= LIMIT


async def test_time_that_the_process_did_not_get_is_nobodys(tmp_path: Path) -> None:
    """A request that came while the process stood still is not over the limit once it goes on."""

    def answer(_: Request) -> bytes:
        time.sleep(LIMIT / 4)  # in a thread of its own
        return OK

    with RecorderUpstream(answer) as upstream:
        slow = route("app", "/", upstream.url, public=True, timeout={"response": f"{4 * LIMIT:g}s"})
        async with running_plane(tmp_path, slow) as (_, port):
            for _ in range(3):
                assert (await _ask(port, stands_still=8 * LIMIT))[0] == 200
