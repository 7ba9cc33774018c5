"""Build a design: parse, choose the rows, encode, group, order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np

from interlace.errors import DataError, FormulaError
from interlace.frames.adapt import Table
from interlace.frames.design import Design, DesignSpec, RandomSpec, RandomTerm
from interlace.frames.encode import Encoder, assemble, fit_encoder, recoded
from interlace.frames.evaluate import inspect
from interlace.frames.grouping import fit_group, restrict_group
from interlace.frames.levels import compact
from interlace.frames.names import RESERVED, suggest, unknown_message
from interlace.frames.parse import Formula, RandomPart, parse, with_columns
from interlace.frames.response import check_family, offset_term, prior_weights, response_values
from interlace.frames.rows import Rows
from interlace.frames.select import PerRow, per_row, select_rows
from interlace.frames.terms import scope
from interlace.typing import BoolArray, FloatArray, FrameLike, IntArray, Structure

__all__ = [
    "build_design",
    "check_na_action",
    "grouping_factors",
    "offset_values",
    "ordered_terms",
    "read_formula",
    "undefined_rows",
    "unique_keys",
    "with_table",
]

_CONTRASTS = ("treatment", "sum", "helmert", "poly")


def build_design(
    formula: str,
    data: FrameLike,
    groups: str | Sequence[str] | None = None,
    random: str | Sequence[str] | None = None,
    *,
    weights: Any = None,
    offset: Any = None,
    contrasts: Mapping[str, str] | None = None,
    covariance: Mapping[str, str] | None = None,
    na_action: str = "drop",
    extra_transforms: Mapping[str, Callable[..., Any]] | None = None,
    family: str | None = None,
    learned: Mapping[str, Encoder] | None = None,
) -> Design:
    """Turn a formula and data into arrays.

    Parameters
    ----------
    formula : str
        Fixed effects in Wilkinson's language, random effects as lme4 writes them.
    data : data frame or mapping
        pandas, polars, pyarrow, any eager narwhals frame, or a dict of columns. Never modified.
    groups : str or list of str, optional
        Grouping columns, short for ``(1 | g)``.
    random : str or list of str, optional
        Random-effects terms given apart from the formula.
    weights, offset : column name or array-like of one value per row of ``data``, optional
        Arrays count by position; a Series with the labels of ``data`` in another order is refused.
    contrasts : mapping from column to {"treatment", "sum", "helmert", "poly"}, optional
        For factors among the fixed effects, as in lme4; random slopes keep treatment contrasts.
    covariance : mapping from group to {"unstructured", "diagonal"}, optional
    na_action : {"drop", "raise"}
        Leave out rows with a missing value in any column used, or refuse them.
    extra_transforms : mapping from name to function, optional
        Functions of the caller's that the formula may call.
    family : str, optional
        Name of the response's family; None for a linear model. For ``"binomial"`` the left-hand side may also be
        true/false values, a factor or text of two levels (the second is success), a comparison, or
        ``cbind(successes, failures)``, whose rows without trials are left out as those of weight zero are. Whether the
        numbers are possible for the family is not checked here.
    learned : mapping from expression to Encoder, optional
        Encoders that have learned from more rows than these.

    Returns
    -------
    Design

    Raises
    ------
    FormulaError, DataError, ModelError
        All of them ``ValueError``; the message names the column, term or argument.
    """
    contrasts, extra = _mapping("contrasts", contrasts), _mapping("extra_transforms", extra_transforms)
    covariance = _mapping("covariance", covariance)
    parsed = _parsed(formula, groups, random, contrasts, extra)
    check_family(parsed, family)
    check_na_action(na_action)
    table = Table(data)
    weight, shift = per_row("weights", weights, table), per_row("offset", offset, table)
    parsed, every = with_table(parsed, table, weight, shift)
    complete, n_zero = select_rows(table, every, weight, shift, na_action)
    complete.known = learned or {}

    outcome, rows = response_values(parsed, complete, family, extra)
    given = None if weight is None else np.array(rows.take(weight.values))
    prior, trials = prior_weights(outcome, given)
    encoders = _encoders({code for term in parsed.terms for code in term}, rows, contrasts, extra)
    _check_contrasts(contrasts, encoders)
    blocks = scope(parsed.terms, lambda code: encoders[code].categorical)
    X, x_names, assign = assemble(blocks, encoders, rows)
    parts = [_random_part(part, rows, encoders, extra) for part in parsed.random]
    terms, specs, written = ordered_terms(parts, covariance)
    spec = DesignSpec(
        formula=parsed, x_names=x_names, blocks=blocks, encoders=encoders, random=specs,
        offset_column=None if shift is None else shift.column,
        offset_given=shift is not None and shift.column is None,
        weights_column=None if weight is None else weight.column,
        covariance={term.key: term.structure for term in terms}, success=outcome.success,
    )  # fmt: skip
    design = Design(
        formula=parsed.with_structures(written).text, response=parsed.response.name, y=outcome.y, X=X, x_names=x_names,
        terms=terms, weights=prior, trials=trials,
        offset=offset_values(parsed, rows, shift), rows=rows.positions, complete=rows.positions,
        n_zero_weight=n_zero + complete.n - rows.n, x_terms=parsed.x_terms, assign=assign, spec=spec,
        columns={name: table.column(name).kept for name in every}, all_index=table.index,
    )  # fmt: skip
    return design if parsed.plain else _without_undefined(design, na_action)


def _mapping(argument: str, given: Any) -> Mapping[str, Any]:
    """Check a dict argument; None is an empty one."""
    if given is None:
        return {}
    if not (isinstance(given, Mapping) and all(isinstance(key, str) for key in given)):
        raise TypeError(f"{argument} must be a dict with names as keys, not {given!r}")
    return given


def _parsed(formula: str, groups: Any, random: Any, contrasts: Mapping[str, Any], extra: Mapping[str, Any]) -> Formula:
    """Check the arguments that need no data, and parse."""
    if not isinstance(formula, str):
        raise TypeError(f"formula must be a str such as 'y ~ x + (1 | g)', not {type(formula).__name__}")
    for name, contrast in contrasts.items():
        if not isinstance(contrast, str) or contrast not in _CONTRASTS:
            choices = ", ".join(map(repr, _CONTRASTS))
            raise FormulaError(f"contrasts[{name!r}] is {contrast!r}; choose one of {choices}")
    for name, function in extra.items():
        if name in RESERVED:
            raise FormulaError(f"extra_transforms names {name!r}, which means something in formulas already; rename it")
        if not (callable(function) and name.isidentifier() and "__" not in name):
            raise TypeError(f"extra_transforms[{name!r}] must be a function under a plain name")
    return parse(formula, _texts("groups", groups), _texts("random", random), frozenset(extra))


def check_na_action(na_action: str) -> None:
    """Refuse anything but ``drop`` and ``raise``."""
    if na_action not in ("drop", "raise"):
        raise DataError(f"na_action must be 'drop' or 'raise', not {na_action!r}")


def with_table(
    formula: Formula, table: Table, weight: PerRow | None, shift: PerRow | None
) -> tuple[Formula, tuple[str, ...]]:
    """Replace ``.`` in a formula and look for its columns; only the names of the columns of ``table`` are read.

    Returns
    -------
    Formula
    tuple of str
        Every column that the model uses.
    """
    if formula.has_dot:
        formula = _without_dot(formula, table, (weight, shift))
    _check_columns(formula, table)
    named = [p.column for p in (weight, shift) if p is not None and p.column is not None]
    return formula, tuple(dict.fromkeys([*formula.columns, *named]))


def read_formula(
    formula: str, groups: Any, random: Any, contrasts: Mapping[str, Any] | None, extra: Mapping[str, Any] | None
) -> Formula:
    """Parse a model, from the arguments of ``build_design``; no data are needed."""
    return _parsed(formula, groups, random, _mapping("contrasts", contrasts), _mapping("extra_transforms", extra))


def grouping_factors(
    formula: str, groups: Any, random: Any, extra_transforms: Mapping[str, Any] | None = None
) -> frozenset[str]:
    """Names of the grouping factors of a model, from the arguments of ``build_design``; no data are needed."""
    parsed = read_formula(formula, groups, random, None, extra_transforms)
    return frozenset(part.group.name for part in parsed.random)


def _texts(argument: str, given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    texts: tuple[Any, ...] = (
        (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list | tuple) else (None,)
    )
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{argument}= must be a str or a list of str, not {type(given).__name__}")
    if not texts:
        raise FormulaError(f"{argument}= is empty; leave it out, or name at least one")
    if argument == "groups" and len(set(texts)) < len(texts):
        raise FormulaError(f"groups= names a column twice: {', '.join(texts)}")
    return texts


def _without_dot(formula: Formula, table: Table, given: Iterable[PerRow | None]) -> Formula:
    """Let ``.`` stand for every column that response, groups, weights and offsets leave; R's includes the groups."""
    taken = {name for code in (*formula.response.codes, *formula.offsets) for name in inspect(code).columns}
    taken.update(name for part in formula.random for name in part.group.columns)
    taken.update(p.column for p in given if p is not None and p.column is not None)
    return with_columns(formula, [name for name in table.names if name not in taken])


