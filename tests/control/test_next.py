"""Where a login leads: on this site or a configured host, whatever ``next`` says."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest

from tests.control.harness import HOST, ControlSite
from tests.support.users import ALICE

LOGIN = "/_gateway/login"

ELSEWHERE = """
//evil.example
///evil.example
////evil.example/
//evil.example@apps.example.com/
/\\evil.example
/\\/evil.example
\\\\evil.example
\\/evil.example
/\t/evil.example
\t//evil.example
 //evil.example
/%09/evil.example
/%2f/evil.example
/%2F%2Fevil.example
/%5cevil.example
/%5C%5Cevil.example
/.//evil.example
/..//evil.example
/./\\evil.example
/wiki/..//evil.example
/wiki/%2e%2e//evil.example
/;//evil.example
/;@evil.example/..//x
http:evil.example
http:/evil.example
http:///evil.example
http://evil.example
https:evil.example
https:/evil.example
https:///evil.example
https://evil.example
https:\\\\evil.example
https:/\\evil.example
https://evil.example/apps.example.com
https://apps.example.com@evil.example
https://apps.example.com:443@evil.example/
https://apps.example.com%40evil.example
https://apps.example.com.evil.example
https://apps.example.com\\evil.example
https://apps.example.com\\@evil.example
https://evil.example#apps.example.com
https://evil.example?apps.example.com
https://evil.example\\.apps.example.com
https://evilapps.example.com
https://[::1]@evil.example
https://apps.example.com:x@evil.example
http://apps.example.com/wiki
//apps.example.com\\@evil.example
https://apps.example.com//evil.example
https://tenants.example.com/
javascript:alert(1)
JaVaScRiPt:alert(1)
java\tscript:alert(1)
javascript://apps.example.com/%0aalert(1)
data:text/html,x
vbscript:msgbox(1)
file:///etc/passwd
blob:https://apps.example.com/x
evil.example
@evil.example
.evil.example
?//evil.example
#//evil.example
〱evil.example
//evil。example
/\u2028/evil.example
/wiki\u0000//evil.example
%2f%2fevil.example
""".strip("\n").split("\n")
ELSEWHERE += ["/\n/evil.example", "\r//evil.example", "https://evil.example\n", "/wiki\n"]

HERE = [
    "/",
    "/wiki",
    "/wiki/page?next=//evil.example",
    "/wiki/page#part",
    "/wiki/a%20b/c",
    "/wiki/~me/@you;v=1",
    f"https://{HOST}/wiki",
    f"https://{HOST}",
    "https://mail.example.com/inbox?x=https://evil.example",
    "https://a.tenants.example.com/",
]


@pytest.mark.parametrize("value", ELSEWHERE)
async def test_a_login_never_leads_elsewhere(site: ControlSite, value: str) -> None:
    answer = await site.browser().login(ALICE, next_url=value)
    assert answer.status == 303
    location = answer.headers["Location"]
    assert location == "/", location
    assert urlsplit(location).netloc == ""


@pytest.mark.parametrize("value", ELSEWHERE)
async def test_neither_does_the_login_page_when_one_is_signed_in(site: ControlSite, value: str) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    answer = await browser.get(f"{LOGIN}?next={quote(value, safe='')}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")


@pytest.mark.parametrize("value", ["//evil.example", "https://evil.example/", "/\\evil.example"])
async def test_the_form_carries_only_what_is_safe(site: ControlSite, value: str) -> None:
    browser = site.browser()
    assert (await browser.get(f"{LOGIN}?next={quote(value, safe='')}")).field("next") == "/"
    failed = await browser.login(ALICE, next_url=value, password="wrong")
    assert failed.field("next") == "/"


@pytest.mark.parametrize("value", HERE)
async def test_a_login_leads_to_pages_of_configured_hosts(site: ControlSite, value: str) -> None:
    browser = site.browser()
    page = await browser.get(f"{LOGIN}?next={quote(value, safe='')}")
    assert page.field("next") == value
    answer = await browser.login(ALICE, next_url=value)
    assert answer.headers["Location"] == value


async def test_a_logout_leads_to_our_login_page_whatever_next_says(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    page = await browser.get("/_gateway/logout?next=https://evil.example/")
    assert page.field("next") == "/"
    form = {"csrf_token": page.field("csrf_token"), "next": "https://evil.example/"}
    answer = await browser.post("/_gateway/logout", form)
    assert answer.headers["Location"] == "/_gateway/login?signed_out=1&next=/"
