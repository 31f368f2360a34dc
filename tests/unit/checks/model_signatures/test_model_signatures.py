"""Model signatures: what real ones look like, whose count, and what cannot be decided."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checks.interface import CheckResult, Level, Status
from checks.model_signatures import ModelTrust
from checks.model_signatures.certificates import ModelAuthority
from checks.model_signatures.signed import read_signed
from checks.provenance import Identity, ManagedKey, Trust
from checks.provenance.statement import Statement
from checks.provenance.steps import StepFailed
from examples.signing.services import new_key, pem
from pratique.digests import sha256_bytes
from pratique.errors import InvalidInput
from pratique.intake.image import ImageLimits
from tests.unit.checks.model_signatures.bench import (
    EVIL,
    FILES,
    HASHINGS,
    ISSUER,
    NOW,
    SIGNER,
    STRANGER,
    HashingConfig,
    Models,
    SigningConfig,
    link,
    rules,
)

# --- what holds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HASHINGS)
@pytest.mark.parametrize("method", ["key", "keyless"])
def test_a_signed_model_passes(models: Models, how: str, method: str) -> None:
    """By key and keyless, whole files and pieces, every hash; all its files are covered."""
    folder, config = models.write(FILES), HASHINGS[how]()
    signature = models.by_key(folder, config) if method == "key" else models.keyless(models.payload(folder, config))
    result = models.ask({**FILES, "model.sig": signature})
    assert result.status is Status.PASSED, [finding.message for finding in result.findings]
    assert result.measured("verified") == 1
    assert result.measured("covered") in (3, 4)  # pieces leave the empty file out
    assert rules(result, Level.NOTE) == {"steps"}


def test_the_signature_may_lie_beside_the_directory_that_it_names(models: Models) -> None:
    """`model.sig` in the folder above, where other things lie that it does not speak of."""
    signature = models.by_key(models.write(FILES, "resnet"))
    files = {**{f"resnet/{path}": data for path, data in FILES.items()}, "model.sig": signature, "other.txt": b"x"}
    assert models.ask(files).status is Status.PASSED


def test_a_model_of_one_file_passes(models: Models) -> None:
    """Its one resource is `.`, its name the file's."""
    folder = models.write({"net.npy": EVIL, "readme": b"x"})
    signature = models.by_key(folder / "net.npy")
    assert models.ask({"net.npy": EVIL, "readme": b"x", "net.npy.sig": signature}).status is Status.PASSED
    changed = models.ask({"net.npy": EVIL + b"\0", "net.npy.sig": signature})
    assert rules(changed) == {"changed-file"}
    assert (changed.measured("verified"), changed.measured("covered")) == (0, 0), "a good signature of other bytes"


def test_no_signature_is_no_question_unless_the_policy_asks(models: Models) -> None:
    """Not applicable; with `required` every model of the tool's own is named."""
    assert models.ask(FILES).status is Status.NOT_APPLICABLE
    result = models.ask(FILES, trust=ModelTrust(models.trust, required=True))
    assert (result.status, rules(result), result.measured("unsigned")) == (Status.FAILED, {"unsigned-model"}, 2)
    assert set(result.findings[0].fix.split()) >= SIGNERS_NAMED
    assert models.ask({"readme.txt": b"x"}, trust=ModelTrust(models.trust, required=True)).status is (
        Status.NOT_APPLICABLE
    )


SIGNERS_NAMED = {"models@provider.example", "model-key:"}


def test_every_required_model_must_be_covered(models: Models) -> None:
    """One signed model does not vouch for another."""
    signature = models.by_key(models.write(FILES))
    trust = ModelTrust(models.trust, required=True)
    assert models.ask({**FILES, "model.sig": signature}, trust=trust).status is Status.PASSED
    result = models.ask({**FILES, "model.sig": signature}, trust=trust, extra=[("srv/other.npy", EVIL)])
    assert [finding.where for finding in result.findings if finding.rule_id.endswith("unsigned-model")] == [
        "srv/other.npy"
    ]


def test_models_that_a_library_brings_along_need_no_signature(models: Models) -> None:
    """The distribution's package owns it; the same file without that package is the tool's own."""
    owned = "usr/lib/python3/dist-packages/x/sample.npy"
    package = [
        ("var/lib/dpkg/info/python3-x.list", f"/{owned}\n".encode()),
        ("var/lib/dpkg/status", b"Package: python3-x\nStatus: install ok installed\nVersion: 1\n"),
    ]
    trust = ModelTrust(models.trust, required=True)
    assert models.ask({}, trust=trust, extra=[(owned, EVIL), *package]).status is Status.NOT_APPLICABLE
    assert rules(models.ask({}, trust=trust, extra=[(owned, EVIL)])) == {"unsigned-model"}


