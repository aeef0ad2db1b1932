"""Header names and values that the configuration may speak of, and templates over the identity."""

from __future__ import annotations

import re

from gateway.core.header_name import normalised_text
from gateway.settings.misfit import Misfit, not_a
from gateway.settings.text import nearest

NAME_PATTERN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}"
PLACEHOLDERS = ("{user}", "{name}", "{email}", "{groups}", "{method}", "{claims.NAME}")
MAX_VALUE = 4096

_NAME = re.compile(NAME_PATTERN)
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_KNOWN = re.compile(r"\{(?:user|name|email|groups|method|claims\.[^{}\s]+)\}")

# Normalised as `normalised_text` does it. They carry framing, belong to one hop, or are the gateway's to say.
RESERVED = frozenset(
    {
        "host", "cookie", "set-cookie", "connection", "content-length", "transfer-encoding", "te", "trailer",
        "upgrade", "expect", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "proxy",
        "max-forwards", "http2-settings", "content-type", "content-encoding", "content-range", "forwarded", "via",
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-server",
        "x-forwarded-scheme", "x-forwarded-ssl", "x-forwarded-by", "x-real-ip", "x-client-ip", "x-request-id",
        "traceparent", "tracestate",
    }
)  # fmt: skip
RESERVED_PREFIX = "sec-websocket-"
# What an answer may lose, apart from what carries it.
ANSWER_RESERVED = frozenset(
    {
        "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive", "date",
        "content-type", "content-encoding", "content-range",
    }
)  # fmt: skip


def header_name(value: object) -> str:
    """Return the name of a header that the configuration may set or remove towards an upstream."""
    name = _token(value)
    plain = normalised_text(name)
    if plain in RESERVED or plain.startswith(RESERVED_PREFIX):
        raise not_a("a header to be set here: it carries the message itself, or the gateway writes it")
    return name


def passed_header_name(value: object) -> str:
    """Return the normalised name of a header that clients may send to an app although it is stripped elsewhere."""
    return normalised_text(header_name(value))


def answer_header_name(value: object) -> str:
    """Return the normalised name of a header that may be dropped from answers."""
    plain = normalised_text(_token(value))
    if plain in ANSWER_RESERVED or plain.startswith(RESERVED_PREFIX):
        raise not_a("a header to be dropped: it carries the answer itself")
    return plain


def is_token(value: str) -> bool:
    """Tell whether a text is a token (RFC 9110 §5.6.2)."""
    return _NAME.fullmatch(value) is not None


def _token(value: object) -> str:
    if not isinstance(value, str) or not is_token(value):
        raise not_a("the name of a header: write letters, digits and -")
    return value


def header_value(value: object) -> str:
    """Return a fixed header value. It may be a secret, so no error repeats it."""
    if not isinstance(value, str):
        raise Misfit("should be text, or null to remove the header; put it in quotes")
    if len(value) > MAX_VALUE or not value.isascii() or not value.isprintable() or value != value.strip():
        raise Misfit(f"should be up to {MAX_VALUE} printable ASCII characters, without spaces at the ends")
    return value


def template(value: object) -> str:
    """Return a template of an identity header, as ``{user}`` or ``id={claims.employee}``."""
    if not isinstance(value, str) or not value:
        raise Misfit('should be a template, as "{user}"')
    header_value(value)
    for match in _PLACEHOLDER.finditer(value):
        if not _KNOWN.fullmatch(match[0]):
            guess = nearest(match[0], PLACEHOLDERS) or f"; known are {', '.join(PLACEHOLDERS)}"
            raise Misfit(f'the placeholder "{match[0]}" is not known{guess}')
    if re.search(r"[{}]", _PLACEHOLDER.sub("", value)):
        raise Misfit("a { or } that belongs to no placeholder")
    return value


def names_placeholder(value: str) -> bool:
    """Tell whether a fixed value looks like a template by mistake."""
    return bool(_KNOWN.search(value))
