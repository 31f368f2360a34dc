"""RPM databases made in tests: headers as rpm writes them, in SQLite, ndb and BerkeleyDB form."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

NAMES = {
    "name": 1000,
    "version": 1001,
    "release": 1002,
    "epoch": 1003,
    "licence": 1014,
    "architecture": 1022,
    "digests": 1035,
    "flags": 1037,
    "source": 1044,
    "verify": 1045,
    "provides": 1047,
    "requires": 1049,
    "folders": 1116,
    "bases": 1117,
    "directories": 1118,
    "algorithm": 5011,
}
_ARRAYS = frozenset(("digests", "provides", "requires", "bases", "directories"))


def header(**values: Any) -> bytes:
    """A package's header, without the magic, as databases hold it."""
    entries, store = [], b""
    for key, value in values.items():
        if isinstance(value, str) or key in _ARRAYS:
            texts = [value] if isinstance(value, str) else list(value)
            kind, count, data = (
                (6 if isinstance(value, str) else 8),
                len(texts),
                b"".join(t.encode() + b"\0" for t in texts),
            )
        else:
            numbers = [value] if isinstance(value, int) else list(value)
            store += bytes(-len(store) % 4)
            kind, count, data = 4, len(numbers), struct.pack(f">{len(numbers)}I", *numbers)
        entries.append(struct.pack(">IIiI", NAMES[key], kind, len(store), count))
        store += data
    return struct.pack(">II", len(entries), len(store)) + b"".join(entries) + store


def package(name: str, version: str = "1.0", release: str = "1.el9", **more: Any) -> bytes:
    """The header of a package."""
    base = {"name": name, "version": version, "release": release, "architecture": "x86_64", "licence": "MIT"}
    return header(**{**base, "source": f"{name}-{version}-{release}.src.rpm", **more})


def files(owned: Mapping[str, str], *, flags: int = 0, verify: int = 0xFFFFFFFF) -> dict[str, Any]:
    """The tags of the files of a package, given as path and SHA-256."""
    split = [path.rpartition("/") for path in owned]
    return {
        "directories": [f"/{folder}/" for folder, _, _ in split],
        "folders": list(range(len(split))),
        "bases": [base for _, _, base in split],
        "digests": list(owned.values()),
        "flags": [flags] * len(split),
        "verify": [verify] * len(split),
        "algorithm": 8,
    }


def in_sqlite(headers: Sequence[bytes], *, script: str = "") -> bytes:
    """`rpmdb.sqlite`; `script` is run on it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "db")
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)")
            database.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in headers])
            database.executescript(script)
            database.commit()
        return path.read_bytes()


def in_write_ahead_log(headers: Sequence[bytes], later: Sequence[bytes]) -> tuple[bytes, bytes]:
    """`rpmdb.sqlite` with `headers`, and the `-wal` beside it in which the `later` ones are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "db")
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
            database.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in headers])
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in later])
            database.commit()
            return path.read_bytes(), path.with_name("db-wal").read_bytes()


def in_ndb(headers: Sequence[bytes]) -> bytes:
    """`Packages.db`, as SUSE's rpm writes it (lib/backend/ndb/rpmpkg.c): slots, then blobs in blocks of 16 bytes."""
    blobs, slots = b"", b""
    for number, data in enumerate(headers, 1):
        blob = struct.pack("<4sIII", b"BlbS", number, 0, len(data)) + data
        blob += bytes(-(len(blob) + 12) % 16) + struct.pack("<II4s", 0, len(data), b"BlbE")
        slots += struct.pack("<4sIII", b"Slot", number, (4096 + len(blobs)) // 16, len(blob) // 16)
        blobs += blob
    slots += struct.pack("<4sIII", b"Slot", 0, 0, 0) * (256 - 2 - len(headers))
    return struct.pack("<4sIII16x", b"RpmP", 0, 1, 1) + slots + blobs


def in_berkeley_db(headers: Sequence[bytes], loader: str) -> bytes:
    """`Packages`, a BerkeleyDB hash as rpm before 4.16 wrote it; `loader` is Debian's `db5.3_load`."""
    pairs = [(0, struct.pack("<I", len(headers))), *enumerate(headers, 1)]
    lines = [f" {data.hex()}" for number, blob in pairs for data in (struct.pack("<I", number), blob)]
    text = "\n".join(
        ["VERSION=3", "format=bytevalue", "type=hash", "db_pagesize=4096", "HEADER=END", *lines, "DATA=END", ""]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "Packages")
        subprocess.run([loader, str(path)], input=text.encode(), check=True, capture_output=True)
        return path.read_bytes()
