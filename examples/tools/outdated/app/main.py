"""Adds a column to a feature table: the ratio of two others, computed with numexpr."""

import argparse
import csv
import sys
from pathlib import Path

import numexpr
import numpy as np


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--input", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--numerator", default="volume")
    parser.add_argument("--denominator", default="surface")
    options = parser.parse_args()
    try:
        with options.input.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        above = np.array([float(row[options.numerator]) for row in rows])
        below = np.array([float(row[options.denominator]) for row in rows])
    except (KeyError, ValueError, UnicodeError) as error:
        print(f"cannot read the table: {type(error).__name__}", file=sys.stderr)
        return 3
    ratio = numexpr.evaluate("above / below")
    with (options.output / "ratios.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["ratio"])
        writer.writerows([f"{value:.6f}"] for value in ratio)
    print(f"computed {len(rows)} ratios")
    return 0


if __name__ == "__main__":
    sys.exit(main())
