"""Wheels named by a tool's hash-locked `requirements.txt`, unpacked the way an installer lays them out."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile


def fetch_wheels(requirements: Path, directory: Path) -> list[Path]:
    """Wheels of `requirements` (all with hashes); a source distribution is built with the pinned setuptools."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--no-build-isolation", "--wheel-dir", str(directory), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pip could not fetch the wheels of {requirements}:\n{done.stderr[-2000:]}")
    return sorted(directory.glob("*.whl"))


def unpack(wheels: list[Path], site: Path) -> None:
    """Install `wheels` into `site` with their metadata and RECORD; nothing of them runs."""
    scheme = {key: str(site) for key in ("purelib", "platlib", "data")}
    scheme |= {"scripts": str(site / "bin"), "headers": str(site / "include")}
    for wheel in wheels:
        destination = SchemeDictionaryDestination(
            scheme, interpreter="/usr/local/bin/python3", script_kind="posix", overwrite_existing=False
        )
        with warnings.catch_warnings(), WheelFile.open(wheel) as source:
            warnings.filterwarnings("ignore", message="Skip installing", category=RuntimeWarning)  # stray *.pyc
            install(source=source, destination=destination, additional_metadata={"INSTALLER": b"installer"})


def python_tag() -> str:
    """What of the host decides which wheels fit: interpreter version and platform."""
    return f"{sysconfig.get_python_version()}-{sysconfig.get_platform()}"
