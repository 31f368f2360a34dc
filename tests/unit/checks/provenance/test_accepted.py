"""What a good signature looks like, in every form; and what is inconclusive, tolerated or taught."""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import sys
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from checks.interface import Evidence, Level, Status
from checks.provenance import Identity, SignatureFile, Trust, TrustedRootFile, check_provenance
from examples.signing.private_sigstore import Options
from examples.signing.services import new_key, pem
from pratique.digests import Digest, parse_digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from tests.assets.clocks import fixed_clock
from tests.unit.checks.provenance.bench import (
    IMAGE,
    ISSUER,
    NOW,
    PROVENANCE,
    SIGNER,
    SLSA_V1,
    STRANGER,
    Bench,
    Case,
    edited,
    errors,
    managed_key,
    statement,
)

ASSETS = Path(__file__).parents[3] / "assets" / "provenance"


class Shelf:
    """An evidence store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, data: bytes, *, name: str, media_type: str) -> Evidence:
        self.kept[sha256_bytes(data)] = data
        return Evidence(name=name, digest=sha256_bytes(data), media_type=media_type, size=len(data))

    def get(self, digest: Digest) -> bytes:
        return self.kept[digest]


def in_chain(bundle: dict[str, Any]) -> None:
    """Turn a v0.3 bundle into the v0.1 form, with its certificate in a chain."""
    material = bundle["verificationMaterial"]
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"
    material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_cosign_signature_passes(bench: Bench, rekor: int) -> None:
    """Signed by the trusted identity over this image: passed, with signer and every step told."""
    instance = bench.v1 if rekor == 1 else bench.v2
    result = bench.check(Case([instance.sign_image(IMAGE, SIGNER, ISSUER)]))
    assert result.status is Status.PASSED
    assert (result.measured("verified"), result.measured("signer"), result.measured("issuer")) == (1, SIGNER, ISSUER)
    assert result.measured("signed_at") == "2025-06-01T12:00:00Z"
    (steps,) = result.findings
    assert steps.rule_id == "provenance/steps"
    for step in ("chain", "sct", "log-inclusion", "checkpoint", "identity", "subject-digest", "second-opinion"):
        assert f"{step} passed" in steps.message


def test_promise_and_timestamp_together_pass(bench: Bench) -> None:
    """Rekor v1 with an RFC 3161 timestamp beside the promise, under a policy that demands the timestamp."""
    bundle = bench.v1.sign_image(IMAGE, SIGNER, ISSUER, Options(stamp=True))
    assert bench.check(Case([bundle], trust={"require_timestamp": True})).status is Status.PASSED


def test_a_chain_in_an_old_bundle_passes(bench: Bench) -> None:
    """Bundle v0.1: the leaf is the chain's first certificate."""
    bundle = edited(bench.v1.sign_image(IMAGE, SIGNER, ISSUER), in_chain)
    assert bench.check(Case([bundle])).status is Status.PASSED


def test_an_old_bundle_with_the_promise_alone_passes(bench: Bench) -> None:
    """Bundle v0.1 needs no inclusion proof; the report says that there is none."""

    def strip(bundle: dict[str, Any]) -> None:
        in_chain(bundle)
        del bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]

    result = bench.check(Case([edited(bench.v1.sign_image(IMAGE, SIGNER, ISSUER), strip)]))
    assert result.status is Status.PASSED
    assert "log-inclusion absent" in result.findings[0].message


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_managed_key_passes_in_its_window(bench: Bench, rekor: int) -> None:
    """No certificate: the policy's own key, valid when the signature was made."""
    instance, key = (bench.v1 if rekor == 1 else bench.v2), new_key()
    window = managed_key(key, not_before=NOW - timedelta(days=1), not_after=NOW)
    result = bench.check(Case([instance.sign_image_with_key(IMAGE, key)], trust={"keys": (window,), "identities": ()}))
    assert result.status is Status.PASSED
    assert result.measured("signer") == "release-key"


