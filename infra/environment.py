#!/usr/bin/env python3
"""Makes the virtual environment `.venv` from the hash-locked requirements; standard library only.

Running it twice, or twice at once, does the work once. `--privacy` adds the extra that recomputes differential-privacy
claims (PyTorch and Opacus). An environment made from other locks is made anew.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
REQUIREMENTS = ROOT / "requirements"


def _say(text: str) -> None:
    print(f"pratique: {text}", file=sys.stderr, flush=True)


def _run(*command: str | Path, quiet: bool = False) -> bool:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "VIRTUAL_ENV": str(ENVIRONMENT), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdout=sys.stderr,
        stderr=subprocess.DEVNULL if quiet else None,
        check=False,
    )
    return done.returncode == 0


def _pip(*arguments: str | Path) -> None:
    if not _run(PYTHON, "-m", "pip", "install", "--quiet", *arguments):
        sys.exit(f"pratique: pip could not install {' '.join(map(str, arguments))}; is the package index reachable?")


def _stamp(*files: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _is_current(stamp: Path, value: str) -> bool:
    return stamp.is_file() and stamp.read_text() == value


def _install_locked(lock: Path) -> None:
    """By uv, which takes seconds; by pip where uv does not reach the index that pip is configured for."""
    uv = ENVIRONMENT / "bin" / "uv"
    if not uv.exists():
        _pip("--require-hashes", "-r", REQUIREMENTS / "uv.lock")
    # compiled once here rather than at every import, also where PYTHONDONTWRITEBYTECODE is set
    if not _run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "-r", lock, quiet=True):
        _pip("--require-hashes", "-r", lock)


def _core() -> None:
    stamp = ENVIRONMENT / "core.stamp"
    lock = REQUIREMENTS / "dev.lock"
    value = _stamp(lock, REQUIREMENTS / "uv.lock", ROOT / "pyproject.toml")
    if _is_current(stamp, value):
        return
    _say("making the virtual environment from requirements/dev.lock (up to two minutes)")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    if not _run(sys.executable, "-m", "venv", ENVIRONMENT):
        sys.exit("pratique: python cannot make virtual environments; on Debian: apt-get install python3-venv")
    _install_locked(lock)
    _pip("--no-deps", "--no-build-isolation", "--editable", ROOT)
    stamp.write_text(value)


def _privacy() -> None:
    stamp = ENVIRONMENT / "privacy.stamp"
    locks = [REQUIREMENTS / "privacy.lock", REQUIREMENTS / "torch.lock"]
    value = _stamp(*locks)
    if _is_current(stamp, value):
        return
    _say("adding the privacy extra (Opacus with PyTorch, about a minute)")
    # by pip, which honours a local directory of wheels; without dependencies, because every one of them is in the lock
    arguments = ["--require-hashes", "--no-deps", *(part for lock in locks for part in ("-r", str(lock)))]
    if _run(PYTHON, "-m", "pip", "install", "--quiet", *arguments):
        stamp.write_text(value)
    else:
        _say("no index offers PyTorch's CPU build (see requirements/torch.lock), so its tests are skipped; to add it,")
        _say("put the wheel into a directory and name that as PIP_FIND_LINKS, or: pip install 'pratique[privacy]'")


def main() -> None:
    """Entry point: makes the environment and prints its interpreter's path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--privacy", action="store_true", help="also install the privacy extra")
    options = parser.parse_args()
    if sys.version_info[:2] != (3, 11):
        sys.exit(f"pratique: needs Python 3.11, and this is {sys.version.split()[0]}; say `make PYTHON=python3.11 …`")
    with (ROOT / ".venv.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _core()
        if options.privacy:
            _privacy()
    print(PYTHON)


if __name__ == "__main__":
    main()
