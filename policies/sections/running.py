"""How large an image may be, and how tools are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from policies.sections.base import Name, Section
from policies.units import Duration, Size, duration_in_words, size_in_words
from pratique.intake.document import ProfileName

if TYPE_CHECKING:
    from pratique.intake.image.model import ImageLimits
    from sandbox.spec import Limits


class Ceilings(Section):
    """The most that any run may have; what is not named keeps the sandbox's own default."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    memory: Size | None = None
    pids: Annotated[int, Field(gt=0)] | None = None
    output: Size | None = None
    output_files: Annotated[int, Field(gt=0)] | None = None
    tmp: Size | None = None
    log: Size | None = None
    wall: Duration | None = None

    @model_validator(mode="after")
    def _enforceable(self) -> Ceilings:
        try:
            if self.model_fields_set:
                self.limits()
        except ValidationError as error:
            raise ValueError("; ".join(map(_told, error.errors()))) from error
        return self

    def limits(self) -> Limits:
        """These ceilings as the sandbox has them; raises pydantic's `ValidationError` for what it cannot enforce."""
        from sandbox.spec import Limits

        given: dict[str, Any] = {_LIMIT.get(name, name): getattr(self, name) for name in type(self).model_fields}
        if self.wall:
            given["wall_seconds"] = self.wall.total_seconds()
        return Limits(**{name: value for name, value in given.items() if value is not None})


_LIMIT = {"output": "output_bytes", "tmp": "tmp_bytes", "log": "log_bytes", "wall": "wall_seconds"}
"""What the sandbox calls a ceiling, where that is not the policy's own word."""
_plainly = "{:.9g}".format
_IN_UNITS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(("memory", "output", "tmp", "log"), size_in_words),
    "wall": duration_in_words,
}


def _told(mistake: Mapping[str, Any]) -> str:
    """A mistake of the sandbox's limits in the words and units of the policy."""
    limit, context = str(mistake["loc"][0]), mistake.get("ctx", {})
    name = next((name for name, own in _LIMIT.items() if own == limit), limit)
    for bound, words in (("le", "at most"), ("ge", "at least"), ("gt", "more than")):
        if bound in context:
            return f"{name}: it must be {words} {_IN_UNITS.get(name, _plainly)(context[bound])}"
    return f"{name}: {mistake['msg']}"


def _known_weaknesses(ids: tuple[str, ...]) -> tuple[str, ...]:
    from sandbox.doctor import WEAKNESSES

    unknown = sorted(set(ids) - WEAKNESSES)
    if unknown:
        raise ValueError(
            f"no weaknesses that are looked for: {', '.join(unknown)}; {', '.join(sorted(WEAKNESSES))} are"
        )
    return ids


class SandboxSection(Section):
    """How tools are run: ceilings, runtime, profiles a tool may ask for, and weaknesses of the node that forbid it."""

    ceilings: Ceilings = Ceilings()
    runtime: Name = "runc"
    profiles: tuple[ProfileName, ...] = ("default",)
    refuse_weaknesses: Annotated[tuple[Name, ...], AfterValidator(_known_weaknesses)] = ()
    """Identifiers of `pratique doctor`: with one of them nothing is run on this node."""


class ImageSection(Section):
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
