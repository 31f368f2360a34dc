"""What an image starts, and where its Python looks for modules: read from the command line, scripts and `.pth` files.

Names are followed as a shell would, roughly and generously: what is read in vain costs little.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from pratique.errors import CouldNotDecide
from pratique.intake.image.model import FileClass, FileEntry, Image, Inventory, Kind

INTERPRETER: Final = re.compile(r"(?:.*/)?(?:i?python|pypy)[0-9.]*")
SHELL: Final = re.compile(r"(?:.*/)?(?:ba|da|a|z|k)?sh|(?:.*/)?busybox|\.|source")
_TOKEN = re.compile(r"[^\s\"'`;&|()<>]{1,4096}")
_NEXT = re.compile(r"[\n;&]+")
_VARIABLE = re.compile(r"\$(?:\{(\w{1,80})\}|(\w{1,80}))")
_CALLED = re.compile(r"(?:^|[\n;&|(])[ \t]{0,200}(?:exec[ \t]{1,20})?([^\s\"'`;&|()<>]{1,400})")
_OPTION = re.compile(r"-[A-Za-z]{0,12}?([cm])(.*)", re.DOTALL)
_SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_SHEBANGS = (b"#!", b"\xef\xbb\xbf#!")
_STARTERS = re.compile(r"(?:.*/)?(?:env|tini|dumb-init|busybox|(?:ba|da|a|z|k)?sh)")
_MAX_SCRIPTS = 64
_MAX_WORDS = 20_000
_MAX_TOKENS = 20_000
_MAX_FOLDERS = 16
_MAX_PLACES = 20_000


@dataclass
class Started:
    """What is started: `words` of the command line, one by one, and commands of its scripts.

    `python` and `shell` are files that an interpreter is given, or that Python imports from; `native` are programs of
    the processor's own code that are no interpreters; `folders` are where the environment has modules looked for.
    `by_line` are all files whose first line names Python, started or not. `whole` is false where there was more to
    follow than is followed.
    """

    words: list[str] = field(default_factory=list)
    python: set[str] = field(default_factory=set)
    by_line: set[str] = field(default_factory=set)
    shell: set[str] = field(default_factory=set)
    native: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    whole: bool = True


class _Files:
    """Names as a process in the image would find them."""

    def __init__(self, image: Image, inventory: Inventory) -> None:
        self._inventory = inventory
        self.environment = dict(image.config.env)
        self._folders = [image.config.workdir or "/"]
        self._search = [*self.environment.get("PATH", "").split(":")[:_MAX_FOLDERS], *_SEARCHED]
        self._known: dict[str, FileEntry | None] = {}
        self.full = False
        programs = (e for e in inventory.files.values() if e.kind is Kind.FILE and INTERPRETER.fullmatch(e.path))
        self._interpreters = {entry.sha256 for entry in programs if entry.head.startswith(b"\x7fELF")}

    def at(self, word: str) -> FileEntry | None:
        """The file that `word` names, or the program that it finds; directories that are named are looked into too."""
        if word not in self._known:
            if len(self._known) >= _MAX_WORDS:
                self.full = True
                return None
            self._known[word] = self._find(word)
        return self._known[word]

    def _find(self, word: str) -> FileEntry | None:
        places = [word] if word.startswith("/") else [f"{folder}/{word}" for folder in self._folders]
        places += [f"{folder}/{word}" for folder in self._search if "/" not in word and folder]
        for place in places:
            entry = self._inventory.resolve(place)
            if entry is not None and entry.kind is Kind.DIRECTORY and len(self._folders) < _MAX_FOLDERS:
                self._folders.append(f"/{entry.path}")
            if entry is not None and entry.kind is Kind.FILE:
                return entry
        return None

    def is_python(self, word: str) -> bool:
        """Whether `word` is Python: by its name, by a link, or as a copy under another name."""
        if INTERPRETER.fullmatch(word):
            return True
        entry = self.at(word)
        return entry is not None and bool(INTERPRETER.fullmatch(entry.path) or entry.sha256 in self._interpreters)

    def interpreter(self, entry: FileEntry) -> str:
        """Who runs a file by its first line: `python`, `shell`, or nobody of these."""
        if not entry.head.removeprefix(b"\xef\xbb\xbf").startswith(b"#!"):
            return ""
        words = entry.head.partition(b"\n")[0].decode("utf-8", "replace").partition("#!")[2].split()
        if any(self.is_python(word) for word in words[:3]):
            return "python"
        return "shell" if any(SHELL.fullmatch(word) for word in words[:3]) else ""


def find_started(image: Image, inventory: Inventory, commands: Sequence[str]) -> Started:
    """What `commands` start, also by way of shells and of scripts that start others, and what Python imports from."""
    files = _Files(image, inventory)
    started = Started(words=list(commands))
    texts = list(commands)
    _follow(" ".join(commands), files, started)
    for text in texts:
        started.words += _TOKEN.findall(text)[:_MAX_TOKENS]
    done: set[str] = set()
    while (left := started.shell - done) and len(done) < _MAX_SCRIPTS:
        path = min(left)
        done.add(path)
        text = _text(inventory, path)
        _follow(text, files, started)
        words = _TOKEN.findall(text)[:_MAX_TOKENS]
        started.words += _CALLED.findall(text)[:_MAX_TOKENS]
        started.words += [word for option, name in pairwise(words) if option == "-m" for word in (option, name)]
    for found in _imported_from(image, inventory):
        (started.python if found.kind is Kind.FILE else started.folders).add(found.path)
    scripts = (e for e in inventory.files.values() if e.kind is Kind.FILE and e.head.startswith(_SHEBANGS))
    started.by_line |= {entry.path for entry in scripts if files.interpreter(entry) == "python"}
    started.whole = not files.full and not started.shell - done
    return started


def _tokens(text: str, files: _Files) -> list[str]:
    def value(found: re.Match[str]) -> str:
        return files.environment.get(found[1] or found[2], "")[:4096]

    return [_VARIABLE.sub(value, word) for word in _TOKEN.findall(text)[:_MAX_TOKENS]]


def _follow(text: str, files: _Files, started: Started) -> None:
    for command in _NEXT.split(text.replace("\\\n", " "))[:_MAX_TOKENS]:
        _follow_command(_tokens(command, files), files, started)


def _follow_command(words: Sequence[str], files: _Files, started: Started) -> None:
    """The file behind an interpreter is what it runs; without one, it may be given any file on its input."""
    waiting = ""
    others: set[str] = set()
    for word in words:
        option = _OPTION.fullmatch(word)
        if waiting and option:
            waiting = ""
        elif files.is_python(word):
            waiting = "python"
        elif SHELL.fullmatch(word):
            waiting = "shell"
        elif (entry := files.at(word)) is not None:
            if entry.head.startswith(b"\x7fELF"):
                started.native |= set() if _STARTERS.fullmatch(entry.path) else {entry.path}
                continue
            kind = files.interpreter(entry) or waiting
            if kind:
                (started.python if kind == "python" else started.shell).add(entry.path)
                waiting = ""
            else:
                others.add(entry.path)
    if waiting == "python":
        started.python |= others


def _text(inventory: Inventory, path: str) -> str:
    """A script that was kept; of others only their own text is looked at, later."""
    if path not in inventory.classes:
        return ""
    try:
        return inventory.read(path).decode("utf-8", "replace")
    except CouldNotDecide:
        return ""


def _imported_from(image: Image, inventory: Inventory) -> Iterator[FileEntry]:
    """What Python looks for modules in, by the environment and by `.pth` files: directories, archives of any name."""
    workdir = image.config.workdir or "/"
    named = (place for name, value in image.config.env if name == "PYTHONPATH" for place in value.split(":"))
    places = [place if place.startswith("/") else f"{workdir}/{place}" for place in named if place]
    for entry in inventory.of_class(FileClass.PYTHON_STARTUP):
        if entry.path.endswith(".pth"):
            folder = entry.path.rpartition("/")[0]
            lines = (line.strip() for line in _text(inventory, entry.path).splitlines())
            places += [line if line.startswith("/") else f"{folder}/{line}" for line in lines if line]
    for place in places[:_MAX_PLACES]:
        found = _archive(place, inventory)
        if found is not None:
            yield found


def _archive(place: str, inventory: Inventory) -> FileEntry | None:
    """The file at `place`, or the archive that it leads into."""
    for _ in range(8):
        entry = inventory.resolve(place)
        if entry is not None:
            return entry
        place = place.rstrip("/").rpartition("/")[0]
        if not place:
            return None
    return None
