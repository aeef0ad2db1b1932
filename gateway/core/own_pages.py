"""The paths of the gateway's own pages, as both planes know them."""

from __future__ import annotations

from typing import Final

from gateway.core.route import GATEWAY_PREFIX

PORTAL_PATH: Final = GATEWAY_PREFIX + "/"
LOGIN_PATH: Final = GATEWAY_PREFIX + "/login"
LOGOUT_PATH: Final = GATEWAY_PREFIX + "/logout"
SESSIONS_PATH: Final = GATEWAY_PREFIX + "/sessions"
VERIFY_PATH: Final = GATEWAY_PREFIX + "/verify"
OIDC_PATH: Final = GATEWAY_PREFIX + "/oidc"
BACKCHANNEL_LOGOUT: Final = "/backchannel-logout"
"""What the path ends with where a provider sends its logout tokens."""
FORM_BYTES: Final = 32 * 1024
"""Room for the longest password and ``next``, all of it percent-encoded."""
FORM_PATHS: Final = frozenset({LOGIN_PATH, LOGOUT_PATH, SESSIONS_PATH})


def takes_form(method: str, path: str) -> bool:
    """Tell whether the body of a request for one of the pages counts; the others answer by its head alone."""
    if method != "POST":
        return False
    return path in FORM_PATHS or (path.startswith(OIDC_PATH) and path.endswith(BACKCHANNEL_LOGOUT))
