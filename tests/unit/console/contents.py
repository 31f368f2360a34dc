"""Images and bills of material for tests of `inspect`, `sbom`, `vulns` and `scan-model`, and how these are called."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from console.terminal.app import app
from tests.assets.images import made

SITE = "usr/lib/python3.11/site-packages"
TODAY = datetime.now(UTC).date()
EVIL = b"cposix\nsystem\n(S'true'\ntR."


def pratique(*arguments: str | Path, piped: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=piped)


def package(name: str, version: str, licence: str = "MIT") -> list[tuple[str, bytes]]:
    """An installed Python package, honest about its files."""
    module = f"{SITE}/{name}/__init__.py", f"__version__ = '{version}'\n".encode()
    info = f"{SITE}/{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {licence}\n".encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(module[1]).digest()).rstrip(b"=").decode()
    record_ = f"{name}/__init__.py,sha256={digest},1\n{name}-{version}.dist-info/RECORD,,\n".encode()
    return [module, (f"{info}/METADATA", metadata), (f"{info}/RECORD", record_)]


def image(tmp_path: Path, *files: tuple[str, bytes], **config: Any) -> Path:
    """An OCI layout with these files, run by an unprivileged user."""
    made_ = made(*files, run={"User": "65534:65534", **config})
    return made_.write_layout(tmp_path / "image", [made_.manifest()])


def honest(tmp_path: Path) -> Path:
    return image(
        tmp_path, *package("widget", "2.0"), ("app/main.py", b"x = 1\n"), ("app/m.pkl", pickle.dumps({"a": 1}))
    )


def bill(*components: dict[str, Any]) -> bytes:
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": list(components)}).encode()


WIDGET = {"type": "library", "name": "widget", "purl": "pkg:pypi/widget@2.0"}
