"""The same model from every kind of frame and every dtype; the caller's frame is left as it was."""

import pickle

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from interlace.errors import DataError
from interlace.frames.build import build_design
from interlace.frames.newdata import new_rows

N = 48
FORMULA = "y ~ x * f + b + log(z) + poly(x, 2) + (x | g)"


def base():
    rng = np.random.default_rng(8)
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "x": rng.integers(1, 9, size=N),
            "z": rng.uniform(1, 2, size=N),
            "f": rng.choice(list("abc"), N),
            "b": rng.random(N) > 0.5,
            "g": np.repeat(list("pqrs"), N // 4),
            "w": rng.integers(1, 4, N),
        }
    )


def categorical(frame):
    return frame.assign(f=pd.Categorical(frame.f, list("abcz")), g=pd.Categorical(frame.g))


KINDS = {
    "nullable": lambda d: d.convert_dtypes(dtype_backend="numpy_nullable"),
    "arrow dtypes": lambda d: d.convert_dtypes(dtype_backend="pyarrow"),
    "objects": lambda d: d.astype({"f": object, "g": object, "b": object}),
    "object numbers": lambda d: d.astype({"x": object, "z": object}),
    "categoricals": categorical,
    "float32": lambda d: d.astype({"x": "float32"}),
    "small integers": lambda d: d.astype({"x": "uint8", "w": "int16"}),
    "string dtype": lambda d: d.astype({"f": "string", "g": "string"}),
    "sparse": lambda d: d.assign(x=pd.arrays.SparseArray(d.x.to_numpy(float))),
    "polars": pl.from_pandas,
    "polars categorical": lambda d: pl.from_pandas(d).cast({"f": pl.Categorical, "g": pl.Enum(list("pqrs"))}),
    "pyarrow": pa.Table.from_pandas,
    "pyarrow dictionaries": lambda d: pa.Table.from_pandas(categorical(d)),
    "pyarrow decimals": lambda d: pa.table({**d, "x": pa.array(d.x).cast(pa.decimal128(25, 2))}),
    "arrow dictionary dtype": lambda d: d.assign(f=d.f.astype(pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string())))),
    "narwhals": nw.from_native,
    "narwhals over polars": lambda d: nw.from_native(pl.from_pandas(d)),
    "dict of arrays": lambda d: {c: d[c].to_numpy() for c in d},
    "dict of lists": lambda d: d.to_dict("list"),
    "dict of series": lambda d: {c: d[c].set_axis(range(5, 5 + N)) for c in d},
    "dict of polars": lambda d: {c: pl.Series(d[c].to_list()) for c in d},
    "dict of tuples": lambda d: {c: tuple(d[c]) for c in d},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_gives_the_same_design(kind):
    expected = build_design(FORMULA, base(), weights="w")
    data = KINDS[kind](base())
    design = build_design(FORMULA, data, weights="w")
    assert design.x_names == expected.x_names
    np.testing.assert_allclose(design.X, expected.X, rtol=1e-6 if kind == "float32" else 1e-12, atol=1e-12)
    np.testing.assert_array_equal(design.y, expected.y)
    np.testing.assert_array_equal(design.weights, expected.weights)
    np.testing.assert_array_equal(design.terms[0].codes, expected.terms[0].codes)
    assert list(design.terms[0].levels) == list("pqrs")
    assert isinstance(design.index, pd.Index)
    assert isinstance(design.frame, pd.DataFrame)
    assert list(design.frame.columns) == ["y", "x", "f", "b", "z", "g", "w"]
    for part in (design.X, design.y, design.terms[0].Z, design.weights):
        assert part.dtype == np.float64
        assert part.flags.c_contiguous


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_as_new_data(kind):
    design = build_design(FORMULA, base(), weights="w")
    new = new_rows(design, KINDS[kind](base()))
    np.testing.assert_allclose(new.X, design.X, rtol=1e-6 if kind == "float32" else 1e-12, atol=1e-12)
    np.testing.assert_array_equal(new.codes[0], design.terms[0].codes)
    assert new.valid.all()


