"""Does the tool do what its manifest says? Tables by what the tool does instead."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checks.interface import Level, Status
from checks.sandboxed.canaries import check_canaries
from checks.sandboxed.conformance import check_conformance
from sandbox.record import EndedBy
from sandbox.spec import MIB
from tests.unit.checks.sandboxed.tools import COHORT, NO_EXAMPLE, also, ended, errors, identifiers


def missing_output(call: Any) -> int:
    return 0


def huge_difference(call: Any) -> int:
    call.write("scores.csv", "patient_id,score\n" + "".join(f"{name},9.0\n" for name in identifiers(call)))
    return 0


NONCONFORMING: dict[str, tuple[Callable[[Any], int | None], str]] = {
    "wrong exit code": (lambda call: 7, "exit-code"),
    "writes nothing": (missing_output, "output-missing"),
    "other numbers than expected": (huge_difference, "expected-differs"),
    "output under another name": (
        also(lambda call: (call.output / "scores.csv").rename(call.output / "x.csv")),
        "output-missing",
    ),
    "output in a directory that the glob does not name": (
        lambda call: call.write("deep/scores.csv", "patient_id,score\n") or 0,
        "output-missing",
    ),
    "output that is no table": (also(lambda call: call.write("scores.csv", b"\xff\xfe\x00")), "output-unreadable"),
    "ragged table": (also(lambda call: call.write("scores.csv", "a,b\n1\n")), "output-unreadable"),
    "volume whose dimensions lie": (
        also(
            lambda call: call.write(
                "m.nii", b"\x5c\x01\x00\x00" + bytes(36) + b"\x03\x00" + b"\xff\x7f" * 7 + bytes(300)
            )
        ),
        "output-unreadable",
    ),
    "more memory than declared": (also(lambda call: call.facts.update(peak_memory=200 * MIB)), "memory-above-declared"),
    "a worker was killed for memory": (also(lambda call: call.facts.update(oom_killed=True)), "process-out-of-memory"),
    "runs for ever": (ended(EndedBy.DEADLINE), "too-slow"),
    "out of memory": (ended(EndedBy.OUT_OF_MEMORY), "out-of-memory"),
    "floods the log": (ended(EndedBy.LOG_CAP), "log-flooded"),
    "floods the output": (ended(EndedBy.OUTPUT_CAP), "output-flooded"),
}


@pytest.mark.parametrize("case", NONCONFORMING)
def test_conformance_fails(bench: Any, case: str) -> None:
    """Each is an error with a rule of its own and a fix."""
    tool, rule = NONCONFORMING[case]
    result = check_conformance(bench.session(tool), bench.store)
    assert result.status is Status.FAILED
    assert f"conformance/{rule}" in errors(result)
    assert all(finding.fix for finding in result.findings)


def test_undeclared_resources_and_outputs_are_warnings(bench: Any) -> None:
    """They do not fail the check, but the provider reads how to mend them."""
    change = [("  - {class: ResourceRequirement, coresMin: 1, ramMin: 100}\n", "")]
    result = check_conformance(bench.session(also(lambda c: c.write("extra.log", "x")), replace=change), bench.store)
    assert result.status is Status.PASSED
    rules = {finding.rule_id for finding in result.findings}
    assert {"conformance/resources-undeclared", "conformance/output-undeclared"} <= rules


WARNED: dict[str, tuple[Callable[[Any], int | None], list[tuple[str, str]], str]] = {
    "an empty file": (also(lambda call: call.write("scores.txt", "")), [], "output-empty"),
    "three cores busy": (also(lambda call: call.facts.update(cpu_seconds=3.0)), [], "cpu-above-declared"),
    "more than the node gives": (also(lambda call: None), [("ramMin: 100", "ramMin: 4096")], "resources-above-ceiling"),
}


@pytest.mark.parametrize("case", WARNED)
def test_conformance_warns(bench: Any, case: str) -> None:
    """What a person should read, and what keeps no tool from passing."""
    tool, change, rule = WARNED[case]
    result = check_conformance(bench.session(tool, replace=change), bench.store)
    assert result.status is Status.PASSED
    assert f"conformance/{rule}" in {one.rule_id for one in result.findings if one.level is Level.WARNING}


def test_a_file_of_the_expected_output_that_was_not_written_fails(bench: Any) -> None:
    """What the provider saw come out must come out here."""
    result = check_conformance(bench.session(files=[("out/summary.csv", "a\n1\n")]), bench.store)
    assert (result.status, errors(result)) == (Status.FAILED, {"conformance/expected-missing"})


PLAIN_CWL = [
    ("class: FEMTask", "class: CommandLineTool"),
    ("label: Scorer", "label: Scorer\n$namespaces: {s: https://schema.org/}"),
    (", required: true, hidden: true,", ","),
    ("type: File, required: true,", "type: File,"),
    ("type: string,", "type: string, default: unused,"),
    ("type: float, required: false,", "type: float?,"),
    ("expectedExitCode: 0\n", ""),
    ("metadata: {author: A, version: 1.0.0, orchestrator: {network: bridge}}", "s:softwareVersion: 1.0.0"),
]


@pytest.mark.parametrize(("change", "status"), [([], Status.PASSED), (PLAIN_CWL, Status.FAILED)], ids=["FEM", "CWL"])
def test_two_files_for_an_output_of_one(bench: Any, change: list[tuple[str, str]], status: Status) -> None:
    """CWL takes them for an error; in EUCAIM's dialect they are a note."""
    glob = ("glob: $(runtime.outdir)/scores.csv", 'glob: "$(runtime.outdir)/*.csv"')
    tool = also(lambda call: call.write("more.csv", "a\n1\n"))
    result = check_conformance(bench.session(tool, replace=[glob, *change]), bench.store)
    several = next(one for one in result.findings if one.rule_id == "conformance/output-several")
    assert (result.status, several.level is Level.ERROR) == (status, status is Status.FAILED)


