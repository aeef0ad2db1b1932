"""Reading the configuration file: from its path to `Settings`, or to everything that is wrong with it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from gateway.errors import ConfigError, Problem
from gateway.settings.build import Builder
from gateway.settings.checks import check
from gateway.settings.document import Document, Found, read_document
from gateway.settings.files import check_files, in_order
from gateway.settings.interpolation import Interpolation
from gateway.settings.model import Config
from gateway.settings.reading import MAX_BYTES, read_file
from gateway.settings.secrets import NEW_KEY
from gateway.settings.settings import Settings
from gateway.settings.validation import draft_without, validate
from gateway.settings.warnings import warnings

_NOTHING_THERE = ("is not set", os.strerror(errno.ENOENT))


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the configuration file at ``path``.

    Raises ConfigError with every problem of the file, and then also of the files that its right keys name, so that
    one run tells everything; no text of one holds a secret.
    """
    document, found, settings = _read(read_file(path, MAX_BYTES), path, environ)
    if settings is None:
        problems = document.problems(_with_remedies(found)) + _file_problems(document, found, path)
        raise ConfigError(in_order(problems, path))
    return settings


def parse_settings(content: bytes, path: Path, environ: Mapping[str, str]) -> Settings:
    """Return the settings in a file's content. ``path`` is its name in messages; its folder anchors relative paths."""
    document, found, settings = _read(content, path, environ)
    if settings is None:
        raise ConfigError(document.problems(_with_remedies(found)))
    return settings


def _read(content: bytes, path: Path, environ: Mapping[str, str]) -> tuple[Document, list[Found], Settings | None]:
    """Return the document, what is wrong with it, and the settings if that is nothing."""
    document = read_document(content, str(path), Interpolation(environ, path.parent))
    found, draft = validate(document, Config)
    if draft:
        found += check(draft)
    if found or not draft:
        return document, found, None
    return document, found, Builder(draft, path).settings(document.problems(warnings(draft)))


def _file_problems(document: Document, found: Iterable[Found], path: Path) -> list[Problem]:
    """Return what is wrong with the files that those keys name of which nothing was found."""
    draft = draft_without(document, Config, (entry.path for entry in found))
    if draft is None:
        return []
    settings = Builder(draft, path).settings(())
    problems = check_files(settings, [draft.position("routes", index) for index in range(len(settings.routes))])
    # What stands in place of a wrong state_dir is not what was meant.
    return [problem for problem in problems if problem.key != "state_dir" or draft.sound("state_dir")]


def _with_remedies(found: Iterable[Found]) -> list[Found]:
    """Name the command that makes a key wherever there is none: an unset variable, a file that is missing."""
    return [
        replace(entry, text=f"{entry.text}; {NEW_KEY}")
        if entry.path[:2] == ("session", "keys") and entry.text.endswith(_NOTHING_THERE)
        else entry
        for entry in found
    ]
