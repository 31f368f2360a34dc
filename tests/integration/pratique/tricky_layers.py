"""Layers in which readers of archives are known to differ: one name each, the raw tar entries of up to three layers.

Every case keeps to a directory of its own, `NAME/`, so that all of them fit into one image.
"""

from __future__ import annotations

from collections.abc import Sequence

Entries = list[bytes]

FILE, LINK, SYMLINK, CHARACTER, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"5", b"6"
USTAR = b"ustar\x0000"
GNU = b"ustar  \0"


def block(
    name: bytes,
    data: bytes = b"",
    kind: bytes = FILE,
    *,
    linkname: bytes = b"",
    mode: int = 0o644,
    size: int | None = None,
    magic: bytes = USTAR,
    prefix: bytes = b"",
    device: tuple[int, int] = (0, 0),
    owner: int = 0,
    binary: bool = False,
) -> bytes:
    """A header, written byte by byte, and its data."""
    stated = len(data) if size is None else size
    mode = 0o755 if kind == DIRECTORY and mode == 0o644 else mode
    fields = [
        name[:100].ljust(100, b"\0"),
        b"%07o\0" % mode,
        _number(owner, 8),
        _number(owner, 8),
        _number(stated, 12, binary=binary),
        b"%011o\0" % 0,
        b" " * 8,
        kind,
        linkname[:100].ljust(100, b"\0"),
        magic,
        bytes(64),
        b"%07o\0" % device[0],
        b"%07o\0" % device[1],
        prefix[:155].ljust(155, b"\0"),
        bytes(12),
    ]
    header = b"".join(fields)
    header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    return header + data + bytes(-len(data) % 512)


def _number(value: int, width: int, *, binary: bool = False) -> bytes:
    """Octal while it fits, else base 256 (GNU)."""
    digits = b"%0*o\0" % (width - 1, value)
    return digits if len(digits) == width and not binary else b"\x80" + value.to_bytes(width - 1, "big")


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extended header."""
    lines = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        length += len(str(length + len(str(length))))
        lines += b"%d %s=%s\n" % (length, key, value)
    return block(b"PaxHeaders/x", lines, kind)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """GNU's header for names of any length."""
    return block(b"././@LongLink", name + b"\0", kind, magic=GNU)


def folder(name: bytes) -> bytes:
    """A directory."""
    return block(name, kind=DIRECTORY)


def white(name: bytes) -> bytes:
    """A whiteout mark, or any other empty file."""
    return block(name)


def _cases(p: bytes) -> dict[str, list[Entries]]:
    """Every case below the directory `p`, lower layer first."""
    return _hiding(p) | _linking(p) | _replacing(p) | _naming(p) | _of_headers(p) | _special(p)


