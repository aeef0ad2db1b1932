"""The Authorization field: how it is read, kept apart, and never remembered."""

from __future__ import annotations

import pytest

from gateway.core.limits import Limits
from gateway.core.step_up import StepUp
from gateway.wire.authorization import bearer_error, challenges, is_token68, split_authorization, step_up_error
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import RequestHead, RequestParser


def parse(lines: bytes, **limits: int) -> RequestHead:
    return RequestParser(Limits(**limits), frozenset()).parse(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"Bearer abc", ("bearer", b"abc")),
        (b"bEARER   abc", ("bearer", b"abc")),
        (b"Basic\tabc", ("basic", b"abc")),
        (b"Bearer", ("bearer", b"")),
        (b"", ("", b"")),
        (b"Bearer a, Basic b", ("bearer", b"a, Basic b")),
        (b"Bearer,a", ("bearer,a", b"")),
        (b"\xa0Bearer a", ("\xa0bearer", b"a")),
    ],
)
def test_a_scheme_and_what_follows(value: bytes, found: tuple[str, bytes]) -> None:
    assert split_authorization(value) == found


@pytest.mark.parametrize("value", [b"a", b"a==", b"aZ09-._~+/=", b"x" * 8000])
def test_one_token(value: bytes) -> None:
    assert is_token68(value)


@pytest.mark.parametrize("value", [b"", b"=", b"==", b"a=b", b"a b", b"a,b", b"a\tb", b'a"', b"a\0", b"\xe4", b"a, "])
def test_what_is_not_one_token(value: bytes) -> None:
    assert not is_token68(value)


def test_challenges_name_what_is_accepted() -> None:
    bearer, basic = (
        b'WWW-Authenticate: Bearer realm="gateway"',
        b'WWW-Authenticate: Basic realm="gateway", charset="UTF-8"',
    )
    assert challenges(["basic", "ci"]) == (bearer, basic)
    assert challenges(["api-key"]) == (bearer,)
    assert challenges(["basic"]) == (basic,)
    assert challenges([]) == ()
    assert bearer_error((bearer, basic), b"invalid_token") == (bearer + b', error="invalid_token"', basic)


@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION", b"AuthoriZation"])
def test_a_credential_is_kept_apart_from_what_is_forwarded(name: bytes) -> None:
    """With a cookie before or after it, too; and all of several."""
    for lines in (
        b"%b: Bearer x\r\nCookie: a=b\r\nX: y",
        b"X: y\r\nCookie: a=b\r\n%b:Bearer x ",
        b"Cookie: a=b\r\n%b:\tBearer x\r\nX: y",
    ):
        head = parse(lines % name)
        assert (head.credentials, head.lines, head.cookie_lines) == ((b"Bearer x",), [b"X: y"], (b"a=b",))
    head = parse(name + b": Bearer x\r\n" + name + b": Basic y")
    assert sorted(head.credentials) == [b"Basic y", b"Bearer x"]


def test_a_step_up_is_told_in_the_bearer_challenge_alone() -> None:
    """RFC 9470 §3."""
    lines = challenges(["basic", "ci"])
    error = b'WWW-Authenticate: Bearer realm="gateway", error="insufficient_user_authentication"'
    strong, fresh = StepUp("a", ("urn:a", "b")), StepUp("a", max_age=90.5)
    assert step_up_error(lines, strong) == (error + b', acr_values="urn:a b"',)
    assert step_up_error(lines, fresh) == (error + b', max_age="90"',)
    assert step_up_error(challenges(["basic"]), fresh) == ()


@pytest.mark.parametrize("name", [b"X-Authorization", b"Proxy-Authorization", b"Authorization-X", b"Authorisation"])
def test_other_names_are_no_credentials(name: bytes) -> None:
    assert parse(name + b": Bearer x").credentials == ()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Authorization: Bearer x\0", 400),
        (b"Authorization: Bearer x\ry", 400),
        (b"Authorization: Bearer x\ny", 400),
        (b"Authorization: Bearer x\r\n y", 400),
        (b"Authorization : Bearer x", 400),
        (b"Authorization: " + b"x" * 9000, 431),
        (b"AUTHORIZATION: " + b"x" * 9000, 431),
        (b"\r\n".join([b"Authorization: x"] * 100), 431),
        (b"\r\n".join([b"Authorization: x"] * 1800), 431),
    ],
)
def test_what_is_no_header_line_is_refused(lines: bytes, status: int) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(lines)
    assert caught.value.status == status


@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION", b"AuthoriZation"])
def test_no_credential_stays_in_the_parsers_memory(name: bytes) -> None:
    """Neither as a line nor in a block of lines."""
    parser = RequestParser(Limits(), frozenset())
    for _ in range(2):
        head = parser.parse(b"GET / HTTP/1.1\r\nHost: a\r\n" + name + b": Bearer hunter2\r\nX: y")
        assert head.credentials == (b"Bearer hunter2",)
    kept = [*parser._blocks, *parser._lines]
    assert kept
    assert not [entry for entry in kept if b"hunter2" in entry]
