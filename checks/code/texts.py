"""Python inside other texts: notebooks, shell scripts and command lines, `.pth` files, and configurations that run it.

Pure functions on bytes. What they give keeps its line numbers where it has any.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from checks.code.looks import Sign

_INTERPRETER = re.compile(r"(?:.*/)?(?:i?python|pypy)[0-9.]*")
_SHELL = re.compile(r"(?:.*/)?(?:ba|da|a|z|k)?sh|(?:.*/)?busybox")
_MAX_NESTED = 4
_MAX_CELLS = 2000
_SHELL_CELLS = ("%%bash", "%%sh", "%%script", "%%system", "%%!")
_MAX_FOUND = 200
SHEBANG: Final = re.compile(rb"(?:\xef\xbb\xbf)?#![^\n]{0,250}?\b(?:i?python|pypy|jython|graalpy)")
_RUNS_ITSELF = re.compile(
    rb"^[^#\n]{0,200}\bexec\s{1,20}\S{0,200}?(?:python|pypy)[0-9.]{0,8}\s[^\n]{0,200}?[\"']?\$\{?0\b", re.MULTILINE
)
_WRITTEN = re.compile(
    rb"(?:python|pypy)[0-9.]{0,8}\s{1,20}(?:-[A-Za-z]{1,20}\s{1,20}){0,8}?-[A-Za-z]{0,8}c\s{0,20}([\"'])"
)
_HEREDOC = re.compile(rb"(?:python|pypy)[0-9.]{0,8}[^\n|;&]{0,200}?<<-?\s{0,8}[\"']?(\w{1,40})[\"']?[^\n]{0,200}\n")
_MAX_WRITTEN = 65_536
_IMPORTING = ("import ", "import\t")
_DANGEROUS = (
    r"(?:os|posix|subprocess|builtins|importlib|runpy|socket|shutil|pty|ctypes|sys|code|marshal|pickle|commands)"
)
_TARGET = re.compile(rf"""["']?_target_["']?\s*:\s*["']?({_DANGEROUS}\.[\w.]+|eval|exec)""")
_TAG = re.compile(r"!!python/(object|name|module|tuple)[\w/]*:?[\w.]*")
_EXPRESSION = re.compile(r"[\"']\$")
_REACHES = re.compile(
    r"\b(?:os\.(?!path\b|environ\b|sep\b|cpu_count\b|makedirs\b)|(?:subprocess|socket|urllib|requests|ctypes|pty|marshal)\b)"
    r"|__\w{1,40}__|\b(?:exec|eval|compile|__import__)\s{0,8}\("
)


def written_in(words: Sequence[str], depth: int = 0) -> Iterator[str]:
    """Programs written in a command line itself, behind the `-c` of an interpreter, also of one in a shell's."""
    interpreter = shell = False
    for place, word in enumerate(words):
        if _INTERPRETER.fullmatch(word):
            interpreter, shell = True, False
        elif _SHELL.fullmatch(word):
            interpreter, shell = False, True
        elif word.startswith("-") and not word.startswith("--") and "c" in word[1:] and (interpreter or shell):
            after = word[word.index("c") + 1 :] or (words[place + 1] if place + 1 < len(words) else "")
            if interpreter:
                yield after
            elif depth < _MAX_NESTED:
                yield from written_in(_split(after), depth + 1)
            interpreter = shell = False


def _split(command: str) -> list[str]:
    """A shell's command as words; what no shell could split either stays one."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return [command]


def in_shell_script(data: bytes) -> bytes | None:
    """The Python of a shell script: all of it where it starts itself by Python, else programs behind `-c` or `<<`."""
    if _RUNS_ITSELF.search(data):
        return data
    places = list(_written_places(data))
    if not places:
        return None
    lines = [b""] * (data.count(b"\n") + 1)
    for start, end in places:
        for number, line in enumerate(data[start:end].split(b"\n"), data.count(b"\n", 0, start)):
            lines[number] = lines[number] + b"; " + line if lines[number] else line
    return b"\n".join(lines)


def _written_places(data: bytes) -> Iterator[tuple[int, int]]:
    """Where programs begin and end; one that does not end is taken as far as is looked."""
    for found in islice(_WRITTEN.finditer(data), _MAX_FOUND):
        start = found.end()
        end = re.compile(rb"(?<!\\)" + found[1]).search(data, start, start + _MAX_WRITTEN)
        yield start, end.start() if end else min(len(data), start + _MAX_WRITTEN)
    for found in islice(_HEREDOC.finditer(data), _MAX_FOUND):
        start = found.end()
        last = re.compile(rb"^[ \t]{0,200}" + found[1] + rb"\s*?$", re.MULTILINE)
        end = last.search(data, start, start + _MAX_WRITTEN)
        yield start, end.start() if end else min(len(data), start + _MAX_WRITTEN)


def in_notebook(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and source of each cell of code; a command for the shell becomes a call of `os.system`.

    Raises `ValueError` where it is no notebook that can be read.
    """
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    cells: Any = document.get("cells") if isinstance(document, dict) else None
    if not isinstance(cells, list) or len(cells) > _MAX_CELLS:
        raise ValueError("no list of cells, or far too many")
    for number, cell in enumerate(cells, 1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source")
            text = "".join(map(str, source)) if isinstance(source, list) else str(source)
            in_shell = text.lstrip().startswith(_SHELL_CELLS)
            plain = "\n".join(_plain_line(line, in_shell=in_shell) for line in text.split("\n"))
            yield number, plain.encode("utf-8", "replace")


def _plain_line(line: str, *, in_shell: bool) -> str:
    bare = line.lstrip()
    if bare.startswith(("!", "%sx", "%system", "%%")) or in_shell or re.match(r"[\w, ]+=\s*!", bare):
        starts = in_shell or not bare.startswith("%%")
        return line[: len(line) - len(bare)] + ("os.system('')" if starts and bare else "pass")
    return line[: len(line) - len(bare)] + "pass" if bare.startswith("%") else line


def startup_lines(data: bytes) -> bytes | None:
    """Lines of a `.pth` file that Python runs at every start, at their places; None for none.

    Lines end as for `str.splitlines`, which newer interpreters use, and a mark of byte order is passed over.
    """
    lines = data.decode("utf-8-sig", "replace").splitlines()
    if not any(line.startswith(_IMPORTING) for line in lines):
        return None
    return "\n".join(line if line.startswith(_IMPORTING) else "" for line in lines).encode("utf-8", "replace")


def signs_of_configuration(text: str) -> Iterator[Sign]:
    """Where a configuration has its loader call Python: `_target_` (Hydra, MONAI), `$…` (MONAI), tags of YAML."""
    for number, line in enumerate(text.split("\n")[:100_000], 1):
        line = line[:4000]
        if found := _TARGET.search(line):
            yield Sign(number, "config-code", f"has {found[1][:80]} called by whoever loads this configuration")
        elif found := _TAG.search(line):
            yield Sign(number, "config-code", "a tag by which YAML makes objects of Python")
        elif (begun := _EXPRESSION.search(line)) and _REACHES.search(line, begun.end()):
            yield Sign(number, "config-code", "an expression that MONAI evaluates, and that reaches out of Python")
