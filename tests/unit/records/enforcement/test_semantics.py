"""What an export lets run: the admitted images by digest, and nothing else, at every platform."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from records.enforcement import AdmittedImage, Target, export
from tests.unit.records.enforcement.bench import NOW, REPOSITORY, allows, digest, image, pod_allowed, read

ADMITTED = f"{REPOSITORY}@{digest('a')}"
SAYS_DIGESTS_ALONE = [target for target in Target if target is not Target.CONTAINERS_POLICY]

ATTACKS = {
    "another digest": f"{REPOSITORY}@{digest('b')}",
    "a tag": f"{REPOSITORY}:1.0.0",
    "no tag at all": REPOSITORY,
    "a repository that begins alike": f"{REPOSITORY}-evil@{digest('a')}",
    "a repository that ends alike": f"evil.example/{REPOSITORY}@{digest('a')}",
    "a host in which the dot is another letter": ADMITTED.replace(".", "x", 1),
    "a digest that begins alike": ADMITTED + "0",
    "a digest cut short": ADMITTED[:-1],
    "a digest in capitals": ADMITTED.replace("a" * 64, "A" * 64),
    "a line more": ADMITTED + "\n",
    "a line before": "x\n" + ADMITTED,
    "a wildcard": "*",
    "wildcards for the digest": f"{REPOSITORY}@sha256:{'?' * 64}",
    "nothing": "",
    "two references": f"{ADMITTED} {REPOSITORY}@{digest('b')}",
}


@pytest.mark.parametrize("target", Target)
def test_the_admitted_image_runs(target: Target) -> None:
    """By its repository and digest."""
    exported = export(target, [image(), image("other", letter="c")], moment=NOW)
    assert allows(target, exported.text, ADMITTED)
    assert exported.allowed == 2
    assert exported.warnings == ()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("target", Target)
def test_nothing_else_runs(target: Target, attack: str) -> None:
    """However near to an admitted image it is written."""
    assert not allows(target, export(target, [image()], moment=NOW).text, ATTACKS[attack])


@pytest.mark.parametrize("target", Target)
def test_nothing_admitted_denies_everything(target: Target) -> None:
    """An empty list is taken for no list at some platforms."""
    exported = export(target, [], moment=NOW)
    assert exported.allowed == 0
    for reference in (ADMITTED, *ATTACKS.values(), "docker.io/library/busybox:latest"):
        assert not allows(target, exported.text, reference)


@pytest.mark.parametrize("target", Target)
def test_an_expired_admission_is_left_out(target: Target) -> None:
    """At the very moment of its expiry already; and with it gone everything is denied."""
    expired = AdmittedImage("risk-classifier", "1.0.0", REPOSITORY, digest("a"), NOW)
    exported = export(target, [expired], moment=NOW)
    assert not allows(target, exported.text, ADMITTED)
    assert exported.allowed == 0
    assert "expired on 2026-10-01T00:00:00Z" in exported.warnings[0]


@pytest.mark.parametrize("target", [target for target in Target if target is not Target.CONTAINERS_POLICY])
def test_the_first_expiry_is_in_the_file(target: Target) -> None:
    """So that whoever reads it knows until when it is good."""
    images = [
        AdmittedImage("a", "1", REPOSITORY, digest("a"), NOW + timedelta(days=9)),
        AdmittedImage("b", "1", REPOSITORY, digest("b"), NOW + timedelta(days=2)),
    ]
    assert "Good until 2026-10-03T00:00:00Z" in export(target, images, moment=NOW).text


@pytest.mark.parametrize("target", SAYS_DIGESTS_ALONE)
def test_an_image_without_a_known_repository_runs_by_its_digest(target: Target) -> None:
    """From any repository, since the digest is its content; no other digest does."""
    text = export(target, [image(repository=None)], moment=NOW).text
    assert allows(target, text, f"mirror.example/some/where@{digest('a')}")
    assert not allows(target, text, f"mirror.example/some/where@{digest('b')}")
    assert not allows(target, text, "mirror.example/some/where:latest")
    assert not allows(target, text, digest("a") + "@" + digest("b"))


def test_containers_policy_cannot_say_a_digest_alone() -> None:
    """So it leaves the image out, and says so."""
    exported = export(Target.CONTAINERS_POLICY, [image(repository=None)], moment=NOW)
    assert not allows(Target.CONTAINERS_POLICY, exported.text, f"mirror.example/some/where@{digest('a')}")
    assert exported.allowed == 0
    assert "its repository is unknown" in exported.warnings[0]


@pytest.mark.parametrize("target", Target)
def test_the_order_given_does_not_matter(target: Target) -> None:
    """The same admissions give the same bytes, also when one is named twice."""
    images = [image(), image("b", letter="b"), image("c", letter="c", repository=None), image("a", "2", letter="d")]
    once = export(target, images, moment=NOW)
    assert export(target, [*reversed(images), images[0]], moment=NOW) == once


@pytest.mark.parametrize("target", Target)
def test_a_thousand_admissions(target: Target) -> None:
    """Stay valid by the schema and in order."""
    images = [AdmittedImage(f"tool-{n}", "1", REPOSITORY, digest("a")[:-4] + f"{n:04x}") for n in range(1000)]  # type: ignore[arg-type]
    exported = export(target, images, moment=NOW)
    read(target, exported.text)
    assert exported.allowed == 1000


def test_docker_hub_as_policy_controller_spells_it() -> None:
    """It matches `index.docker.io`, whatever the Pod said."""
    text = export(Target.POLICY_CONTROLLER, [image(repository="docker.io/group/tool")], moment=NOW).text
    assert f"index.docker.io/group/tool@{digest('a')}" in text
    assert allows(Target.POLICY_CONTROLLER, text, f"docker.io/group/tool@{digest('a')}")


GOOD, BAD = {"image": ADMITTED}, {"image": "evil.example/x:latest"}
PODS: dict[str, dict[str, Any]] = {
    "an init container": {"containers": [GOOD], "initContainers": [BAD]},
    "the second container": {"containers": [GOOD, BAD]},
    "an ephemeral container": {"containers": [GOOD], "ephemeralContainers": [BAD]},
    "an image volume": {"containers": [GOOD], "volumes": [{"name": "v", "image": {"reference": BAD["image"]}}]},
    "an image volume without a reference": {"containers": [GOOD], "volumes": [{"name": "v", "image": {}}]},
    "a container without an image": {"containers": [{"name": "c"}]},
}


@pytest.mark.parametrize("hidden", PODS)
@pytest.mark.parametrize("target", [Target.KYVERNO, Target.KYVERNO_CEL])
def test_kyverno_looks_at_every_image_of_a_pod(target: Target, hidden: str) -> None:
    """An admitted main container hides nothing."""
    documents = read(target, export(target, [image()], moment=NOW).text)
    assert not pod_allowed(documents, PODS[hidden])


@pytest.mark.parametrize("target", [Target.KYVERNO, Target.KYVERNO_CEL])
def test_kyverno_accepts_an_ordinary_pod(target: Target) -> None:
    """With admitted images in every place and volumes that are no images."""
    documents = read(target, export(target, [image()], moment=NOW).text)
    volumes = [{"name": "data", "emptyDir": {}}, {"name": "v", "image": {"reference": ADMITTED}}]
    assert pod_allowed(documents, {"containers": [GOOD], "initContainers": [GOOD], "volumes": volumes})


def test_policy_controller_denies_what_no_policy_names() -> None:
    """Its own default may be another, so the setting is part of every export."""
    for images in ([], [image()]):
        documents = read(Target.POLICY_CONTROLLER, export(Target.POLICY_CONTROLLER, images, moment=NOW).text)
        assert documents[0]["data"]["no-match-policy"] == "deny"
