"""Formulas that cannot be read, or say something a formula may not say: every one is refused, in words."""

import builtins

import numpy as np
import pandas as pd
import pytest

from interlace.errors import DataError, FormulaError, ModelError
from interlace.frames.build import build_design


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.normal(size=40),
            "x": rng.uniform(1, 2, size=40),
            "log": rng.uniform(1, 2, size=40),
            "C": rng.uniform(1, 2, size=40),
            "np": rng.uniform(1, 2, size=40),
            "f": rng.choice(list("abc"), 40),
            "g": np.repeat(list("pqrs"), 10),
        }
    )


MALFORMED = [
    ("y ~ x + (1 | g", "never closed"),
    ("y ~ x + 1 | g)", r"'\)' without '\('"),
    ("y x", "no '~'"),
    ("", "no '~'"),
    ("y x ~ (1 | g)", "operator is missing between 'y' and 'x'"),
    ("y ~ x f + (1 | g)", "operator is missing between 'x' and 'f'"),
    ("y ~ x ~ f + (1 | g)", "2 '~'"),
    ("~ x + (1 | g)", "nothing on the left"),
    ("y ~ ", "nothing on the right"),
    ("y ~ x + ( | g)", "nothing on the left of the bar"),
    ("y ~ x + (1 | )", "no grouping factor on the right"),
    ("y ~ x + (1 || )", "no grouping factor on the right"),
    ("y ~ x + ()", "empty parentheses"),
    ("y ~ x + 1 | g", "must stand in parentheses"),
    ("y ~ x + + f + (1 | g)", "two signs in a row"),
    ("y ~ x + (1 | g) +", "ends where a term is expected"),
    ("y ~ x * + (1 | g)", "a term is missing"),
    ("y ~ * x + (1 | g)", "a term is missing"),
    ("y ~ x > 1 + (1 | g)", r"put arithmetic and comparisons into I"),
    ("y ~ 2 * x + (1 | g)", "the number 2 is not a term"),
    ("y ~ 0:x + (1 | g)", "leave out the intercept"),
    ("y ~ (x + f)^x + (1 | g)", "power of terms"),
    ("y ~ (x + f)^99 + (1 | g)", "power of terms"),
    ("y ~ x * (1 | g)", "only be added"),
    ("y ~ x - (1 | g)", "taken away"),
    ("y ~ x - offset(f) + (1 | g)", "taken away"),
    ("y ~ x + (1 | g + f)", "cannot join grouping factors"),
    ("y ~ x + (1 | g * f)", "cannot join grouping factors"),
    ("y ~ x + (1 | g | f)", "cannot join grouping factors"),
    ("y ~ x + (1 | 1)", "must be a column"),
    ("y ~ x + (1 | g:)", "found nothing"),
    ("y ~ x + (1 | f(g))", "is not a column"),
    ("y ~ x + (1 | g > 2)", "cannot be used|cannot join"),
    ("y ~ x + (0 | g)", "has no effects"),
    ("y ~ x + (. | g)", "'.' cannot stand"),
    ("y ~ x + (1 | g) + (1 | g)", "given twice"),
    ("y ~ x + (x | g) + (1 + x | g)", "given twice"),
    ("y ~ x + (1 | f:g) + (1 | g:f)", "given twice"),
    ("y ~ x + (1 | g:g)", "names a column twice"),
    ("y ~ x + diag(x || g)", "says the structure twice"),
    ("y ~ x + cbind(x, f) + (1 | g)", "belongs on the left"),
    ("cbind(y) ~ x + (1 | g)", "takes two columns"),
    ("cbind(y, x) ~ x + (1 | g)", "needs a generalized linear mixed model"),
    ("y ~ 'x' + (1 | g)", "is not a term"),
    ('y ~ "x + (1 | g)', "never closed"),
    ("y ~ `x + (1 | g)", "never closed"),
    ("y ~ x $ f + (1 | g)", "cannot be used"),
    ("y ~ x[0] + (1 | g)", "subscripts"),
    ("y ~ x \x00 + (1 | g)", "cannot be read"),
    ("y ~ for + (1 | g)", "word of Python"),
    ("y ~ in + (1 | g)", "goes in backticks: `in`"),
    ("lambda ~ x + (1 | g)", "goes in backticks: `lambda`"),
    ("y ~ f %in% g + (1 | g)", "cannot be used.*write a:b"),
    ("y ~ as.numeric(f) + (1 | g)", r"a call of as\.numeric\(\)"),
    ("y ~ is.na(x) + (1 | g)", r"a call of is\.na\(\)"),
    ("y ~ class(x) + (1 | g)", r"a call of class\(\)"),
    ("y ~ I(x > 1 & x < 2) + (1 | g)", "the operator '&'"),
    ("y ~ I(!x) + (1 | g)", "the operator '!'"),
    ("y ~ poly(x, 0) + (1 | g)", r"0 as the degree of poly\(\)"),
    ("y ~ poly(x, degree=-1) + (1 | g)", r"-1 as the degree of poly\(\)"),
    ("y ~ poly(x, 'a') + (1 | g)", r"'a' as the degree of poly\(\)"),
    ("y ~ log(x, 2) + (1 | g)", "other than one argument"),
    ("y ~ log() + (1 | g)", "other than one argument"),
    ("y ~ poly() + (1 | g)", "without a column"),
    ("y ~ log(x +) + (1 | g)", "cannot be read"),
    ("y ~ offset() + (1 | g)", "cannot be read"),
    ("y ~ a*b*c*d*e*f1*g1*h*i*j*k*l + (1 | g)", "more than 3000 terms"),
]


