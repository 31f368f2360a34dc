"""Removes differences between scanners or sites from radiomics features with ComBat (Johnson 2007, Fortin 2018)."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from neuroCombat import neuroCombat


class Unsuitable(Exception):
    """The table cannot be harmonised; the message is free of data."""


def harmonise(table: pd.DataFrame, batch: str, keep: list[str]) -> pd.DataFrame:
    if {batch, *keep} - set(table.columns):
        raise Unsuitable("a column that was asked for is not in the table")
    candidates = table.drop(columns=[batch, *keep]).apply(pd.to_numeric, errors="coerce")
    features = candidates.loc[:, candidates.notna().mean() > 0.5]
    complete = np.isfinite(features).all(axis=1) & table[batch].notna()
    values, sites = features[complete], table.loc[complete, batch].astype(str)
    counts = sites.value_counts()
    if values.shape[1] < 2 or len(counts) < 2 or counts.min() < 2:
        raise Unsuitable("harmonisation needs two features and two batches with two complete rows each")
    varying = [name for name in values.columns if values[name].groupby(sites).var().min() > 0]
    result = neuroCombat(
        dat=values[varying].T.to_numpy(), covars=pd.DataFrame({batch: sites.to_numpy()}), batch_col=batch
    )
    harmonised = pd.DataFrame(result["data"].T, columns=varying, index=values.index)
    return pd.concat([table.loc[complete, [*keep, batch]], harmonised.round(6)], axis=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--batch-column", default="site")
    parser.add_argument("--keep", action="append", default=[], help="column to pass through; may be repeated")
    options = parser.parse_args()
    try:
        table = pd.read_csv(options.table, encoding="utf-8")
        result = harmonise(table, options.batch_column, options.keep)
    except Unsuitable as error:
        print(f"cannot harmonise this table: {error}", file=sys.stderr)
        return 3
    except (ValueError, KeyError, UnicodeError, np.linalg.LinAlgError) as error:
        print(f"cannot harmonise this table: {type(error).__name__}", file=sys.stderr)
        return 3
    result.to_csv(options.output / "harmonised.csv", index=False, lineterminator="\n")
    print(f"harmonised {len(result)} of {len(table)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
