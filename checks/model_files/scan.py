"""One file, one verdict: what would loading this file as a model do? Decided by content; nothing is ever loaded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from checks.model_files import archives, columns, core_ml, formats, gguf, keras, nemo, onnx, rdata, tensorflow, tflite
from checks.model_files.archives import Examine
from checks.model_files.embedded import pickles_in
from checks.model_files.hdf5 import MARK
from checks.model_files.opcodes import Unparsable, starts_like_opcode
from checks.model_files.opinion import MAX_SIZE, Opinion, ask_picklescan, together
from checks.model_files.opinion import MAX_STEPS as MAX_STEPS_OF_OPINION
from checks.model_files.parts import MAX_FOLLOWED, Found, Part, Reason, Verdict
from checks.model_files.pickles import MAX_STEPS, Walk
from checks.model_files.report import Problem, Report, plausible, real_problems
from checks.model_files.templates import examine_template
from pratique.intake.image.classify import RIEGELI, is_lzma

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PICKLES = 5
"""magic number, protocol, system, the object, storage keys; then raw storages (torch before 1.6)"""
_PICKLE_NAMES = frozenset((".pkl", ".pickle", ".pck", ".joblib", ".jbl", ".pt", ".pth", ".ckpt", ".dill"))
_OTHER_MEANINGS = frozenset((".pth", ".pt", ".ckpt", ".engine", ".plan", ".mar", ".ort"))
"""Python's own path files, texts in Portuguese, TensorFlow's index of checkpoints, notes."""
_MODEL_NAMES = frozenset(
    (
        *(
            ".npy",
            ".npz",
            ".h5",
            ".hdf5",
            ".keras",
            ".onnx",
            ".gguf",
            ".safetensors",
            ".skops",
            ".pt2",
            ".mar",
            ".nemo",
        ),
        *(".ptl", ".torchscript", ".tflite", ".ort", ".ubj", ".cbm", ".mlmodel", ".pmml", ".rds", ".rda", ".rdata"),
        *(".t7", ".engine", ".plan", ".trt", ".parquet", ".feather", ".arrow", ".cpb"),
    )
)
"""Names that stand for formats of models: what is none of the known ones there is refused, and not passed over."""
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
)
_CLOSED = (
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
    (b"\x89LZO\x00\r\n", "lzop"),
    (b"LZIP", "lzip"),
    (RIEGELI, "TensorFlow's chunked"),
    (b"ZF0x", "joblib's oldest compressed"),
    *((bytes((0x50 | low,)) + b"\x2a\x4d\x18", "hidden") for low in range(16)),  # a frame that unpackers pass over
)


@dataclass(frozen=True)
class ModelVerdict:
    """The answer for one file: format (outermost first), what decided, and every import its pickles ask for.

    `opinions` are other scanners', one each at most.
    """

    name: str
    verdict: Verdict
    formats: tuple[str, ...]
    reasons: tuple[Reason, ...]
    imports: tuple[str, ...]
    opinions: tuple[Opinion, ...] = ()

    @property
    def disagreements(self) -> tuple[Opinion, ...]:
        """Opinions that differ from the verdict in whether the file may be loaded."""
        return tuple(one for one in self.opinions if one.disagrees(self.verdict))


def scan_stream(stream: BinaryIO, size: int, name: str) -> ModelVerdict:
    """Verdict on the `size` bytes of the seekable `stream`, called `name`."""
    found = Found()
    _examine(Part(stream, size, name), found)
    verdicts = {reason.verdict for reason in found.reasons}
    verdict = Verdict.SAFE if found.formats else Verdict.UNRECOGNISED
    for worse in (Verdict.UNREADABLE, Verdict.UNSAFE):
        verdict = worse if worse in verdicts else verdict
    return ModelVerdict(
        name=name,
        verdict=verdict,
        formats=tuple(dict.fromkeys(found.formats)),
        reasons=tuple(
            sorted(set(found.reasons), key=lambda r: (r.verdict is not Verdict.UNSAFE, r.member, r.rule, r.message))
        ),
        imports=tuple(sorted(found.imports)),
        opinions=together(found.opinions),
    )


def may_be_configuration(name: str) -> bool:
    """Whether a small text of this name may describe a model whose loader looks up classes, or renders templates."""
    return name.lower().endswith((".json", ".jinja", ".jinja2", ".pbtxt", ".xml"))


def _examine(part: Part, found: Found) -> None:
    """Look at a part and at all that is packed in it; what cannot be followed is noted, never raised."""
    try:
        if not part.followed.too_many:
            _by_content(part, found)
        if part.followed.too_many:
            raise Unparsable(f"more than {MAX_FOLLOWED:,} opcodes, fields and items, all parts together")
    except Unparsable as error:
        found.unreadable(str(error), part.name)
    except RecursionError:
        found.unreadable("nested too deep", part.name)


def _by_content(part: Part, found: Found) -> None:
    head = part.head()
    examine = _packed(part, head) or _format(part, head)
    if (offset := _hdf5_at(part)) and offset > 0:  # for its readers it is HDF5, whatever it is for others
        _examine_hdf5(part, found, offset)
        examine = examine or _nothing_more
    if examine is None:
        _maybe_pickle(part, found, head)
        return
    if starts_like_opcode(head[:1]) and not head.startswith(b"PK"):  # P asks for what only the loader knows: it ends
        _attack_beside(part, found)
    examine(part, found)


def _nothing_more(part: Part, found: Found) -> None:
    """What there is to see was seen."""


def _packed(part: Part, head: bytes) -> Examine | None:
    """How to look into what is packed or compressed; raises `Unparsable` where it is packed and something else."""
    if head.startswith((b"PK\x03\x04", archives.END_OF_ZIP)):
        return partial(archives.examine_zip, examine=_examine)
    if head[257:262] == b"ustar" or _is_old_tar(head):
        return partial(archives.examine_tar, examine=_examine)
    if archives.end_of_zip(part) is not None:
        raise Unparsable(archives.TWO_AT_ONCE)
    for magic, kind in _CLOSED:
        if head.startswith(magic):
            return partial(_refuse, f"{kind} data, which is not unpacked here")
    for magic, kind in _COMPRESSIONS:
        if head.startswith(magic):
            return partial(archives.examine_compressed, examine=_examine, kind=kind)
    if is_lzma(head, part.name):
        return partial(archives.examine_compressed, examine=_examine, kind="lzma")
    if head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:
        return partial(archives.examine_compressed, examine=_examine, kind="zlib")
    return None


def _format(part: Part, head: bytes) -> Examine | None:
    """How to look at a format that is known by its mark, or by its name where it has none."""
    if head.startswith(b"\x93NUMPY"):
        return partial(formats.examine_npy, nested=_pickle_at)
    if head.startswith(MARK):
        return partial(_examine_hdf5, offset=0)
    if head.startswith(b"GGUF"):
        return gguf.examine_gguf
    if formats.is_safetensors(head, part.size):
        return formats.examine_safetensors
    if core_ml.is_core_ml(part, head):
        return core_ml.examine_core_ml
    if onnx.looks_like_onnx(part):
        return onnx.examine_onnx
    if tensorflow.is_text_graph(part, head):
        return tensorflow.examine_text_graph
    if tensorflow.is_graph(part, head):
        return _examine_graph
    if head[4:8] == b"TFL3":
        return tflite.examine_lite
    if rdata.is_rdata(head):
        return rdata.examine_rdata
    if columns.is_columns(part, head):
        return columns.examine_columns
    if formats.is_model_xml(head):
        return partial(formats.examine_xml, head=head)
    if part.suffix == ".json" or (head[:1] == b"{" and b'"class_name"' in head):
        return _examine_json
    if part.suffix in (".jinja", ".jinja2") and "template" in part.name.lower():
        return _examine_template
    if nemo.is_configuration(part):
        return nemo.examine_configuration
    return None


def _refuse(message: str, part: Part, found: Found) -> None:
    raise Unparsable(message)


def _attack_beside(part: Part, found: Found) -> None:
    """Note an attack in a file that is of another format, and a pickle for who unpickles it all the same."""
    report = Report()
    part.stream.seek(0)
    with contextlib.suppress(Unparsable):
        _run_of_pickles(part, report, Found())
    _note(real_problems(report), part, found)


def _examine_hdf5(part: Part, found: Found, offset: int) -> None:
    """Its structure, and what PyTables unpickles of it."""
    values = formats.examine_hdf5(part, found, offset)
    _note(list(pickles_in(part, found, values)), part, found)


def _examine_json(part: Part, found: Found) -> None:
    """JSON, or what is only called so."""
    if not formats.examine_json(part, found):
        _maybe_pickle(part, found, part.head())


def _examine_graph(part: Part, found: Found) -> None:
    """A graph; Keras puts its own configuration into one too (`keras_metadata.pb`)."""
    tensorflow.examine_graph(part, found, formats.windows(part))
    keras.examine_text(formats.windows(part), found, part.name)


def _examine_template(part: Part, found: Found) -> None:
    found.formats.append("chat template")
    part.stream.seek(0)
    examine_template(part.stream.read(MAX_SIZE).decode("utf-8", "replace"), found, part.name)


def _hdf5_at(part: Part) -> int | None:
    """HDF5's mark stands at the beginning, or behind a block of the user's of 512, 1024, 2048 … bytes."""
    offset = 0
    while offset < part.size:
        part.stream.seek(offset)
        if part.stream.read(8) == MARK:
            return offset
        offset = max(512, offset * 2)
    return None


def _is_old_tar(head: bytes) -> bool:
    """A tar without a mark, as Unix V7 wrote it: known by the checksum of its first header."""
    stated = head[148:156].strip(b" \0")
    if len(head) < 512 or not stated.isdigit() or not head[0]:
        return False
    return sum(head[:148]) + sum(head[156:512]) + 8 * 32 == int(stated, 8) if not set(stated) & set(b"89") else False


def _maybe_pickle(part: Part, found: Found, head: bytes) -> None:
    """A pickle for certain (by its first bytes or its name), or bytes of which only real attacks are reported."""
    named = part.suffix in _PICKLE_NAMES and not (part.suffix in _OTHER_MEANINGS and _is_text(head))
    certain = named or (len(head) > 1 and head[0] == 0x80 and head[1] <= 5)
    if certain:
        _pickle_at(part, found, 0)
        return
    report = Report(torchscript=part.torchscript)
    part.stream.seek(0)
    failure: Unparsable | None = None
    try:
        _run_of_pickles(part, report, found)
    except Unparsable as error:
        failure = error
    used = bool(report.calls) and any(plausible(*pair) for pair in report.imports)
    problems = real_problems(report) if failure else report.problems
    if problems or used or (not failure and report.steps > 2):
        found.formats.append("pickle")
        found.imports |= {f"{module}.{name}" for module, name in report.imports}
        _note(problems, part, found)
        _ask_second(part, 0, report, found)
        if failure and used:
            raise failure
    elif kind := formats.data_format(part, head):  # only now: a pickle may begin with any of their marks
        found.formats.append(kind)
    elif part.suffix in _MODEL_NAMES and not (part.suffix in _OTHER_MEANINGS and _is_text(head)):
        raise Unparsable("the content is not what the name says")


def _is_text(head: bytes) -> bool:
    """Whether the first bytes are words: then the name may mean something else, and the content alone decides."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8") if error.start > len(head) - 4 else "\0"
    return bool(text) and all(character.isprintable() or character in "\t\r\n" for character in text)


