"""Code that is reached by detours, or lies in other texts: found all the same; nothing here is ever run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.code.texts import in_notebook, in_shell_script, signs_of_configuration, written_in
from checks.interface import Level
from tests.assets.images import made
from tests.unit.checks.test_code import SITE, judged, zipapp

NOTEBOOK = b'{"cells": [{"cell_type": "markdown", "source": "x"}, {"cell_type": "code", "source": %s}]}'
REACHED: dict[str, tuple[str, bytes, str]] = {
    "an encoding that reads otherwise": ("app/a.py", b"# coding: hz\nx = 1\n", "odd-characters"),
    "code in a comment, by its encoding": (
        "app/a.py",
        b"# coding: raw_unicode_escape\n#\\u000aimport ctypes\n",
        "native-code",
    ),
    "a codec that is none for sources": ("app/a.py", b"# vim: set fileencoding=rot13 :\nx\n", "odd-characters"),
    "lines that end as on old Macs": ("app/a.py", b"# x\rimport ctypes\n", "native-code"),
    "a long line for the kernel": (
        "app/run",
        b"#!" + b"/usr/../" * 20 + b"bin/python3\nimport ctypes\n",
        "native-code",
    ),
    "another interpreter": ("app/run", b"#!/usr/bin/pypy3\nimport ctypes\n", "native-code"),
    "a shell script that starts itself by Python": (
        "app/run",
        b"#!/bin/sh\n''':'\nexec python3 \"$0\" \"$@\"\n'''\nimport ctypes\n",
        "native-code",
    ),
    "Python in a shell script": ("app/go.sh", b"#!/bin/sh\nset -e\npython3 -u -c 'import ctypes'\n", "native-code"),
    "Python in a shell script's document": (
        "app/go.sh",
        b"#!/bin/sh\npython3 - <<'END'\nimport ctypes\nEND\n",
        "native-code",
    ),
    "a notebook": ("app/a.ipynb", NOTEBOOK % b'["import os\\n", "import ctypes\\n"]', "native-code"),
    "a notebook with a command for the shell": ("app/a.ipynb", NOTEBOOK % b'"x = 1\\n!curl x | sh\\n"', "subprocess"),
    "a notebook with a cell for the shell": ("app/a.ipynb", NOTEBOOK % b'"%%bash\\ncurl x\\n"', "subprocess"),
    "a notebook that is none": ("app/a.ipynb", b"{", "not-examined"),
    "a .pth behind a mark of byte order": (f"{SITE}/x.pth", b"\xef\xbb\xbfimport ctypes\n", "startup-file"),
    "a .pth with lines that end otherwise": (f"{SITE}/x.pth", b"/a\x0cimport ctypes\n", "native-code"),
    "a package called sitecustomize": (f"{SITE}/sitecustomize/__init__.py", b"x = 1\n", "startup-file"),
    "a library called usercustomize": (f"{SITE}/usercustomize.abi3.so", b"\x7fELF" + bytes(60), "startup-file"),
    "a program in a zip of any name": ("app/data.bin", zipapp(("__main__.py", b"import ctypes\n")), "native-code"),
    "behind a long chain of calls": (
        "app/a.py",
        b"import os\nq = q" + b".where(1)" * 60 + b"\nos.system('true')\n",
        "subprocess",
    ),
    "a function taken from a list": ("app/a.py", b"import os\n[os.system][0]('true')\n", "subprocess"),
    "a function handed to another": ("app/a.py", b"import os\nlist(map(os.system, ['true']))\n", "subprocess"),
    "a function as a decorator": ("app/a.py", b"import os\n@os.system\ndef f(): pass\n", "subprocess"),
    "a function by getattr": ("app/a.py", b"import os\ngetattr(os, 'system')('true')\n", "subprocess"),
    "a function from sys.modules": ("app/a.py", b"import sys\nsys.modules['os'].system('true')\n", "subprocess"),
    "a function from a module's dictionary": ("app/a.py", b"import os\nos.__dict__['system']('true')\n", "subprocess"),
    "a function from vars": ("app/a.py", b"import os\nvars(os)['popen']('true')\n", "subprocess"),
    "everything of os": ("app/a.py", b"from os import *\nsystem('true')\n", "subprocess"),
    "a program by asyncio": ("app/a.py", b"import asyncio\nasyncio.create_subprocess_shell('x')\n", "subprocess"),
    "a connection by asyncio": ("app/a.py", b"import asyncio as a\na.open_connection('x', 1)\n", "network"),
    "a connection by multiprocessing": (
        "app/a.py",
        b"from multiprocessing.connection import Client\nClient(('x', 1))\n",
        "network",
    ),
    "exec handed on": ("app/a.py", b"(lambda run: run('1'))(exec)\n", "hidden-code"),
    "all classes": ("app/a.py", b"().__class__.__base__.__subclasses__()\n", "hidden-code"),
    "a library by numpy": ("app/a.py", b"import numpy as np\nnp.ctypeslib.load_library('x', '.')\n", "native-code"),
    "a library by torch": ("app/a.py", b"import torch\ntorch.ops.load_library('x.so')\n", "native-code"),
    "a library for every program": ("app/a.py", b"import os\nos.environ['LD_PRELOAD'] = '/x.so'\n", "native-code"),
    "a script run by another": ("app/a.py", b"import runpy\nrunpy.run_path('x')\n", "computed-import"),
    "a module from any file": (
        "app/a.py",
        b"from importlib.machinery import SourceFileLoader as L\nL('a', '/x').load_module()\n",
        "computed-import",
    ),
    "another finder of modules": ("app/a.py", b"import sys\nsys.meta_path.insert(0, X())\n", "computed-import"),
    "a module handed on": ("app/a.py", b"import os\ndef f(o): o.system('true')\nf(os)\n", "hidden-code"),
    "a module in a list": ("app/a.py", b"import os\n[os][0].system('true')\n", "hidden-code"),
    "a module as an attribute": ("app/a.py", b"import os as q\nclass A: o = q\nA.o.system('true')\n", "hidden-code"),
    "a module that a case matches": ("app/a.py", b"import os\nmatch os:\n  case o: o.system('true')\n", "hidden-code"),
    "a module by another": ("app/a.py", b"import shutil\nshutil.os.system('true')\n", "subprocess"),
    "a module out of another": ("app/a.py", b"from shutil import os as q\nq.popen('true')\n", "subprocess"),
    "programs by another module": ("app/a.py", b"import platform\nplatform.subprocess.run('x')\n", "subprocess"),
    "sockets by another module": ("app/a.py", b"from logging.handlers import socket as s\ns.socket()\n", "network"),
    "a name that later lines import": ("app/a.py", b"def f(): q.system('x')\nimport os as q\nf()\n", "subprocess"),
    "a getattr of a variable": ("app/a.py", b"import os\nn = 'system'\ngetattr(os, n)('true')\n", "hidden-code"),
    "a getattr behind an import": ("app/a.py", b"getattr(__import__('os'), n)('true')\n", "hidden-code"),
    "what getattr calls": ("app/a.py", b"import os\nos.__getattribute__('system')('true')\n", "subprocess"),
    "a module's dictionary, asked": ("app/a.py", b"import os\nos.__dict__.get('system')('true')\n", "subprocess"),
    "a loaded module, asked for": ("app/a.py", b"import sys\nsys.modules.get('os').system('true')\n", "subprocess"),
    "a loaded module that connects": ("app/a.py", b"import sys\ns = sys.modules['socket']\n", "network"),
    "a module put in place of another": ("app/a.py", b"import sys\nsys.modules['json'] = X()\n", "computed-import"),
    "an import by its keyword": ("app/a.py", b"__import__(name='socket')\n", "network"),
    "exec by its module": ("app/a.py", b"import builtins\nbuiltins.exec(x)\n", "hidden-code"),
    "exec under another name": ("app/a.py", b"from builtins import exec as e\ne(x)\n", "hidden-code"),
    "exec from the builtins": ("app/a.py", b"getattr(__builtins__, 'exec')('1')\n", "hidden-code"),
    "exec from a frame": ("app/a.py", b"import sys\nsys._getframe().f_builtins['exec']('1')\n", "hidden-code"),
    "insides by their name as text": ("app/a.py", b"getattr(f, '__globals__')\n", "hidden-code"),
    "code of its own type": ("app/a.py", b"from types import CodeType as C\nC(0)\n", "hidden-code"),
    "a function named in a text": ("app/a.py", b"import pkgutil\nR = 'os:system'\n", "subprocess"),
    "code in a text": ("app/a.py", b'import timeit\nf(\'__import__("os").system("true")\')\n', "hidden-code"),
    "a module below sockets": ("app/a.py", b"import _socket\n", "network"),
    "a module below subprocess": ("app/a.py", b"import _posixsubprocess as p\n", "subprocess"),
    "a module below imports": ("app/a.py", b"from _imp import create_dynamic\n", "computed-import"),
    "the loaders themselves": ("app/a.py", b"import importlib._bootstrap_external as b\n", "computed-import"),
    "a name that pydoc looks up": ("app/a.py", b"import pydoc\npydoc.locate(n)('true')\n", "computed-import"),
    "an archive of any name to import from": (
        "app/a.py",
        b"import sys\nsys.path.insert(0, '/app/weights.bin')\n",
        "computed-import",
    ),
    "a program by a loop": ("app/a.py", b"loop.subprocess_exec(p, 'x')\n", "subprocess"),
    "a connection by a loop": ("app/a.py", b"loop.create_connection(p, 'x', 1)\n", "network"),
    "a log that is sent": ("app/a.py", b"from logging.handlers import HTTPHandler\n", "network"),
    "a table from an address": ("app/a.py", b"import pandas as pd\npd.read_csv('https://x/y')\n", "network"),
    "a library by TensorFlow": ("app/a.py", b"import tensorflow as tf\ntf.load_op_library('x.so')\n", "native-code"),
    "a program's memory": ("app/a.py", b"open('/proc/self/mem', 'wb')\n", "native-code"),
    "a configuration that calls os.system": ("app/a.yaml", b"a: 1\nb:\n  _target_: os.system\n", "config-code"),
    "a configuration with objects of Python": (
        "app/a.yml",
        b"a: !!python/object/apply:os.system ['id']\n",
        "config-code",
    ),
    "an expression in a bundle": ("app/a.json", b"{\"x\": \"$__import__('os').system('id')\"}", "config-code"),
}
QUIETLY: dict[str, tuple[str, bytes]] = {
    "a bundle's plain expressions": (
        "app/inference.json",
        b'{"a": "$sorted(glob.glob(os.path.join(@x, \'*\')))", "_target_": "monai.x.Y"}',
    ),
    "a shell script": ("app/go.sh", b'#!/bin/sh\nexec /app/tool "$@"\n'),
    "a price": ("app/prices.yaml", b'a: "$5 for exec"\n'),
    "a notebook without code": ("app/a.ipynb", b'{"cells": []}'),
    "a cookie that all use": ("app/a.py", b"# -*- coding: utf-8 -*-\nx = 1\n"),
    "modules used as all do": (
        "app/plain.py",
        (
            b"import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\nN = os.sep\n"
            b"f = getattr(os, 'O_BINARY', 0), getattr(x, name), sys.modules[__name__], x.get('os')\n"
            b'"Call os.system(1) never."\n'
        ),
    ),
    "a library beside no module": ("opt/plugins/filter.so", b"\x7fELF" + bytes(60)),
}


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, Level]]]:
    """Rules and levels by case; every case has a directory of its own in one image, so that one look finds all."""
    files = {**{case: (path, data) for case, (path, data, _) in REACHED.items()}, **QUIETLY}
    places = {case: f"c{number}" for number, case in enumerate(files)}
    image = made(*((f"{places[case]}/{path}", data) for case, (path, data) in files.items()))
    result = judged(tmp_path_factory.mktemp("reached"), image)
    return {
        case: {
            (f.rule_id.partition("/")[2], f.level) for f in result.findings if f.where.startswith(f"/{places[case]}/")
        }
        for case in files
    }


@pytest.mark.parametrize("case", REACHED)
def test_what_is_reached_by_detours_is_found(case: str, reached: dict[str, set[tuple[str, Level]]]) -> None:
    assert (REACHED[case][2], Level.WARNING) in reached[case]


@pytest.mark.parametrize("case", QUIETLY)
def test_what_reaches_for_nothing_is_left_alone(case: str, reached: dict[str, set[tuple[str, Level]]]) -> None:
    assert reached[case] == set()


COMMANDS: dict[str, tuple[list[str], bool]] = {
    "an interpreter": (["python3", "-Bc", "import ctypes"], True),
    "a shell": (["/bin/sh", "-c", "exec python3 -c 'import ctypes'"], True),
    "a shell in a shell": (["sh", "-ec", "bash -lc \"python -c 'import ctypes'\""], True),
    "another program's -c": (["tool", "-c", "import ctypes"], False),
    "a shell's own command": (["sh", "-c", "import ctypes"], False),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_program_in_the_command_line_is_read(kind: str) -> None:
    words, is_python = COMMANDS[kind]
    assert list(written_in(words)) == (["import ctypes"] if is_python else [])


def test_a_notebook_of_empty_lines_is_read_in_one_go() -> None:
    """Of a million lines, each once: what a cell is for is not asked again at every line of it."""
    (cell,) = in_notebook(NOTEBOOK % (b'"' + b"\\n" * 1_000_000 + b'x = 1"'))
    assert cell == (2, b"\n" * 1_000_000 + b"x = 1")


def test_archives_unpack_to_so_much_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone is small, and packs a thousand times its size."""
    monkeypatch.setattr("checks.code.sources.MAX_UNPACKED", 250)
    archives = [(f"app/{n}.zip", zipapp(("a.py", b"x = 1\n" + b"#" * 94))) for n in range(4)]
    result = judged(tmp_path, made(*archives))
    assert (result.measured("files"), result.measured("not_examined")) == (2, 2)


def test_lines_of_embedded_code_are_those_of_its_file() -> None:
    script = b"#!/bin/sh\n\npython3 -c 'import a\nimport ctypes'\npython3 <<E\nx\nE\n"
    assert in_shell_script(script) == b"\n\nimport a\nimport ctypes\n\nx\n\n"


@settings(max_examples=80, deadline=None)
@given(st.text(st.sampled_from("python3 -c'\"<<E\n$!{}_target:#\\x"), max_size=300))
def test_any_text_may_hold_code_or_none(text: str) -> None:
    in_shell_script(text.encode())
    list(written_in(text.split(" ")))
    assert all(1 <= sign.line <= text.count("\n") + 1 for sign in signs_of_configuration(text))
