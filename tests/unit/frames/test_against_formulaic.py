"""The fixed part equals formulaic's own model matrix: same names, same numbers, same order."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from formulaic import model_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from interlace.frames.build import build_design
from interlace.frames.newdata import new_rows

N = 60


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(20)
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "x": rng.normal(size=N),
            "z": rng.uniform(1, 9, size=N),
            "i": rng.integers(0, 3, size=N),
            "f": rng.choice(list("abc"), N),
            "g": rng.choice(list("uv"), N),
            "h": pd.Categorical(rng.choice(list("pqr"), N), categories=list("rqp"), ordered=True),
            "s": rng.choice(list("klmn"), N),
        }
    )


FORMULAS = [
    "1", "x", "x + z", "0 + x", "x - 1", "-1 + x", "x:z", "x*z", "x^2", "(x + z + f)^2", "(x + z)**2", "x/f", "f/x",
    "f/g", "(x + f)/g", "f", "0 + f", "0 + f + g", "f:g", "0 + f:g", "f + f:g", "g:f", "f*g", "0 + f*g", "f*g*h",
    "x*f*g", "x:f", "f:x + f", "0 + x:f", "0 + x:f + f", "0 + x + f:x", "x:f:g", "x:z:f", "x*z*f - x:z:f", "x + x",
    "x:x", "f:f", "f - f", "1 + x - 1", "0 + x + 1", "h", "h*x", "i", "i:f", "f:h:g", "x + (z + f):g", "(f + g):h",
    "log(z)", "np.log(z)", "log10(z) * f", "I(x**2)", "I( x / z )", "exp(x):f", "log2(z+3)", "poly(x, 2)",
    "poly(x,2)*f", "bs(z, df=4)", "bs(x, df=4):f", "cr(z, df=3)", "cc(z, df=3)", "center(x) * z", "scale(z)", "C(i)",
    "C(i) * x", "0 + C(i)", "C(f, contr.sum)", "C(f, contr.helmert) * g", "0 + C(f, contr.sum)", "C(f, contr.poly)",
    "C(f, levels=['c', 'b', 'a'])", "C(f, contr.treatment('b'))", "C(f, contr.sum):x", "0 + C(f, contr.sum) + g",
    "C(i, contr.sum) * f", "hashed(s, levels=3)", "bs(z, knots=[3, 5], degree=2)", "C(f, Treatment('c'))",
    "Q('x') + z",
]  # fmt: skip


@pytest.mark.parametrize("rhs", FORMULAS)
def test_matches_formulaic(data, rhs):
    design = build_design(f"y ~ {rhs} + (1 | s)", data)
    expected = model_matrix(rhs.replace("^", "**"), data)
    assert list(design.x_names) == list(expected.columns)
    np.testing.assert_allclose(design.X, expected.to_numpy(float), rtol=1e-12, atol=1e-12)
    assert len(design.assign) == design.X.shape[1]
    assert set(design.assign) <= set(range(len(design.x_terms)))


@pytest.mark.parametrize("rhs", FORMULAS)
def test_new_rows_repeat_the_fit(data, rhs):
    """Rows of the fit, in another order and fewer, evaluate to the same numbers: knots, means and levels are kept."""
    design = build_design(f"y ~ {rhs} + (1 | s)", data)
    chosen = np.array([5, 3, 40, 8])
    new = new_rows(design, data.drop(columns="y").iloc[chosen].astype({"h": str}))
    np.testing.assert_allclose(new.X, design.X[chosen], rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(new.codes[0], design.terms[0].codes[chosen])
    assert new.valid.all()


atoms = st.sampled_from(["x", "z", "f", "g", "h"])
products = st.lists(atoms, min_size=1, max_size=3).flatmap(
    lambda names: st.lists(st.sampled_from([":", "*", "/"]), min_size=len(names) - 1, max_size=len(names) - 1).map(
        lambda ops: "".join(n + o for n, o in zip(names, [*ops, ""], strict=True))
    )
)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(products, min_size=1, max_size=3), no_intercept=st.booleans(), minus=st.none() | products)
def test_random_formulas_match_formulaic(data, parts, no_intercept, minus):
    rhs = ("0 + " if no_intercept else "") + " + ".join(parts) + (f" - {minus}" if minus else "")
    expected = model_matrix(rhs, data)
    design = build_design(f"y ~ {rhs} + (1 | s)", data)
    assert list(design.x_names) == list(expected.columns)
    np.testing.assert_array_equal(design.X, expected.to_numpy(float).reshape(len(data), -1))


def test_missing_combination_keeps_its_column(data):
    part = data[~((data.f == "a") & (data.g == "u"))]
    design = build_design("y ~ f * g + (1 | s)", part)
    assert list(design.x_names) == list(model_matrix("f * g", part).columns)


def test_contrasts_argument_equals_formulaic(data):
    for kind in ("sum", "helmert", "poly"):
        design = build_design("y ~ f * x + (1 | s)", data, contrasts={"f": kind})
        expected = model_matrix(f"C(f, contr.{kind}) * x", data)
        np.testing.assert_allclose(design.X, expected.to_numpy(float))
        assert [n.replace("f[", f"C(f, contr.{kind})[") for n in design.x_names] == list(expected.columns)


def test_contrasts_argument_leaves_random_slopes_alone(data):
    design = build_design("y ~ f + (f | s)", data, contrasts={"f": "sum"})
    assert design.x_names == ("Intercept", "f[S.a]", "f[S.b]")
    assert design.terms[0].names == ("Intercept", "f[T.b]", "f[T.c]")


def test_contrasts_of_an_explicit_factor(data):
    design = build_design("y ~ C(i) + (1 | s)", data, contrasts={"i": "sum"})
    assert design.x_names == ("Intercept", "C(i)[S.0]", "C(i)[S.1]")


def test_booleans_are_factors_as_in_r(data):
    frame = data.assign(b=data.x > 0)
    assert build_design("y ~ b + (1 | s)", frame).x_names == ("Intercept", "b[T.True]")
    assert build_design("y ~ 0 + b + (1 | s)", frame).x_names == ("b[False]", "b[True]")
    assert build_design("y ~ I(x > 0) + (1 | s)", frame).x_names == ("Intercept", "I(x > 0)[T.True]")
    design = build_design("y ~ I(x > 0) + b + (1 | s)", frame)
    np.testing.assert_array_equal(design.X[:, 1], design.X[:, 2])
    new = new_rows(design, frame.iloc[:3])
    np.testing.assert_array_equal(new.X, design.X[:3])


def test_contrasts_are_rs():
    """Coding matrices of R 4.2.2's contr.sum(4), contr.helmert(4) and round(contr.poly(4), 7)."""
    frame = pd.DataFrame({"y": np.arange(8.0), "f": list("abcd") * 2, "g": list("pppqqqpq")})
    expected = {
        "sum": [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]],
        "helmert": [[-1, -1, -1], [1, -1, -1], [0, 2, -1], [0, 0, 3]],
        "poly": [
            [-0.6708204, 0.5, -0.2236068],
            [-0.2236068, -0.5, 0.6708204],
            [0.2236068, -0.5, -0.6708204],
            [0.6708204, 0.5, 0.2236068],
        ],
    }
    for kind, matrix in expected.items():
        design = build_design("y ~ f + (1 | g)", frame, contrasts={"f": kind})
        np.testing.assert_allclose(design.X[:4, 1:], matrix, atol=1e-7)


def test_common_formulas_load_neither_formulaic_nor_narwhals():
    code = """
import sys
import numpy as np, pandas as pd
from interlace.frames.build import build_design
from interlace.frames.newdata import new_rows
data = pd.DataFrame({"y": np.arange(12.0), "x": np.arange(12) % 5, "f": list("abc") * 4, "g": list("ppqq") * 3})
design = build_design("log(y + 1) ~ x * f + I(x**2) + C(x) + (x | g/f)", data)
new_rows(design, data)
assert not {"formulaic", "narwhals", "pyarrow.parquet", "scipy"} & set(sys.modules), sorted(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-300:]
