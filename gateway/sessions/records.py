"""What the stores with records have in common: the cookie's token, and records that only it can open.

Token: ``s2.`` + base64url(key id 4 bytes ‖ id 16 ‖ secret 32 ‖ token id 4 ‖ tag 16). The tag is HMAC-SHA-256
under a key derived from that of the ring, over what is in front of it and the host that the token is good for:
what has no right tag is nobody's token, and no store is asked about it.

A record lies under the session's handle, which is a hash of the id, and is sealed under a key made of a key of
the ring and the secret: neither a copy of the database nor the server's keys alone open a session, and no record
opens for another id. All tokens of a session share its id and secret.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.session import SESSION_ID_BYTES, Session, SessionSummary, session_handle
from gateway.errors import BadToken
from gateway.sessions.payload import dump_session, dump_summary, parse_session, parse_summary
from gateway.sessions.seal import KeyRing

PREFIX = "s2."
SECRET_BYTES = 32
KEY_ID_BYTES = 4
TOKEN_ID_BYTES = 4
TAG_BYTES = 16
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_TOKEN_CHARACTERS = (KEY_ID_BYTES + SESSION_ID_BYTES + SECRET_BYTES + TOKEN_ID_BYTES + TAG_BYTES) * 4 // 3
_SECRET_AT = KEY_ID_BYTES + SESSION_ID_BYTES
_TOKEN_ID_AT = _SECRET_AT + SECRET_BYTES
_TAG_AT = _TOKEN_ID_AT + TOKEN_ID_BYTES


@dataclass(frozen=True, slots=True)
class RecordKey:
    """A token taken apart."""

    id: bytes
    secret: bytes
    handle: str
    """Under what the record lies."""
    token_id: str
    """What tells the tokens of a session apart, hexadecimal."""
    host: str
    """The only host that it is good for; empty for every host."""
    current: bool
    """Whether its tag is under the key that seals now."""


class Records:
    """Seals and opens records under a key ring, and makes and reads the tokens that open them."""

    def __init__(self, keys: KeyRing, random: Callable[[int], bytes]) -> None:
        self._keys = keys
        self._random = random
        self._tag_keys = keys.derive_by_id("session token")
        self._first = next(iter(self._tag_keys))

    def new_token(self, session_id: bytes, host: str) -> str:
        """Return a token for a new session, with a secret of its own, that is good for ``host``."""
        return self._token(session_id, self._random(SECRET_BYTES), self._random(TOKEN_ID_BYTES), host)

    def further_token(self, key: RecordKey, host: str) -> str:
        """Return another token of a session, that is good for ``host``."""
        return self._token(key.id, key.secret, self._random(TOKEN_ID_BYTES), host)

    def same_token(self, key: RecordKey) -> str:
        """Return a token as it is made under the key that seals now."""
        return self._token(key.id, key.secret, bytes.fromhex(key.token_id), key.host)

    def _token(self, session_id: bytes, secret: bytes, token_id: bytes, host: str) -> str:
        body = self._first + session_id + secret + token_id
        return PREFIX + urlsafe_b64encode(body + _tag(self._tag_keys[self._first], body, host)).decode("ascii")

    def parse(self, token: str, host: str) -> RecordKey:
        """Take a token apart that is good for ``host``; there is exactly one spelling of each. Raises BadToken."""
        text = token[len(PREFIX) :]
        if not token.startswith(PREFIX) or len(text) != _TOKEN_CHARACTERS or not _ALPHABET.issuperset(text):
            raise BadToken("not a token")
        raw = urlsafe_b64decode(text)
        key = self._tag_keys.get(raw[:KEY_ID_BYTES])
        if key is None:
            raise BadToken("a token under a key that is not in the ring")
        body, tag = raw[:_TAG_AT], raw[_TAG_AT:]
        bound = ""
        if not hmac.compare_digest(tag, _tag(key, body, "")):
            if not host or not hmac.compare_digest(tag, _tag(key, body, host)):
                raise BadToken("not a token of this gateway for this host")
            bound = host
        session_id, secret = body[KEY_ID_BYTES:_SECRET_AT], body[_SECRET_AT:_TOKEN_ID_AT]
        current = raw[:KEY_ID_BYTES] == self._first
        return RecordKey(session_id, secret, session_handle(session_id), body[_TOKEN_ID_AT:].hex(), bound, current)

    def is_ours(self, token: str, host: str) -> bool:
        """Tell whether `parse` takes a token apart."""
        try:
            self.parse(token, host)
        except BadToken:
            return False
        return True

    def seal(self, session: Session, secret: bytes) -> bytes:
        """Return the record of a session."""
        return self._keys.seal_record(f"session {session.handle}", secret, dump_session(session))

    def open(self, record: bytes, key: RecordKey) -> Session:
        """Return the session in a record. Raises BadToken where it is not the one of this token."""
        session = parse_session(self._keys.open_record(f"session {key.handle}", key.secret, record))
        if session.id != key.id:
            raise BadToken("the record of another session")
        return session

    def is_current(self, record: bytes) -> bool:
        """Tell whether a record is sealed under the key that seals now."""
        return self._keys.sealed_with_first(record)

    def seal_summary(self, session: Session) -> bytes:
        """Return what a list tells of a session, sealed under the ring alone, for its user's index."""
        summary = session.summary()
        return self._keys.seal_record(f"summary {summary.handle}", b"", dump_summary(summary))

    def open_summary(self, data: bytes, handle: str) -> SessionSummary:
        """Return a sealed summary. Raises BadToken."""
        summary = parse_summary(self._keys.open_record(f"summary {handle}", b"", data))
        if summary.handle != handle:
            raise BadToken("the summary of another session")
        return summary


def _tag(key: bytes, body: bytes, host: str) -> bytes:
    return hmac.digest(key, body + host.encode("utf-8", "surrogateescape"), "sha256")[:TAG_BYTES]
