"""The transparency log's part: is the entry in the log, and did the log sign for it?

Merkle proofs: RFC 6962 §2.1.1 in the wording of RFC 9162 §2.1.3.2. Checkpoints: C2SP tlog-checkpoint and signed-note,
read strictly (no sign, leading zero or non-ASCII digit in the size). Promise (SET): Rekor v1's signature over the
RFC 8785 form of body, integratedTime, logID and logIndex.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime

from checks.provenance.bundle import InclusionProof, LogEntry, decode_base64
from checks.provenance.keys import is_signed
from checks.provenance.material import LogKey, Window
from checks.provenance.steps import StepAbsent, StepFailed
from pratique.digests import canonical_json
from pratique.errors import InvalidInput

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


# --- inclusion -------------------------------------------------------------------------------------------------------


def require_inclusion(entry: LogEntry) -> str:
    """What the proof shows, once the entry's leaf was found to lead to the proof's root."""
    proof = entry.proof
    if proof is None:
        raise StepAbsent("no inclusion proof; the log's signed promise stands in for it")
    if entry.version == "0.0.2" and entry.kind == "hashedrekord" and entry.log_index != proof.log_index:
        raise StepFailed("the entry's index is not the proof's (in Rekor v2 they are one)")
    root = _root_from(hashlib.sha256(b"\0" + entry.body).digest(), proof)
    if root != proof.root_hash:
        raise StepFailed("the audit path does not lead to the root hash that the bundle states")
    return f"leaf {proof.log_index} of {proof.tree_size}, root {proof.root_hash.hex()[:16]}…"


def _root_from(leaf: bytes, proof: InclusionProof) -> bytes:
    """Root of the tree that `proof` describes over `leaf` (RFC 9162 §2.1.3.2)."""
    index, last, node = proof.log_index, proof.tree_size - 1, leaf
    for sibling in proof.hashes:
        if last == 0:
            raise StepFailed("the audit path is too long for its tree")
        if index & 1 or index == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    if last:
        raise StepFailed("the audit path is too short for its tree")
    return node


# --- the log's own signatures ----------------------------------------------------------------------------------------


def require_checkpoint(entry: LogEntry, logs: tuple[LogKey, ...], times: tuple[datetime, ...]) -> str:
    """Which log signed, once its checkpoint was found to commit to the proof's tree, by a key valid at `times`."""
    proof = entry.proof
    if proof is None or proof.checkpoint is None:
        raise StepAbsent("no checkpoint; the log's signed promise stands in for it")
    log = log_of(entry, logs, times)
    text, separator, signatures = proof.checkpoint.partition("\n\n")
    note = text + "\n"
    lines = text.split("\n")
    if not separator or not signatures.endswith("\n") or len(lines) < 3 or not lines[0]:
        raise StepFailed("the checkpoint is not a signed note")
    if not _SIZE.fullmatch(lines[1]) or int(lines[1]) != proof.tree_size:
        raise StepFailed("the checkpoint is of a tree of another size than the proof's")
    if lines[2] != base64.b64encode(proof.root_hash).decode():
        raise StepFailed("the checkpoint commits to another root hash than the proof's")
    if not any(
        is_signed(log.key, signature, note.encode()) for signature in _note_signatures(signatures, log, lines[0])
    ):
        raise StepFailed(f"the log {log.name} did not sign this checkpoint")
    _require_valid(log.window, times, f"the key of the log {log.name}")
    return f"signed by the log {log.name} for a tree of {proof.tree_size}"


def _note_signatures(block: str, log: LogKey, origin: str) -> list[bytes]:
    """Signatures in a note's signature lines whose key hint is `log`'s and whose name is that of the note's origin.

    The name in a signature line is not signed, the origin is; Rekor v1's origin is its name, ` - ` and a number.
    """
    found = []
    for line in block.rstrip("\n").split("\n")[:32]:
        match = _SIGNATURE.fullmatch(line)
        if not match:
            raise StepFailed("a signature line of the checkpoint is malformed")
        raw = decode_or_fail(match[2], "the checkpoint's signature")
        if raw[:4] == log.hint and match[1] == origin.partition(" - ")[0]:
            found.append(raw[4:])
    return found


def require_promise(entry: LogEntry, logs: tuple[LogKey, ...]) -> datetime:
    """When the log promised to include the entry, once its promise (SET) was found genuine."""
    if entry.promise is None or entry.integrated_time is None:
        raise StepAbsent("the log gave no signed promise (Rekor v2 gives none)")
    if (entry.kind, entry.version) == ("hashedrekord", "0.0.2"):
        raise StepFailed("a Rekor v2 entry carries no promise")
    time = _time(entry.integrated_time)
    log = log_of(entry, logs, (time,))
    promised = {
        "body": base64.b64encode(entry.body).decode(),
        "integratedTime": entry.integrated_time,
        "logID": entry.log_id.hex(),
        "logIndex": entry.log_index,
    }
    if entry.log_index >= 2**53 or not is_signed(log.key, entry.promise, canonical_json(promised)):
        raise StepFailed(f"the log {log.name} did not sign this promise")
    _require_valid(log.window, (time,), f"the key of the log {log.name}")
    return time


def log_of(entry: LogEntry, logs: tuple[LogKey, ...], times: tuple[datetime, ...]) -> LogKey:
    """The trusted log whose identifier the entry names, of several the one valid at `times`; raises `StepFailed`."""
    named = [log for log in logs if log.log_id == entry.log_id]
    if named:
        return next((log for log in named if all(map(log.window.covers, times))), named[0])
    known = ", ".join(log.name for log in logs[:3]) or "none"
    raise StepFailed(
        f"another Sigstore instance's log has it: the trusted root knows no log with the id "
        f"{entry.log_id.hex()[:16]}…, but {known}"
    )


def decode_or_fail(text: str, what: str) -> bytes:
    """`text` from base64; raises `StepFailed`."""
    try:
        return decode_base64(text, what)
    except InvalidInput as error:
        raise StepFailed(f"{what} is not base64") from error


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise StepFailed("the log's time is out of range") from error


def _require_valid(window: Window, times: tuple[datetime, ...], what: str) -> None:
    outside = [time for time in times if not window.covers(time)]
    if outside:
        raise StepFailed(f"{what} was not valid at {outside[0].isoformat()} ({window})")
