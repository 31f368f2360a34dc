"""JSON that is too long to be parsed in bounded memory: searched, window by window, for what loaders look up in it.

Data sets and boosted trees have tens of megabytes; what brings templates, or names classes of a repository, has not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from checks.model_files import keras
from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part

_ESCAPED = re.compile(rb"\\u00(?:[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff])")
"""Letters and underlines that are written as escapes, which nobody does without a reason."""
_KEYS = re.compile(rb'"(?:class_name|chat_template|auto_map)"')
_LEARNER = re.compile(rb'\s*\{[^{}]{0,64}"learner"\s*:')
_BEFORE = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"
"""Marks of byte order, zeros of wide letters, and blanks."""


def examine_long(part: Part, found: Found, windows: Callable[[Part], Iterator[bytes]]) -> bool:
    """False where it does not begin as JSON does. Raises `Unparsable` where it may name code in a hidden way."""
    if part.name.rpartition("/")[2] == "schema.json":
        raise Unparsable(f"a schema of skops with {part.size:,} bytes")
    head = part.head()
    wide = b"\0" in head[:4]
    keys: set[bytes] = set()
    for window in windows(part):
        text = window.replace(b"\0", b"") if wide else window
        keys |= set(_KEYS.findall(text))
        if _ESCAPED.search(text) or (wide and keys):
            raise Unparsable(f"JSON of {part.size:,} bytes whose letters are not written as such")
    if keys - {b'"class_name"'}:
        raise Unparsable(f"a template or a list of classes in JSON of {part.size:,} bytes")
    if keys:
        found.formats.append("Keras configuration")
        keras.examine_text(windows(part), found, part.name, hidden=keras.SPREAD)
    elif _LEARNER.match(head):
        found.formats.append("XGBoost JSON")
    return head.lstrip(_BEFORE)[:1] in (b"{", b"[")
