"""Bounded reading: each table row is an attack on it, each property holds for arbitrary bytes."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.bounded_yaml import load_yaml
from pratique.bounds import read_bounded, strict_json, within
from pratique.errors import InvalidInput

ALIAS_BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n".encode() for n in range(9)
)

YAML_ATTACKS = {
    "not YAML": (b"a: [1, 2", "yaml/syntax"),
    "a binary file": (b"\x7fELF\x02\x01\x01\x00", "yaml/syntax"),
    "not UTF-8": (b"a: \xff\xfe", "yaml/encoding"),
    "UTF-16": ("a: 1".encode("utf-16"), "yaml/encoding"),
    "empty": (b"", "yaml/empty"),
    "only a comment": (b"# nothing\n", "yaml/empty"),
    "duplicate keys": (b"a: 1\nb: 2\na: 3\n", "yaml/duplicate-key"),
    "duplicate keys in a flow mapping": (b"{a: 1, 'a': 2}", "yaml/duplicate-key"),
    "duplicate keys written differently": (b'a: 1\n"\\x61": 2\n', "yaml/duplicate-key"),
    "alias bomb": (ALIAS_BOMB, "yaml/alias"),
    "alias that contains itself": (b"a: &a [*a]\n", "yaml/alias"),
    "anchor on a key": (b"&a b: 1\n", "yaml/alias"),
    "merge key": (b"<<: {a: 1}\n", "yaml/key"),
    "Python object": (b"!!python/object/apply:os.system [id]\n", "yaml/tag"),
    "local tag": (b"a: !include other.yaml\n", "yaml/tag"),
    "standard tag": (b"a: !!str 1\n", "yaml/tag"),
    "two documents": (b"a: 1\n---\na: 2\n", "yaml/documents"),
    "a sequence as key": (b"? [a]\n: 1\n", "yaml/key"),
    "a number as key": (b"1: a\n", "yaml/key"),
    "nested too deep": (b"[" * 40 + b"]" * 40, "yaml/too-deep"),
    "block nested too deep": (b"- " * 40 + b"x", "yaml/too-deep"),
    "too many values": (b"[" + b"1," * 20_001 + b"]", "yaml/too-many-nodes"),
    "not a number": (b"a: .nan", "yaml/number"),
    "infinity": (b"a: -.inf", "yaml/number"),
    "number beyond every float": (b"a: 1e999", "yaml/number"),
    "number that takes minutes to convert": (b"a: " + b"9" * 100_000, "yaml/number"),
    "code point that does not exist": (b'"\\Uffffffff"', "yaml/syntax"),
    "lone surrogate": (b'"\\ud800"', "yaml/text"),
    "NUL": (b'"\\0"', "yaml/text"),
    "larger than allowed": (b"a: " + b"x" * (1024 * 1024), "yaml/too-large"),
}

JSON_ATTACKS = {
    "not JSON": (b"{", "json/syntax"),
    "empty": (b"", "json/syntax"),
    "not UTF-8": (b'"\xff"', "json/encoding"),
    "byte order mark": (b"\xef\xbb\xbf{}", "json/syntax"),
    "duplicate keys": (b'{"a":1,"b":2,"a":3}', "json/duplicate-key"),
    "duplicate keys deep inside": (b'[{"x":{"a":1,"\\u0061":2}}]', "json/duplicate-key"),
    "NaN": (b"[NaN]", "json/number"),
    "infinity": (b"-Infinity", "json/number"),
    "number beyond every float": (b"1e999", "json/number"),
    "number that takes minutes to convert": (b"9" * 500_000, "json/number"),
    "nested too deep": (b"[" * 65 + b"]" * 65, "json/too-deep"),
    "nested to exhaust the stack": (b'{"a":' * 50_000, "json/too-deep"),
    "lists to exhaust the memory": (b"[" + b"[]," * 300_000 + b"0]", "json/too-many-values"),
    "objects to exhaust the memory": (b"[" + b"{}," * 300_000 + b"0]", "json/too-many-values"),
    "lone surrogate": (b'["\\ud800"]', "json/text"),
    "lone surrogate in a key": (b'{"\\udfff":1}', "json/text"),
    "larger than allowed": (b" " * 1_000_001, "json/too-large"),
    "two values": (b"{} {}", "json/syntax"),
}


@pytest.mark.parametrize(("data", "rule"), YAML_ATTACKS.values(), ids=YAML_ATTACKS.keys())
def test_hostile_yaml_is_refused_with_its_rule_quickly(data: bytes, rule: str) -> None:
    """Each attack ends in its own rule, with a next step, in a moment."""
    started = time.process_time()
    with pytest.raises(InvalidInput) as caught:
        load_yaml(data, where="tool.cwl")
    assert caught.value.rule == rule
    assert caught.value.where.startswith("tool.cwl")
    assert caught.value.next_step
    assert time.process_time() - started < 10


@pytest.mark.parametrize(("data", "rule"), JSON_ATTACKS.values(), ids=JSON_ATTACKS.keys())
def test_hostile_json_is_refused_with_its_rule(data: bytes, rule: str) -> None:
    """Each attack ends in its own rule, with a next step."""
    with pytest.raises(InvalidInput) as caught:
        strict_json(data, where="sbom.json", max_bytes=1_000_000)
    assert (caught.value.rule, caught.value.where) == (rule, "sbom.json")
    assert caught.value.next_step


def test_yaml_follows_the_core_schema_of_yaml_1_2() -> None:
    """`no`, dates and versions stay text; numbers, booleans and null get their types."""
    text = b"""
