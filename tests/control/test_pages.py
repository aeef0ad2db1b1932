"""Every page: safe headers, nothing from elsewhere, no markup from outside, readable by everybody."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.control import pages
from gateway.control.pages import CSP, ERRORS, REQUEST_ID_MARK, error_page, in_words
from gateway.core.own_pages import takes_form
from gateway.wire.replies import DETAILS
from tests.control.conftest import StartSite
from tests.control.harness import Answer, ControlSite, Settings
from tests.support.users import ALICE
from tests.support.visitor import PAGE, PROGRAM

LOGIN = "/_gateway/login"
STYLE = Path(pages.__file__).with_name("templates") / "style.css"
NASTY = "\"'><script>alert(1)</script>{{7*7}}"


class Elements(HTMLParser):
    """The elements of a page, with their attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.style = ""
        self._in_style = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.style += data

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(params=[False, True], ids=["cookie", "sqlite"])
async def site(start_site: StartSite, request: pytest.FixtureRequest) -> ControlSite:
    """A site of each kind of store, for they show different pages of sessions."""
    return await start_site(Settings(sqlite=request.param))


async def everything(site: ControlSite) -> dict[str, Answer]:
    """Return every page of the control plane, and what is answered in place of one."""
    guest, alice, phone = site.browser(), site.browser(), site.browser()
    await phone.login(ALICE)
    answers = {
        "login": await guest.get(f"{LOGIN}?next=/wiki"),
        "signed out": await guest.get(f"{LOGIN}?signed_out=1"),
        "refused": await guest.post(LOGIN, {"username": "alice"}),
        "wrong": await guest.login(ALICE, password="wrong"),
        "not a form": await guest.send("POST", LOGIN, PAGE, b"x"),
        "redirect": await alice.login(ALICE),
        "logout": await alice.get("/_gateway/logout"),
        "portal": await alice.get("/_gateway/"),
        "sessions": await alice.get("/_gateway/sessions?done=one"),
        "sessions refused": await alice.post("/_gateway/sessions", {"end": "others"}),
        "not found": await alice.get("/_gateway/metrics"),
        "wrong method": await alice.post("/_gateway/me", {}),
        "me": await alice.get("/_gateway/me", PROGRAM),
        "problem": await guest.get("/_gateway/me", PROGRAM),
    }
    site.clock.move(1)
    return answers


async def test_every_answer_has_the_headers_that_keep_it_safe(site: ControlSite) -> None:
    for name, answer in (await everything(site)).items():
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-"), name
        for part in ("frame-ancestors 'none'", "base-uri 'none'", "form-action"):
            assert part in policy, name
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        assert answer.headers["Referrer-Policy"] == "same-origin", name
        assert answer.headers["Cache-Control"] == "no-store", name
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin", name
        assert "Server" not in answer.headers, name


