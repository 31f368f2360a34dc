"""The policy of a node (`apiVersion: pratique/policy/v1`), as DESIGN shows it: every field known, every value in range.

Sections that a check or the sandbox needs give themselves in its own words (`limits()`), so that a check never has to
know a policy.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from checks.interface import RISKS
from policies.rules import check_expression
from policies.units import Duration, Size
from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput
from pratique.intake.document import ProfileName
from pratique.people import organisation_key, person_key

if TYPE_CHECKING:
    import checks.advisories.online
    import checks.vulnerabilities.waivers
    from checks.licenses import LicenseLists
    from checks.membership.limits import PrivacyLimits
    from pratique.intake.image.model import ImageLimits
    from sandbox.spec import Limits

API_VERSION = "pratique/policy/v1"

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]


class Stage(StrEnum):
    """When a rule is asked: before anything of the submission runs, or after the sandbox runs."""

    BEFORE = "before-execution"
    AFTER = "after-execution"


class Outcome(StrEnum):
    """What a rule or a verdict says: nothing against it, people must look, or no."""

    ADMIT = "admit"
    REVIEW = "review"
    REFUSE = "refuse"


def _digest(value: Any) -> Any:
    try:
        return parse_digest(value if isinstance(value, str) and value.startswith("sha256:") else f"sha256:{value}")
    except InvalidInput as error:
        raise ValueError(str(error)) from error


PinnedDigest = Annotated[Digest, BeforeValidator(_digest)]
"""A SHA-256, with or without `sha256:` before it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrustRoot(_Section):
    """A Sigstore trusted root file, relative to the policy, and the digest it must have."""

    file: Text
    sha256: PinnedDigest


class TrustIdentity(_Section):
    """Who may sign: certificate subject, issuer and claims, exactly or (with `regexp`) as full-match expressions."""

    issuer: Text
    subject: Text
    regexp: bool = False
    claims: dict[str, str] = Field(default_factory=dict)


class TrustKey(_Section):
    """A signer's public key (PEM file, relative to the policy), the digest of that file and the key's window."""

    name: Text
    file: Text
    sha256: PinnedDigest
    not_before: datetime | None = None
    not_after: datetime | None = None


class TrustCertificate(_Section):
    """An authority of one's own whose certificates may sign models: its roots (PEM file, relative to the policy).

    `sha256` is the file's; `subject`, where not everybody whom it certifies may sign, the one who may.
    """

    name: Text
    file: Text
    sha256: PinnedDigest
    subject: str = ""


class ModelTrustSection(_Section):
    """Whose signatures of models count, without anybody named those of images; and whether each model needs one."""

    required: bool = False
    identities: tuple[TrustIdentity, ...] = ()
    keys: tuple[TrustKey, ...] = ()
    certificates: tuple[TrustCertificate, ...] = ()


class TrustAttestation(_Section):
    """An attestation that must be there: its predicate type, who alone may make it (else: whoever may sign the image).

    `builders` and `sources` are what SLSA provenance must name, one of each, exactly or (with `regexp`) in full.
    """

    type: Text
    identities: tuple[TrustIdentity, ...] = ()
    builders: tuple[Text, ...] = ()
    sources: tuple[Text, ...] = ()
    regexp: bool = False


