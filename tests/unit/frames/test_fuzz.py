"""Whatever the formula, the outcome is a design or an error of ours: never another exception, never a side effect."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interlace.errors import InterlaceError
from interlace.frames.build import build_design
from interlace.frames.newdata import new_rows
from interlace.frames.update import update_formula

RNG = np.random.default_rng(0)
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=24),
        "x": RNG.uniform(1, 2, 24),
        "f": np.resize(list("abc"), 24),
        "b": np.resize([True, False], 24),
        "g": np.repeat(list("pqrs"), 6),
        "h": np.resize([1, 2, 3], 24),
        "log": RNG.uniform(1, 2, 24),
        "a b": RNG.normal(size=24),
    }
)
PIECES = st.sampled_from(
    [
        "y",
        "x",
        "f",
        "b",
        "g",
        "h",
        "log",
        "`a",
        "b`",
        ".",
        "0",
        "1",
        "2",
        "2.5",
        "1e3",
        "'x'",
        '"f"',
        "(",
        ")",
        "(",
        ")",
        "|",
        "||",
        "~",
        "+",
        "-",
        "*",
        "/",
        ":",
        "^",
        "**",
        ",",
        "=",
        "==",
        "!=",
        "<",
        ">=",
        "[",
        "]",
        "{",
        "}",
        "%",
        "&",
        "@",
        "!",
        ";",
        "?",
        "$",
        "#",
        "\\",
        "lambda",
        "if",
        "None",
        "True",
        "TRUE",
        "np",
        "np.log",
        "contr.sum",
        "C(",
        "C(f,",
        "log(",
        "I(",
        "I(x",
        "poly(x,",
        "bs(",
        "Q(",
        "Q('x')",
        "offset(",
        "factor(",
        "diag(",
        "cbind(",
        "interaction(",
        "__x__",
        "x.y",
        "µ",
        "½",
        "eval(",
        "getattr(",
        "\n",
        "\t",
        "'",
        '"',
        "`",
        "(1|g)",
        "(x|g)",
        "(x||g/h)",
        "(0+f|h:g)",
        "df=4",
        ")",
        "levels=['a']",
        ":=",
        "f'{x}'",
    ]
)
SOUP = st.lists(PIECES, max_size=14).map(" ".join) | st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=30)


def attempt(action):
    try:
        return action()
    except InterlaceError as error:
        return None if str(error) else pytest.fail("an error without words")


@settings(max_examples=100, deadline=None)
@given(SOUP)
@example("C(f")
@example("I(x) (1|g)")
@example("x | y")
def test_any_text(soup):
    for formula in (
        soup,
        f"y ~ {soup}",
        f"y ~ x + (1 | g) + {soup}",
        f"{soup} ~ x + (1 | g)",
        f"y ~ x + ({soup} | g)",
        f"y ~ x + (1 | {soup})",
    ):
        design = attempt(lambda formula=formula: build_design(formula, DATA))
        if design is not None:
            assert np.isfinite(design.X).all()
            assert np.isfinite(design.y).all()
            again = build_design(design.formula, DATA)
            assert again.x_names == design.x_names
            assert again.formula == design.formula
            assert [t.key for t in again.terms] == [t.key for t in design.terms]
            np.testing.assert_array_equal(again.X, design.X)
            new = new_rows(design, DATA.iloc[design.rows])
            np.testing.assert_allclose(new.X, design.X, atol=1e-9)
    attempt(lambda: update_formula("y ~ x + (1 | g)", soup))
    attempt(lambda: update_formula("y ~ x + (1 | g)", f". ~ . + {soup}"))
    attempt(lambda: build_design("y ~ x", DATA, groups=soup))
    attempt(lambda: build_design("y ~ x", DATA, random=soup))
