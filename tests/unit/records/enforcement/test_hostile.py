"""Names, versions and identities may hold anything; none of it reaches a platform as syntax."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.provenance.trust import Identity
from pratique.errors import InvalidInput
from records.enforcement import AdmittedImage, SignatureForm, Signers, Target, export
from records.enforcement.roots import Authority, Log, SigstoreRoot
from tests.unit.records.enforcement.bench import NOW, REPOSITORY, allows, digest, image, read

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
LOG = Log("https://rekor.example", KEY, ecdsa=True)
ROOT = SigstoreRoot("pratique-test", (Authority("https://ca.example", "o", "cn", CERTIFICATE),), (LOG,), (LOG,), ())

NAMES = {
    "a new line and a document": "x\n---\nkind: Evil\n#",
    "an end of YAML": "x\n...\n",
    "a carriage return": "x\rapiVersion: v1",
    "a line separator": "x\u2028kind: Evil",
    "a next line": "x\x85kind: Evil",
    "quotes": "\"'`",
    "a flow": "{a: [b, *c]}",
    "an anchor and an alias": "&a *a",
    "a tag": "!!python/object/apply:os.system [id]",
    "a comment": "# comment",
    "a Kyverno variable": "{{ request.userInfo }}",
    "a Kyverno reference": "$(./../../spec)",
    "a CEL breakout": '"] || true || "" in ["',
    "an expression": ".*|",
    "escape sequences": "\x1b[2J\x07\x7f",
    "a NUL": "\x00",
    "a word that YAML 1.1 takes for a boolean": "no",
    "a number": "1_0",
    "a time": "1:30",
    "nothing": "",
    "a merge key": "<<",
    "other scripts": "naïve 分類器 \U0001f600 \u202e",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("target", Target)
def test_a_name_stays_a_name(target: Target, name: str) -> None:
    """In comments and in data, as name and as version: the same images are allowed, and no document is added."""
    hostile = export(target, [AdmittedImage(name, name, REPOSITORY, digest("a"))], moment=NOW)
    plain = export(target, [image("x", "x")], moment=NOW)
    documents = read(target, hostile.text)
    if target is Target.EUCAIM_LAUNCHER:
        entry = documents[0]["images"][0]
        assert (entry.pop("tool"), entry.pop("version")) == (name, name)
        documents[0]["images"][0] = {"tool": "x", "version": "x", **entry}
    assert documents == read(target, plain.text)
    assert hostile.text.isascii()


@settings(max_examples=60)
@given(st.text(max_size=60), st.text(max_size=20), st.sampled_from(list(Target)))
def test_any_name(name: str, version: str, target: Target) -> None:
    """Whatever the text: one image is allowed, another is not, and a launcher reads the text as it was."""
    text = export(target, [AdmittedImage(name, version, REPOSITORY, digest("a"))], moment=NOW).text
    assert allows(target, text, f"{REPOSITORY}@{digest('a')}")
    assert not allows(target, text, f"{REPOSITORY}@{digest('b')}")
    if target is Target.EUCAIM_LAUNCHER:
        entry = read(target, text)[0]["images"][0]
        assert (entry["tool"], entry["version"]) == (name, version)


@settings(max_examples=80)
@given(
    st.text(min_size=1, max_size=40),
    st.text(min_size=1, max_size=40),
    st.sampled_from([Target.KYVERNO, Target.KYVERNO_CEL, Target.POLICY_CONTROLLER]),
    st.sampled_from(SignatureForm),
)
def test_any_identity(subject: str, issuer: str, target: Target, form: SignatureForm) -> None:
    """An identity comes out exactly as it went in, or is refused; what it holds is never a variable or a wildcard."""
    signers = Signers((Identity(subject, issuer),), roots=(ROOT,), form=form)
    try:
        text = export(target, [image()], signers, moment=NOW).text
    except InvalidInput as error:
        assert error.rule == "enforcement/signers"
        return
    (found,) = [fields for fields in _dicts(read(target, text)) if {"subject", "subjectRegExp"} & fields.keys()]
    if "*" not in subject and "?" not in subject:
        assert found["subject"] == subject
    if "*" not in issuer and "?" not in issuer:
        assert found["issuer"] == issuer
    assert "{{" not in text
    assert "$(" not in text


@pytest.mark.parametrize("text", ["{{ request.userInfo }}", "$(./../x)", "a\nb", "a\x1bb", "a\x00b"])
def test_identities_that_a_platform_would_interpret_are_refused(text: str) -> None:
    """Rather than handed to it."""
    for identity in (Identity(text, "https://idp.example"), Identity("release@provider.example", text)):
        with pytest.raises(InvalidInput, match="cannot be told"):
            export(Target.KYVERNO, [image()], Signers((identity,), roots=(ROOT,)), moment=NOW)


def _dicts(value: object) -> list[dict[str, object]]:
    """Every mapping with plain texts of its own, except names of authorities."""
    if isinstance(value, dict):
        nested = [found for item in value.values() for found in _dicts(item)]
        return [value, *nested] if not isinstance(value.get("subject"), dict) else nested
    if isinstance(value, list):
        return [found for item in value for found in _dicts(item)]
    return []


BAD_REPOSITORIES = [
    "", "/", "r.example/", "r.example//x", "r.example/X", "R.example/x", "r.example/x:tag", "r.example/*",
    "r.example/x\n", "r.example/x y", "r.example/x'", 'r.example/x"', "r.example/{{x}}", "r.example/../x",
    "r.example/.x", "r.example/x|y", "r.example/x..y", "r.example:port/x", "r.example:/x", "[::1]/x", "https://r.example/x",
    "a\x00b/c", "-r.example/x", "r.example/é", "r.example/" + "a" * 255, "$(x)", f"r.example/x@{digest('a')}",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_REPOSITORIES)
def test_what_is_no_repository_is_no_part_of_an_image(text: str) -> None:
    """So that no export ever has to escape one."""
    with pytest.raises(InvalidInput, match="repository"):
        AdmittedImage("x", "1", text, digest("a"))


@given(st.text(max_size=60))
def test_any_repository(text: str) -> None:
    """Is either refused, or made of letters, digits and signs without meaning."""
    try:
        admitted = AdmittedImage("x", "1", text, digest("a"))
    except InvalidInput:
        return
    assert admitted.repository is not None
    assert set(admitted.repository) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-:/")


@pytest.mark.parametrize(
    "value", ["", "latest", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 64 + "\n"]
)
def test_what_is_no_digest_is_no_part_of_an_image(value: str) -> None:
    """Nothing is ever allowed by a tag."""
    with pytest.raises(InvalidInput, match="not a digest"):
        AdmittedImage("x", "1", REPOSITORY, value)  # type: ignore[arg-type]
