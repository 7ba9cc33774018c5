"""Build a design: parse, choose the rows, encode, group, order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

import numpy as np

from interlace.errors import DataError, FormulaError
from interlace.frames.adapt import Table, compact
from interlace.frames.design import Design, DesignSpec, RandomSpec, RandomTerm
from interlace.frames.encode import Encoder, assemble, fit_encoder, recoded
from interlace.frames.evaluate import evaluate, inspect
from interlace.frames.grouping import GroupSpec, fit_group, restrict_group
from interlace.frames.names import RESERVED, suggest, unknown_message
from interlace.frames.parse import Formula, RandomPart, parse, with_columns
from interlace.frames.rows import Rows
from interlace.frames.select import PerRow, per_row, select_rows
from interlace.frames.terms import scope
from interlace.typing import FloatArray, FrameLike, IntArray, Structure

__all__ = ["Request", "build", "offset_term"]

_CONTRASTS = ("treatment", "sum", "helmert", "poly")


@dataclass(frozen=True)
class Request:
    """Arguments of ``build_design``."""

    formula: str
    data: FrameLike
    groups: str | Sequence[str] | None
    random: str | Sequence[str] | None
    weights: Any
    offset: Any
    contrasts: Mapping[str, str]
    covariance: Mapping[str, str]
    na_action: str
    extra: Mapping[str, Callable[..., Any]]


def build(request: Request) -> Design:
    """Evaluate a request."""
    formula = _parsed(request)
    table = Table(request.data)
    weights, offset = per_row("weights", request.weights, table), per_row("offset", request.offset, table)
    if formula.has_dot:
        formula = _without_dot(formula, table, (weights, offset))
    _check_columns(formula, table)
    every = dict.fromkeys(
        [*formula.columns, *(p.column for p in (weights, offset) if p is not None and p.column is not None)]
    )
    rows, n_zero = select_rows(table, every, weights, offset, request.na_action)

    y = response_values(formula, rows)
    encoders = _encoders({code for term in formula.terms for code in term}, rows, request.contrasts, request.extra)
    _check_contrasts(request.contrasts, encoders)
    blocks = scope(formula.terms, lambda code: encoders[code].categorical)
    X, x_names, assign = assemble(blocks, encoders, rows)
    parts = [_random_part(part, rows, encoders, request) for part in formula.random]
    total = _offset_values(formula, rows, offset)
    weight = None if weights is None else np.array(rows.take(weights.values))

    terms, specs, structures = _ordered(parts, formula.random, request.covariance)
    spec = DesignSpec(
        formula=formula, x_names=x_names, blocks=blocks, encoders=encoders, random=specs,
        offset_column=None if offset is None else offset.column,
        offset_given=offset is not None and offset.column is None,
        weights_column=None if weights is None else weights.column, covariance=structures,
    )  # fmt: skip
    design = Design(
        formula=formula.text, response=formula.response.name, y=y, X=X, x_names=x_names, terms=terms, weights=weight,
        offset=total, rows=rows.positions, n_zero_weight=n_zero,
        x_terms=formula.x_terms, assign=assign, spec=spec,
        columns={name: table.column(name).kept for name in every}, all_index=table.index,
    )  # fmt: skip
    return design if formula.plain else _without_undefined(design, request.na_action)


def _parsed(request: Request) -> Formula:
    if not isinstance(request.formula, str):
        raise TypeError(f"formula must be a str such as 'y ~ x + (1 | g)', not {type(request.formula).__name__}")
    if request.na_action not in ("drop", "raise"):
        raise DataError(f"na_action must be 'drop' or 'raise', not {request.na_action!r}")
    given: Mapping[str, Any] = request.contrasts
    for name, contrast in given.items():
        if not isinstance(contrast, str) or contrast not in _CONTRASTS:
            choices = ", ".join(map(repr, _CONTRASTS))
            raise FormulaError(f"contrasts[{name!r}] is {contrast!r}; choose one of {choices}")
    groups, random = _texts("groups", request.groups), _texts("random", request.random)
    for name, function in request.extra.items():
        if name in RESERVED:
            raise FormulaError(f"extra_transforms names {name!r}, which means something in formulas already; rename it")
        checked: Any = function  # whatever the caller put there
        if not (callable(checked) and name.isidentifier() and "__" not in name):
            raise TypeError(f"extra_transforms[{name!r}] must be a function under a plain name")
    formula = parse(request.formula, groups, random, frozenset(request.extra))
    if formula.response.kind == "cbind":
        raise FormulaError(
            "cbind(successes, failures) is a binomial response: use interlace.glmer(..., family='binomial'), not fit()"
        )
    return formula


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
    raise DataError("; ".join(f"groups column {name!r} not found in data{suggest(name, known)}" for name in missing))


def response_values(formula: Formula, rows: Rows) -> FloatArray:
    """Response, shape (n,), a copy."""
    expression = inspect(formula.response.codes[0])
    text = formula.response.name
    if expression.kind == "column":
        name = expression.columns[0]
        kind = rows.column(name).kind
        if kind in ("bool", "factor"):
            raise DataError(_not_gaussian(name, rows.column(name).describe()))
        return np.array(rows.numbers(name, "response"), dtype=np.float64)
    if expression.kind != "rows":
        encoder = fit_encoder(expression.code, rows, {}, {})
        pieces = encoder.pieces(rows, reduced=True)
        if encoder.categorical or len(pieces) != 1:
            raise DataError(_not_gaussian(text, "not one number a row"))
        return np.array(pieces[0][1], dtype=np.float64)
    values = evaluate(expression, rows.raw, rows.n)
    if values.dtype == np.bool_:
        raise DataError(_not_gaussian(text, "true/false values"))
    if np.isinf(values).any():
        raise DataError(
            f"the response {text} has infinite values (log of zero, or a division by zero?); drop or repair those rows"
        )
    return np.array(values)


def _not_gaussian(text: str, holds: str) -> str:
    return (
        f"the response {text!r} must be numeric, but it holds {holds}. For a response of two kinds use "
        "interlace.glmer(..., family='binomial'); otherwise convert it with pandas.to_numeric"
    )


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
    part: RandomPart, rows: Rows, fixed: Mapping[str, Encoder], request: Request
) -> tuple[IntArray, GroupSpec, FloatArray, RandomSpec]:
    codes, group = fit_group(part.group, rows)
    codes_used = {code for term in part.terms for code in term}
    # Contrasts asked for by contrasts= are for the fixed effects alone, as in lme4; the rest is encoded only once.
    shared = {code: encoder for code, encoder in fixed.items() if code in codes_used and not recoded(encoder)}
    encoders = {**_encoders(codes_used - shared.keys(), rows, {}, request.extra), **shared}
    blocks = scope(part.terms, lambda code: encoders[code].categorical)
    Z, names, _ = assemble(blocks, encoders, rows)
    return codes, group, Z, RandomSpec("", group, names, blocks, encoders)


def _ordered(
    parts: list[tuple[IntArray, GroupSpec, FloatArray, RandomSpec]],
    random: tuple[RandomPart, ...],
    covariance: Mapping[str, str],
) -> tuple[tuple[RandomTerm, ...], tuple[RandomSpec, ...], dict[str, Structure]]:
    """Put terms into lme4's order and name them."""
    sizes = [len(group.levels) for _, group, _, _ in parts]
    order = list(range(len(parts)))
    if any(b > a for a, b in pairwise(sizes)):
        order = sorted(order, key=sizes.__getitem__)[::-1]
    keys = _unique_keys([random[i].group.name for i in order])
    for name, structure in covariance.items():
        if name not in keys and name not in {random[i].group.name for i in order}:
            raise FormulaError(
                f"covariance= names {name!r}, which is not a grouping factor of the model{suggest(name, keys)}"
            )
        if structure not in ("unstructured", "diagonal"):
            raise FormulaError(f"covariance[{name!r}] is {structure!r}; choose 'unstructured' or 'diagonal'")
    terms, specs, structures = [], [], {}
    for key, i in zip(keys, order, strict=True):
        codes, group, Z, spec = parts[i]
        name = group.group.name
        structure = cast(Structure, covariance.get(key) or covariance.get(name) or random[i].structure)
        structures[key] = structure
        terms.append(RandomTerm(key, name, spec.names, group.levels, codes, Z, structure))
        specs.append(RandomSpec(key, group, spec.names, spec.blocks, spec.encoders))
    return tuple(terms), tuple(specs), structures


