"""A submission: a directory with `submission.yaml`, the tool's manifest and the evidence, read with bounds and hashed.

Nothing in the directory is executed, imported or unpacked here. Every file is a regular file reached without a
symlink; every path that the document names lies inside.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from pratique.bounded_yaml import load_yaml
from pratique.bounds import MIB, open_regular, read_bounded, within
from pratique.digests import Digest, hex_of, sha256_bytes, sha256_json
from pratique.errors import InvalidInput
from pratique.forms import Place, hold, mistakes
from pratique.intake.document import ProfileName, SubmissionDocument
from pratique.intake.manifest import MAX_BYTES, parse_manifest
from pratique.intake.manifest.model import InputParameter, Manifest

DOCUMENT = "submission.yaml"
MAX_FILES = 20_000
MAX_TOTAL_BYTES = 64 * 1024 * MIB
"""Of all files together: a tree of sparse files would otherwise be hashed for days."""

_MAX_DEPTH = 32
_MAX_NAME = 1024


@dataclass(frozen=True)
class Submission:
    """A submission read once: `files` has the digest of every file, `digest` is that of the canonical list of them."""

    root: Path
    document: SubmissionDocument
    manifest: Manifest
    files: dict[str, Digest]
    digest: Digest

    @property
    def profile(self) -> ProfileName:
        """The sandbox profile asked for: the one that the document names, else what the manifest requires."""
        if self.document.sandbox is not None:
            return self.document.sandbox.profile
        return "gpu" if self.manifest.requirements.cuda_required else "default"

    def path(self, relative: str) -> Path:
        """The file or directory `relative` inside the submission; raises `InvalidInput`."""
        return within(self.root, relative, where=DOCUMENT)

    def only_carries(self) -> frozenset[str]:
        """Files that carry the image or signatures of it, and are named for nothing else.

        Signatures, the archive, and of a layout its index, its version and each blob that is what its name says. What
        the document names for another part too, itself or with a directory around it, is not among them.
        """
        image = self.document.image
        found = {_normal(name) for name in (*self.document.signatures, *filter(None, (image.archive,)))}
        if image.layout is not None:
            layout = _normal(image.layout)
            prefix = f"{layout}/" if layout else ""
            blobs = f"{prefix}blobs/sha256/"
            found |= {f"{prefix}index.json", f"{prefix}oci-layout"}
            found |= {name for name, digest in self.files.items() if name == f"{blobs}{hex_of(digest)}"}
        others = {_normal(name) for name in _named_otherwise(self.document)}
        return frozenset(name for name in found if others.isdisjoint(_with_parents(name)))

    def read(self, relative: str, limit: int) -> bytes:
        """The file `relative`, of at most `limit` bytes, unchanged since it was hashed; raises `InvalidInput`."""
        data = read_bounded(self.path(relative), limit)
        if sha256_bytes(data) != self.files.get(_normal(relative)):
            raise _refuse("file/changed", f"{relative} changed after it was hashed", relative, "Start again.")
        return data


def load_submission(directory: Path) -> Submission:
    """The submission in `directory`.

    Raises `InvalidInput`: `file/…`, `path/…`, `yaml/…`, `manifest/…`, `digest/form`, `submission/schema`,
    `submission/image`, `submission/image-by-tag`, `submission/image-digest-differs`, `submission/privacy-missing`,
    `submission/claims`, `submission/input`, `submission/too-many-files`.
    """
    if not directory.is_dir():
        raise _refuse("file/missing", f"there is no directory {directory}", "", f"Name the one with {DOCUMENT}.")
    root = directory.resolve()
    if not os.path.lexists(root / DOCUMENT):
        how = f"Name the directory with {DOCUMENT}, or write one: docs/reference/submission.md says what stands in it."
        raise _refuse("file/missing", f"there is no file {root / DOCUMENT}", "", how)
    data = read_bounded(within(root, DOCUMENT, where=""), MIB)
    document = parse_document(data)
    _check_named(root, document)
    manifest_data = read_bounded(within(root, document.manifest, where=f"{DOCUMENT}/manifest"), MAX_BYTES)
    manifest = parse_manifest(manifest_data, where=document.manifest)
    _check_inputs(root, document, manifest)
    files = _hash_all(root)
    for name, read in ((DOCUMENT, data), (document.manifest, manifest_data)):
        if files.get(_normal(name)) != sha256_bytes(read):
            raise _refuse("file/changed", f"{name} changed while it was read", name, "Start again.")
    return Submission(root, document, manifest, files, sha256_json(files))


def parse_document(data: bytes) -> SubmissionDocument:
    """`submission.yaml` in `data`; raises `InvalidInput` and nothing else, whatever the bytes."""
    lines: dict[Place, int] = {}
    content = load_yaml(data, where=DOCUMENT, lines=lines)
    _refuse_tag_only(content)
    try:
        return hold(SubmissionDocument, content)
    except ValidationError as error:
        raise _schema_error(error, lines) from error


def _refuse_tag_only(content: Any) -> None:
    """Name the mistake that is made most, before the schema speaks of a missing field."""
    image = content.get("image") if isinstance(content, dict) else None
    reference = image if isinstance(image, str) else image.get("reference") if isinstance(image, dict) else None
    if isinstance(reference, str) and "@" not in reference:
        raise _refuse(
            "submission/image-by-tag",
            f"the image {reference[:200]!r} is named by a tag, which can be moved to other bytes",
            "image",
            "Write `reference: host/repository@sha256:…` and `digest: sha256:…`, as `docker push` printed it.",
        )


def _schema_error(error: ValidationError, lines: dict[Place, int]) -> InvalidInput:
    first = error.errors(include_url=False, include_input=False)[0]
    return InvalidInput(
        "not a submission that can be read",
        rule=first["type"] if "/" in first["type"] else "submission/schema",
        where=DOCUMENT,
        cause="; ".join(mistakes(error, SubmissionDocument, lines)),
        next_step="Correct these fields; docs/reference/submission.md shows all of them.",
    )


def _refuse(rule: str, message: str, place: str, next_step: str) -> InvalidInput:
    where = f"{DOCUMENT}/{place}" if place else DOCUMENT
    return InvalidInput(message, rule=rule, where=where, next_step=next_step)


# --- what the document names ---------------------------------------------------------------------------------------


def _check_named(root: Path, document: SubmissionDocument) -> None:
    for relative, place, is_directory in _named(document):
        _check_kind(within(root, relative, where=f"{DOCUMENT}/{place}"), place, is_directory=is_directory)


def _check_inputs(root: Path, document: SubmissionDocument, manifest: Manifest) -> None:
    for place, name in _inputs_named(document):
        parameter = manifest.input(name)
        if parameter is None or not parameter.type.is_path or parameter.is_output_directory:
            raise _refuse(
                "submission/input",
                f"{name!r} is no File or Directory input of the manifest",
                place,
                f"Use one of: {', '.join(_path_inputs(manifest)) or 'none is declared'}.",
            )
    if document.example is not None:
        for name, value in document.example.inputs.items():
            _check_example(root, manifest.input(name), name, value, manifest)


def _named(document: SubmissionDocument) -> Iterator[tuple[str, str, bool]]:
    """Every path in the document but the example's inputs: path, place, whether it is a directory."""
    yield document.manifest, "manifest", False
    if document.image.layout is not None:
        yield document.image.layout, "image/layout", True
    if document.image.archive is not None:
        yield document.image.archive, "image/archive", False
    for index, path in enumerate(document.signatures):
        yield path, f"signatures/{index}", False
    if document.sbom is not None:
        yield document.sbom, "sbom", False
    if document.example is not None and document.example.expected is not None:
        yield document.example.expected, "example/expected", True
    if document.privacy is not None:
        yield document.privacy.members, "privacy/members", False
        yield document.privacy.non_members, "privacy/non_members", False
    for index, declared in enumerate(document.documents):
        yield declared.path, f"documents/{index}", False


