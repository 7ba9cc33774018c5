"""All checks of a fitted model in one list, each with what was measured, its limit, and advice."""

from __future__ import annotations

import html
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import pandas as pd
from scipy import stats

from interlace.core.families import Binomial, NegativeBinomial, Poisson
from interlace.core.newton import newton_step
from interlace.diagnostics.collinearity import variance_inflation
from interlace.diagnostics.model import state_of
from interlace.diagnostics.quantile import QuantileResiduals, QuantileTest, quantile_residuals
from interlace.diagnostics.residual_checks import LEVEL, listed, random_effects_normality, residual_checks
from interlace.diagnostics.simulated_ranks import trials_of
from interlace.errors import ConvergenceWarning, ModelError
from interlace.estimate.derived import singular_values
from interlace.estimate.state import Check, FitState
from interlace.prediction.response import response_model

if TYPE_CHECKING:
    from typing import Any

    from interlace.estimate.state import State
    from interlace.prediction.simulate import Seed

__all__ = ["ModelChecks", "check_model"]

#: Distance from the optimum, in standard errors of the covariance parameters, that no estimate shows.
_NEAR = 0.01
#: Variance inflation that is high, and that is worth a note (a factor of 3 and of 2 in standard errors).
_HIGH, _MODERATE = 10.0, 5.0

_RESULTS = ("error", "warning", "note", "ok")


class ModelChecks(Sequence[Check]):
    """What `check_model` found: a list of `Check` records, the worst first.

    Parameters
    ----------
    formula : str
    checks : iterable of Check

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> found = check_model(interlace.fit("Reaction ~ Days + (Days | Subject)", df))
    >>> [check.code for check in found if check.severity == "warning"]
    ['residual-normality', 'outliers']
    """

    def __init__(self, formula: str, checks: Sequence[Check]) -> None:
        self.formula = formula
        self._checks = tuple(sorted(checks, key=lambda check: _RESULTS.index(_result(check))))

    @overload
    def __getitem__(self, index: int) -> Check: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Check, ...]: ...
    def __getitem__(self, index: int | slice) -> Check | tuple[Check, ...]:
        """Return one check, or several."""
        return self._checks[index]

    def __len__(self) -> int:
        """Number of checks."""
        return len(self._checks)

    def __str__(self) -> str:
        counts = [(name, sum(_result(check) == name for check in self)) for name in _RESULTS]
        lines = [f"Checks of {self.formula}", ", ".join(f"{count} {name}" for name, count in counts if count)]
        for check in self:
            lines.append("")
            lines += textwrap.wrap(
                f"[{_result(check)}] {_title(check)}: {check.message}", 100, subsequent_indent="    "
            )
            if check.advice:
                lines += textwrap.wrap(check.advice, 100, initial_indent="    -> ", subsequent_indent="       ")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.to_frame()[["result", "check", "term", "message", "advice"]]
        return f"<div><p>{html.escape(self.formula)}</p>\n" + table.to_html(index=False, border=0, na_rep="") + "</div>"

    def to_frame(self) -> pd.DataFrame:
        """One row a check, those that were passed too.

        Returns
        -------
        DataFrame
            Columns ``check``; ``result``: ok, note, warning or error; ``term``; ``value``: what was measured;
            ``limit``: what it was held against; ``message``; ``advice``, empty for a check that was passed.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> found = check_model(interlace.fit("Reaction ~ Days + (Days | Subject)", df))
        >>> found.to_frame().set_index("check")["result"]["convergence"]
        'ok'
        """
        rows = [(c.code, _result(c), c.term, c.value, c.limit, c.message, c.advice) for c in self]
        columns = ["check", "result", "term", "value", "limit", "message", "advice"]
        return pd.DataFrame(rows, columns=columns).astype({"value": float, "limit": float})


def _result(check: Check) -> str:
    """``ok`` for a check that was passed: there is nothing to do."""
    if check.severity == "info":
        return "note" if check.advice else "ok"
    return check.severity


def _title(check: Check) -> str:
    return check.code if check.term is None else f"{check.code} ({check.term})"


