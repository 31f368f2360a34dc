"""Pictures of measured things as SVG: resource use, the privacy probe's ROC curve, a slice with the tool's mask.

The data come from evidence that Pratique wrote itself; they are read with bounds all the same.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checks.interface import Evidence
from pratique.bounds import strict_json
from pratique.errors import PratiqueError
from records.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flows.report import Report

MAX_EVIDENCE_BYTES = 16 << 20
MAX_POINTS = 5000
MAX_SIDE = 1024
MAX_NUMBER = 1e15


@dataclass(frozen=True)
class Picture:
    """`source` is a data URI of base64, safe as it is; `caption` says what is seen, for those who cannot see it too."""

    source: str
    caption: str


def pictures(report: Report, store: Path) -> tuple[Picture, ...]:
    """Every picture that the report has evidence for; evidence that is gone or odd gives none."""
    drawn = []
    for result in report.checks.values():
        for evidence in result.evidence:
            draw = _DRAWN.get(evidence.name)
            picture = _drawn(draw, evidence, Store(store)) if draw else None
            if picture is not None:
                drawn.append(picture)
    return tuple(drawn)


def _drawn(draw: Callable[[Axes, Any], str], evidence: Evidence, store: Store) -> Picture | None:
    from matplotlib.figure import Figure

    if evidence.size > MAX_EVIDENCE_BYTES:
        return None
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    try:
        data = strict_json(store.get(evidence.digest), where=evidence.name, max_bytes=MAX_EVIDENCE_BYTES)
        caption = draw(figure.add_subplot(), data)
    except (PratiqueError, KeyError, TypeError, ValueError, OverflowError):
        return None
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return Picture("data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode(), caption)


def _number(value: Any) -> float:
    """A number that can be drawn; raises `ValueError`, `TypeError` or `OverflowError`."""
    number = float(value)
    if not abs(number) < MAX_NUMBER:
        raise ValueError("out of range")
    return number


def _resources(axes: Axes, data: Any) -> str:
    samples = data["samples"][:MAX_POINTS]
    times = [_number(sample["t"]) for sample in samples]
    memory = [_number(sample["memory"]) / 1e6 for sample in samples]
    if not times:
        raise ValueError("no samples")
    axes.plot(times, memory, color="#1f6f8b")
    axes.fill_between(times, memory, alpha=0.15, color="#1f6f8b")
    axes.set(xlabel="seconds", ylabel="memory, MB", ylim=(0, None))
    processor = axes.twinx()
    processor.plot(times, [_number(sample["cpu"]) for sample in samples], color="#b5651d", linestyle="--")
    processor.set(ylabel="CPU seconds (dashed)", ylim=(0, None))
    return f"Memory and CPU time of the tool on the synthetic cohort; at most {max(memory):.0f} MB."


def _roc(axes: Axes, data: Any) -> str:
    points = data["roc"][:MAX_POINTS]
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axes.plot([_number(x) for x, _ in points], [_number(y) for _, y in points], color="#7b2d43")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return "ROC curve of the membership attack: the further above the diagonal, the better members are told apart."


def _slice(axes: Axes, data: Any) -> str:
    import numpy as np

    image = np.asarray(data["image"], dtype=np.uint8)
    mask = np.asarray(data["mask"], dtype=np.uint8)
    if image.ndim != 2 or image.shape != mask.shape or not image.size or max(image.shape) > MAX_SIDE:
        raise ValueError("not a slice")
    axes.imshow(image, cmap="gray", interpolation="nearest")
    axes.imshow(np.ma.masked_equal(mask, 0), cmap="autumn", alpha=0.55, interpolation="nearest")
    axes.set_axis_off()
    return f"A slice of a synthetic volume with the tool's mask ({int((mask > 0).sum())} voxels of it marked)."


_DRAWN: dict[str, Callable[[Axes, Any], str]] = {
    "resource-curve.json": _resources,
    "membership.json": _roc,
    "slice.json": _slice,
}
