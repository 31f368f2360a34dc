"""The inventory: every layer read once, every file hashed, nothing written but what the static checks need."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from pratique.digests import Digest
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.ahead import read_ahead
from pratique.intake.image.classify import HEAD, classify
from pratique.intake.image.documents import LAYER_PACKING
from pratique.intake.image.hashing import LARGE, Hasher, Hashing
from pratique.intake.image.layers import Tree
from pratique.intake.image.model import FileClass, FileEntry, Image, ImageLimits, Inventory, Kind, Layer
from pratique.intake.image.notes import MAX_CODE, Managers, notes_of, openings
from pratique.intake.image.streams import Budget, UnpackedLayer
from pratique.intake.image.tar import TarReader

_STORED_HEAD = 64
_MOST_PENDING = 16
_DEFAULT_LIMITS = ImageLimits()
_Hashed = tuple[str, bytes, bytes, Hashing]
"""A file's path, head, openings and the digests that are being taken of it."""


def read_inventory(image: Image, limits: ImageLimits = _DEFAULT_LIMITS) -> Inventory:
    """Read the layers of `image` in one streamed pass.

    Verifies size and digest of every blob and every `diff_id`. Memory is bounded by `limits.entries` and
    `limits.kept_bytes`; kept files too large for memory go to `image.workdir`, named by their digest.

    Raises `InvalidInput` (`image/…`, `tar/…`) for layers that are not acceptable, `CouldNotDecide` when the disk fails.
    """
    return _Reader(image, limits).read()


class _Reader:
    def __init__(self, image: Image, limits: ImageLimits) -> None:
        self._image = image
        stored = sum({layer.digest: layer.size for layer in image.layers}.values())
        self._budget = Budget(limits.bytes_, limits.entries, plausible=limits.plausible(stored))
        self._tree = Tree(limits, self._budget)
        self._kept = _Keeper(image.workdir, limits)
        self._managers = Managers()
        self._hasher = Hasher()
        self._pending: deque[_Hashed] = deque()

    def read(self) -> Inventory:
        with self._hasher:
            for layer in self._image.layers:
                self._read_layer(layer)
        self._kept.forget_hidden(self._tree.files)
        return Inventory(
            files=self._tree.files,
            hidden=tuple(self._tree.hidden),
            classes=self._kept.classes,
            contents=self._kept.contents,
            spooled=self._kept.spooled,
            not_kept=self._kept.not_kept,
            bytes_=self._budget.bytes_taken,
            entries=self._budget.entries_taken,
        )

    def _read_layer(self, layer: Layer) -> None:
        packing = LAYER_PACKING[layer.media_type]
        with self._image.open_layer(layer) as blob:
            unpacked = UnpackedLayer(
                blob, packing=packing, budget=self._budget, where=layer.digest, verified=layer.digest
            )
            with read_ahead(unpacked) as stream:
                self._read_tar(TarReader(stream, where=layer.digest), layer)
                found = stream.finish()
        if found != layer.diff_id:
            raise InvalidInput(
                "a layer is not the one that the config names",
                rule="image/diff-id",
                where=layer.digest,
                cause=f"expected {layer.diff_id}, unpacked {found}",
                next_step="Build and export the image again with docker, buildah or skopeo.",
            )

    def _read_tar(self, reader: TarReader, layer: Layer) -> None:
        self._tree.begin_layer(where=layer.digest)
        for entry in reader:
            if entry.hard_link:  # of a file whose digests must be known by then
                self._settle()
            placed = self._tree.place(entry)
            if placed is None or placed.kind is not Kind.FILE:
                continue
            if entry.hard_link:
                self._kept.link(placed)
            else:
                self._read_file(placed, reader.chunks())
        self._settle()
        self._tree.end_layer()

    def _read_file(self, placed: FileEntry, chunks: Iterator[bytes]) -> None:
        path, size = placed.path, placed.size
        code = path.endswith(".py")
        first = next(chunks, b"")
        while len(first) < min(MAX_CODE if code else HEAD, size):  # the chunk ended where the tar's buffer did
            first += next(chunks)
        file_class = classify(path, first[:HEAD], size)
        hashing = self._hasher.hashing(size, self._managers.digests_of(path))
        chunks = chain((first,), chunks)
        if file_class is None:
            self._kept.forget(path)
            for chunk in chunks:
                hashing.update(chunk)
        else:
            self._kept.keep(path, file_class, size, chunks, hashing)
        file = path, first[:_STORED_HEAD], openings(first[:MAX_CODE]) if code else b"", hashing
        if size < LARGE:
            self._complete(file)
        else:
            self._pending.append(file)
            self._settle(_MOST_PENDING)

    def _settle(self, most: int = 0) -> None:
        """Complete the files whose digests are still being taken, but the last `most`."""
        while len(self._pending) > most:
            self._complete(self._pending.popleft())

    def _complete(self, file: _Hashed) -> None:
        path, head, found, hashing = file
        digests = hashing.digests()
        self._tree.complete(path, Digest("sha256:" + digests["sha256"]), head, notes_of(digests, found))


