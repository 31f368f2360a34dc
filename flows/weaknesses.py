"""Why a tool that gate 1 let through is not run all the same: its profile, the demanded runtime, or the node itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pratique.errors import CouldNotDecide, EngineUnavailable

if TYPE_CHECKING:
    from flows.case import Case


def not_to_be_run(case: Case) -> tuple[str, str]:
    """Why nothing may be run, and the fix; empty where nothing stands against it.

    It makes the checks that run the tool *inconclusive*. Without an engine nothing is run anyway, and each of those
    checks says so itself.
    """
    granted, wanted = case.node.policy.policy.sandbox.profiles, case.submission.profile
    if wanted not in granted:
        why = f"not run: the sandbox profile {wanted} is asked for, and this node's policy does not grant it"
        return why, f"See the manifest check; or name {wanted} under sandbox.profiles in the policy."
    try:
        return _unsupported(case) or _too_weak(case) or ("", "")
    except EngineUnavailable:
        return "", ""


def _unsupported(case: Case) -> tuple[str, str] | None:
    """The engine lacks what the spec demands: the policy's runtime, a GPU, a limit."""
    from sandbox.support import refuse_unsupported

    engine = case.engine
    try:
        refuse_unsupported(engine, case.spec)
    except CouldNotDecide as error:
        return f"not run: {error}", f"Whoever runs the node: {error.next_step}"
    return None


def _too_weak(case: Case) -> tuple[str, str] | None:
    """The node has a weakness that the policy's `sandbox.refuse_weaknesses` names; nobody's fault but the node's."""
    refused = frozenset(case.node.policy.policy.sandbox.refuse_weaknesses)
    if not refused:
        return None
    from sandbox.doctor import examine

    found = [weakness for weakness in examine(case.engine) if weakness.id in refused]
    if not found:
        return None
    titles = " ".join(f"{weakness.title} ({weakness.id})" for weakness in found)
    fixes = " ".join(weakness.fix for weakness in found)
    return f"not run: the node itself is too weak for its policy. {titles}", f"Whoever runs the node: {fixes}"
