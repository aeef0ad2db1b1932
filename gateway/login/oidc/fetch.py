"""HTTP towards identity providers, with everything explicit that aiohttp's client leaves open.

No redirects, no kept connections (what arrives on an idle one would be the next answer), no cookies, no
proxies from the environment, no compression, bounded time and size, and JSON only where JSON was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import hdrs

from gateway.errors import ProviderDown
from gateway.tls import client_context

TOTAL_SECONDS = 4.0
MAX_BYTES = 1024 * 1024
MAX_CONNECTIONS = 64
USER_AGENT = "session-gateway"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Reply:
    """A provider's answer: its status, and what its JSON says."""

    status: int
    data: object

    def fields(self) -> dict[str, object]:
        """Return the members of an object. Raises ProviderDown for anything else."""
        if not isinstance(self.data, dict):
            raise ProviderDown("answered with JSON that is not an object")
        return self.data


class ProviderHttp:
    """The connections to one provider. Every failure of theirs is a ProviderDown."""

    def __init__(self, ca: str = "", *, seconds: float = TOTAL_SECONDS, max_bytes: int = MAX_BYTES) -> None:
        """Prepare; ``ca`` is a PEM file of authorities. Raises OSError or ssl.SSLError if it cannot be used."""
        self._tls = client_context(ca)
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask for JSON."""
        return await self._send("GET", url, headers or {}, None)

    async def post_form(self, url: str, form: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Send an encoded form, and take JSON for an answer."""
        return await self._send("POST", url, {**(headers or {}), hdrs.CONTENT_TYPE: _FORM}, form.encode("ascii"))

    async def tell_form(self, url: str, form: str, headers: Mapping[str, str] | None = None) -> int:
        """Send an encoded form; return the status of the answer, whose body matters not (RFC 7009 §2.2)."""
        headers = {**(headers or {}), hdrs.CONTENT_TYPE: _FORM}
        return (await self._send("POST", url, headers, form.encode("ascii"), wanted=False)).status

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ProviderDown("the gateway is stopping", 503)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, force_close=True, limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._seconds),
                headers={
                    hdrs.ACCEPT: "application/json",
                    hdrs.ACCEPT_ENCODING: "identity",
                    hdrs.USER_AGENT: USER_AGENT,
                },
                trust_env=False,
                auto_decompress=False,
                raise_for_status=False,
            )
        return self._session

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, wanted: bool = True
    ) -> Reply:
        place = url.partition("?")[0]
        try:
            async with self._client().request(
                method, url, headers=headers, data=body, allow_redirects=False, max_redirects=0
            ) as response:
                if not wanted:
                    return Reply(response.status, None)
                return Reply(response.status, _parsed(await self._read(response, place), place))
        except TimeoutError:
            raise ProviderDown(f"{place} did not answer within {self._seconds} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderDown(f"{place} failed: {type(error).__name__}: {error}"[:300]) from error

    async def _read(self, response: aiohttp.ClientResponse, place: str) -> bytes:
        if 300 <= response.status < 400:
            raise ProviderDown(f"{place} answered with a redirect ({response.status}), which is not followed")
        if response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise ProviderDown(f"{place} answered with a compressed body, which was not asked for")
        if not _is_json(response.headers.get(hdrs.CONTENT_TYPE, "")):
            raise ProviderDown(f"{place} answered {response.status} with something that is not JSON")
        if (response.content_length or 0) > self._max_bytes:
            raise ProviderDown(f"{place} answered with more than {self._max_bytes} bytes")
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > self._max_bytes:
                raise ProviderDown(f"{place} answered with more than {self._max_bytes} bytes")
        return bytes(body)


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _parsed(body: bytes, place: str) -> object:
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ProviderDown(f"{place} answered with broken JSON") from None
