"""How long the canary scanner takes: medians of three scans of 50 MB of each kind, for the markers of 90 patients."""

from __future__ import annotations

import base64
import gzip
import random
import statistics
import time
from collections.abc import Callable

from sandbox.canaries import CanaryKind, CanaryMint, Scanner

MARKERS = 108
BYTES = 50_000_000
ROUNDS = 3


def seconds(action: Callable[[], object]) -> float:
    """Median wall time of `ROUNDS` calls."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main() -> None:
    mint = CanaryMint(1)
    canaries = [mint.token(CanaryKind.IDENTIFIER, str(number)) for number in range(MARKERS)]
    noise = random.Random(1).randbytes(BYTES)
    line = b"north,F,64,0.7312,12.25,stable disease\n"
    data = {
        "random bytes": noise,
        "CSV": line * (BYTES // len(line)),
        "base64 of random bytes": base64.b64encode(noise[: BYTES * 3 // 4]),
        "gzip of 60 MB of CSV": gzip.compress(line * (60_000_000 // len(line)), 1),
    }
    scanner = Scanner(canaries)
    print(f"{'prepare for ' + str(MARKERS) + ' markers':32} {seconds(lambda: Scanner(canaries)):6.2f} s")
    for name, content in data.items():
        print(f"{name:32} {seconds(lambda: scanner.scan(content)):6.2f} s")  # noqa: B023 (called at once)


if __name__ == "__main__":
    main()
