"""Logs: what the gateway says about itself, and the audit log. Lines of JSON; secrets are never in them."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from gateway.core.audit import AuditEvent
from gateway.errors import ConfigError, Problem
from gateway.proxy.record import Clock, LineWriter

_STREAMS = {"stdout": 1, "stderr": 2}


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = Clock()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": self._clock.stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = getattr(record, "request_id", None)
        if request_id:
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _without_input(record: logging.LogRecord) -> bool:
    """Keep the kind of an error of aiohttp's server, and drop its text and traceback."""
    error = record.exc_info[1] if record.exc_info else None
    record.msg = f"{record.getMessage().split(':', 1)[0]} ({type(error).__name__})" if error else "an error"
    record.args = None
    record.exc_info = None
    record.exc_text = None
    return True


def set_up_logging(level: str) -> None:
    """Send the gateway's log to stderr, from ``level`` (``debug`` to ``error``) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # aiohttp's server logs what a client sent, cookies included, when it cannot read it.
    logging.getLogger("aiohttp.server").addFilter(_without_input)
    # The control plane's own request log would repeat ours.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def open_log(target: str) -> LineWriter | None:
    """Return a writer for ``stdout``, ``stderr`` or a file; None for ``off``. Raises ConfigError."""
    if target == "off":
        return None
    if target in _STREAMS:
        return LineWriter(_STREAMS[target])
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        return LineWriter(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640))
    except OSError as error:
        raise ConfigError([Problem("log", "", f"{target} cannot be written: {error.strerror}")]) from error


def audit_writer(writer: LineWriter | None) -> Callable[[AuditEvent], None]:
    """Return what writes audit events, one JSON object a line."""
    clock = Clock()

    def write(event: AuditEvent) -> None:
        if writer is None:
            return
        fields = {name: value for name, value in asdict(event).items() if value and name not in ("time", "kind")}
        writer.write(json.dumps({"time": clock.stamp(event.time), "event": event.kind, **fields}) + "\n")
        writer.flush()

    return write
