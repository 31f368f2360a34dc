"""The container engine, as far as the sandbox needs it: Docker's API with our errors.

Whatever the library or the socket throws becomes `EngineUnavailable` (nobody answers, or no longer) or `EngineError`
(the engine answered no). Nothing is ever pulled: an image that is not there is an error.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from pratique.digests import Digest
from pratique.errors import CouldNotDecide, EngineUnavailable, PratiqueError, Refused
from sandbox.engine_facts import EngineFacts, facts_of, shares_our_mounts

if TYPE_CHECKING:
    from pratique.intake.image.model import Image

DEFAULT_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock", "/var/lib/pratique/engine/docker.sock")
"""Where an engine is looked for; the last is the private one that a checkout's `make` starts where none answers."""

ANSWER_SECONDS = 60
_CHUNK = 256 * 1024
_GONE_POLLS, _GONE_PAUSE = 100, 0.1


class EngineError(CouldNotDecide):
    """The engine refused or failed a request; `status` is the HTTP status."""

    def __init__(self, message: str, *, status: int, cause: str = "", next_step: str = "") -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.status = status


def connect(host: str | None = None) -> Engine:
    """The engine at `host`, else at `DOCKER_HOST`, else the first that answers at a default socket.

    Raises `EngineUnavailable`.
    """
    named = host or os.environ.get("DOCKER_HOST")
    if named:
        return _connect(named)
    silent = _nobody("the default sockets", "DOCKER_HOST is not set and no socket is there")
    for path in DEFAULT_SOCKETS:
        if os.path.exists(path):  # noqa: PTH110 `Path.exists` raises where the directory may not be entered
            try:
                return _connect(f"unix://{path}")
            except EngineUnavailable as error:
                silent = error
    raise silent


def _connect(host: str) -> Engine:
    from docker import APIClient
    from docker.errors import DockerException

    try:
        client = APIClient(base_url=host, version="auto", timeout=ANSWER_SECONDS)
        return Engine(client, host)
    except (DockerException, OSError) as error:
        raise _nobody(host, str(error)) from error


