"""What a node's policy allows a tool to leak."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class PrivacyLimits(BaseModel):
    """Limits on the AUC and on the true-positive rate at 1 % false positives, and the error allowed a bound (alpha)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auc_limit: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.60
    tpr_limit: Annotated[float, Field(gt=0.01, lt=1.0)] = 0.05
    alpha: Annotated[float, Field(ge=0.001, le=0.2)] = 0.05
