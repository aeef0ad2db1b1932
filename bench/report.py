"""The results as a page and as raw rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench import forward_auth, logged_in
from bench.bars import BARS
from bench.cases import ONE_SESSION, WARM_ROUNDS
from bench.rows import Figure, IdleRow, Row, of, ratio, spread
from bench.stage import Stage

TITLES = {
    "ours": "**session-gateway**",
    "interpreted": "session-gateway, not compiled",
    "nginx": "nginx",
    "caddy": "Caddy",
    "aiohttp": "plain aiohttp proxy",
    logged_in.OURS_COOKIE: "**session-gateway**, session in the cookie",
    logged_in.OURS_REDIS: "**session-gateway**, session in Redis",
    logged_in.APACHE_COOKIE: "mod_auth_openidc, session in the cookie",
    logged_in.APACHE_REDIS: "mod_auth_openidc, session in Redis",
    forward_auth.ASKS_OURS: "nginx asking **session-gateway**, together",
    forward_auth.ASKS_OAUTH2_PROXY: "nginx asking oauth2-proxy, together",
    forward_auth.PROXIED: "**session-gateway**, proxying",
    forward_auth.ASKED: "**session-gateway**, asked",
}
METHOD = """
Everything runs on loopback. The measured proxy has one worker, pinned to one core; the load generator (`wrk`, one
thread, {connections} keep-alive connections unless said otherwise) and the upstream (nginx) share another core. Each
round measures all contestants in turn, each round starting with another one; a ratio is taken within its round, and
the tables show the median over the rounds ({rounds}), with the least and the greatest. CPU time is what the
kernel counts for the proxy's processes (`utime + stime` of `/proc/PID/stat`, the work of the loopback interface
included), divided by the requests that were answered. Every contestant gets the same requests: what a browser's
`fetch` sends, with {cookie} bytes of cookies, and an answer of 200 bytes where nothing else is said. A run counts only
if every answer was a good one and the upstream's own counter saw as many requests as the load generator.

Ours checks a sealed-cookie session on each request, judges it by rules, adds identity headers, writes its JSON access
log and counts its metrics. It is measured as `make compile` makes it; without that step the same files are
interpreted. nginx and Caddy check nothing: they are bare reverse proxies with kept upstream connections and an access
log, nginx with buffers large enough for the large bodies. The plain aiohttp proxy is `aiohttp.web` in
front and `ClientSession` behind, on uvloop.

With OIDC, everybody logs in at the same provider, and each measurement begins with a login of its own, so that no
session is due for renewal; each proxy gets the cookies that it set. Apache with mod_auth_openidc demands a valid user
and passes claims in headers (one process, event MPM). Redis runs on the load generator's core; its own CPU time is
not counted for anybody.

