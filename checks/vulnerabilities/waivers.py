"""Waivers: a person of the node says, with a reason and until a day, that an advisory may be passed over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from checks.sbom.model import Component
from checks.sbom.python import canonical
from pratique.digests import Digest

if TYPE_CHECKING:
    from packageurl import PackageURL

POLICY = "policy"


@dataclass(frozen=True)
class Waiver:
    """`id` is any identifier of the advisory; an empty `package` means any; it holds up to and with `until`.

    A waiver that comes from a VEX statement names its document as `origin`, the exact `product` (a package URL; one
    without a version means all) and the day `since` when it was stated, and may hold for one `image` only.
    """

    id: str
    until: date
    by: str
    reason: str
    package: str = ""
    product: str = ""
    image: Digest | None = None
    origin: str = POLICY
    since: date = date.min

    def holds(self, today: date) -> bool:
        """Whether it is in force on that day."""
        return self.since <= today <= self.until

    @property
    def statement(self) -> tuple[str, ...]:
        """What is the same for all waivers of one statement, which may name a vulnerability in several ways."""
        told_apart_by = self.id if self.origin == POLICY else self.reason
        return (self.origin, self.product, self.image or "", self.package, told_apart_by)

    def covers(self, identifiers: Iterable[str], component: Component, image: Digest | None = None) -> bool:
        """Whether it speaks of this advisory in this component (of this image)."""
        if self.id not in identifiers or (self.image is not None and self.image != image):
            return False
        if self.product:
            return _is_product(self.product, component.purl)
        return not self.package or canonical(self.package) == canonical(component.name)


def find_waiver(
    waivers: Sequence[Waiver],
    identifiers: Iterable[str],
    component: Component,
    today: date,
    image: Digest | None = None,
) -> tuple[Waiver | None, bool]:
    """The waiver that covers the advisory, and whether it holds; one that does not is returned only to be shown.

    Where records that share a name join several CVEs, each must be waived: accepting one says nothing of the others.
    """
    known = frozenset(identifiers)
    covering = [waiver for waiver in waivers if waiver.covers(known, component, image)]
    if not covering:
        return None, False
    best = max(covering, key=lambda waiver: (waiver.holds(today), waiver.until))
    joined = {name for name in known if name.startswith("CVE-")}
    each = len(joined) < 2 or joined <= {waiver.id for waiver in covering if waiver.holds(today)}
    return best, best.holds(today) and each


def package_of(url: str) -> tuple[tuple[str, str], str | None]:
    """What package URLs that may mean one package have in common (careful, not exact), and the version, if any."""
    parsed = _parsed(url)
    if parsed is None:
        return ("", url), None
    return (parsed.type, canonical(parsed.name)), parsed.version


def with_version(url: str, version: str) -> str:
    """The package URL for one version; empty where it is of another one, or none."""
    parsed = _parsed(url)
    if parsed is None or parsed.version not in (None, version):
        return ""
    return parsed._replace(version=version).to_string()


def _is_product(stated: str, found: str) -> bool:
    """Whether the package URL `found` is what `stated` means: every part that is stated must be the same."""
    one, two = _parsed(stated), _parsed(found)
    if one is None or two is None or (one.type, one.namespace) != (two.type, two.namespace):
        return False
    names = [canonical(u.name) if u.type == "pypi" else u.name for u in (one, two)]
    wanted = one.qualifiers if isinstance(one.qualifiers, dict) else {}
    present = two.qualifiers if isinstance(two.qualifiers, dict) else {}
    return (
        names[0] == names[1]
        and one.version in (None, two.version)
        and one.subpath in (None, two.subpath)
        and all(present.get(key) == value for key, value in wanted.items())
    )


def _parsed(text: str) -> PackageURL | None:
    from packageurl import PackageURL

    try:
        return PackageURL.from_string(text) if text else None
    except ValueError:
        return None
