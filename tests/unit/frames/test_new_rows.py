"""A fitted design evaluated on data that the fit has not seen."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from interlace.frames.build import build_design
from interlace.frames.newdata import new_rows


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.uniform(1, 5, n),
            "f": rng.choice(list("abc"), n),
            "g": np.repeat([301, 302, 303], 20),
            "h": np.tile(list("uvwt"), 15),
        }
    )


def test_unseen_groups_and_missing_values(data):
    design = build_design("y ~ x + (x | g)", data)
    new = new_rows(design, pd.DataFrame({"x": [1.0, 2.0, np.nan, 4.0], "g": [302, 999, 301, None]}, index=list("abcd")))
    assert list(new.codes[0]) == [1, -1, -1, -1]
    assert list(new.valid) == [True, True, False, False]
    np.testing.assert_array_equal(new.X, [[1, 1], [1, 2], [0, 0], [0, 0]])
    np.testing.assert_array_equal(new.Z[0], new.X)
    assert list(new.index) == list("abcd")


@pytest.mark.parametrize(
    "values",
    [
        [301, 303, 999],
        [301.0, 303.0, 999.0],
        ["301", "303", "999"],
        pd.Categorical([301, 303, 999]),
        pd.Categorical(["301", "303", "999"]),
        pd.array([301, 303, 999], dtype="Int64"),
        pd.array(["301", "303", "999"], dtype="string"),
        np.array([301, 303, 999], dtype=object),
        np.array([301, 303, 999], dtype="uint16"),
    ],
    ids=["int", "float", "str", "categorical", "text categorical", "Int64", "string", "object", "uint16"],
)
def test_group_labels_match_across_dtypes(data, values):
    for column in (data.g, data.g.astype(float), data.g.astype(str), data.g.astype("category"), data.g.astype("Int64")):
        design = build_design("y ~ x + (1 | g)", data.assign(g=column))
        new = new_rows(design, pd.DataFrame({"x": [1, 2, 3]}).assign(g=values))
        assert list(new.codes[0]) == [0, 2, -1]


def test_booleans_do_not_match_numbers(data):
    design = build_design("y ~ x + (1 | g)", data.assign(g=data.g > 301))
    assert list(new_rows(design, {"x": [1.0, 1.0], "g": [True, False]}).codes[0]) == [1, 0]
    assert list(new_rows(design, {"x": [1.0, 1.0], "g": ["True", "no"]}).codes[0]) == [1, -1]
    assert list(new_rows(design, {"x": [1.0, 1.0], "g": [1, 0]}).codes[0]) == [-1, -1]


def test_nested_groups(data):
    design = build_design("y ~ x + (1 | g/h)", data[~((data.g == 301) & (data.h == "u"))])
    assert [t.key for t in design.terms] == ["h:g", "g"]
    new = new_rows(design, {"x": [1.0] * 5, "g": [301, 302, 301, 999, 303], "h": ["v", "u", "u", "u", "zz"]})
    labels = [design.terms[0].levels[c] if c >= 0 else None for c in new.codes[0]]
    assert labels == ["v:301", "u:302", None, None, None]  # u:301 was not in the fit, though u and 301 were
    assert list(new.codes[1]) == [0, 1, 0, -1, 2]


def test_labels_with_colons_stay_apart():
    pairs = [("x:y", "z"), ("x", "y:z"), ("x", "z")]
    frame = pd.DataFrame(pairs * 4, columns=["a", "b"]).assign(y=np.arange(12.0))
    design = build_design("y ~ 1 + (1 | a:b)", frame)
    new = new_rows(design, frame.iloc[:3])
    np.testing.assert_array_equal(new.codes[0], design.terms[0].codes[:3])
    assert list(new_rows(design, {"a": ["x:y"], "b": ["y:z"]}).codes[0]) == [-1]


def test_offsets(data):
    design = build_design("y ~ x + offset(log(x)) + (1 | g)", data.assign(o=2.0), offset="o")
    new = new_rows(design, {"x": [1.0, 2.0], "g": [301, 302], "o": [1.0, 3.0]})
    np.testing.assert_allclose(new.offset, [1.0, np.log(2.0) + 3.0])
    array = build_design("y ~ x + (1 | g)", data, offset=np.ones(60))
    np.testing.assert_array_equal(new_rows(array, {"x": [1.0], "g": [301]}).offset, [0.0])


def test_random_terms_can_be_left_out(data):
    design = build_design("y ~ x + (x | g) + (1 | h)", data)
    assert [t.key for t in design.terms] == ["h", "g"]
    none = new_rows(design, {"x": [1.0, 2.0]}, random=False)
    assert [list(c) for c in none.codes] == [[-1, -1], [-1, -1]]
    assert none.Z[1].shape == (2, 2)
    assert none.valid.all()
    one = new_rows(design, {"x": [1.0, 2.0], "g": [301, 9]}, random=["g"])
    assert [list(c) for c in one.codes] == [[-1, -1], [0, -1]]


def test_reads_a_spec_alone_and_any_frame(data):
    spec = build_design("y ~ x * f + (x | g)", data).spec
    rows = {"x": [1.5, 2.5], "f": ["c", "a"], "g": [303, 301]}
    expected = new_rows(spec, rows)
    for frame in (pd.DataFrame(rows), pl.DataFrame(rows), pa.table(rows)):
        new = new_rows(spec, frame)
        np.testing.assert_array_equal(new.X, expected.X)
        np.testing.assert_array_equal(new.codes[0], [2, 0])


def test_fixed_factor_levels_match_across_dtypes(data):
    frame = data.assign(k=np.tile([1, 2, 3], 20))
    design = build_design("y ~ C(k) + (1 | g)", frame)
    for values in ([1, 3], [1.0, 3.0], ["1", "3"], pd.Categorical([1, 3])):
        np.testing.assert_array_equal(
            new_rows(design, pd.DataFrame({"g": [301, 302]}).assign(k=values)).X, [[1, 0, 0], [1, 0, 1]]
        )
    coded = build_design("y ~ C(k, contr.sum) + (1 | g)", frame)
    for values in ([1, 3], [1.0, 3.0], ["1", "3"]):
        np.testing.assert_array_equal(new_rows(coded, {"g": [301, 302], "k": values}).X, [[1, 1, 0], [1, -1, -1]])


def test_boolean_expressions_keep_both_columns(data):
    design = build_design("y ~ 0 + I(x > 3) + (1 | g)", data)
    np.testing.assert_array_equal(new_rows(design, {"x": [1.0, 4.0], "g": [301, 301]}).X, [[1, 0], [0, 1]])


def test_undefined_expressions_are_not_valid(data):
    design = build_design("y ~ log(x) + (1 | g)", data)
    new = new_rows(design, {"x": [-1.0, 1.0], "g": [301, 301]})
    assert list(new.valid) == [False, True]
    np.testing.assert_array_equal(new.X, [[0, 0], [1, 0]])
    assert list(new.codes[0]) == [-1, 0]


def test_no_rows(data):
    design = build_design("y ~ x * f + log(x) + (x | g/h)", data)
    new = new_rows(design, data.head(0))
    assert new.X.shape == (0, design.X.shape[1])
    assert [z.shape for z in new.Z] == [(0, 2), (0, 2)]


def test_means_and_knots_come_from_the_fit(data):
    design = build_design("y ~ center(x) + scale(x) + (1 | g)", data)
    new = new_rows(design, {"x": [data.x.mean()], "g": [301]})
    np.testing.assert_allclose(new.X, [[1, 0, 0]], atol=1e-12)
    alone = build_design("y ~ poly(x, 2) + bs(x, df=4) + (poly(x, 2) | g)", data)
    rows = new_rows(alone, data.iloc[[7]])
    np.testing.assert_allclose(rows.X[0], alone.X[7], atol=1e-12)
    np.testing.assert_allclose(rows.Z[0][0], alone.terms[0].Z[7], atol=1e-12)
