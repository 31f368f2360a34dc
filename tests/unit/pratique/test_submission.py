"""Reading submissions: what is refused before anything is run, and what a good one becomes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.digests import sha256_bytes, sha256_json
from pratique.errors import InvalidInput
from pratique.intake.document import SubmissionDocument, schema_text
from pratique.intake.submission import Submission, load_submission, parse_document

REPOSITORY = Path(__file__).parents[3]
DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
MANIFEST = """\
cwlVersion: v1.2
class: FEMTask
id: risk-classifier
requirements:
  - {class: DockerRequirement, dockerPull: registry.example.org/risk-classifier:1.0.0}
inputs:
  table: {type: File, inputBinding: {position: 1}}
  extra: {type: 'File[]', required: false, inputBinding: {position: 2, prefix: -e}}
  threshold: {type: float, default: 0.5, inputBinding: {position: 3, prefix: -t}}
  output_dir: {type: string, inputBinding: {position: 4, prefix: -o, valueFrom: $(runtime.outdir)}}
outputs:
  predictions: {type: File, outputBinding: {glob: predictions.csv}}
expectedExitCode: 0
metadata: {author: A. Provider, version: 1.0.0}
"""


def content(**changes: Any) -> dict[str, Any]:
    """A full `submission.yaml` as data, with some fields replaced (removed where None)."""
    document: dict[str, Any] = {
        "apiVersion": "pratique/submission/v1",
        "tool": {"name": "risk-classifier", "version": "1.0.0"},
        "provider": {"organisation": "Example Hospital", "contact": "a@example.org", "submitter": "b@example.org"},
        "manifest": "metadata/tool.cwl",
        "image": {"layout": "image", "digest": DIGEST},
        "signatures": ["evidence/image.sigstore.json"],
        "sbom": "evidence/sbom.cdx.json",
        "example": {"inputs": {"table": "test/in/patients.csv", "threshold": 0.5}, "expected": "test/out"},
        "cohort": {"kind": "tabular", "input": "table", "columns": {"identifier": ["patient_id"], "outcome": "y"}},
        "claims": {
            "model": {"trained": True, "training_records": 500},
            "determinism": "within-tolerance",
            "tolerance": 1e-6,
            "differential_privacy": {
                "epsilon": 8.0,
                "delta": 1e-5,
                "noise_multiplier": 1.1,
                "sample_rate": 0.01,
                "steps": 1000,
            },
        },
        "privacy": {
            "input": "table",
            "members": "evidence/members.csv",
            "non_members": "evidence/non_members.csv",
            "identifier": "patient_id",
            "label": "y",
            "prediction": {"output": "predictions.csv", "identifier": "patient_id", "probability": "p"},
        },
        "documents": [{"kind": "intended-use", "path": "docs/use.md"}],
    }
    return {key: value for key, value in {**document, **changes}.items() if value is not None}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A complete submission on disk."""
    files = ["image/index.json", "evidence/image.sigstore.json", "evidence/sbom.cdx.json", "evidence/members.csv"]
    files += ["evidence/non_members.csv", "test/in/patients.csv", "test/out/predictions.csv", "docs/use.md"]
    root = tmp_path / "submission"
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "metadata").mkdir()
    (root / "metadata" / "tool.cwl").write_text(MANIFEST)
    write(root, content())
    return root


def write(root: Path, document: dict[str, Any]) -> None:
    """Write `submission.yaml`, as JSON, which is YAML."""
    (root / "submission.yaml").write_text(json.dumps(document, indent=1))


def refusal(root: Path, document: dict[str, Any] | None = None) -> InvalidInput:
    """The error that this submission ends in."""
    if document is not None:
        write(root, document)
    with pytest.raises(InvalidInput) as caught:
        load_submission(root)
    assert caught.value.next_step
    return caught.value