def _named_otherwise(document: SubmissionDocument) -> Iterator[str]:
    """Every path that is named for something else than the image and its signatures."""
    yield DOCUMENT
    for path, place, _ in _named(document):
        if not place.startswith(("image/", "signatures/")):
            yield path
    for value in document.example.inputs.values() if document.example is not None else ():
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _inputs_named(document: SubmissionDocument) -> Iterator[tuple[str, str]]:
    if document.cohort is not None:
        yield "cohort/input", document.cohort.input
    if document.privacy is not None:
        yield "privacy/input", document.privacy.input


def _path_inputs(manifest: Manifest) -> list[str]:
    return [p.id for p in manifest.inputs if p.type.is_path and not p.is_output_directory]


def _check_example(root: Path, parameter: InputParameter | None, name: str, value: Any, manifest: Manifest) -> None:
    place = f"example/inputs/{name}"
    if parameter is None or parameter.is_output_directory:
        known = ", ".join(p.id for p in manifest.inputs if not p.is_output_directory)
        reason = "the manifest has no such input" if parameter is None else "the sandbox decides the output directory"
        raise _refuse("submission/input", reason, place, f"Give values for: {known or 'none is declared'}.")
    if not parameter.type.is_path or value is None:
        return
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            raise _refuse("submission/schema", "expected a path in the submission", place, "Write a relative path.")
        path = within(root, item, where=f"{DOCUMENT}/{place}")
        _check_kind(path, place, is_directory=parameter.type.value == "Directory")


