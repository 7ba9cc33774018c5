"""Fits as files: a zip archive that holds JSON and arrays, and nothing that can be executed.

Format, version 1
-----------------
``meta.json``
    ``format`` ("interlace-result"), ``version`` (1), ``interlace`` (version of the library that wrote it), ``model``
    ("lmm" or "glmm"), ``formula`` (with its random-effects terms), ``call`` (arguments of the fit that are not arrays),
    ``columns`` and ``index`` (how to put the model frame together), ``estimates`` (sigma, criterion, what the optimizer
    said, what the checks found).
``arrays.npz``, ``arrays.json``
    numpy's own archive of arrays a0, a1, ..., read with ``allow_pickle=False``, and the list of what they are: the
    columns of the model frame (the rows used, and those that an expression such as ``lag(x)`` left out), the response,
    weights and offset where arrays were given, theta, beta and its covariance, conditional modes, fitted values. For a
    generalized model ``call`` has the family by its name (and theta), and the arrays the optimizer's parameters and the
    linear predictor.

Reading builds the design from the model frame again, evaluates it once at theta, checks that the result is the one that
was stored, and then uses the stored numbers, so that they are the same to the last bit on every machine.
"""

from __future__ import annotations

import os
from dataclasses import asdict, fields, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.core import archive, families, links
from interlace.core.families import NegativeBinomial
from interlace.core.iterative_fit import with_probes
from interlace.core.optsummary import OptSummary
from interlace.core.probes import MonteCarlo, Probes
from interlace.errors import DataError, InterlaceError
from interlace.estimate.control import Control
from interlace.estimate.glmm import prepare_glmm
from interlace.estimate.glmm import state_at as glmm_state_at
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.lmm import prepare, state_at
from interlace.estimate.problem import KnownMeans
from interlace.estimate.state import Check, FitState, State
from interlace.frames.select import numeric_values
from interlace.results.call import FitCall, GlmerCall, ModelCall, design_of
from interlace.results.columns import Arrays, decode_column, decode_index, encode_column, encode_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interlace.frames.design import Design
    from interlace.typing import FloatArray

__all__ = ["KIND", "describe_call", "library_version", "load", "restored_call", "save"]

KIND = archive.Kind("interlace-result", 1, "a result saved by interlace", "save the fit again")
#: Largest relative difference between the stored criterion and the one found again.
_AGREEMENT = 1e-6
_CALL_TEXTS = ("optimizer", "covariance", "contrasts", "na_action")
_CALL_TEXTS_OF_FIT, _CALL_TEXTS_OF_GLMER = ("df_method",), ("nAGQ", "free_theta")
_STATE_ARRAYS = ("theta", "beta", "beta_cov", "fixed", "fitted")
_OPT_SCALARS = ("optimizer", "value", "converged", "iterations", "evaluations", "restarts", "message")
_OPT_ARRAYS = ("gradient", "hessian")
_PROBE_ARRAYS = ("values", "theta_cov")


def save(state: State, call: ModelCall, path: str | os.PathLike[str]) -> None:
    """Write a fit to ``path``; the results' ``save`` is the public way.

    Parameters
    ----------
    state : FitState or GlmmState
    call : FitCall or GlmerCall
    path : str or path-like

    Raises
    ------
    DataError
        The fit depends on a function (``extra_transforms``) or on labels that a file cannot hold.
    """
    name = os.fsdecode(path)
    arrays: Arrays = {}
    meta = _describe(state, call, arrays)
    try:
        archive.write(name, KIND, meta, arrays)
    except TypeError as error:
        raise DataError(f"an argument of the fit cannot be saved as text: {error}") from error


def _describe(state: State, call: ModelCall, arrays: Arrays) -> dict[str, Any]:
    """Everything of a fit that is not an array, with the arrays put into ``arrays``."""
    design, described = state.problem.design, describe_call(state, call, arrays)
    # Expressions learn from rows that they may then leave out: poly(x, 2) beside log(y), lag(x).
    frame = design.complete_frame
    columns = {str(name): encode_column(frame[name], f"column|{name}", arrays) for name in frame.columns}
    arrays |= {f"state|{name}": getattr(state, name) for name in _STATE_ARRAYS} | {"state|kept": state.kept}
    arrays |= {f"modes|{i}": modes for i, modes in enumerate(state.modes)}
    arrays |= {f"opt|{name}": getattr(state.opt, name) for name in _OPT_ARRAYS}
    arrays["response"] = design.y
    if state.opt.monte_carlo is not None:
        arrays |= {f"probes|{name}": getattr(state.opt.monte_carlo, name) for name in _PROBE_ARRAYS}
    if isinstance(state, GlmmState):
        arrays |= {"opt|x": state.opt.x, "state|eta": state.eta}
    return {
        "interlace": library_version(),
        **described,
        "columns": columns,
        "index": encode_index(frame.index, arrays),
        "n_zero_weight": design.n_zero_weight,
        "estimates": {
            "sigma": state.sigma,
            "criterion": state.criterion,
            "opt": {name: getattr(state.opt, name) for name in _OPT_SCALARS},
            "probes": None if state.opt.monte_carlo is None else asdict(state.opt.monte_carlo.probes),
            "checks": [asdict(check) for check in state.checks],
        },
    }