class _Keeper:
    """Keeps the content of some files, in memory while there is room, else in the work directory."""

    def __init__(self, workdir: Path, limits: ImageLimits) -> None:
        self.classes: dict[str, FileClass] = {}
        self.contents: dict[str, bytes] = {}
        self.spooled: dict[str, Path] = {}
        self.not_kept: dict[str, str] = {}
        self._workdir = workdir
        self._file_limit = limits.kept_file_bytes
        self._memory_left = limits.kept_bytes
        self._disk_left = limits.spooled_bytes

    def keep(self, path: str, file_class: FileClass, size: int, chunks: Iterable[bytes], hashing: Hashing) -> None:
        """Keep the file's content, which is `chunks`, and give it to `hashing`."""
        self.forget(path)
        self.classes[path] = file_class
        if size <= min(self._file_limit, self._memory_left):
            self._memory_left -= size
            self.contents[path] = b"".join(chunks)
            hashing.update(self.contents[path])
        elif size <= self._disk_left:
            self._disk_left -= size
            self._spool(path, chunks, hashing)
        else:
            self.not_kept[path] = f"its {size:,} bytes are more than the work directory may still take"
            for chunk in chunks:
                hashing.update(chunk)

    def link(self, placed: FileEntry) -> None:
        """A hard link to a kept file is kept under its own name too; it shares the content."""
        path, target = placed.path, placed.linkname
        self.forget(path)
        if target in self.classes:
            self.classes[path] = self.classes[target]
        if target in self.contents:
            self.contents[path] = self.contents[target]
        elif target in self.spooled:
            self.spooled[path] = self.spooled[target]
        elif target in self.not_kept:
            self.not_kept[path] = self.not_kept[target]

    def forget(self, path: str) -> None:
        """Drop what an earlier layer had at `path`; its room is not given back, so that no layer can play for more."""
        if self.classes.pop(path, None) is not None:
            for kept in (self.contents, self.spooled, self.not_kept):
                kept.pop(path, None)

    def forget_hidden(self, files: Mapping[str, FileEntry]) -> None:
        """Drop what the finished file system does not show as a file."""
        for path in list(self.classes):
            if path not in files or files[path].kind is not Kind.FILE:
                self.forget(path)

    def _spool(self, path: str, chunks: Iterable[bytes], hashing: Hashing) -> None:
        try:
            with tempfile.NamedTemporaryFile(dir=self._workdir, prefix="kept-", delete=False) as out:
                for chunk in chunks:
                    hashing.update(chunk)
                    out.write(chunk)
            self.spooled[path] = self._workdir / hashing.digests()["sha256"]
            Path(out.name).replace(self.spooled[path])
        except OSError as error:
            raise CouldNotDecide(
                f"a file of the image cannot be kept in {self._workdir}",
                cause=error.strerror or str(error),
                next_step="Free disk space, or choose another work directory.",
            ) from error
