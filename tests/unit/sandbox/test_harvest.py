"""Taking over hostile output, without an engine."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import CouldNotDecide
from sandbox.doctor import has_openat2
from sandbox.harvest import Harvest, harvest_archive, harvest_directory, openat2
from sandbox.spec import Limits

pytestmark = pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2")
LIMITS = Limits(output_bytes=10_000, output_files=5, output_depth=3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def take(source: Path, limits: Limits = LIMITS) -> tuple[Harvest, Path]:
    destination = source.parent / "taken"
    destination.mkdir()
    return harvest_directory(source, destination, limits), destination


def reasons(found: Harvest) -> dict[str, str]:
    return {entry.path: entry.reason for entry in found.refused}


def test_plain_files_are_copied_with_their_digests(source: Path) -> None:
    """In the order of their paths, whatever the directory says."""
    (source / "b").mkdir()
    (source / "b" / "two.csv").write_bytes(b"two")
    (source / "a one (final).csv").write_bytes(b"one")
    found, taken = take(source)
    assert [file.path for file in found.outputs] == ["a one (final).csv", "b/two.csv"]
    assert found.outputs[1].sha256 == "sha256:" + hashlib.sha256(b"two").hexdigest()
    assert (taken / "b" / "two.csv").read_bytes() == b"two"
    assert (found.size, found.refused) == (6, [])


def make_symlink(source: Path) -> None:
    (source / "x").symlink_to("/etc/passwd")


def make_directory_link(source: Path) -> None:
    (source / "x").symlink_to("/etc")


def make_hard_link(source: Path) -> None:
    outside = source.parent / "secret"
    outside.write_text("secret")
    os.link(outside, source / "x")


def make_pipe(source: Path) -> None:
    os.mkfifo(source / "x")


def make_socket(source: Path) -> None:
    here = Path.cwd()
    os.chdir(source)
    try:
        socket.socket(socket.AF_UNIX).bind("x")
    finally:
        os.chdir(here)


def make_set_user_id(source: Path) -> None:
    (source / "x").touch()
    (source / "x").chmod(0o4755)


def make_hole(source: Path) -> None:
    with (source / "x").open("wb") as out:
        out.truncate(9_000)


def make_large(source: Path) -> None:
    (source / "x").write_bytes(bytes(10_001))


def make_deep(source: Path) -> None:
    (source / "x/y/z/u").mkdir(parents=True)


def make_newline(source: Path) -> None:
    (source / "x\nrm").touch()


def make_bytes(source: Path) -> None:
    os.close(os.open(os.fsencode(source) + b"/\xff\xfe", os.O_CREAT))


def make_option(source: Path) -> None:
    (source / "--output=x").touch()


def make_hidden(source: Path) -> None:
    (source / ".ssh").mkdir()


REFUSED: dict[Callable[[Path], None], tuple[str, str]] = {
    make_symlink: ("x", "symlink"),
    make_directory_link: ("x", "symlink"),
    make_hard_link: ("x", "hard-link"),
    make_pipe: ("x", "special-file"),
    make_socket: ("x", "special-file"),
    make_set_user_id: ("x", "special-bits"),
    make_hole: ("x", "sparse"),
    make_large: ("x", "too-large"),
    make_deep: ("x/y/z", "too-deep"),
    make_newline: ("x\\x0arm", "name"),
    make_bytes: ("\\xff\\xfe", "name"),
    make_option: ("--output=x", "name"),
    make_hidden: (".ssh", "name"),
}


@pytest.mark.parametrize("make", REFUSED, ids=[make.__name__ for make in REFUSED])
def test_everything_else_is_refused_by_name_and_reason(source: Path, make: Callable[[Path], None]) -> None:
    """And nothing of it is in the destination."""
    make(source)
    found, taken = take(source)
    path, reason = REFUSED[make]
    assert reasons(found) == {path: reason}
    assert found.outputs == []
    assert list(taken.iterdir()) == []


def test_files_beyond_the_number_are_refused_and_the_first_ones_kept(source: Path) -> None:
    """Five of eight."""
    for number in range(8):
        (source / str(number)).touch()
    found, _ = take(source)
    assert [file.path for file in found.outputs] == list("01234")
    assert set(reasons(found).values()) == {"too-many-files"}


def test_a_directory_with_too_many_entries_ends_the_walk(source: Path) -> None:
    """Reading names is bounded as well as taking files."""
    for number in range(1100):
        (source / str(number)).touch()
    found, _ = take(source)
    assert set(reasons(found).values()) == {"too-many-entries"}


def test_a_path_that_no_destination_could_hold_is_refused_and_the_rest_kept(source: Path) -> None:
    """Sixteen longest names: else one file would make all outputs uncollected, and the host to blame."""
    (source / "ok").write_text("fine")
    here = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(15):
        os.mkdir("d" * 255, dir_fd=here)
        below = os.open("d" * 255, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f" * 255, os.O_CREAT, dir_fd=here))
    os.close(here)
    found, taken = take(source, LIMITS.model_copy(update={"output_depth": 16}))
    assert list(reasons(found).values()) == ["path-too-long"]
    assert [file.path for file in found.outputs] == ["ok"]
    assert [entry.name for entry in taken.iterdir()] == ["ok"]


def test_refusals_are_counted_beyond_those_listed(source: Path) -> None:
    """A thousand links do not make a thousand findings."""
    for number in range(300):
        (source / f"l{number}").symlink_to("x")
    found, _ = take(source)
    assert (len(found.refused), found.refused_more) == (200, 100)


def test_openat2_stays_beneath_its_directory(source: Path) -> None:
    """Neither up, nor across a link, nor to an absolute path."""
    (source / "link").symlink_to("/")
    root = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in (b"..", b"../source", b"/etc", b"link", b"link/etc"):
            with pytest.raises(OSError, match=os.fsdecode(name)):
                os.close(openat2(root, name, os.O_RDONLY))
    finally:
        os.close(root)


def test_a_destination_that_cannot_be_written_is_not_a_refusal_of_the_tool(source: Path) -> None:
    """A full disk is our trouble: could not decide."""
    (source / "x").write_text("x")
    (source.parent / "file").touch()
    with pytest.raises(CouldNotDecide):
        harvest_directory(source, source.parent / "file", LIMITS)


def archive(members: list[tuple[tarfile.TarInfo, bytes]]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    out.seek(0)
    return out


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, mode
    return entry


ARCHIVED = {
    "a link out": (member("output/x", tarfile.SYMTYPE, "/etc/passwd"), "symlink"),
    "a hard link": (member("output/x", tarfile.LNKTYPE, "output/y"), "hard-link"),
    "a device": (member("output/x", tarfile.CHRTYPE), "special-file"),
    "a pipe": (member("output/x", tarfile.FIFOTYPE), "special-file"),
    "a name that climbs": (member("output/../../etc/cron.d/x"), "name"),
    "a set-user-id file": (member("output/x", mode=0o4755), "special-bits"),
    "too deep": (member("output/a/b/c/d"), "too-deep"),
}


@pytest.mark.parametrize(("entry", "reason"), ARCHIVED.values(), ids=ARCHIVED.keys())
def test_an_archive_is_read_under_the_same_rules(tmp_path: Path, entry: tarfile.TarInfo, reason: str) -> None:
    """Where the engine keeps the output."""
    stream = archive([(member("output/", tarfile.DIRTYPE), b""), (entry, b""), (member("output/ok/f"), b"fine")])
    found = harvest_archive(stream, tmp_path, LIMITS)
    assert list(reasons(found).values()) == [reason]
    assert [file.path for file in found.outputs] == ["ok/f"]
    assert (tmp_path / "ok" / "f").read_bytes() == b"fine"


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=1500))
def test_a_damaged_archive_is_no_empty_output(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """It is could-not-decide, or what could be read."""
    stream = archive([(member("output/f"), b"x" * 600)])
    whole = stream.getvalue()
    damaged = io.BytesIO(whole[: len(data)] + data)
    try:
        found = harvest_archive(cast(io.BufferedReader, damaged), tmp_path_factory.mktemp("t"), LIMITS)
    except CouldNotDecide:
        return
    assert found.size <= LIMITS.output_bytes
