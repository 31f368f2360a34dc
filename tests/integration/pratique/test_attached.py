"""Signatures attached to an image are found where it lies: in a real registry, and in an OCI layout."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from checks.interface import Status
from checks.provenance import Identity, SignatureFile, Trust, TrustedRootFile, check_provenance
from examples.signing.private_sigstore import PrivateSigstore
from pratique.clock import system_clock
from pratique.digests import Digest, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image import ImageLimits, LayoutImage, RegistryImage
from pratique.intake.image.attach import attach
from pratique.intake.image.attached import ENVELOPE_TYPE, SIMPLE_SIGNING_TYPE, Attached, Paper, attached_to
from tests.assets.images import INDEX, MANIFEST, MadeImage, made, to_json
from tests.assets.registries import push, running_registry

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNER, ISSUER = "release@provider.example", "https://idp.hospital.example"


@dataclass
class Registry:
    """A running registry and an image in it."""

    host: str
    image: MadeImage
    digest: Digest

    @property
    def source(self) -> RegistryImage:
        return RegistryImage(f"{self.host}/team/tool@{self.digest}")

    def put(self, image: MadeImage, tops: dict[str, str]) -> None:
        """Push all blobs of `image`, and the manifests in `tops` (digest to tag or digest)."""
        push(self.host, image, tops)

    def found(self) -> tuple[Attached, ...]:
        return attached_to(self.source, self.digest, ImageLimits())


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a running registry."""
    with running_registry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture
def registry(host: str, request: pytest.FixtureRequest) -> Registry:
    """An image of this test's own, pushed."""
    image = made(("etc/name", request.node.name.encode()))
    digest = Digest(image.manifest()["digest"])
    pushed = Registry(host, image, digest)
    pushed.put(image, {digest: digest})
    return pushed


@pytest.fixture(scope="module")
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(1)


def judged(found: tuple[Attached, ...], digest: Digest, sigstore: PrivateSigstore, directory: Path) -> Status:
    """What the provenance check says of what was found."""
    root = directory / "root.json"
    root.write_bytes(sigstore.trusted_root_json)
    files = []
    for number, one in enumerate(found):
        path = directory / str(number)
        path.write_bytes(one.data)
        files.append(SignatureFile(path, one.name, one.annotations))
    trust = Trust((TrustedRootFile(root, sha256_bytes(root.read_bytes())),), (Identity(SIGNER, ISSUER),))
    return check_provenance(files, digest, trust, clock=system_clock).status


def simple_signature(image: MadeImage, digest: Digest, sigstore: PrivateSigstore) -> dict[str, Any]:
    """The manifest of a `.sig` tag as cosign 2 writes it; its descriptor."""
    fields = json.loads(sigstore.sign_image_legacy(digest, SIGNER, ISSUER))
    certificate = base64.b64decode(fields["Cert"]["Raw"])
    pem = "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(certificate).decode() + "-----END CERTIFICATE-----\n"
    layer = image.put(base64.b64decode(fields["Payload"]), SIMPLE_SIGNING_TYPE)
    layer["annotations"] = {
        "dev.cosignproject.cosign/signature": fields["Base64Signature"],
        "dev.sigstore.cosign/certificate": pem,
        "dev.sigstore.cosign/bundle": json.dumps(fields["Bundle"]),
    }
    config = image.put(b"{}", "application/vnd.oci.image.config.v1+json")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    return image.put(to_json(document), MANIFEST)


def old_attestation(image: MadeImage) -> dict[str, Any]:
    """The manifest of an `.att` tag as cosign 2 writes it; its descriptor."""
    layer = image.put(b'{"payload":"e30="}', ENVELOPE_TYPE) | {"annotations": {"predicateType": "x"}}
    stranger = image.put(b"x", "text/plain")
    config = image.put(b"{}", "application/vnd.oci.image.config.v1+json")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer, stranger]}
    return image.put(to_json(document), MANIFEST)


def referrer(image: MadeImage, bundle: bytes, subject: Digest) -> dict[str, Any]:
    """A bundle attached to `subject`; its descriptor."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BUNDLE,
        "config": image.put(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [image.put(bundle, BUNDLE)],
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1},
    }
    return image.put(to_json(document), MANIFEST) | {"artifactType": BUNDLE}


def test_an_image_without_signatures(registry: Registry) -> None:
    """Nothing is found, which is not an error."""
    assert registry.found() == ()


def test_what_is_attached_is_found_and_verifies(registry: Registry, sigstore: PrivateSigstore, tmp_path: Path) -> None:
    """By the fallback tag, since Debian's registry has no referrers; twice is once."""
    bundle = sigstore.sign_image(registry.digest, SIGNER, ISSUER).encode()
    first = attach(registry.source, [Paper(BUNDLE, bundle)], artifact_type=BUNDLE)
    assert attach(registry.source, [Paper(BUNDLE, bundle)], artifact_type=BUNDLE) == first
    (found,) = registry.found()
    assert found.data == bundle
    assert judged((found,), registry.digest, sigstore, tmp_path) is Status.PASSED


