"""Reading manifests: what providers write is read, each hostile one is refused by its rule."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import InvalidInput
from pratique.intake.manifest import load_manifest, parse_manifest
from pratique.intake.manifest.model import Constraints, InputBinding, Manifest, ParameterType, WorkDirEntry
from pratique.intake.manifest.patterns import check_pattern, matches

ASSETS = Path(__file__).parents[2] / "assets" / "manifests"


def asset(name: str) -> Manifest:
    """A manifest of the test assets."""
    return load_manifest(ASSETS / f"{name}.cwl")


def femtask(**changes: Any) -> dict[str, Any]:
    """A small FEMTask with some keys replaced."""
    document: dict[str, Any] = {
        "cwlVersion": "v1.2",
        "class": "FEMTask",
        "id": "tool",
        "requirements": [{"class": "DockerRequirement", "dockerPull": "registry.example.org/tool:1"}],
        "inputs": {"x": {"type": "string", "inputBinding": {"position": 1}}},
        "outputs": {"y": {"type": "File", "outputBinding": {"glob": "y.csv"}}},
        "expectedExitCode": 0,
    }
    return {**document, **changes}


def tool(**changes: Any) -> dict[str, Any]:
    """A small CommandLineTool with some keys replaced."""
    document = femtask(**{"class": "CommandLineTool", "baseCommand": "run", **changes})
    del document["expectedExitCode"]
    return document


def parse(document: Any) -> Manifest:
    """The manifest of a document given as data."""
    return parse_manifest(json.dumps(document).encode())


def with_input(**entry: Any) -> dict[str, Any]:
    """A FEMTask with one input."""
    return femtask(inputs={"x": {"type": "string", "inputBinding": {"position": 1}, **entry}})


def with_binding(**binding: Any) -> dict[str, Any]:
    """A FEMTask whose input is bound so."""
    return with_input(inputBinding={"position": 1, **binding})


def with_glob(glob: Any) -> dict[str, Any]:
    """A FEMTask with one output."""
    return femtask(outputs={"y": {"type": "File", "outputBinding": {"glob": glob}}})


def requiring(name: str, **entry: Any) -> dict[str, Any]:
    """A FEMTask with one requirement."""
    return femtask(requirements=[{"class": name, **entry}])


ATTACKS: dict[str, tuple[Any, str]] = {
    "a list": ([1], "manifest/not-a-mapping"),
    "text": ("FEMTask", "manifest/not-a-mapping"),
    "no class": ({"cwlVersion": "v1.2"}, "manifest/class"),
    "unknown class": (femtask(**{"class": "ShellScript"}), "manifest/class"),
    "class is a list": (femtask(**{"class": ["FEMTask"]}), "manifest/class"),
    "a workflow": ({"cwlVersion": "v1.2", "class": "Workflow", "steps": []}, "manifest/class"),
    "an expression tool": (tool(**{"class": "ExpressionTool", "expression": "${return 1}"}), "manifest/class"),
    "no CWL version": (femtask(cwlVersion=None), "manifest/cwl-version"),
    "an older CWL version": (tool(cwlVersion="v1.0"), "manifest/cwl-version"),
    "import of a file": (femtask(inputs={"$import": "file:///etc/passwd"}), "manifest/include"),
    "import of an address": (tool(inputs=[{"$import": "http://127.0.0.1:9/x"}]), "manifest/include"),
    "include of a file": (tool(doc={"$include": "/etc/passwd"}), "manifest/include"),
    "import under prose": (tool(label={"$import": "x"}), "manifest/include"),
    "import in the metadata": (femtask(metadata={"a": {"$import": "x"}}), "manifest/include"),
    "mixin": (tool(hints={"$mixin": "x"}), "manifest/include"),
    "another base": (tool(**{"$base": "http://127.0.0.1:9/"}), "manifest/include"),
    "schemas from the network": (tool(**{"$schemas": ["http://127.0.0.1:9/s.rdf"]}), "manifest/include"),
    "a graph of documents": (tool(**{"$graph": []}), "manifest/include"),
    "runs another tool": (femtask(run="other.cwl"), "manifest/include"),
    "JavaScript requirement": (requiring("InlineJavascriptRequirement"), "manifest/javascript"),
    "JavaScript as a hint": (tool(hints={"InlineJavascriptRequirement": {}}), "manifest/javascript"),
    "JavaScript library": (
        tool(requirements={"InlineJavascriptRequirement": {"expressionLib": ["x"]}}),
        "manifest/unsupported",
    ),
    "JavaScript in valueFrom": (with_binding(valueFrom="${return 1}"), "manifest/javascript"),
    "JavaScript in a glob": (with_glob("${return '/etc'}"), "manifest/javascript"),
    "JavaScript in a list of globs": (with_glob(["a", "${return '/etc'}"]), "manifest/javascript"),
    "JavaScript as an argument": (femtask(arguments=["${return 1}"]), "manifest/javascript"),
    "JavaScript below an input called label": (
        femtask(inputs={"label": {"type": "string", "inputBinding": {"valueFrom": "${1}"}}}),
        "manifest/javascript",
    ),
    "JavaScript in parentheses": (with_binding(valueFrom="$(inputs.x.split('/')[0])"), "manifest/expression"),
    "arithmetic": (with_binding(valueFrom="$(1 + 1)"), "manifest/expression"),
    "an expression without end": (with_binding(valueFrom="$(inputs.x"), "manifest/expression"),
    "an escaped expression": (with_binding(valueFrom="\\$(inputs.x)"), "manifest/expression"),
    "an expression over the environment": (with_binding(valueFrom="$(env.HOME)"), "manifest/expression"),
    "an unknown runtime value": (with_glob("$(runtime.exitCode)"), "manifest/expression"),
    "an expression in baseCommand": (femtask(baseCommand=["$(inputs.x)"]), "manifest/expression"),
    "an expression as default": (with_input(default="$(inputs.y)"), "manifest/expression"),
    "an expression in the environment": (
        requiring("EnvVarRequirement", envDef=[{"envName": "A", "envValue": "$(process.env)"}]),
        "manifest/expression",
    ),
    "an expression in the working directory": (
        requiring("InitialWorkDirRequirement", listing=[{"entryname": "a", "entry": "$(fetch('x'))"}]),
        "manifest/expression",
    ),
    "a glob that climbs out": (with_glob("../../etc/passwd"), "manifest/glob-escapes"),
    "a glob that climbs out behind an expression": (with_glob("$(runtime.outdir)/../x"), "manifest/glob-escapes"),
    "a glob with a line break": (with_glob("a\nb"), "manifest/glob-escapes"),
    "a file outside the working directory": (
        requiring("InitialWorkDirRequirement", listing=[{"entryname": "../a", "entry": "x"}]),
        "manifest/work-dir",
    ),
    "a shell": (requiring("ShellCommandRequirement"), "manifest/requirement"),
    "an unknown requirement": (requiring("RootRequirement"), "manifest/requirement"),
    "a requirement without class": (femtask(requirements=[{}]), "manifest/field"),
    "requirements as text": (femtask(requirements="DockerRequirement"), "manifest/field"),
    "an image built from a file": (requiring("DockerRequirement", dockerFile="FROM x"), "manifest/unsupported"),
    "an image imported from an address": (
        requiring("DockerRequirement", dockerImport="http://x"),
        "manifest/unsupported",
    ),
    "another output directory": (requiring("DockerRequirement", dockerOutputDirectory="/"), "manifest/unsupported"),
    "captured output": (tool(stdout="a.txt"), "manifest/unsupported"),
    "fed input": (femtask(stdin="$(inputs.x)"), "manifest/unsupported"),
    "evaluated output": (
        femtask(outputs={"y": {"type": "File", "outputBinding": {"outputEval": "$(self)"}}}),
        "manifest/unsupported",
    ),
    "loaded contents": (with_input(loadContents=True), "manifest/unsupported"),
    "secondary files": (with_input(secondaryFiles=[".idx"]), "manifest/unsupported"),
    "a hostile variable name": (
        requiring("EnvVarRequirement", envDef=[{"envName": "A=B", "envValue": "x"}]),
        "manifest/environment",
    ),
    "a variable set twice": (
        requiring("EnvVarRequirement", envDef=[{"envName": "A", "envValue": "x"}, {"envName": "A", "envValue": "y"}]),
        "manifest/environment",
    ),
    "an unknown type": (with_input(type="Any"), "manifest/type"),
    "a record type": (with_input(type={"type": "record", "fields": []}), "manifest/type"),
    "an array of arrays": (with_input(type={"type": "array", "items": "string[]"}), "manifest/type"),
    "a choice of types": (with_input(type=["string", "int"]), "manifest/type"),
    "a type nested to exhaust a parser": (
        tool(inputs={"x": {"type": {"type": "array", "items": {"type": "array", "items": {"type": ["array"]}}}}}),
        "manifest/field",
    ),
    "an output type of a stream": (femtask(outputs={"y": {"type": "stdout"}}), "manifest/type"),
    "the same input twice": (
        femtask(inputs=[{"id": "x", "type": "int"}, {"input_name": "x", "type": "int"}]),
        "manifest/duplicate-input",
    ),
    "the same output twice": (
        femtask(outputs=[{"id": "x", "type": "File"}, {"id": "x", "type": "File"}]),
        "manifest/duplicate-output",
    ),
    "an id with a path": (femtask(id="../tool"), "manifest/identifier"),
    "an id with a line break": (femtask(id="tool\n"), "manifest/identifier"),
    "an input id that is an option": (femtask(inputs={"--x": "string"}), "manifest/identifier"),
    "no id": (femtask(id=None), "manifest/field"),
    "inputs as text": (femtask(inputs="x"), "manifest/field"),
    "a position that is an expression": (with_binding(position="$(self)"), "manifest/field"),
    "a position that is text": (with_binding(position="1"), "manifest/field"),
    "an exit code that is no exit code": (femtask(expectedExitCode=-1), "manifest/field"),
    "an exit code that is true": (femtask(expectedExitCode=True), "manifest/field"),
    "memory below nothing": (requiring("ResourceRequirement", ramMin=-5), "manifest/field"),
    "cores as an expression": (requiring("ResourceRequirement", coresMin="$(inputs.x)"), "manifest/field"),
    "a pattern that takes forever": (with_input(constraints={"pattern": "(a+)+$"}), "manifest/pattern"),
    "a pattern that is none": (with_input(constraints={"pattern": "a["}), "manifest/pattern"),
    "text beyond all measure": (femtask(label="x" * 30_000), "manifest/field"),
    "a CommandLineTool with unknown keys": (tool(nonsense=1), "manifest/cwl"),
    "a CommandLineTool without outputs": (tool(outputs=None), "manifest/cwl"),
    "a CommandLineTool that mixes in FEMTask keys": (
        with_input(required=True) | {"class": "CommandLineTool"},
        "manifest/cwl",
    ),
}


@pytest.mark.parametrize(("document", "rule"), ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_manifests_are_refused(document: Any, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attack ends in its rule with a next step, and no connection is tried."""

    def no_connection(*_: object) -> None:
        pytest.fail("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", no_connection)
    with pytest.raises(InvalidInput) as caught:
        parse(document)
    assert caught.value.rule == rule
    assert caught.value.next_step
    assert caught.value.where.startswith("manifest")


