"""TensorFlow Lite (a FlatBuffer): which operators it needs; one of no library of TensorFlow's needs code of its own."""

from __future__ import annotations

from typing import Final

from checks.model_files import tensorflow
from checks.model_files.formats import windows
from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part

_OPERATOR_CODES, _CUSTOM_CODE = 1, 1
"""Numbers of the fields in the tables `Model` and `OperatorCode` of TensorFlow Lite's `schema.fbs`."""
_MAX_OPERATORS = 10_000
_MAX_NAME = 1024
_SHIPPED: Final = frozenset(
    (
        *("TFLite_Detection_PostProcess", "AudioSpectrogram", "Mfcc", "NumericVerify", "HashtableImport"),
        *("MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Convolution2DTransposeBias", "Conv3D", "Irfft2D", "Atan2"),
        *("RandomStandardNormal", "RandomUniform", "Multinomial", "Roll", "SignTensor"),
    )
)
"""Operators beside the built-in ones that TensorFlow Lite and MediaPipe bring themselves."""
_OF_TENSORFLOW = "Flex"


def examine_lite(part: Part, found: Found) -> None:
    """Judge the operators; raises `Unparsable` where the tables do not lie in the file."""
    found.formats.append("TensorFlow Lite")
    tensorflow.examine_lite(part, found, windows(part))
    for name in sorted(_Buffer(part).custom_operators()):
        if name not in _SHIPPED and not name.startswith(_OF_TENSORFLOW):
            found.unsafe("custom-operators", f"the operator {name[:80]!r}, which needs code of its own", part.name)


class _Buffer:
    def __init__(self, part: Part) -> None:
        self._part = part

    def custom_operators(self) -> set[str]:
        """Names of all operators that are not built in."""
        codes = self._field(self._follow(0), _OPERATOR_CODES)
        if codes is None:
            raise Unparsable("a model of TensorFlow Lite without operators")
        vector = self._follow(codes)
        count = self._number(vector, 4)
        if count > _MAX_OPERATORS:
            raise Unparsable(f"more than {_MAX_OPERATORS:,} kinds of operators")
        names = set()
        for index in range(count):
            custom = self._field(self._follow(vector + 4 + 4 * index), _CUSTOM_CODE)
            if custom is not None:
                names.add(self._text(self._follow(custom)))
        return names

    def _field(self, table: int, number: int) -> int | None:
        """Where a field of a table lies; None where it has its default."""
        entries = table - self._number(table, 4, signed=True)
        if self._number(entries, 2) < 6 + 2 * number:
            return None
        offset = self._number(entries + 4 + 2 * number, 2)
        return table + offset if offset else None

    def _follow(self, position: int) -> int:
        return position + self._number(position, 4)

    def _text(self, position: int) -> str:
        length = self._number(position, 4)
        if length > _MAX_NAME:
            raise Unparsable("a name that is far too long", position)
        return self._take(position + 4, length).decode("utf-8", "replace")

    def _number(self, position: int, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self._take(position, width), "little", signed=signed)

    def _take(self, position: int, count: int) -> bytes:
        if not 0 <= position <= self._part.size - count:
            raise Unparsable("a model of TensorFlow Lite that names a place outside of the file", max(0, position))
        self._part.stream.seek(position)
        return self._part.stream.read(count)
