"""Which servers there are: one that is known, the primary that Sentinels name, or the primaries of a Cluster."""

from __future__ import annotations

import asyncio
import ssl
from binascii import crc_hqx
from collections.abc import Iterable
from typing import Any

from gateway.core.redis_address import RedisAddress, RedisTimes
from gateway.sessions.redis_link import NotSent, Pace
from gateway.sessions.redis_wire import Connection, Disconnected, Greeting, Node, NotPrimary, ReplyError, connect
from gateway.tls import client_context

SLOTS = 16384
_FAILURES = (OSError, ReplyError, Disconnected, NotPrimary)


def slot_of(key: str) -> int:
    """Return the slot of a key (Redis Cluster specification, key distribution model)."""
    begin = key.find("{")
    end = key.find("}", begin + 1) if begin >= 0 else -1
    tagged = key[begin + 1 : end] if end > begin + 1 else key
    return crc_hqx(tagged.encode(), 0) % SLOTS


def tls_context(address: RedisAddress) -> ssl.SSLContext | None:
    """Return how to speak TLS to the servers, or None. Raises OSError or ssl.SSLError for unusable files."""
    if not address.tls:
        return None
    context = client_context(address.ca)
    if address.certificate and address.key:
        # An encrypted key gets no password, for without a terminal nobody could type one.
        context.load_cert_chain(address.certificate, address.key, password=lambda: "")
    return context


class Sentinels:
    """Asks Sentinels for the primary; the one that answered last is asked first."""

    def __init__(self, address: RedisAddress, tls: ssl.SSLContext | None, pace: Pace) -> None:
        self._nodes = list(address.nodes)
        self._times = address.times
        self._service = address.service
        self._greeting = Greeting(address.sentinel_username, address.sentinel_password)
        self._tls = tls
        self._pace = pace
        self._connections: dict[Node, Connection] = {}
        self._lock = asyncio.Lock()

    async def primary(self) -> Node:
        """Return where the primary is. Raises NotSent where no Sentinel knows."""
        said = "no Sentinel answers"
        async with self._lock:
            for node in list(self._nodes):
                try:
                    found = await self._ask(node)
                except _FAILURES as error:
                    said = f"the Sentinel {node[0]}:{node[1]} fails: {str(error) or type(error).__name__}"
                    self._drop(node)
                    continue
                if found is not None:
                    self._nodes.remove(node)
                    self._nodes.insert(0, node)
                    return found
                said = f"the Sentinel {node[0]}:{node[1]} knows no service {self._service}"
        raise NotSent(said)

    async def _ask(self, node: Node) -> Node | None:
        connection = self._connections.get(node)
        if connection is None or connection.lost.done():
            await self._pace.wait()
            connection = await connect(node, self._tls, self._greeting, _ignore, limit=self._times.connect)
            self._connections[node] = connection
        async with asyncio.timeout(self._times.call):
            found = await connection.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        return (found[0].decode(), int(found[1])) if found else None

    def _drop(self, node: Node) -> None:
        connection = self._connections.pop(node, None)
        if connection is not None:
            connection.abort()

    def close(self) -> None:
        """Close the connections."""
        for node in list(self._connections):
            self._drop(node)


class SlotMap:
    """Who serves which slot of a Cluster."""

    def __init__(self) -> None:
        self._by_slot: list[Node | None] = [None] * SLOTS
        self.complete = False

    def primaries(self) -> set[Node]:
        """Return all that serve a slot."""
        return {node for node in self._by_slot if node is not None}

    def of(self, key: str) -> Node | None:
        """Return who serves a key."""
        return self._by_slot[slot_of(key)]

    def move(self, slot: int, node: Node) -> None:
        """Note that a slot is served by another one now."""
        self._by_slot[slot] = node

    def read(self, reply: Iterable[Any], asked: Node) -> None:
        """Take over what ``CLUSTER SLOTS`` says."""
        by_slot: list[Node | None] = [None] * SLOTS
        for first, last, primary, *_ in reply:
            node = node_of(primary[0], primary[1], asked)
            by_slot[first : last + 1] = [node] * (last + 1 - first)
        self._by_slot = by_slot
        self.complete = None not in by_slot


def node_of(host: bytes | str | None, port: int | str, asked: Node) -> Node:
    """Return a server's address; one that does not know its own name means the one that was asked."""
    name = host.decode() if isinstance(host, bytes) else host
    return (asked[0] if name in (None, "", "?") else str(name), int(port))


async def read_slots(
    nodes: Iterable[Node],
    tls: ssl.SSLContext | None,
    greeting: Greeting,
    slots: SlotMap,
    pace: Pace,
    times: RedisTimes,
) -> None:
    """Read the map from the first of ``nodes`` that tells it. Raises NotSent where none does."""
    said = "no server of the Cluster answers"
    for node in nodes:
        await pace.wait()
        try:
            connection = await connect(node, tls, greeting, _ignore, limit=times.connect)
            try:
                async with asyncio.timeout(times.call):
                    slots.read(await connection.send("CLUSTER", "SLOTS"), node)
            finally:
                connection.abort()
        except _FAILURES as error:
            said = f"the server {node[0]}:{node[1]} of the Cluster fails: {str(error) or type(error).__name__}"
        else:
            return
    raise NotSent(said)


def _ignore(push: list[Any]) -> None:
    """Do nothing: nothing is followed here."""
