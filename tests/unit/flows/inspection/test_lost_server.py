"""A local server that goes away while an inspection runs on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.assets.submissions import tiny_archive, write_submission

PROGRAM = """
import sys
from pathlib import Path
from flows.node import Node
from flows.prefect_environment import enter_prefect_environment
from pratique.errors import CouldNotDecide
from pratique.settings import Settings

node = Node.open(Settings(home=Path(sys.argv[1])))
enter_prefect_environment(node.settings.server, "http://127.0.0.1:1/api")
from flows.onboard import _Silent, onboard_with
try:
    onboard_with(node, Path(sys.argv[2]), _Silent())
except CouldNotDecide as error:
    print(error.message, "|", error.next_step)
"""


def test_a_server_that_went_away_decides_nothing(tmp_path: Path) -> None:
    """It is told with what to do, not as a crash."""
    submission = write_submission(tmp_path / "submission", tiny_archive(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "home"), str(submission)],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"DOCKER_HOST": "unix:///nowhere"},
    )  # fmt: skip
    assert done.stdout.startswith("the local server went away"), done.stderr
    assert "pratique up" in done.stdout
