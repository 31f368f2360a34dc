"""Who a Fulcio certificate says signed: subject alternative name, OIDC issuer and workflow claims.

OIDs: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md. Both issuer extensions are read: the old raw one
(…57264.1.1) and the DER-encoded one (…57264.1.8); where both are there they must agree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import takewhile

from cryptography import x509
from cryptography.hazmat import asn1

from checks.provenance.keys import MALFORMED
from checks.provenance.steps import StepFailed
from checks.provenance.trust import CLAIMS, Identity

_FULCIO = "1.3.6.1.4.1.57264.1."
_OTHER_NAME = x509.ObjectIdentifier(_FULCIO + "7")
_LONGEST = 2048
_PLAIN = frozenset("23456")
"""Last arcs of the extensions whose value is the text itself, not a DER string."""


@dataclass(frozen=True)
class Signer:
    """Subject and issuer as the certificate has them, with its workflow claims."""

    subject: str
    issuer: str
    claims: dict[str, str]

    def __str__(self) -> str:
        return f"{self.subject} (issuer {self.issuer})"


def signer_of(certificate: x509.Certificate) -> Signer:
    """The signer that `certificate` names; raises `StepFailed` where it names none, or more than one."""
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        raw = {
            extension.oid.dotted_string: extension.value.value
            for extension in extensions
            if isinstance(extension.value, x509.UnrecognizedExtension)
        }
        subjects = [_name(name) for name in names]
        issuers = {_text(raw[_FULCIO + "1"], der=False)} if _FULCIO + "1" in raw else set()
        if _FULCIO + "8" in raw:
            issuers.add(_text(raw[_FULCIO + "8"], der=True))
        claims = {
            name: _text(raw[_FULCIO + arc], der=arc not in _PLAIN)
            for name, arc in CLAIMS.items()
            if _FULCIO + arc in raw
        }
    except MALFORMED as error:
        raise StepFailed(f"the certificate's identity cannot be read: {str(error)[:200]}") from error
    if len(subjects) != 1:
        raise StepFailed(f"the certificate names {len(subjects)} subjects; exactly one is expected")
    if len(issuers) != 1:
        raise StepFailed("the certificate names no issuer" if not issuers else "its two issuer extensions disagree")
    return Signer(subjects[0], issuers.pop(), claims)


def matching_identity(signer: Signer, identities: tuple[Identity, ...]) -> Identity:
    """The first of `identities` that `signer` is; raises `StepFailed` naming the signer where there is none."""
    missing: list[str] = []
    for identity in identities:
        if not identity.accepts(signer.subject, signer.issuer):
            continue
        wrong = identity.unmet(signer.claims)
        if not wrong:
            return identity
        missing += wrong
    if missing:
        raise StepFailed(f"signed by {signer}, but its certificate's {', '.join(missing[:3])}", fix=_fix(signer))
    known = "; ".join(str(identity) for identity in identities[:3]) or "none"
    near = _difference(signer, identities)
    raise StepFailed(f"signed by {signer}, who is not trusted{near}; trusted: {known}", fix=_fix(signer))


def _fix(signer: Signer) -> str:
    """What signer and maintainer can do; the line is as it would stand in the policy."""
    entry = json.dumps({"issuer": signer.issuer, "subject": signer.subject})
    return (
        "Sign as an identity that the node's policy names (with `cosign sign` in a workflow, the workflow file and the "
        f"ref that it runs for are part of it), or ask the node to name this one under trust.identities: {entry}"
    )


def _difference(signer: Signer, identities: tuple[Identity, ...]) -> str:
    """In what the signer differs from the trusted identity that it is most like, where there is one."""
    exact = [identity for identity in identities if not identity.regexp]
    for identity in exact:
        if identity.subject == signer.subject:
            return f" with this issuer (the subject is, with {identity.issuer})"
        if identity.subject.casefold() == signer.subject.casefold():
            return " (the case of its letters differs)"
    nearest = max(exact, key=lambda one: _shared(one.subject, signer.subject), default=None)
    shared = _shared(nearest.subject, signer.subject) if nearest else 0
    if nearest is None or shared < len(nearest.subject) // 2:
        return ""
    return f" (it ends in {signer.subject[shared:][:100]!r} where {nearest.subject[shared:][:100]!r} is trusted)"


def _shared(one: str, other: str) -> int:
    """How many first characters two texts have in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _name(name: x509.GeneralName) -> str:
    if isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier):
        return _bounded(name.value)
    if isinstance(name, x509.OtherName) and name.type_id == _OTHER_NAME:
        return _text(name.value, der=True)
    raise ValueError(f"a subject of the kind {type(name).__name__}")


def _text(value: bytes, *, der: bool) -> str:
    return _bounded(asn1.decode_der(str, value) if der else value.decode("utf-8"))


def _bounded(text: str) -> str:
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise ValueError("a name that is empty, too long or not printable")
    return text
