"""A YAML file as plain data in which every key and value knows its line and column.

What is wrong with a single value is noted and the rest goes on, so that everything is reported at once.
Aliases are followed within bounds, so that no file costs much more than it has bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from yaml.nodes import MappingNode, Node, ScalarNode

from gateway.errors import ConfigError, Problem
from gateway.settings.interpolation import Interpolation
from gateway.settings.misfit import Misfit
from gateway.settings.text import is_text, printable
from gateway.settings.yaml_nodes import BOOL, FLOAT, INT, MAP, NULL, SEQ, STR, compose, plain_tag

KeyPath = tuple[str | int, ...]
"""Where in the document: mapping keys and list positions from the root."""

MAX_VALUES = 200_000
"""Values in one document, counted again for every alias."""
MAX_NUMBER = 100
"""Characters of a number; Python refuses to read those of thousands of digits."""

_HASH_PART = re.compile(r"\$[^${}]{8,}")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file; both numbers start at 1."""

    line: int
    column: int


SHORTEST_SECRET = 8
"""Characters of a value from outside from which on no message repeats it; shorter ones are ports and the like."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing wrong, by its path."""

    path: KeyPath
    text: str
    at_key: bool = False
    """Whether the place of the key is meant, not that of its value."""
    mark: Mark | None = None
    """The place, where it is not that of the path, as for the second key of one name."""


@dataclass(slots=True)
class Document:
    """What a file says, and where it says it."""

    name: str
    data: object = None
    values: dict[KeyPath, Mark] = field(default_factory=dict)
    keys: dict[KeyPath, Mark] = field(default_factory=dict)
    outside: set[KeyPath] = field(default_factory=set)
    """Values that came, in whole or in part, from the environment or a file: never quoted."""
    brought_in: set[str] = field(default_factory=set)
    """What came from there, but for what is too short to be secret."""
    unknown: set[KeyPath] = field(default_factory=set)
    """Values that could not be had; None stands in their place."""
    found: list[Found] = field(default_factory=list)
    """What was wrong already here."""

    def mark(self, path: KeyPath, *, at_key: bool = False) -> Mark | None:
        """Return the place of a value or key, else that of the nearest mapping or list around it."""
        if at_key and path in self.keys:
            return self.keys[path]
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path)

    def where(self, path: KeyPath, *, at_key: bool = False) -> str:
        """Return the same as ``gateway.yaml:12:5``."""
        return self.place(self.mark(path, at_key=at_key))

    def place(self, mark: Mark | None) -> str:
        """Return a place in this file as text."""
        return f"{self.name}:{mark.line}:{mark.column}" if mark else self.name

    def get(self, path: KeyPath) -> object:
        """Return the value at a path, None where there is none."""
        value = self.data
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def problems(self, found: Iterable[Found]) -> list[Problem]:
        """Return what was found as problems, in the order of the file, each once."""

        def place(entry: Found) -> Mark:
            return entry.mark or self.mark(entry.path, at_key=entry.at_key) or Mark(1, 1)

        ordered = sorted(dict.fromkeys(found), key=place)
        return [Problem(self.place(place(entry)), key_text(entry.path), self._shown(entry.text)) for entry in ordered]

    def _shown(self, text: str) -> str:
        """Return a message without what came from outside, as where one key speaks of the value of another."""
        for value in sorted(self.brought_in, key=len, reverse=True):
            for spelling in (value, value.lower()):
                text = text.replace(spelling, "…")
        return text


