"""Removing what a killed launcher left behind: containers, volumes, mounts, control groups, directories.

A leftover is a run whose directory nobody holds locked any more, or, for runs of another state directory, one whose
deadline has long passed. Living runs are never touched.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

from sandbox.container import LABEL_DEADLINE, LABEL_RUN, LABEL_STATE
from sandbox.engine import Engine
from sandbox.meter import remove_group, remove_old_groups
from sandbox.observe.notify import remove_listener, remove_old_listeners
from sandbox.workspace import UNBORN, is_abandoned, remove_tree

GRACE_SECONDS = 120
"""So long after its deadline a run of another state directory is taken for dead."""

_RUN_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


def reap(engine: Engine, state_dir: Path) -> tuple[str, ...]:
    """Remove leftovers; returns what was removed, in words. Raises `EngineUnavailable` when nobody answers."""
    removed = []
    for found in engine.labelled(LABEL_RUN):
        labels = found.get("Labels") or {}
        if _is_leftover(labels, state_dir) and engine.remove(found["Id"]):
            removed.append(f"container {(found.get('Names') or ['/?'])[0].lstrip('/')}")
            remove_group(labels[LABEL_RUN])
            remove_listener(found["Id"])
    for volume in engine.labelled_volumes(LABEL_RUN):
        if _is_leftover(volume.get("Labels") or {}, state_dir) and engine.remove_volume(volume["Name"]):
            removed.append(f"volume {volume['Name']}")
    remove_old_groups(GRACE_SECONDS)
    remove_old_listeners(GRACE_SECONDS)
    return (*removed, *_reap_directories(state_dir / "runs"))


def remove_run(engine: Engine, state_dir: Path, run_id: str) -> None:
    """Remove everything of one run, living or not."""
    for found in engine.labelled(f"{LABEL_RUN}={run_id}"):
        engine.remove(found["Id"])
        remove_listener(found["Id"])
    for volume in engine.labelled_volumes(f"{LABEL_RUN}={run_id}"):
        engine.remove_volume(volume["Name"])
    remove_group(run_id)
    remove_tree(state_dir / "runs" / run_id)


def _reap_directories(runs: Path) -> list[str]:
    if not runs.is_dir():
        return []
    removed = []
    for root in sorted(runs.iterdir()):
        unborn = root.name.startswith(UNBORN) and time.time() - root.lstat().st_mtime > GRACE_SECONDS
        if unborn or (_RUN_ID.fullmatch(root.name) and is_abandoned(root)):
            remove_group(root.name)
            remove_tree(root)
            removed.append(f"directory of run {root.name}")
    return removed


def _is_leftover(labels: Mapping[str, str], state_dir: Path) -> bool:
    run_id, deadline = labels.get(LABEL_RUN, ""), labels.get(LABEL_DEADLINE, "")
    if not _RUN_ID.fullmatch(run_id):
        return False
    if labels.get(LABEL_STATE) == str(state_dir) and is_abandoned(state_dir / "runs" / run_id):
        return True
    return deadline.isascii() and deadline.isdigit() and int(deadline) + GRACE_SECONDS < time.time()
