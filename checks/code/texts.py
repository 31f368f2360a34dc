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
_SHELL_CELLS = ("%%bash", "%%sh", "%%script", "%%system", "%%!", "%%sx", "%%perl", "%%ruby", "%%cmd", "%%cython", "%%R")
_STARTING = re.compile(
    r"%(?:run|pip|conda|mamba|micromamba|uv|load|loadpy|load_ext|sc|sx|system|alias|edit|macro|bg|script)\b"
)
"""Commands of a notebook that start programs, or run other files."""
_ASSIGNED = re.compile(r"[\w, .\[\]\"']{1,200}=\s{0,20}(?:!|%(?:sx|sc|system)\b)")
_TIMED = re.compile(r"%%?(?:time|timeit|prun|memit|mprun|lprun|debug)\b\s{0,8}(?:-[a-z]\s{0,8}\d{0,9}\s{1,8}){0,9}")
_MAX_FOUND = 200
SHEBANG: Final = re.compile(rb"(?:\xef\xbb\xbf)?#![^\n]{0,250}?\b(?:i?python|pypy|jython|graalpy)")
_RUNS_ITSELF = re.compile(
    rb"^[^#\n]{0,200}\bexec\s{1,20}\S{0,200}?(?:python|pypy)[0-9.]{0,8}\s[^\n]{0,200}?[\"']?\$\{?0\b", re.MULTILINE
)
_MENTION = re.compile(rb"(?:python|pypy)[0-9.]{0,8}")
_GAP = rb"(?:\\\r?\n|[^\n|;&]){0,200}?"
_WRITTEN = re.compile(_GAP + rb"[\s=]-[A-Za-z]{0,8}c\s{0,20}(?:\\\r?\n\s{0,20})?\$?([\"']?)")
_HERE_TEXT = re.compile(_GAP + rb"<<<\s{0,8}\$?([\"']?)")
_HEREDOC = re.compile(_GAP + rb"<<-?\s{0,8}[\"'\\]?(\w{1,40})[\"']?[^\n]{0,200}\n")
_PIPED_TEXT = re.compile(rb"\b(?:echo|printf)\s{1,8}(?:-\w{1,4}\s{1,8})?\$?([\"'])")
_PIPED_HEREDOC = re.compile(rb"<<-?\s{0,8}[\"'\\]?(\w{1,40})")
_AS_PYTHON = re.compile(
    rb"\s-[A-Za-z]{0,8}c\s{1,20}\$?([\"'])\s{0,20}(?:import|from|exec|eval|__import__|print)\b(?!\s[^\n]{0,80}\bin\b)"
)
_WINDOW = 600
_MAX_MENTIONS = 2000
_MAX_WRITTEN = 65_536
_MAX_PROGRAMS = 1024**2
_IMPORTING = ("import ", "import\t")
_DANGEROUS = (
    r"(?:os|posix|subprocess|builtins|importlib|runpy|socket|shutil|pty|ctypes|sys|code|marshal|pickle|commands)"
)
_TARGET = re.compile(
    rf"""_target_["']?\s{{0,200}}:\s{{0,200}}(?:(?:[>|][-+0-9]{{0,2}}|[&!]\S{{1,80}})\s{{1,200}}){{0,3}}"""
    rf"""["']?(?:({_DANGEROUS}\.[\w.]{{1,200}}|eval\b|exec\b)|\*\w)"""
)
_ESCAPED = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2}))")
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
    """The Python of a shell script: all of it where it starts itself by Python, else programs behind `-c` or `<<`.

    Raises `ValueError` where there is too much of it.
    """
    if _RUNS_ITSELF.search(data):
        return data
    places = list(_written_places(data))
    if not places:
        return None
    places = sorted(set(places))
    if sum(end - start for start, end in places) > _MAX_PROGRAMS:
        raise ValueError("too many programs are written in it")
    lines = [b""] * (data.count(b"\n") + 1)
    number = before = 0
    for start, end in places:
        number, before = number + data.count(b"\n", before, start), start
        for here, line in enumerate(data[start:end].split(b"\n"), number):
            lines[here] = lines[here] + b"; " + line if lines[here] else line
    return b"\n".join(lines)


