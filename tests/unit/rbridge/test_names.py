"""Names and formulas in R's language; what R does with them is checked live in parity/."""

from __future__ import annotations

import pytest

from interlace.errors import FormulaError
from interlace.rbridge import r_formula, r_name, r_names
from interlace.rbridge.names import canonical, r_label

NAMES = {
    "Intercept": "(Intercept)",
    "Days": "Days",
    "period[T.2]": "period2",
    "f[a]": "fa",
    "x[T.True]": "xTRUE",
    "C(week)[T.1.0]": "factor(week)1",
    "factor(week)[T.2]": "factor(week)2",
    "x:f[T.b]": "x:fb",
    "f[T.c:d]:g[T.e]": "fc:d:ge",
    "C(o, contr.poly)[.L]": "C(o, contr.poly).L",
    "C(f, contr.treatment('b'))[T.a]": 'relevel(factor(f), ref = "b")a',
    "poly(x, 2)[1]": "poly(x, 2)1",
    "poly(x, 2, raw=True)[0]": "poly(x, 2, raw = TRUE)1",
    "poly(x, degree=2, raw=True)[1]": "poly(x, degree = 2, raw = TRUE)2",
    "poly(x, 3, True)[2]": "poly(x, 3, TRUE)3",
    "poly(x, 3, raw=False)[2]": "poly(x, 3, raw = FALSE)2",
    "poly(x, 1)[1]": "poly(x, 1)",
    "poly(x, raw=True)[0]": "poly(x, raw = TRUE)",
    "C(x > 4)[T.True]": "factor(x > 4)TRUE",
    "bs(x, df=4)[2]": "bs(x, df = 4)2",
    "I(x ** 2)": "I(x^2)",
    "I((x+1)*2/z)": "I((x + 1) * 2/z)",
    "np.log(x)": "log(x)",
    "center(x)": "scale(x, scale = FALSE)",
    "log.radon": "log.radon",
    "my var": "`my var`",
    "Q('my var')": "`my var`",
    "yield": "yield",
}


@pytest.mark.parametrize("name", NAMES)
def test_name_in_r(name: str) -> None:
    assert r_name(name) == NAMES[name]


def test_sum_and_helmert_columns_are_numbered_by_their_place() -> None:
    names = ["Intercept", "C(f, contr.sum)[S.b]", "C(f, contr.sum)[S.a]", "x:C(f, contr.sum)[S.a]", "g[H.v]", "g[H.w]"]
    assert r_names(names)[1:] == ("C(f, contr.sum)1", "C(f, contr.sum)2", "x:C(f, contr.sum)2", "g1", "g2")


def test_numbered_column_needs_the_other_names() -> None:
    with pytest.raises(FormulaError, match="pass all coefficient names as among="):
        r_name("C(f, contr.sum)[S.a]")


@pytest.mark.parametrize("name", ["cr(x, df=3)[1]", "hashed(x)", "C(x, Treatment('b'))[T.a]"])
def test_function_without_counterpart_is_named(name: str) -> None:
    with pytest.raises(FormulaError, match="no counterpart in R"):
        r_name(name)


FORMULAS = {
    "y ~ x*z + (1+x|g)": "y ~ x*z + (1+x|g)",
    "log(y) ~ C(x) + I(x**2) + (a + b)**2 + (x||g)": "log(y) ~ factor(x) + I(x^2) + (a + b)^2 + (x||g)",
    "a / b ~ 1 + (1 | g/h)": "a/b ~ 1 + (1 | g/h)",
    "cbind(a, b - a) ~ x + (1 | g)": "cbind(a, b - a) ~ x + (1 | g)",
    "`my y` ~ `a b` + offset(np.log(t)) + (1 | g)": "`my y` ~ `a b` + offset(log(t)) + (1 | g)",
    "`yield` ~ 0 + x + (0 + C(f) | g)": "yield ~ 0 + x + (0 + factor(f) | g)",
    "y ~ I(x > 4) + Q('b c') - 1 + (1 | g)": "y ~ I(x > 4) + `b c` - 1 + (1 | g)",
    "y ~ C(x > 4, contr.sum) + C(Q('b c'), contr.sum) + (1 | g)": (
        "y ~ C(factor(x > 4), contr.sum) + C(`b c`, contr.sum) + (1 | g)"
    ),
    'y ~ C(x, contr.treatment("b")) + (1 | g)': 'y ~ relevel(factor(x), ref = "b") + (1 | g)',
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_formula_in_r(formula: str) -> None:
    assert r_formula(formula) == FORMULAS[formula]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y ~ x + offset(z) + (1 | g)", "y ~ x + (1 | g)"),
        ("y ~ offset(z) + (1 | g)", "y ~ (1 | g)"),
        ("y ~ (1 | g) + offset(log(z))", "y ~ (1 | g)"),
    ],
)
def test_offsets_can_be_left_out(formula: str, expected: str) -> None:
    assert r_formula(formula, offsets=False) == expected


@pytest.mark.parametrize(
    ("formula", "message"),
    [("y + x", "no ~"), ("y ~ log(x", "unbalanced"), ("y ~ diag(x | g)", "no counterpart in lme4")],
)
def test_formula_that_r_cannot_have(formula: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        r_formula(formula)


def test_order_of_an_interaction_does_not_matter_when_matching() -> None:
    assert canonical("x:fb") == canonical("fb:x")
    assert canonical("bs(x, df = 4)1") == canonical("bs(x,df=4)1")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (True, "TRUE"),
        (1.0, "1"),
        (-2.5, "-2.5"),
        ("a.0", "a.0"),
        (3, "3"),
        (1 / 3, "0.333333333333333"),
        (0.1 + 0.2, "0.3"),
        (1.5e-7, "1.5e-07"),
        (100000.25, "100000.25"),
        (0.0001, "1e-04"),
        ("0.50", "0.50"),
    ],
)
def test_label_as_r_prints_it(label: object, expected: str) -> None:
    assert r_label(label) == expected