def check_model(result: Any, *, nsim: int = 250, seed: Seed = 1) -> ModelChecks:
    """Check a fitted model for what commonly goes wrong.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or statsmodels' MixedLMResults
    nsim : int
        Simulations for the quantile residuals of a generalized model.
    seed : int, numpy.random.Generator or None
        Of the simulations; the same every time by default.

    Returns
    -------
    ModelChecks
        A list of `Check` records, printed as text or HTML; ``to_frame()`` gives a table.

    Raises
    ------
    TypeError
        ``result`` is no fitted mixed model.
    ValueError
        ``nsim`` or ``seed`` is out of range.

    Notes
    -----
    What fitting found (no convergence, singular fit, dropped columns, separation, ...) comes first. Then

    - ``convergence``: how far the optimum is by the gradient and Hessian, in standard errors of the parameters (0.01);
    - ``singularity``: the smallest standard deviation of a combination of random effects;
    - ``collinearity``: variance inflation of each fixed-effects term, GVIF^(1/df) (note above 5, warning above 10);
    - ``random-effects-normality``: Shapiro and Wilk's test of the standardized conditional modes;
    - ``influence``: Cook's distances of rows and of levels of each grouping factor from one-step deletions, held
      against HLMdiag's cut-off (third quartile + 3 interquartile ranges); a warning where the largest of those moves
      the fixed effects out of their 50 % confidence region (Cook, 1977, Technometrics 19, 15-18).

    Of linear models, with studentized residuals given the random effects:

    - ``residual-normality``: Shapiro and Wilk's test, of 5000 rows at most;
    - ``homogeneity``: Spearman's correlation of the sizes of residuals and fitted values;
    - ``homogeneity-groups``: Brown and Forsythe's test of equal variances in levels with 5 rows or more;
    - ``outliers``: the largest residual, with Bonferroni's correction.

    Of generalized models, by `quantile_residuals`: ``uniformity``, ``dispersion``, ``zero-inflation``, ``outliers``. A
    dispersion cannot be checked where it was estimated or where responses are 0 or 1.

    Tests have the level 0.01. A departure that is significant but small, as it is found in all large data sets, is a
    note: skewness up to 0.5 and excess kurtosis up to 1, or a correlation up to 0.1.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("grouseticks")
    >>> fit = interlace.glmer("TICKS ~ YEAR + cHEIGHT + (1 | BROOD)", df, "poisson")
    >>> print(check_model(fit))
    Checks of TICKS ~ YEAR + cHEIGHT + (1 | BROOD)
    1 warning, 2 note, 7 ok
    <BLANKLINE>
    [warning] dispersion: the response varies more than the model says (overdispersion) ...
        -> standard errors are too small: interlace.glmer_nb() for counts, or a random effect with a
           level for every row, (1 | row)
    ...
    """
    state = state_of(result)
    found = list(state.checks)
    codes = {check.code for check in found}
    if "not-converged" not in codes:
        found.append(_convergence(state))
    if "singular" not in codes:
        found.append(_regularity(state))
    found += _collinearity(state)
    if isinstance(state, FitState):
        found += residual_checks(state)
    else:
        found += _simulated(quantile_residuals(result, nsim=nsim, seed=seed), state)
    found += random_effects_normality(state)
    levels: list[int | str] = [1, *dict.fromkeys(term.group for term in state.problem.design.terms)]
    for level in levels:
        found += _influence(result, state, level)
    return ModelChecks(state.problem.design.formula, found)


def _convergence(state: State) -> Check:
    """Distance from the optimum of the quadratic that gradient and Hessian of the deviance describe."""
    opt = state.opt
    _, decrement = newton_step(opt.gradient, opt.hessian)
    distance = math.sqrt(0.5 * decrement)
    smallest = float(np.linalg.eigvalsh(opt.hessian)[0]) if np.isfinite(opt.hessian).all() else math.nan
    text = (
        f"{distance:.2g} standard errors from the optimum by gradient and Hessian (smallest eigenvalue {smallest:.3g})"
    )
    if distance < _NEAR:
        return Check("convergence", "info", None, distance, _NEAR, f"the optimizer converged: {text}", "")
    advice = "fit the model again by interlace.fit, or with another optimizer=, and compare the deviances"
    return Check("convergence", "warning", None, distance, _NEAR, f"the estimates are {text}", advice)


def _regularity(state: State) -> Check:
    smallest = min(float(values[0]) for values in singular_values(state))
    relative = " of the residual one" if isinstance(state, FitState) else ""
    text = f"every combination of random effects varies (smallest standard deviation {smallest:.3g}{relative})"
    return Check("singularity", "info", None, smallest, state.problem.control.singular_tol, text, "")


