"""Logging in at an OpenID Connect provider: the authorization code flow with PKCE (OIDC Core §3.1, RFC 9700)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from gateway.core.identity import Identity
from gateway.core.provider import Provider, ProviderSession, ProviderTokens
from gateway.errors import LoginRefused, ProviderDown
from gateway.login.oidc.answer import code_of, token_error
from gateway.login.oidc.client_auth import ClientAuth
from gateway.login.oidc.discovery import Discovery, Pace
from gateway.login.oidc.fetch import TOTAL_SECONDS, ProviderHttp, Reply
from gateway.login.oidc.id_token import Expected, check_id_token, check_kind, number, subject_of
from gateway.login.oidc.jwks import KeyPace, Keys
from gateway.login.oidc.jws import take_apart
from gateway.login.oidc.logout import check_logout_token
from gateway.login.oidc.metadata import Metadata
from gateway.login.oidc.people import admitted, is_whole
from gateway.login.oidc.renewal import acr_again, check_same, identity_again, nonce_again, session_again
from gateway.login.redirect import FINISH_SECONDS, Keep, LogoutToken, PendingLogin, Proof, keep_nothing

MAX_KEPT = 16 * 1024
"""Characters of a token that may be kept; a longer one is as good as none."""
MAX_HINT = 4096
"""Characters of an ID token as a hint in an address: many servers take no more than 8 KiB for all of it."""
ASSUMED_LIFETIME = 3600.0
"""Seconds that an access token is good where the provider does not say."""
REFRESH_AFTER = 0.8
"""Share of that time after which it is refreshed, so that nobody has to wait for it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take and how often they are done; for tests. Seconds."""

    pace: Pace = field(default_factory=Pace)
    keys: KeyPace = field(default_factory=KeyPace)
    request: float = TOTAL_SECONDS
    finish: float = FINISH_SECONDS
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class OpenIdLogin:
    """One OpenID Connect provider. A `RedirectLogin`."""

    def __init__(self, provider: Provider, timing: Timing | None = None) -> None:
        """Prepare. Raises ValueError or OSError for key and certificate files that cannot be used."""
        self._provider = provider
        self._timing = timing = timing or Timing()
        self._http = ProviderHttp(provider.ca, seconds=timing.request)
        self._auth = ClientAuth(provider, secrets.token_bytes, timing.wall)
        self._discovery = Discovery(provider, self._http, timing.pace)
        self._keys = Keys(self._http, timing.monotonic, timing.keys)

    @property
    def provider(self) -> Provider:
        """Return its settings."""
        return self._provider

    def is_up(self) -> bool:
        """Tell whether the provider has said where to log in, or has yet to be asked."""
        return not self._discovery.is_down()

    async def start(self) -> None:
        """Begin to ask the provider about itself."""
        await self._discovery.start()

    async def close(self) -> None:
        """Stop, and close every connection."""
        await self._discovery.close()
        await self._http.close()

    # --- there ------------------------------------------------------------------------------------

    async def begin(self, pending: PendingLogin, redirect_uri: str) -> str:
        """Return where to send the browser. Raises ProviderDown."""
        metadata = await self._discovery.get()
        provider, asked = self._provider, pending.asked
        fields = {
            **dict(provider.parameters),
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(provider.scopes),
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": pending.challenge(),
            "code_challenge_method": "S256",
        }
        if prompt := asked.prompt or provider.prompt:
            fields["prompt"] = prompt
        if acr_values := asked.acr_values or provider.acr_values:
            fields["acr_values"] = " ".join(acr_values)
        if (max_age := self._max_age(pending)) is not None:
            fields["max_age"] = str(int(max_age))
        separator = "&" if "?" in metadata.authorization_endpoint else "?"
        return metadata.authorization_endpoint + separator + urlencode(fields)

    def _max_age(self, pending: PendingLogin) -> float | None:
        asked = [age for age in (pending.asked.max_age, self._provider.max_age) if age is not None]
        return min(asked, default=None)

    # --- and back ---------------------------------------------------------------------------------

    async def finish(self, pending: PendingLogin, answer: Mapping[str, str], redirect_uri: str) -> Proof:
        """Return who came back. Raises LoginDenied, LoginRefused or ProviderDown (see `RedirectLogin`)."""
        return await self._in_time(self._finish(pending, answer, redirect_uri))

    async def _in_time(self, work: Awaitable[Proof]) -> Proof:
        try:
            async with asyncio.timeout(self._timing.finish):
                return await work
        except TimeoutError:
            raise ProviderDown(f"{self._provider.issuer} took longer than {self._timing.finish} s") from None

    async def _finish(self, pending: PendingLogin, answer: Mapping[str, str], redirect_uri: str) -> Proof:
        metadata = await self._discovery.get()
        code = code_of(answer, metadata.may_be, named=metadata.names_itself)
        tokens = await self._redeem(metadata, pending, code, redirect_uri)
        claims = await self._id_claims(metadata, pending, tokens)
        more = await self._userinfo(metadata, claims, tokens)
        identity = admitted(self._provider, claims, more)
        return Proof(identity, self._remains(claims, tokens), tokens)

    async def _redeem(self, metadata: Metadata, pending: PendingLogin, code: str, redirect_uri: str) -> ProviderTokens:
        """Trade the code for tokens (RFC 6749 §4.1.3)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": pending.verifier,
        }
        return self._tokens(await self._ask_for_tokens(metadata, form))

    async def _ask_for_tokens(self, metadata: Metadata, form: dict[str, str]) -> Reply:
        headers = self._auth.apply(form, metadata.auth_methods, metadata.issuer)
        return await self._http.post_form(metadata.token_endpoint, urlencode(form), headers)

    def _tokens(self, reply: Reply) -> ProviderTokens:
        fields = reply.fields()
        if reply.status != 200:
            raise token_error(reply.status, fields)
        if str(fields.get("token_type", "")).lower() != "bearer":
            raise LoginRefused("the token endpoint gave a token that is no bearer token")
        lifetime = number(fields, "expires_in")
        return ProviderTokens(
            id_token=_kept(fields, "id_token"),
            access_token=_kept(fields, "access_token"),
            refresh_token=_kept(fields, "refresh_token"),
            access_expires=None if lifetime is None else self._timing.wall() + lifetime,
        )

    async def _id_claims(self, metadata: Metadata, pending: PendingLogin, tokens: ProviderTokens) -> dict[str, object]:
        claims, expected = await self._signed(metadata, tokens)
        expected = replace(
            expected,
            nonce=pending.nonce,
            acr_values=pending.asked.acr_values or self._provider.acr_values,
            max_age=self._max_age(pending),
        )
        check_id_token(claims, expected)
        return claims

    async def _signed(self, metadata: Metadata, tokens: ProviderTokens) -> tuple[dict[str, object], Expected]:
        """Return the claims of an ID token whose signature holds, and what every one of them must say."""
        token = take_apart(tokens.id_token, metadata.algorithms)
        check_kind(token.kind)
        claims = await self._keys.claims(token, metadata.jwks_uri)
        return claims, Expected(
            issuer=metadata.issuer_of(claims),
            client_id=self._provider.client_id,
            nonce=None,
            now=self._timing.wall(),
            access_token=tokens.access_token,
            algorithm=token.algorithm,
        )

    async def _userinfo(
        self, metadata: Metadata, claims: Mapping[str, object], tokens: ProviderTokens
    ) -> Mapping[str, object]:
        """Return what the userinfo endpoint adds where something is missing; it must be about the same person."""
        if is_whole(self._provider, claims) or not metadata.userinfo_endpoint or not tokens.access_token:
            return {}
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        reply = await self._http.get(metadata.userinfo_endpoint, headers)
        if reply.status != 200:
            raise ProviderDown(f"the userinfo endpoint answered {reply.status}")
        more = reply.fields()
        if more.get("sub") != claims["sub"]:
            # OIDC Core §5.3.2: then it must not be used, for the tokens may have been exchanged.
            raise LoginRefused("the userinfo endpoint tells about somebody else")
        return more

    def _remains(self, claims: Mapping[str, object], tokens: ProviderTokens) -> ProviderSession:
        remains = ProviderSession(self._provider.id, str(claims["iss"]), subject_of(claims))
        return session_again(remains, claims, *self._times(tokens))

    def _times(self, tokens: ProviderTokens) -> tuple[float | None, float | None]:
        """Return when what the provider told is old, and from when on it is to be asked again."""
        if not self._provider.refresh or not tokens.refresh_token:
            return None, None
        now = self._timing.wall()
        left = ASSUMED_LIFETIME if tokens.access_expires is None else max(tokens.access_expires - now, 1.0)
        return now + left, now + max(left * REFRESH_AFTER, 1.0)

    # --- and again --------------------------------------------------------------------------------

    async def refresh(
        self, session: ProviderSession, tokens: ProviderTokens, identity: Identity, keep: Keep = keep_nothing
    ) -> Proof:
        """Return who somebody is now. Raises GrantOver, LoginDenied, LoginRefused or ProviderDown (see there)."""
        return await self._in_time(self._refresh(session, tokens, identity, keep))

    async def _refresh(self, session: ProviderSession, tokens: ProviderTokens, identity: Identity, keep: Keep) -> Proof:
        metadata = await self._discovery.get()
        fresh = await self._renew(metadata, tokens.refresh_token)
        # The ID token stays the one that was checked until another one is.
        await keep(replace(fresh, id_token=tokens.id_token))
        claims = await self._claims_again(metadata, session, tokens, fresh)
        more = await self._userinfo(metadata, claims or {"sub": session.subject}, fresh)
        identity = identity_again(self._provider, identity, claims, more)
        kept = replace(fresh, id_token=fresh.id_token or tokens.id_token)
        return Proof(identity, session_again(session, claims, *self._times(fresh)), kept)

    async def _renew(self, metadata: Metadata, refresh_token: str) -> ProviderTokens:
        """Trade a refresh token for new tokens (RFC 6749 §6); it stays where there is no other."""
        reply = await self._ask_for_tokens(metadata, {"grant_type": "refresh_token", "refresh_token": refresh_token})
        fresh = self._tokens(reply)
        if not isinstance(reply.fields().get("access_token"), str):
            raise LoginRefused("the token endpoint gave no token")
        return replace(fresh, refresh_token=fresh.refresh_token or refresh_token)

    async def _claims_again(
        self, metadata: Metadata, session: ProviderSession, tokens: ProviderTokens, fresh: ProviderTokens
    ) -> dict[str, object]:
        """Return the claims of the new ID token, none where the provider gave none (OIDC Core §12.2)."""
        if not fresh.id_token:
            return {}
        claims, expected = await self._signed(metadata, fresh)
        nonce, acr_values = nonce_again(claims, tokens.id_token), acr_again(self._provider, session, claims)
        check_id_token(claims, replace(expected, nonce=nonce, acr_values=acr_values))
        check_same(session, claims)
        return claims

    # --- and out ----------------------------------------------------------------------------------

    def end_session_url(
        self, session: ProviderSession, tokens: ProviderTokens, return_to: str, state: str = ""
    ) -> str | None:
        """Return where a browser ends its session there (OIDC RP-Initiated Logout §2), or None."""
        metadata = self._discovery.known()
        if metadata is None or not metadata.end_session_endpoint:
            return None
        fields = {"client_id": self._provider.client_id, "post_logout_redirect_uri": return_to}
        if tokens.id_token and len(tokens.id_token) <= MAX_HINT:
            fields["id_token_hint"] = tokens.id_token
        else:
            fields["logout_hint"] = session.sid or session.subject
        if state:
            fields["state"] = state
        separator = "&" if "?" in metadata.end_session_endpoint else "?"
        return metadata.end_session_endpoint + separator + urlencode(fields)

    async def logout_token(self, text: str) -> LogoutToken:
        """Return what a logout token ends (OIDC Back-Channel Logout §2.6).

        Raises LoginRefused where it is not to be believed, ProviderDown where that cannot be found out.
        """
        metadata = await self._discovery.get()
        token = take_apart(text, metadata.algorithms)
        claims = await self._keys.claims(token, metadata.jwks_uri)
        return check_logout_token(
            token.kind, claims, metadata.issuer_of(claims), self._provider.client_id, self._timing.wall()
        )

    async def revoke(self, tokens: ProviderTokens) -> None:
        """Give back the refresh token, which takes the others with it, else the access token (RFC 7009 §2.1)."""
        metadata = self._discovery.known()
        kind, token = "refresh_token", tokens.refresh_token
        if not token:
            kind, token = "access_token", tokens.access_token
        if metadata is None or not metadata.revocation_endpoint or not token:
            return
        form = {"token": token, "token_type_hint": kind}
        headers = self._auth.apply(form, metadata.auth_methods, metadata.issuer)
        status = await self._http.tell_form(metadata.revocation_endpoint, urlencode(form), headers)
        if status != 200:
            raise ProviderDown(f"{metadata.revocation_endpoint} answered {status}")


def _kept(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return ""
    return value if len(value) <= MAX_KEPT else ""
