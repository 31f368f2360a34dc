"""A node with inspections in its ledger, made without any engine, and time that tests move."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from checks.interface import CheckResult, Evidence, Status
from flows.decide import Decision
from flows.node import Node
from policies.load import load_policy
from pratique.digests import canonical_json, sha256_bytes
from pratique.settings import Settings
from records.dsse import sign_statement
from records.keys import NodeKey
from records.statements import PolicyReference, ToolIdentity, inspection_statement

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SUBMITTER = "release@provider.example"
ANNA = Decision("anna@node.example", "North Hospital", "Reviewed the report.")
BORIS = Decision("boris@other.example", "South Hospital", "Reviewed it too.")

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
MANIFEST = b"""cwlVersion: v1.2
class: FEMTask
id: scorer
label: Scorer
requirements:
  - {class: DockerRequirement, dockerPull: registry.example.org/scorer}
  - {class: ResourceRequirement, coresMin: 1, ramMin: 100}
baseCommand: []
inputs:
  - {id: table, type: File, required: true, inputBinding: {position: 1, prefix: -i}}
  - {id: output_dir, type: string, required: true, hidden: true,
     inputBinding: {position: 2, prefix: -o, valueFrom: $(runtime.outdir)}}
  - {id: threshold, type: float, required: false, default: 0.5, inputBinding: {position: 3, prefix: --threshold}}
  - {id: rounds, type: int, required: false, default: 1, inputBinding: {position: 4, prefix: --rounds}}
outputs:
  - {id: scores, type: File, outputBinding: {glob: $(runtime.outdir)/scores.csv}}
expectedExitCode: 0
metadata: {author: A, version: 1.0.0, orchestrator: {network: bridge}}
"""


def image_config(words: str) -> bytes:
    """The config of an image of one layer whose diff id says `words`."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/app/scorer"], "WorkingDir": "/app"},
        "rootfs": {"type": "layers", "diff_ids": [sha256_bytes(words.encode())]},
    }
    return json.dumps(config).encode()


def image_manifest(words: str) -> bytes:
    """The manifest of that image."""
    config = image_config(words)
    descriptor = {"mediaType": CONFIG_TYPE, "digest": sha256_bytes(config), "size": len(config)}
    layer = {"mediaType": LAYER_TYPE, "digest": sha256_bytes(words.encode()), "size": len(words.encode())}
    document = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor, "layers": [layer]}
    return json.dumps(document).encode()


@dataclass
class Home:
    """A node in a directory; `moment` is what its clock shows."""

    directory: Path
    policy: dict[str, Any]
    moment: datetime = START
    runs: int = field(default=0)
    origin: str = "pratique.local/ledger"

    @property
    def policy_file(self) -> Path:
        return self.directory / "policy.yaml"

    def node(self, **settings: Any) -> Node:
        """The node as a new command would open it."""
        with self.policy_file.open("w", encoding="utf-8") as stream:
            YAML(typ="safe").dump(self.policy, stream)
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        made = Settings(home=home, policy=self.policy_file, **({"origin": self.origin} | settings))
        return Node(made, load_policy(self.policy_file), lambda: self.moment)

    def later(self, **span: float) -> None:
        self.moment += timedelta(**span)

    def tool(self, image: str = "one", *, name: str = "scorer", version: str = "1.0.0") -> ToolIdentity:
        return ToolIdentity(name, version, sha256_bytes(image_manifest(image)), sha256_bytes(image_config(image)))

    def inspected(
        self,
        image: str = "one",
        *,
        name: str = "scorer",
        version: str = "1.0.0",
        outcome: str = "admit",
        submitter: str = SUBMITTER,
        manifest: bytes = MANIFEST,
        node: Node | None = None,
        key: NodeKey | None = None,
        profile: str = "",
    ) -> str:
        """Append the signed inspection of a tool, as `onboard` does; the run's id."""
        node = node or self.node()
        self.runs += 1
        self.keep(node, image)
        run_id = f"20260301T120000-{self.runs:08x}"
        result = CheckResult(check="image", version="1", status=Status.PASSED, summary="")
        statement = inspection_statement(
            self.tool(image, name=name, version=version),
            {"image": result},
            stored={"image": self._evidence("image.json", b"{}")},
            configuration=[PolicyReference("urn:pratique:policy:test", node.policy.digest).descriptor()],
            run_id=run_id,
            finished=self.moment,
            outcome=outcome,
            decided_by=None if outcome == "admit" else "some-rule",
            verdict=self._evidence("verdict.json", canonical_json({})),
            submitter=submitter,
            manifest=node.store.put(manifest, name="scorer.cwl", media_type="application/yaml"),
            image_config=self._evidence("config.json", image_config(image)),
            profile=profile,
        )
        node.append(sign_statement(statement, key or node.key))
        return run_id

    @staticmethod
    def keep(node: Node, image: str) -> None:
        """Have the documents of an image in the node's store, as an inspection leaves them there."""
        for document in (image_config(image), image_manifest(image)):
            node.store.put(document, name="image.json", media_type="application/json")

    @staticmethod
    def _evidence(name: str, data: bytes) -> Evidence:
        return Evidence(name=name, digest=sha256_bytes(data), media_type="application/json", size=len(data))


def statements_of(node: Node, predicate_type: str) -> list[dict[str, Any]]:
    """The node's own statements of one kind."""
    from records.admissions import signed_statements

    found = [statement for _, statement in signed_statements(node.ledger)]
    return [statement for statement in found if statement["predicateType"] == predicate_type]
