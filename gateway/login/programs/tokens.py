"""Signed tokens that programs send (RFC 7519, RFC 9068): whose they are, by the issuer's published keys."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence

from gateway.core.programs import KEY_PREFIX, Credential, TokenIssuer, Verified
from gateway.core.provider import ALGORITHMS, Provider, ProviderSession
from gateway.errors import LoginRefused, ProviderDown
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.oidc.id_token import LEEWAY, check_issuer, number
from gateway.login.oidc.jwks import KeyPace, Keys
from gateway.login.oidc.jws import Unverified, take_apart
from gateway.login.oidc.metadata import is_safe_url, metadata_url
from gateway.login.oidc.people import admitted

KINDS = frozenset({"", "jwt", "at+jwt"})
"""Values of ``typ`` that an access token may have; others are for other uses (RFC 8725 §3.11)."""
LONGEST_MEMORY = 600.0
"""Seconds after which a token is looked at again: its key may have been taken back meanwhile."""


class IssuerKeys:
    """The keys of one issuer, found by its description unless their address is known."""

    def __init__(
        self, issuer: TokenIssuer, http: ProviderHttp, monotonic: Callable[[], float], pace: KeyPace | None = None
    ) -> None:
        self._issuer = issuer
        self._http = http
        self._clock = monotonic
        self._pace = pace or KeyPace()
        self._keys = Keys(http, monotonic, self._pace)
        self._url = issuer.jwks
        self._ask_again = float("inf") if issuer.jwks else float("-inf")
        self._why = ""
        self._asking = asyncio.Lock()

    async def claims(self, token: Unverified) -> dict[str, object]:
        """Return the claims of a token that the issuer has signed. Raises LoginRefused or ProviderDown."""
        return await self._keys.claims(token, await self._find())

    async def _find(self) -> str:
        """Return where the keys are; what was found out is good for as long as the keys, and in need for longer."""
        async with self._asking:
            if self._clock() >= self._ask_again:
                try:
                    self._url = await self._described()
                    self._ask_again = self._clock() + self._pace.keep
                except ProviderDown as error:
                    self._why = str(error)
                    self._ask_again = self._clock() + self._pace.retry
            if not self._url:
                raise ProviderDown(self._why, 503)
            return self._url

    async def _described(self) -> str:
        issuer = self._issuer.people.issuer
        reply = await self._http.get(metadata_url(issuer))
        if reply.status != 200:
            raise ProviderDown(f"{issuer} answered {reply.status} when asked about itself", 503)
        fields = reply.fields()
        url = fields.get("jwks_uri")
        if fields.get("issuer") != issuer:
            raise ProviderDown(f"{issuer} calls itself {str(fields.get('issuer'))[:200]!r}", 503)
        if not isinstance(url, str) or not is_safe_url(url, issuer):
            raise ProviderDown(f"{issuer} does not tell where its keys are, or that is not safe to use", 503)
        return url

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()


class TokenSource:
    """Tokens of one issuer for given audiences. A `Source`."""

    kind = "bearer"

    def __init__(self, issuer: TokenIssuer, keys: IssuerKeys, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock

    def takes(self, credential: Credential) -> bool:
        """Tell whether it is a token that names the issuer."""
        text = credential.text
        if credential.scheme != "bearer" or text.startswith(KEY_PREFIX):
            return False
        return claimed_issuer(text) == self._issuer.people.issuer

    async def verify(self, credential: Credential) -> Verified:
        """Return whose a token is. Raises LoginRefused, LoginDenied or ProviderDown."""
        people = self._issuer.people
        token = take_apart(credential.text, people.algorithms or ALGORITHMS)
        if token.kind not in KINDS:
            raise LoginRefused(f"a token of the kind {token.kind[:40]!r} in place of an access token")
        claims = await self._keys.claims(token)
        now = self._clock()
        check_issuer(claims, people.issuer)
        ends = check_claims(claims, self._issuer.audiences, now)
        identity = admitted(people, with_scopes(claims), {})
        return Verified(identity, people.id, now, min(ends, now + LONGEST_MEMORY), login_behind(people, claims))

    async def start(self) -> None:
        """Do nothing: the keys are fetched for the first token."""

    async def close(self) -> None:
        """Close every connection."""
        await self._keys.close()

    def forget(self) -> None:
        """Do nothing: nothing is remembered here but the issuer's keys."""


def check_claims(claims: Mapping[str, object], audiences: Sequence[str], now: float) -> float:
    """Check that a token is for us, now, and for whoever bears it; return when it ends.

    Raises LoginRefused. No ``audiences`` believes tokens for anybody.
    """
    audience = claims.get("aud")
    found = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if audiences and not any(isinstance(name, str) and name in audiences for name in found):
        raise LoginRefused(f"the token is for another audience: {str(audience)[:200]!r}")
    if "cnf" in claims:
        # It is worth something together with a key alone (RFC 9449 §6, RFC 8705 §3), which was not shown.
        raise LoginRefused("the token is bound to a key")
    expires = number(claims, "exp")
    if expires is None:
        raise LoginRefused("the token does not say when it ends")
    if now >= expires + LEEWAY:
        raise LoginRefused(f"the token ended {now - expires:.0f} s ago")
    if any((number(claims, name) or 0.0) > now + LEEWAY for name in ("iat", "nbf")):
        raise LoginRefused("the token is from the future")
    return expires + LEEWAY


def login_behind(people: Provider, claims: Mapping[str, object]) -> ProviderSession:
    """Return what a token tells of the login that it comes from (RFC 9470 §6)."""
    acr, issuer, subject = (claims.get(name) for name in ("acr", "iss", "sub"))
    return ProviderSession(
        provider=people.id,
        issuer=issuer if isinstance(issuer, str) else people.issuer,
        subject=subject if isinstance(subject, str) else "",
        acr=acr if isinstance(acr, str) else "",
        auth_time=_time(claims.get("auth_time")),
    )


def _time(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2**53:
        return None
    return float(value)


def with_scopes(claims: Mapping[str, object]) -> Mapping[str, object]:
    """Return claims whose ``scope`` is a list, which it is not in the token (RFC 8693 §4.2)."""
    scope = claims.get("scope")
    return {**claims, "scope": scope.split()} if isinstance(scope, str) else claims


def claimed_issuer(text: str) -> str:
    """Return the issuer that a token names, unverified: it only tells whose keys to try. Empty for no token."""
    parts = text.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return ""
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else ""
