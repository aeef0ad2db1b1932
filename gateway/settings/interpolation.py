"""``${NAME}``, ``${NAME:-default}``, ``${file:/run/secrets/name}`` and ``$$`` in the texts of the configuration.

What comes in this way may be secret, so no error here repeats a value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.settings.misfit import Misfit
from gateway.settings.text import is_text

MAX_FILE_BYTES = 64 * 1024

_SIGN = re.compile(r"\$(?:(\$)|\{([^{}]*)\}|(\{))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMS = "write ${NAME}, ${NAME:-default} or ${file:/path}, or $$ for a plain $"


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Where values come from: an environment, and the folder that relative file names start from."""

    environ: Mapping[str, str]
    folder: Path

    def expand(self, text: str) -> tuple[str, list[str]]:
        """Return the text with everything put in, and what came from outside.

        Raises Misfit where a variable is unset, a file cannot be read, or the form is none of ours.
        A lone ``$`` stays as it is.
        """
        pieces: list[str] = []

        def replace(match: re.Match[str]) -> str:
            if match[1]:
                return "$"
            if match[3]:
                raise Misfit(f"a ${{ that is not closed: {_FORMS}")
            pieces.append(self._value(match[2]))
            return pieces[-1]

        return _SIGN.sub(replace, text), pieces

    def _value(self, body: str) -> str:
        if body.startswith("file:"):
            return self._file(body[len("file:") :])
        name, has_default, default = body.partition(":-")
        if not _NAME.fullmatch(name):
            raise Misfit(f"a ${{…}} that is none of the known forms: {_FORMS}")
        found = self.environ.get(name)
        if has_default and not found:
            return default
        if found is None:
            raise Misfit(f"the environment variable {name} is not set")
        if not is_text(found):
            raise Misfit(f"the environment variable {name} is not UTF-8")
        return found

    def _file(self, name: str) -> str:
        if not name or not name.isprintable():
            raise Misfit(f"a ${{file:…}} without a proper file name: {_FORMS}")
        try:
            with (self.folder / name).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise Misfit(f"the file {name} cannot be read: {os.strerror(error.errno or 0)}") from None
        if len(content) > MAX_FILE_BYTES:
            raise Misfit(f"the file {name} has more than {MAX_FILE_BYTES} bytes")
        try:
            return content.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise Misfit(f"the file {name} is not UTF-8") from None
