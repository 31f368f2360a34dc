"""Binding values to a command line: what is rendered, and what is refused before anything runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import InvalidInput
from pratique.intake.manifest import load_manifest, parse_manifest
from pratique.intake.manifest.command import Invocation, PathValue, Value, bind
from pratique.intake.manifest.model import Manifest

ASSETS = Path(__file__).parents[2] / "assets" / "manifests"


def manifest(inputs: str, *, outputs: str = "{}", rest: str = "", kind: str = "FEMTask") -> Manifest:
    """A manifest with these inputs and outputs, in YAML flow style."""
    return parse_manifest(
        f"cwlVersion: v1.2\nclass: {kind}\nid: tool\ninputs: {inputs}\noutputs: {outputs}\n{rest}\n".encode()
    )


def argv(inputs: str, values: dict[str, Value], *, kind: str = "FEMTask", rest: str = "") -> tuple[str, ...]:
    """The arguments for `values`."""
    return bind(manifest(inputs, kind=kind, rest=rest), values).argv


def test_positional_directories_and_flags() -> None:
    """The output directory is filled in; booleans show their prefix alone, or nothing."""
    tool = load_manifest(ASSETS / "feature-harmonizer.cwl")
    call = bind(tool, {"input_dir": PathValue("/input/input_dir"), "parametric": False, "by_model": True})
    assert call == Invocation(
        argv=("/input/input_dir", "/output", "-M"),
        environment={},
        globs={"harmonized": ("harmonized.csv",), "estimates": ("estimates.json",)},
    )


def test_everything_at_once() -> None:
    """Defaults, valueFrom, arrays, separators, attached prefixes, fixed arguments, environment, globs."""
    tool = load_manifest(ASSETS / "volume-segmenter.cwl")
    call = bind(
        tool,
        {
            "volumes": PathValue("/input/volumes"),
            "series": ["a.1", "b"],
            "labels": [1, -2],
            "atlas": PathValue("/input/atlas/mni.nii.gz"),
            "threshold": 1e-05,
        },
    )
    assert call.argv == (
        *("python", "/app/segment.py", "--verbose", "--input", "/input/volumes", "--output", "/output"),
        *("--mode", "nifti-only", "--threshold=0.00001", "--series", "a.1", "--series", "b", "--labels", "1,-2"),
        *("--atlas-name", "mni.nii.gz", "--keep", "--summary", "/output/summary.json", "--scratch", "/tmp/scratch"),
    )
    assert call.environment == {"MODEL_DIR": "/opt/model", "RESULTS": "/output/results"}
    assert call.globs == {"masks": ("masks",), "summary": ("summary.json",), "log": ("run.log",)}


def test_a_command_line_tool_follows_cwl() -> None:
    """Prefix and value are joined as they are, an array shows its prefix once, its items' prefix each time."""
    tool = load_manifest(ASSETS / "feature-extractor.cwl")
    call = bind(
        tool, {"volume": PathValue("/input/volume/ct.nii"), "bins": 32, "filters": ["log", "wavelet"]}, outdir="/out"
    )
    assert call.argv == (
        *("extract", "--quiet", "/input/volume/ct.nii", "--bins=32", "--family", "shape", "texture"),
        *("-f", "log", "-f", "wavelet", "--resample", "none", "--out", "/out/ct.csv"),
    )
    assert call.globs == {"features": ("ct.csv",), "pictures": ("*.png", "figures/*.png")}


def test_the_older_list_form() -> None:
    """An array of files repeats its prefix; a default names the output directory."""
    tool = load_manifest(ASSETS / "older-list.cwl")
    call = bind(tool, {"tables": [PathValue("/input/tables/a.csv"), PathValue("/input/tables/b.csv")]})
    assert call.argv == (
        *("python", "main.py", "-i", "/input/tables/a.csv", "-i", "/input/tables/b.csv", "-o", "/output"),
    )