n: no
date: 2026-01-02
version: 1.2.3
octal: 0o17
hex: 0xff
float: 1.5e3
none: ~
empty:
yes: true
quoted: '1'
block: |
  two
  lines
"""
    assert load_yaml(text, where="x") == {
        "n": "no",
        "date": "2026-01-02",
        "version": "1.2.3",
        "octal": 15,
        "hex": 255,
        "float": 1500.0,
        "none": None,
        "empty": None,
        "yes": True,
        "quoted": "1",
        "block": "two\nlines\n",
    }


def test_yaml_errors_name_the_line() -> None:
    """A person finds the place."""
    with pytest.raises(InvalidInput, match=r"^t\.cwl:3: the key 'a' appears twice"):
        load_yaml(b"a: 1\nb: 2\na: 3\n", where="t.cwl")


def test_yaml_notes_the_line_of_every_entry() -> None:
    """Of a key where it stands, of an item where it begins, whatever stood before at the same place."""
    lines: dict[tuple[str | int, ...], int] = {}
    load_yaml(b"a:\n  - x: 1\n    y: [2,\n      {z: 3}]\n  - 4\nb: {c: 5}\n", where="x", lines=lines)
    assert lines == {
        ("a",): 1,
        ("a", 0): 2,
        ("a", 0, "x"): 2,
        ("a", 0, "y"): 3,
        ("a", 0, "y", 0): 3,
        ("a", 0, "y", 1): 4,
        ("a", 0, "y", 1, "z"): 4,
        ("a", 1): 5,
        ("b",): 6,
        ("b", "c"): 6,
    }


def test_json_at_the_depth_limit_is_read() -> None:
    """The limit itself is allowed."""
    assert strict_json(b"[" * 64 + b"]" * 64, where="x", max_bytes=1000) is not None


_LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
_PLAIN: st.SearchStrategy[Any] = st.recursive(
    _LEAVES | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(_PLAIN)
@settings(max_examples=150, deadline=None)
def test_json_round_trips(value: Any) -> None:
    """What was written is read."""
    assert strict_json(json.dumps(value), where="x", max_bytes=10**6) == value
    assert strict_json(json.dumps(value, ensure_ascii=False).encode(), where="x", max_bytes=10**6) == value


@given(_PLAIN)
@settings(max_examples=80, deadline=None)
def test_yaml_reads_json_or_refuses_it(value: Any) -> None:
    """JSON is YAML: it reads as the same data, or is refused; never as other data."""
    try:
        read = load_yaml(json.dumps(value).encode(), where="x")
    except InvalidInput:
        return
    assert read == value


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_invalid_input(data: bytes) -> None:
    """Whatever the bytes, the answer is plain data or `InvalidInput`."""
    try:
        load_yaml(data, where="x")
    except InvalidInput as error:
        assert error.next_step
    try:
        strict_json(data, where="x", max_bytes=1000)
    except InvalidInput as error:
        assert error.next_step


_FRAGMENTS = [*":-?[]{},|>'\"#%~@`\\é1a", "*a", "---", "...", "<<", "\\u", "\\x"]
_BLANKS = [" ", "\n", "\t", "  ", "- ", "? ", "&a ", "!t ", "\ufeff", "\x85", "\u2028", "%YAML 1.1\n", "%TAG ! x\n"]
_YAMLISH = st.lists(st.sampled_from([*_FRAGMENTS, *_BLANKS]), max_size=30).map("".join)


@given(_YAMLISH)
@settings(max_examples=300, deadline=None)
def test_text_that_resembles_yaml_raises_nothing_but_invalid_input(text: str) -> None:
    """The parser's own internal errors never come through."""
    try:
        load_yaml(text.encode(), where="x")
    except InvalidInput as error:
        assert error.rule.startswith("yaml/")


