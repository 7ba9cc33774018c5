"""Deletion from generalized models beside lme4: tight refits of reduced frames, and its own ``influence()``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interlace import diagnostics
from interlace.rbridge import FitNumbers, r_formula
from interlace.rbridge.names import canonical, r_names
from interlace.rbridge.session import call, require
from parity.case import Case
from parity.diagnostics_gaps import Apart, apart, largest, same_labels
from parity.inference import Gap
from parity.record import REFERENCE

__all__ = ["compare_glmm_influence", "compare_glmm_refits", "live_glmm_influence"]

SCRIPT = REFERENCE / "glmm_influence.R"
#: Relative difference of criteria from which on one optimum is the worse one.
_WORSE = 1e-7


def compare_glmm_refits(case: Case, sets: Mapping[str, Sequence[int]]) -> tuple[list[Gap], list[str]]:
    """Compare exact deletion with lme4's refits of the frames without some rows, as tight as they can be made.

    Parameters
    ----------
    case : Case
        Generalized.
    sets : dict from name to sequence of int
        Positions in the frame, from 0.

    Returns
    -------
    gaps : list of Gap
    beaten : list of str
        Sets for which lme4 stopped at a worse optimum, so that only the criterion is compared.
    """
    frame = case.frame()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = case.fit(frame)
        named = {name: [frame.index[row] for row in rows] for name, rows in sets.items()}
        deletion = diagnostics.case_delete(result, 1, delete=named)
    beaten, differences = [], []
    for u, (name, rows) in enumerate(sets.items()):
        theirs = case.fit_in_r(frame.drop(index=frame.index[list(rows)]).reset_index(drop=True))
        worse = (float(deletion.criterion.iloc[u]) - theirs.criterion) / max(1.0, abs(theirs.criterion))
        differences.append(Apart("criterion", "criterion", "sets", max(0.0, worse), name))
        if worse < -_WORSE:
            beaten.append(name)
            continue
        differences += _one_refit(deletion, u, name, theirs)
    return largest(differences), beaten


def _one_refit(deletion: Any, u: int, name: str, theirs: FitNumbers) -> Iterator[Apart]:
    """Estimates in units of R's standard errors; variances relative above 1."""
    names = list(deletion.coefficients)
    assert list(map(canonical, r_names(names))) == list(map(canonical, theirs.names))
    components = np.concatenate([_triangle(term.covariance) for term in theirs.terms.values()])
    unit, scales = np.maximum(np.abs(components), 1.0), np.outer(theirs.se, theirs.se)
    for measure, mine, numbers in (
        ("coefficients", deletion.coefficients.iloc[u] / theirs.se, theirs.beta / theirs.se),
        ("covariance of coefficients", deletion.cov_params[u] / scales, theirs.vcov / scales),
        ("variance components", deletion.variance_components.iloc[u] / unit, components / unit),
    ):
        yield apart("glmm_refits", measure, "sets", np.ravel(mine)[None], np.ravel(numbers)[None], [name], 1.0)


def _triangle(covariance: np.ndarray) -> np.ndarray:
    """Lower triangle, column by column."""
    return np.concatenate([covariance[a:, a] for a in range(covariance.shape[0])])


def live_glmm_influence(case: Case, group: str) -> dict[str, Any]:
    """Ask lme4 for ``influence(glmer(...), groups = group)``.

    Parameters
    ----------
    case : Case
        Generalized, with the default link and the Laplace approximation.
    group : str
        A grouping column.

    Returns
    -------
    dict
        ``deleted``, ``names``, ``cooks.distance``, ``dfbetas``, ``components``: one row for each level.
    """
    session = require()
    session.base["sys.source"](str(SCRIPT), envir=session.environment)
    answer = call(
        "interlace_glmm_influence",
        r_formula(case.formula),
        case.frame(),
        contrasts={},
        newdata={},
        group=group,
        family=case.family,
        weights=case.weights,
        offset=case.offset,
    )
    for name in ("dfbetas", "components"):
        answer[name] = np.reshape(answer[name]["values"], np.asarray(answer[name]["dim"], dtype=int), order="F")
    return answer


def compare_glmm_influence(
    case: Case, group: str, theirs: Mapping[str, Any], *, without: str | None = None
) -> list[Gap]:
    """Compare lme4's ``influence()`` with `interlace.influence.lme4_influence`.

    Parameters
    ----------
    case : Case
    group : str
    theirs : dict
        As of `live_glmm_influence`.
    without : str, optional
        A level whose numbers are not compared.

    Returns
    -------
    list of Gap
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = diagnostics.lme4_influence(case.fit(case.frame()), group)
    same_labels(ours.dfbeta.index, theirs["deleted"])
    assert list(map(canonical, r_names(list(ours.dfbeta)))) == list(map(canonical, theirs["names"]))
    components = pd.DataFrame(theirs["components"][:, 1:])  # R lists a residual variance of 1 first
    pairs: list[tuple[str, Any, Any]] = [
        ("cooks.distance", ours.cooks_distance, theirs["cooks.distance"]),
        ("dfbetas", ours.dfbetas, theirs["dfbetas"]),
        ("variance components", ours.deletion.variance_components, components),
    ]
    kept = np.array([label != without for label in theirs["deleted"]])
    labels = [label for label in theirs["deleted"] if label != without]
    both = ((name, np.asarray(a)[kept], np.asarray(b)[kept]) for name, a, b in pairs)
    return largest(apart("glmm_influence", name, "groups", a, b, labels) for name, a, b in both)
