"""Replacing a trusted root on purpose: what changes is shown first, then the file and the digest in the policy change.

Nothing is fetched. Where the file comes from, and whether it is genuine, is for people to find out (a TUF client, a
second channel); what this shows is what believing it would mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.files import write_whole
from policies.load import DEFAULT_POLICY, LoadedPolicy
from policies.sections.trust import TrustRoot
from pratique.bounds import MIB, read_bounded, strict_json
from pratique.digests import Digest, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput, UsageError

MAX_ROOT_BYTES = 8 * MIB
_KINDS = {
    "certificateAuthorities": "certificate authority",
    "tlogs": "transparency log",
    "ctlogs": "certificate log",
    "timestampAuthorities": "timestamp authority",
}


@dataclass(frozen=True)
class Change:
    """What is believed from now on (`+`), no longer (`-`), or for another time than before (`~`)."""

    sign: str
    what: str


@dataclass(frozen=True)
class Update:
    """A replacement of one trusted root that has been looked at and not carried out."""

    policy: LoadedPolicy
    root: TrustRoot
    data: bytes
    changes: tuple[Change, ...]

    @property
    def digest(self) -> Digest:
        """Digest of the new file."""
        return sha256_bytes(self.data)


def compare_root(policy: LoadedPolicy, file: Path, name: str | None = None) -> Update:
    """What pinning `file` in the place of the policy's root `name` (needed where there are several) would change.

    Raises `UsageError` for a policy without a file of its own or without such a root, `InvalidInput` for a file that is
    too large or no JSON, `CouldNotDecide` where it is no trusted root, or one that believes nobody.
    """
    from checks.provenance.library import load_trusted_root
    from checks.provenance.trust import TrustedRootFile

    if policy.path == DEFAULT_POLICY:
        raise UsageError(
            "the policy that ships with Pratique is not changed",
            next_step="copy it together with its trusted root, and name the copy with --policy or PRATIQUE_POLICY",
        )
    root = _root_named(policy, name)
    data = read_bounded(file, MAX_ROOT_BYTES)
    load_trusted_root(TrustedRootFile(file, sha256_bytes(data)))
    before = _parts(_present(policy, root))
    after = _parts(data)
    if not after:
        raise CouldNotDecide(
            f"{file} names no authority and no log, so every signature would be refused",
            next_step="take the trusted root that the instance publishes (Sigstore's trusted_root.json)",
        )
    return Update(policy, root, data, tuple(_changes(before, after)))


def carry_out(update: Update) -> Digest:
    """Write the new root and pin its digest; the policy's comments stay. Returns the digest of the changed policy.

    Whatever happens in between, the pinned digest and the file disagree, and nothing is believed. Raises
    `CouldNotDecide` where the policy does not name the old digest exactly once, or has changed since it was read.
    """
    path = update.policy.path
    text = path.read_text(encoding="utf-8")
    old = hex_of(update.root.sha256)
    if text.count(old) != 1 or sha256_bytes(text.encode()) != update.policy.digest:
        raise CouldNotDecide(
            f"the digest {old} does not stand exactly once in {path}, or the policy has just been changed",
            next_step=f"pin sha256 {hex_of(update.digest)} by hand, and put the file in its place",
        )
    changed = text.replace(old, hex_of(update.digest))
    write_whole(path.parent / update.root.file, update.data.decode("utf-8"))
    write_whole(path, changed)
    return sha256_bytes(changed.encode())


def _root_named(policy: LoadedPolicy, name: str | None) -> TrustRoot:
    roots = policy.policy.trust.roots
    found = [root for root in roots if name in (None, root.file)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(root.file for root in roots)
    raise UsageError(
        "the policy pins no trusted root" if not roots else f"which trusted root? The policy pins {names}",
        next_step="name one of them with --root" if roots else "add one under `trust.roots`",
    )


def _present(policy: LoadedPolicy, root: TrustRoot) -> bytes | None:
    """The pinned file, None where it is missing or another than the one pinned: then everything is new."""
    try:
        data = read_bounded(policy.path.parent / root.file, MAX_ROOT_BYTES)
    except InvalidInput:
        return None
    return data if sha256_bytes(data) == root.sha256 else None


def _parts(data: bytes | None) -> dict[str, tuple[str, str]]:
    """Name and time of everything that a trusted root believes, by kind and digest of its key or certificates."""
    if data is None:
        return {}
    document = strict_json(data, where="trusted root", max_bytes=MAX_ROOT_BYTES)
    parts = {}
    for kind, word in _KINDS.items():
        for item in document.get(kind, ()):
            material, valid, name = _material(item)
            key = hashlib.sha256(material.encode()).hexdigest()
            parts[kind + key] = (f"{word} {name}, key {key[:16]}", _window(valid))
    return parts


def _material(item: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], str]:
    """Base64 of key or certificates, window, and name of one authority or log."""
    if "publicKey" in item:
        return item["publicKey"]["rawBytes"], item["publicKey"].get("validFor", {}), item.get("baseUrl", "")
    certificates = item.get("certChain", {}).get("certificates", ())
    subject = item.get("subject", {})
    name = item.get("uri") or f"{subject.get('organization', '')} {subject.get('commonName', '')}".strip()
    return ",".join(one["rawBytes"] for one in certificates), item.get("validFor", {}), name


def _window(valid: Mapping[str, Any]) -> str:
    return f"from {valid.get('start', 'ever')} to {valid.get('end', 'further notice')}"


def _changes(before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]]) -> Iterator[Change]:
    for key in sorted({*before, *after}):
        if key not in after:
            yield Change("-", ", ".join(before[key]))
        elif key not in before:
            yield Change("+", ", ".join(after[key]))
        elif before[key] != after[key]:
            yield Change("~", f"{', '.join(after[key])} (was {before[key][1]})")
