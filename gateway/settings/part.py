"""What every mapping of the configuration is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def default(text: object) -> Any:
    """Return a default as the file would write it; it is parsed like any other value."""
    return Field(default=text)


class Part(BaseModel):
    """A mapping of known keys; any other is an error."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )
