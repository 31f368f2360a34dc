"""Images with what `build_archive` does not put into one: set-user-id programs, files below a VOLUME."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from pratique.digests import sha256_bytes
from sandbox.engine import Engine
from sandbox.observe.helper_image import build_archive, python_closure

PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Extra:
    """One more file of the image: data, mode, extended attributes; or a device (kind, major, minor), or a link."""

    data: bytes
    mode: int = 0o644
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    device: tuple[bytes, int, int] | None = None
    link: str = ""


def load_image(
    engine: Engine, modules: tuple[str, ...], extras: Mapping[str, Extra], config: Mapping[str, object]
) -> str:
    """Make and load an image with Python, `modules`, `extras` by path, and `config`; returns its id."""
    archive, _, _ = build_archive(python_closure(modules), config)
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        members = {member.name: _bytes(outer, member) for member in outer}
    layer = io.BytesIO(members["layer.tar"])
    with tarfile.open(fileobj=layer, mode="a", format=tarfile.PAX_FORMAT) as inner:
        for path, extra in extras.items():
            _add(inner, path.lstrip("/"), extra)
    manifest = json.loads(members["manifest.json"])
    document = json.loads(members[manifest[0]["Config"]])
    diff_id = sha256_bytes(layer.getvalue())
    document["rootfs"]["diff_ids"] = [diff_id]
    written = json.dumps(document, sort_keys=True).encode()
    digest = sha256_bytes(written)
    manifest[0]["Config"] = f"{digest.removeprefix('sha256:')}.json"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as outer:
        _add(outer, manifest[0]["Config"], Extra(written))
        _add(outer, "layer.tar", Extra(layer.getvalue()))
        _add(outer, "manifest.json", Extra(json.dumps(manifest).encode()))
    data = out.getvalue()
    return engine.load_archive(lambda stream: _write(stream, data), ids=(digest,), diff_ids=(diff_id,))


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None
    return stream.read()


def _add(archive: tarfile.TarFile, path: str, extra: Extra) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(extra.data), extra.mode
    entry.pax_headers = {f"SCHILY.xattr.{name}": _raw(value) for name, value in extra.attributes.items()}
    if extra.device is not None:
        entry.type, entry.devmajor, entry.devminor = extra.device
    if extra.link:
        entry.type, entry.linkname = tarfile.SYMTYPE, extra.link
    archive.addfile(entry, io.BytesIO(extra.data))


def _raw(value: bytes) -> str:
    """As `tarfile` has bytes written that are no text."""
    return value.decode("utf-8", "surrogateescape")


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
