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
from pathlib import Path
from typing import IO, BinaryIO

from pratique.digests import Digest, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.documents import INDEXES, MANIFESTS
from pratique.intake.image.model import ImageLimits, RegistryImage
from pratique.intake.image.reference import parse_reference
from pratique.intake.image.registry_http import BrokenOff, RegistryHttp
from pratique.intake.image.shelf import missing_blob, open_regular

_ACCEPT = ", ".join(sorted(INDEXES | MANIFESTS))
_RESUMES = (0.25, 1.0, 2.0)
"""Seconds before a download that broke off is taken up again."""


class _Partial:
    """A blob that is being downloaded: what is there, and the digest of that."""

    def __init__(self, digest: Digest, size: int, out: IO[bytes]) -> None:
        self.digest, self.size, self.count = digest, size, 0
        self._out = out
        self._sha256 = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self.count += len(chunk)
        self._sha256.update(chunk)
        self._out.write(chunk)

    def restart(self) -> None:
        """Forget what is there: the registry sends the whole blob."""
        if self.count:
            self._out.seek(0)
            self._out.truncate()
            self._sha256, self.count = hashlib.sha256(), 0

    def found(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"


class RegistryShelf:
    """Blobs of one repository; what was fetched lies in `workdir`/blobs/sha256.

    Raises `InvalidInput`: `image/reference…`, `image/digest-mismatch` (reference and expected digest differ),
    `image/blob-missing`, `image/blob-size`, `image/blob-digest`, `image/blob-range`, `image/registry-redirect`;
    `CouldNotDecide` when the registry does not answer, asks for credentials, is too slow, or the disk is full.
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
        self._http = RegistryHttp(reference, image.credentials, seconds=limits.download_seconds)
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
                    self._download(_Partial(digest, size, out))
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
        data = self._http.read(f"manifests/{digest}", accept=_ACCEPT, limit=limit)
        if data is None:
            raise missing_blob(digest)
        return data

    def _download(self, partial: _Partial) -> None:
        """Fill `partial`; what broke off is asked for again from there on, and the digest of the whole decides."""
        for pause in (*_RESUMES, None):
            try:
                self._continue(partial)
                break
            except BrokenOff:
                if partial.count == partial.size:
                    break
                if pause is None:
                    raise
                time.sleep(pause)
        if partial.count < partial.size:
            raise self._refusal("truncated", f"{partial.count:,} of {partial.size:,} bytes", partial.digest)
        if partial.found() != partial.digest:
            raise self._refusal(
                "blob-digest", "the registry answered with other bytes than those asked for", partial.digest
            )

    def _continue(self, partial: _Partial) -> None:
        with self._http.get(f"blobs/{partial.digest}", accept="*/*", offset=partial.count) as response:
            if response.status_code == 404:
                raise missing_blob(partial.digest)
            if response.status_code == 200:
                partial.restart()
            elif not response.headers.get("content-range", "").startswith(f"bytes {partial.count}-"):
                raise self._refusal("blob-range", "the registry goes on at another place than asked", partial.digest)
            for chunk in response.iter_raw():  # raw: a Content-Encoding would be a way to send a bomb
                if partial.count + len(chunk) > partial.size:
                    message = f"more than the {partial.size:,} bytes the manifest states"
                    raise self._refusal("blob-size", message, partial.digest)
                partial.add(chunk)

    def _refusal(self, rule: str, message: str, digest: Digest) -> InvalidInput:
        return InvalidInput(
            message,
            rule=f"image/{rule}",
            where=f"{self._reference.host}/{self._reference.repository}@{digest}",
            next_step="Push the image again, or hand it in as an OCI layout; ask who runs the registry.",
        )
