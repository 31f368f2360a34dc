"""What remains of a run at the node: papers that stay here, and the signed statement that everybody may read.

Names of files, values, persons and datasets, even digests of what could be guessed, stay in the papers, each of which
carries a salt of its own; the ledger has the digests of the papers and salted names.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checks.sandboxed.command import Supplied, ToolCommand
from flows.entitlement import Entitlement
from flows.files import write_whole
from flows.node import Node
from flows.pseudonyms import Pseudonyms
from pratique.clock import rfc3339
from pratique.digests import canonical_json, sha256_bytes, sha256_json
from pratique.errors import PratiqueError
from records.dsse import sign_statement
from records.intoto import Descriptor, descriptor
from records.standing import NotAdmitted
from records.statements import execution_record, run_refusal, run_start
from sandbox.record import EndedBy, SandboxRun

if TYPE_CHECKING:
    from flows.run import Order
    from pratique.intake.image import ImageConfig
    from pratique.intake.manifest.model import Manifest
    from sandbox.spec import SandboxRequest, SandboxSpec

SALT_FILE = "pseudonyms"
RUN_PAPER, OUTPUT_PAPER = "sandbox-run.json", "outputs.json"


@dataclass(frozen=True)
class Execution:
    """One run of an admitted tool: what it rests on, what it is given, and, once it has ended, what happened."""

    run_id: str
    entitled: Entitlement
    manifest: Manifest
    config: ImageConfig
    image_id: str
    values: Mapping[str, Supplied]
    happened: SandboxRun | None = None

    def request(self) -> SandboxRequest:
        """What the sandbox is asked to run; raises `InvalidInput` where the values do not fit the manifest."""
        return ToolCommand(self.manifest, self.config, self.image_id).on(self.values, purpose="run")[0]

    def spec(self, node: Node) -> SandboxSpec:
        """How it is confined: what the manifest asks for, under the policy's ceilings, with the admitted profile."""
        from checks.sandboxed.plan import spec_for

        section = node.policy.policy.sandbox
        profile = self.entitled.admitted.profile
        return spec_for(self.manifest, section.ceilings.limits(), profile=profile, runtime=section.runtime)

    def ended(self, happened: SandboxRun) -> Execution:
        """The same run, over."""
        return replace(self, happened=happened)

    @property
    def succeeded(self) -> bool:
        """Whether the tool ended as its manifest says, was not short of memory, and nothing it left was refused."""
        return self.happened is not None and self.happened.ended_well(self.manifest.expected_exit_codes)


def record_start(node: Node, order: Order, execution: Execution, *, after: int) -> None:
    """Record that the tool is about to start, so that a run whose process is killed leaves a trace too.

    Raises `Overtaken` where the ledger has no longer `after` entries.
    """
    statement = run_start(
        _image(execution),
        admission=_admission(execution),
        started=node.clock(),
        run_id=execution.run_id,
        node_id=node.uri,
        asked={"tool": str(order.tool), **_pseudonyms(node, order)},
    )
    node.append(sign_statement(statement, node.key), after=after)


def record_execution(node: Node, order: Order, execution: Execution, papers: Path) -> int:
    """Write the papers, sign and append the execution record; returns its entry."""
    run = execution.happened
    if run is None:
        raise ValueError("only a run that has ended is recorded")
    whole = {"order": _order(order, execution), "run": run.model_dump(mode="json")}
    outputs = {"outputs": [one.model_dump(mode="json") for one in run.outputs]}
    return _append(
        node,
        order,
        execution,
        papers,
        {RUN_PAPER: whole, OUTPUT_PAPER: outputs},
        internal={
            "sandboxSpec": run.spec_digest,
            "sandboxProfile": run.spec.profile.value,
            "endedBy": run.ended_by.value,
            "exitCode": run.exit_code,
            "seconds": round(run.seconds, 3),
            "tier": run.tier,
            "host": run.host.model_dump(mode="json", include={"engine", "engine_version", "kernel", "architecture"}),
            "inputs": _input_digests(node, run),
        },
        times=(run.started, run.started + timedelta(seconds=run.seconds)),
    )


