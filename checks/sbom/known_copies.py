"""Copies of well-known packages, recognised by their files wherever these lie and whatever they are called.

A file counts where it is one of the table byte for byte, or where at least two of its functions (its only one) open as
those of one file of the table do. One file proves little, for snippets travel: a copy needs three different files of
one package in their places under one directory, or anywhere in one project where the places were changed, or six
anywhere; half of the files where a package has fewer. The versions are those that all these files agree on, and where
no version has them all, the fewest sets that together explain each file. Every one of them is asked about: what the
copy says of itself decides nothing. A package that states its version is only spoken of where its files contradict it.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import and_, or_
from typing import NamedTuple

from checks.sbom.known_files import KEY, KINDS, KnownPackage, ModuleTable, module_table
from checks.sbom.model import Component, canonical
from checks.sbom.record import Lie, site_of
from checks.sbom.unowned import detected
from pratique.digests import Digest
from pratique.intake.image.model import Inventory, Kind
from pratique.intake.image.notes import OPENING

_ENOUGH = 3
_MAX_PLACES = 20
"""Places of one package that each get components of their own; more of them add only what is new."""
_SHOWN = 3


class CodeFile(NamedTuple):
    """A file by what is known of it; `path` may lie in an archive (`opt/lib.zip!/net/pool.py`)."""

    path: str
    sha256: Digest
    openings: bytes = b""


@dataclass(frozen=True)
class _Hit:
    """A file of the image, the number of the known file that it is, and the versions that have it so."""

    path: str
    number: int
    versions: int
    exact: bool


def read_known_copies(
    inventory: Inventory, packed: Iterable[CodeFile], known: Iterable[Component], lies: list[Lie]
) -> list[Component]:
    """Copies of packages of the table in the image and in archives in it (`packed`), marked *detected*.

    `known` are the Python components that were found by other means: these speak for their place.
    """
    table = module_table()
    groups = _grouped(_hits(table, chain(_code(inventory), packed)), table)
    homes = _homes(known) if groups else {}
    found: list[Component] = []
    places: Counter[str] = Counter()
    asked: set[str] = set()
    beyond: list[str] = []
    for (name, root), hits in sorted(groups.items()):
        package = table.packages[hits[0].number]
        stated = homes.get((root.rpartition("/")[0], canonical(name)), frozenset())
        if any(not _contradicted(package, hits, version) for version in stated):
            continue
        versions = [version for version in _explaining(package, hits) if version not in stated]
        places[name] += 1
        if places[name] <= _MAX_PLACES:
            lies.append(_told(table, package, root, hits, versions, stated, inventory))
        else:
            beyond.append(root)
        fresh = [detected(name, version, root) for version in versions]
        found += [c for c in fresh if places[name] <= _MAX_PLACES or c.purl not in asked]
        asked.update(component.purl for component in fresh)
    if beyond:
        lies.append(Lie("known-files", f"copies of known packages lie in {len(beyond):,} more places", beyond[0]))
    return found


def _code(inventory: Inventory) -> Iterator[CodeFile]:
    for path, entry in inventory.files.items():
        if not path.endswith(KINDS):
            continue
        file = inventory.resolve(path) if entry.kind is Kind.SYMLINK else entry  # what Python would load
        if file is not None and file.sha256:
            yield CodeFile(path, file.sha256, file.notes.openings)


def _hits(table: ModuleTable, files: Iterable[CodeFile]) -> Iterator[_Hit]:
    rows = table.rows
    for path, sha256, openings in files:
        row = rows.get(bytes.fromhex(sha256[7 : 7 + 2 * KEY]))
        if row is None and not openings:
            continue
        hit = _Hit(path, *row, exact=True) if row else _by_openings(table, path, openings)
        if hit is not None:
            yield hit


def _by_openings(table: ModuleTable, path: str, openings: bytes) -> _Hit | None:
    """The known file that most functions of the file open as; None where too few do."""
    noted = {openings[i : i + OPENING] for i in range(0, len(openings), OPENING)}
    found = [table.rows[opening] for opening in noted & table.rows.keys()]
    if not found:
        return None
    number, count = Counter(sorted(number for number, _ in found)).most_common(1)[0]
    if count < min(2, len(noted)) or (count < 2 and len(table.packages[number].paths) < _ENOUGH):
        return None
    masks = [mask for known, mask in found if known == number]
    return _Hit(path, number, reduce(and_, masks) or reduce(or_, masks), exact=False)


def _grouped(hits: Iterable[_Hit], table: ModuleTable) -> dict[tuple[str, str], list[_Hit]]:
    """Hits that are enough for a copy, by package and the directory that stands for the package's own."""
    by_root: defaultdict[tuple[str, str], list[_Hit]] = defaultdict(list)
    for hit in hits:
        by_root[table.packages[hit.number].name, _root(hit.path, table.paths[hit.number])].append(hit)
    copies: dict[tuple[str, str], list[_Hit]] = {}
    groups, least = by_root, _ENOUGH
    for wider in (_project, _anywhere, None):
        strewn: defaultdict[tuple[str, str], list[_Hit]] = defaultdict(list)
        for (name, place), found in groups.items():
            if _is_enough(table, found, least):
                copies.setdefault((name, place), []).extend(found)
            elif wider is not None:
                for hit in found:
                    strewn[name, wider(hit.path)].append(hit)
        groups, least = strewn, _ENOUGH if wider is _project else 2 * _ENOUGH
    return copies