def describe_call(state: State, call: ModelCall, arrays: Arrays) -> dict[str, Any]:
    """Describe what was asked for as JSON; `restored_call` makes a call of it again.

    Parameters
    ----------
    state : FitState or GlmmState
    call : FitCall or GlmerCall
    arrays : dict
        Receives weights and offset that were given as arrays, under ``call|weights`` and ``call|offset``.

    Returns
    -------
    dict
        ``model``, ``formula``, ``call`` and ``control``, as in the file.

    Raises
    ------
    DataError
        The call has functions of the user's, which a file must not hold.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days", interlace.datasets.load("sleepstudy"), groups="Subject")
    >>> described = describe_call(result.state, result.call, {})
    >>> described["formula"], described["call"]["method"]
    ('Reaction ~ Days + (1 | Subject)', 'REML')
    >>> restored_call(described, result.model.data.frame, {}).df_method
    'satterthwaite'
    """
    control = call.control
    if control is not None and control.extra_transforms:
        raise DataError(
            f"a fit whose formula uses extra_transforms ({', '.join(map(repr, control.extra_transforms))}) cannot be "
            "saved, because a file must not hold functions; compute the column in the data instead, or use pickle"
        )
    options = None if control is None else {k: v for k, v in _options(control).items() if k != "extra_transforms"}
    return {
        "model": "glmm" if isinstance(state, GlmmState) else "lmm",
        "formula": state.problem.design.formula,
        "call": _arguments(state, call, arrays),
        "control": options,
    }


def restored_call(described: Mapping[str, Any], frame: pd.DataFrame, arrays: Mapping[str, Any]) -> FitCall | GlmerCall:
    """Make a call of what `describe_call` said, for the data in ``frame``."""
    arguments = dict(described["call"])
    for name in ("weights", "offset"):
        if isinstance(arguments[name], dict):
            arguments[name] = arrays[arguments[name]["array"]]
    arguments["control"] = None if described["control"] is None else Control(**described["control"])
    if described["model"] != "glmm":
        return FitCall(formula=described["formula"], data=frame, **arguments)
    if isinstance(arguments["family"], dict):
        arguments["family"] = NegativeBinomial(theta=float(arguments["family"]["theta"]))
    return GlmerCall(formula=described["formula"], data=frame, **arguments)


def _arguments(state: State, call: ModelCall, arrays: Arrays) -> dict[str, Any]:
    """Arguments of the call, as text; arrays among them are put into ``arrays``."""
    texts = _CALL_TEXTS + (_CALL_TEXTS_OF_GLMER if isinstance(call, GlmerCall) else _CALL_TEXTS_OF_FIT)
    out: dict[str, Any] = {name: getattr(call, name) for name in texts}
    out |= {name: dict(out[name]) for name in ("covariance", "contrasts") if out[name] is not None}
    if isinstance(call, GlmerCall):
        out |= {"nAGQ": int(call.nAGQ), **_family_as_text(call)}
    else:
        out |= {"method": "REML" if state.reml else "ML"}
    for name in ("weights", "offset"):
        given = getattr(call, name)
        if given is not None and not isinstance(given, str):
            arrays[f"call|{name}"] = numeric_values(name, given)[state.problem.design.complete]
            given = {"array": f"call|{name}"}
        out[name] = given
    return out


def _family_as_text(call: GlmerCall) -> dict[str, Any]:
    """Family and link by their names; those of a user's own cannot be saved."""
    family, link = call.resolved()
    for kind, item, home in (("family", family, families), ("link", link, links)):
        if type(item).__module__ != home.__name__:
            raise DataError(
                f"a fit with a {kind} of your own ({item.name!r}) cannot be saved, because a file must not hold "
                "functions; use pickle"
            )
    text: Any = {"theta": family.theta} if isinstance(family, NegativeBinomial) else family.name
    return {"family": text, "link": link.name}


