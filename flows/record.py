"""What remains of an inspection: signed statement, ledger entry, report file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from checks.interface import Evidence
from flows.files import write_whole
from flows.images import remember_image, source_of
from flows.inspection import Inspection
from flows.report import LedgerPosition, Report
from pratique.digests import canonical_json, sha256_bytes
from pratique.intake.manifest import MAX_BYTES
from records.dsse import sign_statement
from records.statements import PolicyReference, ToolIdentity, inspection_statement

if TYPE_CHECKING:
    from flows.case import Case
    from pratique.intake.image import Image
    from records.store import Store

MANIFEST_TYPE = "application/yaml"

RESULT_TYPE = "application/vnd.pratique.check-result+json"
VERDICT_TYPE = "application/vnd.pratique.verdict+json"


def record_inspection(inspection: Inspection) -> Report:
    """Sign what was found, append it to the ledger, write the report below the node's runs.

    Raises `CouldNotDecide` when ledger or disk fail; the entry is then in the ledger whole or not at all.
    """
    case = inspection.case
    report = inspection.report("onboard", ledger=_append(inspection))
    directory = case.node.settings.runs / case.run_id
    directory.mkdir(parents=True, mode=0o700)
    write_whole(directory / "report.json", report.to_json())
    return report


def _append(inspection: Inspection) -> LedgerPosition:
    case, results, verdict = inspection.case, inspection.results, inspection.verdict()
    document, store = case.submission.document, case.node.store
    manifest = case.submission.read(document.manifest, MAX_BYTES)
    remember_image(case.node.settings, case.image.manifest_digest, source_of(case.submission))
    keep_image(store, case.image)
    statement = inspection_statement(
        _identity(case),
        results,
        stored={
            name: _put(inspection, f"{name}.json", result.model_dump(mode="json")) for name, result in results.items()
        },
        configuration=[PolicyReference(f"urn:pratique:policy:{verdict.policy}", case.node.policy.digest).descriptor()],
        run_id=case.run_id,
        finished=case.node.clock(),
        submission=case.submission.digest,
        outcome=verdict.outcome.value,
        decided_by=verdict.decided_by,
        verdict=_put(inspection, "verdict.json", verdict.model_dump(mode="json"), VERDICT_TYPE),
        submitter=document.provider.submitter,
        manifest=store.put(manifest, name=document.manifest, media_type=MANIFEST_TYPE),
        image_config=store.put(case.image.config_bytes, name="config.json", media_type=case.image.config_media_type),
        profile=case.submission.profile,
    )
    envelope = sign_statement(statement, case.node.key)
    (appended,) = case.node.append(envelope)
    checkpoint = appended.checkpoint.checkpoint
    return LedgerPosition(
        origin=checkpoint.origin,
        index=appended.index,
        size=checkpoint.size,
        root_hash=checkpoint.root_hash.hex(),
        statement_digest=sha256_bytes(envelope),
    )


def keep_image(store: Store, image: Image) -> None:
    """Keep what ties the digests of an image to each other: a run follows them from what was admitted, every time."""
    for document in (*image.indexes, image.manifest_bytes):
        store.put(document, name="image.json", media_type=image.manifest_media_type)


def _identity(case: Case) -> ToolIdentity:
    tool, image = case.submission.document.tool, case.image
    return ToolIdentity(tool.name, tool.version, image.manifest_digest, image.config_digest, image.index_digest)


def _put(inspection: Inspection, name: str, value: object, media_type: str = RESULT_TYPE) -> Evidence:
    return inspection.case.node.store.put(canonical_json(value), name=name, media_type=media_type)
