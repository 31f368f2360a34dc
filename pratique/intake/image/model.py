"""What an image is to Pratique: its identity, configuration, layers, and the inventory of its files.

Plain frozen data; reading is done by the other modules of this package. Paths inside an image are written without
a leading slash (`usr/bin/python3`), sizes are bytes, modes are the twelve permission bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from pratique.digests import Digest
from pratique.errors import CouldNotDecide
from pratique.intake.image.notes import NO_NOTES, Notes
from pratique.intake.image.reread import Reread
from pratique.intake.image.streams import VerifiedStream

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAX_WHOLE = 64 * MIB
"""Bytes of the largest file of an image that is read into memory as one."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What the node runs, in the words of Go's GOOS and GOARCH."""

    os: str = "linux"
    architecture: str = "amd64"

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Ceilings beyond which an image is refused while it is being read; a policy may lower them.

    `bytes_` is the sum of the unpacked layers, `entries` of the files and directories in them (also of directories
    that are only implied). What is stored may unpack to `ratio` times its size, or to `plausible_bytes` where that is
    more: honest images stay below 10, deflate reaches 1,032, zstd 30,000. An inventory keeps files of up to
    `kept_file_bytes`, `kept_bytes` together, in memory for the static checks and writes larger ones to the work
    directory, `spooled_bytes` together.
    """

    bytes_: int = 8 * GIB
    entries: int = 200_000
    layers: int = 128
    ratio: int = 100
    plausible_bytes: int = 512 * MIB
    path_bytes: int = 4096
    names_bytes: int = 64 * MIB
    path_depth: int = 64
    manifest_bytes: int = 4 * MIB
    config_bytes: int = 4 * MIB
    archive_members: int = 4096
    kept_file_bytes: int = 1 * MIB
    kept_bytes: int = 64 * MIB
    spooled_bytes: int = 8 * GIB
    download_seconds: float = 1800.0

    def plausible(self, stored: int) -> int:
        """The most that `stored` bytes may unpack to."""
        return max(self.plausible_bytes, self.ratio * stored)


@dataclass(frozen=True, slots=True)
class LayoutImage:
    """An OCI image layout directory."""

    path: Path


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """A tar file: what `docker save` writes (old or new form), or an OCI layout in a tar."""

    path: Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """A registry account: name and password, or the identity token (OAuth 2 refresh token) of one who logged in.

    No secret shows in a representation of this object.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """An image in a registry, `host[:port]/repository@sha256:…`; plain HTTP is for a loopback registry only."""

    reference: str
    credentials: Credentials | None = None


ImageSource = LayoutImage | ArchiveImage | RegistryImage


class DigestOrigin(StrEnum):
    """Where `Image.manifest_digest` comes from."""

    MANIFEST = "manifest"
    """The bytes of the manifest that came with the image: what registries and signatures speak of."""

    SYNTHESISED = "synthesised"
    """A manifest that Pratique wrote for an old Docker archive, which has none; no registry knows this digest."""


@dataclass(frozen=True, slots=True)
class History:
    """One step of the image's build, as its config tells it (nothing vouches for it)."""

    created_by: str
    comment: str
    empty_layer: bool


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The parts of an OCI image config that matter here.

    `env` keeps order and repetition; `healthcheck` and `onbuild` are as written, empty where there is none.
    """

    os: str
    architecture: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    user: str
    workdir: str
    volumes: tuple[str, ...]
    exposed_ports: tuple[str, ...]
    healthcheck: tuple[str, ...]
    onbuild: tuple[str, ...]
    stop_signal: str
    labels: Mapping[str, str]
    history: tuple[History, ...]
    diff_ids: tuple[Digest, ...]
    created: str


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: `digest` and `size` of the blob as stored, `diff_id` of the tar inside it."""

    digest: Digest
    size: int
    media_type: str
    diff_id: Digest


class BlobStore(Protocol):
    """Where an image's blobs lie; what it hands out is verified by whoever reads it."""

    def open(self, digest: Digest) -> BinaryIO:
        """The raw bytes stored under `digest`; raises `InvalidInput` (`image/blob-missing`)."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image for one platform, found under the digest that was expected.

    Manifest and config have been verified, and so have `indexes`, the multi-platform indexes through which the manifest
    was reached, the expected one first; a layer is verified each time it is read, so that there is no gap between
    check and use.
    """

    name: str
    manifest_digest: Digest
    index_digest: Digest | None
    config_digest: Digest
    config: ImageConfig
    layers: tuple[Layer, ...]
    digest_origin: DigestOrigin
    platform: Platform
    manifest_media_type: str
    config_media_type: str
    manifest_bytes: bytes = field(repr=False)
    config_bytes: bytes = field(repr=False)
    blobs: BlobStore = field(repr=False)
    workdir: Path = field(repr=False)
    indexes: tuple[bytes, ...] = field(default=(), repr=False)

    def open_layer(self, layer: Layer) -> BinaryIO:
        """The layer's blob as stored; raises `InvalidInput` at its end when size or digest are wrong."""
        stream = VerifiedStream(self.blobs.open(layer.digest), layer.digest, layer.size, where=layer.digest)
        return cast(BinaryIO, stream)


