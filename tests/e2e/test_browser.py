"""A real Chromium at the demo: what people see, on a desk and on a phone, with and without JavaScript."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import StartGateway
from tests.support.browser import OpenContext, sign_in
from tests.support.clock import SetClock
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Request
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.waiting import wait_for

PHONE = {"width": 360, "height": 640}


@dataclass
class Demo:
    """The running demo, and the passwords it printed."""

    process: GatewayProcess
    passwords: dict[str, str]

    @property
    def url(self) -> str:
        """Return the address to open."""
        return f"http://localhost:{self.process.port}"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = tmp_path_factory.mktemp("demo")
    with GatewayProcess(directory, {}, arguments=["demo", "--listen", "127.0.0.1:0"]) as process:

        def passwords() -> dict[str, str]:
            found = dict(re.findall(r"(?m)^\s+(alice|bob|admin)\s+(\S+)", process.errors()))
            return found if len(found) == 3 else {}

        found = wait_for(passwords, what="the passwords")
        yield Demo(process, found)


def sign_out(page: Page, url: str) -> None:
    """Sign out by the portal's button."""
    page.goto(f"{url}/_gateway/")
    page.get_by_role("button", name="Sign out").click()


def test_log_in_and_see_who_one_is(demo: Demo, new_context: OpenContext) -> None:
    """Open the printed address, log in, and see the app greet the user with the identity it was given."""
    page = new_context().new_page()
    page.goto(demo.url)
    expect(page).to_have_title(re.compile("Sign in"))
    sign_in(page, "alice", demo.passwords["alice"])
    expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()
    expect(page.get_by_role("cell", name="alice@example.com")).to_be_visible()
    expect(page.get_by_role("cell", name="X-Forwarded-Groups")).to_be_visible()
    assert page.url == f"{demo.url}/"
    assert page.evaluate("document.cookie") == "", "no cookie of ours is for scripts"


