"""A directory of model files that is nested to exhaust what walks it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from checks.model_files.tree import MAX_DEPTH, scan_paths
from pratique.errors import CouldNotDecide


@pytest.mark.parametrize(("depth", "decided"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False), (1200, False)])
def test_the_depth_of_a_directory_is_bounded(tmp_path: Path, depth: int, decided: bool) -> None:
    """Deeper than Python's own stack is could-not-decide too, not a failure of ours."""
    here = tmp_path
    for _ in range(depth):
        here /= "d"
        here.mkdir()
    try:
        if decided:
            assert scan_paths([tmp_path], ask_others=False) == ([], 0)
        else:
            with pytest.raises(CouldNotDecide, match="directories deep"):
                scan_paths([tmp_path], ask_others=False)
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest's own way is recursive
