"""Copies of known packages: renamed, stripped, edited, strewn, packed or mixed, they are still recognised."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from checks.interface import CheckResult, Status
from checks.sbom import Bom, check_sbom
from checks.sbom.known_copies import CodeFile, read_known_copies
from checks.sbom.known_files import LIST, MAX_VERSIONS, ROWS, ModuleTable, module_table, read_table
from checks.sbom.record import Lie
from infra.module_table import members, write_table
from pratique.digests import sha256_bytes
from pratique.intake.image.model import FileEntry, Inventory, Kind
from pratique.intake.image.notes import Notes, openings
from tests.unit.checks.inventories import image_of
from tests.unit.checks.sbom.test_copies import installed
from tests.unit.checks.sbom.test_hiding import rules
from tests.unit.checks.sbom.test_nested import SITE, detected, inventory, tarred, zipped

_MODULES = ("pool", "retry", "connection", "response", "util/timeout", "util/parse")


def module(name: str, version: int) -> bytes:
    """A module of which one function is another in each version, and the others never change."""
    lines = [f'"""The module {name}."""', "import os  # a comment", ""]
    for number in range(4):
        stamp = version if number == 0 else 0
        lines += [
            f"def {name.replace('/', '_')}_{number}(self, first, second=None, *, third={stamp}):",
            f'    """What the function number {number} of {name} does with its arguments, told at length."""',
            f"    value = os.path.join(first, '{name}', second or 'nothing', str(third), 'and {number * 7} more')",
            "    return [value for _ in range(third)]  # as often as asked",
            "",
        ]
    return "\n".join(lines).encode()


def package(version: int, top: str = "netlib") -> dict[str, bytes]:
    """The files of one version of `netlib`; `pool` and `retry` change with each, the rest never."""
    files = {f"{top}/{name}.py": module(name, version if name in ("pool", "retry") else 0) for name in _MODULES}
    return files | {f"{top}/__init__.py": f'__version__ = "{version}.0"\n'.encode()}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ModuleTable:
    """A table of two packages, made by the script in the house from wheels and a source archive."""
    wheels, made = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("made")
    for version in (1, 2, 3):
        (wheels / f"netlib-{version}.0-py3-none-any.whl").write_bytes(zipped(package(version)))
    lone = {"lone.py": module("lone", 1), "shared.py": module("connection", 0)}
    source = {f"lone-1.0/src/{path}": data for path, data in lone.items()}
    (wheels / "lone-1.0.tar.gz").write_bytes(tarred({**source, "lone-1.0/tests/x.py": module("test", 1)}, "w:gz"))
    write_table(sorted(wheels.iterdir()), made)
    return read_table((made / LIST).read_text(), (made / ROWS).read_bytes())


@pytest.fixture
def known(table: ModuleTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small table in the place of the shipped one."""
    monkeypatch.setattr("checks.sbom.known_copies.module_table", lambda: table)


def noted(files: Mapping[str, bytes]) -> Inventory:
    """The inventory with the openings of functions, as the one pass notes them."""
    made = inventory(files)
    return replace(
        made,
        files={p: replace(e, notes=Notes(openings=openings(files[p]))) for p, e in made.files.items()},
    )


def asked(files: Mapping[str, bytes]) -> tuple[CheckResult, Bom]:
    return check_sbom(noted(files), image_of(), None)


def renamed(
    files: Mapping[str, bytes], edit: Callable[[bytes], bytes] = bytes, *, to: str = "app/net"
) -> dict[str, bytes]:
    """The same files in another directory, without the version that they state."""
    return {
        path.replace("netlib", to, 1): edit(data) for path, data in files.items() if not path.endswith("__init__.py")
    }