LAST = "c: {type: int, inputBinding: {position: -1}}}"
RENDERINGS: dict[str, tuple[str, dict[str, Value], tuple[str, ...]]] = {
    "no binding shows nothing": ("{x: {type: string}}", {"x": "a"}, ()),
    "a bare binding shows nothing": ("{x: {type: string, inputBinding: {separate: true}}}", {"x": "a"}, ()),
    "order is by position, then as written": (
        "{b: {type: int, inputBinding: {position: 2}}, a: {type: int, inputBinding: {position: 2}}, " + LAST,
        {"a": 1, "b": 2, "c": 3},
        ("3", "2", "1"),
    ),
    "false and missing show nothing": (
        "{x: {type: boolean, inputBinding: {prefix: -x}}, y: {type: int, required: false, inputBinding: {prefix: -y}}}",
        {"x": False},
        (),
    ),
    "an empty array shows nothing": (
        "{x: {type: 'string[]', inputBinding: {prefix: -x}}}",
        {"x": []},
        (),
    ),
    "negative numbers are numbers": (
        "{x: {type: int, inputBinding: {position: 1}}, y: {type: float, inputBinding: {position: 2, prefix: -y}}}",
        {"x": -5, "y": -0.25},
        ("-5", "-y", "-0.25"),
    ),
    "large and small numbers have no exponent": (
        "{x: {type: 'float[]', inputBinding: {position: 1}}}",
        {"x": [1e22, 1e-7, 3]},
        ("10000000000000000000000", "0.0000001", "3"),
    ),
    "a value with blanks and quotes stays one argument": (
        "{x: {type: string, inputBinding: {prefix: --x}}}",
        {"x": "a b; rm -rf '$HOME' `id`"},
        ("--x", "a b; rm -rf '$HOME' `id`"),
    ),
    "an attached value may begin with a dash": (
        "{x: {type: string, inputBinding: {prefix: --x, separate: false}}}",
        {"x": "-a"},
        ("--x=-a",),
    ),
    "a prefix that ends with = is not doubled": (
        "{x: {type: string, inputBinding: {prefix: --x=, separate: false}}}",
        {"x": "a"},
        ("--x=a",),
    ),
    "an option written in valueFrom is the provider's own": (
        "{x: {type: string, inputBinding: {valueFrom: --name=$(self)}}}",
        {"x": "a"},
        ("--name=a",),
    ),
    "another input's value": (
        "{x: {type: string, inputBinding: {valueFrom: $(inputs.f.nameroot)_$(self).csv}}, f: {type: File}}",
        {"x": "a", "f": PathValue("/input/f/t.csv")},
        ("t_a.csv",),
    ),
    "the base name by EUCAIM's spelling": (
        "{x: {type: string, inputBinding: {valueFrom: $(inputs.f_name)}}, f: {type: File}}",
        {"x": "a", "f": PathValue("/input/f/t.csv")},
        ("t.csv",),
    ),
    "the runtime's resources": (
        "{x: {type: int, default: 1, inputBinding: {valueFrom: $(runtime.cores)/$(runtime.ram)}}}",
        {},
        ("1/256",),
    ),
    "a file inside the image as default": (
        "{x: {type: File, default: {class: File, path: /opt/atlas.nii}, inputBinding: {position: 1}}}",
        {},
        ("/opt/atlas.nii",),
    ),
}


@pytest.mark.parametrize(("inputs", "values", "expected"), RENDERINGS.values(), ids=RENDERINGS.keys())
def test_values_are_rendered(inputs: str, values: dict[str, Value], expected: tuple[str, ...]) -> None:
    """Each row of the table is one rule of rendering."""
    assert argv(inputs, values) == expected