def _check_columns(formula: Formula, table: Table) -> None:
    missing = [name for name in formula.columns if name not in table]
    if not missing:
        return
    known = table.names
    unknown = [name for name in missing if name not in formula.grouping]
    if unknown:
        raise FormulaError(unknown_message(unknown, known))
    raise DataError("; ".join(f"groups column {name!r} not found in data{_remedy(name, known)}" for name in missing))


def _remedy(name: str, known: list[str]) -> str:
    """What to write instead of a name under ``groups=`` that is not a column."""
    if any(mark in name for mark in "/:|"):
        bar = name.strip("~() ") if "|" in name else f"1 | {name}"
        return f'; for anything but plain columns write random=["({bar})"]'
    return suggest(name, known)


def _encoders(
    codes: Iterable[str], rows: Rows, contrasts: Mapping[str, str], extra: Mapping[str, Callable[..., Any]]
) -> dict[str, Encoder]:
    return {code: fit_encoder(code, rows, contrasts, extra) for code in codes}


def _check_contrasts(contrasts: Mapping[str, str], encoders: Mapping[str, Encoder]) -> None:
    if not contrasts:
        return
    known = {name for encoder in encoders.values() for name in (*encoder.expression.columns, encoder.expression.label)}
    for name in contrasts:
        if name not in known:
            raise FormulaError(
                f"contrasts= names {name!r}, which is not a factor among the fixed effects{suggest(name, known)}"
            )


