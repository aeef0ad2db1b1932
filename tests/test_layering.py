"""The structure of the code, read from it: who imports whom, no cycles, nothing grown too long."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EVERYTHING = "everything"
FILE_LINES = 400
FUNCTION_LINES = 60


@dataclass(frozen=True, slots=True)
class Layer:
    """What one package, or one module directly under ``gateway``, may import."""

    name: str
    own: str
    """Other layers; its own modules it may always import."""
    third_party: str
    """Packages; ``name in file.py`` allows one in that file alone."""


ROOT_MODULES = (
    "supervisor", "generation", "shared", "workers", "worker", "one_process", "channel", "assembly", "stores",
    "signed_identity", "programs",
)  # fmt: skip

LAYERS = (
    Layer("errors", "", ""),
    Layer("core", "errors", ""),
    Layer("wire", "errors, core", ""),
    Layer("database", "errors", ""),
    Layer("sessions", "errors, core, database, tls", "cryptography in seal.py, hiredis in redis_wire.py"),
    Layer("login", "errors, core, database, tls", "cryptography, aiohttp, joserfc"),
    Layer("proxy", "errors, core, wire, sessions, tls", ""),
    Layer(
        "control", "errors, core, sessions, login", "aiohttp, aiohttp_session, jinja2, markupsafe, prometheus_client"
    ),
    Layer("settings", "errors, core, tls", "yaml, pydantic, pydantic_core"),
    Layer("signing", "errors, core, sessions", "cryptography"),
    Layer("listening", "errors, settings", ""),
    Layer("logs", "errors, core, proxy", ""),
    Layer("demo", EVERYTHING, EVERYTHING),
    Layer("cli", EVERYTHING, EVERYTHING),
    Layer("early_signals", "", ""),
    Layer("tls", "", ""),
    # The composition root.
    *(Layer(name, EVERYTHING, EVERYTHING) for name in ROOT_MODULES),
)


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's target, resolved to a module where it is ours."""

    module: str
    file: Path
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.target}"


def module_name(file: Path) -> str:
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(file): file for file in sorted((ROOT / "gateway").rglob("*.py"))}


def targets(node: ast.AST, module: str) -> Iterator[str]:
    """Yield what an import statement names; ``from package import module`` names the module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"{module}:{node.lineno}: relative imports are not read here"
        base = node.module or ""
        for alias in node.names:
            full = f"{base}.{alias.name}"
            yield full if full in modules() else base


@cache
def imports() -> tuple[Import, ...]:
    """Every import of the package, those within functions and under TYPE_CHECKING included."""
    return tuple(
        Import(module, file, getattr(node, "lineno", 0), target)
        for module, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for target in targets(node, module)
    )


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def may_import_own(layer: Layer, target: str) -> bool:
    """Tell whether ``layer`` may import a module of ours; ``gateway`` itself holds the version only."""
    return layer.own == EVERYTHING or layer_of(target) in {"", layer.name, *words(layer.own)}


def may_import_third_party(layer: Layer, file: Path, target: str) -> bool:
    package = target.partition(".")[0]
    if layer.third_party == EVERYTHING:
        return True
    return bool({package, f"{package} in {file.name}"} & set(words(layer.third_party)))


def forbidden(layer: Layer) -> list[str]:
    found = []
    for entry in imports():
        package = entry.target.partition(".")[0]
        if layer_of(entry.module) != layer.name or package in sys.stdlib_module_names:
            continue
        ours = package == "gateway"
        allowed = may_import_own(layer, entry.target) if ours else may_import_third_party(layer, entry.file, package)
        if not allowed:
            found.append(str(entry))
    return found


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_layer_imports_only_what_the_table_allows(layer: Layer) -> None:
    assert forbidden(layer) == []


def test_every_module_belongs_to_a_layer() -> None:
    known = {layer.name for layer in LAYERS} | {"", "__main__"}
    assert {layer_of(module) for module in modules()} - known == set()


def test_the_entry_points_of_the_package_import_nothing_but_the_command_line() -> None:
    allowed = {"__future__", "sys", "gateway.cli", "gateway.early_signals"}
    entries = [entry for entry in imports() if layer_of(entry.module) in {"", "__main__"}]
    assert [str(entry) for entry in entries if entry.target not in allowed] == []


def test_no_module_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for entry in imports():
        if entry.target in graph and entry.target != entry.module:
            graph[entry.module].add(entry.target)
    cycle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = error.args[1]
    assert cycle == []


def test_only_waiting_layers_are_asynchronous() -> None:
    """`core` and `wire` decide without waiting: no coroutine, no clock, no input or output."""
    clocks_and_io = {"asyncio", "time", "socket", "ssl", "os", "random", "secrets", "sqlite3", "threading"}
    found = [
        str(entry)
        for entry in imports()
        if layer_of(entry.module) in {"core", "wire"} and entry.target.partition(".")[0] in clocks_and_io
    ]
    for module, file in modules().items():
        if layer_of(module) in {"core", "wire"}:
            nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            found += [f"{module}:{node.lineno} async" for node in nodes if isinstance(node, ast.AsyncFunctionDef)]
    assert found == []


def table_in_markdown() -> list[str]:
    def cell(text: str) -> str:
        return "–" if not text else text if text == EVERYTHING else ", ".join(map(marked, words(text)))

    def marked(word: str) -> str:
        package, _, file = word.partition(" in ")
        return f"`{package}` in `{file}`" if file else f"`{package}`"

    rows = [f"| `{layer.name}` | {cell(layer.own)} | {cell(layer.third_party)} |" for layer in LAYERS]
    return ["| package | may import | third party allowed there |", "|---|---|---|", *rows]


def test_the_docs_show_the_same_table() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert "\n".join(table_in_markdown()) in text


def python_files() -> list[Path]:
    folders = (ROOT / name for name in ("gateway", "tests", "bench", "verifier"))
    return [file for folder in folders for file in sorted(folder.rglob("*.py"))]


def test_no_file_is_too_long() -> None:
    lengths = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8").count("\n") for file in python_files()}
    assert {file: lines for file, lines in lengths.items() if lines > FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    found = []
    for file in python_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert found == []


def test_a_worker_is_small() -> None:
    """It loads nothing of what only the parent needs: 16 MiB in each of them."""
    program = "import gateway.worker, sys; print(sorted({'aiohttp', 'argon2', 'pydantic', 'yaml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True).stdout == b"[]\n"