def library_version() -> str:
    """Version of the library as it is installed, ``unknown`` in a bare copy of the sources."""
    try:
        return metadata.version("interlace-lme")
    except metadata.PackageNotFoundError:
        return "unknown"


def _options(control: Control) -> dict[str, Any]:
    return {field.name: getattr(control, field.name) for field in fields(control)}


def load(path: str | os.PathLike[str]) -> tuple[FitState | GlmmState, FitCall | GlmerCall]:
    """Read a fit; ``interlace.load`` is the public way.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    FitState or GlmmState
    FitCall or GlmerCall
        Its data are the columns that the fit used, and the rows on which its formula was evaluated.

    Raises
    ------
    DataError
        The file is not one of ours, is damaged, or was written by a later version.
    """
    meta, arrays = archive.read(path, KIND)
    try:
        return _rebuild(meta, arrays)
    except InterlaceError:
        raise
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise KIND.damaged(path, error) from error


def _rebuild(meta: dict[str, Any], arrays: Arrays) -> tuple[FitState | GlmmState, FitCall | GlmerCall]:
    """Design from the model frame, state at the estimates, then the stored numbers."""
    frame = pd.DataFrame({name: decode_column(column, arrays) for name, column in meta["columns"].items()})
    frame.index = decode_index(meta["index"], arrays)
    call = restored_call(meta, frame, arrays)
    design = _with_response(design_of(call), arrays["response"], meta["n_zero_weight"])
    if isinstance(call, GlmerCall):
        return _rebuild_glmm(call, design, meta["estimates"], arrays), call
    problem = prepare(design, reml=call.method == "REML", control=call.control)
    described = meta["estimates"].get("probes")
    if described is not None:
        cp = with_probes(problem.cp, _probes(described))
        problem = replace(problem, cp=cp, structure=cp.structure)
    state = state_at(problem, arrays["state|theta"])
    stored = _stored(state, meta["estimates"], arrays)
    means = KnownMeans(stored.pop("fixed"), stored.pop("fitted"))
    return replace(state, **stored, means=means, beta_cov=arrays["state|beta_cov"]), call


def _probes(described: dict[str, Any]) -> Probes:
    return Probes(**{**described, "reference": tuple(described["reference"])})


def _rebuild_glmm(call: GlmerCall, design: Design, estimates: dict[str, Any], arrays: Arrays) -> GlmmState:
    problem = prepare_glmm(design, *call.resolved(), nodes=call.nAGQ, free_theta=call.free_theta, control=call.control)
    state = glmm_state_at(problem, arrays["opt|x"])
    state = replace(state, **_stored(state, estimates, arrays), eta=arrays["state|eta"])
    vars(state)["beta_cov"] = arrays["state|beta_cov"]  # where cached_property looks first
    return state


def _with_response(design: Design, y: FloatArray, n_zero_weight: int) -> Design:
    """Put the stored response in; ``refit`` may have changed it."""
    return replace(design, y=np.ascontiguousarray(y), n_zero_weight=n_zero_weight)


def _stored(state: State, estimates: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """What was stored, if it agrees with what was found again."""
    criterion = float(estimates["criterion"])
    same = np.array_equal(state.kept, arrays["state|kept"]) and len(state.modes) == sum(
        key.startswith("modes|") for key in arrays
    )
    if not same or abs(state.criterion - criterion) > _AGREEMENT * (1.0 + abs(criterion)):
        raise DataError(
            f"the stored estimates do not belong to the stored data: criterion {criterion!r} in the file, "
            f"{state.criterion!r} found; the file is damaged or was changed"
        )
    stored: dict[str, Any] = {name: arrays[f"state|{name}"] for name in _STATE_ARRAYS if name != "beta_cov"}
    optimizer: dict[str, Any] = {name: arrays[f"opt|{name}"] for name in _OPT_ARRAYS}
    described = estimates.get("probes")  # files of versions that had no iteration lack it
    if described is not None:
        optimizer["monte_carlo"] = MonteCarlo(_probes(described), *(arrays[f"probes|{name}"] for name in _PROBE_ARRAYS))
    return stored | {
        "sigma": float(estimates["sigma"]),
        "criterion": criterion,
        "modes": tuple(arrays[f"modes|{i}"] for i in range(len(state.modes))),
        "opt": OptSummary(x=state.opt.x, **estimates["opt"], **optimizer),
        "checks": tuple(Check(**check) for check in estimates["checks"]),
    }
