"""The leaf types of the configuration: a parser of ours, and what a JSON Schema says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import core_schema

from gateway.core.claims import Scalar
from gateway.core.policy import Network
from gateway.core.redis_address import RedisAddress
from gateway.core.token_policy import ALGORITHMS
from gateway.core.upstream import UpstreamAddress
from gateway.settings import addresses, headers, secrets, store_url, values
from gateway.settings.addresses import ListenAddress, Origin
from gateway.settings.misfit import Misfit, not_a
from gateway.settings.text import nearest

JsonSchema = dict[str, Any]
T = TypeVar("T")

MAX_WORKERS = 256


def _text(pattern: str = "", *examples: str) -> JsonSchema:
    schema: JsonSchema = {"type": "string"}
    if pattern:
        schema["pattern"] = f"^{pattern}$"
    if examples:
        schema["examples"] = list(examples)
    return schema


class OneOrMany:
    """Let a list also be given as its only member."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        many = handler(schema)
        many.setdefault("minItems", 1)
        return {"anyOf": [many["items"], many]}


class ShortForm:
    """Let a mapping also be given as the value of one of its keys."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def expand(value: Any) -> Any:
            return value if isinstance(value, dict) else {self._key: value}

        return core_schema.no_info_before_validator_function(expand, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        long = handler(schema)
        short = handler.resolve_ref_schema(long)["properties"][self._key]
        return {"anyOf": [short, long]}


class OrFalse:
    """Let a mapping also be given as false, which is an empty one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_or_false, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return {"anyOf": [handler(schema), {"const": False}]}


def _or_false(value: object) -> object:
    return {} if value is False else value


def _as_list(value: object) -> object:
    if value == []:
        raise Misfit("should hold at least one entry")
    return value if isinstance(value, list) else [value]