def _random_part(
    part: RandomPart, rows: Rows, fixed: Mapping[str, Encoder], extra: Mapping[str, Callable[..., Any]]
) -> tuple[RandomTerm, RandomSpec]:
    """Evaluate one random-effects term; its key is the group's name, as if no other term had the same group."""
    codes, group = fit_group(part.group, rows)
    codes_used = {code for term in part.terms for code in term}
    # Contrasts asked for by contrasts= are for the fixed effects alone, as in lme4; the rest is encoded only once.
    shared = {code: encoder for code, encoder in fixed.items() if code in codes_used and not recoded(encoder)}
    encoders = {**_encoders(codes_used - shared.keys(), rows, {}, extra), **shared}
    blocks = scope(part.terms, lambda code: encoders[code].categorical)
    Z, names, _ = assemble(blocks, encoders, rows)
    name = part.group.name
    term = RandomTerm(name, name, names, group.levels, codes, Z, part.structure)
    return term, RandomSpec(name, group, names, blocks, encoders)


def ordered_terms(
    parts: Sequence[tuple[RandomTerm, RandomSpec]], covariance: Mapping[str, str]
) -> tuple[tuple[RandomTerm, ...], tuple[RandomSpec, ...], tuple[Structure, ...]]:
    """Put terms into lme4's order, name them, and give them the structures asked for.

    Returns
    -------
    terms, specs
        In lme4's order.
    written : tuple of {"unstructured", "diagonal"}
        How the formula has to write the structure of each of ``parts``; with one column there is no difference.
    """
    sizes = [len(term.levels) for term, _ in parts]
    order = list(range(len(parts)))
    if any(b > a for a, b in pairwise(sizes)):
        order = sorted(order, key=sizes.__getitem__)[::-1]
    groups = [parts[i][0].group for i in order]
    keys = unique_keys(groups)
    for name, wanted in covariance.items():
        if name not in keys and name not in groups:
            raise FormulaError(
                f"covariance= names {name!r}, which is not a grouping factor of the model{suggest(name, keys)}"
            )
        if wanted not in ("unstructured", "diagonal"):
            raise FormulaError(f"covariance[{name!r}] is {wanted!r}; choose 'unstructured' or 'diagonal'")
    terms, specs = [], []
    written = [term.structure for term, _ in parts]
    for key, i in zip(keys, order, strict=True):
        term, spec = parts[i]
        structure = cast(Structure, covariance.get(key) or covariance.get(term.group) or term.structure)
        if len(term.names) > 1:
            written[i] = structure
        if key == term.key and structure == term.structure:
            terms.append(term)
            specs.append(spec)
        else:
            terms.append(replace(term, key=key, structure=structure))
            specs.append(replace(spec, key=key))
    return tuple(terms), tuple(specs), tuple(written)


