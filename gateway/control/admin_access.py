"""Who may use the admin API: whoever has the token; without one, programs of this machine.

Without a token, being on loopback is all the proof there is. So a request is refused if it could have been
made by somebody else through something on this machine: a proxy that forwards to the admin port, a browser
that a foreign page tells to (CSRF), or a name that points to 127.0.0.1 to fool one (DNS rebinding).
"""

from __future__ import annotations

import hmac
import socket
from dataclasses import dataclass
from hashlib import sha256

from aiohttp import hdrs, web

from gateway.control.facts import host_name
from gateway.core.peer import parse_address

CHALLENGE = 'Bearer realm="gateway admin"'
UNIX = "unix socket"
_BY_PROXIES = ("forwarded", "via", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody may not use the admin API."""

    status: int
    reason: str
    challenge: str = ""
    """The value of WWW-Authenticate, with 401."""


def refusal(request: web.Request, token: str | None) -> Refusal | None:
    """Return why a request is refused, or None. With a token, it is the token that counts, and nothing else."""
    if token is not None:
        return _without_token(request, token)
    reason = _not_of_this_machine(request)
    return Refusal(403, f"{reason}; set admin_token in the configuration to let others in") if reason else None


def peer_of(request: web.Request) -> str:
    """Return the address that a connection comes from, or `UNIX`."""
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport else None
    if sock is not None and sock.family == socket.AF_UNIX:
        return UNIX
    name = transport.get_extra_info("peername") if transport else None
    return str(name[0]) if name else ""


def _without_token(request: web.Request, token: str) -> Refusal | None:
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not given:
        return Refusal(401, "no token: send Authorization: Bearer and the admin_token", CHALLENGE)
    scheme, _, value = given[0].partition(" ")
    # Digests have one length, so that not even that of the token is told by the time it takes.
    right = hmac.compare_digest(_digest(value.strip()), _digest(token))
    if len(given) > 1 or scheme.lower() != "bearer" or not right:
        return Refusal(401, "not the token", f'{CHALLENGE}, error="invalid_token"')
    return None


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


def _not_of_this_machine(request: web.Request) -> str:
    """Return what speaks against a request being made by a program of this machine, or nothing."""
    peer = peer_of(request)
    address = parse_address(peer)
    if peer != UNIX and (address is None or not address.is_loopback):
        return "not from this machine"
    names = {name.lower() for name in request.headers}
    if any(name.startswith("x-forwarded-") or name in _BY_PROXIES for name in names):
        return "passed on by a proxy"
    if hdrs.ORIGIN in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
        return "made by a page in a browser"
    if peer != UNIX and not _names_loopback(request):
        return "its Host is not this machine"
    return ""


def _names_loopback(request: web.Request) -> bool:
    hosts = request.headers.getall(hdrs.HOST, [])
    if len(hosts) != 1:
        return False
    name = host_name(hosts[0])
    address = parse_address(name.strip("[]"))
    return name == "localhost" or (address is not None and address.is_loopback)
