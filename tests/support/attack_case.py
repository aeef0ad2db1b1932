"""One attack case: raw bytes with placeholders, and what a safe gateway does with them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_WAIT = re.compile(r"\{WAIT:(\d+)\}")
_REPEAT = re.compile(r"\{REPEAT:(\d+):([^}]*)\}")
_REQUEST_LINE = re.compile(r"([A-Za-z]+) (\S+) HTTP/1\.[01]\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\r\n]*)?\r\n")
CALLBACK = "/_gateway/oidc/sso/callback"
"""The callback of the provider that the gateways under test know."""
LONGEST_WAIT = 4.0
"""Seconds; the gateways under test have limits of half as much, so no pause needs to be longer."""


@dataclass(frozen=True)
class Secrets:
    """What the placeholders stand for at one gateway."""

    host: str
    cookie_name: str
    cookie_value: str
    other_cookie: str
    """``name=value`` of another user."""


@dataclass(frozen=True)
class AttackCase:
    """A case as it stands in the file."""

    id: str
    kind: str
    raw: str
    expect: str
    note: str

    @property
    def has_session(self) -> bool:
        """Tell whether the bytes hold a session's cookie in some form."""
        return "{COOKIE" in self.raw.replace("{COOKIE_NAME}", "")

    @property
    def starts_public(self) -> bool:
        """Tell whether the first request is one that needs no session."""
        return re.match(r"[A-Z]+ /public/[a-z-]+ ", self.raw) is not None

    def pieces(self, secrets: Secrets) -> list[bytes | float]:
        """Return what is sent, with pauses in seconds between; placeholders in the documented order."""
        text = self.raw.replace("/_gateway/callback", CALLBACK).replace("{HOST}", secrets.host)
        text = text.replace("{COOKIE_NAME}", secrets.cookie_name).replace("{COOKIE_VALUE}", secrets.cookie_value)
        text = text.replace("{COOKIE2}", secrets.other_cookie)
        text = text.replace("{COOKIE}", f"{secrets.cookie_name}={secrets.cookie_value}")
        parts: list[bytes | float] = []
        for i, part in enumerate(_WAIT.split(text)):
            if i % 2:
                parts.append(min(int(part) / 1000, LONGEST_WAIT))
            elif part:
                whole = _REPEAT.sub(lambda match: match[2] * int(match[1]), part)
                parts.append(whole.encode("latin-1"))
        return parts

    def methods(self) -> list[str]:
        """Return the methods of the requests that the bytes seem to hold, in order."""
        return [match[1] for match in _REQUEST_LINE.finditer(self.raw)]

    def marker(self) -> str | None:
        """Return the target of a smuggled or second request, or None where there is none."""
        targets = [match[2] for match in _REQUEST_LINE.finditer(self.raw)]
        if any("smuggled" in target for target in targets[1:]):
            return "/app/smuggled"
        return targets[1] if len(targets) > 1 else None

    def stated_body(self) -> bytes:
        """Return the body of the first request, as its own framing states it."""
        head, _, rest = self.raw.partition("\r\n\r\n")
        rest = _REPEAT.sub(lambda match: match[2] * int(match[1]), _WAIT.sub("", rest))
        if re.search(r"(?im)^transfer-encoding:[ \t]*chunked", head):
            return _lenient_chunks(rest.encode("latin-1"))
        length = re.search(r"(?im)^content-length:[ \t]*(\d+)", head)
        return rest.encode("latin-1")[: int(length[1])] if length else b""

    def header_values(self, name: str) -> set[str]:
        """Return the values the client sends under any spelling of ``name``, trailers included."""
        values = set()
        for line in re.split(r"[\r\n]+", self.raw):
            key, colon, value = line.partition(":")
            if colon and normalised(key.strip(" \t\xa0")) == normalised(name):
                values.add(value.strip())
        return values


def normalised(name: str) -> str:
    """Return a header name as CGI-like servers confuse it."""
    return re.sub(r"[^a-z0-9]", "-", name.lower())


def _lenient_chunks(data: bytes) -> bytes:
    """Decode a chunked body, extensions and any number of digits allowed; trailers are not looked at."""
    body = b""
    while match := _CHUNK.match(data):
        size = int(match[1], 16)
        body += data[match.end() : match.end() + size]
        data = data[match.end() + size + 2 :]
        if not size:
            break
    return body


def load_cases(path: Path) -> list[AttackCase]:
    """Return the cases of a file of JSON lines."""
    entries = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [AttackCase(e["id"], e["class"], e["raw"], e["expect"], e["note"]) for e in entries]
