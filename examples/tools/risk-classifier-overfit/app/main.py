"""Probability of progression within a year from clinical and radiomics features, by a forest of deep trees."""

import argparse
import csv
import math
import sys
from pathlib import Path

import numpy as np

LARGEST_TABLE = 64 * 1024 * 1024


class Unsuitable(Exception):
    """The table cannot be scored; the message is free of data."""


def read_table(path, model):
    """Identifiers, numeric features (rows, columns; NaN where missing) and one-hot categories of a UTF-8 CSV."""
    if path.stat().st_size > LARGEST_TABLE:
        raise Unsuitable("it is larger than 64 MiB")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, strict=True)
        header = next(rows, [])
        wanted = ["patient_id", *model["numeric"], *model["category_columns"]]
        missing = [name for name in wanted if header.count(name) != 1]
        if missing:
            raise Unsuitable("columns missing or given twice: " + ", ".join(missing))
        place = {name: header.index(name) for name in wanted}
        identifiers, numbers, categories = [], [], []
        for line, row in enumerate(rows, start=2):
            if len(row) != len(header):
                raise Unsuitable(f"line {line} has {len(row)} fields, the header has {len(header)}")
            identifiers.append(row[place["patient_id"]])
            numbers.append([number(row[place[name]]) for name in model["numeric"]])
            values = {name: row[place[name]].strip() for name in model["category_columns"]}
            categories.append([values[name] == level for name, level in model["levels"]])
    if not identifiers:
        raise Unsuitable("it has no rows")
    return identifiers, np.array(numbers, dtype=np.float64), np.array(categories, dtype=np.float64)


def number(text):
    """The finite number in a cell, NaN for anything else."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def load_model(path):
    """Arrays of the fitted model; never unpickled."""
    with np.load(path, allow_pickle=False) as file:
        model = {name: file[name] for name in file.files}
    model["numeric"] = [str(name) for name in model["numeric"]]
    model["levels"] = [tuple(str(pair).split("=", 1)) for pair in model["levels"]]
    model["category_columns"] = list(dict.fromkeys(name for name, _ in model["levels"]))
    return model


def probabilities(model, numbers, categories):
    """Share of trees whose leaf says 1, for each row; a missing number counts as the training median."""
    absent = np.isnan(numbers)
    if absent.mean() > 0.5:
        raise Unsuitable("more than half of the numbers are missing")
    matrix = np.hstack([np.where(absent, model["median"], numbers), categories])
    feature, threshold, left, right = (model[name] for name in ("feature", "threshold", "left", "right"))
    votes = np.zeros(len(matrix))
    rows = np.arange(len(matrix))
    for root in model["roots"]:
        node = np.full(len(matrix), root)
        while (inner := feature[node] >= 0).any():
            goes_left = matrix[rows, feature[node]] <= threshold[node]
            node = np.where(inner, np.where(goes_left, left[node], right[node]), node)
        votes += model["vote"][node]
    return votes / len(model["roots"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--input", type=Path, required=True, help="CSV, one row per patient")
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory for predictions.csv")
    parser.add_argument("--threshold", type=float, default=0.5, help="probability from which a patient is high risk")
    options = parser.parse_args()
    model = load_model(Path(__file__).with_name("model.npz"))
    try:
        identifiers, numbers, categories = read_table(options.input, model)
        scored = probabilities(model, numbers, categories)
    except Unsuitable as error:
        print(f"cannot score this table: {error}", file=sys.stderr)
        return 3
    except (OSError, UnicodeError, csv.Error) as error:
        print(f"cannot read the table: {type(error).__name__}", file=sys.stderr)
        return 3
    with (options.output / "predictions.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["patient_id", "probability", "high_risk"])
        for identifier, probability in zip(identifiers, scored, strict=True):
            writer.writerow([identifier, f"{probability:.6f}", int(probability >= options.threshold)])
    print(f"scored {len(identifiers)} patients, filled in {int(np.isnan(numbers).sum())} missing values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
