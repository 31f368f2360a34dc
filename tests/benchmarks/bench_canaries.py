"""How long the canary scanner takes: CPU time a megabyte of each kind, as a ratio to hashing it, for 90 patients."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
import statistics
import time
from collections.abc import Callable

from sandbox.canaries import CanaryKind, CanaryMint, Scanner

MARKERS = 108
BYTES = 4_000_000
ROUNDS = 3


def seconds(action: Callable[[], object]) -> float:
    """Median CPU time of `ROUNDS` calls."""
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
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
        "gzip of 5 MB of CSV": gzip.compress(line * (5_000_000 // len(line)), 1),
    }
    scanner = Scanner(canaries)
    print(f"{'prepare for ' + str(MARKERS) + ' markers':32} {seconds(lambda: Scanner(canaries)):6.2f} s")
    hashing = seconds(lambda: [hashlib.sha256(noise).digest() for _ in range(10)]) / 10
    for name, content in data.items():
        taken = seconds(lambda: scanner.scan(content))  # noqa: B023 (called at once)
        print(f"{name:32} {taken / BYTES * 1e6:6.2f} s/MB, {taken / hashing:6.0f} x SHA-256")


if __name__ == "__main__":
    main()