@pytest.mark.parametrize("by", ["key", "keyless", "certificate"])
def test_a_signer_whom_the_policy_does_not_name_only_warns(models: Models, tmp_path: Path, by: str) -> None:
    """It vouches for nothing; where signatures are required it fails."""
    folder = models.write(FILES)
    if by == "certificate":
        signature = certified(models, tmp_path)[0]
    else:
        signature = models.by_key(folder) if by == "key" else models.keyless(models.payload(folder), STRANGER)
    root = models.trust.roots
    nobody = Trust(root, (Identity("somebody@else.example", "https://idp.example"),))
    result = models.ask({**FILES, "model.sig": signature}, trust=ModelTrust(nobody))
    assert result.status is Status.PASSED
    assert result.measured("verified") == 0
    assert rules(result, Level.WARNING)
    assert models.ask({**FILES, "model.sig": signature}, trust=ModelTrust(nobody, required=True)).status is (
        Status.FAILED
    )


def test_links_are_followed_only_where_the_signer_said_so(models: Models) -> None:
    """`allow_symlinks` of model-signing: inside the table of the image, never on a disk."""
    folder = models.write({"a.npy": EVIL})
    (folder / "b.npy").symlink_to("a.npy")
    config = HashingConfig().set_allow_symlinks(True)
    signature = models.by_key(folder, config)
    extra = [link("opt/model/b.npy", "a.npy")]
    assert models.ask({"a.npy": EVIL, "model.sig": signature}, extra=extra).status is Status.PASSED
    plain = models.by_key(models.write({"a.npy": EVIL, "b.npy": EVIL}))
    result = models.ask({"a.npy": EVIL, "model.sig": plain}, extra=extra)
    assert rules(result) == {"missing-file"}


# --- certificates of one's own ---------------------------------------------------------------------------------------


def certified(
    models: Models,
    tmp_path: Path,
    *,
    until: datetime = NOW + timedelta(days=30),
    root_until: datetime = NOW + timedelta(days=3650),
    usage: Any = None,
    signs: bool = True,
    name: str = "Model signing of the provider",
) -> tuple[bytes, bytes, str]:
    """A signature with a certificate of a two-level authority: bundle, root in PEM, subject."""
    root_key, middle_key = new_key(), new_key()
    root = _certificate("Provider root", root_key, "Provider root", root_key, ca=True, until=root_until)
    middle = _certificate("Provider issuing", middle_key, "Provider root", root_key, ca=True, parent=root)
    leaf = _certificate(
        name, models.key, "Provider issuing", middle_key, ca=False, parent=middle, until=until, usage=usage, signs=signs
    )
    for file, certificate in (("leaf", leaf), ("middle", middle), ("root", root)):
        (tmp_path / f"{file}.pem").write_bytes(pem(certificate))
    config = SigningConfig().use_certificate_signer(
        private_key=models.key_file(),
        signing_certificate=tmp_path / "leaf.pem",
        certificate_chain=[tmp_path / "middle.pem", tmp_path / "root.pem"],
    )
    config.sign(models.write(FILES), tmp_path / "certified.sig")
    return (tmp_path / "certified.sig").read_bytes(), pem(root), leaf.subject.rfc4514_string()


