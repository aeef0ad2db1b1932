"""What outlives a reload: counters, logs, the private folder, what the accounts were."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from gateway.control.metrics import CredentialCounts, LoginCounts
from gateway.control.once import MemoryOnce
from gateway.control.refresh_once import RefreshState
from gateway.core.metrics import Counters
from gateway.errors import ConfigError, Problem
from gateway.login.rights import RightsWatch
from gateway.logs import audit_writer, open_log
from gateway.proxy.record import LineWriter
from gateway.sessions.handovers import MemoryHandovers
from gateway.sessions.last_seen import LastSeenLedger
from gateway.sessions.steady_vault import Waiting
from gateway.settings.settings import Settings


class Shared:
    """What all generations of one running gateway share."""

    def __init__(self, settings: Settings) -> None:
        """Open it all. Raises ConfigError."""
        try:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            where = settings.where("state_dir")
            raise ConfigError([Problem(where, "state_dir", f"cannot be used: {error.strerror}")]) from error
        self.ended = Counters()
        """What data planes had counted that run no more."""
        self.logins = LoginCounts()
        self.credentials = CredentialCounts()
        self.rights = RightsWatch(settings.state_dir / "rights.json")
        self.draining = False
        self.handovers = MemoryHandovers()
        """Sessions on their way between hosts, where they are not in Redis."""
        self.logout_tokens = MemoryOnce()
        """Logout tokens that were used, where that is not in Redis."""
        self.refreshing = RefreshState(time.monotonic)
        self.waiting: dict[str, Waiting] = {}
        """Tokens that could not be written yet."""
        self._last_seen_file = settings.state_dir / "last-seen.json"
        self.last_seen = LastSeenLedger()
        """When sealed sessions were last used, where no cookie could tell."""
        self.last_seen.load(self._last_seen_file)
        self._audit_log: LineWriter | None = open_log(settings.log.audit)
        self._access_log: LineWriter | None = None
        self.audit = audit_writer(self._audit_log)
        self.private = Path(tempfile.mkdtemp(prefix="gateway-"))
        """For our own unix sockets; nobody else can enter it."""

    def access_log(self, settings: Settings) -> LineWriter | None:
        """Return the access log of data planes in this process, opened at first use. Raises ConfigError."""
        if self._access_log is None:
            self._access_log = open_log(settings.log.access)
        return self._access_log

    def close(self, idle: float) -> None:
        """Close it all; ``idle`` is for how long a session may go without a use, seconds."""
        self.last_seen.save(self._last_seen_file, time.time() - idle)
        for log in (self._access_log, self._audit_log):
            if log is not None:
                log.close()
        shutil.rmtree(self.private, ignore_errors=True)