def test_a_managed_key_needs_no_root_when_no_log_is_asked_for(bench: Bench) -> None:
    """An air-gapped provider with a key of its own, and a node that asks for no log entry."""
    key = new_key()
    bundle = edited(
        bench.v2.sign_image_with_key(IMAGE, key, Options(log=False)),
        lambda b: b["verificationMaterial"].pop("timestampVerificationData"),
    )
    trust: dict[str, Any] = {"keys": (managed_key(key),), "identities": (), "roots": (), "require_log_entry": False}
    assert bench.check(Case([bundle], trust=trust)).status is Status.PASSED


def test_an_intoto_log_entry_passes(bench: Bench) -> None:
    """`intoto 0.0.2`, which sigstore-python does not know."""
    key = new_key()
    bundle = bench.v1.sign_image_with_key(IMAGE, key, Options(kind="intoto"))
    assert bench.check(Case([bundle], trust={"keys": (managed_key(key),)})).status is Status.PASSED


def test_cosign_2_signatures_pass(bench: Bench) -> None:
    """What `cosign download signature` prints, several lines in one file."""
    lines = [bench.v1.sign_image_legacy(IMAGE, SIGNER, ISSUER) for _ in range(2)]
    result = bench.check(Case(["\n".join(lines) + "\n"]))
    assert result.status is Status.PASSED
    assert result.measured("verified") == 2


def test_a_cosign_2_layer_with_annotations_passes(bench: Bench) -> None:
    """The same signature as it lies in a registry under `sha256-<hex>.sig`."""
    from cryptography import x509

    from checks.provenance.legacy import from_annotations, read_signatures

    line = bench.v1.sign_image_legacy(IMAGE, SIGNER, ISSUER)
    fields = json.loads(line)
    certificate = x509.load_der_x509_certificate(base64.b64decode(fields["Cert"]["Raw"]))
    annotations = {
        "dev.cosignproject.cosign/signature": fields["Base64Signature"],
        "dev.sigstore.cosign/certificate": pem(certificate).decode(),
        "dev.sigstore.cosign/bundle": json.dumps(fields["Bundle"]),
    }
    layer = from_annotations(base64.b64decode(fields["Payload"]), annotations, where="layer")
    assert (layer,) == read_signatures(line.encode(), where="line")


@pytest.mark.parametrize(
    "identity",
    [
        Identity(r"release@(provider|partner)\.example", r"https://idp\..*\.example", regexp=True),
        Identity(SIGNER, ISSUER, claims=(("source-repository", "https://ci.example/provider/tool"),)),
    ],
)
def test_an_identity_matches_by_pattern_and_claims(bench: Bench, identity: Identity) -> None:
    """Regular expressions match in full; claims are compared exactly."""
    options = Options(issue={"claims": {"12": "https://ci.example/provider/tool"}})
    bundle = bench.v2.sign_image(IMAGE, SIGNER, ISSUER, options)
    assert bench.check(Case([bundle], trust={"identities": (identity,)})).status is Status.PASSED


def test_the_windows_include_both_ends(bench: Bench) -> None:
    """A key or authority is valid at the very moment in which its window ends."""
    root = copy.deepcopy(bench.v2.trusted_root)
    window = {"start": "2025-06-01T12:00:00Z", "end": "2025-06-01T12:00:00Z"}
    for service in (*root["certificateAuthorities"], *root["timestampAuthorities"]):
        service["validFor"] = window
    for log in (*root["tlogs"], *root["ctlogs"]):
        log["publicKey"]["validFor"] = window
    assert bench.check(Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER)], root=root)).status is Status.PASSED


def test_two_roots_are_tried_one_after_the_other(bench: Bench) -> None:
    """Signatures of two Sigstore instances in one submission, each against its own trusted root."""
    roots = (bench.root_file(bench.v1.trusted_root, "1.json"), bench.root_file(bench.v2.trusted_root, "2.json"))
    bundles = [bench.v1.sign_image(IMAGE, SIGNER, ISSUER), bench.v2.sign_image(IMAGE, SIGNER, ISSUER)]
    result = bench.check(Case(bundles, trust={"roots": roots}))
    assert (result.status, result.measured("verified")) == (Status.PASSED, 2)


