"""Every limit of the data plane, by name, with its default. Times are seconds, sizes bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, or all together, may use; docs/limits.md says what happens beyond."""

    connections: int = 10_000
    """Client connections per worker; beyond: 503."""
    target: int = 8 * 1024
    """Request target; beyond: 414."""
    line: int = 8 * 1024
    """One header line other than Cookie; beyond: 431."""
    cookie: int = 16 * 1024
    """All Cookie lines together; beyond: 431."""
    headers: int = 100
    """Header lines; beyond: 431."""
    head: int = 32 * 1024
    """The whole head; beyond: 431."""
    body: int = 16 * 1024**3
    """A request body on any route, streamed; beyond: 413."""
    first_byte_time: float = 10.0
    """From accepting a connection to its first byte; then it is closed."""
    head_time: float = 10.0
    """From the first byte of a head to its last; then 408."""
    keep_alive_time: float = 75.0
    """Between two requests of a connection; then it is closed."""
    keep_alive_requests: int = 10_000
    """Requests of one connection; the last answer closes it."""
    body_idle_time: float = 30.0
    """Between two pieces of a request body; then 408."""
    body_rate: int = 1024
    """Of a request body each second, on average, once `body_rate_time` is over; slower: 408."""
    body_rate_time: float = 10.0
    """For how long a request body may come as slowly as it likes."""
    write_stall_time: float = 30.0
    """While a client takes nothing of its answer; then the connection is cut."""
    answer_idle_time: float = 60.0
    """Between two pieces of an upstream's answer; then the client's connection is cut."""
    stream_idle_time: float = 3600.0
    """The same for event streams and WebSockets."""
    linger_time: float = 2.0
    """Reading on after the last answer, so that a reset does not destroy it (RFC 9112 §9.6)."""
    upstream_connections: int = 1024
    """Requests in flight to one address; beyond, they wait."""
    upstream_waiting: int = 128
    """Requests waiting for one address; beyond: 503."""
    upstream_wait_time: float = 1.0
    """How long they wait; then 503."""
    upstream_idle_time: float = 60.0
    """How long an unused connection to an upstream is kept."""
    answer_head: int = 64 * 1024
    """Head of an upstream's answer; beyond: 502."""
    answer_headers: int = 150
    """Header lines of an upstream's answer; beyond: 502."""
    write_buffer: int = 64 * 1024
    """Unsent bytes per connection above which the other side is paused."""
    leave_time: float = 0.0
    """How long new connections are still taken after SIGTERM, while /readyz says 503 and answers end theirs."""
    drain_time: float = 30.0
    """How long requests in flight may take after SIGTERM."""
    tunnel_drain_time: float = 5.0
    """How long WebSockets stay open after SIGTERM; then they are closed with 1001."""
