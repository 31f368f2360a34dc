"""The main job, measured as whole processes: medians of wall seconds, CPU seconds and peak memory.

Run by hand (`make bench`); needs an engine. Each figure stands beside the goal it was given. Ratios between rows of one
table hold on noisy machines, single absolute times do not.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from examples.build.tools import ToolBuilder  # noqa: E402 the repository's root must be on the path first
from examples.signing.submissions import NodeTrust  # noqa: E402

PRATIQUE = Path(sys.executable).with_name("pratique")
TOOL = "lesion-segmenter"
RUNS = 3


@dataclass(frozen=True)
class Cost:
    """What one process took: wall and CPU seconds (children that it waited for included), peak resident bytes."""

    wall: float
    cpu: float
    peak: int


def measured(*arguments: str | Path) -> Cost:
    """Run `pratique` once, to its end."""
    begun = time.monotonic()
    with subprocess.Popen(
        [str(PRATIQUE), *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return Cost(time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def row(name: str, costs: list[Cost], goal: str) -> None:
    """One line of the table: the medians."""
    wall, cpu = (statistics.median(getattr(cost, part) for cost in costs) for part in ("wall", "cpu"))
    peak = max(cost.peak for cost in costs) / 1e6
    print(f"{name:<44}{wall:>8.2f}{cpu:>8.2f}{peak:>8.0f}   {goal}")


def main() -> None:
    """Build, sign and measure."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        home, policy = place / "home", place / "policy.yaml"
        submission = ToolBuilder(ROOT / "build" / "images", place / "submissions").build(TOOL)
        trust = NodeTrust(place)
        trust.sign(submission)
        trust.write_policy(policy)
        common = ("--home", home, "--policy", policy)
        today = time.strftime("%Y-%m-%d", time.gmtime())
        measured("advisories", "import", ROOT / "examples" / "advisories", "--date", today, "--home", home)
        size = sum(file.stat().st_size for file in (submission / "image").rglob("*") if file.is_file()) / 1e6
        print(
            f"{RUNS} runs each, medians; image of {size:.0f} MB; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
        )
        print(f"{'':<44}{'wall s':>8}{'CPU s':>8}{'peak MB':>8}   goal")
        row("pratique --help", [measured("--help") for _ in range(RUNS)], "CPU under 0.3 s")
        static = [measured("precheck", submission, "--static", *common) for _ in range(RUNS)]
        row("precheck --static", static, "wall under 5 s")
        measured("up", "--home", home)
        try:
            measured("onboard", submission, *common)
            results = _onboardings(place, home, submission, policy)
        finally:
            measured("down", "--home", home)
        row("onboard, server up, nothing cached", [cost for cost, _ in results], "wall under 20 s, peak under 600 MB")
        tool = statistics.median(seconds for _, seconds in results)
        overhead = statistics.median(cost.wall - seconds for cost, seconds in results)
        print(f"{'  of which the tool ran':<44}{tool:>8.2f}")
        print(f"{'  overhead':<44}{overhead:>8.2f}{'':>16}   under 10 s")


def _onboardings(place: Path, home: Path, submission: Path, policy: Path) -> list[tuple[Cost, float]]:
    """Onboard with the results of earlier runs put out of reach each time: cost, and how long the tool ran."""
    results = []
    for number in range(RUNS):
        document = submission / "docs" / "intended-use.md"
        document.write_text(document.read_text() + f"\nMeasured {number}.\n")
        output = place / f"{number}.json"
        cost = measured("onboard", submission, "--home", home, "--policy", policy, "--format", "json", "-o", output)
        results.append((cost, float(json.loads(output.read_text())["tool_seconds"])))
    return results


if __name__ == "__main__":
    main()
