"""Time and memory of opening and inventorying an image of 130 MB: `python -m tests.benchmarks.bench_inventory`.

The image is made of the files installed beside this interpreter. Goal: median below 1.5 s uncompressed, a peak below
300 MB in a process of its own.
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

from pratique.digests import Digest
from pratique.intake.image import LayoutImage, open_image, read_inventory
from tests.assets.images import GZIP_LAYER, LAYER, MadeImage

SIZE = 130_000_000
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


def _peak_kib() -> int:
    """Of this process alone: `ru_maxrss` would include the process that started it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def measure(layout: Path, digest: Digest) -> None:
    """One process: inventory `ROUNDS` times, print the median and the peak."""
    times, files = [], 0
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as work:
            started = time.perf_counter()
            image = open_image(LayoutImage(layout), expected=digest, workdir=Path(work))
            files = len(read_inventory(image).files)
            times.append(time.perf_counter() - started)
    peak = _peak_kib() // 1024
    print(f"{statistics.median(times):8.2f} s {files:8,} paths {peak:6} MB peak")


def main() -> None:
    """Make the image both ways and measure each in a process of its own."""
    if len(sys.argv) == 3:
        measure(Path(sys.argv[1]), Digest(sys.argv[2]))
        return
    layer = installed_files(SIZE)
    for media_type in (LAYER, GZIP_LAYER):
        with tempfile.TemporaryDirectory() as folder:
            image = MadeImage([layer], media_type=media_type)
            top = image.manifest()
            layout = image.write_layout(Path(folder) / "layout", [top])
            print(f"{media_type.rpartition('.')[2]:10}", end="", flush=True)
            subprocess.run([sys.executable, "-m", __spec__.name, str(layout), top["digest"]], check=True)


if __name__ == "__main__":
    main()
