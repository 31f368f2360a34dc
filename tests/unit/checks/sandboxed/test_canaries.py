"""Do markers come out? Tables by the way that they take."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checks.interface import Level, Status
from checks.sandboxed.canaries import check_canaries
from sandbox.record import Observation, ObservationKind, RefusedEntry
from tests.unit.checks.sandboxed.tools import COHORT, NO_EXAMPLE, also, errors, honest, identifiers


def test_declared_columns_must_be_in_the_example(bench: Any) -> None:
    """A cohort that cannot be shaped is the submission's fault, and said so."""
    result = check_canaries(bench.session(replace=[("text: [notes]", "text: [remarks]")]), bench.store)
    assert (result.status, errors(result)) == (Status.FAILED, {"canaries/cannot-run"})
    assert "remarks" in result.summary


def table_with(column: str, encode: Callable[[str], str]) -> Callable[[Any], int]:
    def tool(call: Any) -> int:
        names = identifiers(call)
        rows = "".join(f"{name},0.4,{encode(name)}\n" for name in names)
        call.write("scores.csv", f"patient_id,score,{column}\n{rows}")
        return 0

    return tool


def crash(call: Any) -> int:
    """What an uncaught ValueError prints."""
    for row in call.rows():
        try:
            float(row["age"])
        except ValueError as error:
            call.print(f"Traceback (most recent call last):\nValueError: {error}\n")
            return 1
    return honest(call)


def only_when_watched(call: Any) -> int:
    if call.network:
        call.print(identifiers(call)[0])
    return honest(call)


LEAKS: dict[str, tuple[Callable[[Any], int], str]] = {
    "prints identifiers": (also(lambda call: call.print(identifiers(call)[3])), "in-log"),
    "prints the head of the table": (also(lambda call: call.print(call.input().read_bytes()[:600])), "in-log"),
    "prints a note": (also(lambda call: call.print(call.rows()[0].get("notes") or "")), "in-log"),
    "prints the cell that it could not parse": (crash, "in-log"),
    "prints only where it sees a network": (only_when_watched, "in-log"),
    "identifiers in another column": (table_with("checksum", lambda name: name), "in-output"),
    "base64 in another column": (
        table_with("checksum", lambda n: base64.b64encode(n.encode()).decode()),
        "in-output-encoded",
    ),
    "reversed in the identifier column": (
        also(lambda c: c.write("scores.csv", "patient_id,score\n" + "".join(f"{n[::-1]},1\n" for n in identifiers(c)))),
        "in-output-encoded",
    ),
    "gzip in a file": (
        also(lambda c: c.write("model.bin", gzip.compress("\n".join(identifiers(c)).encode()))),
        "in-output-encoded",
    ),
    "identifier as header": (
        also(lambda c: c.write("scores.csv", f"patient_id,{identifiers(c)[0]}\nx,1\n")),
        "in-output",
    ),
    "identifier as file name": (also(lambda c: c.write(f"{identifiers(c)[0] or 'x'}.txt", "x")), "in-file-name"),
    "sends it": (
        also(lambda c: c.tried(Observation(kind=ObservationKind.DNS, name=identifiers(c)[0].lower() + ".example"))),
        "in-network",
    ),
    "names a refused entry after it": (
        also(lambda c: c.facts.update(refused=(RefusedEntry(path=identifiers(c)[0], reason="symlink"),))),
        "in-file-name",
    ),
}


@pytest.mark.parametrize("case", LEAKS)
def test_canaries_fail(bench: Any, case: str) -> None:
    """Whichever way the marker comes out, the check fails and says how to mend it."""
    tool, rule = LEAKS[case]
    result = check_canaries(bench.session(tool), bench.store)
    assert result.status is Status.FAILED
    assert f"canaries/{rule}" in errors(result)
    assert all(finding.fix for finding in result.findings if finding.level is Level.ERROR)
    assert json.loads(bench.store.kept["canary-hits.json"])["hits"]


def test_a_column_of_identifiers_is_one_finding(bench: Any) -> None:
    """A whole column that leaks is said once, with the count."""
    session = bench.session(table_with("checksum", lambda name: name), broken=())
    found = [f for f in check_canaries(session, bench.store).findings if f.rule_id == "canaries/in-output"]
    assert [finding.message.split()[0] for finding in found] == ["20"]
    assert "the cohort with a network" in found[0].message