COPY = renamed(package(1))
ONE = ["pkg:pypi/netlib@1.0"]
ALL = ["pkg:pypi/netlib@1.0", "pkg:pypi/netlib@2.0", "pkg:pypi/netlib@3.0"]
COPIES: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "renamed, its version stripped": (COPY, ONE),
    "every line ended otherwise": (renamed(package(1), lambda code: code.replace(b"\n", b"\r\n")), ONE),
    "a blank line in every file": (renamed(package(1), lambda code: code + b"\n"), ONE),
    "a statement before every file": (renamed(package(1), lambda code: b"import sys\n" + code), ONE),
    "every comment another": (renamed(package(1), lambda code: code.replace(b"comment", b"remark")), ONE),
    "indented by tabs": (renamed(package(1), lambda code: code.replace(b"    ", b"\t")), ONE),
    "one file edited": (COPY | {"app/net/pool.py": b"x = 1\n" + COPY["app/net/pool.py"]}, ONE),
    "the files that changed are left out": (
        {path: data for path, data in COPY.items() if "pool" not in path and "retry" not in path},
        ALL,
    ),
    "every module renamed, all in one folder": (
        {f"app/m{number}.py": data for number, data in enumerate(COPY.values())},
        ONE,
    ),
    "every module in a folder of its own": (
        {f"app/{number}/deep/m.py": data for number, data in enumerate(COPY.values())},
        ONE,
    ),
    "strewn over packages": (
        {f"srv{number // 2}/m{number}.py": data for number, data in enumerate(COPY.values())},
        ONE,
    ),
    "among what a package tests itself with": (
        renamed(package(1), to=f"{SITE}/other/tests/net"),
        [*ONE, "pkg:pypi/other"],
    ),
    "a file of a later version among them": (COPY | {"app/net/retry.py": module("retry", 3)}, [ONE[0], ALL[2]]),
    "a tuple that lies downwards": (COPY | {"app/net/__init__.py": b"VERSION = (0, 1)\n"}, ONE),
    "another package's name and a later version": (
        renamed(package(1), to="app/yaml") | {"app/yaml/__init__.py": b'__version__ = "99.0"\n'},
        [*ONE, "pkg:pypi/pyyaml@99.0"],
    ),
    "in a zip": ({"opt/lib.zip": zipped(COPY)}, ONE),
    "in a packed tar in a zip": ({"opt/lib.zip": zipped({"data.bin": tarred(COPY, "w:gz")})}, ONE),
    "in a distribution of another name": (installed("harmless", "1.0", renamed(package(1), to="harmless")), ONE),
    "beside the standard library's modules": (renamed(package(1), to="usr/lib/python3.11/json/net"), ONE),
    "a package that is one module": ({"srv/a.py": b"import sys\n" + module("lone", 1)}, ["pkg:pypi/lone@1.0"]),
}


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("case", COPIES)
def test_a_copy_is_recognised(case: str) -> None:
    files, expected = COPIES[case]
    answer = asked(files)
    assert sorted(set(detected(answer[1]))) == expected
    assert "sbom/known-files" in rules(answer)


@pytest.mark.usefixtures("known")
def test_a_copy_behind_links_is_recognised() -> None:
    """Python takes the module by the link's name, whatever the file is called."""
    made = noted({f"data/{number}.bin": data for number, data in enumerate(COPY.values())})
    folders = {
        path: FileEntry(path, Kind.DIRECTORY, 0, 0o755, 0, 0, 0) for path in ("data", "app", "app/net", "app/net/util")
    }
    links = {
        path: FileEntry(path, Kind.SYMLINK, 0, 0o777, 0, 0, 0, linkname=f"/data/{number}.bin")
        for number, path in enumerate(COPY)
    }
    _, bom = check_sbom(replace(made, files={**made.files, **folders, **links}), image_of(), None)
    assert detected(bom) == ONE


@pytest.mark.usefixtures("known")
def test_the_files_that_were_changed_are_named() -> None:
    result, _ = asked(COPY | {"app/net/util/parse.py": COPY["app/net/util/parse.py"] + b"evil()\n"})
    told = next(finding for finding in result.findings if finding.rule_id == "sbom/known-files")
    assert told.where == "app/net"
    assert told.message.endswith("it is 1.0; changed: app/net/util/parse.py")


