"""Logging in with GitHub: plain OAuth 2.0, after which its API tells who that is.

Organisations become groups as ``org``, their teams as ``org/team``. There is no ID token, so what the
API says over TLS with a token that was just given to us is the proof.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from gateway.core.identity import Identity
from gateway.core.provider import Provider, ProviderSession, ProviderTokens
from gateway.errors import LoginRefused, ProviderDown
from gateway.login.oidc.answer import code_of, token_error
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.oidc.openid import Timing
from gateway.login.oidc.people import admitted
from gateway.login.redirect import Keep, LogoutToken, PendingLogin, Proof, keep_nothing

GITHUB = "https://github.com"
API_VERSION = "2022-11-28"
PAGE = 100
MAX_PAGES = 5


class GithubLogin:
    """GitHub, or a GitHub Enterprise Server. A `RedirectLogin`."""

    def __init__(self, provider: Provider, timing: Timing | None = None) -> None:
        """Prepare. Raises OSError or ssl.SSLError for a certificate file that cannot be used."""
        self._provider = provider
        self._timing = timing or Timing()
        self._http = ProviderHttp(provider.ca, seconds=self._timing.request)
        self._api = api_of(provider.issuer)

    @property
    def provider(self) -> Provider:
        """Return its settings."""
        return self._provider

    def is_up(self) -> bool:
        """Return true: there is nothing to be asked beforehand."""
        return True

    async def start(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def begin(self, pending: PendingLogin, redirect_uri: str) -> str:
        """Return where to send the browser."""
        provider = self._provider
        fields = {
            **dict(provider.parameters),
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(provider.scopes),
            "state": pending.state,
            "code_challenge": pending.challenge(),
            "code_challenge_method": "S256",
        }
        if prompt := pending.asked.prompt or provider.prompt:
            fields["prompt"] = prompt
        return f"{provider.issuer}/login/oauth/authorize?{urlencode(fields)}"

    async def finish(self, pending: PendingLogin, answer: Mapping[str, str], redirect_uri: str) -> Proof:
        """Return who came back. Raises LoginDenied, LoginRefused or ProviderDown (see `RedirectLogin`)."""
        try:
            async with asyncio.timeout(self._timing.finish):
                return await self._finish(pending, answer, redirect_uri)
        except TimeoutError:
            raise ProviderDown(f"{self._provider.issuer} took longer than {self._timing.finish} s") from None

    async def _finish(self, pending: PendingLogin, answer: Mapping[str, str], redirect_uri: str) -> Proof:
        issuer = self._provider.issuer
        code = code_of(answer, {issuer, f"{issuer}/login/oauth"}.__contains__, named=False)
        token = await self._redeem(pending, code, redirect_uri)
        claims = await self._claims(token)
        identity = admitted(self._provider, claims, {})
        # The token was for this alone, and is not kept.
        return Proof(identity, ProviderSession(self._provider.id, issuer, str(claims["sub"])))

    async def _redeem(self, pending: PendingLogin, code: str, redirect_uri: str) -> str:
        form = {
            "client_id": self._provider.client_id,
            "client_secret": self._provider.client_secret,
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": pending.verifier,
        }
        reply = await self._http.post_form(f"{self._provider.issuer}/login/oauth/access_token", urlencode(form))
        fields = reply.fields()
        if reply.status != 200 or "error" in fields:
            # Its errors come with 200; a used or wrong code is the browser's fault.
            wrong_code = fields.get("error") == "bad_verification_code"
            raise token_error(reply.status, {**fields, "error": "invalid_grant"} if wrong_code else fields)
        token = fields.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not 0 < len(token) <= 1024:
            raise LoginRefused("the token endpoint gave no usable token")
        return token

    async def _claims(self, token: str) -> dict[str, object]:
        """Return what the API says of whoever the token is from, under the names that OpenID Connect has for it."""
        scopes = set(self._provider.scopes)
        user = await self._user(token)
        emails, orgs, teams = await asyncio.gather(
            self._list(token, "/user/emails", scopes & {"user", "user:email"}),
            self._list(token, "/user/orgs", scopes & {"user", "read:org"}),
            self._list(token, "/user/teams", scopes & {"read:org", "write:org", "admin:org"}),
        )
        identifier = user.get("id")
        if not isinstance(identifier, int) or isinstance(identifier, bool):
            raise ProviderDown("the API does not tell the user's id")
        email = next((entry.get("email") for entry in emails if entry.get("primary") is True), None)
        verified = any(entry.get("email") == email and entry.get("verified") is True for entry in emails)
        return {
            **{name: value for name, value in user.items() if isinstance(value, str | int)},
            "sub": str(identifier),
            "preferred_username": user.get("login"),
            "email": email,
            "email_verified": verified,
            "groups": [*_names(orgs), *(_team(entry) for entry in teams)],
        }

    async def _user(self, token: str) -> dict[str, object]:
        reply = await self._http.get(f"{self._api}/user", _headers(token))
        if reply.status != 200:
            raise ProviderDown(f"the API answered {reply.status} when asked who that is")
        return reply.fields()

    async def _list(self, token: str, path: str, scopes: set[str]) -> list[dict[str, object]]:
        """Return the entries of a paged list, none where the scope for it was not asked for."""
        found: list[dict[str, object]] = []
        for page in range(1, MAX_PAGES + 1) if scopes else ():
            reply = await self._http.get(f"{self._api}{path}?per_page={PAGE}&page={page}", _headers(token))
            if reply.status != 200 or not isinstance(reply.data, list):
                raise ProviderDown(f"the API answered {reply.status} when asked for {path}")
            found += [entry for entry in reply.data if isinstance(entry, dict)]
            if len(reply.data) < PAGE:
                break
        return found

    async def refresh(
        self, session: ProviderSession, tokens: ProviderTokens, identity: Identity, keep: Keep = keep_nothing
    ) -> Proof:
        """Raise LoginRefused: nothing was kept that could be refreshed."""
        raise LoginRefused("a login at GitHub is not refreshed")

    def end_session_url(
        self, session: ProviderSession, tokens: ProviderTokens, return_to: str, state: str = ""
    ) -> str | None:
        """Return None: GitHub has no such place."""
        return None

    async def logout_token(self, text: str) -> LogoutToken:
        """Raise LoginRefused: GitHub never says that somebody has logged out."""
        raise LoginRefused("GitHub sends no logout tokens")

    async def revoke(self, tokens: ProviderTokens) -> None:
        """Do nothing: the token is used for the login alone, and not kept."""


def api_of(base: str) -> str:
    """Return where the API is: on a host of its own at GitHub, below a path at an Enterprise Server."""
    if base == GITHUB:
        return "https://api.github.com"
    host = urlsplit(base).hostname or ""
    if host.endswith(".ghe.com"):
        return base.replace("://", "://api.", 1)
    return f"{base}/api/v3"


def _headers(token: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": API_VERSION,
    }


def _names(orgs: list[dict[str, object]]) -> list[str]:
    return [name for entry in orgs if isinstance(name := entry.get("login"), str)]


def _team(entry: dict[str, object]) -> str:
    organisation = entry.get("organization")
    login = organisation.get("login") if isinstance(organisation, dict) else ""
    return f"{login}/{entry.get('slug')}" if login and entry.get("slug") else ""
