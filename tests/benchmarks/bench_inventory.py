"""Time and memory of inventories: `python tests/benchmarks/bench_inventory.py`.

An image of 130 MB, made of the files installed beside this interpreter (goal: median below 1.5 s uncompressed), and one
of 1 GB with very many files and a few huge ones, of which the SBOM is made too. Goal of both: a peak below 300 MB in a
process of its own.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path

from checks.sbom import make_bom
from pratique.digests import Digest, sha256_file
from pratique.intake.image import LayoutImage, open_image, read_inventory
from tests.assets.images import GZIP_LAYER, LAYER, MadeImage

SIZE = 130_000_000
_NOISE = bytes(range(256)) * 4096
ROUNDS = 5


def installed_files(size: int) -> bytes:
    """A tar of at least `size` bytes, or of all there is."""
    root = Path(sysconfig.get_path("purelib"))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.add(path, f"usr/lib/python3/site-packages/{path.relative_to(root)}")
            if out.tell() > size:
                break
    return out.getvalue()


class _Stream(io.RawIOBase):
    """`size` bytes that begin with `head` and repeat themselves."""

    def __init__(self, head: bytes, size: int) -> None:
        super().__init__()
        self._head = head
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        count = min(size if size >= 0 else self._left, self._left)
        data = (self._head + _NOISE * (count // len(_NOISE) + 1))[:count]
        self._head, self._left = b"", self._left - count
        return data


def write_large(path: Path) -> None:
    """A tar of 1 GB: 150,000 modules, 2,000 packages that state 600,000 files, 400 pickles, two huge files."""
    site = "usr/lib/python3.11/site-packages"
    stated = "".join(f"package/module{n}.py,sha256={'a' * 43},10\n" for n in range(300)).encode()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, size: int, head: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, _Stream(head, size))

        for number in range(150_000):
            add(f"{site}/package{number // 100:05d}/subpackage/module{number:07d}.py", 300, b"x = 1\n" * 50)
        for number in range(2000):
            info = f"{site}/package{number:05d}-1.0.dist-info"
            add(f"{info}/METADATA", 10_000, f"Name: package{number:05d}\nVersion: 1.0\n\n".encode())
            add(f"{info}/RECORD", len(stated), stated)
        for number in range(400):
            add(f"opt/models/{number}.pkl", 300_000, b"\x80\x04")
        add("opt/models/weights.safetensors", 400 << 20, b'\x10\0\0\0\0\0\0\0{"')
        add("opt/table.bin", 300 << 20, b"")


def large_layout(directory: Path) -> tuple[Path, Digest]:
    """The layout of that image, written without holding it in memory."""
    layer = directory / "layer.tar"
    write_large(layer)
    digest = sha256_file(layer)
    image = MadeImage([], config_changes={"rootfs": {"type": "layers", "diff_ids": [digest]}})
    image.manifest_changes = {"layers": [{"mediaType": LAYER, "digest": digest, "size": layer.stat().st_size}]}
    top = image.manifest()
    layout = image.write_layout(directory / "layout", [top])
    layer.replace(layout / "blobs" / "sha256" / digest.removeprefix("sha256:"))
    return layout, top["digest"]


def _peak_kib() -> int:
    """Of this process alone: `ru_maxrss` would include the process that started it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def measure(layout: Path, digest: Digest, *, with_sbom: bool) -> None:
    """One process: inventory (and SBOM, once) `ROUNDS` times, print the median and the peak."""
    times, files = [], 0
    for _ in range(1 if with_sbom else ROUNDS):
        with tempfile.TemporaryDirectory() as work:
            started = time.perf_counter()
            image = open_image(LayoutImage(layout), expected=digest, workdir=Path(work))
            inventory = read_inventory(image)
            files = len(inventory.files)
            if with_sbom:
                make_bom(inventory, image)
            times.append(time.perf_counter() - started)
    peak = _peak_kib() // 1024
    print(f"{statistics.median(times):8.2f} s {files:8,} paths {peak:6} MB peak")


def main() -> None:
    """Make the image both ways and measure each in a process of its own."""
    if len(sys.argv) > 2:
        measure(Path(sys.argv[1]), Digest(sys.argv[2]), with_sbom="sbom" in sys.argv[3:])
        return
    layer = installed_files(SIZE)
    for media_type in (LAYER, GZIP_LAYER):
        with tempfile.TemporaryDirectory() as folder:
            image = MadeImage([layer], media_type=media_type)
            top = image.manifest()
            layout = image.write_layout(Path(folder) / "layout", [top])
            print(f"{media_type.rpartition('.')[2]:10}", end="", flush=True)
            subprocess.run([sys.executable, __file__, str(layout), top["digest"]], check=True)
    with tempfile.TemporaryDirectory() as folder:
        layout, digest = large_layout(Path(folder))
        print(f"{'1 GB, SBOM':10}", end="", flush=True)
        subprocess.run([sys.executable, __file__, str(layout), digest, "sbom"], check=True)


if __name__ == "__main__":
    main()
