"""200 runs, ten of them attacks, two at a time: does anything stay behind? Exits with 1 when something does.

    python tests/benchmarks/soak_sandbox.py [RUNS]

Counted before, in the middle and after: containers, volumes, mounts, control groups, directories, descriptors, threads,
memory of this process; and whether any two runs had the same user id.
"""

from __future__ import annotations

import gc
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from sandbox.container import LABEL_STATE
from sandbox.engine import Engine, connect
from sandbox.launcher import Launcher
from sandbox.meter import CGROUP_ROOT, PARENT
from sandbox.mounts import mounted_below
from sandbox.observe.helper_image import ensure_helper_image
from sandbox.record import EndedBy, SandboxRun
from sandbox.spec import MIB, Limits, Network, SandboxRequest, SandboxSpec

RUNS = 200
AT_ONCE = 2
MEMORY_MAY_GROW = 8 * MIB
WARM_UP = 20
HONEST = "open('/output/x', 'w').write('x' * 1000); print('done')"
ATTACKS: dict[str, tuple[str, EndedBy]] = {
    "fork bomb": (
        """
import os, time
for _ in range(500):
    try: os.fork() or (time.sleep(30), os._exit(0))
    except OSError: break
time.sleep(30)""",
        EndedBy.DEADLINE,
    ),
    "memory": ("x = bytearray(1 << 30)", EndedBy.OUT_OF_MEMORY),
    "log flood": ("import os\nwhile True: os.write(1, b'x' * 65536)", EndedBy.LOG_CAP),
    "full output": ("import os\nd = os.open('/output/x', 65)\nwhile 1: os.write(d, bytes(65536))", EndedBy.OUTPUT_CAP),
    "ten thousand files": ("for n in range(10_000): open(f'/output/{n}', 'x')", EndedBy.OUTPUT_CAP),
    "links": ("import os\nfor n in range(50): os.symlink('/etc/shadow', f'/output/{n}')", EndedBy.EXIT),
    "deep tree": ("import os\nos.chdir('/output')\nfor _ in range(100): os.mkdir('d'); os.chdir('d')", EndedBy.EXIT),
    "never ends": ("while True: pass", EndedBy.DEADLINE),
    "daemon": ("import os, time\nif os.fork() == 0: os.setsid(); time.sleep(60)", EndedBy.EXIT),
    "network": ("import socket\nsocket.create_connection(('203.0.113.7', 80), 1)", EndedBy.EXIT),
}  # fmt: skip


class Soak:
    """The runs, what became of them, and what is counted."""

    def __init__(self, place: Path, runs: int) -> None:
        self.engine: Engine = connect()
        self.place = place
        self.state = place / "state"
        self.launcher = Launcher(self.engine, self.state)
        self.image = ensure_helper_image(self.engine, self.state)
        every = max(1, runs // len(ATTACKS))
        names = list(ATTACKS)
        self.plan = [names[n // every % len(names)] if n % every == every // 2 else "" for n in range(runs)]
        self.records: list[tuple[str, SandboxRun]] = []
        self._lock = threading.Lock()

    def work(self, until: int) -> None:
        """Run the plan up to `until`, `AT_ONCE` at a time."""
        begun = len(self.records)
        numbers = list(range(begun, until))[::-1]

        def one_after_the_other() -> None:
            while True:
                with self._lock:
                    if not numbers:
                        return
                    number = numbers.pop()
                self._one(number)

        workers = [threading.Thread(target=one_after_the_other) for _ in range(AT_ONCE)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _one(self, number: int) -> None:
        name = self.plan[number]
        source = ATTACKS[name][0] if name else HONEST
        limits = Limits(
            memory=64 * MIB, pids=32, wall_seconds=3.0 if name else 30.0, output_bytes=2 * MIB, output_files=100,
            log_bytes=64 * 1024,
        )  # fmt: skip
        network = Network.SINKHOLE if name == "network" else Network.NONE
        request = SandboxRequest(
            image_id=self.image, argv=("/usr/bin/python3", "-I", "-S", "-c", source), purpose=name or "honest"
        )
        run = self.place / f"run{number}"
        run.mkdir()
        spec = SandboxSpec(limits=limits, network=network)
        record = self.launcher.run(request, spec, output=run / "output", log=run / "log")
        shutil.rmtree(run)
        with self._lock:
            self.records.append((name, record.model_copy(update={"samples": ()})))

    def counts(self) -> dict[str, int]:
        """Everything that could stay behind."""
        gc.collect()
        label = f"{LABEL_STATE}={self.state.resolve()}"
        known = {record.run_id for _, record in self.records}
        groups = [*CGROUP_ROOT.glob(f"{PARENT}/*"), *CGROUP_ROOT.glob(f"*/{PARENT}/*")]
        return {
            "containers": len(self.engine.labelled(label)),
            "volumes": len(self.engine.labelled_volumes(label)),
            "mounts": len(mounted_below(self.state)),
            "control groups": sum(group.name in known for group in groups),
            "run directories": len(list((self.state / "runs").glob("*"))) if self.state.exists() else 0,
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "threads": threading.active_count(),
            "memory": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        }


def judge(soak: Soak, before: dict[str, int], after: dict[str, int]) -> list[str]:
    """What is wrong, in words."""
    wrong = [f"{name}: {after[name]} left" for name in list(after)[:5] if after[name]]
    for name in ("descriptors", "threads"):
        if after[name] > before[name] + 2:
            wrong.append(f"{name}: from {before[name]} to {after[name]}")
    if after["memory"] > before["memory"] + MEMORY_MAY_GROW:
        wrong.append(f"memory grew by {(after['memory'] - before['memory']) / MIB:.1f} MiB")
    uids = Counter(record.uid for _, record in soak.records)
    wrong += [f"uid {uid} was used {count} times" for uid, count in uids.items() if count > 1]
    for name, record in soak.records:
        wanted = ATTACKS[name][1] if name else EndedBy.EXIT
        if record.ended_by is not wanted or (not name and not record.ended_well()):
            wrong.append(f"{name or 'honest'} ended by {record.ended_by.value}: {record.detail}")
    return wrong


def main() -> int:
    """Run it, print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory(prefix="pratique-soak-") as scratch:
        soak = Soak(Path(scratch), runs)
        begun = time.monotonic()
        try:
            soak.work(min(WARM_UP, runs))
            before = soak.counts()
            soak.work(runs // 2)
            middle = soak.counts()
            soak.work(runs)
            after = soak.counts()
        finally:
            soak.launcher.close()
        taken = time.monotonic() - begun
        print(f"{'':<18}{'after 20':>14}{'in the middle':>16}{'at the end':>14}")
        for name, value in after.items():
            print(f"{name:<18}{before[name]:>14,}{middle[name]:>16,}{value:>14,}")
        honest = [record.total_seconds for name, record in soak.records if not name]
        print(f"{runs} runs in {taken:.0f} s, {AT_ONCE} at a time; an honest one {statistics.median(honest):.2f} s")
        wrong = judge(soak, before, after)
        print("\n".join(wrong) or "nothing stayed behind")
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
