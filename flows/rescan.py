"""Every admitted tool's stored SBOM against the advisories of today: `pratique rescan`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from checks.interface import CheckResult, Evidence, Level, Status
from checks.sbom.declared import read_listing
from checks.vulnerabilities.report import document_bytes
from flows.background import locked, read_state, write_state
from flows.inspected import evidence_of, result_of, results_in
from flows.node import Node, has_ledger
from flows.vulnerabilities import LookedUp, look_up_listing, scan_predicate
from pratique.bounds import strict_json
from pratique.clock import rfc3339
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput, PratiqueError
from pratique.settings import Settings
from records.admissions import inspection_of, standing
from records.dsse import sign_statement, verify_envelope
from records.intoto import described, descriptor, digest_in, statement
from records.statements import INSPECTION_EXTENSION, TEST_RESULT, VSA, VULNS, PolicyReference, ToolIdentity, vsa

if TYPE_CHECKING:
    from checks.pinning import ValidatedVersion

_MAX_DOCUMENT = 256 * 1024**2
_LAST = "rescan.json"
_COUNTS = ("tools", "failed", "undecided", "new")
_MAX_NAMED, _MAX_PACKAGE = 50, 200
"""Vulnerabilities named in a ledger entry, and how long names of packages are there: a provider can make both many and
long, and an entry that does not fit would withdraw nothing. All is in the stored document that it names by digest."""

Known = frozenset[tuple[str, str]]
"""Identifier and package of each vulnerability."""


@dataclass(frozen=True)
class Rescanned:
    """One admitted tool: the answer of today, what is new since it was last asked, and what was done about it."""

    name: str
    version: str
    image: Digest
    status: Status
    summary: str
    new: tuple[str, ...] = ()
    withdrawn: bool = False
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "tool": self.name,
            "version": self.version,
            "image": self.image,
            "status": self.status.value,
            "summary": self.summary,
            "new": list(self.new),
            "withdrawn": self.withdrawn,
            "problem": self.problem,
        }


@dataclass
class _Remembered:
    """An inspection of an image: its statement, where its results are, and what rescans have told since."""

    entry: int
    statement: Digest
    results: Mapping[str, Digest]
    known: Known = frozenset()
    asked_again: bool = False


@dataclass
class _Past:
    """What the ledger says of the tools: the inspections of each image, and on which one each admission rests.

    Anybody may hand in an image once more, with papers that break the inspection or after a vulnerability has become
    known. So what counts is what was admitted, not what came last. An admission by a hub rests on none of this node's;
    for it the last one counts that left an SBOM before it was accepted here. Without one the first after it does, for
    its SBOM alone: nobody accepted the tool knowing what it found.
    """

    inspections: dict[Digest, list[_Remembered]] = field(default_factory=dict)
    rests_on: dict[int, Digest | None] = field(default_factory=dict)
    """By the entry of an admission of this node's own; None where it does not say."""

    def of(self, node: Node, admitted: ValidatedVersion) -> tuple[_Remembered, Digest]:
        """The inspection of an admission, and the SBOM that it left; raises `CouldNotDecide` where there is none."""
        there = self.inspections.get(admitted.image_digest, [])
        if admitted.entry in self.rests_on:
            there = [one for one in there if one.statement == self.rests_on[admitted.entry]]
        else:
            later = [replace(one, asked_again=True) for one in there if one.entry > admitted.entry]
            there = [*(one for one in reversed(there) if one.entry < admitted.entry), *later]
        for one in there:
            sbom = evidence_of(node, one.results, "sbom", "sbom.cdx.json")
            if sbom is not None:
                return one, sbom
        missing = "its inspection left no SBOM" if there else "the ledger has no inspection of this image"
        raise CouldNotDecide(missing, next_step="Onboard the tool again.")


def rescan(node: Node, *, record: bool = True) -> Iterator[Rescanned]:
    """Ask about every tool whose admission stands, one after the other.

    With `record`, what is new is signed into the ledger, and a tool that fails is withdrawn where the policy says so.
    A tool whose SBOM cannot be read or misses packages that nobody knows of, or that the advisories cannot answer for,
    is *inconclusive* and stays, unless what is known of it fails.
    Raises `CouldNotDecide` where the ledger cannot be trusted.
    """
    if not has_ledger(node.settings):
        return
    node.head()
    admitted = standing(node.admissions.everything(), moment=node.clock())
    past = _past(node, admitted)
    for one in admitted:
        try:
            yield _rescan(node, one, past, record=record)
        except PratiqueError as error:
            yield Rescanned(
                one.name, one.version, one.image_digest, Status.INCONCLUSIVE, str(error), problem=error.next_step
            )