def _is_enough(table: ModuleTable, hits: Sequence[_Hit], least: int) -> bool:
    whole = len(table.packages[hits[0].number].paths)
    return len({hit.number for hit in hits}) >= min(least, (whole + 1) // 2)


def _root(path: str, known: str) -> str:
    """What is to `path` as the package's own directory is to the path of the known file; a lone module's is itself."""
    inside = known.partition("/")[2]
    return "/".join(path.split("/")[: -(inside.count("/") + 1)]) if inside else path


def _project(path: str) -> str:
    """The directory of one package among those installed, else the first directory of the image."""
    place = site_of(path)
    return f"{place[0]}/{place[1].partition('/')[0]}" if place else path.partition("/")[0]


def _anywhere(path: str) -> str:
    """The whole image, or the archive that the file lies in."""
    archive, packed, _ = path.partition("!/")
    return archive if packed else ""


def _homes(known: Iterable[Component]) -> Mapping[tuple[str, str], frozenset[str]]:
    """Versions that components state, by directory and name: that of their metadata, or of the package's directory."""
    homes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for component in known:
        if component.ecosystem == "PyPI" and component.version:
            above = component.path.rpartition("/")[0]
            for place in (above, above.rpartition("/")[0]):
                homes[place, canonical(component.name)].add(component.version)
    return {key: frozenset(versions) for key, versions in homes.items()}


def _contradicted(package: KnownPackage, hits: Sequence[_Hit], stated: str) -> bool:
    """Whether the files are not those of the version `stated`.

    One file that only other versions have, byte for byte, is enough; two where they are recognised by functions, for a
    distribution may carry one over from a later version. A version that the table lacks lies between two that it has:
    three files that neither of them has.
    """
    from packaging.version import InvalidVersion, Version

    try:
        version = Version(stated)
    except InvalidVersion:
        return True
    ordered = [Version(text) for text in package.versions]
    listed = version in ordered
    place = bisect(ordered, version)
    near = {ordered.index(version)} if listed else {place - 1, place} & set(range(len(ordered)))
    against = {hit.number: hit for hit in hits if not any(hit.versions >> n & 1 for n in near)}
    if not listed:
        return len(against) >= _ENOUGH
    return len(against) > 1 or any(hit.exact for hit in against.values())


def _explaining(package: KnownPackage, hits: Iterable[_Hit]) -> list[str]:
    """The versions that most files agree on, then those that most of the rest do, until every file is explained."""
    rest = {hit.number: hit.versions for hit in hits}
    mask = 0
    while rest:
        counts = [sum(versions >> place & 1 for versions in rest.values()) for place in range(len(package.versions))]
        best = sum(1 << place for place, count in enumerate(counts) if count == max(counts))
        rest = {number: versions for number, versions in rest.items() if not versions & best}
        mask |= best
    return package.named(mask)


def _told(
    table: ModuleTable,
    package: KnownPackage,
    root: str,
    hits: Sequence[_Hit],
    versions: Sequence[str],
    stated: Iterable[str],
    inventory: Inventory,
) -> Lie:
    """What is said of a copy: whose files, of which versions, how many, and which of its files are others."""
    count = len({hit.number for hit in hits})
    said = f", although it states {', '.join(sorted(stated))}" if stated else ""
    changed = _changed(table, package, root, hits, versions, inventory)
    message = (
        f"{count} of the {len(package.paths)} files by which {package.name} is known lie in {root or '/'}: "
        f"it is {' or '.join(versions) or 'of no one version'}{said}"
    )
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        message += f"; changed: {', '.join(changed[:_SHOWN])}{more}"
    return Lie("known-files", message, root or hits[0].path)


def _changed(
    table: ModuleTable,
    package: KnownPackage,
    root: str,
    hits: Sequence[_Hit],
    versions: Sequence[str],
    inventory: Inventory,
) -> list[str]:
    """Files in the places of known ones that are not the same, byte for byte, as any version has."""
    mask = sum(1 << place for place, version in enumerate(package.versions) if version in versions)
    same = {hit.path for hit in hits if hit.exact}
    inside = ((table.paths[n].partition("/")[2], n) for n in sorted(package.paths) if table.present[n] & mask)
    places = (f"{root}/{rest}" for rest, _ in inside if rest)
    return [path for path in places if path in inventory.files and path not in same]