def test_a_file_of_100_mb_is_refused_without_reading_it(tmp_path: Path) -> None:
    """The size is looked at first: the process does not grow."""
    path = tmp_path / "tool.cwl"
    with path.open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidInput) as caught:
        read_bounded(path, 1024 * 1024)
    assert caught.value.rule == "file/too-large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB


def test_a_file_at_the_limit_is_read(tmp_path: Path) -> None:
    """The limit itself is allowed, one byte more is not."""
    (tmp_path / "f").write_bytes(b"x" * 10)
    assert read_bounded(tmp_path / "f", 10) == b"x" * 10
    with pytest.raises(InvalidInput, match="larger than"):
        read_bounded(tmp_path / "f", 9)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """No directory, pipe, device or link; a pipe without a writer does not block."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "link"):
        with pytest.raises(InvalidInput) as caught:
            read_bounded(path, 1000)
        assert caught.value.rule == "file/not-regular"
    assert read_bounded(tmp_path / "link", 1000, follow_links=True) == b"x"


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """Neither a missing file nor a file used as a directory is anything else."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "absent", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput) as caught:
            read_bounded(path, 1000)
        assert caught.value.rule == "file/missing"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a file, a link out, a link in and a directory link."""
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_text("x")
    (tmp_path / "secret").write_text("x")
    (root / "out").symlink_to("../secret")
    (root / "in").symlink_to("d/f")
    (root / "dirlink").symlink_to("..")
    (root / "loop").symlink_to("loop")
    return root


PATH_ATTACKS = {
    "absolute": ("/etc/passwd", "path/outside-submission"),
    "parent": ("../secret", "path/outside-submission"),
    "parent in the middle": ("d/../../secret", "path/outside-submission"),
    "parent that comes back": ("d/../d/f", "path/outside-submission"),
    "empty": ("", "path/outside-submission"),
    "the directory itself": (".", "path/outside-submission"),
    "NUL": ("d/f\0.txt", "path/outside-submission"),
    "line break": ("d/f\n", "path/outside-submission"),
    "symlink out": ("out", "path/symlink"),
    "symlink that stays inside": ("in", "path/symlink"),
    "through a linked directory": ("dirlink/secret", "path/symlink"),
    "link to itself": ("loop", "path/symlink"),
    "missing": ("d/g", "file/missing"),
    "below a file": ("d/f/g", "file/missing"),
    "longer than any name": ("x" * 5000, "file/unreadable"),
    "lone surrogate": ("\ud800", "path/outside-submission"),
}


@pytest.mark.parametrize(("relative", "rule"), PATH_ATTACKS.values(), ids=PATH_ATTACKS.keys())
def test_paths_that_leave_the_directory_are_refused(tree: Path, relative: str, rule: str) -> None:
    """Each way out ends in its rule."""
    with pytest.raises(InvalidInput) as caught:
        within(tree, relative, where="submission.yaml")
    assert caught.value.rule == rule
    assert caught.value.next_step


def test_a_path_inside_is_found(tree: Path) -> None:
    """Files and directories, with or without a leading `./`."""
    assert within(tree, "d/f", where="x") == tree / "d" / "f"
    assert within(tree, "./d/", where="x") == tree / "d"


@given(st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_arbitrary_paths_stay_inside(relative: str) -> None:
    """Whatever the text, the answer is inside the directory or `InvalidInput`."""
    root = Path(__file__).parent
    try:
        assert within(root, relative, where="x").resolve().is_relative_to(root.resolve())
    except InvalidInput as error:
        assert error.next_step
