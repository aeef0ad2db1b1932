"""How the gateway checks whom it connects to by TLS: apps, identity providers, Redis.

Python's own defaults change: 3.13 refuses certificates that 3.11 takes, as those of a private authority without an
Authority Key Identifier, and takes an intermediate for an anchor, which 3.11 does not. Here they are the same on
every Python.
"""

from __future__ import annotations

import ssl
from typing import Final

VERIFY_FLAGS: Final = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
"""What is in the file of authorities is trusted as it stands there, an intermediate too, as by Go and by browsers.

Without ``VERIFY_X509_STRICT``, which demands extensions that many private authorities leave out, and that no attacker
is kept away by: signatures, names, times and what an authority may sign are checked in any case.
"""


def client_context(authorities: str | None = None) -> ssl.SSLContext:
    """Return a context that verifies chain and name of the server, TLS 1.2 or newer.

    ``authorities`` is a PEM file to trust in place of the system's. Raises OSError or ssl.SSLError for an unusable one.
    """
    context = ssl.create_default_context(cafile=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = VERIFY_FLAGS
    return context
