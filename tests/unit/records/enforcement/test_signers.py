"""Whom a platform has to find signatures of: never more than the policy trusts, and all that it demands."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import Any

import cel
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from checks.provenance.trust import Identity, ManagedKey
from examples.signing.private_sigstore import PrivateSigstore
from pratique.errors import InvalidInput
from records.enforcement import SignatureForm, Signers, Target, export
from records.enforcement.roots import SigstoreRoot, read_root
from records.enforcement.signers import demands
from tests.unit.records.enforcement.bench import NOW, REPOSITORY, digest, image, read

ALICE = Identity("release@provider.example", "https://idp.example")
BOB = Identity("bob@provider.example", "https://idp.example")
WORKFLOW = Identity(
    r"https://github\.com/org/repo/\.github/workflows/[a-z]+\.yml@.*", r"https://idp\.example", regexp=True
)
VERIFIERS = (Target.KYVERNO, Target.KYVERNO_CEL, Target.POLICY_CONTROLLER, Target.CONTAINERS_POLICY)
TAG, BUNDLE = SignatureForm.TAG, SignatureForm.BUNDLE


def _root(rekor: int = 1) -> SigstoreRoot:
    return read_root(PrivateSigstore(rekor, now=lambda: NOW).trusted_root_json, NOW)


@pytest.fixture(scope="module")
def root() -> SigstoreRoot:
    """A private instance with Rekor v1."""
    return _root()


@pytest.fixture(scope="module")
def other_root() -> SigstoreRoot:
    """Another one."""
    return _root()


def _key(name: str = "release", **window: Any) -> ManagedKey:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return ManagedKey(name, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), **window)


def _exported(target: Target, signers: Signers) -> list[Any]:
    return read(target, export(target, [image()], signers, moment=NOW).text)


def _attestors(documents: list[Any]) -> dict[str, Any]:
    """The one attestor set of a Kyverno policy."""
    (verify,) = documents[0]["spec"]["rules"][1]["verifyImages"]
    (attestors,) = verify["attestors"] if "attestors" in verify else verify["attestations"][0]["attestors"]
    return dict(attestors)


def _policies(documents: list[Any]) -> list[Any]:
    return [document["spec"] for document in documents if document["kind"] == "ClusterImagePolicy"]


# --- Kyverno ---------------------------------------------------------------------------------------------------------


def test_kyverno_verifies_tags_against_the_policys_own_root(root: SigstoreRoot) -> None:
    """Certificates, log and certificate log, none of which is left to Kyverno's defaults."""
    documents = _exported(Target.KYVERNO, Signers((ALICE,), roots=(root,), form=TAG))
    verify = documents[0]["spec"]["rules"][1]["verifyImages"][0]
    assert verify["type"] == "Cosign"
    assert verify["imageReferences"] == ["*"]
    (entry,) = _attestors(documents)["entries"]
    assert entry["keyless"] == {
        "subject": ALICE.subject,
        "issuer": ALICE.issuer,
        "roots": root.chains,
        "rekor": {"url": root.logs[0].url, "pubkey": root.logs[0].key},
        "ctlog": {"pubkey": root.ct_logs[0].key},
    }


def test_kyverno_takes_no_other_statement_for_a_signature(root: SigstoreRoot) -> None:
    """A bundle counts by cosign's own predicate type alone."""
    documents = _exported(Target.KYVERNO, Signers((ALICE,), roots=(root,), form=BUNDLE))
    verify = documents[0]["spec"]["rules"][1]["verifyImages"][0]
    assert verify["type"] == "SigstoreBundle"
    assert "attestors" not in verify
    assert [one["type"] for one in verify["attestations"]] == ["https://sigstore.dev/cosign/sign/v1"]


@pytest.mark.parametrize(("need", "count"), [(1, 1), (2, 2), ("all", 2)])
def test_kyverno_counts_signers(root: SigstoreRoot, need: Any, count: int) -> None:
    """Each signer is one entry of which `need` must be found."""
    attestors = _attestors(_exported(Target.KYVERNO, Signers((ALICE, BOB), roots=(root,), need=need, form=TAG)))
    assert (attestors["count"], len(attestors["entries"])) == (count, 2)


def test_kyverno_counts_a_signer_once_whatever_the_root(root: SigstoreRoot, other_root: SigstoreRoot) -> None:
    """Two ways to verify one signer are no two signers."""
    attestors = _attestors(_exported(Target.KYVERNO, Signers((ALICE,), roots=(root, other_root), form=TAG)))
    (entry,) = attestors["entries"]
    assert entry["attestor"]["count"] == 1
    assert {one["keyless"]["roots"] for one in entry["attestor"]["entries"]} == {root.chains, other_root.chains}