def key_text(path: KeyPath) -> str:
    """Return a path as people write it: ``routes[1].upstream``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            # A hash without quotes may have been cut at its commas into such keys.
            text += f'["{printable(_HASH_PART.sub("$…", part), 40)}"]'
    return text


def read_document(content: bytes, name: str, interpolation: Interpolation | None = None) -> Document:
    """Read one YAML document.

    Raises ConfigError where it is no YAML or holds no keys; what else is wrong is noted in ``found``.
    """
    root = compose(content, name)
    if root is None:
        raise ConfigError([Problem(name, "", "the file is empty")])
    document = Document(name)
    if not isinstance(root, MappingNode):
        place = document.place(_start(root))
        raise ConfigError([Problem(place, "", 'the file should hold keys with values, as "listen: 127.0.0.1:8080"')])
    document.data = _Converter(document, interpolation).convert(root, ())
    return document


def _start(node: Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _whole(text: str) -> int:
    bases = {"0o": 8, "0x": 16}
    return int(text, bases.get(text[:2], 10)) if text[:2] in bases else int(text)


def _real(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_READERS: Mapping[str, Callable[[str], object]] = {
    STR: str,
    NULL: lambda text: None,
    BOOL: lambda text: text.lower() == "true",
    INT: _whole,
    FLOAT: _real,
}


class _Converter:
    """Turns nodes into dicts, lists and scalars, and notes their places."""

    def __init__(self, document: Document, interpolation: Interpolation | None) -> None:
        self._document = document
        self._interpolation = interpolation
        self._open: set[int] = set()
        self._count = 0

    def convert(self, node: Node, path: KeyPath) -> object:
        """Return the value of a node; None where it cannot be had."""
        self._document.values[path] = _start(node)
        self._count += 1
        if self._count > MAX_VALUES:
            text = f"the file holds more than {MAX_VALUES} values, aliases included"
            raise ConfigError([Problem(self._document.where(path), "", text)])
        try:
            return self._scalar(node, path) if isinstance(node, ScalarNode) else self._collection(node, path)
        except Misfit as error:
            self._document.found.append(Found(path, error.text))
            self._document.unknown.add(path)
            return None

    def _collection(self, node: Node, path: KeyPath) -> object:
        if id(node) in self._open:
            raise Misfit("an alias that contains itself")
        if node.tag not in (MAP, SEQ):
            raise Misfit("a tag that is not known here; remove what starts with !")
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            mark = _start(key_node)
            try:
                key = _key(key_node)
            except Misfit as error:
                self._document.found.append(Found(path, error.text, mark=mark))
                continue
            if key in result:
                text = f"given twice; the first is on line {self._document.keys[*path, key].line}"
                self._document.found.append(Found((*path, key), text, mark=mark))
                continue
            self._document.keys[*path, key] = mark
            result[key] = self.convert(value_node, (*path, key))
        return result

    def _scalar(self, node: ScalarNode, path: KeyPath) -> object:
        value, tag = node.value, node.tag
        if self._interpolation and "$" in value:
            value, pieces = self._interpolation.expand(value)
            if pieces:
                self._document.outside.add(path)
                self._document.brought_in.update(piece for piece in pieces if len(piece) >= SHORTEST_SECRET)
                # A plain ${PORT} may turn out to be a number; a quoted one stays text.
                tag = plain_tag(value) if node.style is None and tag == STR else tag
        if not is_text(value):
            raise Misfit("characters that are not Unicode")
        if tag != STR and (tag not in _READERS or plain_tag(value) != tag):
            raise Misfit("a tag that is not known here, or does not fit the value; remove what starts with !")
        if tag in (INT, FLOAT) and len(value) > MAX_NUMBER:
            raise Misfit(f"a number of more than {MAX_NUMBER} characters")
        return _READERS[tag](value)


def _key(node: Node) -> str:
    """Return a key's text. What is no text, as ``true`` or ``1``, is refused: nobody knows what was meant."""
    if not isinstance(node, ScalarNode):
        raise Misfit("a key should be text, not a list or mapping")
    if node.tag != STR:
        raise Misfit(f"the key {printable(node.value) or '(empty)'} is not text; put it in quotes")
    if node.value == "<<" and node.style is None:
        raise Misfit("merge keys (<<) are not part of YAML 1.2; repeat the keys, or use an alias for a whole value")
    if not is_text(node.value):
        raise Misfit("a key with characters that are not Unicode")
    return str(node.value)
