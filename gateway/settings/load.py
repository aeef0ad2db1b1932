"""Reading the configuration file: from its path to `Settings`, or to everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from gateway.errors import ConfigError, Problem
from gateway.settings.build import Builder
from gateway.settings.checks import check
from gateway.settings.document import Found, read_document
from gateway.settings.interpolation import Interpolation
from gateway.settings.model import Config
from gateway.settings.secrets import NEW_KEY
from gateway.settings.settings import Settings
from gateway.settings.validation import validate
from gateway.settings.warnings import warnings

MAX_BYTES = 4 * 1024 * 1024


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the configuration file at ``path``.

    Raises ConfigError with every problem of the file; no text of one holds a secret.
    """
    return parse_settings(read_file(path, MAX_BYTES), path, environ)


def parse_settings(content: bytes, path: Path, environ: Mapping[str, str]) -> Settings:
    """Return the settings in a file's content. ``path`` is its name in messages; its folder anchors relative paths."""
    document = read_document(content, str(path), Interpolation(environ, path.parent))
    found, draft = validate(document, Config)
    if draft:
        found += check(draft)
    if found or not draft:
        raise ConfigError(document.problems(_with_remedies(found)))
    return Builder(draft, path).settings(document.problems(warnings(draft)))


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


def _with_remedies(found: Iterable[Found]) -> list[Found]:
    """Name the command that makes a key wherever one cannot be had, as from an unset variable."""
    return [
        replace(entry, text=f"{entry.text}; {NEW_KEY}")
        if entry.path[:2] == ("session", "keys") and NEW_KEY not in entry.text
        else entry
        for entry in found
    ]
