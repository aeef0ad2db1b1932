"""The control plane on a real server, and browsers that reach it as the data plane would let them."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from aiohttp import DummyCookieJar, hdrs
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from gateway.control.app import ControlParts, make_control_app
from gateway.control.facts import SESSION_HEADER, host_name
from gateway.control.jwks import JwkSet
from gateway.core.audit import AuditEvent
from gateway.core.cookie import CookiePolicy
from gateway.core.local_user import LocalUser
from gateway.core.policy import Allow, Rule
from gateway.core.route import Route, Router
from gateway.core.session import Lifetimes, Session
from gateway.core.upstream import UpstreamAddress
from gateway.errors import BadToken, ConfigError, Problem
from gateway.login.argon2 import CHEAPEST
from gateway.login.hash_pool import HashPool
from gateway.login.password import PasswordLogin
from gateway.login.redirect import RedirectLogin
from gateway.login.rights import RightsWatch
from gateway.login.throttle import MemoryThrottle
from gateway.sessions.cookie_store import CookieStore
from gateway.sessions.handovers import MemoryHandovers
from gateway.sessions.recent import RecentSessions
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.sqlite_store import SqliteStore
from gateway.sessions.sqlite_vault import SqliteTokenVault
from gateway.sessions.store import SessionStore
from gateway.wire.cookies import CookiePicker
from gateway.wire.serving import serving
from tests.support.users import EVERYBODY, User
from tests.support.visitor import PAGE, form_fields

HOST = "apps.example.com"
PUBLIC_URL = f"https://{HOST}"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Clock:
    """A clock that is moved by hand."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


def load_users(path: Path) -> dict[str, LocalUser]:
    """Read a users file, roughly."""
    try:
        entries = yaml.safe_load(path.read_text())["users"]
        return {
            name: LocalUser(
                user=name,
                password_hash=entry["password"],
                name=entry.get("name", ""),
                email=entry.get("email", ""),
                groups=tuple(entry.get("groups", ())),
                disabled=entry.get("disabled", False),
            )
            for name, entry in entries.items()
        }
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError([Problem(path.name, "users", f"cannot be understood: {error}")]) from error


def write_users(path: Path, users: Sequence[User] = EVERYBODY) -> None:
    entries = {user.user: user.entry() for user in users}
    path.write_text(yaml.safe_dump({"users": entries}, sort_keys=False))


def route(name: str, path: str, *, host: str = "", public: bool = False, title: str = "", **allow: Any) -> Route:
    rule = Rule(f"gateway.yaml:{name}", public=public, allow=Allow(**allow))
    return Route(name, (UpstreamAddress("127.0.0.1", 9),), rule, host=host, path=path, title=title)


ROUTES = (
    route("wiki", "/wiki", groups=frozenset({"staff"}), title="The wiki"),
    route("reports", "/reports", groups=frozenset({"admins"})),
    route("news", "/news", public=True),
    route("mail", "/", host="mail.example.com"),
    route("tenants", "/", host="*.tenants.example.com"),
)


@dataclass
class Settings:
    """What a test may want otherwise."""

    public_url: str = PUBLIC_URL
    routes: Sequence[Route] = ROUTES
    cookie: CookiePolicy = field(default_factory=CookiePolicy)
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    users: Sequence[User] = EVERYBODY
    pool: HashPool | None = None
    local_login: bool = True
    store: SessionStore | None = None
    providers: Mapping[str, RedirectLogin] = field(default_factory=dict)
    sqlite: bool = False
    """Whether sessions are in a file, and not in their cookies; for ``store`` None."""
    jwks: JwkSet | None = None


def make_store(directory: Path, settings: Settings, clock: Clock) -> SessionStore:
    """Return a store on a folder, as the program has it."""
    keys = KeyRing([b"k" * 32], random=secrets.token_bytes)
    recent, lifetimes = RecentSessions(1000), settings.lifetimes
    if settings.sqlite:
        return SqliteStore(directory / "sessions.sqlite", keys, recent, lifetimes, clock, secrets.token_bytes)
    ledger = Revocations(directory / "revocations.sqlite", 40 * 86400.0, clock())
    return CookieStore(keys, ledger, recent, lifetimes, clock)


def make_vault(directory: Path, clock: Clock) -> SqliteTokenVault:
    """Return where the tokens of logins are kept."""
    keys = KeyRing([b"k" * 32], random=secrets.token_bytes)
    return SqliteTokenVault(directory / "tokens.sqlite", keys, clock, secrets.token_bytes)


StartSite = Callable[["Settings"], Awaitable["ControlSite"]]


