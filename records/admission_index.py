"""Who is admitted, looked up without reading the whole ledger: a cache of `Admissions`, signed by the node.

A header (signed note) names the tree that the index was made from, how many withdrawals there have been, the withdrawal
lists of others that were taken in, the newest times that were signed, and the digest of each bucket; a tool's
admissions stand in the bucket of its name. So a lookup reads the header and one bucket, however many admissions there
are. A header of an older tree is brought up to date with the entries since, once it is proven that the present tree
continues that one. The index can be deleted at any time.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pratique.bounds import read_bounded, strict_json
from pratique.clock import rfc3339
from pratique.digests import Digest, canonical_json, hex_of, parse_digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from records.admissions import Admissions, AdmittedVersion, KnownList, moment_of, signed_statements
from records.checkpoint import Checkpoint
from records.dsse import verify_envelope
from records.durable import locked
from records.keys import NodeKey, strict_base64
from records.mark import RolledBack
from records.merkle import EMPTY_ROOT, verify_consistency
from records.note import MAX_NOTE_BYTES, sign_note, verify_note
from records.reader import LedgerReader
from records.signed_times import SignedTime, with_time_of
from records.statements import WITHDRAWAL_LIST

FORMAT = "3"
HEADER = "header"
MAX_BUCKET_BYTES = 64 << 20
BUCKETS = 64
_ONE_BY_ONE = 16
"""Up to this many new entries are proven one by one; beyond it the whole ledger is read once."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_BUCKET = re.compile(r"([0-9a-f]{2}) ([0-9a-f]{64})", re.ASCII)
_TIME = re.compile(r"time (0|[1-9][0-9]{0,18}) (\S{20})", re.ASCII)
_LIST = re.compile(r"list (\S+) ([0-9]{1,18}) (\S{44}) (\S{20}) ([0-9a-f]{64})", re.ASCII)


class _Unusable(Exception):
    """The index cannot be used as it is; it is made anew."""


@dataclass(frozen=True)
class _Header:
    """Tree that the index was made from, count of withdrawals, others' lists, newest times, and digest of each bucket
    by its name."""

    size: int
    root: bytes
    withdrawals: int
    lists: tuple[KnownList, ...]
    times: tuple[SignedTime, ...]
    buckets: dict[str, Digest]


_EMPTY = _Header(0, EMPTY_ROOT, 0, (), (), {})


