"""Bad input through the command: a clear error that names the rule, the right exit code, and nothing run."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pratique.digests import Digest
from sandbox.engine import Engine
from tests.assets.images import GZIP_LAYER, MANIFEST, MadeImage, made
from tests.assets.submissions import write_submission
from tests.e2e.bench import Node

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Break = Callable[[Path], None]
OTHER = "sha256:" + "0" * 64
CWL, DOCUMENT, TABLE = "scorer.cwl", "submission.yaml", "in/patients.csv"


def edit(name: str, old: str, new: str) -> Break:
    """Replace words in a file of the submission."""

    def act(submission: Path) -> None:
        text = (submission / name).read_text()
        assert old in text
        (submission / name).write_text(text.replace(old, new, 1))

    return act


def put(name: str, content: bytes | str) -> Break:
    """Write a file of the submission."""

    def act(submission: Path) -> None:
        (submission / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return act


def huge(name: str) -> Break:
    """100 MB of YAML, sparse."""

    def act(submission: Path) -> None:
        with (submission / name).open("r+b") as stream:
            stream.seek(100_000_000)
            stream.write(b"\n")

    return act


def remove(name: str) -> Break:
    """Remove a file of the submission."""

    def act(submission: Path) -> None:
        (submission / name).unlink()

    return act


def link(name: str, target: str) -> Break:
    """Put a symbolic link in a file's place."""

    def act(submission: Path) -> None:
        (submission / name).unlink()
        (submission / name).symlink_to(target)

    return act


def layout(image: MadeImage, *, digest: str | None = None) -> Break:
    """Hand in this image as an OCI layout."""

    def act(submission: Path) -> None:
        top = image.manifest()
        image.write_layout(submission / "image", [top])
        point_to("layout: image", digest or str(top["digest"]))(submission)

    return act


def point_to(place: str, digest: str) -> Break:
    """Say in the document that the image is there."""

    def act(submission: Path) -> None:
        text = (submission / DOCUMENT).read_text()
        (submission / DOCUMENT).write_text(re.sub(r"image: \{.*\}", f'image: {{{place}, digest: "{digest}"}}', text))

    return act


