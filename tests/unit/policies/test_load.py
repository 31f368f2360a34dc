"""Policies are read strictly: a typing mistake never makes a node more lenient."""

from __future__ import annotations

import copy
import hashlib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from checks.provenance.trust import Identity
from examples.signing.private_sigstore import PrivateSigstore
from examples.signing.services import pem
from policies.load import DEFAULT_POLICY, load_policy
from policies.model import Outcome, Policy, Stage
from policies.rules import CHECKS, compile_expression
from pratique.digests import sha256_file
from pratique.errors import InvalidInput

MINIMAL: dict[str, Any] = {
    "apiVersion": "pratique/policy/v1",
    "name": "test",
    "rules": [
        {
            "id": "signed",
            "stage": "before-execution",
            "require": 'checks.provenance.status == "passed"',
            "otherwise": "refuse",
            "say": "Not signed.",
        }
    ],
}


def write(path: Path, document: Any) -> Path:
    with path.open("w") as stream:
        YAML(typ="safe").dump(document, stream)
    return path


def changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(MINIMAL), **fields}


def with_rule(**fields: Any) -> dict[str, Any]:
    document = copy.deepcopy(MINIMAL)
    document["rules"][0] |= fields
    return document


def test_the_shipped_policy_speaks_of_every_check_there_is() -> None:
    """Rules over all checks; it trusts nobody until told whom."""
    loaded = load_policy()
    asked = {name for rule in loaded.policy.rules for name in compile_expression(rule.require).checks}
    assert asked == CHECKS
    assert loaded.path == DEFAULT_POLICY
    assert loaded.digest == sha256_file(DEFAULT_POLICY)
    assert loaded.trust().emptiness()


def test_the_shipped_trusted_root_is_the_one_pinned() -> None:
    """The file beside the policy has the digest in the policy, and sigstore reads it."""
    (root,) = load_policy().trusted_roots()
    assert sha256_file(root.path) == root.sha256


def test_sections_speak_the_words_of_those_who_use_them() -> None:
    """Ceilings, image limits and privacy limits arrive with the values in the file."""
    policy = load_policy().policy
    limits = policy.sandbox.ceilings.limits()
    assert (limits.cpus, limits.memory, limits.pids) == (2, 4 << 30, 256)
    assert (limits.output_bytes, limits.wall_seconds) == (1 << 30, 600)
    assert policy.image.limits().bytes_ == 8 << 30
    assert policy.privacy.limits().tpr_limit == 0.05
    assert policy.advisories.max_age == timedelta(days=7)
    assert policy.approvals.admit.persons == 2


def test_a_minimal_policy_has_careful_defaults(tmp_path: Path) -> None:
    """What is not said is as strict as what is shipped."""
    policy = load_policy(write(tmp_path / "policy.yaml", MINIMAL)).policy
    assert policy.rules[0].undecided is Outcome.REVIEW
    assert policy.advisories.max_age == timedelta(days=7)
    assert policy.trust.require_log_entry
    assert (policy.approvals.admit.persons, policy.approvals.admit.not_submitter) == (2, True)


def test_waivers_arrive_where_they_are_applied(tmp_path: Path) -> None:
    """With their day, their person, their reason, and the package where one is named."""
    waiver = {"id": "GHSA-x", "until": "2027-01-31", "by": "a@b.example", "reason": "Not reachable.", "package": "p"}
    loaded = load_policy(write(tmp_path / "policy.yaml", changed(advisories={"waivers": [waiver]})))
    (accepted,) = loaded.policy.advisories.accepted()
    assert (accepted.id, accepted.until, accepted.package) == ("GHSA-x", date(2027, 1, 31), "p")


def test_trust_comes_from_files_beside_the_policy(tmp_path: Path) -> None:
    """Roots and keys are found relative to the policy; digests may stand with or without their prefix."""
    (tmp_path / "key.pem").write_bytes(b"a key")
    digest = hashlib.sha256(b"a key").hexdigest()
    trust = {
        "roots": [{"file": "sub/root.json", "sha256": "0" * 64}],
        "identities": [
            {"issuer": "https://issuer.example", "subject": "a@b.example", "claims": {"build-trigger": "push"}}
        ],
        "keys": [{"name": "k", "file": "key.pem", "sha256": f"sha256:{digest}", "not_after": "2030-01-01T00:00:00Z"}],
        "need": "all",
    }
    loaded = load_policy(write(tmp_path / "policy.yaml", changed(trust=trust)))
    trusted = loaded.trust()
    assert trusted.roots[0].path == tmp_path / "sub/root.json"
    assert trusted.identities == (
        Identity("a@b.example", "https://issuer.example", claims=(("build-trigger", "push"),)),
    )
    assert (trusted.keys[0].public_key, trusted.need) == (b"a key", "all")
    (tmp_path / "key.pem").write_bytes(b"another key")
    with pytest.raises(InvalidInput) as caught:
        loaded.trust()
    assert caught.value.rule == "policy/key-digest"


