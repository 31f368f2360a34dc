"""containers/image: `policy.json` of Podman, Skopeo, CRI-O and Buildah (containers-policy.json(5)).

Everything is rejected by default; each admitted image has a scope of its own, its reference by digest, whose bytes
the library compares with the digest before any signature. Where signers are given, each must be found again: it reads
signatures in `.sig` tags only (`use-sigstore-attachments` in registries.d), knows identities by e-mail only, and has
no *one of several*. Certificates and log entries need containers/image 5.24 (Podman 4.4, Skopeo 1.11); older ones
refuse the whole file, and with it every image. So does Debian 12's build, which has sigstore switched off: there the
digest alone decides.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from records.enforcement.model import AdmittedImage, Export, Selection, SignatureForm, Signers, select
from records.enforcement.roots import Log
from records.enforcement.signers import Demands, demands, impossible

Fields = dict[str, Any]
_REJECT = {"type": "reject"}
_BY_DIGEST = {"type": "insecureAcceptAnything"}
"""Accepts what the scope names; of a scope that is a digest that is one image."""


def export(images: Sequence[AdmittedImage], signers: Signers | None = None, *, moment: datetime) -> Export:
    """The file for `images`; raises `InvalidInput` (`enforcement/signers`)."""
    selection = select(images, moment)
    warnings = selection.warnings + tuple(
        f"{image.label} is left out: its repository is unknown, and here a digest needs one"
        for image in selection.images
        if image.repository is None
    )
    requirements = [_BY_DIGEST]
    if signers is not None and selection.located:
        demanded = demands(signers, moment)
        warnings += demanded.warnings
        requirements = _requirements(demanded, signers)
    allowed = sum(image.repository is not None for image in selection.images)
    return Export(_text(selection, requirements), allowed, warnings)


def _text(selection: Selection, requirements: Sequence[Fields]) -> str:
    policy: Fields = {"default": [_REJECT]}
    if selection.located:
        policy["transports"] = {"docker": {reference: list(requirements) for reference in selection.located}}
    return json.dumps(policy, indent=2, ensure_ascii=True) + "\n"


def _requirements(demanded: Demands, signers: Signers) -> list[Fields]:
    """One requirement a signer, all of which must hold."""
    if signers.form is not SignatureForm.TAG:
        raise impossible("it reads no bundles, only `.sig` tags (`--signatures tag`)", demanded.warnings)
    if not demanded.needs_all:
        raise impossible(f"it knows no {demanded.need} of {len(demanded.signers)} signers", demanded.warnings)
    needs_log = bool(demanded.identities) or signers.require_log_entry
    logged = {"rekorPublicKeyData": _base64(_only_log(signers).key)} if needs_log else {}
    found = []
    for identity in demanded.identities:
        if not identity.exact or "@" not in identity.fields["subject"] or "/" in identity.fields["subject"]:
            raise impossible("it knows signers by their e-mail address only", demanded.warnings)
        fulcio = {
            "caData": _base64(_chains(signers)),
            "oidcIssuer": identity.fields["issuer"],
            "subjectEmail": identity.fields["subject"],
        }
        found.append(_signed({"fulcio": fulcio, **logged}))
    for key in demanded.keys:
        found.append(_signed({"keyData": _base64(key.pem), **(logged if signers.require_log_entry else {})}))
    return found


def _signed(by: Fields) -> Fields:
    """Signatures name the repository without a tag, as cosign writes them; the digest is in the scope."""
    return {"type": "sigstoreSigned", **by, "signedIdentity": {"type": "matchRepository"}}


def _only_log(signers: Signers) -> Log:
    logs = sorted({log for root in signers.roots for log in root.promising_logs}, key=lambda log: log.key)
    if len(logs) != 1:
        raise impossible(
            f"it takes the key of one log, and the trusted roots have {len(logs)} of the kind that it reads"
        )
    return logs[0]


def _chains(signers: Signers) -> str:
    chains = "".join(sorted({root.chains for root in signers.roots}))
    if not chains:
        raise impossible("no trusted root of the policy has a certificate authority")
    return chains


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("ascii")).decode("ascii")
