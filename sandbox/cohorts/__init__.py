"""Synthetic cohorts: input data made from a seed, byte for byte the same everywhere, with canaries in it.

Nothing in a cohort comes from a person. A tabular one can be shaped after a provider's example (`shape_of`): the same
columns and types, ranges as in the example, but no cell of an identifier or text column is taken over.
"""

from __future__ import annotations

from pathlib import Path

from sandbox.cohorts.broken import broken_names, make_broken
from sandbox.cohorts.dicom import make_dicom
from sandbox.cohorts.model import (
    Cohort,
    CohortFiles,
    CohortKind,
    CohortRequest,
    Column,
    ColumnType,
    Role,
    TableShape,
)
from sandbox.cohorts.nifti import make_nifti
from sandbox.cohorts.phantom import Modality
from sandbox.cohorts.shape import shape_of
from sandbox.cohorts.tabular import make_tabular

__all__ = [
    "Cohort",
    "CohortFiles",
    "CohortKind",
    "CohortRequest",
    "Column",
    "ColumnType",
    "Modality",
    "Role",
    "TableShape",
    "broken_names",
    "broken_variants",
    "make_broken",
    "make_cohort",
    "shape_of",
]

_MAKERS = {CohortKind.TABULAR: make_tabular, CohortKind.NIFTI: make_nifti, CohortKind.DICOM: make_dicom}


def make_cohort(request: CohortRequest, directory: Path) -> Cohort:
    """Write the cohort to `directory/inputs`, what is true of it to `directory/truth`."""
    return _MAKERS[request.kind](request).write(request, directory)


def broken_variants(request: CohortRequest, directory: Path) -> tuple[Cohort, ...]:
    """Write every broken variant to a directory of its own under `directory`."""
    return tuple(make_broken(request, name, directory / name) for name in broken_names(request.kind))
