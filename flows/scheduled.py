"""The rescan on Prefect: fresh advisories where the policy wants them, then every admitted tool.

Put Prefect's settings into the environment (`flows.prefect_environment`) before this module is imported. When it is
done is up to `flows.scheduler`; `pratique rescan` does the same without Prefect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.advisories import update_advisories
from flows.node import Node
from flows.rescan import rescan_all
from pratique.errors import PratiqueError
from pratique.settings import Settings

Lines = list[dict[str, Any]]


@task(name="fetch-advisories", persist_result=False)
def fetch_advisories(home: str, policy: str | None) -> list[str]:
    """Fetch fresh snapshots; what went wrong, one line an ecosystem. The snapshots in use stay and grow stale."""
    problems: list[str] = []
    try:
        for name, outcome in update_advisories(_node(home, policy), None):
            problems += [f"{name}: {outcome}"] if isinstance(outcome, PratiqueError) else []
    except PratiqueError as error:
        # a policy that names no ecosystem must not keep admitted tools from being asked about
        problems.append(str(error))
    return problems


@task(name="ask-about-admitted-tools", persist_result=False)
def ask_about_admitted_tools(home: str, policy: str | None, problems: list[str]) -> Lines:
    """Every admitted tool's stored SBOM against the advisories, recorded as the policy says."""
    return [one.as_json() for one in rescan_all(_node(home, policy), problems=problems)]


@flow(name="rescan", validate_parameters=False, persist_result=False)
def rescan(home: str, policy: str | None = None) -> Lines:
    """One rescan of the node in `home`."""
    fetch = _node(home, policy).policy.policy.advisories.fetch
    problems = fetch_advisories(home, policy) if fetch else []
    return ask_about_admitted_tools(home, policy, problems)


def _node(home: str, policy: str | None) -> Node:
    return Node.open(Settings(home=Path(home), policy=Path(policy) if policy else None))
