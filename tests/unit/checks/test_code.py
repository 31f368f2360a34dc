"""Static code findings: what the tool's own Python reaches for and hides; nothing here is ever run."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.code import check_code
from checks.code.scan import scan_sources
from checks.code.signs import find_signs
from checks.interface import CheckResult, Level, Status
from pratique.intake.image import LayoutImage, open_image, read_inventory
from tests.assets.images import Item, MadeImage, made, make_tar

SITE = "usr/lib/python3.11/site-packages"
PLAIN = b"import json\n\nprint(json.dumps({'a': 1}))\n"


def judged(directory: Path, image: MadeImage, *commands: str) -> CheckResult:
    """The code check of `image`."""
    top = image.manifest()
    opened = open_image(
        LayoutImage(image.write_layout(directory / "image", [top])), expected=top["digest"], workdir=directory
    )
    return check_code(opened, read_inventory(opened), commands)


def zipapp(*modules: tuple[str, bytes], shebang: bytes = b"") -> bytes:
    """A zip of modules, as `python -m zipapp` makes one."""
    buffer = io.BytesIO(shebang)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, data in modules:
            archive.writestr(name, data)
    return buffer.getvalue()


def package(name: str, *, changed: bool = False, scripts: str = "", extra: tuple[Item, ...] = ()) -> list[Item]:
    """An installed package whose module reaches for the network; its RECORD gives the true hash unless `changed`."""
    module = b"import socket\n"
    digest = base64.urlsafe_b64encode(hashlib.sha256(module).digest()).rstrip(b"=").decode()
    info = f"{SITE}/{name}-1.dist-info"
    rows = f"{name}/__init__.py,sha256={digest},1\n{name}-1.dist-info/RECORD,,\n"
    files: list[Item] = [
        (f"{SITE}/{name}/__init__.py", module + (b"# changed\n" if changed else b"")),
        (f"{info}/METADATA", f"Name: {name}\nVersion: 1\n".encode()),
        (f"{info}/RECORD", rows.encode()),
    ]
    return [*files, *([(f"{info}/entry_points.txt", scripts.encode())] if scripts else []), *extra]


def compiled(flags: int) -> bytes:
    """The head of a `.pyc` and something behind it."""
    return b"\xa7\r\r\n" + flags.to_bytes(4, "little") + bytes(64)


B64 = base64.b64encode(b"print(1)").decode()

FOUND: dict[str, tuple[str, bytes, str]] = {
    "socket": ("app/a.py", b"import socket\n", "network"),
    "one name of a network module": ("app/a.py", b"from urllib.request import urlopen\n", "network"),
    "import by its name as text": ("app/a.py", b"__import__('requests').get\n", "network"),
    "subprocess": ("app/a.py", b"import subprocess as s\n", "subprocess"),
    "os.system under another name": ("app/a.py", b"import os as o\nr = o.system\nr('true')\n", "subprocess"),
    "os.system taken alone": ("app/a.py", b"from os import execv\n", "subprocess"),
    "ctypes": ("app/a.py", b"import ctypes.util\n", "native-code"),
    "cffi": ("app/a.py", b"from cffi import FFI\n", "native-code"),
    "exec of base64": ("app/a.py", f"import base64\nexec(base64.b64decode('{B64}'))\n".encode(), "hidden-code"),
    "eval of zlib, by steps": (
        "app/a.py",
        b"import zlib, base64\nx = zlib.decompress(base64.b85decode(b''))\neval(compile(x, '', 'exec'))\n",
        "hidden-code",
    ),
    "exec of bytes.fromhex": ("app/a.py", b"exec(bytes.fromhex('7072').decode())\n", "hidden-code"),
    "exec of a text in pieces": ("app/a.py", b"exec('pri' + 'nt(1)')\n", "hidden-code"),
    "exec of a text backwards": ("app/a.py", b"exec(')1(tnirp'[::-1])\n", "hidden-code"),
    "exec of character numbers": ("app/a.py", b"exec(''.join(chr(c) for c in [112]))\n", "hidden-code"),
    "marshal": ("app/a.py", b"import marshal\n", "hidden-code"),
    "a name in pieces": ("app/a.py", b"import os\ngetattr(os, 'sys' + 'tem')('true')\n", "hidden-code"),
    "call through globals": ("app/a.py", b"globals()['ex' 'ec']('1')\n", "hidden-code"),
    "builtins of a function": ("app/a.py", b"print.__self__.__builtins__\nf.__globals__['x']\n", "hidden-code"),
    "computed import": ("app/a.py", b"import importlib\nimportlib.import_module(name)\n", "computed-import"),
    "text that runs backwards": ("app/a.py", "x = 'a\u202e' # \u2066\n".encode(), "odd-characters"),
    "letters that look alike": ("app/a.py", "s\u0443stem = 1\n".encode(), "odd-characters"),
    "characters without width": ("app/a.py", "x = 1\u200b\n".encode(), "odd-characters"),
    "a huge line": ("app/a.py", b"x = '" + b"a" * 3000 + b"'\n", "long-line"),
    "code off the screen": ("app/a.py", b"x = 1;" + b" " * 200 + b"import os\n", "long-line"),
    "Python 2": ("app/a.py", b"import socket\nprint 'x'\n", "unparsable"),
    "a later Python": ("app/a.py", b"try:\n    f()\nexcept* A, B:\n    pass\nx = t'{y}'\n", "unparsable"),
    "network in what cannot be parsed": ("app/a.py", b"import socket\nprint 'x'\n", "network"),
    "hidden code in what cannot be parsed": ("app/a.py", b"exec base64.b64decode(x)\n", "hidden-code"),
    "null bytes": ("app/a.py", b"x = 1\0\n", "unparsable"),
    "another encoding": ("app/a.py", b"# coding: utf-7\n+AGkAbQBwAG8AcgB0ACAAcwBvAGMAawBlAHQ-\n", "network"),
    "a library of the tool's own": ("app/fast.cpython-311-x86_64-linux-gnu.so", b"\x7fELF" + bytes(60), "native-code"),
    "a script without a suffix": ("opt/tool/run", b"#!/usr/bin/env python3\nimport socket\n", "network"),
    "what the command starts": ("opt/tool/start.dat", b"import socket\n", "network"),
    "a zipapp": ("opt/app.pyz", zipapp(("__main__.py", b"import socket\n")), "network"),
    "a zipapp that is executable": (
        "opt/app",
        zipapp(("__main__.py", b"import socket\n"), shebang=b"#!/usr/bin/python3\n"),
        "network",
    ),
    "a module that no package owns": (f"{SITE}/lonely.py", b"import socket\n", "network"),
    "a module that looks like the library's": ("usr/lib/python3.11/json/extra.py", b"import socket\n", "network"),
    "a line of a .pth": (f"{SITE}/x.pth", b"/some/path\nimport os; os.system('true')\n", "startup-file"),
    "what the line of a .pth does": (f"{SITE}/x.pth", b"/some/path\nimport os; os.system('true')\n", "subprocess"),
    "sitecustomize": ("usr/lib/python3.11/sitecustomize.py", b"x = 1\n", "startup-file"),
    "compiled code alone": ("app/secret.pyc", compiled(0), "bytecode-without-source"),
    "compiled code alone in its folder": ("app/__pycache__/s.cpython-311.pyc", compiled(0), "bytecode-without-source"),
    "what bandit knows": ("app/a.py", b"import yaml\nyaml.load(x)\n", "bandit-b506"),
    "what bandit is told not to see": ("app/a.py", b"import yaml\nyaml.load(x)  # nosec\n", "bandit-b506"),
    "a broken archive": ("opt/app.pyz", zipapp(("__main__.py", b"x\n"))[:-30] + bytes(30), "not-examined"),
    "a source that is too large": ("app/a.py", b"#" * (2 * 1024**2 + 1), "not-examined"),
    "a source made to exhaust its reader": ("app/a.py", b"x = " + b"-" * 100_000 + b"1\n", "not-examined"),
}


@pytest.fixture(scope="module")
def all_found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, Level]]]:
    """Rules and levels by case; every case has a directory of its own in one image, so that one look finds all."""
    places = {case: f"c{number}/{path}" for number, (case, (path, *_)) in enumerate(FOUND.items())}
    items = [(places[case], data) for case, (_, data, _) in FOUND.items()]
    commands = ["python3", f"/{places['what the command starts']}"]
    result = judged(tmp_path_factory.mktemp("code"), made(*items), *commands)
    return {
        case: {
            (f.rule_id.partition("/")[2], f.level)
            for f in result.findings
            if f.where.startswith(f"/{place.partition('/')[0]}/")
        }
        for case, place in places.items()
    }


@pytest.mark.parametrize("case", FOUND)
def test_it_is_found_as_a_warning(case: str, all_found: dict[str, set[tuple[str, Level]]]) -> None:
    assert (FOUND[case][2], Level.WARNING) in all_found[case]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> CheckResult:
    """An image of everything that is not the tool's own, or is so for a reason."""
    owned = "/usr/lib/python3/dist-packages/apt/x.py\n/opt/sneaky/main.py\n"
    image = made(
        *package("honest"),
        *package("changed", changed=True),
        *package("tool", scripts="[console_scripts]\nmytool = tool:main\n"),
        *package("local", extra=((f"{SITE}/local-1.dist-info/direct_url.json", b"{}"),)),
        ("var/lib/dpkg/status", b"Package: python3-apt\nStatus: install ok installed\nVersion: 1\n"),
        ("var/lib/dpkg/info/python3-apt.list", owned.encode()),
        ("usr/lib/python3/dist-packages/apt/x.py", b"import socket\n"),
        ("opt/sneaky/main.py", b"import socket\n"),
        ("usr/local/bin/python3.11", b"\x7fELF"),
        ("usr/local/lib/python3.11/socket.py", b"import socket\n"),
        ("app/main.py", PLAIN),
        (f"{SITE}/honest/__pycache__/__init__.cpython-311.pyc", compiled(0)),
        ("app/__pycache__/main.cpython-311.pyc", compiled(0)),
        ("app/other.py", PLAIN),
        ("app/__pycache__/other.cpython-311.pyc", compiled(1)),
    )
    later = made(("usr/local/lib/python3.11/json/decoder.py", b"import socket\n"))
    image.layers = [*image.layers, *later.layers]
    return judged(tmp_path_factory.mktemp("mixed"), image, "mytool", "--fast")


