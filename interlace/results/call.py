"""The call that made a fit, kept so that it can be changed and repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from interlace.errors import NEEDS_GLMM, DataError
from interlace.estimate.control import Control
from interlace.estimate.lmm import fit_design
from interlace.frames.adapt import Table
from interlace.frames.build import build_design, grouping_factors
from interlace.frames.update import update_formula
from interlace.typing import DfMethod, Method, Optimizer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.estimate.state import FitState
    from interlace.frames.design import Design
    from interlace.typing import FrameLike

__all__ = ["OTHER_SPELLINGS", "FitCall", "changed_call", "design_of", "frame_length", "state_of"]

#: Arguments that say how to estimate and leave the data and the model as they are.
_ESTIMATION = frozenset({"method", "optimizer", "theta0", "df_method"})
_NOT_HERE = f"a response that is not Gaussian {NEEDS_GLMM}"
_IN_FORMULA = 'write the random effects into the formula, "y ~ x + (1 + x | group)", or into random='
#: Arguments that lme4 and statsmodels have, and what to write instead.
OTHER_SPELLINGS = {
    "REML": 'write method="REML" or method="ML"',
    "reml": 'write method="REML" or method="ML"',
    "family": _NOT_HERE,
    "nAGQ": _NOT_HERE,
    "subset": "choose the rows first, as in data[data.x > 0]",
    "start": "starting values are theta0=",
    "re_formula": _IN_FORMULA,
    "vc_formula": _IN_FORMULA,
}
_DOT = re.compile(r"(?<![\w.`])\.(?![\w.`])")


@dataclass(frozen=True)
class FitCall:
    """Arguments of one call of ``interlace.fit``, as given.

    Attributes
    ----------
    formula : str
    data : frame or mapping
        The caller's own object, not a copy.
    groups, random, method, weights, offset, optimizer, theta0, covariance, contrasts, df_method, na_action, control
        See ``interlace.fit``.
    """

    formula: str
    data: FrameLike = field(repr=False)
    groups: str | Sequence[str] | None = None
    random: Sequence[str] | None = None
    method: Method = "REML"
    weights: ArrayLike | str | None = None
    offset: ArrayLike | str | None = None
    optimizer: Optimizer = "auto"
    theta0: ArrayLike | None = None
    covariance: Mapping[str, str] | None = None
    contrasts: Mapping[str, Any] | None = None
    df_method: DfMethod = "satterthwaite"
    na_action: str = "drop"
    control: Control | None = None

    def __post_init__(self) -> None:
        for name, choices in (("method", Method), ("optimizer", Optimizer), ("df_method", DfMethod)):
            allowed = get_args(choices)
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; not {getattr(self, name)!r}")
        if self.control is not None and not isinstance(self.control, Control):
            raise TypeError(f"control must be an interlace.Control(...), not {self.control!r}")


def design_of(call: FitCall) -> Design:
    """Evaluate the formula of a call on its data."""
    return build_design(
        call.formula,
        call.data,
        call.groups,
        call.random,
        weights=call.weights,
        offset=call.offset,
        contrasts=call.contrasts,
        covariance=call.covariance,
        na_action=call.na_action,
        extra_transforms=None if call.control is None else call.control.extra_transforms,
    )


def state_of(call: FitCall, design: Design) -> FitState:
    """Estimate the model of a design as a call asks for."""
    try:
        theta0 = None if call.theta0 is None else np.asarray(call.theta0, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"theta0 must hold numbers, not {call.theta0!r}") from error
    return fit_design(design, reml=call.method == "REML", optimizer=call.optimizer, theta0=theta0, control=call.control)


def changed_call(
    call: FitCall, design: Design, formula: str | None, data: FrameLike | None, changes: Mapping[str, Any]
) -> tuple[FitCall, bool]:
    """Change some arguments of a call; ``LMMResult.update`` documents the rules.

    Parameters
    ----------
    call : FitCall
    design : Design
        Design of the fit that the call made.
    formula, data, changes
        What ``update`` was given.

    Returns
    -------
    FitCall
    bool
        Whether the design stays as it is, so that only the estimation is repeated.
    """
    known = {f.name for f in fields(FitCall)} - {"formula", "data"}
    unknown = sorted(set(changes) - known)
    for name in unknown:
        if name in OTHER_SPELLINGS:
            raise TypeError(f"update() has no argument {name!r}: {OTHER_SPELLINGS[name]}")
    if unknown:
        raise TypeError(
            f"update() got unknown argument{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))}; "
            f"it takes formula, data and those of fit(): {', '.join(sorted(known))}"
        )
    if formula is not None and not isinstance(formula, str):
        raise TypeError(f"update() takes a formula as text, such as '. ~ . + x', not {type(formula).__name__}")
    if data is not None:
        _check_arrays(call, data, changes)
    given = dict(changes)
    if "groups" in given or "random" in given:
        given = {"groups": None, "random": None} | given
        if formula is not None:
            formula = update_formula(call.formula, formula)
    elif formula is not None:
        formula = _with_terms(call, design, formula, given)
    if formula is not None:
        given = {"formula": formula, "theta0": None} | given
    if data is not None:
        given["data"] = data
    changed = replace(call, **given)
    if formula is not None and call.covariance and "covariance" not in given:
        changed = replace(changed, covariance=_still_there(changed))
    return changed, set(given) <= _ESTIMATION


def _still_there(call: FitCall) -> dict[str, str]:
    """Structures of ``covariance=`` whose grouping factors (``g``, or ``g.1`` for a second term) a new formula has."""
    extra = None if call.control is None else call.control.extra_transforms
    groups = grouping_factors(call.formula, call.groups, call.random, extra)
    structures = call.covariance or {}
    return {key: value for key, value in structures.items() if {key, re.sub(r"\.\d+$", "", key)} & groups}


def _with_terms(call: FitCall, design: Design, formula: str, given: dict[str, Any]) -> str:
    """Write the new formula; it keeps the old random-effects terms unless it has its own or takes them out."""
    # Not design.formula, which has the structures of covariance= written in: these may be what changes.
    new = update_formula(design.spec.formula.text, formula)
    # "y ~ x + z" for a fit made with groups= changes the fixed effects only; ". ~ . - (1 | g)" has seen the terms.
    keeps_shorthand = "|" not in new and not _DOT.search(formula.partition("~")[2])
    if not keeps_shorthand:
        given.update(groups=None, random=None)
    return new


def _check_arrays(call: FitCall, data: FrameLike, changes: Mapping[str, Any]) -> None:
    """Weights and offset that were given as arrays belong to the old rows."""
    for name in ("weights", "offset"):
        value = getattr(call, name)
        if value is None or isinstance(value, str) or name in changes:
            continue
        if len(np.asarray(value)) != frame_length(data):
            raise DataError(
                f"update(data=...) inherits {name}, an array of {len(np.asarray(value))} values, but the new data have "
                f"{frame_length(data)} rows; pass {name}= for the new data, or name a column in the original call"
            )


def frame_length(data: FrameLike) -> int:
    """Count the rows of a frame or of a mapping of columns."""
    return Table(data).n
