"""How large an image may be, and how tools are run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from policies.sections.base import Name, Section
from policies.units import Duration, Size
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
            raise ValueError("; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())) from error
        return self

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