WHOSE = {
    f"{SITE}/honest/__init__.py": False,
    "usr/lib/python3/dist-packages/apt/x.py": False,
    "usr/local/lib/python3.11/socket.py": False,
    f"{SITE}/changed/__init__.py": True,
    f"{SITE}/tool/__init__.py": True,
    f"{SITE}/local/__init__.py": True,
    "opt/sneaky/main.py": True,
    "usr/local/lib/python3.11/json/decoder.py": True,
}


@pytest.mark.parametrize("path", WHOSE)
def test_only_the_tools_own_code_is_looked_at(path: str, mixed: CheckResult) -> None:
    assert (f"/{path}:1" in {finding.where for finding in mixed.findings}) is WHOSE[path]


def test_compiled_code_is_told_apart(mixed: CheckResult) -> None:
    rules = {f.rule_id.partition("/")[2]: f.where for f in mixed.findings if "compiled" in f.message}
    assert rules == {
        "unchecked-bytecode": "/app/__pycache__/other.cpython-311.pyc",
        "compiled-beside-source": "/app/__pycache__/main.cpython-311.pyc",
    }


def test_what_the_command_line_holds_or_starts_is_the_tools_own(tmp_path: Path) -> None:
    image = made(*package("bymodule"), run={"Entrypoint": ["python3", "-c", "import ctypes"]})
    found = {f.where for f in judged(tmp_path, image, "python3", "-m", "bymodule.main").findings}
    assert found == {f"/{SITE}/bymodule/__init__.py:1", "/command line 1:1"}


