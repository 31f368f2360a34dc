"""Advisories, offline: OSV snapshots imported once into indexed files, with their date and digest."""

from __future__ import annotations

from checks.advisories.severity import Severity
from checks.advisories.snapshot import import_snapshot
from checks.advisories.source import AdvisorySource, Match, Snapshot
from checks.advisories.store import AdvisoryStore, load
from checks.advisories.versions import Decision

__all__ = ["AdvisorySource", "AdvisoryStore", "Decision", "Match", "Severity", "Snapshot", "import_snapshot", "load"]