def _hiding(p: bytes) -> dict[str, list[Entries]]:
    """Whiteouts."""
    return {
        "whiteout-file": [[block(p + b"a", b"1"), block(p + b"b", b"2")], [white(p + b".wh.a")]],
        "whiteout-folder": [[folder(p + b"d"), block(p + b"d/x", b"1")], [white(p + b".wh.d")]],
        "whiteout-of-nothing": [[block(p + b"a", b"1")], [white(p + b".wh.zzz")]],
        "whiteout-then-back": [[block(p + b"a", b"1")], [white(p + b".wh.a")], [block(p + b"a", b"3")]],
        "opaque-first": [
            [folder(p + b"d"), block(p + b"d/old", b"1")],
            [folder(p + b"d"), white(p + b"d/.wh..wh..opq"), block(p + b"d/new", b"2")],
        ],
        "opaque-last": [
            [folder(p + b"d"), block(p + b"d/old", b"1"), folder(p + b"d/s"), block(p + b"d/s/x", b"1")],
            [folder(p + b"d"), block(p + b"d/new", b"2"), white(p + b"d/.wh..wh..opq")],
        ],
        "opaque-subfolder-returns": [
            [folder(p + b"d"), folder(p + b"d/s"), block(p + b"d/s/old", b"1")],
            [folder(p + b"d"), white(p + b"d/.wh..wh..opq"), folder(p + b"d/s"), block(p + b"d/s/new", b"2")],
        ],
        "opaque-without-folder-entry": [
            [folder(p + b"d"), block(p + b"d/old", b"1")],
            [white(p + b"d/.wh..wh..opq"), block(p + b"d/new", b"2")],
        ],
        "opaque-root": [[block(p + b"a", b"1")], [white(b".wh..wh..opq"), block(p + b"b", b"2")]],
        "opaque-root-by-other-spelling": [[block(p + b"a", b"1")], [white(b"./.wh..wh..opq")]],
        "whiteout-of-its-own-folder": [[folder(p + b"d"), block(p + b"d/a", b"1")], [white(p + b"d/.wh..")]],
        "whiteout-of-the-folder-above": [[folder(p + b"d"), folder(p + b"d/s")], [white(p + b"d/s/.wh...")]],
        "whiteout-is-a-folder": [[block(p + b"a", b"1")], [folder(p + b".wh.a")]],
        "whiteout-is-a-link": [[block(p + b"a", b"1")], [block(p + b".wh.a", kind=SYMLINK, linkname=b"b")]],
        "whiteout-with-data": [[block(p + b"a", b"1")], [block(p + b".wh.a", b"data")]],
        "whiteout-in-own-layer": [[block(p + b"a", b"1"), white(p + b".wh.a")]],
        "whiteout-of-opaque-name": [[block(p + b"a", b"1")], [white(p + b".wh..wh.a")]],
        "whiteout-hard-links": [[block(p + b"a", b"1")], [white(p + b".wh..wh.plnk")]],
    }


def _linking(p: bytes) -> dict[str, list[Entries]]:
    """Hard and symbolic links."""
    return {
        "hard-link": [[block(p + b"a", b"1"), block(p + b"h", kind=LINK, linkname=p + b"a")]],
        "hard-link-with-size": [[block(p + b"a", b"1"), block(p + b"h", kind=LINK, linkname=p + b"a", size=7)]],
        "hard-link-absolute": [[block(p + b"a", b"1"), block(p + b"h", kind=LINK, linkname=b"/" + p + b"a")]],
        "hard-link-to-lower-layer": [[block(p + b"a", b"1")], [block(p + b"h", kind=LINK, linkname=p + b"a")]],
        "hard-link-target-replaced": [
            [block(p + b"a", b"1"), block(p + b"h", kind=LINK, linkname=p + b"a")],
            [block(p + b"a", b"22")],
        ],
        "hard-link-target-removed": [
            [block(p + b"a", b"1"), block(p + b"h", kind=LINK, linkname=p + b"a")],
            [white(p + b".wh.a")],
        ],
        "hard-link-to-symlink": [
            [
                block(p + b"a", b"1"),
                block(p + b"s", kind=SYMLINK, linkname=b"a"),
                block(p + b"h", kind=LINK, linkname=p + b"s"),
            ]
        ],
        "hard-link-climbs": [[block(p + b"a", b"1"), block(p + b"h", kind=LINK, linkname=b"../../etc/passwd")]],
        "hard-link-to-itself": [[block(p + b"h", kind=LINK, linkname=p + b"h")]],
        "symlink-with-size": [[block(p + b"s", kind=SYMLINK, linkname=b"a", size=600), block(p + b"a", b"1")]],
        "symlink-replaced-by-folder": [
            [folder(p + b"t"), block(p + b"t/x", b"1"), block(p + b"s", kind=SYMLINK, linkname=b"t")],
            [folder(p + b"s"), block(p + b"s/y", b"2")],
        ],
        "below-a-symlink": [
            [folder(p + b"t"), block(p + b"s", kind=SYMLINK, linkname=b"t")],
            [block(p + b"s/y", b"2")],
        ],
        "below-a-symlink-to-root": [
            [block(p + b"s", kind=SYMLINK, linkname=b"/")],
            [block(p + b"s/escaped", b"2")],
        ],
    }


