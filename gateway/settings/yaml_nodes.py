"""Bytes to YAML nodes, by the core schema of YAML 1.2.2 (§10.3.2): ``no`` and ``12:30`` are texts.

PyYAML's scanner and parser do the reading; its own resolver speaks YAML 1.1 and is left out. Nesting is
bounded here, what aliases multiply is bounded by whoever walks the nodes.
"""

from __future__ import annotations

import codecs
import re

from yaml.composer import Composer, ComposerError
from yaml.error import MarkedYAMLError, YAMLError
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from gateway.errors import ConfigError, Problem

MAX_DEPTH = 50

STR = "tag:yaml.org,2002:str"
NULL = "tag:yaml.org,2002:null"
BOOL = "tag:yaml.org,2002:bool"
INT = "tag:yaml.org,2002:int"
FLOAT = "tag:yaml.org,2002:float"
SEQ = "tag:yaml.org,2002:seq"
MAP = "tag:yaml.org,2002:map"

_PLAIN = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<bool>true|True|TRUE|false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)


def plain_tag(value: str) -> str:
    """Return the tag of an unquoted word."""
    match = _PLAIN.fullmatch(value)
    return f"tag:yaml.org,2002:{match.lastgroup}" if match else STR


class CoreLoader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Composes nodes; never builds objects, so no tag can name a Python type."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int | Node | None) -> Node | None:
        """Compose one node, unless it lies too deep."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, f"nesting of more than {MAX_DEPTH} levels", mark)
        try:
            node: Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]
            return node
        finally:
            self._depth -= 1

    def resolve(self, kind: type[Node], value: str, implicit: tuple[bool, bool]) -> str:
        """Return the tag of a node that has none."""
        if kind is ScalarNode:
            return plain_tag(value) if implicit[0] else STR
        return MAP if kind is MappingNode else SEQ


def compose(content: bytes, name: str) -> Node | None:
    """Return the root node of a file's only document; None where the file says nothing.

    Raises ConfigError with one problem: after a mistake in the syntax nothing further can be told.
    """
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(f"{name}:{line}:1", "", "the file is not UTF-8 text")]) from None
    loader = None
    try:
        loader = CoreLoader(text)
        root: Node | None = loader.get_single_node()
    except YAMLError as error:
        raise ConfigError([_syntax_problem(error, text, name)]) from None
    except (ValueError, OverflowError):
        # PyYAML's scanner lets these through for an escape or a version number beyond all bounds.
        place = f"{name}:{loader.line + 1}:{loader.column + 1}" if loader else name
        raise ConfigError([Problem(place, "", "not valid YAML: a number out of range")]) from None
    if isinstance(root, ScalarNode) and root.tag == NULL:
        return None
    return root


def _syntax_problem(error: YAMLError, text: str, name: str) -> Problem:
    """Say in one line what is wrong and where; the file's own text is not repeated."""
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        return Problem(f"{name}:{line}:{column}", "", "not valid YAML: a control character")
    if not isinstance(error, MarkedYAMLError):
        return Problem(name, "", "not valid YAML")
    mark = error.problem_mark or error.context_mark
    what = " ".join((error.problem or error.context or "a mistake").split())
    if error.problem and error.context and error.context_mark:
        what += f" {error.context} that starts on line {error.context_mark.line + 1}"
    if "'\\t'" in what:
        what += "; YAML is indented with spaces"
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    return Problem(place, "", f"not valid YAML: {what}")
