"""The inventory shows what a container will see, from layers of every honest and dishonest kind."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pratique.digests import sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image import FileClass, ImageLimits, Inventory, Kind, LayoutImage, open_image, read_inventory
from tests.assets.images import GZIP_LAYER, LAYER, Item, MadeImage, entry, make_tar

DIR, SYM, LNK, CHR, BLK, FIFO = (
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)


def _inventory(
    tmp_path: Path, *layers: Sequence[Item] | bytes, limits: ImageLimits | None = None, **fields: Any
) -> Inventory:
    tars = [layer if isinstance(layer, bytes) else make_tar(layer) for layer in layers]
    image = MadeImage(tars, **fields)
    top = image.manifest()
    layout = image.write_layout(tmp_path / "layout", [top])
    work = tmp_path / "work"
    work.mkdir()
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=work)
    return read_inventory(opened, limits or ImageLimits())


def _rule(tmp_path: Path, *layers: Sequence[Item] | bytes, **options: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        _inventory(tmp_path, *layers, **options)
    assert caught.value.next_step
    return caught.value.rule


# --- what is seen ----------------------------------------------------------------------------------------------------


def test_each_kind_of_entry_is_listed_with_its_facts(tmp_path: Path) -> None:
    """Mode, owner, size, digest, first bytes; implied directories are made; nothing is followed."""
    inventory = _inventory(
        tmp_path,
        [
            ("./opt/app/run", b"x" * 100),
            entry("opt/su", mode=0o4755, uid=7, gid=8),
            entry("opt/cap", pax_headers={"SCHILY.xattr.security.capability": "\x01"}),
            entry("opt/app/link", SYM, linkname="../../../etc/shadow"),
            entry("opt/app/hard", LNK, linkname="/opt/app/run"),
            entry("dev/null", CHR, devmajor=1, devminor=3),
            entry("dev/sda", BLK),
            entry("pipe", FIFO),
            entry("tmp/", DIR, mode=0o1777),
        ],
    )
    files = inventory.files
    assert files["opt/app/run"].sha256 == files["opt/app/hard"].sha256 == sha256_bytes(b"x" * 100)
    assert (files["opt/app/run"].head, files["opt/app/run"].size) == (b"x" * 64, 100)
    assert files["opt/app/hard"].linkname == "opt/app/run"
    assert (files["opt/su"].setuid, files["opt/su"].uid, files["opt/su"].gid) == (True, 7, 8)
    assert files["opt/cap"].capabilities
    assert files["opt"].kind is files["opt/app"].kind is Kind.DIRECTORY
    assert (files["opt/app/link"].kind, files["opt/app/link"].linkname) == (Kind.SYMLINK, "../../../etc/shadow")
    kinds = [files[path].kind for path in ("dev/null", "dev/sda", "pipe")]
    assert kinds == [Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE, Kind.FIFO]
    assert files["tmp"].mode == 0o1777
    assert inventory.entries == 12, "nine entries and the implied opt, opt/app and dev"


def test_layers_stack_as_engines_stack_them(tmp_path: Path) -> None:
    """Replaced, whited-out and opaque; what is gone from view is still listed as hidden."""
    inventory = _inventory(
        tmp_path,
        [("a/1", b"1"), ("a/2", b"2"), ("b/old", b"3"), ("b/sub/old", b"4"), ("c", b"5"), ("d/x", b"6"), ("e", b"7")],
        [
            ("a/.wh.1", b""),
            entry("b", DIR),
            ("b/new", b"8"),
            ("b/.wh..wh..opq", b""),
            ("c", b"9"),
            (".wh.d", b""),
            entry("e", DIR),
            ("e/inside", b"10"),
            (".wh.never-there", b""),
        ],
    )
    assert set(inventory.files) == {"a", "a/2", "b", "b/new", "c", "e", "e/inside"}
    assert inventory.files["c"].sha256 == sha256_bytes(b"9")
    assert {item.path for item in inventory.hidden} == {"a/1", "b/old", "b/sub/old", "c", "d/x", "e"}
    assert {inventory.files["c"].layer, inventory.files["a/2"].layer} == {0, 1}


def test_an_opaque_mark_before_or_after_its_siblings_means_the_same(tmp_path: Path) -> None:
    """The order of marks in a layer decides nothing."""
    lower: Sequence[Item] = [("b/s/old", b"3")]
    before = _inventory(tmp_path / "1", lower, [("b/.wh..wh..opq", b""), ("b/s/new", b"8")])
    after = _inventory(tmp_path / "2", lower, [("b/s/new", b"8"), ("b/.wh..wh..opq", b"")])
    assert set(before.files) == set(after.files) == {"b", "b/s", "b/s/new"}


def test_a_directory_replaced_by_a_link_takes_its_files_along(tmp_path: Path) -> None:
    """And a link replaced by a directory no longer leads anywhere."""
    inventory = _inventory(
        tmp_path,
        [("lib/x", b"1"), entry("lib64", SYM, linkname="lib")],
        [entry("lib", SYM, linkname="usr/lib"), entry("lib64", DIR), ("lib64/y", b"2")],
    )
    assert set(inventory.files) == {"lib", "lib64", "lib64/y"}


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("etc/os-release", "usr/lib/os-release"),
        ("/etc/../etc/./os-release", "usr/lib/os-release"),
        ("bin/sh", "usr/bin/sh"),
        ("up", "usr"),
        ("loop/x", None),
        ("etc/absent", None),
        ("usr/lib/os-release/x", None),
        ("", None),
    ],
)
def test_links_are_resolved_inside_the_image_only(tmp_path: Path, path: str, leads_to: str | None) -> None:
    """As a process in the container would, stopping at its root."""
    inventory = _inventory(
        tmp_path,
        [
            ("usr/lib/os-release", b"ID=x"),
            ("usr/bin/sh", b"#"),
            entry("etc/os-release", SYM, linkname="../usr/lib/os-release"),
            entry("bin", SYM, linkname="/usr/bin"),
            entry("up", SYM, linkname="../../../../usr"),
            entry("loop", SYM, linkname="loop"),
        ],
    )
    found = inventory.resolve(path)
    assert (found.path if found else None) == leads_to


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names_are_read(tmp_path: Path, format_: int) -> None:
    """Names of more than 100 bytes and outside ASCII, links too, in both extended forms."""
    name = "ä/" + "n" * 180 + "/文件"
    layer = make_tar([(name, b"1"), entry("l", SYM, linkname="t" * 300)], format_)
    files = _inventory(tmp_path, layer).files
    assert files[name].size == 1
    assert files["l"].linkname == "t" * 300


# --- attacks on the layers -------------------------------------------------------------------------------------------

BAD_LAYERS: dict[str, tuple[list[Sequence[Item]], str]] = {
    "absolute path": ([[("/etc/passwd", b"x")]], "image/path-absolute"),
    "path that climbs": ([[("../../etc/passwd", b"x")]], "image/path-climbs"),
    "path that climbs in the middle": ([[("a/../../b", b"x")]], "image/path-climbs"),
    "only two dots": ([[entry("..", DIR)]], "image/path-climbs"),
    "file twice": ([[("a", b"1"), ("a", b"2")]], "image/duplicate-path"),
    "file twice, written differently": ([[("a/b", b"1"), ("./a//b", b"2")]], "image/duplicate-path"),
    "file, then directory": ([[("a", b"1"), entry("a", DIR)]], "image/duplicate-path"),
    "directory, then link in its place": ([[("a/b", b"1"), entry("a", SYM, linkname="/")]], "image/duplicate-path"),
    "file through a link of the same layer": (
        [[entry("a", SYM, linkname="/etc"), ("a/passwd", b"x")]],
        "image/through-link",
    ),
    "file through a link of a lower layer": (
        [[entry("lib", SYM, linkname="usr/lib")], [("lib/evil.so", b"x")]],
        "image/through-link",
    ),
    "file below a file": ([[("a", b"")], [("a/b", b"x")]], "image/through-link"),
    "whiteout through a link": (
        [[entry("lib", SYM, linkname="usr/lib")], [("lib/.wh.x", b"")]],
        "image/through-link",
    ),
    "path brought and removed": ([[("a", b"1")], [("a", b"2"), (".wh.a", b"")]], "image/whiteout"),
    "path removed above what is brought": ([[("a/b", b"1")], [(".wh.a", b""), ("a/b", b"2")]], "image/whiteout"),
    "unknown whiteout mark": ([[(".wh..wh.plnk", b"")]], "image/whiteout"),
    "mark that hides the whole image from who looks": ([[("a", b"1")], [(".wh..wh..opq", b"")]], "image/whiteout"),
    "whiteout of its own folder": ([[("d/a", b"1")], [("d/.wh..", b"")]], "image/whiteout"),
    "whiteout of the folder above": ([[("d/a", b"1")], [("d/s/.wh...", b"")]], "image/whiteout"),
    "whiteout of nothing": ([[(".wh.", b"")]], "image/whiteout"),
    "whiteout twice": ([[(".wh.a", b""), (".wh.a", b"")]], "image/duplicate-path"),
    "hard link to nothing": ([[entry("a", LNK, linkname="absent")]], "image/hard-link"),
    "hard link out of the image": ([[entry("a", LNK, linkname="../../etc/shadow")]], "image/path-climbs"),
    "hard link to a directory": ([[entry("d", DIR), entry("a", LNK, linkname="d")]], "image/hard-link"),
    "hard link to a device": ([[entry("d", CHR, devmajor=1), entry("a", LNK, linkname="d")]], "image/hard-link"),
    "hard link to itself": ([[entry("a", LNK, linkname="a")]], "image/hard-link"),
    "hard link that makes its file setuid": (
        [[("a", b"1"), entry("b", LNK, linkname="a", mode=0o4644)]],
        "image/hard-link",
    ),
    "hard link that makes its file writable": (
        [[("a", b"1"), entry("b", LNK, linkname="a", mode=0o666)]],
        "image/hard-link",
    ),
    "hard link that gives its file capabilities": (
        [[("a", b"1"), entry("b", LNK, linkname="a", pax_headers={"SCHILY.xattr.security.capability": "x"})]],
        "image/hard-link",
    ),
    "hard link that gives a setuid file to root": (
        [[entry("a", mode=0o4755, uid=1000), entry("b", LNK, linkname="a", mode=0o4755)]],
        "image/hard-link",
    ),
    "hard link into a lower layer": ([[("a", b"1")], [entry("b", LNK, linkname="a")]], "image/hard-link"),
    "name with a newline": ([[("a\nb", b"")]], "image/path-encoding"),
    "name with an escape sequence": ([[("a\x1b[2Jb", b"")]], "image/path-encoding"),
    "symlink without target": ([[entry("a", SYM, linkname="")]], "image/symlink"),
    "file called like the root": ([[("./", b"")]], "image/path-encoding"),
    "very deep path": ([[("d/" * 70 + "f", b"")]], "image/path-too-deep"),
    "very long path": ([[("d" * 5000, b"")]], "image/path-too-long"),
}


@pytest.mark.parametrize("name", BAD_LAYERS)
def test_layers_on_which_engines_could_differ_are_refused(tmp_path: Path, name: str) -> None:
    """Nothing that lies elsewhere than it says, and nothing ambiguous, gets into an inventory."""
    layers, rule = BAD_LAYERS[name]
    assert _rule(tmp_path, *layers) == rule


def _raw(name: bytes = b"a", *, flag: bytes = b"0", size: bytes = b"00000000000", **at: bytes) -> bytes:
    """A ustar header with chosen fields and a right checksum."""
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT)[:512])
    header[0:100] = name.ljust(100, b"\0")
    header[124:136] = size.ljust(12, b"\0")
    header[156:157] = flag
    for offset, data in at.items():
        start = int(offset[1:])
        header[start : start + len(data)] = data
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _pax(*records: bytes) -> bytes:
    data = b"".join(records)
    return _raw(b"pax", flag=b"x", size=b"%011o" % len(data)) + data + bytes(-len(data) % 512)


END = bytes(1024)
BAD_TARS: dict[str, tuple[bytes, str]] = {
    "cut in a header": (make_tar([("a", b"x")])[:300], "tar/truncated"),
    "cut in a file": (make_tar([("a", b"x" * 2000)])[:1500], "tar/truncated"),
    "cut in the end mark": (_raw() + bytes(512), "tar/truncated"),
    "one zero block, then more": (bytes(512) + _raw() + END, "tar/truncated"),
    "wrong checksum": (_raw().replace(b"ustar", b"vstar") + END, "tar/checksum"),
    "size that is no number": (_raw(size=b"zzz") + END, "tar/number"),
    "size in octal and more": (_raw(size=b"17\x009") + END, "tar/number"),
    "negative size": (_raw(size=b"\xff" * 12) + END, "tar/number"),
    "absurd size": (_raw(size=b"\x80" + b"\x7f" * 11) + END, "tar/number"),
    "size beyond the end": (_raw(size=b"77777777777") + END, "tar/truncated"),
    "unknown type": (_raw(flag=b"7") + END, "tar/type"),
    "sparse file of old GNU tar": (_raw(flag=b"S") + END, "tar/sparse"),
    "sparse file in pax": (_pax(b"22 GNU.sparse.major=1\n") + _raw() + END, "tar/sparse"),
    "STAR archive": (_raw(_508=b"tar\0") + END, "tar/type"),
    "GNU header with a malformed time": (_raw(_257=b"ustar  \0", _345=b"zz") + END, "tar/number"),
    "global header that renames": (
        _raw(flag=b"g", size=b"%011o" % 9) + b"9 path=b\n".ljust(512, b"\0") + _raw() + END,
        "tar/contradiction",
    ),
    "two pax headers": (_pax(b"9 path=b\n") + _pax(b"9 path=c\n") + _raw() + END, "tar/contradiction"),
    "pax record twice": (_pax(b"9 path=b\n", b"9 path=c\n") + _raw() + END, "tar/contradiction"),
    "pax header for nothing": (_pax(b"9 path=b\n") + END, "tar/truncated"),
    "pax without a length": (_pax(b"path=b\n") + _raw() + END, "tar/extended-header"),
    "pax with a wrong length": (_pax(b"7 path=b\n") + _raw() + END, "tar/extended-header"),
    "pax longer than itself": (_pax(b"99 path=b\n") + _raw() + END, "tar/extended-header"),
    "pax with zero bytes in a name": (_pax(b"11 path=b\0c\n") + _raw() + END, "tar/extended-header"),
    "pax size that is no number": (_pax(b"11 size=-1\n") + _raw() + END, "tar/number"),
    "pax header of a gigabyte": (_raw(flag=b"x", size=b"10000000000") + END, "tar/extended-header"),
    "GNU long name of a gigabyte": (_raw(flag=b"L", size=b"10000000000") + END, "tar/extended-header"),
    "pax and GNU names that differ": (
        _pax(b"9 path=b\n") + _raw(flag=b"L", size=b"2") + b"c\0".ljust(512, b"\0") + _raw() + END,
        "tar/contradiction",
    ),
    "two GNU long names": (
        (_raw(flag=b"L", size=b"2") + b"c\0".ljust(512, b"\0")) * 2 + _raw() + END,
        "tar/contradiction",
    ),
    "name that is not UTF-8": (_raw(b"\xff\xfe") + END, "image/path-encoding"),
    "gzip in a layer called plain": (gzip.compress(make_tar([("a", b"x")])), "image/media-type"),
    "not a tar at all": (b"\x7fELF" + b"x" * 2000, "tar/number"),
}


@pytest.mark.parametrize("media_type", [LAYER, GZIP_LAYER])
@pytest.mark.parametrize("name", BAD_TARS)
def test_malformed_tars_are_refused(tmp_path: Path, name: str, media_type: str) -> None:
    """A tar that readers could understand differently is not understood at all."""
    layer, rule = BAD_TARS[name]
    assert _rule(tmp_path, layer, media_type=media_type) == rule


# --- bombs -----------------------------------------------------------------------------------------------------------


class _Packed(MadeImage):
    """An image whose one layer is stored as given, whatever it unpacks to."""

    packed = b""

    def stored(self, layer: bytes) -> bytes:
        return self.packed


def _packed_rule(tmp_path: Path, packed: bytes, limits: ImageLimits, diff: bytes = b"") -> str:
    image = _Packed([diff])
    image.packed = packed
    top = image.manifest()
    layout = image.write_layout(tmp_path / "layout", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path)
    with pytest.raises(InvalidInput) as caught:
        read_inventory(opened, limits)
    return caught.value.rule


def _bomb(count: int, size: int) -> bytes:
    """`count` files of `size` zero bytes, gzipped without ever being there unpacked."""
    press = zlib.compressobj(9, wbits=31)
    parts = []
    for number in range(count):
        parts.append(press.compress(_raw(b"f%d" % number, size=b"%011o" % size)))
        for _ in range(0, size, 1 << 20):
            parts.append(press.compress(bytes(min(size, 1 << 20))))
    return b"".join([*parts, press.compress(END), press.flush()])


def test_a_compressed_bomb_of_bytes_stops_at_the_ceiling(tmp_path: Path) -> None:
    """A small blob that unpacks to 256 MiB costs neither the time nor the memory of it."""
    bomb = _bomb(4, 64 << 20)
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        assert _packed_rule(tmp_path, bomb, ImageLimits(bytes_=20 << 20)) == "image/too-many-bytes"
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_of_entries_stops_at_the_ceiling(tmp_path: Path) -> None:
    """Inodes are counted as bytes are."""
    bomb = gzip.compress(b"".join(_raw(b"f%d" % n) for n in range(3000)) + END)
    assert _packed_rule(tmp_path, bomb, ImageLimits(entries=1000)) == "image/too-many-entries"


def test_implied_directories_count_as_entries(tmp_path: Path) -> None:
    """One entry with sixty directories above it is sixty-one inodes."""
    layer = [(f"{n}/" + "d/" * 50 + "f", b"") for n in range(30)]
    assert _rule(tmp_path, layer, limits=ImageLimits(entries=1000)) == "image/too-many-entries"


@pytest.mark.parametrize(
    "layer",
    [
        [entry("d/" + "n" * 200 + str(n)) for n in range(60)],
        [entry(str(n), SYM, linkname="t" * 200) for n in range(60)],
        [entry(f"{n}/" + "d/" * 30 + "f") for n in range(10)],
    ],
    ids=["paths", "links", "directories that are only implied"],
)
def test_a_bomb_of_names_stops_at_the_ceiling(tmp_path: Path, layer: Sequence[Item]) -> None:
    """Names of four kilobytes pack well, and two hundred thousand of them fill the memory of a small node."""
    assert _rule(tmp_path, layer, limits=ImageLimits(names_bytes=10_000)) == "image/too-many-names"


def test_bytes_and_entries_are_summed_over_layers(tmp_path: Path) -> None:
    """Many layers, each below the ceiling, are together above it."""
    layers = [[(f"{n}", bytes(100_000))] for n in range(10)]
    assert _rule(tmp_path, *layers, limits=ImageLimits(bytes_=500_000)) == "image/too-many-bytes"


def test_zeros_after_the_end_of_the_tar_count_too(tmp_path: Path) -> None:
    """What no reader looks at still has to be unpacked."""
    bomb = gzip.compress(make_tar([("a", b"")]) + bytes(30 << 20))
    assert _packed_rule(tmp_path, bomb, ImageLimits(bytes_=10 << 20)) == "image/too-many-bytes"


@pytest.mark.parametrize(
    ("packed", "rule"),
    [
        (gzip.compress(make_tar([("a", b"x" * 9000)]))[:-30], "image/truncated"),
        (gzip.compress(make_tar([("a", b"x")])) + b"trailing", "image/gzip-damaged"),
        (gzip.compress(gzip.compress(make_tar([("a", b"x")]))), "image/media-type"),
        (make_tar([("a", b"x")]), "image/gzip-damaged"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "image/gzip-damaged"),
        (b"", "image/truncated"),
        (gzip.compress(make_tar([("other", b"x")])), "image/diff-id"),
    ],
    ids=["cut", "trailing bytes", "twice compressed", "not compressed", "zstd called gzip", "empty", "other diff_id"],
)
def test_damaged_compression_is_refused(tmp_path: Path, packed: bytes, rule: str) -> None:
    """The blob's digest may be right and its inside still wrong."""
    assert _packed_rule(tmp_path, packed, ImageLimits()) == rule