class ControlSite:
    """One control plane with its parts, which tests look into."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.ticks = Clock(1000.0)
        self.events: list[AuditEvent] = []
        self.users_file = directory / "users.yaml"
        write_users(self.users_file, settings.users)
        self.store: SessionStore = settings.store or make_store(directory, settings, self.clock)
        self.vault = make_vault(directory, self.clock)
        public_host = settings.public_url.partition("://")[2].partition(":")[0]
        self.login = PasswordLogin(
            self.users_file,
            load_users,
            rights=RightsWatch(None),
            end_sessions=self._end_sessions,
            audit=self.events.append,
            clock=self.clock,
            cost=CHEAPEST,
            pool=settings.pool,
        )
        router = Router(settings.routes, public_host)
        self.parts = ControlParts(
            store=self.store,
            session_cookie=settings.cookie,
            lifetimes=settings.lifetimes,
            router=router,
            public_url=settings.public_url,
            login=self.login if settings.local_login else None,
            throttle=MemoryThrottle(self.ticks),
            audit=self.events.append,
            csrf_keys=(b"c" * 32,),
            serves=serving(router),
            providers=settings.providers,
            vault=self.vault,
            pending_keys=KeyRing([b"p" * 32], random=secrets.token_bytes),
            jwks=settings.jwks,
            handovers=MemoryHandovers(self.ticks),
            clock=self.clock,
        )
        self.client: TestClient[Request, Application]

    async def _end_sessions(self, user: str) -> None:
        await self.store.revoke_user(user, self.clock())

    async def start(self) -> None:
        self.client = TestClient(TestServer(make_control_app(self.parts)), cookie_jar=DummyCookieJar())
        await self.client.start_server()
        for login in self.settings.providers.values():
            await login.start()

    async def close(self) -> None:
        await self.client.close()
        for login in self.settings.providers.values():
            await login.close()
        await self.login.close()
        await self.vault.close()
        await self.store.close()

    def browser(self, host: str = HOST, **more: str) -> Browser:
        return Browser(self, host, **more)

    def audited(self, kind: str) -> list[AuditEvent]:
        return [event for event in self.events if event.kind == kind]


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    cookies: list[str]
    text: str

    def field(self, name: str) -> str:
        """Return the value of an input of the page."""
        return form_fields(self.text)[name]


class Browser:
    """Keeps cookies; the data plane's part is played here: the session's cookie becomes an internal header."""

    def __init__(
        self,
        site: ControlSite,
        host: str = HOST,
        *,
        scheme: str = "https",
        client: str = "192.0.2.7",
        agent: str = "test browser",
    ) -> None:
        self.site = site
        self.host = host
        self.scheme = scheme
        self.address = client
        self.agent = agent
        self.cookies: dict[str, str] = {}
        cookie = site.settings.cookie
        self._picker = CookiePicker(cookie)

    async def get(self, path: str, headers: Mapping[str, str] = PAGE) -> Answer:
        return await self.send("GET", path, headers)

    async def post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        return await self.send("POST", path, {**PAGE, **FORM, **(headers or {})}, urlencode(form).encode())

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        sent = {
            "Host": self.host,
            "X-Forwarded-For": self.address,
            "X-Forwarded-Proto": self.scheme,
            "X-Request-Id": "req-1",
            "User-Agent": self.agent,
            **headers,
            **await self._as_data_plane(),
        }
        async with self.site.client.request(method, path, headers=sent, data=body, allow_redirects=False) as response:
            text = (await response.read()).decode()
            cookies = response.headers.getall(hdrs.SET_COOKIE, [])
        self.keep(cookies)
        return Answer(response.status, response.headers, list(cookies), text)

    async def _as_data_plane(self) -> dict[str, str]:
        line = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        picked = self._picker.pick([line.encode()])
        headers = {"Cookie": picked.kept.decode()} if picked.kept else {}
        session = await self.session() if picked.token else None
        return {**headers, SESSION_HEADER: str(picked.token)} if session else headers

    async def session(self) -> Session | None:
        """Return the session that the cookies open now."""
        line = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        token = self._picker.pick([line.encode()]).token
        try:
            opened = await self.site.store.load(token, self.site.clock(), host=host_name(self.host)) if token else None
            return opened.session if opened is not None else None
        except BadToken:
            return None

    def keep(self, cookies: Sequence[str]) -> None:
        for cookie in cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            if "Max-Age=0" in cookie:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    def restart(self, lasting: Sequence[str]) -> None:
        """Keep only the cookies whose Set-Cookie had a Max-Age, as a browser that was closed does."""
        self.cookies = {name: value for name, value in self.cookies.items() if name in lasting}

    async def login(self, user: User, *, next_url: str = "", remember: bool = False, password: str = "") -> Answer:
        """Fetch the login page and send its form."""
        shown = await self.get("/_gateway/login")
        form = {"username": user.user, "password": password or user.password, "next": next_url}
        form["csrf_token"] = shown.field("csrf_token")
        if remember:
            form["remember"] = "1"
        return await self.post("/_gateway/login", form)
