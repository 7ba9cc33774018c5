import pytest

from interlace.errors import FormulaError
from interlace.frames.update import update_formula

CASES = [
    ("y ~ x + (1|g)", ". ~ . + z", "y ~ x + z + (1 | g)"),
    ("y ~ x + (1|g)", "log(.) ~ .", "log(y) ~ x + (1 | g)"),
    ("y / 10 ~ x + (1|g)", "log(.) ~ .", "log(y / 10) ~ x + (1 | g)"),
    ("`my col` ~ x + (1|g)", "log(.) ~ .", "log(`my col`) ~ x + (1 | g)"),
    ("y ~ x*z + (1|g) + (x|h)", ". ~ . - (1|g)", "y ~ x * z + (x | h)"),
    ("y ~ x + (1 + x | g)", ". ~ . - (x|g) + (1|g)", "y ~ x + (1 | g)"),
    ("y ~ x + (x||g)", ". ~ . - (x||g) + (x|g)", "y ~ x + (x | g)"),
    ("y ~ x*z + (1|g)", ". ~ . - x:z", "y ~ x + z + (1 | g)"),
    ("y ~ x*z + (1|g)", ". ~ . - z:x", "y ~ x + z + (1 | g)"),
    ("y ~ x + (1|g)", "~ . - 1", "y ~ 0 + x + (1 | g)"),
    ("y ~ 0 + x + (1|g)", "~ . + 1", "y ~ 0 + x + 1 + (1 | g)"),
    ("y ~ x + (1|g)", ". ~ . - x", "y ~ 1 + (1 | g)"),
    ("y ~ x + (1|g)", "z ~ .", "z ~ x + (1 | g)"),
    ("y ~ x + (1|g)", ". ~ . + x", "y ~ x + (1 | g)"),
    ("y ~ 1 + (1|g)", ". ~ . + x*f", "y ~ 1 + x * f + (1 | g)"),
    ("y ~ x + offset(q) + (1|g)", ". ~ . - offset(q)", "y ~ x + (1 | g)"),
    ("y ~ x + (1|g)", ". ~ . + offset(log(q))", "y ~ x + offset(log(q)) + (1 | g)"),
    ("y ~ x + w", ". ~ .:z + (.|h)", "y ~ (x + w):z + (x + w | h)"),
    ("y ~ x + w", ". ~ .^2", "y ~ (x + w)^2"),
    ("y ~ x + w + (1|g)", ". ~ . * f", "y ~ (x + w) * f + (1 | g)"),
    ("y ~ x + w + offset(q) + (1|g)", ". ~ .^2 + . - (1|g) + (1|h)", "y ~ (x + w)^2 + x + w + offset(q) + (1 | h)"),
    ("y ~ x + w + (1|g)", ". ~ . * f - x:f", "y ~ x + w + f + w:f + (1 | g)"),
    ("y ~ x + (1|g)", "w ~ q", "w ~ q"),
    ("y ~ x + I(x^2) + (1|g)", ". ~ . - I(x**2)", "y ~ x + (1 | g)"),
    ("y ~ `a b` + log.x + (1|`c d`)", ". ~ . + z", "y ~ `a b` + log.x + z + (1 | `c d`)"),
    ("y ~ x + diag(x|g)", ". ~ . + z", "y ~ x + z + diag(x | g)"),
    ("y ~ x + (1 | a/b)", ". ~ . - x", "y ~ 1 + (1 | a/b)"),
    ("y ~ a*b*c + (1|g)", ". ~ . - a:b:c", "y ~ a + b + c + a:b + a:c + b:c + (1 | g)"),
    ("cbind(s, t) ~ x + (1|g)", ". ~ . + z", "cbind(s, t) ~ x + z + (1 | g)"),
]


@pytest.mark.parametrize(("old", "new", "expected"), CASES)
def test_dot_notation(old, new, expected):
    assert update_formula(old, new) == expected
    assert update_formula(expected, ". ~ .") == expected


def test_taking_away_what_is_not_there():
    with pytest.raises(FormulaError, match="cannot take away q: the formula has x"):
        update_formula("y ~ x + (1|g)", ". ~ . - q")
    with pytest.raises(FormulaError, match=r"cannot take away the random-effects term \(1 \| q\)"):
        update_formula("y ~ x + (1|g)", ". ~ . - (1|q)")


def test_update_is_as_safe_as_a_formula():
    for new in (". ~ . + eval('1')", ".__class__ ~ .", "eval(.) ~ .", ". ~ . + x.__class__"):
        with pytest.raises(FormulaError):
            update_formula("y ~ x + (1|g)", new)
    assert update_formula("y ~ f(x) + (1|g)", ". ~ . + z", extra_transforms=["f"]) == "y ~ f(x) + z + (1 | g)"
