"""What is not granted, and what a node cannot do or is too weak for, is not run, and the checks say why."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import ValidationError

from checks.interface import Status
from flows.inspection import Inspection
from flows.steps import AFTER
from flows.weaknesses import not_to_be_run
from policies.model import Outcome
from policies.sections.running import SandboxSection
from pratique.errors import EngineUnavailable
from sandbox.spec import Profile, SandboxSpec
from sandbox.weakness import Severity, Weakness

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.case import Case

OLD_RUNC = Weakness("runc-cve-2025", "runc 1.1.5 is old.", "Install runc 1.3.3.", Severity.HIGH)
NO_REMAP = Weakness("no-user-namespace", "No remap.", "Set userns-remap.", Severity.MEDIUM)


FACTS = SimpleNamespace(same_machine=True, cannot_limit=(), security=("name=seccomp",), runtimes=("runc", "runsc"))


def case_with(
    monkeypatch: pytest.MonkeyPatch,
    *refused: str,
    found: tuple[Weakness, ...] = (OLD_RUNC, NO_REMAP),
    profile: str = "default",
    runtime: str = "runc",
    profiles: tuple[Any, ...] = ("default",),
) -> Any:
    """A case of a node whose engine has the weaknesses `found` and whose policy refuses `refused`."""
    monkeypatch.setattr("sandbox.doctor.examine", lambda _: found)
    section = SandboxSection(refuse_weaknesses=refused, runtime=runtime, profiles=profiles)
    node = SimpleNamespace(policy=SimpleNamespace(policy=SimpleNamespace(sandbox=section)))
    spec = SandboxSpec(runtime=runtime, profile=Profile(profile))
    submission = SimpleNamespace(profile=profile)
    return SimpleNamespace(node=node, engine=SimpleNamespace(facts=FACTS), spec=spec, submission=submission)


def test_what_the_policy_does_not_name_is_tolerated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped policy names nothing."""
    assert not_to_be_run(cast("Case", case_with(monkeypatch))) == ("", "")
    assert not_to_be_run(cast("Case", case_with(monkeypatch, "engine-old"))) == ("", "")


CANNOT: dict[str, tuple[dict[str, Any], str]] = {
    "a profile that is not granted": ({"profile": "gosu"}, "policy does not grant it"),
    "no profile is granted at all": ({"profiles": ()}, "policy does not grant it"),
    "a runtime that the engine has not": ({"runtime": "kata-qemu"}, "the engine has no runtime 'kata-qemu'"),
    "a graphics card where there is none": (
        {"profile": "gpu", "profiles": ("default", "gpu")},
        "the engine has no GPU runtime",
    ),
}


@pytest.mark.parametrize(("asked", "words"), CANNOT.values(), ids=CANNOT.keys())
def test_what_is_not_granted_or_not_there_is_not_run(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], words: str
) -> None:
    """One reason for all checks, with the fix, before a container is made."""
    why, fix = not_to_be_run(cast("Case", case_with(monkeypatch, **asked)))
    assert words in why
    assert fix


def test_what_is_granted_and_there_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile and a runtime by name."""
    asked: dict[str, Any] = {"profile": "gosu", "profiles": ("default", "gosu"), "runtime": "runsc"}
    assert not_to_be_run(cast("Case", case_with(monkeypatch, **asked))) == ("", "")


def test_what_the_policy_names_is_said_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what it names."""
    why, fix = not_to_be_run(cast("Case", case_with(monkeypatch, "runc-cve-2025", "engine-old")))
    assert "the node itself is too weak" in why
    assert "runc 1.1.5" in why
    assert "No remap" not in why
    assert fix.endswith("Install runc 1.3.3.")


def test_without_an_engine_the_checks_say_so_themselves() -> None:
    """It is no weakness that nobody answers."""

    class Gone:
        submission = SimpleNamespace(profile="default")
        node = SimpleNamespace(
            policy=SimpleNamespace(policy=SimpleNamespace(sandbox=SandboxSection(refuse_weaknesses=("engine-old",))))
        )

        @property
        def engine(self) -> Any:
            raise EngineUnavailable("no container engine answers")

    assert not_to_be_run(cast("Case", Gone())) == ("", "")


@pytest.mark.parametrize("name", ["runc-cve-2052", "", "Runc", "everything"])
def test_a_weakness_that_nobody_looks_for_is_no_policy(name: str) -> None:
    """A typing error must not switch a demand off."""
    with pytest.raises(ValidationError):
        SandboxSection(refuse_weaknesses=(name,))


def test_nothing_is_run_on_a_node_too_weak(opened: Callable[..., Case], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check that would run the tool is inconclusive, with the reason: no refusal of the tool."""
    inspection = Inspection(opened())
    monkeypatch.setattr(Inspection, "gate", lambda _: SimpleNamespace(outcome=Outcome.ADMIT))
    monkeypatch.setattr(
        "flows.inspection.not_to_be_run", lambda _: ("not run: the node itself is too weak", "Mend it.")
    )
    assert inspection.closed()
    answers = {step.name: inspection.results[step.name] for step in AFTER}
    assert {answer.status for answer in answers.values()} == {Status.INCONCLUSIVE}
    assert {answer.findings[0].fix for answer in answers.values()} == {"Mend it."}
