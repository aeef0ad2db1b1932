"""What requests and answers share: a header line that means something, and the head it tells so."""

from __future__ import annotations

from collections.abc import Mapping


class HeaderLine:
    """One validated line that means something to a gateway; what it means is in `apply`."""

    __slots__ = ("name", "value")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        """Lower case."""
        self.value = value
        """Without the white space around it."""

    def apply(self, head: MessageHead) -> None:
        """Tell ``head`` what the line means. Raises BadSyntax."""

    def forwarded(self) -> bytes | None:
        """Return what of a request's line goes on among the plain ones, if anything."""
        return None

    def bytes(self) -> bytes:
        """Return the line as we would write it, without CRLF."""
        return self.name + b": " + self.value


class MessageHead:
    """What both directions share. Defaults stand at the class: most heads set few of them."""

    connection: frozenset[bytes] = frozenset()
    nominated: frozenset[bytes] = frozenset()
    """Header names that Connection says are for this hop only."""
    close = False
    """Whether Connection says that this is the last message."""
    content_length: int | None = None
    chunked = False
    upgrade: bytes | None = None
    expect: bytes | None = None
    host: str = ""
    host_value: bytes | None = None
    version = 1
    """The minor version: 0 or 1."""
    noted: Mapping[bytes, bytes] = {}
    """Values of the lines that something of ours depends on, by lower-case name."""
    cookie_lines: tuple[bytes, ...] = ()
    credentials: tuple[bytes, ...] = ()
    """Values of the Authorization lines, which go on only where the gateway has not made use of them."""
    set_cookies: tuple[bytes, ...] = ()
    stripped: tuple[HeaderLine, ...] = ()
    forwarded: tuple[HeaderLine, ...] = ()
    has_date = False
    content_type = b""
    is_script = False
    """Whether a response is JavaScript, by its Content-Type."""
    caching = 0
    """What a response says about caches: see `wire.caching`."""
    unusual = False
    """Whether a request has a body, an expectation, an upgrade or hops: what a plain GET has not."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        """Lines to forward as they are, in order."""

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a plain header by its lower-case name; for rare paths, it scans."""
        found = self.noted.get(name)
        if found is not None:
            return found
        for line in self.lines:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip(b" \t")
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Return all values of a plain header by its lower-case name."""
        pairs = (line.partition(b":") for line in self.lines)
        return [value.strip(b" \t") for key, _, value in pairs if key.lower() == name]

    def keeps_alive(self) -> bool:
        """Tell whether the sender offers a further message on this connection (RFC 9112 §9.3)."""
        if self.close:
            return False
        return bool(self.version) or b"keep-alive" in self.connection

    def kept_lines(self) -> list[bytes]:
        """Return the lines without those that Connection names (RFC 9110 §7.6.1).

        What means something to us is not among the lines, so nominating cannot remove it.
        """
        return [line for line in self.lines if line.partition(b":")[0].lower() not in self.nominated]
