"""Rows for `checks/model_files/known_test_data.txt`: what libraries carry in their wheels to test themselves with.

    python -m infra.known_test_data WHEEL… > rows

Takes the wheels' word for nothing but their files: a row is a file that the scanner refuses, by its SHA-256. Read each
new row before it is added: it tells the check to believe that this exact file harms nobody.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path

from checks.model_files import Verdict, scan_stream
from pratique.intake.image.classify import HEAD, classify
from pratique.intake.image.model import FileClass

_REFUSED = (Verdict.UNSAFE, Verdict.UNREADABLE)


def refused_files(wheel: Path) -> list[tuple[str, str, str, str]]:
    """Digest, package, version, path of every file of `wheel` that an inspection would refuse as a model file."""
    package, version = wheel.name.split("-")[:2]
    rows: list[tuple[str, str, str, str]] = []
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            data = archive.read(name)
            if classify(f"site-packages/{name}", data[:HEAD]) is not FileClass.MODEL:
                continue
            if scan_stream(io.BytesIO(data), len(data), name).verdict in _REFUSED:
                rows.append((hashlib.sha256(data).hexdigest(), package, version, name))
    return rows


def main(wheels: list[str]) -> None:
    """Print the rows of all `wheels`."""
    for row in sorted(row for wheel in wheels for row in refused_files(Path(wheel))):
        print(*row)


if __name__ == "__main__":
    main(sys.argv[1:])