@dataclass(frozen=True)
class LastRescan:
    """The last time that every admitted tool was asked about."""

    finished: datetime
    tools: int
    failed: int
    undecided: int
    new: int
    problems: tuple[str, ...] = ()
    """Why advisories could not be fetched before, or why the rescan itself broke off."""

    def in_words(self) -> str:
        """One line."""
        told = f"last {rfc3339(self.finished)}: {self.tools} tools, {self.failed} failed, {self.undecided} undecided"
        return f"{told}, {self.new} new vulnerabilities" + "".join(f"; {problem}" for problem in self.problems)


def rescan_all(node: Node, *, problems: Sequence[str] = ()) -> list[Rescanned]:
    """`rescan` with its record, and a note of when it was done; raises as that does, which is noted, too."""
    try:
        with locked(node.settings.home, "rescan.lock"):  # of two at once the second finds told what the first told
            done = list(rescan(node))
    except PratiqueError as error:
        note_broken_rescan(node.settings, node.clock(), str(error))
        raise
    counts = {
        "tools": len(done),
        "failed": sum(one.status is Status.FAILED for one in done),
        "undecided": sum(one.status is Status.INCONCLUSIVE for one in done),
        "new": sum(len(one.new) for one in done),
    }
    _note(node.settings, node.clock(), counts, problems)
    return done


def note_broken_rescan(settings: Settings, moment: datetime, problem: str) -> None:
    """Note that a rescan was tried and why it did not come to its end."""
    _note(settings, moment, dict.fromkeys(_COUNTS, 0), [problem])


def _note(settings: Settings, moment: datetime, counts: Mapping[str, int], problems: Sequence[str]) -> None:
    told = [problem[:300] for problem in problems][:20]
    write_state(settings.home / _LAST, {"finished": rfc3339(moment), **counts, "problems": told})


def last_rescan(settings: Settings) -> LastRescan | None:
    """When the last rescan was; None where there was none, or nobody can tell."""
    state = read_state(settings.home / _LAST)
    try:
        finished = datetime.fromisoformat(state["finished"])
        numbers = {name: int(state[name]) for name in _COUNTS}
        return LastRescan(finished, **numbers, problems=tuple(str(problem) for problem in state["problems"]))
    except (KeyError, TypeError, ValueError):
        return None


def worst(rescanned: Iterable[Rescanned]) -> int:
    """Exit code for all of them: 1 where one fails, else 3 where one could not be decided."""
    statuses = {one.status for one in rescanned}
    return 1 if Status.FAILED in statuses else 3 if Status.INCONCLUSIVE in statuses else 0


def _rescan(node: Node, one: ValidatedVersion, past: _Past, *, record: bool) -> Rescanned:
    remembered, sbom = past.of(node, one)
    listing = read_listing(node.store.get(sbom), where="sbom.cdx.json")
    found = look_up_listing(node, listing, f"{one.name} {one.version}", one.image_digest)
    answer = _of_all_there_is(found, result_of(node, remembered.results, "sbom"))
    known = remembered.known if remembered.asked_again else _known_then(node, remembered.results)
    new = tuple(dict.fromkeys(f["id"] for f in _counted(answer.document) if not _names(f) & known))
    withdraw = answer.status is Status.FAILED and node.policy.policy.advisories.rescan == "withdraw"
    if record and (new or withdraw):
        _record(node, one, answer, new, withdraw=withdraw)
    return Rescanned(
        one.name, one.version, one.image_digest, answer.status, answer.result.summary, new, record and withdraw
    )


def _of_all_there_is(answer: LookedUp, bill: CheckResult | None) -> LookedUp:
    """An SBOM that the inspection left undecided misses packages that nobody knows: no pass is theirs."""
    if answer.status is not Status.PASSED or bill is None or bill.status is not Status.INCONCLUSIVE:
        return answer
    summary = f"{answer.result.summary}; not all that is in the image is known ({bill.summary})"
    result = answer.result.model_copy(update={"status": Status.INCONCLUSIVE, "summary": summary})
    return replace(answer, result=result)


# --- what was known --------------------------------------------------------------------------------------------------


