"""Tables of Arrow and Parquet: data, but for a type of pyarrow's that is unpickled when the file is opened."""

from __future__ import annotations

import base64
import re
from typing import Final

from checks.model_files.formats import windows
from checks.model_files.parts import Found, Part

_MARKS: Final = ((b"PAR1", "Parquet"), (b"ARROW1", "Arrow"), (b"FEA1", "Feather"))
_STREAM = b"\xff\xff\xff\xff"
_PYTHON_TYPE = b"arrow.py_extension_type"


def _in_base64(text: bytes) -> set[bytes]:
    """What `text` becomes inside base64, at each of its three places; the ends depend on what is around them."""
    return {base64.b64encode(bytes(shift) + text)[first:-4] for shift, first in ((0, 0), (1, 2), (2, 3))}


_SEARCHED = re.compile(b"|".join(re.escape(one) for one in sorted({_PYTHON_TYPE, *_in_base64(_PYTHON_TYPE)})))


def is_columns(part: Part, head: bytes) -> bool:
    """Whether a file begins as such a table; a stream of Arrow's has no mark of its own and goes by its name."""
    stream = head.startswith(_STREAM) and part.suffix in (".arrow", ".arrows")
    return stream or head.startswith(tuple(mark for mark, _ in _MARKS))


def examine_columns(part: Part, found: Found) -> None:
    """Search for the type whose metadata are a pickle (loaded by pyarrow before 14.0.1)."""
    head = part.head()
    found.formats.append(next((name for mark, name in _MARKS if head.startswith(mark)), "Arrow"))
    if any(_SEARCHED.search(window) for window in windows(part)):
        found.unsafe("python-code", "a type of pyarrow's that holds a pickle, which opening the file loads", part.name)