@pytest.mark.parametrize(("formula", "message"), MALFORMED, ids=[m[0][:40] for m in MALFORMED])
def test_malformed(data, formula, message):
    with pytest.raises(FormulaError, match=message):
        build_design(formula, data)


def test_formula_must_be_text(data):
    with pytest.raises(TypeError, match="formula must be a str"):
        build_design(5, data)


def test_unknown_variable_with_suggestion(data):
    with pytest.raises(ValueError, match="formula refers to unknown variables: 'Xx'") as caught:
        build_design("y ~ Xx + (1 | g)", data.rename(columns={"x": "xx"}))
    assert "did you mean 'xx'?" in str(caught.value)
    with pytest.raises(FormulaError, match="unknown variables: 'yy'"):
        build_design("yy ~ x + (1 | g)", data)
    with pytest.raises(FormulaError, match="unknown variables: 'q'"):
        build_design("y ~ x + (log(q) | g)", data)
    with pytest.raises(FormulaError, match="unknown variables: 'q'"):
        build_design("y ~ x + offset(q) + (1 | g)", data)


def test_callers_variables_are_never_captured(data):
    secret = np.ones(40)
    assert secret.sum() == 40
    for formula in (
        "y ~ secret + (1 | g)",
        "y ~ poly(secret, 2) + (1 | g)",
        "y ~ log(secret) + (1 | g)",
        "y ~ pi + (1|g)",
    ):
        with pytest.raises(FormulaError, match="formula refers to unknown variables"):
            build_design(formula, data)


def test_missing_group_column(data):
    for kwargs in ({"groups": "X"}, {"groups": ["g", "X"]}, {"random": "(1 | X)"}):
        with pytest.raises(ValueError, match="groups column 'X' not found in data"):
            build_design("y ~ x", data, **kwargs)
    with pytest.raises(ValueError, match="groups column 'X' not found in data"):
        build_design("y ~ x + (1 | X)", data)
    with pytest.raises(DataError, match=r"groups column 'G' not found in data \(did you mean 'g'\?\)"):
        build_design("y ~ x", data, groups="G")


def test_no_random_effects(data):
    with pytest.raises(ModelError, match=r"no random effects.*statsmodels' ols\(\) or glm\(\)"):
        build_design("y ~ x", data)


def test_terms_from_two_places(data):
    with pytest.raises(ValueError, match="given twice, by bars in the formula and by groups="):
        build_design("y ~ x + (1 | g)", data, groups="f")
    with pytest.raises(ValueError, match="by groups= and by random="):
        build_design("y ~ x", data, groups="f", random="(1 | g)")
    with pytest.raises(ValueError, match="by bars in the formula and by random="):
        build_design("y ~ x + (1 | g)", data, random=["(1 | f)"])


