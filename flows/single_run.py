"""One container run in the sandbox, for people and for outside test suites: `pratique sandbox run`.

Whatever stands in the way of the tool ends in a record; only what could not even be asked for is an exception.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pratique.digests import Digest, parse_digest
from pratique.errors import CouldNotDecide, InvalidInput, UsageError
from pratique.intake.image.locate import path_and_digest
from pratique.settings import Settings
from sandbox.record import UNDECIDED, SandboxRun
from sandbox.spec import Mount, SandboxRequest, SandboxSpec

if TYPE_CHECKING:
    from pratique.intake.image.model import ArchiveImage, ImageLimits, LayoutImage, RegistryImage
    from sandbox.engine import Engine

INPUT = "/input"
HEAD_BYTES = 4096
_SPEC_BYTES = 256 * 1024


@dataclass(frozen=True)
class Asked:
    """What the command line says; None and empty where it says nothing."""

    argv: tuple[str, ...]
    image: str | None = None
    spec: Path | None = None
    input: Path | None = None
    output: Path | None = None
    log: Path | None = None
    entrypoint: str | None = None
    purpose: str = "sandbox run"


@dataclass(frozen=True)
class ReadyImage:
    """An image that the engine holds, with what its config says."""

    id: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = "/tmp"  # noqa: S108 (in the container)
    volumes: tuple[str, ...] = ()


def run_once(settings: Settings, asked: Asked, tell: Callable[[str], None] | None = None) -> SandboxRun:
    """Run what was asked for; the record has the head of the log.

    Raises `UsageError` and `InvalidInput` (`spec/…`, `image/…`) for what cannot be asked for, `EngineUnavailable`.
    """
    from sandbox.engine import connect
    from sandbox.launcher import Launcher

    _require_text(asked)
    spec = read_spec(asked.spec)
    _require_places(asked)
    engine = connect()
    try:
        image = ready_image(engine, asked.image, settings.sandbox)
        request = _request(asked, image)
        launcher = Launcher(engine, settings.sandbox)
        try:
            with _places(asked) as (output, log):
                record = launcher.run(request, spec, output=output, log=log, on_progress=tell)
                return record.model_copy(update={"log_head": head_of(log)})
        finally:
            launcher.close()
    finally:
        engine.close()


def exit_code(record: SandboxRun) -> int:
    """0 for a run that succeeded, 3 for one that says nothing about the tool, 1 for every other."""
    if record.ended_by in UNDECIDED:
        return CouldNotDecide.exit_code
    return 0 if record.ended_well() else 1


def read_spec(path: Path | None) -> SandboxSpec:
    """The spec in `path` (YAML or JSON), the default one without a path; raises `InvalidInput` (`spec/invalid` …)."""
    if path is None:
        return SandboxSpec()
    from pratique.bounded_yaml import load_yaml
    from pratique.bounds import read_bounded
    from pratique.forms import Place, hold, mistakes

    lines: dict[Place, int] = {}
    value = load_yaml(read_bounded(path, _SPEC_BYTES), where=str(path), lines=lines)
    try:
        return hold(SandboxSpec, value)
    except ValidationError as error:
        raise InvalidInput(
            "the spec cannot be used",
            rule="spec/invalid",
            where=str(path),
            cause="; ".join(mistakes(error, SandboxSpec, lines)),
            next_step="Correct the field; docs/reference/sandbox.md lists every field with its range.",
        ) from error


def head_of(log: Path) -> str:
    """The first bytes of a log as text; what is no UTF-8 or cannot be printed is escaped."""
    with log.open("rb") as stream:
        text = stream.read(HEAD_BYTES).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def ready_image(engine: Engine, name: str | None, state_dir: Path) -> ReadyImage:
    """The image that `name` means, in the engine: nothing is ever pulled by tag, what is loaded is verified first.

    `name` is an OCI layout directory or an image archive (`@sha256:…` behind it where it holds several), a registry
    reference by digest, or an id or name that the engine knows (`NAME@ID` too); without one Pratique's own image with
    Python. Raises `UsageError` where there is no such image, `InvalidInput` (`image/…`) for one that is not acceptable.
    """
    if name is None:
        from sandbox.observe.helper_image import ensure_helper_image

        return _known(engine.image(ensure_helper_image(engine, state_dir)) or {})
    base, digest = path_and_digest(name)
    expected = parse_digest(digest) if digest else None
    path = Path(base)
    if base and path.exists():
        return _loaded(engine, _local(path.resolve()), expected)
    for known in (name, base):
        found = _held(engine, known) if known else None
        if found is not None and (known == name or found.get("Id") == expected):
            return _known(found)
    if expected is not None and "/" in base:
        from pratique.intake.image import RegistryImage

        return _loaded(engine, RegistryImage(name), expected)
    raise UsageError(
        f"there is no image {name[:200]!r}",
        cause="neither a path of this machine nor an image that the engine holds",
        next_step="Name an OCI layout, an archive of `docker save`, HOST/NAME@sha256:…, or an image of the engine.",
    )


def _local(path: Path) -> LayoutImage | ArchiveImage:
    from pratique.intake.image import ArchiveImage, LayoutImage

    return LayoutImage(path) if path.is_dir() else ArchiveImage(path)


def _loaded(engine: Engine, source: LayoutImage | ArchiveImage | RegistryImage, expected: Digest | None) -> ReadyImage:
    """Open, look through for bombs, then load; what the engine holds already is not looked through again."""
    from pratique.intake.image import ImageLimits, Platform, open_image
    from pratique.intake.image.inventory import read_inventory

    limits = ImageLimits()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(engine.facts.architecture, platform.machine())
    with tempfile.TemporaryDirectory(prefix="pratique-image-") as scratch:
        image = open_image(
            source,
            expected=expected or _only_digest(source, limits, Path(scratch)),
            limits=limits,
            platform=Platform(architecture=machine),
            workdir=Path(scratch),
        )
        if engine.image(image.config_digest) is None and engine.image(image.manifest_digest) is None:
            read_inventory(image, limits)
        identity, config = engine.load(image), image.config
    return ReadyImage(
        identity, config.entrypoint, config.cmd, config.workdir or ReadyImage.working_dir, tuple(config.volumes)
    )


def _only_digest(source: LayoutImage | ArchiveImage | RegistryImage, limits: ImageLimits, scratch: Path) -> Digest:
    from pratique.intake.image import ArchiveImage, LayoutImage
    from pratique.intake.image.docker_archive import ArchiveShelf
    from pratique.intake.image.oci_layout import LayoutShelf

    offered: tuple[str, ...] = ()
    if isinstance(source, LayoutImage):
        offered = LayoutShelf(source.path, limits).offered()
    elif isinstance(source, ArchiveImage):
        shelf = ArchiveShelf(source.path, limits, scratch)
        offered = (shelf.synthesised,) if shelf.synthesised else shelf.offered()
    if len(offered) != 1:
        raise UsageError(
            "which image is meant is not clear",
            cause=f"{len(offered)} are there",
            next_step="Add its digest: PATH@sha256:…" + (f", one of {', '.join(offered[:5])}" if offered else ""),
        )
    return parse_digest(offered[0])


def _held(engine: Engine, name: str) -> dict[str, Any] | None:
    """What the engine says of the image that it knows by this name; None too where that can be no name."""
    from sandbox.engine import EngineError

    try:
        return engine.image(name)
    except EngineError as error:
        if error.status == 400:
            return None
        raise


def _known(found: Mapping[str, Any]) -> ReadyImage:
    """An image that the engine holds, from what it says of it."""
    config = found.get("Config") or {}
    return ReadyImage(
        str(found.get("Id", "")),
        tuple(config.get("Entrypoint") or ()),
        tuple(config.get("Cmd") or ()),
        str(config.get("WorkingDir") or ReadyImage.working_dir),
        tuple(sorted(config.get("Volumes") or {})),
    )


def _request(asked: Asked, image: ReadyImage) -> SandboxRequest:
    """As `docker run [--entrypoint …] IMAGE ARGV…`."""
    if asked.entrypoint is None:
        entrypoint, argv = image.entrypoint, asked.argv or image.command
    else:
        entrypoint, argv = tuple(filter(None, (asked.entrypoint,))), asked.argv
    try:
        return SandboxRequest(
            image_id=image.id,
            argv=argv,
            entrypoint=entrypoint,
            inputs=_inputs(asked.input),
            purpose=asked.purpose,
            image_volumes=image.volumes,
            working_dir=image.working_dir,
        )
    except ValidationError as error:
        raise UsageError(
            "this cannot be run",
            cause="; ".join(problem["msg"] for problem in error.errors()[:3]),
            next_step="Give a command line that the image can start: … -- PROGRAM ARGUMENTS.",
        ) from error


def _inputs(source: Path | None) -> tuple[Mount, ...]:
    """A directory is `/input` itself, a file lies in it under its own name."""
    if source is None:
        return ()
    return (Mount(source=source, target=f"{INPUT}/{source.name}" if source.is_file() else INPUT),)


def _require_text(asked: Asked) -> None:
    for word in (*asked.argv, asked.image or "", asked.entrypoint or ""):
        if any("\ud800" <= character <= "\udfff" for character in word):
            raise UsageError(
                "an argument is not UTF-8, and a record can hold nothing else",
                cause=repr(word[:80]),
                next_step="Hand such bytes in as a file.",
            )


def _require_places(asked: Asked) -> None:
    """An empty output directory, made where it is not there yet, and a log file that can be written, before any run."""
    try:
        if asked.output is not None:
            asked.output.mkdir(parents=True, exist_ok=True)
            if any(asked.output.iterdir()):
                raise FileExistsError("it is not an empty directory")
        if asked.log is not None:
            asked.log.open("ab").close()
    except OSError as error:
        raise UsageError(
            "outputs and log cannot go there",
            cause=str(error),
            next_step="Name a directory that is empty or not there yet (outputs never go over other files), and a file "
            "in a directory that can be written.",
        ) from error


@contextmanager
def _places(asked: Asked) -> Iterator[tuple[Path, Path]]:
    """Where outputs and log go; what was not asked for is thrown away."""
    with tempfile.TemporaryDirectory(prefix="pratique-run-") as scratch:
        yield asked.output or Path(scratch) / "output", asked.log or Path(scratch) / "log"
