"""What a node spends before a run: medians over 20 rounds, warm, for 10 and for 1,000 admissions.

Goals: under 150 ms before a run, under 15 ms for a signature, and no difference between 10 and 1,000 admissions.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from checks.provenance import Identity, SignatureFile, Trust, TrustedRootFile, check_provenance  # noqa: E402 the repository's root must be on the path first
from examples.signing.private_sigstore import PrivateSigstore  # noqa: E402
from flows.entitlement import entitlement, manifest_of  # noqa: E402
from flows.node import Node  # noqa: E402
from flows.pinned import pinned_config  # noqa: E402
from flows.tools import parse_tool  # noqa: E402
from pratique.clock import system_clock  # noqa: E402
from pratique.digests import Digest, sha256_bytes  # noqa: E402
from pratique.settings import Settings  # noqa: E402
from records import intoto, statements  # noqa: E402
from records.dsse import sign_statement  # noqa: E402
from records.statements import PolicyReference, ToolIdentity  # noqa: E402

ROUNDS = 20
SIGNER, ISSUER = "release@provider.example", "https://idp.example"
MANIFEST = b"""cwlVersion: v1.2
class: FEMTask
id: scorer
label: Scorer
requirements: [{class: DockerRequirement, dockerPull: registry.example.org/scorer}]
baseCommand: []
inputs: [{id: table, type: File, required: true, inputBinding: {position: 1, prefix: -i}}]
outputs: [{id: scores, type: File, outputBinding: {glob: $(runtime.outdir)/scores.csv}}]
expectedExitCode: 0
metadata: {author: A, version: 1.0.0, orchestrator: {network: bridge}}
"""
CONFIG = b'{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'


def image_manifest(number: int) -> bytes:
    """The manifest of an image without layers, one for each number."""
    config = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": sha256_bytes(CONFIG),
        "size": len(CONFIG),
    }
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [],
        "annotations": {"number": str(number)},
    }
    return json.dumps(document).encode()


def milliseconds(action: Callable[[], object]) -> tuple[float, float]:
    """Median and worst wall time of `ROUNDS` calls, after one to warm up."""
    action()
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        action()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times), max(times)


def node_with(admissions: int, home: Path) -> Node:
    """A node whose ledger holds so many admissions, each of a tool of its own."""
    node = Node.open(Settings(home=home, policy=None))
    manifest = node.store.put(MANIFEST, name="scorer.cwl", media_type="application/yaml")
    config = node.store.put(CONFIG, name="config.json", media_type="application/json")
    inspection = intoto.descriptor(name="inspection", digest=sha256_bytes(b"inspection"))
    policy = PolicyReference("urn:p", node.policy.digest)
    envelopes = []
    for number in range(admissions):
        image = node.store.put(image_manifest(number), name="image.json", media_type="application/json")
        tool = ToolIdentity(f"tool-{number}", "1.0.0", image.digest, config.digest)
        statement = statements.vsa(
            tool,
            verifier_id=node.uri,
            resource_uri=node.uri,
            time_verified=datetime.now(UTC),
            policy=policy,
            input_attestations=[inspection],
            passed=True,
            manifest=intoto.described(manifest),
        )
        envelopes.append(sign_statement(statement, node.key))
    node.append(*envelopes)
    return node


def before_a_run(settings: Settings, name: str) -> None:
    """Everything that `pratique run` verifies before it asks the engine, as a new command would."""
    node = Node.open(settings)
    entitled = entitlement(node, parse_tool(name))
    manifest_of(node, entitled)
    pinned_config(node, entitled.admitted.tool)


def signature(directory: Path) -> Callable[[], object]:
    """One verification of a keyless signature with a log entry."""
    sigstore = PrivateSigstore()
    root = directory / "root.json"
    root.write_bytes(sigstore.trusted_root_json)
    image = Digest("sha256:" + "1" * 64)
    bundle = directory / "image.sigstore.json"
    bundle.write_text(sigstore.sign_image(image, SIGNER, ISSUER))
    trust = Trust((TrustedRootFile(root, sha256_bytes(root.read_bytes())),), (Identity(SIGNER, ISSUER),))

    def verify() -> None:
        result = check_provenance([SignatureFile(bundle, bundle.name)], image, trust, clock=system_clock)
        if result.status != "passed":
            sys.exit(f"bench: the signature did not verify: {result.summary}")

    return verify


def show(name: str, times: tuple[float, float]) -> None:
    print(f"{name:48} {times[0]:8.1f} ms   (worst {times[1]:.1f})")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        show("verify one signature", milliseconds(signature(directory)))
        for admissions in (10, 1000):
            home = directory / str(admissions)
            node = node_with(admissions, home)
            settings, last = node.settings, f"tool-{admissions - 1}"
            show(
                f"verify before a run, {admissions:,} admissions",
                milliseconds(lambda: before_a_run(settings, last)),  # noqa: B023 (called at once)
            )

            def recorded() -> None:
                node.append(b'{"an":"execution record"}')  # noqa: B023 (called at once)
                before_a_run(settings, last)  # noqa: B023 (called at once)

            show(f"the same after a new entry, {admissions:,} admissions", milliseconds(recorded))
    print(f"{os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
