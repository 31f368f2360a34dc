"""Debian's `docker-registry` on loopback, plain or with TLS by an authority of the test's own."""

from __future__ import annotations

import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pratique.digests import Digest
from tests.assets.images import MANIFEST, MadeImage

DAY = timedelta(days=1)


@dataclass(frozen=True)
class ServerCertificate:
    """An authority's certificate, and certificate and key of a server on loopback that it vouches for."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> ServerCertificate:
        """A new authority and a server; all three files lie in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder / "ca.crt", folder / "server.crt", folder / "server.key")
        root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Authority of {folder.name}")])
        loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        limits = x509.BasicConstraints(ca=True, path_length=0)
        made.authority.write_bytes(_signed(name, root, name, root, limits).public_bytes(Encoding.PEM))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
        made.certificate.write_bytes(_signed(subject, leaf, name, root, loopback).public_bytes(Encoding.PEM))
        made.key.write_bytes(leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made

    def server_context(self) -> ssl.SSLContext:
        """TLS for a server of the test's own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def believed_for(self, host: str, home: Path) -> None:
        """Have the user whose home this is believe this authority for a registry, as Podman's users do."""
        folder = home / ".config" / "containers" / "certs.d" / host
        folder.mkdir(parents=True)
        shutil.copy(self.authority, folder / "ca.crt")


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
    return builder.add_extension(extension, critical=False).sign(by, hashes.SHA256())


@contextmanager
def running_registry(folder: Path, tls: ServerCertificate | None = None) -> Iterator[str]:
    """host:port of a registry whose data lie in `folder`; skips where Debian's package is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (Debian package docker-registry)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if tls is not None:
        http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
    configuration = {"version": "0.1", "log": {"level": "error"}, "storage": storage, "http": http}
    (folder / "config.yml").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        _wait(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the registry ended"
        time.sleep(0.05)
    pytest.fail("the registry did not start")


def push(host: str, image: MadeImage, tops: dict[str, str], *, verify: ssl.SSLContext | bool = False) -> None:
    """Push all blobs of `image` to team/tool, and the manifests in `tops` (digest to tag or digest)."""
    base = f"{'https' if verify else 'http'}://{host}/v2/team/tool"
    with httpx.Client(trust_env=False, verify=verify) as client:
        for digest, data in image.blobs.items():
            if digest not in tops:
                place = client.post(f"{base}/blobs/uploads/").headers["location"]
                client.put(httpx.URL(place).copy_merge_params({"digest": digest}), content=data).raise_for_status()
        for top, name in tops.items():
            data = image.blobs[Digest(top)]
            kind = {"Content-Type": json.loads(data).get("mediaType", MANIFEST)}
            client.put(f"{base}/manifests/{name}", content=data, headers=kind).raise_for_status()
