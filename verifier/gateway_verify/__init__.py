"""Check the signed identity that a session gateway sends to the apps behind it."""

from gateway_verify.errors import KeysUnavailable, NotVerified
from gateway_verify.token import Identity
from gateway_verify.verifier import Verifier

__all__ = ["Identity", "KeysUnavailable", "NotVerified", "Verifier"]
