"""Random-effects terms: what lme4 1.1-31's lFormula() makes of the same formulas (recorded from R 4.2.2)."""

import itertools

import numpy as np
import pandas as pd
import pytest

from interlace.frames.build import build_design


@pytest.fixture(scope="module")
def data():
    """The frame of the R session: 3 x 4 cells, one of them empty, four repeats."""
    rows = [(a, b, r) for r in range(1, 5) for b in "pqrs" for a in "xyz" if (a, b) != ("y", "q")]
    frame = pd.DataFrame(rows, columns=["a", "b", "rep"])
    rng = np.random.default_rng(5)
    frame["y"], frame["x"] = rng.normal(size=len(frame)), rng.normal(size=len(frame))
    frame["f"] = np.resize(list("uvw"), len(frame))
    frame["c"] = np.resize(list("kl"), len(frame))
    return frame


#: formula: [(group, effects), ...] in lme4's order, effects in formulaic's names
LME4 = {
    "(1|a/b)": [("b:a", ["Intercept"]), ("a", ["Intercept"])],
    "(1|a:b)": [("a:b", ["Intercept"])],
    "(1|a/b/c)": [("c:(b:a)", ["Intercept"]), ("b:a", ["Intercept"]), ("a", ["Intercept"])],
    "(1|c:(b:a))": [("c:(b:a)", ["Intercept"])],
    "(1|c:b:a)": [("c:b:a", ["Intercept"])],
    "(1|a/b:c)": [("b:c:a", ["Intercept"]), ("a", ["Intercept"])],
    "(1|a/(b:c))": [("(b:c):a", ["Intercept"]), ("a", ["Intercept"])],
    "(f||a)": [("a", ["Intercept"]), ("a", ["f[u]", "f[v]", "f[w]"])],
    "(x*f||a)": [
        ("a", ["Intercept"]), ("a", ["x"]), ("a", ["f[u]", "f[v]", "f[w]"]), ("a", ["x:f[u]", "x:f[v]", "x:f[w]"]),
    ],
    "(x+f||a)": [("a", ["Intercept"]), ("a", ["x"]), ("a", ["f[u]", "f[v]", "f[w]"])],
    "(0+x||a)": [("a", ["x"])],
    "(x|a)+(0+f|a)": [("a", ["Intercept", "x"]), ("a", ["f[u]", "f[v]", "f[w]"])],
    "(1|a)+(1|b)": [("b", ["Intercept"]), ("a", ["Intercept"])],
    "(1|b)+(1|a)+(1|f)": [("b", ["Intercept"]), ("a", ["Intercept"]), ("f", ["Intercept"])],
    "(1|f)+(1|a)": [("f", ["Intercept"]), ("a", ["Intercept"])],
    "(0+f|a)": [("a", ["f[u]", "f[v]", "f[w]"])],
    "(x:f|a)": [("a", ["Intercept", "x:f[u]", "x:f[v]", "x:f[w]"])],
    "(f-1|a)": [("a", ["f[u]", "f[v]", "f[w]"])],
    "(x-1|a)+(1|a)": [("a", ["x"]), ("a", ["Intercept"])],
    "(x||a/b)": [("b:a", ["x"]), ("b:a", ["Intercept"]), ("a", ["x"]), ("a", ["Intercept"])],
    "(1|a/b)+(0+x|a)": [("b:a", ["Intercept"]), ("a", ["Intercept"]), ("a", ["x"])],
    "(1|b)+(1|a)+(x|b)": [("b", ["Intercept", "x"]), ("b", ["Intercept"]), ("a", ["Intercept"])],
    "(x|a/b)+(1|c)": [("b:a", ["Intercept", "x"]), ("a", ["Intercept", "x"]), ("c", ["Intercept"])],
    "(1|a)+(1|a:b)+(1|a:b:c)+(1|b)": [(g, ["Intercept"]) for g in ("a:b:c", "a:b", "b", "a")],
    "((1|a)+(1|b))": [("b", ["Intercept"]), ("a", ["Intercept"])],
}  # fmt: skip


