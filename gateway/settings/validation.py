"""A document through its model: every error at its place, and a draft of all that is sound.

The draft lets checks between keys run even where other keys are wrong, so that one run tells everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.settings.document import Document, Found, KeyPath
from gateway.settings.misfit import Misfit
from gateway.settings.text import nearest, printable

M = TypeVar("M", bound=BaseModel)
_SHOWN_KEYS = 12


@dataclass(slots=True)
class Draft(Generic[M]):
    """A model made of the sound parts of a document; the others have their defaults."""

    document: Document
    config: M
    unsound: set[KeyPath] = field(default_factory=set)
    """The parts left out: ``("session", "keys")``, ``("routes", 3)``."""
    kept: dict[str, list[int]] = field(default_factory=dict)
    """For a list of which entries were left out: the positions in the document of the kept ones."""

    def sound(self, *path: str | int) -> bool:
        """Tell whether the draft holds what the document says there."""
        return not any(path[: len(part)] == part or part[: len(path)] == path for part in self.unsound)

    def position(self, key: str, index: int) -> int:
        """Return the position in the document of an entry of the draft's list."""
        return self.kept[key][index] if key in self.kept else index


def validate(document: Document, model: type[M]) -> tuple[list[Found], Draft[M] | None]:
    """Return everything that is wrong with a document by itself, and a draft for checks between keys.

    There is no draft only where not even the sound parts make a model.
    """
    found = list(document.found)
    unsound = {_part(path) for path in document.unknown}
    try:
        config = model.model_validate(document.data)
    except ValidationError as error:
        errors = [_found(document, model, detail) for detail in error.errors(include_url=False)]
        found += [entry for entry in errors if entry.path not in document.unknown]
        unsound |= {_part(entry.path) for entry in errors}
    else:
        if not unsound:
            return found, Draft(document, config)
    return found, _draft(document, model, unsound)


def draft_without(document: Document, model: type[M], paths: Iterable[KeyPath]) -> Draft[M] | None:
    """Return a draft that leaves out the parts where something is wrong, None if the rest makes no model."""
    return _draft(document, model, {_part(path) for path in paths})


def _draft(document: Document, model: type[M], unsound: set[KeyPath]) -> Draft[M] | None:
    """Return a model of the sound parts; what cannot do without a part that is left out, is left out as a whole."""
    for _ in range(2):
        rest, kept = _without(document.data, unsound)
        try:
            return Draft(document, model.model_validate(rest), unsound, kept)
        except ValidationError as error:
            unsound = unsound | {(str(detail["loc"][0]),) for detail in error.errors(include_url=False)}
    return None


def _part(path: KeyPath) -> KeyPath:
    """Return the part of the document that is left out of the draft for a wrong value: two levels."""
    return path[:2]


def _without(data: object, unsound: set[KeyPath]) -> tuple[object, dict[str, list[int]]]:
    """Return the data without its unsound parts, and where the kept list entries were."""
    kept: dict[str, list[int]] = {}
    result: dict[str, object] = {}
    for key, value in data.items() if isinstance(data, dict) else ():
        if (key,) in unsound:
            continue
        if isinstance(value, list):
            kept[key] = [index for index in range(len(value)) if (key, index) not in unsound]
            result[key] = [value[index] for index in kept[key]]
        elif isinstance(value, dict):
            result[key] = {name: inner for name, inner in value.items() if (key, name) not in unsound}
        else:
            result[key] = value
    return result, kept


def _found(document: Document, model: type[BaseModel], detail: ErrorDetails) -> Found:
    """Turn one of pydantic's errors into ours."""
    path, complete = _path_in(document.data, detail["loc"])
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = list(_model_at(model, detail["loc"][:-1]).model_fields)
        shown = f"; known here: {', '.join(known)}" if len(known) <= _SHOWN_KEYS else "; `gateway schema` names all"
        return Found(path, f"there is no such key{nearest(str(path[-1]), known) or shown}", at_key=True)
    if kind == "missing":
        return Found(path, "is missing")
    at_key = complete and detail["loc"][-1:] == ("[key]",)
    return Found(path, _text(document, path, detail, at_key=at_key), at_key=at_key)


def _path_in(data: object, loc: tuple[int | str, ...]) -> tuple[KeyPath, bool]:
    """Return the part of pydantic's location that exists in the document, and whether it is all of it.

    A single value in place of a list, or a text in place of a mapping, has no entry of its own.
    """
    path: list[int | str] = []
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(data, dict) and isinstance(part, str) and (part in data or (last and part != "[key]")):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif part == 0 and not isinstance(data, list):
            continue
        else:
            return tuple(path), part == "[key]"
        path.append(part)
    return tuple(path), True


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    for part in loc:
        field_info = model.model_fields.get(part) if isinstance(part, str) else None
        inner = _model_in(field_info.annotation) if field_info else None
        model = inner or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model within ``list[Model]``, ``Model | None`` and the like."""
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for arg in get_args(annotation) if (inner := _model_in(arg))), None)


def _text(document: Document, path: KeyPath, detail: ErrorDetails, *, at_key: bool) -> str:
    """Return what is wrong, with the value only where that is surely no secret."""
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, Misfit):
        if not error.quotes:
            return error.text
        return f"{_shown(document, path, at_key=at_key)} is not {error.text}"
    if detail["type"] in ("model_type", "dict_type"):
        example = _EXAMPLES.get((path[0], path[-1])) if path else None
        return f'{_MAPPING}, as "{example}"' if example else _MAPPING
    return _TEXTS.get(detail["type"], detail["msg"])


def _shown(document: Document, path: KeyPath, *, at_key: bool) -> str:
    """Return a value as it may stand in an error text."""
    value = path[-1] if at_key and path else document.get(path)
    if path in document.outside and not at_key:
        return "the value put in here"
    if isinstance(value, str):
        return f'"{printable(value)}"' if "@" not in value or "://" not in value else "the value"
    if value is None:
        return "an empty value"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f"a {'list' if isinstance(value, list) else 'mapping'}"


_MAPPING = "should be a mapping: keys with values"
_TEXTS: Mapping[str, str] = {
    "list_type": "should be a list: [a, b], or a line with - for each entry",
}
_EXAMPLES: Mapping[tuple[str | int, str | int], str] = {
    ("routes", "allow"): "allow: {groups: [staff]}",
    ("routes", "timeout"): "timeout: {response: 60s}",
    ("login", "local"): "local: {users: users.yaml}",
}
"""Mappings that are often taken for a single value, by the first and the last key of their path."""
