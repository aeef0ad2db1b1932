"""What a gateway counted and logged of one request."""

from __future__ import annotations

import re
from typing import Any

from tests.support.gateway import GatewayProcess
from tests.support.messages import Answer


def count(gateway: GatewayProcess, line: str) -> float:
    """Return one value of the metrics page; 0 where it is not there."""
    found = re.search(rf"^{re.escape(line)} (\S+)$", gateway.admin("/metrics"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def logged(gateway: GatewayProcess, answer: Answer) -> dict[str, Any]:
    """Return the line of a request in the access log."""
    request_id = answer.get("X-Request-Id")
    return gateway.wait_for_log(lambda record: record["request_id"] == request_id)
