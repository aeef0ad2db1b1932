"""Where a Redis is and how to speak to it, as a value: one server, servers behind Sentinels, or a Cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379


class Topology(Enum):
    """How the servers stand to each other."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisTimes:
    """How long is waited for a Redis, in seconds."""

    connect: float = 0.5
    """For a connection, greeting included."""
    call: float = 0.25
    """For a reply; also how long a silence goes unnoticed, and news of changes with it."""
    request: float = 0.5
    """For all calls of one request together."""

    def silence(self) -> float:
        """Return after how long a silence the connection is made anew."""
        return 4 * self.call


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Everything needed to connect; what opens it is kept out of its text."""

    nodes: tuple[tuple[str, int], ...]
    """Hosts and ports: the server, the Sentinels, or some servers of the Cluster."""
    topology: Topology = Topology.SINGLE
    service: str = ""
    """The name that the Sentinels know the primary by."""
    database: int = 0
    tls: bool = False
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    sentinel_username: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    ca: str | None = None
    """PEM file of the authorities to trust in place of the system's."""
    certificate: str | None = None
    key: str | None = None
    prefix: str = "gateway:"
    """What the name of every key begins with."""
    times: RedisTimes = RedisTimes()

    def __str__(self) -> str:
        """Return it for messages, without what opens it."""
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        scheme = ("rediss" if self.tls else "redis") + (
            "" if self.topology is Topology.SINGLE else f"+{self.topology.value}"
        )
        path = f"/{self.service}" if self.service else ""
        return f"{scheme}://{nodes}{path}" + ("" if self.topology is Topology.CLUSTER else f"/{self.database}")
