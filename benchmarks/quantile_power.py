"""How often tests of quantile residuals reject at 5 %, for true and for wrong models, by simulation.

    python -m benchmarks.quantile_power              the table of the documentation, about two minutes
    python -m benchmarks.quantile_power --sets 20

Thirty groups of eight rows with a random intercept (standard deviation 0.7, on the scale of the linear predictor) and a
covariate x, fitted with 250 simulations. The models that are fitted know nothing of what the data have in addition.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

import interlace
from interlace.diagnostics.quantile import QuantileResiduals, quantile_residuals

__all__ = ["SCENARIOS", "TESTS", "rejections"]

TESTS = ("uniformity", "dispersion", "zero_inflation", "outliers")
FORMULA = "y ~ x + (1 | g)"
GROUPS, SIZE, SD = 30, 8, 0.7


def _design(rng: np.random.Generator) -> pd.DataFrame:
    g = np.repeat(np.arange(GROUPS), SIZE)
    x = rng.normal(size=g.size)
    return pd.DataFrame({"g": g, "x": x, "eta": 0.3 * x + rng.normal(0.0, SD, GROUPS)[g]})


def _counts(excess: float = 0.0, zeros: float = 0.0) -> Callable[[np.random.Generator], pd.DataFrame]:
    """Poisson counts with a mean of about 3, a normal effect of every row, or some counts replaced by zeros."""

    def draw(rng: np.random.Generator) -> pd.DataFrame:
        frame = _design(rng)
        mean = np.exp(1.0 + frame["eta"] + rng.normal(0.0, excess, len(frame)))
        return frame.assign(y=rng.poisson(mean) * (rng.random(len(frame)) >= zeros))

    return draw


def _proportions(excess: float = 0.0) -> Callable[[np.random.Generator], pd.DataFrame]:
    """Successes among ten trials, with a normal effect of every row."""

    def draw(rng: np.random.Generator) -> pd.DataFrame:
        frame = _design(rng)
        chance = 1.0 / (1.0 + np.exp(-frame["eta"] - rng.normal(0.0, excess, len(frame))))
        return frame.assign(y=rng.binomial(10, chance) / 10.0, m=10)

    return draw


def _normal(df: float = np.inf) -> Callable[[np.random.Generator], pd.DataFrame]:
    """A continuous response with errors of variance 1 from Student's t distribution."""

    def draw(rng: np.random.Generator) -> pd.DataFrame:
        frame = _design(rng)
        if np.isinf(df):
            return frame.assign(y=frame["eta"] + rng.normal(size=len(frame)))
        errors = rng.standard_t(df, len(frame)) / np.sqrt(df / (df - 2.0))
        return frame.assign(y=frame["eta"] + errors)

    return draw


#: Family (none for a linear model) and data.
SCENARIOS: dict[str, tuple[str | None, Callable[[np.random.Generator], pd.DataFrame]]] = {
    "linear, true": (None, _normal()),
    "linear, errors t(3)": (None, _normal(3.0)),
    "Poisson, true": ("poisson", _counts()),
    "Poisson, overdispersed (0.35)": ("poisson", _counts(excess=0.35)),
    "Poisson, 15 % zeros more": ("poisson", _counts(zeros=0.15)),
    "binomial, true": ("binomial", _proportions()),
    "binomial, overdispersed (0.5)": ("binomial", _proportions(excess=0.5)),
}


def rejections(sets: int, *, conditional: bool = False, seed: int = 1) -> pd.DataFrame:
    """Percentage of data sets for which each test rejects at 5 %.

    Parameters
    ----------
    sets : int
        Data sets of each scenario.
    conditional : bool
        Whether the simulations keep the random effects.
    seed : int

    Returns
    -------
    DataFrame
        One row a scenario, one column a test.
    """
    rows = {}
    for name, (family, draw) in SCENARIOS.items():
        rng = np.random.default_rng(seed)
        rejected = np.zeros(len(TESTS))
        for _ in range(sets):
            frame = draw(rng)
            weights = {"weights": "m"} if "m" in frame else {}
            fit = interlace.glmer(FORMULA, frame, family, **weights) if family else interlace.fit(FORMULA, frame)
            found = quantile_residuals(fit, seed=rng, conditional=conditional)
            rejected += [_p_value(found, test, family) <= 0.05 for test in TESTS]
        rows[name] = 100.0 * rejected / sets
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(TESTS))
    linear = [name for name, (family, _) in SCENARIOS.items() if family is None]
    table.loc[linear, "zero_inflation"] = np.nan
    return table


def _p_value(found: QuantileResiduals, test: str, family: str | None) -> float:
    """Of a test that makes sense for the family; 1 else."""
    if family is None and test == "zero_inflation":
        return 1.0
    return float(getattr(found, f"test_{test}")().p_value)


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200)
    sets = parser.parse_args().sets
    warnings.simplefilter("ignore")
    for conditional in (False, True):
        print(f"conditional={conditional}, {sets} data sets each\n")
        print("| | " + " | ".join(name.replace("_", " ") for name in TESTS) + " |")
        print("|---" * (len(TESTS) + 1) + "|")
        for name, row in rejections(sets, conditional=conditional).iterrows():
            print(f"| {name} | " + " | ".join("" if np.isnan(value) else f"{value:.0f}" for value in row) + " |")
        print()


if __name__ == "__main__":
    main()
