"""The exported `policy.json` in the hands of the real skopeo, which reads it as Podman, CRI-O and Buildah do."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from checks.provenance.trust import Identity, ManagedKey
from examples.signing.private_sigstore import PrivateSigstore
from pratique.digests import Digest, sha256_bytes
from records.enforcement import AdmittedImage, SignatureForm, Signers, Target, export
from records.enforcement.roots import pem, read_root

NOW = datetime(2026, 10, 1, tzinfo=UTC)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"

NEWER = Path("/var/lib/pratique/skopeo/skopeo")
"""Where `infra/test_tools.py` puts a skopeo with sigstore signatures, where the distribution's has none."""

PROGRAM = str(NEWER) if NEWER.exists() else shutil.which("skopeo")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no skopeo (apt-get install skopeo)")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Blob:
    """Bytes with their media type, as a descriptor names them."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        """SHA-256 of the bytes."""
        return sha256_bytes(self.data)

    def descriptor(self, **annotations: str) -> dict[str, object]:
        """The OCI descriptor of this blob."""
        fields = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}
        return fields | ({"annotations": annotations} if annotations else {})


def _image(comment: str) -> tuple[Blob, Blob]:
    """Config and manifest of an image without layers; `comment` tells one from another."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Labels": {"comment": comment}},
    }
    blob = Blob(_json(config), CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": blob.descriptor(), "layers": []}
    return blob, Blob(_json(manifest), MANIFEST)


def _layout(directory: Path, comment: str) -> Path:
    """An OCI layout with one image, tagged `latest`."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    config, manifest = _image(comment)
    for blob in (config, manifest):
        (blobs / blob.digest.removeprefix("sha256:")).write_bytes(blob.data)
    reference = manifest.descriptor(**{"org.opencontainers.image.ref.name": "latest"})
    (directory / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [reference]}))
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return directory


class Skopeo:
    """Copies images under a policy, which is what decides whether an image is accepted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registries = directory / "registries.d"
        self.registries.mkdir()
        (self.registries / "default.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
        self.said = ""
        self._copies = 0

    def accepts(self, policy: str, source: str) -> bool:
        """Whether `source` may be copied under `policy`; failing for another reason than the policy fails the test."""
        self._copies += 1
        file = self.directory / "policy.json"
        file.write_text(policy)
        target = f"dir:{self.directory}/copy-{self._copies}"
        command = [str(PROGRAM), "--policy", str(file), "--registries.d", str(self.registries), "copy"]
        ended = subprocess.run(
            [*command, "--src-tls-verify=false", source, target],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.said = ended.stderr
        refused = "Source image rejected" in ended.stderr or "invalid policy in" in ended.stderr
        assert ended.returncode == 0 or refused, ended.stderr
        return ended.returncode == 0


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    """The real one, with its own configuration."""
    return Skopeo(tmp_path)


class Registry:
    """A registry on the loopback, filled over HTTP."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.client = httpx.Client(base_url=f"http://{self.host}/v2/", timeout=20)

    def push(self, repository: str, comment: str) -> Digest:
        """An image of its own; its digest."""
        config, manifest = _image(comment)
        self._upload(repository, config)
        self._put(repository, manifest, manifest.digest)
        self._put(repository, manifest, "latest")
        return manifest.digest

    def sign(self, repository: str, digest: Digest, key: ec.EllipticCurvePrivateKey) -> None:
        """A signature by `key` in the tag where cosign 2 puts it."""
        critical = {
            "identity": {"docker-reference": f"{self.host}/{repository}"},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        }
        payload = Blob(_json({"critical": critical, "optional": None}), SIGNATURE)
        signature = base64.b64encode(key.sign(payload.data, ec.ECDSA(hashes.SHA256()))).decode()
        self._tag(repository, digest, payload, {"dev.cosignproject.cosign/signature": signature})

    def certify(self, repository: str, digest: Digest, sigstore: PrivateSigstore, identity: Identity) -> None:
        """A signature with a certificate and a log entry, in the same tag."""
        line = json.loads(
            sigstore.sign_image_legacy(digest, identity.subject, identity.issuer, f"{self.host}/{repository}")
        )
        chain = sigstore.trusted_root["certificateAuthorities"][0]["certChain"]["certificates"]
        annotations = {
            "dev.cosignproject.cosign/signature": line["Base64Signature"],
            "dev.sigstore.cosign/certificate": pem("CERTIFICATE", base64.b64decode(line["Cert"]["Raw"])),
            "dev.sigstore.cosign/chain": "".join(
                pem("CERTIFICATE", base64.b64decode(one["rawBytes"])) for one in chain
            ),
            "dev.sigstore.cosign/bundle": json.dumps(line["Bundle"]),
        }
        self._tag(repository, digest, Blob(base64.b64decode(line["Payload"]), SIGNATURE), annotations)

    def _tag(self, repository: str, digest: Digest, payload: Blob, annotations: dict[str, str]) -> None:
        config = Blob(
            _json({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": [payload.digest]}}), CONFIG
        )
        layer = payload.descriptor(**annotations)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": [layer]}
        for blob in (payload, config):
            self._upload(repository, blob)
        self._put(repository, Blob(_json(manifest), MANIFEST), digest.replace(":", "-") + ".sig")

    def _upload(self, repository: str, blob: Blob) -> None:
        place = self.client.post(f"{repository}/blobs/uploads/").raise_for_status().headers["location"]
        self.client.put(f"{place}&digest={blob.digest}", content=blob.data).raise_for_status()

    def _put(self, repository: str, manifest: Blob, reference: str) -> None:
        headers = {"content-type": manifest.media_type}
        url = f"{repository}/manifests/{reference}"
        self.client.put(url, content=manifest.data, headers=headers).raise_for_status()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Debian's docker-registry, empty, ended by its own process afterwards."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not on PATH (apt-get install docker-registry)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    settings = {"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": f"127.0.0.1:{port}"}}
    config.write_bytes(_json(settings))
    with subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            running = Registry(port)
            _wait_for(running, process)
            yield running
        finally:
            process.terminate()


def _wait_for(registry: Registry, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert process.poll() is None, "the registry ended by itself"
        try:
            registry.client.get("").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the registry does not answer")


def _policy(images: list[AdmittedImage], signers: Signers | None = None) -> str:
    return export(Target.CONTAINERS_POLICY, images, signers, moment=NOW).text


def _key(key: ec.EllipticCurvePrivateKey) -> ManagedKey:
    return ManagedKey("release", key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def test_nothing_admitted_rejects_everything(skopeo: Skopeo, tmp_path: Path) -> None:
    """From wherever it comes, whereas an open policy lets the same image through."""
    source = f"oci:{_layout(tmp_path / 'layout', 'some tool')}:latest"
    assert skopeo.accepts('{"default": [{"type": "insecureAcceptAnything"}]}', source)
    assert not skopeo.accepts(_policy([]), source)


def test_an_admission_opens_no_other_transport(skopeo: Skopeo, tmp_path: Path) -> None:
    """The very image from a directory is not what was pinned in a registry."""
    source = f"oci:{_layout(tmp_path / 'layout', 'some tool')}:latest"
    _, manifest = _image("some tool")
    admitted = AdmittedImage("tool", "1", "registry.example/tools/tool", manifest.digest)
    assert not skopeo.accepts(_policy([admitted]), source)


def test_the_admitted_digest_and_nothing_beside_it(skopeo: Skopeo, registry: Registry) -> None:
    """Not the same by tag, another image of the repository, or the same bytes in another repository."""
    digest = registry.push("tools/tool", "the admitted one")
    policy = _policy([AdmittedImage("tool", "1", f"{registry.host}/tools/tool", digest)])
    assert skopeo.accepts(policy, f"docker://{registry.host}/tools/tool@{digest}")
    assert not skopeo.accepts(policy, f"docker://{registry.host}/tools/tool:latest")
    other = registry.push("tools/tool", "another one")
    assert not skopeo.accepts(policy, f"docker://{registry.host}/tools/tool@{other}")
    assert registry.push("tools/toolbox", "the admitted one") == digest
    assert not skopeo.accepts(policy, f"docker://{registry.host}/tools/toolbox@{digest}")


def test_a_trusted_key_must_have_signed(skopeo: Skopeo, registry: Registry) -> None:
    """Unsigned, and signed by somebody else, are rejected although the digest is admitted."""
    trusted, foreign = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    digests = {name: registry.push(f"tools/{name}", name) for name in ("unsigned", "foreign", "trusted")}
    registry.sign("tools/foreign", digests["foreign"], foreign)
    registry.sign("tools/trusted", digests["trusted"], trusted)
    images = [AdmittedImage(name, "1", f"{registry.host}/tools/{name}", digest) for name, digest in digests.items()]
    signers = Signers(keys=(_key(trusted),), require_log_entry=False, form=SignatureForm.TAG)
    accepted = {
        name: skopeo.accepts(_policy(images, signers), f"docker://{registry.host}/tools/{name}@{digest}")
        for name, digest in digests.items()
    }
    assert not accepted["unsigned"]
    assert not accepted["foreign"]
    if "sigstore disabled" in skopeo.said:
        pytest.skip("this skopeo is built without sigstore signatures (as Debian 12's is), so it rejects good ones too")
    assert accepted["trusted"]


def test_a_signature_of_another_image_does_not_count(skopeo: Skopeo, registry: Registry) -> None:
    """Also where it lies in the tag of the admitted one."""
    key = ec.generate_private_key(ec.SECP256R1())
    digest, other = registry.push("tools/tool", "admitted"), registry.push("tools/tool", "other")
    registry.sign("tools/tool", other, key)
    signature = registry.client.get(f"tools/tool/manifests/{other.replace(':', '-')}.sig", headers={"accept": MANIFEST})
    registry.client.put(
        f"tools/tool/manifests/{digest.replace(':', '-')}.sig",
        content=signature.content,
        headers={"content-type": MANIFEST},
    ).raise_for_status()
    signers = Signers(keys=(_key(key),), require_log_entry=False, form=SignatureForm.TAG)
    policy = _policy([AdmittedImage("tool", "1", f"{registry.host}/tools/tool", digest)], signers)
    assert not skopeo.accepts(policy, f"docker://{registry.host}/tools/tool@{digest}")


def test_certificates_are_read_or_the_file_is_refused(skopeo: Skopeo, registry: Registry) -> None:
    """An unsigned image never passes, whether or not this skopeo is new enough to know certificates."""
    digest = registry.push("tools/tool", "unsigned")
    root = read_root(PrivateSigstore(1, now=lambda: NOW).trusted_root_json, NOW)
    identity = Identity("release@provider.example", "https://idp.hospital.example")
    policy = _policy(
        [AdmittedImage("tool", "1", f"{registry.host}/tools/tool", digest)],
        Signers((identity,), roots=(root,), form=SignatureForm.TAG),
    )
    assert not skopeo.accepts(policy, f"docker://{registry.host}/tools/tool@{digest}")


def test_a_trusted_person_must_have_signed(skopeo: Skopeo, registry: Registry) -> None:
    """By certificate and log entry: of the identity, by the issuer, from the roots, of this image, that are trusted."""
    sigstore, other = PrivateSigstore(1), PrivateSigstore(1)
    root = read_root(sigstore.trusted_root_json, datetime.now(UTC))
    identity = Identity("release@provider.example", "https://idp.hospital.example")
    signed = {
        "trusted": (sigstore, identity),
        "other-person": (sigstore, Identity("mallory@provider.example", identity.issuer)),
        "other-issuer": (sigstore, Identity(identity.subject, "https://idp.elsewhere.example")),
        "other-root": (other, identity),
    }
    digests = {name: registry.push(f"tools/{name}", name) for name in signed}
    for name, (instance, who) in signed.items():
        registry.certify(f"tools/{name}", digests[name], instance, who)
    images = [AdmittedImage(name, "1", f"{registry.host}/tools/{name}", digest) for name, digest in digests.items()]
    policy = _policy(images, Signers((identity,), roots=(root,), form=SignatureForm.TAG))
    accepted = {
        name: skopeo.accepts(policy, f"docker://{registry.host}/tools/{name}@{digest}")
        for name, digest in digests.items()
    }
    assert [name for name, good in accepted.items() if good] in ([], ["trusted"])
    if "sigstore disabled" in skopeo.said or "invalid policy" in skopeo.said:
        pytest.skip("this skopeo knows no certificates (as Debian 12's does not), so it rejects good ones too")
    assert accepted["trusted"]


def test_the_digest_is_that_of_the_bytes(registry: Registry) -> None:
    """What these tests rest on: the registry gives back what the digest says."""
    digest = registry.push("tools/tool", "x")
    answer = registry.client.get(f"tools/tool/manifests/{digest}", headers={"accept": MANIFEST}).raise_for_status()
    assert digest == f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
