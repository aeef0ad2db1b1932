"""What every session store promises, as a suite that each store's tests derive from. Time is moved, never slept.

A store's own test file has a class that derives from `SessionStoreContract`, or from `RecordStoreContract`
where its tokens lead to records, and says how one is started on a world's lasting state; "restart" is then
a second one on the same state, with an empty memory, and "another" the store of another process.
"""

from __future__ import annotations

from tests.sessions.contract.cancelling import CancellingTests
from tests.sessions.contract.ending import EndingTests
from tests.sessions.contract.files import FileTests
from tests.sessions.contract.opening import OpeningTests
from tests.sessions.contract.records import RecordTests
from tests.sessions.contract.refreshed import RefreshedTests
from tests.sessions.contract.tokens import TokenTests
from tests.sessions.contract.world import ALICE, BOB, NEW_KEY, OLD_KEY, World, eventually, same, ways_to_end

__all__ = [
    "ALICE",
    "BOB",
    "NEW_KEY",
    "OLD_KEY",
    "FileTests",
    "RecordStoreContract",
    "SessionStoreContract",
    "World",
    "eventually",
    "same",
    "ways_to_end",
]


class SessionStoreContract(OpeningTests, EndingTests, RefreshedTests, CancellingTests, TokenTests):
    """The suite for every store."""


class RecordStoreContract(SessionStoreContract, RecordTests):
    """The suite for stores that keep records."""
