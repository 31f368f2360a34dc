"""From values to a request: mounts, arguments, environment, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from checks.sandboxed.plan import spec_for
from pratique.errors import CouldNotDecide, InvalidInput
from sandbox.spec import GIB, MIB, Limits


def test_the_example_becomes_one_request(bench: Any) -> None:
    """A File input is mounted under its id, the output directory is an argument, the entry point stays the image's."""
    runner = bench.runner()
    run = runner.run_on(runner.example_values(), purpose="example")
    request = bench.launcher.calls[0].request
    assert request.entrypoint == ("/usr/bin/python3", "/app/main.py")
    assert request.argv == ("-i", "/input/table/patients.csv", "-o", "/output", "--threshold", "0.25")
    assert [(mount.source.name, mount.target) for mount in request.inputs] == [
        ("patients.csv", "/input/table/patients.csv")
    ]
    assert request.working_dir == "/app"
    assert (run.output / "scores.csv").is_file()
    assert run.log.read_text() == "scored 8 rows\n"


def test_every_run_has_its_own_directory(bench: Any) -> None:
    """Two runs for one purpose do not meet."""
    runner = bench.runner()
    one, other = (runner.run_on(runner.example_values(), purpose="example") for _ in range(2))
    assert one.output != other.output


def test_defaults_fill_what_is_not_given(bench: Any, tmp_path: Path) -> None:
    """A value that is missing comes from the manifest."""
    table = tmp_path / "t.csv"
    table.write_text("patient_id,age\nX,40\n")
    runner = bench.runner()
    runner.run_on({"table": table}, purpose="membership")
    assert bench.launcher.calls[0].request.argv[-2:] == ("--threshold", "0.5")
    assert runner.values_with("table", table) == {"table": table, "threshold": 0.25}


def test_arrays_and_directories_are_mounted_apart(bench: Any, tmp_path: Path) -> None:
    """Files of one name do not hide each other; a directory keeps its files."""
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "x.csv")
        paths[-1].write_text("patient_id,age\nX,40\n")
    many = [("type: File, required: true", "type: 'File[]', required: true"), ("in/patients.csv", "[in/patients.csv]")]
    bench.runner(replace=many).run_on({"table": paths}, purpose="x")
    targets = [mount.target for mount in bench.launcher.calls[0].request.inputs]
    assert targets == ["/input/table/0/x.csv", "/input/table/1/x.csv"]


def test_a_directory_input_is_mounted_whole(bench: Any) -> None:
    """The argument is the directory in the container."""
    change = [("type: File, required: true", "type: Directory, required: true"), ("in/patients.csv", "in")]
    runner = bench.runner(lambda call: 0, replace=change)
    runner.run_on(runner.example_values(), purpose="x")
    request = bench.launcher.calls[0].request
    assert request.argv[:2] == ("-i", "/input/table")
    assert request.inputs[0].source.is_dir()


def test_a_cwl_tool_runs_in_its_output_directory(bench: Any) -> None:
    """CWL's working directory is the output directory, whatever the image says."""
    cwl = """cwlVersion: v1.2
class: CommandLineTool
id: scorer
baseCommand: [score]
inputs: {table: {type: File, inputBinding: {position: 1}}, threshold: {type: float}}
outputs: {scores: {type: File, outputBinding: {glob: scores.csv}}}
"""
    runner = bench.runner(files=[("scorer.cwl", cwl)])
    runner.run_on(runner.example_values(), purpose="x")
    request = bench.launcher.calls[0].request
    assert (request.working_dir, request.argv[0]) == ("/output", "score")


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"nothing": 1}, "run/input"),
        ({"table": "text"}, "run/input"),
        ({"table": 3}, "run/input"),
        ({"threshold": Path("/etc/passwd")}, "run/input"),
        ({"threshold": "0.5"}, "manifest/value-type"),
        ({}, "manifest/value-missing"),
    ],
    ids=["unknown input", "text for a file", "number for a file", "file for a number", "text for a number", "missing"],
)
def test_refuses_values_that_do_not_fit(bench: Any, values: dict[str, Any], rule: str) -> None:
    """Nothing is run on values of another kind than the manifest says."""
    with pytest.raises(InvalidInput) as caught:
        runner = bench.runner()
        runner.run_on(runner.example_values() | values if values else {}, purpose="x")
    assert caught.value.rule == rule
    assert not bench.launcher.calls


def test_refuses_a_name_that_cannot_be_mounted(bench: Any, tmp_path: Path) -> None:
    """A comma or colon would change the meaning of the mount."""
    table = tmp_path / "a,b:c.csv"
    table.write_text("x")
    with pytest.raises(InvalidInput, match="cannot be put into the container"):
        bench.runner().run_on({"table": table}, purpose="x")


@pytest.mark.parametrize(
    "config",
    [{"entrypoint": (), "cmd": ()}, {"workdir": "relative"}, {"workdir": "/a/../b"}],
    ids=["nothing to run", "relative working directory", "climbing working directory"],
)
def test_refuses_an_image_that_cannot_be_run(bench: Any, config: dict[str, Any]) -> None:
    """The request's own rules become a refusal with a next step."""
    change = [("prefix: -i}", "prefix: -i}"), ("inputBinding: {position: 1, prefix: -i}", "doc: unbound")]
    change += [("inputBinding: {position: 3, prefix: --threshold}", "doc: unbound")]
    runner = bench.runner(replace=change, config=config)
    if "entrypoint" in config:
        runner.manifest = load_without_arguments(runner)
    with pytest.raises(InvalidInput) as caught:
        runner.run_on(runner.example_values(), purpose="x")
    assert caught.value.rule == "run/request"
    assert caught.value.next_step


def load_without_arguments(runner: Any) -> Any:
    from dataclasses import replace

    return replace(runner.manifest, inputs=tuple(replace(one, binding=None) for one in runner.manifest.inputs))


def test_files_in_the_working_directory_are_not_provided(bench: Any) -> None:
    """What cannot be done is said, not left out."""
    more = "  - {class: InitialWorkDirRequirement, listing: [{entryname: a.txt, entry: hello}]}\nbaseCommand"
    runner = bench.runner(replace=[("baseCommand", more)])
    with pytest.raises(CouldNotDecide, match="InitialWorkDirRequirement"):
        runner.run_on(runner.example_values(), purpose="x")


def test_the_spec_takes_the_smaller_of_wish_and_ceiling(bench: Any) -> None:
    """Both are recorded; a small wish still gets the usual amount, a large one the ceiling."""
    manifest = bench.runner(replace=[("ramMin: 100", "ramMin: 6000"), ("coresMin: 1", "coresMin: 3")]).manifest
    spec = spec_for(manifest, Limits(cpus=2, memory=4 * GIB, wall_seconds=60))
    assert (spec.limits.cpus, spec.limits.memory, spec.limits.wall_seconds) == (2, 4 * GIB, 60)
    assert spec.requested is not None
    assert spec.requested.memory == 6000 * MIB
    assert spec_for(bench.runner().manifest, Limits(memory=8 * GIB)).limits.memory == 2 * GIB