BYTES = {
    "not YAML": (b"class: [FEMTask", "yaml/syntax"),
    "duplicate keys": (b"class: FEMTask\nid: a\nid: b\n", "yaml/duplicate-key"),
    "alias bomb": (b"a: &a [1]\nb: &b [*a,*a]\nc: [*b,*b]\n", "yaml/alias"),
    "nested deep": (b"a: " + b"[" * 17 + b"]" * 17, "yaml/too-deep"),
    "an image": (b"\x89PNG\r\n\x1a\n\x00\x00", "yaml/encoding"),
}


@pytest.mark.parametrize(("data", "rule"), BYTES.values(), ids=BYTES.keys())
def test_bytes_that_are_no_manifest_are_refused(data: bytes, rule: str) -> None:
    """The YAML reader's bounds hold for manifests."""
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(data)
    assert caught.value.rule == rule


def test_a_manifest_of_100_mb_is_not_read(tmp_path: Path) -> None:
    """Its size alone refuses it."""
    with (tmp_path / "tool.cwl").open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)
    with pytest.raises(InvalidInput) as caught:
        load_manifest(tmp_path / "tool.cwl")
    assert caught.value.rule == "file/too-large"


def test_a_map_of_inputs_with_an_output_directory_named_by_globs() -> None:
    """The Directory input that begins the outputs' globs is the output directory."""
    manifest = asset("feature-harmonizer")
    assert [(i.id, i.type, i.is_output_directory) for i in manifest.inputs[:2]] == [
        ("input_dir", ParameterType.DIRECTORY, False),
        ("output_dir", ParameterType.DIRECTORY, True),
    ]
    assert manifest.base_command == ()
    assert (manifest.version, manifest.network, manifest.author) == ("1.5", "overlay", "A. Provider")
    assert manifest.requirements.image == "registry.example.org/tools/feature-harmonizer:1.5"
    assert manifest.remarks == ()


