"""What all sites agree on before any of them looks at its rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from interlace.errors import DataError, FormulaError
from interlace.frames.adapt import Table
from interlace.frames.build import ordered_terms, read_formula
from interlace.frames.design import DesignSpec, RandomSpec, RandomTerm
from interlace.frames.encode import assemble, fit_encoder
from interlace.frames.evaluate import Expression, inspect
from interlace.frames.grouping import fit_group
from interlace.frames.learned import is_coded_factor
from interlace.frames.names import suggest
from interlace.frames.parse import Formula
from interlace.frames.response import check_family
from interlace.frames.rows import Rows
from interlace.frames.terms import scope
from interlace.frames.tree import Group

__all__ = ["Encoding", "Label", "Plan", "plain_label", "plan"]

#: What names a level: JSON can hold it, and it means the same everywhere.
Label: TypeAlias = str | int | float | bool

FORMAT, VERSION = "interlace-plan", 1


@dataclass(frozen=True, eq=False)
class Encoding:
    """A plan evaluated on made-up rows that show every level: names, codings, and the order of the terms.

    Attributes
    ----------
    spec : DesignSpec
    terms : tuple of RandomTerm
        In lme4's order for the levels of the grouping factors that it was evaluated with.
    assign : tuple of int
        Term of each fixed-effects column.
    order : tuple of int
        Place in the formula of each of the terms.
    text : str
        The formula with its covariance structures.
    """

    spec: DesignSpec
    terms: tuple[RandomTerm, ...]
    assign: tuple[int, ...]
    order: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Plan:
    """A model as all sites are to evaluate it; it holds no data.

    :func:`plan` makes one.

    Attributes
    ----------
    formula : str
        With the random-effects terms.
    levels : dict of str to tuple
        Levels of every categorical predictor, in order; the first is the reference level.
    local : tuple of str
        Grouping columns whose labels each site has given on its own.
    weights, offset : str or None
        Columns.
    contrasts, covariance : dict of str to str
    """

    formula: str
    levels: Mapping[str, tuple[Label, ...]]
    local: tuple[str, ...] = ()
    weights: str | None = None
    offset: str | None = None
    contrasts: Mapping[str, str] = field(default_factory=dict)
    covariance: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Plan {self.fingerprint}: {self.formula}>"

    @property
    def described(self) -> dict[str, Any]:
        """The plan as JSON has it."""
        found: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        found["levels"] = {name: list(levels) for name, levels in self.levels.items()}
        return found | {"local": list(self.local), "contrasts": {**self.contrasts}, "covariance": {**self.covariance}}

    @property
    def fingerprint(self) -> str:
        """Twelve digits that are the same for equal plans, to be compared over the telephone."""
        text = json.dumps(self.described, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a JSON file.

        Parameters
        ----------
        path : str or path-like

        Examples
        --------
        >>> import interlace, pathlib, tempfile
        >>> plan = interlace.federated.plan("y ~ x + (1 | hospital)")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plan.save(pathlib.Path(folder, "plan.json"))
        ...     interlace.federated.Plan.load(pathlib.Path(folder, "plan.json")) == plan
        True
        """
        Path(path).write_text(json.dumps({"format": FORMAT, "version": VERSION, **self.described}, indent=1), "utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan that ``save`` wrote.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        DataError
            The file is not a plan, or of another version.
        """
        name = os.fsdecode(path)
        try:
            found = json.loads(Path(path).read_text("utf-8"))
        except ValueError as error:
            raise DataError(f"{name!r} is not a plan saved by interlace: {error}") from error
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise DataError(f"{name!r} is not a plan saved by interlace")
        version = found.pop("version", None)
        if version != VERSION:
            raise DataError(f"{name!r} has format version {version!r}; this version of interlace reads {VERSION}")
        return cls.of(found, f"the plan in {name!r}")

    @classmethod
    def of(cls, described: Mapping[str, Any], what: str) -> Plan:
        """Make a plan of its description, with all checks of :func:`plan`; ``what`` is for messages."""
        try:
            return plan(**described)
        except TypeError as error:
            raise DataError(f"{what} cannot be read: {error}") from error

    def differences(self, other: Plan) -> str:
        """In what another plan differs, in words; empty for an equal one."""
        mine, theirs = self.described, other.described
        return "; ".join(
            f"{name}: {mine[name]!r} and {theirs[name]!r}" for name in mine if repr(mine[name]) != repr(theirs[name])
        )

    @cached_property
    def parsed(self) -> Formula:
        """The formula as it is evaluated."""
        return read_formula(self.formula, None, None, self.contrasts, None)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Grouping factors, each once."""
        return tuple({part.group.name: part.group for part in self.parsed.random}.values())

    @cached_property
    def factor_codes(self) -> frozenset[str]:
        """Expressions among the predictors that are factors."""
        return frozenset(code for code in self.parsed.codes if is_factor(inspect(code), self.levels))

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Columns that the predictors read as numbers."""
        names = (name for code in self.parsed.codes for name in inspect(code).columns)
        return tuple(dict.fromkeys(name for name in names if name not in self.levels))

    @cached_property
    def encoding(self) -> Encoding:
        """The plan with two levels of each grouping factor, so that terms stay in the order of the formula."""
        return self.evaluated(pd.DataFrame({name: ["1", "2"] for name in self.parsed.grouping}))

    @cached_property
    def witnesses(self) -> pd.DataFrame:
        """Made-up rows of the predictors: all levels, and numbers that mean nothing."""
        m = max(3, *map(len, self.levels.values())) if self.levels else 3
        columns: dict[str, Any] = {}
        for name, levels in self.levels.items():
            index = pd.Index(list(levels))
            columns[name] = pd.Categorical.from_codes(np.arange(m) % len(levels), categories=index)
        odd = np.linspace(0.37193, 1.92717, m)  # where no ordinary expression has a pole
        return pd.DataFrame(columns | dict.fromkeys(self.numbers, odd))

    def evaluated(self, labels: pd.DataFrame) -> Encoding:
        """Names, codings and order of the terms.

        Parameters
        ----------
        labels : DataFrame
            Grouping columns, with rows that show every combination of labels that occurs.
        """
        parsed = self.parsed
        rows, grouped = Rows(Table(self.witnesses), None), Rows(Table(labels), None)
        encoders = {code: fit_encoder(code, rows, self.contrasts, {}) for term in parsed.terms for code in term}
        blocks = scope(parsed.terms, lambda code: encoders[code].categorical)
        _, x_names, assign = assemble(blocks, encoders, rows)
        parts = []
        for part in parsed.random:
            codes, group = fit_group(part.group, grouped)
            own = {code: fit_encoder(code, rows, {}, {}) for term in part.terms for code in term}
            slopes = scope(part.terms, {code: encoder.categorical for code, encoder in own.items()}.__getitem__)
            Z, names, _ = assemble(slopes, own, rows)
            term = RandomTerm("", part.group.name, names, group.levels, codes, Z, part.structure)
            parts.append((term, RandomSpec("", group, names, slopes, own)))
        terms, specs, written = ordered_terms(parts, self.covariance)
        spec = DesignSpec(
            formula=parsed, x_names=x_names, blocks=blocks, encoders=encoders, random=specs,
            offset_column=self.offset, offset_given=False, weights_column=self.weights,
            covariance={term.key: term.structure for term in terms},
        )  # fmt: skip
        # A term keeps its matrix wherever it is put.
        order = tuple(next(i for i, (old, _) in enumerate(parts) if old.Z is term.Z) for term in terms)
        return Encoding(spec, terms, assign, order, parsed.with_structures(written).text)


def is_factor(expression: Expression, levels: Mapping[str, Any]) -> bool:
    """Whether an expression is one column that is categorical in a plan."""
    return (expression.kind in ("column", "levels") or is_coded_factor(expression)) and (
        expression.columns[0] in levels or expression.kind != "column"
    )


def plan(
    formula: str,
    groups: str | Sequence[str] | None = None,
    random: str | Sequence[str] | None = None,
    *,
    levels: Mapping[str, Sequence[Label]] | None = None,
    local: str | Sequence[str] = (),
    weights: str | None = None,
    offset: str | None = None,
    contrasts: Mapping[str, str] | None = None,
    covariance: Mapping[str, str] | None = None,
) -> Plan:
    """Write down a linear mixed model that several sites are to sum up; no data are needed.

    Parameters
    ----------
    formula, groups, random
        As for ``interlace.fit``.
    levels : mapping from column to sequence of labels, optional
        Levels of every categorical predictor, in the order that they are to have; the first is the reference level.
        Predictors that are not listed are numbers.
    local : str or sequence of str
        Grouping columns whose labels each site has given on its own, so that ward 3 of one site is not ward 3 of
        another. Labels of all others mean the same thing everywhere.
    weights, offset : str, optional
        Columns of weights and of a known part of the mean.
    contrasts, covariance : mapping, optional
        As for ``interlace.fit``.

    Returns
    -------
    Plan

    Raises
    ------
    FormulaError
        The formula cannot be read, or an expression depends on the rows that a site has.
    DataError
        ``levels`` or ``local`` do not go with the formula.

    Examples
    --------
    >>> import interlace
    >>> interlace.federated.plan("y ~ x + treatment + (x | hospital)", levels={"treatment": ["a", "b"]})
    <Plan ...: y ~ x + treatment + (x | hospital)>
    """
    for name, given in (("weights", weights), ("offset", offset)):
        if given is not None and not isinstance(given, str):
            raise TypeError(f"{name} must be the name of a column that all sites have, not {type(given).__name__}")
    parsed = read_formula(formula, groups, random, contrasts, None)
    check_family(parsed, None)
    if parsed.has_dot:
        raise FormulaError("'.' stands for the columns of some data, which a plan does not have: name the columns")
    found = Plan(
        parsed.text,
        _checked_levels(levels),
        (local,) if isinstance(local, str) else tuple(local),
        weights,
        offset,
        dict(contrasts or {}),
        dict(covariance or {}),
    )
    for problem in _misfits(found):
        raise problem
    spec = found.encoding.spec
    for encoders in (spec.encoders, *(term.encoders for term in spec.random)):
        for code, encoder in encoders.items():
            if encoder.categorical and code not in found.factor_codes:
                raise FormulaError(
                    f"{encoder.expression.label} makes true/false values, of which a site may have one only: make it a "
                    "column of the data, and give its levels"
                )
    return found


def _checked_levels(levels: Mapping[str, Sequence[Label]] | None) -> dict[str, tuple[Label, ...]]:
    if levels is not None and not isinstance(levels, Mapping):
        raise TypeError(f"levels must be a dict from column to its levels, not {type(levels).__name__}")
    out = {}
    for name, given in (levels or {}).items():
        if isinstance(given, str | Mapping) or not hasattr(given, "__iter__"):
            raise TypeError(f"levels[{name!r}] must be a list of labels, not {given!r}")
        found = tuple(plain_label(label, f"levels[{name!r}]") for label in given)
        if len({(type(label) is bool, label) for label in found}) < len(found) or len({*map(type, found)}) > 1:
            raise DataError(f"levels[{name!r}] must be different labels of one type, not {list(found)!r}")
        if len(found) < 2:
            raise DataError(f"levels[{name!r}] has {len(found)} level(s), and a categorical predictor needs two")
        out[name] = found
    return out


def plain_label(label: Any, what: str) -> Label:
    """A label as JSON has it.

    Raises
    ------
    DataError
        It is neither text nor a number nor a truth value.
    """
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, str | bool | int) or (isinstance(label, float) and np.isfinite(label)):
        return label
    raise DataError(f"{what} has the label {label!r} of type {type(label).__name__}; make labels text or whole numbers")


def _misfits(plan: Plan) -> Iterator[Exception]:
    """What does not go together in a plan."""
    parsed, used = plan.parsed, [inspect(code) for code in plan.parsed.codes]
    for expression in (*used, *map(inspect, parsed.response.codes)):
        yield from _of_one_row(expression, plan.levels)
    read = {name for expression in used for name in expression.columns}
    for name in plan.levels:
        if name not in read:
            yield DataError(
                f"levels= names {name!r}{suggest(name, sorted(read))}, which is not a predictor of the model"
            )
    for name in plan.contrasts:
        if name not in plan.levels:
            yield FormulaError(f"contrasts= names {name!r}, which has no levels= and hence is not a factor")
    if any(name in plan.levels for code in parsed.response.codes for name in inspect(code).columns):
        yield DataError(f"the response {parsed.response.name!r} has levels=, and a linear model needs numbers")
    for name in plan.local:
        if name not in parsed.grouping:
            yield DataError(f"local= names {name!r}{suggest(name, parsed.grouping)}, which is not a grouping column")
        if name in read:
            yield DataError(
                f"local= names {name!r}, which is a predictor too and so must have the same labels everywhere"
            )


def _of_one_row(expression: Expression, levels: Mapping[str, Any]) -> Iterator[Exception]:
    """Refuse what a site cannot evaluate row by row as all others do."""
    label = expression.label
    if is_factor(expression, levels) and expression.inner is None:
        name = expression.columns[0]
        if name not in levels:
            yield FormulaError(
                f"{label} is a factor: give the levels that it has at any site, levels={{{name!r}: [...]}}"
            )
    elif expression.kind == "stateful" or expression.inner is not None:
        yield FormulaError(
            f"{label} depends on the rows that a site has, and so would mean something else at each: write its "
            "constants into the formula, as in I((x - 40) / 10), or make it a column of the data"
        )
    elif expression.kind == "rows":
        for name in expression.columns:
            if name in levels:
                yield FormulaError(
                    f"{label} calculates with {name!r}, which levels= makes a factor: take it out of levels="
                )
