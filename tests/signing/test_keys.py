"""Signing keys: each is published before it signs, and until the last token of it has run out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gateway_verify import NotVerified
from gateway_verify.keys import read_key_set
from gateway_verify.token import Expected, Token, check

from gateway.core.token_policy import ALGORITHMS, TokenPolicy
from gateway.signing.keys import (
    LEEWAY,
    Keys,
    SigningKey,
    advance,
    current_key,
    make_signer,
    new_private,
    public_jwk,
    thumbprint,
)

DAY = 86400.0
POLICY = TokenPolicy("X-Identity-Token", "ES256", lifetime=300.0, rotate=30 * DAY)
NOW = 1_800_000_000.0
STEP = 60.0


def first(policy: TokenPolicy = POLICY) -> Keys:
    return advance((), policy, NOW)


def test_the_first_key_signs_at_once() -> None:
    keys = first()
    assert [key.signs for key in keys] == [NOW]
    assert current_key(keys, "ES256", NOW) is keys[0]


def test_nothing_changes_until_a_key_is_due() -> None:
    keys = first()
    assert advance(keys, POLICY, NOW + 30 * DAY - POLICY.ahead() - 1) == keys


@pytest.mark.parametrize("rotate", [30 * DAY, 600.0])
def test_a_key_is_published_before_it_signs_and_until_its_last_token_is_over(rotate: float) -> None:
    """Over many rotations, looked at each minute: whatever signs was published for a cache's life, and stays."""
    policy = replace(POLICY, rotate=rotate)
    step = min(STEP, policy.cache_time() / 2) if rotate < DAY else 3600.0
    keys = first(policy)
    seen = {keys[0].kid: NOW - policy.ahead()}
    last_token: dict[str, float] = {}
    now = NOW
    for _ in range(int(3.5 * rotate / step)):
        now += step
        keys = advance(keys, policy, now)
        for key in keys:
            seen.setdefault(key.kid, now)
        signer = current_key(keys, "ES256", now)
        assert now - seen[signer.kid] >= policy.cache_time()
        last_token[signer.kid] = now + policy.lifetime
        published = {key.kid for key in keys}
        assert all(kid in published for kid, end in last_token.items() if end > now)
        assert len(keys) <= 3
    assert len(last_token) >= 3
    assert len({key.kid for key in keys} & set(last_token)) < len(last_token), "old keys go in the end"


def test_a_gateway_that_was_off_for_long_begins_anew() -> None:
    keys = advance(first(), POLICY, NOW + 90 * DAY)
    assert [key.signs for key in keys] == [NOW + 90 * DAY]


def test_a_key_that_is_overdue_signs_until_the_next_one_has_been_published() -> None:
    late = NOW + 30 * DAY + 10
    old, new = advance(first(), POLICY, late)
    assert new.signs == late + POLICY.ahead()
    assert current_key((old, new), "ES256", new.signs - 1) == old
    assert not old.is_over(new.signs + POLICY.lifetime)
    assert current_key((old, new), "ES256", new.signs) == new


def test_another_algorithm_begins_when_its_key_has_been_published() -> None:
    other = replace(POLICY, algorithm="EdDSA")
    keys = advance(first(), other, NOW + 5)
    assert [key.algorithm for key in keys] == ["ES256", "EdDSA"]
    assert current_key(keys, "EdDSA", NOW + 6).algorithm == "ES256"
    assert current_key(keys, "EdDSA", NOW + 5 + other.ahead()).algorithm == "EdDSA"
    assert advance(keys, other, NOW + 60) == keys


def test_two_hosts_with_different_algorithms_do_not_pile_up_keys() -> None:
    keys = first()
    for number in range(50):
        keys = advance(keys, replace(POLICY, algorithm=ALGORITHMS[number % 2]), NOW + number)
    assert len(keys) == 2


def test_a_longer_life_of_tokens_keeps_the_key_that_signs_them() -> None:
    keys = advance(first(), replace(POLICY, lifetime=3600.0), NOW + 10)
    assert keys[0].lifetime == 3600.0
    assert advance(keys, POLICY, NOW + 20) == keys, "and a shorter one does not shorten it"


@pytest.mark.parametrize("jump", [-400 * DAY, -DAY, -3600.0])
def test_a_clock_that_is_set_back_finds_a_key_and_makes_none(jump: float) -> None:
    keys = first()
    assert advance(keys, POLICY, NOW + jump) == keys
    assert current_key(keys, "ES256", NOW + jump) == keys[0]


def test_a_key_is_over_when_its_last_token_is() -> None:
    key = SigningKey("k", "ES256", b"", signs=0.0, ends=100.0, lifetime=10.0)
    assert not key.is_over(110 + LEEWAY - 1)
    assert key.is_over(110 + LEEWAY)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_signed_is_verified_with_the_published_key_alone(algorithm: str) -> None:
    private, other = new_private(algorithm), new_private(algorithm)
    key = SigningKey(thumbprint(private), algorithm, private, 0.0, 1.0, 1.0)
    public = read_key_set(b'{"keys": [%s]}' % str(public_jwk(key)).replace("'", '"').encode())[key.kid]
    for _ in range(20):  # r and s are now and then shorter than 32 bytes
        signature = make_signer(private)(b"head.claims")
        assert len(signature) == 64
        token = Token(algorithm, key.kid, b"head.claims", signature, b'{"iss": 1}')
        with pytest.raises(NotVerified, match="issuer"):
            check(token, public, Expected("i", "a", 0.0), 0.0)
    forged = Token(algorithm, key.kid, b"head.claims", make_signer(other)(b"head.claims"), b"{}")
    with pytest.raises(NotVerified, match="not signed"):
        check(forged, public, Expected("i", "a", 0.0), 0.0)


def test_a_thumbprint_is_that_of_the_rfc() -> None:
    """RFC 8037 appendix A.3 names the thumbprint of the key of appendix A.1."""
    from base64 import urlsafe_b64decode

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    raw = urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    private = Ed25519PrivateKey.from_private_bytes(raw).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert thumbprint(private) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_private_key_is_in_no_text_of_a_key() -> None:
    key = first()[0]
    assert "private" not in repr(key)
    assert set(public_jwk(key)) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
