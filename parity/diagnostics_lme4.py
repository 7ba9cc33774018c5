"""lme4's influence measures and refits without some rows, recorded or from a running R, held against interlace's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from interlace import diagnostics
from interlace.rbridge import r_formula
from interlace.rbridge.names import canonical, r_names
from interlace.rbridge.run import r_contrasts
from interlace.rbridge.session import call, require
from parity.case import Case
from parity.diagnostics_gaps import Apart, apart, largest, same_labels
from parity.diagnostics_reference import fitted, recorded
from parity.inference import Gap
from parity.record import REFERENCE

__all__ = ["ask", "compare_influence", "compare_recorded_influence", "compare_refits", "live_influence", "live_refits"]

SCRIPT = REFERENCE / "deletion.R"
#: Relative difference of criteria from which on one optimum is the worse one.
_WORSE = 1e-7


@lru_cache(maxsize=1)
def _load() -> None:
    session = require()
    session.base["sys.source"](str(SCRIPT), envir=session.environment)


def ask(function: str, case: Case, newdata: Mapping[str, pd.DataFrame], **options: Any) -> dict[str, Any]:
    """Call a function of ``r_reference/deletion.R``, or of a script sourced after it, on a linear model."""
    _load()
    return call(
        function,
        r_formula(case.formula),
        case.frame(),
        contrasts=r_contrasts(case.contrasts),
        newdata=newdata,
        weights=case.weights,
        offset=case.offset,
        reml=case.method == "REML",
        **options,
    )


# ---- influence() ---------------------------------------------------------------------------------------------------


def live_influence(case: Case, levels: Sequence[str]) -> dict[str, Any]:
    """Ask lme4 for its measures.

    Parameters
    ----------
    case : Case
        Linear.
    levels : sequence of str
        ``"1"`` for rows, or grouping columns.

    Returns
    -------
    dict
        ``rows``, ``hatvalues``, ``rstudent``, ``cooks.distance``, ``criterion``, and in ``influence`` for each level
        what ``influence()`` finds; arrays have one row for each unit.
    """
    answer = ask("interlace_influence", case, {}, levels=",".join(levels))
    for found in answer["influence"].values():
        for name in ("fixed", "components", "dfbeta", "dfbetas", "dfbeta_varcov"):
            found[name] = _matrix(found[name])
    return answer


def _matrix(stored: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(stored["values"]).reshape(np.asarray(stored["dim"], dtype=int), order="F")


def compare_recorded_influence(name: str) -> list[Gap]:
    """Compare with what lme4 said when it was recorded.

    Parameters
    ----------
    name : str
        One of `parity.diagnostics_reference.LME4`.

    Returns
    -------
    list of Gap
    """
    record = recorded(name)
    parts = {"1": record["observations"], "Subject": record["groups_Subject"]}
    theirs = {name: record[name] for name in ("hatvalues", "rstudent")} | {
        "rows": record["observations"]["deleted"],
        "cooks.distance": record["cooks.distance_merMod"],
        "influence": {
            level: {name: part[name] for name in ("deleted", "cooks.distance")}
            | {name: np.array(part[name]["values"]) for name in ("dfbeta", "dfbetas", "dfbeta_varcov")}
            | {"fixed_names": part["dfbeta"]["columns"]}
            for level, part in parts.items()
        },
    }
    return compare_influence(fitted(name), theirs)


def compare_influence(result: Any, theirs: Mapping[str, Any]) -> list[Gap]:
    """Compare lme4's measures with the functions that have its definitions.

    Parameters
    ----------
    result : LMMResult
    theirs : dict
        As of `live_influence`.

    Returns
    -------
    list of Gap
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return largest([*_one_fit(result, theirs), *_influence(result, theirs["influence"])])


def _one_fit(result: Any, theirs: Mapping[str, Any]) -> Iterator[Apart]:
    rows = theirs["rows"]
    functions = {
        "hatvalues": diagnostics.hatvalues,
        "rstudent": diagnostics.rstudent,
        "cooks.distance": diagnostics.lme4_cooks_distance,
    }
    for name, function in functions.items():
        yield apart("lme4_fit", name, "rows", function(result), theirs[name], rows)
    table = result.augment()
    for column, name in ((".hat", "hatvalues"), (".cooksd", "cooks.distance")):
        yield apart("lme4_fit", f"augment: {column}", "rows", table[column], theirs[name], rows)