def test_kyverno_never_expands_an_exact_subject(root: SigstoreRoot) -> None:
    """A star in an address is a star, so it goes as an expression that means just it."""
    star = Identity("re*lea?e@provider.example", "https://idp.example")
    attestors = _attestors(_exported(Target.KYVERNO, Signers((star,), roots=(root,), form=TAG)))
    expression = attestors["entries"][0]["keyless"]["subjectRegExp"]
    assert re.search(expression, "re*lea?e@provider.example")
    assert not re.search(expression, "release@provider.example")


def test_kyverno_ignores_keys_in_bundles_so_they_are_not_given(root: SigstoreRoot) -> None:
    """It would pass over them in silence."""
    exported = export(Target.KYVERNO, [image()], Signers((ALICE,), (_key(),), (root,)), moment=NOW)
    assert '"release" is left out' in exported.warnings[0]
    with pytest.raises(InvalidInput, match="0 can be named"):
        export(Target.KYVERNO, [image()], Signers(keys=(_key(),), roots=(root,)), moment=NOW)


@pytest.mark.parametrize("require_log_entry", [True, False])
def test_kyverno_keys(root: SigstoreRoot, require_log_entry: bool) -> None:
    """With the log's key where an entry is demanded, expressly without a log where it is not."""
    signers = Signers(keys=(_key(),), roots=(root,), require_log_entry=require_log_entry, form=TAG)
    (entry,) = _attestors(_exported(Target.KYVERNO, signers))["entries"]
    assert entry["keys"]["rekor"].get("ignoreTlog", False) is not require_log_entry
    assert ("pubkey" in entry["keys"]["rekor"]) is require_log_entry


# --- Kyverno's policies in CEL ---------------------------------------------------------------------------------------


def _counted(documents: list[Any], signed: set[str]) -> list[bool]:
    """Whether each of the policy's demands holds where the attestors in `signed` find a signature."""
    spec = documents[1]["spec"]
    found = []
    for validation in spec["validations"]:
        text = validation["expression"]
        for call in re.findall(r"verifyImageSignatures\(i, \[([^\]]+)\]\)", text):
            names = {name.removeprefix("attestors.") for name in call.split(", ")}
            assert names <= {one["name"] for one in spec["attestors"]}
            text = text.replace(f"verifyImageSignatures(i, [{call}])", str(len(names & signed)))
        lists = {name: ["an image"] for name in ("containers", "initContainers", "ephemeralContainers")}
        found.append(bool(cel.evaluate(text, {"images": lists})))
    return found


@pytest.mark.parametrize(("need", "enough"), [(1, 1), (2, 2), ("all", 2)])
def test_kyverno_cel_counts_signers_not_ways(
    root: SigstoreRoot, other_root: SigstoreRoot, need: Any, enough: int
) -> None:
    """Two roots are two ways to verify one signer, and no two signers; every list of images is looked at."""
    signers = Signers((ALICE, BOB), roots=(root, other_root), need=need, form=TAG)
    documents = _exported(Target.KYVERNO_CEL, signers)
    assert len(documents[1]["spec"]["attestors"]) == 4
    assert _counted(documents, set()) == [False] * 3
    assert _counted(documents, {"signer1way1", "signer1way2"}) == [enough == 1] * 3
    assert _counted(documents, {"signer1way2", "signer2way1"}) == [True] * 3


def test_kyverno_cel_verifies_against_the_policys_own_root(root: SigstoreRoot) -> None:
    """Certificates, log and certificate log, none of which is left to Kyverno's defaults."""
    (attestor,) = _exported(Target.KYVERNO_CEL, Signers((ALICE,), roots=(root,), form=TAG))[1]["spec"]["attestors"]
    assert attestor["cosign"] == {
        "keyless": {"identities": [{"subject": ALICE.subject, "issuer": ALICE.issuer}], "roots": root.chains},
        "ctlog": {"url": root.logs[0].url, "rekorPubKey": root.logs[0].key, "ctLogPubKey": root.ct_logs[0].key},
    }


@pytest.mark.parametrize("require_log_entry", [True, False])
def test_kyverno_cel_keys(root: SigstoreRoot, require_log_entry: bool) -> None:
    """With the log's key where an entry is demanded, expressly without a log where it is not."""
    signers = Signers(keys=(_key(),), roots=(root,), require_log_entry=require_log_entry, form=TAG)
    (attestor,) = _exported(Target.KYVERNO_CEL, signers)[1]["spec"]["attestors"]
    assert ("rekorPubKey" in attestor["cosign"]["ctlog"]) is require_log_entry
    assert attestor["cosign"]["ctlog"].get("insecureIgnoreTlog", False) is not require_log_entry


