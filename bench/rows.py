"""Measured rows, and the figures made of them: medians over rounds, ratios within a round."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from bench.load import Load
from bench.procfs import CpuTime

Figure = Callable[["Row"], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant, or one variant of ours, in one round of one case."""

    case: str
    variant: str
    round: int
    load: Load
    cpu: CpuTime
    rss_kib: int
    """After the run."""
    moved: int
    """Bytes of bodies, those of unfinished answers included."""
    lost_share: float
    """How much of the proxy's core other programs, or a virtual machine's host, took: much of it makes a poor run."""
    instructions: float | None
    """Of the proxy per request, kernel included, in another run of this load; None where they cannot be counted."""

    @property
    def _requests(self) -> float:
        """Return the count to divide by: a run may be too short for one large answer to end."""
        return self.load.requests or math.inf

    @property
    def cpu_us_per_mib(self) -> float:
        """CPU time of the proxy per MiB of bodies, in microseconds."""
        return self.cpu.total * 1e6 / (self.moved / 1024**2)

    @property
    def mib_per_second(self) -> float:
        """MiB of bodies per second."""
        return self.moved / 1024**2 / self.load.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time of the proxy per request, in microseconds."""
        return self.cpu.total * 1e6 / self._requests

    @property
    def kernel_us(self) -> float:
        """The part of it that was spent in the kernel."""
        return self.cpu.kernel * 1e6 / self._requests

    @property
    def thousand_instructions(self) -> float:
        """Thousand instructions per request; 0 where they were not counted."""
        return (self.instructions or 0) / 1000

    @property
    def cpu_share(self) -> float:
        """How much of its core the proxy used."""
        return self.cpu.total / self.load.seconds

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.load.per_second


@dataclass(frozen=True, slots=True)
class IdleRow:
    """Memory that one idle connection added to one proxy."""

    variant: str
    connections: int
    bytes_each: float


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the least and greatest of the rounds."""

    median: float
    least: float
    greatest: float


def spread(values: Iterable[float]) -> Spread:
    """Return the median and the bounds of some values; at least one."""
    found = sorted(values)
    return Spread(median(found), found[0], found[-1])


def of(rows: Iterable[Row], case: str, variant: str) -> list[Row]:
    """Return the rows of one case and variant, in order of rounds."""
    return sorted((row for row in rows if row.case == case and row.variant == variant), key=lambda row: row.round)


def ratio(rows: list[Row], case: str, variant: str, baseline: str, figure: Figure) -> Spread | None:
    """Return a figure as ratio to the baseline's in the same round, or None where one is missing.

    A ratio within a round cancels what the machine did meanwhile; a ratio of medians does not.
    """
    base = {row.round: figure(row) for row in of(rows, case, baseline)}
    found = [figure(row) / base[row.round] for row in of(rows, case, variant) if base.get(row.round)]
    return spread(found) if found else None
