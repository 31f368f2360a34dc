"""From the sinkhole's lines to observations; they describe what a hostile tool sent, so they are read with bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pratique.bounds import strict_json
from pratique.errors import InvalidInput
from sandbox.record import Observation, Observed

MAX_LINE = 16 * 1024
MAX_LINES = 6000


@dataclass(frozen=True)
class Report:
    """What the sinkhole saw, and whether it saw everything."""

    observed: Observed
    detail: str
    observations: tuple[Observation, ...]


def is_ready(data: bytes) -> bool:
    """Whether the sinkhole has said that it listens."""
    return data.startswith(b'{"ready"') and b"\n" in data


def parse_report(data: bytes) -> Report:
    """Read the sinkhole's whole output; never raises, anything unexpected makes the report `PARTIAL`."""
    lines = data.split(b"\n")
    observations: list[Observation] = []
    troubles: list[str] = []
    end: dict[str, Any] | None = None
    if len(lines) > MAX_LINES:
        troubles.append("more lines than expected")
    for line in lines[:MAX_LINES]:
        if not line:
            continue
        value = _object(line)
        if value is None:
            troubles.append("a line that is not a record")
        elif "ready" in value:
            continue
        elif "end" in value:
            end = value
        elif (found := _observation(value)) is None:
            troubles.append("a record of an unknown form")
        else:
            observations.append(found)
    troubles.extend(_losses(end))
    state = Observed.PARTIAL if troubles else Observed.COMPLETE
    return Report(state, "; ".join(dict.fromkeys(troubles)), tuple(observations))


def _losses(end: dict[str, Any] | None) -> list[str]:
    if end is None:
        return ["the sinkhole ended early"]
    troubles = []
    if end.get("dropped") != 0:
        troubles.append(f"{end.get('dropped')} attempts beyond the number that is written down")
    if end.get("lost_packets") != 0:
        troubles.append(f"{end.get('lost_packets')} packets came too fast to be looked at")
    return troubles


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = strict_json(line, where="sinkhole", max_bytes=MAX_LINE, max_depth=3)
    except InvalidInput:
        return None
    return value if isinstance(value, dict) else None


def _observation(value: dict[str, Any]) -> Observation | None:
    try:
        return Observation.model_validate(value)
    except ValidationError:
        return None
