"""How `app/model.npz` and the example output were made: python train.py

Learns from the same 1,000 patients as `risk-classifier` (its `evidence/` is copied), with trees grown until they know
every one of them by heart. The committed files are the ones in use; scikit-learn is needed here only.
"""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier

HERE = Path(__file__).resolve().parent
SIBLING = HERE.parent / "risk-classifier"
NOT_NUMERIC = {"patient_id", "site", "sex", "outcome"}
LEVELS = [("sex", "F"), ("sex", "M"), ("site", "north"), ("site", "south"), ("site", "west")]
TREES = 25


def fit(rows):
    """Arrays of a forest without bootstrap whose trees end in pure leaves (feature -1 marks a leaf)."""
    numeric = [name for name in rows[0] if name not in NOT_NUMERIC]
    numbers = np.array([[float(row[name] or "nan") for name in numeric] for row in rows])
    median = np.nanmedian(numbers, axis=0)
    categories = np.array([[row[name] == level for name, level in LEVELS] for row in rows], dtype=float)
    outcome = np.array([int(row["outcome"]) for row in rows])
    forest = RandomForestClassifier(TREES, bootstrap=False, max_features=3, random_state=7)
    forest.fit(np.hstack([np.where(np.isnan(numbers), median, numbers), categories]), outcome)
    trees = [tree.tree_ for tree in forest.estimators_]
    roots = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])[:-1]])
    return {
        "numeric": np.array(numeric),
        "levels": np.array([f"{name}={level}" for name, level in LEVELS]),
        "median": median,
        "roots": roots.astype(np.int32),
        "feature": np.concatenate([np.maximum(tree.feature, -1) for tree in trees]).astype(np.int8),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "left": np.concatenate([tree.children_left + root for tree, root in zip(trees, roots, strict=True)]).astype(np.int32),
        "right": np.concatenate([tree.children_right + root for tree, root in zip(trees, roots, strict=True)]).astype(np.int32),
        "vote": np.concatenate([tree.value[:, 0, :].argmax(axis=1) for tree in trees]).astype(np.int8),
    }


def main():
    for part in ("evidence", "test/example_input"):
        shutil.copytree(SIBLING / part, HERE / part, dirs_exist_ok=True)
    with (HERE / "evidence/members.csv").open(encoding="utf-8", newline="") as stream:
        members = list(csv.DictReader(stream))
    np.savez_compressed(HERE / "app/model.npz", **fit(members))
    command = [sys.executable, HERE / "app/main.py", "-i", HERE / "test/example_input/patients.csv"]
    subprocess.run([*command, "-o", HERE / "test/example_output"], check=True)


if __name__ == "__main__":
    main()
