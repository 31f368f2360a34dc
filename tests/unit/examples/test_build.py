"""The builder of the example images: the same inputs give the same bytes, and images share their layers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from pathlib import Path

import pytest

from examples.build import layers, tools
from examples.build.layers import LayerWriter, write_tree_layer
from examples.build.layout import ImageSettings, write_layout
from examples.build.tools import TOOLS, ToolBuilder
from pratique.digests import Digest
from pratique.intake.image import LayoutImage, open_image
from pratique.intake.image.inventory import read_inventory
from pratique.intake.image.model import ImageLimits
from pratique.intake.submission import load_submission

RECIPE = 'entrypoint: ["/usr/local/bin/python3", "/app/main.py"]\ntarget: app\n'


@pytest.fixture(autouse=True)
def small_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base of three files instead of all of Python; `test_base_layer` looks at the real one."""

    def write(stream: io.BufferedIOBase) -> None:
        layer = LayerWriter(stream)
        layer.directory("tmp", 0o1777)
        layer.data("usr/local/bin/python3.11", b"\x7fELF", 0o755)
        layer.link("usr/local/bin/python3", "python3.11")
        layer.close()

    monkeypatch.setattr(layers, "write_base_layer", write)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tool of one file, whose submission says which image it is."""
    monkeypatch.setattr(tools, "TOOLS", tmp_path / "tools")
    directory = tmp_path / "tools" / "tiny"
    (directory / "app").mkdir(parents=True)
    (directory / "app" / "main.py").write_text("print('hello')\n")
    (directory / "image.yaml").write_text(RECIPE)
    (directory / "submission.yaml").write_text('image: {layout: image, digest: "@DIGEST@"}\n')
    return "tiny"


def content(directory: Path) -> dict[str, str]:
    """Digest of every file below `directory`."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def manifest_digest(submission: Path) -> str:
    return str(json.loads((submission / "image" / "index.json").read_text())["manifests"][0]["digest"])


def test_two_builds_in_two_directories_are_the_same(tool: str, tmp_path: Path) -> None:
    first = ToolBuilder(tmp_path / "a" / "layers", tmp_path / "a" / "submissions").build(tool)
    os.utime(tmp_path / "tools" / "tiny" / "app" / "main.py", (1, 1))
    (tmp_path / "tools" / "tiny" / "app" / "main.py").chmod(0o600)
    before = os.umask(0o077)
    try:
        second = ToolBuilder(tmp_path / "b" / "layers", tmp_path / "b" / "submissions").build(tool)
    finally:
        os.umask(before)
    assert content(first) == content(second)
    assert manifest_digest(first) in (first / "submission.yaml").read_text()


def test_bytecode_beside_the_sources_does_not_come_in(tool: str, tmp_path: Path) -> None:
    builder = ToolBuilder(tmp_path / "layers", tmp_path / "submissions")
    first = manifest_digest(builder.build(tool))
    (tmp_path / "tools" / "tiny" / "app" / "__pycache__").mkdir()
    (tmp_path / "tools" / "tiny" / "app" / "__pycache__" / "main.cpython-311.pyc").write_bytes(os.urandom(20))
    assert manifest_digest(builder.build(tool)) == first


def test_change_of_one_byte_changes_the_digest(tool: str, tmp_path: Path) -> None:
    builder = ToolBuilder(tmp_path / "layers", tmp_path / "submissions")
    first = manifest_digest(builder.build(tool))
    (tmp_path / "tools" / "tiny" / "app" / "main.py").write_text("print('Hello')\n")
    assert manifest_digest(builder.build(tool)) != first


def test_images_share_their_layers_on_disk(tool: str, tmp_path: Path) -> None:
    other = tmp_path / "tools" / "other"
    (other / "app").mkdir(parents=True)
    (other / "app" / "main.py").write_text("print('other')\n")
    (other / "image.yaml").write_text(RECIPE)
    (other / "submission.yaml").write_text("x: 1\n")
    builder = ToolBuilder(tmp_path / "layers", tmp_path / "submissions")
    blobs = [
        {path.name: path.stat().st_ino for path in (builder.build(name) / "image/blobs/sha256").iterdir()}
        for name in (tool, "other")
    ]
    shared = blobs[0].keys() & blobs[1].keys()
    assert len(shared) == 1, "the base"
    assert all(blobs[0][name] == blobs[1][name] for name in shared), "one file"


