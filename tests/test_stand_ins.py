"""The servers that tests run in place of others leave nothing behind that would fail another test."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.github import FakeGithub
from tests.support.ports import HOST, free_port
from tests.support.provider import FakeProvider
from tests.support.upstream import RecorderUpstream

COUNT = 300


class Listening(Protocol):
    """What listens on a port of loopback."""

    port: int


STAND_INS: dict[str, Callable[[], AbstractContextManager[Listening]]] = {
    "upstream": RecorderUpstream,
    "provider": FakeProvider,
    "GitHub": FakeGithub,
    "proxy": lambda: FaultProxy(free_port()),
}


@pytest.mark.parametrize("name", STAND_INS)
def test_connections_that_come_in_while_it_ends_are_closed(name: str) -> None:
    """One that is accepted and then forgotten is a warning whenever it is collected: the failure of any test."""
    with ExitStack() as clients, STAND_INS[name]() as server:
        for _ in range(COUNT):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((HOST, server.port))
    gc.collect()
