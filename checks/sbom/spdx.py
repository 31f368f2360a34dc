"""SPDX licence expressions: what packages write about their licence, as far as it can be understood."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from license_expression import LicenseExpression, Licensing

MAX_TEXT = 4000
"""Longest text that is read as an expression."""
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
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
    # Debian's short names (DEP 5); the Artistic licence without a version is that of Perl
    "artistic": "Artistic-1.0-Perl",
    "cc0": "CC0-1.0",
    "gpl": "GPL-1.0-or-later",
    "lgpl": "LGPL-2.0-or-later",
    "mpl-1.1": "MPL-1.1",
    "gfdl-1.2+": "GFDL-1.2-or-later",
    "gfdl-1.3+": "GFDL-1.3-or-later",
    "gfdl-niv-1.2+": "GFDL-1.2-no-invariants-or-later",
    "gfdl-niv-1.3+": "GFDL-1.3-no-invariants-or-later",
    # Fedora's names before it took SPDX's
    "asl 2.0": "Apache-2.0",
    "artistic 2.0": "Artistic-2.0",
    "boost": "BSL-1.0",
    "gpl+": "GPL-1.0-or-later",
    "mplv1.1": "MPL-1.1",
    "mplv2.0": "MPL-2.0",
    "ofl": "OFL-1.1",
    "python": "PSF-2.0",
}
"""PyPI's classifiers, what distributions and people write instead of an identifier, in lower case."""
_SUCCESSORS = {
    "agpl-1.0": "AGPL-1.0-only",
    "bsd-2-clause-freebsd": "BSD-2-Clause-Views",
    "bsd-2-clause-netbsd": "BSD-2-Clause",
    "bzip2-1.0.5": "bzip2-1.0.6",
    "ecos-2.0": "(GPL-2.0-or-later WITH eCos-exception-2.0)",
    "gpl-2.0-with-autoconf-exception": "(GPL-2.0-only WITH Autoconf-exception-2.0)",
    "gpl-2.0-with-bison-exception": "(GPL-2.0-or-later WITH Bison-exception-2.2)",
    "gpl-2.0-with-classpath-exception": "(GPL-2.0-only WITH Classpath-exception-2.0)",
    "gpl-2.0-with-font-exception": "(GPL-2.0-only WITH Font-exception-2.0)",
    "gpl-2.0-with-gcc-exception": "(GPL-2.0-only WITH GCC-exception-2.0)",
    "gpl-3.0-with-autoconf-exception": "(GPL-3.0-only WITH Autoconf-exception-3.0)",
    "gpl-3.0-with-gcc-exception": "(GPL-3.0-only WITH GCC-exception-3.1)",
    "nunit": "zlib-acknowledgement",
    "standardml-nj": "SMLNJ",
    "wxwindows": "(LGPL-2.0-or-later WITH WxWindows-exception-3.1)",
}
"""Identifiers that SPDX gave up, besides those that `_OLD_GNU` finds, in lower case."""
_OLD_GNU = re.compile(r"\b([AL]?GPL)[-v]([123])(?:\.([0-9]))?(\+?)(?![-\w.+])")
"""Identifiers that SPDX gave up (`GPL-2.0+`), Debian's (`GPL-2+`) and Fedora's (`GPLv2+`)."""
_OPERATOR = re.compile(r"(\(|\)|(?<![\w-])(?:and|or|with)(?![\w-]))", re.IGNORECASE)
_WORD = re.compile(r"[^\s()]+")
_REFERENCE = re.compile(r"(?:DocumentRef-[A-Z0-9.-]+:)?LicenseRef-[A-Z0-9.-]+", re.ASCII | re.IGNORECASE)
_BRACKETS = re.compile(r"[()]")
_MAX_DEPTH = 32
"""Deepest nesting of brackets: what reads an expression calls itself for each."""
_COMMA = re.compile(r",\s*(and|or)\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def parse(text: str) -> LicenseExpression | None:
    """The expression that `text` means; None where it names a licence that SPDX does not list, or is none."""
    text = _bounded(text)
    parsed = _parsed(_OLD_GNU.sub(_present, _succeeded(_SPELLINGS.get(text.lower(), text))))
    return parsed if parsed is not None else _parsed(_translated(text))


@lru_cache(maxsize=4096)
def parse_loosely(text: str) -> LicenseExpression | None:
    """As `parse`, but licences that SPDX does not list stay in the expression as they are written."""
    return _parsed(_translated(_bounded(text)), all_known=False)


def is_listed(key: str) -> bool:
    """Whether SPDX lists the licence or exception; with a `*` at the end, whether it lists any that begins so."""
    if key.endswith("*"):
        return any(listed.startswith(key[:-1].lower()) for listed in _identifiers())
    return not is_reference(key) and key.lower() in _identifiers()


def is_reference(key: str) -> bool:
    """Whether it refers to a text that only its author has."""
    return _REFERENCE.fullmatch(key) is not None


def licences_in(expression: LicenseExpression) -> frozenset[str]:
    """The licences that it names, without their exceptions."""
    return frozenset(key for key in _licensing().license_keys(expression) if not _identifiers()[key.lower()][1])


def _bounded(text: str) -> str:
    """`text` in one line; empty where it is longer, or nested deeper, than an expression that is read."""
    text, depth = " ".join(text[: MAX_TEXT + 1].split()), 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket == "(" else -1
        if depth > _MAX_DEPTH:
            return ""
    return text if len(text) <= MAX_TEXT else ""


def _parsed(text: str, *, all_known: bool = True) -> LicenseExpression | None:
    from license_expression import ExpressionError, ParseError

    licensing = _licensing_of(text)
    try:
        parsed: LicenseExpression | None = licensing.parse(text, simple=True)
        known = parsed is not None and not (all_known and licensing.unknown_license_keys(parsed))
    except (
        ExpressionError,
        ParseError,
        AssertionError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ):
        # the library lets a few errors of its parser through on odd text
        return None
    return parsed if known else None


def _translated(text: str) -> str:
    """An expression whose licences are called otherwise than SPDX does, operator by operator; empty where unclear.

    A comma before `and` or `or` binds weaker than they do (DEP 5).
    """
    if _COMMA.search(text):
        if "(" in text:
            return ""
        text = "(" + _COMMA.sub(r") \1 (", text) + ")"
    pieces = [piece.strip() for piece in _OPERATOR.split(text)]
    return " ".join(
        f"({_SPELLINGS[piece.lower()]})" if piece.lower() in _SPELLINGS else _OLD_GNU.sub(_present, _succeeded(piece))
        for piece in pieces
    )


def joined(texts: tuple[str, ...]) -> LicenseExpression | None:
    """All `texts` together, which must all hold; None where there is none, or one that is not understood."""
    parsed = [expression for text in texts if (expression := parse(text)) is not None]
    if not parsed or len(parsed) < len(texts):
        return None
    return parsed[0] if len(parsed) == 1 else _licensing().AND(*parsed)


def _succeeded(text: str) -> str:
    return _WORD.sub(lambda word: _SUCCESSORS.get(word[0].lower(), word[0]), text)


def _present(old: re.Match[str]) -> str:
    return f"{old[1]}-{old[2]}.{old[3] or 0}-{'or-later' if old[4] else 'only'}"


def _licensing_of(text: str) -> Licensing:
    """The library's parser, told of the identifiers in `text`: telling it of all takes as long as reading an image."""
    from license_expression import LicenseSymbol

    licensing, listed = _licensing(), _identifiers()
    for word in _WORD.findall(text.lower()):
        if word in listed and word not in licensing.known_symbols_lowercase:
            identifier, is_exception = listed[word]
            symbol = LicenseSymbol(identifier, is_exception=is_exception)
            licensing.known_symbols[identifier] = licensing.known_symbols_lowercase[word] = symbol
    return licensing


@lru_cache(maxsize=1)
def _licensing() -> Licensing:
    from license_expression import Licensing

    return Licensing()


@lru_cache(maxsize=1)
def _identifiers() -> dict[str, tuple[str, bool]]:
    """By the identifier in lower case: how it is written, and whether it is an exception.

    The library's own list, without what SPDX gave up: licences are read as what came in its place.
    """
    from license_expression import get_license_index

    listed = ((entry.get("spdx_license_key"), entry) for entry in get_license_index())
    found = {key.lower(): (key, entry.get("is_exception", False)) for key, entry in listed if key}
    return {key: entry for key, entry in found.items() if key not in _SUCCESSORS}
