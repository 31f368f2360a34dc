"""Files of the node that another process may read at any moment."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it, or what was there before, whoever else writes it meanwhile."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)  # noqa: PTH105 the same call, spelt as everywhere for atomic renames
    finally:
        draft.unlink(missing_ok=True)