def test_unmeasured_memory_is_inconclusive(bench: Any) -> None:
    """No figure is not a small figure."""
    tool = also(lambda call: call.facts.update(peak_memory=None, samples=()))
    assert check_conformance(bench.session(tool), bench.store).status is Status.INCONCLUSIVE


def test_small_differences_from_the_expected_output_are_arithmetic(bench: Any) -> None:
    """The last digits may differ from machine to machine."""
    tool = also(
        lambda c: c.write("scores.csv", (c.output / "scores.csv").read_text().replace("0.4000", "0.40000000001"))
    )
    result = check_conformance(bench.session(tool), bench.store)
    assert result.status is Status.PASSED
    measured = result.measured("expected_difference")
    assert isinstance(measured, float)
    assert 0 < measured < 1e-9


def test_images_get_volumes_and_a_picture(bench: Any) -> None:
    """A NIfTI tool gets a directory of volumes; the slice with most of its mask is kept."""
    import nibabel as nib
    import numpy as np

    new_image: Any = nib.Nifti1Image

    def segment(call: Any) -> int:
        for path in sorted(Path(call.input()).glob("*.nii.gz")):
            image: Any = nib.load(path)
            mask = (np.asarray(image.dataobj) > 120).astype(np.uint8)
            result = new_image(mask, image.affine)
            call.write(path.name.replace(".nii", "_mask.nii"), gzip.compress(result.to_bytes(), mtime=0))
        return 0

    change = [
        ("type: File, required: true", "type: Directory, required: true"),
        (
            "type: File, outputBinding: {glob: $(runtime.outdir)/scores.csv}",
            "type: File, outputBinding: {glob: '*_mask.nii.gz'}",
        ),
        (COHORT, "cohort: {kind: nifti, input: table}"),
        NO_EXAMPLE,
    ]
    session = bench.session(segment, replace=change, broken=("nan",))
    result = check_conformance(session, bench.store)
    assert not errors(result)
    picture = json.loads(bench.store.kept["slice.json"])
    assert len(picture["image"]) == len(picture["mask"]) == 48
    assert sum(map(sum, picture["mask"])) > 20
    assert check_canaries(session, bench.store).status is Status.PASSED
