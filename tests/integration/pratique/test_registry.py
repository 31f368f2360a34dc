"""Pull from a real registry: Debian's `docker-registry` on loopback."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from pratique.digests import Digest
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image import Platform, RegistryImage, open_image, read_inventory
from pratique.intake.image.attach import attach
from pratique.intake.image.attached import Paper, papers_attached_to
from tests.assets.images import MadeImage, make_tar
from tests.assets.registries import ServerCertificate, push, running_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a running registry."""
    with running_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


def test_an_image_is_pulled_by_digest_for_the_right_platform(registry: str, tmp_path: Path) -> None:
    """Through a multi-platform index, and by the manifest's own digest."""
    image = MadeImage([make_tar([("usr/bin/tool", b"x" * 300_000)]), make_tar([("etc/os-release", b"ID=x")])])
    ours = image.manifest() | {"platform": {"os": "linux", "architecture": "amd64"}}
    index = image.index([ours])
    push(registry, image, {top["digest"]: top["digest"] for top in (ours, index)})
    for digest, by_index in ((ours["digest"], None), (index["digest"], index["digest"])):
        work = tmp_path / digest[-8:]
        work.mkdir()
        source = RegistryImage(f"{registry}/team/tool@{digest}")
        opened = open_image(source, expected=digest, workdir=work)
        assert (opened.manifest_digest, opened.index_digest) == (ours["digest"], by_index)
        assert read_inventory(opened).files["usr/bin/tool"].size == 300_000
    with pytest.raises(InvalidInput) as caught:
        open_image(source, expected=index["digest"], platform=Platform("linux", "arm64"), workdir=tmp_path)
    assert caught.value.rule == "image/no-such-platform"


def test_an_image_that_is_not_there_is_refused(registry: str, tmp_path: Path) -> None:
    """By digest and by repository."""
    digest = Digest("sha256:" + "1" * 64)
    with pytest.raises(InvalidInput) as caught:
        open_image(RegistryImage(f"{registry}/team/tool@{digest}"), expected=digest, workdir=tmp_path)
    assert caught.value.rule == "image/digest-mismatch"


def test_https_is_demanded_off_this_machine(tmp_path: Path) -> None:
    """A registry elsewhere is never spoken to in plain text; nothing answers there, so nothing is decided."""
    digest = Digest("sha256:" + "1" * 64)
    with pytest.raises(CouldNotDecide):
        open_image(RegistryImage(f"registry.invalid/tool@{digest}"), expected=digest, workdir=tmp_path)


# --- TLS with an authority of the registry's own ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return ServerCertificate.make(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, ours: ServerCertificate) -> Iterator[str]:
    """host:port of a registry with TLS."""
    with running_registry(tmp_path_factory.mktemp("secured"), ours) as host:
        yield host


@pytest.fixture
def image(secured: str, ours: ServerCertificate) -> RegistryImage:
    """An image in the registry with TLS."""
    made = MadeImage([make_tar([("usr/bin/tool", b"x" * 1000)])])
    digest = made.manifest()["digest"]
    push(secured, made, {digest: digest}, verify=ssl.create_default_context(cafile=ours.authority))
    return RegistryImage(f"{secured}/team/tool@{digest}")


def test_a_registry_with_an_authority_of_its_own(
    secured: str, ours: ServerCertificate, image: RegistryImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the user believes it for this registry: pull, push, and find again, all of it over TLS."""
    monkeypatch.setenv("HOME", str(tmp_path))
    ours.believed_for(secured, tmp_path)
    digest = Digest(image.reference.partition("@")[2])
    opened = open_image(image, expected=digest, workdir=tmp_path)
    assert read_inventory(opened).files["usr/bin/tool"].size == 1000
    attach(image, [Paper("text/plain", b"attached")], artifact_type="text/plain")
    assert papers_attached_to(image, digest, "text/plain") == ((Paper("text/plain", b"attached"),),)


def test_a_registry_with_another_authority(
    secured: str, image: RegistryImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody in between, or a wrong file: nothing is sent, and the message says what is amiss."""
    monkeypatch.setenv("HOME", str(tmp_path))
    ServerCertificate.make(tmp_path / "theirs").believed_for(secured, tmp_path)
    with pytest.raises(CouldNotDecide, match="vouches for the certificate") as caught:
        open_image(image, expected=Digest(image.reference.partition("@")[2]), workdir=tmp_path)
    assert f"certs.d/{secured}/ca.crt" in caught.value.next_step


@pytest.mark.parametrize("content", [b"", b"no certificate"], ids=["empty", "text"])
def test_an_authority_that_is_none(
    secured: str, image: RegistryImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """It is said which file cannot be used."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config/containers/certs.d" / secured
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(content)
    with pytest.raises(CouldNotDecide, match="authority in"):
        open_image(image, expected=Digest(image.reference.partition("@")[2]), workdir=tmp_path)
