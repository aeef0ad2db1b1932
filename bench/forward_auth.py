"""The case of forward auth: nginx that asks about each request, beside bare nginx; and what asking alone costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.contestants import nginx, nginx_asking, oauth2_proxy, ours
from bench.contestants.contestant import Contestant
from bench.contestants.ours import Setup
from bench.load import Wrk
from bench.process import Process, free_port
from bench.stage import APP_COOKIE, PAGE, Stage, in_turn

OAUTH2_PROXY = oauth2_proxy.PROGRAM
FORWARD_AUTH, VERIFY = "forward auth", "verify"
"""Of the rows."""
BARE, ASKS_OURS, ASKS_OAUTH2_PROXY = "nginx", "nginx asking ours", "nginx asking oauth2-proxy"
PROXIED, ASKED = "ours, proxied", "ours, asked"
VERIFY_PATH = "/_gateway/verify"


@dataclass(frozen=True, slots=True)
class Measured:
    """A contestant with the load that it gets."""

    contestant: Contestant
    wrk: Wrk


def asked_by(port: int) -> Setup:
    """Return the setup of a gateway that an nginx at a port asks, and that is reached through it."""
    networks = ["127.0.0.1"]
    public_url = f"http://127.0.0.1:{port}"
    return Setup(settings={"public_url": public_url, "trusted_proxies": networks, "forward_auth": {"from": networks}})


def question(headers: Mapping[str, str], port: int) -> Mapping[str, str]:
    """Return the headers by which nginx at a port asks about a request with ``headers``."""
    told = {"Method": "GET", "Host": f"127.0.0.1:{port}", "Uri": PAGE, "For": "127.0.0.1", "Proto": "http"}
    return {**headers, **{f"X-Forwarded-{name}": value for name, value in told.items()}}


def forward_auth(stage: Stage, names: Sequence[str]) -> None:
    """GET with a small answer through nginx; then a gateway asked directly beside one that proxies the same."""
    with ExitStack() as stack:
        found: dict[str, Measured] = {}
        if "nginx" in names:
            directory = stage.directory / "forward-auth" / "nginx"
            bare = nginx.running(directory, stage.core, stage.upstream.port, stage.upstream.sink_port)
            found[BARE] = Measured(stack.enter_context(bare), stage.wrk)
        if stage.scene and "ours" in names:
            found[ASKS_OURS] = _asking_ours(stage, stack)
        if OAUTH2_PROXY in names:
            if absent := oauth2_proxy.missing():
                stage.leave_out(f"nginx asking {OAUTH2_PROXY}", absent)
            else:
                found[ASKS_OAUTH2_PROXY] = _asking_oauth2_proxy(stage, stack)
        for one in found.values():
            stage.warm_up(one.contestant, PAGE, one.wrk)
        contestants = {variant: one.contestant for variant, one in found.items()}
        for number, variant, contestant in in_turn(contestants, stage.plan.flat_rounds):
            stage.measure(FORWARD_AUTH, variant, number, contestant, PAGE, wrk=found[variant].wrk)
    if stage.scene and "ours" in names:
        _verify(stage)


def _asking_ours(stage: Stage, stack: ExitStack) -> Measured:
    assert stage.scene
    port = free_port()
    gateway = stack.enter_context(ours.running(stage.scene, "ours-forward-auth", asked_by(port)))
    servers = nginx_asking.by_the_docs(port, gateway.port)
    return Measured(_nginx(stage, stack, "asking-ours", port, servers, gateway.process, "/_gateway/login"), stage.wrk)


def _asking_oauth2_proxy(stage: Stage, stack: ExitStack) -> Measured:
    port, own = free_port(), free_port()
    directory = stage.directory / "forward-auth" / OAUTH2_PROXY
    process = stack.enter_context(oauth2_proxy.running(directory, stage.core, own))
    cookie = f"{APP_COOKIE}; {oauth2_proxy.log_in(own)}"
    servers = nginx_asking.asking_oauth2_proxy(port, own)
    contestant = _nginx(stage, stack, f"asking-{OAUTH2_PROXY}", port, servers, process, oauth2_proxy.SIGN_IN)
    return Measured(contestant, stage.wrk.sending({**stage.headers, "Cookie": cookie}))


def _nginx(
    stage: Stage, stack: ExitStack, name: str, port: int, servers: str, asked: Process, ready: str
) -> Contestant:
    directory = stage.directory / "forward-auth" / name
    return stack.enter_context(
        nginx_asking.running(directory, stage.core, port, stage.upstream.port, servers, asked, ready)
    )


def _verify(stage: Stage) -> None:
    """One gateway and one session, by turns asked about a request and given it by a client that it need not believe."""
    assert stage.scene
    setup = Setup(settings={"forward_auth": {"from": ["127.0.0.1"]}})
    with ours.running(stage.scene, "ours-verify", setup) as gateway:
        asking = stage.wrk.sending(question(stage.headers, gateway.port))
        stage.warm_up(gateway, PAGE)
        stage.warm_up(gateway, VERIFY_PATH, asking)
        for number, variant, _ in in_turn({PROXIED: gateway, ASKED: gateway}, stage.plan.flat_rounds):
            if variant == PROXIED:
                stage.measure(VERIFY, variant, number, gateway, PAGE)
            else:
                stage.measure(VERIFY, variant, number, gateway, VERIFY_PATH, wrk=asking, forwards=False)