def test_a_decoy_authority_of_the_same_name_does_no_harm(bench: Bench) -> None:
    """The certificate timestamp's issuer comes from the verified chain, not from a look-up by name."""
    root = copy.deepcopy(bench.v2.trusted_root)
    root["certificateAuthorities"] = (
        bench.foreign.trusted_root["certificateAuthorities"] + root["certificateAuthorities"]
    )
    assert bench.check(Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER)], root=root)).status is Status.PASSED


@pytest.mark.parametrize("need", [2, "all"])
def test_two_signers_where_two_are_needed(bench: Bench, need: Any) -> None:
    """Both trusted identities signed."""
    identities = (Identity(SIGNER, ISSUER), Identity(STRANGER, ISSUER))
    bundles = [bench.v1.sign_image(IMAGE, SIGNER, ISSUER), bench.v2.sign_image(IMAGE, STRANGER, ISSUER)]
    assert bench.check(Case(bundles, trust={"identities": identities, "need": need})).status is Status.PASSED


def test_what_merely_does_not_count_is_a_warning_beside_a_good_signature(bench: Bench) -> None:
    """A stranger's signature and an attestation nobody asked for neither help nor harm."""
    bundles = [
        bench.v2.sign_image(IMAGE, SIGNER, ISSUER),
        bench.v2.sign_image(IMAGE, STRANGER, ISSUER),
        bench.v2.sign_payload(statement(SLSA_V1, PROVENANCE), SIGNER, ISSUER),
    ]
    result = bench.check(Case(bundles))
    assert result.status is Status.PASSED
    warned = {finding.rule_id for finding in result.findings if finding.level is Level.WARNING}
    assert warned == {"provenance/identity", "provenance/statement"}


def test_a_policy_may_tolerate_a_broken_signature_beside_a_good_one(bench: Bench) -> None:
    """As for a registry in which anybody may leave signatures; it never helps the image through alone."""
    good, bad = bench.v2.sign_image(IMAGE, SIGNER, ISSUER), bench.foreign.sign_image(IMAGE, SIGNER, ISSUER)
    tolerant = {"refuse_broken": False}
    assert bench.check(Case([good, bad], trust=tolerant)).status is Status.PASSED
    assert bench.check(Case([good, bad])).status is Status.FAILED
    assert bench.check(Case([bad], trust=tolerant)).status is Status.FAILED


def test_a_real_attestation_of_the_public_instance_verifies() -> None:
    """GitHub's workflow identity, the public log and certificate authority: the verifier agrees with the world."""
    from checks.provenance.bundle import parse_bundle
    from checks.provenance.library import load_trusted_root
    from checks.provenance.verifier import Demand, verify_signature

    store = files("sigstore._store").joinpath("https%3A%2F%2Ftuf-repo-cdn.sigstore.dev", "trusted_root.json")
    root = TrustedRootFile(Path(str(store)), sha256_bytes(store.read_bytes()))
    subject = "https://github.com/trailofbits/pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a2"
    repository = ("source-repository", "https://github.com/trailofbits/pypi-attestation-models")
    identity = Identity(subject, "https://token.actions.githubusercontent.com", claims=(repository,))
    publish = frozenset({"https://docs.pypi.org/attestations/publish/v1"})
    data = (ASSETS / "github-workflow.sigstore.json").read_bytes()
    digest = parse_digest("sha256:c9709ce6fd5b67b59b4a28758cf14d3f411803c4b89b6068b1f1a8e4ee94c8ef")
    report = verify_signature(
        parse_bundle(data, where="bundle"),
        "bundle",
        load_trusted_root(root),
        Trust(roots=(root,), identities=(identity,)),
        Demand(digest, publish),
        datetime.fromisoformat("2025-01-01T00:00:00+00:00"),
    )
    assert report.verified, [step for step in report.steps if step.outcome != "passed"]


