"""Asking the running gateway on its admin listener. Plain sockets: a health check has to start fast."""

# ruff: noqa: PLC0415 -- imported at need, see the package
from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.common import or_hint
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.settings import ListenAddress

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 30.0
"""More than the gateway waits for its session store."""
MAX_ANSWER = 16 * 1024 * 1024
_WILDCARDS = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}
"""Where a listener on all addresses is reached from the same machine."""


class NoAnswer(GatewayError):
    """The running gateway cannot be asked."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The admin listener of a running gateway."""

    address: ListenAddress
    token: str | None = field(repr=False)


def find_listener(config: Path) -> Listener:
    """Return where the admin listener is. Raises ConfigError, or NoAnswer where there is none."""
    from gateway.settings import load_admin_access

    access = or_hint(config, load_admin_access)
    if access.address is None:
        raise NoAnswer(f"{config}: admin_listen is null, so a running gateway cannot be asked")
    if not access.address.path and not access.address.port:
        text = "has port 0, so only the running gateway knows which one it took; write a port that is always the same"
        raise NoAnswer(f"{config}: admin_listen {text}")
    return Listener(access.address, access.token)


def ask(listener: Listener, method: str, target: str, seconds: float = ANSWER_SECONDS) -> tuple[int, bytes]:
    """Send a request to the admin listener; return status and body. Raises NoAnswer.

    ``target`` is path and query, encoded already.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "User-Agent: gateway-cli", "Connection: close"]
    if listener.token:
        lines.append(f"Authorization: Bearer {listener.token}")
    head = "".join(f"{line}\r\n" for line in [*lines, ""])
    address = listener.address
    try:
        with _connect(address) as sock:
            sock.settimeout(seconds)
            sock.sendall(head.encode("ascii"))
            return _answer(sock, address)
    except TimeoutError:
        raise NoAnswer(f"{address}: no answer in time") from None
    except ConnectionRefusedError:
        raise NoAnswer(f"{address}: nothing listens there (admin_listen): is the gateway running?") from None
    except FileNotFoundError:
        raise NoAnswer(f"{address}: there is no such socket (admin_listen): is the gateway running?") from None
    except OSError as error:
        raise NoAnswer(f"{address}: {error.strerror or error}") from None


def _connect(address: ListenAddress) -> socket.socket:
    if address.path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(CONNECT_SECONDS)
            sock.connect(address.path)
        except BaseException:
            sock.close()
            raise
        return sock
    *others, last = _WILDCARDS.get(address.host, (address.host,))
    for host in others:
        try:
            return socket.create_connection((host, address.port), CONNECT_SECONDS)
        except OSError:
            continue
    return socket.create_connection((last, address.port), CONNECT_SECONDS)


def _answer(sock: socket.socket, address: ListenAddress) -> tuple[int, bytes]:
    """Read an answer to the end of its connection."""
    data = bytearray()
    while piece := sock.recv(65536):
        data += piece
        if len(data) > MAX_ANSWER:
            break
    head, end, body = bytes(data).partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not end or not head.startswith(b"HTTP/1.1 ") or not words[1].isdigit():
        raise NoAnswer(f"{address}: what listens there does not answer as a gateway does")
    return int(words[1]), body