def _nobody(where: str, cause: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"no container engine answers at {where}",
        cause=cause[:300],
        next_step="Install docker.io (Debian, Ubuntu) and start it, or set DOCKER_HOST to a running engine's socket; "
        "reading the socket needs root or membership of the docker group.",
    )


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Turn the errors of the library and of its transport into ours."""
    import requests
    import urllib3
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        status = error.status_code or 0
        hint = "Free space for the engine and try again." if "no space left" in str(error) else ""
        raise EngineError(
            f"the engine would not {what}", status=status, cause=str(error.explanation or error)[:500], next_step=hint
        ) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, DockerException, OSError) as error:
        raise EngineUnavailable(
            f"the engine went away while it was asked to {what}",
            cause=str(error)[:300],
            next_step="See the engine's log, start it again, and repeat the command.",
        ) from error


class Engine:
    """One engine. Safe to use from several threads; every method raises `EngineError` or `EngineUnavailable`."""

    def __init__(self, client: Any, host: str) -> None:
        self._client = client  # docker.APIClient; typed Any because its stubs cover half of it
        self.host = host
        self.facts = self._ask_facts()

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    @property
    def root_here(self) -> bool:
        """Whether we may mount and make control groups for containers of this engine."""
        return self.facts.same_machine and os.geteuid() == 0

    def _ask_facts(self) -> EngineFacts:
        with _asking("say what it is"):
            info, version = self._client.info(), self._client.version()
        return facts_of(info, version, same_machine=shares_our_mounts(self.host))

    def ping(self) -> None:
        """Raise `EngineUnavailable` when nobody answers any more."""
        with _asking("answer"):
            self._client.ping()

    # images

    def image(self, image_id: str) -> dict[str, Any] | None:
        """What the engine knows of an image; None when it has none of that id."""
        try:
            with _asking("look an image up"):
                return dict(self._client.inspect_image(image_id))
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def load(self, image: Image) -> str:
        """Hand `image` to the engine unless it is there; returns the id to run it by, compared with what was verified.

        Raises `Refused` when what the engine holds afterwards is not that image.
        """
        from pratique.intake.image import write_engine_archive

        return self.load_archive(
            lambda stream: write_engine_archive(image, stream),
            ids=(image.config_digest, image.manifest_digest),
            diff_ids=image.config.diff_ids,
        )

    def load_archive(
        self, write: Callable[[BinaryIO], None], *, ids: Sequence[Digest], diff_ids: Sequence[Digest]
    ) -> str:
        """Stream what `write` writes into `docker load`; the image must then be known under one of `ids`."""
        if (known := self.verified(ids, diff_ids)) is not None:
            return known
        with _asking("load the image"):
            answer = self._client.load_image(_piped(write))
            complaints = [str(line["error"]) for line in answer or () if "error" in line]
        if complaints:
            raise EngineError("the engine would not load the image", status=500, cause=complaints[0][:500])
        if (known := self.verified(ids, diff_ids)) is None:
            raise Refused(
                "the engine holds no image with the digest that was verified",
                cause=f"none of {', '.join(ids)} after the load",
                next_step="Report this: the archive that was written differs from the image that was read.",
            )
        return known

    def verified(self, ids: Sequence[Digest], diff_ids: Sequence[Digest]) -> str | None:
        """The id under which the engine holds the image with these layers, None where it has none of `ids`.

        Raises `Refused` where an id leads to anything else.
        """
        for wanted in ids:
            found = self.image(wanted)
            if found is None:
                continue
            layers = list((found.get("RootFS") or {}).get("Layers") or [])
            if found.get("Id") != wanted or layers != list(diff_ids):
                raise Refused(
                    "the engine's image of this id is not the one that was verified",
                    cause=f"id {found.get('Id')}, layers {layers}",
                    next_step="Remove the image from the engine and inspect the submission again.",
                )
            return str(wanted)
        return None

    # containers

    def create(self, body: Mapping[str, Any], name: str) -> str:
        """Create a container from the API's own JSON; returns its id."""
        with _asking("create a container"):
            return str(self._client.create_container_from_config(dict(body), name)["Id"])

    def start(self, container: str) -> None:
        """Start a container that was created."""
        with _asking("start a container"):
            self._client.start(container)

    def attach(self, container: str) -> socket.socket:
        """The stream of stdout and stderr, in Docker's frames; the caller drains it, or shuts it down before a kill."""
        with _asking("attach to a container"):
            raw = self._client.attach_socket(container)
            attached: socket.socket = getattr(raw, "_sock", raw)
            attached.settimeout(None)
            return attached

    def wait(self, container: str) -> int:
        """Wait for the end of a container, as long as it takes; returns its exit code."""
        with _asking("wait for a container"):
            return int(self._client.wait(container)["StatusCode"])

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        with _asking("look a container up"):
            return dict(self._client.inspect_container(container))

    def kill(self, container: str, signal: str = "SIGKILL") -> bool:
        """Signal a container; False when it has ended or is gone."""
        try:
            with _asking("kill a container"):
                self._client.kill(container, signal)
        except EngineError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    def unthrottle(self, container: str) -> None:
        """Lift the CPU quota: a starved fork bomb takes seconds to die of a signal."""
        with _asking("lift a container's CPU quota"):
            self._client.update_container(container, cpu_quota=-1)

    def remove(self, container: str) -> bool:
        """Remove a container, running or not, with its anonymous volumes; False when it was gone.

        Where the engine is removing it already, for a request whose answer was lost, its end is waited for.
        """
        try:
            with _asking("remove a container"):
                self._client.remove_container(container, v=True, force=True)
        except EngineError as error:
            if error.status == 409 and "already in progress" in error.cause:
                self._wait_until_gone(container)
            elif error.status != 404:
                raise
            return False
        return True

    def _wait_until_gone(self, container: str) -> None:
        for _ in range(_GONE_POLLS):
            try:
                with _asking("look for a container"):
                    self._client.inspect_container(container)
            except EngineError as error:
                if error.status == 404:
                    return
                raise
            time.sleep(_GONE_PAUSE)

    def labelled(self, label: str) -> list[dict[str, Any]]:
        """Containers in any state that carry `label` (`key` or `key=value`)."""
        with _asking("list containers"):
            return [dict(found) for found in self._client.containers(all=True, filters={"label": label})]

    def archive(self, container: str, path: str) -> Iterator[bytes]:
        """A tar stream of `path` in a container."""
        with _asking("read from a container"):
            chunks, _ = self._client.get_archive(container, path, chunk_size=_CHUNK)
            yield from chunks

    # volumes

    def create_tmpfs_volume(self, name: str, options: str, labels: Mapping[str, str]) -> None:
        """A volume that lives in memory while a container uses it."""
        with _asking("create a volume"):
            self._client.create_volume(
                name,
                driver="local",
                driver_opts={"type": "tmpfs", "device": "tmpfs", "o": options},
                labels=dict(labels),
            )

    def remove_volume(self, name: str) -> bool:
        """Remove a volume; False when it was gone."""
        try:
            with _asking("remove a volume"):
                self._client.remove_volume(name, force=True)
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    def labelled_volumes(self, label: str) -> list[dict[str, Any]]:
        """Volumes that carry `label`."""
        with _asking("list volumes"):
            return [dict(found) for found in self._client.volumes(filters={"label": label}).get("Volumes") or []]


def _piped(write: Callable[[BinaryIO], None]) -> Iterator[bytes]:
    """What `write` writes, in chunks; an error of `write` breaks the upload off and is raised here."""
    read_end, write_end = os.pipe()
    failed: list[PratiqueError | OSError] = []

    def run() -> None:
        try:
            with os.fdopen(write_end, "wb", buffering=_CHUNK) as stream:
                write(stream)
        except BrokenPipeError:
            return  # the engine stopped reading and says why in its answer
        except (PratiqueError, OSError) as error:
            failed.append(error)

    writer = threading.Thread(target=run, name="image-writer", daemon=True)
    writer.start()
    try:
        with os.fdopen(read_end, "rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    finally:
        writer.join(timeout=30)
    if failed:
        raise failed[0]
