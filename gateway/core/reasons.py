"""Why the gateway refuses a request, as short fixed codes: header ``X-Gateway-Reason``, access log, counters.

The set is closed: docs/refusals.md explains each, and a test holds the two together. A code names what was
refused and why, never whose request it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SERVICE_WORKER: Final = "service_worker"

REFUSALS: Final[Mapping[str, str]] = {
    SERVICE_WORKER: "a script for a service worker that would answer in place of the login page",
}
"""Each code with its meaning."""