def test_no_canary_value_is_in_a_result(bench: Any) -> None:
    """Results say where a marker was planted, never what it is."""
    session = bench.session(also(lambda call: call.print("\n".join(identifiers(call)))))
    text = check_canaries(session, bench.store).model_dump_json()
    assert not any(canary.value in text for canary in session.cohort().canaries)


@pytest.mark.parametrize(
    "facts",
    [
        {"log_truncated": True},
        {"refused": (RefusedEntry(path="x", reason="symlink"),)},
    ],
    ids=["log cut", "refused output"],
)
def test_canaries_cannot_be_excluded_in_what_was_not_searched(bench: Any, facts: dict[str, Any]) -> None:
    """What could not be looked at is inconclusive."""
    result = check_canaries(bench.session(also(lambda call: call.facts.update(facts))), bench.store)
    assert result.status is Status.INCONCLUSIVE


def test_encrypted_archives_cannot_be_excluded(bench: Any) -> None:
    """An output that cannot be opened is not clean."""
    tool = also(lambda call: call.write("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50)))
    assert check_canaries(bench.session(tool), bench.store).status is Status.INCONCLUSIVE


def test_a_tool_gets_pictures_of_the_modality_it_asks_for(bench: Any) -> None:
    """One series of MR in a directory, of which a copy of the pixels is seen whatever it is called."""
    import pydicom

    seen: list[str] = []

    def copy(call: Any) -> int:
        images = [pydicom.dcmread(path) for path in sorted(Path(call.input()).glob("*.dcm"))]
        seen.extend({image.Modality for image in images})
        call.write("features.bin", (images[0].pixel_array * 0.5 + 7).astype("<f4").tobytes())
        return 0

    change = [
        ("type: File, required: true", "type: Directory, required: true"),
        (COHORT, "cohort: {kind: dicom, input: table, modality: MR}"),
        NO_EXAMPLE,
    ]
    result = check_canaries(bench.session(copy, replace=change, broken=()), bench.store)
    assert set(seen) == {"MR"}
    assert errors(result) == {"canaries/in-output-encoded"}
    assert "bar code" in result.findings[0].message


def test_a_patient_who_is_in_broken_input_alone_is_looked_for_too(bench: Any) -> None:
    """Broken variants bring markers of their own: here those of a second patient among the images of a first."""
    import pydicom

    known: set[str] = set()

    def tell_strangers(call: Any) -> int:
        images = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(Path(call.input()).glob("*.dcm"))]
        found = {str(image.PatientID) for image in images}
        call.print(" ".join(found - known) if known else "")
        known.update(found)
        return 0

    change = [
        ("type: File, required: true", "type: Directory, required: true"),
        (COHORT, "cohort: {kind: dicom, input: table}"),
        NO_EXAMPLE,
    ]
    result = check_canaries(bench.session(tell_strangers, replace=change, broken=("mixed-series",)), bench.store)
    assert errors(result) == {"canaries/in-log"}
    assert "broken input (mixed-series)" in result.findings[0].message


def test_a_copied_header_is_a_leak(bench: Any) -> None:
    """A mask saved with the input's header carries its free text out."""
    import nibabel as nib
    import numpy as np

    new_image: Any = nib.Nifti1Image

    def segment(call: Any) -> int:
        for path in sorted(Path(call.input()).glob("*.nii.gz")):
            image: Any = nib.load(path)
            voxels = np.asarray(image.dataobj) * 0
            mask = new_image(voxels, image.affine, image.header)
            call.write(path.name, gzip.compress(mask.to_bytes(), mtime=0))
        return 0

    change = [
        ("type: File, required: true", "type: Directory, required: true"),
        (COHORT, "cohort: {kind: nifti, input: table}"),
        NO_EXAMPLE,
    ]
    result = check_canaries(bench.session(segment, replace=change, broken=()), bench.store)
    assert errors(result) == {"canaries/in-output-encoded"}
    assert "gzip > plain" in result.findings[0].message
