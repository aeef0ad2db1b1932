"""Signals that come before there is an event loop to take them. Imports little: what it loads, it loads too late.

A service manager may send SIGHUP or SIGTERM at any time after it started a program, and by default either
ends it on the spot, without a word. Here they are only noted, and seen to once that can be done.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final

NUMBERS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_noted: set[int] = set()


def hold() -> None:
    """Note signals from now on. To be called in the main thread; later calls change nothing."""
    for number in NUMBERS:
        signal.signal(number, _note)


def _note(number: int, frame: FrameType | None) -> None:
    """Note a signal; let the second one that says "stop" end the program as if this were not here."""
    if number != signal.SIGHUP and _is_to_stop():
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _noted.add(number)


def _is_to_stop() -> bool:
    return bool(_noted - {signal.SIGHUP})


def ignore() -> None:
    """Ignore signals from now on."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def leave_if_told() -> None:
    """End with exit code 0 if there was a signal to stop: what does not serve yet has nothing to finish."""
    if _is_to_stop():
        ignore()
        sys.exit(0)


def forget_reload() -> None:
    """Forget a SIGHUP: the configuration is about to be read."""
    _noted.discard(signal.SIGHUP)


def take() -> frozenset[int]:
    """Return what was noted, and forget it: for whoever takes the signals from now on."""
    found = frozenset(_noted)
    _noted.clear()
    return found
