"""Reading files of the operator's, within bounds and with an error that says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.errors import ConfigError, Problem

MAX_BYTES = 4 * 1024 * 1024
"""The most bytes of a configuration file."""


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a file of the operator's. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "not a file name"
        raise ConfigError([Problem(str(path), "", f"cannot be read: {reason}")]) from None
    if len(content) > limit:
        raise ConfigError([Problem(str(path), "", f"has more than {limit} bytes")])
    return content
