"""Fits without each row, each group, or given sets of either: the object that measures of influence are taken from."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.diagnostics.components import component_names, component_values
from interlace.diagnostics.deletion import Deletions, exact_deletions, optimizer_of
from interlace.diagnostics.measures import Measures
from interlace.diagnostics.model import state_of
from interlace.diagnostics.one_step import one_step_deletions
from interlace.diagnostics.projection import Projection
from interlace.diagnostics.units import Units, grouping_term, is_of_rows, sets_of, units_of
from interlace.errors import ConvergenceWarning, ModelError
from interlace.estimate.parallel import whole_number_of_jobs
from interlace.estimate.refits import refit_rows, refit_rows_at
from interlace.estimate.state import FitState, State
from interlace.frames.levels import match_levels
from interlace.results.fixed import coefficient_names
from interlace.results.varcorr import conditional_modes

if TYPE_CHECKING:
    from interlace.diagnostics.units import Delete
    from interlace.results.varcorr import ByTerm
    from interlace.typing import BoolArray, FloatArray, Optimizer

__all__ = ["CaseDeletion", "case_delete", "deletion_of"]

#: Units that a warning names.
_NAMED = 5


@dataclass(frozen=True, eq=False, repr=False)
class CaseDeletion:
    """A model without each of u units: rows, groups, or sets of them. NaN where a unit cannot be left out.

    Attributes
    ----------
    state : State
        The fit to all rows.
    units : Units
    found : Deletions
        The estimates as arrays.
    exact : bool
        Whether every parameter was estimated anew; otherwise theta and sigma are those of the whole fit.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> deletion = case_delete(result, level="Subject")
    >>> deletion
    <CaseDeletion: 18 levels of 'Subject', exact refits, 0 failed>
    >>> deletion.coefficients.head(2).round(3)
             Intercept    Days
    Subject
    308        251.829   9.803
    309        254.132  10.950
    """

    state: State
    units: Units
    found: Deletions
    exact: bool

    def __repr__(self) -> str:
        what = "rows" if self.units.level is None else f"levels of {self.units.level!r}"
        if self.units.level == "set":
            what = "set" if len(self.units) == 1 else "sets"
        how = "exact refits" if self.exact else "one step"
        return f"<CaseDeletion: {len(self.units)} {what}, {how}, {len(self.failed)} failed>"

    @property
    def index(self) -> pd.Index:
        """Labels of the units, shape (u,): of rows as in the caller's frame, of groups in order of appearance."""
        labels = self.units.labels
        return labels if self.units.level is None else labels.rename(self.units.level)

    @property
    def coefficients(self) -> pd.DataFrame:
        """Fixed effects without each unit, shape (u, p)."""
        return pd.DataFrame(self.found.beta.copy(), index=self.index, columns=coefficient_names(self.state))

    @property
    def cov_params(self) -> FloatArray:
        """Covariance matrices of the fixed effects without each unit, shape (u, p, p)."""
        return self.found.beta_cov.copy()

    @property
    def variance_components(self) -> pd.DataFrame:
        """Variances and covariances without each unit, shape (u, c); columns ``sigma2``, ``D11``, ``D21``, ..."""
        return pd.DataFrame(self.found.components.copy(), index=self.index, columns=component_names(self.state))

    @property
    def theta(self) -> pd.DataFrame:
        """Relative covariance parameters without each unit in lme4's order, shape (u, n_theta)."""
        return pd.DataFrame(self.found.theta.copy(), index=self.index)

    @property
    def sigma(self) -> pd.Series:
        """Residual standard deviation without each unit, shape (u,)."""
        return self._series(self.found.sigma, "sigma")

    @property
    def criterion(self) -> pd.Series:
        """-2 log(likelihood), or REML criterion, without each unit, shape (u,)."""
        return self._series(self.found.criterion, "criterion")

    @property
    def converged(self) -> pd.Series:
        """Whether there are estimates, shape (u,)."""
        return self._series(self.found.converged, "converged")

    @property
    def evaluations(self) -> pd.Series:
        """Evaluations of the deviance that each refit took, shape (u,)."""
        return self._series(self.found.evaluations, "evaluations")

    @property
    def failed(self) -> pd.Series:
        """Why units could not be left out, indexed by unit; empty if all could."""
        lost = np.flatnonzero(~self.found.converged)
        messages = [self.found.messages[i] for i in lost]
        return pd.Series(messages, index=self.index[lost], name="message", dtype=object)

    @cached_property
    def measures(self) -> Measures:
        """Measures of influence, as arrays."""
        state = self.state
        sigma, unit = np.array([state.sigma]), np.array([state.unit])
        components = component_values(state, state.theta[None], sigma, unit)[0]
        cov = state.beta_cov if self.exact else Projection(state).coefficient_cov
        return Measures(state.beta, cov, components, self.found)

    def refitted(self, unit: Any) -> State:
        """Arrays of the model without one unit, by its label.

        Raises
        ------
        ValueError
            There is no such unit, or it could not be left out.
        """
        numbers, wanted = np.arange(len(self.units)), pd.Index([unit] if isinstance(unit, Hashable) else [])
        places = np.flatnonzero(match_levels(numbers, self.units.labels, wanted) == 0)
        if not places.size:
            raise ModelError(f"{unit!r} is not one of the units that were left out")
        if places.size > 1:
            raise ModelError(f"{unit!r} is the label of several rows; give the rows labels of their own")
        place = int(places[0])
        if not self.exact:
            raise ModelError("fitted values and random effects without a unit need exact refits: approx=False")
        if not self.found.converged[place]:
            raise ModelError(f"the model could not be fitted without {unit!r}: {self.found.messages[place]}")
        keep = np.ones(self.state.fitted.size, dtype=np.bool_)
        keep[self.units.rows[place]] = False
        return _refitted(self.state, keep, self.found.theta[place])

    def fitted(self, unit: Any) -> pd.Series:
        """Fitted values, random effects included, of the rows left without one unit, shape (rows left,).

        Parameters
        ----------
        unit
            Label of a row, group or set.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
        >>> case_delete(result, level="Subject").fitted(308).head(2).round(3)
        10    209.146
        11    211.228
        Name: fitted, dtype: float64
        """
        state = self.refitted(unit)
        return pd.Series(state.fitted.copy(), index=state.problem.design.index, name="fitted")

    @property
    def fitted_values(self) -> pd.DataFrame:
        """Fitted values without each unit, shape (n, u): NaN for the rows of the unit and units that failed."""
        out = np.full((self.state.fitted.size, len(self.units)), np.nan)
        for j, rows in enumerate(self.units.rows):
            if self.found.converged[j]:
                keep = np.ones(out.shape[0], dtype=np.bool_)
                keep[rows] = False
                out[keep, j] = _refitted(self.state, keep, self.found.theta[j]).fitted
        return pd.DataFrame(out, index=self.state.problem.design.index, columns=self.index)

    def random_effects(self, unit: Any) -> ByTerm:
        """Conditional modes without one unit, as ``random_effects`` of a result; levels without rows are left out.

        Parameters
        ----------
        unit
            Label of a row, group or set.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
        >>> case_delete(result, level="Subject").random_effects(308)["Subject"].head(2).round(3)
                 Intercept   Days
        Subject
        309        -42.683 -7.721
        310        -41.248 -4.546
        """
        state = self.refitted(unit)
        out = {}
        for term, (key, modes) in zip(state.problem.design.terms, conditional_modes(state).items(), strict=True):
            out[key] = modes.iloc[np.unique(term.codes)]
        return out

    def _series(self, values: Any, name: str) -> pd.Series:
        return pd.Series(values.copy(), index=self.index, name=name)


