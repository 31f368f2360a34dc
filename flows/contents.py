"""What is inside an image, asked without a submission: `pratique inspect`, `sbom` and `vulns`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from checks.interface import CheckResult, Status, inconclusive
from flows.node import Node
from flows.report import ImageFacts
from pratique.bounds import strict_json
from pratique.digests import Digest
from pratique.errors import CouldNotDecide, InvalidInput, PratiqueError
from pratique.intake.image.model import FileClass, Image, Inventory

if TYPE_CHECKING:
    from checks.sbom.model import Bom, Component
    from flows.inspection import Progress

_MAX_LISTED = 500
_MAX_DOCUMENT = 256 * 1024**2
_SHOWN_CLASSES = (FileClass.MODEL, FileClass.ARCHIVE, FileClass.SECRET, FileClass.PYTHON_STARTUP)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ListedFile(_Frozen):
    """A file that a check looked into. `size` in bytes."""

    path: str
    size: int
    sha256: Digest | None


class ListedComponent(_Frozen):
    """One component, as the SBOM has it."""

    name: str
    version: str
    purl: str
    kind: str
    origin: str
    licences: tuple[str, ...]
    path: str


class InventoryFacts(_Frozen):
    """What the layers hold. `bytes_unpacked` counts hidden files too; listings end after 500 files of a kind."""

    paths: int
    hidden: int
    bytes_unpacked: int
    setuid: tuple[str, ...]
    files: dict[str, tuple[ListedFile, ...]]
    components: tuple[ListedComponent, ...]


class ContentsReport(_Frozen):
    """Everything that is known of an image without running it."""

    api_version: Literal["pratique/contents/v1"] = "pratique/contents/v1"
    name: str
    image: ImageFacts
    status: Status
    checks: dict[str, CheckResult]
    inventory: InventoryFacts


@dataclass(frozen=True)
class Contents:
    """An opened image with its inventory; the components are read when they are first asked for."""

    node: Node
    image: Image
    inventory: Inventory

    @cached_property
    def sbom(self) -> tuple[CheckResult, Bom]:
        """Answer of the sbom check and the components that it found."""
        from checks.sbom import check_sbom

        return check_sbom(self.inventory, self.image, None, self.node.store)

    @property
    def bom(self) -> Bom:
        """The components and their document; raises `CouldNotDecide` where they are not known."""
        result, bom = self.sbom
        if not bom.document:
            raise CouldNotDecide("the components of the image are not known", cause=result.summary)
        return bom

    @property
    def components(self) -> Sequence[Component]:
        """The components; raises `CouldNotDecide` where they are not known."""
        return self.bom.components


@contextmanager
def open_contents(node: Node, name: str) -> Iterator[Contents]:
    """The image that `name` means (see `pratique.intake.image.locate`), inventoried; nothing of it is executed.

    Raises `UsageError`, `InvalidInput` and `CouldNotDecide` as opening and reading do.
    """
    from flows.opened import open_inventory

    with open_inventory(name, node.settings.work, node.policy.policy.image.limits()) as (image, inventory):
        yield Contents(node, image, inventory)


def inspect_contents(contents: Contents, progress: Progress) -> ContentsReport:
    """Ask every check that needs the image alone, one after the other."""
    results: dict[str, CheckResult] = {}
    for name, ask in _QUESTIONS.items():
        progress.started(name)
        results[name] = _answer(name, ask, contents)
        progress.finished(results[name])
    return ContentsReport(
        name=contents.image.name,
        image=ImageFacts.of(contents.image),
        status=worst_status(result.status for result in results.values()),
        checks=results,
        inventory=_facts(contents),
    )


def ask_vulnerabilities(
    node: Node, components: Sequence[Component], image: Digest | None = None, source: str | None = None
) -> CheckResult:
    """Known vulnerabilities of `components` (of `image`), under the node's policy, of whom that (or `source`) says.

    Raises `CouldNotDecide` where a VEX document that the policy adopts is not the one that it pins, or none.
    """
    from checks.advisories import Severity
    from checks.vulnerabilities import check_vulnerabilities

    section = node.policy.policy.advisories
    if source is not None and source != section.source:
        section = section.model_copy(update={"source": source, "service_url": ""})
    try:
        waivers = node.policy.waivers()
    except InvalidInput as error:
        raise CouldNotDecide(
            "the policy's waivers cannot be read", cause=str(error), next_step=error.next_step
        ) from error
    return check_vulnerabilities(
        components,
        node.settings.advisories,
        max_age=section.max_age,
        waivers=waivers,
        clock=node.clock,
        store=node.store,
        ecosystems=section.ecosystems,
        fail_at=Severity(section.fail_at),
        image=image,
        service=section.service(),
    )


def vulnerabilities_found(node: Node, result: CheckResult) -> dict[str, Any]:
    """The whole document that the vulnerabilities check left; empty where it could not answer."""
    evidence = next((one for one in result.evidence if one.name == "vulnerabilities.json"), None)
    data = node.store.get(evidence.digest) if evidence else b"{}"
    document: dict[str, Any] = strict_json(data, where="vulnerabilities.json", max_bytes=_MAX_DOCUMENT)
    return document


def worst_status(statuses: Iterable[Status]) -> Status:
    """`FAILED` before `INCONCLUSIVE` before `PASSED`; nothing asked is nothing decided."""
    found = set(statuses)
    for status in (Status.FAILED, Status.INCONCLUSIVE, Status.PASSED):
        if status in found:
            return status
    return Status.INCONCLUSIVE


def _answer(name: str, ask: Callable[[Contents], CheckResult], contents: Contents) -> CheckResult:
    begun = monotonic()
    try:
        result = ask(contents)
    except PratiqueError as error:
        version = str(import_module(f"checks.{name}").VERSION)
        result = inconclusive(name, version, str(error), fix=error.next_step)
    return result.model_copy(update={"seconds": monotonic() - begun})


def _image(contents: Contents) -> CheckResult:
    from checks.image import check_image

    return check_image(contents.image, contents.inventory)


def _sbom(contents: Contents) -> CheckResult:
    return contents.sbom[0]


def _licenses(contents: Contents) -> CheckResult:
    from checks.licenses import check_licenses

    return check_licenses(contents.components, contents.node.policy.policy.licenses.lists())


def _vulnerabilities(contents: Contents) -> CheckResult:
    return ask_vulnerabilities(contents.node, contents.components, contents.image.manifest_digest)


def _model_files(contents: Contents) -> CheckResult:
    from checks.model_files import check_model_files

    return check_model_files(contents.inventory)


def _code(contents: Contents) -> CheckResult:
    from checks.code import check_code

    return check_code(contents.image, contents.inventory, limits=contents.node.policy.policy.image.limits())


_QUESTIONS = {
    "image": _image,
    "sbom": _sbom,
    "licenses": _licenses,
    "vulnerabilities": _vulnerabilities,
    "model_files": _model_files,
    "code": _code,
}


def _facts(contents: Contents) -> InventoryFacts:
    inventory = contents.inventory
    files = {
        kind.value: tuple(ListedFile(path=e.path, size=e.size, sha256=e.sha256) for e in inventory.of_class(kind))
        for kind in _SHOWN_CLASSES
    }
    return InventoryFacts(
        paths=len(inventory.files),
        hidden=len(inventory.hidden),
        bytes_unpacked=inventory.bytes_,
        setuid=tuple(sorted(e.path for e in inventory.files.values() if e.setuid))[:_MAX_LISTED],
        files={kind: listed[:_MAX_LISTED] for kind, listed in files.items() if listed},
        components=tuple(
            ListedComponent(
                name=c.name,
                version=c.version,
                purl=c.purl,
                kind=c.kind,
                origin=c.origin.value,
                licences=c.licences,
                path=c.path,
            )
            for c in contents.sbom[1].components
        ),
    )