@pytest.mark.parametrize("name", ["opt/tool-1.0-py3-none-any.whl", "opt/blob"])
def test_an_archive_that_python_imports_from_is_the_tools_own(name: str, tmp_path: Path) -> None:
    archive = zipapp(("tool/__init__.py", b"import socket\n"))
    imported = made((name, archive), run={"Env": [f"PYTHONPATH=/srv:/{name}"]})
    (tmp_path / "a").mkdir()
    found = judged(tmp_path / "a", imported, "python", "-m", "tool")
    assert [f.where for f in found.findings if f.rule_id == "code/network"] == [f"/{name}/tool/__init__.py:1"]
    (tmp_path / "b").mkdir()
    lying_there = judged(tmp_path / "b", made((name, archive)), "python", "-m", "tool")
    assert lying_there.status is Status.NOT_APPLICABLE, "a wheel that nothing imports from is a package's, if anybody's"


@pytest.mark.parametrize(
    "commands",
    [
        ["/usr/bin/env", "python3", "/app/weights.dat"],
        ["sh", "-c", "exec python3 -u /app/weights.dat"],
        ["/app/start", "python3.11", "weights.dat"],
    ],
)
def test_a_program_is_found_behind_whatever_starts_its_interpreter(tmp_path: Path, commands: list[str]) -> None:
    items = (("usr/bin/env", b"\x7fELF" * 9), ("app/weights.dat", b"import socket\n"))
    result = judged(tmp_path, made(*items, run={"WorkingDir": "/app"}), *commands)
    assert "/app/weights.dat:1" in {f.where for f in result.findings if f.rule_id == "code/network"}