def _attestation(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class TrustSection(_Section):
    """Whose signatures count. An empty one refuses every image."""

    roots: tuple[TrustRoot, ...] = ()
    identities: tuple[TrustIdentity, ...] = ()
    keys: tuple[TrustKey, ...] = ()
    require_log_entry: bool = True
    require_timestamp: bool = False
    need: Annotated[int, Field(ge=1)] | Literal["all"] = 1
    attestations: tuple[Annotated[TrustAttestation, BeforeValidator(_attestation)], ...] = ()
    refuse_broken: bool = True
    models: ModelTrustSection = ModelTrustSection()


class Ceilings(_Section):
    """The most that any run may have; what is not named keeps the sandbox's own default."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    memory: Size | None = None
    pids: Annotated[int, Field(gt=0)] | None = None
    output: Size | None = None
    output_files: Annotated[int, Field(gt=0)] | None = None
    tmp: Size | None = None
    log: Size | None = None
    wall: Duration | None = None

    def limits(self) -> Limits:
        """These ceilings as the sandbox has them; raises pydantic's `ValidationError` for what it cannot enforce."""
        from sandbox.spec import Limits

        given: dict[str, Any] = {
            "cpus": self.cpus,
            "memory": self.memory,
            "pids": self.pids,
            "output_bytes": self.output,
            "output_files": self.output_files,
            "tmp_bytes": self.tmp,
            "log_bytes": self.log,
            "wall_seconds": self.wall.total_seconds() if self.wall else None,
        }
        return Limits(**{name: value for name, value in given.items() if value is not None})


def _known_weaknesses(ids: tuple[str, ...]) -> tuple[str, ...]:
    from sandbox.doctor import WEAKNESSES

    unknown = sorted(set(ids) - WEAKNESSES)
    if unknown:
        raise ValueError(
            f"no weaknesses that are looked for: {', '.join(unknown)}; {', '.join(sorted(WEAKNESSES))} are"
        )
    return ids


class SandboxSection(_Section):
    """How tools are run: ceilings, runtime, profiles a tool may ask for, and weaknesses of the node that forbid it."""

    ceilings: Ceilings = Ceilings()
    runtime: Name = "runc"
    profiles: tuple[ProfileName, ...] = ("default",)
    refuse_weaknesses: Annotated[tuple[Name, ...], AfterValidator(_known_weaknesses)] = ()
    """Identifiers of `pratique doctor`: with one of them nothing is run on this node."""


class ImageSection(_Section):
    """The largest image that is read at all."""

    unpacked: Size = 8 << 30
    entries: Annotated[int, Field(gt=0, le=200_000)] = 200_000
    layers: Annotated[int, Field(gt=0, le=128)] = 128
    ratio: Annotated[int, Field(ge=10, le=100_000)] = 100
    """How often its stored size an image may unpack to, once that is more than 512 MiB."""

    def limits(self) -> ImageLimits:
        """These limits as intake has them."""
        from pratique.intake.image.model import ImageLimits

        return ImageLimits(bytes_=self.unpacked, entries=self.entries, layers=self.layers, ratio=self.ratio)


def _package_url(value: str) -> str:
    from packageurl import PackageURL

    if value:
        PackageURL.from_string(value)
    return value


class Waiver(_Section):
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


class VexFile(_Section):
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


class AdvisorySection(_Section):
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


class LicenseSection(_Section):
    """SPDX identifiers (`*` at the end: any ending); without `allowed`, all that is not denied is permitted."""

    allowed: tuple[Text, ...] = ()
    denied: tuple[Text, ...] = ()
    accept_unknown: bool = False

    def lists(self) -> LicenseLists:
        """These lists as the licenses check has them."""
        from checks.licenses import LicenseLists

        return LicenseLists(self.allowed, self.denied, self.accept_unknown)


class PrivacySection(_Section):
    """Limits of the membership probe: AUC, true-positive rate at 1 % false positives, and the error of a bound."""

    auc_limit: Annotated[float, Field(gt=0.5, lt=1)] = 0.60
    tpr_at_1pct_limit: Annotated[float, Field(gt=0.01, lt=1)] = 0.05
    alpha: Annotated[float, Field(ge=0.001, le=0.2)] = 0.05

    def limits(self) -> PrivacyLimits:
        """These limits as the membership check has them."""
        from checks.membership.limits import PrivacyLimits

        return PrivacyLimits(auc_limit=self.auc_limit, tpr_limit=self.tpr_at_1pct_limit, alpha=self.alpha)


class Approval(_Section):
    """Who must say yes: how many persons, of how many organisations, and whether the submitter may be one."""

    persons: Annotated[int, Field(ge=1, le=20)] = 1
    organisations: Annotated[int, Field(ge=1, le=20)] = 1
    not_submitter: bool = True

    @model_validator(mode="after")
    def _reachable(self) -> Approval:
        if self.organisations > self.persons:
            raise ValueError("more organisations than persons can never be reached")
        return self


class Decider(_Section):
    """Somebody who may decide: for whom, what, with which key (a verifier line) they sign it, from when until when.

    `aliases` are other addresses of theirs: what they submitted under one of these they cannot admit.
    """

    identity: Text
    organisation: Text
    aliases: tuple[Text, ...] = ()
    may: Annotated[tuple[Literal["admit", "refuse", "withdraw"], ...], Field(min_length=1)] = (
        "admit",
        "refuse",
        "withdraw",
    )
    key: Text | None = None
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None

    def is_called(self, identity: str) -> bool:
        """Whether this is who calls themselves so."""
        return person_key(identity) in {person_key(name) for name in (self.identity, *self.aliases)}


class ApprovalSection(_Section):
    """Decisions that people must take. Where nobody is named in `people`, whoever may use the node's key may decide."""

    admit: Approval = Approval(persons=2, organisations=2)
    people: tuple[Decider, ...] = ()

    @model_validator(mode="after")
    def _one_entry_each(self) -> ApprovalSection:
        names = [key for one in self.people for key in {person_key(name) for name in (one.identity, *one.aliases)}]
        if len(names) != len(set(names)):
            raise ValueError("a person is named twice under people")
        keys = [person.key.split("+", 2)[-1] for person in self.people if person.key]
        if len(keys) != len(set(keys)):
            raise ValueError("two people have the same key")
        able = [person for person in self.people if "admit" in person.may]
        organisations = {organisation_key(person.organisation) for person in able}
        if self.people and (len(able) < self.admit.persons or len(organisations) < self.admit.organisations):
            raise ValueError("fewer people may admit than have to")
        return self


class AdmissionSection(_Section):
    """How long an admission holds at most, and earlier policies (by digest) whose admissions still count."""

    valid_for: Duration = Field(default="365d", validate_default=True)
    also_under: tuple[PinnedDigest, ...] = ()


class FederationHub(_Section):
    """Another verifier whose admissions count here: its id (`verifier.id` of its statements), key (a verifier line),
    the places that it may admit to, and its policies (by digest) that count.

    A `place` that ends in `/` or `:` stands for all that begin with it. `list_max_age` is how old the hub's newest
    withdrawal list may be: without a fresh one nobody knows what was taken back.
    """

    verifier: Text
    key: Text
    place: Text
    policies: Annotated[tuple[PinnedDigest, ...], Field(min_length=1)]
    list_max_age: Duration = Field(default="7d", validate_default=True)


class FederationSection(_Section):
    """Others whose admissions (`hubs`) and withdrawal lists (theirs, and of the keys in `withdrawals`) count here.

    `place` is what this node's own admissions are to, where it is a hub (without it: this node). Images under
    `overruled` may be admitted here although they stand in another's withdrawal list.
    """

    place: Text | None = None
    hubs: Annotated[tuple[FederationHub, ...], Field(max_length=20)] = ()
    withdrawals: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    overruled: tuple[PinnedDigest, ...] = ()

    @model_validator(mode="after")
    def _one_entry_each(self) -> FederationSection:
        if len({hub.verifier for hub in self.hubs}) != len(self.hubs):
            raise ValueError("a hub is named twice")
        return self


def _known_risks(risks: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(risks) - RISKS)
    if unknown:
        raise ValueError(f"not risks of the register: {', '.join(unknown)}")
    return risks


class Rule(_Section):
    """One demand: `require` (CEL) must be true of the check results, otherwise the verdict is at least `otherwise`.

    Where a check that `require` names is missing or could not decide, it is at least `undecided`.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)]
    risks: Annotated[tuple[str, ...], AfterValidator(_known_risks)] = ()
    stage: Stage
    require: Annotated[str, AfterValidator(check_expression)]
    otherwise: Literal[Outcome.REFUSE, Outcome.REVIEW]
    undecided: Literal[Outcome.REFUSE, Outcome.REVIEW] = Outcome.REVIEW
    say: Text


class Policy(_Section):
    """What a node demands. Without a rule that is asked before execution it is no policy."""

    api_version: Literal["pratique/policy/v1"] = Field(alias="apiVersion")
    name: Name
    description: str = ""
    trust: TrustSection = TrustSection()
    sandbox: SandboxSection = SandboxSection()
    image: ImageSection = ImageSection()
    advisories: AdvisorySection = Field(default_factory=AdvisorySection)
    licenses: LicenseSection = LicenseSection()
    privacy: PrivacySection = PrivacySection()
    approvals: ApprovalSection = ApprovalSection()
    admissions: AdmissionSection = Field(default_factory=AdmissionSection)
    federation: FederationSection = FederationSection()
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _rules_hold(self) -> Policy:
        ids = [rule.id for rule in self.rules]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have one id: {', '.join(twice)}")
        if not any(rule.stage is Stage.BEFORE for rule in self.rules):
            raise ValueError("no rule is asked before execution, so anything would be run")
        self.sandbox.ceilings.limits()
        return self
