"""Running a tool at the node: only what is admitted, exactly that, and nothing without a record.

The admission is checked whole before anything is touched, and once more when the container is there and nothing in it
runs yet. The image is run by the id under which the engine holds exactly the admitted layers, the manifest and the
image's config come from the store by the digests that were admitted. Outputs reach the person after the signed record
of the run is in the ledger, never before. Needs no network.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.case import new_run_id
from flows.entitlement import Entitlement, entitlement, manifest_of
from flows.executions import Execution, record_execution, record_interruption, record_refusal, record_start
from flows.images import remembered_image
from flows.machine import Machine
from flows.node import Node
from flows.pinned import pinned_config
from flows.staging import staging_beside
from flows.supplied import supplied
from flows.tools import ToolName
from pratique.errors import CouldNotDecide, PratiqueError, Refused, UsageError
from records.mark import RolledBack
from records.signed_times import ClockSetBack
from records.standing import NotAdmitted
from sandbox.record import EndedBy

if TYPE_CHECKING:
    from pratique.digests import Digest
    from pratique.intake.image import Image, ImageConfig, ImageSource

Connect = Callable[[], AbstractContextManager[Machine]]
"""Gives the machine; called only once the tool is known to be admitted."""


@dataclass(frozen=True)
class Order:
    """What a person asks for: tool, inputs (`ID=VALUE`), where outputs go, and for whom on what, as far as they say.

    `image` says where the image is, should the engine have lost it.
    """

    tool: ToolName
    inputs: tuple[str, ...]
    output: Path
    person: str = ""
    dataset: str = ""
    image: ImageSource | None = None


@dataclass(frozen=True)
class Finished:
    """A run that took place. `outputs` is where they lie: as ordered, or with the papers of a run that failed."""

    execution: Execution
    entry: int
    outputs: Path

    @property
    def succeeded(self) -> bool:
        """Whether the tool ended as its manifest says that it does, and nothing it left was refused."""
        return self.execution.succeeded


def run(node: Node, order: Order, connect: Connect) -> Finished:
    """Run an admitted tool once, and record it.

    Raises `UsageError` for an order that cannot be carried out (not recorded), `NotAdmitted` and other `Refused`,
    `CouldNotDecide` (both recorded, and nothing was run), `RolledBack` and `ClockSetBack` (not recorded: ledger or time
    cannot be trusted). A run that cannot be recorded gives no outputs (`CouldNotDecide`).
    """
    _require_free(order.output)
    run_id = new_run_id(node)
    papers = node.settings.runs / run_id
    with staging_beside(order.output) as staging:
        try:
            done = _admitted(node, order, connect, run_id, staging.inside)
        except (RolledBack, ClockSetBack):
            raise
        except (Refused, CouldNotDecide) as error:
            shutil.rmtree(papers, ignore_errors=True)
            record_refusal(node, run_id, order, error)
            raise
        entry = record_execution(node, order, done, papers)
        return Finished(done, entry, staging.deliver(order.output if done.succeeded else None, papers / "output"))


def _admitted(node: Node, order: Order, connect: Connect, run_id: str, staging: Path) -> Execution:
    """The run, over, with its outputs in `staging`; nothing of it is recorded yet."""
    entitled = entitlement(node, order.tool)
    manifest, config = manifest_of(node, entitled), pinned_config(node, entitled.admitted.tool)
    values = supplied(manifest, order.inputs)
    with connect() as machine:
        image_id = _image(node, order, entitled, config, machine)
        execution = Execution(run_id, entitled, manifest, config, image_id, values)
        return _carried_out(node, order, execution, machine, staging)


def _image(node: Node, order: Order, entitled: Entitlement, config: ImageConfig, machine: Machine) -> str:
    """The id under which the engine holds the admitted image, loaded where it does not yet."""
    tool = entitled.admitted.tool
    held = _held(machine, entitled, config)
    if held is not None:
        return held
    source = order.image or remembered_image(node.settings, tool.image_digest)
    if source is None:
        raise CouldNotDecide(
            f"the engine does not hold the image of {tool.name} {tool.version}, and nobody knows where it is",
            cause=tool.image_digest,
            next_step="hand it in: --image LAYOUT, ARCHIVE or host/repository@sha256:…",
        )
    with tempfile.TemporaryDirectory(prefix="pratique-image-") as directory:
        image = _opened(node, source, tool.image_digest, Path(directory))
        if image.config_digest != entitled.config_digest:
            raise _other_image(Refused("its config is another one", cause=image.config_digest))
        try:
            return machine.load(image)
        except Refused as error:
            raise _other_image(error) from error


def _held(machine: Machine, entitled: Entitlement, config: ImageConfig) -> str | None:
    """The id under which the engine holds the admitted image now; raises `NotAdmitted` where it holds another."""
    try:
        return machine.held((entitled.config_digest, entitled.admitted.tool.image_digest), config.diff_ids)
    except Refused as error:
        raise _other_image(error) from error


def _opened(node: Node, source: ImageSource, digest: Digest, directory: Path) -> Image:
    from pratique.intake.image import open_image

    return open_image(source, expected=digest, limits=node.policy.policy.image.limits(), workdir=directory)


def _carried_out(node: Node, order: Order, execution: Execution, machine: Machine, staging: Path) -> Execution:
    request, spec = execution.request(), execution.spec(node)
    papers = node.settings.runs / execution.run_id
    papers.mkdir(parents=True, mode=0o700)

    def started(size: int) -> None:
        _require_still(node, order.tool, execution.entitled)
        record_start(node, order, execution, after=size)

    def before_start() -> None:
        if _held(machine, execution.entitled, execution.config) != execution.image_id:
            raise _other_image(Refused("it is not there any more", cause=execution.image_id))
        node.settled(started)

    try:
        record = machine.run(request, spec, output=staging, log=papers / "log", before_start=before_start)
    except KeyboardInterrupt:
        record_interruption(node, order, execution, papers)
        raise
    if record.ended_by is EndedBy.NOT_STARTED:
        raise CouldNotDecide("the tool was not started", cause=record.detail, next_step="mend what the cause names")
    return execution.ended(record)


def _require_still(node: Node, tool: ToolName, entitled: Entitlement) -> None:
    """The same admission still holds: it may have been withdrawn while the image was loaded or the run was queued."""
    if entitlement(node, tool) != entitled:
        raise NotAdmitted(
            f"the admission of {tool} changed while the run was being prepared",
            rule="run/changed",
            next_step="run it again, under the admission that holds now",
        )


def _require_free(output: Path) -> None:
    try:
        if output.is_dir() and not any(output.iterdir()) and not output.is_symlink():
            return
        if not output.exists() and not output.is_symlink() and output.absolute().parent.is_dir():
            return
        why = "a link" if output.is_symlink() else "not empty" if output.is_dir() else "a file"
        why = why if output.exists() or output.is_symlink() else "in a directory that is not there"
    except OSError as error:
        raise UsageError(f"{output} cannot be used: {error}", next_step="name another directory") from error
    raise UsageError(
        f"outputs cannot go to {output}: it is {why}",
        next_step="name an empty directory, or one that is not there yet in one that is",
    )


def _other_image(error: PratiqueError) -> NotAdmitted:
    return NotAdmitted(
        "the image that the engine would run is not the one that was admitted",
        rule="run/other-image",
        cause=str(error),
        next_step="remove that image from the engine and run again; the admitted one is loaded from where it lies",
    )