def test_a_list_of_inputs_with_everything() -> None:
    """Constraints, bindings, environment, resources, GPU and working directory are read."""
    manifest = asset("volume-segmenter")
    inputs = {i.id: i for i in manifest.inputs}
    assert inputs["output_dir"].is_output_directory
    assert inputs["mode"].constraints == Constraints(enum=("dicom-seg", "nifti-only"))
    assert inputs["threshold"].constraints == Constraints(minimum=0, maximum=1)
    assert inputs["threshold"].binding == InputBinding(position=4, prefix="--threshold", separate=False)
    assert inputs["log_name"].binding is None
    assert not inputs["summary_name"].is_output_directory
    needs = manifest.requirements
    assert (needs.cores_min, needs.ram_min_mib, needs.cuda, needs.network) == (2, 1024, True, False)
    assert needs.environment == (("MODEL_DIR", "/opt/model"), ("RESULTS", "$(runtime.outdir)/results"))
    assert needs.work_dir == (WorkDirEntry("config.json", '{"threads": $(runtime.cores)}'),)


def test_the_older_list_form() -> None:
    """`input_name`, array types, and remarks on what was tolerated."""
    manifest = asset("older-list")
    assert [(i.id, i.type.value, i.array, i.is_output_directory) for i in manifest.inputs] == [
        ("tables", "File", True, False),
        ("report_dir", "string", False, True),
    ]
    assert manifest.expected_exit_codes == (0,)
    assert [remark.rule for remark in manifest.remarks] == ["exit-code-undeclared", "version-not-quoted"]