def test_kyverno_cel_demands_no_bundles(root: SigstoreRoot) -> None:
    """Its releases read them differently; a demand that some of them do not make is no demand."""
    with pytest.raises(InvalidInput, match="do not agree"):
        export(Target.KYVERNO_CEL, [image()], Signers((ALICE,), roots=(root,), form=BUNDLE), moment=NOW)


def test_nothing_admitted_asks_for_no_signature(root: SigstoreRoot) -> None:
    """Where everything is denied, nothing could be signed well enough."""
    for target in VERIFIERS:
        assert export(target, [], Signers((ALICE,), roots=(root,)), moment=NOW) == export(target, [], moment=NOW)


# --- policy-controller -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "named"), [(TAG, "legacy"), (BUNDLE, "bundle")])
def test_policy_controller_gets_the_policys_own_root(root: SigstoreRoot, form: SignatureForm, named: str) -> None:
    """As a TrustRoot that every authority refers to."""
    documents = _exported(Target.POLICY_CONTROLLER, Signers((ALICE,), roots=(root,), form=form))
    (trust_root,) = [document for document in documents if document["kind"] == "TrustRoot"]
    chain = trust_root["spec"]["sigstoreKeys"]["certificateAuthorities"][0]["certChain"]
    assert base64.b64decode(chain).decode() == root.chains
    (policy,) = _policies(documents)
    (authority,) = policy["authorities"]
    assert authority["keyless"]["trustRootRef"] == authority["ctlog"]["trustRootRef"] == root.name
    assert authority["keyless"]["identities"] == [{"subject": ALICE.subject, "issuer": ALICE.issuer}]
    assert authority["signatureFormat"] == named


def test_policy_controller_one_of_several(root: SigstoreRoot) -> None:
    """Are the authorities of one policy."""
    (policy,) = _policies(_exported(Target.POLICY_CONTROLLER, Signers((ALICE, BOB), (_key(),), (root,))))
    assert len(policy["authorities"]) == 3


def test_policy_controller_all_of_several(root: SigstoreRoot, other_root: SigstoreRoot) -> None:
    """Are a policy each, since policies add up and authorities do not."""
    signers = Signers((ALICE, BOB), roots=(root, other_root), need="all")
    policies = _policies(_exported(Target.POLICY_CONTROLLER, signers))
    assert [len(policy["authorities"]) for policy in policies] == [2, 2]
    assert all(policy["images"] == [{"glob": f"{REPOSITORY}@{digest('a')}"}] for policy in policies)
    subjects = [
        {one["subject"] for authority in policy["authorities"] for one in authority["keyless"]["identities"]}
        for policy in policies
    ]
    assert subjects == [{ALICE.subject}, {BOB.subject}]


def test_policy_controller_cannot_count(root: SigstoreRoot) -> None:
    """Two of three is refused, not rounded."""
    with pytest.raises(InvalidInput, match="not 2 of 3"):
        _exported(Target.POLICY_CONTROLLER, Signers((ALICE, BOB), (_key(),), (root,), need=2))


# --- containers policy -----------------------------------------------------------------------------------------------


def _requirements(signers: Signers) -> list[Any]:
    (policy,) = _exported(Target.CONTAINERS_POLICY, signers)
    return list(policy["transports"]["docker"][f"{REPOSITORY}@{digest('a')}"])


def test_containers_policy_with_certificates(root: SigstoreRoot) -> None:
    """Of the policy's own authority, for one e-mail address, with its log."""
    (requirement,) = _requirements(Signers((ALICE,), roots=(root,), form=TAG))
    assert base64.b64decode(requirement["fulcio"]["caData"]).decode() == root.chains
    assert requirement["fulcio"]["subjectEmail"] == ALICE.subject
    assert requirement["fulcio"]["oidcIssuer"] == ALICE.issuer
    assert base64.b64decode(requirement["rekorPublicKeyData"]).decode() == root.logs[0].key


@pytest.mark.parametrize("require_log_entry", [True, False])
def test_containers_policy_with_a_key(root: SigstoreRoot, require_log_entry: bool) -> None:
    """The policy's key, and the log's where an entry is demanded."""
    key = _key()
    signers = Signers(keys=(key,), roots=(root,), require_log_entry=require_log_entry, form=TAG)
    (requirement,) = _requirements(signers)
    assert base64.b64decode(requirement["keyData"]) == key.public_key
    assert ("rekorPublicKeyData" in requirement) is require_log_entry


