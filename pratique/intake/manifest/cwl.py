"""CWL v1.2 CommandLineTool: valid is what `cwl-utils` accepts and reads the same way as Pratique does.

`cwl-utils` never fetches here: the document is handed over parsed and guarded, and the fetcher refuses every address.
Importing it takes a second, so it happens only for this dialect.
"""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urljoin

from pratique.intake.manifest.guard import refuse
from pratique.intake.manifest.model import Manifest

_BASE = "pratique:tool"


def validate(document: dict[str, Any], manifest: Manifest, *, where: str) -> None:
    """Raise `InvalidInput` unless `document` is a valid CommandLineTool with the parameters of `manifest`.

    Rules: `manifest/cwl` (not valid CWL), `manifest/disagreement` (the two readings differ).
    """
    from cwl_utils.parser import cwl_v1_2
    from schema_salad.exceptions import SchemaSaladException
    from schema_salad.fetcher import Fetcher
    from schema_salad.runtime import LoadingOptions

    class NothingIsFetched(Fetcher):
        def fetch_text(self, url: str, content_types: list[str] | None = None) -> str:
            raise SchemaSaladException(f"{url} is not fetched")

        def check_exists(self, url: str) -> bool:
            return False

        def urljoin(self, base_url: str, url: str) -> str:
            return urljoin(base_url, url)

    options = LoadingOptions(fetcher=NothingIsFetched(), fileuri=_BASE, no_link_check=True)
    try:
        tool = cwl_v1_2.load_document_by_yaml(copy.deepcopy(document), _BASE, options)
    except (SchemaSaladException, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # besides its own exceptions, the generated parser lets internal errors through for odd documents
        raise refuse(
            "cwl",
            where,
            "not a valid CWL v1.2 CommandLineTool",
            "Run `cwltool --validate` on the file and correct what it names.",
            cause=" ".join(str(error).split())[:600],
        ) from error
    for kind, theirs, ours in (("inputs", tool.inputs, manifest.inputs), ("outputs", tool.outputs, manifest.outputs)):
        names = sorted(parameter.id.rpartition("#")[2].rpartition("/")[2] for parameter in theirs)
        if names != sorted(parameter.id for parameter in ours):
            raise refuse("disagreement", where, f"the {kind} can be read in two ways", f"Write the {kind} as a map.")