def test_building_twice_at_once_gives_the_same(tool: str, tmp_path: Path) -> None:
    builders = [ToolBuilder(tmp_path / "layers", tmp_path / name) for name in ("a", "b", "c")]
    threads = [threading.Thread(target=builder.build, args=(tool,)) for builder in builders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    digests = {manifest_digest(tmp_path / name / tool) for name in ("a", "b", "c")}
    assert len(digests) == 1
    assert not [path for path in (tmp_path / "layers").iterdir() if path.name.startswith("tmp")], "no half-made layer"


def test_rebuilding_removes_what_was_there(tool: str, tmp_path: Path) -> None:
    builder = ToolBuilder(tmp_path / "layers", tmp_path / "submissions")
    first = content(builder.build(tool))
    (tmp_path / "submissions" / tool / "evidence").mkdir()
    (tmp_path / "submissions" / tool / "evidence" / "old.json").write_text("{}")
    assert content(builder.build(tool)) == first


def test_layer_is_the_same_whatever_order_the_disk_has(tmp_path: Path) -> None:
    for names, where in ((("b", "a", "c/d"), "one"), (("c/d", "a", "b"), "two")):
        for name in names:
            path = tmp_path / where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    made = []
    for where in ("one", "two"):
        stream = io.BytesIO()
        write_tree_layer(stream, tmp_path / where, "app")
        made.append(stream.getvalue())
    assert made[0] == made[1]


def test_layer_entries_have_fixed_owner_and_time(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "run.sh").write_text("x")
    (tmp_path / "tree" / "run.sh").chmod(0o700)
    stream = io.BytesIO()
    write_tree_layer(stream, tmp_path / "tree", "app")
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["app", "app/run.sh"]
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members} == {(0, 0, "", layers.EPOCH)}
    assert members[1].mode == 0o755


def test_layout_is_what_intake_reads(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    with layer.open("wb") as stream:
        write_tree_layer(stream, TOOLS / "outdated" / "app", "app")
    digest = write_layout(tmp_path / "image", [layer], ImageSettings(entrypoint=("/app/main.py",)))
    image = open_image(LayoutImage(tmp_path / "image"), expected=Digest(digest), workdir=tmp_path)
    assert image.manifest_digest == digest
    assert "app/main.py" in {path.lstrip("/") for path in read_inventory(image, ImageLimits()).files}


@pytest.mark.parametrize("name", sorted(path.name for path in TOOLS.iterdir() if (path / "submission.yaml").is_file()))
def test_every_example_is_a_sound_submission(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written in the repository, with an image of the sources alone."""
    monkeypatch.setattr(ToolBuilder, "_packages", lambda self, _requirements: self._base())
    submission = ToolBuilder(tmp_path / "layers", tmp_path / "submissions").build(name)
    for signature in ("image.sigstore.json",):
        (submission / "evidence").mkdir(exist_ok=True)
        (submission / "evidence" / signature).write_text("{}")
    loaded = load_submission(submission)
    assert loaded.document.tool.name == name
    assert loaded.document.documents, "it declares what it is meant for"


def test_swapped_claims_the_name_of_the_tool_that_it_imitates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToolBuilder, "_packages", lambda self, _requirements: self._base())
    builder = ToolBuilder(tmp_path / "layers", tmp_path / "submissions")
    honest, swapped = builder.build("lesion-segmenter"), builder.build("swapped")
    mine, theirs = ((path / "submission.yaml").read_text().splitlines() for path in (honest, swapped))
    assert [line for line in mine if "sha256:" not in line] == [line for line in theirs if "sha256:" not in line]
    assert manifest_digest(honest) != manifest_digest(swapped)
