"""When a request may be sent a second time (RFC 9110 §9.2.2)."""

from __future__ import annotations

from typing import Final

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def may_replay(method: str, *, has_body: bool) -> bool:
    """Tell whether a request that may have reached a dead connection can be sent once more.

    A proxy must not repeat what is not idempotent, and a body that was streamed is gone.
    """
    return method in SAFE_METHODS and not has_body
