"""OSV records and snapshots made for tests."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
LOW = "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"


def record(
    identifier: str,
    name: str = "widget",
    *,
    events: Sequence[Mapping[str, str]] = ({"introduced": "0"}, {"fixed": "2.0"}),
    ecosystem: str = "PyPI",
    aliases: Sequence[str] = (),
    vector: str = CRITICAL,
    kind: str = "ECOSYSTEM",
    **more: Any,
) -> dict[str, Any]:
    """One OSV record on one package."""
    return {
        "id": identifier,
        "modified": "2024-01-01T00:00:00Z",
        "aliases": list(aliases),
        "summary": f"about {name}",
        "severity": [{"type": "CVSS_V3", "score": vector}] if vector else [],
        "affected": [
            {"package": {"ecosystem": ecosystem, "name": name}, "ranges": [{"type": kind, "events": list(events)}]}
        ],
        **more,
    }


def write_zip(path: Path, records: Sequence[Any]) -> Path:
    """An osv.dev export; entries may be raw bytes to be broken on purpose."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, entry in enumerate(records):
            data = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
            archive.writestr(f"{number}.json", data)
    return path


def shared_snapshot() -> Path:
    """The real PyPI snapshot handed out for tests; skips where it is not there."""
    root = os.environ.get("PRATIQUE_TEST_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(root, "advisories", "PyPI-all.zip")
    if not path.is_file():
        pytest.skip(f"no advisory snapshot at {path}: set PRATIQUE_TEST_DATA to the directory with advisories/")
    return path
