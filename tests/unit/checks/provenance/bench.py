"""A bench on which signatures are made, forged and checked: one private Sigstore of each kind, and a foreign one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from checks.interface import CheckResult, Level
from checks.provenance import Identity, ManagedKey, SignatureFile, Trust, TrustedRootFile, check_provenance
from examples.signing.private_sigstore import PrivateSigstore
from pratique.digests import Digest, sha256_bytes
from tests.assets.clocks import fixed_clock

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
IMAGE = sha256_bytes(b"the manifest of the image")
OTHER_IMAGE = sha256_bytes(b"the manifest of another image")
SIGNER = "release@provider.example"
ISSUER = "https://idp.hospital.example"
STRANGER = "mallory@elsewhere.example"
SLSA_V1 = "https://slsa.dev/provenance/v1"
BUILDER = "https://ci.example/builders/tool@v1"
SOURCE = "https://git.example/provider/tool"
PROVENANCE = {
    "buildDefinition": {
        "buildType": "https://ci.example/workflow/v1",
        "externalParameters": {"workflow": {"repository": SOURCE, "ref": "refs/heads/main"}},
        "resolvedDependencies": [{"uri": f"git+{SOURCE}@refs/heads/main", "digest": {"gitCommit": "0" * 40}}],
    },
    "runDetails": {"builder": {"id": BUILDER}},
}


def statement(kind: str, predicate: Any, *, version: str = "v1", image: Digest = IMAGE) -> bytes:
    """An in-toto statement about the image."""
    document = {
        "_type": f"https://in-toto.io/Statement/{version}",
        "subject": [{"name": "tool", "digest": {"sha256": image.removeprefix("sha256:")}}],
        "predicateType": kind,
        "predicate": predicate,
    }
    return json.dumps(document).encode()


@dataclass
class Case:
    """What is handed to the check; the defaults are a good signature's surroundings."""

    bundles: Sequence[str | bytes | Path]
    root: dict[str, Any] | None = None
    trust: dict[str, Any] = field(default_factory=dict)
    image: Digest = IMAGE
    now: datetime = NOW + timedelta(hours=1)


class Bench:
    """Makes bundles and checks them; files go to `directory`."""

    def __init__(self, directory: Path, v1: PrivateSigstore, v2: PrivateSigstore, foreign: PrivateSigstore) -> None:
        self.directory = directory
        self.v1, self.v2, self.foreign = v1, v2, foreign

    def root_file(self, document: dict[str, Any], name: str = "root.json") -> TrustedRootFile:
        """`document` as a pinned trusted root on disk."""
        data = json.dumps(document).encode()
        path = self.directory / name
        path.write_bytes(data)
        return TrustedRootFile(path, sha256_bytes(data))

    def both_roots(self) -> dict[str, Any]:
        """One trusted root that names both Sigstore instances."""
        joined = copy.deepcopy(self.v2.trusted_root)
        for key, values in self.v1.trusted_root.items():
            if isinstance(values, list):
                joined[key] += values
        return joined

    def check(self, case: Case) -> CheckResult:
        """The result of the check on `case`."""
        root = self.root_file(case.root or self.both_roots())
        trust = replace(Trust(roots=(root,), identities=(Identity(SIGNER, ISSUER),)), **case.trust)
        files = []
        for number, bundle in enumerate(case.bundles):
            path = self.directory / f"signature-{number}.json"
            if isinstance(bundle, Path):
                path = bundle
            else:
                path.write_bytes(bundle.encode() if isinstance(bundle, str) else bundle)
            files.append(SignatureFile(path, f"signature-{number}.json"))
        return check_provenance(files, case.image, trust, clock=fixed_clock(case.now))


def errors(result: CheckResult) -> set[str]:
    """Rule ids of the errors, without the check's name."""
    return {finding.rule_id.partition("/")[2] for finding in result.findings if finding.level is Level.ERROR}


def edited(bundle: str, change: Callable[[dict[str, Any]], object]) -> str:
    """`bundle` after `change` worked on its parsed form."""
    document = json.loads(bundle)
    change(document)
    return json.dumps(document)


def material(bundle: dict[str, Any]) -> dict[str, Any]:
    """The part of a parsed bundle that says how to verify it."""
    found: dict[str, Any] = bundle["verificationMaterial"]
    return found


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    """The log entry of a parsed bundle."""
    found: dict[str, Any] = material(bundle)["tlogEntries"][0]
    return found


Forgery = Callable[[Bench], Case]


class Forgeries(dict[str, tuple[Forgery, set[str]]]):
    """Forgeries by name, each with the rules that its errors must include."""

    def enter(self, name: str, *rules: str) -> Callable[[Forgery], Forgery]:
        """Decorate what makes a forgery, to enter it into this table."""

        def enter(make: Forgery) -> Forgery:
            assert name not in self
            self[name] = (make, set(rules))
            return make

        return enter


def managed_key(key: ec.EllipticCurvePrivateKey, **window: datetime) -> ManagedKey:
    """The public half of `key` as a policy names it."""
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return ManagedKey("release-key", public, **window)
