"""SBOM: what the image consists of, whether its packages are what they say, and what the provider declared."""

from __future__ import annotations

import time
from collections.abc import Sequence

from checks.interface import (
    CheckResult,
    EvidenceStore,
    Finding,
    Level,
    Measurement,
    Status,
    inconclusive,
    status_of,
)
from checks.sbom.copies import read_copies
from checks.sbom.cyclonedx import write_document
from checks.sbom.model import Bom, Component, Origin
from checks.sbom.nested import read_nested
from checks.sbom.node import read_node
from checks.sbom.python import read_python
from checks.sbom.record import Lie, is_package_test
from checks.sbom.system import SystemPackages, read_others, read_system, unowned_programs
from pratique.clock import Clock
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.model import FileClass, Image, Inventory

__all__ = ["Bom", "Component", "Origin", "check_sbom", "make_bom"]

CHECK = "sbom"
VERSION = "8"
_RISKS = ("G2",)
_MAX_SHOWN = 50
_MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"
_ERRORS = frozenset(
    ("record-hash", "name-contradicted", "version-contradicted", "version-differs", "release-contradicted")
)
_NOTES = frozenset(("record-missing", "record-absent", "file-elsewhere"))
_UNREAD = frozenset(("archive-unreadable", "library-unsearched", "file-unchecked"))
"""What was not looked into, so that the check passes nothing."""
_FIXES = {
    "record-hash": "Install the package unchanged; if it must be patched, publish it under its own name and version.",
    "record-hash-system": "Nothing, where the distribution built the package itself: its own database vouches for it.",
    "record-missing": "Keep the package's files, or install a smaller package.",
    "record-absent": "Install the package from a wheel, so that a RECORD comes with it.",
    "record-unhashed": "Install the package from a wheel whose RECORD has hashes.",
    "record-unreadable": "Install the package again with pip.",
    "name-contradicted": "Install the package unchanged: metadata and directory must name the same package.",
    "version-contradicted": "Install the package unchanged: metadata and directory must name the same version.",
    "metadata-unreadable": "Install the package again, so that its metadata are whole.",
    "module-of-another": "Install each package under its own name, from where its makers publish it.",
    "archive-unsearched": "Unpack the archive into the image, or leave it out: what it holds is not looked into.",
    "unowned-module": "Install the module as a package, or put the tool's own code outside site-packages.",
    "status-contradicted": "Remove packages with the package manager; never edit its database.",
    "system-file-changed": "Install the package unchanged; put programs of the tool's own below /opt or /usr/local.",
    "system-file-unowned": "Build on an image that has its package manager's database (/var/lib/dpkg, /lib/apk/db), "
    "keep that in the image, and install programs as packages; put the tool's own below /opt or /usr/local.",
    "unowned-file": "Remove the file, or install the package that it belongs to.",
    "startup-file": "Remove the .pth file: its lines run whenever Python starts.",
    "archive-unreadable": "Leave the archive out of the image, or pack it again so that it can be read to its end.",
    "version-in-code": "Install the package unchanged: its metadata and its code must name the same version.",
    "known-files": "Install the package unchanged, from where its makers publish it, instead of copying its files.",
    "library-contradicted": "Install the wheel that its makers publish, unchanged.",
    "library-unsearched": "Install smaller wheels, or build on the system's own libraries.",
    "file-unchecked": "Build on an image of one distribution, made with its own package manager.",
    "release-contradicted": "Build on the release that is meant; never edit os-release or the package database.",
    "undeclared": "Generate the SBOM from the image that is submitted, after its last change.",
    "not-found": "Generate the SBOM from the image that is submitted, after its last change.",
    "version-differs": "Generate the SBOM from the image that is submitted, after its last change.",
}


def make_bom(
    inventory: Inventory, image: Image, *, clock: Clock | None = None
) -> tuple[Bom, list[Lie], SystemPackages]:
    """Components of the image with their CycloneDX document, and what contradicts the packages' metadata.

    The same image gives the same bytes; with `clock` the document carries a time and no longer does. Raises
    `CouldNotDecide` where metadata were too large to be kept.
    """
    system = read_system(inventory)
    if system.unread:
        read_others(inventory, system)
    python = read_python(inventory, system.owned)
    lies = [*python.lies, *system.lies, *unowned_programs(inventory, system)]
    node = sorted(read_node(inventory, lies), key=lambda c: (c.purl, c.path))
    copies = list(read_copies(inventory, python.components, lies))
    within = read_nested(inventory, lies, (*python.components, *copies))
    nested = sorted((*copies, *within), key=lambda c: (c.purl, c.path))
    components = (*python.components, *system.components, *node, *nested, *_models(inventory))
    document = write_document(
        components,
        image_name=image.name,
        image_digest=image.manifest_digest,
        moment=clock() if clock else None,
    )
    return Bom(components, document, sha256_bytes(document)), lies, system


def _models(inventory: Inventory) -> list[Component]:
    """Every file that may hold a model; those among a package's own tests are listed too, as files."""
    return [
        Component(
            name=entry.path.rpartition("/")[2],
            version="",
            purl="",
            kind="file" if is_package_test(entry.path) else "machine-learning-model",
            path=entry.path,
            sha256=entry.sha256,
        )
        for entry in inventory.of_class(FileClass.MODEL)
    ]


