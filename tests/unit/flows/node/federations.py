"""A federation of two: a hub, and a node that believes it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.acceptance import Papers, papers_of
from flows.decide import admit, withdraw
from flows.lists import export_list, import_list
from flows.run import Order, run
from flows.tools import parse_tool
from pratique.digests import sha256_bytes
from pratique.errors import Refused
from records import intoto, statements
from records.dsse import sign_statement
from records.statements import RUN_REFUSAL, PolicyReference
from tests.unit.flows.node.homes import ANNA, MANIFEST, Home, image_config, image_manifest, statements_of
from tests.unit.flows.node.machines import FakeMachine

FEDERATION = "urn:pratique:federation:eucaim"
HUB, NODE = "hub.example/ledger", "north.example/ledger"


@dataclass
class Federation:
    """A hub and a node that believes it, each with its own state; their clocks show the same."""

    hub: Home
    node: Home

    def later(self, **span: float) -> None:
        self.hub.later(**span)
        self.node.later(**span)

    def admitted(self, image: str = "one", *, despite: bool = False, **fields: Any) -> Papers:
        """The hub admits a tool to the federation."""
        admit(self.hub.node(), self.hub.inspected(image, **fields), ANNA, despite=despite)
        return papers_of(
            self.hub.node(), parse_tool(fields.get("name", "scorer") + "@" + fields.get("version", "1.0.0"))
        )

    def told(self) -> None:
        """The node takes in the hub's list of now."""
        import_list(self.node.node(), export_list(self.hub.node()))

    def run(self, directory: Path, tool: str = "scorer") -> FakeMachine:
        """Run a tool at the node; the machine that did."""
        table = directory / "table.csv"
        table.write_text("patient\np1\n")
        machine = FakeMachine({sha256_bytes(image_config("one")): (sha256_bytes(b"one"),)})
        output = directory / "out"
        shutil.rmtree(output, ignore_errors=True)
        run(self.node.node(), Order(parse_tool(tool), (f"table={table}",), output), machine.connect)
        return machine

    def refused(self, directory: Path, rule: str, tool: str = "scorer") -> None:
        """Nothing runs, and that stands in the node's ledger."""
        with pytest.raises(Refused) as caught:
            self.run(directory, tool)
        assert getattr(caught.value, "rule", "") == rule, caught.value
        assert caught.value.next_step
        assert statements_of(self.node.node(), RUN_REFUSAL)[-1]["predicate"]["rule"] == rule

    def vsa(self, **changes: Any) -> Papers:
        """An admission with the hub's words and key, but for what is changed."""
        hub = self.hub.node()
        fields: dict[str, Any] = {
            "verifier_id": hub.uri,
            "resource_uri": FEDERATION,
            "time_verified": self.hub.moment,
            "policy": PolicyReference("urn:p", hub.policy.digest),
            "input_attestations": [intoto.descriptor(name="inspection", digest=sha256_bytes(b"x"))],
            "passed": True,
            "manifest": intoto.descriptor(name="scorer.cwl", digest=sha256_bytes(MANIFEST)),
        }
        key, tool = changes.pop("key", hub.key), changes.pop("tool", self.hub.tool())
        envelope = sign_statement(statements.vsa(tool, **(fields | changes)), key)
        return Papers(envelope, (MANIFEST, image_config("one"), image_manifest("one")))


def hub_withdraws(federation: Federation) -> None:
    withdraw(federation.hub.node(), "scorer", ANNA)
    federation.told()


def node_withdraws(federation: Federation) -> None:
    withdraw(federation.node.node(), "scorer", ANNA)
