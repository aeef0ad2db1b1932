"""Session keys and password hashes: checked for being what they claim, never repeated in an error."""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from itertools import pairwise

from gateway.settings.misfit import Misfit

KEY_BYTES = 32
KEY_CHARACTERS = 43
NEW_KEY = "make one with `gateway new-key`"
NEW_HASH = "make one with `gateway hash-password`"

MIN_TOKEN_CHARACTERS = 16
MAX_TOKEN_CHARACTERS = 512
MIN_TOKEN_VARIETY = 8
"""Different characters; 16 random ones of base64 have fewer once in 10⁷."""

MAX_MEMORY_KIB = 1024 * 1024
MAX_ITERATIONS = 20
MAX_LANES = 16

_KEY = re.compile(r"([A-Za-z0-9_-]{43})=?")
_WORDS = re.compile(r"change|replace|example|placeholder|insert|secret|password", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token is made of (RFC 6750 §2.1)."""
_PHC = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,10}),t=([0-9]{1,10}),p=([0-9]{1,10})\$([A-Za-z0-9+/]{1,128})\$([A-Za-z0-9+/]{1,256})"
)

_CUT = re.compile(r"\$argon2id\$v=[0-9]+\$m=[0-9]+")
"""What YAML leaves of a hash without quotes within braces."""


def session_key(value: object) -> bytes:
    """Return a key's 32 bytes from base64url. Raises Misfit for anything that is not 32 random bytes."""
    match = _KEY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Misfit(
            f"not a key: a key is {KEY_BYTES} random bytes as {KEY_CHARACTERS} characters of base64url; {NEW_KEY}"
        )
    key = urlsafe_b64decode(match[1] + "=")
    if key_text(key) != match[1]:
        raise Misfit(f"not a key: its last character is not one that base64url can end in; {NEW_KEY}")
    if looks_chosen(key, match[1]):
        raise Misfit(f"a key that was not drawn at random, as a placeholder; {NEW_KEY}")
    return key


def admin_token(value: object) -> str:
    """Return the token of the admin API. Raises Misfit for one that could be guessed."""
    if not isinstance(value, str) or not MIN_TOKEN_CHARACTERS <= len(value) <= MAX_TOKEN_CHARACTERS:
        raise Misfit(f"not a token: it has {MIN_TOKEN_CHARACTERS} to {MAX_TOKEN_CHARACTERS} characters; {NEW_KEY}")
    if not _TOKEN.fullmatch(value):
        raise Misfit(f"not a token: it is made of letters, digits and - . _ ~ + / alone; {NEW_KEY}")
    if len(set(value)) < MIN_TOKEN_VARIETY or _WORDS.search(value):
        raise Misfit(f"a token that was not drawn at random, as a placeholder; {NEW_KEY}")
    return value


def key_text(key: bytes) -> str:
    """Return a key as the configuration takes it."""
    return urlsafe_b64encode(key).decode("ascii").rstrip("=")


def new_key() -> str:
    """Return a new random key as the configuration takes it."""
    while True:
        key = secrets.token_bytes(KEY_BYTES)
        text = key_text(key)
        if not looks_chosen(key, text):
            return text


def looks_chosen(key: bytes, text: str) -> bool:
    """Tell whether a key looks like zeros, a pattern or words; a random one does less than once in 10⁶."""
    steps = {(b - a) % 256 for a, b in pairwise(key)}
    few = len(set(key)) < 12 or len(set(text)) < 14 or len(steps) < 8
    return few or all(0x20 <= byte < 0x7F for byte in key) or _WORDS.search(text) is not None


def password_hash(value: object) -> str:
    """Return an argon2id PHC string whose cost is bounded, so that no entry can exhaust the machine."""
    if not isinstance(value, str) or not value.startswith("$"):
        raise Misfit(f"not a password hash: an argon2id hash starts with $argon2id$; {NEW_HASH}")
    if not value.startswith("$argon2id$"):
        raise Misfit(f"a hash that is not argon2id; {NEW_HASH}")
    match = _PHC.fullmatch(value)
    if _CUT.fullmatch(value):
        raise Misfit("a hash that ends at its first comma; put the whole hash in quotes")
    if match is None:
        raise Misfit(f"not a whole argon2id hash: $argon2id$v=19$m=…,t=…,p=…$salt$hash; {NEW_HASH}")
    memory, iterations, lanes = int(match[1]), int(match[2]), int(match[3])
    if (
        not 1 <= lanes <= MAX_LANES
        or not 1 <= iterations <= MAX_ITERATIONS
        or not 8 * lanes <= memory <= MAX_MEMORY_KIB
    ):
        raise Misfit(
            f"a hash whose cost is out of bounds: m from 8 × p to {MAX_MEMORY_KIB} (KiB), "
            f"t from 1 to {MAX_ITERATIONS}, p from 1 to {MAX_LANES}; {NEW_HASH}"
        )
    if not 8 <= _decoded_length(match[4]) <= 64 or not 16 <= _decoded_length(match[5]) <= 128:
        raise Misfit(f"a hash whose salt or digest is too short, too long or not base64; {NEW_HASH}")
    return value


def _decoded_length(text: str) -> int:
    """Return the bytes in base64 without padding; 0 where it is none, or has stray bits at its end."""
    try:
        raw = urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4))
    except Base64Error:
        return 0
    again = urlsafe_b64encode(raw).decode("ascii").rstrip("=").replace("-", "+").replace("_", "/")
    return len(raw) if again == text else 0