async def test_pages_are_whole_and_fetch_nothing_from_anywhere(site: ControlSite) -> None:
    found = [answer.text for answer in (await everything(site)).values() if "<html" in answer.text]
    found += [error_page(status).decode() for status in ERRORS]
    assert len(found) > 20
    for page in found:
        elements = Elements(page)
        digest = base64.b64encode(sha256(elements.style.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in CSP
        assert "url(" not in elements.style
        assert elements.all("script") == []
        for tag, attributes in elements.found:
            assert not {"style", "onclick", "onload", "onerror"} & set(attributes), tag
            assert not attributes.get("src", "")
            target = attributes.get("href", "")
            assert target.startswith(("/", "data:image/svg+xml,", "https://mail.example.com/")) or not target


async def test_pages_are_usable_by_keyboard_and_screen_reader(site: ControlSite) -> None:
    for name, answer in (await everything(site)).items():
        if "<html" not in answer.text:
            continue
        elements = Elements(answer.text)
        assert elements.all("html") == [{"lang": "en"}], name
        assert len(elements.all("main")) == 1, name
        assert len(elements.all("h1")) == 1, name
        assert "user-scalable" not in answer.text
        labelled = {label["for"] for label in elements.all("label")}
        shown = [field for field in elements.all("input") if field.get("type") != "hidden"]
        assert {field["id"] for field in shown} == labelled, name
        ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
        assert len(ids) == len(set(ids)), name
        assert sum("autofocus" in attributes for _, attributes in elements.found) <= 1, name
        for picture in elements.all("svg"):
            assert picture["aria-hidden"] == "true"


async def test_the_login_form_works_with_password_managers_and_tells_errors_aloud(site: ControlSite) -> None:
    browser = site.browser()
    fresh = {field["name"]: field for field in Elements((await browser.get(LOGIN)).text).all("input")}
    assert fresh["username"]["autocomplete"] == "username"
    assert fresh["password"]["autocomplete"] == "current-password"
    assert "autofocus" in fresh["username"]
    failed = Elements((await browser.login(ALICE, password="wrong")).text)
    (alert,) = (attributes for _, attributes in failed.found if attributes.get("role") == "alert")
    fields = {field["name"]: field for field in failed.all("input")}
    assert fields["password"]["aria-describedby"] == fields["username"]["aria-describedby"] == alert["id"]
    assert "autofocus" in fields["password"]
    assert "value" not in fields["password"]


async def test_nothing_that_comes_from_outside_becomes_markup(site: ControlSite) -> None:
    browser = site.browser()
    answers = [
        await browser.get(f"{LOGIN}?next={NASTY}&signed_out={NASTY}"),
        await browser.post(LOGIN, {"username": NASTY, "next": NASTY, "password": NASTY}),
        await browser.get(f"/_gateway/{NASTY}"),
        await browser.get("/_gateway/nothing", {**PAGE, "X-Request-Id": NASTY}),
    ]
    page = await browser.get(LOGIN)
    form = {"username": NASTY, "password": NASTY, "next": NASTY, "csrf_token": page.field("csrf_token")}
    answers.append(await browser.post(LOGIN, form))
    assert answers[-1].field("username") == NASTY, "neither lost nor taken for a template"
    for answer in answers:
        assert "<script" not in answer.text
        assert "alert(1)</" not in answer.text


async def test_forms_may_lead_to_every_configured_host(site: ControlSite) -> None:
    policy = (await site.browser().get(LOGIN)).headers["Content-Security-Policy"]
    (targets,) = (part.strip() for part in policy.split(";") if "form-action" in part)
    assert targets == (
        "form-action 'self' https://apps.example.com:* https://mail.example.com:* https://*.tenants.example.com:*"
    )


@pytest.mark.parametrize(
    "status", sorted({*ERRORS, 400, 401, 403, 404, 405, 408, 413, 421, 429, 431, 500, 502, 503, 504})
)
def test_there_is_a_page_for_every_status_with_room_for_the_request_id(status: int) -> None:
    page = error_page(status).decode()
    assert f"Error {status}" in page
    assert page.count(REQUEST_ID_MARK) == 1
    assert ERRORS[status].title in page


def test_error_pages_show_the_way_on() -> None:
    assert 'href="/_gateway/logout"' in error_page(403).decode()
    assert 'href="/_gateway/"' in error_page(404).decode()
    assert 'href="/_gateway/login"' in error_page(401).decode()
    assert 'href="/_gateway' not in error_page(421).decode()
    for status in (502, 504):
        assert '<a class="button primary" href="">Try again</a>' in error_page(status).decode()
        assert 'href="/_gateway/">Your apps</a>' in error_page(status).decode()


def test_of_an_app_that_does_not_answer_page_and_problem_say_the_same() -> None:
    assert DETAILS[502].partition(" cannot ")[2] in error_page(502).decode()


def test_an_error_page_can_say_something_else() -> None:
    page = error_page(418, title="A <pot>", detail="of tea", links=(("Home", "/"),)).decode()
    assert "A &lt;pot&gt;" in page
    assert "of tea" in page
    assert '<a class="button primary" href="/">Home</a>' in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 second"), (1.2, "2 seconds"), (60, "1 minute"), (61, "2 minutes"), (300, "5 minutes"), (43200, "12 hours"),
     (86400, "1 day"), (30 * 86400, "30 days")],
)  # fmt: skip
def test_durations_read_well(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def themes() -> list[dict[str, str]]:
    """Return the colours of the light and of the dark theme by name."""
    blocks = re.findall(r":root\{([^}]*)\}", STYLE.read_text())
    return [dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2 §1.4.3."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
def test_text_and_edges_have_enough_contrast(theme: dict[str, str]) -> None:
    text = [(name, ground) for name in ("text", "soft", "accent-text") for ground in ("card", "ground", "glow")]
    text += [("bad", "bad-ground"), ("good", "good-ground"), ("text", "field"), ("accent-text", "quiet-over")]
    low = {pair: contrast(theme[pair[0]], theme[pair[1]]) for pair in text}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}
    for ground in (theme["accent"], theme["accent-over"]):
        assert contrast("#fff", ground) >= 4.5
    for edge in ("edge", "focus"):
        assert contrast(theme[edge], theme["card"]) >= 3


def test_the_badges_of_apps_are_readable() -> None:
    colours = re.findall(r"\.tone\d\{background:(#[0-9a-f]{6})\}", STYLE.read_text())
    assert len(colours) == 6
    assert min(contrast("#fff", colour) for colour in colours) >= 4.5


async def test_the_data_plane_knows_which_pages_have_forms(site: ControlSite) -> None:
    """It reads their bodies first, and no others."""
    router = site.client.app.router
    posted = {str(each.resource.canonical) for each in router.routes() if each.method == "POST" and each.resource}
    assert len(posted) == 4
    assert [path for path in posted if not takes_form("POST", path.replace("{provider}", "sso"))] == []
    others = ["/_gateway/verify", "/_gateway/me", "/_gateway/oidc/sso/callback", "/_gateway/loginx", "/_gateway/"]
    assert [path for path in others if takes_form("POST", path)] == []
    assert not takes_form("GET", "/_gateway/login")