class AdmissionIndex:
    """The index of `ledger` in `directory`, signed with `key`. Safe to use from several processes.

    Every question raises `CouldNotDecide` when the ledger cannot be trusted, `RolledBack` when it is older than the
    index.
    """

    def __init__(self, directory: Path, ledger: LedgerReader, key: NodeKey) -> None:
        self._directory = directory
        self._ledger = ledger
        self._key = key
        self._title = f"{ledger.origin}/admissions"

    def of_tool(self, name: str) -> tuple[AdmittedVersion, ...]:
        """Every version of the tool that was ever admitted, those taken back too."""
        wanted = _bucket_of(name)
        return tuple(version for version in self._versions([wanted])[1] if version.name == name)

    def everything(self) -> tuple[AdmittedVersion, ...]:
        """Every version of every tool that was ever admitted, those taken back too."""
        return tuple(self._versions(None)[1])

    def withdrawals(self) -> int:
        """How many withdrawals the ledger holds."""
        return self._versions([])[0].withdrawals

    def lists(self) -> tuple[KnownList, ...]:
        """The newest withdrawal list of each origin that was taken in."""
        return self._versions([])[0].lists

    def times(self) -> tuple[SignedTime, ...]:
        """The newest times that the node signed, as `signed_times` keeps them."""
        return self._versions([])[0].times

    def _versions(self, buckets: list[str] | None) -> tuple[_Header, list[AdmittedVersion]]:
        """Header, and what stands in the buckets named (all of them without names), as of the present tree."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self._directory, exclusive=True):
                try:
                    header = self._continued(self._read_header())
                    return header, list(self._read(header, buckets))
                except _Unusable:
                    header = self._continued(_EMPTY)
                    return header, list(self._read(header, buckets))
        except (OSError, _Unusable) as error:
            raise CouldNotDecide(
                f"the index of admissions in {self._directory} cannot be kept",
                cause=str(error),
                next_step="Make room on the disk and check permissions; the index may be deleted at any time.",
            ) from error

    # --- with the lock held ---

    def _continued(self, header: _Header) -> _Header:
        """`header` brought up to the ledger's present tree, and written."""
        head = self._ledger.checkpoint().checkpoint
        if (header.size, header.root) == (head.size, head.root_hash):
            return header
        self._require_continuation(header, head)
        news = list(self._news(header.size, head.size))
        if not news:
            return self._write(
                header, head, Admissions((), header.withdrawals, header.lists), header.times, header.buckets
            )
        touched = {_bucket_of(name) for _, statement in news for name in _names(statement)}
        if any(statement["predicateType"] == WITHDRAWAL_LIST for _, statement in news):  # it names images only
            touched |= header.buckets.keys()
        admissions = Admissions(list(self._read(header, sorted(touched))), header.withdrawals, header.lists)
        times = header.times
        for entry, statement in news:
            admissions.take_in(entry, statement)
            times = with_time_of(times, entry, statement)
        sorted_in: defaultdict[str, list[AdmittedVersion]] = defaultdict(list)
        for version in admissions.all():
            sorted_in[_bucket_of(version.name)].append(version)
        written = {name: self._write_bucket(versions) for name, versions in sorted_in.items()}
        return self._write(header, head, admissions, times, header.buckets | written)

    def _require_continuation(self, header: _Header, head: Checkpoint) -> None:
        if header.size >= head.size:
            raise _rolled_back(header.size, head.size)
        if not header.size:
            return
        proof = self._ledger.consistency_proof(header.size, head.size)
        try:
            verify_consistency(header.size, head.size, proof, header.root, head.root_hash)
        except InvalidInput as error:
            raise _rolled_back(header.size, head.size) from error

    def _news(self, start: int, end: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The node's own statements among the entries from `start` to before `end`."""
        if end - start > _ONE_BY_ONE:
            for entry, statement in signed_statements(self._ledger, start=start):
                if entry < end:
                    yield entry, statement
            return
        for entry in range(start, end):
            data = self._ledger.entry(entry)
            try:
                yield entry, verify_envelope(data, [self._ledger.verifier])
            except InvalidInput:
                continue

    def _read_header(self) -> _Header:
        path = self._directory / HEADER
        if not path.exists():
            return _EMPTY
        try:
            text = verify_note(read_bounded(path, MAX_NOTE_BYTES), [self._key.verifier]).text
        except InvalidInput as error:
            raise _Unusable(str(error)) from error
        title, version, *lines = text.splitlines()
        if title != self._title or version != FORMAT or len(lines) < 3:
            raise _Unusable("an index of another ledger or form")
        size, root, withdrawals = lines[0], strict_base64(lines[1]), lines[2]
        lists = [_LIST.fullmatch(line) for line in lines[3:] if line.startswith("list ")]
        times = [_TIME.fullmatch(line) for line in lines[3:] if line.startswith("time ")]
        buckets = [_BUCKET.fullmatch(line) for line in lines[3:] if not line.startswith(("list ", "time "))]
        if root is None or not _NUMBER.fullmatch(size) or not _NUMBER.fullmatch(withdrawals):
            raise _Unusable("a header of another form")
        named = {match[1]: Digest(f"sha256:{match[2]}") for match in buckets if match}
        known = tuple(_parsed_list(match) for match in lists if match)
        signed = tuple(SignedTime(int(match[1]), moment_of(match[2])) for match in times if match)
        if (len(named), len(known), len(signed)) != (len(buckets), len(lists), len(times)):
            raise _Unusable("a header of another form")
        return _Header(int(size), root, int(withdrawals), known, signed, named)

    def _read(self, header: _Header, buckets: list[str] | None) -> Iterator[AdmittedVersion]:
        for name in sorted(header.buckets) if buckets is None else buckets:
            if name not in header.buckets:
                continue
            digest = header.buckets[name]
            try:
                data = read_bounded(self._directory / hex_of(digest), MAX_BUCKET_BYTES)
            except InvalidInput as error:
                raise _Unusable(str(error)) from error
            if sha256_bytes(data) != digest:
                raise _Unusable(f"the bucket {name} was altered")
            for item in strict_json(data, where=name, max_bytes=MAX_BUCKET_BYTES):
                yield _parsed(item)

    def _write_bucket(self, versions: list[AdmittedVersion]) -> Digest:
        data = canonical_json([_plain(version) for version in versions])
        digest = sha256_bytes(data)
        self._put(hex_of(digest), data)
        return digest

    def _write(
        self,
        old: _Header,
        head: Checkpoint,
        news: Admissions,
        times: tuple[SignedTime, ...],
        buckets: dict[str, Digest],
    ) -> _Header:
        lists = tuple(news.lists[origin] for origin in sorted(news.lists))
        header = _Header(head.size, head.root_hash, news.withdrawals, lists, times, dict(sorted(buckets.items())))
        lines = [self._title, FORMAT, str(header.size), base64.b64encode(header.root).decode(), str(news.withdrawals)]
        lines += [_list_line(one) for one in lists]
        lines += [f"time {one.entry} {rfc3339(one.moment)}" for one in times]
        lines += [f"{name} {hex_of(digest)}" for name, digest in header.buckets.items()]
        self._put(HEADER, sign_note("".join(f"{line}\n" for line in lines), [self._key]))
        for digest in set(old.buckets.values()) - set(header.buckets.values()):
            (self._directory / hex_of(digest)).unlink(missing_ok=True)
        return header

    def _put(self, name: str, data: bytes) -> None:
        draft = self._directory / f".{secrets.token_hex(8)}"
        draft.write_bytes(data)
        draft.replace(self._directory / name)


def _list_line(one: KnownList) -> str:
    root = base64.b64encode(one.root).decode()
    return f"list {one.origin} {one.size} {root} {rfc3339(one.issued)} {hex_of(one.digest)}"


def _parsed_list(match: re.Match[str]) -> KnownList:
    origin, size, root, issued, digest = match.groups()
    return KnownList(origin, int(size), base64.b64decode(root), moment_of(issued), Digest(f"sha256:{digest}"))


def _bucket_of(name: str) -> str:
    return f"{hashlib.sha256(name.encode()).digest()[0] % BUCKETS:02x}"


def _names(statement: dict[str, Any]) -> Iterable[str]:
    return [subject["name"] for subject in statement["subject"] if isinstance(subject.get("name"), str)]


def _plain(version: AdmittedVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "image": version.image_digest,
        "entry": version.entry,
        "place": version.resource_uri,
        "expires": rfc3339(version.expires) if version.expires else None,
        "takenBack": version.taken_back,
        "config": version.config_digest,
    }


def _parsed(item: dict[str, Any]) -> AdmittedVersion:
    expires: datetime | None = moment_of(item["expires"]) if item["expires"] is not None else None
    config = parse_digest(item["config"]) if item["config"] is not None else None
    return AdmittedVersion(
        item["name"],
        item["version"],
        parse_digest(item["image"]),
        item["entry"],
        item["place"],
        expires,
        item["takenBack"],
        config,
    )


def _rolled_back(indexed: int, present: int) -> RolledBack:
    return RolledBack(
        "the ledger does not continue what its index was made from: it was put back or replaced",
        cause=f"the index knows {indexed} entries, the ledger has {present}",
        next_step="Keep both as they are, restore the newest backup of the ledger, and compare: `pratique log verify`.",
    )
