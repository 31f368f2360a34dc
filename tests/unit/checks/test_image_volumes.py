"""An image that ships files below a VOLUME: in the sandbox the tool finds an empty directory there."""

from __future__ import annotations

import dataclasses

import pytest

from checks.image import check_image
from checks.interface import Level
from tests.unit.checks.inventories import image_of, inventory_of

CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {
    "a model below a volume": (("/data",), ("data/model.bin",), 1),
    "as the Dockerfile may write it": (("//data/./",), ("data/deep/model.bin",), 1),
    "two volumes with files": (("/data", "/more"), ("data/a", "more/b", "elsewhere/c"), 2),
    "an empty volume": (("/data",), ("opt/tool.py",), 0),
    "a name that only begins alike": (("/data",), ("database/x", "data.csv"), 0),
    "no volume": ((), ("data/model.bin",), 0),
    "the root, over which nothing can be mounted": (("/",), ("data/model.bin",), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_files_below_a_volume_are_told(case: str) -> None:
    """A warning that names the files and how to mend it."""
    volumes, paths, count = CASES[case]
    image = image_of()
    image = dataclasses.replace(image, config=dataclasses.replace(image.config, volumes=volumes))
    files = dict.fromkeys(paths, b"x")
    findings = check_image(image, dataclasses.replace(inventory_of(files), contents=files)).findings
    told = [finding for finding in findings if finding.rule_id == "image/files-below-volume"]
    assert len(told) == count
    assert {finding.level for finding in told} <= {Level.WARNING}
    assert all("Remove VOLUME" in finding.fix for finding in told)
