"""Verifying one signature step by step, without network, cache or the machine's own clock.

A signature is verified only when every step that the trust demands has *passed* and none has failed; the steps are
independent where they can be, so that a report says everything that is wrong and not only the first thing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509

from checks.provenance.bundle import Envelope, MessageSignature, SignatureBundle, SimpleSigning
from checks.provenance.chain import load_certificate, require_chain, require_no_root
from checks.provenance.entry import Signed, require_entry_of
from checks.provenance.keys import PublicKey, is_signed, is_signed_sha256, load_public_key
from checks.provenance.legacy import require_signed_digest, signed_digest
from checks.provenance.library import require_sct, second_opinion
from checks.provenance.log import require_checkpoint, require_inclusion, require_promise
from checks.provenance.material import TrustMaterial
from checks.provenance.signer import Signer, matching_identity, signer_of
from checks.provenance.statement import Statement, parse_statement, require_predicate, require_subject
from checks.provenance.steps import FIXES, Outcome, Recorder, Step, StepAbsent, StepFailed, StepName
from checks.provenance.timestamps import require_timestamps
from checks.provenance.trust import COSIGN_SIGN, Identity, ManagedKey, Trust
from pratique.digests import Digest, hex_of, sha256_bytes

_SKEW = timedelta(minutes=5)
_ALWAYS = {StepName.PARSED, StepName.SIGNATURE, StepName.IDENTITY, StepName.STATEMENT, StepName.SUBJECT_DIGEST}
_KEYLESS = {StepName.SIGNING_TIME, StepName.CHAIN, StepName.SCT}


@dataclass(frozen=True)
class Demand:
    """What must have been signed: the image (or artifact) with this digest, by a statement of one of these types.

    `predicate_types` None accepts any; `blobs` accepts a signature over the artifact itself (none of an image is), and
    `content` are the artifact's bytes, which keys need that go with another hash than SHA-256. `identities`, where
    there are any, are the only ones who may have signed this.
    """

    digest: Digest
    predicate_types: frozenset[str] | None = frozenset({COSIGN_SIGN})
    blobs: bool = False
    content: bytes | None = field(default=None, repr=False)
    identities: tuple[Identity, ...] = ()


@dataclass(frozen=True)
class SignatureReport:
    """Everything found out about one signature."""

    name: str
    form: str
    bundle_digest: Digest
    root_digest: Digest
    verified: bool
    steps: tuple[Step, ...]
    signer: str = ""
    issuer: str = ""
    accepted_by: tuple[Identity | ManagedKey, ...] = ()
    predicate_type: str = ""
    signed_at: datetime | None = None
    statement: Statement | None = field(default=None, repr=False)

    @property
    def failed(self) -> tuple[Step, ...]:
        """The steps that failed."""
        return tuple(step for step in self.steps if step.outcome is Outcome.FAILED)


def unreadable(name: str, data: bytes, reason: str) -> SignatureReport:
    """The report of a file in which no signature could be read."""
    step = Step(StepName.PARSED, Outcome.FAILED, reason, FIXES[StepName.PARSED])
    return SignatureReport(name, "unreadable", sha256_bytes(data), Digest(""), False, (step,))


def verify_signature(
    bundle: SignatureBundle, name: str, material: TrustMaterial, trust: Trust, demand: Demand, now: datetime
) -> SignatureReport:
    """Verify `bundle` against one trusted root; never raises for what is in the bundle."""
    if demand.identities:
        trust = replace(trust, identities=demand.identities, keys=())
    return _Verification(bundle, material, trust, demand, now).report(name)


class _Verification:
    def __init__(
        self, bundle: SignatureBundle, material: TrustMaterial, trust: Trust, demand: Demand, now: datetime
    ) -> None:
        self.bundle, self.material, self.trust, self.demand, self.now = bundle, material, trust, demand, now
        self.record = Recorder()
        self.certificate: x509.Certificate | None = None
        self.managed: ManagedKey | None = None
        self.entries: tuple[ManagedKey, ...] = ()
        self.key: PublicKey | None = None
        self.signer: Signer | None = None
        self.accepted_by: tuple[Identity | ManagedKey, ...] = ()
        self.statement: Statement | None = None
        self.predicate_type = ""
        self.times: tuple[datetime, ...] = ()

    def report(self, name: str) -> SignatureReport:
        run = self.record.run
        run(StepName.PARSED, self._parsed)
        if self.record.passed(StepName.PARSED):
            run(StepName.SIGNATURE, self._signature)
            self._establish_times()
            self._check_log()
            self._check_certificate()
            run(StepName.IDENTITY, self._identity)
            self._check_content()
            run(StepName.SECOND_OPINION, self._second_opinion)
        else:
            for step in StepName:
                if step is not StepName.PARSED:
                    self.record.not_reached(step, StepName.PARSED)
        return SignatureReport(
            name=name,
            form=self.bundle.form,
            bundle_digest=sha256_bytes(self.bundle.raw or self.bundle.content.signature),
            root_digest=self.material.digest,
            verified=self._is_verified(),
            steps=self.record.ordered(),
            signer=self.signer.subject if self.signer else (self.managed.name if self.managed else ""),
            issuer=self.signer.issuer if self.signer else "",
            accepted_by=self.accepted_by,
            predicate_type=self.predicate_type,
            signed_at=min(self.times) if self.times else None,
            statement=self.statement,
        )

    def _is_verified(self) -> bool:
        outcomes = {step.outcome for step in self.record.steps}
        demanded = _ALWAYS | (_KEYLESS if self.bundle.certificate is not None else set())
        if self.trust.require_timestamp:
            demanded = demanded | {StepName.TIMESTAMP}
        if self.trust.require_log_entry:
            proven = self.record.passed(StepName.LOG_INCLUSION) and self.record.passed(StepName.CHECKPOINT)
            if not proven and not self.record.passed(StepName.INCLUSION_PROMISE):
                return False
            demanded = demanded | {StepName.LOG_ENTRY}
        return outcomes <= {Outcome.PASSED, Outcome.ABSENT} and all(map(self.record.passed, demanded))

    # --- who and what -------------------------------------------------------------------------------------------

    def _parsed(self) -> tuple[None, str]:
        if self.bundle.certificate is not None:
            self.certificate, self.key = load_certificate(self.bundle.certificate)
            require_no_root(self.bundle.chain)
            return None, f"{self.bundle.form} with a signing certificate"
        return None, f"{self.bundle.form} by a managed key"

    def _is_signature_of(self, key: PublicKey) -> bool:
        content, message = self.bundle.content, self._message()
        if message is None:
            return is_signed_sha256(key, content.signature, bytes.fromhex(hex_of(self.demand.digest)))
        return is_signed(key, content.signature, message)

    def _message(self) -> bytes | None:
        """The signed bytes, where they are known and not their digest alone."""
        inside = self.bundle.content.signed_bytes
        return self.demand.content if inside is None else inside

    def _signature(self) -> tuple[None, str]:
        if self.key is not None:
            if not self._is_signature_of(self.key):
                raise StepFailed("the signature is not the certificate's key's over this content")
            return None, "made with the certificate's key over this content"
        keys = [(managed, _load(managed)) for managed in self.trust.keys]
        for managed, key in keys:
            if self._is_signature_of(key):
                self.key, self.managed = key, managed
                self.entries = tuple(one for one, other in keys if other == key)
                return None, f"made with {managed} over this content"
        known = ", ".join(key.name for key in self.trust.keys[:5]) or "none"
        raise StepFailed(f"no trusted key made this signature (trusted: {known})")

    def _identity(self) -> tuple[None, str]:
        if self.certificate is not None:
            self.signer = signer_of(self.certificate)
            matching_identity(self.signer, self.trust.identities)
            self.accepted_by = tuple(
                identity for identity in self.trust.identities if _is_accepted(self.signer, identity)
            )
            return None, str(self.signer)
        if self.managed is None:
            raise StepFailed("no key that the policy names made this signature")
        times = self.times or (self.now,)
        valid = next((one for one in self.entries if all(map(one.covers, times))), None)
        if valid is None:
            late = next(time for time in times if not self.managed.covers(time))
            raise StepFailed(f"{self.managed} was not valid at {late.isoformat()}")
        self.managed, self.accepted_by = valid, (valid,)
        return None, str(valid)

    def _check_content(self) -> None:
        self.record.run(StepName.STATEMENT, self._statement)
        if isinstance(self.bundle.content, Envelope) and self.statement is None:
            self.record.not_reached(StepName.SUBJECT_DIGEST, StepName.STATEMENT)
        else:
            self.record.run(StepName.SUBJECT_DIGEST, self._subject_digest)

    def _statement(self) -> tuple[None, str]:
        content, allowed = self.bundle.content, self.demand.predicate_types
        if isinstance(content, Envelope):
            self.statement = parse_statement(content.payload_type, content.payload)
            self.predicate_type = self.statement.predicate_type
            if allowed is not None:
                require_predicate(self.statement, allowed)
            return None, self.predicate_type
        if isinstance(content, SimpleSigning):
            signed_digest(content.payload)
            if allowed is not None and COSIGN_SIGN not in allowed:
                raise StepFailed("an image signature, where an attestation is asked for")
            self.predicate_type = COSIGN_SIGN
            return None, "cosign simple signing"
        if not self.demand.blobs:
            raise StepFailed("a signature of a file (`cosign sign-blob`), not of an image")
        return None, "a signature over the artifact itself"

    def _subject_digest(self) -> tuple[None, str]:
        content = self.bundle.content
        if isinstance(content, SimpleSigning):
            return None, require_signed_digest(content.payload, self.demand.digest)
        if self.statement is not None:
            return None, "sha256:" + require_subject(self.statement, self.demand.digest)
        if isinstance(content, MessageSignature):
            self._require_message_digest(content)
        return None, str(self.demand.digest)

    def _require_message_digest(self, content: MessageSignature) -> None:
        """A digest that the bundle states must be the artifact's; the signature is what binds it."""
        if content.digest is None:
            return
        if content.algorithm == "SHA2_256":
            found = hex_of(self.demand.digest)
        elif self.demand.content is not None:
            found = hashlib.new(content.algorithm.replace("SHA2_", "sha"), self.demand.content).hexdigest()
        else:
            raise StepFailed(f"a digest by {content.algorithm} cannot be compared without the artifact itself")
        if content.digest.hex() != found:
            raise StepFailed(f"it is about {content.digest.hex()}, not about {self.demand.digest}")

    # --- when ---------------------------------------------------------------------------------------------------

    def _establish_times(self) -> None:
        stamped = self.record.run(StepName.TIMESTAMP, self._timestamps) or ()
        promised = self.record.run(StepName.INCLUSION_PROMISE, self._promise)
        self.times = (*stamped, *((promised,) if promised else ()))
        self.record.run(StepName.SIGNING_TIME, self._signing_time)

    def _timestamps(self) -> tuple[tuple[datetime, ...], str]:
        if self.trust.require_timestamp and not self.bundle.timestamps:
            raise StepFailed("no RFC 3161 timestamp, and the policy asks for one")
        return require_timestamps(
            self.bundle.timestamps, self.bundle.content.signature, self.material.timestamp_authorities
        )

    def _promise(self) -> tuple[datetime, str]:
        if self.bundle.entry is None:
            raise StepAbsent("no log entry")
        time = require_promise(self.bundle.entry, self.material.logs)
        return time, f"the log promised inclusion at {time.isoformat()}"

    def _signing_time(self) -> tuple[None, str]:
        if not self.times:
            if self.certificate is not None:
                raise StepFailed("nothing proves when it was signed: neither a timestamp nor a log's promise")
            raise StepAbsent("nothing proves when it was signed; the key must be valid now")
        late = max(self.times)
        if late > self.now + _SKEW:
            raise StepFailed(f"signed at {late.isoformat()}, which is in the future (now {self.now.isoformat()})")
        return None, min(self.times).isoformat()

    # --- the log ------------------------------------------------------------------------------------------------

    def _check_log(self) -> None:
        entry, run = self.bundle.entry, self.record.run
        run(StepName.LOG_ENTRY, self._log_entry)
        if entry is None:
            for step in (StepName.LOG_INCLUSION, StepName.CHECKPOINT):
                self.record.steps.append(Step(step, Outcome.ABSENT, "no log entry"))
            return
        run(StepName.LOG_INCLUSION, self._inclusion)
        times = self.times or (self.now,)  # where nothing proves a time, the log's key must be valid now
        run(StepName.CHECKPOINT, lambda: (None, require_checkpoint(entry, self.material.logs, times)))

    def _log_entry(self) -> tuple[None, str]:
        if self.bundle.entry is None:
            if self.trust.require_log_entry:
                raise StepFailed("no log entry, and the policy asks for one")
            raise StepAbsent("no log entry, and the policy asks for none")
        if self.key is None:
            raise StepFailed("nobody knows the key whose entry it should be")
        message = self._message()
        sha256 = bytes.fromhex(hex_of(self.demand.digest)) if message is None else hashlib.sha256(message).digest()
        signed = Signed(self.bundle.content, self.key, self.certificate, message, sha256)
        return None, require_entry_of(self.bundle.entry, signed)

    def _inclusion(self) -> tuple[None, str]:
        entry = self.bundle.entry
        if entry is None or ((entry.proof is None or entry.proof.checkpoint is None) and entry.promise is None):
            raise StepFailed("neither a proof of inclusion nor the log's promise")
        return None, require_inclusion(entry)

    # --- the certificate ----------------------------------------------------------------------------------------

    def _check_certificate(self) -> None:
        certificate = self.certificate
        if certificate is None:
            for step in (StepName.CHAIN, StepName.SCT):
                self.record.steps.append(Step(step, Outcome.ABSENT, "a managed key has no certificate"))
            return
        if not self.times:
            self.record.not_reached(StepName.CHAIN, StepName.SIGNING_TIME)
            self.record.not_reached(StepName.SCT, StepName.CHAIN)
            return
        chain = self.record.run(
            StepName.CHAIN, lambda: require_chain(certificate, self.material.authorities, self.times)
        )
        if chain is None:
            self.record.not_reached(StepName.SCT, StepName.CHAIN)
            return
        self.record.run(StepName.SCT, lambda: (None, require_sct(certificate, chain, self.material.ct_logs)))

    def _second_opinion(self) -> tuple[None, str]:
        if any(step.outcome not in (Outcome.PASSED, Outcome.ABSENT) for step in self.record.steps):
            raise StepAbsent("not asked: another step already failed")
        return None, second_opinion(self.bundle, self.key, self.material, self.demand.digest)


def _load(managed: ManagedKey) -> PublicKey:
    try:
        return load_public_key(managed.public_key)
    except StepFailed as failure:
        fix = "Ask the node's maintainer to name a file with a public key in PEM under trust.keys."
        raise StepFailed(f"{managed} of the policy is none: {failure.detail}", fix=fix) from failure


def _is_accepted(signer: Signer, identity: Identity) -> bool:
    return identity.accepts(signer.subject, signer.issuer) and not identity.unmet(signer.claims)