def _past(node: Node, admitted: Sequence[ValidatedVersion]) -> _Past:
    """The inspections of what is admitted, each with what rescans found later."""
    images, entries, past = {one.image_digest for one in admitted}, {one.entry for one in admitted}, _Past()
    for entry in node.ledger.entries():
        signed = _by_this_node(node, entry.data)
        image = _image(signed) if signed is not None else None
        if signed is None or image not in images:
            continue
        kind, predicate = signed["predicateType"], signed["predicate"]
        there = past.inspections.setdefault(image, [])
        if kind == TEST_RESULT and isinstance(predicate.get(INSPECTION_EXTENSION), dict):
            results = results_in(predicate[INSPECTION_EXTENSION])
            there.append(_Remembered(entry.index, sha256_bytes(entry.data), results))
        elif kind == VSA and entry.index in entries:
            past.rests_on[entry.index] = inspection_of(predicate)
        elif kind == VULNS and there:
            with suppress(PratiqueError):  # a document that is gone: what it told is told and recorded once more
                told = frozenset(name for f in _counted(_document(node, predicate)) for name in _names(f))
                for one in there:
                    one.known, one.asked_again = one.known | told, True
    return past


def _by_this_node(node: Node, entry: bytes) -> dict[str, Any] | None:
    try:
        return verify_envelope(entry, [node.key.verifier])
    except InvalidInput:
        return None


def _image(signed: Mapping[str, Any]) -> Digest | None:
    return digest_in(signed["subject"][0])


def _known_then(node: Node, results: Mapping[str, Digest]) -> Known:
    """What the inspection found; nothing where its evidence is gone, so that all there is counts as new."""
    with suppress(CouldNotDecide):
        digest = evidence_of(node, results, "vulnerabilities", "vulnerabilities.json")
        if digest is not None:
            document = strict_json(node.store.get(digest), where="vulnerabilities.json", max_bytes=_MAX_DOCUMENT)
            return frozenset(name for found in _counted(document) for name in _names(found))
    return frozenset()


def _document(node: Node, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The stored document of an earlier rescan, empty where it names none; raises `CouldNotDecide` where it is gone."""
    metadata = predicate.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    told = annotations[0] if isinstance(annotations, list) and annotations else None
    digest = digest_in(told.get("document")) if isinstance(told, dict) else None
    data = node.store.get(digest) if digest is not None else b"{}"
    document: dict[str, Any] = strict_json(data, where="vulnerabilities.json", max_bytes=_MAX_DOCUMENT)
    return document


def _counted(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Vulnerabilities that no waiver held for."""
    return [found for found in document.get("vulnerabilities", []) if not found["waived"]]


def _names(found: Mapping[str, Any]) -> Known:
    return frozenset((name, found["purl"] or found["component"]) for name in (found["id"], *found["aliases"]))


# --- what is recorded ------------------------------------------------------------------------------------------------


def _record(
    node: Node,
    one: ValidatedVersion,
    answer: LookedUp,
    new: tuple[str, ...],
    *,
    withdraw: bool,
) -> None:
    tool = ToolIdentity(one.name, one.version, one.image_digest)
    stored = node.store.put(document_bytes(answer.document), name="vulnerabilities.json", media_type="application/json")
    found = statement([tool.subject()], VULNS, _predicate(answer, new, stored))
    envelope = sign_statement(found, node.key)
    envelopes = [envelope]
    if withdraw:
        named = descriptor(name="rescan", digest=sha256_bytes(envelope), annotations={"predicateType": VULNS})
        refused = vsa(
            tool,
            verifier_id=node.uri,
            resource_uri=node.place,
            time_verified=answer.asked,
            policy=PolicyReference(f"urn:pratique:policy:{node.policy.policy.name}", node.policy.digest),
            input_attestations=[named],
            passed=False,
        )
        envelopes.append(sign_statement(refused, node.key))
    node.append(*envelopes)


def _predicate(answer: LookedUp, new: tuple[str, ...], stored: Evidence) -> dict[str, Any]:
    """The predicate vulns/v0.2 with all that counts, what is new first; the annotations name the whole document."""
    by_id: dict[str, list[dict[str, Any]]] = {name: [] for name in new}
    for found in _counted(answer.document):
        by_id.setdefault(found["id"], []).append(found)
    results = [
        {
            "id": name,
            "severity": [{"method": "qualitative", "score": found[0]["severity"]}],
            "annotations": [
                {
                    "package": (found[0]["purl"] or found[0]["component"])[:_MAX_PACKAGE],
                    "packages": len(found),
                    "fixed": found[0]["fixed"][:_MAX_PACKAGE],
                    "new": name in new,
                }
            ],
        }
        for name, found in list(by_id.items())[:_MAX_NAMED]
    ]
    annotations = {
        "status": answer.status.value,
        "new": len(new),
        "vulnerabilities": len(by_id),
        "errors": sum(f.level is Level.ERROR for f in answer.result.findings),
        "document": described(stored),
    }
    return scan_predicate(answer, results, annotations)