def test_a_command_line_tool() -> None:
    """CWL's shorthand is read the same way as `cwl-utils` reads it."""
    manifest = asset("feature-extractor")
    assert manifest.dialect == "CommandLineTool"
    assert [(i.id, i.type.value, i.array, i.required) for i in manifest.inputs] == [
        ("volume", "File", False, True),
        ("bins", "int", False, False),
        ("families", "string", True, True),
        ("filters", "string", True, True),
        ("resample", "string", False, True),
        ("wavelet", "boolean", False, True),
    ]
    assert manifest.input("resample") == manifest.inputs[4]
    assert manifest.inputs[4].constraints.enum == ("none", "linear")
    assert manifest.requirements.cuda
    assert manifest.expected_exit_codes == (0, 3)
    assert (manifest.author, manifest.version) == ("Example Hospital", "0.3.0")
    assert manifest.doc == "Extracts features from a volume.\nOne row a volume."


@pytest.mark.parametrize(
    ("entry", "glob"),
    [
        ({"type": "Directory"}, "$(inputs.x)/y.csv"),
        ({"type": "Directory"}, "$(inputs.x.path)/y.csv"),
        ({"type": "Directory"}, "$(inputs.x_name)/y.csv"),
        ({"type": "Directory"}, "$(inputs.x)"),
        ({"type": "Directory", "default": "$(runtime.outdir)"}, "y.csv"),
        ({"type": "string", "default": "$(runtime.outdir)"}, "y.csv"),
        ({"type": "string", "inputBinding": {"valueFrom": "$(runtime.outdir)"}}, "y.csv"),
        ({"type": "string", "inputBinding": {"valueFrom": "$(runtime.outdir)/sub"}}, "sub/y.csv"),
    ],
)
def test_an_input_that_is_really_the_output_directory(entry: dict[str, Any], glob: str) -> None:
    """By a glob that begins with it, or by its default or valueFrom."""
    assert parse({**with_glob(glob), "inputs": {"x": entry}}).inputs[0].is_output_directory


@pytest.mark.parametrize(
    ("entry", "glob"),
    [
        ({"type": "File"}, "$(inputs.x.basename)"),
        ({"type": "string"}, "$(inputs.x)/y.csv"),
        ({"type": "Directory"}, "$(inputs.x.basename).csv"),
        ({"type": "Directory"}, "out/$(inputs.x)"),
        ({"type": "Directory"}, "$(inputs.x)_masks/y.csv"),
        ({"type": "Directory"}, "y.csv"),
        ({"type": "string", "inputBinding": {"valueFrom": "$(runtime.outdir)/$(self)"}}, "y.csv"),
    ],
)
def test_an_input_that_is_no_output_directory(entry: dict[str, Any], glob: str) -> None:
    """A name in the middle of a glob, a file name, or a part of a path does not make it one."""
    assert not parse({**with_glob(glob), "inputs": {"x": entry}}).inputs[0].is_output_directory