def test_a_whole_submission(root: Path) -> None:
    """Document, manifest, every file's digest, and one digest over them all."""
    submission = load_submission(root)
    assert isinstance(submission, Submission)
    assert submission.document.tool.name == "risk-classifier"
    assert submission.document.claims.differential_privacy is not None
    assert submission.document.claims.differential_privacy.delta == 1e-5
    assert submission.document.cohort is not None
    assert submission.document.cohort.columns.identifier == ("patient_id",)
    assert submission.manifest.id == "risk-classifier"
    assert len(submission.files) == 10
    assert submission.files["docs/use.md"] == sha256_bytes(b"docs/use.md")
    assert submission.digest == sha256_json(submission.files)
    assert submission.path("test/in") == root / "test" / "in"
    assert submission.read("./docs/use.md", 100) == b"docs/use.md"


def test_pictures_of_a_modality(root: Path) -> None:
    """A provider may ask for MR; without a word it is CT, which is for the session to say."""
    write(root, content(cohort={"kind": "dicom", "input": "table", "modality": "MR"}))
    cohort = load_submission(root).document.cohort
    assert cohort is not None
    assert cohort.modality == "MR"


def test_the_smallest_submission(tmp_path: Path) -> None:
    """Only identity, manifest, image and claims are needed."""
    (tmp_path / "tool.cwl").write_text(MANIFEST)
    smallest = {key: content()[key] for key in ("apiVersion", "tool", "provider")}
    claims = {"model": {"trained": False}, "determinism": "bitwise"}
    image = {"reference": f"registry.example.org:5000/tools/x@{DIGEST}", "digest": DIGEST}
    write(tmp_path, {**smallest, "manifest": "tool.cwl", "image": image, "claims": claims})
    submission = load_submission(tmp_path)
    assert submission.document.signatures == ()
    assert submission.document.privacy is None


def test_the_same_files_have_the_same_digest(root: Path, tmp_path: Path) -> None:
    """One changed byte changes it; the place on disk does not."""
    first = load_submission(root).digest
    moved = root.rename(tmp_path / "elsewhere")
    assert load_submission(moved).digest == first
    (moved / "docs" / "use.md").write_text("docs/use.mD")
    assert load_submission(moved).digest != first


def test_a_file_that_changes_after_hashing_is_noticed(root: Path) -> None:
    """No gap between what was checked and what is used."""
    submission = load_submission(root)
    (root / "docs" / "use.md").write_text("other")
    with pytest.raises(InvalidInput, match="changed after it was hashed"):
        submission.read("docs/use.md", 100)


def image(**fields: str) -> dict[str, Any]:
    """A submission with another image."""
    return content(image=fields)


DOCUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "an image by tag only": (
        image(reference="registry.example.org/tool:1.0", digest=DIGEST),
        "submission/image-by-tag",
    ),
    "an image by tag as text": (content(image="registry.example.org/tool:latest"), "submission/image-by-tag"),
    "an image by a tag without digest": (image(reference="registry.example.org/tool:1.0"), "submission/image-by-tag"),
    "an image without registry": (image(reference=f"tool@{DIGEST}", digest=DIGEST), "submission/image-by-tag"),
    "two digests that differ": (
        image(reference=f"registry.example.org/tool@{OTHER}", digest=DIGEST),
        "submission/image-digest-differs",
    ),
    "a digest without algorithm": (image(layout="image", digest="1" * 64), "digest/form"),
    "a digest in capitals": (image(layout="image", digest="sha256:" + "A" * 64), "digest/form"),
    "a short digest": (image(layout="image", digest="sha256:11"), "digest/form"),
    "a digest with a line break": (image(layout="image", digest=DIGEST + "\n"), "digest/form"),
    "another algorithm": (image(layout="image", digest="sha512:" + "1" * 128), "digest/form"),
    "a reference with a broken digest": (image(reference="r.example.org/t@sha256:1", digest=DIGEST), "digest/form"),
    "no digest": (image(layout="image"), "submission/schema"),
    "no place for the image": (image(digest=DIGEST), "submission/image"),
    "two places for the image": (image(layout="image", archive="a.tar", digest=DIGEST), "submission/image"),
    "no image": (content(image=None), "submission/schema"),
    "an unknown field": (content(extra=1), "submission/schema"),
    "an unknown field inside": (content(tool={"name": "a", "version": "1", "x": 1}), "submission/schema"),
    "another version of the format": (content(apiVersion="pratique/submission/v2"), "submission/schema"),
    "a version that is a number": (content(tool={"name": "a", "version": 1.1}), "submission/schema"),
    "a name with a path": (content(tool={"name": "../a", "version": "1"}), "submission/schema"),
    "a name with a line break": (content(tool={"name": "a\n", "version": "1"}), "submission/schema"),
    "a name in capitals": (content(tool={"name": "Risk", "version": "1"}), "submission/schema"),
    "no contact": (content(provider={"organisation": "A"}), "submission/schema"),
    "a contact that is no address": (
        content(provider={"organisation": "A", "contact": "<script>", "submitter": "b@example.org"}),
        "submission/schema",
    ),
    "an organisation with control characters": (
        content(provider={"organisation": "A\x1b[2J", "contact": "a@example.org", "submitter": "b@example.org"}),
        "submission/schema",
    ),
    "a trained model without samples": (content(privacy=None), "submission/privacy-missing"),
    "records of a model that was not trained": (
        content(claims={"model": {"trained": False, "training_records": 5}, "determinism": "bitwise"}),
        "submission/claims",
    ),
    "trained as text": (
        content(claims={"model": {"trained": "yes"}, "determinism": "bitwise"}),
        "submission/schema",
    ),
    "determinism unknown": (
        content(claims={"model": {"trained": False}, "determinism": "mostly"}),
        "submission/schema",
    ),
    "a delta of one": (
        content(
            claims={
                "model": {"trained": False},
                "determinism": "bitwise",
                "differential_privacy": {
                    "epsilon": 1.0,
                    "delta": 1.0,
                    "noise_multiplier": 1.0,
                    "sample_rate": 0.1,
                    "steps": 1,
                },
            }
        ),
        "submission/schema",
    ),
    "an example for an unknown input": (content(example={"inputs": {"nothing": 1}}), "submission/input"),
    "an example for the output directory": (content(example={"inputs": {"output_dir": "/x"}}), "submission/input"),
    "an example file that is a number": (content(example={"inputs": {"table": 1}}), "submission/schema"),
    "a cohort for a number": (content(cohort={"kind": "tabular", "input": "threshold"}), "submission/input"),
    "a cohort for nothing": (content(cohort={"kind": "tabular", "input": "missing"}), "submission/input"),
    "a table of a modality": (
        content(cohort={"kind": "tabular", "input": "table", "modality": "CT"}),
        "submission/cohort",
    ),
    "a cohort of an unknown modality": (
        content(cohort={"kind": "nifti", "input": "table", "modality": "PET"}),
        "submission/schema",
    ),
    "a cohort of an unknown kind": (content(cohort={"kind": "video", "input": "table"}), "submission/schema"),
    "a missing manifest": (content(manifest="metadata/other.cwl"), "file/missing"),
    "a missing signature": (content(signatures=["evidence/none.json"]), "file/missing"),
    "a missing example file": (content(example={"inputs": {"table": "test/none.csv"}}), "file/missing"),
    "a missing item of an example": (content(example={"inputs": {"extra": ["docs/use.md", "x"]}}), "file/missing"),
    "a missing document": (content(documents=[{"kind": "dpia", "path": "docs/dpia.pdf"}]), "file/missing"),
    "a missing archive": (image(archive="image.tar", digest=DIGEST), "file/missing"),
    "a manifest outside": (content(manifest="../tool.cwl"), "path/outside-submission"),
    "an SBOM by absolute path": (content(sbom="/etc/passwd"), "path/outside-submission"),
    "an example outside": (content(example={"inputs": {"table": "../../x"}}), "path/outside-submission"),
    "the whole directory as layout": (image(layout=".", digest=DIGEST), "path/outside-submission"),
    "a file as layout": (image(layout="docs/use.md", digest=DIGEST), "file/kind"),
    "a directory as manifest": (content(manifest="metadata"), "file/kind"),
    "a directory as SBOM": (content(sbom="docs"), "file/kind"),
    "a directory as example file": (content(example={"inputs": {"table": "test/in"}}), "file/kind"),
}


