"""Listening sockets: binding them, saying clearly why not, and what they are called."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from gateway.errors import ConfigError, Problem
from gateway.settings import ListenAddress

BACKLOG = 1024


def bind(address: ListenAddress, where: str, key: str) -> socket.socket:
    """Return a bound socket for a listen address. Raises ConfigError that says why not, and in which line."""
    try:
        if address.path:
            return _bind_unix(address.path)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host == "::" else 1)
        sock.bind((address.host, address.port))
    except OSError as error:
        text = f"{address} cannot be listened on: {error.strerror or error}"
        raise ConfigError([Problem(where, key, text)]) from error
    return _listening(sock)


def _bind_unix(path: str) -> socket.socket:
    """Bind a unix socket; one left over by a gateway that is gone is replaced, one in use is not."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except FileNotFoundError:
        pass
    except ConnectionRefusedError:
        Path(path).unlink()
    else:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    finally:
        probe.close()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    Path(path).chmod(0o660)
    return _listening(sock)


def _listening(sock: socket.socket) -> socket.socket:
    """Let connections queue up from now on: also while no worker is there to take them."""
    sock.setblocking(False)
    sock.listen(BACKLOG)
    return sock


def close_listener(sock: socket.socket) -> None:
    """Close a listening socket; a unix socket's file goes with it."""
    name = sock.getsockname() if sock.family == socket.AF_UNIX else None
    sock.close()
    if name:
        Path(name).unlink(missing_ok=True)


def url_of(sock: socket.socket, scheme: str) -> str:
    """Return the address a socket is bound to, as a URL; that of a unix socket has no scheme to tell of TLS."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name} (TLS)" if scheme == "https" else f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"
