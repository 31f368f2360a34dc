"""Layer tars made from the host's own CPython, from wheels and from a tool's sources.

Every tar has fixed owners, modes, times and order, so that the same inputs give the same bytes on every machine.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

EPOCH = 1
PREFIX = "usr/local"
SITE_PACKAGES = "opt/site-packages"

_SKIPPED_STDLIB = frozenset(
    ("__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages")
)
_SKIPPED_SUFFIXES = (".pyc", ".a", ".o")
# glibc keeps these as stubs that older wheels still name as needed
_GLIBC_STUBS = ("libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1", "libgcc_s.so.1", "libstdc++.so.6")
_LIBRARY_DIRECTORIES = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64")
_LDD_LINE = re.compile(r"(?:=> )?(/\S+) \(0x")


class LayerWriter:
    """Writes one reproducible layer; a path is written once, its parents first."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 closed in close()
        self._seen: set[str] = set()

    def close(self) -> None:
        """Finish the tar."""
        self._tar.close()

    def _add(self, info: tarfile.TarInfo, stream: io.BufferedIOBase | None = None) -> None:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = EPOCH
        self._seen.add(info.name)
        self._tar.addfile(info, stream)

    def directory(self, name: str, mode: int = 0o755) -> None:
        """A directory and, before it, its parents."""
        name = name.strip("/")
        if not name or name in self._seen:
            return
        self.directory(str(Path(name).parent).removeprefix("."))
        info = tarfile.TarInfo(name)
        info.type = tarfile.DIRTYPE
        info.mode = mode
        self._add(info)

    def data(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """A regular file with `content`."""
        name = name.strip("/")
        if name in self._seen:
            return
        self.directory(str(Path(name).parent).removeprefix("."))
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = mode
        self._add(info, io.BytesIO(content))

    def copy(self, source: Path, name: str) -> None:
        """The regular file behind `source`, executable when its owner may execute it."""
        real = source.resolve()
        self.data(name, real.read_bytes(), 0o755 if os.access(real, os.X_OK) else 0o644)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        name = name.strip("/")
        self.directory(str(Path(name).parent).removeprefix("."))
        info = tarfile.TarInfo(name)
        info.type = tarfile.SYMTYPE
        info.linkname = target
        self._add(info)


def _files_below(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _SKIPPED_STDLIB)
        for file in sorted(files):
            path = Path(directory, file)
            if not file.endswith(_SKIPPED_SUFFIXES) and path.exists():
                yield path


def _shared_libraries(binaries: list[Path], ignored_below: Path | None = None) -> set[str]:
    """Absolute paths of the host libraries that `binaries` need, as `ldd` resolves them."""
    found: set[str] = set()
    for start in range(0, len(binaries), 200):
        listing = subprocess.run(
            ["ldd", *map(str, binaries[start : start + 200])], capture_output=True, text=True, check=False
        ).stdout
        for line in listing.splitlines():
            match = _LDD_LINE.search(line)
            if match:
                path = os.path.normpath(match.group(1))
                if ignored_below is None or not path.startswith(str(ignored_below)):
                    found.add(path)
    return found


def write_base_layer(stream: io.BufferedIOBase) -> None:
    """The host's CPython under `/usr/local` with its standard library and shared libraries, users and directories."""
    executable = Path(os.path.realpath(sys.executable))
    stdlib = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    libraries = _shared_libraries([executable, *sorted((stdlib / "lib-dynload").glob("*.so"))])
    for stub in _GLIBC_STUBS:
        present = (f"{directory}/{stub}" for directory in _LIBRARY_DIRECTORIES if Path(directory, stub).exists())
        libraries.update(list(present)[:1])
    layer = LayerWriter(stream)
    for directory in ("proc", "sys", "dev", "etc", "input", "output", "usr/bin", "bin", SITE_PACKAGES):
        layer.directory(directory)
    layer.directory("tmp", 0o1777)
    layer.copy(executable, f"{PREFIX}/bin/{version}")
    layer.link(f"{PREFIX}/bin/python3", version)
    for library in sorted(libraries):
        layer.copy(Path(library), library)
    for path in _files_below(stdlib):
        layer.copy(path, f"{PREFIX}/lib/{version}/{path.relative_to(stdlib)}")
    layer.data("etc/passwd", b"root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n")
    layer.data("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    layer.data("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    layer.close()


def write_packages_layer(stream: io.BufferedIOBase, site: Path) -> None:
    """An unpacked set of wheels under `/opt/site-packages`, with the host libraries that they need beside their own."""
    binaries = sorted(site.rglob("*.so*"))
    layer = LayerWriter(stream)
    for library in sorted(_shared_libraries(binaries, ignored_below=site.resolve()) if binaries else ()):
        layer.copy(Path(library), library)
    for directory, names, files in os.walk(site):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for file in sorted(files):
            path = Path(directory, file)
            layer.copy(path, f"{SITE_PACKAGES}/{path.relative_to(site)}")
    layer.close()


def write_tree_layer(stream: io.BufferedIOBase, tree: Path, target: str) -> None:
    """The files below `tree`, placed below `target` in the image."""
    layer = LayerWriter(stream)
    for path in sorted(tree.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            layer.copy(path, f"{target}/{path.relative_to(tree)}")
    layer.close()
