"""What a node or laptop is set up with: environment variables `PRATIQUE_*`, command line options before them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_PREFIX = "PRATIQUE_"


def default_home() -> Path:
    """Where Pratique keeps its state: `$XDG_DATA_HOME/pratique`, or `~/.local/share/pratique`."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "pratique"


class Settings(BaseModel):
    """Settings of one installation; every field can be given as `PRATIQUE_<NAME>`.

    Read here, not by `pydantic-settings`: its import costs every command a tenth of a second.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    home: Path = Field(default_factory=default_home)
    policy: Path | None = None
    """The node's policy; without one the policy that ships with Pratique, which trusts nobody, applies."""
    origin: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9./-]{2,127}$")] = "pratique.local/ledger"
    """Name of the node's ledger in its checkpoints (C2SP tlog-checkpoint origin)."""

    @field_validator("home", "policy", mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        """An empty one would mean the current directory."""
        if given == "":
            raise ValueError("it is empty")
        return given

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        found = {name: os.environ.get(_PREFIX + name.upper()) for name in cls.model_fields}
        return {name: value for name, value in found.items() if value is not None} | given

    @property
    def store(self) -> Path:
        """Content-addressed evidence."""
        return self.home / "store"

    @property
    def ledger(self) -> Path:
        """The transparency log."""
        return self.home / "ledger"

    @property
    def admissions(self) -> Path:
        """The index over the ledger that says who is admitted; may be deleted at any time."""
        return self.home / "admissions"

    @property
    def images(self) -> Path:
        """Where the images of inspected tools came from, should the engine have lost them."""
        return self.home / "images"

    @property
    def keys(self) -> Path:
        """The node's signing keys, readable by their owner only."""
        return self.home / "keys"

    @property
    def advisories(self) -> Path:
        """Snapshots of advisories."""
        return self.home / "advisories"

    @property
    def runs(self) -> Path:
        """One directory a run, with its report."""
        return self.home / "runs"

    @property
    def work(self) -> Path:
        """Scratch space of running inspections; what a killed run leaves here is removed by the next one."""
        return self.home / "work"

    @property
    def sandbox(self) -> Path:
        """State of the sandbox launcher."""
        return self.home / "sandbox"

    @property
    def server(self) -> Path:
        """State of the local orchestration server."""
        return self.home / "server"
