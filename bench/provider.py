"""The identity provider that people of the benchmark log in at: oidc-provider, which the tests use too.

It runs on the load generator's core, as this program itself does, and idles while there is a load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.process import BenchError
from tests.support.certified import CLIENT_ID, CLIENT_SECRET, FOLDER, CertifiedProvider, client

SCOPES = ("openid", "profile", "email", "groups")


@dataclass(frozen=True, slots=True)
class Client:
    """What a proxy has to know so that people log in there."""

    issuer: str
    id: str
    secret: str
    scopes: Sequence[str]


@contextmanager
def running(callbacks: Sequence[str]) -> Iterator[Client]:
    """Run the provider for one client with these redirect URIs, at least one. Raises BenchError."""
    if not (FOLDER / "node_modules" / "oidc-provider").is_dir():
        raise BenchError("not installed: oidc-provider (`make bench` and `make test` bring it)")
    with CertifiedProvider(client(callbacks[0], redirect_uris=list(callbacks))) as provider:
        yield Client(provider.issuer, CLIENT_ID, CLIENT_SECRET, SCOPES)
