"""What can go wrong: the token, or getting the keys to check it."""

from __future__ import annotations


class NotVerified(Exception):
    """The token is not good; nobody is to be let in for it. The text is for logs."""


class KeysUnavailable(Exception):
    """The gateway's keys cannot be had, so nothing is known about the token; try again later."""
