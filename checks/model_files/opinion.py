"""A second opinion on a pickle: what `picklescan` says of the same bytes."""

from __future__ import annotations

import io
import logging

MAX_SIZE = 8 * 1024**2


def dangerous_imports(data: bytes, name: str) -> tuple[str, ...]:
    """Imports that picklescan calls dangerous; empty where it finds none or cannot read the bytes.

    Only its positive word counts: it knows what is forbidden, not what is allowed, so its silence means nothing.
    """
    from picklescan.scanner import SafetyLevel, scan_pickle_bytes

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    try:
        result = scan_pickle_bytes(io.BytesIO(data), name)
    except (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, RecursionError):
        return ()
    return tuple(sorted(f"{g.module}.{g.name}" for g in result.globals if g.safety is SafetyLevel.Dangerous))
