"""The verifier: it takes what the gateway signs for this app, and nothing else; keys are fetched seldom."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from gateway_verify import KeysUnavailable, NotVerified, Verifier
from gateway_verify.keys import LONGEST_STALE, MAX_BYTES
from gateway_verify.token import MAX_TOKEN

from tests.verifier.issuer import AUDIENCE, CLAIMS, ISSUER, NOW, Issuer, KeyPage, b64, encoded, page_of


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["ES256", "EdDSA"])
def issuer(request: pytest.FixtureRequest) -> Issuer:
    return Issuer(request.param)


@pytest.fixture
def page(issuer: Issuer) -> Iterator[KeyPage]:
    with KeyPage(page_of(issuer)) as page:
        yield page


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(page: KeyPage, clock: Clock) -> Verifier:
    return make_verifier(page.url, clock)


def make_verifier(url: str, clock: Clock) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, jwks_url=url, cool_down=10, clock=lambda: NOW + clock.now, monotonic=clock)


def test_a_token_of_the_gateway_is_taken(issuer: Issuer, page: KeyPage, verifier: Verifier) -> None:
    identity = verifier.verify(issuer.token())
    assert (identity.user, identity.name, identity.email) == ("alice", "Alice", "alice@example.com")
    assert identity.groups == ("staff",)
    assert (identity.issued, identity.expires) == (NOW, NOW + 300)
    assert page.hosts == ["gateway.example.com"], "under the name that the gateway serves"


def public_bytes(issuer: Issuer) -> bytes:
    key = load_der_private_key(issuer.keys[0].private, None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def with_hmac_of_the_public_key(issuer: Issuer) -> str:
    text = f"{encoded(issuer.header(alg='HS256'))}.{encoded(CLAIMS)}"
    return f"{text}.{b64(hmac.digest(public_bytes(issuer), text.encode(), hashlib.sha256))}"


def tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.with_claims().split(".")
    return f"{head}.{encoded({**CLAIMS, 'sub': 'admin'})}.{signature}"


def with_another_algorithm_than_its_key(issuer: Issuer) -> str:
    other = "EdDSA" if issuer.policy.algorithm == "ES256" else "ES256"
    return issuer.signed(issuer.header(alg=other), CLAIMS)


def signed_by_somebody_else(issuer: Issuer) -> str:
    other = Issuer(issuer.policy.algorithm)
    return other.signed(issuer.header(), CLAIMS)


def spelt_in_another_way(issuer: Issuer) -> str:
    """The last character of base64 has bits that mean nothing; only one spelling of them is right."""
    token = issuer.with_claims()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


REFUSED: dict[str, Callable[[Issuer], str]] = {
    "nothing": lambda _: "",
    "two parts": lambda i: i.token().rpartition(".")[0],
    "four parts": lambda i: i.token() + ".",
    "two tokens": lambda i: f"{i.token()}, {i.token()}",
    "padding": lambda i: i.token() + "==",
    "a space": lambda i: " " + i.token(),
    "another spelling": spelt_in_another_way,
    "no ASCII": lambda i: i.token() + "é",
    "far too long": lambda i: i.with_claims(note="x" * MAX_TOKEN),
    "alg none": lambda i: f"{encoded(i.header(alg='none'))}.{encoded(CLAIMS)}.",
    "alg None": lambda i: f"{encoded(i.header(alg=None))}.{encoded(CLAIMS)}.",
    "hmac of the public key": with_hmac_of_the_public_key,
    "another algorithm than its key": with_another_algorithm_than_its_key,
    "no signature": lambda i: i.token().rpartition(".")[0] + ".",
    "a signature of zeros": lambda i: i.token().rpartition(".")[0] + "." + b64(bytes(64)),
    "tampered": tampered,
    "signed by somebody else": signed_by_somebody_else,
    "a key nobody has": lambda i: i.signed(i.header(kid="other"), CLAIMS),
    "a key that is no text": lambda i: i.signed(i.header(kid=7), CLAIMS),
    "a key of its own": lambda i: i.signed(i.header(jwk={"kty": "OKP"}), CLAIMS),
    "extensions": lambda i: i.signed(i.header(crit=["exp"]), CLAIMS),
    "another type": lambda i: i.signed(i.header(typ="logout+jwt"), CLAIMS),
    "a header that is a list": lambda i: i.signed([i.header()], CLAIMS),
    "claims that are a list": lambda i: i.signed(i.header(), [CLAIMS]),
    "claims that are no JSON": lambda i: i.signed(i.header(), b"{'iss': 1}"),
    "claims that are too deep": lambda i: i.signed(i.header(), b"[" * 10000),
    "a claim twice": lambda i: i.signed(i.header(), b'{"aud": "shop", "aud": "wiki"}'),
    "another issuer": lambda i: i.with_claims(iss="https://gateway.example.com.evil.example"),
    "no issuer": lambda i: i.with_claims(iss=None),
    "another audience": lambda i: i.token("shop"),
    "several audiences": lambda i: i.with_claims(aud=["wiki"]),
    "no audience": lambda i: i.with_claims(aud=None),
    "run out": lambda i: i.with_claims(exp=int(NOW) - 31),
    "no end": lambda i: i.with_claims(exp=None),
    "an end that is text": lambda i: i.with_claims(exp="2100000000"),
    "an end that is true": lambda i: i.with_claims(exp=True),
    "an end that is endless": lambda i: i.with_claims(exp=float("inf")),
    "from the future": lambda i: i.with_claims(iat=int(NOW) + 31),
    "no beginning": lambda i: i.with_claims(iat=None),
    "not before later": lambda i: i.with_claims(nbf=int(NOW) + 31),
    "no user": lambda i: i.with_claims(sub=None),
    "an empty user": lambda i: i.with_claims(sub=""),
    "a user that is a list": lambda i: i.with_claims(sub=["alice"]),
    "groups that are text": lambda i: i.with_claims(groups="admins"),
    "groups that are numbers": lambda i: i.with_claims(groups=[1]),
    "a name that is none": lambda i: i.with_claims(name={"a": 1}),
}


@pytest.mark.parametrize("forge", REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused(issuer: Issuer, verifier: Verifier, forge: Callable[[Issuer], str]) -> None:
    assert verifier.verify(issuer.with_claims()).user == "alice", "the good one, from which it differs"
    with pytest.raises(NotVerified):
        verifier.verify(forge(issuer))


def test_clocks_may_differ_a_little(issuer: Issuer, verifier: Verifier) -> None:
    for token in (issuer.with_claims(exp=int(NOW) - 29), issuer.with_claims(iat=int(NOW) + 29)):
        assert verifier.verify(token).user == "alice"


# Keys


def test_keys_are_fetched_once_and_again_when_the_page_is_no_longer_fresh(
    issuer: Issuer, page: KeyPage, verifier: Verifier, clock: Clock
) -> None:
    for _ in range(5):
        verifier.verify(issuer.token())
    assert len(page.hosts) == 1
    clock.now = 101
    verifier.verify(issuer.token())
    assert len(page.hosts) == 2


def test_an_unknown_key_is_asked_for_once_per_cool_down(
    issuer: Issuer, page: KeyPage, verifier: Verifier, clock: Clock
) -> None:
    """A thousand made-up names cost one fetch; and the next real key is found."""
    verifier.verify(issuer.token())
    clock.now = 11
    for number in range(1000):
        with pytest.raises(NotVerified):
            verifier.verify(issuer.signed(issuer.header(kid=f"made-up-{number}"), CLAIMS))
    assert len(page.hosts) == 2
    assert verifier.verify(issuer.token()).user == "alice"
    new = Issuer(issuer.policy.algorithm)
    page.body = page_of(new)
    with pytest.raises(NotVerified):
        verifier.verify(new.token())
    clock.now = 22
    assert verifier.verify(new.token()).user == "alice"
    with pytest.raises(NotVerified):
        verifier.verify(issuer.token())


FAULTS: dict[str, Callable[[KeyPage], None]] = {
    "an error": lambda page: setattr(page, "status", 503),
    "no JSON": lambda page: setattr(page, "body", b"<html>"),
    "another JSON": lambda page: setattr(page, "body", b'{"keys": {}}'),
    "a broken key": lambda page: setattr(
        page, "body", b'{"keys": [{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"a","x":"AQ","y":"AQ"}]}'
    ),
    "too much": lambda page: setattr(page, "body", b'{"keys": []}' + b" " * MAX_BYTES),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_without_keys_nothing_is_known(
    issuer: Issuer, page: KeyPage, verifier: Verifier, clock: Clock, fault: Callable[[KeyPage], None]
) -> None:
    good = page.body
    fault(page)
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            verifier.verify(issuer.token())
    assert len(page.hosts) == 1, "a page that fails is left alone for a while too"
    page.status, page.body = 200, good
    clock.now = 10
    assert verifier.verify(issuer.token()).user == "alice"


def test_a_redirect_is_not_followed(issuer: Issuer, page: KeyPage, clock: Clock) -> None:
    with KeyPage(b"") as other:
        other.status = 302
        other.headers["Location"] = page.url
        with pytest.raises(KeysUnavailable):
            make_verifier(other.url, clock).verify(issuer.token())
    assert page.hosts == []


def test_known_keys_go_on_while_the_page_fails_but_not_for_ever(
    issuer: Issuer, page: KeyPage, verifier: Verifier, clock: Clock
) -> None:
    token = issuer.with_claims(exp=int(NOW + 2 * LONGEST_STALE))
    verifier.verify(token)
    page.status = 503
    clock.now = 99 + LONGEST_STALE
    assert verifier.verify(token).user == "alice"
    clock.now = 101 + LONGEST_STALE
    with pytest.raises(KeysUnavailable):
        verifier.verify(token)


def test_many_threads_fetch_once(issuer: Issuer, page: KeyPage, verifier: Verifier) -> None:
    page.gate.clear()
    users: list[str] = []
    threads = [threading.Thread(target=lambda: users.append(verifier.verify(issuer.token()).user)) for _ in range(8)]
    for thread in threads:
        thread.start()
    page.gate.set()
    for thread in threads:
        thread.join()
    assert users == ["alice"] * 8
    assert len(page.hosts) == 1


async def test_an_event_loop_goes_on_while_keys_are_fetched(issuer: Issuer, page: KeyPage, verifier: Verifier) -> None:
    page.gate.clear()
    task = asyncio.create_task(verifier.verify_async(issuer.token()))
    for _ in range(10):
        await asyncio.sleep(0.01)
    assert not task.done()
    page.gate.set()
    assert (await task).user == "alice"
    assert (await verifier.verify_async(issuer.token())).user == "alice"
    assert len(page.hosts) == 1


@pytest.mark.parametrize(
    ("issuer_url", "audience", "url"), [("", "wiki", ""), (ISSUER, "", ""), (ISSUER, "wiki", "file:///etc/passwd")]
)
def test_what_would_check_nothing_is_refused(issuer_url: str, audience: str, url: str) -> None:
    with pytest.raises(ValueError, match=r"issuer|http"):
        Verifier(issuer_url, audience, jwks_url=url)
