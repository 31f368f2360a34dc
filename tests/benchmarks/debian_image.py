"""A Debian image for the benchmarks, made of this machine's own packages: what a `python:3-slim` with NumPy is like."""

from __future__ import annotations

import io
import subprocess
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/var/lib/dpkg/status")
_INFO = Path("/var/lib/dpkg/info")
_RANKS = {"required": 0, "important": 1, "standard": 2}
_PYTHON = ("numpy", "requests", "urllib3", "idna", "certifi", "packaging", "pyyaml", "jinja2", "markupsafe")


def has_packages() -> bool:
    """Whether this machine has Debian packages to make an image of."""
    return _STATUS.is_file()


def debian_layer(size: int) -> bytes:
    """A tar of about `size` bytes: base files, packages by their priority, then Python's, then Python packages."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in _python_packages():
            _add(archive, path, f"usr/local/lib/python3.11/site-packages/{path.relative_to(_site())}")
        seen = {"etc/os-release", "etc/debian_version", "etc/passwd", "etc/group"}
        for name in sorted(seen):
            _add(archive, Path("/", name).resolve(), name)
        taken: list[str] = []
        for stanza, name in _packages():
            if out.tell() + _installed(stanza) > size:
                continue
            taken.append(stanza)
            for path in _files_of(name):
                inside = str(path.parent.resolve() / path.name).lstrip("/")
                if inside not in seen:
                    seen.add(inside)
                    _add(archive, path, inside)
        status = "\n".join(taken).encode()
        info = tarfile.TarInfo("var/lib/dpkg/status")
        info.size = len(status)
        archive.addfile(info, io.BytesIO(status))
    return out.getvalue()


def _site() -> Path:
    return Path(sysconfig.get_path("purelib"))


def _python_packages() -> Iterator[Path]:
    """Files of a few packages that stand beside this interpreter."""
    for folder in sorted(_site().iterdir()):
        if folder.is_dir() and folder.name.lower().replace("_", "-").partition("-")[0].partition(".")[0] in _PYTHON:
            yield from sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _packages() -> list[tuple[str, str]]:
    """Stanza and name of each installed package, the most important first, `python3` before the rest."""
    found = []
    for stanza in _STATUS.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        if "\nStatus: install ok installed\n" not in stanza:
            continue
        rank = _RANKS.get(_value(stanza, "Priority"), 4)
        name = _value(stanza, "Package")
        found.append((3 if rank == 4 and name.startswith("python3") else rank, name, stanza + "\n"))
    return [(stanza, name) for _, name, stanza in sorted(found)]


def _value(stanza: str, key: str) -> str:
    return next((line.partition(": ")[2] for line in stanza.splitlines() if line.startswith(f"{key}: ")), "")


def _installed(stanza: str) -> int:
    return int(_value(stanza, "Installed-Size") or 0) * 1024


def _files_of(name: str) -> Iterator[Path]:
    """What `dpkg` lists for the package, links and files, and its own notes about it."""
    listed = subprocess.run(["dpkg-query", "-L", name], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        path = Path(line)
        if line.startswith("/") and (path.is_symlink() or path.is_file()):
            yield path
    yield from sorted(p for p in _INFO.glob(f"{name}*") if p.name.partition(".")[0].partition(":")[0] == name)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """The entry without its owner, as a file of its own."""
    if not path.is_file() and not path.is_symlink():
        return
    archive.inodes = {}  # type: ignore[attr-defined]  # no hard links between packages
    info = archive.gettarinfo(path, name)
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    if info.isreg():
        with path.open("rb") as stream:
            archive.addfile(info, stream)
    elif info.issym():
        archive.addfile(info)
