"""Regressions of groups with factors, beside the formula evaluated anew on the rows of each group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.core.scaling import independent_columns
from interlace.diagnostics.group_regressions import group_coefficients, regressions
from interlace.frames.build import build_design

pytestmark = pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    g = np.repeat([f"g{i:02d}" for i in range(24)], rng.integers(3, 14, 24))
    n = g.size
    data = pd.DataFrame(
        {
            "g": g,
            "x": rng.normal(size=n),
            "f": rng.choice(list("abc"), n),
            "h": rng.choice(list("uvw"), n, p=[0.2, 0.3, 0.5]),
            "b": rng.integers(0, 2, n).astype(bool),
            "w": rng.uniform(0.2, 2.0, n),
        }
    )
    data.loc[data["g"] == "g03", "f"] = "b"
    data.loc[data["g"] == "g04", "h"] = "w"
    return data.assign(y=rng.normal(size=n) + data["x"] + rng.normal(size=24)[pd.factorize(g)[0]])


def _anew(formula: str, data: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Coefficients of each group from a design of its own; none where a factor of the formula has one level."""
    out = {}
    for label, part in data.groupby("g"):
        found = pd.Series(np.nan, index=names)
        factors = [name for name in ("f", "h", "b") if name in formula]
        if all(part[name].nunique() > 1 for name in factors):
            design = build_design(f"{formula} + (1 | g)", part)
            kept = independent_columns(np.linalg.qr(design.X, mode="r"))
            root = np.sqrt(part["w"].to_numpy())
            values, *_ = np.linalg.lstsq(root[:, None] * design.X[:, kept], root * design.y)
            found[[design.x_names[j] for j in kept]] = values
        out[label] = found
    return pd.DataFrame(out).T


@pytest.mark.parametrize(
    "formula", ["y ~ f * x", "y ~ x + f * h", "y ~ x + x:f", "y ~ 0 + f + x", "y ~ f + f:x", "y ~ b + h + I(x**2)"]
)
def test_a_group_has_its_own_reference_levels(data, formula):
    result = interlace.fit(f"{formula} + (1 | g)", data, weights="w")
    term = result.state.problem.design.terms[0]
    expected = _anew(formula, data, result.fe_params.index.tolist()).loc[term.levels]
    found = group_coefficients(result.state, term)
    assert expected.isna().any(axis=None)
    assert expected.notna().any().all()
    assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_residuals_do_not_depend_on_the_coding(data):
    fits = [interlace.fit(f"{formula} + (1 | g)", data) for formula in ("y ~ f * x", "y ~ 0 + f + f:x")]
    first, second = (regressions(fit.state, fit.state.problem.design.terms[0]) for fit in fits)
    assert_allclose(first.residual, second.residual, atol=1e-9)
    assert_allclose(first.leverage, second.leverage, atol=1e-9)