def _collinearity(state: State) -> Iterator[Check]:
    inflations = variance_inflation(state)
    if not inflations:
        return
    worst = max(inflations, key=lambda found: found.per_coefficient)
    for term, value in ((found.term, found.per_coefficient) for found in inflations):
        if value > _MODERATE:
            yield Check(
                "collinearity",
                "warning" if value > _HIGH else "info",
                term,
                value,
                _HIGH if value > _HIGH else _MODERATE,
                f"other predictors inflate the variance of the coefficients of {term!r} by {value:.3g}, their standard "
                f"errors by {math.sqrt(value):.2g}",
                "center predictors that enter interactions or powers; leave out or combine predictors that measure the "
                "same. Predictions are not affected",
            )
    if worst.per_coefficient <= _MODERATE:
        text = f"no predictor inflates the variance of another much (at most by {worst.per_coefficient:.3g})"
        yield Check("collinearity", "info", worst.term, worst.per_coefficient, _MODERATE, text, "")


def _simulated(residuals: QuantileResiduals, state: State) -> Iterator[Check]:
    """Checks of a generalized model by simulation."""
    model = response_model(state)
    binary = isinstance(model.family, Binomial) and bool((trials_of(model) <= 1.0).all())
    yield _tested(
        residuals.test_uniformity(),
        "the response has the distribution that the model says",
        "the response does not have the distribution that the model says",
        "look at quantile_residuals(result) against fitted values and predictors: family, link, or a predictor's form",
    )
    if not model.family.has_dispersion and not binary:
        yield _dispersion(residuals.test_dispersion(), isinstance(model.family, Poisson))
    if isinstance(model.family, Poisson | NegativeBinomial | Binomial) and not binary:
        try:
            zeros = residuals.test_zero_inflation()
        except ModelError:
            return
        few = zeros.statistic < 1.0
        yield _tested(
            zeros,
            "there are as many zeros as the model says",
            f"there are {'fewer' if few else 'more'} zeros than the model says",
            "look at what the zeros have in common; counts that overdispersion does not explain need a model of the "
            "zeros: one for zero or not, one for the others",
        )
    yield _tested(
        residuals.test_outliers("greater"),
        "few rows lie outside what the model can produce",
        f"rows lie outside what the model can produce: {listed(residuals.index[residuals.outliers])}",
        "check these rows for errors; many of them mean overdispersion or a predictor's form",
    )


def _dispersion(test: QuantileTest, counts: bool) -> Check:
    if test.statistic < 1.0:
        wrong = "the response varies less than the model says (underdispersion)"
        advice = "standard errors are too large; rows may not be independent, or the counts are bounded"
    else:
        other = "interlace.glmer_nb() for counts, or " if counts else ""
        wrong = "the response varies more than the model says (overdispersion)"
        advice = f"standard errors are too small: {other}a random effect with a level for every row, (1 | row)"
    return _tested(test, "the response varies as the model says", wrong, advice)


def _tested(test: QuantileTest, right: str, wrong: str, advice: str) -> Check:
    passed = not test.p_value < LEVEL
    measured = f"{test.explanation}; statistic {test.statistic:.3g}, p = {test.p_value:.3g}"
    return Check(
        test.name.replace(" ", "-"),
        "info" if passed else "warning",
        None,
        test.p_value,
        LEVEL,
        f"{right if passed else wrong} ({measured})",
        "" if passed else advice,
    )


def _influence(result: Any, state: State, level: int | str) -> Iterator[Check]:
    """Cook's distances that stand out."""
    from interlace.influence import cooks_distance, internal_cutoff

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # units that cannot be left out have no distance
        distances = cooks_distance(result, level, approx=True).dropna()
    p = state.beta.size
    if not p or distances.empty:
        return
    _, cutoff = internal_cutoff(distances, "cooksd")
    beyond = distances[distances > cutoff].sort_values(ascending=False)
    largest = float(distances.max())
    term, units = (None, "rows") if level == 1 else (str(level), f"levels of {level!r}")
    measured = f"largest Cook's distance {largest:.3g}, cut-off {cutoff:.3g}"
    if beyond.empty:
        yield Check("influence", "info", term, largest, cutoff, f"no {units} stand out ({measured})", "")
        return
    moves = largest > stats.chi2.ppf(0.5, p) / p
    effect = "leave" if moves else "stay in"
    yield Check(
        "influence",
        "warning" if moves else "info",
        term,
        largest,
        cutoff,
        f"{len(beyond)} {units} stand out ({measured}): {listed(beyond.index)}. Without the first, the fixed "
        f"effects {effect} their 50 % confidence region",
        "look at these units; case_delete(result, delete=...) fits the model without them",
    )
