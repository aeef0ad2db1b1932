"""Opaque tokens that programs send: whoever gave them out is asked what they are worth (RFC 7662)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlencode

from gateway.core.peer import parse_address
from gateway.core.programs import KEY_PREFIX, Credential, Introspector, Verified
from gateway.errors import LoginRefused, ProviderDown
from gateway.login.oidc.client_auth import ClientAuth
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.oidc.people import admitted
from gateway.login.programs.source import Remembered, Vouched
from gateway.login.programs.tokens import check_claims, login_behind, with_scopes
from gateway.login.throttle import UNKNOWN_NETWORK, client_network

MAX_ASKED = 32
"""Questions under way at once; beyond, nothing is known about a token."""
MAX_FOR_ONE = 8
"""Of these, as many for one client, so that somebody who sends made-up tokens leaves room for others."""


class IntrospectionSource:
    """One place to ask. A `Source`."""

    kind = "introspection"

    def __init__(self, introspector: Introspector, http: ProviderHttp, clock: Callable[[], float]) -> None:
        """Prepare. Raises ValueError for a private key that cannot be used."""
        self._introspector = introspector
        self._http = http
        self._clock = clock
        self._auth = ClientAuth(introspector.people, os.urandom, clock)
        self._known = Remembered(clock)
        self._asked: Counter[str] = Counter()
        """Questions under way by the client's network."""

    def takes(self, credential: Credential) -> bool:
        """Tell whether it is a token that may be shown to somebody else: our own keys may not."""
        return credential.scheme == "bearer" and not credential.text.startswith(KEY_PREFIX)

    async def verify(self, credential: Credential) -> Verified:
        """Return whose a token is. Raises LoginRefused, LoginDenied or ProviderDown."""

        async def ask() -> Vouched:
            return await self._ask(credential.text, credential.client)

        known = await self._known.get(credential.text, ask)
        return Verified(known.identity, self._introspector.people.id, self._clock(), known.until, known.login)

    async def _ask(self, token: str, client: str) -> Vouched:
        network = client_network(parse_address(client))
        # Who are not told apart share what there is.
        share = MAX_FOR_ONE if network != UNKNOWN_NETWORK else MAX_ASKED
        if self._asked.total() >= MAX_ASKED or self._asked[network] >= share:
            raise ProviderDown(f"{self._introspector.url} is asked about too many tokens at once", 503)
        self._asked[network] += 1
        try:
            claims = await self._introspect(token)
        finally:
            self._asked[network] -= 1
            if not self._asked[network]:
                del self._asked[network]
        now = self._clock()
        if claims.get("active") is not True:
            raise LoginRefused("a token that is not active")
        # One that does not say when it ends is good until it is asked about again.
        ends = check_claims({"exp": now + self._introspector.cache, **claims}, self._introspector.audiences, now)
        people = self._introspector.people
        identity = admitted(people, with_scopes(claims), {})
        return Vouched(identity, min(ends, now + self._introspector.cache), login_behind(people, claims))

    async def _introspect(self, token: str) -> dict[str, object]:
        place = self._introspector
        form = {"token": token, "token_type_hint": "access_token"}
        headers = self._auth.apply(form, (), place.url)
        reply = await self._http.post_form(place.url, urlencode(form), headers)
        if reply.status != 200:
            raise ProviderDown(f"{place.url} answered {reply.status} when asked about a token", 503)
        return reply.fields()

    async def start(self) -> None:
        """Do nothing: it is asked about the first token."""

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    def forget(self) -> None:
        """Ask again about every token."""
        self._known.forget()