def record_interruption(node: Node, order: Order, execution: Execution, papers: Path) -> int:
    """Record a run that a person broke off: the tool may have seen the data. Returns its entry."""
    now = node.clock()
    whole = {"order": _order(order, execution), "endedBy": EndedBy.INTERRUPTED.value}
    internal = {"endedBy": EndedBy.INTERRUPTED.value}
    return _append(node, order, execution, papers, {RUN_PAPER: whole}, internal=internal, times=(now, now))


def record_refusal(node: Node, run_id: str, order: Order, error: PratiqueError) -> None:
    """Record that a run was asked for and not started. A ledger that cannot be written must not hide the refusal."""
    with suppress(PratiqueError):
        asked = {"tool": str(order.tool), **_pseudonyms(node, order)}
        statement = run_refusal(
            descriptor(name="request", digest=sha256_json({"run": run_id, **asked})),
            rule=getattr(error, "rule", "") or ("refused" if error.exit_code == 1 else "could-not-decide"),
            reason=error.message if isinstance(error, NotAdmitted) else "",  # others may quote what was given
            refused=node.clock(),
            run_id=run_id,
            node_id=node.uri,
            asked=asked,
        )
        node.append(sign_statement(statement, node.key))


def _append(
    node: Node,
    order: Order,
    execution: Execution,
    papers: Path,
    contents: Mapping[str, Mapping[str, Any]],
    *,
    internal: Mapping[str, Any],
    times: tuple[datetime, datetime],
) -> int:
    kept = {name: _keep(papers / name, content) for name, content in contents.items()}
    admitted = execution.entitled.admitted
    tool = admitted.tool
    statement = execution_record(
        image=_image(execution),
        inputs=[
            descriptor(name="manifest", digest=admitted.manifest),
            _admission(execution),
        ],
        outputs=[kept[OUTPUT_PAPER]] if OUTPUT_PAPER in kept else [],
        byproducts=[kept[RUN_PAPER]],
        external={
            "tool": tool.name,
            "version": tool.version,
            "inputs": sorted(execution.values),
            **_pseudonyms(node, order),
        },
        internal={"policy": node.policy.digest, "imageId": execution.image_id, **internal},
        node_id=node.uri,
        node_version={"pratique": _version()},
        run_id=execution.run_id,
        started=times[0],
        finished=times[1],
    )
    (appended,) = node.append(sign_statement(statement, node.key))
    return appended.index


def _image(execution: Execution) -> Descriptor:
    tool = execution.entitled.admitted.tool
    named = tool.subject()
    return {**named, "annotations": {**named["annotations"], "imageId": execution.image_id}}


def _admission(execution: Execution) -> Descriptor:
    entitled = execution.entitled
    return descriptor(name="admission", digest=entitled.admitted.statement, annotations={"entry": entitled.entry})


def _keep(path: Path, content: Mapping[str, Any]) -> Descriptor:
    """Write a paper, with a salt in it, so that its digest gives nothing away."""
    data = canonical_json({**content, "salt": secrets.token_hex(16)})
    write_whole(path, data.decode())
    path.chmod(0o600)
    return descriptor(name=path.name, digest=sha256_bytes(data), media_type="application/json")


def _pseudonyms(node: Node, order: Order) -> dict[str, str]:
    """Person and dataset under the node's salt; what was not said is left out."""
    said = {"person": order.person.strip().casefold(), "dataset": order.dataset.strip()}
    names = Pseudonyms(node.settings.keys / SALT_FILE) if any(said.values()) else None
    return {kind: names.of(kind, text) for kind, text in said.items() if names is not None and text}


def _input_digests(node: Node, run: SandboxRun) -> list[str]:
    """The digest of each input as it was copied, under the node's salt: to find the runs on the same data again."""
    names = Pseudonyms(node.settings.keys / SALT_FILE)
    return [names.of("input", one.digest) for one in run.inputs]


def _order(order: Order, execution: Execution) -> dict[str, Any]:
    return {
        "tool": str(order.tool),
        "person": order.person,
        "dataset": order.dataset,
        "values": {name: _plain(value) for name, value in execution.values.items()},
        "admission": execution.entitled.entry,
        "expires": rfc3339(execution.entitled.admitted.expires),
    }


def _plain(value: Supplied) -> Any:
    if isinstance(value, str | int | float | bool):
        return value
    return str(value) if isinstance(value, Path) else [_plain(one) for one in value]


def _version() -> str:
    from importlib.metadata import version

    return version("pratique")