def test_statements_are_not_taken_for_signatures(registry: Registry) -> None:
    """An admission attached to the image is no bundle."""
    attach(
        registry.source, [Paper("application/vnd.in-toto+json", b"{}")], artifact_type="application/vnd.in-toto+json"
    )
    assert registry.found() == ()


def test_an_older_signature_under_its_tag(registry: Registry, sigstore: PrivateSigstore, tmp_path: Path) -> None:
    """cosign 2: payload in the layer, signature and certificate in its annotations."""
    top = simple_signature(registry.image, registry.digest, sigstore)
    registry.put(registry.image, {top["digest"]: f"sha256-{hex_of(registry.digest)}.sig"})
    (found,) = registry.found()
    assert judged((found,), registry.digest, sigstore, tmp_path) is Status.PASSED


def test_an_older_attestation_under_its_tag(registry: Registry) -> None:
    """cosign 2: the envelope in the layer, the rest in its annotations; other layers are left alone."""
    top = old_attestation(registry.image)
    registry.put(registry.image, {top["digest"]: f"sha256-{hex_of(registry.digest)}.att"})
    (found,) = registry.found()
    assert (found.data, found.annotations) == (b'{"payload":"e30="}', {"predicateType": "x"})


def test_a_signature_of_another_image(registry: Registry, sigstore: PrivateSigstore, tmp_path: Path) -> None:
    """Listed under the tag of this image, but about another: not counted, or refused by the check."""
    other = sha256_bytes(b"other")
    bundle = sigstore.sign_image(other, SIGNER, ISSUER).encode()
    attach(registry.source, [Paper(BUNDLE, bundle)], artifact_type=BUNDLE)
    assert judged(registry.found(), registry.digest, sigstore, tmp_path) is Status.FAILED
    listed = referrer(registry.image, bundle, other)
    index = registry.image.put(to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]}), INDEX)
    tag = f"sha256-{hex_of(registry.digest)}"
    registry.put(registry.image, {listed["digest"]: listed["digest"], index["digest"]: tag})
    assert registry.found() == ()


def test_an_image_that_is_not_there(registry: Registry) -> None:
    """Nothing is attached to what the registry does not have."""
    nowhere = RegistryImage(f"{registry.host}/team/tool@{sha256_bytes(b'nothing')}")
    with pytest.raises(CouldNotDecide, match="has no image"):
        attach(nowhere, [Paper(BUNDLE, b"{}")], artifact_type=BUNDLE)


@pytest.mark.parametrize("form", ["index.json", "fallback tag", ".sig tag"])
def test_a_layout(form: str, sigstore: PrivateSigstore, tmp_path: Path) -> None:
    """The same forms beside the image in a directory."""
    image = made(("etc/name", b"layout"))
    top = image.manifest()
    digest = Digest(top["digest"])
    name = "org.opencontainers.image.ref.name"
    if form == ".sig tag":
        more = simple_signature(image, digest, sigstore)
        more["annotations"] = {name: f"sha256-{hex_of(digest)}.sig"}
    else:
        more = referrer(image, sigstore.sign_image(digest, SIGNER, ISSUER).encode(), digest)
        if form == "fallback tag":
            more = image.index([more])
            more["annotations"] = {name: f"sha256-{hex_of(digest)}"}
    directory = image.write_layout(tmp_path / "layout", [top, more])
    found = attached_to(LayoutImage(directory), digest, ImageLimits())
    assert judged(found, digest, sigstore, tmp_path) is Status.PASSED
    assert attached_to(LayoutImage(directory), sha256_bytes(b"another"), ImageLimits()) == ()


def test_an_altered_bundle_in_a_layout(sigstore: PrivateSigstore, tmp_path: Path) -> None:
    """Bytes that are not those of their digest are refused before anybody parses them."""
    image = made(("etc/name", b"layout"))
    top = image.manifest()
    bundle = sigstore.sign_image(top["digest"], SIGNER, ISSUER).encode()
    more = referrer(image, bundle, Digest(top["digest"]))
    image.blobs[sha256_bytes(bundle)] = bundle.replace(b"a", b"b", 1)
    directory = image.write_layout(tmp_path / "layout", [top, more])
    with pytest.raises(InvalidInput) as caught:
        attached_to(LayoutImage(directory), Digest(top["digest"]), ImageLimits())
    assert caught.value.rule == "image/blob-digest"
