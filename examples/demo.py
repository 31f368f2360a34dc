"""The main job, for real, on the seven example tools (`make demo`).

Builds the tools, makes a throw-away private Sigstore, signs the submissions, imports a small labelled advisory feed,
onboards every tool, admits the first so that `swapped` has something to imitate, and compares each verdict and the rule
that decided with what must come out. Ends with the ledger verified, and not verified after one flipped byte.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.build.tools import ToolBuilder
from examples.signing.submissions import NodeTrust

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
FEED = ROOT / "examples" / "advisories"
PRATIQUE = Path(sys.executable).with_name("pratique")
MAINTAINER = "maintainer@node.example"
ADMITTED = "lesion-segmenter"
"""Onboarded and admitted first, so that `swapped` has something to imitate."""


@dataclass(frozen=True)
class Expected:
    """What must come out for a tool: the verdict and, where it is not admitted, the rule that decides."""

    outcome: str
    rule: str | None = None


EXPECTED = {
    "lesion-segmenter": Expected("admit"),
    "combat-harmonizer": Expected("admit"),
    "risk-classifier": Expected("admit"),
    "risk-classifier-overfit": Expected("refuse", "no-evidence-of-memorised-patients"),
    "outdated": Expected("refuse", "no-known-critical-or-high-vulnerability"),
    "smuggler": Expected("refuse", "model-files-run-no-code"),
    "swapped": Expected("refuse", "same-version-same-image"),
}
EXIT_CODES = {"admit": 0, "refuse": 1, "review": 3}


@dataclass(frozen=True)
class Outcome:
    """What came out for a tool."""

    tool: str
    report: dict[str, Any]
    exit_code: int
    seconds: float

    @property
    def as_expected(self) -> bool:
        """Whether verdict, deciding rule and exit code are the right ones."""
        verdict, expected = self.report["verdict"], EXPECTED[self.tool]
        return (
            verdict["outcome"] == expected.outcome
            and verdict["decided_by"] == expected.rule
            and self.exit_code == EXIT_CODES[expected.outcome]
        )


class Demo:
    """One run of the demo in a directory of its own."""

    def __init__(self, directory: Path, console: Console) -> None:
        self._directory = directory
        self._home = directory / "home"
        self._policy = directory / "policy.yaml"
        self._console = console
        self._printing = threading.Lock()
        self.runs: dict[str, str] = {}
        """The run in which each tool was inspected."""

    def pratique(self, *arguments: str | Path, quiet: bool = False, progress: Path | None = None) -> int:
        """Call the command as a person would; its exit code. `progress` takes what it says on the way."""
        command = [str(PRATIQUE), *map(str, arguments), "--home", str(self._home)]
        output = subprocess.DEVNULL if quiet else None
        with progress.open("w") if progress else nullcontext() as errors:
            return subprocess.run(command, stdout=output, stderr=errors, check=False).returncode

    def must(self, *arguments: str | Path) -> None:
        """Call the command; anything but success ends the demo."""
        if self.pratique(*arguments, quiet=True):
            sys.exit(f"demo: `pratique {' '.join(map(str, arguments))}` failed")

    def prepare(self) -> dict[str, Path]:
        """Build and sign every tool, write the node's policy, import the feed; submission directory by tool."""
        builder = ToolBuilder(BUILD / "images", self._directory / "submissions")
        trust = NodeTrust(self._directory)
        submissions = {}
        for tool in EXPECTED:
            self._console.print(f"building {tool}")
            submissions[tool] = builder.build(tool)
            if tool != "swapped":
                trust.sign(submissions[tool])
        trust.borrow_signature(submissions["lesion-segmenter"], submissions["swapped"])
        trust.write_policy(self._policy)
        today = datetime.now(UTC).date().isoformat()
        label = "written for the demo, not a real snapshot"
        self.must("advisories", "import", FEED, "--date", today, "--label", label)
        return submissions

    def onboard(self, tool: str, submission: Path) -> Outcome:
        """Onboard one submission through the command."""
        result, progress = self._directory / f"{tool}.json", self._directory / f"{tool}.log"
        begun = time.monotonic()
        arguments = ("onboard", submission, "--policy", self._policy, "--format", "json", "-o", result)
        code = self.pratique(*arguments, progress=progress)
        seconds = time.monotonic() - begun
        with self._printing:
            self._console.rule(tool)
            self._console.print(progress.read_text(), markup=False, soft_wrap=True)
        if not result.is_file():
            sys.exit(f"demo: onboarding {tool} ended with exit code {code} and without a report")
        return Outcome(tool, json.loads(result.read_text()), code, seconds)

    def run(self) -> bool:
        """The whole demo; whether everything came out as it must."""
        self._console.print(
            "Seven example tools are built, signed by a throw-away Sigstore, and onboarded; it takes three to ten "
            "minutes. Three are honest; four must be refused, each for its own reason.",
            soft_wrap=True,
        )
        self.must("up")
        try:
            submissions = self.prepare()
            self._console.print("onboarding lesion-segmenter, then the others two at a time")
            first = self.onboard(ADMITTED, submissions.pop(ADMITTED))
            decision = ("--reason", "honest example", "--as", MAINTAINER, "--organisation", "Example Node")
            self.must("admit", first.report["run_id"], *decision, "--policy", self._policy)
            with ThreadPoolExecutor(max_workers=2) as pool:
                outcomes = [first, *pool.map(self.onboard, submissions.keys(), submissions.values())]
            self._show(outcomes)
            self.runs = {outcome.tool: outcome.report["run_id"] for outcome in outcomes}
            return all(outcome.as_expected for outcome in outcomes) and self._ledger_is_tamper_evident()
        finally:
            self.pratique("down", quiet=True)

    def _show(self, outcomes: list[Outcome]) -> None:
        table = Table(title="Verdicts", title_justify="left")
        for column in ("tool", "verdict", "decided by the rule", "seconds", "as expected"):
            table.add_column(column, justify="right" if column == "seconds" else "left")
        for outcome in outcomes:
            verdict = outcome.report["verdict"]
            table.add_row(
                outcome.tool,
                verdict["outcome"],
                verdict["decided_by"] or "(all satisfied)",
                f"{outcome.seconds:.1f}",
                "yes" if outcome.as_expected else f"NO, expected {EXPECTED[outcome.tool]}",
            )
        self._console.print()
        self._console.print(table)
        self._console.print("Refused, because")
        for outcome in outcomes:
            verdict = outcome.report["verdict"]
            if verdict["outcome"] == "refuse":
                self._console.print(f"  {outcome.tool:<24} {verdict['why']}", soft_wrap=True)
        self._console.print("\nReports (open them in a browser):")
        for outcome in outcomes:
            page = self._home / "runs" / outcome.report["run_id"] / "report.html"
            self._console.print(f"  {outcome.tool:<24} {page}", soft_wrap=True)

    def _ledger_is_tamper_evident(self) -> bool:
        """The ledger verifies; a copy in which one byte of an entry is flipped does not."""
        self._console.print("\npratique log verify")
        if self.pratique("log", "verify") != 0:
            return False
        copy = self._directory / "tampered-ledger"
        shutil.copytree(self._home / "ledger", copy)
        bundle = next(path for path in sorted((copy / "tile" / "entries").rglob("*")) if path.is_file())
        data = bytearray(bundle.read_bytes())
        data[len(data) // 2] ^= 1
        bundle.chmod(0o644)
        bundle.write_bytes(data)
        self._console.print(f"pratique log verify --ledger {copy.name}   (one byte flipped)")
        return self.pratique("log", "verify", "--ledger", copy) == 1


def link_newest(directory: Path) -> Path:
    """Make `demo` beside `directory` a link to it, for people and documents; the link."""
    link = directory.parent / "demo"
    draft = directory / "link"
    draft.symlink_to(directory.name)
    draft.replace(link)
    return link


NEXT = """
Next, in this checkout ({link} is a link to this demo; docs/tutorial.md goes on from there):
  . .venv/bin/activate
  export PRATIQUE_HOME=$PWD/{link}/home PRATIQUE_POLICY=$PWD/{link}/policy.yaml
  pratique report {run}     # why {tool} was refused, and how to mend it
  pratique admissions list                    # {admitted} alone was admitted: a verdict admits nothing by itself
  pratique run {admitted} --input {link}/submissions/{admitted}/test/example_input --output masks
  pratique log show                           # what the node recorded of all this"""


def remove_finished(build: Path) -> None:
    """Remove the directories of earlier demos that nobody holds any more."""
    for directory in build.glob("demo-*"):
        with (directory / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """Entry point of `make demo`; exits non-zero unless every verdict is right for the right reason."""
    console = Console(highlight=False, width=max(104, Console().width))
    begun = time.monotonic()
    BUILD.mkdir(exist_ok=True)
    remove_finished(BUILD)
    directory = Path(tempfile.mkdtemp(prefix="demo-", dir=BUILD))
    with ExitStack() as held:
        handle = held.enter_context((directory / "lock").open("w"))
        fcntl.flock(handle, fcntl.LOCK_EX)
        demo = Demo(directory, console)
        good = demo.run()
        link = link_newest(directory).relative_to(ROOT)
    took = f"{time.monotonic() - begun:.0f} s"
    if not good:
        sys.exit(f"demo: something did not come out as it must, see above ({took})")
    console.print(f"\nEverything came out as it must ({took}).")
    told = NEXT.format(link=link, run=demo.runs["smuggler"], tool="smuggler", admitted=ADMITTED)
    console.print(told, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