def truncated(submission: Path) -> None:
    """Cut the archive in the middle."""
    path = submission / "image.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def broken_layer(submission: Path) -> None:
    """A layout whose layer ends too early."""
    image = made(("app/main.py", b"print()" * 1000))
    top = image.manifest()
    image.write_layout(submission / "image", [top])
    layer = max((submission / "image/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    layer.write_bytes(layer.read_bytes()[:-20])
    point_to("layout: image", str(top["digest"]))(submission)


def bomb(submission: Path) -> None:
    """A layer of 16 MB that unpacks to 16 GB."""
    image = made(("x", b""))
    image.media_type = GZIP_LAYER
    head = tarfile.TarInfo("zeros")
    head.size = 16 << 30
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream:
        stream.write(head.tobuf(tarfile.GNU_FORMAT))
        stream.write(bytes(1 << 20))
    block = gzip.compress(bytes(1 << 22), 9, mtime=0)
    layer = packed.getvalue() + block * (4 << 10)
    config = image.put(image.config(), "application/vnd.oci.image.config.v1+json")
    entry = image.put(layer, GZIP_LAYER)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [entry]}
    top = image.put(json.dumps(document).encode(), MANIFEST)
    image.write_layout(submission / "image", [top])
    point_to("layout: image", str(top["digest"]))(submission)


def other_platform(submission: Path) -> None:
    """An index that has this image for other machines only."""
    image = made(("app/main.py", b"print()"))
    top = {**image.manifest(), "platform": {"os": "linux", "architecture": "riscv64"}}
    index = image.index([top])
    image.write_layout(submission / "image", [index])
    point_to("layout: image", str(index["digest"]))(submission)


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
GLOB = "glob: $(runtime.outdir)/scores.csv"

BAD: dict[str, tuple[Break, str]] = {
    "manifest, not YAML": (put(CWL, "a: [b"), "yaml/syntax"),
    "manifest, binary": (put(CWL, bytes(range(256))), "yaml/encoding"),
    "manifest, empty": (put(CWL, ""), "yaml/empty"),
    "manifest, duplicate keys": (edit(CWL, "id: scorer\n", "id: scorer\nid: other\n"), "yaml/duplicate-key"),
    "manifest, 100 MB": (huge(CWL), "file/too-large"),
    "manifest, alias bomb": (put(CWL, ALIASES), "yaml/alias"),
    "manifest, unknown class": (edit(CWL, "class: FEMTask", "class: Workflow"), "manifest/class"),
    "manifest, expression that escapes": (edit(CWL, GLOB, f"{GLOB}/../../etc"), "manifest/glob-escapes"),
    "manifest, expression of code": (edit(CWL, GLOB, "glob: $(require('fs').read('x'))"), "manifest/expression"),
    "submission, not YAML": (put(DOCUMENT, "a: [b"), "yaml/syntax"),
    "submission, duplicate keys": (edit(DOCUMENT, "tool:", "manifest: x\ntool:"), "yaml/duplicate-key"),
    "submission, 100 MB": (huge(DOCUMENT), "file/too-large"),
    "submission, alias bomb": (put(DOCUMENT, ALIASES), "yaml/alias"),
    "submission, absent": (remove(DOCUMENT), "file/missing"),
    "submission, missing file": (remove(TABLE), "file/missing"),
    "submission, missing manifest": (remove(CWL), "file/missing"),
    "submission, path outside": (edit(DOCUMENT, TABLE, "../../../etc/passwd"), "path/outside-submission"),
    "submission, absolute path": (edit(DOCUMENT, TABLE, "/etc/passwd"), "path/outside-submission"),
    "submission, symlink out": (link(TABLE, "/etc/passwd"), "path/symlink"),
    "submission, symlinked manifest": (link(CWL, "/etc/passwd"), "path/symlink"),
    "submission, digest mismatch": (point_to("archive: image.tar", OTHER), "image/digest-mismatch"),
    "submission, image by tag": (point_to("reference: registry.example.org/a:1.0", OTHER), "submission/image-by-tag"),
    "image, truncated archive": (truncated, "tar/truncated"),
    "image, truncated layer": (broken_layer, "image/"),
    "image, no archive": (put("image.tar", b"no tar at all"), "tar/"),
    "image, layer bomb": (bomb, "image/"),
    "image, wrong architecture": (layout(made(("x", b"y"), architecture="arm64")), "image/"),
    "image, no such platform": (other_platform, "image/"),
    "image, digest of another": (layout(made(("x", b"y")), digest=OTHER), "image/"),
}


@pytest.fixture(scope="session")
def began() -> int:
    """When these tests began, for the engine's events."""
    return int(time.time()) - 1


def containers_made(engine: Engine, node: Node, began: int) -> list[str]:
    """Containers that the engine made for this node, also those that are gone."""
    filters = {"type": ["container"], "event": ["create"], "label": [node.label]}
    now = f"{time.time():.6f}"  # a time to come would be waited for
    events = engine._client.events(since=began, until=now, filters=filters, decode=True)
    return [event["id"] for event in events]


@pytest.mark.parametrize(("break_", "rule"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_by_name_and_nothing_is_run(
    break_: Break, rule: str, node: Node, submission: Path, engine: Engine, began: int
) -> None:
    break_(submission)
    begun = time.monotonic()
    done = node.run("precheck", submission, policy=True)
    assert done.code == 1, done.out + done.err
    assert time.monotonic() - begun < 30
    assert done.out == ""
    assert "Traceback" not in done.err
    named = re.search(r"^  rule: (\S+)$", done.err, re.MULTILINE)
    assert named is not None, done.err
    assert named[1].startswith(rule), done.err
    assert "  next: " in done.err
    assert len(done.err) < 4000
    assert node.leftovers(engine) == []
    assert containers_made(engine, node, began) == []
    assert not (node.home / "ledger").exists()


@pytest.mark.parametrize("name", ["manifest, alias bomb", "image, truncated layer"])
def test_gate_refuses_the_same_and_records_nothing(name: str, node: Node, submission: Path, engine: Engine) -> None:
    break_, rule = BAD[name]
    break_(submission)
    done = node.onboard(submission)
    assert done.code == 1, done.out + done.err
    error = done.report()["error"]
    assert error["exit_code"] == 1
    assert error["rule"].startswith(rule)
    assert error["next_step"]
    assert f"rule: {error['rule']}" in done.err
    assert "Traceback" not in done.err
    assert node.entries() == 0
    assert node.leftovers(engine) == []


def test_argument_that_looks_like_an_option_is_not_run(
    node: Node, submission: Path, engine: Engine, began: int
) -> None:
    """The manifest's positional text would become an option of the tool."""
    edit(
        "scorer.cwl",
        "outputs:",
        '  - {id: mode, type: string, required: true, default: "--exec=sh", inputBinding: {position: 9}}\noutputs:',
    )(submission)
    done = node.precheck(submission)
    assert done.code == 1, done.err
    (finding,) = [f for f in done.report()["checks"]["manifest"]["findings"] if f["level"] == "error"]
    assert "'--exec=sh' would be taken for an option" in finding["message"]
    assert finding["fix"]
    assert containers_made(engine, node, began) == []


def test_submission_that_is_right_does_make_containers(
    node: Node, tmp_path: Path, image: tuple[bytes, Digest], engine: Engine, began: int
) -> None:
    """So that the empty lists above mean something."""
    done = node.precheck(write_submission(tmp_path / "good", image))
    assert done.code == 0, done.err
    assert len(containers_made(engine, node, began)) >= 3
