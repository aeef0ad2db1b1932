"""A User-Agent in few words, for the owner of a session: ``Firefox on Windows``.

It only helps people to recognise their own devices; nothing is decided by it. Whatever a client sends,
the label is short and made of our own words, or of one plain product name.
"""

from __future__ import annotations

import re
from typing import Final

UNKNOWN: Final = "unknown browser"
MAX_CHARACTERS: Final = 40
_READ_CHARACTERS: Final = 1024
"""As much of an agent is looked at; no browser's has more."""

# The first mark that is found decides: most browsers also bear the names of those they descend from.
_BROWSERS: Final = (
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("Edg/", "Edge"),
    ("Edge/", "Edge"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("Opera", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Ddg/", "DuckDuckGo"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("WindowsPowerShell/", "PowerShell"),
    ("PowerShell/", "PowerShell"),
    ("Chromium/", "Chromium"),
    ("Epiphany/", "GNOME Web"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Trident/", "Internet Explorer"),
    ("MSIE ", "Internet Explorer"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "Mac"),
    ("Mac OS X", "Mac"),
    ("Linux", "Linux"),
    ("BSD", "BSD"),
    ("X11", "Unix"),
)
_PRODUCT: Final = re.compile(r"([A-Za-z][A-Za-z0-9._-]{0,23})(?:/|\Z)")
"""A program's name, as RFC 9110 §10.1.5 wants it in front."""
_NAMED_LATER: Final = (("aiohttp/", "aiohttp"), ("httpx/", "httpx"))
"""Libraries that put the language's name first."""


def device_label(user_agent: str) -> str:
    """Return what a User-Agent says: at most `MAX_CHARACTERS` letters, digits, spaces and ``. _ -``."""
    agent = user_agent[:_READ_CHARACTERS].strip()
    browser = _first(_BROWSERS, agent)
    if not browser and not agent.startswith("Mozilla/"):
        product = _PRODUCT.match(agent)
        return _first(_NAMED_LATER, agent) or (product[1] if product else UNKNOWN)
    system = _first(_SYSTEMS, agent)
    return f"{browser or UNKNOWN} on {system}" if system else browser or UNKNOWN


def _first(marks: tuple[tuple[str, str], ...], agent: str) -> str:
    return next((name for mark, name in marks if mark in agent), "")