def _replacing(p: bytes) -> dict[str, list[Entries]]:
    """One kind of entry in the place of another."""
    return {
        "below-a-file": [[block(p + b"f", b"1")], [block(p + b"f/y", b"2")]],
        "folder-replaced-by-symlink": [
            [folder(p + b"d"), block(p + b"d/x", b"1"), folder(p + b"t")],
            [block(p + b"d", kind=SYMLINK, linkname=b"t")],
        ],
        "folder-replaced-by-file": [[folder(p + b"d"), block(p + b"d/x", b"1")], [block(p + b"d", b"file")]],
        "file-replaced-by-folder": [[block(p + b"f", b"1")], [folder(p + b"f"), block(p + b"f/x", b"2")]],
        "folder-twice": [[folder(p + b"d"), block(p + b"d/x", b"1"), block(p + b"d", kind=DIRECTORY, mode=0o700)]],
        "folder-after-its-files": [[block(p + b"d/x", b"1"), block(p + b"d", kind=DIRECTORY, mode=0o700)]],
        "file-twice": [[block(p + b"a", b"1"), block(p + b"a", b"22")]],
        "file-twice-by-other-spelling": [[block(p + b"a", b"1"), block(p + b"./a", b"22")]],
        "file-then-link": [[block(p + b"a", b"1"), block(p + b"a", kind=SYMLINK, linkname=b"b")]],
    }


def _naming(p: bytes) -> dict[str, list[Entries]]:
    """Names that are unusual, or lead elsewhere."""
    return {
        "case-differs": [[block(p + b"a", b"1"), block(p + b"A", b"22")]],
        "unicode-forms-differ": [[block(p + "é".encode(), b"1"), block(p + "e\u0301".encode(), b"22")]],
        "dot-in-front": [[block(b"./" + p + b"a", b"1")]],
        "dot-and-double-slash": [[block(p + b"d//./a", b"1")]],
        "climbs": [[block(p + b"../" + p + b"a", b"1")]],
        "climbs-out": [[block(b"../" + p + b"a", b"1")]],
        "absolute": [[block(b"/" + p + b"a", b"1")]],
        "backslash": [[block(p + b"a\\b", b"1")]],
        "newline": [[block(p + b"a\nb", b"1")]],
        "not-utf8": [[block(p + b"\xff\xfe", b"1")]],
        "dots": [[block(p + b"...", b"1"), block(p + b"..a", b"2"), block(p + b"a..", b"3")]],
        "spaces": [[block(p + b" a ", b"1"), block(p + b"b ", b"2")]],
        "file-with-trailing-slash": [[block(p + b"a/", b"")]],
        "file-with-trailing-slash-and-data": [[block(p + b"a/", b"1")]],
    }