def holes(frame):
    """Missing values of each column's own kind, all in different rows."""
    for row, column in enumerate(["y", "x", "z", "f", "b", "g", "w"]):
        frame[column] = frame[column].astype(object)
        frame.loc[frame.index[row], column] = None
    return frame


@pytest.mark.parametrize(
    "convert",
    [
        lambda d: d,
        lambda d: d.convert_dtypes(dtype_backend="numpy_nullable"),
        lambda d: d.convert_dtypes(dtype_backend="pyarrow"),
        lambda d: d.astype({"y": float, "x": float, "z": float, "w": float, "f": "category", "g": "category"}),
        lambda d: pl.from_dicts(d.to_dict("records")),
        lambda d: pa.Table.from_pandas(d.convert_dtypes(dtype_backend="pyarrow")),
        lambda d: d.to_dict("list"),
    ],
    ids=["object", "nullable", "arrow", "float", "polars", "pyarrow", "dict"],
)
def test_missing_values_of_every_kind_drop_their_rows(convert):
    design = build_design(FORMULA, convert(holes(base())), weights="w")
    expected = build_design(FORMULA, base().iloc[7:], weights="w")
    assert len(design.y) == N - 7
    np.testing.assert_array_equal(design.rows, np.arange(7, N))
    np.testing.assert_allclose(design.X, expected.X, atol=1e-12)
    np.testing.assert_array_equal(design.terms[0].codes, expected.terms[0].codes)


def test_missing_values_elsewhere_do_not_matter():
    data = base().assign(unused=np.nan)
    assert len(build_design("y ~ x + (1 | g)", data).y) == N


def test_weights_and_offset_take_part_in_dropping():
    data = base()
    data["o"] = np.where(np.arange(N) == 3, np.nan, 1.5)
    weights = np.ones(N)
    weights[5] = np.nan
    design = build_design("y ~ x + offset(z) + (1 | g)", data, weights=weights, offset="o")
    assert set(np.arange(N)) - set(design.rows) == {3, 5}
    np.testing.assert_allclose(design.offset, 1.5 + data.z.to_numpy()[design.rows])
    assert design.spec.offset_column == "o"
    given = build_design("y ~ x + (1 | g)", data, offset=data["o"].to_list())
    assert given.spec.offset_given
    assert len(given.y) == N - 1


def test_zero_weights_are_dropped_and_counted():
    weights = np.ones(N)
    weights[[0, 7]] = 0
    design = build_design("y ~ x + (1 | g)", base(), weights=weights)
    assert design.n_zero_weight == 2
    assert len(design.y) == N - 2
    assert (design.weights > 0).all()
    data = base().assign(w0=np.where(base().g == "p", 0, 1))
    assert list(build_design("y ~ x + (1 | g)", data, weights="w0").terms[0].levels) == list("qrs")


def test_levels_without_rows_are_dropped_everywhere():
    data = categorical(base())
    part = data[(data.f != "b") & (data.g != "q")]
    design = build_design("y ~ f + (1 | g)", part)
    assert design.x_names == ("Intercept", "f[T.c]")
    assert list(design.terms[0].levels) == list("prs")
    assert design.terms[0].codes.max() == 2


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(np.zeros(N)),
        pd.date_range("2020-01-01", periods=N),
        pd.MultiIndex.from_product([range(6), range(8)]),
        pd.Index([f"r{i}" for i in range(N)][::-1]),
        pd.Index(pd.Categorical(["a", "b"] * (N // 2))),
    ],
    ids=["duplicates", "dates", "multi", "text", "categorical"],
)
def test_any_index(index):
    data = base().set_axis(index)
    data.iloc[4, 0] = np.nan
    design = build_design(FORMULA, data)
    expected = build_design(FORMULA, data.reset_index(drop=True))
    np.testing.assert_array_equal(design.X, expected.X)
    assert design.index.equals(index.delete(4))
    assert design.frame.index.equals(index.delete(4))
    assert new_rows(design, data).index.equals(index)


def test_the_callers_frame_is_never_modified():
    data = holes(base())
    data["c"] = pd.Categorical(base().f, list("abcz"))
    before = data.copy(deep=True)
    design = build_design("y ~ x + c + poly(z, 2) + C(f, contr.sum) + (x | g)", data, weights="w")
    frame = design.frame
    frame.loc[:, "z"] = -1.0
    design.X[:] = 0
    design.y[:] = 0
    design.terms[0].Z[:] = 0
    design.terms[0].codes[:] = 0
    pd.testing.assert_frame_equal(data, before)
    arrays = {c: base()[c].to_numpy().copy() for c in base()}
    kept = {c: v.copy() for c, v in arrays.items()}
    design = build_design("y ~ x + (x | g)", arrays)
    design.y[:] = 0
    design.X[:] = 0
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, kept[name])


