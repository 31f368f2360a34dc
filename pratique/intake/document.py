"""`submission.yaml`, field by field: what a provider says about a tool and where the evidence lies.

The JSON Schema of `SubmissionDocument` is published as `docs/reference/submission.schema.json`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput

_DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidInput as error:
        raise PydanticCustomError("digest/form", "{reason}", {"reason": str(error)}) from error


DigestText = Annotated[str, AfterValidator(_digest), Field(json_schema_extra={"pattern": _DIGEST_PATTERN})]
RelativePath = Annotated[
    str, Field(min_length=1, max_length=1024, description="A path relative to the submission's directory.")
]
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Mail = Annotated[str, Field(max_length=254, pattern=r"^[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+$")]
InputId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", description="An input of the manifest.")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
ProfileName = Literal["default", "gosu", "gpu"]
"""Sets of privileges that the sandbox knows, by name."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, defer_build=True)


class ToolIdentity(_Frozen):
    """Name and version under which a tool is validated."""

    name: Annotated[str, Field(max_length=100, pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$", description="In quotes: '1.10'.")]


class Provider(_Frozen):
    """Who answers for the tool, and who hands it in."""

    organisation: Line
    contact: Mail
    submitter: Mail


class ImageLocation(_Frozen):
    """Where the image is: exactly one of `layout`, `archive`, `reference`; always with its digest."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["layout"]}, {"required": ["archive"]}, {"required": ["reference"]}]}
    )

    layout: Annotated[RelativePath | None, Field(description="Directory with an OCI image layout.")] = None
    archive: Annotated[RelativePath | None, Field(description="File written by `docker save`.")] = None
    reference: Annotated[str | None, Field(max_length=512, description="host/repository@sha256:…, never a tag.")] = None
    digest: Annotated[DigestText, Field(description="Digest of the image manifest.")]

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.layout, self.archive, self.reference)) != 1:
            raise PydanticCustomError("submission/image", "give exactly one of layout, archive and reference")
        if self.reference is not None:
            repository, at, digest = self.reference.partition("@")
            if not at or not repository or "/" not in repository:
                raise PydanticCustomError(
                    "submission/image-by-tag", "a reference is host/repository@sha256:…; a tag names no fixed image"
                )
            if _digest(digest) != self.digest:
                raise PydanticCustomError(
                    "submission/image-digest-differs", "the reference names another digest than `digest`"
                )
        return self


class Example(_Frozen):
    """Example input, by input id (a path in the submission for File and Directory), and the expected output."""

    inputs: Annotated[dict[InputId, Any], Field(max_length=200)]
    expected: RelativePath | None = None


class CohortColumns(_Frozen):
    """What the columns of a table mean, so that a synthetic one can be made in its shape."""

    identifier: Annotated[tuple[Line, ...], Field(max_length=200)] = ()
    text: Annotated[tuple[Line, ...], Field(max_length=200)] = ()
    category: Annotated[tuple[Line, ...], Field(max_length=200)] = ()
    outcome: Line | None = None


class CohortFit(_Frozen):
    """Which kind of synthetic cohort fits which input; pictures are of the modality asked for, CT where none is."""

    kind: Literal["tabular", "nifti", "dicom"]
    input: InputId
    modality: Literal["CT", "MR"] | None = None
    columns: CohortColumns = CohortColumns()

    @model_validator(mode="after")
    def _modality_of_pictures(self) -> Self:
        if self.modality is not None and self.kind == "tabular":
            raise PydanticCustomError("submission/cohort", "a table has no modality; give it for nifti and dicom only")
        return self


class ModelClaim(_Frozen):
    """Whether a trained model is inside, and on how many records it was trained."""

    trained: bool
    training_records: Annotated[int | None, Field(ge=1, le=10**12)] = None

    @model_validator(mode="after")
    def _records_need_training(self) -> Self:
        if self.training_records is not None and not self.trained:
            raise PydanticCustomError("submission/claims", "training_records is given, but trained is false")
        return self


class DifferentialPrivacyClaim(_Frozen):
    """The DP-SGD guarantee claimed, with the training parameters that it follows from."""

    epsilon: Annotated[float, Field(gt=0, le=1e6)]
    delta: Fraction
    noise_multiplier: Annotated[float, Field(gt=0, le=1e6)]
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    steps: Annotated[int, Field(ge=1, le=10**9)]


class Claims(_Frozen):
    """What the provider states and Pratique tests."""

    model: ModelClaim
    determinism: Literal["bitwise", "within-tolerance", "nondeterministic"]
    tolerance: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    differential_privacy: DifferentialPrivacyClaim | None = None


class Prediction(_Frozen):
    """Where the tool writes predictions: a file in the output directory and its columns (probability of class 1)."""

    output: RelativePath
    identifier: Line
    probability: Line


class PrivacySamples(_Frozen):
    """What the privacy probe needs: training members and non-members as tables, and how predictions come out."""

    input: InputId
    members: RelativePath
    non_members: RelativePath
    identifier: Line
    label: Line
    prediction: Prediction


class SandboxAsked(_Frozen):
    """What the tool needs of the sandbox beyond the default; a node grants a profile only if its policy names it."""

    profile: Annotated[
        ProfileName,
        Field(
            description="gosu: the entry point starts as root and drops to another user itself. gpu: the node's GPUs. "
            "default: neither, also where the manifest requires CUDA."
        ),
    ]


class Document(_Frozen):
    """A declaration of the dossier."""

    kind: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    path: RelativePath


class SubmissionDocument(_Frozen):
    """The whole of `submission.yaml`."""

    model_config = ConfigDict(title="Pratique submission")

    api_version: Annotated[Literal["pratique/submission/v1"], Field(alias="apiVersion")]
    tool: ToolIdentity
    provider: Provider
    manifest: RelativePath
    image: ImageLocation
    signatures: Annotated[tuple[RelativePath, ...], Field(max_length=20)] = ()
    sbom: RelativePath | None = None
    example: Example | None = None
    cohort: CohortFit | None = None
    claims: Claims
    privacy: PrivacySamples | None = None
    sandbox: SandboxAsked | None = None
    documents: Annotated[tuple[Document, ...], Field(max_length=200)] = ()

    @model_validator(mode="after")
    def _samples_for_a_trained_model(self) -> Self:
        if self.claims.model.trained and self.privacy is None:
            raise PydanticCustomError(
                "submission/privacy-missing",
                "a trained model needs `privacy` with members and non-members, so that leakage can be measured",
            )
        return self


def schema_text() -> str:
    """The JSON Schema of `submission.yaml`, as published."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **SubmissionDocument.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
