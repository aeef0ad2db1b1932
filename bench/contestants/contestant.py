"""What every contestant has: a name, a port, a process, and perhaps a scrape of what it is."""

from __future__ import annotations

from dataclasses import dataclass

from bench.process import Process


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running proxy."""

    name: str
    port: int
    process: Process

    def url(self, path: str) -> str:
        """Return the URL of a path behind this proxy."""
        return f"http://127.0.0.1:{self.port}{path}"
