"""TensorFlow graphs (`saved_model.pb`, frozen graphs, as text too) and TensorFlow Lite: operators that reach out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from checks.model_files.protobuf import Fields

_OPERATORS = (
    *("PyFunc", "EagerPyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader"),
    *("WholeFileReaderV2", "ImmutableConst", "FixedLengthRecordReader", "FixedLengthRecordReaderV2"),
    *("TextLineReader", "TextLineReaderV2", "TFRecordReader", "TFRecordReaderV2", "TextLineDataset"),
    *("TFRecordDataset", "TFRecordDatasetV2", "FixedLengthRecordDataset", "FixedLengthRecordDatasetV2"),
    *("SaveDataset", "SaveDatasetV2", "LoadDataset", "DistributedSave", "SnapshotDatasetV2", "CacheDataset"),
    *("CacheDatasetV2", "PrintV2", "DebugIdentityV2", "DebugIdentityV3", "SqlDataset", "FileSystemSetConfiguration"),
    *("CreateSummaryFileWriter", "CreateSummaryDbWriter", "LMDBReader", "LMDBDataset", "DataServiceDatasetV2"),
    *("MatchingFilesDataset", "SnapshotDataset", "SnapshotDatasetReader", "SnapshotChunkDataset", "DebugIdentity"),
    *("DatasetToTFRecord", "DebugNanCount", "DebugNumericSummary", "DebugNumericSummaryV2"),
    *("DataServiceDataset", "DataServiceDatasetV3", "DataServiceDatasetV4", "RegisterDataset", "RegisterDatasetV2"),
    *("ExperimentalMatchingFilesDataset", "ExperimentalSqlDataset", "ExperimentalLMDBDataset", "RemoteCall"),
    *("ExperimentalDatasetToTFRecord", "XlaCustomCall", "XlaCustomCallV2"),
    *("LoadAndRemapMatrix", "GenerateBigQueryReaderPartitions", "BigQueryReader", "RpcCall", "RpcClient"),
)


def _field(name: str) -> bytes:
    """`name` behind its length, which protobuf lets anybody write in more bytes than are needed."""
    short, long = re.escape(bytes([len(name)])), re.escape(bytes([len(name) | 0x80]))
    return b"(?:" + short + b"|" + long + b"\x80{0,8}\x00)" + name.encode()


_IN_GRAPH = re.compile(b"(?:" + b"|".join(_field(name) for name in _OPERATORS) + b")(?![A-Za-z0-9])")
_IN_TEXT = re.compile(rb'\bop\s*:\s*["\'](' + "|".join(_OPERATORS).encode() + rb')["\']')
_PLAIN_OPERATOR = rb"""["'][A-Za-z0-9_>.]{1,200}["']\s{0,200}+(?:[^"'#]|\Z)"""
_ODD_IN_TEXT = re.compile(rb"\bop\s{0,200}:\s{0,200}+(?!" + _PLAIN_OPERATOR + rb")[\s\S]{0,300}")
"""An operator whose name is put together from pieces, or has escapes or comments in it."""
_IN_LITE = re.compile(rb"\bFlex(" + "|".join(_OPERATORS).encode() + rb")\0")
_MAX_GRAPH = 64 << 20
_LENGTH_BYTES = bytes(range(0x30)) + bytes(range(0x80, 0x100))
_START = re.compile(rb"\x08\x01\x12")
"""`saved_model_schema_version` 1, then a graph."""


def is_graph(part: Part, head: bytes) -> bool:
    """Whether a file is a graph, by its first bytes, or by its name where it is a protobuf; fields have no order."""
    named = part.suffix == ".pb"
    return bool(_START.match(head)) or (named and (head[:1] in (b"\x08", b"\x0a") or _is_message(part)))


def _is_message(part: Part) -> bool:
    try:
        return any(field.wire == 2 for field in Fields(part).of(0, part.size))
    except Unparsable:
        return False


def is_text_graph(part: Part, head: bytes) -> bool:
    """Whether a file is a graph in the text form of protobuf."""
    return part.suffix in (".pbtxt", ".pb") and bool(
        re.match(rb"\s*(?:saved_model_schema_version\s*:|node\s*\{)", head)
    )


def examine_graph(part: Part, found: Found, windows: Iterator[bytes]) -> None:
    """Search a graph in either form for operators that run Python or reach for files."""
    found.formats.append("TensorFlow graph")
    _search(part, found, windows, (_IN_GRAPH, _IN_TEXT))


def examine_text_graph(part: Part, found: Found) -> None:
    """As `examine_graph`, for the text form; raises `Unparsable` where operators are not written in one plain word."""
    found.formats.append("TensorFlow graph")
    part.stream.seek(0)
    text = part.stream.read(_MAX_GRAPH + 1)
    if len(text) > _MAX_GRAPH:
        raise Unparsable("a graph as text that is far too long")
    _search(part, found, iter((text,)), (_IN_TEXT,))
    if odd := _ODD_IN_TEXT.search(text):
        raise Unparsable("a graph as text with an operator that is not written in one word", odd.start())


def examine_lite(part: Part, found: Found, windows: Iterator[bytes]) -> None:
    """Search a TensorFlow Lite model for such operators among those of full TensorFlow (`Flex…`)."""
    _search(part, found, windows, (_IN_LITE,))


def _search(part: Part, found: Found, windows: Iterator[bytes], patterns: tuple[re.Pattern[bytes], ...]) -> None:
    for window in windows:
        for pattern in patterns:
            operator = pattern.search(window)
            if operator:
                name = (operator[1] if operator.re.groups else operator[0].lstrip(_LENGTH_BYTES)).decode("ascii")
                message = f"the operator {name}, which runs code or reaches for files"
                found.unsafe("graph-operator", message, part.name)
                return
