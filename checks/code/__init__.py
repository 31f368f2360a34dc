"""Static code findings: what the tool's own Python reaches for, read and never run.

Findings here say where a person should look. None of them is an error, so the check passes whatever it finds, unless
something of the code could not be examined; a policy may set limits on the measurements.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from checks.code.scan import Scanned, scan_sources
from checks.code.sources import OwnCode, Source, find_own_code
from checks.interface import CheckResult, Finding, Level, Measurement, Status
from pratique.intake.image.model import Image, ImageLimits, Inventory

__all__ = ["check_code"]

CHECK = "code"
VERSION = "4"
_RISKS = ("G1", "T2", "U6")
_MAX_SHOWN = 30
_DEFAULT_LIMITS = ImageLimits()
_HIDING = frozenset(("hidden-code", "odd-characters", "long-line", "bytecode-without-source", "unchecked-bytecode"))
_FIXES = {
    "network": "Remove what needs a network: the sandbox and the node give none.",
    "subprocess": "Call libraries instead of programs, or say in the documents which programs are started and why.",
    "native-code": "Use a library with a package of its own, or say in the documents what native code is called.",
    "hidden-code": "Write the code out, as text that can be read.",
    "odd-characters": "Write names in ASCII and remove characters that cannot be seen.",
    "long-line": "Format the source (for example with `ruff format`), and keep data in files of their own.",
    "computed-import": "Import modules by their name.",
    "unparsable": "Write Python 3, and leave out what is not for this tool's interpreter.",
    "startup-file": "Remove the file: its code runs whenever Python starts.",
    "bytecode-without-source": "Ship the source, so that it can be read.",
    "unchecked-bytecode": "Leave compiled files out of the image (`PYTHONDONTWRITEBYTECODE=1`).",
    "compiled-beside-source": "Leave compiled files out of the image (`PYTHONDONTWRITEBYTECODE=1`).",
    "config-code": "Do in Python what the configuration calls, or say in the documents why it is right so.",
    "not-examined": "Keep sources small and plain, and leave out of the image what the tool does not need.",
}
_BANDIT_FIX = "See https://bandit.readthedocs.io for the test; mend it, or say in the documents why it is right so."
_LEVELS = {"LOW": Level.NOTE, "MEDIUM": Level.WARNING, "HIGH": Level.WARNING}


def check_code(
    image: Image, inventory: Inventory, commands: Sequence[str] = (), *, limits: ImageLimits = _DEFAULT_LIMITS
) -> CheckResult:
    """What does the tool's own Python reach for, and does any of it hide?

    `commands` are the words that the manifest puts into the command line; the image's own are added. Passed where
    every source was examined, inconclusive where one was not, not applicable where there is none. Measurements:
    `files`, `lines`, `network`, `subprocess`, `native_code`, `hidden` (of all that hides code), `bandit_medium`,
    `bandit_high`, `unparsable`, `not_examined`. Raises `CouldNotDecide` where the packages' lists were not kept.
    """
    started = time.monotonic()
    config = image.config
    own = find_own_code(image, inventory, (*config.entrypoint, *commands, *config.cmd, *config.healthcheck), limits)
    answers = list(zip(own.sources, scan_sources([source.data for source in own.sources]), strict=True))
    found = [*_about_files(own), *(f for source, scanned in answers for f in _about_source(source, scanned))]
    counts = Counter(finding.rule_id.partition("/")[2] for finding in found)
    issues = Counter(issue.severity for _, scanned in answers for issue in scanned.issues)
    open_ = counts["not-examined"]
    anything = bool(own.sources or own.open_ or own.sourceless or own.configured)
    status = Status.INCONCLUSIVE if open_ else Status.PASSED if anything else Status.NOT_APPLICABLE
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status,
        summary=_summary(own, found, open_),
        findings=_bounded(found),
        measurements=(
            Measurement(name="files", value=len(own.sources), unit="files", method="owned by no package, unchanged"),
            Measurement(name="lines", value=sum(s.data.count(b"\n") for s in own.sources), unit="lines"),
            Measurement(name="network", value=counts["network"], unit="findings", method="syntax tree"),
            Measurement(name="subprocess", value=counts["subprocess"], unit="findings", method="syntax tree"),
            Measurement(name="native_code", value=counts["native-code"], unit="findings", method="syntax tree"),
            Measurement(
                name="hidden", value=sum(counts[rule] for rule in _HIDING), unit="findings", method="all kinds"
            ),
            Measurement(name="bandit_medium", value=issues["MEDIUM"], unit="findings", method="bandit"),
            Measurement(name="bandit_high", value=issues["HIGH"], unit="findings", method="bandit"),
            Measurement(name="unparsable", value=counts["unparsable"], unit="files", method="this Python's parser"),
            Measurement(name="not_examined", value=open_, unit="files"),
        ),
        inputs={"image": image.manifest_digest},
        seconds=time.monotonic() - started,
    )


def _about_source(source: Source, scanned: Scanned) -> Iterator[Finding]:
    place = f"/{source.path}"
    if scanned.open_:
        yield _finding("not-examined", f"{place} was not examined to its end: {scanned.open_}", place)
    if scanned.unparsable:
        message = f"{place} is no Python that can be parsed here: {scanned.unparsable}"
        yield _finding("unparsable", message, f"{place}:{_line_of(scanned.unparsable)}")
    for sign in scanned.signs:
        yield _finding(sign.rule, f"{place} line {sign.line}: {sign.what}", f"{place}:{sign.line}")
    for issue in scanned.issues:
        yield Finding(
            rule_id=f"{CHECK}/bandit-{issue.test.lower()}",
            level=_LEVELS.get(issue.severity, Level.WARNING),
            message=f"{place} line {issue.line}: {issue.text[:300]} (bandit {issue.test})",
            where=f"{place}:{issue.line}",
            fix=_BANDIT_FIX,
            risks=_RISKS,
        )


def _about_files(own: OwnCode) -> Iterator[Finding]:
    for path, why in own.open_.items():
        yield _finding("not-examined", f"/{path} was not examined: {why}", f"/{path}")
    for path in own.startup:
        yield _finding("startup-file", f"/{path} holds code that runs whenever Python starts", f"/{path}")
    for path in own.sourceless:
        yield _finding("bytecode-without-source", f"/{path} is compiled code whose source is not there", f"/{path}")
    for path in own.unchecked:
        message = f"/{path} is compiled code that Python runs without a look at the source beside it"
        yield _finding("unchecked-bytecode", message, f"/{path}")
    for path, signs in own.configured.items():
        for sign in signs:
            yield _finding(sign.rule, f"/{path} line {sign.line}: {sign.what}", f"/{path}:{sign.line}")
    if own.libraries:
        message = (
            f"{len(own.libraries)} libraries or programs that no package owns hold native code, which was not read"
        )
        yield _finding("native-code", message, f"/{own.libraries[0]}")
    if own.compiled:
        message = f"compiled files stand before {len(own.compiled)} sources and were not compared with them"
        yield _finding("compiled-beside-source", message, f"/{own.compiled[0]}")


def _finding(rule: str, message: str, where: str) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/{rule}",
        level=Level.WARNING,
        message=message,
        where=where,
        fix=_FIXES[rule],
        risks=_RISKS,
    )


def _line_of(text: str) -> str:
    """The number in `line 7: …`."""
    return text.partition(":")[0].removeprefix("line ")


def _bounded(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Warnings first; at most thirty of one rule, and a line that says how many more there are."""
    shown: list[Finding] = []
    seen: Counter[str] = Counter()
    for finding in sorted(findings, key=lambda f: f.level is Level.NOTE):
        seen[finding.rule_id] += 1
        if seen[finding.rule_id] <= _MAX_SHOWN:
            shown.append(finding)
    for rule, count in seen.items():
        if count > _MAX_SHOWN:
            message = f"{count - _MAX_SHOWN} more findings of {rule} are not listed"
            shown.append(Finding(rule_id=f"{CHECK}/more", level=Level.NOTE, message=message))
    return tuple(shown)


def _summary(own: OwnCode, findings: Sequence[Finding], open_: int) -> str:
    if open_:
        return f"{open_} of the tool's own Python files could not be examined"
    if not own.sources and not own.sourceless:
        return "no Python of the tool's own"
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    return f"{len(own.sources)} of the tool's own Python files, {warnings} places to look at"
