"""The tar reader agrees with Python's on honest archives and never fails otherwise than by refusing."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pratique.digests import Digest, sha256_bytes
from pratique.errors import InvalidInput
from pratique.intake.image import ImageLimits, Kind
from pratique.intake.image.classify import classify
from pratique.intake.image.documents import parse_config, parse_index_or_manifest
from pratique.intake.image.guards import clean_path
from pratique.intake.image.layers import Tree
from pratique.intake.image.packing import Packing
from pratique.intake.image.reference import parse_reference
from pratique.intake.image.streams import Budget, UnpackedLayer
from pratique.intake.image.tar import TarReader
from tests.assets.images import MadeImage, entry, make_tar, to_json

LIMITS = ImageLimits()
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=150).filter(
    lambda name: "\0" not in name and not name.endswith("/")
)
KEYS = """schemaVersion mediaType manifests layers config digest size os architecture rootfs diff_ids Env history
    platform Config LAYERS"""
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6)


def _reader(data: bytes, *, gzipped: bool = False, budget: Budget | None = None) -> TarReader:
    packing = Packing.GZIP if gzipped else Packing.NONE
    stream = UnpackedLayer(io.BytesIO(data), packing=packing, budget=budget or Budget(1 << 24, 1000), where="t")
    return TarReader(stream, where="t")


@QUICK
@given(files=FILES, format_=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), packed=st.booleans())
def test_honest_archives_are_read_as_python_reads_them(
    files: list[tuple[str, bytes]], format_: int, packed: bool
) -> None:
    """Names, sizes, contents and order are the same in both readers."""
    data = make_tar(files, format_)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        theirs = [(m.name, m.size, m.mode, (archive.extractfile(m) or io.BytesIO()).read()) for m in archive]
    reader = _reader(gzip.compress(data, 1) if packed else data, gzipped=packed)
    ours = []
    for item in reader:
        ours.append((item.name.decode(), item.size, item.mode, b"".join(reader.chunks())))
    assert ours == theirs


@QUICK
@given(
    files=FILES,
    at=st.integers(0, 4000),
    patch=st.binary(min_size=1, max_size=40),
    cut=st.integers(0, 6000),
)
def test_damaged_archives_are_refused_or_read_to_the_end(
    files: list[tuple[str, bytes]], at: int, patch: bytes, cut: int
) -> None:
    """No damage makes anything but `InvalidInput`, in the reader or in the tree made from it."""
    data = bytearray(make_tar([*files, entry("link", tarfile.SYMTYPE, linkname="x" * 200)]))
    data[at : at + len(patch)] = patch
    tree = Tree(LIMITS, Budget(1 << 24, 1000))
    tree.begin_layer(where="t")
    try:
        reader = _reader(bytes(data[: max(cut, 1)]))
        for item in reader:
            placed = tree.place(item)
            if placed is not None and placed.kind is Kind.FILE and not item.hard_link:
                content = b"".join(reader.chunks())
                tree.complete(placed.path, sha256_bytes(content), content[:64])
        tree.end_layer()
    except InvalidInput as refusal:
        assert refusal.rule
        assert refusal.next_step
    for path in tree.files:
        assert not path.startswith("/")
        assert ".." not in path.split("/")


@QUICK
@given(data=st.binary(max_size=3000), gzipped=st.booleans())
def test_any_bytes_are_refused_or_read(data: bytes, gzipped: bool) -> None:
    """Noise makes nothing but `InvalidInput`."""
    try:
        for _ in _reader(gzip.compress(data) if gzipped and len(data) % 2 else data, gzipped=gzipped):
            pass
    except InvalidInput as refusal:
        assert refusal.next_step


@settings(QUICK, max_examples=300)
@given(raw=st.one_of(st.binary(max_size=60), st.text("./a\\ ", max_size=30).map(str.encode)))
def test_clean_paths_stay_inside(raw: bytes) -> None:
    """Whatever comes out is relative, has no empty, `.` or `..` part, and cleaning it again changes nothing."""
    try:
        path = clean_path(raw, LIMITS, where="t")
    except InvalidInput:
        return
    parts = path.split("/")
    assert path == "" or not {"", ".", ".."} & set(parts)
    assert clean_path(path.encode(), LIMITS, where="t") == path


@settings(QUICK, max_examples=200)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(KEYS.split()),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_refused_or_read(value: object) -> None:
    """JSON of any shape makes nothing but `InvalidInput`."""
    data = to_json(value)
    for parse in (
        lambda: parse_config(data, LIMITS, where="t"),
        lambda: parse_index_or_manifest(data, "", LIMITS, where="t"),
    ):
        try:
            parse()
        except InvalidInput as refusal:
            assert refusal.next_step


@settings(QUICK, max_examples=200)
@given(path=NAMES, head=st.binary(max_size=300))
def test_any_file_is_classified(path: str, head: bytes) -> None:
    """No first bytes upset the classification."""
    classify(path, head)


@settings(QUICK, max_examples=200)
@given(text=st.text(max_size=60), digest=st.just("@sha256:" + "a" * 64) | st.text(max_size=10))
def test_any_reference_is_refused_or_read(text: str, digest: str) -> None:
    """A reference that is read makes an address on the host it names and nowhere else."""
    try:
        reference = parse_reference(text + digest)
    except InvalidInput:
        return
    assert set(reference.host) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]")
    assert ".." not in reference.repository


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("localhost:5000/a/b", "http://localhost:5000/v2/a/b"),
        ("127.0.0.1:5000/a:tag", "http://127.0.0.1:5000/v2/a"),
        ("[::1]:5000/a", "http://[::1]:5000/v2/a"),
        ("registry.example.org/team/tool", "https://registry.example.org/v2/team/tool"),
        ("python", "https://registry-1.docker.io/v2/library/python"),
        ("docker.io/team/tool:1.0", "https://registry-1.docker.io/v2/team/tool"),
        ("team/tool", "https://registry-1.docker.io/v2/team/tool"),
        ("localhost.evil.example/a", "https://localhost.evil.example/v2/a"),
        ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a"),
    ],
)
def test_references_lead_where_they_say(text: str, base: str) -> None:
    """Plain HTTP on this machine only."""
    digest = Digest("sha256:" + "0" * 64)
    reference = parse_reference(f"{text}@{digest}")
    assert (reference.base_url, reference.digest) == (base, digest)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("registry.example.org/tool:1.0", "image/reference-by-tag"),
        ("tool", "image/reference-by-tag"),
        ("tool@sha256:abc", "digest/form"),
        ("tool@md5:" + "0" * 32, "digest/form"),
        ("Tool/UPPER@sha256:" + "0" * 64, "image/reference"),
        ("a/../b@sha256:" + "0" * 64, "image/reference"),
        ("host.example/a?x=1@sha256:" + "0" * 64, "image/reference"),
        ("user:pass@host.example/a@sha256:" + "0" * 64, "digest/form"),
        ("http://host.example/a@sha256:" + "0" * 64, "image/reference"),
        ("host.example/a\n@sha256:" + "0" * 64, "image/reference"),
        ("@sha256:" + "0" * 64, "image/reference"),
    ],
)
def test_other_references_are_refused(text: str, rule: str) -> None:
    """Above all an image named by its tag."""
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text)
    assert caught.value.rule == rule


def test_a_directory_in_a_v7_archive_has_no_data(tmp_path: Path) -> None:
    """Type NUL and a trailing slash, as archives from before POSIX mark it."""
    info = entry("d/")
    info.type = tarfile.AREGTYPE
    data = bytearray(info.tobuf(tarfile.USTAR_FORMAT)[:512])
    data[:2], data[257:265] = b"d/", bytes(8)
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data)
    first = _reader(bytes(data) + make_tar([("d/f", b"1")])).next()
    assert first is not None
    assert (first.kind, first.name) == (Kind.DIRECTORY, b"d/")


def test_the_config_of_a_plain_image_is_read() -> None:
    """Null lists, as Go writes them, are empty."""
    config = parse_config(MadeImage([b""], run={"Env": None, "Healthcheck": None}).config(), LIMITS, where="t")
    assert (config.env, config.healthcheck, config.architecture) == ((), (), "amd64")
