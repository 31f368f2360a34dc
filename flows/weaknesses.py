"""Whether the node itself is good enough to run a stranger's container, by its policy's `sandbox.refuse_weaknesses`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pratique.errors import EngineUnavailable

if TYPE_CHECKING:
    from flows.case import Case


def too_weak(case: Case) -> tuple[str, str]:
    """Why nothing may be run on this node, and the fix; empty where nothing stands against it.

    That is nobody's fault but the node's, so it makes the checks that run the tool *inconclusive*. Without an engine
    nothing is run anyway, and each of those checks says so itself.
    """
    refused = frozenset(case.node.policy.policy.sandbox.refuse_weaknesses)
    if not refused:
        return "", ""
    from sandbox.doctor import examine

    try:
        found = [weakness for weakness in examine(case.engine) if weakness.id in refused]
    except EngineUnavailable:
        return "", ""
    if not found:
        return "", ""
    titles = " ".join(f"{weakness.title} ({weakness.id})" for weakness in found)
    fixes = " ".join(weakness.fix for weakness in found)
    return f"not run: the node itself is too weak for its policy. {titles}", f"Whoever runs the node: {fixes}"
