"""Sigstore's policy-controller (0.13 and later): ClusterImagePolicies, the TrustRoots they verify against, its setting.

An image is admitted there when every policy whose glob matches it is satisfied; what no policy matches is denied only
with `no-match-policy: deny`, so that setting is part of the export. Globs hold whole references by digest: the
controller resolves tags first and matches `repository@digest`. Within a policy one authority suffices, so that all of
several signers are one policy each. The label lets `kubectl apply --prune` remove what an export no longer has.
Formats: https://docs.sigstore.dev/policy-controller/overview and the `policy.sigstore.dev` CRDs.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from records.enforcement.model import AdmittedImage, Export, Selection, SignatureForm, Signers, select
from records.enforcement.roots import Authority, Log, SigstoreRoot
from records.enforcement.signers import Demands, IdentityDemand, KeyDemand, demands, impossible
from records.enforcement.text import header, render

NAME = "pratique-admitted-tools"
LABELS = {"app.kubernetes.io/managed-by": "pratique"}
_FORMATS = {SignatureForm.BUNDLE: "bundle", SignatureForm.TAG: "legacy"}
_PASS = {"name": "admitted-digest", "static": {"action": "pass"}}
_FAIL = {"name": "nothing-admitted", "static": {"action": "fail", "message": "No tool is admitted to this node."}}

Fields = dict[str, Any]


def export(images: Sequence[AdmittedImage], signers: Signers | None = None, *, moment: datetime) -> Export:
    """Setting, trust roots and policies for `images`; raises `InvalidInput` (`enforcement/signers`)."""
    selection = select(images, moment)
    warnings = selection.warnings
    documents = [_setting()]
    if not selection.images:
        documents.append(_policy(NAME, ["**"], [_FAIL]))
    elif signers is None:
        documents.append(_policy(NAME, _globs(selection), [_PASS]))
    else:
        demanded = demands(signers, moment)
        warnings += demanded.warnings
        documents += [_trust_root(root) for root in _distinct(signers.roots)]
        documents += _policies(_globs(selection), demanded, signers)
    comments = header(selection, "Policies for sigstore's policy-controller")
    return Export(render(documents, comments), len(selection.images), warnings)


def _globs(selection: Selection) -> list[str]:
    """References as the controller spells them: Docker Hub is `index.docker.io` there."""
    hub = "docker.io/"
    located = [f"index.{reference}" if reference.startswith(hub) else reference for reference in selection.located]
    return sorted(located) + [f"**@{digest}" for digest in selection.unlocated]


def _setting() -> Fields:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-policy-controller", "namespace": "cosign-system"},
        "data": {"no-match-policy": "deny", "fail-on-empty-authorities": "true"},
    }


def _policy(name: str, globs: Sequence[str], authorities: Sequence[Fields]) -> Fields:
    return {
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"mode": "enforce", "images": [{"glob": glob} for glob in globs], "authorities": list(authorities)},
    }


def _policies(globs: Sequence[str], demanded: Demands, signers: Signers) -> list[Fields]:
    ways = [_ways(one, signers) for one in demanded.signers]
    if not all(ways):
        raise impossible("no trusted root of the policy has what the signatures must be verified against")
    if demanded.need == 1:
        return [_policy(NAME, globs, _named([way for one in ways for way in one]))]
    if not demanded.needs_all:
        raise impossible(
            f"it knows one of several or all of them, not {demanded.need} of {len(ways)}", demanded.warnings
        )
    return [_policy(f"{NAME}-{number}", globs, _named(one)) for number, one in enumerate(ways, start=1)]


def _named(authorities: Sequence[Fields]) -> list[Fields]:
    return [{"name": f"signer-{number}", **authority} for number, authority in enumerate(authorities, start=1)]


def _ways(signer: IdentityDemand | KeyDemand, signers: Signers) -> list[Fields]:
    """Authorities of which any finds the signature of `signer`: one for each root."""
    form = {"signatureFormat": _FORMATS[signers.form]}
    if isinstance(signer, IdentityDemand):
        return [{**_keyless(signer, root), "ctlog": _log(root), **form} for root in _distinct(signers.roots)]
    key = {"key": {"data": signer.pem, "hashAlgorithm": signer.hash_name}}
    if not signers.require_log_entry:
        return [{**key, **form}]
    return [{**key, "ctlog": _log(root), **form} for root in _distinct(signers.roots)]


def _keyless(identity: IdentityDemand, root: SigstoreRoot) -> Fields:
    place = {"url": root.authorities[0].uri, "trustRootRef": root.name}
    return {"keyless": {**place, "identities": [identity.fields]}}


def _log(root: SigstoreRoot) -> Fields:
    return {"url": root.logs[0].url, "trustRootRef": root.name}


def _trust_root(root: SigstoreRoot) -> Fields:
    keys: Fields = {"certificateAuthorities": [_authority(authority) for authority in root.authorities]}
    more = {
        "tLogs": [_instance(log) for log in root.logs],
        "ctLogs": [_instance(log) for log in root.ct_logs],
        "timestampAuthorities": [_authority(authority) for authority in root.timestamp_authorities],
    }
    return {
        "apiVersion": "policy.sigstore.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": {"name": root.name, "labels": LABELS},
        "spec": {"sigstoreKeys": keys | {name: items for name, items in more.items() if items}},
    }


def _authority(authority: Authority) -> Fields:
    return {
        "subject": {"organization": authority.organisation, "commonName": authority.common_name},
        "uri": authority.uri,
        "certChain": _base64(authority.chain),
    }


def _instance(log: Log) -> Fields:
    return {"baseURL": log.url, "hashAlgorithm": "sha-256", "publicKey": _base64(log.key)}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("ascii")).decode("ascii")


def _distinct(roots: Sequence[SigstoreRoot]) -> list[SigstoreRoot]:
    """The usable ones of `roots` by name, each once: two resources of one name would overwrite each other."""
    usable = {root.name: root for root in roots if root.authorities and root.logs}
    return [root for _, root in sorted(usable.items())]
