"""The withdrawal list: what a node took back, as one signed note that only ever grows.

It is a C2SP checkpoint whose tree is the list itself: origin `LEDGER/withdrawals`, how many withdrawals there are, the
RFC 6962 root over their lines; then, as extension lines, when it was issued, and the withdrawals in canonical JSON, in
the order of the issuer's ledger. So a later list proves that it continues an earlier one, whoever carried it here; and
the same list issued again says that nothing was withdrawn since. Pure, but for reading the issuer's own ledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from checks.pinning import TakenBack
from pratique.bounds import strict_json
from pratique.clock import rfc3339
from pratique.digests import Digest, canonical_json, parse_digest
from pratique.errors import InvalidInput, Refused
from records.admissions import LONG_AGO, Admissions, AdmittedVersion, images_of, moment_of, signed_statements
from records.checkpoint import Checkpoint, parse_checkpoint
from records.keys import NodeKey, Verifier
from records.merkle import leaf_hash, root_of
from records.note import sign_note, verify_note
from records.reader import LedgerReader
from records.statements import DECISION, VSA

MAX_LIST_BYTES = 16 << 20
_MAX_LINE_BYTES = 4096
_MAX_REASON = 500
_MAX_NAME, _MAX_VERSION = 200, 200
"""Bytes; so that fifty of them fit into one entry of the ledger that takes the list in."""

_ISSUED = re.compile(r"issued (\S{20})")
_FIELDS = {"entry", "image", "name", "version", "withdrawnOn"}


class ForeignList(Refused):
    """A withdrawal list that this node has no business with, or that is older than one it has seen.

    `rule` is the stable name of what is amiss.
    """

    def __init__(self, message: str, *, rule: str, cause: str = "", next_step: str = "") -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.rule = rule


@dataclass(frozen=True)
class Withdrawal:
    """One image that was taken back: by which entry of the issuer's ledger, under which name, and when."""

    entry: int
    name: str
    version: str
    image: Digest
    withdrawn: datetime

    def line(self) -> str:
        """The line of the list."""
        fields = {
            "entry": self.entry,
            "image": self.image,
            "name": self.name,
            "version": self.version,
            "withdrawnOn": rfc3339(self.withdrawn),
        }
        return canonical_json(fields).decode()


@dataclass(frozen=True)
class WithdrawalList:
    """A whole list."""

    origin: str
    issued: datetime
    withdrawals: tuple[Withdrawal, ...]

    @property
    def root(self) -> bytes:
        """Root of the tree over all withdrawals."""
        return self.root_at(len(self.withdrawals))

    def root_at(self, size: int) -> bytes:
        """Root of the tree over the first `size` withdrawals."""
        return root_of(leaf_hash(one.line().encode()) for one in self.withdrawals[:size])

    def continues(self, size: int, root: bytes) -> bool:
        """Whether this list begins with the one of `size` withdrawals and this root."""
        return len(self.withdrawals) >= size and self.root_at(size) == root

    def takes_back(self, image: Digest, admitted: datetime) -> Withdrawal | None:
        """The withdrawal of `image` that is not older than an admission of that moment."""
        found = (one for one in self.withdrawals if one.image == image and one.withdrawn >= admitted)
        return next(found, None)


def list_origin(ledger_origin: str) -> str:
    """How the withdrawal list of a ledger is called."""
    return f"{ledger_origin}/withdrawals"


def withdrawals_of(ledger: LedgerReader, verifiers: Sequence[Verifier] | None = None) -> Iterator[Withdrawal]:
    """What the ledger's own node took back, in order, as it is listed: an image once an entry under each name."""
    seen = set()
    for entry, one, moment in own_withdrawals(ledger, verifiers):
        key = (entry, one.name, one.version, one.image_digest)
        if key not in seen:
            seen.add(key)
            yield Withdrawal(*key, moment)


def own_withdrawals(
    ledger: LedgerReader, verifiers: Sequence[Verifier] | None = None
) -> Iterator[tuple[int, AdmittedVersion, datetime]]:
    """Entry, admission and moment of each that the ledger's own node took back, in order, whatever took its name since.

    By a person's withdrawal, or by a failed verification. It never seems to be older than the admission that it took
    back, whatever the clock showed.
    """
    admissions, admitted = Admissions(), dict[int, datetime]()
    for entry, statement in signed_statements(ledger, verifiers):
        if statement["predicateType"] == VSA:
            admitted[entry] = moment_of(statement["predicate"].get("timeVerified"))
        moment = withdrawn_on(statement)
        for one in admissions.take_in(entry, statement):
            if moment is not None:
                yield entry, one, max(moment, admitted.get(one.entry, moment))


