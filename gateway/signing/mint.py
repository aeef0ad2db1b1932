"""Makes the signed identity tokens: JSON Web Tokens (RFC 7519) in JWS compact form (RFC 7515)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.identity import Identity
from gateway.core.session import Session
from gateway.core.token_policy import TokenPolicy
from gateway.errors import StoreUnavailable
from gateway.signing.keys import Keys, SigningKey, b64, current_key, make_signer

REMEMBERED = 10_000
"""Tokens kept for a session that is opened anew, as after a renewal, before they are half over."""
SHORTEST_LIFE = 5.0
"""Seconds: what is forwarded in the last moment of a session has to arrive with a good token."""
SHORTEST_WAIT = 1.0
"""Seconds between two tokens of a session that is about to end."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when to ask for the next one."""

    text: str
    identity: Identity
    stale_at: float
    """When half of its life is over, by the clock of the event loop."""


class TokenMint:
    """Makes tokens for sessions, each at most once per session, audience and half of a token's life."""

    def __init__(
        self,
        policy: TokenPolicy,
        issuer: str,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        """``clock`` gives seconds since the epoch."""
        self._policy = policy
        self._issuer = issuer
        self._clock = clock
        self._random = random
        self._keys: Keys = ()
        self._signers: dict[str, Callable[[bytes], bytes]] = {}
        self._made: dict[tuple[bytes, str], Token] = {}

    def use(self, keys: Keys) -> None:
        """Sign with these from now on."""
        self._keys = keys
        self._signers = {}

    def token(self, session: Session, audience: str, now: float) -> Token:
        """Return a token for one audience; ``now`` is the time of the event loop. Raises StoreUnavailable."""
        place = (session.id, audience)
        made = self._made.get(place)
        if made is None or made.stale_at <= now or made.identity != session.identity:
            self._made.pop(place, None)
            if len(self._made) >= REMEMBERED:
                self._forget(now)
            made = self._made[place] = self._make(session, audience, now)
        return made

    def line(self, session: Session, audience: str, now: float) -> tuple[bytes, float]:
        """Return the header line that carries a token, and when to ask again. Raises StoreUnavailable."""
        token = self.token(session, audience, now)
        return f"{self._policy.header}: {token.text}\r\n".encode("ascii"), token.stale_at

    def _forget(self, now: float) -> None:
        """Forget the tokens that are half over, or the older half of all."""
        fresh = {place: token for place, token in self._made.items() if token.stale_at > now}
        if len(fresh) >= REMEMBERED:
            fresh = dict(list(fresh.items())[REMEMBERED // 2 :])
        self._made = fresh

    def _make(self, session: Session, audience: str, now: float) -> Token:
        if not self._keys:
            raise StoreUnavailable("there are no signing keys yet")
        wall = self._clock()
        issued = int(wall)
        lifetime = self._policy.lifetime
        expires = int(wall + min(lifetime, max(session.ends() - wall, SHORTEST_LIFE)))
        identity = session.identity
        claims: dict[str, object] = {"iss": self._issuer, "aud": audience, "sub": identity.user}
        if identity.name:
            claims["name"] = identity.name
        if identity.email:
            claims["email"] = identity.email
        claims |= {
            "groups": identity.groups,
            "sid": session.handle,
            "iat": issued,
            "exp": expires,
            "jti": b64(self._random(12)),
        }
        text = self._signed(current_key(self._keys, self._policy.algorithm, wall), claims)
        return Token(text, identity, now + max((expires - wall) / 2, SHORTEST_WAIT))

    def _signed(self, key: SigningKey, claims: dict[str, object]) -> str:
        sign = self._signers.get(key.kid)
        if sign is None:
            sign = self._signers[key.kid] = make_signer(key.private)
        header = {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"}
        signed = f"{_encoded(header)}.{_encoded(claims)}"
        return f"{signed}.{b64(sign(signed.encode('ascii')))}"


def _encoded(members: dict[str, object] | dict[str, str]) -> str:
    return b64(json.dumps(members, separators=(",", ":")).encode("ascii"))
