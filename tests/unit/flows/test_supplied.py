"""Inputs as a person gives them at the node: by id, or as a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.supplied import supplied
from pratique.errors import UsageError
from pratique.intake.manifest import parse_manifest
from pratique.intake.manifest.model import Manifest


def tool(**types: str) -> Manifest:
    """A tool with inputs of these types, beside its output directory."""
    inputs = "".join(
        f'  {name}: {{type: "{kind}", inputBinding: {{prefix: --{name}}}}}\n' for name, kind in types.items()
    )
    text = (
        "cwlVersion: v1.2\nclass: CommandLineTool\nid: tool\nlabel: tool\nbaseCommand: [run]\n"
        f"inputs:\n{inputs}outputs: {{}}\n"
        "requirements: {DockerRequirement: {dockerPull: example.org/tool@sha256:" + "0" * 64 + "}}\n"
    )
    return parse_manifest(text.encode(), where="tool.cwl")


def directory(place: Path, *names: str) -> Path:
    """A directory with these entries; a name that ends in `/` is one itself."""
    for name in names:
        (place / name).mkdir(parents=True) if name.endswith("/") else (place / name).write_bytes(b"")
    return place


@pytest.mark.parametrize(
    ("types", "entries", "given"),
    [
        (
            {"table": "File", "images": "Directory"},
            ("table.csv", "images/"),
            {"table": "table.csv", "images": "images"},
        ),
        ({"table": "File"}, ("patients.csv", ".DS_Store"), {"table": "patients.csv"}),
        ({"images": "Directory"}, ("1.dcm", "2.dcm"), {"images": "."}),
        ({"volume": "File"}, ("volume.nii.gz",), {"volume": "volume.nii.gz"}),
        ({"tables": "File[]"}, ("a.csv", "b.csv"), {"tables": ["a.csv", "b.csv"]}),
    ],
    ids=["named", "only file", "directory itself", "two extensions", "array"],
)
def test_a_directory_says_what_is_which(
    types: dict[str, str], entries: tuple[str, ...], given: dict[str, str | list[str]], tmp_path: Path
) -> None:
    place = directory(tmp_path, *entries)
    expected = {k: [place / one for one in v] if isinstance(v, list) else place / v for k, v in given.items()}
    assert supplied(tool(**types, threshold="float?"), [str(place)]) == expected


@pytest.mark.parametrize(
    ("types", "entries", "said"),
    [
        ({"table": "File", "mask": "File"}, ("a.csv", "b.csv"), "a.csv, b.csv"),
        ({"table": "File"}, (), "nothing is in it"),
        ({"table": "File"}, ("a.csv", "b.csv"), "a.csv, b.csv"),
        ({"table": "File", "mask": "File"}, ("table.csv", "secret.csv"), "secret.csv"),
        ({"table": "File", "mask": "File"}, ("table.csv", "table.tsv"), "given twice"),
        ({"table": "File"}, ("table/",), "there is no file"),
        ({"threshold": "float"}, ("a.csv",), "a.csv"),
    ],
    ids=["two strangers", "empty", "two for one", "one stranger", "two of one name", "directory for a file", "no data"],
)
def test_a_directory_that_does_not_say_is_wrong_usage(
    types: dict[str, str], entries: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        supplied(tool(**types), [str(directory(tmp_path, *entries))])


@pytest.mark.parametrize("given", ["table", "nothing/there", "tables=x", "=x", ""])
def test_what_names_no_input_is_wrong_usage(given: str) -> None:
    with pytest.raises(UsageError):
        supplied(tool(table="File"), [given])


@pytest.mark.parametrize(
    ("given", "said", "next_step"),
    [
        ([], "inputs table, threshold", "--input table=PATH --input threshold=VALUE"),
        (["threshold=1"], "input table", "--input table=PATH"),
    ],
    ids=["nothing", "one of two"],
)
def test_an_input_that_the_tool_needs_is_named_as_it_is_given(given: list[str], said: str, next_step: str) -> None:
    with pytest.raises(UsageError, match=f"the tool needs its {said}$") as caught:
        supplied(tool(table="File", threshold="float", note="string?"), given)
    assert caught.value.next_step == next_step