def word(*choices: str) -> Callable[[object], str]:
    """Return a parser for one of a few words."""

    def parse(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        guess = nearest(value, choices) if isinstance(value, str) else ""
        raise not_a(f"one of {', '.join(choices)}{guess}")

    return parse


def switch(value: object) -> bool:
    """Return a truth value; YAML 1.2 knows only two words for them."""
    if isinstance(value, bool):
        return value
    raise not_a("true or false")


def secure(value: object) -> bool | None:
    """Return a truth value, or None for ``auto``."""
    if value == "auto":
        return None
    if isinstance(value, bool):
        return value
    raise not_a("auto, true or false")


def count(value: object) -> int:
    """Return a whole number above zero."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**31:
        return value
    raise not_a("a whole number above zero")


def workers(value: object) -> int | None:
    """Return a number of processes, or None for ``auto``."""
    if value == "auto":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_WORKERS:
        return value
    raise not_a(f"auto or a whole number from 1 to {MAX_WORKERS}")


def file_name(value: object) -> str:
    """Return the name of a file; a relative one starts from the configuration's folder."""
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise Misfit("should be the name of a file, as text")


def log_target(value: object) -> str:
    """Return where a log goes. A file needs a dot or slash in its name, lest ``stdot`` become one."""
    if isinstance(value, str) and value in ("stdout", "stderr", "off"):
        return value
    if isinstance(value, str) and value.isprintable() and ("/" in value or "." in value):
        return value
    guess = nearest(value, ["stdout", "stderr", "off"]) if isinstance(value, str) else ""
    raise not_a(f"where a log can go: write stdout, stderr, off or a file, as ./access.log{guess}")


def cookie_name(value: object) -> str:
    """Return the name of a cookie (RFC 6265bis §4.1.1), with one of two prefixes or none."""
    if not isinstance(value, str) or not value or len(value) > 64 or not headers.is_token(value):
        raise not_a("the name of a cookie: write letters, digits, - and _, 64 at most")
    if value.startswith("__") and not value.startswith(("__Host-", "__Secure-")):
        raise not_a("the name of a cookie: of those that start with __, only __Host- and __Secure- are known here")
    if value in ("__Host-", "__Secure-"):
        raise not_a("the name of a cookie: something has to follow its prefix")
    return value


def route_token(value: object) -> bool | str:
    """Return a truth value, or the audience of a route's tokens."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip():
        return values.text(value)
    raise not_a("true, false, or the audience of the token, as text")


Duration = Annotated[
    float,
    PlainValidator(values.duration),
    WithJsonSchema(_text(values.DURATION_PATTERN, "500ms", "5s", "30m", "12h", "30d")),
]
Grace = Annotated[
    float,
    PlainValidator(values.duration_or_zero),
    WithJsonSchema(_text(values.DURATION_PATTERN, "0s", "30s", "5m")),
]
Size = Annotated[
    int,
    PlainValidator(values.size),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, _text(values.SIZE_PATTERN, "8KiB", "10MB")]},
    ),
]
Count = Annotated[int, PlainValidator(count), WithJsonSchema({"type": "integer", "minimum": 1})]
Workers = Annotated[
    int | None,
    PlainValidator(workers),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}]}),
]
Switch = Annotated[bool, PlainValidator(switch), WithJsonSchema({"type": "boolean"})]
Secure = Annotated[bool | None, PlainValidator(secure), WithJsonSchema({"enum": ["auto", True, False]})]
Text = Annotated[str, PlainValidator(values.text), WithJsonSchema(_text())]
OptionalText = Annotated[str, PlainValidator(values.optional_text), WithJsonSchema(_text())]
FileName = Annotated[str, PlainValidator(file_name), WithJsonSchema(_text())]
LogTarget = Annotated[
    str, PlainValidator(log_target), WithJsonSchema(_text("", "stdout", "stderr", "off", "./access.log"))
]
LogLevel = Annotated[
    str,
    PlainValidator(word("debug", "info", "warning", "error")),
    WithJsonSchema({"enum": ["debug", "info", "warning", "error"]}),
]
SameSite = Annotated[
    str, PlainValidator(word("lax", "strict", "none")), WithJsonSchema({"enum": ["lax", "strict", "none"]})
]
TokenAlgorithm = Annotated[str, PlainValidator(word(*ALGORITHMS)), WithJsonSchema({"enum": list(ALGORITHMS)})]
RouteToken = Annotated[
    bool | str,
    PlainValidator(route_token),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, _text("", "https://wiki.example.com")]}),
]
EncodedSlashes = Annotated[str, PlainValidator(word("reject", "pass")), WithJsonSchema({"enum": ["reject", "pass"]})]
RouteCache = Annotated[str, PlainValidator(word("private", "as-is")), WithJsonSchema({"enum": ["private", "as-is"]})]

RouteName = Annotated[str, PlainValidator(values.route_name), WithJsonSchema(_text(values.NAME_PATTERN, "wiki"))]
UserName = Annotated[str, PlainValidator(values.user_name), WithJsonSchema(_text())]
GroupName = Annotated[str, PlainValidator(values.group_name), WithJsonSchema(_text())]
Email = Annotated[str, PlainValidator(values.email), WithJsonSchema(_text("", "alice@example.com"))]
EmailPattern = Annotated[
    str, PlainValidator(values.email_pattern), WithJsonSchema(_text("", "*@example.com", "alice@example.com"))
]
Method = Annotated[str, PlainValidator(values.method), WithJsonSchema(_text(values.METHOD_PATTERN, "GET", "POST"))]
NetworkField = Annotated[
    Network, PlainValidator(values.network), WithJsonSchema(_text("", "10.0.0.0/8", "2001:db8::/32"))
]

ProviderName = Annotated[
    str, PlainValidator(values.provider_name), WithJsonSchema(_text(values.NAME_PATTERN, "password", "keycloak"))
]
ClaimValue = Annotated[
    Scalar, PlainValidator(values.claim_value), WithJsonSchema({"type": ["string", "number", "boolean"]})
]

Listen = Annotated[
    ListenAddress,
    PlainValidator(addresses.listen_address),
    WithJsonSchema(_text("", "127.0.0.1:8080", "[::1]:8080", "unix:/run/gateway.sock")),
]
PublicUrl = Annotated[
    Origin,
    PlainValidator(addresses.public_url),
    WithJsonSchema(_text("https?://[^/?#]+/?", "https://gateway.example.com")),
]
OriginField = Annotated[
    Origin, PlainValidator(addresses.origin), WithJsonSchema(_text("https?://[^/?#]+", "https://app.example.com"))
]
RouteHost = Annotated[
    str, PlainValidator(addresses.route_host), WithJsonSchema(_text("", "wiki.example.com", "*.example.com"))
]
CookieDomain = Annotated[str, PlainValidator(addresses.cookie_domain), WithJsonSchema(_text("", "example.com"))]
UrlPath = Annotated[str, PlainValidator(addresses.url_path), WithJsonSchema(_text("/.*"))]
RoutePath = Annotated[str, PlainValidator(addresses.route_path), WithJsonSchema(_text("/.*", "/", "/wiki"))]
UpstreamUrl = Annotated[
    UpstreamAddress,
    PlainValidator(addresses.upstream_address),
    WithJsonSchema(_text("(https?://[^/?#]+|unix:.+)", "http://wiki:3000", "unix:/run/app.sock")),
]
ServerName = Annotated[str, PlainValidator(addresses.server_name), WithJsonSchema(_text("", "wiki.internal"))]

HeaderName = Annotated[str, PlainValidator(headers.header_name), WithJsonSchema(_text(headers.NAME_PATTERN))]
PassedHeader = Annotated[str, PlainValidator(headers.passed_header_name), WithJsonSchema(_text(headers.NAME_PATTERN))]
AnswerHeader = Annotated[str, PlainValidator(headers.answer_header_name), WithJsonSchema(_text(headers.NAME_PATTERN))]
HeaderValue = Annotated[str, PlainValidator(headers.header_value), WithJsonSchema(_text())]
Template = Annotated[str, PlainValidator(headers.template), WithJsonSchema(_text("", "{user}", "{claims.employee_id}"))]
CookieName = Annotated[str, PlainValidator(cookie_name), WithJsonSchema(_text("", "gateway_session"))]
SessionStore = Annotated[
    str | RedisAddress,
    PlainValidator(store_url.session_store),
    WithJsonSchema(_text(store_url.PATTERN, "cookie", "sqlite", "redis://redis:6379/0")),
]
KeyPrefix = Annotated[
    str, PlainValidator(store_url.key_prefix), WithJsonSchema(_text(store_url.PREFIX_PATTERN, "gateway:"))
]
SecretText = Annotated[str, PlainValidator(store_url.secret_text), WithJsonSchema(_text())]
SessionKey = Annotated[bytes, PlainValidator(secrets.session_key), WithJsonSchema(_text("[A-Za-z0-9_-]{43}=?"))]
AdminToken = Annotated[str, PlainValidator(secrets.admin_token), WithJsonSchema(_text("[A-Za-z0-9._~+/-]{16,}=*"))]
PasswordHash = Annotated[str, PlainValidator(secrets.password_hash), WithJsonSchema(_text(r"\$argon2id\$.*"))]
