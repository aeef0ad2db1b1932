"""``session.store``: a word, or the URL of a Redis. No message repeats a URL, for it may hold a password."""

from __future__ import annotations

import re
from urllib.parse import unquote

from gateway.core.redis_address import REDIS_PORT, SENTINEL_PORT, RedisAddress, Topology
from gateway.settings.addresses import DEFAULT_PORTS, host_name
from gateway.settings.misfit import Misfit, not_a
from gateway.settings.text import nearest

STORES = ("cookie", "sqlite")
_SCHEMES = {
    f"{scheme}{suffix}": (topology, scheme == "rediss")
    for scheme in ("redis", "rediss")
    for suffix, topology in (("", Topology.SINGLE), ("+sentinel", Topology.SENTINEL), ("+cluster", Topology.CLUSTER))
}
_FORMS = {
    Topology.SINGLE: "redis://host:6379/0",
    Topology.SENTINEL: "redis+sentinel://host1:26379,host2:26379/service/0",
    Topology.CLUSTER: "redis+cluster://host1:6379,host2:6379",
}
EXPECTED = f"where sessions live: write cookie, sqlite or {_FORMS[Topology.SINGLE]} (also rediss://, {', '.join(list(_FORMS.values())[1:])})"  # noqa: E501 - one message
PATTERN = r"(cookie|sqlite|rediss?(\+(sentinel|cluster))?://.+)"
PREFIX_PATTERN = r"[A-Za-z0-9_.:-]{1,64}"
MAX_DATABASE = 65535
MAX_SECRET = 1024

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:([^/?#]*)@)?([^/?#@]*)(.*)", re.DOTALL)
_NODE = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_DATABASE = re.compile(r"[0-9]{1,5}")
_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ESCAPES = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")


def session_store(value: object) -> str | RedisAddress:
    """Return ``cookie``, ``sqlite`` or the address of a Redis."""
    if not isinstance(value, str):
        raise not_a(EXPECTED)
    if value in STORES:
        return value
    if ":" not in value and "@" not in value and "/" not in value:
        guess = nearest(value, [*STORES, "redis"]).replace('"redis"', f'"{_FORMS[Topology.SINGLE]}"')
        raise not_a(EXPECTED + guess)
    match = _URL.fullmatch(value)
    if match is None:
        raise Misfit(f"not {EXPECTED}")
    scheme = match[1].lower()
    if scheme not in _SCHEMES:
        known = "" if scheme in DEFAULT_PORTS else nearest(scheme, _SCHEMES)
        raise Misfit(f"not {EXPECTED}{known}")
    topology, tls = _SCHEMES[scheme]
    username, password = _credentials(match[2])
    nodes = _nodes(topology, match[3])
    service, database = _path(topology, match[4])
    return RedisAddress(nodes, topology, service, database, tls, username, password)


def _credentials(text: str | None) -> tuple[str, str]:
    """Return name and password out of ``user:password``, ``:password`` or nothing."""
    if text is None:
        return "", ""
    username, colon, password = text.partition(":")
    if not colon or not password:
        raise Misfit("a store whose URL has a user without a password: write user:password@ or :password@ before hosts")
    if not _ESCAPES.fullmatch(text):
        raise Misfit("a store whose URL has a % that belongs to no escape; in names and passwords write % as %25")
    try:
        return unquote(username, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise Misfit("a store whose URL has escapes in its user or password that are not UTF-8") from None


def _nodes(topology: Topology, text: str) -> tuple[tuple[str, int], ...]:
    own_port = SENTINEL_PORT if topology is Topology.SENTINEL else REDIS_PORT
    nodes = tuple(_node(part, own_port, topology) for part in text.split(","))
    if topology is Topology.SINGLE and len(nodes) != 1:
        raise Misfit(
            f"a store with one server, but several hosts; for more write {_FORMS[Topology.SENTINEL]} "
            f"or {_FORMS[Topology.CLUSTER]}"
        )
    if len(set(nodes)) != len(nodes):
        raise Misfit("a store whose URL names one host twice")
    return nodes


def _node(text: str, own_port: int, topology: Topology) -> tuple[str, int]:
    match = _NODE.fullmatch(text.lower())
    if match is None or not match[1] or not 0 < int(match[2] or own_port) <= 65535:
        raise Misfit(f"not {EXPECTED}: after :// comes a host, or host:port; write {_FORMS[topology]}")
    try:
        host = host_name(match[1]).strip("[]")
    except Misfit as error:
        # Its text without the value: a password that was not escaped may look like a host.
        raise Misfit(f"a store with a host that is not {error.text}" if error.quotes else error.text) from None
    return host, int(match[2] or own_port)


def _path(topology: Topology, text: str) -> tuple[str, int]:
    """Return service and database out of what follows the hosts."""
    if "?" in text or "#" in text:
        raise Misfit("a store without a query: everything beyond hosts and database is said in session.redis")
    parts = text.removeprefix("/").removesuffix("/").split("/") if text.strip("/") else []
    service = ""
    if topology is Topology.SENTINEL:
        if not parts or not _SERVICE.fullmatch(parts[0]):
            raise Misfit(f"a store behind Sentinels without the name of its service: write {_FORMS[Topology.SENTINEL]}")
        service = parts.pop(0)
    if not parts:
        return service, 0
    if topology is Topology.CLUSTER and parts != ["0"]:
        raise Misfit(f"a Cluster has no databases: write {_FORMS[Topology.CLUSTER]}")
    if len(parts) > 1 or not _DATABASE.fullmatch(parts[0]) or int(parts[0]) > MAX_DATABASE:
        raise Misfit(f"a store with a database that is not a number: write {_FORMS[topology]}")
    return service, int(parts[0])


def key_prefix(value: object) -> str:
    """Return what keys begin with; neither glob signs nor Cluster's braces may stand in it."""
    if isinstance(value, str) and re.fullmatch(PREFIX_PATTERN, value):
        return value
    raise not_a("a beginning for keys: write letters, digits and _ . : -, 64 at most")


def secret_text(value: object) -> str:
    """Return a user name or password of a server; no message repeats it."""
    if isinstance(value, str) and 0 < len(value) <= MAX_SECRET and value.isprintable():
        return value
    if isinstance(value, str) and not value:
        raise Misfit("should not be empty; null, or leaving the key out, means none")
    raise Misfit(f"should be text of 1 to {MAX_SECRET} printable characters; put it in quotes")
