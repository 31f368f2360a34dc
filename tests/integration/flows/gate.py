"""A node with a small policy, and an inspection of the two checks that its rules name, on a real engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flows.case import open_case
from flows.decide import Decision
from flows.inspection import Inspection
from flows.node import Node
from flows.record import record_inspection
from flows.report import Report
from flows.steps import STEPS, answer
from pratique.settings import Settings

ANNA = Decision("anna@node.example", "North", "Reviewed.")


def node_of(place: Path, *, sandbox: Mapping[str, Any], **sections: Any) -> Node:
    """A node whose policy has this `sandbox` section, and others as given; made again, it has the new policy."""
    rules = [
        ("manifest-is-sound", "before-execution", 'checks.manifest.status == "passed"'),
        ("does-what-its-manifest-says", "after-execution", 'checks.conformance.status == "passed"'),
    ]
    document = {
        "apiVersion": "pratique/policy/v1",
        "name": "test",
        "approvals": {"admit": {"persons": 1, "organisations": 1}},
        "sandbox": {"ceilings": {"memory": "256MiB", "wall": "60s", "output": "8MiB"}, **sandbox},
        "rules": [
            {"id": name, "stage": stage, "require": require, "otherwise": "refuse", "say": "No."}
            for name, stage, require in rules
        ],
        **sections,
    }
    place.mkdir(parents=True, exist_ok=True)
    policy = place / "policy.yaml"
    with policy.open("w") as stream:
        YAML(typ="safe").dump(document, stream)
    return Node.open(Settings(home=place / "home", policy=policy))


def onboarded(node: Node, submission: Path) -> Report:
    """What `onboard` does, with the two checks that the rules name."""
    steps = {step.name: step for step in STEPS}
    with open_case(node, submission) as case:
        inspection = Inspection(case)
        inspection.add(answer(steps["manifest"], case))
        if not inspection.closed():
            inspection.add(answer(steps["conformance"], case))
            inspection.leave_out("not asked here", "Ask.")
        return record_inspection(inspection)


def run_command(node: Node, table: Path, output: Path) -> list[str]:
    """The arguments of `pratique run` for the scorer on `table`."""
    settings = node.settings
    places = ["--home", str(settings.home), "--policy", str(settings.policy), "--output", str(output)]
    return ["run", "scorer", "--input", f"table={table}", *places, "--format", "json"]