@pytest.mark.parametrize("bars", LME4)
def test_terms_and_order_are_lme4s(data, bars):
    terms = build_design(f"y ~ 1 + {bars}", data).terms
    assert [(t.group, list(t.names)) for t in terms] == LME4[bars]


def test_keys_follow_the_final_order(data):
    # R: names(VarCorr(lmer(y ~ 1 + (1|a) + (0+x|a) + (1|b)))) is b, a, a.1
    design = build_design("y ~ 1 + (1|a) + (0+x|a) + (1|b)", data)
    assert [t.key for t in design.terms] == ["b", "a", "a.1"]
    assert [t.names for t in design.terms] == [("Intercept",), ("x",), ("Intercept",)]
    clash = data.rename(columns={"b": "a.1"})
    assert [t.key for t in build_design("y ~ 1 + (1|a.1) + (1|a) + (0+x|a)", clash).terms] == ["a.1", "a", "a.2"]


def test_order_reverses_ties_only_when_levels_rise(data):
    frame = data.assign(f2=data.f, a2=data.a)
    assert [t.key for t in build_design("y ~ 1 + (1|a)+(1|a2)+(1|f)", frame).terms] == ["a", "a2", "f"]
    assert [t.key for t in build_design("y ~ 1 + (1|a)+(1|b)+(1|a2)+(1|f)", frame).terms] == ["b", "f", "a2", "a"]


def test_interaction_levels_are_lme4s(data):
    designs = [build_design(f"y ~ 1 + {bar}", data) for bar in ("(1|a/b)", "(1|a:b)")]
    levels = {t.group: list(t.levels) for design in designs for t in design.terms}
    assert " ".join(levels["b:a"]) == "p:x p:y p:z q:x q:z r:x r:y r:z s:x s:y s:z"
    assert " ".join(levels["a:b"]) == "x:p x:q x:r x:s y:p y:r y:s z:p z:q z:r z:s"
    assert levels["a"] == ["x", "y", "z"]


def test_codes_point_at_the_labels(data):
    for term in build_design("y ~ 1 + (1 | a/b/c)", data).terms:
        columns = {"c:(b:a)": "cba", "b:a": "ba", "a": "a"}[term.group]
        expected = data[list(columns)].agg(":".join, axis=1)
        assert list(term.levels[term.codes]) == list(expected)
        assert term.codes.dtype == np.int64
        assert set(term.codes) == set(range(len(term.levels)))


def test_labels_with_a_colon_do_not_collide():
    pairs = [("x:y", "z"), ("x", "y:z"), ("x", "z")]
    frame = pd.DataFrame(pairs * 4, columns=["a", "b"]).assign(y=np.arange(12.0))
    term = build_design("y ~ 1 + (1 | a:b)", frame).terms[0]
    assert len(term.levels) == 3
    assert term.levels.is_unique
    assert len({(c, a, b) for c, (a, b) in zip(term.codes, pairs * 4, strict=True)}) == 3


def test_level_order_of_each_kind():
    rng = np.random.default_rng(0)
    n = 90
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "i": rng.choice([10, 9, 100], n),
            "t": rng.choice(["10", "9", "100"], n),
            "b": rng.random(n) > 0.5,
            "u": rng.choice([2.5, 1.0, 10.0], n),
            "c": pd.Categorical(rng.choice(list("pq"), n), categories=list("qzp")),
        }
    )
    levels = {c: list(build_design("y ~ 1", frame, groups=c).terms[0].levels) for c in "itbuc"}
    assert levels == {
        "i": [9, 10, 100],
        "t": ["10", "100", "9"],
        "b": [False, True],
        "u": [1.0, 2.5, 10.0],
        "c": ["q", "p"],
    }
    labels = list(build_design("y ~ 1 + (1 | u:i)", frame).terms[0].levels)
    assert labels[:2] == ["1:9", "1:10"]