# --- trust that cannot be had ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trust",
    [
        Trust(),
        Trust(identities=(Identity(SIGNER, ISSUER),)),
        Trust(roots=(TrustedRootFile(Path("root.json"), IMAGE),)),
        Trust(roots=(TrustedRootFile(Path("root.json"), IMAGE),), identities=(Identity(SIGNER, ISSUER),), need=0),
        Trust(roots=(TrustedRootFile(Path("root.json"), IMAGE),), identities=(Identity(SIGNER, ISSUER),), need=2),
    ],
)
def test_an_empty_trust_refuses(bench: Bench, trust: Trust) -> None:
    """No identities, no roots, or a number of signers that cannot be met: nothing passes."""
    path = bench.directory / "bundle.json"
    path.write_text(bench.v2.sign_image(IMAGE, SIGNER, ISSUER))
    result = check_provenance([SignatureFile(path, "bundle.json")], IMAGE, trust, clock=fixed_clock(NOW))
    assert result.status is Status.FAILED
    assert errors(result) == {"empty-trust"}


def test_no_signature_fails_with_the_command_that_makes_one(bench: Bench) -> None:
    """The fix names cosign and this image's digest."""
    result = bench.check(Case([]))
    assert (result.status, errors(result)) == (Status.FAILED, {"no-signature"})
    assert "cosign sign --bundle" in result.findings[0].fix
    assert IMAGE in result.findings[0].fix


def _altered(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def _no_start(path: Path) -> None:
    root = json.loads(path.read_text())
    del root["tlogs"][0]["publicKey"]["validFor"]["start"]
    path.write_text(json.dumps(root))


ROOTS = {
    "altered after it was pinned": (_altered, False),
    "gone": (lambda path: path.unlink(), False),
    "not JSON": (lambda path: path.write_text("trust me"), True),
    "a JSON list": (lambda path: path.write_text("[]"), True),
    "duplicate keys": (lambda path: path.write_text('{"tlogs":[],' + path.read_text().lstrip()[1:]), True),
    "a log key without the start of its validity": (_no_start, True),
    "the wrong media type": (lambda path: path.write_text(path.read_text().replace("trustedroot", "root")), True),
    "a certificate that is none": (lambda path: path.write_text(path.read_text().replace('"MII', '"AAA')), True),
}


@pytest.mark.parametrize("name", ROOTS)
def test_a_trusted_root_that_cannot_be_believed_is_inconclusive(bench: Bench, name: str) -> None:
    """Missing, unreadable or not the pinned one: never passed, whatever the signature."""
    change, pinned_again = ROOTS[name]
    root = bench.root_file(bench.v2.trusted_root, "trusted.json")
    change(root.path)
    if pinned_again:
        root = TrustedRootFile(root.path, sha256_bytes(root.path.read_bytes()))
    result = bench.check(Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER)], trust={"roots": (root,)}))
    assert result.status is Status.INCONCLUSIVE
    assert result.findings[0].rule_id == "provenance/trusted-root"
    assert result.findings[0].fix


def test_one_bad_root_beside_a_good_one_is_inconclusive(bench: Bench) -> None:
    """Trust that was tampered with in part is not trust in part."""
    good, bad = (bench.root_file(bench.v2.trusted_root, name) for name in ("good.json", "bad.json"))
    _altered(bad.path)
    result = bench.check(Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER)], trust={"roots": (good, bad)}))
    assert result.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("subject, issuer", [("", ISSUER), (SIGNER, ""), ("(", ISSUER)])
def test_an_identity_that_cannot_match_is_refused(subject: str, issuer: str) -> None:
    """Empty parts would match nobody or everybody."""
    with pytest.raises(InvalidInput):
        Identity(subject, issuer, regexp=True)


def test_a_key_window_without_a_time_zone_is_refused() -> None:
    """It could not be compared with the time of a signature."""
    with pytest.raises(InvalidInput):
        managed_key(new_key(), not_after=datetime(2026, 1, 31))  # noqa: DTZ001 - that is the mistake