def _refitted(state: State, keep: BoolArray, theta: FloatArray) -> State:
    """The model fitted to some rows: evaluated at the theta of the refit, which a generalized model has to repeat."""
    return refit_rows_at(state, keep, theta) if isinstance(state, FitState) else refit_rows(state, keep)


def case_delete(
    model: Any,
    level: int | str = 1,
    *,
    delete: Delete | None = None,
    optimizer: Optimizer | None = None,
    n_jobs: int | None = 1,
    show_progress: bool = False,
) -> CaseDeletion:
    """Fit a model again without each row, without each level of a grouping factor, or without given sets of either.

    Every parameter is estimated anew, by REML or ML as in the fit, with its weights and offset.

    Parameters
    ----------
    model : LMMResult or GLMMResult, or statsmodels' MixedLMResults
    level : 1 or str
        1 for rows; else a grouping factor, spelled as in the formula or as lme4 names it (``cask:batch``).
    delete : sequence of labels, or dict from names to such sequences, optional
        Rows (by their labels in the frame) or levels that are left out together; one set, or several.
    optimizer : {"auto", "lbfgsb", "bobyqa"}, optional
        That of the fit by default. With "auto" the refits of a linear model run many at once, which is much faster.
    n_jobs : int, optional
        Processes, as for ``joblib.Parallel``; the numbers do not depend on it. Refits that are over within a second
        gain nothing from more than one.
    show_progress : bool

    Returns
    -------
    CaseDeletion

    Raises
    ------
    ValueError
        There is no such grouping factor or label, or an argument is out of range.
    TypeError
        For what is no fitted mixed model.

    Warns
    -----
    ConvergenceWarning
        Some units cannot be left out, because the rest does not identify the model or the optimizer fails. Their
        estimates are NaN; ``failed`` says why.

    See Also
    --------
    hlm_influence : measures of influence in one table.

    Notes
    -----
    HLMdiag's ``case_delete`` always refits by REML; here ML fits are refitted by ML. The columns of the model matrices
    stay what they are: knots of splines, or the mean that ``scale(x)`` takes off, are not found anew without the unit.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> case_delete(result, level="Subject", delete=[308, 335]).coefficients.round(3)
             Intercept    Days
    set
    deleted    251.129  10.595
    """
    return deletion_of(model, level, delete=delete, optimizer=optimizer, n_jobs=n_jobs, show_progress=show_progress)