def test_unknown_keys_are_remarked() -> None:
    """A FEMTask with keys nobody knows is read, and says so."""
    manifest = parse(femtask(novelty=1, inputs={"x": {"type": "string", "colour": "red"}}))
    assert [(r.rule, r.where) for r in manifest.remarks] == [
        ("unknown-key", "manifest/novelty"),
        ("unknown-key", "manifest/inputs/x/colour"),
    ]


PATTERNS = {
    "[A-Za-z0-9_-]{1,32}": ("site-1", "a b"),
    r"\d{4}-\d{2}-\d{2}": ("2026-01-02", "2026-1-2"),
    r"^v?\d+\.\d+(-[a-z]+)?$": ("v1.2-rc", "1"),
    "a|b": ("a", "ab"),
    r"[\]x]+": ("]x", "y"),
}


@pytest.mark.parametrize(("pattern", "texts"), PATTERNS.items(), ids=PATTERNS.keys())
def test_plain_patterns_are_used(pattern: str, texts: tuple[str, str]) -> None:
    """The whole value must match."""
    check_pattern(pattern, where="x")
    assert matches(pattern, texts[0])
    assert not matches(pattern, texts[1])


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|a)*b",
        "(?=a+)b",
        r"(a)\1",
        "(?:a*)*",
        "a*a*a*a*a*a*a*b",
        "(a{1,9}){9}",
        "x" * 501,
        "(?P<n>a)(?P=n)",
    ],
)
def test_patterns_that_could_take_forever_are_refused(pattern: str) -> None:
    """Repeated groups, look-around, back references and too many choices."""
    with pytest.raises(InvalidInput) as caught:
        check_pattern(pattern, where="x")
    assert caught.value.rule == "manifest/pattern"


def test_text_too_long_for_a_pattern_does_not_match() -> None:
    """Work stays bounded whatever the value."""
    assert not matches("a*a*a*a*a*a*b", "a" * 100_000)


@given(st.text("ab()[]{}*+?|\\^$.-0123,:=!<>P", max_size=30), st.text("ab0", max_size=32))
@settings(max_examples=200, deadline=None)
def test_any_accepted_pattern_matches_in_bounded_time(pattern: str, text: str) -> None:
    """Either refused by rule or usable."""
    try:
        check_pattern(pattern, where="x")
    except InvalidInput as error:
        assert error.rule == "manifest/pattern"
        return
    matches(pattern, text)


_TEXTS = ["FEMTask", "v1.2", "$(inputs.x)", "$(runtime.outdir)", "${1}", "File", "string[]", "", "x", "../x"]
_INNER = ["id", "type", "inputBinding", "position", "prefix", "valueFrom", "glob", "outputBinding", "class", "items"]
_MORE = ["default", "constraints", "pattern", "enum", "symbols", "envDef", "listing", "dockerPull", "$import", "x"]
_OUTER = ["id", "label", "doc", "requirements", "hints", "baseCommand", "arguments", "inputs", "outputs", "metadata"]
_CODES = ["expectedExitCode", "successCodes", "cwlVersion", "stdout"]
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(_TEXTS) | st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*_INNER, *_MORE]), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*_OUTER, *_CODES]), _VALUES, max_size=4), st.booleans())
@settings(max_examples=250, deadline=None)
def test_documents_that_resemble_manifests_raise_nothing_but_invalid_input(
    changes: dict[str, Any], is_femtask: bool
) -> None:
    """Whatever stands in a known place, the answer is a manifest or `InvalidInput`."""
    try:
        parse(femtask(**changes) if is_femtask else {**tool(), **changes})
    except InvalidInput as error:
        assert error.next_step


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_invalid_input(data: bytes) -> None:
    """Alone, and behind a valid beginning."""
    for prefix in (b"", b"cwlVersion: v1.2\nclass: FEMTask\nid: a\n"):
        try:
            parse_manifest(prefix + data)
        except InvalidInput as error:
            assert error.rule.startswith(("yaml/", "manifest/"))
