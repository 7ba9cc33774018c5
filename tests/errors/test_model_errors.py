"""Models that the data cannot carry, and numbers that arithmetic cannot: a clear error, or an answer that is right."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace import Control
from interlace.errors import ConvergenceWarning, ModelError, RankDeficiencyWarning
from interlace.estimate import derived, lmm

METHODS = pytest.mark.parametrize("method", ["REML", "ML"])


@pytest.fixture
def data() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g, h, x = np.arange(120) % 12, rng.integers(0, 6, 120), rng.normal(size=120)
    y = 1 + 2 * x + rng.normal(size=12)[g] + 0.5 * rng.normal(size=6)[h] + rng.normal(size=120)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "zero": 0.0, "noise": rng.normal(size=120)})


def refused(message: str, formula: str, frame: pd.DataFrame, **kwargs) -> None:
    """The error is a ModelError (a ValueError), raised without any numerical warning before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(ModelError, match=message) as caught:
            interlace.fit(formula, frame, **kwargs)
    assert isinstance(caught.value, ValueError)


def fitted(formula: str, frame: pd.DataFrame, **kwargs):
    """Result of a fit that may not give any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return interlace.fit(formula, frame, **kwargs)


def quietly(formula: str, frame: pd.DataFrame, **kwargs):
    """Result of a fit, and the categories of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = interlace.fit(formula, frame, **kwargs)
    return result, [w.category for w in caught]


# -- grouping factors ----------------------------------------------------------------------------------------------


@METHODS
def test_one_level(data, method):
    refused("'g' has only one level in the rows used .*'a'", "y ~ x + (1 | g)", data.assign(g="a"), method=method)
    message = r"'h' has only one level in the rows used \(1.5\)"
    refused(message, "y ~ x + (1 | g) + (1 | h)", data.assign(h=1.5), method=method)


def test_one_level_left_after_missing_values(data):
    refused("only one level", "y ~ x + (1 | g)", data.assign(x=data["x"].where(data["g"] == 3)))


@METHODS
def test_as_many_levels_as_rows(data, method):
    refused(
        r"'g' has as many levels \(120\) as there are rows", "y ~ (1 | g)", data.assign(g=range(120)), method=method
    )


@METHODS
def test_more_random_effects_than_rows(data, method):
    frame = data.assign(g=np.arange(120) % 60)
    refused(r"\(Intercept \+ x \| g\) has 120 random effects \(60 levels x 2\)", "y ~ (x | g)", frame, method=method)
    fitted("y ~ x + (1 | g)", data, method=method)


def test_two_and_three_rows():
    two = pd.DataFrame({"y": [1.0, 2.0], "g": [0, 1]})
    refused("as many levels", "y ~ 1 + (1 | g)", two)
    refused("has only one level", "y ~ 1 + (1 | g)", two.assign(g=0))
    refused(r"constant \(1 in all 1 rows\)", "y ~ 1 + (1 | g)", two.iloc[:1])
    three = pd.DataFrame({"y": [1.0, 5.0, 5.5], "g": [0, 1, 1], "x": [0.0, 1.0, 3.0]})
    result, _ = quietly("y ~ 1 + (1 | g)", three)
    within = 0.125
    assert result.sigma**2 == pytest.approx(within, rel=1e-6)
    refused("2 fixed-effects coefficients for 2 rows|as many levels", "y ~ x + (1 | g)", three.iloc[:2])
    refused("3 fixed-effects coefficients for 3 rows", "y ~ x + I(x ** 2) + (1 | g)", three)


@METHODS
def test_groups_of_one_row_mostly(data, method):
    """Only ten rows tell the group variance from the residual one; the optimum is that of a fine grid all the same."""
    frame = data.assign(g=np.r_[np.arange(110), np.repeat([110, 111], 5)])
    result, _ = quietly("y ~ x + (1 | g)", frame, method=method)
    reached = result.state.criterion
    for theta in np.linspace(0.0, 2.0, 41):
        other = lmm.at_theta(result.state.problem.design, np.array([theta]), reml=method == "REML")
        assert other.criterion >= reached - 1e-8


