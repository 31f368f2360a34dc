"""Images from a registry by digest (OCI distribution 1.1, Docker registry v2), downloaded into the work directory.

A registry named by a submission may be hostile: every answer is bounded in bytes and time and verified against the
digest it was asked by, and a redirect (or a token service) elsewhere must be HTTPS to a public address, so that a
submission cannot make the node talk to machines of its own network. Credentials go to the registry, and to a token
service under the same domain, nowhere else.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from pratique.digests import Digest, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.accounts import account_for
from pratique.intake.image.documents import INDEXES, MANIFESTS
from pratique.intake.image.model import ImageLimits, RegistryImage
from pratique.intake.image.reference import parse_reference
from pratique.intake.image.registry_http import RegistryHttp
from pratique.intake.image.shelf import missing_blob, open_regular

if TYPE_CHECKING:
    import httpx

_ACCEPT = ", ".join(sorted(INDEXES | MANIFESTS))


class RegistryShelf:
    """Blobs of one repository; what was fetched lies in `workdir`/blobs/sha256.

    Raises `InvalidInput`: `image/reference…`, `image/digest-mismatch` (reference and expected digest differ),
    `image/blob-missing`, `image/blob-size`, `image/blob-digest`, `image/registry-redirect`; `CouldNotDecide` when the
    registry does not answer, asks for credentials, is too slow, or the disk is full.
    """

    def __init__(self, image: RegistryImage, expected: Digest, limits: ImageLimits, workdir: Path) -> None:
        reference = parse_reference(image.reference)
        if reference.digest != expected:
            raise InvalidInput(
                "the reference names another digest than the one expected",
                rule="image/digest-mismatch",
                where=image.reference,
                cause=f"expected {expected}",
                next_step="Correct the one of the two digests that is wrong.",
            )
        self._reference = reference
        self._http = RegistryHttp(reference, image.credentials or account_for(reference.host))
        self._deadline = time.monotonic() + limits.download_seconds
        self._folder = workdir / "blobs" / "sha256"
        self._folder.mkdir(parents=True, exist_ok=True)

    def open(self, digest: Digest) -> BinaryIO:
        """See `Shelf`; opens what was fetched before."""
        return open_regular(self._path(digest))

    def document(self, digest: Digest, limit: int) -> bytes:
        """See `Shelf`; a manifest or index is asked for, unless it was fetched as a blob."""
        path = self._path(digest)
        data = path.read_bytes() if path.exists() else self._manifest(digest, limit)
        if sha256_bytes(data) != digest:
            raise self._refusal("blob-digest", "the registry answered with other bytes than those asked for", digest)
        return data

    def fetch(self, digest: Digest, size: int) -> None:
        """See `Shelf`; downloads the blob unless it is there."""
        if self._path(digest).exists():
            return
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="partial-", delete=False) as out:
                partial = Path(out.name)
                try:
                    self._download(digest, size, out)
                except (InvalidInput, CouldNotDecide):
                    partial.unlink()
                    raise
            partial.replace(self._path(digest))
        except OSError as error:
            raise CouldNotDecide(
                f"a layer cannot be stored in {self._folder}",
                cause=error.strerror or str(error),
                next_step="Free disk space, or choose another work directory.",
            ) from error

    def offered(self) -> tuple[str, ...]:
        """See `Shelf`; a registry is not asked for what else it has."""
        return (f"{self._reference.host}/{self._reference.repository} has no such manifest",)

    def _path(self, digest: Digest) -> Path:
        return self._folder / hex_of(digest)

    def _manifest(self, digest: Digest, limit: int) -> bytes:
        data = bytearray()
        with self._http.get(f"manifests/{digest}", accept=_ACCEPT) as response:
            self._found(response, digest)
            for chunk in self._chunks(response):
                data += chunk
                if len(data) > limit:
                    raise self._refusal("document-too-large", f"a manifest of more than {limit:,} bytes", digest)
        return bytes(data)

    def _download(self, digest: Digest, size: int, out: IO[bytes]) -> None:
        sha256, count = hashlib.sha256(), 0
        with self._http.get(f"blobs/{digest}", accept="*/*") as response:
            self._found(response, digest)
            for chunk in self._chunks(response):
                count += len(chunk)
                if count > size:
                    raise self._refusal("blob-size", f"more than the {size:,} bytes the manifest states", digest)
                sha256.update(chunk)
                out.write(chunk)
        if count < size:
            raise self._refusal("truncated", f"{count:,} of {size:,} bytes", digest)
        if f"sha256:{sha256.hexdigest()}" != digest:
            raise self._refusal("blob-digest", "the registry answered with other bytes than those asked for", digest)

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        for chunk in response.iter_raw():  # raw: a Content-Encoding would be a way to send a bomb
            if time.monotonic() > self._deadline:
                raise CouldNotDecide(
                    f"{self._reference.host} is too slow",
                    cause="the time for downloading the image is over",
                    next_step="Try again later, or hand the image in as an OCI layout.",
                )
            yield chunk

    def _found(self, response: httpx.Response, digest: Digest) -> None:
        if response.status_code == 404:
            raise missing_blob(digest)

    def _refusal(self, rule: str, message: str, digest: Digest) -> InvalidInput:
        return InvalidInput(
            message,
            rule=f"image/{rule}",
            where=f"{self._reference.host}/{self._reference.repository}@{digest}",
            next_step="Push the image again, or hand it in as an OCI layout; ask who runs the registry.",
        )
