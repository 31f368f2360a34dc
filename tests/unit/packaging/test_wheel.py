"""What is in the wheel: our packages with their data, and nothing else."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {"pratique", "sandbox", "checks", "records", "policies", "flows", "console"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DATA_SUFFIXES = {".yaml", ".json", ".txt", ".html", ".c", ".bpf"}
BROUGHT = {
    "packaging": "pip-audit",
    "pydantic_core": "pydantic",
    "requests": "docker",
    "schema_salad": "cwl-utils",
    "sigstore_models": "sigstore",
    "threadpoolctl": "scikit-learn",
    "typing_extensions": "pydantic",
    "urllib3": "docker",
}
"""What is imported and comes with a declared dependency, which needs it itself."""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without a network from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in (*sorted(PACKAGES), "examples", "infra", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist"), str(source)],
        env={**os.environ, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_top_level_names(wheel: zipfile.ZipFile) -> None:
    """No `tests`, no `examples`, no `infra`: they would collide with those of other projects."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == PACKAGES | {f"pratique-{PROJECT['version']}.dist-info"}


def test_every_module_and_every_data_file_is_inside(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= inside
    assert {name for name in inside if ".dist-info/" not in name} == wanted


@pytest.mark.parametrize(
    "name",
    [
        "policies/node.yaml",
        "policies/risks.yaml",
        "policies/sigstore-public-good.json",
        "console/report/templates/report.html",
        "sandbox/seccomp/source.txt",
        "checks/model_files/callable.txt",
        "checks/model_files/named.txt",
    ],
)
def test_data_that_the_program_reads_is_inside_and_whole(name: str, wheel: zipfile.ZipFile) -> None:
    assert wheel.read(name) == (ROOT / name).read_bytes()


def test_no_data_file_is_forgotten_by_git(wheel: zipfile.ZipFile) -> None:
    """hatchling leaves out what .gitignore names, so none of our data may be named there."""
    data = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in DATA_SUFFIXES]
    assert len(data) >= 7
    assert {str(path.relative_to(ROOT)) for path in data} <= set(wheel.namelist())


def test_entry_point_and_metadata(wheel: zipfile.ZipFile) -> None:
    info = f"pratique-{PROJECT['version']}.dist-info"
    assert wheel.read(f"{info}/entry_points.txt").decode().split() == [
        "[console_scripts]",
        "pratique",
        "=",
        "console.terminal.app:main",
    ]
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: <3.12,>=3.11" in metadata
    assert metadata.count("Requires-Dist: ") >= len(PROJECT["dependencies"])
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_program_runs_from_the_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Unpacked, without the repository: help, the shipped policy, the risks, the page's template."""
    wheel.extractall(tmp_path / "site")
    code = """
import sys
from console.terminal.app import app
from policies.load import load_policy
from policies.risks import load_register
from console.report.html import TEMPLATES
import checks.interface, flows.node
assert load_policy().policy.rules and len(load_register().risks) == 28
assert (TEMPLATES / "report.html").is_file()
assert all("site" in sys.modules[name].__file__ for name in ("console", "policies", "flows", "checks"))
app(["--help"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")


def test_what_the_packages_import_is_declared() -> None:
    """Every import of the wheel is its own, the standard library's, or a declared dependency's."""
    requirements = [
        *PROJECT["dependencies"],
        *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
    ]
    declared = {_import_name(requirement) for requirement in requirements}
    used: dict[str, str] = {}
    for package in sorted(PACKAGES):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names = [node.module]
                used.update({name.split(".")[0]: str(path.relative_to(ROOT)) for name in names})
    unknown = {
        name: path
        for name, path in used.items()
        if name not in PACKAGES | declared | BROUGHT.keys() | set(sys.stdlib_module_names) | {"__future__"}
    }
    assert unknown == {}


@pytest.mark.parametrize(("module", "package"), BROUGHT.items())
def test_what_a_dependency_brings_it_still_needs(module: str, package: str) -> None:
    needed = {re.split(r"[^A-Za-z0-9_.-]", line)[0].replace("-", "_") for line in requires(package) or ()}
    assert module in needed
    assert any(line.startswith(package) for line in PROJECT["dependencies"])


def _import_name(requirement: str) -> str:
    name = requirement
    for separator in "[<>=!~; ":
        name = name.split(separator)[0]
    renamed = {
        "ruamel.yaml": "ruamel",
        "scikit-learn": "sklearn",
        "cyclonedx-python-lib": "cyclonedx",
        "packageurl-python": "packageurl",
        "common-expression-language": "cel",
    }
    return renamed.get(name, name.replace("-", "_"))
