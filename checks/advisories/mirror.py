"""Fetches osv.dev's exports, `<base>/<ecosystem>/all.zip`, from their source or a mirror of it.

What was fetched before is asked for again only if it changed (RFC 9110, If-None-Match and If-Modified-Since). A
download that breaks off goes on where it stopped, as long as the server still has the same bytes (Range with If-Range).
Whatever goes wrong is *could not decide*: the snapshot in use stays, and grows stale.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from checks.advisories.index import Origin, existing_index
from checks.advisories.snapshot import MAX_ARCHIVE, confirm_snapshot, import_snapshot
from checks.advisories.source import Snapshot
from pratique.bounds import read_bounded, strict_json
from pratique.clock import Clock
from pratique.digests import Digest, sha256_file
from pratique.errors import CouldNotDecide, InvalidInput, UsageError

if TYPE_CHECKING:
    import httpx

SOURCE = "https://osv-vulnerabilities.storage.googleapis.com"
_ECOSYSTEM = re.compile(r"[A-Za-z][A-Za-z0-9 .:-]{0,40}", re.ASCII)
_CHUNK = 1 << 20
_MAX_REDIRECTS = 5
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")
_MD5 = re.compile(r"md5=([A-Za-z0-9+/=]{24})")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Fetching:
    """How exports are fetched: the most bytes, seconds of silence, seconds in all, and how often to go on."""

    max_bytes: int = MAX_ARCHIVE
    silence: float = 30.0
    deadline: float = 3600.0
    attempts: int = 4
    pause: float = 1.0


_DEFAULT = Fetching()


@dataclass
class _Partial:
    """What is there of a download, and the mark by which the server knows the same bytes again."""

    path: Path
    mark: str = ""

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.mark and self.path.is_file() else 0


def update(
    home: Path,
    ecosystem: str,
    *,
    clock: Clock,
    base: str = SOURCE,
    sha256: Digest | None = None,
    taken: date | None = None,
    how: Fetching = _DEFAULT,
) -> Snapshot:
    """Fetch the export of `ecosystem` and import it into `home`; what did not change is noted to be as fresh as today.

    The snapshot's day is today for the source itself; for a mirror it is the day of its `Last-Modified`, because a
    mirror may have stopped. Raises `UsageError` for a `base` that cannot be used, `CouldNotDecide` for all else.
    """
    if not _ECOSYSTEM.fullmatch(ecosystem):
        raise UsageError(f"{ecosystem[:60]!r} is no ecosystem of OSV", next_step="Write it as osv.dev does: PyPI, npm.")
    downloads = home / "downloads" / re.sub(r"[^A-Za-z0-9]", "-", ecosystem)
    downloads.mkdir(parents=True, exist_ok=True)
    url = f"{_base_url(base, sha256)}/{quote(ecosystem)}/all.zip"
    archive = downloads / "all.zip"
    today = clock().date()
    lock = _lock(downloads, url)
    try:
        known = None if sha256 is not None or taken is not None else _known(home, ecosystem, url)
        origin = _Fetch(url, archive, how, known).run()
        day = taken or (today if base.rstrip("/") == SOURCE else _day_of(origin.modified, today, url))
        if not archive.is_file():
            confirmed = confirm_snapshot(home, ecosystem, origin, min(day, today))
            if confirmed is None:
                raise _failed(url, "the snapshot that did not change is gone")
            return confirmed
        if sha256 is not None and sha256_file(archive) != sha256:
            raise _failed(url, "the bytes are not those whose checksum was given")
        _require_newer(home, ecosystem, day, url)
        label = f"from {url[:200]}"
        return import_snapshot(archive, home, taken=min(day, today), ecosystem=ecosystem, label=label, origin=origin)
    except InvalidInput as error:
        raise _failed(url, f"what is there is no export of OSV: {error}") from error
    finally:
        archive.unlink(missing_ok=True)
        lock.close()


def _require_newer(home: Path, ecosystem: str, day: date, url: str) -> None:
    """A mirror that stopped, or goes back in time, must not put an older snapshot in the place of a newer one."""
    present = [entry.snapshot for entry in existing_index(home).snapshots if entry.snapshot.ecosystems == (ecosystem,)]
    if present and present[0].taken > day:
        raise _failed(url, f"its copy is of {day}, older than the snapshot of {present[0].taken} that is in use")


def _known(home: Path, ecosystem: str, url: str) -> Origin | None:
    """By what the server knows what `home` holds, where that came from `url` and is as it was imported."""
    for entry in existing_index(home).snapshots:
        if entry.snapshot.ecosystems == (ecosystem,) and entry.origin is not None and entry.origin.url == url:
            try:
                return entry.origin if sha256_file(home / entry.database) == entry.database_digest else None
            except OSError:
                return None
    return None


def _lock(downloads: Path, url: str) -> IO[str]:
    """Held until it is closed, so that two downloads do not write into each other."""
    lock = (downloads / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise _failed(url, "another update of it is running") from error
    return lock


def _base_url(base: str, sha256: Digest | None) -> str:
    import httpx

    try:
        url = httpx.URL(base)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"{base[:200]!r} is no address", next_step="Write https://host/path.") from error
    if url.scheme not in ("http", "https") or not url.host or url.query:
        raise UsageError(f"{base[:200]!r} is no address of a mirror", next_step="Write https://host/path.")
    if url.scheme == "http" and url.host not in _LOOPBACK and sha256 is None:
        raise UsageError(
            "a mirror without TLS can be replaced by anybody on the way",
            next_step="Use https, or give the archive's checksum with --sha256.",
        )
    return base.rstrip("/")


def _day_of(modified: str, today: date, url: str) -> date:
    try:
        return min(parsedate_to_datetime(modified).date(), today)
    except (ValueError, TypeError, IndexError) as error:
        raise _failed(
            url, "the mirror does not say from when its copy is (no Last-Modified); give the day with --date"
        ) from error


class _Fetch:
    """One download: goes on after interruptions, within the limits."""

    def __init__(
        self,
        url: str,
        target: Path,
        how: Fetching,
        known: Origin | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._known = known
        self._target = target
        self._how = how
        self._now = now
        self._until = now() + how.deadline
        self._note = target.with_name("partial.json")
        self._partial = _Partial(target.with_name("partial"), self._noted())

    def run(self) -> Origin:
        """Download to the target, but for what did not change; returns its marks. Raises `CouldNotDecide`."""
        import httpx

        problem = ""
        timeout = httpx.Timeout(self._how.silence)
        with httpx.Client(timeout=timeout, follow_redirects=False, trust_env=True) as client:
            for attempt in range(self._how.attempts):
                if attempt:
                    time.sleep(self._how.pause * attempt)
                try:
                    return self._once(client)
                except (httpx.TransportError, httpx.StreamError) as error:
                    problem = f"{type(error).__name__}: {error}"[:300]
        raise _failed(self._url, problem)

    def _noted(self) -> str:
        """The mark of an earlier, unfinished download of the same address."""
        try:
            noted = strict_json(read_bounded(self._note, 4096), where=str(self._note), max_bytes=4096)
        except InvalidInput:
            return ""
        same = isinstance(noted, dict) and noted.get("url") == self._url
        return str(noted.get("mark", "")) if same else ""

    def _once(self, client: httpx.Client) -> Origin:
        start = self._partial.size
        response = self._open(client, self._headers(start))
        try:
            if response.status_code == 304 and self._known is not None and not start:
                return self._known  # not what this answer says: a mirror that stopped must not look fresh
            if response.status_code == 416 and start:
                self._forget()
                return self._once(client)
            if response.status_code not in (200, 206):
                raise _failed(self._url, f"the server answers {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _failed(self._url, "the server answers with an encoding that was not asked for")
            start = self._continues_at(response, start)
            self._write(response, start)
            self._verify(response)
        finally:
            response.close()
        self._partial.path.replace(self._target)
        self._note.unlink(missing_ok=True)
        etag, modified = response.headers.get("etag", ""), response.headers.get("last-modified", "")
        return Origin(self._url, etag[:200], modified[:200])

    def _headers(self, start: int) -> dict[str, str]:
        """What is asked for: the rest of an unfinished download, else all unless it did not change."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "pratique"}
        if start:
            return headers | {"Range": f"bytes={start}-", "If-Range": self._partial.mark}
        if self._known is not None and self._known.etag:
            headers["If-None-Match"] = self._known.etag
        if self._known is not None and self._known.modified:
            headers["If-Modified-Since"] = self._known.modified
        return headers

    def _open(self, client: httpx.Client, headers: dict[str, str]) -> httpx.Response:
        """The response after at most five redirects, none of them from TLS to plain HTTP."""
        import httpx

        url = httpx.URL(self._url)
        for _ in range(_MAX_REDIRECTS + 1):
            response = client.send(client.build_request("GET", url, headers=headers), stream=True)
            if not response.has_redirect_location:  # `is_redirect` takes 304 for one
                return response
            response.close()
            try:
                following = url.join(response.headers["location"])
            except (httpx.InvalidURL, ValueError, KeyError) as error:
                raise _failed(self._url, "a redirect that leads nowhere") from error
            if following.scheme not in ("http", "https") or (url.scheme == "https" and following.scheme == "http"):
                raise _failed(self._url, f"a redirect to {following.scheme}, which is not followed")
            url = following
        raise _failed(self._url, f"more than {_MAX_REDIRECTS} redirects")

    def _continues_at(self, response: httpx.Response, start: int) -> int:
        """Where the body belongs; a server that sends other bytes than asked for is not believed."""
        mark = response.headers.get("etag", "")
        mark = mark if mark and not mark.startswith("W/") else response.headers.get("last-modified", "")
        if response.status_code == 206:
            if not start or not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
                self._forget()
                raise _failed(self._url, "the server continues at another place than was asked for")
            return start
        self._partial.mark = mark[:200]
        self._partial.path.write_bytes(b"")
        self._note.write_text(json.dumps({"url": self._url, "mark": self._partial.mark}), encoding="utf-8")
        return 0

    def _write(self, response: httpx.Response, start: int) -> None:
        import httpx

        length = response.headers.get("content-length", "")
        expected = start + int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else None
        self._within(expected or 0)
        total = start
        with self._partial.path.open("ab") as out:
            for chunk in response.iter_raw():
                total += len(chunk)
                self._within(total)
                out.write(chunk)
        if expected is not None and total < expected:
            raise httpx.ReadError(f"{total:,} of {expected:,} bytes came")

    def _within(self, total: int) -> None:
        if total > self._how.max_bytes:
            self._forget()
            raise _failed(self._url, f"the export has more than the {self._how.max_bytes:,} bytes allowed")
        if self._now() > self._until:
            raise _failed(self._url, f"it takes longer than {self._how.deadline:.0f} seconds; run it again to go on")

    def _verify(self, response: httpx.Response) -> None:
        """Compare with the checksums that the server gives for the whole (RFC 9530, Google Cloud Storage)."""
        headers = response.headers
        given = _DIGEST.search(headers.get("repr-digest", ""))
        stored = _MD5.search(", ".join(headers.get_list("x-goog-hash")))
        for algorithm, match in (("sha256", given), ("md5", stored)):
            if match and _digest(self._partial.path, algorithm) != _decoded(match[1]):
                self._forget()
                raise _failed(self._url, f"what came does not have the {algorithm} that the server gives")

    def _forget(self) -> None:
        """Throw the unfinished download away."""
        self._partial.mark = ""
        self._partial.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _digest(path: Path, algorithm: str) -> bytes:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
    return digest.digest()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _failed(url: str, cause: str) -> CouldNotDecide:
    return CouldNotDecide(
        f"the advisories could not be fetched from {url[:200]}",
        cause=cause,
        next_step="Run it again (a download goes on where it stopped), or import a file: pratique advisories import.",
    )
