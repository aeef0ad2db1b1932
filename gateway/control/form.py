"""Reading the one kind of body that is taken: a small URL-encoded form without repeated fields.

aiohttp's own reader is not used: it also takes multipart bodies, unpacks compressed ones, and trusts
the charset that the client names.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from aiohttp import hdrs, web

MAX_FIELDS = 16
FORM_TYPE = "application/x-www-form-urlencoded"


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises HTTPUnsupportedMediaType (415), HTTPRequestEntityTooLarge (413) or HTTPBadRequest (400).
    """
    media_type, _, parameters = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")
    if media_type.strip().lower() != FORM_TYPE or hdrs.CONTENT_ENCODING in request.headers:
        raise web.HTTPUnsupportedMediaType
    if parameters.replace(" ", "").replace('"', "").lower() not in ("", "charset=utf-8"):
        raise web.HTTPUnsupportedMediaType
    return parse_form(await request.read())


def parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a URL-encoded form. Raises HTTPBadRequest where they can be read in two ways.

    What is not UTF-8 becomes U+FFFD, with which no password matches and no ``next`` is safe.
    """
    text = body.decode("utf-8", "replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise web.HTTPBadRequest from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise web.HTTPBadRequest
    return fields
