"""The repository speaks of itself alone: no machine, no package index, no dead link, no missing target."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FOREIGN = (
    # Put together from pieces, so that this file does not find itself.
    "pypi" + r"\.org",
    "python" + r"hosted\.org",
    "registry" + r"\.npmjs\.org",
    "proxy" + r"\.golang\.org",
    "--(extra-)?" + "index-url",
    "--find-" + "links",
    r"https?://\S+\." + r"(whl|tgz|tar\.gz|deb)\b",
    r"https?://\S+/" + r"simple/?(\s|$)",
    r'"resolved":\s*' + '"http',
    "/home/" + r"[a-z0-9_-]+/",
    "/User" + r"s/[A-Za-z]",
    "/ro" + r"ot/",
)
"""Addresses of package indexes and folders of somebody's machine."""


def local_folders() -> list[str]:
    """Return the folders of the machine this runs on, deep enough to be no word of a text or path of a URL."""
    folders = {ROOT, ROOT.parent, Path(sys.prefix)}
    return [re.escape(str(folder)) + r"(?![\w-])" for folder in folders if len(folder.parts) > 2]


@cache
def files() -> list[Path]:
    """Every file that is tracked, or would be with `git add .`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


@cache
def texts() -> dict[str, str]:
    found = {}
    for file in files():
        try:
            found[str(file.relative_to(ROOT))] = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def test_git_lists_the_files() -> None:
    assert "pyproject.toml" in texts()
    assert "gateway/errors.py" in texts()


@pytest.mark.parametrize("pattern", [*FOREIGN, *local_folders()])
def test_no_file_names_a_package_index_or_a_folder_of_a_machine(pattern: str) -> None:
    found = [
        f"{name}:{number}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"(?<![\w.])" + pattern if pattern.startswith("/") else pattern, line)
    ]
    assert found == []


def markdown() -> dict[str, str]:
    return {name: text for name, text in texts().items() if name.endswith(".md")}


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as forges make them."""
    bare = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+\s+(.+?)\s*$", bare, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(name: str, text: str) -> list[str]:
    dead = []
    for link in re.findall(r"\]\(<?([^)\s>]+)", without_code(text)):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z][a-z0-9+.-]*:|//", path):
            continue
        target = (ROOT / name).parent / path if path else ROOT / name
        if not target.exists():
            dead.append(f"{name}: {link}")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
            dead.append(f"{name}: {link} (no such heading)")
    return dead


def test_every_link_of_the_docs_leads_somewhere() -> None:
    assert [link for name, text in markdown().items() for link in dead_links(name, text)] == []


def code_of(text: str) -> str:
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])


def test_every_make_target_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        (name, target)
        for name, text in markdown().items()
        for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", code_of(text), re.MULTILINE)
    }
    assert {(name, target) for name, target in named if target not in targets} == set()


def test_the_makefile_offers_what_the_docs_promise() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    promised = {"install", "run", "test", "lint", "bench", "clean"}
    assert promised - set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE)) == set()


def test_the_ci_script_can_be_run() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
