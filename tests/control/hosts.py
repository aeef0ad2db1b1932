"""People with one browser on several hosts of a control plane, which share no cookie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlsplit

from gateway.core.route import Route
from tests.control.harness import HOST, Answer, Browser, ControlSite, route
from tests.support.users import ALICE
from tests.support.visitor import PAGE

OTHER = "wiki.example.org"
TENANT = "acme.tenants.example.net"
ROUTES: tuple[Route, ...] = (
    route("apps", "/"),
    route("wiki", "/", host=OTHER),
    route("mail", "/", host="mail.example.org"),
    replace(route("tenants", "/", host="*.tenants.example.net"), transfer=True),
)
TAB: Mapping[str, str] = {**PAGE, "Sec-Fetch-Dest": "document"}
START = "/_gateway/handover/start"


@dataclass
class Person:
    """One browser on all hosts: it keeps the cookies of each apart, and follows redirects when told to."""

    site: ControlSite
    hosts: dict[str, Browser] = field(default_factory=dict)

    def on(self, host: str) -> Browser:
        return self.hosts.setdefault(host, self.site.browser(host))

    async def open(self, url: str, host: str = "", steps: int = 10) -> tuple[str, Answer]:
        """Open an address and follow where it leads within our own pages; return where that ended, and how."""
        for _ in range(steps):
            parts = urlsplit(url)
            host = parts.netloc or host
            answer = await self.on(host).get(url.removeprefix(f"https://{host}"), TAB)
            location = answer.headers.get("Location")
            if location is None:
                break
            url = location if "://" in location else f"https://{host}{location}"
            if not urlsplit(url).path.startswith("/_gateway"):
                break
        else:
            raise AssertionError(f"led in circles: {url}")
        return url, answer

    async def login(self, host: str = HOST, *, remember: bool = False) -> Answer:
        return await self.on(host).login(ALICE, remember=remember)


def login_url(host: str, next_url: str = "/page?x=1") -> str:
    return f"https://{host}/_gateway/login?next={next_url}"


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def asked(person: Person, host: str = OTHER, next_url: str = "/page?x=1") -> str:
    """Let a host ask; return where it sends the browser."""
    answer = await person.on(host).get(login_url(host, next_url).removeprefix(f"https://{host}"), TAB)
    assert answer.status == 302, answer
    return answer.headers["Location"]


async def coded(person: Person, host: str = OTHER, next_url: str = "/page?x=1") -> str:
    """Let a host ask and ``public_url`` answer; return the address with the code."""
    answer = await person.on(HOST).get((await asked(person, host, next_url)).removeprefix(f"https://{HOST}"), TAB)
    assert answer.status == 303, answer
    return answer.headers["Location"]


async def assert_refused(person: Person, answer: Answer, status: int, reason: str) -> None:
    """Require a page that goes on by hand only, an audit line, and no session."""
    assert (answer.status, "Location" in answer.headers) == (status, False)
    assert "/_gateway/login?here=1" in answer.text
    assert [event.reason for event in person.site.audited("handover_refused")] == [reason]
    assert person.site.audited("handed_over") == []
    assert answer.headers["Referrer-Policy"] == "no-referrer"
