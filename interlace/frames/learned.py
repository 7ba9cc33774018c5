"""What a design has learned from its rows beside the data themselves: levels of factors, knots, means, centers.

Rows that are left out must not have a part in it, so refits without some rows need to know.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from interlace.errors import FormulaError
from interlace.frames.adapt import Table
from interlace.frames.design import Design
from interlace.frames.encode import Encoder, FactorEncoder
from interlace.frames.evaluate import Expression, inspect
from interlace.frames.rows import Rows
from interlace.frames.stateful import FormulaicEncoder
from interlace.typing import IntArray

__all__ = ["CodedFactor", "coded_factors", "is_coded_factor", "learned_expressions", "refuse_dependent_rows"]


@dataclass(frozen=True, eq=False)
class CodedFactor:
    """A factor among the predictors.

    Attributes
    ----------
    label : str
    codes : ndarray of int64, shape (n,)
        Level of each row in use.
    levels : pandas.Index
    """

    label: str
    codes: IntArray
    levels: pd.Index[Any]


def coded_factors(design: Design) -> tuple[CodedFactor, ...]:
    """Every factor that the fixed effects or the random slopes read, with its level at each row.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("cake")
    >>> design = interlace.fit("angle ~ recipe + temp + (1 | recipe:replicate)", df).state.problem.design
    >>> [(factor.label, list(factor.levels)) for factor in coded_factors(design)]
    [('recipe', ['A', 'B', 'C'])]
    """
    rows = Rows(Table(design.frame), None)
    found: dict[str, CodedFactor] = {}
    for encoder in _encoders(design):
        if isinstance(encoder, FactorEncoder):
            label = encoder.expression.label
            found[label] = CodedFactor(label, encoder.codes(rows), encoder.levels)
        elif isinstance(encoder, FormulaicEncoder):
            rows.factor_names(encoder.expression)  # computes what C() computes
            for name, levels in encoder.levels.items():
                found.setdefault(name, CodedFactor(name, rows.known_codes(name, levels), levels))
    return tuple(found.values())


def learned_expressions(design: Design) -> tuple[str, ...]:
    """Expressions whose value at a row depends on other rows too: ``center(x)``, ``poly(x, 2)``, ``bs(x, df=4)``.

    A factor with contrasts is none of them: its coding depends on its levels only. A function of the caller's is taken
    for one.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> design = interlace.fit("Reaction ~ poly(Days, 2) + log1p(Days) + (1 | Subject)", df).state.problem.design
    >>> learned_expressions(design)
    ('poly(Days, 2)',)
    """
    labels = {
        encoder.expression.label
        for encoder in _encoders(design)
        if isinstance(encoder, FormulaicEncoder) and not (encoder.recoded or is_coded_factor(encoder.expression))
    }
    return tuple(sorted(labels))


def refuse_dependent_rows(design: Design, what: str) -> None:
    """Refuse formulas that mean something else when rows are left out: ``lag(x)``, and ``center(y) ~ ...``.

    Parameters
    ----------
    design : Design
    what : str
        What needs rows that do not depend on each other, for the message.

    Raises
    ------
    FormulaError
    """
    for encoder in _encoders(design):
        if any(isinstance(node, ast.Name) and node.id == "lag" for node in ast.walk(encoder.expression.tree)):
            raise FormulaError(
                f"{what} takes rows away, and {encoder.expression.label} looks at the rows before: make it a column of "
                "the data first"
            )
    for code in design.spec.formula.response.codes:
        if inspect(code).kind == "stateful":
            raise FormulaError(
                f"the response {design.response!r} is computed from all rows together, those that {what} leaves out "
                "among them; make it a column of the data first"
            )


def _encoders(design: Design) -> Iterator[Encoder]:
    spec = design.spec
    yield from spec.encoders.values()
    for term in spec.random:
        yield from term.encoders.values()


def is_coded_factor(expression: Expression) -> bool:
    """Whether it is a factor with a coding: ``C(x, contr.sum)``, or of what is computed row by row."""
    if expression.inner is not None:
        return True
    match expression.tree:
        case ast.Call(func=ast.Name(id="C"), args=[first, *_]):
            return inspect(ast.unparse(first)).kind == "column"
    return False