def _certificate(
    subject: str,
    key: Any,
    issuer: str,
    signing_key: Any,
    *,
    ca: bool,
    parent: x509.Certificate | None = None,
    until: datetime = NOW + timedelta(days=3650),
    usage: Any = None,
    signs: bool = True,
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(
            x509.KeyUsage(not ca and signs, False, not signs, False, False, ca, ca, False, False), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def test_a_certificate_counts_for_signatures_under_a_root_that_is_valid_now(models: Models, tmp_path: Path) -> None:
    """A root that has ended ends what it certified; a key that is for something else signs nothing."""
    signature, root, _ = certified(models, tmp_path, root_until=NOW + timedelta(days=1))
    trust = ModelTrust(Trust(), (ModelAuthority("provider", root),))
    files = {**FILES, "model.sig": signature}
    assert models.ask(files, trust=trust).status is Status.PASSED
    assert rules(models.ask(files, trust=trust, now=NOW + timedelta(days=2))) == {"chain"}
    signature, root, _ = certified(models, tmp_path, signs=False)
    trust = ModelTrust(Trust(), (ModelAuthority("provider", root),))
    assert rules(models.ask({**FILES, "model.sig": signature}, trust=trust)) == {"chain"}


def test_a_certificate_signs_the_list_that_its_subject_sums_up(models: Models, tmp_path: Path) -> None:
    """Truly signed by the right key: a statement about other files than it lists."""
    signature, root, _ = certified(models, tmp_path)
    bundle = json.loads(signature)
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    payload, kind = json.dumps(statement).encode(), envelope["payloadType"].encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(models.key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()
    trust = ModelTrust(Trust(), (ModelAuthority("provider", root),))
    result = models.ask({**FILES, "model.sig": json.dumps(bundle).encode()}, trust=trust)
    assert rules(result) == {"statement"}


def test_a_certificate_of_ones_own_authority_passes_while_it_is_valid(models: Models, tmp_path: Path) -> None:
    """Nothing proves when it was signed, so an expired one is refused; another subject and root too."""
    signature, root, subject = certified(models, tmp_path)
    files = {**FILES, "model.sig": signature}

    def ask(authority: ModelAuthority, **more: Any) -> CheckResult:
        return models.ask(files, trust=ModelTrust(Trust(), (authority,)), **more)

    result = ask(ModelAuthority("provider", root, subject))
    assert result.status is Status.PASSED, [finding.message for finding in result.findings]
    assert result.measured("signers") == subject
    assert ask(ModelAuthority("provider", root)).status is Status.PASSED
    assert rules(ask(ModelAuthority("provider", root, "CN=Somebody else"))) == {"identity"}
    assert rules(ask(ModelAuthority("provider", root), now=NOW + timedelta(days=31))) == {"chain"}
    other = pem(_certificate("Provider root", key := new_key(), "Provider root", key, ca=True))
    assert "chain" in rules(ask(ModelAuthority("provider", other)))
    wrong, its_root, _ = certified(models, tmp_path, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    files["model.sig"] = wrong
    assert rules(ask(ModelAuthority("provider", its_root))) == {"chain"}
    with pytest.raises(InvalidInput):
        ModelAuthority("provider", b"no certificate")


# --- bounds, and what cannot be decided ---------------------------------------------------------------------------


def test_a_huge_list_is_refused_before_it_is_read() -> None:
    """One resource too many."""
    one = {"name": "a", "algorithm": "sha256", "digest": "0" * 64}
    predicate = {
        "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
        "resources": [one] * 100_001,
    }
    with pytest.raises(StepFailed, match="100,000"):
        read_signed(Statement(("0" * 64,), "https://model_signing/signature/v1.0", predicate))


def test_more_signatures_than_anybody_has_are_inconclusive(models: Models) -> None:
    """65 bundles: somebody plays for time."""
    good = models.by_key(models.write(FILES))
    result = models.ask({f"{number}.sig": good for number in range(65)})
    assert result.status is Status.INCONCLUSIVE


def test_content_beyond_the_bounds_is_inconclusive(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that no inventory kept and that is too large to be read again for its BLAKE2."""
    monkeypatch.setattr("checks.model_signatures.contents.MAX_REREAD_BYTES", 10)
    files = {"table.dat": b"x" * 4000}
    signature = models.by_key(models.write(files), HASHINGS["files, BLAKE2"]())
    assert models.ask({**files, "model.sig": signature}).status is Status.INCONCLUSIVE


def test_blake3_without_its_package_is_inconclusive(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core does not bring it."""
    signature = models.by_key(models.write(FILES), HASHINGS["files, BLAKE3"]())
    monkeypatch.setattr("checks.model_signatures.contents.find_spec", lambda name: None)
    result = models.ask({**FILES, "model.sig": signature})
    assert result.status is Status.INCONCLUSIVE
    assert "blake3" in result.findings[0].fix


def test_a_large_model_is_hashed_from_the_work_directory(models: Models) -> None:
    """Spooled by the inventory, not held in memory."""
    big = {"weights.npy": b"\x93NUMPY" + bytes(300_000), "config.json": b"{}"}
    limits = replace(ImageLimits(), kept_file_bytes=1000)
    signature = models.by_key(models.write(big), HASHINGS["shards"]())
    assert models.ask({**big, "model.sig": signature}, limits=limits).status is Status.PASSED
    big["weights.npy"] = big["weights.npy"][:-1] + b"\1"
    assert rules(models.ask({**big, "model.sig": signature}, limits=limits)) == {"changed-file"}


def test_a_root_that_cannot_be_believed_is_inconclusive(models: Models) -> None:
    """As for images."""
    trust = models.trust
    signature = models.by_key(models.write(FILES))
    trust.roots[0].path.write_bytes(b"{}")
    assert models.ask({**FILES, "model.sig": signature}, trust=ModelTrust(trust)).status is Status.INCONCLUSIVE


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, VALUES, VALUES)
def test_any_predicate_is_read_or_refused(how: Any, resources: Any, name: Any) -> None:
    """The reader raises `StepFailed` and nothing else."""
    listed = [{"name": name, "algorithm": "sha256", "digest": "0" * 64}, resources]
    for predicate in ({"serialization": how, "resources": listed}, {"resources": resources}, how):
        with pytest.raises(StepFailed):
            read_signed(Statement(("0" * 64,), "https://model_signing/signature/v1.0", predicate))


@pytest.mark.parametrize("size", [float("inf"), float("nan"), 1.5, True, "64", None, 0, 1 << 51])
def test_a_size_of_pieces_that_is_none_is_refused(size: object) -> None:
    """Protobuf writes numbers in more ways than one; these are none of them, or too large."""
    how = {"method": "shards", "hash_type": "sha256", "allow_symlinks": False, "shard_size": size}
    listed = [{"name": "a:0:1", "algorithm": f"sha256-sharded-{size}", "digest": "0" * 64}]
    with pytest.raises(StepFailed, match="the size of the pieces"):
        read_signed(
            Statement(("0" * 64,), "https://model_signing/signature/v1.0", {"serialization": how, "resources": listed})
        )


def test_p384_keys_sign_models_too(models: Models) -> None:
    """With SHA-384, as model-signing pairs them."""
    other = Models(models.directory, models.sigstore, ec.generate_private_key(ec.SECP384R1()))
    assert other.ask({**FILES, "model.sig": other.by_key(other.write(FILES))}).status is Status.PASSED
    assert serialization.load_pem_public_key(other.public_key)


def test_a_key_of_the_policy_that_is_none_believes_nobody(models: Models) -> None:
    """The check answers all the same."""
    trust = ModelTrust(Trust(keys=(ManagedKey("broken", b"no key"),)))
    signature = models.by_key(models.write(FILES))
    result = models.ask({**FILES, "model.sig": signature}, trust=trust)
    assert result.measured("verified") == 0
    required = models.ask({**FILES, "model.sig": signature}, trust=replace(trust, required=True))
    assert required.status is Status.FAILED


@pytest.mark.parametrize("name", ["release.sig", "image.sigstore.json"])
def test_signatures_of_other_things_are_no_models(models: Models, name: str) -> None:
    """`cosign sign-blob` and `cosign sign` leave files of the same names; they say nothing of a model."""
    blob = models.sigstore.sign_blob(FILES["weights.npy"], SIGNER, ISSUER)
    image = models.sigstore.sign_image(sha256_bytes(b"an image"), SIGNER, ISSUER)
    for signature in (blob, image):
        assert models.ask({**FILES, name: signature.encode()}).status is Status.NOT_APPLICABLE


def test_two_signatures_lie_beside_one_model(models: Models) -> None:
    """Provider and reviewer signed; neither lists the other's signature."""
    payload = models.payload(models.write(FILES))
    files = {**FILES, "model.sig": models.keyless(payload), "review.sig": models.by_key(models.write(FILES))}
    result = models.ask(files)
    assert (result.status, result.measured("verified")) == (Status.PASSED, 2)
    files["config.json"] = b"{}"
    assert rules(models.ask(files)) == {"changed-file"}


def test_a_list_of_many_ignored_paths_costs_little() -> None:
    """Each file is compared with its own parents, not with every path that was left out."""
    predicate = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [f"cache/{number}" for number in range(100_000)],
        },
        "resources": [{"name": "a", "algorithm": "sha256", "digest": "0" * 64}],
    }
    model, _ = read_signed(Statement(("0" * 64,), "https://model_signing/signature/v1.0", predicate))
    assert model.ignores("cache/99999/deep/down")
    assert not any(model.ignores(f"data/{number}") for number in range(20_000))