With forward auth, nginx asks about each request (`auth_request`) and proxies it as bare nginx does; the CPU time of
nginx and of all processes of whom it asks is one figure, and all are on the one core. It asks us by the block of
docs/forward-auth.md, and oauth2-proxy as its manual says; both by kept connections.
"""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned right."""
    names = list(head)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """Return a figure with about three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if not value:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _variants(rows: list[Row], case: str) -> list[str]:
    return list(dict.fromkeys(row.variant for row in rows if row.case == case))


def _ratio(rows: list[Row], case: str, variant: str, baseline: str, figure: Figure) -> str:
    found = ratio(rows, case, variant, baseline, figure)
    return f"{found.median:.2f} ({found.least:.2f} – {found.greatest:.2f})" if found else "–"


def _case_table(rows: list[Row], case: str, baseline: str, columns: Mapping[str, Figure], main: str) -> str:
    """Return one case: the main figure with its ratio, then the other columns."""
    lines = []
    for variant in _variants(rows, case):
        found = of(rows, case, variant)
        figures = {name: number(spread(map(figure, found)).median) for name, figure in columns.items()}
        rated = _ratio(rows, case, variant, baseline, columns[main])
        lines.append([TITLES.get(variant, variant), figures.pop(main), rated, *figures.values()])
    others = [name for name in columns if name != main]
    return table(["", main, f"ratio to {TITLES.get(baseline, baseline)}", *others], lines)


REQUESTS: dict[str, Figure] = {
    "CPU µs / request": lambda row: row.cpu_us,
    "of it kernel": lambda row: row.kernel_us,
    "core used %": lambda row: row.cpu_share * 100,
    "1000 instr. / request": lambda row: row.thousand_instructions,
    "requests / s": lambda row: row.per_second,
    "p50 ms": lambda row: row.load.p50_ms,
    "p99 ms": lambda row: row.load.p99_ms,
    "memory MiB": lambda row: row.rss_kib / 1024,
}
BODIES: dict[str, Figure] = {
    "MiB / s": lambda row: row.mib_per_second,
    "CPU µs / MiB": lambda row: row.cpu_us_per_mib,
    "memory MiB": lambda row: row.rss_kib / 1024,
}


def _bars(rows: list[Row], idle_rows: list[IdleRow]) -> str:
    lines = []
    for bar in BARS:
        value = bar.figure(rows, idle_rows)
        if value is not None:
            lines.append([bar.text, bar.bound(), f"{value:.2f}", "met" if bar.holds(value) else "**missed**"])
    return table(["figure", "bar", "measured", ""], lines) if lines else "The gateway did not take part."


def _idle(idle_rows: list[IdleRow]) -> str:
    lines = [[TITLES[row.variant], str(row.connections), f"{row.bytes_each / 1024:.2f}"] for row in idle_rows]
    return table(["", "connections", "KiB each"], lines)


def _sections(stage: Stage) -> list[tuple[str, str]]:
    rows = stage.rows
    cases = {row.case for row in rows}

    def requests(case: str, baseline: str) -> str:
        return _case_table(rows, case, baseline, REQUESTS, "CPU µs / request")

    found = [("GET, small answer", requests("proxying", "nginx"))] if "proxying" in cases else []
    if "one at a time" in cases:
        found.append(("The same, one request at a time", requests("one at a time", "nginx")))
    found += [
        (
            f"{kind.capitalize()}s of {size.upper()}iB, 4 connections",
            _case_table(rows, case, "nginx", BODIES, "MiB / s"),
        )
        for case in dict.fromkeys(row.case for row in rows)
        for kind, _, size in [case.partition(" ")]
        if kind in {"answer", "upload"}
    ]
    if "routes" in cases:
        found.append(("Number of routes", requests("routes", f"{min(stage.plan.routes)} routes")))
    if "sessions" in cases:
        found.append((f"Sessions: 1, {number(stage.sessions_shown)} warm, and cold", requests("sessions", ONE_SESSION)))
    if "stores" in cases:
        text = requests("stores", "cookie, warm")
        found.append(("Session stores: one session in use, those seen before at random, at first sight", text))
    if logged_in.OIDC in cases:
        found.append(("Logged in at an OpenID provider", requests(logged_in.OIDC, "nginx")))
    if logged_in.PROGRAMS in cases:
        title = "Programs and tokens: ours with a session, a bearer token (JWT), and a signed token for the app"
        found.append((title, requests(logged_in.PROGRAMS, logged_in.COOKIE)))
    if "workers" in cases:
        table_of_workers = _case_table(rows, "workers", "1 worker", REQUESTS, "requests / s")
        found.append(("Workers, sharing two cores with the load", table_of_workers))
    if stage.idle_rows:
        found.append(("Idle keep-alive connections, after one request each", _idle(stage.idle_rows)))
    if forward_auth.FORWARD_AUTH in cases:
        text = requests(forward_auth.FORWARD_AUTH, forward_auth.BARE)
        found.append(("Forward auth: nginx that asks about each request", text))
    if forward_auth.VERIFY in cases:
        title = "Forward auth: asked about a request, by the load generator itself, and given it to proxy"
        found.append((title, requests(forward_auth.VERIFY, forward_auth.PROXIED)))
    return found


def page(stage: Stage, facts: Mapping[str, str], versions: Mapping[str, str], when: datetime) -> str:
    """Return the page of results."""
    plan = stage.plan
    method = METHOD.format(
        connections=stage.wrk.connections,
        rounds=f"{plan.main_rounds} of the first case and of programs, "
        f"{plan.flat_rounds} of routes, cold sessions, OIDC and forward auth, "
        f"{plan.flat_rounds * WARM_ROUNDS} of warm sessions, {plan.rounds} else",
        cookie=len(stage.headers["Cookie"]),
    )
    listed = [f"* {name}: {value}" for name, value in [*facts.items(), *versions.items()]]
    lost = [row.lost_share for row in stage.rows]
    if lost:
        disturbed = f"{median(lost):.0%} of the time in the median run, {max(lost):.0%} in the worst"
        listed.append(f"* taken from the proxy's core by other programs or the host: {disturbed}")
    sections = [f"## {title}\n\n{text}" for title, text in _sections(stage)]
    parts = [
        "# Results of the benchmark",
        f"Measured {when:%Y-%m-%d %H:%M} UTC by `make bench`; [README.md](README.md) says how to read and repeat it.",
        "## Against the bars\n\n" + _bars(stage.rows, stage.idle_rows),
        *([f"Left out: {'; '.join(stage.left_out)}."] if stage.left_out else []),
        *sections,
        "## Method\n" + method.rstrip(),
        "## Machine and versions\n\n" + "\n".join(listed),
    ]
    return "\n\n".join(parts) + "\n"


def write(stage: Stage, facts: Mapping[str, str], versions: Mapping[str, str], folder: Path) -> Path:
    """Write RESULTS.md and results.json into a folder; return the page's path."""
    when = datetime.now(UTC)
    file = folder / "RESULTS.md"
    file.write_text(page(stage, facts, versions, when), encoding="utf-8")
    raw = {
        "when": when.isoformat(timespec="seconds"),
        "machine": dict(facts),
        "versions": dict(versions),
        "left_out": stage.left_out,
        "rows": [asdict(row) for row in stage.rows],
        "idle": [asdict(row) for row in stage.idle_rows],
    }
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    return file
