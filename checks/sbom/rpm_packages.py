"""RPM packages as components, and whether their files are those that they brought."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from checks.sbom.capabilities import Offers
from checks.sbom.model import Component, package_url
from checks.sbom.record import Lie
from checks.sbom.release import Release
from checks.sbom.rpm import RpmPackage
from pratique.intake.image.model import Inventory, Kind

_SOURCE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<release>[^-]+)\.(?:no)?src\.rpm")
_SHOWN = 3


def components_of(packages: Sequence[RpmPackage], path: str, release: Release) -> list[Component]:
    """The components that the database at `path` lists."""
    offers = Offers()
    for package in packages:
        offers.add(package.name, (*package.provides, *(f"/{file.path}" for file in package.files)))
    return [_component(package, path, release, offers) for package in packages]


def source_package(file_name: str, epoch: str) -> tuple[str, str]:
    """Name and version (`epoch:version-release`) of a source package; empty where `file_name` is not that of one."""
    source = _SOURCE.fullmatch(file_name)
    if source is None:
        return "", ""
    before = f"{epoch}:" if epoch not in ("", "0") else ""
    return source["name"], f"{before}{source['version']}-{source['release']}"


def changed_files(packages: Sequence[RpmPackage], inventory: Inventory) -> Iterator[Lie]:
    """Packages of which files are not those whose digests the database has; a file that is gone is none of them."""
    for package in packages:
        wrong = [file.path for file in package.files if file.sha256 and _differs(inventory, file.path, file.sha256)]
        if wrong:
            more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            message = f"files of the package {package.name} are not those it brought: {', '.join(wrong[:_SHOWN])}{more}"
            yield Lie("system-file-changed", message, wrong[0])


def _differs(inventory: Inventory, path: str, sha256: str) -> bool:
    entry = inventory.files.get(path) or inventory.resolve(path)
    if entry is None or entry.kind is not Kind.FILE or entry.sha256 is None:
        return False
    return entry.sha256.removeprefix("sha256:") != sha256.lower()


def _component(package: RpmPackage, path: str, release: Release, offers: Offers) -> Component:
    plain = f"{package.version}-{package.release}" if package.release else package.version
    epoch = f"{package.epoch}:" if package.epoch else ""
    source, source_version = source_package(package.source, str(package.epoch))
    qualifiers = {
        "arch": package.architecture,
        "distro": release.distro,
        "epoch": str(package.epoch or ""),
        "upstream": package.source,
    }
    return Component(
        name=package.name,
        version=epoch + plain,
        purl=package_url(
            "rpm",
            package.name,
            plain,
            namespace=release.identifier,
            qualifiers={key: value for key, value in qualifiers.items() if value},
        ),
        ecosystem=release.ecosystem or "rpm",
        path=path,
        licences=(package.licence,) if package.licence else (),
        advisory_name=source,
        advisory_version=source_version,
        requires=offers.needed(package.name, ([name] for name in package.requires)),
    )
