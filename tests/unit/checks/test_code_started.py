"""Code under other names, behind scripts and links, and in places that Python looks into: read all the same."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.code import started as started_module
from checks.code.signs import find_signs
from checks.code.sources import find_own_code
from checks.code.texts import in_notebook, in_shell_script
from checks.interface import Status
from pratique.intake.image import LayoutImage, open_image, read_inventory
from pratique.intake.image.model import ImageLimits
from tests.assets.images import Item, entry, made
from tests.unit.checks.test_code import PLAIN, SITE, judged, package, zipapp

EVIL = b"import socket\n"
END = b"PK\x05\x06" + bytes(18)
PYTHON: Item = ("usr/bin/python3.11", b"\x7fELF python")


def link(path: str, target: str) -> Item:
    return entry(path, tarfile.SYMTYPE, linkname=target)


def forged(stated: str, path: str, data: bytes) -> list[Item]:
    """A package whose RECORD gives the true hash of a file that is the tool's."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    info = f"{SITE}/other-1.dist-info"
    return [
        (path, data),
        (f"{info}/METADATA", b"Name: other\nVersion: 1\n"),
        (f"{info}/RECORD", f"{stated},sha256={digest},1\n".encode()),
    ]


HIDDEN: dict[str, tuple[list[Item], list[str], dict[str, Any]]] = {
    "a module that is a link": ([link("app/h.py", "h.dat"), ("app/h.dat", EVIL)], [], {}),
    "a program that a forged RECORD owns": (
        forged("../../../../app/bin/run", "app/bin/run", b"#!/usr/bin/python3\n" + EVIL),
        ["/app/bin/run"],
        {},
    ),
    "a started module that a forged RECORD owns": (
        forged("other/m.py", f"{SITE}/other/m.py", EVIL),
        ["python3", f"/{SITE}/other/m.py"],
        {},
    ),
    "a module that a shell starts": (package("mine"), ["sh", "-c", "exec python3 -m mine.main"], {}),
    "a module that a script starts": (
        [*package("mine"), ("app/run", b"#!/bin/sh\nexec python3 -m mine.main\n")],
        ["/app/run"],
        {},
    ),
    "a file that a script starts": (
        [("app/c.dat", EVIL), ("app/a", b"#!/bin/sh\n. /app/b.sh\n"), ("app/b.sh", b"exec python3 /app/c.dat\n")],
        ["/app/a"],
        {},
    ),
    "a file in quotes": ([("app/c.dat", EVIL)], ["sh", "-c", "python3 '/app/c.dat'; true"], {}),
    "a file on the input": ([("app/c.dat", EVIL)], ["sh", "-c", "python3 </app/c.dat"], {}),
    "a file in another directory": ([("app/c.dat", EVIL)], ["sh", "-c", "cd /app && python3 c.dat"], {}),
    "a file by a variable": ([("app/c.dat", EVIL)], ["sh", "-c", "python3 $H/c.dat"], {"Env": ["H=/app"]}),
    "an interpreter behind a link": (
        [PYTHON, link("app/rt", "/usr/bin/python3.11"), ("app/c.dat", EVIL)],
        ["/app/rt", "/app/c.dat"],
        {},
    ),
    "a copied interpreter": ([PYTHON, ("app/rt", PYTHON[1]), ("app/c.dat", EVIL)], ["/app/rt", "/app/c.dat"], {}),  # type: ignore[index]
    "a first line with a link": (
        [PYTHON, link("usr/bin/rt", "python3.11"), ("app/c", b"#!/usr/bin/env rt\n" + EVIL)],
        [],
        {},
    ),
    "a wheel by a .pth file": (
        [(f"{SITE}/x.pth", b"../../../../opt/a.whl\n"), ("opt/a.whl", zipapp(("m.py", EVIL)))],
        [],
        {},
    ),
    "a folder in an archive": ([("opt/a", zipapp(("s/m.py", EVIL)))], ["python3"], {"Env": ["PYTHONPATH=/opt/a/s"]}),
    "the library's archive, behind other bytes": (
        [("usr/local/lib/python311.zip", b"x" + zipapp(("m.py", EVIL)))],
        [],
        {},
    ),
    "a module with an archive behind it": ([("app/m.py", EVIL + zipapp(("a.py", PLAIN)))], [], {}),
    "a script with an archive's end": ([("app/go.sh", b"#!/bin/sh\npython3 -c 'import socket'\n" + END)], [], {}),
    "a script without a first line": ([("app/go", b"python3 -c 'import socket'\n")], ["sh", "/app/go"], {}),
    "a health check": ([], [], {"Healthcheck": {"Test": ["CMD", "python3", "-c", "import socket"]}}),
}
OTHERWISE: dict[str, tuple[list[Item], list[str], dict[str, Any], str]] = {
    "a script that is too large": ([("app/go.sh", b"#!/bin/sh\n" + b"#" * (2 << 20))], [], {}, "not-examined"),
    "a start-up file that is a link": ([link("a/sitecustomize.py", "h"), ("a/h", PLAIN)], [], {}, "startup-file"),
    "a library in a folder of modules": ([("a/m.py", PLAIN), ("a/x/evil.so", b"\x7fELF")], [], {}, "native-code"),
    "a library on the path": ([("e/evil.so", b"\x7fELF")], [], {"Env": ["PYTHONPATH=/e"]}, "native-code"),
    "a library behind a link": ([("a/m.py", PLAIN), link("a/e.so", "x"), ("a/x", b"\x7fELF")], [], {}, "native-code"),
    "a program that is no Python": ([("app/tool", b"\x7fELF")], ["/app/tool"], {}, "native-code"),
    "a large configuration": ([("c.yaml", b"_target_: os.system\n" + b"#" * (300 << 10))], [], {}, "config-code"),
    "a configuration among data": ([("usr/share/t/c.yml", b"_target_: os.system\n")], [], {}, "config-code"),
    "a value on the next line": ([("c.yaml", b"_target_: >-\n  os.system\n")], [], {}, "config-code"),
    "letters by their number": ([("c.json", b'{"\\u005ftarget_": "os\\u002esystem"}')], [], {}, "config-code"),
    "a long line": ([("c.json", b'{"a": "%s", "_target_": "os.system"}' % (b"x" * 9000))], [], {}, "config-code"),
    "a value that stands elsewhere": ([("c.yaml", b"a: &a os.system\n_target_: *a\n")], [], {}, "config-code"),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_code_is_read_whatever_leads_to_it(case: str, tmp_path: Path) -> None:
    items, commands, run = HIDDEN[case]
    image = made(*items, ("etc/x", b"x"), run=run)
    top = image.manifest()
    layout = LayoutImage(image.write_layout(tmp_path / "image", [top]))
    opened = open_image(layout, expected=top["digest"], workdir=tmp_path)
    config = opened.config
    own = find_own_code(opened, read_inventory(opened), (*commands, *config.healthcheck), ImageLimits())
    assert any(b"import socket" in source.data for source in own.sources)


@pytest.mark.parametrize("case", OTHERWISE)
def test_what_is_no_source_is_told(case: str, tmp_path: Path) -> None:
    items, commands, run, rule = OTHERWISE[case]
    found = judged(tmp_path, made(*items, run=run), *commands)
    assert f"code/{rule}" in {finding.rule_id for finding in found.findings}


def test_a_script_that_starts_python_is_no_python(tmp_path: Path) -> None:
    script = b'#!/bin/sh\nif true; then\nexec python3 /app/main.py --config /app/config.yaml "$@"\nfi\n'
    items = (("app/start", script), ("app/main.py", PLAIN), ("app/config.yaml", b"a: b: c\n"))
    result = judged(tmp_path, made(*items), "/app/start", "python3", "/app/main.py")
    assert (result.status, result.findings, result.measured("files")) == (Status.PASSED, (), 1)


def test_a_package_is_no_tool_for_a_script_that_nothing_starts(tmp_path: Path) -> None:
    items = forged("other/m.py", f"{SITE}/other/m.py", b"#!/usr/bin/env python3\n" + EVIL)
    assert judged(tmp_path, made(*items, ("app/m.py", PLAIN)), "python3", "/app/m.py").findings == ()


def test_too_many_words_leave_it_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started_module, "_MAX_WORDS", 10)
    words = " ".join(f"w{number}" for number in range(50))
    assert judged(tmp_path, made(("app/m.py", PLAIN)), "sh", "-c", words).status is Status.INCONCLUSIVE


