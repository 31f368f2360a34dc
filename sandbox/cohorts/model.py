"""What a cohort is: synthetic input data, the canaries in it, and the truth about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pratique.digests import Digest, sha256_bytes, sha256_json
from sandbox.canaries import Canary
from sandbox.cohorts.phantom import Modality


class CohortKind(StrEnum):
    """The sort of data."""

    TABULAR = "tabular"
    NIFTI = "nifti"
    DICOM = "dicom"


class Role(StrEnum):
    """What a column is for; canaries go into identifiers and free text."""

    IDENTIFIER = "identifier"
    TEXT = "text"
    CATEGORY = "category"
    OUTCOME = "outcome"
    FEATURE = "feature"


class ColumnType(StrEnum):
    """How a column's cells are written."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    WORD = "word"
    DATE = "date"


@dataclass(frozen=True)
class Column:
    """A column: cells are drawn from `values` where there are any, else between `low` and `high`.

    `decimals` are the digits after the point, `missing` the share of empty cells; `rare` are further values that stand
    in a cell or two, `unit` follows a number in its cell. Dates (ISO 8601) have days since the year 1 as `low` and
    `high` (`datetime.date.toordinal`).
    """

    name: str
    role: Role
    type: ColumnType
    low: float = 0.0
    high: float = 1.0
    decimals: int = 0
    values: tuple[str, ...] = ()
    missing: float = 0.0
    rare: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class TableShape:
    """The columns of a table in their order, and how the file is called and delimited."""

    columns: tuple[Column, ...]
    file_name: str = "patients.csv"
    delimiter: str = ","


@dataclass(frozen=True)
class CohortRequest:
    """What to make: `size` counts rows (tabular), volumes (NIfTI) or series (DICOM); 0 takes the kind's default.

    `modality` is that of pictures, `table_shape` that of tables.
    """

    kind: CohortKind
    seed: int
    size: int = 0
    table_shape: TableShape | None = None
    modality: Modality = Modality.CT


@dataclass(frozen=True)
class Cohort:
    """A cohort on disk. `files` lie under `root`, `truth` maps a file to what is true of it (never shown to a tool)."""

    request: CohortRequest
    root: Path
    files: tuple[str, ...]
    canaries: tuple[Canary, ...]
    digest: Digest
    truth: Mapping[str, Path] = field(default_factory=dict)
    variant: str = ""


@dataclass
class CohortFiles:
    """The content of a cohort before it is written; parts are added by the makers of each kind."""

    inputs: dict[str, bytes] = field(default_factory=dict)
    truth: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    canaries: list[Canary] = field(default_factory=list)

    def plant(self, canary: Canary) -> str:
        """Keep `canary` and return its value."""
        self.canaries.append(canary)
        return canary.value

    def write(self, request: CohortRequest, directory: Path, variant: str = "") -> Cohort:
        """Write `directory/inputs` and `directory/truth` (both must not exist yet)."""
        root = directory / "inputs"
        _write_all(root, self.inputs.items())
        _write_all(directory / "truth", self.truth.values())
        return Cohort(
            request=request,
            root=root,
            files=tuple(sorted(self.inputs)),
            canaries=tuple(self.canaries),
            digest=sha256_json({name: sha256_bytes(data) for name, data in self.inputs.items()}),
            truth={name: directory / "truth" / place for name, (place, _) in self.truth.items()},
            variant=variant,
        )


def _write_all(root: Path, files: Iterable[tuple[str, bytes]]) -> None:
    root.mkdir(parents=True)
    for name, data in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
