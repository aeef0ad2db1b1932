"""Identity headers: what is stripped from clients, and how values are written for upstreams.

Values are ASCII. One with other characters is written as RFC 2047 encoded words in UTF-8, which the
mail and MIME modules of every language decode; a comma inside a group name becomes ``%2C``, so that
nobody gains a group by the name of another.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.core.header_name import normalised
from gateway.core.identity import Identity

# Names that common apps trust by themselves, normalised; prefixes end in "-".
TRUSTED_BY_APPS: Final = frozenset(
    {
        b"remote-user", b"remote-groups", b"remote-email", b"remote-name",
        b"x-forwarded-user", b"x-forwarded-email", b"x-forwarded-groups", b"x-forwarded-preferred-username",
        b"x-forwarded-access-token", b"x-user", b"x-authenticated-user", b"x-authenticated-userid",
        b"x-ms-client-principal", b"x-original-url", b"x-rewrite-url", b"x-original-uri", b"x-original-method",
        b"x-http-method-override", b"x-http-method", b"x-method-override",
        b"client-cert", b"x-client-cert", b"x-forwarded-client-cert", b"x-arr-clientcert",
        b"x-original-forwarded-for", b"x-identity-token", b"x-jwt-assertion",
        b"http-remote-user", b"auth-user", b"x-auth-user", b"x-auth-email", b"x-auth-groups", b"x-auth-name",
    }
)  # fmt: skip
TRUSTED_PREFIXES: Final = (
    b"x-auth-request-", b"x-webauth-", b"x-authentik-", b"x-pomerium-", b"x-goog-authenticated-user-",
    b"x-goog-iap-", b"x-ms-client-principal-", b"x-ms-token-", b"tailscale-", b"cf-access-", b"oidc-claim-",
    b"oidc-", b"x-amzn-oidc-", b"x-gateway-", b"x-token-user-", b"x-vouch-", b"x-remote-",
    b"impersonate-", b"x-forwarded-client-cert-", b"x-ssl-client-", b"ssl-client-", b"client-cert-",
)  # fmt: skip

_PLACEHOLDER: Final = re.compile(r"\{([a-z]+)(?:\.([^{}]+))?\}")


class IdentityHeaders:
    """The configured identity headers, ready to be written for any identity."""

    def __init__(self, templates: Iterable[tuple[str, str]], further: Iterable[str] = ()) -> None:
        """``further`` names headers that are written elsewhere, and are as little for others to send."""
        self._further = tuple(further)
        self._templates = tuple((name, _compile(template)) for name, template in templates)

    def names(self) -> frozenset[bytes]:
        """Return the normalised names, which clients and upstreams may not send."""
        names = (*(name for name, _ in self._templates), *self._further)
        return frozenset(normalised(name.encode("ascii")) for name in names)

    def pairs(self, identity: Identity) -> list[tuple[str, str]]:
        """Return the headers for ``identity`` as ASCII names and values; empty values are left out."""
        written = [(name, encode_value(fill(parts, identity))) for name, parts in self._templates]
        return [pair for pair in written if pair[1]]

    def block(self, identity: Identity, *, whole: bool = False) -> bytes:
        """Return the same as header lines, each ended by CRLF; as a ``whole``, with those that are empty."""
        written: list[str] = []
        values = [fill(parts, identity) for _, parts in self._templates]
        # Looked at once: nearly always all of them stand as they are.
        plain = _is_plain("".join(values))
        for index, value in enumerate(values):
            sent = value if plain and value.strip(" ") == value else encode_value(value)
            if sent or whole:
                written += (self._templates[index][0], ": ", sent, "\r\n")
        return "".join(written).encode("ascii")

    def empty_block(self) -> bytes:
        """Return header lines that say nothing, for somebody who is not logged in."""
        return "".join([f"{name}: \r\n" for name, _ in self._templates]).encode("ascii") + self.no_token

    @property
    def no_token(self) -> bytes:
        """Lines in place of the headers that are written elsewhere."""
        return "".join([f"{name}: \r\n" for name in self._further]).encode("ascii")


Part = str | tuple[str, str]
"""Text as it stands, or the name of a field and that of a claim."""


def _compile(template: str) -> tuple[Part, ...]:
    """Return a template's parts."""
    parts: list[Part] = []
    end = 0
    for match in _PLACEHOLDER.finditer(template):
        parts.append(template[end : match.start()])
        parts.append((match[1], match[2] or ""))
        end = match.end()
    parts.append(template[end:])
    return tuple(part for part in parts if part)


def fill(parts: Sequence[Part], identity: Identity) -> str:
    """Put the identity into a template's parts; an unknown claim is empty."""
    if len(parts) == 1:
        # Nearly every template is one placeholder.
        return _value(identity, parts[0])
    return "".join([_value(identity, part) for part in parts])


def _value(identity: Identity, part: Part) -> str:
    """Return what a part of a template stands for."""
    if isinstance(part, str):
        return part
    field, claim = part
    if field == "user":
        return identity.user
    if field == "groups":
        joined = ",".join(identity.groups)
        if joined.count(",") < len(identity.groups):
            return joined
        return ",".join([group.replace(",", "%2C") for group in identity.groups])
    if field == "claims":
        return _claim(identity.claims.get(claim, ""))
    return str(getattr(identity, field))


def _claim(value: object) -> str:
    """Return a claim as text; several values as groups are written."""
    if isinstance(value, list | tuple):
        return ",".join([_claim(entry).replace(",", "%2C") for entry in value])
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def encode_value(value: str) -> str:
    """Return ``value`` as one safe line of ASCII (RFC 2047 §2 for all that is not printable ASCII)."""
    # Decoders find an encoded word anywhere in a value, so one that is there already is encoded again.
    if _is_plain(value) and value.strip(" ") == value:
        return value
    # An encoded word has at most 75 characters: 45 bytes of UTF-8, cut between characters.
    words: list[str] = []
    piece = b""
    for character in value:
        encoded = character.encode("utf-8", "replace")
        if len(piece) + len(encoded) > 45:
            words.append(_word(piece))
            piece = b""
        piece += encoded
    return " ".join([*words, _word(piece)])


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable() and "=?" not in value


def _word(piece: bytes) -> str:
    return f"=?utf-8?b?{b64encode(piece).decode('ascii')}?="