def test_containers_policy_all_of_several(root: SigstoreRoot) -> None:
    """Requirements add up."""
    assert len(_requirements(Signers((ALICE, BOB), (_key(),), (root,), need="all", form=TAG))) == 3


def test_containers_policy_refuses_what_it_cannot_demand(root: SigstoreRoot, other_root: SigstoreRoot) -> None:
    """Each time with the way out: the digest alone."""
    impossible = {
        "no 1 of 2": Signers((ALICE, BOB), roots=(root,), form=TAG),
        "no bundles": Signers((ALICE,), roots=(root,), form=BUNDLE),
        "e-mail address only": Signers((WORKFLOW,), roots=(root,), form=TAG),
        "key of one log": Signers((ALICE,), roots=(root, other_root), form=TAG),
        "trusted roots have 0": Signers((ALICE,), roots=(_root(rekor=2),), form=TAG),
    }
    for cause, signers in impossible.items():
        with pytest.raises(InvalidInput, match=cause) as refused:
            _requirements(signers)
        assert "--signatures none" in refused.value.next_step


# --- what cannot be said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", VERIFIERS)
def test_an_empty_trust_is_refused(target: Target, root: SigstoreRoot) -> None:
    """It must never come out as no demand at all."""
    with pytest.raises(InvalidInput, match="0 can be named"):
        export(target, [image()], Signers(roots=(root,), form=TAG), moment=NOW)


@pytest.mark.parametrize("target", VERIFIERS)
def test_no_root_is_refused(target: Target) -> None:
    """A certificate that nothing vouches for proves nothing."""
    with pytest.raises(InvalidInput, match="cannot be told"):
        export(target, [image()], Signers((ALICE,), form=TAG), moment=NOW)


LEFT_OUT = {
    "claims": Identity("s", "i", claims=(("source-repository", "org/repo"),)),
    "RE2": Identity(r"(?=a)release@.*", "https://idp.example", regexp=True),
}


@pytest.mark.parametrize("why", LEFT_OUT)
def test_what_has_no_equal_is_left_out_and_said(why: str, root: SigstoreRoot) -> None:
    """And where the policy demands all, refused."""
    demanded = demands(Signers((ALICE, LEFT_OUT[why]), roots=(root,)), NOW)
    assert [identity.fields["subject"] for identity in demanded.identities] == [ALICE.subject]
    assert why in demanded.warnings[0]
    with pytest.raises(InvalidInput, match="demands 2 signers, and 1 can be named"):
        demands(Signers((ALICE, LEFT_OUT[why]), roots=(root,), need="all"), NOW)


def test_keys_outside_their_window_are_left_out() -> None:
    """No platform could be told of the window."""
    day = timedelta(days=1)
    keys = (_key("early", not_before=NOW + day), _key("late", not_after=NOW - day), _key("now", not_after=NOW))
    demanded = demands(Signers(keys=keys), NOW)
    assert [key.name for key in demanded.keys] == ["now"]
    assert ["early" in demanded.warnings[0], "late" in demanded.warnings[1]] == [True, True]


def test_keys_are_written_anew() -> None:
    """What a key file holds beside the key goes nowhere, and its hash is named."""
    public = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (key,) = demands(Signers(keys=(ManagedKey("k", pem + b"trailing: {{ x }}\n"),)), NOW).keys
    assert (key.pem.encode(), key.hash_name) == (pem, "sha384")
    ed = ed25519.Ed25519PrivateKey.generate().public_key()
    (key,) = demands(
        Signers(keys=(ManagedKey("k", ed.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),)), NOW
    ).keys
    assert key.hash_name == "sha256"
    with pytest.raises(InvalidInput) as refused:
        demands(Signers(keys=(ManagedKey("k", b"nonsense"),)), NOW)
    assert refused.value.rule == "enforcement/key"


def test_demands_that_no_platform_repeats_are_said(root: SigstoreRoot) -> None:
    """Timestamps and attestations were verified at the admission."""
    signers = Signers((ALICE,), roots=(root,), require_timestamp=True, attestations=("https://slsa.dev/provenance/v1",))
    warnings = export(Target.POLICY_CONTROLLER, [image()], signers, moment=NOW).warnings
    assert ["slsa.dev" in warnings[0], "timestamps" in warnings[1]] == [True, True]
