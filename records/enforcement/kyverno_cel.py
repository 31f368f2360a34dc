"""Kyverno 1.17 and later: its policies in CEL, which take the place of the ClusterPolicy (announced to end with 1.20).

A ValidatingPolicy demands that every image of a Pod is an admitted one, written in full with its digest; where signers
are given, an ImageValidatingPolicy has Kyverno find their signatures again. Both hold in the namespaces that are
labelled as running tools, deny, and deny too where they fail. Formats: the `policies.kyverno.io/v1` API and
https://kyverno.io/docs/policy-types.

Signatures are those in `.sig` tags. How these policies read bundles has changed with every release since 1.17 (1.19.0
finds none that were made with a key), so none is demanded in that form.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from records.enforcement.kyverno import NAMESPACE_LABEL, admitted_by_digest, log_pairs
from records.enforcement.model import AdmittedImage, Export, SignatureForm, Signers, select
from records.enforcement.roots import Log, SigstoreRoot
from records.enforcement.signers import Demands, IdentityDemand, KeyDemand, demands, impossible
from records.enforcement.text import header, render

API_VERSION = "policies.kyverno.io/v1"
_LISTS = ("containers", "initContainers", "ephemeralContainers")
"""The lists of images that Kyverno itself takes out of a Pod."""

Fields = dict[str, Any]


def export(images: Sequence[AdmittedImage], signers: Signers | None = None, *, moment: datetime) -> Export:
    """The policies for `images`; raises `InvalidInput` (`enforcement/signers`)."""
    selection = select(images, moment)
    message = "Only tools that this node has admitted run here, each by its digest."
    validation = {"expression": admitted_by_digest(selection), "message": message}
    documents = [_policy("ValidatingPolicy", "pratique-admitted-tools", {"validations": [validation]})]
    warnings = selection.warnings
    if signers is not None and selection.images:
        fields, more = _signatures(signers, moment)
        documents.append(_policy("ImageValidatingPolicy", "pratique-signed-tools", fields))
        warnings += more
    comments = header(selection, f'Kyverno policies for namespaces with the label {NAMESPACE_LABEL}="true"')
    return Export(render(documents, comments), len(selection.images), warnings)


def _policy(kind: str, name: str, fields: Fields) -> Fields:
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["pods", "pods/ephemeralcontainers"],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "validationActions": ["Deny"],
            "failurePolicy": "Fail",
            "webhookConfiguration": {"timeoutSeconds": 30},
            "autogen": {"podControllers": {"controllers": []}},
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: "true"}},
                "resourceRules": [rule],
            },
            **fields,
        },
    }


def _signatures(signers: Signers, moment: datetime) -> tuple[Fields, tuple[str, ...]]:
    if signers.form is not SignatureForm.TAG:
        raise impossible("its releases do not agree on how bundles are read, only on `.sig` tags (`--signatures tag`)")
    demanded = demands(signers, moment)
    ways = [_ways(one, signers) for one in demanded.signers]
    if not all(ways):
        raise impossible("no trusted root of the policy has what the signatures must be verified against")
    attestors = [
        {"name": f"signer{number}way{which}", "cosign": way}
        for number, one in enumerate(ways, start=1)
        for which, way in enumerate(one, start=1)
    ]
    message = "The image is not signed by those whom this node trusts."
    fields: Fields = {
        "validationConfigurations": {"mutateDigest": False, "verifyDigest": True, "required": True},
        "matchImageReferences": [{"glob": "*"}],
        "attestors": attestors,
        "validations": [{"expression": _expression(images, ways, demanded), "message": message} for images in _LISTS],
    }
    return fields, demanded.warnings


def _expression(images: str, ways: Sequence[Sequence[Fields]], demanded: Demands) -> str:
    """CEL that counts a signer once, however many ways there are to verify their signature."""
    voices = []
    for number, one in enumerate(ways, start=1):
        names = ", ".join(f"attestors.signer{number}way{which}" for which in range(1, len(one) + 1))
        voices.append(f"(verifyImageSignatures(i, [{names}]) > 0 ? 1 : 0)")
    counted = " +\n".join(voices)
    return f"images.{images}.all(i,\n{counted}\n>= {demanded.need})\n"


def _ways(signer: IdentityDemand | KeyDemand, signers: Signers) -> list[Fields]:
    if isinstance(signer, IdentityDemand):
        return [_certified(signer, root, log, ct_log) for root in signers.roots for log, ct_log in log_pairs(root)]
    key = {"key": {"data": signer.pem, "hashAlgorithm": signer.hash_name}}
    if not signers.require_log_entry:
        return [{**key, "ctlog": {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}}]
    logs = [log for root in signers.roots for log in root.promising_logs]
    return [{**key, "ctlog": {"url": log.url, "rekorPubKey": log.key, "insecureIgnoreSCT": True}} for log in logs]


def _certified(identity: IdentityDemand, root: SigstoreRoot, log: Log, ct_log: Log) -> Fields:
    return {
        "keyless": {"identities": [identity.fields], "roots": root.chains},
        "ctlog": {"url": log.url, "rekorPubKey": log.key, "ctLogPubKey": ct_log.key},
    }
