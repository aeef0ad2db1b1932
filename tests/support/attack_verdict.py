"""What each expectation of an attack case means, as checks of its outcome (see e2e/data/README.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.support.attack_case import normalised
from tests.support.attack_stage import AttackStage, Outcome
from tests.support.messages import Answer, Request
from tests.support.urls import stays_on
from tests.support.users import ALICE, BOB

_REFUSED = {501, 505}
_NEEDS_SESSION = re.compile(r"/(?:app|admin|ws)(?:[/?]|$)")
_SENSITIVE = re.compile(
    r"(x-)?remote-(user|groups|email|name)|x-forwarded-.*|forwarded|x-real-ip|x-auth-request-.*|x-webauth-.*"
    r"|x-authentik-.*|x-pomerium-.*|x-goog-authenticated-user-.*|x-ms-client-principal.*|tailscale-user-.*"
    r"|cf-access-.*|oidc-claim-.*|x-original-ur[li]|x-rewrite-url|x-http-method-override"
)
_CASE_SECRETS = ("hunter2", "SECRETCODE", ALICE.password, BOB.password)


def problems(outcome: Outcome, stage: AttackStage) -> list[str]:
    """Return everything that is wrong with an outcome."""
    name, _, argument = outcome.case.expect.partition(":")
    found = list(_EXPECTATIONS[name](outcome, stage, argument))
    found += always(outcome, stage)
    return found


def always(outcome: Outcome, stage: AttackStage) -> Iterator[str]:
    """Check what holds after every case: a living worker, quiet logs, sound requests upstream."""
    if outcome.canary:
        yield f"canary: {outcome.canary}"
    if outcome.violations:
        yield f"not HTTP/1.1 at the upstream: {outcome.violations}"
    for answer in outcome.answers:
        if answer.status in (500, 502, 504):
            yield f"answered {answer.status}"
    if "Traceback" in outcome.log:
        yield f"traceback: {outcome.log}"
    for secret in (outcome.secrets.cookie_value, outcome.secrets.other_cookie.partition("=")[2], *_CASE_SECRETS):
        if secret in outcome.log:
            yield f"{secret!r} was logged"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", outcome.log):
        yield f"a control character was logged: {outcome.log!r}"
    for request in outcome.requests:
        yield from _unsound(request, outcome, stage)


def _unsound(request: Request, outcome: Outcome, stage: AttackStage) -> Iterator[str]:
    """Check that nobody but the gateway spoke in the headers that apps trust."""
    if _NEEDS_SESSION.match(request.target) and not outcome.case.has_session:
        yield f"reached the upstream without a session: {request.head!r}"
    with_session = request.get_all("X-Forwarded-User") != []
    baseline = stage.with_session if with_session else stage.anonymous
    if _sensitive(request) != _sensitive(baseline):
        yield f"trusted headers {_sensitive(request)} differ from the gateway's own {_sensitive(baseline)}"
    if outcome.secrets.cookie_value.encode() in request.head:
        yield "the session cookie reached the upstream"
    for name in ("Host", "X-Forwarded-Host"):
        if "evil" in (request.get(name) or ""):
            yield f"foreign {name} upstream: {request.get(name)}"


def _sensitive(request: Request) -> list[tuple[str, str]]:
    found = [(name.lower(), value) for name, value in request.headers if _SENSITIVE.fullmatch(normalised(name))]
    return sorted(pair for pair in found if pair[0] != "x-forwarded-host")


def rejected(outcome: Outcome, stage: AttackStage, argument: str) -> Iterator[str]:
    """4xx, 501 or 505, or a close; nothing complete upstream; closed afterwards."""
    for answer in outcome.answers:
        if not (400 <= answer.status < 500 or answer.status in _REFUSED):
            yield f"answered {answer.status}"
    if any(request.complete for request in outcome.requests):
        yield f"a complete request reached the upstream: {[r.head for r in outcome.requests]}"
    if not outcome.closed:
        yield f"not closed afterwards; answers {[a.status for a in outcome.answers]}"


def kept_away(outcome: Outcome, stage: AttackStage, argument: str) -> Iterator[str]:
    """Nothing reaches the upstream; with a session and a second request, nothing of the latter."""
    may_pass = outcome.case.has_session or outcome.case.starts_public
    marker = outcome.case.marker() if may_pass else None
    if marker is None:
        if outcome.requests:
            yield f"reached the upstream: {[r.head for r in outcome.requests]}"
        if not outcome.answers and not outcome.closed:
            yield "neither answered nor closed"
    elif f" {marker} ".encode() in outcome.upstream_bytes:
        yield f"{marker} reached the upstream"


def one_request(outcome: Outcome, stage: AttackStage, argument: str) -> Iterator[str]:
    """Exactly one request, with the stated body and the right user; or a clean 4xx and none."""
    if not outcome.requests:
        if not outcome.answers or not (400 <= outcome.answers[0].status < 500 or outcome.answers[0].status in _REFUSED):
            yield f"no request upstream and no clean refusal: {[a.status for a in outcome.answers]}"
        return
    if len(outcome.requests) != 1:
        yield f"{len(outcome.requests)} requests upstream: {[r.head for r in outcome.requests]}"
        return
    request = outcome.requests[0]
    if not request.complete and outcome.answers and outcome.answers[0].status == 400:
        return
    if request.body != outcome.case.stated_body():
        yield f"body {request.body!r}, stated {outcome.case.stated_body()!r}"
    if request.get_all("X-Forwarded-User") != [ALICE.user]:
        yield f"forwarded as {request.get_all('X-Forwarded-User')}"


def header_absent(outcome: Outcome, stage: AttackStage, argument: str) -> Iterator[str]:
    """Hold the client's value back under every spelling of the name."""
    name, _, cookie = argument.partition(":")
    if not outcome.requests and not outcome.closed and not outcome.answers:
        yield "neither answered nor closed"
    for request in outcome.requests:
        if cookie:
            pairs = [pair.strip() for value in request.get_all("Cookie") for pair in value.split(";")]
            if any(pair.partition("=")[0] == outcome.secrets.cookie_name for pair in pairs):
                yield f"cookies upstream: {pairs}"
            continue
        baseline = stage.with_session if outcome.case.has_session else stage.anonymous
        if _spellings(request, name) != _spellings(baseline, name):
            yield f"upstream got {_spellings(request, name)}, the gateway's own is {_spellings(baseline, name)}"


