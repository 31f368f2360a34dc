"""One submission under inspection: what was taken in, and what its checks share."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flows.images import source_of
from flows.node import Node, has_ledger
from pratique.digests import Digest, canonical_json, parse_digest, sha256_json
from pratique.intake.image import Image, Inventory
from pratique.intake.submission import Submission, load_submission

if TYPE_CHECKING:
    from checks.interface import CheckResult
    from checks.sandboxed.plan import ToolRunner
    from checks.sandboxed.session import SandboxSession
    from checks.sbom.model import Bom
    from pratique.intake.image.attached import Attached
    from sandbox.engine import Engine
    from sandbox.launcher import Launcher
    from sandbox.record import SandboxRun
    from sandbox.spec import SandboxRequest, SandboxSpec


@dataclass
class Case:
    """What an inspection works on. Costly parts are made once, when a check first asks for them."""

    node: Node
    run_id: str
    submission: Submission
    image: Image
    inventory: Inventory
    workdir: Path
    tool_seconds: float = 0.0

    def seed(self, purpose: str) -> int:
        """Seed (32 bits) of this submission's synthetic data for `purpose`.

        Ed25519 signatures are deterministic and cannot be guessed without the key: a provider cannot know the data
        beforehand and behave on them, while the same submission gives the same data again. Results record it.
        """
        signature = self.node.key.sign(canonical_json(["pratique/seed/v1", purpose, self.papers]))
        return int.from_bytes(hashlib.sha256(signature).digest()[:4], "big")

    @property
    def papers(self) -> Digest:
        """Digest of the image's digest and of every file that does more than carry it: what runs depend on."""
        carried = self.submission.only_carries()
        papers = {name: digest for name, digest in self.submission.files.items() if name not in carried}
        return sha256_json([self.image.manifest_digest, papers])

    @cached_property
    def engine(self) -> Engine:
        """The container engine; raises `EngineUnavailable`."""
        from sandbox.engine import connect

        return connect()

    @cached_property
    def launcher(self) -> Launcher:
        """What runs the tool."""
        from sandbox.launcher import Launcher

        return Launcher(self.engine, self.node.settings.sandbox)

    def run(self, request: SandboxRequest, spec: SandboxSpec, *, output: Path, log: Path) -> SandboxRun:
        """Run the tool once (`checks.sandboxed.plan.Runs`), and count the time that it took."""
        record = self.launcher.run(request, spec, output=output, log=log)
        self.tool_seconds += record.seconds
        return record

    @cached_property
    def spec(self) -> SandboxSpec:
        """How the tool is confined: what it asks for, under the policy's ceilings, profiles and runtime."""
        from checks.sandboxed.plan import spec_for

        section = self.node.policy.policy.sandbox
        limits = section.ceilings.limits()
        return spec_for(self.submission.manifest, limits, profile=self.submission.profile, runtime=section.runtime)

    @cached_property
    def runner(self) -> ToolRunner:
        """The tool, ready to be run on any input: its image is in the engine under the verified digest."""
        from checks.sandboxed.plan import ToolRunner

        manifest = self.submission.manifest
        image_id = self.engine.load(self.image)
        return ToolRunner(self.submission, manifest, self.image, image_id, self, self.spec, self.workdir)

    @cached_property
    def session(self) -> SandboxSession:
        """The runs that the sandbox checks share."""
        from checks.sandboxed.session import SandboxSession

        return SandboxSession(self.runner, self.submission, self.workdir / "session", seed=self.seed("cohort"))

    @cached_property
    def contents(self) -> tuple[CheckResult, Bom | None]:
        """The answer of the sbom check and the inventory of components that it made; None where it could not."""
        from checks.sbom import check_sbom
        from checks.sbom.limits import MAX_SIZE

        document = self.submission.document
        declared = self.submission.read(document.sbom, MAX_SIZE) if document.sbom else None
        return check_sbom(self.inventory, self.image, declared, self.node.store)

    @cached_property
    def attached(self) -> tuple[tuple[Path, Attached], ...]:
        """Signatures attached to the image where it lies, each with a file of its bytes; raises as `attached_to`."""
        from pratique.intake.image.attached import attached_to

        limits = self.node.policy.policy.image.limits()
        digests = [one for one in (self.image.manifest_digest, self.image.index_digest) if one is not None]
        found = [one for digest in digests for one in attached_to(source_of(self.submission), digest, limits)]
        directory = self.workdir / "attached"
        directory.mkdir(exist_ok=True)
        for number, one in enumerate(found):
            (directory / str(number)).write_bytes(one.data)
        return tuple((directory / str(number), one) for number, one in enumerate(found))

    def close(self) -> None:
        """Let the engine go."""
        if "launcher" in self.__dict__:
            self.launcher.close()


@contextmanager
def open_case(node: Node, directory: Path) -> Iterator[Case]:
    """Take a submission in: read, hash, open its image by digest, inventory it. Nothing is executed.

    Raises `InvalidInput` for whatever is wrong with it, `CouldNotDecide` when the disk fails or where ledger and clock
    cannot be trusted. The scratch directory is removed at the end, whatever happens.
    """
    from pratique.intake.image.inventory import read_inventory
    from pratique.intake.image.opening import open_image

    if has_ledger(node.settings):
        node.head()
    submission = load_submission(directory)
    run_id = new_run_id(node)
    workdir = node.settings.work / run_id
    workdir.mkdir(parents=True, mode=0o700)
    try:
        (workdir / "image").mkdir()
        limits = node.policy.policy.image.limits()
        declared = submission.document.image
        image = open_image(
            source_of(submission), expected=parse_digest(declared.digest), limits=limits, workdir=workdir / "image"
        )
        case = Case(node, run_id, submission, image, read_inventory(image, limits), workdir)
        try:
            yield case
        finally:
            case.close()
    finally:
        shutil.rmtree(workdir, ignore_errors=True)


def new_run_id(node: Node) -> str:
    """Name of a run: when it began (UTC), and eight random hex digits."""
    return f"{node.clock().strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