def taken_back(ledger: LedgerReader, images: frozenset[Digest]) -> TakenBack | None:
    """How the ledger's own node last took back an image with one of these digests (of manifest or config).

    None where it never did, or admitted the image again since.
    """
    admissions, found = Admissions(), None
    for entry, statement in signed_statements(ledger):
        predicate, moment = statement["predicate"], withdrawn_on(statement)
        for one in admissions.take_in(entry, statement):
            if moment is not None and one.images & images:
                reason = str(predicate.get("reason", ""))[:_MAX_REASON]
                found = TakenBack(one.name, one.version, entry, rfc3339(moment), reason)
        admitted = statement["predicateType"] == VSA and predicate.get("verificationResult") == "PASSED"
        if admitted and images_of(statement) & images:
            found = None
    return found


def withdrawn_on(statement: dict[str, Any]) -> datetime | None:
    """When the node itself took something back; None for what it only learnt from another's list."""
    predicate = statement["predicate"]
    field = "decidedOn" if statement["predicateType"] == DECISION else "timeVerified"
    return moment_of(predicate[field]) if field in predicate else None


def sign_list(listed: WithdrawalList, key: NodeKey) -> bytes:
    """The signed note of a list."""
    lines = tuple(one.line() for one in listed.withdrawals)
    head = Checkpoint(listed.origin, len(lines), listed.root, (f"issued {rfc3339(listed.issued)}", *lines))
    return sign_note(head.text(), [key], max_bytes=MAX_LIST_BYTES)


def open_list(note: bytes, verifiers: Sequence[Verifier]) -> WithdrawalList:
    """The list in `note`, signed by one of `verifiers`, whose own list it must be.

    Raises `ForeignList` (`withdrawals/signature`, `withdrawals/signer`) and `InvalidInput` (`withdrawals/form`,
    `note/form`, `checkpoint/form`).
    """
    try:
        verified = verify_note(note, verifiers, max_bytes=MAX_LIST_BYTES)
    except InvalidInput as error:
        if error.rule != "note/signature":
            raise
        raise ForeignList(
            "the withdrawal list is not signed by anybody whose withdrawals count here",
            rule="withdrawals/signature",
            cause=str(error),
            next_step="Compare its last line with the keys under `federation` in the policy.",
        ) from error
    listed = parse_list(verified.text)
    if listed.origin not in {list_origin(signer.name) for signer in verified.signers}:
        raise ForeignList(
            "the withdrawal list is of another node than the one that signed it",
            rule="withdrawals/signer",
            cause=f"{listed.origin[:200]}, signed by {', '.join(one.name for one in verified.signers)}",
            next_step="Get each node's list from that node, signed by itself.",
        )
    return listed


def parse_list(text: str) -> WithdrawalList:
    """The list in a note's text, strictly; raises `InvalidInput` (`withdrawals/form`, `checkpoint/form`)."""
    head = parse_checkpoint(text)
    issued = _ISSUED.fullmatch(head.extensions[0]) if head.extensions else None
    if issued is None or moment_of(issued[1]) == LONG_AGO:
        raise _malformed("it does not say when it was issued")
    withdrawals = tuple(_parsed(line) for line in head.extensions[1:])
    entries = [one.entry for one in withdrawals]
    if len(withdrawals) != head.size or entries != sorted(entries):
        raise _malformed("it does not hold the withdrawals that it counts, in their order")
    listed = WithdrawalList(head.origin, moment_of(issued[1]), withdrawals)
    if listed.root != head.root_hash:
        raise _malformed("its root is not that of its withdrawals")
    return listed


def _parsed(line: str) -> Withdrawal:
    item = strict_json(line.encode(), where="withdrawal list", max_bytes=_MAX_LINE_BYTES)
    if not isinstance(item, dict) or item.keys() != _FIELDS or canonical_json(item).decode() != line:
        raise _malformed("a line is no withdrawal in canonical JSON")
    entry, name, version, moment = item["entry"], item["name"], item["version"], moment_of(item["withdrawnOn"])
    if type(entry) is not int or entry < 0 or not _is_short(name, _MAX_NAME) or not _is_short(version, _MAX_VERSION):
        raise _malformed("a withdrawal without entry, name or version, or one that is too long")
    if moment == LONG_AGO:
        raise _malformed("a withdrawal without a time")
    return Withdrawal(entry, name, version, parse_digest(item["image"], where="withdrawal list"), moment)


def _is_short(text: object, limit: int) -> bool:
    return isinstance(text, str) and len(text.encode()) <= limit


def _malformed(message: str) -> InvalidInput:
    return InvalidInput(
        "not a withdrawal list",
        rule="withdrawals/form",
        cause=message,
        next_step="Get the list again from the node that signed it: pratique withdrawals export.",
    )
