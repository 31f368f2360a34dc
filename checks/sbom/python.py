"""Python packages of an image, and whether the files are what their metadata claim.

The image's interpreter is never asked. What `METADATA` says of name and version is compared with the directory's
name, every file that `RECORD` lists is compared with its hash, and modules that no package owns are named.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from checks.sbom.code_versions import stated_version, stated_versions
from checks.sbom.known_modules import ALSO_FROM, KNOWN_MODULES, NAMESPACES
from checks.sbom.model import Component, package_url, text_of
from checks.sbom.model import canonical as canonical
from checks.sbom.record import Lie, compare_record
from checks.sbom.spdx import licences_in, parse
from checks.sbom.unowned import PythonPackages, detected, name_unowned
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import Inventory

_DIRECTORY = re.compile(r"(?P<name>[^/]+?)-(?P<version>[^/-]+)\.(?:dist|egg)-info")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]{0,200})")
_DEBIAN = "usr/lib/python3/dist-packages"
"""Debian builds and strips what lies here itself, and leaves the RECORD as it was."""
_MAX_HEADER = 512 * 1024
_MAX_NEEDS = 2000
MAX_LISTED = 512 * 1024**2
"""Bytes of METADATA and RECORD that are read of all packages together."""
_SAYS_NOTHING = ("OSI Approved", "License")


@dataclass(frozen=True)
class _Distribution:
    directory: str
    base: str
    metadata: str

    @property
    def listings(self) -> tuple[str, str]:
        """The files that are read whole."""
        return self.metadata, f"{self.directory}/RECORD"


def read_python(inventory: Inventory, os_owned: frozenset[str]) -> PythonPackages:
    """Python packages of `inventory`; `os_owned` are files that the system's package manager owns.

    Raises `CouldNotDecide` where metadata were too large to be kept.
    """
    found = PythonPackages()
    owned: set[str] = set(os_owned)
    read = 0
    for distribution in _distributions(inventory):
        read += sum(inventory.files[path].size for path in distribution.listings if path in inventory.files)
        if read > MAX_LISTED:
            raise CouldNotDecide(
                f"the metadata of Python packages are longer than {MAX_LISTED:,} bytes together",
                next_step="Install fewer packages into one image.",
            )
        _read_distribution(inventory, distribution, found, owned, os_owned)
    name_unowned(inventory, found, owned, os_owned)
    found.components.sort(key=lambda c: (c.purl, c.path))
    return found


def _distributions(inventory: Inventory) -> Iterator[_Distribution]:
    for path in sorted(inventory.classes):
        head, _, last = path.rpartition("/")
        if (last == "METADATA" and head.endswith(".dist-info")) or (
            last == "PKG-INFO" and head.endswith((".egg-info", "/EGG-INFO"))
        ):
            yield _Distribution(head, head.rpartition("/")[0], path)
        elif path.endswith(".egg-info"):
            yield _Distribution(path, head, path)


def _read_distribution(
    inventory: Inventory,
    distribution: _Distribution,
    found: PythonPackages,
    owned: set[str],
    os_owned: frozenset[str],
) -> None:
    headers = _headers(inventory.beginning(distribution.metadata, _MAX_HEADER))
    name, version = text_of(headers["name"][0]), text_of(headers["version"][0])
    if not name or not version:
        found.lies.append(Lie("metadata-unreadable", "package metadata without name or version", distribution.metadata))
        return
    _compare_with_directory(distribution, name, version, found)
    if f"{distribution.directory}/RECORD" in inventory.files:
        lies, files = compare_record(inventory, distribution.directory)
        rebuilt = distribution.metadata in os_owned and distribution.base == _DEBIAN
        found.lies += [_of_debian(lie) for lie in lies] if rebuilt else lies
        owned |= files
        _compare_with_modules(distribution, name, version, inventory, files, found)
        _compare_with_code(distribution, name, version, inventory, files, found)
    else:
        files = _own_by_name(inventory, distribution, found, owned)
        _compare_with_modules(distribution, name, version, inventory, files, found)
    found.components.append(
        Component(
            name=name,
            version=version,
            purl=package_url("pypi", name, version),
            ecosystem="PyPI",
            path=distribution.directory,
            licences=_licences(headers),
            requires=tuple(sorted(_requirements(headers["requires-dist"][:_MAX_NEEDS]))),
        )
    )


def _of_debian(lie: Lie) -> Lie:
    return replace(lie, rule="record-hash-system") if lie.rule == "record-hash" else lie


def _headers(data: bytes) -> defaultdict[str, list[str]]:
    """The header part of core metadata, keys in lower case; a missing one reads as an empty text."""
    headers: defaultdict[str, list[str]] = defaultdict(list)
    key = ""
    for line in data[:_MAX_HEADER].decode("utf-8", "replace").splitlines():
        if not line:
            break
        if line[0] in " \t":  # also a line of blanks alone: licence texts are folded so
            if key:
                headers[key][-1] += "\n" + line.strip()
            continue
        key, colon, value = line.partition(":")
        key = key.strip().lower() if colon else ""
        if key:
            headers[key].append(value.strip())
    for needed in ("name", "version"):
        headers[needed] = headers[needed] or [""]
    return headers


def _licences(headers: defaultdict[str, list[str]]) -> tuple[str, ...]:
    """What is stated, and whatever contradicts it: a project that names two licences may mean both."""
    expression = [text for value in headers["license-expression"][:1] if (text := text_of(value))]
    stated = [text_of(c.rpartition("::")[2]) for c in headers["classifier"] if c.startswith("License ::")]
    stated = [name for name in stated if name not in _SAYS_NOTHING]
    first_line = [text_of(value.partition("\n")[0], 100) for value in headers["license"][:1]]
    chosen = expression or stated or first_line
    if not expression and len(stated) != 1 and first_line and parse(first_line[0]) is not None:
        chosen = first_line  # several classifiers do not say whether they are choices
    contradicting = [text for text in (*stated, *first_line) if text not in chosen and _contradicts(text, chosen)]
    return tuple(dict.fromkeys(x for x in (*chosen, *contradicting) if x and x.upper() != "UNKNOWN"))[:8]


def _contradicts(text: str, chosen: Iterable[str]) -> bool:
    """Whether `text` names licences, and none that the chosen ones name."""
    names, others = parse(text), [parse(one) for one in chosen]
    if names is None or None in others:
        return False
    return not any(licences_in(names) & licences_in(other) for other in others if other is not None)


def _requirements(lines: Iterable[str]) -> Iterator[str]:
    """Names of what is required without asking for an extra."""
    for line in lines:
        requirement, _, marker = line.partition(";")
        match = _REQUIREMENT.match(requirement)
        if match and "extra" not in marker:
            yield canonical(match[1])


_MODULES = {canonical(name): module for module, name in KNOWN_MODULES.items()}


def _compare_with_directory(distribution: _Distribution, name: str, version: str, found: PythonPackages) -> None:
    last = distribution.directory.rpartition("/")[2]
    stated = _DIRECTORY.fullmatch(last)
    if stated is None:
        return
    if canonical(stated["name"]) != canonical(name):
        message = f"{last} says that it is {name}"
        found.lies.append(Lie("name-contradicted", message, distribution.metadata))
    if last.endswith(".dist-info") and not same_version(stated["version"], version):
        message = f"{last} says that its version is {version}"
        found.lies.append(Lie("version-contradicted", message, distribution.metadata))


def _compare_with_code(
    distribution: _Distribution, name: str, version: str, inventory: Inventory, files: set[str], found: PythonPackages
) -> None:
    """The versions that the package's own code states; where one is another, it is asked about too."""
    prefix = f"{distribution.base}/" if distribution.base else ""
    module = _MODULES.get(canonical(name), canonical(name))
    for candidate in (module, module.replace("-", "_"), module.replace("-", "")):
        path = f"{prefix}{candidate}/__init__.py"
        if path not in files:
            path = f"{prefix}{candidate}.py"
        if path in files:
            for place, stated in stated_versions(inventory, path):
                if not _same_release(stated, version):
                    message = f"{name} says that its version is {version}, its code says {stated}"
                    found.lies.append(Lie("version-in-code", message, place))
                    found.components.append(detected(name, stated, place))
            return


