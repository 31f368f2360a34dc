"""The one module that touches sigstore, which is pinned exactly (sigstore==4.5.1).

Private names are used where the library has no public one: a trusted root made from bytes that were already hashed
(`TrustedRoot.from_file` reads the path a second time, after the digest was compared), a keyring of chosen keys, the
SCT of a certificate, and the envelope and body comparisons inside `Verifier`. `Verifier.production` is never used: it
trusts whatever lies in the user's cache. Importing sigstore takes about a second, so it happens inside functions.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from checks.provenance.bundle import MAX_BUNDLE_BYTES, Envelope, SignatureBundle
from checks.provenance.keys import MALFORMED, PublicKey, load_public_key
from checks.provenance.material import Authority, LogKey, TrustMaterial, Window
from checks.provenance.steps import StepAbsent, StepFailed
from checks.provenance.trust import TrustedRootFile
from pratique.bounds import read_bounded, strict_json
from pratique.digests import Digest, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput

if TYPE_CHECKING:
    from sigstore_models.common import v1 as common
    from sigstore_models.trustroot import v1 as models

_SECOND_OPINIONS = {
    (True, "dsse", "0.0.1"),
    (True, "hashedrekord", "0.0.2"),
    (False, "hashedrekord", "0.0.1"),
    (False, "hashedrekord", "0.0.2"),
}
"""(is an envelope, entry kind, entry version) that sigstore 4.5.1 verifies; the rest it does not know."""


def load_trusted_root(root: TrustedRootFile) -> TrustMaterial:
    """The trusted root at `root.path`; raises `CouldNotDecide` where it is missing, altered or not one.

    The digest is compared with the bytes that are then parsed, so nothing can change in between.
    """
    try:
        data = read_bounded(root.path, MAX_BUNDLE_BYTES, follow_links=True)
    except InvalidInput as error:
        raise _no_root(root, str(error), error.next_step) from error
    found = sha256_bytes(data)
    if found != root.sha256:
        raise CouldNotDecide(
            f"the trusted root {root.path.name} is not the one that the policy pins",
            cause=f"its digest is {found}, pinned is {root.sha256}",
            next_step="Restore the pinned file, or review the new one and pin its digest in the policy.",
        )
    return _material(root, data, found)


def _material(root: TrustedRootFile, data: bytes, digest: Digest) -> TrustMaterial:
    from sigstore.errors import Error
    from sigstore.models import TrustedRoot
    from sigstore_models.trustroot import v1 as models

    try:
        document = strict_json(data, where=root.path.name, max_bytes=MAX_BUNDLE_BYTES)
        inner = models.TrustedRoot.from_json(json.dumps(_with_empty_lists(document)))
        material = TrustMaterial(
            digest=digest,
            authorities=tuple(_authority(item) for item in inner.certificate_authorities),
            timestamp_authorities=tuple(
                _authority(item) for item in inner.timestamp_authorities if item.cert_chain.certificates
            ),
            logs=tuple(_log(item) for item in inner.tlogs),
            ct_logs=tuple(_log(item) for item in inner.ctlogs),
            library=TrustedRoot(_always_valid(inner)),
        )
    except (Error, InvalidInput, StepFailed, *MALFORMED) as error:
        raise _no_root(root, str(error)[:300], "Pin a file in sigstore's trusted_root.json format.") from error
    return material


def _with_empty_lists(document: Any) -> dict[str, Any]:
    """What the format may leave out is an empty list, which the library's reader wants to see."""
    if not isinstance(document, dict):
        raise ValueError("a JSON object is expected")
    lists = ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities")
    return {**document, **{name: document.get(name) or [] for name in lists}}


def _no_root(root: TrustedRootFile, cause: str, next_step: str) -> CouldNotDecide:
    return CouldNotDecide(f"the trusted root {root.path.name} cannot be read", cause=cause, next_step=next_step)


def _authority(item: models.CertificateAuthority) -> Authority:
    certificates = tuple(x509.load_der_x509_certificate(part.raw_bytes) for part in item.cert_chain.certificates)
    if not certificates:
        raise ValueError(f"the authority {item.uri} has no certificate")
    return Authority(
        item.uri or item.subject.common_name, certificates, Window(_aware(item.valid_for.start), _end(item.valid_for))
    )


