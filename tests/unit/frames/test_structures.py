"""The printed formula says which covariance structures ``covariance=`` gave."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interlace.frames.build import build_design


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n = 300
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "f": rng.choice(list("abc"), n),
            "a": rng.integers(0, 5, n),
            "b": rng.integers(0, 4, n),
            "c": rng.integers(0, 3, n),
        }
    )


CASES = [
    ("(x | a)", {"a": "diagonal"}, "diag(x | a)"),
    ("diag(x | a)", {"a": "unstructured"}, "(x | a)"),
    ("(x | a) + (0 + f | a)", {"a.1": "diagonal"}, "(x | a) + diag(0 + f | a)"),
    ("(x | a/b)", {"b:a": "diagonal", "a": "diagonal"}, "diag(x | a/b)"),
    ("(x | a/b)", {"b:a": "diagonal"}, "diag(x | b:a) + (x | a)"),
    ("(x | a/b/c)", {"c:(b:a)": "diagonal"}, "diag(x | c:(b:a)) + (x | b:a) + (x | a)"),
    ("(x:f | a/(b/c))", {"(c:b):a": "diagonal"}, "diag(x:f | (c:b):a) + (x:f | b:a) + (x:f | a)"),
    ("(f || a)", {"a": "diagonal"}, "(1 | a) + diag(0 + f | a)"),
    ("(1 | a)", {"a": "diagonal"}, "(1 | a)"),  # one column: no structure to tell
    ("(0 + x | a)", {"a": "diagonal"}, "(0 + x | a)"),
]


@pytest.mark.parametrize(("bars", "covariance", "written"), CASES)
def test_formula_says_the_structures(data: pd.DataFrame, bars: str, covariance: dict[str, str], written: str) -> None:
    design = build_design(f"y ~ x + {bars}", data, covariance=covariance)
    assert design.formula == f"y ~ x + {written}"
    again = build_design(design.formula, data)
    assert again.formula == design.formula
    expected = [(t.group, t.names, t.structure) for t in design.terms if len(t.names) > 1]
    assert [(t.group, t.names, t.structure) for t in again.terms if len(t.names) > 1] == expected


def test_random_argument_is_written_with_its_structure(data: pd.DataFrame) -> None:
    design = build_design("y ~ x", data, random=["(x | a)", "(1 | b)"], covariance={"a": "diagonal"})
    assert design.formula == "y ~ x + diag(x | a) + (1 | b)"
