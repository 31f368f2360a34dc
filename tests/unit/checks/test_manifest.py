"""The manifest check: each mistake seen in real manifests becomes a finding with a fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import RISKS, CheckResult, Level, Status
from checks.manifest import check_manifest
from pratique.digests import Digest
from pratique.errors import InvalidInput
from pratique.intake.document import SubmissionDocument
from pratique.intake.manifest import load_manifest, parse_manifest
from pratique.intake.manifest.command import bind
from pratique.intake.manifest.model import Manifest
from pratique.intake.submission import Submission

ASSETS = Path(__file__).parents[2] / "assets" / "manifests"
DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
GOOD = {
    "id": "id: risk-classifier",
    "image": f"dockerPull: registry.example.org:5000/tools/risk-classifier@{DIGEST}",
    "resources": "- {class: ResourceRequirement, coresMin: 1, ramMin: 512}",
    "inputs": """\
  table: {type: File, inputBinding: {position: 1}}
  threshold: {type: float, default: 0.5, constraints: {min: 0, max: 1}, inputBinding: {position: 2, prefix: -t}}
  output_dir: {type: string, inputBinding: {position: 3, prefix: -o, valueFrom: $(runtime.outdir)}}""",
    "outputs": "  predictions: {type: File, outputBinding: {glob: predictions.csv}}",
    "exit": "expectedExitCode: 0",
    "metadata": "metadata: {author: A. Provider, version: '1.0.0'}",
}


def text(**changes: str) -> bytes:
    """A good manifest with some sections replaced."""
    part = {**GOOD, **changes}
    return f"""\
cwlVersion: v1.2
class: FEMTask
{part["id"]}
requirements:
  - {{class: DockerRequirement, {part["image"]}}}
  {part["resources"]}
inputs:
{part["inputs"]}
outputs:
{part["outputs"]}
{part["exit"]}
{part["metadata"]}
""".encode()


def inspect(
    manifest: Manifest,
    *,
    example: Any = None,
    name: str = "risk-classifier",
    sandbox: Any = None,
    granted: tuple[Any, ...] = ("default",),
) -> CheckResult:
    """The check's result for this manifest, in a submission of this name."""
    document = SubmissionDocument.model_validate(
        {
            "apiVersion": "pratique/submission/v1",
            "tool": {"name": name, "version": "1.0.0"},
            "provider": {"organisation": "A", "contact": "a@example.org", "submitter": "b@example.org"},
            "manifest": "tool.cwl",
            "image": {"layout": "image", "digest": DIGEST},
            "example": {"inputs": {"table": "test/patients.csv"} if example is None else example},
            "claims": {"model": {"trained": False}, "determinism": "bitwise"},
            "sandbox": sandbox,
        }
    )
    return check_manifest(Submission(Path("/nowhere"), document, manifest, {}, Digest(OTHER)), granted=granted)


CUDA = {"resources": "- {class: CUDARequirement}"}
HINT = {"exit": "expectedExitCode: 0\nhints: [{class: 'cwltool:CUDARequirement'}]"}
PROFILES: dict[str, tuple[dict[str, str], str | None, tuple[str, ...], bool]] = {
    # what the manifest has, what the submission says, what the policy grants, whether that is granted
    "nothing asked": ({}, None, ("default",), True),
    "gosu, granted": ({}, "gosu", ("default", "gosu"), True),
    "gosu, not granted": ({}, "gosu", ("default", "gpu"), False),
    "CUDA required": (CUDA, None, ("default",), False),
    "CUDA required and granted": (CUDA, None, ("default", "gpu"), True),
    "CUDA required, but the tool does without": (CUDA, "default", ("default",), True),
    "CUDA as a hint": (HINT, None, ("default",), True),
    "a policy that grants nothing": ({}, None, (), False),
    "a policy that grants only gosu": ({}, None, ("gosu",), False),
}


