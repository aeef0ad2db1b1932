"""Hosts, origins, paths, listeners and upstreams: from text to values, or a Misfit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from gateway.core.route import GATEWAY_PREFIX
from gateway.core.upstream import UpstreamAddress, UpstreamTls
from gateway.settings.misfit import Misfit, not_a

ADMIN_LISTEN = "127.0.0.1:9090"
"""The default of ``admin_listen``."""
MAX_PORT = 65535
DEFAULT_PORTS = {"http": 80, "https": 443}

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\\]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,9}))?")
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()+,=:@/]*")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen: a host (or address) and a port, 0 for any free one, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"{bracketed(self.host)}:{self.port}"

    def overlaps(self, other: ListenAddress) -> bool:
        """Tell whether both cannot be listened on at once."""
        if self.path or other.path:
            return self.path == other.path
        same = self.host == other.host or bool({self.host, other.host} & {"0.0.0.0", "::"})
        return same and self.port == other.port != 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL. The host is lower case, an IPv6 address in brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return it as a browser's Origin field does (RFC 6454 §6.2)."""
        return f"{self.scheme}://{self.host}" + ("" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}")


def bracketed(host: str) -> str:
    """Return a host as it stands in front of a port."""
    return f"[{host}]" if ":" in host else host


def host_name(value: str) -> str:
    """Return a host name or address, an IPv6 address in brackets. Raises Misfit unless it is lower case."""
    if value != value.lower():
        raise not_a(f"a host in lower case: write {value.lower()}" if value.isascii() else "a host in lower case")
    if value.startswith("[") and value.endswith("]"):
        return f"[{_ipv6(value[1:-1])}]"
    labels = value.split(".")
    if not value.isascii():
        raise not_a("a host in its ASCII form (xn--…)")
    if len(value) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise not_a("a host: write app.example.com, 192.0.2.1 or [2001:db8::1]")
    # A browser takes a name whose last label is a number for an IPv4 address (WHATWG URL §3.5).
    if labels[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", labels[-1]):
        try:
            return str(IPv4Address(value))
        except ValueError:
            raise not_a("a host: it ends in a number, but is no IPv4 address") from None
    return value


def _ipv6(value: str) -> str:
    try:
        address = IPv6Address(value)
    except ValueError:
        raise not_a("a host: no IPv6 address stands in the brackets") from None
    if address.scope_id:
        raise not_a("a host: an IPv6 address has no zone here")
    return str(address)


def route_host(value: object) -> str:
    """Return the host of a route: a name, an address, or ``*.`` and a name."""
    if not isinstance(value, str) or not value:
        raise Misfit("should be a host, as app.example.com; to serve every configured host, leave the key out")
    if "://" in value or "/" in value:
        raise not_a("a host: leave out the scheme and the path")
    if re.search(r"[^\]:]:[0-9]*$|\]:[0-9]*$", value):
        raise not_a("a host: leave out the port")
    if value == "*":
        raise not_a("a host: to serve every configured host, leave the key out")
    wild = value.startswith("*.")
    bare = value.removeprefix("*.")
    if "*" in bare:
        raise not_a("a host: * may only stand in front, as in *.example.com")
    name = host_name(bare)
    if wild and (name.startswith("[") or name[-1].isdigit()):
        raise not_a("a host: *. stands in front of a name, not of an address")
    return f"*.{name}" if wild else name


def server_name(value: object) -> str:
    """Return the name that an upstream's certificate must bear."""
    if not isinstance(value, str):
        raise not_a("a host: write app.example.com")
    return host_name(value).strip("[]")


def cookie_domain(value: object) -> str:
    """Return the domain of a cookie, without a dot in front."""
    if not isinstance(value, str) or not value:
        raise Misfit("should be a domain, as example.com, or null")
    name = host_name(value.removeprefix("."))
    if value.startswith("."):
        raise not_a(f"a domain as it is written here: leave out the dot in front, write {name}")
    if "." not in name or name.startswith("[") or name[-1].isdigit():
        raise not_a("a domain that browsers accept for a cookie: write one with a dot in it, as example.com, or null")
    return name


def origin(value: object) -> Origin:
    """Return an origin: ``https://app.example.com``, with a port where it is not the scheme's own."""
    found, rest = _split(value, ("http", "https"), "an origin: write https://app.example.com")
    if rest:
        raise not_a(f"an origin, for it has a path: write {found}")
    return found


def public_url(value: object) -> Origin:
    """Return the origin people reach the gateway by; a final slash is forgiven."""
    found, rest = _split(value, ("http", "https"), "a URL: write https://gateway.example.com")
    if rest not in ("", "/"):
        raise not_a(f"a URL without a path: write {found}")
    return found


def upstream_address(value: object) -> UpstreamAddress:
    """Return one address of an upstream; a relative socket path stays as it is."""
    expected = "an upstream: write http://host:port, https://host:port or unix:/path.sock"
    if not isinstance(value, str):
        raise not_a(expected)
    if value.startswith("unix:"):
        return UpstreamAddress(path=_socket_path(value))
    found, rest = _split(value, ("http", "https"), expected)
    if rest:
        # The texts do not repeat the value: what follows may be a token.
        raise Misfit(f"an upstream has no path and no query: write {found} (strip_prefix removes the route's own path)")
    host = found.host.strip("[]")
    return UpstreamAddress(host, found.port, tls=UpstreamTls() if found.scheme == "https" else None)


def listen_address(value: object) -> ListenAddress:
    """Return where to listen: ``127.0.0.1:8080``, ``[::1]:0`` or ``unix:/path.sock``."""
    if isinstance(value, str) and value.startswith("unix:"):
        return ListenAddress(path=_socket_path(value))
    return tcp_address(value, "an address to listen on: write 127.0.0.1:8080, [::1]:8080 or unix:/path.sock")


def tcp_address(
    value: object, expected: str = "an address to listen on: write 127.0.0.1:8080 or [::1]:8080"
) -> ListenAddress:
    """Return where to listen by TCP: ``127.0.0.1:8080``, ``[::1]:0``."""
    match = _AUTHORITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] is None:
        raise not_a(expected)
    _check_port(match[2], expected)
    if match[1] in ("", "*"):
        raise not_a(f"an address to listen on: for all of the machine's, write 0.0.0.0:{match[2]} or [::]:{match[2]}")
    return ListenAddress(host_name(match[1].lower()).strip("[]"), int(match[2]))