def test_bad_groups_and_random(data):
    with pytest.raises(TypeError, match="groups= must be a str"):
        build_design("y ~ x", data, groups=data.g)
    with pytest.raises(TypeError, match="random= must be a str"):
        build_design("y ~ x", data, random=[1])
    with pytest.raises(FormulaError, match="groups= is empty"):
        build_design("y ~ x", data, groups=[])
    with pytest.raises(FormulaError, match="names a column twice"):
        build_design("y ~ x", data, groups=["g", "g"])
    with pytest.raises(FormulaError, match="not a random-effects term"):
        build_design("y ~ x", data, random="x + f")
    with pytest.raises(FormulaError, match="given twice"):
        build_design("y ~ x", data, random=["(1 | g)", "1 | g"])


def test_bad_contrasts_and_covariance(data):
    with pytest.raises(FormulaError, match=r"contrasts\['f'\] is 'dummy'"):
        build_design("y ~ f + (1 | g)", data, contrasts={"f": "dummy"})
    with pytest.raises(FormulaError, match="contrasts= names 'ff'.*did you mean 'f'"):
        build_design("y ~ f + (1 | g)", data, contrasts={"ff": "sum"})
    with pytest.raises(FormulaError, match="which is numeric"):
        build_design("y ~ x + (1 | g)", data, contrasts={"x": "sum"})
    with pytest.raises(FormulaError, match="covariance= names 'h'"):
        build_design("y ~ x + (x | g)", data, covariance={"h": "diagonal"})
    with pytest.raises(FormulaError, match="'unstructured' or 'diagonal'"):
        build_design("y ~ x + (x | g)", data, covariance={"g": "ar1"})


BREAKOUTS = [
    "C.__class__", "x.__class__", "`x`.__class__", "log.__globals__", "np.load('f')", "np.load", "np.linalg.inv(x)",
    "np.log.__class__(x)", "np.__dict__", "log(x).mean()", "log(x).__class__", "(x).__class__", "x.mean()",
    "x.values", "x[0]", "log(x)[0]", "log(x[0])", "I(x[0])", "I([x][0])", "I({'a': x})", "I({x})", "I([x])",
    "I((x, x))", "I(lambda: 1)", "I((lambda: x)())", "log(lambda x: x)", "I([i for i in x])", "I({i for i in x})",
    "I(i for i in x)", "I({i: i for i in x})", "__import__('os')", "I(__import__('os'))",
    "log(__import__('os').system('true'))", "poly(x, __import__('os'))", "I(f'{x}')", "f'{x}'",
    "I(f\"{x.__class__}\")", "poly(x, f'{x}')", "I(x := 3)", "(x := 3)", "poly(x, degree := 2)", "open('x')",
    "I(open('x'))", "eval('x')", "exec('x')", "I(eval('1'))", "getattr(x, 'y')", "globals()", "locals()", "vars()",
    "print(x)", "I(print(x))", "compile('1', '', 'eval')", "type(x)", "object()", "x if x else x",
    "I(x if x else x)", "I(x and x)", "I(x or x)", "I(not x)", "I(~x)", "I(x | x)", "I(x & x)", "I(x << 9)",
    "I(x @ x)", "I(x is x)", "I(x in x)", "I(1 < x < 2)", "I(await x)", "I((yield x))", "log(*x)", "log(**x)",
    "poly(*x)", "poly(x, **{'degree': 2})", "C(f, **Treatment)", "poly(x, 10**10)", "poly(x, 10000000000)",
    "poly(x, degree=999999)", "bs(x, df=10000000)", "hashed(f, levels=10000000000)", "I(9**9**9)",
    "I(9**9**9**9 * x)", "I(x**(9**9))", "I(x**10000)", "I(x**x)", "I(2**x)", "I('a' * 10)", "I('a' * x)",
    "I(x + 'a')", "log('x')", "poly('x', 2)", "I(None)", "I(True)", "I(...)", "I(b'a')", "I(1j * x)", "Q(x)",
    "Q('x' + 'y')", "Q(f'x')", "Q('x', 'y')", "Q(Q('x'))", "Q(name='x')", "C(f, print)", "C(f, contr.__class__)",
    "C(f, contr.x.y)", "C(f, np.log)", "C(f, x)", "C(f, contr.sum.__call__())", "C(f, contr.treatment(base=x))",
    "C(f, contr.treatment(eval('1')))", "C(f, {'a': [1]})", "C(f, levels=[x])", "C(f, levels=[[1]])",
    "C(f, levels=[i for i in 'ab'])", "C(f, spans_intercept=eval('1'))", "C(f, lambda x: x)", "I(x)(x)", "log(x)(x)",
    "(log)(x)", "I(log)(x)", "(lambda: 1)()", "log", "I(I)", "poly", "contr.sum(x)", "ｅｖａｌ('1')",
    "I(ｅｖａｌ('1'))",
    "I(x.ｅｖａｌ)", "ｌｏｇ.__class__", "_＿class_＿(x)", "I(x._＿class_＿)", "{x}", "{x + 1}", "{__import__('os')}",
    "`__import__`('os')", "`eval`('1')", "I(`eval`('1'))", "`log`(x)", "I(`x`(1))", "`x.__class__`", "\\x",
    "x; import os", "x\nimport os", "I(x); 1", "I(x)) + (eval('1')", "x # comment", "I(x # comment\n)", "I('''x''')",
    "I(\"\"\"x\"\"\")", "@x", "x = 1", "I(x = 1)", "log(x=x)", "breakpoint()", "__builtins__", "`__builtins__`",
    "I(__builtins__)", "I(`__builtins__`)", "__c6c6f67__(x)", "np.abs.reduce(x)", "np.exp(x, out=x)",
    "log(x, where=x)", "np", "np.pi", "I(np.pi * x)", "np.vectorize(x)", "np.frompyfunc(x, 1, 1)", "numpy.log(x)",
    "os.system('true')", "pd.eval('1')", "lag(x, x)", "bs(x, knots=x)", "center(x, ddof=eval('1'))", "I(x).T",
    "0 .__class__", "1.0.real", "x.y.z", "I(x.y.z)", "pandas.read_pickle('x')",
]  # fmt: skip


