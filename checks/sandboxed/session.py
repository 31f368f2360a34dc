"""The runs that the sandbox checks share: each is made once, when the first check asks for it.

| run | input | network | read by |
|---|---|---|---|
| example | the submission's example | none | conformance |
| counted | the synthetic cohort (the example where no cohort fits) | none | conformance, canaries, determinism |
| repeated | the same | none | determinism |
| observed | the same | sinkhole | containment, canaries |
| broken | broken variants of the cohort | none | canaries |
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from checks.sandboxed.plan import Supplied, ToolRun, ToolRunner
from pratique.errors import CouldNotDecide, PratiqueError
from pratique.intake.document import CohortFit
from pratique.intake.manifest.model import ParameterType
from pratique.intake.submission import Submission
from sandbox.cohorts import (
    Cohort,
    CohortKind,
    CohortRequest,
    Modality,
    Role,
    TableShape,
    broken_names,
    make_broken,
    make_cohort,
)
from sandbox.cohorts.shape import MOST_BYTES, shape_of

T = TypeVar("T")


class SandboxSession:
    """The shared runs of one submission. Safe to use from several threads; what failed once fails alike again."""

    def __init__(
        self,
        runner: ToolRunner,
        submission: Submission,
        workdir: Path,
        *,
        seed: int,
        cohort_size: int = 0,
        broken: tuple[str, ...] | None = None,
    ) -> None:
        self.runner = runner
        self.submission = submission
        self.seed = seed
        self._workdir = workdir
        self._size = cohort_size
        self._broken = broken
        self._done: dict[str, object | PratiqueError] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @property
    def fit(self) -> CohortFit | None:
        """Which cohort the submission says fits it."""
        return self.submission.document.cohort

    @property
    def has_example(self) -> bool:
        """Whether the submission has an example to run on."""
        return self.submission.document.example is not None

    def cohort(self) -> Cohort:
        """The synthetic cohort; raises `CouldNotDecide` where none is declared, `InvalidInput` (`cohort/…`)."""
        return self._once("cohort", lambda: make_cohort(self._request(), self._workdir / "cohort"))

    def broken_cohorts(self) -> tuple[Cohort, ...]:
        """The broken variants that are run: those asked for, else the most telling one."""
        return self._once("broken cohorts", self._make_broken)

    def example(self) -> ToolRun:
        """The run on the example; raises `CouldNotDecide` where there is none."""
        if not self.has_example:
            raise CouldNotDecide(
                "the submission has no example to run the tool on",
                next_step="Add `example` with inputs (and expected outputs) to submission.yaml.",
            )
        return self._once("example", lambda: self.runner.run_on(self.runner.example_values(), purpose="example"))

    def counted(self) -> ToolRun:
        """The run without network whose figures count."""
        return self._once("counted", lambda: self.runner.run_on(self._values(), purpose="cohort"))

    def repeated(self) -> ToolRun:
        """The same run again."""
        return self._once("repeated", lambda: self.runner.run_on(self._values(), purpose="cohort-again"))

    def observed(self) -> ToolRun:
        """The run in the sinkhole, where every attempt to reach something is written down."""
        return self._once(
            "observed", lambda: self.runner.run_on(self._values(), purpose="cohort-observed", network="sinkhole")
        )

    def on_broken(self) -> tuple[tuple[Cohort, ToolRun], ...]:
        """Each broken variant with the run on it."""
        return self._once(
            "broken",
            lambda: tuple(
                (cohort, self.runner.run_on(self._cohort_values(cohort), purpose=f"broken-{cohort.variant}"))
                for cohort in self.broken_cohorts()
            ),
        )

    def facts(self) -> dict[str, str]:
        """What the checks rest on, for their results' `inputs`."""
        facts = {
            "image": str(self.runner.image.manifest_digest),
            "manifest": str(self.runner.manifest.digest),
            "spec": str(self.runner.spec.digest),
            "cohort_seed": str(self.seed),
        }
        made = self._done.get("cohort")
        return facts | {"cohort": str(made.digest)} if isinstance(made, Cohort) else facts

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """The result of `make`, made once; an error is kept and raised again."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._done:
                try:
                    self._done[name] = make()
                except PratiqueError as error:
                    self._done[name] = error
            done = self._done[name]
        if isinstance(done, PratiqueError):
            raise done
        return done  # type: ignore[return-value]  # only `make` of this name wrote it

    def _values(self) -> Mapping[str, Supplied]:
        if self.fit is not None:
            return self._cohort_values(self.cohort())
        if self.has_example:
            return self.runner.example_values()
        raise CouldNotDecide(
            "there is nothing to run the tool on",
            next_step="Add `example` and `cohort` to submission.yaml: an example input, and what synthetic data fit.",
        )

    def _cohort_values(self, cohort: Cohort) -> dict[str, Supplied]:
        """The example's values with the cohort in place of the input that it fits."""
        fit = self._required_fit()
        return self.runner.values_with(fit.input, self._handed_over(cohort, fit.input))

    def _handed_over(self, cohort: Cohort, input_id: str) -> Path | list[Path]:
        """What the input takes: the directory, one file or all of them; a DICOM series is a directory."""
        parameter = self.runner.manifest.input(input_id)
        files = [cohort.root / name for name in cohort.files]
        if parameter is not None and parameter.type is ParameterType.FILE:
            return files if parameter.array else files[0]
        if cohort.request.kind is not CohortKind.DICOM:
            return [cohort.root] if parameter is not None and parameter.array else cohort.root
        series = sorted({file.parent for file in files})
        return series if parameter is not None and parameter.array else series[0]

    def _required_fit(self) -> CohortFit:
        if self.fit is None:
            raise CouldNotDecide(
                "the submission does not say which synthetic cohort fits the tool",
                next_step="Add `cohort` to submission.yaml: its kind (tabular, nifti, dicom) and the input it goes to.",
            )
        return self.fit

    def _request(self) -> CohortRequest:
        fit = self._required_fit()
        kind = CohortKind(fit.kind)
        parameter = self.runner.manifest.input(fit.input)
        # A directory of one DICOM series is what tools take; several series would need a layout nobody agreed on.
        single = kind is CohortKind.DICOM and not (parameter is not None and parameter.array)
        shape = self._shape(fit) if kind is CohortKind.TABULAR else None
        return CohortRequest(kind, self.seed, 1 if single else self._size, shape, Modality(fit.modality or "CT"))

    def _make_broken(self) -> tuple[Cohort, ...]:
        request = self._request()
        names = self._broken if self._broken is not None else broken_names(request.kind)[:1]
        return tuple(make_broken(request, name, self._workdir / f"broken-{name}") for name in names)

    def _shape(self, fit: CohortFit) -> TableShape | None:
        """The shape of the example table; None where the example has no table for that input."""
        example = self.submission.document.example
        given = example.inputs.get(fit.input) if example is not None else None
        first = given[0] if isinstance(given, list) and given else given
        if not isinstance(first, str):
            return None
        prefix = "/".join(part for part in first.split("/") if part not in ("", "."))
        tables = [name for name in self.submission.files if name == prefix or name.startswith(f"{prefix}/")]
        chosen = next((name for name in tables if name == prefix or name.endswith((".csv", ".tsv", ".txt"))), None)
        if chosen is None:
            return None
        return shape_of(self.submission.read(chosen, MOST_BYTES), _roles(fit), file_name=Path(chosen).name)


def _roles(fit: CohortFit) -> dict[str, Role]:
    columns = fit.columns
    roles = dict.fromkeys(columns.category, Role.CATEGORY)
    roles |= dict.fromkeys(columns.text, Role.TEXT)
    roles |= dict.fromkeys(columns.identifier, Role.IDENTIFIER)
    return roles | ({columns.outcome: Role.OUTCOME} if columns.outcome is not None else {})