def test_attestations_and_models_have_signers_of_their_own(tmp_path: Path) -> None:
    """An attestation with or without who makes it; models by whoever may sign images unless others are named."""
    root = PrivateSigstore(1).authority.root.certificate
    (tmp_path / "root.pem").write_bytes(pem(root))
    image = {"issuer": "https://issuer.example", "subject": "a@b.example"}
    bot = {"issuer": "https://issuer.example", "subject": "bot"}
    slsa = {"type": "https://slsa.dev/provenance/v1", "identities": [bot], "builders": ["b"]}
    pinned = {"name": "own", "file": "root.pem", "sha256": hashlib.sha256(pem(root)).hexdigest(), "subject": "CN=x"}
    trust = {"identities": [image], "attestations": ["https://cyclonedx.org/bom", slsa]}
    loaded = load_policy(write(tmp_path / "policy.yaml", changed(trust=trust)))
    bill, provenance = loaded.trust().attestations
    assert (bill.type, bill.identities) == ("https://cyclonedx.org/bom", ())
    assert (provenance.identities, provenance.builders) == ((Identity("bot", "https://issuer.example"),), ("b",))
    assert loaded.model_trust().signers.identities == loaded.trust().identities
    models = {"required": True, "certificates": [pinned]}
    loaded = load_policy(write(tmp_path / "policy.yaml", changed(trust={**trust, "models": models})))
    own = loaded.model_trust()
    assert (own.required, own.signers.identities, own.authorities[0].subject) == (True, (), "CN=x")
    (tmp_path / "root.pem").write_bytes(b"another")
    with pytest.raises(InvalidInput) as caught:
        loaded.model_trust()
    assert caught.value.rule == "policy/certificate-digest"


@pytest.mark.parametrize(
    ("attack", "document", "told"),
    [
        ("empty", {}, "apiVersion"),
        ("a list", [], "write fields"),
        ("no rules", changed(rules=[]), "rules"),
        ("another version", changed(apiVersion="pratique/policy/v2"), "apiVersion"),
        ("unknown field", changed(rule=[]), "rule"),
        (
            "no for a boolean",
            changed(trust={"require_log_entry": "no"}),
            "trust.require_log_entry: write true or false",
        ),
        ("0 for a boolean", changed(approvals={"admit": {"not_submitter": 0}}), "not_submitter: write true or false"),
        ("text for a number", changed(approvals={"admit": {"persons": "1"}}), "persons: write a whole number"),
        ("text for a fraction", changed(privacy={"auc_limit": "0.6"}), "auc_limit: write a number"),
        ("number for text", changed(description=1), "description: write text"),
        ("one instead of a list", changed(licenses={"denied": "SSPL-1.0"}), "licenses.denied: write a list"),
        ("typing mistake", changed(licenses={"alowed": []}), "no such field; is `allowed` meant?"),
        ("unknown field deep down", changed(sandbox={"ceilings": {"memroy": "4GiB"}}), "sandbox.ceilings.memroy"),
        ("memory without unit", changed(sandbox={"ceilings": {"memory": "4"}}), "memory"),
        ("decimal units", changed(sandbox={"ceilings": {"memory": "4GB"}}), "memory"),
        ("no memory", changed(sandbox={"ceilings": {"memory": 0}}), "memory"),
        ("memory of true", changed(sandbox={"ceilings": {"memory": True}}), "memory"),
        ("endless wall", changed(sandbox={"ceilings": {"wall": "999999d"}}), "wall: it must be at most 7d"),
        ("endless output", changed(sandbox={"ceilings": {"output": "9TiB"}}), "output: it must be at most 256GiB"),
        ("no room for logs", changed(sandbox={"ceilings": {"log": "7B"}}), "log: it must be at least 1KiB"),
        ("a world of processors", changed(sandbox={"ceilings": {"cpus": 999}}), "cpus: it must be at most 256"),
        (
            "endless files",
            changed(sandbox={"ceilings": {"output_files": 10**8}}),
            "output_files: it must be at most 1000000",
        ),
        ("wall without unit", changed(sandbox={"ceilings": {"wall": 600}}), "wall"),
        ("infinite processors", changed(sandbox={"ceilings": {"cpus": ".inf"}}), "cpus"),
        ("larger images than are read", changed(image={"entries": 10**9}), "entries"),
        ("unknown runtime profile", changed(sandbox={"profiles": ["privileged"]}), "profiles"),
        ("no time limit for advisories", changed(advisories={"max_age": "0d"}), "max_age"),
        ("waiver without reason", changed(advisories={"waivers": [{"id": "X", "until": "2030-01-01"}]}), "reason"),
        ("waiver for ever", changed(advisories={"waivers": [{"id": "X", "by": "y", "reason": "z"}]}), "until"),
        ("no ecosystem at all", changed(advisories={"ecosystems": []}), "ecosystems"),
        ("limit that nothing exceeds", changed(privacy={"auc_limit": 1.0}), "auc_limit"),
        ("bound without error", changed(privacy={"alpha": 0}), "alpha"),
        ("nobody must approve", changed(approvals={"admit": {"persons": 0}}), "persons"),
        ("more organisations than persons", changed(approvals={"admit": {"organisations": 2}}), "approvals.admit"),
        ("root without digest", changed(trust={"roots": [{"file": "x"}]}), "sha256"),
        ("root with a short digest", changed(trust={"roots": [{"file": "x", "sha256": "ab"}]}), "sha256"),
        ("identity without issuer", changed(trust={"identities": [{"subject": "x"}]}), "issuer"),
        ("nobody must sign", changed(trust={"need": 0}), "need"),
        ("two rules of one id", changed(rules=[MINIMAL["rules"][0], dict(MINIMAL["rules"][0])]), "one id"),
        ("all rules after execution", with_rule(stage="after-execution"), "before execution"),
        ("unknown stage", with_rule(stage="never"), "stage"),
        ("admit otherwise", with_rule(otherwise="admit"), "otherwise"),
        ("admit what is undecided", with_rule(undecided="admit"), "undecided"),
        ("no consequence", {**changed(), "rules": [{"id": "x"}]}, "otherwise"),
        ("unknown risk", with_rule(risks=["G12"]), "G12"),
        ("says nothing", with_rule(say=""), "say"),
        ("id with capitals", with_rule(id="Signed"), "id"),
    ],
)
def test_policies_that_are_not_applied(tmp_path: Path, attack: str, document: Any, told: str) -> None:
    """Each mistake is refused, and the message names the field."""
    with pytest.raises(InvalidInput) as caught:
        load_policy(write(tmp_path / "policy.yaml", document))
    assert caught.value.rule == "policy/form", attack
    assert told in caught.value.cause
    assert caught.value.next_step


