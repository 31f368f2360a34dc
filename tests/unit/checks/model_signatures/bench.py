"""A bench on which models are signed by the real `model-signing`, put into images, and forged."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from checks.interface import CheckResult, Level
from checks.model_signatures import ModelTrust, check_model_signatures
from checks.provenance import Identity, ManagedKey, Trust, TrustedRootFile
from examples.signing.private_sigstore import Options, PrivateSigstore
from examples.signing.services import new_key
from pratique.digests import sha256_bytes
from pratique.intake.image import ImageLimits, LayoutImage, open_image, read_inventory
from tests.assets.clocks import fixed_clock
from tests.assets.images import GZIP_LAYER, Item, MadeImage, entry, make_tar

HashingConfig: Any = import_module("model_signing.hashing").Config
SigningConfig: Any = import_module("model_signing.signing").Config
Payload: Any = import_module("model_signing._signing.signing").Payload
json_format: Any = import_module("google.protobuf.json_format")

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
SIGNER, ISSUER = "models@provider.example", "https://idp.hospital.example"
STRANGER = "mallory@elsewhere.example"
EVIL = b"\x93NUMPY" + b"\2" * 90
FILES = {
    "weights.npy": b"\x93NUMPY" + bytes(200),
    "config.json": b'{"layers": 3}',
    "parts/second.npy": b"\x93NUMPY" + b"\1" * 5000,
    "empty.txt": b"",
}


def _shards() -> Any:
    return HashingConfig().use_shard_serialization(shard_size=1000)


HASHINGS: dict[str, Callable[[], Any]] = {
    "files": HashingConfig,
    "shards": _shards,
    "files, BLAKE2": lambda: HashingConfig().use_file_serialization(hashing_algorithm="blake2"),
    "files, BLAKE3": lambda: HashingConfig().use_file_serialization(hashing_algorithm="blake3"),
    "shards, BLAKE2": lambda: HashingConfig().use_shard_serialization(hashing_algorithm="blake2", shard_size=64),
}


@dataclass
class Models:
    """Models on disk and their signatures; `image` puts both into an image and asks the check."""

    directory: Path
    sigstore: PrivateSigstore
    key: Any = field(default_factory=new_key)

    @property
    def trust(self) -> Trust:
        """The private instance, its signer, and the key."""
        root = self.directory / "root.json"
        root.write_bytes(self.sigstore.trusted_root_json)
        pinned = TrustedRootFile(root, sha256_bytes(root.read_bytes()))
        return Trust((pinned,), (Identity(SIGNER, ISSUER),), (ManagedKey("model-key", self.public_key),))

    @property
    def public_key(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return bytes(self.key.public_key().public_bytes(serialization.Encoding.PEM, form))

    def write(self, files: dict[str, bytes], name: str = "model") -> Path:
        """A model directory."""
        folder = self.directory / name
        if folder.exists():
            shutil.rmtree(folder)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    def key_file(self) -> Path:
        """The private key for model-signing's own signers."""
        path = self.directory / "key.pem"
        form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(self.key.private_bytes(serialization.Encoding.PEM, form, none))
        return path

    def by_key(self, model: Path, how: Any = None) -> bytes:
        """`model-signing`'s signature with the key."""
        out = self.directory / "made.sig"
        config = SigningConfig().use_elliptic_key_signer(private_key=self.key_file())
        config.set_hashing_config(how or HashingConfig()).sign(model, out)
        return out.read_bytes()

    def payload(self, model: Path, how: Any = None) -> bytes:
        """The statement that `model-signing` signs."""
        made = Payload((how or HashingConfig()).hash(model))
        return str(json_format.MessageToJson(made.statement.pb)).encode()

    def keyless(self, payload: bytes, signer: str = SIGNER, **options: Any) -> bytes:
        """A signature with a certificate of the private instance, as model-signing's Sigstore method makes it."""
        return self.sigstore.sign_payload(payload, signer, ISSUER, Options(**options)).encode()

    def ask(
        self,
        files: dict[str, bytes],
        *,
        extra: Sequence[Item] = (),
        trust: ModelTrust | None = None,
        base: str = "opt/model/",
        later: Sequence[Item] = (),
        now: datetime = NOW + timedelta(minutes=5),
        limits: ImageLimits | None = None,
    ) -> CheckResult:
        """The check's answer on an image with `files` below `base`; `later` is a second layer."""
        layers = [make_tar([*((base + path, data) for path, data in files.items()), *extra])]
        layers += [make_tar(list(later))] if later else []
        image = MadeImage(layers, media_type=GZIP_LAYER)
        top = image.manifest()
        layout = self.directory / "layout"
        work = self.directory / "work"
        for folder in (layout, work):
            shutil.rmtree(folder, ignore_errors=True)
        work.mkdir()
        image.write_layout(layout, [top])
        bounds = limits or ImageLimits()
        opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=work, limits=bounds)
        inventory = read_inventory(opened, bounds)
        chosen = trust or ModelTrust(self.trust)
        return check_model_signatures(opened, inventory, chosen, clock=fixed_clock(now), limits=bounds)


def rules(result: CheckResult, level: Level = Level.ERROR) -> set[str]:
    """Rule ids of this level, without the check's name."""
    return {finding.rule_id.partition("/")[2] for finding in result.findings if finding.level is level}


def link(path: str, target: str) -> tarfile.TarInfo:
    """A symlink."""
    return entry(path, tarfile.SYMTYPE, linkname=target)
