"""How a value's parser says that it does not fit, without ever repeating what may be secret."""

from __future__ import annotations


class Misfit(ValueError):
    """A value that is wrong.

    ``text`` is what is wrong with it. With ``quotes`` it is what the value is not, and the report puts
    the value in front, unless that came out of the environment or a file.
    """

    def __init__(self, text: str, *, quotes: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.quotes = quotes


def not_a(expected: str) -> Misfit:
    """Return the error for a value that is not ``expected`` and may be shown."""
    return Misfit(expected, quotes=True)
