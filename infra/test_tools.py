#!/usr/bin/env python3
"""Installs the programs that tests use beside the product, where that is possible; standard library only.

As root on Debian or Ubuntu the missing ones are installed from the distribution. Where one cannot be had, the tests
that need it are skipped and say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

TOOLS = {
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "chromium": "chromium",
    "bpftrace": "bpftrace",
    "runsc": "runsc",
}
"""Debian package by the program that it brings."""


def _say(text: str) -> None:
    print(f"pratique: {text}", file=sys.stderr, flush=True)


def _apt(*arguments: str) -> bool:
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def main() -> None:
    """Entry point: install what is missing, name what cannot be had."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {program: package for program, package in TOOLS.items() if shutil.which(program, path=path) is None}
    if not missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _say(f"installing what tests use: {', '.join(missing.values())} (a minute or two)")
        _apt("update")
        missing = {
            program: package
            for program, package in missing.items()
            if not _apt("install", "-y", "--no-install-recommends", package)
        }
    if missing:
        _say(f"not there, so the tests that need them are skipped: {', '.join(missing)}")


if __name__ == "__main__":
    main()
