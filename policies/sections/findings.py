"""What is accepted of what the checks find: advisories, licences, leakage."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from policies.sections.base import PinnedDigest, Section, Text
from policies.units import Duration

if TYPE_CHECKING:
    import checks.advisories.online
    import checks.vulnerabilities.waivers
    from checks.licenses import LicenseLists
    from checks.membership.limits import PrivacyLimits


def _package_url(value: str) -> str:
    from packageurl import PackageURL

    if value:
        PackageURL.from_string(value)
    return value


class Waiver(Section):
    """An advisory that is accepted until a day (inclusive), by whom and why.

    Only in what is named: a `package` by its name, a `product` by its package URL (one without a version means all), an
    `image` by its digest.
    """

    id: Text
    package: str = ""
    product: Annotated[str, AfterValidator(_package_url)] = ""
    image: PinnedDigest | None = None
    until: date
    by: Text
    reason: Text


class VexFile(Section):
    """A VEX document (OpenVEX or CycloneDX, relative to the policy) that a person adopts until a day (inclusive)."""

    file: Text
    sha256: PinnedDigest
    until: date
    by: Text


def _service_url(value: str) -> str:
    if value and not re.fullmatch(
        r"https://[^/\s?#]+(?:/[^\s?#]*)?|http://(?:localhost|127\.0\.0\.1)(?::\d+)?(?:/.*)?", value
    ):
        raise ValueError("a service is an address that starts with https://")
    return value


class AdvisorySection(Section):
    """How old a snapshot may be, which ecosystems need one (none named: all found), and what is accepted or not.

    `source` says who is asked: the imported snapshots, or on the network OSV's service or PyPI's (at `service_url`
    where that is not their own). `rescan` says what happens to an admitted tool that fails on newer advisories,
    `rescan_every` how often `pratique up` has that done, and `fetch` whether it fetches fresh snapshots before.
    """

    max_age: Duration = Field(default="7d", validate_default=True)
    source: Literal["local", "osv", "pypi"] = "local"
    service_url: Annotated[str, AfterValidator(_service_url)] = ""
    ecosystems: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    fail_at: Literal["critical", "high", "medium", "low"] = "high"
    waivers: tuple[Waiver, ...] = ()
    vex: Annotated[tuple[VexFile, ...], Field(max_length=100)] = ()
    rescan: Literal["report", "withdraw"] = "report"
    rescan_every: Duration | None = None
    fetch: bool = False

    def accepted(self) -> tuple[checks.vulnerabilities.waivers.Waiver, ...]:
        """The waivers as the vulnerabilities check has them."""
        from checks.vulnerabilities import waivers

        return tuple(waivers.Waiver(w.id, w.until, w.by, w.reason, w.package, w.product, w.image) for w in self.waivers)

    def service(self) -> checks.advisories.online.Service | None:
        """The service that is asked, None where the imported snapshots are."""
        if self.source == "local":
            return None
        from checks.advisories.online import Service

        return Service(self.source, self.service_url)


class LicenseSection(Section):
    """SPDX identifiers (`*` at the end: any ending); without `allowed`, all that is not denied is permitted."""

    allowed: tuple[Text, ...] = ()
    denied: tuple[Text, ...] = ()
    accept_unknown: bool = False

    def lists(self) -> LicenseLists:
        """These lists as the licenses check has them."""
        from checks.licenses import LicenseLists

        return LicenseLists(self.allowed, self.denied, self.accept_unknown)


class PrivacySection(Section):
    """Limits of the membership probe: AUC, true-positive rate at 1 % false positives, and the error of a bound."""

    auc_limit: Annotated[float, Field(gt=0.5, lt=1)] = 0.60
    tpr_at_1pct_limit: Annotated[float, Field(gt=0.01, lt=1)] = 0.05
    alpha: Annotated[float, Field(ge=0.001, le=0.2)] = 0.05

    def limits(self) -> PrivacyLimits:
        """These limits as the membership check has them."""
        from checks.membership.limits import PrivacyLimits

        return PrivacyLimits(auc_limit=self.auc_limit, tpr_limit=self.tpr_at_1pct_limit, alpha=self.alpha)