def test_shorthands_equal_bars(data):
    by_bars = build_design("y ~ x + (1 | a) + (1 | b)", data)
    for design in (
        build_design("y ~ x", data, groups=["a", "b"]),
        build_design("y ~ x", data, random=["(1 | a)", "1 | b"]),
        build_design("y ~ x", data, random="(1 | a) + (1 | b)"),
    ):
        assert design.formula == by_bars.formula == "y ~ x + (1 | a) + (1 | b)"
        assert [t.key for t in design.terms] == ["b", "a"]
    assert build_design("y ~ x", data, groups="a").formula == "y ~ x + (1 | a)"
    slope = build_design("y ~ x", data, random="log(y + 9) | a")
    assert slope.terms[0].names == ("Intercept", "log(y + 9)")


def test_group_expressions(data):
    assert build_design("y ~ 1 + (1 | factor(rep))", data).terms[0].key == "factor(rep)"
    assert build_design("y ~ 1 + (1 | C(rep))", data).formula == "y ~ 1 + (1 | C(rep))"
    crossed = build_design("y ~ 1 + (1 | interaction(a, b))", data).terms[0]
    assert crossed.group == "a:b"
    frame = data.rename(columns={"a": "my group"})
    design = build_design("y ~ 1 + (1 | `my group`/b)", frame)
    assert [t.key for t in design.terms] == ["b:my group", "my group"]
    assert design.formula == "y ~ 1 + (1 | `my group`/b)"
    assert build_design("y ~ 1", frame, groups="my group").terms[0].key == "my group"


def test_diagonal_covariance(data):
    assert build_design("y ~ 1 + diag(x | a)", data).terms[0].structure == "diagonal"
    assert build_design("y ~ 1 + us(x | a)", data).terms[0].structure == "unstructured"
    assert build_design("y ~ 1 + (x | a)", data, covariance={"a": "diagonal"}).terms[0].structure == "diagonal"
    both = build_design("y ~ 1 + (x | a) + (0 + f | a)", data, covariance={"a.1": "diagonal"})
    assert [t.structure for t in both.terms] == ["unstructured", "diagonal"]
    assert both.spec.covariance == {"a": "unstructured", "a.1": "diagonal"}


def test_slopes_are_evaluated_like_fixed_effects(data):
    design = build_design("y ~ 1 + (poly(x, 2) + I(x / 10) + log(rep) | a)", data)
    assert design.terms[0].names == ("Intercept", "poly(x, 2)[1]", "poly(x, 2)[2]", "I(x / 10)", "log(rep)")
    np.testing.assert_allclose(design.terms[0].Z[:, 3], data.x / 10)
    np.testing.assert_allclose(design.terms[0].Z[:, 4], np.log(data.rep))


def test_many_columns_cross_without_overflow():
    rng = np.random.default_rng(3)
    n = 200
    frame = pd.DataFrame({f"g{i}": rng.integers(0, 150, n) for i in range(12)}).assign(y=rng.normal(size=n))
    term = build_design("y ~ 1 + (1 | " + ":".join(f"g{i}" for i in range(12)) + ")", frame).terms[0]
    assert len(term.levels) == n
    order = sorted(range(n), key=lambda r: tuple(frame.iloc[r][f"g{i}"] for i in range(12)))
    assert list(term.codes[order]) == list(range(n))


def test_ties_and_orders_over_all_permutations(data):
    """The rule itself: formula order when numbers of levels never rise, else R's rev(order(n))."""
    frame = data.assign(a2=data.a, c2=data.c)
    sizes = {"a": 3, "a2": 3, "b": 4, "c": 2, "c2": 2}
    for names in itertools.permutations(sizes, 4):
        n = [sizes[name] for name in names]
        falls = all(p >= q for p, q in itertools.pairwise(n))
        expected = list(names) if falls else [names[i] for i in np.argsort(n, kind="stable")[::-1]]
        design = build_design("y ~ 1 + " + " + ".join(f"(1 | {name})" for name in names), frame)
        assert [t.key for t in design.terms] == expected
