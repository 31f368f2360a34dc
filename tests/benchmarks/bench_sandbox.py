"""What the sandbox costs: launcher against plain `docker run`, runs at once, observation, harvest. Medians and ratios.

Everything of one comparison is measured in turns in one process, so that the machine's mood hits both sides.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sandbox import surroundings
from sandbox.engine import connect
from sandbox.harvest import harvest_directory
from sandbox.launcher import Launcher
from sandbox.observe import tracer
from sandbox.observe.helper_image import ensure_helper_image
from sandbox.observe.notify import why_not_notified
from sandbox.record import EndedBy, SandboxRun
from sandbox.spec import MIB, Limits, SandboxRequest, SandboxSpec

ROUNDS = 9
FILES = 10_000
LIMITS = Limits(memory=128 * MIB, wall_seconds=60.0, cpus=1.0, pids=64)
NOTHING = "pass"
BUSY = """
import os, time
for _ in range(150):
    if os.fork() == 0:
        os.execv("/usr/bin/python3", ["python3", "-I", "-S", "-c", "pass"])
    os.wait()
"""
READING = """
import os
for _ in range(300_000):
    os.stat("/")
"""
OPENING = """
import os
for _ in range(20_000):
    os.close(os.open("/proc/self/stat", os.O_RDONLY))
"""
DENIED = """
import os
for _ in range(2_000):
    try:
        os.mkfifo("/tmp/x")
    except PermissionError:
        pass
"""


class Bench:
    """A launcher and a place for its runs."""

    def __init__(self, place: Path) -> None:
        self.engine = connect()
        self.image = ensure_helper_image(self.engine, place / "state")
        self.launcher = Launcher(self.engine, place / "state")
        self._place = place
        self._number = 0
        self._lock = threading.Lock()

    def run(self, source: str, network: str = "none") -> SandboxRun:
        """One run; it must succeed."""
        with self._lock:
            self._number += 1
            place = self._place / f"run{self._number}"
        place.mkdir()
        request = SandboxRequest(image_id=self.image, argv=("/usr/bin/python3", "-I", "-S", "-c", source))
        spec = SandboxSpec(limits=LIMITS).with_network(network)  # type: ignore[arg-type]  # one of its two words
        record = self.launcher.run(request, spec, output=place / "output", log=place / "log")
        if record.ended_by is not EndedBy.EXIT or record.exit_code != 0:
            raise SystemExit(f"a run did not succeed: {record.model_dump_json()}")
        shutil.rmtree(place)
        return record

    def plain(self, source: str, *options: str) -> None:
        """The same by `docker run --rm`."""
        command = ["docker", "run", "--rm", "--pull", "never", *options, self.image, "-I", "-S", "-c", source]
        subprocess.run(command, check=True, capture_output=True)

    def close(self) -> None:
        """Let the engine go."""
        self.launcher.close()


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def in_turns(actions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median wall time of each, measured in turns after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            taken = seconds(action)
            if number:
                times[name].append(taken)
    return {name: statistics.median(found) for name, found in times.items()}


def table(title: str, rows: dict[str, float], base: str) -> None:
    """Medians in seconds, and the ratio to the row `base`."""
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<58} {value:8.3f} s  {value / rows[base]:6.2f}x")


def launching(bench: Bench) -> None:
    """One container that does nothing."""
    actions: dict[str, Callable[[], object]] = {"launcher": lambda: bench.run(NOTHING)}
    base = "launcher"
    if shutil.which("docker"):
        base = "docker run --network none"
        actions = {
            base: lambda: bench.plain(NOTHING, "--network", "none"),
            "docker run (bridge)": lambda: bench.plain(NOTHING),
            **actions,
        }
    table("one container that does nothing, from call to clean", in_turns(actions), base)


def at_once(bench: Bench) -> None:
    """Eight runs by one, two and four threads: runs that do not fit wait for a processor of their own."""

    def eight(threads: int) -> None:
        waiting = list(range(8))

        def work() -> None:
            while waiting:
                waiting.pop()
                bench.run(NOTHING)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    rows = in_turns({f"{n} at once": lambda n=n: eight(n) for n in (1, 2, 4)}, rounds=3)  # type: ignore[misc]
    table(f"eight runs of one processor each, on {bench.engine.facts.cpus}", rows, "1 at once")


def observing(bench: Bench) -> None:
    """The tool's own time, by the engine's clock, at each tier: nothing, the sinkhole, eBPF, notified calls."""
    modes = tiers(bench)
    programs = (
        ("150 programs started", BUSY),
        ("300,000 system calls", READING),
        ("20,000 files opened", OPENING),
        ("2,000 denied calls", DENIED),
    )
    for title, source in programs:
        inside: dict[str, list[float]] = {name: [] for name in modes}
        around: dict[str, list[float]] = {name: [] for name in modes}
        for _ in range(5):
            for name, (network, untraced, unheard) in modes.items():
                tracer.why_impossible = lambda why=untraced: why  # type: ignore[misc]  # the name of the day
                surroundings.why_not_notified = lambda *_, why=unheard: why  # type: ignore[attr-defined]
                record = bench.run(source, network)
                inside[name].append(record.seconds)
                around[name].append(record.total_seconds - record.seconds)
        rows = {f"{name}: the tool": statistics.median(found) for name, found in inside.items()}
        table(title, rows, "not observed: the tool")
        rows = {f"{name}: all around it": statistics.median(found) for name, found in around.items()}
        table(title, rows, "not observed: all around it")


def tiers(bench: Bench) -> dict[str, tuple[str, str, str]]:
    """Network, why it is not traced, why it is not notified; those that this machine can do."""
    off = "switched off"
    modes = {"not observed": ("none", off, off), "sinkhole": ("sinkhole", off, off)}
    if why := tracer.why_impossible():
        print(f"\nno eBPF here: {why}")
    else:
        modes["sinkhole and eBPF"] = ("sinkhole", "", off)
    if unheard := why_not_notified(bench.engine):
        print(f"\nno notified calls here: {unheard}")
    else:
        modes["sinkhole and notified calls"] = ("sinkhole", off, "")
        modes["all of it"] = ("sinkhole", tracer.why_impossible(), "")
    return modes


def harvesting(place: Path) -> None:
    """Files of 1 KiB, taken over, hashed and listed; against a plain copy."""
    source = place / "outputs"
    for number in range(FILES):
        path = source / f"{number % 100:02d}" / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1024)

    def harvest() -> None:
        found = harvest_directory(source, place / "taken", Limits(output_files=FILES))
        if len(found.outputs) != FILES:
            raise SystemExit("not every file was taken over")
        shutil.rmtree(place / "taken")

    def copy() -> None:
        shutil.copytree(source, place / "copied")
        shutil.rmtree(place / "copied")

    table(f"{FILES:,} files of 1 KiB", in_turns({"copytree": copy, "harvest": harvest}, rounds=3), "copytree")


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(prefix="pratique-bench-") as scratch:
        bench = Bench(Path(scratch))
        try:
            launching(bench)
            at_once(bench)
            observing(bench)
            harvesting(Path(scratch))
        finally:
            bench.close()


if __name__ == "__main__":
    main()
