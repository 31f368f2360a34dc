"""Which declarations of the dossier are there? A thin check of facts: declared, present, not empty, not twice.

It reads no meaning: whether a document is right, signed by the right person or still valid is judged by people. What
was not declared is named, and nothing here is legal advice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from checks.interface import CheckResult, Finding, Level, Measurement, status_of
from pratique.intake.submission import Submission

CHECK = "dossier"
VERSION = "1"
REQUIRED = ("intended-use",)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "intended-use": ("intended use and its limits", ("U9",)),
    "prohibited-practices": ("declaration on AI Act Article 5 and EHDS prohibited uses", ("G8",)),
    "ai-act-classification": ("AI Act risk class with its reasons", ("U9",)),
    "mdr-qualification": ("MDR/IVDR qualification and class with its reasons", ("U9",)),
    "altai": ("ALTAI self-assessment", ("G8", "G10", "U4")),
    "ethics-review": ("ethics review", ("G8",)),
    "dpia": ("data protection impact assessment, or why none is needed", ("G4", "U2")),
    "gdpr-basis": ("lawful basis under GDPR Articles 6 and 9", ("G8",)),
    "dpo-statement": ("statement of the data protection officer", ("G8",)),
    "human-oversight": ("human oversight and override", ("U9",)),
    "post-market-monitoring": ("monitoring after admission", ("T8",)),
    "training-data-provenance": ("where training data come from", ("T4", "T7")),
    "licence": ("licence and conditions of use", ("G9", "U7")),
}
"""Declarations that are known, what each is, and the risks that it speaks to."""


def check_dossier(submission: Submission) -> CheckResult:
    """Which documents `submission` declares, and whether they are there; fails where a required one is not."""
    declared = Counter(document.kind for document in submission.document.documents)
    findings = (*_missing(declared), *_declared(submission, declared))
    known = sum(kind in KINDS for kind in declared)
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status_of(findings),
        summary=f"{known} of {len(KINDS)} known kinds of document declared; their content is for people to judge",
        findings=findings,
        measurements=(
            Measurement(name="documents", value=sum(declared.values()), method="declared and present"),
            Measurement(name="kinds_declared", value=known, method="known kinds among them"),
            Measurement(name="kinds_known", value=len(KINDS), method="kinds that this check knows"),
            *(_declared_kind(kind, kind in declared) for kind in KINDS),
        ),
        inputs={"submission": submission.digest},
    )


def _declared_kind(kind: str, present: bool) -> Measurement:
    return Measurement(name=f"declared_{kind.replace('-', '_')}", value=present, method="declared and present")


def _missing(declared: Counter[str]) -> Iterator[Finding]:
    absent = [kind for kind in KINDS if kind not in declared]
    for kind in REQUIRED:
        if kind in absent:
            yield Finding(
                rule_id=f"{CHECK}/{kind}-missing",
                level=Level.ERROR,
                message=f"not declared: {KINDS[kind][0]}",
                where="submission.yaml/documents",
                fix=f"Add `- {{kind: {kind}, path: docs/{kind}.md}}`.",
                risks=KINDS[kind][1],
            )
    optional = [kind for kind in absent if kind not in REQUIRED]
    if optional:
        yield Finding(
            rule_id=f"{CHECK}/not-declared",
            level=Level.NOTE,
            message="not declared: " + "; ".join(f"{KINDS[kind][0]} ({kind})" for kind in optional),
            where="submission.yaml/documents",
            fix="Add the documents that apply, each as `- {kind: …, path: …}`.",
            risks=tuple(sorted({risk for kind in optional for risk in KINDS[kind][1]})),
        )


def _declared(submission: Submission, declared: Counter[str]) -> Iterator[Finding]:
    for document in submission.document.documents:
        where = f"submission.yaml/documents/{document.kind}"
        if submission.path(document.path).stat().st_size == 0:
            yield Finding(
                rule_id=f"{CHECK}/empty-document",
                level=Level.ERROR if document.kind in REQUIRED else Level.WARNING,
                message=f"{document.path} is empty",
                where=where,
                fix="Write the document, or do not declare it.",
            )
        if document.kind not in KINDS:
            yield Finding(
                rule_id=f"{CHECK}/unknown-kind",
                level=Level.NOTE,
                message=f"the kind {document.kind!r} is not known",
                where=where,
                fix=f"Known kinds: {', '.join(KINDS)}.",
            )
    for kind, count in declared.items():
        if count > 1:
            yield Finding(
                rule_id=f"{CHECK}/declared-twice",
                level=Level.WARNING,
                message=f"{kind} is declared {count} times",
                where="submission.yaml/documents",
                fix="Keep the one that counts.",
            )
