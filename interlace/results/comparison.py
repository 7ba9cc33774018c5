"""Tables that compare models by their likelihoods: R's ``anova(m1, m2)``, ``ranova``, ``drop1``, and criteria."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from interlace.errors import ConvergenceWarning, ModelError
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.parallel import whole_number_of_jobs
from interlace.inference.compare import (
    Comparison,
    check_comparable,
    compare,
    simulated_ratios,
    with_one_criterion,
)
from interlace.inference.ranova import Deletions, fixed_deletions, random_deletions
from interlace.prediction.simulate import generator, whole_number_of_draws
from interlace.results.arguments import state_of_result

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.prediction.simulate import Seed
    from interlace.results.members import Members

__all__ = ["Criterion", "Test", "aic_table", "anova", "drop1_lrt", "ranova"]

Test: TypeAlias = Literal["LRT", "bootstrap"]
Criterion: TypeAlias = Literal["AIC", "AICc", "BIC"]

_REFITTED = "fitted again by ML, because restricted likelihoods depend on the fixed effects"


def anova(
    *results: Members,
    refit: bool = True,
    test: Test = "LRT",
    names: Sequence[str] | None = None,
    nsim: int = 1000,
    seed: Seed = None,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Compare models of the same data by likelihood-ratio tests: R's ``anova(m1, m2, ...)``.

    Parameters
    ----------
    *results : LMMResult or GLMMResult
        At least two, each nested in the next one; that they are nested is not checked.
    refit : bool
        Fit by ML what was fitted by REML, as lme4 does; False compares restricted likelihoods, which needs the same
        fixed effects in all fits.
    test : {"LRT", "bootstrap"}
        The chi-square distribution alone, or a parametric bootstrap too: responses are drawn from the smaller model
        and both models fitted to each, R's ``pbkrtest::PBmodcomp``.
    names : sequence of str, optional
        Names of the rows; ``m1``, ``m2``, ... in the order given by default.
    nsim, seed, n_jobs
        Of the bootstrap: number of replicates; an integer for the same ones every time; processes, which only
        generalized models use.

    Returns
    -------
    DataFrame
        A row for each model, by their numbers of parameters, with columns ``npar``, ``AIC``, ``BIC``, ``logLik``,
        ``deviance`` (-2 logLik), ``Chisq``, ``Df``, ``Pr(>Chisq)``, ``MC error`` (standard error of ``Chisq`` where
        log-determinants were estimated with random probes), and ``Pr(boot)`` for the bootstrap. The tests are against
        the row before. ``attrs["note"]`` says what was fitted again, ``attrs["formulas"]`` what the rows are.

    Raises
    ------
    DataError
        The fits are not of the same rows, responses or weights.
    ModelError
        The likelihoods cannot be compared: a linear with a generalized model, fits by REML with others.
    ValueError, TypeError
        There are fewer than two fits; an argument is out of range.

    Warns
    -----
    ConvergenceWarning
        A fit did not converge, or replicates could not be fitted; their p-values leave these out.

    Notes
    -----
    Where the smaller model sets a variance to zero, the p-values of the chi-square distribution are too large; see
    `ranova` with ``boundary=True``, or use the bootstrap, whose statistics of zero count like all others here
    (``PBmodcomp`` leaves them out).

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.comparison import anova
    >>> small = interlace.fit("Reaction ~ 1 + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> table = anova(small, small.update(". ~ . + Days"))
    >>> table[["npar", "AIC", "Chisq", "Df", "Pr(>Chisq)"]].round(6)
        npar          AIC      Chisq    Df  Pr(>Chisq)
    m1     5  1785.475882        NaN  <NA>         NaN
    m2     6  1763.939344  23.536537     1    0.000001
    >>> table.attrs["note"]
    'm1, m2: fitted again by ML, because restricted likelihoods depend on the fixed effects'
    """
    if test not in get_args(Test):
        raise ValueError(f"test must be 'LRT' or 'bootstrap', not {test!r}")
    states, labels, note = _compared(results, names, refit=refit)
    if test == "bootstrap" and states[0].reml:
        raise ModelError("test='bootstrap' compares fits by ML; leave refit=False out")
    found = compare(states)
    columns = {
        "npar": found.n_params,
        "AIC": found.aic,
        "BIC": found.bic,
        "logLik": -0.5 * found.criterion,
        "deviance": found.criterion,
        "Chisq": np.append(np.nan, found.statistic),
        "Df": pd.array([pd.NA, *found.df.tolist()], dtype="Int64"),
        "Pr(>Chisq)": np.append(np.nan, found.p_values),
    }
    rows = [labels[i] for i in found.order]
    if found.monte_carlo.any():
        columns["MC error"] = np.append(np.nan, found.monte_carlo)
    if test == "bootstrap":
        columns["Pr(boot)"] = _bootstrap([states[i] for i in found.order], found, rows, nsim, seed, n_jobs)
    table = pd.DataFrame(columns, index=pd.Index(rows, dtype=object))
    formulas = {name: state.problem.design.formula for name, state in zip(labels, states, strict=True)}
    table.attrs = {"note": note, "formulas": {name: formulas[name] for name in rows}}
    return table