def test_one_pair_among_single_rows(data):
    result, _ = quietly("y ~ x + (1 | g)", data.assign(g=np.r_[np.arange(119), 118]))
    assert np.isfinite(result.fe_params).all()
    assert result.state.opt.converged


@METHODS
def test_the_same_factor_under_two_names(data, method):
    """Only the sum of the two variances is identified."""
    one = fitted("y ~ x + (1 | g)", data, method=method)
    two, _ = quietly("y ~ x + (1 | g) + (1 | g2)", data.assign(g2=data["g"]), method=method)
    assert two.state.criterion == pytest.approx(one.state.criterion, abs=1e-7)
    total = sum(float(c[0, 0]) for c in derived.term_covariances(two.state))
    assert total == pytest.approx(float(derived.term_covariances(one.state)[0][0, 0]), rel=1e-4)


# -- the response --------------------------------------------------------------------------------------------------


@METHODS
def test_constant_response(data, method):
    refused(r"response 'y' is constant \(3 in all 120 rows\)", "y ~ x + (1 | g)", data.assign(y=3.0), method=method)
    refused("constant", "y ~ 0 + (1 | g)", data.assign(y=0.0), method=method)


def test_constant_response_less_an_offset_that_is_not(data):
    result = fitted("y ~ x + (1 | g)", data.assign(y=0.0), offset=-data["y"].to_numpy())
    expected = fitted("y ~ x + (1 | g)", data)
    assert result.state.criterion == pytest.approx(expected.state.criterion, abs=1e-8)
    refused("perfect fit", "y ~ x + (1 | g)", data, offset=data["y"].to_numpy())


@METHODS
def test_perfect_fit_of_the_fixed_effects(data, method):
    refused(r"fixed effects reproduce the response 'y' exactly", "y ~ x + (1 | g)", data.assign(y=3 * data["x"] + 1))
    exact = data.assign(y=1e9 * data["x"] - 7e12)
    refused("perfect fit", "y ~ x + (x | g) + (1 | h)", exact, method=method)
    refused("perfect fit", "y ~ x + (1 | g)", exact, weights=np.linspace(1, 2, 120), method=method)