@pytest.mark.parametrize("options", [["-c", "import socket"], ["-Ic", "import socket"], ["-cimport socket"]])
def test_a_program_in_the_command_line_is_found(tmp_path: Path, options: list[str]) -> None:
    result = judged(tmp_path, made(("bin/tool", b"\x7fELF")), "python3", *options)
    assert [f.rule_id for f in result.findings] == ["code/network"]


def test_findings_fail_nothing_and_are_measured(mixed: CheckResult) -> None:
    assert mixed.status is Status.PASSED
    assert mixed.measured("network") == 5
    assert mixed.measured("hidden") == 1
    assert mixed.measured("files") == 7


def test_plain_code_is_found_plain(tmp_path: Path) -> None:
    result = judged(tmp_path, made(("app/main.py", PLAIN), ("app/data.csv", b"a,b\n"), ("app/notes.txt", b"exec(x)\n")))
    assert (result.status, result.findings, result.measured("files")) == (Status.PASSED, (), 1)


def test_without_python_the_check_does_not_apply(tmp_path: Path) -> None:
    assert judged(tmp_path, made(("bin/tool", b"\x7fELF"))).status is Status.NOT_APPLICABLE


def test_what_was_not_examined_leaves_it_open(tmp_path: Path) -> None:
    unparsable, exhausting = b"x = " + b"(" * 100_000 + b"\n", b"x = " + b"-" * 200_000 + b"1\n"
    result = judged(tmp_path, made(("app/a.py", PLAIN), ("app/b.py", exhausting), ("app/c.py", unparsable)))
    assert (result.status, result.measured("not_examined")) == (Status.INCONCLUSIVE, 1)
    assert result.measured("unparsable") == 1


def test_a_file_that_a_later_layer_replaced_is_not_looked_at(tmp_path: Path) -> None:
    image = made(("app/a.py", b"import socket\n"))
    image.layers = [*image.layers, make_tar([("app/a.py", PLAIN)])]
    assert judged(tmp_path, image).findings == ()


def test_a_worker_that_dies_is_started_again_behind_the_source_that_killed_it() -> None:
    slow = b"x = (" + b"1," * 200_000 + b")\n"
    found = scan_sources([b"import socket\n", slow, b"import ctypes\n"], seconds_a_file=0.7)
    assert [bool(one.open_) for one in found] == [False, True, False]
    assert [[sign.rule for sign in one.signs] for one in (found[0], found[2])] == [["network"], ["native-code"]]


def test_without_time_all_is_open() -> None:
    assert all(one.open_ for one in scan_sources([PLAIN, PLAIN], seconds=0.0))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_have_signs_or_none(source: bytes) -> None:
    signs, _ = find_signs(source)
    assert all(sign.line >= 1 for sign in signs)
