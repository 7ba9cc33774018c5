"""How often intervals cover the truth: 500 data sets with 10 groups, by simulation.

    python -m benchmarks.coverage              the table of the documentation, about a minute
    python -m benchmarks.coverage --sets 100

Ten groups of five rows (two of them with two), a covariate x that varies within groups with a random slope, and z that
varies between them only. Fits by REML; profile intervals are those of the likelihood.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict

import numpy as np
import pandas as pd

import interlace

__all__ = ["coverage"]

FORMULA = "y ~ x + z + (1 | g) + (0 + x | g)"
BETA = {"Intercept": 1.0, "x": 0.5, "z": 0.3}
SD = {"sd_(Intercept)|g": 1.0, "sd_x|g": 0.5, "sigma": 1.0}
METHODS = ("satterthwaite", "kenward-roger", "residual", "normal")


def data_set(rng: np.random.Generator) -> pd.DataFrame:
    """One data set from the model."""
    g = np.repeat(np.arange(10), [5] * 8 + [2] * 2)
    x, z = rng.normal(size=g.size), rng.normal(size=10)[g]
    u = SD["sd_(Intercept)|g"] * rng.normal(size=10)[g] + SD["sd_x|g"] * rng.normal(size=10)[g] * x
    y = BETA["Intercept"] + BETA["x"] * x + BETA["z"] * z + u + SD["sigma"] * rng.normal(size=g.size)
    return pd.DataFrame({"y": y, "x": x, "z": z, "g": g.astype(str)})


def coverage(sets: int, seed: int = 1) -> pd.DataFrame:
    """Share of intervals at 95 % that hold the true value.

    Parameters
    ----------
    sets : int
        Number of data sets.
    seed : int

    Returns
    -------
    DataFrame
        One row a parameter, one column a kind of interval.
    """
    rng = np.random.default_rng(seed)
    held: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for _ in range(sets):
        result = interlace.fit(FORMULA, data_set(rng))
        for method in METHODS:
            _note(held, method, result.update(df_method=method).fe_conf_int, BETA)
        _note(held, "profile", result.confint(scale="sd").iloc[:, 1:], BETA | SD)
    table = pd.Series({key: 100.0 * np.mean(values) for key, values in held.items()}).unstack()
    return table.reindex(index=[*BETA, *SD], columns=[*METHODS, "profile"]).round(1)


def _note(
    held: dict[tuple[str, str], list[bool]], method: str, intervals: pd.DataFrame, truth: dict[str, float]
) -> None:
    for name, value in truth.items():
        low, high = intervals.loc[name]
        held[name, method].append(bool(low <= value <= high))


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=500)
    sets = parser.parse_args().sets
    warnings.simplefilter("ignore")
    table = coverage(sets)
    print("| parameter | " + " | ".join(table.columns) + " |")
    print("|---" * (len(table.columns) + 1) + "|")
    for name, row in table.iterrows():
        cells = ["-" if np.isnan(value) else f"{value:.1f}" for value in row]
        print(f"| `{str(name).replace('|', chr(92) + '|')}` | " + " | ".join(cells) + " |")
    print(f"\n{sets} data sets; Monte Carlo standard error {100 * np.sqrt(0.95 * 0.05 / sets):.1f}")


if __name__ == "__main__":
    main()
