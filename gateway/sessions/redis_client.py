"""Commands to Redis by key: the right server, at most one retry, within a time; errors by their kind.

`RedisClient` also says whether what is in memory is sure to be right: only while every primary is live.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Protocol

from gateway.core.redis_address import RedisAddress, Topology
from gateway.errors import StoreUnavailable
from gateway.sessions.redis_link import Late, Link, LinkParts, NotSent, Pace
from gateway.sessions.redis_servers import Sentinels, SlotMap, node_of, read_slots, slot_of, tls_context
from gateway.sessions.redis_wire import Connection, Disconnected, Greeting, Node, ReplyError, Then, Word, connect

PAUSE = 0.05
"""Seconds before a server that was not ready is asked again."""
WATCH_EVERY = 1.0
"""Seconds between two looks at who is primary."""
MAX_HOPS = 4
_NOT_READY = frozenset({"LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "BUSY"})
_REFUSED = frozenset({"NOAUTH", "NOPERM", "WRONGPASS"})

COUNTED = (
    *(f"errors_{kind}" for kind in ("connect", "down", "lost", "timeout", "not_ready", "oom", "readonly", "refused")),
    *("errors_other", "errors_overrun", "breaker_opened_total", "connects_total", "stream_lost_total"),
    *("invalidations_total", "flushes_total", "redirected_total", "alarms_total", "graced_total"),
)
"""What is counted; metrics know by these names what only grows (see `stats_of`)."""

_log = logging.getLogger("gateway.redis")


class Memory(Protocol):
    """What is kept right by following the changes."""

    def invalidated(self, keys: list[bytes] | None) -> None:
        """Drop what these keys hold; None for everything."""

    def in_doubt(self) -> None:
        """Note that changes are no longer told; what is there may be wrong."""

    def regained(self) -> None:
        """Drop everything: changes are told again, but some were missed."""


class RedisClient:
    """One Redis, however many servers that is."""

    def __init__(self, address: RedisAddress, *, follow: str = "") -> None:
        """Prepare; ``follow`` is the beginning of the keys whose changes are told.

        Raises OSError or ssl.SSLError where the files for TLS cannot be used.
        """
        self.address = address
        self.counts = Counter(dict.fromkeys(COUNTED, 0))
        self.trusted = False
        """Whether all that is in memory is sure to be right."""
        self.memory: Memory | None = None
        self.on_return: Callable[[], None] | None = None
        """Called when the servers are all live again."""
        self._starting = asyncio.Lock()
        self._started = False
        self._tls: ssl.SSLContext | None = tls_context(address)
        self._follow = follow
        self._links: dict[Node | None, Link] = {}
        self._slots = SlotMap()
        self._sentinels: Sentinels | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Event()
        """Set to look at once who serves what."""
        self._known = asyncio.Event()
        """Set whenever the map of the Cluster was read."""
        self._live = asyncio.Event()
        self._parts: LinkParts | None = None
        self._greeting = Greeting()

    async def start(self) -> None:
        """Begin to connect; returns at once, or after the first connection where that is quick."""
        loop = asyncio.get_running_loop()
        address = self.address
        pace = Pace(loop)
        self._greeting = Greeting(
            address.username,
            address.password,
            address.database,
            self._follow,
            primary=address.topology is Topology.SENTINEL,
        )
        probe = ("EXISTS", f"{address.prefix}probe")
        self._parts = LinkParts(self, self._connect, pace, self.counts, address.times, probe)
        if address.topology is Topology.CLUSTER:
            self._tasks.append(loop.create_task(self._follow_slots(pace), name="redis slots"))
        elif address.topology is Topology.SENTINEL:
            self._sentinels = Sentinels(address, self._tls, pace)
            self._links[None] = Link(self._sentinels.primary, self._parts, address.service)
            self._tasks.append(loop.create_task(self._follow_primary(self._sentinels), name="redis primary"))
        else:
            self._add_link(None, address.nodes[0])
        with suppress(TimeoutError):
            async with asyncio.timeout(address.times.connect):
                await self._live.wait()

    async def start_once(self) -> None:
        """Start unless that was done: for what is needed seldom, and by most gateways never."""
        async with self._starting:
            if not self._started:
                await self.start()
                self._started = True

    def _add_link(self, key: Node | None, node: Node) -> Link:
        async def resolve() -> Node:
            return node

        assert self._parts is not None, "a client is used before its start"  # noqa: S101 - for the type checker
        link = self._links[key] = Link(resolve, self._parts, f"{node[0]}:{node[1]}")
        return link

    async def _connect(self, node: Node, push: Callable[[list[Any]], None]) -> Connection:
        return await connect(node, self._tls, self._greeting, push, limit=self.address.times.connect)

    # What links tell

    def invalidated(self, keys: list[bytes] | None) -> None:
        """Pass it on."""
        self.counts["invalidations_total"] += len(keys) if keys else 1
        if keys is None:
            self.counts["flushes_total"] += 1
        if self.memory is not None:
            self.memory.invalidated(keys)

    def regained(self) -> None:
        """Pass it on."""
        if self.memory is not None:
            self.memory.regained()

    def changed(self) -> None:
        """See whether all servers are live."""
        trusted = bool(self._links) and all(link.is_live() for link in self._links.values())
        if self.address.topology is Topology.CLUSTER:
            trusted = trusted and self._slots.complete
        if trusted == self.trusted:
            return
        self.trusted = trusted
        self._turn.set()
        if trusted:
            self._live.set()
            if self.on_return is not None:
                self.on_return()
        elif self.memory is not None:
            self.counts["stream_lost_total"] += 1
            self.memory.in_doubt()

    # Who is primary

    async def _follow_primary(self, sentinels: Sentinels) -> None:
        """Leave a primary that the Sentinels have replaced, even where it still answers."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_EVERY):
                    await self._turn.wait()
            self._turn.clear()
            link = self._links[None]
            if not link.is_live():
                await asyncio.sleep(PAUSE)
                continue
            with suppress(NotSent):
                if await sentinels.primary() != link.node:
                    link.drop()

    async def _follow_slots(self, pace: Pace) -> None:
        """Keep a link to every primary of the Cluster."""
        greeting = Greeting(self.address.username, self.address.password)
        said = ""
        while True:
            self._turn.clear()
            try:
                if not await self._ask_for_slots():
                    nodes = dict.fromkeys([*self._slots.primaries(), *self.address.nodes])
                    await read_slots(nodes, self._tls, greeting, self._slots, pace, self.address.times)
            except NotSent as error:
                self.counts["errors_connect"] += 1
                _log.log(logging.WARNING if str(error) != said else logging.DEBUG, "redis: %s", error)
                said = str(error)
            else:
                self._link_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_EVERY if self.trusted else 4 * PAUSE):
                    await self._turn.wait()
            await asyncio.sleep(PAUSE)

    async def _ask_for_slots(self) -> bool:
        """Read the map from a server that is live; return whether one told it."""
        for link in list(self._links.values()):
            if link.is_live() and link.node is not None:
                with suppress(NotSent, Late, Disconnected, ReplyError):
                    reply = await link.ask(("CLUSTER", "SLOTS"), None, until=self.deadline())
                    self._slots.read(reply, link.node)
                    return True
        return False

    def _link_all(self) -> None:
        primaries = self._slots.primaries()
        for node in primaries - set(self._links):
            self._add_link(node, node)
        for gone in set(self._links) - primaries:
            self._close_later(self._links.pop(gone))
        self._known.set()
        self._known.clear()
        self.changed()

    def _close_later(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(link.close(), name="close a link")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # Commands

    def deadline(self, *, at_least: float = 0.0) -> float:
        """Return by when all calls of a request must be answered; ``at_least`` is for what asks about many things."""
        return asyncio.get_running_loop().time() + max(self.address.times.request, at_least)

    async def call(
        self, key: str, *words: Word, until: float, then: Then | None = None, repeatable: bool = True
    ) -> Any:
        """Return the reply to a command about ``key``, or what ``then`` makes of it where it is read.

        ``repeatable`` says that doing it twice is as good as once. Raises StoreUnavailable, or what
        ``then`` raises.
        """
        retried = False
        for _ in range(MAX_HOPS + 1):
            link: Link | None = None
            try:
                link = await self._link_of(key, until)
                return await link.ask(words, then, until=until)
            except NotSent as error:
                raise self._unavailable("errors_down", str(error)) from None
            except Late as error:
                raise StoreUnavailable(f"Redis: {error}") from None
            except Disconnected as error:
                if retried or not repeatable:
                    raise StoreUnavailable(f"Redis: {error}") from None
                retried = True
            except ReplyError as error:
                if link is None:
                    raise
                target = self._redirected(key, link, error)
                if target is None:
                    if retried or not await self._may_retry(link, error, until):
                        raise self._unavailable(_kind(error), error.code) from None
                    retried = True
                elif error.code == "ASK":
                    with suppress(NotSent, Late, Disconnected, ReplyError):
                        return await target.ask(words, then, until=until, asking=True)
        raise self._unavailable("errors_other", "the servers of the Cluster send us in circles")

    def _unavailable(self, kind: str, text: str) -> StoreUnavailable:
        self.counts[kind] += 1
        return StoreUnavailable(f"Redis: {text}")

    async def _link_of(self, key: str, until: float) -> Link:
        if self.address.topology is not Topology.CLUSTER:
            link = self._links.get(None)
            if link is None:
                raise NotSent("the client is closed")
            return link
        for _ in range(2):
            node = self._slots.of(key)
            link = self._links.get(node) if node is not None else None
            if link is not None:
                return link
            self._turn.set()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(until, self.deadline() - self.address.times.request / 2)):
                    await self._known.wait()
        raise NotSent("no server of the Cluster is known for the key")

    def _redirected(self, key: str, link: Link, error: ReplyError) -> Link | None:
        """Return where an answer MOVED or ASK sends us (Redis Cluster specification)."""
        parts = error.text.split(" ")
        if error.code not in ("MOVED", "ASK") or len(parts) != 3 or self.address.topology is not Topology.CLUSTER:
            return None
        self.counts["redirected_total"] += 1
        host, _, port = parts[2].rpartition(":")
        node = node_of(host.strip("[]"), port, link.node or self.address.nodes[0])
        if error.code == "MOVED":
            self._slots.move(slot_of(key), node)
            self._turn.set()
        found = self._links.get(node) or self._add_link(node, node)
        self.changed()
        return found

    async def _may_retry(self, link: Link, error: ReplyError, until: float) -> bool:
        """Tell whether a command that was refused may be tried again; none of these was carried out."""
        if error.code == "READONLY":
            self.counts["errors_readonly"] += 1
            link.drop()
        elif error.code not in _NOT_READY:
            return False
        await asyncio.sleep(PAUSE)
        return asyncio.get_running_loop().time() < until

    async def scan(self, pattern: str) -> AsyncIterator[list[str]]:
        """Yield the keys of all primaries that fit a pattern, some at a time. Raises StoreUnavailable."""
        if not self._links:
            raise StoreUnavailable("Redis: no server is known")
        for link in list(self._links.values()):
            cursor = b"0"
            while True:
                words: tuple[Word, ...] = ("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
                try:
                    cursor, keys = await link.ask(words, None, until=self.deadline())
                except (NotSent, Late, Disconnected, ReplyError) as error:
                    raise StoreUnavailable(f"Redis: {error}") from None
                if keys:
                    yield [key.decode() for key in keys]
                if cursor == b"0":
                    break

    async def check(self) -> None:
        """Raise StoreUnavailable unless every server is in order."""
        if not self._links:
            raise StoreUnavailable("Redis: no server is known")
        assert self._parts is not None  # noqa: S101 - links are made with them
        for link in list(self._links.values()):
            try:
                await link.ask(self._parts.probe, None, until=self.deadline())
            except ReplyError as error:
                if error.code not in ("MOVED", "ASK"):
                    raise StoreUnavailable(f"Redis: {error.code}") from None
            except (NotSent, Late, Disconnected) as error:
                raise StoreUnavailable(f"Redis: {error}") from None

    # How it is

    def silent_for(self, key: str) -> float | None:
        """Return for how many seconds the server of a key has not answered; None where it does."""
        node = self._slots.of(key) if self.address.topology is Topology.CLUSTER else None
        link = self._links.get(node)
        if link is None:
            return min((self._since(other) for other in self._links.values()), default=float("inf"))
        return None if link.is_live() else self._since(link)

    @staticmethod
    def _since(link: Link) -> float:
        return asyncio.get_running_loop().time() - link.heard

    def stats(self) -> dict[str, float]:
        """Return counts and states for metrics."""
        links = self._links.values()
        states = {
            "up": float(self.trusted),
            "servers": float(len(links)),
            "servers_live": float(sum(link.is_live() for link in links)),
            "breakers_open": float(sum(link.is_open() for link in links)),
        }
        return states | {kind: float(count) for kind, count in self.counts.items()}

    async def close(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*self._tasks, *self._closing, *(link.close() for link in links), return_exceptions=True)
        if self._sentinels is not None:
            self._sentinels.close()
        self.trusted = False


def _kind(error: ReplyError) -> str:
    """Return under what an error is counted."""
    if error.code in _REFUSED:
        return "errors_refused"
    if error.code in _NOT_READY:
        return "errors_not_ready"
    return {"OOM": "errors_oom", "READONLY": "errors_readonly"}.get(error.code, "errors_other")
