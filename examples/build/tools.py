"""From a tool's directory under `examples/tools/` to a submission directory with its image, cached by content."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from examples.build import layers
from examples.build.layout import ImageSettings, write_layout
from examples.build.packages import fetch_wheels, python_tag, unpack
from pratique.bounded_yaml import load_yaml

TOOLS = Path(__file__).resolve().parent.parent / "tools"
SUBMITTED = ("metadata", "test", "evidence", "docs", "submission.yaml")
PLACEHOLDER = "@DIGEST@"
_TEXT = (".yaml", ".cwl", ".md", ".json")


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _key(*parts: bytes | str) -> str:
    digest = hashlib.sha256()
    for part in (*parts, Path(layers.__file__).read_bytes()):
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:24]


class ToolBuilder:
    """Builds submissions below `submissions`; layers are kept in `layers` and shared by every image that has them."""

    def __init__(self, layers: Path, submissions: Path) -> None:
        self._layers = layers
        self._submissions = submissions

    def _cached(self, name: str, key: str, write: Callable[[io.BufferedIOBase], None]) -> Path:
        path = self._layers / f"{name}-{key}.tar"
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=self._layers, delete=False) as stream:
                write(stream)  # type: ignore[arg-type]  # a named temporary file is a buffered binary stream
            Path(stream.name).chmod(0o644)
            Path(stream.name).rename(path)
        return path

    def _base(self) -> Path:
        return self._cached("base", _key(python_tag(), sys.version), layers.write_base_layer)

    def _packages(self, requirements: Path) -> Path:
        def write(stream: io.BufferedIOBase) -> None:
            with tempfile.TemporaryDirectory() as scratch:
                site = Path(scratch, "site")
                unpack(fetch_wheels(requirements, Path(scratch, "wheels")), site)
                layers.write_packages_layer(stream, site)

        return self._cached("packages", _key(python_tag(), requirements.read_bytes()), write)

    def _sources(self, tree: Path, target: str) -> Path:
        files = sorted(path for path in tree.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        content = [part for path in files for part in (str(path.relative_to(tree)), path.read_bytes())]
        return self._cached(
            "sources", _key(target, *content), lambda stream: layers.write_tree_layer(stream, tree, target)
        )

    def _image(self, tool: Path, layout: Path) -> str:
        recipe: dict[str, Any] = load_yaml((tool / "image.yaml").read_bytes(), where=str(tool / "image.yaml"))
        stack = [self._base()]
        if "requirements" in recipe:
            stack.append(self._packages(tool / recipe["requirements"]))
        for tree in recipe.get("sources", ["app"]):
            stack.append(self._sources((tool / tree).resolve(), recipe["target"]))
        settings = ImageSettings(
            entrypoint=tuple(recipe["entrypoint"]),
            environment=(f"PYTHONPATH=/{layers.SITE_PACKAGES}", *recipe.get("environment", [])),
            labels={"org.opencontainers.image.title": tool.name, "org.opencontainers.image.licenses": "Apache-2.0"},
        )
        return write_layout(layout, stack, settings)

    def build(self, name: str) -> Path:
        """Submission directory of the tool called `name`, made anew; what the provider signs comes later."""
        tool = TOOLS / name
        target = self._submissions / name
        with _locked(self._layers):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            digest = self._image(tool, target / "image")
            recipe = load_yaml((tool / "image.yaml").read_bytes(), where=str(tool / "image.yaml"))
            papers = TOOLS / recipe.get("papers", name)
            for part in SUBMITTED:
                _copy(papers / part, target / part, digest)
        return target


def _copy(source: Path, target: Path, digest: str) -> None:
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for child in sorted(source.iterdir()):
            _copy(child, target / child.name, digest)
    elif source.is_file():
        data = source.read_bytes()
        if source.suffix in _TEXT:
            data = data.replace(PLACEHOLDER.encode(), digest.encode())
        target.write_bytes(data)
        os.chmod(target, 0o644)  # noqa: PTH101 the mode belongs to the copy, whatever the checkout's umask was
