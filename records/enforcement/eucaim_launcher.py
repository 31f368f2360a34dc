"""EUCAIM's operator and launcher: a plain allow-list as values.

EUCAIM publishes no format for this, so this is Pratique's own documented form: a launcher reads it, starts an image
only where its reference by digest is in the list and `expires` is still to come, and denies everything else. `image` is
absent where the repository is not known to the node: then any repository may serve the bytes that have this `digest`.
`expires` is absent where the admission has no end.

    apiVersion: pratique/eucaim-allow-list/v1
    defaultAction: deny
    images:
      - {tool: risk-classifier, version: 1.0.0, image: "registry.example.org/tools/risk-classifier@sha256:…",
         digest: "sha256:…", expires: "2027-01-31T00:00:00Z"}
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pratique.clock import rfc3339
from records.enforcement.model import AdmittedImage, Export, Signers, select
from records.enforcement.text import header, render

API_VERSION = "pratique/eucaim-allow-list/v1"


def export(images: Sequence[AdmittedImage], signers: Signers | None = None, *, moment: datetime) -> Export:
    """The allow-list of `images`; the digest decides, and `signers` is not used."""
    selection = select(images, moment)
    document = {
        "apiVersion": API_VERSION,
        "defaultAction": "deny",
        "images": [_entry(image) for image in selection.images],
    }
    comments = header(selection, "Allow-list for EUCAIM's launcher")
    return Export(render([document], comments), len(selection.images), selection.warnings)


def _entry(image: AdmittedImage) -> dict[str, str]:
    fields = {
        "tool": image.name,
        "version": image.version,
        "image": image.reference,
        "digest": image.digest,
        "expires": rfc3339(image.expires) if image.expires is not None else None,
    }
    return {name: value for name, value in fields.items() if value is not None}
