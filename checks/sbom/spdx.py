"""SPDX licence expressions: what packages write about their licence, as far as it can be understood."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from license_expression import LicenseExpression

_MAX_TEXT = 400
_SPELLINGS = {
    "mit license": "MIT",
    "the mit license": "MIT",
    "the mit license (mit)": "MIT",
    "expat": "MIT",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    # which of the two is not said, so both must be acceptable
    "bsd": "BSD-2-Clause AND BSD-3-Clause",
    "bsd license": "BSD-2-Clause AND BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
    "simplified bsd": "BSD-2-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "psf": "PSF-2.0",
    "psfl": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "zlib/libpng license": "Zlib",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gplv2": "GPL-2.0-only",
    "gplv3": "GPL-3.0-only",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
}
"""PyPI's classifiers and what people write instead of an identifier, in lower case."""
_OLD_GNU = re.compile(r"\b([AL]?GPL)-([123])(?:\.([0-9]))?(\+?)(?![-\w.+])")
"""Identifiers that SPDX gave up (`GPL-2.0+`), and Debian's (`GPL-2+`)."""


@lru_cache(maxsize=4096)
def parse(text: str) -> LicenseExpression | None:
    """The expression that `text` means; None where it names a licence that SPDX does not list, or is none."""
    from license_expression import ExpressionError, ParseError

    text = " ".join(text[: _MAX_TEXT + 1].split())
    if not text or len(text) > _MAX_TEXT:
        return None
    licensing = _licensing()
    try:
        parsed = licensing.parse(_OLD_GNU.sub(_present, _SPELLINGS.get(text.lower(), text)), simple=True)
        known = parsed is not None and not licensing.unknown_license_keys(parsed)
    except (ExpressionError, ParseError, AttributeError, TypeError, ValueError, RecursionError):
        # the library lets a few errors of its parser through on odd text
        return None
    return parsed if known else None


def joined(texts: tuple[str, ...]) -> LicenseExpression | None:
    """All `texts` together, which must all hold; None where there is none, or one that is not understood."""
    parsed = [expression for text in texts if (expression := parse(text)) is not None]
    if not parsed or len(parsed) < len(texts):
        return None
    return parsed[0] if len(parsed) == 1 else _licensing().AND(*parsed)


def _present(old: re.Match[str]) -> str:
    return f"{old[1]}-{old[2]}.{old[3] or 0}-{'or-later' if old[4] else 'only'}"


@lru_cache(maxsize=1)
def _licensing() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
