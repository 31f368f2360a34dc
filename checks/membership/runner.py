"""What the probe needs of whoever runs the tool, and the sandbox as one that does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pratique.errors import PratiqueError

if TYPE_CHECKING:
    from checks.sandboxed.plan import ToolRunner


@dataclass(frozen=True)
class TableRun:
    """What came of running the tool on a table: `output` is None where it did not end well, for the reason given."""

    output: Path | None
    problem: str = ""


class TableRunner(Protocol):
    """Runs the submitted tool in the sandbox on a table in place of its declared privacy input."""

    def run_table(self, input_id: str, table: Path) -> TableRun:
        """Run once with the CSV at `table` as the input `input_id`; never raises for what the tool does."""


class SandboxTables:
    """A `TableRunner` over the sandbox's tool runner, with the example's values for every other input."""

    def __init__(self, runner: ToolRunner) -> None:
        self._runner = runner

    def run_table(self, input_id: str, table: Path) -> TableRun:
        """Run without network, as the counted runs are."""
        try:
            done = self._runner.run_on(self._runner.values_with(input_id, table), purpose="membership")
        except PratiqueError as error:
            return TableRun(None, str(error))
        record = done.sandbox_run
        if record.ended_by.value != "exit":
            return TableRun(None, f"the run ended by {record.ended_by.value}")
        if record.exit_code not in self._runner.manifest.expected_exit_codes:
            return TableRun(None, f"exit code {record.exit_code}")
        return TableRun(done.output)
