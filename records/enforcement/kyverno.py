"""Kyverno (1.13 to 1.19): a ClusterPolicy for the namespaces that are labelled as running tools.

Two rules, both enforced: every image of a Pod must be an admitted one, written in full with its digest (CEL, so nothing
is a wildcard); and, where signers are given, Kyverno must find their signatures again (`verifyImages`, on every image).
Formats: https://kyverno.io/docs/policy-types/cluster-policy/verify-images/sigstore and the `kyverno.io/v1` CRD.

Bundles are looked for as attestations of cosign's own predicate type, so that no other statement of the same signer is
taken for a signature. Kyverno verifies bundles against the trusted root of its TUF mirror, not against the policy's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from records.enforcement.model import AdmittedImage, Export, Selection, SignatureForm, Signers, select
from records.enforcement.roots import Log, SigstoreRoot
from records.enforcement.signers import Demands, IdentityDemand, KeyDemand, demands, impossible
from records.enforcement.text import header, render

NAMESPACE_LABEL = "pratique/enforce"
"""Namespaces with this label set to "true" may run admitted tools and nothing else."""

COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
_PUBLIC_REKOR = "https://rekor.sigstore.dev"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_IMAGE_VOLUMES = """\
(has(object.spec.volumes) ? object.spec.volumes.filter(v, has(v.image))
.map(v, has(v.image.reference) ? v.image.reference : "") : [])"""

Fields = dict[str, Any]


def export(images: Sequence[AdmittedImage], signers: Signers | None = None, *, moment: datetime) -> Export:
    """The ClusterPolicy for `images`; raises `InvalidInput` (`enforcement/signers`)."""
    selection = select(images, moment)
    rules = [_digest_rule(selection)]
    warnings = list(selection.warnings)
    if signers is not None and selection.images:
        rule, more = _signature_rule(signers, moment)
        rules.append(rule)
        warnings += more
    policy = {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "pratique-admitted-tools"},
        "spec": {
            "validationFailureAction": "Enforce",
            "webhookConfiguration": {"failurePolicy": "Fail", "timeoutSeconds": 30},
            "background": True,
            "rules": rules,
        },
    }
    comments = header(selection, f'Kyverno policy for namespaces with the label {NAMESPACE_LABEL}="true"')
    return Export(render([policy], comments), len(selection.images), tuple(warnings))


def _rule(name: str, demand: Fields) -> Fields:
    resources = {
        "kinds": ["Pod"],
        "operations": ["CREATE", "UPDATE"],
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: "true"}},
    }
    return {"name": name, "match": {"any": [{"resources": resources}]}, **demand}


def _digest_rule(selection: Selection) -> Fields:
    message = "Only tools that this node has admitted run here, each by its digest."
    expression = admitted_by_digest(selection)
    validate = {"failureAction": "Enforce", "cel": {"expressions": [{"expression": expression, "message": message}]}}
    return _rule("admitted-by-digest", {"validate": validate})


def admitted_by_digest(selection: Selection) -> str:
    """CEL that is true where every image is admitted; references need no escaping, and JSON texts are CEL texts."""
    tests = []
    if selection.located:
        tests.append(f"i in {_list(selection.located)}")
    if selection.unlocated:
        tests.append(f"{_list([f'@{digest}' for digest in selection.unlocated])}.exists(d, i.endsWith(d))")
    if not tests:
        return "false"
    of_containers = [
        f'(has(object.spec.{kind}) ? object.spec.{kind}.map(c, has(c.image) ? c.image : "") : [])'
        for kind in _CONTAINERS
    ]
    images = " +\n".join([*of_containers, _IMAGE_VOLUMES])
    admitted = " ||\n".join(tests)
    return f"({images})\n.all(i,\n{admitted})\n"


def _list(texts: Sequence[str]) -> str:
    lines = ",\n".join(json.dumps(text) for text in texts)
    return f"[\n{lines}\n]"


def _signature_rule(signers: Signers, moment: datetime) -> tuple[Fields, tuple[str, ...]]:
    bundles = signers.form is SignatureForm.BUNDLE
    demanded = demands(signers, moment, keys=not bundles)
    verify: Fields = {
        "failureAction": "Enforce",
        "type": "SigstoreBundle" if bundles else "Cosign",
        "imageReferences": ["*"],
        "mutateDigest": False,
        "verifyDigest": True,
        "required": True,
    }
    attestors = [{"count": demanded.need, "entries": _entries(demanded, signers)}]
    verify |= {"attestations": [{"type": COSIGN_SIGN, "attestors": attestors}]} if bundles else {"attestors": attestors}
    warnings = demanded.warnings
    if bundles:
        warnings += ("Kyverno verifies bundles against its own TUF mirror: point that to the roots of the policy",)
    return _rule("signed-by-a-trusted-signer", {"verifyImages": [verify]}), warnings


def _entries(demanded: Demands, signers: Signers) -> list[Fields]:
    """One entry a signer; one whose signature may be verified in several ways is a nested set of which one suffices."""
    entries = []
    for identity in demanded.identities:
        entries.append(_any_of([{"keyless": one} for one in _keyless(identity, signers)]))
    for key in demanded.keys:
        ways = [
            {"keys": {"publicKeys": key.pem, **one}, "signatureAlgorithm": key.hash_name}
            for one in _logged(key, signers)
        ]
        entries.append(_any_of(ways))
    return entries


def _any_of(ways: list[Fields]) -> Fields:
    if not ways:
        raise impossible("no trusted root of the policy has what the signatures must be verified against")
    return ways[0] if len(ways) == 1 else {"attestor": {"count": 1, "entries": ways}}


def _keyless(identity: IdentityDemand, signers: Signers) -> list[Fields]:
    if signers.form is SignatureForm.BUNDLE:
        urls = [log.url for root in signers.roots for log in root.logs]
        return [{**identity.fields, "rekor": {"url": url}} for url in urls[:1]]
    return [_certified(identity, root, log, ct_log) for root in signers.roots for log, ct_log in log_pairs(root)]


def log_pairs(root: SigstoreRoot) -> list[tuple[Log, Log]]:
    """Each log with each certificate log of `root`; none where it has no authority."""
    if not root.authorities:
        return []
    return [(log, ct_log) for log in root.promising_logs for ct_log in root.ct_logs]


def _certified(identity: IdentityDemand, root: SigstoreRoot, log: Log, ct_log: Log) -> Fields:
    return {
        **identity.fields,
        "roots": root.chains,
        "rekor": {"url": log.url, "pubkey": log.key},
        "ctlog": {"pubkey": ct_log.key},
    }


def _logged(key: KeyDemand, signers: Signers) -> list[Fields]:
    if not signers.require_log_entry:
        return [{"rekor": {"url": _PUBLIC_REKOR, "ignoreTlog": True}, "ctlog": {"ignoreSCT": True}}]
    logs = [log for root in signers.roots for log in root.promising_logs]
    return [{"rekor": {"url": log.url, "pubkey": log.key}, "ctlog": {"ignoreSCT": True}} for log in logs]
