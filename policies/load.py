"""Reading a policy file, strictly, and the files that it pins."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from policies.model import Policy
from policies.sections.trust import TrustCertificate, TrustIdentity, TrustKey
from pratique.bounded_yaml import load_yaml
from pratique.bounds import read_bounded
from pratique.digests import Digest, sha256_bytes
from pratique.errors import InvalidInput, UsageError
from pratique.forms import Place, hold, mistakes

if TYPE_CHECKING:
    from checks.model_signatures import ModelTrust
    from checks.provenance.trust import Identity, ManagedKey, Trust, TrustedRootFile
    from checks.vulnerabilities.waivers import Waiver

DEFAULT_POLICY = Path(__file__).with_name("node.yaml")
"""The policy shipped for a node of a federation."""

MAX_POLICY_BYTES = 1 << 20
_MAX_KEY_BYTES = 64 << 10


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy, the digest of its file, and where that lies (pinned files are relative to it)."""

    policy: Policy
    digest: Digest
    path: Path

    def trusted_roots(self) -> tuple[TrustedRootFile, ...]:
        """Trusted root files with the digests they must have; whoever reads them compares."""
        from checks.provenance.trust import TrustedRootFile

        return tuple(TrustedRootFile(self._resolve(root.file), root.sha256) for root in self.policy.trust.roots)

    def trust(self) -> Trust:
        """Whom to believe, in the words of the provenance check.

        Raises `InvalidInput` (`policy/key-digest`, `file/…`, `provenance/identity-form`) where a pinned key is another.
        """
        from checks.provenance.trust import Attestation, Trust

        section = self.policy.trust
        return Trust(
            roots=self.trusted_roots(),
            identities=_identities(section.identities),
            keys=self._keys(section.keys),
            require_log_entry=section.require_log_entry,
            require_timestamp=section.require_timestamp,
            need=section.need,
            attestations=tuple(
                Attestation(one.type, _identities(one.identities), one.builders, one.sources, one.regexp)
                for one in section.demanded()
            ),
            refuse_broken=section.refuse_broken,
        )

    def model_trust(self) -> ModelTrust:
        """Who may sign models, in the words of the check; where the section names nobody, those who may sign images.

        Raises `InvalidInput` as `trust` does, and for certificates (`policy/certificate-digest`,
        `provenance/certificate-form`).
        """
        from checks.model_signatures import ModelTrust
        from checks.model_signatures.certificates import ModelAuthority

        section, trust = self.policy.trust.models, self.trust()
        if section.identities or section.keys or section.certificates:
            trust = replace(trust, identities=_identities(section.identities), keys=self._keys(section.keys))
        authorities = [
            ModelAuthority(one.name, self._pinned_certificates(one), one.subject) for one in section.certificates
        ]
        return ModelTrust(trust, tuple(authorities), section.required)

    def waivers(self) -> tuple[Waiver, ...]:
        """What the policy waives, itself and by the VEX documents that it adopts.

        Raises `InvalidInput` (`policy/vex-digest`, `file/…`, `vex/…`) where a document is none, or not the pinned one.
        """
        from checks.vulnerabilities.vex import MAX_SIZE, Adoption, read_vex

        section = self.policy.advisories
        found = list(section.accepted())
        for vex in section.vex:
            data = self._read_pinned(vex.file, vex.sha256, MAX_SIZE, "VEX document", "policy/vex-digest")
            found += read_vex(data, Adoption(vex.by, vex.until, vex.file))
        return tuple(found)

    def _keys(self, keys: tuple[TrustKey, ...]) -> tuple[ManagedKey, ...]:
        from checks.provenance.trust import ManagedKey

        return tuple(ManagedKey(key.name, self._pinned(key), key.not_before, key.not_after) for key in keys)

    def _pinned_certificates(self, one: TrustCertificate) -> bytes:
        what, rule = f"authority {one.name}", "policy/certificate-digest"
        return self._read_pinned(one.file, one.sha256, _MAX_KEY_BYTES, what, rule)

    def _pinned(self, key: TrustKey) -> bytes:
        return self._read_pinned(key.file, key.sha256, _MAX_KEY_BYTES, f"key {key.name}", "policy/key-digest")

    def _read_pinned(self, file: str, digest: Digest, limit: int, what: str, rule: str) -> bytes:
        path = self._resolve(file)
        data = read_bounded(path, limit)
        if sha256_bytes(data) != digest:
            raise InvalidInput(
                f"the {what} is not the one that the policy pins",
                rule=rule,
                where=str(path),
                next_step="Find out who changed it; if the change is right, pin its new digest in the policy.",
            )
        return data

    def _resolve(self, file: str) -> Path:
        return self.path.parent / file


def load_policy(path: Path | None = None) -> LoadedPolicy:
    """The policy in the file at `path`, or the shipped one.

    Raises `InvalidInput`: `policy/form` for a field that is unknown, missing, out of range or of another type and for
    a rule that is no expression, and the rules of `read_bounded` and `load_yaml`.
    """
    place = path or DEFAULT_POLICY
    data = read_bounded(place, MAX_POLICY_BYTES)
    lines: dict[Place, int] = {}
    document = load_yaml(data, where=str(place), lines=lines)
    try:
        policy = hold(Policy, document)
    except ValidationError as error:
        raise InvalidInput(
            "not a policy that can be applied",
            rule="policy/form",
            where=str(place),
            cause="; ".join(mistakes(error, Policy, lines)),
            next_step="Correct these fields; `policies/node.yaml` shows them all.",
        ) from error
    return LoadedPolicy(policy, sha256_bytes(data), place)


def copy_default(target: Path) -> tuple[Path, ...]:
    """Write the shipped policy to `target`, the files that it pins beside it; what was written.

    A file of that name with the same bytes is left. Raises `UsageError` where another one is in the way, or a link that
    leads nowhere, and `OSError`.
    """
    roots = [root.file for root in load_policy().policy.trust.roots]
    wanted = {target: DEFAULT_POLICY, **{target.parent / name: DEFAULT_POLICY.parent / name for name in roots}}
    data = {path: source.read_bytes() for path, source in wanted.items()}
    for path, content in data.items():
        if os.path.lexists(path) and (path == target or not path.exists() or path.read_bytes() != content):
            raise UsageError(f"there is a {path} already", next_step="name another file, or a new directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    missing = {path: content for path, content in data.items() if not path.exists()}
    for path, content in missing.items():
        path.write_bytes(content)
    return tuple(missing)


def _identities(items: tuple[TrustIdentity, ...]) -> tuple[Identity, ...]:
    from checks.provenance.trust import Identity

    return tuple(Identity(one.subject, one.issuer, one.regexp, tuple(sorted(one.claims.items()))) for one in items)