def aic_table(
    *results: Members, by: Criterion = "AIC", refit: bool = True, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Rank models of the same data by an information criterion; they need not be nested.

    Parameters
    ----------
    *results : LMMResult or GLMMResult
    by : {"AIC", "AICc", "BIC"}
        Criterion of the order, the differences and the weights.
    refit : bool
        Fit by ML what was fitted by REML; False as for `anova`.
    names : sequence of str, optional
        Names of the rows; ``m1``, ``m2``, ... in the order given by default.

    Returns
    -------
    DataFrame
        A row for each model, the best one first: ``npar``, ``logLik``, ``AIC``, ``AICc`` (Hurvich and Tsai, 1989),
        ``BIC``, ``delta`` (difference from the best one), ``weight`` (relative likelihood exp(-delta / 2), adding up to
        1; Burnham and Anderson, 2002). ``attrs`` as those of `anova`.

    Raises
    ------
    DataError, ModelError, ValueError, TypeError
        As `anova`.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.comparison import aic_table
    >>> small = interlace.fit("Reaction ~ 1 + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> aic_table(small, small.update(". ~ . + Days"), names=["null", "days"])[["AIC", "AICc", "delta"]].round(2)
              AIC     AICc  delta
    days  1763.94  1764.42   0.00
    null  1785.48  1785.82  21.54
    """
    if by not in get_args(Criterion):
        raise ValueError(f"by must be 'AIC', 'AICc' or 'BIC', not {by!r}")
    states, labels, note = _compared(results, names, refit=refit)
    found = compare(states)
    table = pd.DataFrame(
        {
            "npar": found.n_params,
            "logLik": -0.5 * found.criterion,
            "AIC": found.aic,
            "AICc": found.aicc,
            "BIC": found.bic,
        },
        index=pd.Index([labels[i] for i in found.order], dtype=object),
    ).sort_values(by, kind="stable")
    table["delta"] = table[by] - table[by].min()
    likelihood = np.exp(-0.5 * table["delta"])
    table["weight"] = likelihood / likelihood.sum()
    formulas = {name: state.problem.design.formula for name, state in zip(labels, states, strict=True)}
    table.attrs = {"note": note, "formulas": {name: formulas[name] for name in table.index}}
    return table


def ranova(result: Members, *, reduce_terms: bool = True, boundary: bool = False) -> pd.DataFrame:
    """Test the random-effects terms, each made smaller by itself: R's ``lmerTest::ranova``.

    Parameters
    ----------
    result : LMMResult or GLMMResult
        Compared by the criterion of the fit, REML for a fit by REML.
    reduce_terms : bool
        Take single slopes out of a term, ``(1 + x | g)`` to ``(1 | g)``, and whole terms only where there is nothing
        else to take (notes); False takes every term away as a whole.
    boundary : bool
        Allow for the null hypothesis being at the boundary, variances of zero: half-and-half mixtures of chi-square
        distributions with Df - 1 and Df degrees of freedom.

    Returns
    -------
    DataFrame
        The fit and a row for each smaller one, with columns ``npar``, ``logLik``, ``AIC``, ``LRT``, ``Df``,
        ``Pr(>Chisq)``.

    Warns
    -----
    ConvergenceWarning
        A smaller fit did not converge.

    Notes
    -----
    What the fit is compared with, for each kind of term:

    - ``(1 | g)``, each part of ``(1 | g/h)`` and of ``(x || g)``: the model without it.
    - ``(x + z | g)``, ``(0 + x + z | g)``: without x, and without z. A slope that is part of an interaction stays.
    - ``(0 + f | g)`` of a factor f: ``(1 | g)`` in its place, as for ``(f | g)``, which is the same model; the model
      without it where another term on g contains random intercepts.
    - ``(0 + x | g)`` of a numeric x: the model without it.

    So it is in lmerTest, but for the last kind, for which lmerTest 3.1-3 puts ``(1 | g)`` in the place of the term too:
    a model that is not nested in the fit, on 0 degrees of freedom. Beside ``(x | g)`` it does so for ``(0 + f | g)``
    as well, which leaves two intercepts for each group and one degree of freedom less than here.

    The mixture is exact for large samples where one effect is taken out of a term (Self and Liang, 1987; Stram and Lee,
    1994) and no other variance is zero; where several are (a factor, a whole term of several effects), it bounds the
    p-value from above (Shapiro, 1988). The chi-square distribution gives larger p-values in both cases.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.comparison import ranova
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> ranova(result)[["npar", "logLik", "LRT", "Df"]].round(3)
                              npar   logLik     LRT   Df
    <none>                       6 -871.814     NaN <NA>
    Days in (Days | Subject)     4 -893.233  42.837    2
    """
    found = random_deletions(state_of_result(result), reduce_terms=reduce_terms)
    _warn_of(found)
    criterion, n_params = np.append(found.base, found.criterion), np.append(found.n_params, found.n_params - found.df)
    table = pd.DataFrame(
        {
            "npar": n_params,
            "logLik": -0.5 * criterion,
            "AIC": criterion + 2.0 * n_params,
            "LRT": np.append(np.nan, found.statistic),
            "Df": pd.array([pd.NA, *found.df.tolist()], dtype="Int64"),
            "Pr(>Chisq)": np.append(np.nan, found.p_values(boundary=boundary)),
        },
        index=pd.Index(["<none>", *found.labels], dtype=object),
    )
    return _with_errors(table, found)


def drop1_lrt(result: Members) -> pd.DataFrame:
    """Test, for each fixed-effects term that is part of no other one, that it can be left out, by likelihood ratios.

    R's ``drop1(m, test = "Chisq")`` of lme4; `interlace.drop1` has F tests of linear models.

    Parameters
    ----------
    result : LMMResult or GLMMResult
        A fit by REML is made again by ML first.

    Returns
    -------
    DataFrame
        The fit and a row for each term, with columns ``npar`` (parameters of the term), ``AIC`` (without it), ``LRT``,
        ``Pr(Chi)``. ``attrs["note"]`` says whether the fit was made again.

    Warns
    -----
    ConvergenceWarning
        A fit did not converge.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.comparison import drop1_lrt
    >>> cbpp = interlace.datasets.load("cbpp")
    >>> result = interlace.glmer("incidence / size ~ period", cbpp, "binomial", groups="herd", weights="size")
    >>> drop1_lrt(result).round(4)
            npar       AIC      LRT  Pr(Chi)
    <none>  <NA>  194.0526      NaN      NaN
    period     3  213.6626  25.6101      0.0
    """
    (state,), refitted = with_one_criterion([state_of_result(result)], ["the fit"], by_ml=True)
    found = fixed_deletions(state)
    _warn_of(found)
    aic = np.append(found.base, found.criterion) + 2.0 * np.append(found.n_params, found.n_params - found.df)
    table = pd.DataFrame(
        {
            "npar": pd.array([pd.NA, *found.df.tolist()], dtype="Int64"),
            "AIC": aic,
            "LRT": np.append(np.nan, found.statistic),
            "Pr(Chi)": np.append(np.nan, found.p_values()),
        },
        index=pd.Index(["<none>", *found.labels], dtype=object),
    )
    table = _with_errors(table, found)
    table.attrs = {"note": f"the fit: {_REFITTED}" if refitted else ""}
    return table


def _with_errors(table: pd.DataFrame, found: Deletions) -> pd.DataFrame:
    """Table with the Monte Carlo errors of the statistics, where there are any."""
    return table.assign(**{"MC error": np.append(np.nan, found.monte_carlo)}) if found.monte_carlo.any() else table


def _compared(
    results: Sequence[Members], names: Sequence[str] | None, *, refit: bool
) -> tuple[list[State], list[str], str]:
    """States of fits that can be compared, their names, and what was done to them."""
    states = [state_of_result(result) for result in results]
    if len(states) < 2:
        raise ValueError(
            "give at least two results to compare; for tests of the terms of one model use anova_table(result), "
            "drop1_lrt(result) or ranova(result)"
        )
    labels = [f"m{i + 1}" for i in range(len(states))] if names is None else [str(name) for name in names]
    if len(labels) != len(states) or len(set(labels)) < len(labels):
        raise ValueError(f"names must hold {len(states)} different names, one for each result, not {labels}")
    check_comparable(states, labels)
    states, refitted = with_one_criterion(states, labels, by_ml=refit)
    notes = [f"{', '.join(refitted)}: {_REFITTED}"] if refitted else []
    nodes = {state.problem.nodes for state in states if isinstance(state, GlmmState)}
    if len(nodes) > 1:
        notes.append(f"the fits approximate the likelihood differently: nAGQ = {', '.join(map(str, sorted(nodes)))}")
    for state, name in zip(states, labels, strict=True):
        if not state.opt.converged:
            _warn(f"the fit {name} did not converge: {state.opt.message}")
    return states, labels, "; ".join(notes)


def _bootstrap(
    states: Sequence[State], found: Comparison, rows: Sequence[str], nsim: int, seed: Seed, n_jobs: int | None
) -> list[float]:
    """P-value of each model against the one before it; NaN for the first one and without degrees of freedom."""
    nsim, n_jobs = whole_number_of_draws(nsim), whole_number_of_jobs(n_jobs)
    rng, p_values = generator(seed), [np.nan]
    for i, df in enumerate(found.df.tolist()):
        if df == 0:
            p_values.append(np.nan)
            continue
        simulated = simulated_ratios(states[i], states[i + 1], nsim, rng, n_jobs=n_jobs)
        failed = nsim - simulated.used
        if failed:
            why = next(message for message in simulated.messages if message)
            _warn(
                f"{failed} of {nsim} replicates for {rows[i]} and {rows[i + 1]} could not be fitted; the first: {why}"
            )
        p_values.append(simulated.p_value)
    return p_values


def _warn_of(found: Deletions) -> None:
    for label in np.array(found.labels, dtype=object)[~found.converged]:
        _warn(f"the fit without {label} did not converge, so its test is doubtful")


def _warn(message: str) -> None:
    warnings.warn(message, ConvergenceWarning, stacklevel=4)