@pytest.fixture
def nothing_runs(monkeypatch):
    """Fail loudly when an expression reaches a function that it must not."""

    def alarm(*args, **kwargs):
        raise AssertionError("the formula ran code")

    for name in ("load", "vectorize", "frompyfunc"):
        monkeypatch.setattr(np, name, alarm)
    for name in ("breakpoint", "input"):
        monkeypatch.setattr(builtins, name, alarm)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("attack", BREAKOUTS)
def test_formula_is_data_never_code(data, attack, capsys):
    if attack in {"log", "np"}:  # the columns of that name, not the function and not the module
        design = build_design(f"y ~ {attack} + (1 | g)", data)
        np.testing.assert_array_equal(design.X[:, 1], data[attack])
        return
    for formula in (f"y ~ {attack} + (1 | g)", f"y ~ x + (0 + {attack} | g)", f"y ~ x + offset({attack}) + (1 | g)"):
        with pytest.raises(FormulaError):
            build_design(formula, data)
    with pytest.raises((FormulaError, DataError)):
        build_design(f"{attack} ~ x + (1 | g)", data)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os')",
        "eval('1')",
        "x.__class__",
        "g[0]",
        "g.mean()",
        "lambda: g",
        "C(g, eval('1'))",
        "factor(g[0])",
    ],
)
def test_grouping_factor_is_data_never_code(data, attack):
    with pytest.raises((FormulaError, DataError)):
        build_design(f"y ~ x + (1 | {attack})", data)
    with pytest.raises((FormulaError, DataError)):
        build_design("y ~ x", data, random=f"(1 | {attack})")
    with pytest.raises((FormulaError, DataError)):
        build_design("y ~ x", data, groups=attack)