@pytest.mark.parametrize(("changes", "asked", "granted", "fine"), PROFILES.values(), ids=PROFILES.keys())
def test_a_sandbox_profile_must_be_granted(
    changes: dict[str, str], asked: str | None, granted: tuple[str, ...], fine: bool
) -> None:
    """The policy names it, or the submission is refused before anything is run."""
    sandbox = {"profile": asked} if asked else None
    result = inspect(parse_manifest(text(**changes)), sandbox=sandbox, granted=granted)
    found = [finding for finding in result.findings if finding.rule_id == "manifest/profile-not-granted"]
    assert (found == []) is fine
    assert all(finding.level is Level.ERROR and finding.fix and "profile" in finding.message for finding in found)


def test_a_good_manifest_passes_without_a_finding() -> None:
    """Nothing to say is said."""
    result = inspect(parse_manifest(text()))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert result.measured("inputs") == 3
    assert result.inputs["submission"] == OTHER


THIRD = "  output_dir: {type: string, inputBinding: {position: 3, prefix: -o, valueFrom: $(runtime.outdir)}}"
TABLE = "  table: {type: File, inputBinding: {position: 1}}"
MISTAKES: dict[str, tuple[dict[str, str], str, Level]] = {
    "the id of another tool": ({"id": "id: n4-bias-filter"}, "id-of-another-tool", Level.ERROR),
    "an id that differs": ({"id": "id: risk-runner"}, "id-differs", Level.WARNING),
    "the image of another tool": (
        {"image": f"dockerPull: registry.example.org/tools/n4filter@{DIGEST}"},
        "image-of-another-tool",
        Level.WARNING,
    ),
    "the digest of another image": (
        {"image": f"dockerPull: registry.example.org/tools/risk-classifier@{OTHER}"},
        "image-digest-differs",
        Level.ERROR,
    ),
    ":latest": ({"image": "dockerPull: 'r.example.org/risk-classifier:latest'"}, "image-latest", Level.WARNING),
    "no tag at all": ({"image": "dockerPull: r.example.org:5000/risk-classifier"}, "image-latest", Level.WARNING),
    "a tag": ({"image": "dockerPull: 'r.example.org/risk-classifier:1.0.0'"}, "image-by-tag", Level.NOTE),
    "no image": ({"image": "dockerImageId: x"}, "image-missing", Level.WARNING),
    "two inputs with one prefix": (
        {
            "inputs": f"{TABLE}\n{THIRD}\n  a: {{type: int, default: 1, inputBinding: {{position: 5, prefix: -o}}}}",
        },
        "duplicate-prefix",
        Level.ERROR,
    ),
    "an argument with an input's prefix": (
        {"exit": "expectedExitCode: 0\narguments: [{prefix: -o, valueFrom: a}]"},
        "duplicate-prefix",
        Level.ERROR,
    ),
    "a prefix without dash": (
        {"inputs": f"{TABLE}\n{THIRD}\n  a: {{type: int, default: 1, inputBinding: {{position: 5, prefix: a}}}}"},
        "odd-prefix",
        Level.NOTE,
    ),
    "two positionals at one position": (
        {"inputs": f"{TABLE}\n{THIRD}\n  a: {{type: int, default: 1, inputBinding: {{position: 1}}}}"},
        "position-collision",
        Level.ERROR,
    ),
    "a positional at an option's position": (
        {"inputs": f"{TABLE}\n{THIRD}\n  a: {{type: int, default: 1, inputBinding: {{position: 3}}}}"},
        "position-shared-with-option",
        Level.WARNING,
    ),
    "a boolean without prefix": (
        {"inputs": f"{TABLE}\n{THIRD}\n  a: {{type: boolean, default: true, inputBinding: {{position: 5}}}}"},
        "boolean-without-prefix",
        Level.WARNING,
    ),
    "hidden, required, no default": (
        {"inputs": f"{TABLE}\n{THIRD}\n  a: {{type: int, hidden: true, required: true}}"},
        "hidden-without-default",
        Level.ERROR,
    ),
    "a default outside its constraints": (
        {"inputs": f"{TABLE}\n{THIRD}\n  a: {{type: int, default: 9, constraints: {{max: 5}}}}"},
        "default-not-allowed",
        Level.ERROR,
    ),
    "a glob that names an input that does not exist": (
        {"outputs": "  y: {type: File, outputBinding: {glob: $(inputs.output_root)/a.csv}}"},
        "glob-unknown-input",
        Level.ERROR,
    ),
    "no outputs": ({"outputs": "  {}"}, "no-outputs", Level.ERROR),
    "an output without glob": ({"outputs": "  y: {type: File}"}, "output-without-glob", Level.ERROR),
    "nowhere to write": ({"inputs": TABLE}, "output-directory-untold", Level.WARNING),
    "an overlay by habit": (
        {"metadata": "metadata: {version: 1.0.0, orchestrator: {network: overlay}}"},
        "network-not-needed",
        Level.WARNING,
    ),
    "a bridge by habit": (
        {"metadata": "metadata: {version: 1.0.0, orchestrator: {network: bridge}}"},
        "network-not-needed",
        Level.NOTE,
    ),
    "network access": (
        {"resources": "- {class: NetworkAccess, networkAccess: true}"},
        "network-not-needed",
        Level.WARNING,
    ),
    "a version only in the tag": ({"metadata": "metadata: {author: A}"}, "version-missing", Level.WARNING),
    "another version": ({"metadata": "metadata: {version: 2.0.0}"}, "version-differs", Level.ERROR),
    "a version as a number": ({"metadata": "metadata: {version: 1.0}"}, "version-not-quoted", Level.WARNING),
    "no exit code": ({"exit": "label: A"}, "exit-code-undeclared", Level.NOTE),
    "an unknown key": ({"exit": "expectedExitCodes: 0\nexpectedExitCode: 0"}, "unknown-key", Level.NOTE),
    "no resources": ({"resources": "- {class: WorkReuse, enableReuse: false}"}, "resources-undeclared", Level.WARNING),
    "a GPU": ({"resources": "- {class: CUDARequirement}"}, "gpu", Level.NOTE),
    "files in the working directory": (
        {"resources": "- {class: InitialWorkDirRequirement, listing: [{entryname: a, entry: b}]}"},
        "work-dir",
        Level.WARNING,
    ),
    "a loader variable": (
        {"resources": "- {class: EnvVarRequirement, envDef: [{envName: LD_PRELOAD, envValue: /x.so}]}"},
        "loader-variable",
        Level.ERROR,
    ),
    "an expression that cannot be bound": (
        {"inputs": f"{TABLE}\n{THIRD}\n  a: {{type: int, default: 1, inputBinding: {{valueFrom: $(inputs.none)}}}}"},
        "example-does-not-bind",
        Level.ERROR,
    ),
}


