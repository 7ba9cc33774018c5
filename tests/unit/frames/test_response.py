"""Responses of generalized linear mixed models: what counts as success, numbers of trials, and prior weights."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import interlace
from interlace.frames.build import build_design
from interlace.frames.newdata import new_rows

N = 24


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    won = np.arange(N) % 3 == 0
    return pd.DataFrame(
        {
            "won": won,
            "said": np.where(won, "yes", "no"),
            "s": rng.integers(0, 5, N),
            "t": rng.integers(1, 5, N),
            "x": rng.normal(size=N),
            "k": np.arange(N) % 4,
            "g": np.repeat(list("pqrs"), N // 4),
        }
    )


@pytest.fixture(scope="module")
def cbpp():
    return interlace.datasets.load("cbpp")


def design_of(response, data, **kwargs):
    return build_design(f"{response} ~ x + (1 | g)", data, family="binomial", **kwargs)


def test_the_call_of_the_faq(cbpp):
    by_values = build_design("incidence / size ~ period", cbpp, "herd", weights=cbpp["size"].values, family="binomial")
    by_name = build_design("incidence / size ~ period", cbpp, "herd", weights="size", family="binomial")
    counts = build_design("cbind(incidence, size - incidence) ~ period", cbpp, "herd", family="binomial")
    for design in (by_values, by_name, counts):
        np.testing.assert_allclose(design.y, cbpp["incidence"] / cbpp["size"], rtol=1e-15)
        np.testing.assert_array_equal(design.weights, cbpp["size"])
        assert design.trials is None
        assert design.spec.success is None
        assert design.x_names == ("Intercept", "period[T.2]", "period[T.3]", "period[T.4]")
    assert by_name.spec.weights_column == "size"
    assert counts.response == "cbind(incidence, size - incidence)"
    assert counts.formula == "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    assert list(counts.frame) == ["incidence", "size", "period", "herd"]


BINARY = {
    "won": "True",
    "said": "yes",
    "I(won)": "True",
    "I(said)": "yes",
    "C(said)": "yes",
    "factor(won)": "True",
    "C(won > 0)": "True",
    "said == 'yes'": "True",
    "I(k * 0 + won > 0.5)": "True",
    "won * 1": None,
    "cbind(won, 1 - won)": None,
    "cbind(said == 'yes', said != 'yes')": None,
}


@pytest.mark.parametrize("response", BINARY)
def test_every_way_to_write_the_same_binary_response(response, data):
    design = design_of(response, data)
    np.testing.assert_array_equal(design.y, data.won.astype(float))
    assert design.y.dtype == np.float64
    assert design.spec.success == BINARY[response]


KINDS = {
    "numpy booleans": lambda d: d,
    "objects": lambda d: d.astype({"won": object, "said": object}),
    "nullable": lambda d: d.convert_dtypes(dtype_backend="numpy_nullable"),
    "arrow dtypes": lambda d: d.convert_dtypes(dtype_backend="pyarrow"),
    "categoricals": lambda d: d.astype({"won": "category", "said": "category"}),
    "unused category": lambda d: d.assign(said=pd.Categorical(d.said, ["aaa", "no", "other", "yes"])),
    "polars": pl.from_pandas,
    "polars categoricals": lambda d: pl.from_pandas(d).cast({"said": pl.Categorical}),
    "polars enumerations": lambda d: pl.from_pandas(d).cast({"said": pl.Enum(["no", "yes"])}),
    "pyarrow": pa.Table.from_pandas,
    "pyarrow dictionaries": lambda d: pa.Table.from_pandas(d.astype({"said": "category"})),
    "lists": lambda d: d.to_dict("list"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("response", "success"), [("won", "True"), ("said", "yes")])
def test_binary_responses_in_every_kind_of_frame(kind, response, success, data):
    frame = KINDS[kind](data)
    design = design_of(response, frame)
    np.testing.assert_array_equal(design.y, data.won.astype(float))
    assert design.spec.success == success
    again = design_of(response, design.frame)  # what save and load do
    np.testing.assert_array_equal(again.y, design.y)
    assert again.spec.success == success
    assert new_rows(design, frame).X.shape == (N, 2)


@pytest.mark.parametrize(
    ("convert", "success"),
    [
        (lambda d: d.assign(said=pd.Categorical(d.said, ["yes", "no"])), "no"),
        (lambda d: pl.from_pandas(d).cast({"said": pl.Enum(["yes", "no"])}), "no"),
        (lambda d: d.assign(said=pd.Categorical(d.won * 2 - 1, [1, -1], ordered=True)), "-1"),
        (lambda d: d.assign(said=pd.Categorical(d.won * 2.0, [2.0, 0.0])), "0"),
    ],
    ids=["pandas", "polars", "ordered numbers", "floats"],
)
def test_the_order_of_categories_decides(convert, success, data):
    design = design_of("said", convert(data))
    np.testing.assert_array_equal(design.y, 1.0 - data.won)
    assert design.spec.success == success


def test_numbers_stay_as_they_are(data):
    np.testing.assert_array_equal(design_of("k", data).y, data.k)
    np.testing.assert_array_equal(design_of("s / (s + t)", data).y, data.s / (data.s + data.t))
    assert design_of("k", data).weights is None
    assert design_of("C(k > 1)", data).spec.success == "True"
    assert design_of("C(k % 2)", data).spec.success == "1"


def test_missing_values_of_a_binary_response_drop_rows(data):
    for response, blank in (("won", None), ("said", None), ("s", np.nan)):
        holed = data.astype({response: object})
        holed.loc[[2, 5], response] = blank
        written = response if response != "s" else "cbind(s, t)"
        design = design_of(written, holed)
        assert len(design.y) == N - 2
        np.testing.assert_array_equal(design.y, np.delete(design_of(written, data).y, [2, 5]))
    nullable = data.assign(won=data.won.astype("boolean"))
    nullable.loc[0, "won"] = pd.NA
    np.testing.assert_array_equal(design_of("won", nullable).y, data.won[1:].astype(float))


def test_one_kind_alone_is_left_to_the_family(data):
    assert design_of("won", data[data.won]).y.all()
    assert not design_of("x > 100", data).y.any()


def test_comparisons_of_undefined_numbers_are_missing_as_in_r(data):
    there = data.x > 0
    for response in ("log(x) > 0", "I(log(x) > 0)", "C(log(x) > 0)", "I(log(x) > 0) * 1"):
        design = design_of(response, data)
        np.testing.assert_array_equal(design.rows, np.flatnonzero(there))
        np.testing.assert_array_equal(design.y, data.x[there] > 1)
    np.testing.assert_array_equal(design_of("C(k % 2 + 0 * log(x))", data).y, (data.k % 2)[there])
    counts = design_of("cbind(log(x) > 0, log(x) <= 0)", data, weights=np.full(N, 2.0))
    np.testing.assert_array_equal(counts.rows, np.flatnonzero(there))
    np.testing.assert_array_equal(counts.weights, np.full(there.sum(), 2.0))
    np.testing.assert_array_equal(counts.trials, np.ones(there.sum()))
    pairs = design_of("cbind(s, t + 0 * log(x))", data, weights="k")
    kept = np.flatnonzero(there & (data.k > 0))
    np.testing.assert_array_equal(pairs.rows, kept)
    np.testing.assert_array_equal(pairs.trials, (data.s + data.t)[kept])
    np.testing.assert_array_equal(pairs.weights, ((data.s + data.t) * data.k)[kept])


def test_rows_without_trials_are_left_out_and_counted(data):
    data.loc[[1, 8], ["s", "t"]] = 0
    data.loc[data.g == "q", "s"] = 0
    data.loc[data.g == "q", "t"] = 0
    empty = set(np.flatnonzero(data.s + data.t == 0))
    response = "cbind(s, t) ~ poly(x, 2) + f + (1 | g)"
    data["f"] = np.where(data.g == "q", "only here", data.said)
    design = build_design(response, data, family="binomial")
    assert set(np.arange(N)) - set(design.rows) == empty
    assert design.n_zero_weight == len(empty)
    assert (design.weights > 0).all()
    alone = build_design(response, data.drop(index=sorted(empty)), family="binomial")
    np.testing.assert_allclose(design.X, alone.X, atol=1e-14)
    assert design.x_names == alone.x_names
    assert list(design.terms[0].levels) == list("prs")
    again = build_design(response, design.complete_frame, family="binomial")
    np.testing.assert_array_equal(again.y, design.y)
    weighted = design_of("cbind(s, t)", data, weights=np.where(np.arange(N) == 0, 0.0, 3.0))
    assert weighted.n_zero_weight == len(empty) + 1
    assert set(np.arange(N)) - set(weighted.rows) == empty | {0}
    np.testing.assert_array_equal(weighted.weights, 3.0 * weighted.trials)


def test_fractional_counts_pass(data):
    design = design_of("cbind(s / 2, t)", data)
    np.testing.assert_array_equal(design.weights, data.s / 2 + data.t)


def test_the_frame_of_the_caller_is_not_touched(data):
    before = data.copy()
    frame = data.astype({"s": float, "t": float})
    design = design_of("cbind(s, t)", frame)
    design.y[:] = design.weights[:] = -1.0
    design_of("s", frame).y[:] = -1.0
    pd.testing.assert_frame_equal(frame.astype(before.dtypes), before)


def test_other_families_take_numbers_only(data):
    for family in ("poisson", "Gamma", "geometric", None):
        np.testing.assert_array_equal(build_design("s ~ x + (1 | g)", data, family=family).y, data.s)


def test_functions_of_the_caller_may_make_the_response(data):
    design = build_design("twice(s) ~ x + (1 | g)", data, extra_transforms={"twice": lambda v: 2.0 * v})
    np.testing.assert_array_equal(design.y, 2.0 * data.s)


def test_the_dot_leaves_out_both_columns_of_a_response(data):
    frame = data[["s", "t", "x", "k", "g"]]
    design = build_design("cbind(s, t) ~ . + (1 | g)", frame, family="binomial")
    assert design.x_names == ("Intercept", "x", "k")


def test_counts_with_weights_as_lme4_reads_them():
    """R 4.2.2, lme4 1.1-31: ``weights(m, "prior")`` and ``m@resp$y`` of the same rows and weights.

    lme4 keeps the first row, which has no trials, with weight 0 and y 0, and counts it in nobs.
    """
    frame = pd.DataFrame(
        {
            "s": [0, 2, 3, 0, 1, 5, 2, 2, 0, 1, 4, 3],
            "t": [0, 1, 0, 2, 3, 1, 4, 2, 1, 0, 2, 2],
            "w": [1, 2, 3] * 4,
            "g": np.repeat([1, 2, 3], 4),
        }
    )
    design = build_design("cbind(s, t) ~ 1 + (1 | g)", frame, weights="w", family="binomial")
    prior = [6, 9, 2, 8, 18, 6, 8, 3, 1, 12, 15]
    y = [0.6666667, 1.0, 0.0, 0.25, 0.8333333, 0.3333333, 0.5, 0.0, 1.0, 0.6666667, 0.6]
    np.testing.assert_array_equal(design.weights, prior)
    np.testing.assert_allclose(design.y, y, atol=1e-7)
    np.testing.assert_array_equal(design.trials, (frame.s + frame.t)[1:])