SHELL: dict[str, bytes] = {
    "a document into a pipe": b"cat <<E | python3\nimport socket\nE\n",
    "a text into a pipe": b"echo 'import socket' | python3\n",
    "a text as input": b"python3 <<< 'import socket'\n",
    "a line that goes on": b"python3 \\\n -c 'import socket'\n",
    "a quote with a dollar": b"python3 -c $'import socket'\n",
    "no quotes": b"python3 -c import\\ socket\n",
    "an interpreter in a variable": b"P=rt\n$P -c 'import socket'\n",
    "options with values": b"python3 -W ignore -X utf8 -c 'import socket'\n",
}


@pytest.mark.parametrize("case", SHELL)
def test_a_program_in_a_shell_script_is_found_however_it_is_given(case: str) -> None:
    assert b"socket" in (in_shell_script(b"#!/bin/sh\n" + SHELL[case]) or b"")


@pytest.mark.parametrize("data", [b"python " * 3000, b"python3 <<E\n" * 40])
def test_a_script_of_interpreters_is_not_read_to_its_end(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"times|too many"):
        in_shell_script(b"#!/bin/sh\n" + data + b"x" * (1 << 20))


CELLS = [
    "%time import socket",
    "%%timeit -n 3 import socket",
    "x[0] = !ls",
    "%run a.dat",
    "%pip install x",
    "%%perl\\nx",
]


@pytest.mark.parametrize("cell", CELLS)
def test_commands_of_a_notebook_are_told(cell: str) -> None:
    notebook = b'{"cells": [{"cell_type": "code", "source": "%s"}]}' % cell.encode()
    ((_, source),) = in_notebook(notebook)
    assert {sign.rule for sign in find_signs(source)[0]} & {"network", "subprocess"}


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_script_has_lines_of_code_or_none(data: bytes) -> None:
    found = in_shell_script(b"python3 -c '" + data)
    assert found is None or found.count(b"\n") <= data.count(b"\n") + 1