@pytest.mark.parametrize(("changes", "rule", "level"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_found(changes: dict[str, str], rule: str, level: Level) -> None:
    """Each with its level, a place and a fix; only errors fail the check."""
    result = inspect(parse_manifest(text(**changes)))
    found = {finding.rule_id: finding for finding in result.findings}
    finding = found[f"manifest/{rule}"]
    assert finding.level is level
    assert finding.fix
    assert finding.where
    assert set(finding.risks) <= RISKS
    assert (result.status is Status.FAILED) == any(f.level is Level.ERROR for f in result.findings)


EXAMPLES: dict[str, Any] = {
    "nothing for a required input": {},
    "a value that looks like an option": {"table": "test/a.csv", "name": "--config"},
    "a value out of range": {"table": "test/a.csv", "threshold": 7.0},
    "text for a number": {"table": "test/a.csv", "threshold": "half"},
    "a list for one value": {"table": ["test/a.csv"]},
    "a mapping": {"table": "test/a.csv", "threshold": {"a": 1}},
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_an_example_that_does_not_fit_is_an_error(example: Any) -> None:
    """The finding names the input and what to do."""
    inputs = GOOD["inputs"] + "\n  name: {type: string, required: false, inputBinding: {position: 9}}"
    result = inspect(parse_manifest(text(inputs=inputs)), example=example)
    assert result.status is Status.FAILED
    assert [finding.rule_id for finding in result.findings] == ["manifest/example-does-not-bind"]
    assert result.findings[0].where.startswith("submission.yaml/example/inputs/")
    assert result.findings[0].fix


def test_a_fix_names_the_image_with_its_digest() -> None:
    """A registry's port is not taken for a tag."""
    result = inspect(parse_manifest(text(image="dockerPull: 'r.example.org:5000/risk-classifier:1'")))
    assert result.findings[0].fix == f"Write `r.example.org:5000/risk-classifier@{DIGEST}`."


def test_one_finding_for_many_collisions() -> None:
    """A manifest of hundreds of inputs does not drown its reader."""
    inputs = "\n".join(f"  x{n}: {{type: int, default: 1, inputBinding: {{prefix: -x}}}}" for n in range(300))
    result = inspect(parse_manifest(text(inputs=f"{TABLE}\n{THIRD}\n{inputs}")))
    assert len(result.findings) < 5


def test_the_names_in_the_assets_fit_themselves() -> None:
    """Realistic manifests fail for their own mistakes only."""
    harmonizer = inspect(
        load_manifest(ASSETS / "feature-harmonizer.cwl"), name="feature-harmonizer", example={"input_dir": "test/in"}
    )
    rules = {finding.rule_id.partition("/")[2] for finding in harmonizer.findings}
    assert rules == {"version-differs", "image-by-tag", "network-not-needed", "resources-undeclared"}


_TYPES = st.sampled_from(["string", "int", "float", "boolean", "File", "Directory", "string[]", "File[]", "int?"])
_TEXTS = [
    "a",
    "-a",
    "$(self)",
    "$(runtime.outdir)",
    "$(runtime.outdir)/$(self)",
    "$(inputs.y.basename)x",
    "$(inputs.z_name)",
]
_VALUES = (
    st.none() | st.booleans() | st.integers(-3, 300) | st.sampled_from(_TEXTS) | st.lists(st.just("a"), max_size=2)
)
_CONSTRAINTS = {
    "enum": st.lists(_VALUES, max_size=2),
    "min": st.integers(-2, 5),
    "pattern": st.sampled_from(["a*", "[x]"]),
}
_BINDINGS = {
    "position": st.integers(-2, 2),
    "prefix": st.sampled_from(["-a", "--b", "c", ""]),
    "separate": st.booleans(),
    "itemSeparator": st.sampled_from([",", ""]),
    "valueFrom": st.sampled_from(_TEXTS),
}
_PARAMETERS = st.fixed_dictionaries(
    {"type": _TYPES},
    optional={
        "default": _VALUES,
        "required": st.booleans(),
        "constraints": st.fixed_dictionaries({}, optional=_CONSTRAINTS),
        "inputBinding": st.fixed_dictionaries({}, optional=_BINDINGS),
    },
)
_GLOBS = st.lists(
    st.sampled_from([*_TEXTS, "$(inputs.x)", "$(inputs.y.path)/a", "/output/c", "*", "/etc/*"]), max_size=3
)


@given(
    st.dictionaries(st.sampled_from(["x", "y", "z", "output_dir"]), _PARAMETERS, max_size=4),
    _GLOBS,
    st.dictionaries(st.sampled_from(["x", "y", "z"]), _VALUES, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_the_check_answers_whatever_the_manifest(inputs: Any, globs: list[str], example: Any) -> None:
    """A result for every manifest that can be read; what can be bound stays in the output directory."""
    outputs = {"o": {"type": "File", "outputBinding": {"glob": globs}}}
    document = {"cwlVersion": "v1.2", "class": "FEMTask", "id": "risk-classifier", "inputs": inputs, "outputs": outputs}
    try:
        manifest = parse_manifest(json.dumps(document).encode())
    except InvalidInput:
        return
    result = inspect(manifest, example=example)
    assert all(finding.fix for finding in result.findings)
    try:
        call = bind(manifest, example)
    except InvalidInput:
        return
    assert not any(glob.startswith("/") or ".." in glob.split("/") for glob in call.globs["o"])
