"""The process that parses: run as `python -I -m checks.code.worker DIRECTORY FIRST SECONDS`, ended at its bounds.

The sources are files called by their number in DIRECTORY. For each, from FIRST on, a line of JSON is written when it is
begun and one when it is done; who reads them sees at which file this process died. A source may take SECONDS. Sources
are parsed, never executed.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checks.code.signs import find_signs

if TYPE_CHECKING:
    from bandit.core.config import BanditConfig  # type: ignore[import-untyped]

_MEMORY = 2 << 30
_OUTPUT = 64 << 20
_MAX_ISSUES = 500
_LEFT_TO_OTHERS = ("B101", "B105", "B106", "B107", "B404", "B613")
"""Tests of bandit that ask for what is no matter here (`assert`), or that another check answers."""


class _Errors(logging.Handler):
    """Counts what bandit could not look at: it goes on after an exception in one of its tests."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.count += 1


def _limit() -> None:
    """Bound what this process may take; an alarm that nobody handles ends it."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_OUTPUT, _OUTPUT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def examine(path: Path, config: BanditConfig, errors: _Errors) -> dict[str, Any]:
    """What our signs and bandit say of one source: `signs`, `issues`, `unparsable` (why), `whole`."""
    before = errors.count
    signs, unparsable = find_signs(path.read_bytes())
    issues, skipped = _ask_bandit(path, config)
    return {
        "signs": [astuple(sign) for sign in signs],
        "issues": issues,
        "unparsable": unparsable,
        "whole": bool(unparsable) or (not skipped and errors.count == before),
    }


def _ask_bandit(path: Path, config: BanditConfig) -> tuple[list[tuple[Any, ...]], bool]:
    """Line, test, severity, text of each issue; comments that ask bandit to look away are not obeyed."""
    from bandit.core.manager import BanditManager  # type: ignore[import-untyped]

    manager = BanditManager(config, "file", quiet=True, ignore_nosec=True, profile={"exclude": list(_LEFT_TO_OTHERS)})
    manager.discover_files([str(path)])
    manager.run_tests()
    issues = sorted((one.lineno, one.test_id, one.severity, one.text) for one in manager.get_issue_list())
    return issues[:_MAX_ISSUES], bool(manager.get_skipped())


def main() -> None:
    """Entry point."""
    from bandit.core.config import BanditConfig

    directory, first, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _limit()
    errors = _Errors(level=logging.ERROR)
    logging.basicConfig(handlers=[errors], level=logging.ERROR)
    config = BanditConfig()
    for number in range(first, sum(1 for _ in directory.glob("*.py"))):
        _tell({"begun": number})
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            found = examine(directory / f"{number}.py", config, errors)
        except (RecursionError, MemoryError) as error:
            found = {"failed": type(error).__name__}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _tell({"done": number, **found})


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