def unique_keys(names: list[str]) -> list[str]:
    """``g``, ``g.1``, ``g.2`` ... as R's make.unique."""
    taken = set(names)
    seen: set[str] = set()
    keys: list[str] = []
    for name in names:
        key, count = name, 0
        while key in seen or (count and key in taken):
            count += 1
            key = f"{name}.{count}"
        seen.add(key)
        keys.append(key)
    return keys


def offset_values(formula: Formula, rows: Rows, given: PerRow | None) -> FloatArray | None:
    """Sum of the ``offset()`` terms and of ``offset=``, shape (n,); None without either."""
    total: FloatArray | None = None if given is None else np.array(rows.take(given.values))
    for code in formula.offsets:
        values = offset_term(code, rows)
        total = values if total is None else total + values
    return total


def undefined_rows(arrays: Iterable[FloatArray], n: int, na_action: str) -> BoolArray | None:
    """Rows in which one of some arrays, shapes (n, ...), is NaN; None for no row.

    Raises
    ------
    DataError
        There are such rows, and ``na_action`` is ``"raise"``.
    """
    bad = np.zeros(n, dtype=np.bool_)
    for a in arrays:
        if not np.isfinite(a.sum()):
            bad |= np.isnan(a) if a.ndim == 1 else np.isnan(a).any(axis=1)
    if not bad.any():
        return None
    if na_action == "raise":
        raise DataError(
            f"an expression in the formula is undefined (NaN) in {int(bad.sum())} rows, and na_action='raise'"
        )
    return bad


def _without_undefined(design: Design, na_action: str) -> Design:
    """Leave out rows that an expression made NaN (``log(-1)``, ``lag(x)``), as R does."""
    arrays = [
        design.y,
        design.X,
        *(term.Z for term in design.terms),
        *([] if design.offset is None else [design.offset]),
    ]
    bad = undefined_rows(arrays, len(design.y), na_action)
    if bad is None:
        return design
    if bad.all():
        raise DataError("no row is left: an expression in the formula is undefined (NaN) in every row")
    return _subset(design, np.flatnonzero(~bad).astype(np.int64))


def _subset(design: Design, keep: IntArray) -> Design:
    parts, random = [], []
    for term, spec in zip(design.terms, design.spec.random, strict=True):
        codes, kept = compact(term.codes[keep], len(term.levels))
        group = spec.group if kept is None else restrict_group(spec.group, kept)
        parts.append(replace(term, codes=codes, levels=group.levels, Z=np.ascontiguousarray(term.Z[keep])))
        random.append(replace(spec, group=group))
    return replace(
        design,
        spec=replace(design.spec, random=tuple(random)), terms=tuple(parts), rows=design.rows[keep],
        y=design.y[keep], X=np.ascontiguousarray(design.X[keep]),
        weights=None if design.weights is None else design.weights[keep],
        trials=None if design.trials is None else design.trials[keep],
        offset=None if design.offset is None else design.offset[keep],
    )  # fmt: skip
