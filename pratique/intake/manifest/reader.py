"""One reader for both dialects: a guarded mapping becomes a `Manifest`.

FEMTask and CommandLineTool share most keys. Where they differ, the dialect decides: what an empty `inputBinding`
means, how a prefix is attached, whether an array repeats its prefix, and which exit codes count as success.
"""

from __future__ import annotations

from typing import Any

from pratique.digests import Digest
from pratique.intake.manifest import fields
from pratique.intake.manifest.expressions import parse_template
from pratique.intake.manifest.guard import refuse
from pratique.intake.manifest.model import Argument, Dialect, Manifest, Remark
from pratique.intake.manifest.parameters import identifier, mark_output_directories, read_inputs, read_outputs
from pratique.intake.manifest.requirements import read_requirements

_KNOWN_KEYS = frozenset(
    (
        "cwlVersion",
        "class",
        "id",
        "label",
        "doc",
        "requirements",
        "hints",
        "baseCommand",
        "arguments",
        "inputs",
        "outputs",
        "expectedExitCode",
        "successCodes",
        "temporaryFailCodes",
        "permanentFailCodes",
        "metadata",
        "intent",
        "$namespaces",
    )
)


def read(document: dict[str, Any], *, digest: Digest, where: str) -> Manifest:
    """`document`, which passed the guard, as a manifest; raises `InvalidInput` (`manifest/…`)."""
    dialect: Dialect = "FEMTask" if document["class"] == "FEMTask" else "CommandLineTool"
    remarks = [
        Remark("unknown-key", f"{where}/{key}", f"the key {key[:80]!r} is not known and was not used")
        for key in document
        if key not in _KNOWN_KEYS and ":" not in key
    ]
    metadata = fields.mapping(document.get("metadata"), f"{where}/metadata")
    inputs = read_inputs(document.get("inputs"), f"{where}/inputs", dialect, remarks)
    outputs = read_outputs(document.get("outputs"), f"{where}/outputs")
    return Manifest(
        dialect=dialect,
        id=identifier(fields.text(document, "id", where, default="" if dialect != "FEMTask" else None), where),
        label=fields.text(document, "label", where),
        doc=fields.prose(document, "doc", where),
        base_command=_base_command(document.get("baseCommand"), f"{where}/baseCommand"),
        arguments=_arguments(document.get("arguments"), f"{where}/arguments"),
        inputs=mark_output_directories(inputs, outputs, where),
        outputs=outputs,
        requirements=read_requirements(document, where),
        expected_exit_codes=_exit_codes(document, dialect, where, remarks),
        author=_as_written(metadata.get("author") or document.get("s:author"), f"{where}/metadata/author"),
        version=_version(metadata.get("version", document.get("s:softwareVersion")), where, remarks),
        network=_network(metadata, f"{where}/metadata/orchestrator"),
        digest=digest,
        metadata=metadata,
        remarks=tuple(remarks),
    )


def _base_command(value: Any, where: str) -> tuple[str, ...]:
    words = fields.texts(value, where)
    if any("$(" in word or "\0" in word for word in words):
        raise refuse("expression", where, "baseCommand is not evaluated but contains '$('", "Move it to `arguments`.")
    return words


def _arguments(value: Any, where: str) -> tuple[Argument, ...]:
    if value is not None and not isinstance(value, list):
        raise fields.wrong(where, "a list", value)
    result = []
    for index, item in enumerate(value or []):
        place = f"{where}[{index}]"
        found = {"valueFrom": item} if isinstance(item, str) else fields.mapping(item, place)
        template = fields.text(found, "valueFrom", place)
        parse_template(template, where=place)
        result.append(
            Argument(
                value_from=template,
                position=fields.integer(found, "position", place),
                prefix=fields.optional_text(found, "prefix", place),
                separate=fields.boolean(found, "separate", place, default=True),
            )
        )
    return tuple(result)


def _exit_codes(document: dict[str, Any], dialect: Dialect, where: str, remarks: list[Remark]) -> tuple[int, ...]:
    key = "expectedExitCode" if dialect == "FEMTask" else "successCodes"
    value = document.get(key)
    if value is None:
        if dialect == "FEMTask":
            remarks.append(Remark("exit-code-undeclared", where, "expectedExitCode is not declared; 0 is expected"))
        return (0,)
    codes = value if isinstance(value, list) else [value]
    if not codes or any(not isinstance(c, int) or isinstance(c, bool) or not 0 <= c <= 255 for c in codes):
        raise fields.wrong(f"{where}/{key}", "an exit code between 0 and 255", value)
    return tuple(dict.fromkeys(codes))


def _as_written(value: Any, where: str) -> str:
    if value is None or isinstance(value, dict | list | bool):
        return ""
    return fields.text({"": str(value)}, "", where)


def _version(value: Any, where: str, remarks: list[Remark]) -> str:
    if isinstance(value, float):
        message = f"the version {value} is written as a number, so 1.10 would read as 1.1"
        remarks.append(Remark("version-not-quoted", f"{where}/metadata/version", message))
    return _as_written(value, f"{where}/metadata/version")


def _network(metadata: dict[str, Any], where: str) -> str:
    orchestrator = metadata.get("orchestrator")
    return _as_written(orchestrator.get("network"), where) if isinstance(orchestrator, dict) else ""
