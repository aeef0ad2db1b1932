"""Where a route's requests go: addresses, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """How an https upstream proves itself; certificates are always checked."""

    ca: str | None = None
    """PEM file of the authorities to trust in place of the system's."""
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None
    """The name to ask for and to check, where it is not the address's own."""


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """One place that serves a route: ``host`` and ``port``, or the ``path`` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: UpstreamTls | None = None

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def authority(self) -> str:
        """Return the Host field for requests that do not preserve the client's (RFC 9110 §7.2)."""
        if self.path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"