def test_a_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    """The line on which the field stands, or where the one that lacks a field begins."""
    path = tmp_path / "policy.yaml"
    text = DEFAULT_POLICY.read_text().replace("max_age: 7d", "max_age: 7").replace("    otherwise: refuse\n", "", 1)
    path.write_text(text)
    lines = [
        number for number, line in enumerate(text.splitlines(), 1) if "max_age: 7" in line or "- id: same-v" in line
    ]
    with pytest.raises(InvalidInput) as caught:
        load_policy(path)
    told = caught.value.cause.split("; ")
    assert told[0].startswith(f"line {lines[0]}, advisories.max_age: a time is written")
    assert told[1] == f"line {lines[-1]}, rules.0.otherwise: this field is missing"


@pytest.mark.parametrize(
    ("attack", "require", "told"),
    [
        ("syntax", "checks.provenance.status ==", "parse"),
        ("constant", "true", "demands nothing"),
        ("constant with the word in a string", "'checks.provenance.status' == 'x' || true", "demands nothing"),
        ("constant with the word in a comment", "true // checks.provenance.status", "demands nothing"),
        ("unknown check", 'checks.provenence.status == "passed"', "provenence"),
        ("computed name", 'checks["prov" + "enance"].status == "passed"', "write checks."),
        ("all checks at once", 'checks.all(c, checks[c].status == "passed")', "write checks."),
        ("presence only", '"provenance" in checks', "write checks."),
        ("summary, which a tool may word", 'checks.provenance.summary == "fine"', "write checks."),
        ("computed measurement", 'checks.membership.measurements["auc"] < 0.6', "write checks."),
        ("shadowed by a macro", 'facts.list.exists(checks, checks.provenance.status == "passed")', "write checks."),
        ("unknown variable", 'check.provenance.status == "passed" && checks.image.status == "passed"', "check"),
        ("computed fact", 'facts["x"] == 1', "write checks."),
        ("too long", "checks.image.status == " + '"' + "x" * 5000 + '"', "4000"),
    ],
)
def test_rules_that_are_no_rules(tmp_path: Path, attack: str, require: str, told: str) -> None:
    """An expression that asks nothing, or hides what it asks, is refused when the policy is read."""
    with pytest.raises(InvalidInput) as caught:
        load_policy(write(tmp_path / "policy.yaml", with_rule(require=require)))
    assert told in caught.value.cause, attack


@pytest.mark.parametrize(
    ("text", "rule"),
    [("name: a\nname: b\n", "yaml/duplicate-key"), ("a: &x 1\nb: *x\n", "yaml/"), ("\t", "yaml/"), ("", "yaml/")],
)
def test_files_that_are_no_policy(tmp_path: Path, text: str, rule: str) -> None:
    """Duplicate keys, aliases, tabs and nothing at all."""
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_policy(path)
    assert caught.value.rule.startswith(rule)
    with pytest.raises(InvalidInput):
        load_policy(tmp_path / "absent.yaml")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_expression_is_taken_or_refused(text: str) -> None:
    """No expression makes the compiler raise anything but `ValueError`."""
    try:
        expression = compile_expression(text)
    except ValueError:
        return
    assert expression.checks or expression.facts


def test_a_policy_is_frozen_plain_data() -> None:
    """What was loaded cannot be changed afterwards."""
    policy = Policy.model_validate(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        policy.rules[0].stage = Stage.AFTER  # type: ignore[misc]
