"""The memory of credentials: whoever verifies them is asked once, and forgets when told."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.identity import Identity
from gateway.core.programs import Credential, Refused, Verdict, Verified
from gateway.errors import RequestError
from gateway.proxy import credentials as module
from gateway.proxy.credentials import Accepts, Credentials, NotProved, Presented, wanted
from gateway.wire.head import RequestHead
from tests.proxy.loopback import until

NOW = 1_800_000_000.0
KEY = bytes(32)


class Judge:
    """Verifies as the test says, and counts."""

    def __init__(self) -> None:
        self.asked: list[Credential] = []
        self.says: Verdict = Verified(Identity("alice"), "ci", NOW, NOW + 60)
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, credential: Credential) -> Verdict:
        self.asked.append(credential)
        says = self.says
        await self.go.wait()
        return says


def head(*values: bytes, **fields: str) -> RequestHead:
    found = RequestHead()
    found.method = "GET"
    found.credentials = values
    found.lines = [f"{name.replace('_', '-')}: {value}".encode() for name, value in fields.items()]
    return found


def presented(memory: Credentials, value: bytes, accepts: Accepts | None = None) -> Presented:
    found = memory.presented(accepts or Accepts("app", ("ci", "basic"), keeps=False), head(value))
    assert found is not None
    return found


async def test_one_question_for_many_requests() -> None:
    """At once and one after the other; the answer holds until it is over."""
    judge = Judge()
    memory = Credentials(judge, KEY, 10)
    shown = presented(memory, b"Bearer x")
    assert memory.peek(shown, NOW) is None
    judge.go.clear()
    waiting = [asyncio.create_task(memory.prove(presented(memory, b"bearer  x"), NOW)) for _ in range(10)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    judge.go.set()
    opened = await asyncio.gather(*waiting[1:])
    assert len(judge.asked) == 1
    assert {id(one) for one in opened} == {id(memory.peek(shown, NOW + 59))}
    assert memory.peek(shown, NOW + 60) is None
    assert opened[0].session.user == "alice"
    assert opened[0].renew_at == float("inf")


async def test_an_answer_is_for_one_route_one_scheme_and_one_set_of_sources() -> None:
    judge = Judge()
    memory = Credentials(judge, KEY, 10)
    await memory.prove(presented(memory, b"Bearer x"), NOW)
    for other in (
        presented(memory, b"Basic x"),
        presented(memory, b"Bearer y"),
        presented(memory, b"Bearer x", Accepts("other", ("ci", "basic"), keeps=False)),
        presented(memory, b"Bearer x", Accepts("app", ("other", "basic"), keeps=False)),
    ):
        assert memory.peek(other, NOW) is None
    assert judge.asked == [Credential("bearer", "x", ("ci", "basic"), "app")]


@pytest.mark.parametrize(("status", "asked"), [(401, 1), (403, 1), (429, 2), (503, 2)])
async def test_a_refusal_is_remembered_for_a_moment_unless_it_is_passing(status: int, asked: int) -> None:
    judge = Judge()
    judge.says = Refused(status, "x", at=NOW)
    memory = Credentials(judge, KEY, 10)
    for _ in range(2):
        with pytest.raises(NotProved) as caught:
            await memory.prove(presented(memory, b"Bearer x"), NOW)
        assert caught.value.refused.status == status
    assert len(judge.asked) == asked
    with pytest.raises(NotProved):
        await memory.prove(presented(memory, b"Bearer x"), NOW + module.REFUSED_TIME)
    assert len(judge.asked) == asked + 1


async def test_what_was_asked_before_all_was_forgotten_is_not_remembered() -> None:
    """Nor told to whoever comes afterwards."""
    judge = Judge()
    memory = Credentials(judge, KEY, 10)
    judge.go.clear()
    early = asyncio.create_task(memory.prove(presented(memory, b"Bearer x"), NOW))
    await until(lambda: judge.asked)
    memory.forget()
    judge.says = Refused(401, "x", at=NOW)
    late = asyncio.create_task(memory.prove(presented(memory, b"Bearer x"), NOW))
    await until(lambda: len(judge.asked) == 2)
    judge.go.set()
    assert (await early).session.user == "alice"
    with pytest.raises(NotProved):
        await late
    assert memory.peek(presented(memory, b"Bearer x"), NOW) is None


async def test_forgetting_ends_what_is_known_and_what_was_refused() -> None:
    judge = Judge()
    memory = Credentials(judge, KEY, 10)
    await memory.prove(presented(memory, b"Bearer x"), NOW)
    judge.says = Refused(401, "x", at=NOW)
    with pytest.raises(NotProved):
        await memory.prove(presented(memory, b"Bearer y"), NOW)
    memory.forget()
    assert memory.peek(presented(memory, b"Bearer x"), NOW) is None
    for value in (b"Bearer x", b"Bearer y"):
        with pytest.raises(NotProved):
            await memory.prove(presented(memory, value), NOW)
    assert len(judge.asked) == 4


async def test_the_memory_is_bounded_and_holds_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REFUSED", 5)
    judge = Judge()
    memory = Credentials(judge, KEY, 10)
    for number in range(100):
        await memory.prove(presented(memory, b"Bearer hunter%d" % number), NOW)
    judge.says = Refused(401, "x", at=NOW)
    for number in range(100):
        with pytest.raises(NotProved):
            await memory.prove(presented(memory, b"Bearer other%d" % number), NOW)
    assert len(memory) <= 20
    assert len(memory._refused) <= 5
    assert "hunter" not in repr(vars(memory._known))
    assert memory.peek(presented(memory, b"Bearer hunter99"), NOW) is not None


async def test_too_many_questions_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """503: nothing is known about the credential; those who are known go on."""
    monkeypatch.setattr(module, "MAX_ASKED", 2)
    judge = Judge()
    memory = Credentials(judge, KEY, 10)
    await memory.prove(presented(memory, b"Bearer known"), NOW)
    judge.go.clear()
    waiting = [asyncio.create_task(memory.prove(presented(memory, b"Bearer %d" % n), NOW)) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(NotProved) as caught:
        await memory.prove(presented(memory, b"Bearer more"), NOW)
    assert caught.value.refused.status == 503
    assert memory.peek(presented(memory, b"Bearer known"), NOW) is not None
    judge.go.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("value", [b"Bearer", b"Bearer a,b", b"Bearer a b", b"Basic =", b"Bearer \xe4"])
async def test_what_is_no_single_token_is_refused_without_a_question(value: bytes) -> None:
    judge = Judge()
    memory = Credentials(judge, KEY, 10)
    with pytest.raises(NotProved) as caught:
        await memory.prove(presented(memory, value), NOW)
    assert caught.value.refused.status == 401
    assert judge.asked == []


def test_which_credentials_are_ours() -> None:
    memory = Credentials(Judge(), KEY, 10)
    keys, tokens = Accepts("a", ("api-key",), keeps=False), Accepts("a", ("ci",), keeps=False)
    for accepts, ours, others in (
        (keys, [b"Bearer gwk_x", b"BEARER gwk_"], [b"Bearer x", b"Bearer", b"Basic x", b"Bearer GWK_x", b"x"]),
        (tokens, [b"Bearer x", b"Bearer", b"Bearer gwk_x"], [b"Basic x", b"BearerX x", b"Bearer: x", b""]),
    ):
        assert all(memory.presented(accepts, head(value)) for value in ours)
        assert not any(memory.presented(accepts, head(value)) for value in others)


def test_two_credentials_are_none_that_anybody_can_know() -> None:
    memory = Credentials(Judge(), KEY, 10)
    with pytest.raises(RequestError) as caught:
        memory.presented(Accepts("a", ("ci",), keeps=False), head(b"Digest x", b"Bearer x"))
    assert caught.value.status == 400


def test_a_password_with_another_sites_request_is_refused() -> None:
    memory = Credentials(Judge(), KEY, 10)
    accepts = Accepts("a", ("basic", "ci"), keeps=False)
    for site in ("cross-site", "same-site"):
        with pytest.raises(RequestError):
            memory.presented(accepts, head(b"Basic x", sec_fetch_site=site, sec_fetch_mode="cors"))
        assert memory.presented(accepts, head(b"Basic x", sec_fetch_site=site, sec_fetch_mode="navigate"))
        assert memory.presented(accepts, head(b"Bearer x", sec_fetch_site=site, sec_fetch_mode="cors"))
    assert memory.presented(accepts, head(b"Basic x", sec_fetch_site="same-origin", sec_fetch_mode="cors"))


def test_what_a_route_wants() -> None:
    assert wanted((), "a", ()) is None
    assert [
        found and found.keeps for found in (wanted(("ci",), "a", ()), wanted(("ci",), "a", ("authorization",)))
    ] == [
        False,
        True,
    ]
