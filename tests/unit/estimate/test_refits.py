"""Refits of linear models without some rows, where the cross-products of all rows have too few digits for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.estimate.refits import digits_lost, refit_without
from interlace.prediction.cross_validation import Fold, left_out


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """One response is a code for a missing value."""
    rng = np.random.default_rng(3)
    g, x = np.arange(120) % 12, rng.normal(size=120)
    y = 3.0 + x + rng.normal(size=12)[g] + rng.normal(size=120)
    y[7] = 1e7
    return pd.DataFrame({"y": y, "x": x, "g": g})


@pytest.mark.filterwarnings("ignore:singular fit")
def test_a_gross_outlier_takes_no_digits_with_it(frame: pd.DataFrame) -> None:
    state = interlace.fit("y ~ x + (1 | g)", frame).state
    lost = np.flatnonzero(frame["g"] == 7)
    fits = refit_without(state, [lost, np.array([8])])
    other = interlace.fit("y ~ x + (1 | g)", frame.drop(index=lost)).state
    assert digits_lost(state, fits).tolist() == [True, False]
    assert fits.converged.all()
    assert fits.fell_back.tolist()[0]
    assert_allclose(fits.beta[0], other.beta, rtol=1e-9)
    assert fits.sigma[0] == pytest.approx(other.sigma, rel=1e-9)
    assert fits.criterion[0] == pytest.approx(other.criterion, rel=1e-10)


@pytest.mark.filterwarnings("ignore:singular fit")
def test_folds_without_it_are_fitted_from_their_rows(frame: pd.DataFrame) -> None:
    state = interlace.fit("y ~ x + (1 | g)", frame).state
    folds = [Fold(rows, rows) for rows in (np.flatnonzero(frame["g"] == level) for level in (7, 8))]
    without, with_outlier = left_out(state, folds)
    assert without is None
    assert with_outlier is not None