def _log(item: models.TransparencyLogInstance) -> LogKey:
    key, valid_for = item.public_key, item.public_key.valid_for
    if not key.raw_bytes or valid_for is None:
        raise ValueError(f"the log {item.base_url} has no key, or no time in which it is valid")
    return LogKey(
        name=item.base_url,
        log_id=item.log_id.key_id,
        hint=(item.checkpoint_key_id or item.log_id).key_id[:4],
        key=load_public_key(key.raw_bytes),
        window=Window(_aware(valid_for.start), _end(valid_for)),
        library=key,
    )


def _end(valid_for: common.TimeRange) -> datetime | None:
    return _aware(valid_for.end) if valid_for.end else None


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _always_valid(inner: models.TrustedRoot) -> models.TrustedRoot:
    """A copy in which everything is valid at any time.

    The library compares starts with the machine's own clock, and the ends of timestamp authorities alone, as exclusive
    where the format says inclusive. Every window is enforced in this package; the library is asked about cryptography.
    """
    copy = inner.model_copy(deep=True)
    copy.timestamp_authorities = [item for item in copy.timestamp_authorities if item.cert_chain.certificates]
    for authority in (*copy.certificate_authorities, *copy.timestamp_authorities):
        authority.valid_for.start, authority.valid_for.end = datetime.fromtimestamp(0, UTC), None
    for log in (*copy.tlogs, *copy.ctlogs):
        log.public_key.valid_for = None
    return copy


def require_sct(certificate: x509.Certificate, issuers: list[x509.Certificate], ct_logs: tuple[LogKey, ...]) -> str:
    """Which certificate-transparency log saw `certificate`, once its one embedded SCT was found genuine.

    `issuers` is the verified chain above the certificate. The log is the one that the SCT names, its key valid then.
    """
    from sigstore._internal.sct import verify_sct
    from sigstore._internal.trust import CTKeyring, Keyring
    from sigstore.errors import VerificationError

    try:
        scts = certificate.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    except MALFORMED as error:
        raise StepFailed("the certificate carries no readable certificate timestamp") from error
    if len(scts) != 1:
        raise StepFailed(f"the certificate carries {len(scts)} certificate timestamps; one is expected")
    log = next((log for log in ct_logs if log.log_id == scts[0].log_id), None)
    if log is None:
        raise StepFailed(f"the trusted root knows no certificate log with the id {scts[0].log_id.hex()[:16]}…")
    time = scts[0].timestamp.replace(tzinfo=UTC)
    if not log.window.covers(time):
        raise StepFailed(f"the key of {log.name} was not valid at {time.isoformat()} ({log.window})")
    try:
        # one key in the ring: the library would otherwise try every key for an SCT that names an unknown log
        verify_sct(certificate, issuers, CTKeyring(Keyring([log.library])))
    except (VerificationError, *MALFORMED) as error:
        raise StepFailed(str(error)[:300]) from error
    return f"in the log {log.name} since {time.isoformat()}"


def second_opinion(bundle: SignatureBundle, key: PublicKey | None, material: TrustMaterial, image: Digest) -> str:
    """What sigstore-python says of the whole bundle; raises `StepAbsent` for forms that it does not know.

    It takes every key for one of P-256 with SHA-256: with others it fails where nothing is wrong.
    """
    entry = bundle.entry
    is_envelope = isinstance(bundle.content, Envelope)
    if (
        bundle.certificate is None
        or entry is None
        or not entry.proof
        or not (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1")
        or (is_envelope, entry.kind, entry.version) not in _SECOND_OPINIONS
    ):
        raise StepAbsent("sigstore-python does not know this form of signature")
    from sigstore.errors import Error
    from sigstore.hashes import Hashed
    from sigstore.models import Bundle
    from sigstore.verify import Verifier
    from sigstore_models.common.v1 import HashAlgorithm

    try:
        theirs, verifier = Bundle.from_json(bundle.raw), Verifier(trusted_root=material.library)
        if is_envelope:
            verifier.verify_dsse(theirs, _IdentityIsOurs())
        else:
            digest = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(hex_of(image)))
            verifier.verify_artifact(digest, theirs, _IdentityIsOurs())
    except (Error, *MALFORMED) as error:
        raise StepFailed(f"sigstore-python refuses: {str(error)[:300]}") from error
    return "sigstore-python agrees"


class _IdentityIsOurs:
    """A library policy that accepts: the identity is a step of its own, with regular expressions and both issuers."""

    def verify(self, cert: x509.Certificate) -> None:
        """Accept `cert`."""
