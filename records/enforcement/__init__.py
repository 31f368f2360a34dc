"""What a site's own platform needs to run only what was admitted: allow-lists and policies in the platform's format.

Every export is a pure function of the admitted images, the trusted signers and a moment: sorted, deterministic, and
never wider than what was admitted, which is content by digest. With nothing admitted it denies everything. What a
target cannot say is left out and reported as a warning; a demand that it cannot make at all refuses the export.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from typing import Protocol, cast

from records.enforcement.model import AdmittedImage, Export, SignatureForm, Signers, Target

__all__ = ["AdmittedImage", "Export", "SignatureForm", "Signers", "Target", "export"]


class _Exporter(Protocol):
    def export(self, images: Sequence[AdmittedImage], signers: Signers | None, *, moment: datetime) -> Export: ...


def export(
    target: Target, images: Sequence[AdmittedImage], signers: Signers | None = None, *, moment: datetime
) -> Export:
    """What `target` needs to enforce the admission of `images` as of `moment`.

    With `signers`, targets that verify signatures verify them again; without, the digest alone decides. Raises
    `InvalidInput` (`enforcement/…`) where the target cannot make the demand.
    """
    module = import_module(f"records.enforcement.{target.value.replace('-', '_')}")
    return cast(_Exporter, module).export(images, signers, moment=moment)
