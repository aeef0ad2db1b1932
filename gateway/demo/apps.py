"""The demo's two apps. They keep no login state: who somebody is stands in the headers they get."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from html import escape

from aiohttp import WSMsgType, web

STYLE = """
:root { color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif }
body { max-width: 46rem; margin: 3rem auto; padding: 0 1.25rem }
table { border-collapse: collapse; width: 100% }
td { padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: top }
td:first-child { white-space: nowrap; opacity: .7 }
td:last-child { overflow-wrap: anywhere }
@media (max-width: 32rem) { td:first-child { white-space: normal } }
tr.told td { background: #4a90d922; opacity: 1 } nav a { margin-right: 1rem }
input, button { font: inherit; padding: .4rem .7rem }
pre { background: #8882; padding: 1rem; min-height: 8rem; overflow: auto }
"""
NAV = (
    '<nav><a href="/">Who am I?</a><a href="/live/">Live</a>'
    '<a href="/_gateway/">Apps</a><a href="/_gateway/logout">Log out</a></nav>'
)
IDENTITY = ("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups")

LIVE_SCRIPT = """
const log = (id, text) => { document.getElementById(id).textContent += text + "\\n" };
const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const socket = new WebSocket(`${scheme}//${location.host}/live/echo`);
socket.onopen = () => log("echo", "connected");
socket.onmessage = event => log("echo", event.data);
socket.onclose = event => log("echo", `closed (${event.code})`);
document.forms[0].onsubmit = event => { event.preventDefault(); socket.send(document.forms[0].text.value); };
const source = new EventSource("/live/events");
source.onmessage = event => { document.getElementById("events").textContent = event.data };
"""


def whoami_app() -> web.Application:
    """Return the app that shows who you are and the headers it got."""
    app = web.Application()
    app.router.add_get("/about", _about)
    app.router.add_get("/{path:.*}", _whoami)
    return app


async def _whoami(request: web.Request) -> web.Response:
    rows = "".join(
        f'<tr class="{"told" if name in IDENTITY else ""}"><td>{escape(name)}</td><td>{escape(value)}</td></tr>'
        for name, value in request.headers.items()
    )
    user = escape(request.headers.get("X-Forwarded-User", "nobody"))
    return _page(f"Hello {user}", f"<p>You asked for <code>{escape(request.path)}</code>.</p><table>{rows}</table>")


async def _about(request: web.Request) -> web.Response:
    user = request.headers.get("X-Forwarded-User")
    known = f"You are logged in as {escape(user)}." if user else "You are not logged in, and need not be."
    return _page("About this demo", f"<p>This page is public. {known}</p>")


def live_app() -> web.Application:
    """Return the app that echoes WebSocket messages and streams events."""
    app = web.Application()
    app.router.add_get("/", _live)
    app.router.add_get("/echo", _echo)
    app.router.add_get("/events", _events)
    return app


async def _live(request: web.Request) -> web.Response:
    return _page(
        "Live",
        "<p>The time, as a stream of events: <b id=events>–</b></p>"
        "<form><label>Say something: <input name=text value=hello></label> <button>Send</button></form>"
        '<pre id="echo"></pre>'
        f"<script>{LIVE_SCRIPT}</script>",
    )


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    user = request.headers.get("X-Forwarded-User", "nobody")
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(f"{user}: {message.data}")
    return socket


async def _events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    with suppress(ConnectionResetError):
        for _ in range(3600):
            await response.write(f"data: {datetime.now(UTC):%H:%M:%S} UTC\n\n".encode())
            await asyncio.sleep(1)
    return response


def _page(title: str, body: str) -> web.Response:
    return web.Response(
        text="<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{title}</title><link rel=icon href='data:,'><style>{STYLE}</style><body>{NAV}<h1>{title}</h1>{body}",
        content_type="text/html",
        headers={"Cache-Control": "no-store"},
    )