def _compare_with_modules(
    distribution: _Distribution, name: str, version: str, inventory: Inventory, files: set[str], found: PythonPackages
) -> None:
    """Well-known modules that the package owns although they are another's: that one is asked about too."""
    prefix = f"{distribution.base}/" if distribution.base else ""
    inside = (path.removeprefix(prefix) for path in files if path.startswith(prefix))
    tops = {path.partition("/")[0].removesuffix(".py") for path in inside}
    for module in sorted(tops & KNOWN_MODULES.keys() - NAMESPACES):
        other = canonical(KNOWN_MODULES[module])
        if canonical(name) == other or canonical(name) in ALSO_FROM.get(module, ()):
            continue
        path = f"{prefix}{module}"
        stated = stated_version(inventory, f"{path}/__init__.py") or version
        found.lies.append(Lie("module-of-another", f"{name} brings the module {module} of {other}", path))
        found.components.append(detected(KNOWN_MODULES[module], stated, path))


def _same_release(one: str, two: str) -> bool:
    """Whether two versions differ in nothing but local, development and pre-release parts."""
    from packaging.version import InvalidVersion, Version

    try:
        first, second = Version(one).release, Version(two).release
    except InvalidVersion:
        return True  # what cannot be compared contradicts nothing
    length = min(len(first), len(second))
    return first[:length] == second[:length]


def same_version(one: str, two: str) -> bool:
    """Whether two texts are one version (`1.0` and `1.0.0`, `2022.12.7` and `2022.12.07`)."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one.replace("_", "+", 1) if "+" not in one and "_" in one else one) == Version(two)
    except InvalidVersion:
        return one == two


# --- modules without an owner ----------------------------------------------------------------------------------------


def _own_by_name(inventory: Inventory, distribution: _Distribution, found: PythonPackages, owned: set[str]) -> set[str]:
    """Old-style metadata list no hashes: what `top_level.txt` names belongs to the package, unverified."""
    name = distribution.directory.rpartition("/")[2]
    if distribution.metadata not in owned:
        message = f"{name} has no RECORD: its files cannot be compared with anything"
        found.lies.append(Lie("record-absent", message, distribution.directory))
    listing = f"{distribution.directory}/top_level.txt"
    try:
        listed = inventory.beginning(listing, _MAX_HEADER) if listing in inventory.files else b""
    except CouldNotDecide:
        listed = b""
    tops = {line.strip() for line in listed.decode("utf-8", "replace").splitlines()[:200] if line.strip()}
    prefix = f"{distribution.base}/" if distribution.base else ""
    named = {f"{prefix}{top}{tail}" for top in tops for tail in ("", ".py")}
    owned |= named
    return named
