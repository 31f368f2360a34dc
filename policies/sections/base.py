"""What every section of a policy is made of: nothing unknown, nothing endless."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput

Text = Annotated[str, Field(min_length=1, max_length=2000)]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]


def _digest(value: Any) -> Any:
    try:
        return parse_digest(value if isinstance(value, str) and value.startswith("sha256:") else f"sha256:{value}")
    except InvalidInput as error:
        raise ValueError(str(error)) from error


PinnedDigest = Annotated[Digest, BeforeValidator(_digest)]
"""A SHA-256, with or without `sha256:` before it."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