STRING = "{x: {type: string, inputBinding: {position: 1}}}"
LIMITED = "{x: {type: int, constraints: {min: 1, max: 9}}, e: {type: string, default: a, constraints: {enum: [a, b]}}}"
PATTERN = "{x: {type: string, constraints: {pattern: '[a-z]+'}}}"
REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "an option as positional": (STRING, {"x": "--config=/etc/passwd"}, "manifest/argument-looks-like-option"),
    "a single dash": (STRING, {"x": "-"}, "manifest/argument-looks-like-option"),
    "an option behind a prefix": (
        "{x: {type: string, inputBinding: {prefix: -n}}}",
        {"x": "-rf"},
        "manifest/argument-looks-like-option",
    ),
    "an option among array items": (
        "{x: {type: 'string[]', inputBinding: {prefix: -n}}}",
        {"x": ["a", "--evil"]},
        "manifest/argument-looks-like-option",
    ),
    "an option that begins a joined array": (
        "{y: {type: 'string[]', inputBinding: {position: 1, itemSeparator: ','}}}",
        {"y": ["--a", "b"]},
        "manifest/argument-looks-like-option",
    ),
    "an option by valueFrom": (
        "{x: {type: string, inputBinding: {valueFrom: $(self).csv}}}",
        {"x": "--evil"},
        "manifest/argument-looks-like-option",
    ),
    "an option by another input": (
        "{x: {type: string}, y: {type: int, default: 1, inputBinding: {valueFrom: $(inputs.x)}}}",
        {"x": "-e"},
        "manifest/argument-looks-like-option",
    ),
    "an option as default": (
        "{x: {type: string, default: --evil, inputBinding: {position: 1}}}",
        {},
        "manifest/argument-looks-like-option",
    ),
    "a file name that is an option": (
        "{x: {type: File, inputBinding: {valueFrom: $(self.basename)}}}",
        {"x": PathValue("/input/x/--evil")},
        "manifest/argument-looks-like-option",
    ),
    "a value that climbs out of the output directory": (
        "{x: {type: string, inputBinding: {valueFrom: $(runtime.outdir)/$(self)}}}",
        {"x": "../input"},
        "manifest/expression",
    ),
    "a value that turns the output directory into another": (
        "{x: {type: string, inputBinding: {valueFrom: $(runtime.outdir)$(self)}}}",
        {"x": "-other"},
        "manifest/expression",
    ),
    "an input that does not exist": (
        "{x: {type: string, inputBinding: {valueFrom: $(inputs.missing)}}}",
        {"x": "a"},
        "manifest/expression",
    ),
    "an attribute of text": (
        "{x: {type: string, inputBinding: {valueFrom: $(self.basename)}}}",
        {"x": "/etc/passwd"},
        "manifest/expression",
    ),
    "no value inside text": (
        "{x: {type: string, inputBinding: {valueFrom: a$(inputs.y)}}, y: {type: int, required: false}}",
        {"x": "a"},
        "manifest/expression",
    ),
    "a list inside text": (
        "{x: {type: 'string[]', inputBinding: {valueFrom: a$(self)}}}",
        {"x": ["a"]},
        "manifest/expression",
    ),
    "a value that is missing": (STRING, {}, "manifest/value-missing"),
    "an input that the manifest lacks": (STRING, {"x": "a", "y": "b"}, "manifest/unknown-input"),
    "the output directory chosen by the caller": (
        "{x: {type: string, inputBinding: {valueFrom: $(runtime.outdir)}}}",
        {"x": "/input"},
        "manifest/output-directory-given",
    ),
    "text for a number": ("{x: {type: int}}", {"x": "1"}, "manifest/value-type"),
    "a boolean for a number": ("{x: {type: int}}", {"x": True}, "manifest/value-type"),
    "a fraction for a whole number": ("{x: {type: int}}", {"x": 1.5}, "manifest/value-type"),
    "infinity": ("{x: {type: float}}", {"x": float("inf")}, "manifest/value-type"),
    "a number beyond 64 bits": ("{x: {type: int}}", {"x": 2**70}, "manifest/value-type"),
    "a number for a boolean": ("{x: {type: boolean}}", {"x": 1}, "manifest/value-type"),
    "text for a file": ("{x: {type: File}}", {"x": "/etc/passwd"}, "manifest/value-type"),
    "a relative path": ("{x: {type: File}}", {"x": PathValue("x")}, "manifest/value-type"),
    "a path that climbs": ("{x: {type: File}}", {"x": PathValue("/input/../etc")}, "manifest/value-type"),
    "a relative default path": ("{x: {type: File, default: a.csv}}", {}, "manifest/value-type"),
    "one value for an array": ("{x: {type: 'int[]'}}", {"x": 1}, "manifest/value-type"),
    "an array for one value": ("{x: {type: int}}", {"x": [1]}, "manifest/value-type"),
    "a wrong item": ("{x: {type: 'int[]'}}", {"x": [1, "a"]}, "manifest/value-type"),
    "NUL": (STRING, {"x": "a\0b"}, "manifest/value-type"),
    "a lone surrogate": (STRING, {"x": "\ud800"}, "manifest/value-type"),
    "an argument longer than the system carries": (STRING, {"x": "a" * 200_000}, "manifest/value-type"),
    "below the minimum": (LIMITED, {"x": 0}, "manifest/constraint"),
    "above the maximum": (LIMITED, {"x": 10}, "manifest/constraint"),
    "outside the enum": (LIMITED, {"x": 5, "e": "c"}, "manifest/constraint"),
    "against the pattern": (PATTERN, {"x": "A"}, "manifest/constraint"),
    "against the pattern in its end": (PATTERN, {"x": "a\n"}, "manifest/constraint"),
    "a command line beyond the system's": (
        "{x: {type: 'string[]', inputBinding: {position: 1}}}",
        {"x": ["a" * 90_000] * 12},
        "manifest/too-long",
    ),
}