def _influence(result: Any, theirs: Mapping[str, Any]) -> Iterator[Apart]:
    for name, found in theirs.items():
        level = "rows" if name == "1" else "groups"
        ours = diagnostics.lme4_influence(result, 1 if name == "1" else name)
        same_labels(ours.dfbeta.index, found["deleted"])
        judged = _not_beaten(ours.deletion.criterion.to_numpy(), found.get("criterion"))
        if not judged.any():
            continue
        labels = [label for label, kept in zip(found["deleted"], judged, strict=True) if kept]
        assert list(map(canonical, r_names(list(ours.dfbeta)))) == list(map(canonical, found["fixed_names"]))
        errors = result.fe_bse.to_numpy()
        unit = np.maximum(np.abs(found["dfbeta_varcov"]).max(axis=0), 1e-4 * result.scale)
        for measure, mine, theirs_measure, size in (
            ("dfbeta", ours.dfbeta / errors, found["dfbeta"] / errors, None),
            ("dfbetas", ours.dfbetas, found["dfbetas"], None),
            ("cooks.distance", ours.cooks_distance, found["cooks.distance"], None),
            ("dfbeta(var.cov)", ours.dfbeta_var_cov / unit, found["dfbeta_varcov"] / unit, 1.0),
        ):
            both = np.asarray(mine)[judged], np.asarray(theirs_measure)[judged]
            yield apart("lme4_refits", measure, level, *both, labels, size)


def _not_beaten(ours: np.ndarray, theirs: np.ndarray | None) -> np.ndarray:
    """Units for which R's refit is not at a worse optimum; a record's never are."""
    if theirs is None:
        return np.ones(ours.size, dtype=bool)
    return ~(ours < theirs - _WORSE * np.maximum(1.0, np.abs(theirs)))


# ---- refits --------------------------------------------------------------------------------------------------------


def live_refits(case: Case, sets: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Fit a model with lme4 without each of some sets of rows, as accurately as it can be fitted there.

    Parameters
    ----------
    case : Case
        Linear.
    sets : dict from name to sequence of int
        Positions in the frame, from 0.

    Returns
    -------
    dict
        ``beta``, ``vcov``, ``sigma``, ``criterion``, ``components`` for each set, by name.
    """
    members = [(number, row + 1) for number, rows in enumerate(sets.values(), 1) for row in rows]
    table = pd.DataFrame(members, columns=["set", "row"])
    answers = ask("interlace_deletions", case, {"sets": table})
    return {name: answers[str(number)] for number, name in enumerate(sets, 1)}


def compare_refits(
    result: Any, frame: pd.DataFrame, sets: Mapping[str, Sequence[int]], theirs: Mapping[str, Any]
) -> tuple[list[Gap], list[str]]:
    """Compare exact deletion with lme4's refits.

    Parameters
    ----------
    result : LMMResult
    frame : DataFrame
        What it was fitted to.
    sets : dict from name to sequence of int
        Positions in the frame.
    theirs : dict
        As of `live_refits`.

    Returns
    -------
    gaps : list of Gap
    beaten : list of str
        Sets for which lme4 stopped at a worse optimum, so that only the criterion is compared.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named = {name: [frame.index[row] for row in rows] for name, rows in sets.items()}
        deletion = diagnostics.case_delete(result, 1, delete=named)
    same_labels(deletion.coefficients.index, sets)
    beaten = []
    differences: list[Apart] = []
    for u, name in enumerate(sets):
        other = theirs[name]
        criterion = float(other["criterion"][0])
        worse = float(deletion.criterion.iloc[u]) - criterion
        size = max(1.0, abs(criterion))
        differences.append(Apart("criterion", "criterion", "sets", max(0.0, worse / size), name))
        if worse < -_WORSE * size:
            beaten.append(name)
            continue
        differences += _one_refit(result, deletion, u, name, other)
    return largest(differences), beaten


def _one_refit(result: Any, deletion: Any, u: int, name: str, theirs: Mapping[str, Any]) -> Iterator[Apart]:
    """Estimates in units of R's standard errors; variances of R's, or of sigma squared where those are smaller."""
    names = list(deletion.coefficients)
    assert list(map(canonical, r_names(names))) == list(map(canonical, theirs["beta"]["names"]))
    vcov, components = _matrix(theirs["vcov"]), np.asarray(theirs["components"])
    errors, place = np.sqrt(np.diag(vcov)), [name]
    other = np.concatenate([components[-1:], components[:-1]])  # R lists the residual variance last
    unit = np.maximum(np.abs(other), components[-1])
    scales = np.outer(errors, errors)
    for measure, mine, numbers in (
        ("coefficients", deletion.coefficients.iloc[u] / errors, theirs["beta"]["values"] / errors),
        ("covariance of coefficients", deletion.cov_params[u] / scales, vcov / scales),
        ("variance components", deletion.variance_components.iloc[u] / unit, other / unit),
    ):
        yield apart("live", measure, "sets", np.ravel(mine)[None], np.ravel(numbers)[None], place, 1.0)
