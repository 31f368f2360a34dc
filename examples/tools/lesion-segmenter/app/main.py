"""Segments bright lesions in CT volumes: NIfTI in, one mask per volume and a table of volumes out."""

import argparse
import csv
import sys
from pathlib import Path

import nibabel
import numpy as np

BODY_ABOVE_HU = -300.0
SUFFIXES = (".nii", ".nii.gz")


def smooth(volume: np.ndarray) -> np.ndarray:
    """Mean over each voxel's 3 x 3 x 3 neighbourhood."""
    for axis in range(3):
        padded = np.pad(volume, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        length = volume.shape[axis]
        volume = sum(np.take(padded, range(k, k + length), axis=axis) for k in range(3)) / 3.0
    return volume


def label(mask: np.ndarray) -> np.ndarray:
    """Connected components (6 neighbours) by spreading each component's smallest index."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = labels.copy()
        for axis in range(3):
            for step in (1, -1):
                shifted = np.roll(labels, step, axis)
                edge = [slice(None)] * 3
                edge[axis] = 0 if step == 1 else -1
                shifted[tuple(edge)] = 0
                spread = np.where(mask & (shifted > 0) & (shifted < spread), shifted, spread)
        if np.array_equal(spread, labels):
            return labels
        labels = spread


def segment(volume: np.ndarray, sensitivity: float, smallest: int) -> tuple[np.ndarray, int]:
    """Mask of the voxels that stand out from the body, and how many lesions they form."""
    body = volume > BODY_ABOVE_HU
    if not body.any():
        return np.zeros(volume.shape, np.uint8), 0
    middle = np.median(volume[body])
    spread = max(np.median(np.abs(volume[body] - middle)) * 1.4826, 1.0)
    labels = label((smooth(volume) > middle + sensitivity * spread) & body)
    names, sizes = np.unique(labels[labels > 0], return_counts=True)
    kept = names[sizes >= smallest]
    return np.isin(labels, kept).astype(np.uint8), len(kept)


def read(path: Path) -> nibabel.Nifti1Image:
    image = nibabel.load(path)
    volume = np.asarray(image.dataobj, dtype=np.float32)
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise ValueError("expected a three-dimensional volume of finite numbers")
    return nibabel.Nifti1Image(volume, image.affine)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--input", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--sensitivity", type=float, default=3.0)
    parser.add_argument("--smallest", type=int, default=20, help="voxels")
    options = parser.parse_args()
    paths = sorted(path for path in options.input.iterdir() if path.name.endswith(SUFFIXES))
    if not paths:
        print("no NIfTI volume in the input directory", file=sys.stderr)
        return 2
    rows = []
    for number, path in enumerate(paths, start=1):
        try:
            image = read(path)
        except Exception as error:  # a broken volume must not say anything about its patient
            print(f"volume {number} of {len(paths)} cannot be read: {type(error).__name__}", file=sys.stderr)
            return 3
        mask, lesions = segment(np.asarray(image.dataobj), options.sensitivity, options.smallest)
        case = path.name.removesuffix(".gz").removesuffix(".nii")
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), options.output / f"{case}_mask.nii.gz")
        millilitres = float(mask.sum()) * abs(np.linalg.det(image.affine[:3, :3])) / 1000.0
        rows.append([case, lesions, f"{millilitres:.3f}"])
    with (options.output / "volumes.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "lesions", "volume_ml"])
        writer.writerows(rows)
    print(f"segmented {len(rows)} volumes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
