"""A small image with this machine's own Python, made without a registry or a network.

The sinkhole and the holder of an output volume run in it. It holds the interpreter, the shared libraries it needs
(`ldd`), and those modules of the standard library that the sinkhole imports: about 30 MB. The same Python gives the
same bytes and so the same image id; the engine is asked first and the image is made once.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from sandbox.engine import Engine

MODULES = ("__future__", "json", "selectors", "signal", "socket", "struct", "sys", "time", "typing")
PYTHON = "/usr/bin/python3"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)", re.ASCII)
_ASK_MODULES = """import sys, json, {modules}
print(json.dumps([m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)]))"""


def ensure_helper_image(engine: Engine, state_dir: Path) -> str:
    """Id of the helper image in `engine`, made and loaded when it is not there.

    Raises `CouldNotDecide` where this machine's Python cannot run in the engine (another architecture or system).
    """
    facts = engine.facts
    if sys.platform != "linux" or facts.os != "linux" or facts.architecture != platform.machine():
        raise CouldNotDecide(
            "no helper container can be made for this engine",
            cause=f"the engine runs {facts.os}/{facts.architecture}, this is {sys.platform}/{platform.machine()}",
            next_step="Run Pratique on a Linux machine of the engine's architecture.",
        )
    note = state_dir / "helper-image.json"
    fingerprint = _fingerprint()
    if (known := _noted(note, fingerprint)) and engine.image(known) is not None:
        return known
    archive, config_digest, diff_id = build_archive(python_closure(MODULES))

    def write(stream: BinaryIO) -> None:
        stream.write(archive)

    image_id = engine.load_archive(write, ids=(config_digest,), diff_ids=(diff_id,))
    _note(note, {**fingerprint, "image": image_id})
    return image_id


def python_closure(modules: Iterable[str]) -> dict[str, Path]:
    """Path in the image → file of this machine: the interpreter, `modules` with what they import, shared libraries.

    Raises `CouldNotDecide` where `ldd` is missing.
    """
    executable = Path(sys.executable).resolve()
    code = _ASK_MODULES.format(modules=", ".join(modules))
    # -S: nothing of a virtual environment; -I: nothing of the user's or of the present directory
    listing = _output([str(executable), "-I", "-S", "-c", code])
    files = {PYTHON: executable, str(executable): executable}
    for name in json.loads(listing):
        path = Path(name)
        files[str(path)] = path.resolve()
    return with_shared_libraries(files)


def with_shared_libraries(files: dict[str, Path]) -> dict[str, Path]:
    """`files` and the shared libraries that they need, as `ldd` finds them."""
    found = dict(files)
    binaries = [str(path) for name, path in files.items() if name == PYTHON or ".so" in Path(name).name]
    for line in _output(["ldd", *binaries]).splitlines():
        if match := _LIBRARY.search(line):
            found.setdefault(os.path.normpath(match[1]), Path(match[1]).resolve())
    return found


def build_archive(files: dict[str, Path], config: Mapping[str, Any] | None = None) -> tuple[bytes, Digest, Digest]:
    """A `docker load` archive of one layer; returns it with the digests of its config and of its layer.

    `config` goes over the `config` part of the image's own configuration.
    """
    layer = _layer(files)
    diff_id = sha256_bytes(layer)
    document = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": [PYTHON], "Env": ["PATH=/usr/bin:/bin"], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "pratique helper image"}],
        },
        sort_keys=True,
    ).encode()
    digest = sha256_bytes(document)
    name = digest.removeprefix("sha256:")
    manifest = json.dumps([{"Config": f"{name}.json", "RepoTags": None, "Layers": ["layer.tar"]}]).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry, data in ((f"{name}.json", document), ("layer.tar", layer), ("manifest.json", manifest)):
            _add(archive, entry, data, 0o644)
    return out.getvalue(), digest, diff_id


def _layer(files: dict[str, Path]) -> bytes:
    out = io.BytesIO()
    made: set[str] = set()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as layer:
        for directory in ("dev", "etc", "input", "output", "proc", "sys", "tmp"):
            _make_directories(layer, directory, made)
        for name, source in sorted(files.items()):
            path = name.strip("/")
            _make_directories(layer, str(Path(path).parent), made)
            _add(layer, path, source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644)
    return out.getvalue()


def _make_directories(layer: tarfile.TarFile, path: str, made: set[str]) -> None:
    if path in (".", "") or path in made:
        return
    _make_directories(layer, str(Path(path).parent), made)
    made.add(path)
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    layer.addfile(entry)


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise CouldNotDecide(
            "the helper image could not be made",
            cause=str(error)[:300],
            next_step="Pratique needs a glibc Linux with `ldd` for the sinkhole; runs without observation still work.",
        ) from error


def _fingerprint() -> dict[str, object]:
    state = Path(sys.executable).resolve().stat()
    source = Path(__file__).stat()
    return {"python": sys.version, "size": state.st_size, "time": state.st_mtime_ns, "source": source.st_mtime_ns}


def _noted(note: Path, fingerprint: dict[str, object]) -> str:
    from pratique.bounds import strict_json

    try:
        value = strict_json(note.read_bytes(), where=str(note), max_bytes=64 * 1024)
    except (OSError, InvalidInput):
        return ""
    if not isinstance(value, dict) or any(value.get(name) != want for name, want in fingerprint.items()):
        return ""
    return str(value.get("image", ""))


def _note(note: Path, value: dict[str, object]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = note.with_name(f".{note.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value))
    fresh.replace(note)
