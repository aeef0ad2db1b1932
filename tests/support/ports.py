"""Free ports of loopback that stay free: below those that the kernel gives to whoever asks for any.

A server that comes back under its address, and a program that is told its port, would else now and then find the port
taken by a connection that somebody has opened meanwhile.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
TRIES = 100
_FIRST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_random = random.SystemRandom()


def _candidates() -> list[int]:
    """Return some ports to try; that of the kernel's choice where nearly all are its own."""
    ports = range(_FIRST, int(_RANGE.read_text().split()[0]))
    return _random.sample(ports, TRIES) if len(ports) >= 10 * TRIES else [0] * TRIES


def listen(port: int = 0) -> socket.socket:
    """Return a socket that is bound to a port, or to one that nobody uses, and does not listen yet."""
    ports = [port] if port else _candidates()
    for number in ports:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, number))
        except OSError:
            sock.close()
        else:
            return sock
    raise AssertionError(f"taken: {ports}")


def free_port() -> int:
    """Return a port that nobody uses."""
    with listen() as sock:
        return int(sock.getsockname()[1])
