"""A system clock for one program that tests can set: by libfaketime, which answers in the kernel's place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.support.tools import library


class SetClock:
    """The time of day as a program sees it; its monotonic clock runs on as it does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set()

    @property
    def env(self) -> dict[str, str]:
        """What the program's environment needs."""
        return {
            "LD_PRELOAD": library("*/faketime/libfaketimeMT.so.1", "faketime"),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: timedelta = timedelta()) -> None:
        """Let the clock differ from the real one from now on, at once."""
        # Replaced as a whole: a reader never finds half of it.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{int(offset.total_seconds()):+d}s\n")
        fresh.rename(self._file)
