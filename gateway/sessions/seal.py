"""Sealing: the key ring and the token format.

Token: ``v1.`` + base64url(key id 4 bytes ‖ nonce 12 ‖ ciphertext ‖ tag 16), AES-256-GCM
(NIST SP 800-38D). The purpose is authenticated data, so no token opens for another purpose.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from binascii import Error, a2b_base64
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import BadToken

PREFIX: Final = "v1."
KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_MIN_LENGTH: Final = (_ID_BYTES + _NONCE_BYTES + _TAG_BYTES) * 4 // 3
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STANDARD: Final = bytes(
    b"+/"[b"-_".index(byte)] if byte in b"-_" else byte if byte in _ALPHABET else 0 for byte in range(256)
)
"""Translates base64url into plain base64, and all else into what is neither."""
# By the characters beyond whole groups of four: which may be last, so that no unused bit is set.
_LAST: Final = {0: _ALPHABET, 2: b"AQgw", 3: b"AEIMQUYcgkosw048"}


class SealBroken(BadToken):
    """A record was changed, or sealed for something else."""


class KeyRing:
    """Keys of 32 bytes: the first seals, all open, and the key id picks, so none is tried in vain."""

    def __init__(self, keys: Sequence[bytes], random: Callable[[int], bytes]) -> None:
        """Make a ring. Raises ValueError for no key, a key of another size, or two that look alike."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key ring needs keys of {KEY_BYTES} bytes")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        if len(self._ciphers) != len(keys):
            raise ValueError("two keys of the ring are the same")
        self._first = _key_id(keys[0])
        # Six characters hold the four bytes of a key id, and four bits of what follows.
        starts = (urlsafe_b64encode(self._first + bytes([bits << 4])) for bits in range(16))
        self._first_starts = frozenset(start[:6].decode("ascii") for start in starts)
        self._keys = tuple(keys)
        self._by_id = {_key_id(key): key for key in keys}
        self._random = random

    def random(self, size: int) -> bytes:
        """Return random bytes for a new token."""
        return self._random(size)

    def seal(self, purpose: str, payload: bytes) -> str:
        """Return ``payload`` sealed for ``purpose``."""
        nonce = self._random(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, payload, _bound_to(purpose))
        return PREFIX + urlsafe_b64encode(self._first + nonce + sealed).rstrip(b"=").decode("ascii")

    def open(self, purpose: str, token: str) -> bytes:
        """Return what was sealed for ``purpose``. Raises BadToken for anything else."""
        raw = _decode(token)
        cipher = self._ciphers.get(raw[:_ID_BYTES])
        if cipher is None:
            raise BadToken("sealed under a key that is not in the ring")
        nonce, sealed = raw[_ID_BYTES : _ID_BYTES + _NONCE_BYTES], raw[_ID_BYTES + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, sealed, _bound_to(purpose))
        except InvalidTag:
            raise BadToken("not sealed by this gateway for this purpose") from None

    def seals_with_first(self, token: str) -> bool:
        """Tell whether a token, which was opened, is sealed under the key that seals now."""
        return token[len(PREFIX) : len(PREFIX) + 6] in self._first_starts

    def seal_record(self, purpose: str, secret: bytes, payload: bytes) -> bytes:
        """Return ``payload`` sealed under a key of the ring's first and ``secret`` together."""
        nonce = self._random(_NONCE_BYTES)
        cipher = _cipher_of(self._by_id[self._first], secret)
        return self._first + nonce + cipher.encrypt(nonce, payload, _bound_to(purpose))

    def open_record(self, purpose: str, secret: bytes, record: bytes) -> bytes:
        """Return what `seal_record` sealed with the same purpose and secret. Raises BadToken for anything else."""
        key = self._by_id.get(record[:_ID_BYTES])
        if key is None or len(record) < _ID_BYTES + _NONCE_BYTES + _TAG_BYTES:
            raise BadToken("a record under a key that is not in the ring")
        nonce, sealed = record[_ID_BYTES : _ID_BYTES + _NONCE_BYTES], record[_ID_BYTES + _NONCE_BYTES :]
        try:
            return _cipher_of(key, secret).decrypt(nonce, sealed, _bound_to(purpose))
        except InvalidTag:
            raise SealBroken("a record that was not sealed for this session") from None

    def sealed_with_first(self, record: bytes) -> bool:
        """Tell whether a record is sealed under the key that seals now."""
        return record[:_ID_BYTES] == self._first

    def derive(self, purpose: str) -> tuple[bytes, ...]:
        """Return a key of 32 bytes for another use from each key of the ring (HMAC-SHA-256 as a PRF)."""
        return tuple(self.derive_by_id(purpose).values())

    def derive_by_id(self, purpose: str) -> dict[bytes, bytes]:
        """Return the same by key ids, the first key's first."""
        message = b"gateway derive v1 " + purpose.encode()
        return {_key_id(key): hmac.new(key, message, hashlib.sha256).digest() for key in self._keys}


def _cipher_of(key: bytes, secret: bytes) -> AESGCM:
    """Return the cipher of a key and a secret together (HMAC-SHA-256 as a PRF)."""
    return AESGCM(hmac.digest(key, b"gateway record v1 " + secret, "sha256"))


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"gateway key id v1 " + key).digest()[:_ID_BYTES]


def _bound_to(purpose: str) -> bytes:
    return b"gateway seal v1 " + purpose.encode("ascii")


def _decode(token: str) -> bytes:
    """Decode a token's bytes; there is exactly one spelling of each (RFC 4648 §3.5)."""
    if not token.startswith(PREFIX) or not token.isascii():
        raise BadToken("not a token")
    text = token[len(PREFIX) :].encode("ascii")
    extra = len(text) % 4
    last = _LAST.get(extra)
    if len(text) < _MIN_LENGTH or last is None or text[-1] not in last:
        raise BadToken("not a token")
    try:
        # Strict, and one translation: what urlsafe_b64decode and a check of the alphabet take, it halves.
        return a2b_base64(text.translate(_STANDARD) + b"=" * (-extra % 4), strict_mode=True)
    except Error:
        raise BadToken("not a token") from None
