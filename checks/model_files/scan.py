"""One file, one verdict: what would loading this file as a model do? Decided by content; nothing is ever loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from checks.model_files import archives, formats, gguf, keras, onnx, tensorflow
from checks.model_files.opcodes import Unparsable
from checks.model_files.opinion import MAX_SIZE, Opinion, ask_picklescan, together
from checks.model_files.opinion import MAX_STEPS as MAX_STEPS_OF_OPINION
from checks.model_files.parts import Found, Part, Reason, Verdict
from checks.model_files.pickles import MAX_STEPS, Walk
from checks.model_files.report import Problem, Report, real_problems
from checks.model_files.templates import examine_template

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PICKLES = 5
"""magic number, protocol, system, the object, storage keys; then raw storages (torch before 1.6)"""
_PICKLE_NAMES = frozenset((".pkl", ".pickle", ".pck", ".joblib", ".jbl", ".pt", ".pth", ".ckpt", ".dill"))
_OTHER_MEANINGS = frozenset((".pth", ".pt", ".ckpt"))
"""Python's own path files, texts in Portuguese, TensorFlow's index of checkpoints."""
_MODEL_NAMES = frozenset(
    (".npy", ".npz", ".h5", ".hdf5", ".keras", ".onnx", ".gguf", ".safetensors", ".skops", ".pt2", ".mar", ".nemo")
)
_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x5d\x00\x00", "lzma"))
_CLOSED = ((b"7z\xbc\xaf\x27\x1c", "7z"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstandard"))
_MAX_USER_BLOCK = 1 << 20
_END_OF_ZIP = b"PK\x05\x06"


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


def scan_model(path: Path) -> ModelVerdict:
    """Verdict on the file at `path`; raises `OSError` where it cannot be opened."""
    with path.open("rb") as stream:
        return scan_stream(stream, path.stat().st_size, path.name)


def _examine(part: Part, found: Found) -> None:
    """Look at a part and at all that is packed in it; what cannot be followed is noted, never raised."""
    try:
        _by_content(part, found)
    except Unparsable as error:
        found.unreadable(str(error), part.name)
    except RecursionError:
        found.unreadable("nested too deep", part.name)


def _by_content(part: Part, found: Found) -> None:
    head = part.head()
    if head.startswith((b"PK\x03\x04", _END_OF_ZIP)):
        archives.examine_zip(part, found, _examine)
        return
    if _hides_zip(part):
        found.unreadable("the file is an archive and something else at once", part.name)
    for magic, kind in _CLOSED:
        if head.startswith(magic):
            raise Unparsable(f"{kind} data, which is not unpacked here")
    for magic, kind in _COMPRESSIONS:
        if head.startswith(magic):
            archives.examine_compressed(part, found, _examine, kind)
            return
    if head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:
        archives.examine_compressed(part, found, _examine, "zlib")
    elif head.startswith(b"\x93NUMPY"):
        formats.examine_npy(part, found, _pickle_at)
    elif _is_hdf5(part):
        formats.examine_hdf5(part, found)
    elif head.startswith(b"GGUF"):
        gguf.examine_gguf(part, found)
    elif head[257:262] == b"ustar" or _is_old_tar(head):
        archives.examine_tar(part, found, _examine)
    elif formats.is_safetensors(head, part.size):
        formats.examine_safetensors(part, found)
    elif onnx.looks_like_onnx(part):
        onnx.examine_onnx(part, found)
    elif tensorflow.is_graph(part, head) or tensorflow.is_text_graph(part, head):
        _examine_graph(part, found)
    elif head[4:8] == b"TFL3":
        tensorflow.examine_lite(part, found, formats.windows(part))
        _maybe_pickle(part, found, head)
    elif formats.is_model_xml(head):
        formats.examine_xml(part, found, head)
    elif part.suffix == ".json" or (head[:1] == b"{" and b'"class_name"' in head):
        formats.examine_json(part, found)
    elif part.suffix in (".jinja", ".jinja2") and "template" in part.name.rpartition("/")[2]:
        _examine_template(part, found)
    else:
        _maybe_pickle(part, found, head)


def _examine_graph(part: Part, found: Found) -> None:
    """A graph; Keras puts its own configuration into one too (`keras_metadata.pb`)."""
    tensorflow.examine_graph(part, found, formats.windows(part))
    keras.examine_text(formats.windows(part), found, part.name)


def _examine_template(part: Part, found: Found) -> None:
    found.formats.append("chat template")
    part.stream.seek(0)
    examine_template(part.stream.read(MAX_SIZE).decode("utf-8", "replace"), found, part.name)


def _is_hdf5(part: Part) -> bool:
    """HDF5's mark stands at the beginning, or behind a block of the user's of 512, 1024, 2048 … bytes."""
    offset = 0
    while offset <= min(part.size, _MAX_USER_BLOCK):
        part.stream.seek(offset)
        if part.stream.read(8) == b"\x89HDF\r\n\x1a\n":
            return True
        offset = max(512, offset * 2)
    return False


def _is_old_tar(head: bytes) -> bool:
    """A tar without a mark, as Unix V7 wrote it: known by the checksum of its first header."""
    stated = head[148:156].strip(b" \0")
    if len(head) < 512 or not stated.isdigit() or not head[0]:
        return False
    return sum(head[:148]) + sum(head[156:512]) + 8 * 32 == int(stated, 8) if not set(stated) & set(b"89") else False


def _hides_zip(part: Part) -> bool:
    """Whether the end of a file that does not begin as a zip archive lets zip readers take it for one."""
    tail = min(part.size, 65_557)
    part.stream.seek(part.size - tail)
    data = part.stream.read(tail)
    at = data.rfind(_END_OF_ZIP)
    return at >= 0 and int.from_bytes(data[at + 20 : at + 22], "little") == len(data) - at - 22


def _maybe_pickle(part: Part, found: Found, head: bytes) -> None:
    """A pickle for certain (by its first bytes or its name), or bytes of which only real attacks are reported."""
    named = part.suffix in _PICKLE_NAMES and not (part.suffix in _OTHER_MEANINGS and _is_text(head))
    certain = named or (len(head) > 1 and head[0] == 0x80 and head[1] <= 5)
    if certain:
        _pickle_at(part, found, 0)
        return
    report = Report(torchscript=part.torchscript)
    part.stream.seek(0)
    try:
        Walk(part.stream, part.size, report).run()
        whole = part.stream.tell() == part.size
    except Unparsable:
        whole = False
    problems = report.problems if whole else real_problems(report)
    if problems or (whole and report.steps > 2):
        found.formats.append("pickle")
        found.imports |= {f"{module}.{name}" for module, name in report.imports}
        _note(problems, part, found)
        _ask_second(part, 0, report, found)
    elif kind := formats.data_format(part, head):  # only now: a pickle may begin with any of their marks
        found.formats.append(kind)
    elif part.suffix in _MODEL_NAMES:
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

    But for `getattr`, of which it sees the name only: the walk has seen that nothing but a known method is got.
    """
    if part.size - start > MAX_SIZE or report.steps > MAX_STEPS_OF_OPINION:
        return
    part.stream.seek(start)
    opinion = ask_picklescan(part.stream.read(MAX_SIZE), part.name)
    found.opinions.append(opinion)
    for name in opinion.about:
        if not report.problems and name not in ("builtins.getattr", "__builtin__.getattr"):
            message = f"{opinion.scanner} calls {name} dangerous where the walk found nothing"
            found.unsafe("second-opinion", message, part.name)


def _run_of_pickles(part: Part, report: Report, found: Found) -> None:
    legacy_torch = False
    while True:
        walk = Walk(part.stream, part.size, report)
        walk.run()
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