def _check_kind(path: Path, place: str, *, is_directory: bool) -> None:
    if path.is_dir() != is_directory or not (is_directory or path.is_file()):
        wanted = "a directory" if is_directory else "a regular file"
        raise _refuse("file/kind", f"{path.name!r} is not {wanted}", place, f"Name {wanted} here.")


# --- every file ----------------------------------------------------------------------------------------------------


def _hash_all(root: Path) -> dict[str, Digest]:
    files: dict[str, Digest] = {}
    left = MAX_TOTAL_BYTES
    for relative, path in _walk(root):
        if len(files) >= MAX_FILES:
            raise _refuse(
                "submission/too-many-files",
                f"more than {MAX_FILES:,} files",
                "",
                "Leave out what is not evidence, such as .git and virtual environments.",
            )
        with open_regular(path, left) as stream:
            files[relative] = Digest("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())
            left -= stream.tell()
    return dict(sorted(files.items()))


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Every regular file below `root` with its relative path; anything else than files and directories is refused."""
    pending = [(root, "", 0)]
    while pending:
        directory, prefix, depth = pending.pop()
        for name in _names(directory, prefix):
            relative, path = f"{prefix}{name}", directory / name
            if len(relative) > _MAX_NAME or not relative.isprintable() or depth >= _MAX_DEPTH:
                raise _refuse(
                    "path/name",
                    f"the path {relative[:100]!a} is not usable",
                    "",
                    "Use printable names, fewer levels, shorter paths.",
                )
            mode = _mode(path, relative)
            if stat.S_ISLNK(mode):
                raise _refuse(
                    "path/symlink", f"{relative!r} is a symbolic link", "", "Replace the link by what it points to."
                )
            if stat.S_ISDIR(mode):
                pending.append((path, f"{relative}/", depth + 1))
            elif stat.S_ISREG(mode):
                yield relative, path
            else:
                raise _refuse("file/not-regular", f"{relative!r} is no plain file", "", "Remove it.")


def _names(directory: Path, prefix: str) -> list[str]:
    names = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > MAX_FILES:
                    break
    except OSError as error:
        raise _refuse("file/unreadable", f"{prefix or '.'!r}: {error}", "", "Check its permissions.") from error
    if len(names) > MAX_FILES:
        raise _refuse("submission/too-many-files", f"more than {MAX_FILES:,} files in {prefix!r}", "", "Remove some.")
    return sorted(names)


def _mode(path: Path, relative: str) -> int:
    try:
        return path.lstat().st_mode
    except OSError as error:
        raise _refuse("file/unreadable", f"{relative!r}: {error}", "", "Check its permissions.") from error


def _with_parents(name: str) -> Iterator[str]:
    yield from ("", name)
    yield from (str(parent) for parent in PurePosixPath(name).parents)


def _normal(relative: str) -> str:
    return "/".join(part for part in relative.split("/") if part not in ("", "."))
