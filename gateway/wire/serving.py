"""Which targets are served: asked for the way back from a login, that is by those who have no request of their own."""

from __future__ import annotations

from gateway.core.next_url import Serves
from gateway.core.route import Router
from gateway.wire.grammar import BadSyntax
from gateway.wire.target import parse_target


def serving(router: Router) -> Serves:
    """Return what tells whether a GET of a target, on a lower-case host, finds one route and rule."""

    def serves(host: str, target: str) -> bool:
        routes = router.host(host)
        if routes is None:
            return False
        try:
            found = parse_target(target.encode("ascii"))
        except (BadSyntax, UnicodeEncodeError):
            return False
        return routes.serves(found.path, found.readings, encoded_slash=found.encoded_slash)

    return serves
