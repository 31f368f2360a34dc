"""Images that never reach the engine: bombs, hostile configurations and files, another platform."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.case import open_case
from flows.inspection import Inspection
from flows.node import Node
from flows.steps import STEPS, answer
from policies.model import Outcome
from pratique.errors import InvalidInput
from sandbox.engine import Engine
from tests.assets.images import LAYER, ZSTD_LAYER, Item, MadeImage, entry, make_tar
from tests.assets.submissions import write_submission
from tests.integration.flows.gate import node_of

pytestmark = pytest.mark.docker

MIB = 1 << 20
LIMITS = {"unpacked": "8MiB", "entries": 300, "layers": 8, "ratio": 10}
ENTRYPOINT = {"Entrypoint": ["/opt/tool"], "User": "65534:65534"}


def tool(*items: Item, **fields: Any) -> MadeImage:
    """An image with a program and `items`; `run` goes over its configuration."""
    program = entry("opt/tool", mode=0o755)
    run = {**ENTRYPOINT, **fields.pop("run", {})}
    return MadeImage([make_tar([program, *items])], run=run, **fields)


def layers(number: int) -> MadeImage:
    return MadeImage([make_tar([(f"{n}", b"x")]) for n in range(number)], run=ENTRYPOINT)


Files = Sequence[Item]
FILES: Files = [(f"f{n}", b"") for n in range(400)]
REFUSED_AT_INTAKE: dict[str, tuple[Callable[[], MadeImage], str]] = {
    "more bytes than the ceiling": (
        lambda: tool(("big", bytes(range(256)) * 40_000), media_type=LAYER), "image/too-many-bytes",
    ),
    "a bomb of gzip": (lambda: tool(("zeros", bytes(12 * MIB))), "image/too-many-bytes"),
    "a bomb of zstd": (lambda: tool(("zeros", bytes(12 * MIB)), media_type=ZSTD_LAYER), "image/too-many-bytes"),
    "a bomb of entries": (lambda: tool(*FILES), "image/too-many-entries"),
    "a bomb of layers": (lambda: layers(9), "image/too-many-layers"),
    "a tree too deep": (lambda: tool(("d/" * 80 + "f", b"")), "image/path-too-deep"),
    "a path that climbs": (lambda: tool(("../../etc/cron.d/x", b"")), "image/path-climbs"),
    "another platform": (lambda: tool(architecture="riscv64"), "image/wrong-architecture"),
    "another system": (lambda: tool(config_changes={"os": "windows"}), "image/wrong-architecture"),
}  # fmt: skip
REFUSED_AT_GATE_1: dict[str, tuple[Callable[[], MadeImage], str]] = {
    "a set-user-id program": (lambda: tool(entry("opt/su", mode=0o4755)), "image/setuid-program"),
    "a program with file capabilities": (
        lambda: tool(entry("opt/cap", pax_headers={"SCHILY.xattr.security.capability": "\x01"})),
        "image/setuid-program",
    ),
    "a disk": (lambda: tool(entry("opt/sda", tarfile.BLKTYPE, devmajor=8)), "image/device-node"),
    "memory": (lambda: tool(entry("dev/mem", tarfile.CHRTYPE, devmajor=1, devminor=1)), "image/device-node"),
    "a library in every program": (lambda: tool(run={"Env": ["LD_PRELOAD=/x.so"]}), "image/preloaded-library"),
    "an entry point that is not there": (lambda: tool(run={"Entrypoint": ["/gone"]}), "image/entrypoint-missing"),
}


@pytest.fixture
def node(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Node:
    """It looks at the image, and runs what it lets through."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    rules = [
        {
            "id": "image-is-hygienic",
            "stage": "before-execution",
            "require": 'checks.image.status == "passed"',
            "otherwise": "refuse",
            "say": "No.",
        }
    ]
    return node_of(tmp_path / "node", sandbox={}, image=LIMITS, rules=rules)


def submitted(image: MadeImage, place: Path) -> Path:
    """A submission with this image as a layout."""
    top = image.manifest()
    directory = write_submission(place / "submission", (b"", top["digest"]))
    (directory / "image.tar").unlink()
    image.write_layout(directory / "image", [top])
    document = directory / "submission.yaml"
    document.write_text(document.read_text().replace("archive: image.tar", "layout: image"))
    return directory


def not_in(engine: Engine, image: MadeImage) -> bool:
    """Whether the engine has none of its blobs' digests as an image."""
    return all(engine.image(digest) is None for digest in image.blobs)


@pytest.mark.parametrize(
    ("make", "rule"), REFUSED_AT_INTAKE.values(), ids=list(REFUSED_AT_INTAKE)
)  # fmt: skip
def test_what_is_refused_while_it_is_read(
    engine: Engine, node: Node, tmp_path: Path, make: Callable[[], MadeImage], rule: str
) -> None:
    """There is not even a case to inspect, and the engine never hears of it."""
    image = make()
    with pytest.raises(InvalidInput) as caught, open_case(node, submitted(image, tmp_path)):
        pass
    assert caught.value.rule == rule
    assert caught.value.next_step
    assert not_in(engine, image)


@pytest.mark.parametrize(("make", "rule"), REFUSED_AT_GATE_1.values(), ids=list(REFUSED_AT_GATE_1))
def test_what_gate_1_refuses(
    engine: Engine, node: Node, tmp_path: Path, make: Callable[[], MadeImage], rule: str
) -> None:
    """The finding names it, nothing is executed, and the engine never hears of it."""
    image = make()
    steps = {step.name: step for step in STEPS}
    with open_case(node, submitted(image, tmp_path)) as case:
        inspection = Inspection(case)
        inspection.add(answer(steps["image"], case))
        assert rule in {finding.rule_id for finding in inspection.results["image"].findings}
        assert inspection.gate().outcome is Outcome.REFUSE
        assert inspection.closed()
        assert case.tool_seconds == 0
    assert not_in(engine, image)
