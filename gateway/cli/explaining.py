"""``gateway explain``: what happens to a request, and why."""

# ruff: noqa: PLC0415 -- imported at need, see the package
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from gateway.cli.common import config_option, load, say, tells_problems

if TYPE_CHECKING:
    from gateway.core.policy import Address
    from gateway.core.provider import ProviderSession
    from gateway.core.route import Route
    from gateway.core.session import Session
    from gateway.core.step_up import StepUp
    from gateway.settings import Settings

VERDICTS = {
    "forward": "forward",
    "login": "login: a browser is sent to the login page, a program gets 401",
    "refuse": "refuse with 403",
    "step-up": "step-up: a browser is sent to sign in again, a program gets 401",
}
PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


@click.command()
@config_option
@click.option("--user", metavar="NAME", help="Who asks; nobody is logged in without it.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="A group of the user; may be repeated.")
@click.option("--email", metavar="ADDRESS", help="The user's address.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=VALUE", help="A claim of the user; may be repeated.")
@click.option("--provider", metavar="ID", help="How the user logged in; password without it.")
@click.option("--acr", metavar="NAME", help="The way (acr) in which the user logged in there, for step_up.")
@click.option("--age", metavar="TIME", help="How long ago the user logged in, as 10m; just now without it.")
@click.option("--address", metavar="IP", help="The address of the client, for rules with networks.")
@click.argument("method")
@click.argument("url")
@tells_problems
def explain(
    config: Path,
    user: str | None,
    groups: tuple[str, ...],
    email: str | None,
    claims: tuple[str, ...],
    provider: str | None,
    acr: str | None,
    age: str | None,
    address: str | None,
    method: str,
    url: str,
) -> None:
    """Tell what happens to a request, and why.

    Names the route, the verdict, the line of the configuration that decides, and the identity headers.

    URL is a whole one, or a path on the host of public_url. A user of the users file has the groups
    and the address from there, unless they are given.

    \b
    gateway explain --user alice GET /admin
    gateway explain --user carol --group staff GET https://wiki.example.com/page
    gateway explain --user carol --provider sso --claim level=3 GET /admin
    gateway explain --user carol --provider sso --acr mfa --age 10m GET /payroll
    """  # noqa: D301 -- the \b keeps click from filling the lines after it
    settings = load(config)
    if user is None and (claims or provider or acr or age):
        raise click.UsageError("--claim, --provider, --acr and --age say something about a user: give --user too")
    if acr and not provider:
        raise click.UsageError("--acr is what a provider says: give --provider too")
    if provider and provider not in ways_in(settings):
        click.echo(f"note: {provider} is no provider of the configuration: nobody can log in there", err=True)
    session = session_of(settings, user, groups, email)
    if session is not None:
        told = replace(session.identity, claims=claims_of(claims), method=provider or session.identity.method)
        session = replace(session, identity=told, login=login_of(provider, acr, told.user))
    for name, value in explained(settings, session, method.upper(), url, client_of(address), seconds_of(age)):
        say(f"{name + ':':<12} {value}")


def ways_in(settings: Settings) -> set[str]:
    """Return what rules may name under ``providers``."""
    from gateway.core.programs import API_KEY, BASIC

    issuers, introspectors = settings.issuers, settings.introspectors
    people = [*(source.people for source in issuers), *(source.people for source in introspectors)]
    return {"password", BASIC, API_KEY, *(provider.id for provider in (*settings.providers, *people))}


def client_of(text: str | None) -> Address | None:
    """Return the address given with ``--address``."""
    from gateway.core.peer import parse_address

    address = parse_address(text) if text else None
    if text and address is None:
        raise click.BadParameter(f"{text!r} is no IP address", param_hint="--address")
    return address


def seconds_of(text: str | None) -> float:
    """Return the time given with ``--age``."""
    from gateway.settings.misfit import Misfit
    from gateway.settings.values import duration_or_zero

    try:
        return duration_or_zero(text or "0s")
    except Misfit as error:
        raise click.BadParameter(f"{text!r} is not {error}", param_hint="--age") from None


def login_of(provider: str | None, acr: str | None, user: str) -> ProviderSession | None:
    """Return what remains of a login that was made at a provider when the session began."""
    from gateway.core.provider import ProviderSession

    return ProviderSession(provider, "", user, acr=acr or "", auth_time=0.0) if provider else None


def claims_of(texts: tuple[str, ...]) -> dict[str, object]:
    """Return the claims given with ``--claim``: a number or a truth value as JSON has them, else a text.

    A claim given more than once is a list.
    """
    found: dict[str, list[object]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r}: write NAME=VALUE", param_hint="--claim")
        try:
            told = json.loads(value)
        except ValueError:
            told = value
        found.setdefault(name, []).append(told if isinstance(told, str | int | float) else value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def session_of(settings: Settings, user: str | None, groups: tuple[str, ...], email: str | None) -> Session | None:
    """Return the session that the user would have, None where nobody is logged in."""
    from gateway.core.identity import Identity
    from gateway.core.session import SESSION_ID_BYTES, start_session
    from gateway.settings import load_users

    if user is None:
        if groups or email:
            raise click.UsageError("--group and --email say something about a user: give --user too")
        return None
    known = load_users(settings.users_file).get(user) if settings.users_file else None
    if known and known.disabled:
        click.echo(f"note: {user} is disabled ({known.where}) and cannot log in", err=True)
    if known is None and not groups:
        click.echo(f"note: {user} is not in the users file: judged without a group", err=True)
    name, own_email, own_groups = (known.name, known.email, known.groups) if known else ("", "", ())
    identity = Identity(user, name, email.lower() if email else own_email, groups or own_groups)
    return start_session(bytes(SESSION_ID_BYTES), identity, settings.lifetimes, remember=False, now=0.0)


def explained(
    settings: Settings, session: Session | None, method: str, url: str, client: Address | None, now: float
) -> list[tuple[str, str]]:
    """Return what happens to a request, as names and values; the steps are those of a request's way."""
    from gateway.assembly import control_route, make_router
    from gateway.core.gate import Verdict, judge
    from gateway.wire.grammar import BadSyntax
    from gateway.wire.headers import parse_host
    from gateway.wire.target import parse_target, split_absolute

    try:
        authority, origin = settings.public_host.encode(), quote(url, safe=PRINTABLE).encode()
        if not origin.startswith(b"/"):
            authority, origin = split_absolute(origin)
        host, target = parse_host(authority), parse_target(origin.partition(b"#")[0])
    except BadSyntax as error:
        return [("verdict", f"refused with {error.status}: {error}")]
    hosts = make_router(settings, control_route("control")).host(host)
    if hosts is None:
        return [("verdict", f"refused with 421: the host {host} is neither that of public_url nor of a route")]
    route = hosts.find(target.path)
    if route is None:
        return [("verdict", f"refused with 404: no route for {target.path} on {host}")]
    found = [("route", f"{route.name}, {route.host or 'every host'}, path {route.path}")]
    if target.encoded_slash and not route.pass_encoded_slashes:
        return [
            *found,
            ("verdict", "refused with 400: an encoded slash in the path (encoded_slashes: pass lets it through)"),
        ]
    rule = route.rule_for(target.path, method)
    if not all(hosts.leads_to(route, rule, path, method) for path in (target.path, *target.readings)):
        return [*found, ("verdict", "refused with 400: read in another way, the path leads to another route or rule")]
    ruling = judge(route, session, target.path, method, client, now)
    found += [("verdict", f"{VERDICTS[ruling.verdict.value]} ({ruling.reason})"), ("decided by", ruling.where)]
    if ruling.step_up is not None:
        found.append(("step-up", needed(ruling.step_up)))
    if ruling.verdict is Verdict.FORWARD and not route.control:
        found += forwarded(settings, session, route)
    return found


def needed(step_up: StepUp) -> str:
    """Return what a login must be like, in words."""
    from gateway.settings.values import duration_text

    texts = [f"acr {' or '.join(step_up.acr_values)}"] if step_up.acr_values else []
    if step_up.max_age is not None:
        texts.append(f"a login at most {duration_text(step_up.max_age)} ago")
    return ", ".join(texts)


def forwarded(settings: Settings, session: Session | None, route: Route) -> list[tuple[str, str]]:
    """Return where a request goes and which identity headers go along."""
    from gateway.assembly import identity_headers

    found = [("upstream", ", ".join(map(str, route.upstreams)))]
    pairs = identity_headers(settings).pairs(session.identity) if session else []
    if session and settings.identity_token and route.audience:
        pairs.append((settings.identity_token.header, f"(a signed token for {route.audience})"))
    found += [("header", f"{name}: {value}") for name, value in pairs]
    return found if pairs else [*found, ("header", "(no identity headers)")]
