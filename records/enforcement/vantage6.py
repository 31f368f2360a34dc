"""vantage6: the `policies` section of a node's configuration (https://docs.vantage6.ai, "Node > Configure").

The node matches each entry that looks like a regular expression against the image of a task with `re.match`, which only
anchors the beginning; a missing or empty `allowed_algorithms` allows everything; and an algorithm store, or the basic
processing image, may let in what the list does not. So entries are anchored at both ends, an empty list becomes an
expression that matches nothing, and the two other ways in are closed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from records.enforcement.model import AdmittedImage, Export, Signers, select
from records.enforcement.text import header, render

MATCHES_NOTHING = "^(?!)"
_ANY_REPOSITORY = r"[a-z0-9][a-z0-9._:/-]*"


def export(images: Sequence[AdmittedImage], signers: Signers | None = None, *, moment: datetime) -> Export:
    """The section for `images`; the digest decides, and `signers` is not used."""
    selection = select(images, moment)
    located = [rf"^{re.escape(reference)}\Z" for reference in selection.located]
    unlocated = [rf"^{_ANY_REPOSITORY}@{digest}\Z" for digest in selection.unlocated]
    policies = {
        "allowed_algorithms": [*located, *unlocated] or [MATCHES_NOTHING],
        "allow_either_whitelist_or_store": False,
        "allow_basics_algorithm": False,
    }
    comments = header(selection, "Section `policies` of the vantage6 node's configuration")
    return Export(render([{"policies": policies}], comments), len(selection.images), selection.warnings)
