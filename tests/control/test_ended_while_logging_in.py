"""What ends sessions while a login is on its way ends that one too: what proved it may not hold any more."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.login.redirect import Proof
from gateway.login.throttle import Ticket
from tests.control.conftest import StartSite
from tests.control.harness import ControlSite
from tests.control.test_oidc_logout import start, tell
from tests.support.provider import FakeProvider
from tests.support.users import ALICE


async def test_what_ends_a_users_sessions_after_the_password_was_checked_ends_the_new_one(site: ControlSite) -> None:
    """Also where the login is not through yet: what was right before may not be any more."""
    throttle = site.parts.throttle
    succeeded = throttle.succeeded

    async def slowly(ticket: Ticket) -> None:
        site.clock.move(1.0)
        await site.store.revoke_user("alice", site.clock())
        site.clock.move(1.0)
        await succeeded(ticket)

    throttle.succeeded = slowly  # type: ignore[method-assign]  # the real one, held up
    browser = site.browser()
    assert (await browser.login(ALICE)).status == 503
    assert await browser.session() is None
    throttle.succeeded = succeeded  # type: ignore[method-assign]
    assert (await browser.login(ALICE)).status == 303


@pytest.mark.parametrize("sqlite", [True, False])
async def test_a_logout_token_ends_a_login_that_is_not_through_yet(
    start_site: StartSite, provider: FakeProvider, sqlite: bool
) -> None:
    """It may come before the answer that the login waits for (OpenID Connect Back-Channel Logout 1.0, 2.7)."""
    rig = await start(start_site, provider, sqlite=sqlite)
    login = rig.site.settings.providers["sso"]
    finish = login.finish

    async def slowly(*given: Any) -> Proof:
        proof = await finish(*given)
        rig.site.clock.move(0.2)
        assert (await tell(rig, provider.logout_token())).status == 200
        rig.site.clock.move(0.2)
        return proof

    login.finish = slowly  # type: ignore[method-assign, assignment]  # the real one, held up
    browser = rig.site.browser()
    await rig.login(browser)
    assert await browser.session() is None
