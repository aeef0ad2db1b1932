"""Two further cases: people who logged in at an identity provider, beside mod_auth_openidc; and programs and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from bench import issuer, provider, stores
from bench.contestants import apache, nginx, ours
from bench.contestants.contestant import Contestant
from bench.contestants.ours import Setup
from bench.contestants.provider_login import log_in_there
from bench.load import Wrk
from bench.process import free_port
from bench.provider import Client
from bench.stage import APP_COOKIE, BROWSER, PAGE, Stage, in_turn

APACHE = "apache"
OIDC, PROGRAMS = "with OIDC", "programs"
"""Of the rows."""
OURS_COOKIE, OURS_REDIS = "ours, cookie", "ours, Redis"
APACHE_COOKIE, APACHE_REDIS = "apache, cookie", "apache, Redis"
COOKIE, BEARER, SIGNED = "cookie session", "bearer token", "signed identity"
ISSUER = "ci"

Start = Callable[[Stage, int, Client, str], AbstractContextManager[Contestant]]


@dataclass(frozen=True, slots=True)
class Door:
    """A proxy that lets people in who logged in at the provider."""

    start: Start
    """With its port and, where the sessions are to be there, the URL of a Redis."""
    begin: str
    """The page that leads to the provider."""
    callback: str
    in_redis: bool = False


def _ours(stage: Stage, port: int, client: Client, redis: str) -> AbstractContextManager[Contestant]:
    assert stage.scene
    setup = Setup(port=port, store=redis or "cookie", settings=ours.login_at(client))
    return ours.running(stage.scene, f"ours-oidc-{'redis' if redis else 'cookie'}", setup)


def _apache(stage: Stage, port: int, client: Client, redis: str) -> AbstractContextManager[Contestant]:
    directory = stage.directory / "oidc" / f"apache-{'redis' if redis else 'cookie'}"
    return apache.running(directory, stage.core, stage.upstream.port, port, client, redis)


DOORS = {
    OURS_COOKIE: Door(_ours, ours.START, ours.CALLBACK),
    OURS_REDIS: Door(_ours, ours.START, ours.CALLBACK, in_redis=True),
    APACHE_COOKIE: Door(_apache, apache.START, apache.CALLBACK),
    APACHE_REDIS: Door(_apache, apache.START, apache.CALLBACK, in_redis=True),
}


def _doors(stage: Stage, names: Sequence[str]) -> Mapping[str, Door]:
    """Return those that are asked for and can be had."""
    chosen: list[Start] = [_ours] if stage.scene and "ours" in names else []
    if APACHE in names:
        if absent := apache.missing():
            stage.leave_out("Apache with mod_auth_openidc", absent)
        else:
            chosen.append(_apache)
    return {variant: door for variant, door in DOORS.items() if door.start in chosen}


def with_oidc(stage: Stage, names: Sequence[str]) -> None:
    """GET with a small answer, by somebody who logged in at a provider; nginx checks nothing here either."""
    doors = _doors(stage, names)
    if not doors:
        return
    directory = stage.directory / "oidc"
    ports = {variant: free_port() for variant in doors}
    with ExitStack() as stack:
        redis = stack.enter_context(stores.redis(directory / "redis", stage.load_core))
        callbacks = [f"http://127.0.0.1:{ports[variant]}{door.callback}" for variant, door in doors.items()]
        client = stack.enter_context(provider.running(callbacks))
        contestants = {
            variant: stack.enter_context(door.start(stage, ports[variant], client, redis if door.in_redis else ""))
            for variant, door in doors.items()
        }
        if "nginx" in names:
            start = nginx.running(directory / "nginx", stage.core, stage.upstream.port, stage.upstream.sink_port)
            contestants["nginx"] = stack.enter_context(start)
        for variant, contestant in contestants.items():
            stage.warm_up(contestant, PAGE, _logged_in(stage, contestant, doors.get(variant)))
        for number, variant, contestant in in_turn(contestants, stage.plan.flat_rounds):
            wrk = _logged_in(stage, contestant, doors.get(variant))
            stage.measure(OIDC, variant, number, contestant, PAGE, wrk=wrk)


def _logged_in(stage: Stage, contestant: Contestant, door: Door | None) -> Wrk:
    """Return a load generator with the session of a login that was just made.

    It takes no cookie over. A session that is a minute old is due for renewal in both proxies, and with a session in
    the cookie every answer would then renew it, which no browser would cause.
    """
    if door is None:
        return stage.wrk
    found = log_in_there(contestant.url(door.begin))
    pairs = [APP_COOKIE, *(f"{name}={value}" for name, value in found.items())]
    return stage.wrk.sending({**BROWSER, "Cookie": "; ".join(pairs)})


def programs(stage: Stage, names: Sequence[str]) -> None:
    """Ours with a session in the cookie, with a bearer token, and with a signed token for the upstream."""
    if not stage.scene or "ours" not in names:
        return
    address = f"http://127.0.0.1:{stage.upstream.port}"
    token = issuer.bearer_token(issuer.publish_key(stage.upstream.files), address, ours.USER)
    bearer = stage.wrk.sending({**BROWSER, "Cookie": APP_COOKIE, "Authorization": f"Bearer {token}"})
    with (
        ours.running(stage.scene, "ours-programs", accepting(address)) as plain,
        ours.running(stage.scene, "ours-signed", signing()) as signed,
    ):
        gateways = {COOKIE: plain, BEARER: plain, SIGNED: signed}
        loads = {COOKIE: stage.wrk, BEARER: bearer, SIGNED: stage.wrk}
        for variant, gateway in gateways.items():
            stage.warm_up(gateway, PAGE, loads[variant])
        for number, variant, gateway in in_turn(gateways, stage.plan.main_rounds):
            seconds = stage.plan.main_seconds
            stage.measure(PROGRAMS, variant, number, gateway, PAGE, seconds=seconds, wrk=loads[variant])


def accepting(address: str) -> Setup:
    """Return how to believe the issuer at an address; its users have the names that they have in a session."""
    keys = f"{address}/files/{issuer.FILE}"
    believed = {"id": ISSUER, "issuer": address, "audience": issuer.AUDIENCE, "jwks": keys, "user_prefix": ""}
    return Setup(settings={"programs": {"bearer": [believed]}}, route={"programs": [ISSUER]})


def signing() -> Setup:
    """Return how to give the upstream a signed token."""
    return Setup(settings={"identity": {"headers": ours.HEADERS, "token": {}}})
