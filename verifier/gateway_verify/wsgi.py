"""The middleware for WSGI apps, as those of Flask, Django or Pyramid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway_verify.errors import KeysUnavailable, NotVerified
from gateway_verify.refusals import HEADER, refusal_of
from gateway_verify.verifier import Verifier

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class IdentityMiddleware:
    """Lets through what the gateway sends, with ``environ["gateway_identity"]`` and REMOTE_USER; refuses the rest."""

    def __init__(
        self, app: WSGIApplication, verifier: Verifier, *, header: str = HEADER, required: bool = True
    ) -> None:
        """With ``required`` false, a request without a token passes with None for its identity."""
        self._app = app
        self._verifier = verifier
        self._name = "HTTP_" + header.upper().replace("-", "_")
        self._required = required

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request, or refuse it."""
        # Servers join what is there twice with a comma, which is in no token.
        token = environ.get(self._name, "")
        identity = None
        try:
            if token or self._required:
                identity = self._verifier.verify(token)
        except (NotVerified, KeysUnavailable) as error:
            refusal = refusal_of(error)
            start_response(f"{refusal.status} {refusal.title}", refusal.headers())
            return [refusal.body()]
        environ["gateway_identity"] = identity
        environ.pop("REMOTE_USER", None)
        if identity is not None:
            environ["REMOTE_USER"] = identity.user
        return self._app(environ, start_response)
