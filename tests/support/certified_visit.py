"""Logging in at the certified provider without a browser: its forms are sent as they are."""

from __future__ import annotations

import http.client
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

from tests.support.messages import Answer
from tests.support.visitor import PAGE, Visitor, form_fields
from tests.support.waiting import PATIENCE

STEPS = 12


class _Stay(HTTPRedirectHandler):
    """Follows nothing by itself."""

    def redirect_request(self, *_: object) -> None:
        return None


def sign_in(visitor: Visitor, start: str, name: str = "alice") -> Answer:
    """Log in through the provider, beginning at a page of the gateway; return its answer to the way back."""
    answer = visitor.get(start, PAGE)
    assert answer.status == 303, answer
    return visitor.get(_way_back(str(answer.get("Location")), name), PAGE)


def _way_back(location: str, name: str) -> str:
    """Go through the provider's pages until it leads back; return path and query of where to."""
    there = urlsplit(location).netloc
    opener = build_opener(_Stay, HTTPCookieProcessor(CookieJar(DefaultCookiePolicy(rfc2965=False))))
    form: dict[str, str] | None = None
    for _ in range(STEPS):
        request = Request(location, urlencode(form).encode() if form else None)
        try:
            response: http.client.HTTPResponse = opener.open(request, timeout=PATIENCE)
        except HTTPError as error:
            location, form = str(error.headers["Location"]), None
            if location.startswith("/"):
                location = f"http://{there}{location}"
            if urlsplit(location).netloc != there:
                back = urlsplit(location)
                return f"{back.path}?{back.query}"
            continue
        # A page with a form: who it is, then whether they agree. It is sent to where the page lies.
        form = {**form_fields(response.read().decode()), "login": name, "password": "any"}
    raise AssertionError(f"never led back: {location}")
