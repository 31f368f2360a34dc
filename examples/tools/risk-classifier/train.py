"""How `app/model.npz`, the samples in `evidence/` and the example in `test/` were made: python train.py

The cohort is synthetic (seeded); 2,000 patients are split at random into 1,000 that the model learns from (members)
and 1,000 that it never sees (non-members). The committed files are the ones in use; scikit-learn is needed here only.
"""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
SEED = 20_240_611
NUMERIC = {  # name: (mean, standard deviation, decimals, effect on the log odds of a standard deviation)
    "age": (62.0, 11.0, 0, 0.55),
    "bmi": (26.5, 4.4, 1, 0.10),
    "systolic_bp": (134.0, 17.0, 0, 0.15),
    "creatinine": (82.0, 19.0, 1, 0.25),
    "crp": (9.0, 5.0, 2, 0.45),
    "haemoglobin": (13.4, 1.5, 1, -0.35),
    "lesion_volume": (14.0, 6.0, 2, 0.80),
    "texture_entropy": (4.6, 0.7, 3, 0.60),
    "texture_contrast": (38.0, 12.0, 2, 0.20),
    "sphericity": (0.62, 0.09, 3, -0.40),
    "mean_suv": (5.4, 1.8, 2, 0.30),
    "kurtosis": (3.4, 0.8, 3, 0.0),
}
LEVELS = [("sex", "F"), ("sex", "M"), ("site", "north"), ("site", "south"), ("site", "west")]
COLUMNS = ["patient_id", "site", "sex", *NUMERIC, "outcome"]
MISSING = 0.02


def cohort(generator, size):
    """Rows (dict of text) of `size` patients."""
    standard = generator.normal(size=(size, len(NUMERIC)))
    effects = np.array([effect for *_, effect in NUMERIC.values()])
    odds = standard @ effects + 0.8 * standard[:, 0] * standard[:, 6] - 0.4
    outcome = generator.random(size) < 1.0 / (1.0 + np.exp(-odds))
    absent = generator.random(standard.shape) < MISSING
    numbers = generator.permutation(90_000)[:size] + 10_000
    rows = []
    for i in range(size):
        row = {"patient_id": f"RC-{numbers[i]}", "outcome": str(int(outcome[i]))}
        row["site"] = str(generator.choice(["north", "south", "west"], p=[0.5, 0.3, 0.2]))
        row["sex"] = str(generator.choice(["F", "M"]))
        for j, (name, (mean, deviation, decimals, _)) in enumerate(NUMERIC.items()):
            value = max(mean + deviation * standard[i, j], 0.05 * mean)
            row[name] = "" if absent[i, j] else f"{value:.{decimals}f}"
        rows.append(row)
    return rows


def write(path, columns, rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def fit(rows):
    """Arrays of a regularised logistic regression on standardised features."""
    numbers = np.array([[float(row[name] or "nan") for name in NUMERIC] for row in rows])
    median = np.nanmedian(numbers, axis=0)
    filled = np.where(np.isnan(numbers), median, numbers)
    mean, scale = filled.mean(axis=0), filled.std(axis=0)
    categories = np.array([[row[name] == level for name, level in LEVELS] for row in rows], dtype=float)
    outcome = np.array([int(row["outcome"]) for row in rows])
    model = LogisticRegression(C=0.05).fit(np.hstack([(filled - mean) / scale, categories]), outcome)
    return {
        "numeric": np.array(list(NUMERIC)),
        "levels": np.array([f"{name}={level}" for name, level in LEVELS]),
        "median": median,
        "lowest": mean - 5 * scale,
        "highest": mean + 5 * scale,
        "mean": mean,
        "scale": scale,
        "coefficients": model.coef_[0],
        "intercept": model.intercept_[0],
    }


def main():
    generator = np.random.default_rng(SEED)
    patients = cohort(generator, 2_000)
    members, non_members = patients[:1_000], patients[1_000:]
    np.savez(HERE / "app/model.npz", **fit(members))
    write(HERE / "evidence/members.csv", COLUMNS, members)
    write(HERE / "evidence/non_members.csv", COLUMNS, non_members)
    example = HERE / "test/example_input/patients.csv"
    fresh = [{**row, "notes": "seen at follow-up"} for row in cohort(generator, 24)]
    write(example, ["patient_id", "site", "sex", *NUMERIC, "notes"], fresh)
    command = [sys.executable, HERE / "app/main.py", "-i", example, "-o", HERE / "test/example_output"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