def url_path(value: object) -> str:
    """Return a path prefix without a final slash; matching is done on decoded paths."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise not_a("a path: it starts with /")
    if "?" in value or "#" in value:
        raise not_a("a path: leave out the query and the fragment")
    if "*" in value:
        raise not_a("a path: everything below a path belongs to it, so leave out the *")
    if "%" in value or not _PATH.fullmatch(value):
        raise not_a("a path: it holds plain ASCII, without spaces, backslashes or encoded characters")
    segments = value.rstrip("/").split("/")[1:]
    if any(segment in (".", "..") for segment in segments) or "" in segments or value.endswith("//"):
        raise not_a("a path: it holds no empty segments and no . or ..")
    return value.rstrip("/") or "/"


def route_path(value: object) -> str:
    """Return the path of a route or rule, which is not one of the gateway's own."""
    path = url_path(value)
    if path.lower() == GATEWAY_PREFIX or path.lower().startswith(GATEWAY_PREFIX + "/"):
        raise not_a(f"a path for routes and rules: everything under {GATEWAY_PREFIX} is the gateway's own")
    return path


def _check_port(port: str, expected: str) -> None:
    """Refuse a port that TCP does not have."""
    if int(port) > MAX_PORT:
        raise not_a(f"{expected.partition(':')[0]}: a port is {MAX_PORT} at most")


def _socket_path(value: str) -> str:
    path = value.removeprefix("unix:")
    if not path or path.startswith("//") or not path.isprintable():
        raise not_a("a unix socket: write unix:/path.sock")
    return path


def _split(value: object, schemes: tuple[str, ...], expected: str) -> tuple[Origin, str]:
    """Split a URL into its origin and what follows. Credentials are refused and never repeated."""
    match = _URL.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1].lower() not in schemes:
        raise Misfit(f"not {expected}") if isinstance(value, str) and "@" in value else not_a(expected)
    if "@" in match[2]:
        raise Misfit("a URL with a user name or password in it; leave them out")
    authority = _AUTHORITY.fullmatch(match[2].lower())
    if authority is None or not authority[1] or not int(authority[2] or 1):
        raise not_a(expected)
    _check_port(authority[2] or "1", expected)
    scheme = match[1].lower()
    return Origin(scheme, host_name(authority[1]), int(authority[2] or DEFAULT_PORTS[scheme])), match[3]
