"""What the inventory shows is what the engine shows: a disagreement is where an attacker would hide files."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import docker
import pytest

from pratique.errors import InvalidInput
from pratique.intake.image import Inventory, Kind, LayoutImage, open_image, read_inventory
from sandbox.engine import Engine
from tests.assets.images import LAYER, MadeImage
from tests.integration.pratique.tricky_layers import CASES, ENGINE_REFUSES, REFUSED, make_layers

Facts = tuple[object, ...]

pytestmark = pytest.mark.docker
_LABEL = "pratique-tests-same-files"
_OF_THE_ENGINE = frozenset(("dev", "proc", "sys", "etc", ".dockerenv"))
"""What an engine puts into every container."""


def image_of(names: Sequence[str]) -> MadeImage:
    """One image that holds the cases called so."""
    return MadeImage(make_layers(names), media_type=LAYER, run={"Cmd": ["/nothing"], "Labels": {_LABEL: "1"}})


def inventory_of(names: Sequence[str], directory: Path) -> Inventory:
    """The inventory of that image."""
    made = image_of(names)
    top = made.manifest()
    layout = made.write_layout(directory / "layout", [top])
    work = directory / "work"
    work.mkdir()
    return read_inventory(open_image(LayoutImage(layout), expected=top["digest"], workdir=work))


def as_inventoried(inventory: Inventory) -> dict[str, Facts]:
    """Kind, mode and content of every path that the inventory shows."""
    return {
        path: _facts(entry.kind, entry.mode, entry.uid, entry.linkname, entry.sha256 or "")
        for path, entry in inventory.files.items()
    }


def as_exported(engine: Engine, names: Sequence[str]) -> dict[str, Facts]:
    """The same of every path of a container that the engine made of the image."""
    client = docker.DockerClient(base_url=engine.host)
    image = client.images.load(image_of(names).docker_archive())[0]
    try:
        container = client.containers.create(str(image.id), labels={_LABEL: "1"}, network_mode="none")
        try:
            exported = b"".join(cast(Iterable[bytes], container.export()))
        finally:
            container.remove(force=True)
    finally:
        client.images.remove(str(image.id), force=True)
        client.close()
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        shown = {member.name.rstrip("/"): _exported(archive, member) for member in archive}
    return {path: facts for path, facts in shown.items() if path.partition("/")[0] not in _OF_THE_ENGINE}


def _exported(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Facts:
    target = archive.getmember(member.linkname) if member.islnk() else member
    kind = (
        Kind.FILE
        if target.isreg()
        else Kind.DIRECTORY
        if target.isdir()
        else Kind.SYMLINK
        if target.issym()
        else Kind.FIFO
        if target.isfifo()
        else Kind.CHARACTER_DEVICE
    )
    stream = archive.extractfile(target) if target.isreg() else None
    sha256 = f"sha256:{hashlib.sha256(stream.read()).hexdigest()}" if stream else ""
    return _facts(kind, target.mode & 0o7777, target.uid, target.linkname, sha256)


def _facts(kind: Kind, mode: int, uid: int, linkname: str, sha256: str) -> Facts:
    """What can be compared: an engine keeps no mode of a link, and no name of a hard link's first name."""
    if kind is Kind.SYMLINK:
        return (kind, linkname)
    return (kind, mode, uid, sha256)


@pytest.mark.parametrize("name", REFUSED)
def test_what_engines_differ_about_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        inventory_of([name], tmp_path)
    assert caught.value.rule == REFUSED[name]
    assert caught.value.next_step


def test_what_is_read_is_what_the_engine_shows(engine: Engine, tmp_path: Path) -> None:
    names = [name for name in CASES if name not in REFUSED and name not in ENGINE_REFUSES]
    assert len(names) > 40
    ours, theirs = as_inventoried(inventory_of(names, tmp_path)), as_exported(engine, names)
    differing = {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}
    assert not differing, {path: (ours.get(path), theirs.get(path)) for path in sorted(differing)}


@pytest.mark.parametrize("name", sorted(ENGINE_REFUSES))
def test_what_the_engine_does_not_load_never_runs(name: str, engine: Engine) -> None:
    with pytest.raises(docker.errors.DockerException):
        as_exported(engine, [name])
