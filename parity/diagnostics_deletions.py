"""Reduced models of ``case_delete``, sets of units deleted together, and rotated random effects against HLMdiag's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from interlace import diagnostics
from interlace.rbridge.names import r_label
from parity.diagnostics import kind_of, level_of, variances_apart
from parity.diagnostics_gaps import Apart, apart, largest, same_labels
from parity.diagnostics_reference import ROTATION, fitted, recorded
from parity.inference import Gap

__all__ = ["compare_case_delete", "compare_rotation"]

_MEASURES = ("cooksd", "mdffits", "covtrace", "covratio")


def compare_case_delete(name: str) -> list[Gap]:
    """Compare the estimates, random effects and fitted values of reduced models.

    Parameters
    ----------
    name : str
        One of `parity.diagnostics_reference.DELETIONS`.

    Returns
    -------
    list of Gap
    """
    record, result = recorded(name), fitted(name)
    groups = diagnostics.case_delete(result, "Subject")
    labels = {r_label(label): [label] for label in groups.coefficients.index}
    rows = {str(row): [row] for row in record["level_1_forty_rows"]["deleted"]}
    by_row = diagnostics.case_delete(result, 1, delete=rows)
    parts = [
        *_reduced("groups", groups, {name: label for name, (label,) in labels.items()}, record["level_Subject"]),
        *_reduced("rows", by_row, {name: name for name in rows}, record["level_1_forty_rows"]),
    ]
    for theirs in record["set_deletions"]:
        known = {str(row): row for row in range(1, len(result.resid) + 1)}
        units = known if theirs["level"] == "1" else {name: label for name, (label,) in labels.items()}
        parts += _set(result, theirs, [units[name] for name in theirs["delete"]])
    return largest(parts)


def _reduced(level: str, deletion: Any, units: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Apart]:
    """Everything about models without one unit; ``units`` maps R's labels to ours."""
    labels = [str(unit) for unit in theirs["deleted"]]
    same_labels(deletion.coefficients.index, labels)
    yield apart("deletion", "coefficients", level, deletion.coefficients, theirs["fixef.delete"]["values"], labels)
    covariances = np.array(theirs["vcov.delete"]).reshape(len(labels), -1)
    yield apart("deletion", "covariance", level, deletion.cov_params.reshape(len(labels), -1), covariances, labels)
    yield from variances_apart(deletion.variance_components, theirs["varcomp.delete"], level, labels)
    yield _long("random effects", level, theirs["ranef.delete"], {u: _modes(deletion, units[u]) for u in labels})
    if "fitted.delete" in theirs:
        fits = {u: deletion.fitted(units[u]).to_numpy()[:, None] for u in labels}
        yield _long(
            "fitted values", level, {name: theirs["fitted.delete"][name] for name in ("deleted", "fitted.x.")}, fits
        )


def _modes(deletion: Any, unit: Any) -> np.ndarray:
    found = deletion.random_effects(unit)["Subject"]
    return np.asarray(found, dtype=float).reshape(len(found), -1)


def _long(measure: str, level: str, theirs: Mapping[str, Any], ours: Mapping[str, np.ndarray]) -> Apart:
    """A table that has several rows for each unit deleted, against one array for each."""
    labels = [str(unit) for unit in theirs["deleted"]]
    columns = [name for name in theirs if name not in ("deleted", "id")]
    other = np.column_stack([np.array(theirs[name], dtype=float) for name in columns])
    mine = np.concatenate([ours[unit] for unit in dict.fromkeys(labels)])
    return apart(
        "deletion", measure, level, mine / np.abs(other).max(axis=0), other / np.abs(other).max(axis=0), labels, 1.0
    )


def _set(result: Any, theirs: Mapping[str, Any], units: Sequence[Any]) -> Iterator[Apart]:
    """Units deleted together: HLMdiag's refit, its measures by their definitions, and the closed forms."""
    level, sets = level_of(theirs["level"]), {"set": list(units)}
    deletion = diagnostics.case_delete(result, level, delete=sets)
    exact = theirs["measures_full_by_definition"]
    yield apart(
        "deletion", "coefficients", "sets", deletion.coefficients, list(theirs["fixef.delete"].values()), ["set"]
    )
    for family, table, measures in (
        ("exact", diagnostics.hlm_influence(deletion, level), exact),
        ("approx", diagnostics.hlm_influence(result, level, delete=sets, approx=True), theirs["measures_approx_TRUE"]),
    ):
        for name in _MEASURES:
            yield apart(family, name, "sets", table[name], [measures[name]], [kind_of(theirs["level"])])
        if family == "exact":
            for name, value in exact["rvc"].items():
                yield apart("rvc", f"rvc.{name}", "sets", table[f"rvc.{name}"], [value], [kind_of(theirs["level"])])


def compare_rotation() -> list[Gap]:
    """Compare rotated random effects, whose signs are arbitrary."""
    record = recorded(ROTATION)
    result = fitted("generated/gen_19")
    parts = []
    for which, effect in (("intercept", "Intercept"), ("slope", "x1")):
        for key, theirs in record[which].items():
            if not isinstance(theirs, Mapping):
                continue
            s = None if key == "s_default" else int(key.removeprefix("s_"))
            for varimax, name in ((False, "values"), (True, "varimax")):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ours = diagnostics.rotate_ranef(result, "g", which=effect, s=s, varimax=varimax)
                measure = f"rotate_ranef({which}{', varimax' if varimax else ''})"
                values = [np.abs(np.array(side, dtype=float)) for side in (ours, theirs[name])]
                parts.append(apart("rotated", measure, "groups", *values, range(len(values[1]))))
    return largest(parts)
