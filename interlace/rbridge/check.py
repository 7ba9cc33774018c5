"""Fit a result's model again in lme4 and compare."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.core import families
from interlace.core import links as link_functions
from interlace.errors import ModelError
from interlace.rbridge.agreement import AgreementTable, compare
from interlace.rbridge.names import r_formula
from interlace.rbridge.ours import numbers_of
from interlace.rbridge.run import fit_in_r
from interlace.rbridge.session import require, versions
from interlace.results.glmm import GLMMResult
from interlace.results.lmm import LMMResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from interlace.frames.design import Design, RandomTerm
    from interlace.rbridge.numbers import FitNumbers
    from interlace.typing import FloatArray

__all__ = ["agreement_with", "check", "counterpart", "reference"]

_FAMILIES = (
    families.Binomial, families.Poisson, families.Gamma, families.InverseGaussian, families.Gaussian,
    families.NegativeBinomial,
)  # fmt: skip


def check(result: Any, newdata: Mapping[str, pd.DataFrame] | None = None) -> AgreementTable:
    """Compare a fitted model with lme4's fit of the same model to the same rows.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    newdata : dict from label to DataFrame, optional
        Rows to compare predictions on. Not for models with an offset: R is passed the offset of the fitted rows.

    Returns
    -------
    AgreementTable
        ``print`` it, or use ``frame``, ``agrees``, ``failures``.

    Raises
    ------
    ImportError
        When rpy2, R or lme4 is missing; the message says what to install.
    ModelError
        For a covariance structure, family, link or approximation that lme4 does not have.
    FormulaError
        For a function in the formula that R's formulas do not have.
    TypeError
        For anything but a result of ``interlace.fit``, ``glmer`` or ``glmer_nb``.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", df)
    >>> not interlace.rbridge.available() or interlace.rbridge.check(result).agrees
    True
    """
    return agreement_with(counterpart(result, newdata), result, newdata)


def counterpart(result: Any, newdata: Mapping[str, pd.DataFrame] | None = None) -> FitNumbers:
    """Fit a result's model to the same rows in lme4; arguments and errors are those of `check`.

    Returns
    -------
    FitNumbers
        lme4's numbers, by R's names.
    """
    if not isinstance(result, LMMResult | GLMMResult):
        raise TypeError(f"expected a result of interlace.fit() or glmer(), not {type(result).__name__}")
    require()
    design = result.state.problem.design
    _require_counterpart(design.terms)
    function, options = "interlace_lmer", {"reml": bool(result.state.reml)}
    if isinstance(result, GLMMResult):
        function, options = "interlace_glmer", _generalized(result)
    return fit_in_r(
        function,
        r_formula(design.formula, offsets=False),
        _observed_levels(result.model.data.frame),
        weights=_weights(design),
        offset=design.offset,
        contrasts=result.call.contrasts or {},
        newdata=newdata or {},
        **options,
    )


def agreement_with(
    theirs: FitNumbers, result: Any, newdata: Mapping[str, pd.DataFrame] | None = None
) -> AgreementTable:
    """Compare a result with what `counterpart` gave for it."""
    ours = replace(numbers_of(result, newdata), rows=np.arange(result.nobs, dtype=np.int64))
    return compare(ours, theirs, reference=reference())


def _generalized(result: GLMMResult) -> dict[str, Any]:
    """Arguments of ``interlace_glmer`` that stand for this model; an error where there are none."""
    family, link, control = result.family, result.link, result.call.control
    if type(family) not in _FAMILIES:
        raise ModelError(
            f"family {family.name!r} is your own: lme4 does not have it, so there is nothing to check with"
        )
    if type(link).__module__ != link_functions.__name__:
        raise ModelError(f"link {link.name!r} is your own: lme4 does not have it, so there is nothing to check with")
    if family.has_dispersion and (control is None or control.dispersion != "lme4"):
        raise ModelError(
            f"lme4 does not maximize the likelihood of a {family.name} model, as this fit does: fit with "
            'control=Control(dispersion="lme4") to check against it'
        )
    if control is not None and control.information != "expected" and link.name != family.canonical_link:
        raise ModelError(
            f"lme4 uses expected information for the {link.name} link: fit with "
            'control=Control(information="expected") to check against it'
        )
    terms = result.state.problem.design.terms
    if result.call.nAGQ > 1 and (len(terms) > 1 or terms[0].Z.shape[1] > 1):
        raise ModelError(
            f"lme4 has nAGQ={result.call.nAGQ} for a single intercept or slope only: fit with nAGQ=1 to check"
        )
    known: float | None = None  # left out, R estimates it
    if isinstance(family, families.NegativeBinomial) and not result.call.free_theta:
        known = family.theta
    return {"family": family.name, "link": link.name, "nAGQ": int(result.call.nAGQ), "nb_theta": known}


def _weights(design: Design) -> FloatArray | None:
    """Weights to pass to R, which multiplies them by the trials of ``cbind(successes, failures)`` itself."""
    if design.weights is None or design.spec.formula.response.kind != "cbind":
        return design.weights
    return None if design.trials is None else design.weights / design.trials


def _observed_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out categories that do not occur, as a fit does; R's ``C()`` stumbles over them."""
    import pandas as pd

    categories = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]
    return frame.assign(**{str(name): frame[name].cat.remove_unused_categories() for name in categories})


def _require_counterpart(terms: Sequence[RandomTerm]) -> None:
    for term in terms:
        if term.structure == "diagonal" and term.Z.shape[1] > 1:
            raise ModelError(
                f"lme4 has no diagonal covariance within one term, as ({' + '.join(term.names)} | {term.group}) has: "
                f"write (x || {term.group}) with numeric x, which is the same model in separate terms"
            )


def reference() -> str:
    """Name the R in use: ``lme4 1.1.31 (R 4.2.2)``."""
    found = versions()
    return f"lme4 {found['lme4']} (R {found['R']})"
