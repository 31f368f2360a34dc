"""Attestations that a policy demands, workflow claims, and how many must sign: what counts and what does not."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checks.interface import CheckResult, Level, Status
from checks.provenance import COSIGN_SIGN, Attestation, Identity, SignatureFile, Trust, check_provenance
from checks.provenance.attestations import require_content
from checks.provenance.statement import Statement
from checks.provenance.steps import StepFailed
from checks.provenance.trust import CLAIMS
from examples.signing.private_sigstore import Options
from examples.signing.services import new_key, pem
from pratique.errors import InvalidInput
from tests.assets.clocks import fixed_clock
from tests.unit.checks.provenance.bench import (
    BUILDER,
    IMAGE,
    ISSUER,
    NOW,
    OTHER_IMAGE,
    PROVENANCE,
    SIGNER,
    SLSA_V1,
    SOURCE,
    STRANGER,
    Bench,
    Case,
    errors,
    managed_key,
    statement,
)

SLSA_V02 = "https://slsa.dev/provenance/v0.2"
CYCLONEDX = "https://cyclonedx.org/bom"
VULNS = "https://in-toto.io/attestation/vulns/v0.2"
BUILD_BOT = "https://ci.example/builders/.ci/build.yml@refs/tags/v1"
OLD_PROVENANCE = {
    "buildType": "https://ci.example/workflow/v1",
    "builder": {"id": BUILDER},
    "invocation": {"configSource": {"uri": f"git+{SOURCE}@refs/heads/main"}},
    "materials": [{"uri": "pkg:docker/python@3.11"}],
}
SCAN = {"scanner": {"uri": "https://scanner.example"}, "metadata": {"scanFinishedOn": "2025-06-01T00:00:00Z"}}
GOOD: dict[str, Any] = {
    SLSA_V1: PROVENANCE,
    SLSA_V02: OLD_PROVENANCE,
    CYCLONEDX: {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []},
    VULNS: SCAN,
    "https://example.com/review/v1": {"ok": True},
}


def ask(bench: Bench, payload: bytes, *demands: Attestation, signer: str = SIGNER, **trust: Any) -> CheckResult:
    """An image signature, and beside it an attestation by `signer`."""
    bundles = [bench.v2.sign_image(IMAGE, SIGNER, ISSUER), bench.v2.sign_payload(payload, signer, ISSUER)]
    return bench.check(Case(bundles, trust={"attestations": demands, **trust}))


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("version", ["v1", "v0.1"])
def test_a_demanded_attestation_passes_beside_the_signature(bench: Bench, kind: str, version: str) -> None:
    """Of each type, in statements of both versions; verified like a signature, and counted apart."""
    result = ask(bench, statement(kind, GOOD[kind], version=version), Attestation(kind))
    assert (result.status, result.measured("verified"), result.measured("attestations")) == (Status.PASSED, 1, 1)


@pytest.mark.parametrize("predicate", [(SLSA_V1, PROVENANCE), (SLSA_V02, OLD_PROVENANCE)], ids=["v1", "v0.2"])
@pytest.mark.parametrize(
    "demand",
    [
        {"builders": (BUILDER,)},
        {"sources": (SOURCE,)},
        {"sources": (f"git+{SOURCE}@refs/heads/main",)},
        {"builders": ("https://else.example", BUILDER), "sources": (SOURCE,)},
        {"builders": (r"https://ci\.example/.+@v\d+",), "sources": (r".*/provider/.*",), "regexp": True},
    ],
)
def test_provenance_of_the_demanded_builder_and_source_passes(
    bench: Bench, predicate: tuple[str, Any], demand: dict[str, Any]
) -> None:
    """One of the builders and one of the sources."""
    kind, said = predicate
    assert ask(bench, statement(kind, said), Attestation(kind, **demand)).status is Status.PASSED


def test_who_may_attest_may_not_sign_for_that(bench: Bench) -> None:
    """The builder's identity is asked for its provenance alone; the provider's signature of it does not do."""
    bot = Identity(BUILD_BOT, ISSUER)
    demand = Attestation(SLSA_V1, identities=(bot,), builders=(BUILDER,))
    payload = statement(SLSA_V1, PROVENANCE)
    assert ask(bench, payload, demand, signer=BUILD_BOT).status is Status.PASSED
    assert "missing-attestation" in errors(ask(bench, payload, demand))
    bundles = [bench.v2.sign_image(IMAGE, BUILD_BOT, ISSUER), bench.v2.sign_payload(payload, BUILD_BOT, ISSUER)]
    result = bench.check(Case(bundles, trust={"attestations": (demand,)}))
    assert "too-few-signers" in errors(result)


def old_layer(bundle: str) -> tuple[bytes, dict[str, str]]:
    """What cosign 2 leaves under the tag `.att`: the envelope, and annotations with certificate and log entry."""
    document = json.loads(bundle)
    material = document["verificationMaterial"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(material["certificate"]["rawBytes"]))
    (entry,) = material["tlogEntries"]
    logged = {
        "body": entry["canonicalizedBody"],
        "integratedTime": int(entry["integratedTime"]),
        "logIndex": int(entry["logIndex"]),
        "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
    }
    promise = {"SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"], "Payload": logged}
    annotations = {
        "dev.cosignproject.cosign/signature": "",
        "dev.sigstore.cosign/certificate": pem(certificate).decode(),
        "dev.sigstore.cosign/bundle": json.dumps(promise),
    }
    return json.dumps(document["dsseEnvelope"]).encode(), annotations


@pytest.mark.parametrize("kind", ["intoto", "dsse"])
@pytest.mark.parametrize(
    ("attack", "status"),
    [("", Status.PASSED), ("payload", Status.FAILED), ("entry", Status.FAILED), ("no envelope", Status.FAILED)],
)
def test_an_attestation_of_cosign_2_as_it_lies_in_a_registry(
    bench: Bench, kind: str, attack: str, status: Status
) -> None:
    """Statement v0.1 in an envelope, the rest in annotations; not with another payload or another's log entry."""
    payload = statement(SLSA_V02, OLD_PROVENANCE, version="v0.1")
    data, annotations = old_layer(bench.v1.sign_payload(payload, SIGNER, ISSUER, Options(kind=kind)))
    if attack == "payload":
        other = base64.b64encode(statement(SLSA_V02, OLD_PROVENANCE, version="v0.1") + b" ").decode()
        data = json.dumps({**json.loads(data), "payload": other}).encode()
    elif attack == "entry":
        theirs = old_layer(bench.v1.sign_payload(payload, STRANGER, ISSUER, Options(kind=kind)))[1]
        annotations["dev.sigstore.cosign/bundle"] = theirs["dev.sigstore.cosign/bundle"]
    elif attack:
        data = b'{"payloadType": "application/vnd.in-toto+json"}'
    image, layer = bench.directory / "image", bench.directory / "layer"
    image.write_text(bench.v1.sign_image(IMAGE, SIGNER, ISSUER))
    layer.write_bytes(data)
    trust = Trust((bench.root_file(bench.v1.trusted_root),), (Identity(SIGNER, ISSUER),))
    demanded = replace(trust, attestations=(Attestation(SLSA_V02, builders=(BUILDER,)),))
    files = [SignatureFile(image, "image"), SignatureFile(layer, ".att tag, signature 1", annotations)]
    result = check_provenance(files, IMAGE, demanded, clock=fixed_clock(NOW))
    assert result.status is status, [finding.message for finding in result.findings]