# --- what is left behind ---------------------------------------------------------------------------------------------


def test_the_evidence_holds_every_step(bench: Bench) -> None:
    """`provenance.json` has each signature's steps, with detail and fix, and is the same for the same input."""
    root = bench.root_file(bench.both_roots())
    path = bench.directory / "bundle.json"
    path.write_text(bench.v2.sign_image(IMAGE, STRANGER, ISSUER))
    trust, shelf = Trust(roots=(root,), identities=(Identity(SIGNER, ISSUER),)), Shelf()
    for _ in range(2):
        result = check_provenance(
            [SignatureFile(path, "bundle.json")], IMAGE, trust, clock=fixed_clock(NOW), store=shelf
        )
    assert len(shelf.kept) == 1
    document = json.loads(shelf.get(result.evidence[0].digest))
    steps = {step["step"]: step for step in document["signatures"][0]["steps"]}
    assert steps["identity"]["outcome"] == "failed"
    assert STRANGER in steps["identity"]["detail"]
    assert steps["identity"]["fix"]
    assert steps["subject-digest"]["outcome"] == "passed"
    assert result.inputs["root:root.json"] == root.sha256


def test_a_missing_root_says_what_to_do(bench: Bench) -> None:
    """The loader's own error carries cause and next step."""
    from checks.provenance.library import load_trusted_root

    with pytest.raises(CouldNotDecide) as caught:
        load_trusted_root(TrustedRootFile(bench.directory / "absent.json", IMAGE))
    assert caught.value.next_step


def test_importing_the_check_does_not_import_sigstore() -> None:
    """sigstore takes a second; it is imported when the first signature is verified."""
    code = (
        "import sys, checks.provenance; print([m for m in ('sigstore', 'cryptography', 'rfc8785') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


NEAR = "https://ci.example/provider/tool/.ci/release.yml@refs/heads/main"
TOLD: dict[str, tuple[str, str, Identity, tuple[str, ...]]] = {
    "another ref of the trusted workflow": (
        NEAR.replace("main", "dev"),
        ISSUER,
        Identity(NEAR, ISSUER),
        ("it ends in 'dev' where 'main' is trusted", "These held: parsed, signature"),
    ),
    "the right subject with another issuer": (
        SIGNER,
        "https://other.example",
        Identity(SIGNER, ISSUER),
        (f"the subject is, with {ISSUER}",),
    ),
    "a letter's case": (SIGNER.upper(), ISSUER, Identity(SIGNER, ISSUER), ("case of its letters",)),
    "somebody else": (STRANGER, ISSUER, Identity(SIGNER, ISSUER), (f"signed by {STRANGER}", f"trusted: {SIGNER}")),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_wrong_identity_is_told_so_that_both_sides_know_what_to_do(bench: Bench, name: str) -> None:
    """Who signed, in what that differs from whom the node trusts, what held, and the line for the policy."""
    subject, issuer, trusted, words = TOLD[name]
    bundle = bench.v2.sign_image(IMAGE, subject, issuer)
    result = bench.check(Case([bundle], trust={"identities": (trusted,)}))
    told = next(finding for finding in result.findings if finding.rule_id == "provenance/identity")
    assert all(word in told.message for word in words), told.message
    line = told.fix.partition("trust.identities: ")[2]
    assert json.loads(line) == {"issuer": issuer, "subject": subject}
    assert IMAGE in next(finding.fix for finding in result.findings if finding.rule_id.endswith("too-few-signers"))
    assert "These held" not in result.summary


def test_another_instance_is_told_by_its_logs_and_ours(bench: Bench) -> None:
    """Without the cryptographic library's own stack of errors."""
    result = bench.check(Case([bench.foreign.sign_image(IMAGE, SIGNER, ISSUER, Options(stamp=True))]))
    text = " ".join(finding.message for finding in result.findings)
    assert "another Sigstore instance's log has it" in text
    assert "https://rekor.hospital.example" in text
    assert "ErrorStack" not in text
