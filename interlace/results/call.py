"""The call that made a fit, kept so that it can be changed and repeated."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_args

import numpy as np

from interlace.core import families, familynames, links
from interlace.core.customfamily import validate_family
from interlace.core.families import Family, Gaussian
from interlace.core.familynames import link_for
from interlace.core.linkbase import Link
from interlace.core.quadrature import MAX_NODES
from interlace.errors import DataError, ModelError
from interlace.estimate.control import Control
from interlace.estimate.glmm import fit_glmm
from interlace.estimate.lmm import fit_design, fit_problem
from interlace.frames.adapt import Table
from interlace.frames.build import build_design, grouping_factors
from interlace.frames.update import update_formula
from interlace.streaming.sources import is_stream
from interlace.typing import DfMethod, Method, Optimizer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.estimate.glmm_state import GlmmState
    from interlace.estimate.state import FitState
    from interlace.frames.design import Design
    from interlace.typing import FloatArray, FrameLike

__all__ = [
    "OTHER_SPELLINGS",
    "OTHER_SPELLINGS_GLMER",
    "FitCall",
    "GlmerCall",
    "ModelCall",
    "changed_call",
    "design_of",
    "frame_length",
    "glmm_state_of",
    "state_of",
    "streamed_state_of",
]

_IN_FORMULA = 'write the random effects into the formula, "y ~ x + (1 + x | group)", or into random='
_EVERYWHERE = {
    "subset": "choose the rows first, as in data[data.x > 0]",
    "start": "starting values are theta0=",
    "re_formula": _IN_FORMULA,
    "vc_formula": _IN_FORMULA,
}
_GLMER = "for a response that is not Gaussian use interlace.glmer(..., family=...)"
_ONLY_ML = "generalized models are fitted by maximum likelihood"
#: Arguments that lme4 and statsmodels have, and what to write instead.
OTHER_SPELLINGS = _EVERYWHERE | {
    "REML": 'write method="REML" or method="ML"',
    "reml": 'write method="REML" or method="ML"',
    "family": _GLMER,
    "nAGQ": _GLMER,
}
OTHER_SPELLINGS_GLMER = _EVERYWHERE | {
    "REML": _ONLY_ML,
    "reml": _ONLY_ML,
    "method": _ONLY_ML,
    "nagq": "write nAGQ=",
    "n_agq": "write nAGQ=",
    "df_method": "tests of generalized models use the normal distribution",
    "trials": "numbers of trials are weights=, or write cbind(successes, failures) ~ ...",
    "size": "numbers of trials are weights=, or write cbind(successes, failures) ~ ...",
    "exposure": "write offset(log(exposure)) in the formula, or offset=",
}
_DOT = re.compile(r"(?<![\w.`])\.(?![\w.`])")


@dataclass(frozen=True)
class ModelCall(ABC):
    """Arguments that all calls have, as given.

    Attributes
    ----------
    formula : str
    data : frame or mapping
        The caller's own object, not a copy.
    groups, random, weights, offset, optimizer, theta0, covariance, contrasts, na_action, control
        See ``interlace.fit``.
    """

    #: Arguments that say how to estimate and leave the data and the model as they are.
    estimation: ClassVar[frozenset[str]] = frozenset({"optimizer", "theta0"})
    other_spellings: ClassVar[Mapping[str, str]]
    function: ClassVar[str]

    formula: str
    data: FrameLike = field(repr=False)
    groups: str | Sequence[str] | None = None
    random: Sequence[str] | None = None
    weights: ArrayLike | str | None = None
    offset: ArrayLike | str | None = None
    optimizer: Optimizer = "auto"
    theta0: ArrayLike | None = None
    covariance: Mapping[str, str] | None = None
    contrasts: Mapping[str, Any] | None = None
    na_action: str = "drop"
    control: Control | None = None

    def __post_init__(self) -> None:
        self._one_of("optimizer", get_args(Optimizer))
        if self.control is not None and not isinstance(self.control, Control):
            raise TypeError(f"control must be an interlace.Control(...), not {self.control!r}")

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; not {getattr(self, name)!r}")

    @property
    def family_name(self) -> str | None:
        """Name of the response's family; None for a linear model."""
        return None

    def start_values(self) -> FloatArray | None:
        """Check that ``theta0`` holds numbers."""
        try:
            return None if self.theta0 is None else np.asarray(self.theta0, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"theta0 must hold numbers, not {self.theta0!r}") from error


@dataclass(frozen=True)
class FitCall(ModelCall):
    """Arguments of one call of ``interlace.fit``, as given.

    Attributes
    ----------
    method, df_method
        See ``interlace.fit``.
    """

    estimation = ModelCall.estimation | {"method", "df_method"}
    other_spellings = OTHER_SPELLINGS
    function = "fit"

    method: Method = "REML"
    df_method: DfMethod = "satterthwaite"

    def __post_init__(self) -> None:
        self._one_of("method", get_args(Method))
        self._one_of("df_method", get_args(DfMethod))
        super().__post_init__()


