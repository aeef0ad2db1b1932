"""Which way Redis should tell gateways of changed sessions: by prefix (BCAST), or by what each has read.

    python -m bench.redis_tracking [--sessions 100000] [--followers 8]

Needs redis-server. Prints a table; docs/redis.md holds the figures that decided.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.sessions.redis_wire import Connection, Disconnected, Greeting, Node, connect

HOST = "127.0.0.1"
RECORD = os.urandom(400)
PREFIX = "gateway:s:"
WRITES = 50_000
AT_ONCE = 500
NOT, BY_PREFIX, READ = "not at all", "by prefix", "by what was read"
SHARED = ", each gateway a share"


@dataclass(slots=True)
class Told:
    """What followers were told."""

    keys: int = 0


@contextmanager
def server() -> Iterator[Node]:
    """Run a redis-server on a free port."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        node = (HOST, sock.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        options = ("--port", str(node[1]), "--bind", HOST, "--save", "", "--loglevel", "warning")
        process = subprocess.Popen(["redis-server", *options], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            yield node
        finally:
            process.terminate()
            process.wait()


async def reach(node: Node, follow: str, told: Told) -> Connection:
    """Connect, as soon as the server is there."""

    def push(message: list[object]) -> None:
        keys = message[1]
        told.keys += len(keys) if isinstance(keys, list) else 0

    while True:
        try:
            return await connect(node, None, Greeting(follow=follow), push, limit=1.0)
        except (OSError, Disconnected):
            await asyncio.sleep(0.05)


async def in_pieces(connection: Connection, commands: Iterator[tuple[str | bytes | int, ...]]) -> None:
    """Send commands, some at a time."""
    while some := [connection.send(*words) for _, words in zip(range(AT_ONCE), commands, strict=False)]:
        await asyncio.gather(*some)


async def info(connection: Connection, section: str) -> dict[str, float]:
    """Return the numbers of a section of INFO."""
    text = (await connection.send("INFO", section)).decode()
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: float(value) for name, value in pairs if value.replace(".", "", 1).isdigit()}


def key(number: int) -> str:
    """Return the key of a session."""
    return f"{PREFIX}{number:032x}"


async def measure(way: str, sessions: int, followers: int) -> str:
    """Return a row of the table."""
    told = Told()
    with server() as node:
        admin = await reach(node, "", Told())
        await in_pieces(admin, (("SET", key(number), RECORD, "PX", 1_800_000) for number in range(sessions)))
        before = await info(admin, "memory")
        links = [await reach(node, PREFIX if way == BY_PREFIX else "", told) for _ in range(followers)]
        begin = time.process_time()
        for index, link in enumerate(links if way.startswith(READ) else ()):
            known = range(index, sessions, followers) if way.endswith(SHARED) else range(sessions)
            await link.send("CLIENT", "TRACKING", "ON", "NOLOOP")
            await in_pieces(link, (("GET", key(number)) for number in known))
        learning = time.process_time() - begin
        memory = (await info(admin, "memory"))["used_memory"] - before["used_memory"]
        cpu, own = await info(admin, "cpu"), time.process_time()
        renewals = (("SET", key(number % sessions), RECORD, "XX", "PX", 1_800_000) for number in range(WRITES))
        await in_pieces(admin, renewals)
        for link in links:
            await link.send("PING")
        own = time.process_time() - own
        after = await info(admin, "cpu")
        for link in (*links, admin):
            link.abort()
    spent = sum(after[name] - cpu[name] for name in ("used_cpu_user", "used_cpu_sys"))
    return (
        f"| {way} | {memory / 2**20:.1f} MiB | {learning:.1f} s | {spent / WRITES * 1e6:.1f} µs "
        f"| {own / WRITES * 1e6:.1f} µs | {told.keys / WRITES:.2f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--followers", type=int, default=8)
    options = parser.parse_args()
    print(f"{options.sessions} sessions, {options.followers} gateways that know them, {WRITES} renewals")
    print(
        "| told | memory in Redis | to learn | Redis, CPU per renewal | gateways, CPU per renewal | news per renewal |"
    )
    print("|---|---|---|---|---|---|")
    for way in (NOT, BY_PREFIX, READ, READ + SHARED):
        count = 0 if way == NOT else options.followers
        print(asyncio.run(measure(way, options.sessions, count)))


if __name__ == "__main__":
    main()
