"""The page with the keys of the signed identity: for everybody, and to be cached."""

from __future__ import annotations

from aiohttp import hdrs, web

from gateway.control.answers import failure
from gateway.control.site import SITE

MEDIA_TYPE = "application/jwk-set+json"


async def show_jwks(request: web.Request) -> web.Response:
    """Return the JWK set; 404 where no identity is signed."""
    jwks = request.app[SITE].parts.jwks
    if jwks is None:
        return failure(request, 404)
    headers = {hdrs.CONTENT_TYPE: MEDIA_TYPE, hdrs.CACHE_CONTROL: f"public, max-age={jwks.max_age}"}
    return web.Response(body=jwks.body(), headers=headers)
