"""Sources given to the worker process, and what it said of each; it may die at any of them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks.code.looks import Sign

MAX_DEATHS = 5
MAX_SECONDS = 240.0
SECONDS_A_FILE = 15.0


@dataclass(frozen=True)
class Issue:
    """What bandit says: line, test (`B602`), severity (`LOW`, `MEDIUM`, `HIGH`), its own words."""

    line: int
    test: str
    severity: str
    text: str


@dataclass(frozen=True)
class Scanned:
    """The answer for one source; `open_` says why it could not be examined to its end, `unparsable` why it is no Python
    that this interpreter knows. Both are empty where all was well."""

    signs: tuple[Sign, ...] = ()
    issues: tuple[Issue, ...] = ()
    unparsable: str = ""
    open_: str = ""


def scan_sources(
    sources: Sequence[bytes], *, seconds: float = MAX_SECONDS, seconds_a_file: float = SECONDS_A_FILE
) -> list[Scanned]:
    """An answer for each of `sources`, within `seconds` altogether and `seconds_a_file` for each.

    The worker is a process of its own with bounds on memory, output and time a file; after it died at a file it is
    started again behind it, at most five times.
    """
    answers: dict[int, Scanned] = {}
    deadline = time.monotonic() + seconds
    deaths = 0
    with tempfile.TemporaryDirectory(prefix="pratique-code-") as directory:
        for number, source in enumerate(sources):
            Path(directory, f"{number}.py").write_bytes(source)
        while len(answers) < len(sources) and deaths < MAX_DEATHS and time.monotonic() < deadline:
            first = _next(answers, len(sources))
            died_at = _run(Path(directory), first, deadline, seconds_a_file, answers)
            if died_at is not None:
                deaths += 1
                answers[died_at] = Scanned(open_="the process that read it was ended: it took too much time or memory")
    why = "too many sources before it could not be read" if deaths >= MAX_DEATHS else "the time for all sources was up"
    return [answers.get(number, Scanned(open_=why)) for number in range(len(sources))]


def _next(answers: dict[int, Scanned], count: int) -> int:
    return next(number for number in range(count) if number not in answers)


def _run(
    directory: Path, first: int, deadline: float, seconds_a_file: float, answers: dict[int, Scanned]
) -> int | None:
    """Run the worker once and take in its answers; returns the source at which it ended early, None where it did not.

    Its environment holds nothing of ours, and its home is the scratch directory.
    """
    command = [sys.executable, "-I", "-m", "checks.code.worker", str(directory), str(first), str(seconds_a_file)]
    environment = {"HOME": str(directory), "LANG": "C.UTF-8"}
    with tempfile.TemporaryFile() as output:
        with contextlib.suppress(subprocess.TimeoutExpired):  # what it had not done is told as open
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd=directory,
                timeout=max(0.1, deadline - time.monotonic()),
                check=False,
            )
        output.seek(0)
        begun: int | None = first
        for line in output:
            message = _message(line)
            if "begun" in message:
                begun = int(message["begun"])
            elif "done" in message:
                answers[int(message["done"])] = _scanned(message)
                begun = None
    return begun


def _message(line: bytes) -> dict[str, Any]:
    """One line of the worker; the last may be cut short."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _scanned(message: dict[str, Any]) -> Scanned:
    if "failed" in message:
        return Scanned(open_=f"it is built to exhaust whoever reads it ({message['failed']})")
    return Scanned(
        signs=tuple(Sign(*sign) for sign in message["signs"]),
        issues=tuple(Issue(*issue) for issue in message["issues"]),
        unparsable=message["unparsable"],
        open_="" if message["whole"] else "bandit could not examine all of it",
    )