def test_refused_before_anything_is_evaluated():
    """The check does not wait for data: no frame is even looked at."""
    with pytest.raises(FormulaError, match="not allowed in a formula: attribute access"):
        build_design("y ~ log(x).mean() + (1 | g)", data=object())
    with pytest.raises(FormulaError, match=r"a call of eval\(\)"):
        build_design("y ~ eval('1') + (1 | g)", data=object())


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ " + "(" * 5000 + "x" + ")" * 5000 + " + (1 | g)",
        "y ~ " + "log(" * 500 + "x" + ")" * 500 + " + (1 | g)",
        "y ~ I(" + "-" * 5000 + "x) + (1 | g)",
        "y ~ I(" + "x + " * 5000 + "x) + (1 | g)",
        "y ~ x" + "^2" * 3000 + " + (1 | g)",
        "y ~ " + "-" * 3000 + "x + (1 | g)",
        "y ~ " + "x:" * 30000 + " + (1 | g)",
        "y ~ x" + " + x" * 100000 + " + (1 | g)",
        "y ~ x + (1 | " + "g/" * 3000 + "g)",
        "y ~ x" + ":x" * 3000 + " + (1 | g)",
        "y ~ x" + "*x" * 3000 + " + (1 | g)",
        "-" * 3000 + "y ~ x + (1 | g)",
    ],
    ids=range(12),
)
def test_long_or_deep_formulas_get_a_clear_error(data, formula):
    with pytest.raises(FormulaError):
        build_design(formula, data)


def test_many_plain_terms_are_fine(data):
    wide = pd.concat(
        [data, pd.DataFrame({f"v{i}": np.random.default_rng(i).normal(size=40) for i in range(1500)})], axis=1
    )
    design = build_design("y ~ " + " + ".join(f"v{i}" for i in range(1500)) + " + (1 | g)", wide)
    assert design.X.shape == (40, 1501)


def test_columns_named_like_transforms_do_not_shadow_them(data):
    design = build_design("y ~ log(log) + C + np + np.log(x) + log(C) + (log | g)", data)
    assert design.x_names == ("Intercept", "log(`log`)", "C", "np", "np.log(x)", "log(`C`)") or design.x_names[2] == "C"
    np.testing.assert_array_equal(design.X[:, 1], np.log(data["log"]))
    np.testing.assert_array_equal(design.X[:, 2], data["C"])
    np.testing.assert_array_equal(design.X[:, 3], data["np"])
    np.testing.assert_array_equal(design.X[:, 4], np.log(data["x"]))
    mixed = build_design("y ~ poly(log, 2) + C(f, contr.sum) + (1 | g)", data.assign(poly=1.0, contr=2.0))
    assert mixed.X.shape == (40, 5)


def test_hostile_column_names_are_only_names(data):
    name = "__import__('os').system('true')"
    frame = data.assign(**{name: data.x})
    design = build_design(f"y ~ `{name}` + log(`{name}`) + poly(`{name}`, 2) + (1 | g)", frame)
    assert design.x_names[1] == name
    np.testing.assert_array_equal(design.X[:, 1], data.x)
    np.testing.assert_array_equal(build_design(f'y ~ Q("{name}") + (1 | g)', frame).X[:, 1], data.x)


def test_extra_transforms_opt_in(data):
    with pytest.raises(FormulaError, match=r"a call of double\(\).*extra_transforms"):
        build_design("y ~ double(x) + (1 | g)", data)
    design = build_design("y ~ double(x) + (1 | g)", data, extra_transforms={"double": lambda v: 2 * v})
    assert design.x_names == ("Intercept", "double(x)")
    np.testing.assert_allclose(design.X[:, 1], 2 * data.x)
    with pytest.raises(FormulaError):
        build_design("y ~ double(x.__class__) + (1 | g)", data, extra_transforms={"double": lambda v: 2 * v})
    with pytest.raises(FormulaError, match="means something in formulas already"):
        build_design("y ~ log(x) + (1 | g)", data, extra_transforms={"log": lambda v: 2 * v})
    with pytest.raises(TypeError, match="extra_transforms"):
        build_design("y ~ double(x) + (1 | g)", data, extra_transforms={"double": 3})


def test_evaluation_failure_names_the_term(data):
    with pytest.raises(DataError, match=r"poly\(f, 2\)"):
        build_design("y ~ poly(f, 2) + (1 | g)", data)
    with pytest.raises(DataError, match="needs numbers, but 'f' holds text"):
        build_design("y ~ log(f) + (1 | g)", data)
    with pytest.raises(DataError, match="compares text with numbers"):
        build_design("y ~ I(f > 1) + (1 | g)", data)