def deletion_of(
    model: Any,
    level: int | str = 1,
    *,
    approx: bool = False,
    delete: Delete | None = None,
    optimizer: Optimizer | None = None,
    n_jobs: int | None = 1,
    show_progress: bool = False,
) -> CaseDeletion:
    """The deletion that measures are taken from: one that is given, exact refits, or one step with ``approx``.

    Warns once, on behalf of the public function that calls it, if some units cannot be left out.

    Raises
    ------
    ValueError
        An argument is out of range, or is not what the deletion was made with.
    TypeError
        For what is no fitted mixed model, and an ``approx`` that is neither True nor False.
    """
    if not isinstance(approx, bool | np.bool_):
        raise TypeError(f"approx must be True or False, not {approx!r}")
    if isinstance(model, CaseDeletion):
        return _as_asked_for(model, level, approx=bool(approx), delete=delete)
    state = state_of(model)
    optimizer, n_jobs = optimizer_of(state, optimizer), whole_number_of_jobs(n_jobs)
    units = units_of(state, level) if delete is None else sets_of(state, level, delete)
    if approx:
        found = one_step_deletions(state, units.rows)
    else:
        found = exact_deletions(state, units.rows, optimizer=optimizer, n_jobs=n_jobs, show_progress=show_progress)
    deletion = CaseDeletion(state, units, found, exact=not approx)
    _warn_of_failures(deletion)
    return deletion


def _as_asked_for(deletion: CaseDeletion, level: int | str, *, approx: bool, delete: Delete | None) -> CaseDeletion:
    """A deletion that was made before, if what is asked for is what it has; level 1 asks for nothing."""
    made = deletion.units.level
    if not is_of_rows(level) and made != "set" and grouping_term(deletion.state, level).group != made:
        what = "rows" if made is None else f"levels of {made!r}"
        raise ModelError(f"level={level!r}, but the deletion is of {what}: leave level out, or give the model")
    if approx and deletion.exact:
        raise ModelError("approx=True, but the deletion is made of exact refits: give the model instead")
    if delete is not None:
        raise ModelError("delete= is for a model, and this is a deletion: case_delete(model, level, delete=...)")
    return deletion


def _warn_of_failures(deletion: CaseDeletion) -> None:
    failed = deletion.failed
    if failed.empty:
        return
    named = ", ".join(str(label) for label in failed.index[:_NAMED]) + (", ..." if len(failed) > _NAMED else "")
    one = len(failed) == 1
    warnings.warn(
        f"the model has no estimates without {len(failed)} of {len(deletion.units)} units ({named}): {failed.iloc[0]}. "
        f"{'Its' if one else 'Their'} measures are NaN",
        ConvergenceWarning,
        stacklevel=4,
    )
