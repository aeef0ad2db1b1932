"""A real nginx with TLS in front: what the gateway believes of it, and nginx asking by auth_request."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.nginx import Nginx
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB, User
from tests.support.visitor import PAGE, PROGRAM, Visitor
from tests.support.waiting import PATIENCE

CLIENT = "127.0.0.9"

SERVER = """
        location / {{
            proxy_pass http://127.0.0.1:{gateway};
            proxy_http_version 1.1;
            proxy_set_header Host $host:$server_port;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host:$server_port;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
        location /guarded/ {{
            auth_request /ask-the-gateway;
            auth_request_set $user $upstream_http_x_forwarded_user;
            auth_request_set $groups $upstream_http_x_forwarded_groups;
            auth_request_set $login $upstream_http_location;
            error_page 401 = @login;
            proxy_pass http://127.0.0.1:{app};
            proxy_set_header X-Forwarded-User $user;
            proxy_set_header X-Forwarded-Groups $groups;
        }}
        location @login {{
            return 302 $login;
        }}
        location = /ask-the-gateway {{
            internal;
            proxy_pass http://127.0.0.1:{gateway}/_gateway/verify;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Host $host:$server_port;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Method $request_method;
            proxy_set_header X-Forwarded-Host $host:$server_port;
            proxy_set_header X-Forwarded-Uri $request_uri;
        }}
"""


@dataclass
class Site:
    """nginx, the gateway behind it, and the app behind that."""

    nginx: Nginx
    gateway: GatewayProcess
    app: RecorderUpstream
    tls: ssl.SSLContext

    def visitor(self) -> Visitor:
        """Return somebody at an address of their own, who comes by https through nginx."""
        return Visitor(self.nginx, host=f"localhost:{self.nginx.port}", source=CLIENT, tls=self.tls)

    def logged_in(self, user: User) -> Visitor:
        """Return the same, logged in."""
        visitor = self.visitor()
        visitor.login(user)
        return visitor


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with RecorderUpstream() as app:
        config = gateway_config(
            route("app", "/", app.url),
            route("guarded", "/guarded", app.url, allow={"groups": ["staff"]}),
            route("open", "/open", app.url, public=True),
            route("near", "/near", app.url, allow={"networks": [f"{CLIENT}/32"]}),
            route("far", "/far", app.url, allow={"networks": ["127.0.0.1/32"]}),
            route("ws", "/ws", app.url),
            public_url="https://localhost",
            trusted_proxies=["127.0.0.1/32"],
            forward_auth={"from": ["127.0.0.1/32"]},
        )
        with GatewayProcess(tmp_path_factory.mktemp("behind"), config) as gateway:
            server = SERVER.format(gateway=gateway.port, app=app.port)
            with Nginx(tmp_path_factory.mktemp("nginx"), server) as nginx:
                yield Site(nginx, gateway, app, nginx.client_tls())


def test_login_through_nginx(site: Site) -> None:
    """A login over https makes a Secure `__Host-` cookie, and the app learns who it is and by which scheme."""
    visitor = site.visitor()
    answer = visitor.login(ALICE)
    (name,) = visitor.session()
    assert name == "__Host-gateway_session"
    (line,) = [line for line in answer.get_all("Set-Cookie") if line.startswith(name)]
    assert "; Secure" in line
    assert "; HttpOnly" in line
    assert "Domain" not in line
    assert visitor.get("/x").status == 200
    request = site.app.last()
    assert request.get("X-Forwarded-User") == "alice"
    assert request.get("X-Forwarded-Proto") == "https"
    assert request.get("X-Forwarded-Host") == f"localhost:{site.nginx.port}"
    assert request.get("Cookie") is None


def test_client_address(site: Site) -> None:
    """The client is whom the trusted proxy names: for the app, the log and rules about networks."""
    visitor = site.logged_in(ALICE)
    assert visitor.get("/seen").status == 200
    chain = (site.app.last().get("X-Forwarded-For") or "").replace(" ", "").split(",")
    assert chain[0] == CLIENT
    assert site.gateway.wait_for_log(lambda found: found["path"] == "/seen")["client"] == CLIENT
    assert visitor.get("/near/x", PROGRAM).status == 200
    assert visitor.get("/far/x", PROGRAM).status == 403


@pytest.mark.parametrize("forged", ["127.0.0.1", "10.0.0.1, 127.0.0.1", "unknown", "10.0.0.1,,", "[::1]:80"])
def test_forged_chain(site: Site, forged: str) -> None:
    """What the client writes itself stands left in the chain, and is not believed."""
    visitor = site.logged_in(ALICE)
    assert visitor.get("/far/x", {**PROGRAM, "X-Forwarded-For": forged}).status == 403
    assert visitor.get("/near/x", {**PROGRAM, "X-Forwarded-For": forged}).status == 200
    assert (site.app.last().get("X-Forwarded-For") or "").split(",")[0] == CLIENT, "apps often take the leftmost"


def test_without_nginx_nobody_is_believed(site: Site) -> None:
    """Somebody who reaches the gateway past nginx is not believed: neither address nor scheme nor host."""
    direct = Visitor(site.gateway, host="localhost", source=CLIENT)
    headers = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    assert direct.get("/open/direct", {**PROGRAM, **headers}).status == 200
    request = site.app.last()
    assert request.get("X-Forwarded-For") == CLIENT
    assert request.get("X-Forwarded-Proto") == "http"
    assert request.get("X-Forwarded-Host") == "localhost"


def test_redirect_to_the_login_stays_on_https(site: Site) -> None:
    """Without a session a browser is led to the login of the same https site, and back."""
    visitor = site.visitor()
    answer = visitor.get("/deep/link?a=b", PAGE)
    assert answer.status == 302
    location = urlsplit(answer.get("Location") or "")
    assert location.path == "/_gateway/login"
    assert (location.scheme or "https", location.netloc or visitor.host) == ("https", visitor.host)
    assert visitor.login(ALICE, next_url="/deep/link?a=b").get("Location") == "/deep/link?a=b"


async def test_websocket_through_nginx(site: Site) -> None:
    """A WebSocket by wss through nginx works, and its Origin is that of the https site."""
    url = f"https://localhost:{site.nginx.port}"
    visitor = site.logged_in(ALICE)
    for origin, works in ((url, True), (f"http://localhost:{site.nginx.port}", False), ("https://evil.example", False)):
        headers = {"Cookie": visitor.cookie_header(), "Origin": origin}
        connector = aiohttp.TCPConnector(ssl=site.tls)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            if not works:
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(f"{url}/ws/echo")
                continue
            async with session.ws_connect(f"{url}/ws/echo") as ws:
                await ws.send_str("hello")
                assert await ws.receive_str(timeout=PATIENCE) == "hello"


def test_auth_request(site: Site) -> None:
    """nginx asks `/_gateway/verify` and passes the identity on to an app of its own."""
    alice = site.logged_in(ALICE)
    answer = alice.get("/guarded/x?y", {"X-Forwarded-User": "admin", **PROGRAM})
    assert answer.status == 200
    request = site.app.last()
    assert request.target == "/guarded/x?y"
    assert (request.get("X-Forwarded-User"), request.get("X-Forwarded-Groups")) == ("alice", "staff,wiki")


def test_auth_request_refuses(site: Site) -> None:
    """Without the right it is 403, without a session a way to the login and back; the app sees neither."""
    before = len(site.app.requests)
    assert site.logged_in(BOB).get("/guarded/x", PROGRAM).status == 403
    answer = site.visitor().get("/guarded/deep?a=b", PAGE)
    assert answer.status == 302
    location = urlsplit(answer.get("Location") or "")
    assert (location.scheme, location.netloc) == ("https", f"localhost:{site.nginx.port}")
    assert location.path == "/_gateway/login"
    assert "/guarded/deep?a=b" in parse_qs(location.query)["next"][0]
    assert len(site.app.requests) == before


@pytest.mark.parametrize(
    "target", ["/guarded/../app/x", "/guarded/%2e%2e/x", "/guarded/..%2fx", "/open/%2e%2e/guarded/x", "//guarded/x"]
)
def test_auth_request_with_odd_targets(site: Site, target: str) -> None:
    """A target that nginx and the gateway could read differently is let through to nobody without a session."""
    before = [request for request in site.app.requests if "guarded" in request.target]
    answer = site.visitor().request("GET", target, PROGRAM)
    assert answer.status >= 300
    assert [request for request in site.app.requests if "guarded" in request.target] == before


def test_logout_through_nginx(site: Site) -> None:
    """Logout clears the `__Host-` cookie with the attributes that removing it needs."""
    visitor = site.logged_in(ALICE)
    answer = visitor.logout()
    assert answer.status == 303
    (line,) = [line for line in answer.get_all("Set-Cookie") if line.startswith("__Host-gateway_session=;")]
    assert "; Secure" in line
    assert "; Path=/" in line
    assert visitor.get("/x", PROGRAM).status == 401
