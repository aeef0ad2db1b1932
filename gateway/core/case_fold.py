"""Letters as apps see them that disregard upper and lower case, in whichever way they do it.

Ways in use differ for letters outside ASCII: Unicode's full and simple case folding (ICU, Go, PCRE, IIS), upper
casing (Java, many databases), Python's ``re.IGNORECASE``, and the rules of Turkish. What one of them takes for an
ASCII letter is that letter here: ``ſ`` is ``s``, ``K`` (Kelvin) is ``k``, dotless ``ı`` and dotted ``İ`` are ``i``.
"""

from __future__ import annotations

from typing import Final

_DOTTED: Final = "i\u0307"
"""What Unicode makes of ``İ``: an ``i``, which has a dot, with another one."""
_DOTLESS: Final = "\u0131"


def fold_case(text: str) -> str:
    """Return the text that stands for all that differ from ``text`` in upper and lower case alone."""
    folded = text.casefold()
    if folded.isascii():
        return folded
    return folded.replace(_DOTTED, "i").replace(_DOTLESS, "i")
