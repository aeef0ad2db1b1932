"""User-Agents in few words: real ones are recognised, hostile ones stay short and plain."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.device import MAX_CHARACTERS, UNKNOWN, device_label

APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
BLINK = "AppleWebKit/537.36 (KHTML, like Gecko)"
AGENTS = {
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0": "Firefox on Windows",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Linux",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0": "Firefox on Mac",
    "Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0": "Firefox on Android",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {APPLE} FxiOS/145.0 Mobile/15E148 Safari/605.1.15": (
        "Firefox on iPhone"
    ),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {BLINK} Chrome/142.0.0.0 Safari/537.36": "Chrome on Windows",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {BLINK} Chrome/142.0.0.0 Safari/537.36": "Chrome on Mac",
    f"Mozilla/5.0 (Linux; Android 10; K) {BLINK} Chrome/142.0.0.0 Mobile Safari/537.36": "Chrome on Android",
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {BLINK} Chrome/142.0.0.0 Safari/537.36": "Chrome on ChromeOS",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {APPLE} CriOS/142.0 Mobile/15E148 Safari/604.1": (
        "Chrome on iPhone"
    ),
    f"Mozilla/5.0 (X11; Linux x86_64) {BLINK} HeadlessChrome/142.0.0.0 Safari/537.36": "Chrome on Linux",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {BLINK} Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0": (
        "Edge on Windows"
    ),
    f"Mozilla/5.0 (Linux; Android 10; K) {BLINK} Chrome/142.0.0.0 Mobile Safari/537.36 EdgA/142.0.0.0": (
        "Edge on Android"
    ),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {BLINK} Chrome/141.0.0.0 Safari/537.36 OPR/125.0.0.0": (
        "Opera on Windows"
    ),
    f"Mozilla/5.0 (Linux; Android 14; SM-S921B) {BLINK} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": (
        "Samsung Internet on Android"
    ),
    f"Mozilla/5.0 (X11; Linux x86_64) {BLINK} Chrome/142.0.0.0 Safari/537.36 Vivaldi/7.6": "Vivaldi on Linux",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {APPLE} Version/26.0 Safari/605.1.15": "Safari on Mac",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {APPLE} Version/26.0 Mobile/15E148 Safari/604.1": (
        "Safari on iPhone"
    ),
    f"Mozilla/5.0 (iPad; CPU OS 16_7 like Mac OS X) {APPLE} Version/16.6 Mobile/15E148 Safari/604.1": "Safari on iPad",
    f"Mozilla/5.0 (X11; Linux x86_64) {APPLE} Version/17.0 Safari/605.1.15 Epiphany/45.2": "GNOME Web on Linux",
    "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko": "Internet Explorer on Windows",
    "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1682": "PowerShell on Windows",
    "Mozilla/5.0 (X11; OpenBSD amd64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on BSD",
    "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/538.1 (KHTML, like Gecko)": "unknown browser on Linux",
    "curl/8.14.1": "curl",
    "Wget/1.25.0": "Wget",
    "python-requests/2.32.5": "python-requests",
    "Python/3.13 aiohttp/3.14.5": "aiohttp",
    "Go-http-client/1.1": "Go-http-client",
    "okhttp/5.2.1": "okhttp",
    "git/2.47.3": "git",
    "PostmanRuntime/7.49.0": "PostmanRuntime",
    "Mozilla/5.0": UNKNOWN,
    "": UNKNOWN,
}


@pytest.mark.parametrize(("agent", "label"), AGENTS.items(), ids=lambda text: text[-40:])
def test_an_agent_is_named_in_few_words(agent: str, label: str) -> None:
    assert device_label(agent) == label


@pytest.mark.parametrize(
    "agent",
    [
        "<script>alert(1)</script>",
        "\x00\x1b[31mred",
        "a" * 100_000,
        "Firefox\r\nSet-Cookie: a=b",
        "{{7*7}}/1",
        "\ud800/1.0",
        "ünïcode/1.0",
        "   ",
        "/1.0",
    ],
)
def test_an_agent_that_is_no_product_is_unknown(agent: str) -> None:
    assert device_label(agent) == UNKNOWN


@given(st.text() | st.text().map(lambda text: f"Mozilla/5.0 (Windows) {text}"))
def test_a_label_is_always_short_and_plain(agent: str) -> None:
    label = device_label(agent)
    assert 0 < len(label) <= MAX_CHARACTERS
    assert re.fullmatch(r"[A-Za-z0-9._ -]+", label)