def _pickle_at(part: Part, found: Found, start: int) -> None:
    """The pickle (or the run of pickles) from `start` to the end of the part; raises `Unparsable`."""
    found.formats.append("pickle")
    report = Report(torchscript=part.torchscript)
    part.stream.seek(start)
    try:
        _run_of_pickles(part, report, found)
    finally:
        found.imports |= {f"{module}.{name}" for module, name in report.imports}
        _note(report.problems, part, found)
        _ask_second(part, start, report, found)


def _ask_second(part: Part, start: int, report: Report, found: Found) -> None:
    """picklescan's word on the same bytes: kept, and believed where it is the graver.

    But for names that the walk met too and that the allow-list holds: there our list knows more, and the opinion is
    shown as a disagreement. A name that the walk did not meet means that the two read the bytes differently.
    """
    if part.size - start > MAX_SIZE or report.steps > MAX_STEPS_OF_OPINION:
        return
    part.stream.seek(start)
    opinion = ask_picklescan(part.stream.read(MAX_SIZE), part.name)
    found.opinions.append(opinion)
    listed = {f"{module}.{name}" for module, name in report.listed}
    for name in opinion.about:
        if not report.problems and name not in listed:
            message = f"{opinion.scanner} calls {name} dangerous where the walk found nothing"
            found.unsafe("second-opinion", message, part.name)


def _run_of_pickles(part: Part, report: Report, found: Found) -> None:
    legacy_torch = False
    while True:
        walk, before = Walk(part.stream, part.size, report), report.steps
        try:
            walk.run()
        finally:
            part.followed.items += report.steps - before
        legacy_torch = legacy_torch or (report.pickles == 1 and walk.result == _TORCH_MAGIC)
        if legacy_torch and report.pickles == _TORCH_PICKLES:
            found.formats.append("PyTorch before 1.6")
            return
        if part.stream.tell() >= part.size:
            return
        if report.steps >= MAX_STEPS:
            raise Unparsable(f"more than {MAX_STEPS:,} opcodes")


def _note(problems: list[Problem], part: Part, found: Found) -> None:
    for problem in problems:
        found.unsafe(problem.rule, problem.message, f"{part.name}@{problem.offset}")