def test_later_changes_of_the_callers_frame_do_not_reach_the_design():
    data = base()
    design = build_design("y ~ x + (1 | g)", data)
    y, codes, frame = design.y.copy(), design.terms[0].codes.copy(), design.frame
    data["y"] = 0.0
    data.loc[:, "x"] = 7
    data.iloc[0, 5] = "s"
    del data["z"]
    np.testing.assert_array_equal(design.y, y)
    np.testing.assert_array_equal(design.terms[0].codes, codes)
    pd.testing.assert_frame_equal(design.frame, frame)


def test_frame_keeps_dtypes():
    data = base().assign(f=lambda d: d.f.astype("category"), x=lambda d: d.x.astype("Int64"))
    frame = build_design("y ~ x + f + (1 | g)", data).frame
    assert dict(frame.dtypes) == dict(data[["y", "x", "f", "g"]].dtypes)


def test_dates_group_but_do_not_predict():
    data = base().assign(day=pd.to_datetime("2021-03-01") + pd.to_timedelta(np.arange(N) // 12, unit="D"))
    term = build_design("y ~ x + (1 | day)", data).terms[0]
    assert len(term.levels) == 4
    assert term.levels[0] == pd.Timestamp("2021-03-01")


def test_numbers_as_names():
    data = base().rename(columns={"x": 3})
    assert build_design("y ~ `3` + (1 | g)", data).x_names == ("Intercept", "3")


def test_odd_column_names():
    names = {"x": "my col", "z": "log.radon", "f": "lambda", "g": "µ ε", "b": "a:b|c~d+e"}
    data = base().rename(columns=names)
    design = build_design("log.radon ~ `my col` * `lambda` + `a:b|c~d+e` + log(`my col`) + (`my col` | `µ ε`)", data)
    assert design.response == "log.radon"
    assert design.x_names == (
        "Intercept", "my col", "lambda[T.b]", "lambda[T.c]", "a:b|c~d+e[T.True]", "log(`my col`)",
        "my col:lambda[T.b]", "my col:lambda[T.c]",
    )  # fmt: skip
    assert design.terms[0].key == "µ ε"
    again = build_design(design.formula, data)
    np.testing.assert_array_equal(again.X, design.X)
    new = new_rows(design, data.head(3))
    np.testing.assert_array_equal(new.X, design.X[:3])


def test_columns_named_like_contrasts_or_constants():
    data = base().rename(columns={"z": "Sum", "x": "TRUE", "f": "Poly"})
    design = build_design("y ~ log(Sum) + Sum + `TRUE` + log(`TRUE`) + C(Poly, Sum) + Poly + (1 | g)", data)
    assert design.x_names[1:5] == ("log(`Sum`)", "Sum", "TRUE", "log(`TRUE`)")
    np.testing.assert_array_equal(design.X[:, 1], np.log(data.Sum))
    assert build_design(design.formula, data).x_names == design.x_names


def test_minus_one_after_plus():
    assert build_design("y ~ x + -1 + (1 | g)", base()).x_names == ("x",)


def test_nan_inside_nullable_columns_counts_as_missing():
    values = base().z.to_numpy().copy()
    values[3] = np.nan
    for dtype in (pd.ArrowDtype(pa.float64()), "Float64"):
        column = pd.Series(values).astype(dtype)
        assert len(build_design("y ~ z + (1 | g)", base().assign(z=column)).y) == N - 1
    raw = pd.arrays.FloatingArray(values, np.zeros(N, dtype=bool))  # NaN that is not marked as missing
    assert len(build_design("y ~ z + (1 | g)", base().assign(z=raw)).y) == N - 1


def test_canonical_formula_builds_the_same_design():
    for formula in (
        FORMULA,
        "y / 10 ~ (x + f)^2 + offset(log(z)) + (x || g/b)",
        "y ~ 0 + (1 | g)",
        "log(y + 9) ~ x - 1 + diag(x | g)",
    ):
        design = build_design(formula, base())
        again = build_design(design.formula, base())
        assert again.formula == design.formula
        np.testing.assert_array_equal(again.X, design.X)
        assert [t.key for t in again.terms] == [t.key for t in design.terms]


def test_left_hand_sides():
    data = base()
    y = data.y.to_numpy()
    for lhs, expected, text in [
        ("y / w", y / data.w, "y / w"),
        ("log(y + 9)", np.log(y + 9), "log(y + 9)"),
        ("I(y^2)", y**2, "I(y ** 2)"),
        ("y^2", y**2, "y ** 2"),
        ("np.exp(y)", np.exp(y), "np.exp(y)"),
        ("(y - 1) * 2", (y - 1) * 2, "(y - 1) * 2"),
        ("-y", -y, "-y"),
        ("scale(y)", (y - y.mean()) / y.std(ddof=1), "scale(y)"),
    ]:
        design = build_design(f"{lhs} ~ x + (1 | g)", data)
        np.testing.assert_allclose(design.y, expected)
        assert design.response == text


def test_no_fixed_effects():
    design = build_design("y ~ 0 + (1 | g)", base())
    assert design.X.shape == (N, 0)
    assert design.x_names == design.x_terms == ()
    assert new_rows(design, base().head(2)).X.shape == (2, 0)


def test_dot_is_every_other_column():
    design = build_design("y ~ . - w + (1 | g)", base())
    assert design.x_names == ("Intercept", "x", "z", "f[T.b]", "f[T.c]", "b[T.True]")
    assert design.formula == "y ~ x + z + f + b + w - w + (1 | g)"
    assert build_design(design.formula, base()).x_names == design.x_names


def test_huge_and_tiny_scales_pass_through():
    data = base()
    for scale in (1e12, 1e-12, 1e150):
        design = build_design("y ~ x + (x | g)", data.assign(y=data.y * scale, x=data.x * scale))
        np.testing.assert_array_equal(design.X[:, 1], data.x * scale)
        np.testing.assert_array_equal(design.y, data.y * scale)


@pytest.mark.parametrize("size", [1e200, 1e308])
@pytest.mark.parametrize(("bad", "kept"), [(np.nan, N - 1), (np.inf, None), (None, N)])
@pytest.mark.filterwarnings("error")
def test_numbers_whose_squares_overflow_are_finite(size, bad, kept):
    data = base().assign(v=size * np.linspace(-1.0, 1.0, N))
    if bad is not None:
        data.loc[3, "v"] = bad
    if kept is None:
        with pytest.raises(DataError, match="'v' has 1 infinite value"):
            build_design("y ~ v + (1 | g)", data)
    else:
        assert build_design("y ~ v + (1 | g)", data).n == kept


def test_assign_names_the_term_of_each_column():
    design = build_design("y ~ x * f + poly(z, 2) + (1 | g)", base())
    assert design.x_terms == ("Intercept", "x", "f", "poly(z, 2)", "x:f")
    assert design.assign == (0, 1, 2, 2, 3, 3, 4, 4)


def test_rows_that_an_expression_leaves_undefined_are_dropped():
    data = base().sort_values("x").reset_index(drop=True)
    design = build_design("y ~ lag(z) + (1 | g)", data)
    np.testing.assert_array_equal(design.rows, np.arange(1, N))
    np.testing.assert_array_equal(design.X[:, 1], data.z.to_numpy()[:-1])
    assert len(design.frame) == N - 1


def test_designs_pickle():
    design = build_design("y ~ poly(x, 2) + C(f, contr.sum) + bs(z, df=4) + log(z) + (f | g/b)", base(), weights="w")
    again = pickle.loads(pickle.dumps(design))
    np.testing.assert_array_equal(again.X, design.X)
    new, expected = new_rows(again, base().head(5)), new_rows(design, base().head(5))
    np.testing.assert_array_equal(new.X, expected.X)
    pd.testing.assert_frame_equal(again.frame, design.frame)


def test_groups_whose_rows_are_all_undefined_lose_their_level():
    data = base()
    data["z"] = np.where(data.g == "q", -1.0, data.z)
    design = build_design("y ~ log(z) + (1 | g) + (1 | g:f)", data)
    assert [list(t.levels) for t in design.terms if t.key == "g"] == [["p", "r", "s"]]
    new = new_rows(design, base())
    for term, codes in zip(design.terms, new.codes, strict=True):
        assert (codes[data.g == "q"] == -1).all()
        np.testing.assert_array_equal(codes[design.rows], term.codes)


def test_words_of_python_that_no_expression_uses_are_columns():
    data = base().rename(columns={"y": "yield", "x": "class", "z": "from", "g": "with"})
    design = build_design("yield ~ class + log(from) + I(class + from) + (class | with)", data)
    assert design.x_names == ("Intercept", "class", "log(`from`)", "I(`class` + `from`)")
    np.testing.assert_array_equal(design.y, data["yield"])
    assert design.terms[0].group == "with"
    again = build_design(design.formula, data)
    np.testing.assert_array_equal(again.X, design.X)


def test_arrow_dictionaries_of_numbers():
    data = base().assign(g=np.repeat([3, 1, 4, 2], N // 4))
    expected = build_design("y ~ x + (1 | g)", data)
    coded = pa.Table.from_pandas(data.assign(g=pd.Categorical(data.g)))
    found = build_design("y ~ x + (1 | g)", coded)
    np.testing.assert_array_equal(found.terms[0].codes, expected.terms[0].codes)
    assert found.terms[0].levels.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(new_rows(expected, coded).codes[0], expected.terms[0].codes)


def test_groups_of_half_precision():
    data = base().assign(g=np.repeat([0.5, 0.25, 2, 1], N // 4).astype(np.float16))
    assert build_design("y ~ x + (1 | g)", data).terms[0].levels.tolist() == [0.25, 0.5, 1.0, 2.0]


def test_text_stands_for_the_numbers_it_spells():
    data = base().assign(g=np.repeat([1.0, 2.0, 3.0, 4.5], N // 4))
    design = build_design("y ~ x + (1 | g)", data)
    for spelled in (["1", "2", "3", "4.5"], ["1.0", "2.0", "3.0", "4.5"]):
        new = new_rows(design, data.assign(g=np.repeat(spelled, N // 4)))
        np.testing.assert_array_equal(new.codes[0], design.terms[0].codes)


@pytest.mark.parametrize("kind", ["dictionary", "categorical", "enum", "numbers"])
def test_long_columns_of_categories(kind, monkeypatch):
    """They take a shorter way than short ones, to the same values: missing ones, and parts with other dictionaries."""
    from interlace.frames import foreign

    values = [None if i % 7 == 3 else "bcad"[i % 4] for i in range(40)]
    parts = values[:9], values[9:]
    series = {
        "dictionary": lambda: pa.chunked_array([pa.array(part).dictionary_encode() for part in parts]),
        "categorical": lambda: pl.Series(values, dtype=pl.Categorical),
        "enum": lambda: pl.Series(values, dtype=pl.Enum(list("zdcba"))),
        "numbers": lambda: pa.chunked_array([pa.array([3, 1, None, 2, 3]).dictionary_encode()]),
    }[kind]()
    column = nw.stable.v1.from_native(series, series_only=True)
    short = foreign.narwhals_series(column)
    monkeypatch.setattr(foreign, "FEW_ROWS", 0)
    pd.testing.assert_series_equal(foreign.narwhals_series(column), short)
    plain = [3, 1, None, 2, 3] if kind == "numbers" else values
    assert [None if pd.isna(value) else value for value in short] == plain