@dataclass(frozen=True)
class GlmerCall(ModelCall):
    """Arguments of one call of ``interlace.glmer`` or ``glmer_nb``, as given.

    Attributes
    ----------
    family, link, nAGQ
        See ``interlace.glmer``.
    free_theta : bool
        Whether the theta of a negative binomial family is estimated: ``glmer_nb``.
    """

    estimation = ModelCall.estimation | {"nAGQ", "link"}
    other_spellings = OTHER_SPELLINGS_GLMER
    function = "glmer"

    family: str | Family | type[Family] = "binomial"
    link: str | Link | None = None
    nAGQ: int = 1  # noqa: N815 - lme4's name
    free_theta: bool = False

    def __post_init__(self) -> None:
        nodes: Any = self.nAGQ
        if isinstance(nodes, bool) or not isinstance(nodes, int | np.integer) or not 0 <= nodes <= MAX_NODES:
            raise ValueError(f"nAGQ must be a whole number from 0 to {MAX_NODES}, not {nodes!r}")
        family, link = self.resolved()
        if isinstance(family, Gaussian) and link.name == "identity":
            raise ModelError(
                "a Gaussian response with the identity link is a linear mixed model: use interlace.fit(...), or "
                'another link, such as link="log"'
            )
        super().__post_init__()

    @property
    def df_method(self) -> DfMethod:
        """Tests use the normal distribution."""
        return "normal"

    @property
    def family_name(self) -> str:
        """Name of the response's family."""
        return self.resolved()[0].name

    def resolved(self) -> tuple[Family, Link]:
        """Family and link as objects."""
        family = familynames.family(self.family)
        return family, link_for(family, self.link)


def design_of(call: ModelCall) -> Design:
    """Evaluate the formula of a call on its data."""
    if is_stream(call.data):
        raise TypeError(
            "data must be a pandas, polars or pyarrow data frame, or a dict of columns, here: only interlace.fit reads "
            "files and lazy frames in batches, because linear models need nothing but sums over the rows. Pass "
            "pandas.read_parquet(...), or .collect() or .compute() of a lazy frame, if it fits in memory, or a sample"
        )
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
        family=call.family_name,
    )


def state_of(call: FitCall, design: Design) -> FitState:
    """Estimate the linear model of a design as a call asks for."""
    theta0 = call.start_values()
    return fit_design(design, reml=call.method == "REML", optimizer=call.optimizer, theta0=theta0, control=call.control)


def streamed_state_of(call: FitCall) -> FitState:
    """Estimate a linear model from rows that are read in batches."""
    from interlace.streaming.fit import prepare_stream  # what few calls need is imported by them

    problem = prepare_stream(
        call.formula,
        call.data,
        call.groups,
        call.random,
        reml=call.method == "REML",
        weights=call.weights,
        offset=call.offset,
        contrasts=call.contrasts,
        covariance=call.covariance,
        na_action=call.na_action,
        control=call.control,
    )
    return fit_problem(problem, optimizer=call.optimizer, theta0=call.start_values())


def glmm_state_of(call: GlmerCall, design: Design) -> GlmmState:
    """Estimate the generalized model of a design as a call asks for."""
    family, link = call.resolved()
    if not (type(family).__module__ == families.__name__ and type(link).__module__ == links.__name__):
        kinds = np.unique(design.y)
        validate_family(family, link, kinds[np.linspace(0, kinds.size - 1, min(kinds.size, 30)).astype(int)])
    return fit_glmm(
        design,
        family,
        link,
        nodes=int(call.nAGQ),
        free_theta=call.free_theta,
        optimizer=call.optimizer,
        theta0=call.start_values(),
        control=call.control,
    )


C = TypeVar("C", bound=ModelCall)


def changed_call(
    call: C, design: Design, formula: str | None, data: FrameLike | None, changes: Mapping[str, Any]
) -> tuple[C, bool]:
    """Change some arguments of a call; ``LMMResult.update`` documents the rules.

    Parameters
    ----------
    call : ModelCall
    design : Design
        Design of the fit that the call made.
    formula, data, changes
        What ``update`` was given.

    Returns
    -------
    ModelCall
    bool
        Whether the design stays as it is, so that only the estimation is repeated.
    """
    known = {f.name for f in fields(call)} - {"formula", "data", "free_theta"}
    unknown = sorted(set(changes) - known)
    for name in unknown:
        if name in call.other_spellings:
            raise TypeError(f"update() has no argument {name!r}: {call.other_spellings[name]}")
    if unknown:
        raise TypeError(
            f"update() got unknown argument{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))}; "
            f"it takes formula, data and those of {call.function}(): {', '.join(sorted(known))}"
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
    return changed, set(given) <= call.estimation


def _still_there(call: ModelCall) -> dict[str, str]:
    """Structures of ``covariance=`` whose grouping factors (``g``, or ``g.1`` for a second term) a new formula has."""
    extra = None if call.control is None else call.control.extra_transforms
    groups = grouping_factors(call.formula, call.groups, call.random, extra)
    structures = call.covariance or {}
    return {key: value for key, value in structures.items() if {key, re.sub(r"\.\d+$", "", key)} & groups}


def _with_terms(call: ModelCall, design: Design, formula: str, given: dict[str, Any]) -> str:
    """Write the new formula; it keeps the old random-effects terms unless it has its own or takes them out."""
    # Not design.formula, which has the structures of covariance= written in: these may be what changes.
    new = update_formula(design.spec.formula.text, formula)
    # "y ~ x + z" for a fit made with groups= changes the fixed effects only; ". ~ . - (1 | g)" has seen the terms.
    keeps_shorthand = "|" not in new and not _DOT.search(formula.partition("~")[2])
    if not keeps_shorthand:
        given.update(groups=None, random=None)
    return new


def _check_arrays(call: ModelCall, data: FrameLike, changes: Mapping[str, Any]) -> None:
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
