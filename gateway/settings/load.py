"""Reading the configuration file: from its path to `Settings`, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from gateway.errors import ConfigError
from gateway.settings.build import Builder
from gateway.settings.checks import check
from gateway.settings.document import Found, read_document
from gateway.settings.interpolation import Interpolation
from gateway.settings.model import Config
from gateway.settings.reading import MAX_BYTES, read_file
from gateway.settings.secrets import NEW_KEY
from gateway.settings.settings import Settings
from gateway.settings.validation import validate
from gateway.settings.warnings import warnings


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


def _with_remedies(found: Iterable[Found]) -> list[Found]:
    """Name the command that makes a key wherever one cannot be had, as from an unset variable."""
    return [
        replace(entry, text=f"{entry.text}; {NEW_KEY}")
        if entry.path[:2] == ("session", "keys") and NEW_KEY not in entry.text
        else entry
        for entry in found
    ]
