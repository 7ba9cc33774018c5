"""Cross-validation: how well a model predicts groups that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.core import familynames
from interlace.core.families import Binomial, Gaussian, NegativeBinomial
from interlace.errors import ModelError, hints_at
from interlace.estimate.parallel import in_order, whole_number_of_jobs
from interlace.frames.build import grouping_factors
from interlace.frames.learned import CodedFactor, coded_factors, learned_expressions, refuse_dependent_rows
from interlace.prediction.cross_validation import Fold, LeftOut, Tally, identifies, left_out, tallies
from interlace.prediction.predictive_density import refuse_convention
from interlace.results.call import FitCall, GlmerCall, design_of, glmm_state_of, state_of
from interlace.results.fold_fits import FoldFit, FoldFits
from interlace.results.fold_records import CVResult, FoldResult, Marking, report
from interlace.results.folds import folds_of, split_by
from interlace.results.scoring import scorers_of

if TYPE_CHECKING:
    from interlace.core.familybase import Family
    from interlace.frames.design import Design
    from interlace.prediction.simulate import Seed
    from interlace.results.scoring import Scoring
    from interlace.typing import FrameLike

__all__ = ["CVResult", "FoldResult", "cross_val"]

_SPELLINGS = {
    "n_splits": "the number of folds is k=",
    "random_state": "the seed of the folds is seed=",
    "scorer": "scores are scoring=",
    "REML": 'write method="REML" or method="ML"',
    "subset": "choose the rows first, as in data[data.x > 0]",
}
#: Names of the negative binomial family whose theta is estimated in every fold, as `glmer_nb` does.
_FREE_THETA = ("nb", "negative.binomial", "negative_binomial", "negativebinomial")


@hints_at(_SPELLINGS)
def cross_val(
    formula: str,
    data: FrameLike,
    groups: str | Sequence[str] | None = None,
    *,
    cv: Any = "logo",
    k: int = 5,
    scoring: Scoring = "rmse",
    seed: Seed = 42,
    return_models: bool = False,
    n_jobs: int | None = 1,
    show_progress: bool = False,
    family: str | Family | type[Family] | None = None,
    **fit_kwargs: Any,
) -> CVResult:
    """Fit a model without each of some sets of groups, and score its predictions for them.

    Parameters
    ----------
    formula : str
        As for `fit`.
    data : data frame or mapping
        As for `fit`; rows with a missing value in a column in use are left out.
    groups : str or sequence of str, optional
        Random intercepts, as for `fit`; the folds are made of whole levels of the first. Where the formula (or
        ``random=``) has random effects of its own, only the column whose levels make the folds; by default the first
        grouping factor of the formula, ``a`` for ``(1 | a/b)``.
    cv : {"logo", "kfold"}, splitter or iterable of (train, test)
        Leave one group out; k folds of groups; an object with the ``split(X, y, groups)`` of scikit-learn's splitters,
        which is given the rows in use; or positions in ``data``. The last two may cut through groups.
    k : int
        Number of folds of ``"kfold"``.
    scoring : str, callable, or list or dict of several
        ``"rmse"``, ``"mae"``, ``"r2"``, ``"log_score"``; a function of observed and predicted values; or the name of a
        scorer of scikit-learn, or a scorer. See the notes.
    seed : int, numpy.random.Generator or None
        Which groups share a fold of ``"kfold"``.
    return_models : bool
        Whether to keep the fit of every fold, which is then made from its rows.
    n_jobs : int, optional
        Processes, as for ``joblib.Parallel``; the numbers do not depend on it.
    show_progress : bool
        Whether to show a progress bar on standard error.
    family : str or Family, optional
        As for `glmer`; None for a linear model, ``"nb"`` for a negative binomial whose theta is estimated.
    **fit_kwargs
        Further arguments of `fit` or `glmer`.

    Returns
    -------
    CVResult

    Raises
    ------
    ValueError
        An argument is not what it may be, the model cannot be fitted to all rows, or no fold could be fitted.
    TypeError
        An argument is of the wrong kind, or there is no such argument.

    Warns
    -----
    UserWarning
        A fold failed: its score is NaN, and ``mean`` and ``std`` are over the others.
    ConvergenceWarning
        The optimizer did not converge in some fold.

    Notes
    -----
    Predictions are means of the response, with the random effects of levels that the fit has seen at their modes and
    those of others at zero. ``"log_score"`` is minus the log density of the rows left out given the rows of the fit, by
    the number of these rows; see `interlace.prediction.predictive_density`. Lower is better, but for ``"r2"``, and for
    scorers of scikit-learn, whose sign is theirs; to them a 0/1 response of a binomial model is that of a classifier.

    Everything is learned from the training rows. Linear models are refitted from cross-products of all rows less those
    of the fold, unless a term such as ``center(x)`` or ``poly(x, 2)`` makes the design itself depend on the rows, the
    optimizer is not ``"auto"``, or models are to be returned: then from the rows. The numbers are the same.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> cv = interlace.cross_val("Reaction ~ Days", df, groups="Subject")
    >>> print(f"LOGO RMSE: {cv.mean:.3f} ± {cv.std:.3f}")
    LOGO RMSE: 43.453 ± 24.618
    >>> cv.fold_results[0].groups, round(float(cv.scores[0]), 3)
    (('308',), 71.697)
    """
    scorers, single = scorers_of(scoring)
    jobs = whole_number_of_jobs(n_jobs)
    call, by = _model_call(formula, data, groups, family, fit_kwargs)
    density = any(scorer.density for scorer in scorers)
    if density and isinstance(call, GlmerCall):
        refuse_convention(call.resolved()[0], call.control)
    design = design_of(call)
    refuse_dependent_rows(design, "cross_val()")
    split = split_by(design, data, by)
    folds = folds_of(split, design, cv, k, seed)
    plan = _Plan(call, design, folds, density, return_models, jobs, show_progress)
    marks = Marking(design, split, scorers, binary=_is_binary(call, design))
    results = [
        marks.record(number, fold, fit)
        for number, (fold, fit) in enumerate(zip(folds, plan.carried_out(), strict=True))
    ]
    report(results, stacklevel=3)
    return CVResult.of(results, design.formula, split.name, single=single)


def _model_call(
    formula: str, data: FrameLike, groups: Any, family: Any, fit_kwargs: dict[str, Any]
) -> tuple[FitCall | GlmerCall, str | None]:
    """The call that fits the model to all rows, and the column that makes the folds if it is not the model's first."""
    control = fit_kwargs.get("control")
    extra = getattr(control, "extra_transforms", None)
    kind = FitCall if family is None or _is_linear(family, fit_kwargs.get("link")) else GlmerCall
    known = {field.name for field in fields(kind)} - {"formula", "data", "groups", "family", "free_theta"}
    unknown = sorted(set(fit_kwargs) - known)
    if unknown:
        hints = [f"{name!r}: {kind.other_spellings[name]}" for name in unknown if name in kind.other_spellings]
        raise TypeError(
            f"cross_val() has no argument {', '.join(map(repr, unknown))}"
            + (f" ({'; '.join(hints)})" if hints else f"; beside its own it takes those of {kind.function}()")
        )
    given = dict(fit_kwargs)
    if isinstance(given.get("random"), str):
        given["random"] = [given["random"]]
    by = None
    try:
        grouping_factors(formula, None, given.get("random"), extra)
    except ModelError:  # no random effects of its own
        by = groups if isinstance(groups, str) or groups is None else next(iter(groups), None)
        given["groups"] = groups
    else:
        by = _one_column(groups)
    if kind is FitCall:
        return FitCall(formula, data, **{name: value for name, value in given.items() if name != "link"}), by
    free = family is NegativeBinomial or (isinstance(family, str) and family.strip().casefold() in _FREE_THETA)
    return GlmerCall(
        formula, data, family=NegativeBinomial(theta=1.0) if free else family, free_theta=free, **given
    ), by