def test_wrong_password(demo: Demo, new_context: OpenContext) -> None:
    """A wrong password says so, keeps the name, and the right one works afterwards."""
    page = new_context().new_page()
    page.goto(f"{demo.url}/some/page")
    sign_in(page, "bob", "wrong")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Username")).to_have_value("bob")
    expect(page.get_by_label("Password")).to_have_value("")
    expect(page.get_by_label("Password")).to_be_focused()
    page.get_by_label("Password").fill(demo.passwords["bob"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Hello bob")).to_be_visible()
    assert page.url == f"{demo.url}/some/page"


def test_deep_link_returns_to_its_page(demo: Demo, new_context: OpenContext) -> None:
    """A link into the app leads through the login to exactly that page."""
    page = new_context().new_page()
    page.goto(f"{demo.url}/reports/2026?month=11&name=a%20b#details")
    sign_in(page, "alice", demo.passwords["alice"])
    expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()
    assert page.url.partition("#")[0] == f"{demo.url}/reports/2026?month=11&name=a%20b"


def test_two_tabs(demo: Demo, new_context: OpenContext) -> None:
    """Two login pages opened side by side both work, each leading to its own page."""
    context = new_context()
    first, second = context.new_page(), context.new_page()
    first.goto(f"{demo.url}/one")
    second.goto(f"{demo.url}/two")
    sign_in(first, "alice", demo.passwords["alice"])
    expect(first.get_by_text("/one", exact=True)).to_be_visible()
    sign_in(second, "alice", demo.passwords["alice"])
    expect(second.get_by_text("/two", exact=True)).to_be_visible()
    first.reload()
    expect(first.get_by_role("heading", name="Hello alice")).to_be_visible()


def test_logout_and_back_button(demo: Demo, new_context: OpenContext) -> None:
    """After logging out the app asks for a login again, and the back button shows nothing of our own pages."""
    page = new_context().new_page()
    page.goto(f"{demo.url}/_gateway/")
    sign_in(page, "alice", demo.passwords["alice"])
    expect(page.get_by_role("heading", name="Your apps")).to_be_visible()
    page.goto(f"{demo.url}/secret")
    expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()
    sign_out(page, demo.url)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    for _ in range(3):
        page.go_back()
        page.wait_for_load_state()
        expect(page.get_by_text("Alice Liddell")).to_have_count(0)
        expect(page.get_by_text("alice@example.com")).to_have_count(0)
    page.goto(f"{demo.url}/secret")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_logout_asks_first(demo: Demo, new_context: OpenContext) -> None:
    """A link to the logout page asks; staying keeps the session."""
    page = new_context().new_page()
    page.goto(demo.url)
    sign_in(page, "alice", demo.passwords["alice"])
    page.get_by_role("link", name="Log out").click()
    expect(page.get_by_role("heading", name="Sign out?")).to_be_visible()
    page.get_by_role("link", name="Stay signed in").click()
    expect(page.get_by_role("heading", name="Your apps")).to_be_visible()


def test_portal_shows_what_one_may_open(demo: Demo, new_context: OpenContext) -> None:
    """alice sees both apps, bob one; a link of the portal opens the app."""
    for user, staff_app in (("alice", 1), ("bob", 0)):
        page = new_context().new_page()
        page.goto(f"{demo.url}/_gateway/")
        sign_in(page, user, demo.passwords[user])
        expect(page.get_by_role("link", name="Who am I?")).to_be_visible()
        expect(page.get_by_role("link", name="Live (for staff)")).to_have_count(staff_app)
        page.get_by_role("link", name="Who am I?").click()
        expect(page.get_by_role("heading", name=f"Hello {user}")).to_be_visible()


def test_refused_page(demo: Demo, new_context: OpenContext) -> None:
    """What one may not open is a page that says so, with a way back; admin may open it."""
    page = new_context().new_page()
    page.goto(f"{demo.url}/live/")
    sign_in(page, "bob", demo.passwords["bob"])
    expect(page).to_have_title(re.compile("403|not allowed|forbidden|access", re.IGNORECASE))
    expect(page.get_by_role("link").first).to_be_visible()
    page = new_context().new_page()
    page.goto(f"{demo.url}/admin")
    sign_in(page, "admin", demo.passwords["admin"])
    expect(page.get_by_role("heading", name="Hello admin")).to_be_visible()


def test_who_am_i_on_a_small_phone(demo: Demo, new_context: OpenContext) -> None:
    """The headers fit into the width of a small phone, with room for their values."""
    page = new_context(viewport={"width": 360, "height": 740}, is_mobile=True).new_page()
    page.goto(f"{demo.url}/")
    sign_in(page, "alice", demo.passwords["alice"])
    expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    value = page.get_by_role("cell", name="alice@example.com").bounding_box()
    assert value
    assert value["width"] >= 130


def test_public_page(demo: Demo, new_context: OpenContext) -> None:
    """The public part needs no login, and knows who is logged in."""
    page = new_context().new_page()
    page.goto(f"{demo.url}/about")
    expect(page.get_by_text("You are not logged in")).to_be_visible()
    page.goto(f"{demo.url}/")
    sign_in(page, "alice", demo.passwords["alice"])
    expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()
    page.goto(f"{demo.url}/about")
    expect(page.get_by_text("logged in as alice")).to_be_visible()


def test_websocket_and_events(demo: Demo, new_context: OpenContext) -> None:
    """The live app's WebSocket echoes with the user's name, and its stream of events runs."""
    page = new_context().new_page()
    page.goto(f"{demo.url}/live/")
    sign_in(page, "alice", demo.passwords["alice"])
    expect(page.locator("#echo")).to_contain_text("connected")
    page.get_by_label("Say something").fill("grüß dich")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#echo")).to_contain_text("alice: grüß dich")
    expect(page.locator("#events")).to_contain_text("UTC")


def test_without_javascript(demo: Demo, new_context: OpenContext) -> None:
    """Login, portal and logout work without JavaScript."""
    page = new_context(java_script_enabled=False).new_page()
    page.goto(f"{demo.url}/page")
    sign_in(page, "alice", demo.passwords["alice"])
    expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()
    sign_out(page, demo.url)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_keyboard_only(demo: Demo, new_context: OpenContext) -> None:
    """The login needs no mouse: the first field has the focus, and Tab reaches everything in order, visibly."""
    page = new_context().new_page()
    page.goto(f"{demo.url}/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(demo.passwords["alice"])
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Sign in")
    expect(button).to_be_focused()
    ring = button.evaluate("e => getComputedStyle(e).outlineStyle + getComputedStyle(e).boxShadow")
    assert ring != "nonenone", "the focus must be visible"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()


def test_remember_me(demo: Demo, new_context: OpenContext) -> None:
    """With the box ticked the cookie outlives the browser, without it does not."""
    for remember in (False, True):
        context = new_context()
        page = context.new_page()
        page.goto(demo.url)
        if remember:
            page.get_by_role("checkbox").check()
        sign_in(page, "alice", demo.passwords["alice"])
        expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()
        (cookie,) = [cookie for cookie in context.cookies() if cookie["name"] == "gateway_session"]
        assert (cookie["expires"] > time.time() + 29 * 86400) == remember
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, {"width": 1280, "height": 800}], ids=["phone", "desk"])
def test_pages_fit_and_can_be_read(demo: Demo, new_context: OpenContext, viewport: dict[str, int], scheme: str) -> None:
    """On phone and desk, light and dark: nothing is cut off, text stands out, controls are large enough."""
    page = new_context(viewport=viewport, color_scheme=scheme).new_page()
    page.goto(f"{demo.url}/_gateway/")
    check_layout(page, scheme)
    sign_in(page, "alice", demo.passwords["alice"])
    expect(page.get_by_role("heading", name="Your apps")).to_be_visible()
    check_layout(page, scheme)
    page.goto(f"{demo.url}/_gateway/logout")
    check_layout(page, scheme)


CONTRAST = """() => {
  const parse = c => (c.match(/[0-9.]+/g) || []).map(Number);
  const linear = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
  const shade = c => { const [r, g, b] = c.map(linear); return .2126 * r + .7152 * g + .0722 * b };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const style = getComputedStyle(e), c = parse(style.backgroundColor);
      if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
      if (style.backgroundImage !== 'none') return null;
    }
    return parse(getComputedStyle(document.documentElement).backgroundColor).slice(0, 3);
  };
  const bad = [];
  for (const e of document.querySelectorAll('h1, p, label, button, small, strong, a, span')) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const b = text && e.offsetParent && behind(e);
    if (!b || b.length < 3) continue;
    const [x, y] = [shade(parse(getComputedStyle(e).color).slice(0, 3)), shade(b)].sort((p, q) => q - p);
    const ratio = (x + .05) / (y + .05);
    if (ratio < 4.5) bad.push(e.textContent.trim().slice(0, 30) + ' ' + ratio.toFixed(2));
  }
  return bad;
}"""


def check_layout(page: Page, scheme: str) -> None:
    """Check one page: WCAG 2.2 contrast (1.4.3), target size (2.5.8) and reflow (1.4.10)."""
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "scrolls sideways"
    assert page.evaluate(CONTRAST) == []
    small = page.evaluate(
        "[...document.querySelectorAll('button, input:not([type=hidden]):not([type=checkbox]), a.button, a.app')]"
        ".filter(e => e.offsetParent && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)"
    )
    assert small == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    root = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    shade = next(c for c in (background, root) if c != "rgba(0, 0, 0, 0)")
    brightness = sum(map(float, re.findall(r"[0-9.]+", shade)[:3])) / 3
    assert (brightness > 128) == (scheme == "light"), shade


def test_expired_session(start_gateway: StartGateway, new_context: OpenContext, clock: SetClock) -> None:
    """When the session runs out, the next click leads to the login and then to where the click wanted."""

    def page_of(request: Request) -> bytes:
        body = b"<!doctype html><title>App</title><h1>The app</h1><a href='/next?x=1'>go on</a>"
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    with RecorderUpstream(page_of) as upstream:
        config = gateway_config(route("app", "/", upstream.url))
        gateway = start_gateway(config, env=clock.env)
        url = f"http://localhost:{gateway.port}"
        page = new_context().new_page()
        page.goto(url)
        sign_in(page, ALICE.user, ALICE.password)
        expect(page.get_by_role("heading", name="The app")).to_be_visible()
        clock.jump(gateway, timedelta(hours=1))
        page.get_by_role("link", name="go on").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        sign_in(page, ALICE.user, ALICE.password)
        expect(page.get_by_role("heading", name="The app")).to_be_visible()
        assert page.url == f"{url}/next?x=1"


def test_login_page_of_a_restored_browser(
    start_gateway: StartGateway, new_context: OpenContext, recorder: RecorderUpstream
) -> None:
    """A login form that lay open while the gateway was restarted still works, or says what to do and then works."""
    config = gateway_config(route("app", "/", recorder.url))
    gateway = start_gateway(config)
    page = new_context().new_page()
    page.goto(f"http://localhost:{gateway.port}/x")
    gateway.reload(config)
    wait_for(lambda: "configuration reloaded" in gateway.errors(), what="the reload")
    sign_in(page, ALICE.user, ALICE.password)
    expect(page).to_have_url(f"http://localhost:{gateway.port}/x")
    assert recorder.last().get("X-Forwarded-User") == "alice"


def test_upstream_that_is_down(start_gateway: StartGateway, new_context: OpenContext) -> None:
    """An app that is down is a page that says so, not a blank one."""
    gateway = start_gateway(gateway_config(route("app", "/", "http://127.0.0.1:1", public=True)))
    context = new_context()
    page = context.new_page()
    answer = page.request.get(f"http://localhost:{gateway.port}/x", headers={"Accept": "text/html"})
    assert answer.status == 502
    page.set_content(answer.text())
    expect(page.get_by_role("heading")).to_be_visible()
