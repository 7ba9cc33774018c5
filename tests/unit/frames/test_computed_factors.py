"""``C()`` and ``factor()`` of an expression: evaluated first, then a factor, under formulaic's names."""

from __future__ import annotations

import formulaic
import numpy as np
import pandas as pd
import pytest

from interlace.errors import DataError
from interlace.frames.build import build_design
from interlace.frames.newdata import new_rows


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "i": rng.integers(0, 6, n),
            "x": rng.integers(0, 5, n) * 1.0,
            "b": rng.random(n) > 0.5,
            "f": rng.choice(list("abc"), n),
            "g": rng.integers(0, 6, n),
            "my x": rng.integers(0, 4, n),
        }
    )


TERMS = [
    "C(i > 4)",
    "C(i + 1)",
    "C(x)",
    "C(x + 1)",
    "C(i // 2)",
    "C(i / 2)",
    "C(-i)",
    "C(b + 0)",
    "C((i > 4) + 1)",
    "C(i * 2.0)",
    "C(i + x)",
    "C(f == 'a')",
    "C(i > 4, contr.sum)",
    "C(i + 1, contr.treatment(3))",
    "C(i + 1, contr.poly)",
    "C(i > 3) * C(x + 1)",
    "C(i + 1):f",
    "0 + C(i // 2)",
    "0 + C(i // 2, contr.sum)",
]


@pytest.mark.parametrize("term", TERMS)
def test_columns_and_names_are_formulaics(data: pd.DataFrame, term: str) -> None:
    design = build_design(f"y ~ {term} + (1 | g)", data)
    expected = formulaic.model_matrix(term, data)
    assert design.x_names == tuple(expected.columns)
    np.testing.assert_allclose(design.X, np.asarray(expected, dtype=float), atol=1e-12)


@pytest.mark.parametrize("term", TERMS)
def test_new_rows_are_coded_as_the_fitted_ones(data: pd.DataFrame, term: str) -> None:
    design = build_design(f"y ~ {term} + (1 | g)", data)
    np.testing.assert_allclose(new_rows(design, data.iloc[7:19]).X, design.X[7:19], atol=1e-12)


def test_r_spelling_odd_names_and_contrasts_argument(data: pd.DataFrame) -> None:
    names = build_design("y ~ factor(i > 4) + C(`my x` + 1) + (1 | g)", data).x_names
    assert names[1:3] == ("C(i > 4)[T.True]", "C(`my x` + 1)[T.2]")
    summed = build_design("y ~ C(i > 4) + (C(i > 4) | g)", data, contrasts={"C(i > 4)": "sum"})
    assert summed.x_names == ("Intercept", "C(i > 4)[S.False]")
    assert summed.terms[0].names == ("Intercept", "C(i > 4)[T.True]")


@pytest.mark.parametrize("term", ["C(log(x - 2))", "C(log(x - 2), contr.sum)"])
@pytest.mark.filterwarnings("error")
def test_rows_where_the_expression_is_undefined_are_left_out(data: pd.DataFrame, term: str) -> None:
    some = data[data.x != 2]
    design = build_design(f"y ~ {term} + (1 | g)", some)
    assert np.array_equal(design.rows, np.flatnonzero(some.x > 2))
    assert np.array_equal(new_rows(design, some).valid, some.x > 2)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("C(i + 1)", r"factor 'C\(i \+ 1\)' has level '10' that the fit has not seen"),
        ("C(i + 1, contr.sum)", r"factor 'C\(i \+ 1\)' has level '10' that the fit has not seen"),
    ],
)
def test_level_that_the_fit_has_not_seen_is_named(data: pd.DataFrame, term: str, message: str) -> None:
    design = build_design(f"y ~ {term} + (1 | g)", data)
    with pytest.raises(DataError, match=message):
        new_rows(design, data.assign(i=9))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("C(1 / i)", "infinite values"),
        ("C(f + 1)", "holds text or categories"),
        ("C(poly(x, 2))", "cannot be evaluated"),
    ],
)
def test_what_cannot_become_a_factor_is_named(data: pd.DataFrame, term: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_design(f"y ~ {term} + (1 | g)", data)


def test_column_called_like_the_computed_factor_is_refused(data: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="rename the column"):
        build_design("y ~ C(i > 4) + (1 | g)", data.assign(**{"C(i > 4)": 1}))