PERFECT = {
    "constant within groups": ("y ~ 1 + (1 | g)", lambda d: d.assign(y=d["g"] * 1.5)),
    "the same with a covariate": ("y ~ x + (1 | g)", lambda d: d.assign(y=np.sqrt(d["g"]))),
    "lines within groups": ("y ~ x + (x | g)", lambda d: d.assign(y=d["x"] * d["g"] + np.cos(d["g"]))),
    "crossed effects": ("y ~ 1 + (1 | g) + (1 | h)", lambda d: d.assign(y=d["g"] ** 1.5 + np.sin(d["h"]))),
    "nested effects": ("y ~ 1 + (1 | g) + (1 | f)", lambda d: d.assign(f=d["g"] // 3, y=np.sin(d["g"]) + d["g"] // 3)),
    "no fixed effects": ("y ~ 0 + (1 | g)", lambda d: d.assign(y=np.sin(d["g"]))),
    "every row three times": (
        "y ~ x + (1 | g)",
        lambda d: pd.concat([d.iloc[:40]] * 3).assign(g=np.tile(np.arange(40), 3)),
    ),
    "every row three times, slopes": (
        "y ~ x + (x | g)",
        lambda d: pd.concat([d.iloc[:40]] * 3).assign(g=np.tile(np.arange(40), 3)),
    ),
}


@METHODS
@pytest.mark.parametrize(("formula", "make"), PERFECT.values(), ids=PERFECT.keys())
def test_perfect_fit_of_the_random_effects(data, formula, make, method):
    refused(r"random effects of 'g'.* reproduce the response 'y' .*\(perfect fit\)", formula, make(data), method=method)


@pytest.mark.parametrize("optimizer", ["lbfgsb", "bobyqa"])
def test_perfect_fit_with_other_optimizers(data, optimizer):
    formula, make = PERFECT["constant within groups"]
    refused("perfect fit", formula, make(data), optimizer=optimizer)


def one_way(residual: float) -> tuple[pd.DataFrame, float, float]:
    """Balanced one-way data with the REML estimates of the residual and the group variance."""
    g = np.arange(120) % 12
    rng = np.random.default_rng(3)
    y = rng.normal(size=12)[g] + residual * rng.normal(size=120)
    means = np.bincount(g, y) / 10
    within = float(((y - means[g]) ** 2).sum() / 108)
    return pd.DataFrame({"y": y, "g": g}), within, float(means.var(ddof=1)) - within / 10


@pytest.mark.parametrize(("residual", "accuracy"), [(1e-2, 1e-8), (1e-3, 1e-6), (1e-4, 1e-5), (1e-5, 2e-3)])
def test_little_residual_variance(residual, accuracy):
    """Intraclass correlations from 1 - 1e-4 to 1 - 1e-10 against the closed form."""
    frame, within, between = one_way(residual)
    result, categories = quietly("y ~ 1 + (1 | g)", frame)
    state = result.state
    assert state.sigma**2 == pytest.approx(within, rel=accuracy)
    assert float(derived.term_covariances(state)[0][0, 0]) == pytest.approx(between, rel=accuracy)
    assert state.opt.converged
    assert state.opt.evaluations < 60
    noted = [c.code for c in state.checks]
    assert noted == (["near-perfect"] if residual < 2e-5 else [])
    assert categories == ([ConvergenceWarning] if residual < 2e-5 else [])


@pytest.mark.parametrize("residual", [1e-6, 1e-8, 1e-11])
def test_still_less_residual_variance_is_said_or_refused(residual):
    frame, within, _ = one_way(residual)
    try:
        result, categories = quietly("y ~ 1 + (1 | g)", frame)
    except ModelError as error:
        assert "perfect fit" in str(error)  # noqa: PT017
        assert residual < 1e-6
    else:
        assert categories == [ConvergenceWarning]
        (check,) = result.state.checks
        assert "accurate to about" in check.message
        assert result.sigma**2 == pytest.approx(within, rel=0.1)


def test_a_response_close_to_the_fixed_effects_is_no_perfect_fit(data):
    """The residual of least squares is what gets modelled: nothing is lost when it is small."""
    large = fitted("r ~ x + (1 | g)", data.assign(r=data["x"] + 1e-2 * data["noise"]))
    small = fitted("r ~ x + (1 | g)", data.assign(r=data["x"] + 1e-9 * data["noise"]))
    assert small.sigma == pytest.approx(1e-7 * large.sigma, rel=1e-5)
    np.testing.assert_allclose(small.state.theta, large.state.theta, rtol=1e-4)


# -- fixed effects -------------------------------------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize("formula", ["y ~ 0 + (1 | g)", "y ~ 0 + (x | g) + (1 | h)", "y ~ 0 + (1 | g) + (1 | h)"])
def test_no_fixed_effects(data, formula, method):
    """REML and ML are the same criterion then."""
    result = fitted(formula, data, method=method)
    assert result.fe_params.size == 0
    other = fitted(formula, data, method="ML" if method == "REML" else "REML")
    assert result.state.criterion == pytest.approx(other.state.criterion, abs=1e-8)
    assert result.state.sigma == pytest.approx(other.state.sigma, rel=1e-6)
    assert "No fixed-effects coefficients" in str(result.summary())


@METHODS
def test_more_coefficients_than_rows(data, method):
    small = data.iloc[:5].assign(g=[0, 0, 1, 1, 1])
    formula = "y ~ x + noise + I(x ** 2) + I(noise ** 2) + x:noise + I(x ** 3) + (1 | g)"
    refused("5 fixed-effects coefficients for 5 rows", formula, small, method=method)


@METHODS
def test_fixed_effects_that_contain_the_random_ones(data, method):
    message = "already determine 'Intercept' of the random-effects term .* in every level of 'g'"
    refused(message, "y ~ C(g) + (1 | g)", data, method=method)
    refused(message, "y ~ C(g) + (x | g)", data, method=method)
    refused(message, "y ~ C(g) + x + (1 | h) + (1 | g)", data, method=method)
    refused("already determine 'x'", "y ~ x:C(g) + (x | g)", data, method=method)
    fitted("y ~ C(g) + x + (1 | h)", data, method=method)


def test_a_rank_deficient_matrix_fits_without_the_column(data):
    result, categories = quietly("y ~ x + I(3 * x) + (1 | g)", data)
    assert categories == [RankDeficiencyWarning]
    assert result.state.criterion == pytest.approx(fitted("y ~ x + (1 | g)", data).state.criterion, abs=1e-9)


# -- columns of the random effects ---------------------------------------------------------------------------------


@METHODS
def test_collinear_random_columns_span_the_same_model(data, method):
    frame = data.assign(x2=2 * data["x"], one=1.0)
    expected = fitted("y ~ x + (x | g)", frame, method=method).state
    result, _ = quietly("y ~ x + (x + x2 | g)", frame, method=method)
    assert result.state.criterion == pytest.approx(expected.criterion, abs=1e-6)
    combine = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    ours = combine @ derived.term_covariances(result.state)[0] @ combine.T
    np.testing.assert_allclose(ours, derived.term_covariances(expected)[0], rtol=1e-3, atol=1e-4)
    constant, _ = quietly("y ~ x + (one | g)", frame, method=method)
    scalar = fitted("y ~ x + (1 | g)", frame, method=method).state
    assert constant.state.criterion == pytest.approx(scalar.criterion, abs=1e-6)


@METHODS
@pytest.mark.parametrize("bar", ["(zero | g)", "(0 + zero | g)", "(zero || g)", "(x + zero | g) + (1 | h)"])
def test_a_random_column_of_zeros(data, bar, method):
    refused("column 'zero' of the random-effects term .* is zero in every row", f"y ~ x + {bar}", data, method=method)


def test_many_parameters():
    """78 variances and covariances, nearly all of them zero in truth: an end, a proof, and a plain warning."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({f"v{i}": rng.normal(size=400) for i in range(12)})
    frame["g"] = np.arange(400) % 15
    frame["y"] = rng.normal(size=400) + frame["v0"] * rng.normal(size=15)[frame["g"]]
    bar = "0 + " + " + ".join(f"v{i}" for i in range(12))
    result, categories = quietly(f"y ~ v0 + ({bar} | g)", frame)
    assert result.state.theta.size == 78
    assert result.state.opt.converged
    assert result.state.opt.evaluations < 1000
    assert categories == [ConvergenceWarning]
    assert "instead of 12" in result.state.checks[0].message


@METHODS
def test_more_columns_than_levels(data, method):
    """Two levels cannot show more than rank two."""
    result, categories = quietly("y ~ x + (x + noise | g)", data.assign(g=data["g"] % 2), method=method)
    assert categories == [ConvergenceWarning]
    assert derived.singular_values(result.state)[0][0] < 1e-4


# -- size of the numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (x | g) + (1 | h)"])
@pytest.mark.parametrize("scale", [1e12, 1e-12])
@pytest.mark.parametrize("what", ["x", "y", "weights"])
def test_scales_of_1e12(data, formula, scale, what):
    plain, _ = quietly(formula, data)
    if what == "weights":
        result, _ = quietly(formula, data, weights=np.full(120, scale))
        change = 0.0
    else:
        result, _ = quietly(formula, data.assign(**{what: data[what] * scale}))
        change = 2 * np.log(scale) * (1 if what == "x" else 118)
    assert result.state.criterion == pytest.approx(plain.state.criterion + change, abs=1e-6)
    assert [c.code for c in result.state.checks] == [c.code for c in plain.state.checks]
    np.testing.assert_allclose(result.fe_tvalues, plain.fe_tvalues, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e300, 1e150, 1e-150, 1e-300])
@pytest.mark.parametrize("what", ["x", "y", "w", "o"])
def test_numbers_that_overflow_or_vanish_when_squared(data, what, scale):
    frame = data.assign(w=1.0, o=1.0)
    frame[what] *= scale
    word = "large" if scale > 1 else "small"
    name = {"w": "weights", "o": "offset"}.get(what, what)
    refused(f"'{name}' are of the order of .* too {word}", "y ~ x + (x | g)", frame, weights="w", offset="o")


def test_weights_of_very_different_size(data):
    """Six orders of magnitude: compared with the dense covariance of the rows."""
    weights = 10.0 ** np.random.default_rng(0).uniform(-3, 3, 120)
    result, _ = quietly("y ~ x + (1 | g)", data, weights=weights)
    psi = float(derived.term_covariances(result.state)[0][0, 0])
    V = np.diag(result.sigma**2 / weights) + psi * (data["g"].to_numpy()[:, None] == data["g"].to_numpy())
    X = np.column_stack([np.ones(120), data["x"]])
    solved = np.linalg.solve(V, np.column_stack([X, data["y"]]))
    np.testing.assert_allclose(result.fe_params, np.linalg.solve(X.T @ solved[:, :2], X.T @ solved[:, 2]), rtol=1e-8)


def test_one_enormous_outlier(data):
    result, _ = quietly("y ~ x + (1 | g)", data.assign(y=np.r_[1e9, data["y"][1:]]))
    assert result.state.opt.converged
    assert np.isfinite(result.fe_params).all()


# -- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theta0", "message"),
    [
        ([1.0, 0.0], r"theta0 must hold 3 values for this model, got an array of shape \(2,\)"),
        (1.0, "theta0 must hold 3 values"),
        ([[1.0, 0.0, 1.0]], r"shape \(1, 3\)"),
        ([1.0, np.nan, 1.0], "theta0 must be finite"),
        ([1.0, np.inf, 1.0], "theta0 must be finite"),
        ([1e9, 0.0, 1e9], "theta0 is too large"),
        ([1e200, 0.0, 1e200], "theta0 is too large"),
    ],
)
@pytest.mark.parametrize("optimizer", ["auto", "lbfgsb", "bobyqa"])
def test_bad_theta0(data, theta0, message, optimizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            interlace.fit("y ~ x + (x | g)", data, theta0=theta0, optimizer=optimizer)


@pytest.mark.parametrize("theta0", [[0.0, 0.0, 0.0], [-1.0, 0.5, -2.0], [1e4, 0.0, 1e4], [1e-8, 0.0, 1e-8]])
def test_odd_theta0(data, theta0):
    best = fitted("y ~ x + (x | g)", data).state.criterion
    assert fitted("y ~ x + (x | g)", data, theta0=theta0).state.criterion == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("optimizer", ["lbfgsb", "bobyqa"])
def test_an_optimizer_that_stops_far_away_says_so(data, optimizer):
    """From there the deviance looks flat to an algorithm that uses its values."""
    best = fitted("y ~ x + (x | g) + (1 | h)", data).state.criterion
    start = [5e5, 0.0, 5e5, 5e5]
    result, categories = quietly("y ~ x + (x | g) + (1 | h)", data, theta0=start, optimizer=optimizer)
    if result.state.criterion > best + 1e-4:
        assert not result.state.opt.converged
        assert categories == [ConvergenceWarning]
    else:
        assert result.state.opt.converged


@pytest.mark.parametrize("kwargs", [{"method": "reml"}, {"method": None}, {"optimizer": "nlopt"}, {"optimizer": None}])
def test_unknown_method_or_optimizer(data, kwargs):
    ((name, value),) = kwargs.items()
    with pytest.raises(ValueError, match=f"{name} must be one of .* not {value!r}"):
        interlace.fit("y ~ x + (1 | g)", data, **kwargs)


def test_iteration_limit(data):
    control = Control(max_iterations=1, max_restarts=0)
    result, categories = quietly("y ~ x + (x | g)", data, theta0=[1.5, -0.5, 0.4], control=control)
    assert not result.state.opt.converged
    assert categories == [ConvergenceWarning]
    assert result.state.checks[0].code == "not-converged"
    assert "max_iterations" in result.state.checks[0].advice
