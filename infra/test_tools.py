#!/usr/bin/env python3
"""Installs the programs that tests use beside the product, where that is possible; standard library only.

As root on Debian or Ubuntu the missing ones are installed from the distribution. Where one cannot be had, the tests
that need it are skipped and say so. Debian 12 builds skopeo without sigstore signatures, so there the one of Debian 13
is unpacked beside it, with its own libraries; nothing of it is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = {
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "chromium": "chromium",
    "bpftrace": "bpftrace",
    "runsc": "runsc",
    "rpmbuild": "rpm",
    "db5.3_load": "db5.3-util",
}
"""Debian package by the program that it brings."""

SKOPEO = Path("/var/lib/pratique/skopeo")
"""Where the newer skopeo is unpacked; `SKOPEO/skopeo` starts it."""

SKOPEO_PACKAGES = ("skopeo", "libc6", "libgpgme11t64", "libassuan9", "libgpg-error0", "libsqlite3-0")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_LIBRARIES = "root/usr/lib/x86_64-linux-gnu"
_START = f"""#!/bin/sh
exec {SKOPEO}/{_LIBRARIES}/ld-linux-x86-64.so.2 --library-path {SKOPEO}/{_LIBRARIES} {SKOPEO}/root/usr/bin/skopeo "$@"
"""


def _say(text: str) -> None:
    print(f"pratique: {text}", file=sys.stderr, flush=True)


def _apt(*arguments: str) -> bool:
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def _mirror() -> str | None:
    """Where this machine's own sources find Debian 12, so that Debian 13 is asked for there too."""
    command = ["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)", "Release: bookworm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter(done.stdout.splitlines()), None)


def _unpack_newer_skopeo() -> bool:
    """Have apt verify and download the packages of Debian 13 into a directory of their own, and unpack them there."""
    mirror = _mirror()
    if mirror is None:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name in ("lists/partial", "cache/archives/partial", "debs"):
            (place / name).mkdir(parents=True)
        (place / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirror} trixie main\n")
        settings = {
            "Dir::Etc::sourcelist": place / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": place / "lists",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": place / "cache",
            "APT::Sandbox::User": "root",
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        here = Path.cwd()
        os.chdir(place / "debs")
        try:
            if not (_apt(*options, "update") and _apt(*options, "download", *SKOPEO_PACKAGES)):
                return False
        finally:
            os.chdir(here)
        (SKOPEO / "root").mkdir(parents=True, exist_ok=True)
        for package in sorted((place / "debs").glob("*.deb")):
            if subprocess.run(["dpkg-deb", "-x", str(package), str(SKOPEO / "root")], check=False).returncode:
                return False
    (SKOPEO / "skopeo").write_text(_START)
    (SKOPEO / "skopeo").chmod(0o755)
    return True


def _needs_newer_skopeo() -> bool:
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    ours = (system.get("ID"), system.get("VERSION_ID"), platform.machine()) == ("debian", "12", "x86_64")
    return ours and os.geteuid() == 0 and not (SKOPEO / "skopeo").exists()


def _modelaudit() -> bool:
    """Install modelaudit into an environment of its own, where it is not; whether it is there."""
    target, uv = ROOT / "build" / "modelaudit", ROOT / ".venv" / "bin" / "uv"
    if (target / "bin" / "modelaudit").exists():
        return True
    lock, python = ROOT / "requirements" / "modelaudit.lock", target / "bin" / "python"
    make: list[str | Path] = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, target]
    fill: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--python",
        python,
        "-r",
        lock,
    ]
    try:
        for command in (make, fill):
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def main() -> None:
    """Entry point: install what is missing, name what cannot be had."""
    if not _modelaudit():
        _say("modelaudit cannot be installed, so the test that asks it is skipped")
    if _needs_newer_skopeo() and not _unpack_newer_skopeo():
        _say("no skopeo with sigstore signatures, so the tests that need it are skipped")
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