@pytest.mark.parametrize(("document", "rule"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_bad_documents_are_refused(root: Path, document: dict[str, Any], rule: str) -> None:
    """Each mistake or attack ends in its rule, with the place and a next step."""
    error = refusal(root, document)
    assert error.rule == rule
    assert error.where


def test_a_tag_is_told_how_to_become_a_digest(root: Path) -> None:
    """The message says what to write."""
    error = refusal(root, image(reference="registry.example.org/tool:1.0", digest=DIGEST))
    assert "registry.example.org/tool:1.0" in str(error)
    assert "host/repository@sha256:" in error.next_step


BYTES = {
    "not YAML": (b"tool: [", "yaml/syntax"),
    "duplicate keys": (b"tool: 1\ntool: 2\n", "yaml/duplicate-key"),
    "alias bomb": (b"a: &a [1]\nb: [*a, *a]\n", "yaml/alias"),
    "an object": (b"!!python/object:os.system {}\n", "yaml/tag"),
    "a list": (b"- 1\n", "submission/schema"),
    "empty": (b"", "yaml/empty"),
}


@pytest.mark.parametrize(("data", "rule"), BYTES.values(), ids=BYTES.keys())
def test_bytes_that_are_no_submission_are_refused(root: Path, data: bytes, rule: str) -> None:
    """The YAML reader's bounds hold."""
    (root / "submission.yaml").write_bytes(data)
    assert refusal(root).rule == rule


def link_out(root: Path) -> None:
    (root.parent / "secret").write_text("x")
    (root / "docs" / "use.md").unlink()
    (root / "docs" / "use.md").symlink_to(root.parent / "secret")


def link_that_nothing_names(root: Path) -> None:
    (root / "image" / "blob").symlink_to("/etc/passwd")


def linked_directory(root: Path) -> None:
    (root / "image").rename(root.parent / "image")
    (root / "image").symlink_to(root.parent / "image")


def linked_document(root: Path) -> None:
    (root / "submission.yaml").rename(root.parent / "s.yaml")
    (root / "submission.yaml").symlink_to(root.parent / "s.yaml")


def linked_manifest(root: Path) -> None:
    (root / "metadata" / "tool.cwl").unlink()
    (root / "metadata" / "tool.cwl").symlink_to("/dev/zero")


def pipe(root: Path) -> None:
    os.mkfifo(root / "image" / "pipe")


def pipe_as_document(root: Path) -> None:
    (root / "docs" / "use.md").unlink()
    os.mkfifo(root / "docs" / "use.md")


def huge_document(root: Path) -> None:
    os.truncate(root / "submission.yaml", 100 * 1024 * 1024)


def huge_manifest(root: Path) -> None:
    os.truncate(root / "metadata" / "tool.cwl", 100 * 1024 * 1024)


def no_document(root: Path) -> None:
    (root / "submission.yaml").unlink()


def deep(root: Path) -> None:
    (root / "/".join(["d"] * 40)).mkdir(parents=True)
    (root / "/".join(["d"] * 40) / "f").write_text("x")


def odd_name(root: Path) -> None:
    (root / "image" / "a\nb").write_text("x")


def undecodable_name(root: Path) -> None:
    (root / "image" / os.fsdecode(b"a\xff")).write_text("x")


def hostile_manifest(root: Path) -> None:
    (root / "metadata" / "tool.cwl").write_text(MANIFEST.replace("predictions.csv", "../../etc/passwd"))


TREES: dict[str, tuple[Callable[[Path], None], str]] = {
    "symlink out": (link_out, "path/symlink"),
    "symlink that nothing names": (link_that_nothing_names, "path/symlink"),
    "linked directory": (linked_directory, "path/symlink"),
    "linked document": (linked_document, "path/symlink"),
    "linked manifest": (linked_manifest, "path/symlink"),
    "pipe": (pipe, "file/not-regular"),
    "pipe in place of a document": (pipe_as_document, "file/kind"),
    "document of 100 MB": (huge_document, "file/too-large"),
    "manifest of 100 MB": (huge_manifest, "file/too-large"),
    "no document": (no_document, "file/missing"),
    "too deep": (deep, "path/name"),
    "a name with a line break": (odd_name, "path/name"),
    "a name that is no text": (undecodable_name, "path/name"),
    "a manifest whose glob escapes": (hostile_manifest, "manifest/glob-escapes"),
}


@pytest.mark.parametrize(("change", "rule"), TREES.values(), ids=TREES.keys())
def test_bad_directories_are_refused(root: Path, change: Callable[[Path], None], rule: str) -> None:
    """Links, special files, sizes and names are refused before anything is read through them."""
    change(root)
    assert refusal(root).rule == rule


def test_too_many_files_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment beside the evidence is not hashed for minutes."""
    monkeypatch.setattr("pratique.intake.submission.MAX_FILES", 5)
    assert refusal(root).rule == "submission/too-many-files"


def test_sparse_files_are_not_hashed_for_days(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is small enough, all together are not."""
    monkeypatch.setattr("pratique.intake.submission.MAX_TOTAL_BYTES", 3 * 1024 * 1024)
    for number in range(4):
        with (root / f"sparse-{number}").open("wb") as stream:
            stream.truncate(1024 * 1024)
    assert refusal(root).rule == "file/too-large"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(InvalidInput, match="there is no directory"):
        load_submission(tmp_path / "none")


def test_the_published_schema_is_that_of_the_model() -> None:
    """`docs/reference/submission.schema.json` is what `schema_text()` returns: write it there after a change."""
    published = REPOSITORY / "docs" / "reference" / "submission.schema.json"
    assert published.read_text() == schema_text()


def test_the_published_schema_accepts_and_refuses_as_the_model_does() -> None:
    """Other programs can check a submission with it."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    assert not list(validator.iter_errors(content()))
    for wrong in (content(extra=1), image(digest=DIGEST), image(layout="image", digest="sha256:1"), content(tool=None)):
        assert list(validator.iter_errors(wrong))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_invalid_input(data: bytes) -> None:
    """Alone, and behind a valid beginning."""
    for prefix in (b"", b"apiVersion: pratique/submission/v1\n"):
        try:
            parse_document(prefix + data)
        except InvalidInput as error:
            assert error.next_step


_ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "kind", "path"]), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(content())), _ANY, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_documents_with_odd_fields_raise_nothing_but_invalid_input(changes: dict[str, Any]) -> None:
    """Whatever stands in a field, the answer is a document or `InvalidInput`."""
    try:
        document = parse_document(json.dumps({**content(), **changes}).encode())
    except InvalidInput as error:
        assert error.next_step
    else:
        assert isinstance(document, SubmissionDocument)


_NAMES = st.lists(st.text("az09", min_size=1, max_size=5), min_size=1, max_size=4).map("-".join)
_LINES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=50)


@given(_NAMES, _LINES, st.lists(_LINES, max_size=3), st.floats(0, 1e9), st.integers(1, 10**12))
@settings(max_examples=80, deadline=None)
def test_documents_round_trip(name: str, line: str, columns: list[str], tolerance: float, records: int) -> None:
    """What is written out is read in as the same document."""
    changed = content()
    changed["tool"]["name"] = name
    changed["provider"]["organisation"] = line
    changed["cohort"]["columns"] = {"text": columns}
    changed["claims"]["tolerance"] = tolerance
    changed["claims"]["model"]["training_records"] = records
    document = parse_document(json.dumps(changed, ensure_ascii=False).encode())
    written = document.model_dump_json(by_alias=True)
    assert parse_document(written.encode()) == document
    assert document.provider.organisation == line
    assert document.claims.tolerance == tolerance
