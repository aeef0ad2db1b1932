"""Memory of idle keep-alive connections: resident memory before and after thousands of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bench.contestants.contestant import Contestant
from bench.process import BenchError

END_TIME = 10.0
SETTLE_TIME = 1.0


def request_bytes(headers: Mapping[str, str]) -> bytes:
    """Return one GET with these headers."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return ("GET / HTTP/1.1\r\n" + "".join(lines) + "\r\n").encode()


@contextmanager
def held_connections(port: int, count: int, core: int, request: bytes) -> Iterator[None]:
    """Hold connections that were answered once each. Raises BenchError where one was not."""
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "bench.idle_client", str(port), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin
        assert client.stdout
        try:
            client.stdin.write(f"{len(request)}\n".encode() + request)
            client.stdin.flush()
            said = client.stdout.readline().decode().strip()
            if said != f"holding {count}":
                raise BenchError(f"of {count} idle connections: {said or 'nothing'}")
            yield
        finally:
            client.stdin.close()
            try:
                client.wait(END_TIME)
            except subprocess.TimeoutExpired:
                client.kill()


def bytes_per_connection(contestant: Contestant, count: int, core: int, headers: Mapping[str, str]) -> float:
    """Return how much resident memory each of ``count`` idle connections added.

    A hundred come and go first, so that what is made once per process is not counted.
    """
    request = request_bytes({"Host": f"127.0.0.1:{contestant.port}", **headers})
    with held_connections(contestant.port, 100, core, request):
        pass
    time.sleep(SETTLE_TIME)
    before = contestant.process.resident_kib()
    with held_connections(contestant.port, count, core, request):
        time.sleep(SETTLE_TIME)
        after = contestant.process.resident_kib()
    return (after - before) * 1024 / count
