"""Words of a provider as a person may see them."""

from __future__ import annotations

MAX_TEXT = 2000
"""Longer texts are cut where people read them; the JSON keeps them whole."""


def plain(text: str) -> str:
    """`text` in one line, without control characters: a provider's words must not drive or flood the reader's screen.

    Spaces and line ends become one space each; whatever else cannot be printed (escapes, bidirectional overrides,
    characters without width) is shown as U+FFFD.
    """
    cut = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters)"
    return "".join(c if c.isprintable() else " " if c in "\t\n\r" else "�" for c in cut)