@pytest.mark.parametrize(("inputs", "values", "rule"), REFUSALS.values(), ids=REFUSALS.keys())
def test_values_are_refused(inputs: str, values: dict[str, Any], rule: str) -> None:
    """Each attack or mistake ends in its rule with a next step."""
    with pytest.raises(InvalidInput) as caught:
        argv(inputs, values)
    assert caught.value.rule == rule
    assert caught.value.next_step


GLOB_ESCAPES: dict[str, tuple[str, Any]] = {
    "absolute by value": ("$(inputs.x)", "/etc/passwd"),
    "absolute as written": ("/etc/$(inputs.x)", "passwd"),
    "a directory that begins alike": ("/output-other/$(inputs.x)", "a"),
    "a line break": ("$(inputs.x)", "a\nb"),
}


@pytest.mark.parametrize(("glob", "value"), GLOB_ESCAPES.values(), ids=GLOB_ESCAPES.keys())
def test_globs_that_leave_the_output_directory_are_refused(glob: str, value: str) -> None:
    """Whatever a value makes of a glob, it stays inside."""
    tool = manifest("{x: {type: string}}", outputs="{y: {type: File, outputBinding: {glob: '" + glob + "'}}}")
    with pytest.raises(InvalidInput) as caught:
        bind(tool, {"x": value})
    assert caught.value.rule == "manifest/glob-escapes"


def test_a_glob_with_a_climbing_value_is_refused() -> None:
    """`..` in a value is caught where it is resolved."""
    tool = manifest("{x: {type: string}}", outputs="{y: {type: File, outputBinding: {glob: a/$(inputs.x)}}}")
    with pytest.raises(InvalidInput, match=r"climbs out"):
        bind(tool, {"x": "../../etc/passwd"})


@pytest.mark.parametrize(
    ("glob", "expected"),
    [("$(runtime.outdir)", "."), ("$(runtime.outdir)/", "."), ("./a//b", "a/b"), ("/output/a", "a"), (".", ".")],
)
def test_globs_are_relative_to_the_output_directory(glob: str, expected: str) -> None:
    """In one form, however they are written."""
    tool = manifest("{}", outputs="{y: {type: File, outputBinding: {glob: '" + glob + "'}}}")
    assert bind(tool, {}).globs == {"y": (expected,)}


