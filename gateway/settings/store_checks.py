"""What must hold between ``session.store`` and ``session.redis``."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.redis_address import Topology
from gateway.settings.document import Found
from gateway.settings.model import Config, RedisPart, RedisTimeoutPart
from gateway.settings.validation import Draft

LONGEST_WAIT = 10.0
"""Seconds that may be waited for a Redis at most."""
_FILES = ("ca", "cert", "key")


def check_store(draft: Draft[Config]) -> Iterator[Found]:
    """Refuse what Redis could not be reached with, or what has no effect."""
    if not draft.sound("session", "store") or not draft.sound("session", "redis"):
        return
    address, part = draft.config.session.store, draft.config.session.redis
    path = ("session", "redis")
    if isinstance(address, str):
        default = RedisPart()
        given = [name for name in RedisPart.model_fields if getattr(part, name) != getattr(default, name)]
        if given:
            yield Found((*path, given[0]), f"has no effect: session.store is `{address}`", at_key=True)
        return
    yield from _check_names(part, address.username or address.password, address.topology)
    if not address.tls:
        for name in _FILES:
            if getattr(part, name) is not None:
                yield Found((*path, name), "has no effect: session.store does not speak TLS; write rediss", at_key=True)
    elif (part.cert is None) != (part.key is None):
        given_one, wanted = ("key", "cert") if part.cert is None else ("cert", "key")
        yield Found((*path, given_one), f"needs session.redis.{wanted} too", at_key=True)
    yield from _check_times(part)


def _check_times(part: RedisPart) -> Iterator[Found]:
    """Hold the time in which an ending elsewhere may go unnoticed to seconds, and one call within a request's."""
    times, path = part.timeout, ("session", "redis", "timeout")
    for name in RedisTimeoutPart.model_fields:
        if getattr(times, name) > LONGEST_WAIT:
            yield Found((*path, name), f"is over {LONGEST_WAIT:g}s: requests would pile up while Redis is silent")
            return
    if times.call > times.request:
        yield Found((*path, "call"), "is longer than session.redis.timeout.request, which holds it")


def _check_names(part: RedisPart, in_url: str, topology: Topology) -> Iterator[Found]:
    path = ("session", "redis")
    for name in ("username", "password"):
        if in_url and getattr(part, name) is not None:
            yield Found((*path, name), "is said twice: session.store has a user or password in its URL", at_key=True)
            return
    for user, password in (("username", "password"), ("sentinel_username", "sentinel_password")):
        if getattr(part, user) is not None and getattr(part, password) is None:
            yield Found((*path, user), f"needs session.redis.{password} too", at_key=True)
    for name in ("sentinel_username", "sentinel_password"):
        if topology is not Topology.SENTINEL and getattr(part, name) is not None:
            yield Found((*path, name), "has no effect: session.store names no Sentinels", at_key=True)
            return
