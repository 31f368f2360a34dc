"""What README and docs say is so: commands, links, make targets, dependencies."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from console.terminal.app import app

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted(
    [path for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (path := ROOT / name).is_file()]
    + list((ROOT / "docs").rglob("*.md"))
)
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(pratique [^`\n]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def command_lines(document: Path) -> Iterator[str]:
    """Every command of Pratique that a document shows."""
    text = document.read_text()
    for block in _FENCE.findall(text):
        joined = block.replace("\\\n", " ")
        yield from (
            line.removeprefix("$ ") for line in joined.splitlines() if line.removeprefix("$ ").startswith("pratique ")
        )
    yield from _INLINE.findall(_FENCE.sub("", text))


SHOWN = [(document, line) for document in DOCUMENTS for line in command_lines(document)]


def words(line: str) -> list[str]:
    """The arguments of a command line, without its comment; `…` stands for what is left out."""
    return [word for word in shlex.split(line.replace("…", ""), comments=True)[1:] if word]


def resolved(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that `arguments` call, and what is left for it."""
    command: Any = typer.main.get_command(app)
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return command, arguments


@pytest.mark.parametrize("line", [line for _, line in SHOWN], ids=[f"{path.name}: {line}" for path, line in SHOWN])
def test_every_command_that_is_shown_exists(line: str) -> None:
    command, rest = resolved(words(line))
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    own = rest[: rest.index("--")] if "--" in rest else rest  # what follows belongs to the tool
    for word in own:
        if word.startswith("-"):
            assert word.split("=")[0] in known, f"{line!r}: {command.name} has no option {word}"
    if hasattr(command, "commands"):
        assert all(word.startswith("-") for word in rest), f"{line!r} names no command"


README_LINES = [line for document, line in SHOWN if document.name == "README.md" and "…" not in line]


@pytest.mark.parametrize("line", README_LINES)
def test_readme_lines_are_whole(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They parse as they stand, once the files that they name are there."""
    monkeypatch.chdir(tmp_path)
    command, rest = resolved(words(line))
    for word in rest:
        path = Path(word)
        if path.suffix in (".yaml", ".zip", ".json", ".pkl", ".csv"):
            path.touch()
        elif word.startswith("./"):
            path.mkdir(exist_ok=True)
    if not hasattr(command, "commands"):
        command.make_context(command.name, list(rest))


def test_readme_shows_commands() -> None:
    assert len(README_LINES) >= 8


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that does something, as the words that call it."""
    children = getattr(command, "commands", {})
    for name, child in children.items():
        yield from paths(child, (*path, name))
    if not children:
        yield "pratique " + " ".join(path)


@pytest.mark.parametrize("command", list(paths(typer.main.get_command(app))))
def test_every_command_is_documented(command: str) -> None:
    assert any(re.search(rf"{re.escape(command)}\b", document.read_text()) for document in DOCUMENTS)


def links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for found in _LINK.finditer(_FENCE.sub("", document.read_text())):
            target = found[1] or found[2]
            if not re.match(r"[a-z]+:", target):
                yield document, target


@pytest.mark.parametrize(
    ("document", "target"), list(links()), ids=[f"{path.name}: {target}" for path, target in links()]
)
def test_every_relative_link_leads_somewhere(document: Path, target: str) -> None:
    file, _, anchor = target.partition("#")
    place = (document.parent / file).resolve() if file else document
    assert place.exists()
    assert place.is_relative_to(ROOT)
    if anchor:
        headings = [
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in _HEADING.findall(place.read_text())
        ]
        assert anchor in headings


def test_make_targets_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {target for document in DOCUMENTS for target in re.findall(r"`make ([a-z-]+)`", document.read_text())}
    shown |= {
        target
        for document in DOCUMENTS
        for block in _FENCE.findall(document.read_text())
        for target in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)
    }
    assert shown <= targets
    assert {"demo", "test", "stop"} <= shown


def requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return [re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0] for requirement in named]


@pytest.mark.parametrize("package", requirements())
def test_every_dependency_has_its_reason(package: str) -> None:
    rows = [line for line in (ROOT / "docs/dependencies.md").read_text().splitlines() if line.startswith("|")]
    reasons = [row.split("|")[2].strip() for row in rows if f"`{package}`" in row.split("|")[1]]
    assert len(reasons) == 1
    assert len(reasons[0]) > 15


def test_development_tools_have_their_reasons() -> None:
    text = (ROOT / "docs/dependencies.md").read_text()
    for line in (ROOT / "requirements/dev.in").read_text().splitlines():
        if line and not line.startswith(("#", "-")):
            assert f"`{re.split(r'[<>=; ]', line)[0]}`" in text, line


def test_documented_dependencies_are_used() -> None:
    text = (ROOT / "docs/dependencies.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    development = {
        re.split(r"[<>=; ]", line)[0]
        for line in (ROOT / "requirements/dev.in").read_text().splitlines()
        if line and not line.startswith(("#", "-"))
    }
    assert named == set(requirements()) | development


def test_exit_codes_in_readme_are_those_of_the_program() -> None:
    from console.terminal.failures import EXIT_CODES

    text = " ".join((ROOT / "README.md").read_text().split())
    for part in EXIT_CODES.removeprefix("Exit codes: ").rstrip(".").split("; "):
        assert part in text