def test_an_output_directory_below_the_output_directory() -> None:
    """`valueFrom` may choose a place below."""
    tool = manifest(
        "{o: {type: string, inputBinding: {prefix: -o, valueFrom: $(runtime.outdir)/res}}}",
        outputs="{y: {type: File, outputBinding: {glob: $(inputs.o)/y.csv}}}",
    )
    call = bind(tool, {}, outdir="/data/out")
    assert call.argv == ("-o", "/data/out/res")
    assert call.globs == {"y": ("res/y.csv",)}


def test_cwl_sorts_inputs_of_one_position_by_name() -> None:
    """As CWL's input binding section says; fixed arguments come first."""
    inputs = "{b: {type: int, inputBinding: {}}, a: {type: int, inputBinding: {}}}"
    rest = "baseCommand: run\narguments: [--first]"
    assert argv(inputs, {"a": 1, "b": 2}, kind="CommandLineTool", rest=rest) == ("run", "--first", "1", "2")


def _argument(kind: str, array: bool) -> dict[str, Any]:
    """How argparse reads what was rendered for this type."""
    if kind == "boolean":
        return {"action": "store_true"}
    read: Any = {"int": int, "float": float, "string": str}[kind]
    return {"type": read, "action": "append"} if array else {"type": read}


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).filter(
    lambda text: not text.startswith("-")
)
_OF_KIND: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(10**12), 10**12),
    "float": st.floats(allow_nan=False, allow_infinity=False, width=64),
    "string": _TEXT,
    "boolean": st.booleans(),
}


@st.composite
def _bound_inputs(draw: st.DrawFn) -> list[tuple[str, bool, bool, Any]]:
    """Up to five inputs: type, array, separate, value."""
    result = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(sorted(_OF_KIND)))
        array = kind != "boolean" and draw(st.booleans())
        values = _OF_KIND[kind]
        result.append((kind, array, draw(st.booleans()), draw(st.lists(values, max_size=3) if array else values)))
    return result


@given(_bound_inputs())
@settings(max_examples=120, deadline=None)
def test_rendering_round_trips(inputs: list[tuple[str, bool, bool, Any]]) -> None:
    """What `bind` renders, an argument parser reads back as the same values."""
    lines, parser = [], argparse.ArgumentParser(exit_on_error=False, prefix_chars="-", allow_abbrev=False)
    for index, (kind, array, separate, _) in enumerate(inputs):
        declared = f"'{kind}[]'" if array else kind
        binding = f"{{position: {len(inputs) - index}, prefix: --in{index}, separate: {str(separate).lower()}}}"
        lines.append(f"in{index}: {{type: {declared}, inputBinding: {binding}}}")
        parser.add_argument(f"--in{index}", **_argument(kind, array))
    values = {f"in{index}": value for index, (*_, value) in enumerate(inputs)}
    read = vars(parser.parse_args(argv("{" + ", ".join(lines) + "}", values)))
    for name, value in values.items():
        assert read[name] == (value if value != [] else None)


@given(
    st.dictionaries(st.sampled_from(["x", "y", "f"]), _TEXT | st.sampled_from(["../a", "/etc", "-x", "$(self)", ""]))
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_values_globs_stay_inside(values: dict[str, str]) -> None:
    """A refusal, or relative globs without `..` and arguments that are no options."""
    tool = manifest(
        "{x: {type: string, default: a, inputBinding: {position: 1}}, y: {type: string, default: b,"
        " inputBinding: {position: 2, valueFrom: $(runtime.outdir)/$(self)}}}",
        outputs="{o: {type: File, outputBinding: {glob: [$(inputs.x), '$(inputs.y)/$(inputs.x)*.csv']}}}",
    )
    try:
        call = bind(tool, values)
    except InvalidInput as error:
        assert error.next_step
        return
    for glob in call.globs["o"]:
        assert not glob.startswith("/")
        assert ".." not in glob.split("/")
    assert not any(argument.startswith("-") for argument in call.argv)