LIES: dict[str, tuple[str, int, list[str]]] = {
    "metadata of a version that the table has": ("3.0", 1, ONE),
    "metadata of one that it lacks, beyond others": ("99.0", 1, []),
    "the version that it is": ("1.0", 1, []),
    "a version that came after the table": ("3.1", 3, []),
}


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("lie", LIES)
def test_files_of_another_version_than_the_metadata_say(lie: str) -> None:
    """Name, version, RECORD and `__version__` agree: only the other files tell."""
    stated, real, expected = LIES[lie]
    files = package(real) | {"netlib/__init__.py": f'__version__ = "{stated}"\n'.encode()}
    answer = asked(installed("netlib", stated, files))
    assert detected(answer[1]) == expected
    assert ("sbom/known-files" in rules(answer)) is bool(expected)


NO_COPIES: dict[str, dict[str, bytes]] = {
    "two files of a package": {path: COPY[path] for path in ("app/net/pool.py", "app/net/retry.py")},
    "one file many times": {f"app/{number}/pool.py": COPY["app/net/pool.py"] for number in range(50)},
    "empty and tiny files": {f"app/{number}/__init__.py": b"" for number in range(50)},
    "code of the tool's own": {f"app/{name}.py": module(f"own_{name.replace('/', '_')}", 1) for name in _MODULES},
    "what two packages have in common": {"srv/shared.py": module("connection", 0)},
}


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("case", NO_COPIES)
def test_what_proves_no_copy_makes_none(case: str) -> None:
    assert "sbom/known-files" not in rules(asked(NO_COPIES[case]))


@pytest.mark.usefixtures("known")
def test_very_many_copies_make_few_findings_and_few_components() -> None:
    """An image full of matching files costs no more than it has files."""
    kinds = [(path, sha256_bytes(data), openings(data)) for path, data in COPY.items()]
    packed = [CodeFile(f"a.zip!/{n}/{path}", digest, noted) for n in range(1000) for path, digest, noted in kinds]
    lies: list[Lie] = []
    found = read_known_copies(inventory({}), packed, [], lies)
    assert {component.purl for component in found} == set(ONE)
    assert (len(found), len(lies)) == (20, 21)
    assert lies[-1].message == "copies of known packages lie in 980 more places"


def test_what_a_table_is_made_from_is_read_within_bounds(tmp_path: Path) -> None:
    """A link, a device or a file that climbs in an archive is nothing; a member that lies about its size is cut."""
    path = tmp_path / "lone-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("lone-1.0/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("lone-1.0/../../lone.py")
        info.size = 300
        archive.addfile(info, io.BytesIO(b"x" * 300))
    assert [data for _, data in members(path)] == [b"x" * 300]
    assert not (tmp_path.parent / "lone.py").exists()


def test_more_versions_than_a_row_has_room_for_are_refused(tmp_path: Path) -> None:
    for version in range(MAX_VERSIONS + 1):
        with zipfile.ZipFile(tmp_path / f"netlib-{version}.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("netlib/pool.py", module("pool", version))
    with pytest.raises(SystemExit, match="more than 16 versions"):
        write_table(sorted(tmp_path.iterdir()), tmp_path)


def test_the_shipped_table_knows_what_it_says() -> None:
    """Every row belongs to a file and to versions of its package; the modules of this field's tools are there."""
    shipped = module_table()
    for number, mask in shipped.rows.values():
        assert 0 < mask < 1 << len(shipped.packages[number].versions)
    names = {known.name for known in shipped.packages}
    assert names >= {"requests", "urllib3", "pyyaml", "jinja2", "numpy", "pillow", "pydicom", "six"}
    assert len(shipped.rows) * 10 < 500_000


def test_what_is_installed_here_is_recognised_under_another_name() -> None:
    """The shipped table on a real package: six, whose one module is a copy wherever it lies."""
    six = pytest.importorskip("six")
    if six.__version__ not in {v for p in module_table().packages if p.name == "six" for v in p.versions}:
        pytest.skip(f"the table does not know six {six.__version__}")
    code = Path(six.__file__).read_bytes()
    result, bom = asked({"app/compat.py": b"import os\n" + code.replace(b"\n", b"\r\n")})
    assert f"pkg:pypi/six@{six.__version__}" in detected(bom)
    assert result.status is Status.PASSED
