"""The same model by every optimizer, and the principal components that tell why they may disagree."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from interlace.core.dispersion import FreeTheta
from interlace.core.scaling import convert_theta
from interlace.errors import InterlaceError
from interlace.estimate.derived import singular_values
from interlace.estimate.glmm import fit_glmm
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.lmm import fit_problem
from interlace.estimate.state import FitState
from interlace.inference.principal_components import principal_components
from interlace.inference.profile_parameters import covariance_parameters
from interlace.results.arguments import listed_names, one_of, state_of_result
from interlace.results.confint import theta_name
from interlace.results.fixed import coefficient_names
from interlace.typing import Optimizer

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.results.members import Members
    from interlace.typing import FloatArray

__all__ = ["RandomComponents", "allFit", "rePCA"]

#: Standard deviations of all random effects to start from, relative to the residual one, covariates in standard units.
_STARTS = {"default": None, "large": 1.0, "small": 0.1}


def allFit(result: Members, optimizers: Optimizer | Sequence[Optimizer] | None = None) -> pd.DataFrame:  # noqa: N802  (R's name)
    """Fit a model by every optimizer from several starting points: lme4's ``allFit``.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    optimizers : {"auto", "lbfgsb", "bobyqa"} or sequence of these, optional
        All that are installed by default; BOBYQA needs the extra ``[bobyqa]``.

    Returns
    -------
    DataFrame
        A row for each ``(optimizer, start)``: the default start, and large or small variances. Columns in three groups:
        ``fit`` (``criterion``: -2 log-likelihood or the REML criterion, ``difference`` from the lowest one,
        ``converged``, ``singular``, ``evaluations``, ``message``), ``theta`` and ``beta``, by name. NaN, with the
        reason as the message, for an optimizer that failed.

    Raises
    ------
    ValueError
        There is no such optimizer.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.optimizers import allFit
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> table = allFit(result, ["auto", "lbfgsb"])
    >>> table.shape, bool((table["fit", "difference"] < 1e-6).all())
    ((6, 11), True)
    """
    state = state_of_result(result)
    chosen: Sequence[Any] = _available() if optimizers is None else listed_names("optimizers", optimizers, "optimizer")
    if not chosen:
        raise ValueError("optimizers is empty; name one or more, or leave it out for all")
    for name in chosen:
        one_of("optimizers", name, get_args(Optimizer))
    columns = _columns(state)
    rows = {(name, start): _row(state, name, start) for name in chosen for start in _STARTS}
    index = pd.MultiIndex.from_tuples(list(rows), names=["optimizer", "start"])
    table = pd.DataFrame(list(rows.values()), index=index, columns=columns)
    table.insert(1, ("fit", "difference"), table["fit", "criterion"] - table["fit", "criterion"].min())
    return table


@dataclass(frozen=True)
class RandomComponents:
    """Principal components of the random effects of one grouping factor.

    Attributes
    ----------
    importance : DataFrame
        Rows ``sdev`` (relative to the residual standard deviation), ``proportion`` and ``cumulative`` of variance; a
        column for each component.
    rotation : DataFrame
        Loadings, effects by components; the largest of each component is positive.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.optimizers import rePCA
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> rePCA(result)["Subject"].rotation.round(4)
                  PC1     PC2
    Intercept  0.9999 -0.0166
    Days       0.0166  0.9999
    """

    importance: pd.DataFrame
    rotation: pd.DataFrame

    def __str__(self) -> str:
        return f"Importance of components:\n{self.importance.round(4)}\n\nRotation:\n{self.rotation.round(4)}"


def rePCA(result: Members) -> dict[str, RandomComponents]:  # noqa: N802  (R's name)
    """Principal components of the random effects: lme4's ``rePCA``.

    Parameters
    ----------
    result : LMMResult or GLMMResult

    Returns
    -------
    dict of str to RandomComponents
        By grouping factor; all terms on it together. Standard deviations near zero mean that the random effects need
        fewer directions than they have.

    Notes
    -----
    Components depend on the units of the covariates, as in lme4.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.optimizers import rePCA
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> rePCA(result)["Subject"].importance.round(4)
                   PC1     PC2
    sdev        0.9669  0.2309
    proportion  0.9461  0.0539
    cumulative  0.9461  1.0000
    """
    out = {}
    for found in principal_components(state_of_result(result)):
        labels = [f"PC{i + 1}" for i in range(len(found.names))]
        rows = [found.sdev, found.proportion, np.cumsum(found.proportion)]
        out[found.group] = RandomComponents(
            pd.DataFrame(rows, index=["sdev", "proportion", "cumulative"], columns=labels),
            pd.DataFrame(found.rotation, index=list(found.names), columns=labels),
        )
    return out


def _available() -> list[Optimizer]:
    installed = importlib.util.find_spec("pybobyqa") is not None
    return [name for name in get_args(Optimizer) if installed or name != "bobyqa"]


def _columns(state: State) -> pd.MultiIndex:
    terms = state.problem.design.terms
    theta = [theta_name(terms[p.term], p) for p in covariance_parameters(state)]
    fit = ["criterion", "converged", "singular", "evaluations", "message"]
    pairs = [("fit", n) for n in fit] + [("theta", n) for n in theta] + [("beta", n) for n in coefficient_names(state)]
    return pd.MultiIndex.from_tuples(pairs)


def _row(state: State, optimizer: Optimizer, start: str) -> list[Any]:
    """Values of `_columns` but the difference."""
    try:
        fit = _fit(state, optimizer, _start(state, _STARTS[start]))
    except (InterlaceError, np.linalg.LinAlgError) as error:
        return [np.nan, False, False, 0, str(error), *[np.nan] * (len(state.theta) + len(state.beta))]
    singular = any(values.min() < state.problem.control.singular_tol for values in singular_values(fit))
    opt = fit.opt
    return [fit.criterion, opt.converged, singular, opt.evaluations, opt.message, *fit.theta, *fit.beta]


def _start(state: State, sd: float | None) -> FloatArray | None:
    """Theta, basis of the formula, with this standard deviation for all effects and no correlations."""
    if sd is None:
        return None
    problem = state.problem
    theta = np.zeros(problem.structure.n_theta)
    for block in problem.structure.blocks:
        theta[block.slots[block.rows == block.cols]] = sd
    return convert_theta(problem.terms, problem.bases, theta, to_user=True)


def _fit(state: State, optimizer: Optimizer, theta0: FloatArray | None) -> State:
    if isinstance(state, FitState):
        return fit_problem(state.problem, optimizer=optimizer, theta0=theta0)
    assert isinstance(state, GlmmState)
    problem = state.problem
    return fit_glmm(
        problem.design,
        problem.model.family,
        problem.model.link,
        nodes=problem.nodes,
        free_theta=isinstance(problem.model, FreeTheta),
        optimizer=optimizer,
        theta0=theta0,
        control=problem.control,
    )
