"""Real Redis servers for tests, on free ports of loopback: one, behind a Sentinel, a Cluster, with TLS and ACL."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hiredis

from gateway.core.redis_address import RedisAddress, RedisTimes, Topology
from tests.support.certificates import make_certificate
from tests.support.ports import HOST, free_port
from tests.support.tools import tool
from tests.support.waiting import PATIENCE, wait_for

SERVICE = "main"
USER, PASSWORD = "gate", "correct horse/battery%staple"
PREFIX = "gateway:"
PATIENT = RedisTimes(connect=10.0, call=10.0, request=10.0)
"""How long a Redis is waited for that is only as slow as the machine: as long as the configuration allows."""


class RedisServer:
    """A redis-server process, and commands to it past the gateway."""

    def __init__(self, directory: Path, *options: str, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.port = port or free_port()
        self._directory = directory / f"redis-{self.port}"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._options = options
        self._tls = tls
        self._login: tuple[str, str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()

    def log_in(self, user: str, password: str) -> None:
        """Use another user for the commands from here on."""
        self._login = (user, password)

    def start(self) -> RedisServer:
        """Start it and wait until it answers."""
        listen = ("--tls-port", str(self.port), "--port", "0") if self._tls else ("--port", str(self.port))
        command = [
            tool("redis-server"),
            *listen,
            "--bind",
            HOST,
            "--save",
            "",
            "--appendonly",
            "no",
            "--loglevel",
            "warning",
        ]
        if any(option.endswith(".conf") for option in self._options):
            command = [tool("redis-server")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options], cwd=self._directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_for(self._answers, what=f"redis-server on {self.port}: {(self._directory / 'log').read_text()}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        try:
            self.do("PING")
        except (OSError, hiredis.ReplyError):
            return False
        return True

    def do(self, *words: str | bytes | int) -> Any:
        """Return the reply to a command; an error is raised as hiredis.ReplyError."""
        if self._socket is not None:
            # Sentinels and tests end connections.
            with suppress(OSError):
                return self._ask(words)
        return self._ask(words)

    def _ask(self, words: tuple[str | bytes | int, ...]) -> Any:
        if self._socket is None:
            connection = socket.create_connection((HOST, self.port), timeout=PATIENCE)
            self._socket = self._tls.wrap_socket(connection, server_hostname=HOST) if self._tls else connection
            self._reader = hiredis.Reader()
            if self._login is not None:
                self._ask(("AUTH", *self._login))
        try:
            self._socket.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub says one word
            while (reply := self._reader.gets()) is False:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError
                self._reader.feed(data)
        except OSError:
            self.disconnect()
            raise
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def disconnect(self) -> None:
        """Close the connection for commands."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def signal(self, number: int) -> None:
        """Send a signal, as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self.disconnect()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Servers:
    """One Redis, of however many servers."""

    def __init__(self, address: RedisAddress, primaries: list[RedisServer], others: list[RedisServer]) -> None:
        self.address = address
        self.primaries = primaries
        self.others = others

    @property
    def port(self) -> int:
        """Return the first port that clients are told."""
        return self.address.nodes[0][1]

    def flush(self) -> None:
        """Delete everything."""
        for server in self.primaries:
            server.do("FLUSHALL")

    def do(self, key: str, *words: str | bytes | int) -> Any:
        """Return the reply of the server that has the key."""
        for server in self.primaries:
            try:
                return server.do(*words)
            except hiredis.ReplyError as error:
                if not str(error).startswith("MOVED"):
                    raise
        raise AssertionError(f"nobody has {key}")

    def names(self, pattern: str = "*") -> list[str]:
        """Return the names of the keys everywhere."""
        return sorted(key.decode() for server in self.primaries for key in server.do("KEYS", pattern))

    def everything(self) -> bytes:
        """Return all names and values."""
        found = b""
        for server in self.primaries:
            for key in server.do("KEYS", "*"):
                kind = server.do("TYPE", key)
                kind = kind if isinstance(kind, str) else kind.decode()
                value = server.do("HGETALL", key) if kind == "hash" else [server.do("GET", key)]
                found += b"\0".join([key, *value, b""])
        return found

    def kill(self) -> None:
        """End all processes."""
        for server in (*self.primaries, *self.others):
            server.kill()


def through(address: RedisAddress, *ports: int, times: RedisTimes | None = None) -> RedisAddress:
    """Return an address with other ports, as those of proxies; clients wait as by default, unless told otherwise."""
    return replace(address, nodes=tuple((HOST, port) for port in ports), times=times or RedisTimes())


def session_part(address: RedisAddress, key: str, **more: object) -> dict[str, Any]:
    """Return the `session` of a configuration with its sessions at an address, as an operator writes it."""
    scheme = ("rediss" if address.tls else "redis") + (
        "" if address.topology is Topology.SINGLE else f"+{address.topology.value}"
    )
    login = f"{quote(address.username)}:{quote(address.password, safe='')}@" if address.password else ""
    nodes = ",".join(f"{host}:{port}" for host, port in address.nodes)
    url = f"{scheme}://{login}{nodes}" + (f"/{address.service}" if address.service else "")
    files = {"ca": address.ca, "cert": address.certificate, "key": address.key}
    redis: dict[str, Any] = {name: file for name, file in files.items() if file}
    redis["timeout"] = {name: f"{seconds * 1000:.0f}ms" for name, seconds in asdict(address.times).items()}
    return {"keys": [key], "store": url, "redis": redis, **more}


@contextmanager
def single(directory: Path, *options: str) -> Iterator[Servers]:
    """Run one server."""
    server = RedisServer(directory, *options)
    servers = Servers(RedisAddress(((HOST, server.port),), prefix=PREFIX), [server], [])
    with _running(servers):
        yield servers


@contextmanager
def behind_sentinel(directory: Path, *, decides_after: float = 0.5) -> Iterator[Servers]:
    """Run a primary, its replica, and a Sentinel that takes a server for dead after some seconds of silence."""
    fast = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
    primary = RedisServer(directory, *fast)
    replica = RedisServer(directory, *fast, "--replicaof", HOST, str(primary.port))
    port = free_port()
    config = directory / f"sentinel-{port}.conf"
    lines = (
        f"port {port}",
        f"bind {HOST}",
        f"sentinel monitor {SERVICE} {HOST} {primary.port} 1",
        f"sentinel down-after-milliseconds {SERVICE} {decides_after * 1000:.0f}",
        f"sentinel failover-timeout {SERVICE} 3000",
        "loglevel warning",
    )
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sentinel = RedisServer(directory, str(config), "--sentinel", port=port)
    address = RedisAddress(((HOST, port),), Topology.SENTINEL, SERVICE, prefix=PREFIX)
    servers = Servers(address, [primary], [replica, sentinel])
    with _running(servers):
        wait_for(lambda: _field(replica, "replication", "master_link_status") == "up", what="the replica follows")
        wait_for(lambda: len(sentinel.do("SENTINEL", "REPLICAS", SERVICE)) == 1, what="the Sentinel knows the replica")
        yield servers


@contextmanager
def cluster(directory: Path, *, decides_after: float = 2.0) -> Iterator[Servers]:
    """Run a Cluster of three primaries, which take one of them for dead after some seconds of silence."""
    timeout = f"{decides_after * 1000:.0f}"
    nodes = [
        RedisServer(
            directory, "--cluster-enabled", "yes", "--cluster-node-timeout", timeout, "--cluster-port", str(free_port())
        )
        for _ in range(3)
    ]
    address = RedisAddress(tuple((HOST, node.port) for node in nodes[:2]), Topology.CLUSTER, prefix=PREFIX)
    with _running(servers := Servers(address, nodes, [])):
        for number, node in enumerate(nodes):
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.do("CLUSTER", "ADDSLOTSRANGE", 16384 * number // 3, 16384 * (number + 1) // 3 - 1)
            own = node.do("CLUSTER", "NODES").decode()
            bus = own.split("@")[1].split(" ")[0].split(",")[0]
            nodes[0].do("CLUSTER", "MEET", HOST, node.port, bus)
        for node in nodes:
            wait_for(partial(_is_complete, node), what="the Cluster is complete")
        yield servers


ACL = (
    "+hello +auth +select +ping +client|tracking +role +cluster|slots +get +mget +set +del +exists +pexpire +scan "
    "+hset +hget +hmget +hgetall +hdel +hlen +asking +eval"
)
"""What docs/redis.md tells operators to allow."""


@contextmanager
def with_tls_and_acl(directory: Path) -> Iterator[Servers]:
    """Run a server that speaks TLS to who shows a certificate, and whose user may do only what the gateway does."""
    now = dt.datetime.now(dt.UTC)
    start, end = now - dt.timedelta(days=1), now + dt.timedelta(days=1)
    cert, key = make_certificate(directory, "redis", start=start, end=end, address=ipaddress.IPv4Address(HOST))
    client_cert, client_key = make_certificate(directory, "client", start=start, end=end)
    authorities = directory / "authorities.pem"
    authorities.write_bytes(cert.read_bytes() + client_cert.read_bytes())
    context = ssl.create_default_context(cafile=cert)
    context.load_cert_chain(client_cert, client_key)
    server = RedisServer(
        directory,
        *("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(authorities)),
        tls=context,
    )
    address = RedisAddress(
        ((HOST, server.port),),
        tls=True,
        username=USER,
        password=PASSWORD,
        ca=str(cert),
        certificate=str(client_cert),
        key=str(client_key),
        prefix=PREFIX,
    )
    with _running(servers := Servers(address, [server], [])):
        server.do("ACL", "SETUSER", "root", "on", ">root", "~*", "&*", "+@all")
        server.do("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "resetkeys", f"~{PREFIX}*", "-@all", *ACL.split())
        server.do("ACL", "SETUSER", "default", "off")
        server.disconnect()
        server.log_in("root", "root")
        yield servers


@contextmanager
def _running(servers: Servers) -> Iterator[None]:
    try:
        for server in (*servers.primaries, *servers.others):
            server.start()
        yield
    finally:
        servers.kill()


def _is_complete(node: RedisServer) -> bool:
    return b"cluster_state:ok" in node.do("CLUSTER", "INFO")


def _field(server: RedisServer, section: str, name: str) -> str:
    with suppress(StopIteration):
        lines = server.do("INFO", section).decode().splitlines()
        return str(next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:")))
    return ""
