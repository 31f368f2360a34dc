"""Fetches osv.dev's exports, `<base>/<ecosystem>/all.zip`, from their source or a mirror of it.

What was fetched before is asked for again only if it changed (RFC 9110, If-None-Match and If-Modified-Since). A
download that breaks off goes on where it stopped, as long as the server still has the same bytes (Range with If-Range).
A name and password in the address go to the server and nowhere else: not into messages, notes or verdicts.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from checks.advisories.index import Origin, existing_index
from checks.advisories.snapshot import MAX_ARCHIVE, confirm_snapshot, import_snapshot
from checks.advisories.source import LOOPBACK, Snapshot, shown_url
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
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", re.ASCII)


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
    url = f"{_base_url(base, sha256)}/{quote(ecosystem)}/all.zip"
    downloads = home / "downloads" / re.sub(r"[^A-Za-z0-9]", "-", ecosystem)
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with _locked(downloads, url):
            return _update(home, ecosystem, url, downloads / "all.zip", clock().date(), sha256, taken, how)
    except InvalidInput as error:
        raise _failed(url, f"what is there cannot be used: {error}") from error
    except OSError as error:
        raise _failed(url, f"it could not be stored: {error}") from error


def _update(
    home: Path,
    ecosystem: str,
    url: str,
    archive: Path,
    today: date,
    sha256: Digest | None,
    taken: date | None,
    how: Fetching,
) -> Snapshot:
    shown = shown_url(url)
    try:
        known = None if sha256 is not None or taken is not None else _known(home, ecosystem, shown)
        origin = _Fetch(url, archive, how, known, checked=sha256 is not None).run()
        itself = url == f"{SOURCE}/{quote(ecosystem)}/all.zip"
        day = min(taken or (today if itself else _day_of(origin.modified, url)), today)
        if not archive.is_file():
            confirmed = confirm_snapshot(home, ecosystem, origin, day)
            if confirmed is None:
                raise _failed(url, "the snapshot that did not change is gone")
            return confirmed
        if sha256 is not None and sha256_file(archive) != sha256:
            raise _failed(url, "the bytes are not those whose checksum was given")
        return import_snapshot(
            archive, home, taken=day, ecosystem=ecosystem, label=f"from {shown[:200]}", origin=origin
        )
    finally:
        archive.unlink(missing_ok=True)


def _known(home: Path, ecosystem: str, url: str) -> Origin | None:
    """By what the server knows what `home` holds, where that came from `url` and is as it was imported."""
    for entry in existing_index(home).snapshots:
        if entry.snapshot.ecosystems == (ecosystem,) and entry.origin is not None and entry.origin.url == url:
            try:
                return entry.origin if sha256_file(home / entry.database) == entry.database_digest else None
            except OSError:
                return None
    return None


@contextmanager
def _locked(downloads: Path, url: str) -> Iterator[None]:
    """Within this two downloads do not write into each other."""
    with (downloads / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _failed(url, "another update of it is running") from error
        yield


def _base_url(base: str, sha256: Digest | None) -> str:
    import httpx

    try:
        url = httpx.URL(base)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"{base[:200]!r} is no address", next_step="Write https://host/path.") from error
    if url.scheme not in ("http", "https") or not url.host or url.query:
        raise UsageError(f"{base[:200]!r} is no address of a mirror", next_step="Write https://host/path.")
    if url.scheme == "http" and url.host not in LOOPBACK and sha256 is None:
        raise UsageError(
            "a mirror without TLS can be replaced by anybody on the way",
            next_step="Use https, or give the archive's checksum with --sha256.",
        )
    return base.rstrip("/")


def _day_of(modified: str, url: str) -> date:
    try:
        return parsedate_to_datetime(modified).date()
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
        *,
        checked: bool = False,
    ) -> None:
        self._url = url
        self._shown = shown_url(url)
        self._known = known
        self._target = target
        self._how = how
        self._plain = checked  # only what has a checksum may come over plain HTTP from another machine
        self._until = time.monotonic() + how.deadline
        from pratique.intake.image.registry_network import Watch

        self._watch = Watch(self._until, proxied=True)
        self._note = target.with_name("partial.json")
        self._partial = _Partial(target.with_name("partial"), self._noted())

    def run(self) -> Origin:
        """Download to the target, but for what did not change; returns its marks. Raises `CouldNotDecide`."""
        import httpx

        problem = ""
        timeout = httpx.Timeout(self._how.silence)
        direct: dict[str, httpx.BaseTransport | None] = {f"all://{_in_url(host)}": None for host in LOOPBACK}
        client = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=True, mounts=direct)
        with client, self._watch.watching():
            for attempt in range(self._how.attempts):
                if attempt:
                    time.sleep(self._how.pause * attempt)
                try:
                    return self._once(client)
                except (httpx.TransportError, httpx.StreamError) as error:
                    self._within(0)
                    problem = f"{type(error).__name__}: {error}"[:300]
        raise _failed(self._url, problem)

    def _noted(self) -> str:
        """The mark of an earlier, unfinished download of the same address."""
        try:
            noted = strict_json(read_bounded(self._note, 4096), where=str(self._note), max_bytes=4096)
        except InvalidInput:
            return ""
        same = isinstance(noted, dict) and noted.get("url") == self._shown
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
            whole = self._continues_at(response, start) if response.status_code == 206 else self._begin(response)
            self._write(response, start if response.status_code == 206 else 0, whole)
            self._verify(response)
        finally:
            response.close()
        self._partial.path.replace(self._target)
        self._note.unlink(missing_ok=True)
        etag, modified = response.headers.get("etag", ""), response.headers.get("last-modified", "")
        return Origin(self._shown, etag[:200], modified[:200])

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
        """The response after at most five redirects, none of them to plain HTTP on another machine."""
        import httpx

        from pratique.intake.image.registry_network import Origin as Server

        url = httpx.URL(self._url)
        for _ in range(_MAX_REDIRECTS + 1):
            watched = self._watch.extensions(Server(str(url)), str(url))
            response = client.send(client.build_request("GET", url, headers=headers, extensions=watched), stream=True)
            if not response.has_redirect_location:  # `is_redirect` takes 304 for one
                return response
            response.close()
            try:
                following = url.join(response.headers["location"])
            except (httpx.InvalidURL, ValueError, KeyError) as error:
                raise _failed(self._url, "a redirect that leads nowhere") from error
            near = following.host in LOOPBACK or self._plain
            if following.scheme != "https" and (following.scheme != "http" or url.scheme == "https" or not near):
                raise _failed(self._url, f"a redirect to {following.scheme}, which is not followed")
            url = following
        raise _failed(self._url, f"more than {_MAX_REDIRECTS} redirects")

    def _continues_at(self, response: httpx.Response, start: int) -> int:
        """Bytes of the whole; a server that sends others than asked for, or of another whole, is not believed."""
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if not start or found is None or int(found[1]) != start or int(found[2]) >= int(found[3]):
            self._forget()
            raise _failed(self._url, "the server continues at another place than was asked for")
        if _mark_of(response) not in ("", self._partial.mark):
            self._forget()
            raise _failed(self._url, "the server continues with the bytes of another export")
        return int(found[3])

    def _begin(self, response: httpx.Response) -> int | None:
        """Bytes of the whole, where the server says so; what was there before is thrown away."""
        self._partial.mark = _mark_of(response)
        self._partial.path.write_bytes(b"")
        self._note.write_text(json.dumps({"url": self._shown, "mark": self._partial.mark}), encoding="utf-8")
        length = response.headers.get("content-length", "")
        return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else None

    def _write(self, response: httpx.Response, start: int, expected: int | None) -> None:
        import httpx

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
        if time.monotonic() > self._until:
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


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _mark_of(response: httpx.Response) -> str:
    """By what the server knows the same bytes again."""
    strong = response.headers.get("etag", "")
    mark: str = strong if strong and not strong.startswith("W/") else response.headers.get("last-modified", "")
    return mark[:200]


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
        f"the advisories could not be fetched from {shown_url(url)[:200]}",
        cause=cause,
        next_step="Run it again (a download goes on where it stopped), or import a file: pratique advisories import.",
    )