def _written_places(data: bytes) -> Iterator[tuple[int, int]]:
    """Where programs begin and end; one that does not end is taken as far as is looked."""
    for count, mention in enumerate(_MENTION.finditer(data)):
        if count >= _MAX_MENTIONS:
            raise ValueError(f"it names Python more than {_MAX_MENTIONS:,} times")
        after = data[mention.end() : mention.end() + _WINDOW]
        for pattern in (_WRITTEN, _HERE_TEXT):
            if found := pattern.match(after):
                yield _quoted(data, mention.end() + found.end(), found[1])
                break
        if found := _HEREDOC.match(after):
            yield _document(data, mention.end() + found.end(), found[1])
        line = max(data.rfind(b"\n", 0, mention.start()) + 1, mention.start() - _WINDOW)
        if b"|" in data[line : mention.start()]:
            yield from _piped(data, line, mention.start())
    for found in islice(_AS_PYTHON.finditer(data), _MAX_FOUND):
        yield _quoted(data, found.start(1) + 1, found[1])


def _piped(data: bytes, line: int, end: int) -> Iterator[tuple[int, int]]:
    """Programs that are written out into a pipe before an interpreter, in the line that begins at `line`."""
    if found := _PIPED_TEXT.search(data, line, end):
        yield _quoted(data, found.end(), found[1])
    begins = data.find(b"\n", end) + 1
    if begins and (found := _PIPED_HEREDOC.search(data, line, end)):
        yield _document(data, begins, found[1])


def _quoted(data: bytes, start: int, quote: bytes) -> tuple[int, int]:
    """A text up to its closing quote; without quotes, up to the end of the line."""
    end = re.compile(rb"(?<!\\)" + (quote or rb"(?:\n|\Z)")).search(data, start, start + _MAX_WRITTEN)
    return start, end.start() if end else min(len(data), start + _MAX_WRITTEN)


def _document(data: bytes, start: int, mark: bytes) -> tuple[int, int]:
    last = re.compile(rb"^[ \t]{0,200}" + mark + rb"\s*?$", re.MULTILINE)
    end = last.search(data, start, start + _MAX_WRITTEN)
    return start, end.start() if end else min(len(data), start + _MAX_WRITTEN)


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
    indent = line[: len(line) - len(bare)]
    if not bare or bare.startswith("#"):
        return line
    if in_shell or bare.startswith("!") or _ASSIGNED.match(bare) or _STARTING.match(bare):
        return f"{indent}os.system('')"
    if bare.startswith("%"):
        timed = _TIMED.match(bare)
        return f"{indent}{bare[timed.end() :] if timed else ''}".rstrip() or f"{indent}pass"
    return line


def startup_lines(data: bytes) -> bytes | None:
    """Lines of a `.pth` file that Python runs at every start, at their places; None for none.

    Lines end as for `str.splitlines`, which newer interpreters use, and a mark of byte order is passed over.
    """
    lines = data.decode("utf-8-sig", "replace").splitlines()
    if not any(line.startswith(_IMPORTING) for line in lines):
        return None
    return "\n".join(line if line.startswith(_IMPORTING) else "" for line in lines).encode("utf-8", "replace")


def signs_of_configuration(text: str) -> Iterator[Sign]:
    """Where a configuration has its loader call Python: `_target_` (Hydra, MONAI), `$…` (MONAI), tags of YAML.

    Letters may be written by their number, and a value may stand on a later line than its name.
    """
    text = _ESCAPED.sub(_letter, text)
    seen = line = 0
    for found in _TARGET.finditer(text):
        line, seen = line + text.count("\n", seen, found.start()), found.start()
        called = found[1][:80] if found[1] else "what another place names"
        yield Sign(line + 1, "config-code", f"has {called} called by whoever loads this configuration")
    for number, row in enumerate(text.split("\n"), 1):
        if _TAG.search(row):
            yield Sign(number, "config-code", "a tag by which YAML makes objects of Python")
        elif (begun := _EXPRESSION.search(row)) and _REACHES.search(row, begun.end()):
            yield Sign(number, "config-code", "an expression that MONAI evaluates, and that reaches out of Python")


def _letter(found: re.Match[str]) -> str:
    letter = chr(int(found[1] or found[2], 16))
    return letter if letter.isprintable() else " "
