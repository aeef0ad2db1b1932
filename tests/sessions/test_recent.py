"""The memory of opened sessions: bounded, and what is ended is out of it at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.identity import Identity
from gateway.core.session import Session, session_handle
from gateway.sessions.recent import RecentSessions
from gateway.sessions.store import Opened

USERS = ("alice", "bob")


def opened(number: int, token: str = "", created: float = 100.0) -> Opened:
    """Return an opened session; odd numbers are bob's."""
    session = Session(number.to_bytes(16, "big"), Identity(USERS[number % 2]), created, created, 1e9, None)
    return Opened(session, token or f"token-{number}", 1e9)


def handle(number: int) -> str:
    return session_handle(number.to_bytes(16, "big"))


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "put", "get", "get", "forget", "forget_user"]),
        st.integers(0, 7),
        st.integers(0, 2),
    ),
    max_size=60,
)


@given(OPERATIONS, st.integers(1, 9))
@settings(max_examples=250)
def test_it_remembers_nothing_wrong(operations: list[tuple[str, int, int]], capacity: int) -> None:
    """Whatever comes in whatever order: what is found was the last put, and nothing that was forgotten is found."""
    memory, model = RecentSessions(capacity), dict[str, Opened]()
    for operation, number, token in operations:
        name = f"{number}/{token}"
        if operation == "put":
            model[name] = opened(number, name)
            memory.put(model[name])
        elif operation == "get":
            assert memory.get(name) in (None, model.get(name))
        elif operation == "forget":
            model = {key: value for key, value in model.items() if value.session.handle != handle(number)}
            memory.forget(handle(number))
        else:
            model = {key: value for key, value in model.items() if value.session.identity.user != USERS[number % 2]}
            memory.forget_user(USERS[number % 2], 100.0)
        assert len(memory) <= 2 * capacity
        assert all(memory.get(f"{n}/{t}") in (None, model.get(f"{n}/{t}")) for n in range(8) for t in range(3))


def test_a_session_that_was_put_again_can_be_forgotten() -> None:
    """A token that lies in both generations is still one of its session's when the older entry goes."""
    memory = RecentSessions(2)
    memory.put(opened(1))
    for number in (2, 3):
        memory.put(opened(number))
    memory.put(opened(1))
    for number in (4, 5):
        memory.put(opened(number))
    memory.forget(handle(1))
    assert memory.get("token-1") is None


def test_it_is_bounded() -> None:
    """However many sessions come, it holds no more than twice its capacity, and nothing is left of the others."""
    memory = RecentSessions(100)
    for number in range(10_000):
        memory.put(opened(number))
        assert len(memory) <= 200
    assert memory.get("token-9999") is not None
    assert memory.get("token-5000") is None


def test_what_is_in_use_stays() -> None:
    """A session that is asked for now and then outlives any number of others."""
    memory = RecentSessions(100)
    memory.put(opened(1))
    for number in range(2, 5000):
        memory.put(opened(number))
        if number % 50 == 0:
            assert memory.get("token-1") is not None


def test_a_full_house_in_use_loses_nobody() -> None:
    """As many sessions as the capacity are all found, again and again."""
    memory = RecentSessions(100)
    for number in range(100):
        memory.put(opened(number))
    for _ in range(20):
        assert all(memory.get(f"token-{number}") for number in range(100))


def test_forgetting_reaches_who_still_holds_it() -> None:
    """Every token of an ended session goes, and an open connection that holds one sees that it is over."""
    memory = RecentSessions(100)
    held = [opened(1, f"t{index}") for index in range(30)]
    for one in held:
        memory.put(one)
    memory.put(opened(2))
    memory.forget(handle(1))
    assert [one.token for one in held if memory.get(one.token)] == []
    assert {one.until for one in held} == {0.0}
    assert memory.get("token-2") is not None
    memory.forget(handle(1))


def test_forgetting_a_user() -> None:
    """All of a user's sessions go that were created until then, and nobody else's."""
    memory = RecentSessions(100)
    for number, created in ((1, 100.0), (3, 200.0), (5, 200.1), (2, 100.0)):
        memory.put(opened(number, created=created))
    memory.forget_user("bob", 200.0)
    assert [number for number in (1, 2, 3, 5) if memory.get(f"token-{number}")] == [2, 5]
