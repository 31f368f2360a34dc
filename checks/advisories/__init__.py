"""Advisories, offline: OSV snapshots imported once into indexed files, with their date and digest.

Each name is loaded when it is first asked for: who wants to know what an ecosystem is called opens no index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from checks.advisories.severity import Severity
    from checks.advisories.snapshot import import_snapshot
    from checks.advisories.source import AdvisorySource, Match, Snapshot
    from checks.advisories.store import AdvisoryStore, load
    from checks.advisories.versions import Decision

__all__ = ["AdvisorySource", "AdvisoryStore", "Decision", "Match", "Severity", "Snapshot", "import_snapshot", "load"]

_LAZY = {
    "AdvisorySource": "source",
    "AdvisoryStore": "store",
    "Decision": "versions",
    "Match": "source",
    "Severity": "severity",
    "Snapshot": "source",
    "import_snapshot": "snapshot",
    "load": "store",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
