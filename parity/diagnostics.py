"""Influence, residuals and leverage of interlace held against what HLMdiag said, measure by measure."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from interlace import diagnostics
from interlace.rbridge.names import r_names
from parity.diagnostics_exemptions import EXEMPT
from parity.diagnostics_gaps import (
    Apart,
    Exempt,
    NotExemptedError,
    apart,
    apart_by_column,
    largest,
    same_columns,
    same_labels,
)
from parity.diagnostics_reference import case_of, fitted, recorded
from parity.inference import Gap

__all__ = ["LEVERAGE", "compare_model", "kind_of", "level_of", "used_exemptions", "variances_apart"]

LEVERAGE = ("overall", "fixef", "ranef", "ranef.uc")
_STANDARDIZE = {"standardize_FALSE": False, "standardize_TRUE": True, "standardize_semi": "semi"}


def compare_model(name: str, record: Mapping[str, Any] | None = None, result: Any = None) -> list[Gap]:
    """Compare everything that HLMdiag says about a model.

    Parameters
    ----------
    name : str
        Of a recorded model.
    record : dict, optional
        What a running HLMdiag says about it; by default what was recorded.
    result : LMMResult, optional
        Of the same model, for a record that is given; the best fit by default.

    Returns
    -------
    list of Gap
        The largest difference of each quantity.
    """
    return _recorded(name)[0] if record is None else _compared(_Model(name, record, result))[0]


def used_exemptions(name: str) -> tuple[Exempt, ...]:
    """Entries of the table that a model's record needs."""
    return _recorded(name)[1]


@cache
def _recorded(name: str) -> tuple[list[Gap], tuple[Exempt, ...]]:
    return _compared(_Model(name, recorded(name), None))