def _is_linear(family: Any, link: Any) -> bool:
    """Whether a Gaussian family with the identity link is spelled out."""
    if not isinstance(family, str) or family.strip().casefold() in _FREE_THETA:
        return False
    return isinstance(familynames.family(family), Gaussian) and link in (None, "identity")


def _one_column(groups: Any) -> str | None:
    names = [groups] if isinstance(groups, str) else list(groups or [])
    if len(names) > 1 or not all(isinstance(name, str) for name in names):
        raise TypeError(
            "the model has random effects of its own, so groups= is the one column whose levels make the folds; not "
            f"{groups!r}"
        )
    return names[0] if names else None


@dataclass(frozen=True, eq=False)
class _Plan:
    """How the folds are fitted: without rows where that gives the same numbers, else from their rows."""

    call: FitCall | GlmerCall
    design: Design
    folds: Sequence[Fold]
    density: bool
    keep: bool
    n_jobs: int | None
    show_progress: bool

    def carried_out(self) -> list[FoldFit]:
        """What became of each fold."""
        reasons = self._obstacles()
        out = [FoldFit(None, None, reason) for reason in reasons]
        possible = [i for i, reason in enumerate(reasons) if not reason]
        from_rows = self.keep or self.call.optimizer != "auto" or bool(learned_expressions(self.design))
        counted = tallies(self.design)
        quick = [] if from_rows else [i for i in possible if identifies(self.design, counted, self.folds[i])]
        if quick:
            for i, found in zip(quick, self._without_rows([self.folds[i] for i in quick]), strict=True):
                out[i] = FoldFit(found, None)
        left = [i for i in possible if out[i].found is None]
        if left:
            for i, fit in zip(left, self._from_rows([self.folds[i] for i in left]), strict=True):
                out[i] = fit
        return out

    def _obstacles(self) -> list[str]:
        """Why folds are not even tried; empty for those that are."""
        factors = [(factor, Tally.of(factor.codes, len(factor.levels))) for factor in coded_factors(self.design)]
        return [
            _empty(self.design, fold) or next(filter(None, (_unseen(*factor, fold) for factor in factors)), "")
            for fold in self.folds
        ]

    def _without_rows(self, folds: Sequence[Fold]) -> list[LeftOut | None]:
        call = self.call
        state = state_of(call, self.design) if isinstance(call, FitCall) else glmm_state_of(call, self.design)
        return left_out(state, folds, density=self.density, n_jobs=self.n_jobs, progress=self._progress)

    def _from_rows(self, folds: Sequence[Fold]) -> list[FoldFit]:
        fits = FoldFits.of(self.call, self.design, density=self.density, keep=self.keep)
        parts = in_order(fits, [[fold] for fold in folds], n_jobs=self.n_jobs, progress=self._progress, unit="fold")
        return [one for part in parts for one in part]

    @property
    def _progress(self) -> str:
        return "cross-validation" if self.show_progress else ""


def _unseen(factor: CodedFactor, tally: Tally, fold: Fold) -> str:
    """Why rows cannot be predicted: levels of a predictor that occur in none of the rows of the fit."""
    codes = np.intersect1d(factor.codes[fold.test], tally.emptied(fold.lost))
    if not codes.size:
        return ""
    levels = ", ".join(repr(str(factor.levels[code])) for code in codes[:5]) + (", ..." if codes.size > 5 else "")
    return (
        f"factor {factor.label!r} has the level{'s' * (codes.size > 1)} {levels} in the rows left out only, so that a "
        "fit to the others cannot predict them; merge such levels, or leave the factor out"
    )


def _empty(design: Design, fold: Fold) -> str:
    if not fold.test.size:
        return "none of the rows to predict can be used"
    return "" if fold.lost.size < design.y.size else "no row is left to fit"


def _is_binary(call: FitCall | GlmerCall, design: Design) -> bool:
    """Whether a response is 0 or 1 and its mean a probability."""
    if isinstance(call, FitCall) or not isinstance(call.resolved()[0], Binomial):
        return False
    return bool(np.isin(design.y, (0.0, 1.0)).all() and (design.weights is None or (design.weights == 1.0).all()))
