"""What the stores with records have in common: the cookie's token, and records that only it can open.

Token: ``s1.`` + base64url(id 16 bytes ‖ secret 32 bytes). A record lies under the session's handle,
which is a hash of the id, and is sealed under a key made of a key of the ring and the secret: neither
a copy of the database nor the server's keys alone open a session, and no record opens for another id.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.session import SESSION_ID_BYTES, Session, SessionSummary, session_handle
from gateway.errors import BadToken
from gateway.sessions.payload import dump_session, dump_summary, parse_session, parse_summary
from gateway.sessions.seal import KeyRing

PREFIX = "s1."
SECRET_BYTES = 32
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_TOKEN_CHARACTERS = (SESSION_ID_BYTES + SECRET_BYTES) * 4 // 3


@dataclass(frozen=True, slots=True)
class RecordKey:
    """A token taken apart."""

    id: bytes
    secret: bytes
    handle: str
    """Under what the record lies."""


def new_token(session_id: bytes, random: Callable[[int], bytes]) -> str:
    """Return a token for a new session, with a secret of its own."""
    return PREFIX + urlsafe_b64encode(session_id + random(SECRET_BYTES)).decode("ascii")


def parse_token(token: str) -> RecordKey:
    """Take a token apart; there is exactly one spelling of each. Raises BadToken."""
    text = token[len(PREFIX) :]
    if not token.startswith(PREFIX) or len(text) != _TOKEN_CHARACTERS or not _ALPHABET.issuperset(text):
        raise BadToken("not a token")
    raw = urlsafe_b64decode(text)
    session_id = raw[:SESSION_ID_BYTES]
    return RecordKey(session_id, raw[SESSION_ID_BYTES:], session_handle(session_id))


class Records:
    """Seals and opens records under a key ring."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

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
