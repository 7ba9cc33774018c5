"""What designs learn from their rows."""

from __future__ import annotations

import numpy as np
import pytest

from interlace.errors import FormulaError
from interlace.frames.build import build_design
from interlace.frames.design import Design
from interlace.frames.learned import coded_factors, learned_expressions, refuse_dependent_rows

DATA = {
    "y": np.array([1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 2.5, 0.5]),
    "x": np.arange(8.0),
    "f": list("abcabcab"),
    "b": np.arange(8) % 2 == 0,
    "g": np.repeat([1, 2, 3, 4], 2),
}


def design(right: str, left: str = "y", **options: object) -> Design:
    return build_design(f"{left} ~ {right} + (1 | g)", DATA, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ("x + I(x**2) + np.log1p(x) + f + b + C(x > 3)", ()),
        ("center(x) + scale(x)", ("center(x)", "scale(x)")),
        ("poly(x, 2) + f", ("poly(x, 2)",)),
        ("bs(x, df=4)", ("bs(x, df=4)",)),
        ("C(f, contr.sum) + x", ()),
        ("C(x > 3, contr.sum)", ()),
        ("f:center(x)", ("center(x)",)),
    ],
)
def test_transforms_that_depend_on_other_rows(right: str, expected: tuple[str, ...]) -> None:
    assert learned_expressions(design(right)) == expected


def test_contrasts_by_argument_and_random_slopes() -> None:
    assert learned_expressions(design("f", contrasts={"f": "helmert"})) == ()
    assert learned_expressions(build_design("y ~ 1 + (scale(x) | g)", DATA)) == ("scale(x)",)


def test_functions_of_the_caller_may_look_at_all_rows() -> None:
    found = design("ranked(x)", extra_transforms={"ranked": lambda x: np.argsort(np.argsort(x))})
    assert learned_expressions(found) == ("ranked(x)",)


def test_factors_and_their_levels() -> None:
    found = {f.label: (f.codes.tolist(), list(f.levels)) for f in coded_factors(design("f + b + C(x > 3) + x"))}
    assert found == {
        "f": ([0, 1, 2, 0, 1, 2, 0, 1], ["a", "b", "c"]),
        "b": ([1, 0] * 4, [False, True]),
        "C(x > 3)": ([0] * 4 + [1] * 4, [False, True]),
    }
    assert [f.label for f in coded_factors(design("C(f, contr.sum)"))] == ["f"]
    assert [f.label for f in coded_factors(build_design("y ~ x + (0 + b | g)", DATA))] == ["b"]


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [("y", "lag(x)", "looks at the rows before"), ("center(y)", "x", "is computed from all rows together")],
)
def test_rows_that_depend_on_each_other(left: str, right: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        refuse_dependent_rows(design(right, left), "cross_val()")
    refuse_dependent_rows(design("x + poly(x, 2)", "np.log(y)"), "cross_val()")