def _unique_keys(names: list[str]) -> list[str]:
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


def _offset_values(formula: Formula, rows: Rows, given: PerRow | None) -> FloatArray | None:
    total: FloatArray | None = None if given is None else np.array(rows.take(given.values))
    for code in formula.offsets:
        values = offset_term(code, rows)
        total = values if total is None else total + values
    return total


def offset_term(code: str, rows: Rows) -> FloatArray:
    """Value of one ``offset()`` term, shape (n,)."""
    expression = inspect(code)
    if expression.kind == "column":
        return np.array(rows.numbers(expression.columns[0], "offset"))
    if expression.kind != "rows":
        raise FormulaError(
            f"offset({expression.label}) is not row-by-row arithmetic; compute it as a column of data first"
        )
    values = evaluate(expression, rows.raw, rows.n).astype(np.float64)
    if np.isinf(values).any():
        raise DataError(f"offset({expression.label}) has infinite values (log of zero?); drop or repair those rows")
    return np.asarray(values, dtype=np.float64)


def _without_undefined(design: Design, na_action: str) -> Design:
    """Leave out rows that an expression made NaN (``log(-1)``, ``lag(x)``), as R does."""
    arrays = [
        design.y,
        design.X,
        *(term.Z for term in design.terms),
        *([] if design.offset is None else [design.offset]),
    ]
    if all(np.isfinite(a.sum()) for a in arrays) or not any(np.isnan(a).any() for a in arrays):
        return design
    bad = np.zeros(len(design.y), dtype=np.bool_)
    for a in arrays:
        bad |= np.isnan(a) if a.ndim == 1 else np.isnan(a).any(axis=1)
    if bad.all():
        raise DataError("no row is left: an expression in the formula is undefined (NaN) in every row")
    if na_action == "raise":
        raise DataError(
            f"an expression in the formula is undefined (NaN) in {int(bad.sum())} rows, and na_action='raise'"
        )
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
        offset=None if design.offset is None else design.offset[keep],
    )  # fmt: skip
