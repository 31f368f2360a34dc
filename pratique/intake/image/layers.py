"""The file system that an image's layers make, put together from their tars in one pass.

Layers stack as overlay file systems and engines stack them: a later entry replaces an earlier one, directories merge,
`.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` all that the layers below have in its directory. Where
engines are known to disagree about the result, the image is refused: whoever inspects must see what will run.
"""

from __future__ import annotations

from dataclasses import replace

from pratique.digests import Digest
from pratique.intake.image.guards import clean_link_target, clean_path, refuse_entry
from pratique.intake.image.model import FileEntry, ImageLimits, Kind
from pratique.intake.image.notes import NO_NOTES, Notes
from pratique.intake.image.streams import Budget
from pratique.intake.image.tar import TarEntry

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Tree:
    """The merged file system so far. Feed it layer by layer: `begin_layer`, `place` for each entry, `end_layer`.

    Nothing is looked up or written on disk. `hidden` collects what later layers replaced or removed.
    """

    def __init__(self, limits: ImageLimits, budget: Budget) -> None:
        self.files: dict[str, FileEntry] = {}
        self.hidden: list[FileEntry] = []
        self._limits = limits
        self._budget = budget
        self._names_left = limits.names_bytes
        self._children: dict[str, dict[str, None]] = {"": {}}
        self._layer = -1
        self._where = ""
        self._stated: dict[str, Kind] = {}
        self._folders: set[str] = set()
        self._whiteouts: set[str] = set()
        self._marks: set[str] = set()

    def begin_layer(self, *, where: str) -> None:
        """Start the next layer from the bottom."""
        self._layer += 1
        self._where = where
        self._stated = {}
        self._folders = {""}
        self._whiteouts = set()
        self._marks = set()

    def place(self, entry: TarEntry) -> FileEntry | None:
        """Take in one entry; returns the new `FileEntry`, None for a whiteout or the root directory.

        A regular file comes back without its digest: `complete` adds it once the data have been read. A hard link
        comes back complete, as the file it was made from. Raises `InvalidInput`: `image/path-…`,
        `image/through-link`, `image/duplicate-path`, `image/hard-link`, `image/whiteout`, `image/too-many-entries`,
        `image/too-many-names`.
        """
        self._take_entry(len(entry.name) + len(entry.linkname))
        path = clean_path(entry.name, self._limits, where=self._where)
        if not path:
            if entry.kind is not Kind.DIRECTORY:
                refuse_entry("path-encoding", "an entry without a name", where=self._where)
            return None
        folder, _, name = path.rpartition("/")
        self._enter(folder)
        if name.startswith(_WHITEOUT):
            self._white_out(folder, name)
            return None
        self._state(path, entry.kind)
        placed = self._linked(path, entry) if entry.hard_link else self._plain(path, entry)
        self._put(placed)
        return placed

    def complete(self, path: str, digest: Digest, head: bytes, notes: Notes = NO_NOTES) -> None:
        """Add what reading the data of the regular file at `path` showed."""
        self.files[path] = self.files[path].with_content(digest, head, notes)

    def end_layer(self) -> None:
        """Refuse a layer that both brings and removes a path: engines differ in what is left of it."""
        both = self._whiteouts & (self._stated.keys() | self._folders)
        if both:
            refuse_entry("whiteout", "a layer brings and removes one path", where=self._where, cause=min(both))

    def _take_entry(self, names: int) -> None:
        """Count an entry, and the bytes of its names: they stay in memory."""
        self._budget.take_entry(where=self._where)
        self._names_left -= names
        if self._names_left < 0:
            most = f"{self._limits.names_bytes:,} bytes"
            refuse_entry("too-many-names", f"the names of all files together have more than {most}", where=self._where)

    def _enter(self, folder: str) -> None:
        """See that `folder` is a directory all the way, making the directories that the layer only implies."""
        missing = []
        while folder not in self._folders:
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for path in reversed(missing):
            there = self.files.get(path)
            if there is None:
                self._take_entry(len(path))
                self._put(FileEntry(path, Kind.DIRECTORY, 0, 0o755, 0, 0, self._layer))
            elif there.kind is not Kind.DIRECTORY:
                refuse_entry(
                    "through-link",
                    "an entry lies below something that is not a directory",
                    where=self._where,
                    cause=f"{path} is a {there.kind}",
                )
            self._folders.add(path)

    def _state(self, path: str, kind: Kind) -> None:
        """Note that this layer states `path`; only a directory may be stated again."""
        earlier = self._stated.get(path, Kind.DIRECTORY if path in self._folders else None)
        if earlier is not None and not (earlier is kind is Kind.DIRECTORY):
            refuse_entry("duplicate-path", "a layer holds one path twice", where=self._where, cause=path)
        self._stated[path] = kind
        if kind is Kind.DIRECTORY:
            self._folders.add(path)

    def _plain(self, path: str, entry: TarEntry) -> FileEntry:
        linkname = ""
        if entry.kind is Kind.SYMLINK:
            if len(entry.linkname) > self._limits.path_bytes or not entry.linkname or b"\0" in entry.linkname:
                refuse_entry("symlink", "a symlink without a usable target", where=self._where, cause=path)
            linkname = entry.linkname.decode("utf-8", "backslashreplace")
        return FileEntry(
            path,
            entry.kind,
            entry.size,
            entry.mode,
            entry.uid,
            entry.gid,
            self._layer,
            linkname=linkname,
            capabilities=entry.capabilities,
        )

    def _linked(self, path: str, entry: TarEntry) -> FileEntry:
        target = clean_link_target(entry.linkname, self._limits, where=self._where)
        there = self.files.get(target)
        if target not in self._stated or there is None or there.kind not in (Kind.FILE, Kind.SYMLINK):
            refuse_entry(
                "hard-link",
                "a hard link to something that is no file of the same layer",
                where=self._where,
                cause=f"{path} -> {target}",
            )
        self._same_rights(there, entry)
        return replace(there, path=path, linkname=target if there.kind is Kind.FILE else there.linkname)

    def _same_rights(self, file: FileEntry, link: TarEntry) -> None:
        """Refuse a link that gives its file rights: engines let the mode and owner of the last of all names count."""
        if file.kind is not Kind.FILE:
            return
        privileged = file.setuid or file.capabilities
        moved = privileged and (link.uid, link.gid) != (file.uid, file.gid)
        if moved or link.mode & ~file.mode or (link.capabilities and not file.capabilities):
            refuse_entry(
                "hard-link",
                "a hard link with another owner or more rights than the file that it is a name of",
                where=self._where,
                cause=f"{file.path}: {file.mode:o}, the link {link.mode:o}",
            )

    def _white_out(self, folder: str, name: str) -> None:
        victim = "" if name == _OPAQUE else name.removeprefix(_WHITEOUT)
        if name != _OPAQUE and (victim in ("", ".", "..") or victim.startswith(_WHITEOUT)):
            refuse_entry("whiteout", "a whiteout mark of an unknown kind", where=self._where, cause=name[:200])
        if not victim and not folder:  # the kernel shows what lies below the root all the same
            refuse_entry("whiteout", "a mark that hides all lower layers, which engines heed or not", where=self._where)
        path = f"{folder}/{name}" if folder else name
        if path in self._marks:  # besides being wrong, repeated marks would cost quadratic time
            refuse_entry("duplicate-path", "a layer holds one whiteout mark twice", where=self._where, cause=path)
        self._marks.add(path)
        if not victim:
            self._remove_below(folder)
            return
        path = f"{folder}/{victim}" if folder else victim
        self._whiteouts.add(path)
        if path in self.files and self.files[path].layer < self._layer:
            self._remove(path)

    def _put(self, entry: FileEntry) -> None:
        old = self.files.get(entry.path)
        if old is not None:
            if old.kind is Kind.DIRECTORY and entry.kind is not Kind.DIRECTORY:
                self._remove(entry.path)
            elif old.kind is not Kind.DIRECTORY:
                self.hidden.append(old)
        folder, _, name = entry.path.rpartition("/")
        self.files[entry.path] = entry
        self._children[folder][name] = None
        if entry.kind is Kind.DIRECTORY:
            self._children.setdefault(entry.path, {})

    def _remove(self, path: str) -> None:
        """Take out `path` of a lower layer with all that is below it and not of this layer."""
        self._remove_below(path)
        if not self._children.get(path):
            self._drop(path)

    def _remove_below(self, folder: str) -> None:
        for path in reversed(self._descendants(folder)):
            entry = self.files[path]
            if entry.layer < self._layer and not self._children.get(path):
                self._drop(path)

    def _drop(self, path: str) -> None:
        entry = self.files.pop(path)
        if entry.kind is not Kind.DIRECTORY:
            self.hidden.append(entry)
        self._children.pop(path, None)
        folder, _, name = path.rpartition("/")
        self._children[folder].pop(name, None)

    def _descendants(self, folder: str) -> list[str]:
        """Paths below `folder`, parents before children."""
        found: list[str] = []
        pending = [folder]
        while pending:
            here = pending.pop()
            prefix = f"{here}/" if here else ""
            below = [prefix + name for name in self._children.get(here, ())]
            found.extend(below)
            pending.extend(below)
        return found
