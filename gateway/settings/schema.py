"""The JSON Schema (2020-12) of the configuration file, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from gateway.settings.model import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PUT_IN = {
    "type": "string",
    "pattern": r"\$\{[^{}]*\}",
    "description": "A text with ${NAME}, ${NAME:-default} or ${file:…}.",
}
_SCALARS = ("string", "integer", "number", "boolean")


def json_schema() -> dict[str, Any]:
    """Return the schema; any value may also be a text that takes it from the environment or a file."""
    schema = Config.model_json_schema()
    definitions = {name.removesuffix("Part"): _rewritten(part) for name, part in schema.pop("$defs").items()}
    definitions["PutIn"] = dict(_PUT_IN)
    rewritten = _rewritten(schema)
    rewritten["properties"]["session"].pop("default", None)
    definitions["Session"]["required"] = ["keys"]
    return {
        "$schema": DIALECT,
        "title": "Configuration of the session gateway",
        **{key: value for key, value in rewritten.items() if key != "title"},
        "required": ["session"],
        "$defs": definitions,
    }


def _rewritten(schema: Any) -> Any:
    """Return a part of the schema with our names for parts, without made-up titles, and with ``${…}`` allowed."""
    if isinstance(schema, list):
        return [_rewritten(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _member(key, value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}
    if isinstance(reference := result.get("$ref"), str):
        result["$ref"] = reference.removesuffix("Part")
    return _with_put_in(result) if _is_scalar(result) else result


def _member(key: str, value: Any) -> Any:
    if key in ("default", "examples", "enum", "const", "required"):
        return value
    if key in ("properties", "patternProperties"):
        return {name: _rewritten(part) for name, part in value.items()}
    return _rewritten(value)


def _is_scalar(schema: dict[str, Any]) -> bool:
    """Tell whether a schema admits single values, but not every text anyway."""
    plain_text = schema.get("type") == "string" and "pattern" not in schema
    return not plain_text and (schema.get("type") in _SCALARS or bool({"enum", "const"} & set(schema)))


def _with_put_in(schema: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {key: schema.pop(key) for key in ("description", "default", "examples") if key in schema}
    return {**told, "anyOf": [schema, {"$ref": "#/$defs/PutIn"}]}