def _of_headers(p: bytes) -> dict[str, list[Entries]]:
    """Headers of old and new dialects, and headers before headers."""
    long = p + b"l" * 120
    deep = p + b"/".join([b"d" * 50] * 4)
    return {
        "old-folder-with-trailing-slash": [[block(p + b"d/", kind=b"\0", magic=bytes(8))]],
        "old-file": [[block(p + b"a", b"1", b"\0", magic=bytes(8))]],
        "contiguous-file": [[block(p + b"a", b"1", b"7")]],
        "unknown-type": [[block(p + b"a", b"1", b"Z")]],
        "gnu-long-name": [[long_name(long), block(long, b"1", magic=GNU)]],
        "gnu-long-name-with-end-in-the-middle": [[long_name(p + b"a\0b"), block(p + b"c", b"1", magic=GNU)]],
        "gnu-long-link": [
            [block(p + b"a", b"1"), long_name(b"x" * 150, b"K"), block(p + b"s", kind=SYMLINK, linkname=b"y")]
        ],
        "gnu-long-name-twice": [[long_name(p + b"a"), long_name(p + b"b"), block(p + b"c", b"1")]],
        "prefix": [[block(b"a", b"1", prefix=p + b"in/prefix")]],
        "prefix-in-a-gnu-header": [[block(p + b"a", b"1", magic=GNU, prefix=b"12345670123\0x")]],
        "pax-path": [[pax((b"path", p + b"real")), block(p + b"other", b"1")]],
        "pax-path-deep": [[pax((b"path", deep)), block(p + b"other", b"1")]],
        "pax-path-empty": [[pax((b"path", b"")), block(p + b"a", b"1")]],
        "pax-path-twice": [[pax((b"path", p + b"a"), (b"path", p + b"b")), block(p + b"c", b"1")]],
        "pax-path-with-zero": [[pax((b"path", p + b"a\0b")), block(p + b"c", b"1")]],
        "pax-twice": [[pax((b"path", p + b"a")), pax((b"mtime", b"1")), block(p + b"c", b"1")]],
        "pax-and-gnu-name": [[pax((b"path", p + b"a")), long_name(p + b"b"), block(p + b"c", b"1")]],
        "pax-and-gnu-name-agree": [[pax((b"path", p + b"a")), long_name(p + b"a"), block(p + b"c", b"1")]],
        "pax-linkpath": [[pax((b"linkpath", b"real")), block(p + b"s", kind=SYMLINK, linkname=b"other")]],
        "pax-hard-linkpath": [
            [
                block(p + b"a", b"1"),
                block(p + b"b", b"22"),
                pax((b"linkpath", p + b"b")),
                block(p + b"h", kind=LINK, linkname=p + b"a"),
            ]
        ],
        "pax-size-smaller": [[pax((b"size", b"1")), block(p + b"a", b"123", size=3)[:1024], block(p + b"b", b"2")]],
        "pax-size-larger": [[pax((b"size", b"600")), block(p + b"a", b"x" * 600, size=1), block(p + b"b", b"2")]],
        "pax-size-of-a-folder": [[pax((b"size", b"600")), folder(p + b"d"), block(p + b"b", b"2")]],
        "pax-size-negative": [[pax((b"size", b"-1")), block(p + b"a", b"1")]],
        "pax-owner": [[pax((b"uid", b"70000"), (b"gid", b"70001")), block(p + b"a", b"1")]],
        "pax-global-path": [[pax((b"path", p + b"g"), kind=b"g"), block(p + b"a", b"1"), block(p + b"b", b"2")]],
        "pax-global-comment": [[pax((b"comment", b"x"), kind=b"g"), block(p + b"a", b"1")]],
        "pax-sparse": [
            [
                pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", p + b"real")),
                block(p + b"a", b"0\n".ljust(512, b"\0")),
            ]
        ],
    }


def _special(p: bytes) -> dict[str, list[Entries]]:
    """Devices, attributes of overlays, and what is no whole archive."""
    return {
        "gnu-sparse": [[block(p + b"a", b"", b"S", magic=GNU)]],
        "size-in-base-256": [[block(p + b"a", b"1", binary=True)]],
        "large-owner": [[block(p + b"a", b"1", owner=0o7777777 + 5)]],
        "setuid": [[block(p + b"a", b"1", mode=0o6755), block(p + b"d", kind=DIRECTORY, mode=0o1777)]],
        "fifo": [[block(p + b"f", kind=FIFO)]],
        "device-zero-hides": [[block(p + b"a", b"1")], [block(p + b"a", kind=CHARACTER)]],
        "device-zero": [[block(p + b"n", kind=CHARACTER)]],
        "device": [[block(p + b"n", kind=CHARACTER, device=(1, 3))]],
        "overlay-opaque-attribute": [
            [folder(p + b"d"), block(p + b"d/old", b"1")],
            [pax((b"SCHILY.xattr.trusted.overlay.opaque", b"y")), folder(p + b"d"), block(p + b"d/new", b"2")],
        ],
        "overlay-redirect-attribute": [
            [folder(p + b"a"), block(p + b"a/evil", b"1"), folder(p + b"b"), block(p + b"b/good", b"2")],
            [pax((b"SCHILY.xattr.trusted.overlay.redirect", b"/" + p + b"a")), folder(p + b"b")],
        ],
        "overlay-whiteout-attribute": [
            [block(p + b"a", b"1")],
            [pax((b"SCHILY.xattr.trusted.overlay.whiteout", b"y")), block(p + b"a", b"")],
        ],
        "user-overlay-attribute": [
            [folder(p + b"d"), block(p + b"d/old", b"1")],
            [pax((b"SCHILY.xattr.user.overlay.opaque", b"y")), folder(p + b"d"), block(p + b"d/new", b"2")],
        ],
        "user-attribute": [[pax((b"SCHILY.xattr.user.note", b"y")), block(p + b"a", b"1")]],
        "data-after-the-end": [[block(p + b"a", b"1"), bytes(1024), block(p + b"b", b"2")]],
        "one-zero-block": [[block(p + b"a", b"1"), bytes(512), block(p + b"b", b"2")]],
        "bad-checksum": [[block(p + b"a", b"1").replace(b"0000644", b"0000645", 1)]],
    }