def test_a_layer_of_several_gzip_members_is_read_as_one(tmp_path: Path) -> None:
    """As eStargz and parallel compressors write it."""
    layer = make_tar([("a", b"x" * 3000)])
    image = _Packed([layer])
    image.packed = b"".join(gzip.compress(layer[at : at + 700]) for at in range(0, len(layer), 700))
    top = image.manifest()
    opened = open_image(
        LayoutImage(image.write_layout(tmp_path / "layout", [top])), expected=top["digest"], workdir=tmp_path
    )
    assert read_inventory(opened).files["a"].sha256 == sha256_bytes(b"x" * 3000)


def test_a_layer_of_tiny_gzip_members_takes_little_memory(tmp_path: Path) -> None:
    """Each step of unpacking costs hundreds of bytes until its file is hashed: tiny ones are put together."""
    layer = make_tar([("large", bytes(1 << 20))])
    image = _Packed([layer])
    rest = len(layer) - 512 - (1 << 20)
    image.packed = gzip.compress(layer[:512]) + gzip.compress(bytes(32)) * (1 << 15) + gzip.compress(layer[-rest:])
    top = image.manifest()
    opened = open_image(
        LayoutImage(image.write_layout(tmp_path / "layout", [top])), expected=top["digest"], workdir=tmp_path
    )
    tracemalloc.start()
    try:
        assert read_inventory(opened).files["large"].sha256 == sha256_bytes(bytes(1 << 20))
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_repeated_removals_cost_no_quadratic_time(tmp_path: Path) -> None:
    """Whiteouts of thousands of files in thousands of directories are read in one go."""
    lower = [(f"{n % 50}/{n}", b"") for n in range(4000)]
    upper = [(f"{n % 50}/.wh.{n}", b"") for n in range(4000)]
    assert len(_inventory(tmp_path, lower, upper).files) == 50


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_what_checks_need_is_kept_and_nothing_else(tmp_path: Path) -> None:
    """By path for metadata, by content for models; the rest is hashed and forgotten."""
    model = pickle.dumps({"weights": list(range(100))})
    kept = {
        "etc/os-release": (b"ID=debian", FileClass.SYSTEM),
        "var/lib/dpkg/status": (b"Package: x", FileClass.PACKAGE_DATABASE),
        "var/lib/dpkg/info/x.list": (b"/x", FileClass.PACKAGE_DATABASE),
        "usr/lib/python3/site-packages/x-1.dist-info/RECORD": (b"x.py,,", FileClass.PYTHON_METADATA),
        "usr/lib/python3/site-packages/x.pth": (b"import os", FileClass.PYTHON_STARTUP),
        "usr/lib/python3/site-packages/x/__init__.py": (b"__version__ = '1'", FileClass.PYTHON_VERSION),
        "srv/node_modules/x/package.json": (b"{}", FileClass.NODE_METADATA),
        "opt/notes.txt": (model, FileClass.MODEL),
        "opt/old-protocol": (pickle.dumps({}, 0), FileClass.MODEL),
        "opt/system": (b"cposix\nsystem\n(S'id'\ntR.", FileClass.MODEL),
        "opt/inst": (b"(S'id'\nios\nsystem\n.", FileClass.MODEL),
        "opt/squeezed": (gzip.compress(model), FileClass.MODEL),
        "opt/squeezed-twice": (gzip.compress(gzip.compress(model)), FileClass.MODEL),
        "opt/squeezed-otherwise": (zlib.compress(model), FileClass.MODEL),
        "opt/zip": (b"PK\x03\x04rest", FileClass.MODEL),
        "opt/tensors": (struct.pack("<Q", 20) + b'{"a":{}}', FileClass.MODEL),
        "opt/model.onnx": (b"\x08\x07", FileClass.MODEL),
        "opt/data.tar": (make_tar([("a", b"b")]), FileClass.ARCHIVE),
        "opt/data.tgz": (gzip.compress(make_tar([("a", b"b")])), FileClass.ARCHIVE),
        "root/.ssh/key": (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", FileClass.SECRET),
        "opt/run.py": (b"import sys\n", FileClass.SOURCE),
        "srv/start": (b"#!/bin/sh\nexec x\n", FileClass.SOURCE),
    }
    other = {
        "usr/bin/python3": b"\x7fELF" + bytes(100),
        "usr/lib/python3/os.py": b"import sys\n",
        "usr/lib/python3/site-packages/x/run.py": b"import sys\n",
        "opt/large.py": b"#" * 300_000,
        "opt/binary.txt": b"text\0",
        "usr/share/doc/changelog.gz": gzip.compress(b"Changes\n" * 100),
        "opt/empty.pkl": b"",
    }
    items = [*((path, data) for path, (data, _) in kept.items()), *other.items()]
    inventory = _inventory(tmp_path, items)
    assert dict(inventory.classes) == {path: file_class for path, (_, file_class) in kept.items()}
    assert all(inventory.read(path) == data for path, (data, _) in kept.items())
    assert [entry.path for entry in inventory.of_class(FileClass.ARCHIVE)] == ["opt/data.tar", "opt/data.tgz"]
    with pytest.raises(CouldNotDecide, match=r"opt/large\.py"):
        inventory.read("opt/large.py")


def test_large_files_are_spooled_by_digest_and_too_large_ones_named(tmp_path: Path) -> None:
    """Memory and disk are bounded; what was not kept makes whoever needs it undecided, not content."""
    models = {f"m{n}.pkl": bytes([n]) * 2000 for n in range(4)}
    limits = ImageLimits(kept_file_bytes=1000, spooled_bytes=5000)
    inventory = _inventory(tmp_path, list(models.items()), limits=limits)
    assert (sorted(inventory.spooled), sorted(inventory.not_kept)) == (["m0.pkl", "m1.pkl"], ["m2.pkl", "m3.pkl"])
    assert inventory.read("m1.pkl") == models["m1.pkl"]
    assert "sha256:" + inventory.spooled["m1.pkl"].name == inventory.files["m1.pkl"].sha256
    assert inventory.files["m3.pkl"].sha256 == sha256_bytes(models["m3.pkl"])
    with pytest.raises(CouldNotDecide, match="2,000 bytes"):
        inventory.open("m2.pkl")
    assert not list((tmp_path / "work").glob("kept-*"))


def test_kept_content_follows_what_later_layers_do(tmp_path: Path) -> None:
    """Replaced, removed, turned into a link, hard-linked: only what a container sees is kept."""
    inventory = _inventory(
        tmp_path,
        [(f"{name}/package.json", name.encode()) for name in "abcde"],
        [
            ("a/package.json", b"new"),
            ("b/.wh.package.json", b""),
            entry("c/package.json", SYM, linkname="x"),
            entry("d", SYM, linkname="x"),
            ("plain", b"p"),
            ("f/package.json", b"six"),
            entry("g", LNK, linkname="f/package.json"),
            entry("h/package.json", LNK, linkname="plain"),
        ],
    )
    assert dict(inventory.contents) == {
        "a/package.json": b"new",
        "e/package.json": b"e",
        "f/package.json": b"six",
        "g": b"six",
    }
    assert set(inventory.classes) == set(inventory.contents)


def test_a_hard_link_to_a_large_file_has_its_digest(tmp_path: Path) -> None:
    """Which a thread is still taking when the link comes."""
    large = bytes(3 << 20)
    inventory = _inventory(tmp_path, [("usr/lib/a", large), entry("usr/lib/b", LNK, linkname="usr/lib/a")])
    assert inventory.files["usr/lib/b"].sha256 == sha256_bytes(large)


def test_a_full_disk_is_could_not_decide(tmp_path: Path) -> None:
    """A work directory that takes nothing says nothing about the image."""
    image = MadeImage([make_tar([("m.pkl", b"x" * 5000)])])
    top = image.manifest()
    layout = image.write_layout(tmp_path / "layout", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path / "absent")
    with pytest.raises(CouldNotDecide):
        read_inventory(opened, ImageLimits(kept_file_bytes=10))


def test_reading_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    """Files of 20 MB pass in pieces, also when one is spooled: a few are unpacked, read and hashed at a time."""
    out = io.BytesIO()
    out.write(make_tar([("plain", bytes(20 << 20)), ("m.pkl", b"\x80\x04" + bytes(20 << 20))]))
    image = MadeImage([out.getvalue()])
    top = image.manifest()
    layout = image.write_layout(tmp_path / "layout", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path)
    tracemalloc.start()
    try:
        read_inventory(opened)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
