"""A plain directory tree, read like an image: the same answers, nothing followed, nothing without bounds."""

from __future__ import annotations

import os
import resource
import signal
import socket
from pathlib import Path

import pytest

from pratique.errors import CouldNotDecide, InvalidInput, UsageError
from pratique.intake.image.inventory import read_inventory
from pratique.intake.image.locate import locate, path_and_digest
from pratique.intake.image.model import ImageLimits, Inventory, Kind
from pratique.intake.image.opening import open_image


def inventory_of(tree: Path, scratch: Path, limits: ImageLimits | None = None) -> Inventory:
    """What is found in `tree`."""
    scratch.mkdir()
    limits = limits or ImageLimits()
    source, digest = locate(str(tree), scratch, limits)
    return read_inventory(open_image(source, expected=digest, limits=limits, workdir=scratch), limits)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A file, a link out of it, a link to a directory, a pipe, a socket, a name that is not UTF-8."""
    place = tmp_path / "tree"
    (place / "etc").mkdir(parents=True)
    (place / "etc" / "os-release").write_text("ID=debian\n")
    (place / "passwd").symlink_to("/etc/passwd")
    (place / "below").symlink_to("etc", target_is_directory=True)
    os.mkfifo(place / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
    return place


def test_everything_is_listed_and_nothing_followed(tree: Path, tmp_path: Path) -> None:
    files = inventory_of(tree, tmp_path / "scratch").files
    kinds = {path: entry.kind for path, entry in files.items()}
    assert kinds == {
        "etc": Kind.DIRECTORY,
        "etc/os-release": Kind.FILE,
        "passwd": Kind.SYMLINK,
        "below": Kind.SYMLINK,
        "pipe": Kind.FIFO,
    }
    assert files["passwd"].linkname == "/etc/passwd"


def test_the_same_tree_has_the_same_digest(tree: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        digests.add(locate(str(tree), tmp_path / name)[1])
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (ImageLimits(bytes_=4), "image/too-many-bytes"),
        (ImageLimits(entries=2), "image/too-many-entries"),
    ],
    ids=["bytes", "entries"],
)
def test_a_tree_over_the_limits_is_refused(tree: Path, tmp_path: Path, limits: ImageLimits, rule: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        inventory_of(tree, tmp_path / "scratch", limits)
    assert caught.value.rule == rule


def test_a_tree_deeper_than_can_be_walked_is_refused(tmp_path: Path) -> None:
    place = here = tmp_path / "tree"
    here.mkdir()
    descriptors = [os.open(here, os.O_RDONLY)]
    try:
        for _ in range(3000):
            os.mkdir("d", dir_fd=descriptors[-1])
            descriptors.append(os.open("d", os.O_RDONLY, dir_fd=descriptors[-1]))
            os.close(descriptors.pop(0))
        with pytest.raises(InvalidInput) as caught:
            inventory_of(place, tmp_path / "scratch")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        remove_deep(place)
    assert caught.value.rule == "image/tree"


def remove_deep(place: Path) -> None:
    """`shutil.rmtree` ends at Python's stack: lift what is inside up, one level at a time."""
    while (inner := place / "d").exists():
        inner.rename(place.with_name("lifted"))
        place.rmdir()
        place.with_name("lifted").rename(place)


def test_an_empty_directory_is_no_image(tmp_path: Path) -> None:
    """What holds nothing must not read as "nothing found"."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput) as caught:
        inventory_of(tmp_path / "empty", tmp_path / "scratch")
    assert caught.value.rule == "image/tree"


@pytest.mark.parametrize("home", ["anna@hospital.example", "@", "a@sha256:b", "a@b@c"])
def test_place_of_an_image_may_have_an_at_sign(home: str, tmp_path: Path) -> None:
    """Homes of domains do: only what is behind the last one, and is no path, is a digest."""
    place = tmp_path / home / "root"
    place.mkdir(parents=True)
    (place / "f").write_text("x")
    (tmp_path / "scratch").mkdir()
    assert locate(str(place), tmp_path / "scratch")[1].startswith("sha256:")
    assert path_and_digest(f"{place}@sha256:{'0' * 64}") == (str(place), f"sha256:{'0' * 64}")
    with pytest.raises(UsageError, match="there is no image"):
        locate(f"{place}/nothing", tmp_path / "other")


@pytest.mark.parametrize("name", ["", "@sha256:" + "0" * 64])
def test_unset_variable_names_no_image(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never the directory that one happens to be in."""
    (tmp_path / "f").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        locate(name, tmp_path / "scratch")


def test_a_file_with_more_bytes_than_its_size_is_refused(tmp_path: Path) -> None:
    """It grew meanwhile, or it is one of the kernel's: its first bytes alone are not what is looked at."""
    tree = Path("/proc/sys/fs/inotify")
    if not tree.is_dir():
        pytest.skip("this kernel shows no settings of inotify")
    with pytest.raises(InvalidInput) as caught:
        inventory_of(tree, tmp_path / "scratch")
    assert caught.value.rule == "image/tree"


def test_a_full_disk_is_no_fault_of_the_tree(tree: Path, tmp_path: Path) -> None:
    (tree / "large").write_bytes(bytes(400_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(CouldNotDecide, match="cannot be packed"):
            inventory_of(tree, tmp_path / "scratch")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)