CASES = {name: _cases(name.encode() + b"/")[name] for name in _cases(b"x/")}


REFUSED = {
    "whiteout-in-own-layer": "image/whiteout",
    "opaque-root": "image/whiteout",
    "opaque-root-by-other-spelling": "image/whiteout",
    "whiteout-of-its-own-folder": "image/whiteout",
    "whiteout-of-the-folder-above": "image/whiteout",
    "whiteout-of-opaque-name": "image/whiteout",
    "whiteout-hard-links": "image/whiteout",
    "hard-link-to-lower-layer": "image/hard-link",
    "hard-link-climbs": "image/path-climbs",
    "hard-link-to-itself": "image/hard-link",
    "below-a-symlink": "image/through-link",
    "below-a-symlink-to-root": "image/through-link",
    "below-a-file": "image/through-link",
    "file-twice": "image/duplicate-path",
    "file-twice-by-other-spelling": "image/duplicate-path",
    "file-then-link": "image/duplicate-path",
    "climbs": "image/path-climbs",
    "climbs-out": "image/path-climbs",
    "absolute": "image/path-absolute",
    "newline": "image/path-encoding",
    "not-utf8": "image/path-encoding",
    "contiguous-file": "tar/type",
    "unknown-type": "tar/type",
    "gnu-long-name-twice": "tar/contradiction",
    "prefix-in-a-gnu-header": "tar/number",
    "pax-path-twice": "tar/contradiction",
    "pax-path-with-zero": "tar/extended-header",
    "pax-twice": "tar/contradiction",
    "pax-and-gnu-name": "tar/contradiction",
    "pax-size-negative": "tar/number",
    "pax-global-path": "tar/contradiction",
    "pax-sparse": "tar/sparse",
    "gnu-sparse": "tar/sparse",
    "device-zero-hides": "tar/type",
    "device-zero": "tar/type",
    "overlay-opaque-attribute": "tar/attribute",
    "overlay-redirect-attribute": "tar/attribute",
    "overlay-whiteout-attribute": "tar/attribute",
    "user-overlay-attribute": "tar/attribute",
    "one-zero-block": "tar/truncated",
    "bad-checksum": "tar/checksum",
}
"""Cases that are refused, and by which rule: engines differ about them, or would show other files than the layers'."""

ENGINE_REFUSES = frozenset(("folder-twice",))
"""Cases that are read here although the engine of the tests does not load them: nothing of them ever runs."""


def make_layers(names: Sequence[str]) -> list[bytes]:
    """The tars of one image that holds the cases called so."""
    depth = max(len(CASES[name]) for name in names)
    stacked = [[part for name in names for part in CASES[name][level : level + 1]] for level in range(depth)]
    stacked[0] = [[folder(name.encode()) for name in names], *stacked[0]]
    return [b"".join(entry for part in parts for entry in part) + bytes(1024) for parts in stacked]
