"""modelaudit as a second opinion, where it is installed: a program of its own, bounded, without telemetry.

It is no part of this product: it brings clients of clouds and of a telemetry service. It is told to keep silent, gets
no environment of ours and proxies that lead nowhere, and its answer is shown and decides nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from checks.model_files.opinion import Opinion
from checks.model_files.parts import Verdict

SECONDS = 120.0
MAX_FILES = 200
_MEMORY = 4 << 30
_OUTPUT = 64 << 20
_BOUNDED = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
resource.setrlimit(resource.RLIMIT_FSIZE, ({_OUTPUT}, {_OUTPUT}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.execv(sys.argv[1], sys.argv[1:])
"""
_NO_PROXY = "http://127.0.0.1:9"
"""Nothing listens there."""
_ENVIRONMENT = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "CI": "1",
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
    "LANG": "C.UTF-8",
    "http_proxy": _NO_PROXY,
    "https_proxy": _NO_PROXY,
    "HTTP_PROXY": _NO_PROXY,
    "HTTPS_PROXY": _NO_PROXY,
    "ALL_PROXY": _NO_PROXY,
}


def modelaudit() -> str | None:
    """The program, beside this interpreter or on PATH; None where it is not installed."""
    beside = Path(sys.executable).parent / "modelaudit"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("modelaudit")


def ask_modelaudit(paths: Sequence[Path], *, seconds: float = SECONDS) -> list[Opinion]:
    """Its opinion on each regular file of `paths`, in order; none at all where it is not installed.

    Only what it calls critical counts as *unsafe*: it warns of every pickle. Beyond 200 files, or `seconds`, or where
    it fails, the opinion is *unreadable*, which is none.
    """
    program = modelaudit()
    if program is None or not paths:
        return []
    asked = [path.resolve() for path in paths[:MAX_FILES]]
    document = _run(program, asked, seconds)
    silent = Opinion(_name(program), Verdict.UNREADABLE)
    if document is None:
        return [silent] * len(paths)
    return [_opinion(document, path, _name(program)) for path in asked] + [silent] * (len(paths) - len(asked))


def ask_about(files: Mapping[str, Callable[[str], BinaryIO]], *, most: int = 2 << 30) -> dict[str, Opinion]:
    """Its opinions on files that are opened by path; copied to a scratch directory, `most` bytes together."""
    if not files:
        return {}
    with tempfile.TemporaryDirectory(prefix="pratique-audit-") as directory:
        copies: dict[str, Path] = {}
        for number, (path, open_) in enumerate(list(files.items())[:MAX_FILES]):
            copy = Path(directory, str(number), path.rpartition("/")[2])
            copy.parent.mkdir()
            with open_(path) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
                most -= target.tell()
            if most < 0:
                copy.unlink()
                break
            copies[path] = copy
        return dict(zip(copies, ask_modelaudit(list(copies.values())), strict=False))


@cache
def _name(program: str) -> str:
    """Name and version, as it tells it."""
    with tempfile.TemporaryDirectory(prefix="pratique-audit-") as home:
        try:
            told = subprocess.run(
                [program, "--version"],
                capture_output=True,
                env={**_ENVIRONMENT, "HOME": home},
                timeout=30,
                check=False,
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return "modelaudit"
    words = told.decode("utf-8", "replace").split()
    return f"modelaudit {words[-1][:20]}" if words else "modelaudit"


def _run(program: str, paths: Sequence[Path], seconds: float) -> dict[str, Any] | None:
    """What it reports, None where it gave nothing that can be read."""
    with tempfile.TemporaryDirectory(prefix="pratique-audit-") as home:
        report = Path(home, "report.json")
        options = ["--format", "json", "--quiet", "--no-cache", "--timeout", str(int(seconds)), "--output", str(report)]
        try:
            _run_bounded([program, "scan", *options, "--", *map(str, paths)], home, seconds)
            document = json.loads(report.read_bytes()[:_OUTPUT])
        except (OSError, ValueError, RecursionError):
            return None
    return document if isinstance(document, dict) else None


def _run_bounded(command: Sequence[str], home: str, seconds: float) -> None:
    """Run `command` in a session of its own, which is ended as a whole when the time is up."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _BOUNDED, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**_ENVIRONMENT, "HOME": home, "TMPDIR": home, "PATH": os.defpath},
        cwd=home,
        start_new_session=True,
    )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _opinion(document: dict[str, Any], path: Path, name: str) -> Opinion:
    """The gravest that it says of `path`; locations are `PATH`, `PATH (pos 3)`, `PATH:member`."""
    critical: list[str] = []
    open_ = False
    issues = document.get("issues")
    for issue in issues if isinstance(issues, list) else ():
        location, message = str(issue.get("location") or ""), str(issue.get("message") or "")[:200]
        details = issue.get("details")
        rest = location.removeprefix(str(path))
        if rest == location or (rest and rest[0] not in " :"):
            continue
        incomplete = isinstance(details, dict) and bool(details.get("analysis_incomplete"))
        open_ = open_ or incomplete
        if issue.get("severity") == "critical" and not incomplete:
            critical.append(message)
    says = Verdict.UNSAFE if critical else Verdict.UNREADABLE if open_ else Verdict.SAFE
    return Opinion(name, says, tuple(dict.fromkeys(critical))[:3])