def _compared(model: _Model) -> tuple[list[Gap], tuple[Exempt, ...]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular fits, and of groups without enough rows for least squares
        return largest(model.differences()), tuple(model.exempt)


def level_of(name: str) -> int | str:
    """Level as interlace's functions take it: 1, or a grouping factor."""
    return 1 if name == "1" else name


def kind_of(name: str) -> str:
    """What the units of a level are, in the report's words."""
    return "rows" if name == "1" else "groups"


class _Model:
    """A fitted model beside a record; notes which exemptions were needed."""

    def __init__(self, name: str, record: Mapping[str, Any], result: Any) -> None:
        self.name, self.record = name, record
        self.result = fitted(name) if result is None else result
        self.data = list(case_of(name).frame())
        self.exempt: list[Exempt] = []

    def differences(self) -> Iterator[Apart]:
        for part, compare in _PARTS.items():
            if part in self.record:
                yield from compare(self, self.record[part])

    def skips(self, part: str) -> bool:
        """Whether a part is not to be compared."""
        found = [entry for entry in EXEMPT if entry.covers(self.name, part)]
        self.exempt += found
        return bool(found)

    def stopped(self, part: str, record: Any) -> bool:
        """Whether HLMdiag stopped with an error where it is known to."""
        if not (isinstance(record, Mapping) and "error" in record):
            return False
        if not self.skips(part):
            raise NotExemptedError(f"{self.name}, {part}: HLMdiag says {record['error']!r}")
        return True


# ---- influence -----------------------------------------------------------------------------------------------------


def _influence(model: _Model, record: Mapping[str, Any]) -> Iterator[Apart]:
    for name, parts in record.items():
        yield from _closed_forms(model, name, parts["approx_TRUE"])
        exact = parts.get("approx_FALSE")
        part = f"influence.{name}.approx_FALSE"
        # A text instead of numbers says that HLMdiag's refits were too slow to wait for.
        if isinstance(exact, Mapping) and not model.stopped(part, exact):
            # HLMdiag's refits are by REML, whatever the fit is.
            deletion = diagnostics.case_delete(fitted(model.name, "REML"), level_of(name))
            yield from _refits(model, name, deletion, exact)
            if not model.skips(f"{part}.measures"):
                yield from _refit_measures(model, name, deletion, exact)


def _closed_forms(model: _Model, name: str, theirs: Mapping[str, Any]) -> Iterator[Apart]:
    table = diagnostics.hlm_influence(model.result, level_of(name), approx=True, leverage=LEVERAGE)
    labels = _labels(table, name, theirs)
    if not model.skips(f"influence.{name}.columns"):
        yield same_columns(list(table.columns), theirs["columns_in_package_table"], model.data, kind_of(name))
    leverages = diagnostics.leverage(model.result, level_of(name))
    for column, values in theirs["values"].items():
        kind = column.removeprefix("leverage.")
        yield apart("approx" if kind == column else "leverage", column, kind_of(name), table[column], values, labels)
        if kind != column:
            yield apart("leverage", f"leverage({kind})", kind_of(name), leverages[kind], values, labels)
    if "beta_change" in theirs:
        changes = diagnostics.lmer_influence_measures(model.result, level_of(name), approx=True)
        yield from _coefficient_changes(model, name, changes, theirs["beta_change"], labels)


def _coefficient_changes(
    model: _Model, name: str, ours: pd.DataFrame, theirs: Mapping[str, Any], labels: Sequence[object]
) -> Iterator[Apart]:
    """Coefficients of all rows minus those without a unit, in standard errors."""
    names = list(model.result.fe_params.index)
    assert list(r_names(names)) == theirs["columns"]
    mine = ours[[f"dfbeta.{one}" for one in names]].to_numpy()
    errors = model.result.fe_bse.to_numpy()
    yield apart("approx", "dfbeta", kind_of(name), mine / errors, np.array(theirs["values"]) / errors, labels)


def _refits(model: _Model, name: str, deletion: Any, theirs: Mapping[str, Any]) -> Iterator[Apart]:
    """Estimates of each refit."""
    labels, level = theirs["row" if name == "1" else "group"], kind_of(name)
    same_labels(deletion.coefficients.index, labels)
    b, errors = model.result.fe_params.to_numpy(), model.result.fe_bse.to_numpy()
    changes = (b - deletion.coefficients.to_numpy()) / errors
    yield apart("exact", "dfbeta", level, changes, np.array(theirs["beta_change"]["values"]) / errors, labels)
    yield from variances_apart(deletion.variance_components, theirs["varcomp_delete"], level, labels)
    yield criteria_apart(deletion.criterion, theirs["criterion_delete"], level, labels)


def criteria_apart(ours: Any, theirs: Sequence[float], level: str, labels: Sequence[object]) -> Apart:
    """How far interlace's criterion of a refit is above R's, relative; 0 where it is not."""
    other = np.array(theirs)
    above = np.maximum(0.0, np.asarray(ours) - other) / np.maximum(1.0, np.abs(other))
    return apart("criterion", "REML criterion", level, above, np.zeros(len(labels)), labels, 1.0)


def variances_apart(
    ours: pd.DataFrame, theirs: Mapping[str, Any], level: str, labels: Sequence[object]
) -> Iterator[Apart]:
    """Variances and covariances of refits, each in units of the largest of its kind."""
    values = np.array(theirs["values"], dtype=float)
    for j, column in enumerate(theirs["columns"]):
        mine = ours[column] if column in ours else np.zeros(len(labels))  # zero in all fits
        unit = max(np.abs(values[:, j]).max(), 1e-4 * values[:, 0].max())
        yield apart("exact", "variance components", level, mine, values[:, j], labels, unit)


def _refit_measures(model: _Model, name: str, deletion: Any, theirs: Mapping[str, Any]) -> Iterator[Apart]:
    table = diagnostics.hlm_influence(deletion, level_of(name))
    labels = _labels(table, name, theirs)
    for column, values in theirs["values"].items():
        family = "rvc" if column.startswith("rvc") else "exact"
        yield apart(family, column, kind_of(name), table[column], values, labels)


def _labels(table: pd.DataFrame, name: str, theirs: Mapping[str, Any]) -> list[str]:
    """Labels of rows or groups, the same and in the same order on both sides."""
    labels: list[str] = theirs["row" if name == "1" else "group"]
    same_labels(table.index if name == "1" else table.iloc[:, 0], labels)
    return labels


# ---- residuals -----------------------------------------------------------------------------------------------------


def _residual_tables(model: _Model, record: Mapping[str, Any]) -> Iterator[Apart]:
    for name, parts in record.items():
        for key, theirs in parts.items():
            part = f"hlm_resid.{name}.{key}"
            include_ls = not model.stopped(part, theirs)
            wanted = theirs if include_ls else theirs.get("include_ls_FALSE", {})
            if "values" not in wanted:
                continue
            table = diagnostics.hlm_resid(
                model.result, level_of(name), standardize=_STANDARDIZE[key], include_ls=include_ls
            )
            yield from _residual_columns(model, name, table, wanted)


def _residual_columns(model: _Model, name: str, table: pd.DataFrame, theirs: Mapping[str, Any]) -> Iterator[Apart]:
    values = dict(theirs["values"])
    if name == "1":
        labels = model.record["model"]["rows_used"]
        same_labels(table.index, labels)
        if ".id" in values:
            same_labels(table[".id"], values.pop(".id"))
    else:
        first = next(iter(values))
        labels = values.pop(first)
        same_labels(table.iloc[:, 0], labels)
        values = {column: numbers for column, numbers in values.items() if column.startswith(".")}
    if "columns_in_package_table" in theirs:
        yield same_columns(list(table.columns), theirs["columns_in_package_table"], model.data, kind_of(name))
    for column, numbers in values.items():
        yield apart(_family(column), column_kind(column), kind_of(name), table[column], numbers, labels)


def _family(column: str) -> str:
    if ".ls." in column or column.startswith(".ls"):
        return "least_squares"
    return "modes" if "ranef" in column else "residuals"


def column_kind(column: str) -> str:
    """Name of a column without the random effect or coefficient it is about."""
    for stem in (".std.ranef", ".ranef", ".std.ls", ".ls"):
        if column.startswith(f"{stem}.") and not column.endswith((".resid", ".fitted")):
            return f"{stem}.*"
    return column


def _vectors(function: str) -> Callable[[_Model, Mapping[str, Any]], Iterator[Apart]]:
    def compare(model: _Model, record: Mapping[str, Any]) -> Iterator[Apart]:
        labels = model.record["model"]["rows_used"]
        for kind, theirs in record.items():
            if model.stopped(f"{function}.{kind}", theirs):
                continue
            if function == "pull_resid":
                ours = diagnostics.pull_resid(
                    model.result, kind.removesuffix("_standardized"), standardize=kind.endswith("_standardized")
                )
            else:
                ours = getattr(diagnostics, function)(model.result, type=kind)
            family = "least_squares" if kind.startswith("ls") else "residuals"
            yield apart(family, f"{function}({kind})", "rows", ours, theirs, labels)

    return compare


def _augmented(model: _Model, record: Mapping[str, Any]) -> Iterator[Apart]:
    for name, theirs in record.items():
        table = diagnostics.hlm_augment(model.result, level_of(name), approx=True)
        values = dict(theirs["values"])
        labels = values.pop(".id" if name == "1" else name)
        same_labels(table[".id"] if name == "1" else table.iloc[:, 0], labels)
        yield same_columns(list(table.columns), theirs["columns_in_package_table"], model.data, kind_of(name))
        yield from apart_by_column("augment", kind_of(name), table, values, labels)


_PARTS: dict[str, Callable[[_Model, Any], Iterator[Apart]]] = {
    "influence": _influence,
    "hlm_resid": _residual_tables,
    "resid_marginal": _vectors("resid_marginal"),
    "resid_conditional": _vectors("resid_conditional"),
    "pull_resid": _vectors("pull_resid"),
    "hlm_augment": _augmented,
}