def _spellings(request: Request, name: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value in request.headers if normalised(key) == normalised(name)]


def local_redirect(outcome: Outcome, stage: AttackStage, argument: str) -> Iterator[str]:
    """No Location, or one that a browser resolves to this gateway."""
    if not outcome.answers:
        yield "no answer"
    for answer in outcome.answers:
        for location in answer.get_all("Location"):
            if not stays_on(location, f"http://{outcome.secrets.host}"):
                yield f"leads away: {location!r}"


def no_500(outcome: Outcome, stage: AttackStage, argument: str) -> Iterator[str]:
    """No 500, and the bound in the note holds."""
    if not outcome.answers and not outcome.closed:
        yield "neither answered nor closed"
    if outcome.cpu > 5:
        yield f"took {outcome.cpu:.1f} s of processor time"
    bound = _BOUNDS.get(outcome.case.id)
    if bound and not bound(outcome):
        yield f"over the bound of its note: {[a.status for a in outcome.answers][:5]}, {outcome.seconds:.1f} s"


def _first(outcome: Outcome) -> Answer | None:
    return outcome.answers[0] if outcome.answers else None


def _status_in(*statuses: int) -> Callable[[Outcome], bool]:
    return lambda outcome: (answer := _first(outcome)) is not None and answer.status in statuses


def _all_in_order(outcome: Outcome) -> bool:
    """Tell whether each of the pipelined requests was answered."""
    return len(outcome.answers) == 500 and all(answer.status == 200 for answer in outcome.answers)


_BOUNDS: dict[str, Callable[[Outcome], bool]] = {
    "CH-032": _status_in(200, 400),
    "CK-016": _status_in(400, 401, 431),
    "CK-019": _status_in(401),
    "CK-020": _status_in(401),
    "HO-014": _status_in(400, 401, 404, 421),
    "LC-006": lambda outcome: (
        400 <= outcome.answers[0].status < 500 and b"<script>alert" not in outcome.answers[0].body
    ),
    "LC-010": lambda outcome: outcome.answers[0].status == 413 and outcome.seconds < 1.9,
    "LC-011": _status_in(400, 415),
    "LC-012": _status_in(400, 415),
    "LI-008": lambda outcome: outcome.closed,
    "LI-010": _all_in_order,
    "MI-002": _status_in(200, 417),
    "WS-012": _status_in(101),
    "WS-013": _status_in(101),
    "WS-014": _status_in(101),
}

_EXPECTATIONS: dict[str, Callable[[Outcome, AttackStage, str], Iterator[str]]] = {
    "reject_400_family": rejected,
    "never_reaches_upstream": kept_away,
    "upstream_sees_one_request": one_request,
    "header_absent_upstream": header_absent,
    "redirect_local_only": local_redirect,
    "no_500": no_500,
}