class Kind(StrEnum):
    """What an entry of the file system is; a hard link is a `FILE` whose `linkname` is not empty."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One path of the image's file system.

    `sha256` is there for regular files, `head` holds their first 64 bytes. `linkname` is a symlink's target as
    written (never followed) or the path a hard link was made from. `layer` counts from 0 at the bottom.
    `capabilities` is true when the file carries `security.capability` (privileges without setuid). `notes` are what
    lists made elsewhere may know the file by.
    """

    path: str
    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    layer: int
    sha256: Digest | None = None
    linkname: str = ""
    head: bytes = b""
    capabilities: bool = False
    notes: Notes = NO_NOTES

    def with_content(self, sha256: Digest, head: bytes, notes: Notes = NO_NOTES) -> FileEntry:
        """This entry with what reading its data showed (`dataclasses.replace` takes five times as long)."""
        return FileEntry(
            self.path,
            self.kind,
            self.size,
            self.mode,
            self.uid,
            self.gid,
            self.layer,
            sha256,
            self.linkname,
            head,
            self.capabilities,
            notes,
        )

    @property
    def setuid(self) -> bool:
        """Whether running this file changes the user or group."""
        return self.kind is Kind.FILE and bool(self.mode & 0o6000)

    @property
    def executable(self) -> bool:
        """Whether this is a regular file that somebody may execute."""
        return self.kind is Kind.FILE and bool(self.mode & 0o111)


class FileClass(StrEnum):
    """Why the content of a file was kept for the static checks."""

    SYSTEM = "system"
    """os-release, passwd, ld.so.preload and the like."""
    PACKAGE_DATABASE = "package database"
    """dpkg, apk and rpm databases."""
    PYTHON_METADATA = "python metadata"
    """Files in `*.dist-info` and `*.egg-info`, vendor lists."""
    PYTHON_STARTUP = "python startup"
    """`*.pth`, `sitecustomize.py`, `usercustomize.py`: code that runs before the tool's own."""
    PYTHON_VERSION = "python version"
    """Modules that usually state `__version__`: a package's `__init__.py`, `_version.py` and the like."""
    NODE_METADATA = "node metadata"
    """`package.json` and lock files."""
    MODEL = "model"
    """May hold a trained model or serialised objects, by content or by name; every zip archive too."""
    ARCHIVE = "archive"
    """A tar, plain or gzipped, that may hold packages or models."""
    BUNDLED = "bundled library"
    """A shared object that a wheel brought beside its own (auditwheel's `*.libs`), unless it is very large."""
    SECRET = "secret"  # noqa: S105  a class of file, not a secret
    """Named like a private key or a credential file."""
    SOURCE = "source"
    """Programs and settings of the tool's own: small texts outside of what package managers install."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every file of an image, read in one pass over its layers.

    `files` is the file system as a container sees it; `hidden` lists entries that a later layer replaced or removed
    but that the image still carries. `classes` names the files whose content was kept: `read` and `open` give it,
    from memory (`contents`) or from the work directory (`spooled`, file names are digests). A file of a class that was
    too large to keep is in `not_kept` with the reason: whoever needs it cannot decide. `reread` holds what checks had
    read once more.
    """

    files: Mapping[str, FileEntry]
    hidden: tuple[FileEntry, ...]
    classes: Mapping[str, FileClass]
    contents: Mapping[str, bytes] = field(repr=False)
    spooled: Mapping[str, Path] = field(repr=False)
    not_kept: Mapping[str, str]
    bytes_: int
    entries: int
    reread: Reread = field(default_factory=Reread, repr=False, compare=False)

    def of_class(self, wanted: FileClass) -> Iterator[FileEntry]:
        """Files of one class in path order, kept or not."""
        return (self.files[path] for path in sorted(self.classes) if self.classes[path] is wanted)

    def read(self, path: str, most: int = MAX_WHOLE) -> bytes:
        """Content of a kept file; raises `CouldNotDecide` where it was not kept, or has more than `most` bytes."""
        if path in self.files and self.files[path].size > most:
            raise CouldNotDecide(
                f"{path} is too large to be read",
                cause=f"{self.files[path].size:,} bytes, of at most {most:,}",
                next_step="Make the file smaller, or leave it out of the image.",
            )
        if path in self.contents:
            return self.contents[path]
        with self.open(path) as stream:
            return stream.read()

    def beginning(self, path: str, most: int) -> bytes:
        """The first `most` bytes of a kept file; raises `CouldNotDecide` where it was not kept."""
        with self.open(path) as stream:
            return stream.read(most)

    def open(self, path: str) -> BinaryIO:
        """Content of a kept file as a stream; raises `CouldNotDecide` where it was not kept."""
        import io

        if path in self.contents:
            return io.BytesIO(self.contents[path])
        if path in self.spooled:
            return self.spooled[path].open("rb")
        raise CouldNotDecide(
            f"the content of {path} was not kept",
            cause=self.not_kept.get(path, "no static check is known to need this file"),
            next_step="Raise the limits for kept files in the policy, or make the file smaller.",
        )

    def linked_folders(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        """Symlinks at `wanted` paths that lead to a directory of the image, and that directory, in order of the links.

        Only what is wanted is followed: a hundred thousand links in a row take long.
        """
        for path in sorted(p for p, entry in self.files.items() if entry.kind is Kind.SYMLINK and wanted(p)):
            there = self.resolve(path)
            if there is not None and there.kind is Kind.DIRECTORY:
                yield path, there.path

    def resolve(self, path: str) -> FileEntry | None:
        """The entry that `path` leads to inside the image, symlinks followed as a process in it would; else None.

        Only this table is looked at, never a file system; more than 40 links, or a loop, lead nowhere.
        """
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        here: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                here = here[:-1]
                continue
            entry = self.files.get("/".join([*here, part]))
            if entry is None:
                return None
            if entry.kind is not Kind.SYMLINK:
                here.append(part)
                continue
            links += 1
            if links > 40:
                return None
            if entry.linkname.startswith("/"):
                here = []
            pending.extend(p for p in reversed(entry.linkname.split("/")) if p not in ("", "."))
        return self.files.get("/".join(here))