def _without(*path: str) -> Any:
    changed = copy.deepcopy(PROVENANCE)
    target: Any = changed
    for part in path[:-1]:
        target = target[part]
    del target[path[-1]]
    return changed


WRONG: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "provenance by another builder": (
        SLSA_V1,
        PROVENANCE,
        {"builders": ("https://else.example",)},
        "attestation-content",
    ),
    "provenance of another source": (SLSA_V1, PROVENANCE, {"sources": (SOURCE + "-fork",)}, "attestation-content"),
    "a builder that only starts like the pattern": (
        SLSA_V1,
        PROVENANCE,
        {"builders": ("https://ci",), "regexp": True},
        "attestation-content",
    ),
    "a pattern taken literally": (SLSA_V1, PROVENANCE, {"builders": (".*",)}, "attestation-content"),
    "provenance without a builder": (SLSA_V1, _without("runDetails", "builder"), {}, "attestation-content"),
    "provenance without a build type": (SLSA_V1, _without("buildDefinition", "buildType"), {}, "attestation-content"),
    "provenance that is a list": (SLSA_V1, [PROVENANCE], {}, "attestation-content"),
    "provenance that is text": (SLSA_V1, "built with care", {}, "attestation-content"),
    "provenance that is null": (SLSA_V1, None, {}, "attestation-content"),
    "a builder that is a number": (
        SLSA_V1,
        {**PROVENANCE, "runDetails": {"builder": {"id": 7}}},
        {},
        "attestation-content",
    ),
    "sources that are no list": (
        SLSA_V02,
        {**OLD_PROVENANCE, "materials": {"uri": SOURCE}, "invocation": {}},
        {"sources": (SOURCE,)},
        "attestation-content",
    ),
    "a bill of materials of another format": (CYCLONEDX, {"spdxVersion": "2.3"}, {}, "attestation-content"),
    "a scan without a scanner": (VULNS, {"metadata": {}}, {}, "attestation-content"),
    "a builder demanded of what has none": (CYCLONEDX, GOOD[CYCLONEDX], {"builders": ("x",)}, "attestation-content"),
    "no predicate at all": ("https://example.com/review/v1", None, {}, "attestation-content"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_attestation_that_does_not_say_enough_fails(bench: Bench, name: str) -> None:
    """Truly signed by somebody trusted; the result says what it says and what is asked for."""
    kind, predicate, demand, rule = WRONG[name]
    result = ask(bench, statement(kind, predicate), Attestation(kind, **demand))
    assert result.status is Status.FAILED
    assert rule in errors(result)
    assert all(finding.fix for finding in result.findings if finding.level is Level.ERROR)


MISSING: dict[str, Callable[[Bench], CheckResult]] = {
    "of another type": lambda bench: ask(bench, statement(SLSA_V02, OLD_PROVENANCE), Attestation(SLSA_V1)),
    "of a type that only starts alike": lambda bench: ask(
        bench, statement(SLSA_V1 + ".1", PROVENANCE), Attestation(SLSA_V1)
    ),
    "of another image": lambda bench: ask(
        bench, statement(SLSA_V1, PROVENANCE, image=OTHER_IMAGE), Attestation(SLSA_V1)
    ),
    "by a stranger": lambda bench: ask(bench, statement(SLSA_V1, PROVENANCE), Attestation(SLSA_V1), signer=STRANGER),
    "one of two": lambda bench: ask(
        bench, statement(SLSA_V1, PROVENANCE), Attestation(SLSA_V1), Attestation(CYCLONEDX)
    ),
    "an image signature in its place": lambda bench: ask(bench, statement(COSIGN_SIGN, {}), Attestation(SLSA_V1)),
    "a signature of a bill of materials as a file": lambda bench: bench.check(
        Case(
            [bench.v2.sign_image(IMAGE, SIGNER, ISSUER), bench.v2.sign_blob(b"bom", SIGNER, ISSUER)],
            trust={"attestations": (Attestation(CYCLONEDX),)},
        )
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_an_attestation_that_does_not_count_is_missing(bench: Bench, name: str) -> None:
    """Whatever else is signed beside the image."""
    result = MISSING[name](bench)
    assert (result.status, "missing-attestation" in errors(result)) == (Status.FAILED, True)


@pytest.mark.parametrize("kind", [SLSA_V1, "", COSIGN_SIGN])
def test_a_demand_that_cannot_be_met_is_refused(kind: str) -> None:
    """An image signature is no attestation; a broken pattern would match nothing."""
    with pytest.raises(InvalidInput):
        Attestation(kind, builders=("(",), regexp=True)
    if kind != SLSA_V1:
        with pytest.raises(InvalidInput):
            Attestation(kind)


# --- workflow claims -------------------------------------------------------------------------------------------------

WORKFLOW = "https://ci.example/provider/tool/.ci/release.yml@refs/heads/main"
RAW = {"2": "push", "3": "0" * 40, "4": "release", "5": "provider/tool", "6": "refs/heads/main"}
DER = {"11": "github-hosted", "12": "https://ci.example/provider/tool", "14": "refs/heads/main", "20": "push"}


def claimed(bench: Bench, identity: Identity) -> CheckResult:
    """A signature by a workflow with GitHub's claims, old and new."""
    options = Options(issue={"claims": DER, "raw_claims": RAW})
    bundle = bench.v2.sign_image(IMAGE, WORKFLOW, ISSUER, options)
    return bench.check(Case([bundle], trust={"identities": (identity,)}))


def workflow(*claims: tuple[str, str], regexp: bool = False) -> Identity:
    return Identity(WORKFLOW if not regexp else ".*", ISSUER if not regexp else ".*", regexp, claims)


@pytest.mark.parametrize(
    "identity",
    [
        workflow(("source-repository", "https://ci.example/provider/tool"), ("runner-environment", "github-hosted")),
        workflow(("github-workflow-repository", "provider/tool"), ("github-workflow-ref", "refs/heads/main")),
        workflow(("source-repository-ref", r"refs/(heads/main|tags/v[0-9.]+)"), regexp=True),
        workflow(
            ("source-repository", r"https://ci\.example/provider/[a-z-]+"), ("build-trigger", "push"), regexp=True
        ),
    ],
)
def test_a_workflow_with_the_demanded_claims_passes(bench: Bench, identity: Identity) -> None:
    """Exactly, or by expressions that match in full; old and new extensions."""
    assert claimed(bench, identity).status is Status.PASSED


@pytest.mark.parametrize(
    "identity",
    [
        workflow(("source-repository", "https://ci.example/provider/tool/")),
        workflow(("source-repository-ref", "refs/heads/.*")),
        workflow(("source-repository-ref", "refs/heads"), regexp=True),
        workflow(("source-repository-ref", "heads/main"), regexp=True),
        workflow(("build-signer-uri", ".*"), regexp=True),
        workflow(("runner-environment", "self-hosted")),
        workflow(("github-workflow-repository", "provider/Tool")),
        workflow(("source-repository", "https://ci.example/provider/tool"), ("build-trigger", "schedule")),
    ],
)
def test_a_workflow_without_them_is_refused_and_told_which(bench: Bench, identity: Identity) -> None:
    """The finding names the claim, what it is, and what it should be."""
    result = claimed(bench, identity)
    assert "identity" in errors(result)
    told = next(finding for finding in result.findings if finding.rule_id == "provenance/identity")
    name, wanted = identity.claims[-1] if len(identity.claims) > 1 else identity.claims[0]
    assert name in told.message
    assert repr(wanted) in told.message


def test_a_claim_that_does_not_exist_is_refused_at_once() -> None:
    """It would match nobody, and nobody would know why."""
    with pytest.raises(InvalidInput, match="source-repository-digest"):
        Identity(SIGNER, ISSUER, claims=(("source-repo", "x"),))
    with pytest.raises(InvalidInput):
        Identity(SIGNER, ISSUER, True, (("source-repository", "("),))
    assert len(set(CLAIMS.values())) == len(CLAIMS)


# --- how many --------------------------------------------------------------------------------------------------------


def _counted(
    bench: Bench, need: Any, *signers: str, issuers: tuple[str, ...] = (ISSUER, "https://other.example")
) -> Any:
    key = new_key()
    trust = {
        "identities": tuple(Identity(one, issuer) for one in (SIGNER, STRANGER) for issuer in issuers),
        "keys": (managed_key(key),),
        "need": need,
    }
    bundles = []
    for signer in signers:
        name, _, issuer = signer.partition(" ")
        if name == "key":
            bundles.append(bench.v2.sign_image_with_key(IMAGE, key))
        else:
            bundles.append(bench.v2.sign_image(IMAGE, name, issuer or ISSUER))
    return bench.check(Case(bundles, trust=trust))


@pytest.mark.parametrize(
    ("need", "signers", "status"),
    [
        (1, ("key",), Status.PASSED),
        (2, (SIGNER, "key"), Status.PASSED),
        (2, (SIGNER, STRANGER), Status.PASSED),
        (3, (SIGNER, STRANGER, "key"), Status.PASSED),
        (2, (SIGNER, SIGNER), Status.FAILED),
        (2, ("key", "key"), Status.FAILED),
        (2, (SIGNER, f"{SIGNER} https://other.example"), Status.FAILED),
        (3, (SIGNER, STRANGER), Status.FAILED),
        ("all", (SIGNER, STRANGER, "key"), Status.FAILED),
        (6, (SIGNER, STRANGER, "key"), Status.FAILED),
    ],
)
def test_different_signers_are_counted(bench: Bench, need: Any, signers: tuple[str, ...], status: Status) -> None:
    """One person with two issuers is one signer; who signs twice signs once; more than there are refuses."""
    assert _counted(bench, need, *signers).status is status


@pytest.mark.parametrize(
    ("signers", "status"),
    [
        (("v1", "v2"), Status.FAILED),
        (("v1", "v2", STRANGER), Status.PASSED),
        (("v1", STRANGER), Status.PASSED),
        (("v1", SIGNER), Status.PASSED),
        ((SIGNER, "v1"), Status.PASSED),
        ((SIGNER,), Status.FAILED),
    ],
)
def test_two_signers_that_one_expression_accepts(bench: Bench, signers: tuple[str, ...], status: Status) -> None:
    """A provider that signs from two refs does not stand in for the second party; each entry needs its own signer."""
    workflow = "https://ci.example/group/tool/release.yml@refs/tags/"
    provider = Identity(rf"{re.escape(workflow)}.*|{re.escape(SIGNER)}", re.escape(ISSUER), regexp=True)
    trust = {"identities": (provider, Identity(SIGNER, ISSUER), Identity(STRANGER, ISSUER)), "need": 2}
    names = [workflow + one if one.startswith("v") else one for one in signers]
    bundles = [bench.v2.sign_image(IMAGE, name, ISSUER) for name in names]
    assert bench.check(Case(bundles, trust=trust)).status is status


def test_one_of_two_letter_cases_is_one_signer(bench: Bench) -> None:
    """Mail addresses that differ in case alone are one person's."""
    other = SIGNER.replace("release", "Release")
    trust = {"identities": (Identity(SIGNER, ISSUER), Identity(other, ISSUER)), "need": 2}
    bundles = [bench.v2.sign_image(IMAGE, one, ISSUER) for one in (SIGNER, other)]
    assert "too-few-signers" in errors(bench.check(Case(bundles, trust=trust)))
    assert Trust(identities=(Identity(SIGNER, ISSUER),)).emptiness()


WORDS = [
    "buildDefinition",
    "runDetails",
    "builder",
    "id",
    "buildType",
    "invocation",
    "configSource",
    "materials",
    "uri",
    "externalParameters",
    "workflow",
    "repository",
    "resolvedDependencies",
    "scanner",
    "metadata",
]
PREDICATES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PREDICATES, st.sampled_from(sorted(GOOD)), st.booleans())
def test_any_predicate_says_enough_or_is_refused(predicate: Any, kind: str, demanding: bool) -> None:
    """Whatever is signed: `StepFailed`, or words; never words where a builder is demanded that is not there."""
    demand = Attestation(kind, builders=(BUILDER,)) if demanding else Attestation(kind)
    try:
        said = require_content(Statement(("0" * 64,), kind, predicate), demand)
    except StepFailed:
        return
    assert isinstance(said, str)
    assert not demanding
