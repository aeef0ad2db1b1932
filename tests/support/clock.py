"""A system clock for one program that tests can set: by libfaketime, which answers in the kernel's place."""

from __future__ import annotations

import time
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from tests.support.gateway import GatewayProcess
from tests.support.raw import RawClient
from tests.support.tools import library
from tests.support.waiting import wait_for
from tests.support.workers import client_of_each

LEEWAY = 30.0
"""Seconds by which a time may differ from the one that was set; a jump is by more."""


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

    def jump(self, gateway: GatewayProcess, offset: timedelta) -> None:
        """Set the clock of a gateway, and wait until every worker has looked at it."""
        self.set(offset)
        wait_for(lambda: _all_show(gateway, offset), what="the clock to be looked at")


def _all_show(gateway: GatewayProcess, offset: timedelta) -> bool:
    with client_of_each(gateway) as clients:
        return all(_shows(gateway, client, offset) for client in clients)


def _shows(gateway: GatewayProcess, client: RawClient, offset: timedelta) -> bool:
    """Tell whether an answer of the gateway's own is dated by the clock as it was set."""
    client.send(f"GET /no-such-page HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
    date = client.answer().get("Date") or ""
    return abs(parsedate_to_datetime(date).timestamp() - time.time() - offset.total_seconds()) < LEEWAY
