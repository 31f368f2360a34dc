"""Attestations that a policy demands: is one there of that type, by a signer who may make it, and does it say enough?

The signature is the verifier's business; here is what the statement says. Forms: SLSA provenance v1 and v0.2
(https://slsa.dev/provenance), CycloneDX (https://cyclonedx.org/bom), vulnerabilities
(https://in-toto.io/attestation/vulns). Of other types any predicate will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from checks.provenance.expressions import matches_in_full
from checks.provenance.statement import Statement
from checks.provenance.steps import StepFailed
from checks.provenance.trust import Attestation

SLSA_V1 = "https://slsa.dev/provenance/v1"
SLSA_V02 = "https://slsa.dev/provenance/v0.2"
_MAX_SOURCES = 1000


def require_content(statement: Statement, demand: Attestation) -> str:
    """What the attestation says, once it was found to have the form of its type and the builder and source demanded.

    Raises `StepFailed`.
    """
    try:
        said = _FORMS.get(statement.predicate_type, _anything)(statement.predicate)
    except (LookupError, TypeError, AttributeError) as error:
        raise StepFailed(f"the predicate has not the form of {statement.predicate_type}: {str(error)[:100]}") from error
    if demand.builders or demand.sources:
        if statement.predicate_type not in _PROVENANCE:
            raise StepFailed(f"{statement.predicate_type} names no builder and no source")
        builder, sources = _PROVENANCE[statement.predicate_type](statement.predicate)
        _require_one_of("builder", [builder], demand.builders, demand)
        _require_one_of("source", sources, demand.sources, demand)
    return said


def _require_one_of(what: str, found: Sequence[str], wanted: tuple[str, ...], demand: Attestation) -> None:
    if wanted and not any(_matches(pattern, text, demand) for pattern in wanted for text in found):
        seen = ", ".join(text[:200] for text in found[:3]) or "none"
        raise StepFailed(f"its {what} is {seen}; the policy asks for {' or '.join(wanted[:3])}")


def _matches(pattern: str, text: str, demand: Attestation) -> bool:
    return matches_in_full(pattern, text) if demand.regexp else pattern == text


def _anything(predicate: Any) -> str:
    return "" if predicate is not None else _refuse("no predicate")


def _refuse(what: str) -> str:
    raise StepFailed(f"the attestation has {what}")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("text is expected")
    return value


def _slsa_v1(predicate: Any) -> tuple[str, list[str]]:
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    _text(definition["buildType"])
    sources = list(_uris(definition.get("resolvedDependencies")))
    workflow = definition.get("externalParameters", {}).get("workflow")
    if isinstance(workflow, Mapping) and isinstance(workflow.get("repository"), str):
        sources.append(workflow["repository"])
    return _text(details["builder"]["id"]), sources


def _slsa_v02(predicate: Any) -> tuple[str, list[str]]:
    _text(predicate["buildType"])
    started = predicate.get("invocation", {}).get("configSource", {})
    return _text(predicate["builder"]["id"]), [*_uris([started]), *_uris(predicate.get("materials"))]


def _uris(items: Any) -> Iterator[str]:
    """Each `uri`, and the repository in it alone: `git+https://host/owner/name@refs/heads/main`."""
    for item in items[:_MAX_SOURCES] if isinstance(items, list) else ():
        uri = item.get("uri") if isinstance(item, Mapping) else None
        if isinstance(uri, str):
            yield uri
            yield uri.removeprefix("git+").partition("@")[0]


def _provenance(read: Callable[[Any], tuple[str, list[str]]]) -> Callable[[Any], str]:
    return lambda predicate: f"built by {read(predicate)[0]}"


def _cyclonedx(predicate: Any) -> str:
    if predicate["bomFormat"] != "CycloneDX":
        raise StepFailed("the bill of materials is not in the format CycloneDX")
    return f"CycloneDX {_text(predicate['specVersion'])}"


def _vulnerabilities(predicate: Any) -> str:
    scanner = predicate["scanner"]
    return f"scanned by {_text(scanner['uri'])}, finished {_text(predicate['metadata']['scanFinishedOn'])}"


_PROVENANCE = {SLSA_V1: _slsa_v1, SLSA_V02: _slsa_v02}
_FORMS: dict[str, Callable[[Any], str]] = {
    SLSA_V1: _provenance(_slsa_v1),
    SLSA_V02: _provenance(_slsa_v02),
    "https://cyclonedx.org/bom": _cyclonedx,
    "https://in-toto.io/attestation/vulns/v0.1": _vulnerabilities,
    "https://in-toto.io/attestation/vulns/v0.2": _vulnerabilities,
    "https://cosign.sigstore.dev/attestation/vuln/v1": _vulnerabilities,
}