def check_sbom(
    inventory: Inventory,
    image: Image,
    declared: bytes | None,
    store: EvidenceStore | None = None,
    *,
    clock: Clock | None = None,
) -> tuple[CheckResult, Bom]:
    """What does the image consist of, and does that agree with its packages' metadata and the declared SBOM?

    Leaves `sbom.cdx.json` as evidence where there is a store. Where the inventory is incomplete the result is
    inconclusive and the bill of materials empty; where a package database is of a kind that is not read here, or is
    missing from a distribution that always has one, it is inconclusive too: there are packages that nobody knows of.
    """
    started = time.monotonic()
    try:
        bom, lies, system = make_bom(inventory, image, clock=clock)
        evidence = (store.put(bom.document, name="sbom.cdx.json", media_type=_MEDIA_TYPE),) if store else ()
    except CouldNotDecide as error:
        empty = Bom((), b"", sha256_bytes(b""))
        return inconclusive(CHECK, VERSION, str(error), fix=error.next_step, risks=_RISKS), empty
    findings = [_finding(lie.rule, lie.message, lie.path) for lie in lies]
    unknown = _unknown_packages(system)
    findings += unknown
    findings += _against_declared(bom, declared)
    open_ = bool(unknown) or any(lie.rule in _UNREAD for lie in lies)
    shown = _bounded(findings)
    result = CheckResult(
        check=CHECK,
        version=VERSION,
        status=Status.INCONCLUSIVE if open_ and status_of(findings) is Status.PASSED else status_of(findings),
        summary=_summary(bom, findings),
        findings=shown,
        measurements=_measurements(bom, lies),
        evidence=evidence,
        inputs={"image": image.manifest_digest, **_digest_of(declared)},
        seconds=time.monotonic() - started,
    )
    return result, bom


def _measurements(bom: Bom, lies: Sequence[Lie]) -> tuple[Measurement, ...]:
    counts = {rule: sum(lie.rule == rule for lie in lies) for rule in ("record-hash", "unowned-module", "unowned-file")}
    return (
        Measurement(name="components", value=len(bom.components), unit="components", method="package metadata"),
        *(
            Measurement(name=rule.replace("-", "_"), value=count, unit="findings", method="RECORD against files")
            for rule, count in counts.items()
        ),
        Measurement(
            name="detected",
            value=sum(c.origin is Origin.DETECTED for c in bom.components),
            unit="components",
            method="modules without owner, copies, archives",
        ),
    )


def _digest_of(declared: bytes | None) -> dict[str, str]:
    digest: Digest | None = sha256_bytes(declared) if declared is not None else None
    return {"declared": digest} if digest else {}


def _against_declared(bom: Bom, declared: bytes | None) -> list[Finding]:
    if declared is None:
        message = "no SBOM was declared; one was generated from the image"
        fix = "Declare an SBOM in submission.yaml, generated from the submitted image."
        return [Finding(rule_id="sbom/none-declared", level=Level.NOTE, message=message, fix=fix, risks=_RISKS)]
    from checks.sbom.declared import compare, read_declared

    try:
        listed = read_declared(declared, where="the declared SBOM")
    except InvalidInput as error:
        return [
            Finding(
                rule_id="sbom/declared-unreadable",
                level=Level.ERROR,
                message=str(error),
                where=error.where,
                fix=error.next_step,
                risks=_RISKS,
            )
        ]
    return [_finding(d.rule, d.message, d.where) for d in compare(bom.components, listed)]


def _finding(rule: str, message: str, where: str) -> Finding:
    level = Level.ERROR if rule in _ERRORS else Level.NOTE if rule in _NOTES else Level.WARNING
    return Finding(
        rule_id=f"sbom/{rule}", level=level, message=message, where=where, fix=_FIXES.get(rule, ""), risks=_RISKS
    )


def _unknown_packages(system: SystemPackages) -> list[Finding]:
    """Why packages of the system may be unknown; empty where they are all listed."""
    fix = "Build on an image whose package database (dpkg, apk or RPM) is in it, or on none at all."
    found = [
        ("database-not-read", f"the package database {unread.path} was not read: {unread.why}", unread.path, unread.fix)
        for unread in system.unread
    ]
    if system.lost:
        name = system.release.name or system.release.identifier
        found.append(("database-missing", f"the image says that it is {name}, but has no package database", "", fix))
    return [
        Finding(
            rule_id=f"sbom/{rule}",
            level=Level.WARNING,
            message=f"{message}: its packages are not known",
            where=where,
            fix=advice or fix,
            risks=_RISKS,
        )
        for rule, message, where, advice in found
    ]


def _bounded(findings: list[Finding]) -> tuple[Finding, ...]:
    """The gravest findings first, at most fifty of one rule, and a line that says how many more there are."""
    order = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}
    shown: list[Finding] = []
    seen: dict[str, int] = {}
    for finding in sorted(findings, key=lambda f: (order[f.level], f.rule_id, f.where)):
        seen[finding.rule_id] = seen.get(finding.rule_id, 0) + 1
        if seen[finding.rule_id] <= _MAX_SHOWN:
            shown.append(finding)
    for rule, count in seen.items():
        if count > _MAX_SHOWN:
            message = f"{count - _MAX_SHOWN} more findings of {rule} are not listed"
            shown.append(Finding(rule_id="sbom/more", level=Level.NOTE, message=message))
    return tuple(shown)


def _summary(bom: Bom, findings: list[Finding]) -> str:
    count = sum(f.level is Level.ERROR for f in findings)
    contradicted = f", {count} of them or their declarations contradicted by the files" if count else ""
    return f"{len(bom.components)} components{contradicted}"
