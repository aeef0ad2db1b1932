"""The page with the keys: public, cacheable, never anything else in their place."""

from __future__ import annotations

import json

from gateway.control.jwks import JwkSet
from gateway.errors import StoreUnavailable
from tests.control.harness import Settings, StartSite
from tests.support.visitor import PROGRAM

PATH = "/_gateway/jwks.json"


async def test_the_keys_are_for_everybody(start_site: StartSite) -> None:
    site = await start_site(Settings(jwks=JwkSet(lambda: b'{"keys": []}\n', 600)))
    answer = await site.browser().get(PATH)
    assert answer.status == 200
    assert answer.text == '{"keys": []}\n'
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    assert answer.headers["Cache-Control"] == "public, max-age=600"
    assert "Set-Cookie" not in answer.headers


async def test_without_keys_nobody_caches_an_empty_set(start_site: StartSite) -> None:
    def none() -> bytes:
        raise StoreUnavailable("no keys yet")

    site = await start_site(Settings(jwks=JwkSet(none, 600)))
    answer = await site.browser().get(PATH)
    assert answer.status == 503
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Retry-After"]


async def test_where_nothing_is_signed_there_is_no_page(start_site: StartSite) -> None:
    site = await start_site(Settings())
    answer = await site.browser().get(PATH, PROGRAM)
    assert answer.status == 404
    assert json.loads(answer.text)["detail"] == "Nothing is served here."
