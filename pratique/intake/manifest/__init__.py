"""Reading a tool's manifest: EUCAIM's FEMTask and CWL v1.2 CommandLineTool become one `Manifest`."""

from __future__ import annotations

from pathlib import Path

from pratique.bounded_yaml import load_yaml
from pratique.bounds import MIB, read_bounded
from pratique.digests import sha256_bytes
from pratique.intake.manifest.guard import guard
from pratique.intake.manifest.model import Manifest
from pratique.intake.manifest.reader import read

MAX_BYTES = MIB
MAX_DEPTH = 16


def load_manifest(path: Path) -> Manifest:
    """The manifest at `path`, of at most 1 MiB; raises `InvalidInput` (`file/…`, `yaml/…`, `manifest/…`)."""
    return parse_manifest(read_bounded(path, MAX_BYTES), where=path.name)


def parse_manifest(data: bytes, *, where: str = "manifest") -> Manifest:
    """The manifest in `data`; raises `InvalidInput` (`yaml/…`, `manifest/…`) and nothing else, whatever the bytes."""
    document = guard(load_yaml(data, where=where, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH), where=where)
    manifest = read(document, digest=sha256_bytes(data), where=where)
    if manifest.dialect == "CommandLineTool":
        from pratique.intake.manifest import cwl

        cwl.validate(document, manifest, where=where)
    return manifest
