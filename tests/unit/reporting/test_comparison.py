"""Several models side by side, here and in other packages."""

from __future__ import annotations

import great_tables
import numpy as np
import pytest
from pylatexenc.latexwalker import LatexWalker

import interlace


@pytest.fixture(scope="module")
def models(sleepstudy: interlace.LMMResult) -> list[interlace.LMMResult]:
    slopes = sleepstudy.update(method="ML")
    return [slopes.update("Reaction ~ Days + (1 | Subject)"), slopes]


def test_numbers_are_those_of_the_results(models: list[interlace.LMMResult]) -> None:
    frame = interlace.compare(*models, names=["one", "two"]).to_frame()
    for name, model in zip(("one", "two"), models, strict=True):
        column = frame[name, "estimate"]
        assert column["coefficient", "Days"] == model.fe_params["Days"]
        assert frame[name, "std_error"]["coefficient", "Days"] == model.fe_bse["Days"]
        assert column["random effect", "SD Residual"] == model.sigma
        assert column["random effect", "SD Intercept | Subject"] == interlace.VarCorr(model).as_dataframe()["sdcor"][0]
        assert column["fit", "AIC"] == model.aic
        assert column["fit", "Levels of Subject"] == 18
    assert np.isnan(frame["one", "estimate"]["random effect", "SD Days | Subject"])
    assert not np.isnan(frame["two", "estimate"]["random effect", "Correlation Days, Intercept | Subject"])


def test_text_and_latex(models: list[interlace.LMMResult]) -> None:
    table = interlace.compare(*models)
    rows = [line.split() for line in str(table).splitlines()]
    assert rows[0] == ["Model", "1", "Model", "2"]
    assert ["Days", "10.467", "(0.802)", "10.47", "(1.50)"] in rows
    LatexWalker(table.to_latex(), tolerant_parsing=False).get_latex_nodes()
    assert r"SD Intercept \textbar{} Subject & 36.01 & 23.78 \\" in table.to_latex()
    assert "<th>Model 2</th>" in table._repr_html_()


def test_a_coefficient_may_have_the_name_of_a_criterion() -> None:
    data = interlace.datasets.load("sleepstudy").rename(columns={"Days": "AIC"})
    result = interlace.fit("Reaction ~ AIC + (1 | Subject)", data)
    labels = [row[0] for row in interlace.compare(result).table.texts]
    assert labels.count("AIC") == 2


def test_criteria_of_fits_by_reml_are_warned_about(models: list[interlace.LMMResult]) -> None:
    note = "Criteria of fits by REML can be compared only"
    by_reml = [model.update(method="REML") for model in models]
    assert note not in str(interlace.compare(*by_reml))
    assert note in str(interlace.compare(by_reml[0], by_reml[1].update(". ~ 1 + (1 | Subject)")))
    assert note in str(interlace.compare(by_reml[0], models[1]))
    assert note not in str(interlace.compare(*models))


def test_names_are_escaped_in_html(awkward: interlace.LMMResult) -> None:
    html = interlace.compare(awkward, names=["<script>"])._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "f[T.&lt;i&gt;]" in html


def test_great_tables_shows_it(models: list[interlace.LMMResult]) -> None:
    built = interlace.compare(*models, names=["one", "two"]).to_great_tables()
    assert isinstance(built, great_tables.GT)
    html = built.as_raw_html()
    assert "10.467 (0.802)" in html
    assert "SD Days | Subject" in html


@pytest.mark.parametrize(
    ("arguments", "names", "message"),
    [
        (0, None, "there is no result"),
        (2, ["a"], "names has 1 names for 2 models"),
        (2, ["a", "a"], "names must differ"),
    ],
)
def test_wrong_names(models: list[interlace.LMMResult], arguments: int, names: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interlace.compare(*models[:arguments], names=names)


def test_what_is_no_result(models: list[interlace.LMMResult]) -> None:
    with pytest.raises(TypeError, match=r"expected results of interlace\.fit\(\) or glmer\(\), not int"):
        interlace.compare(models[0], 3)  # type: ignore[arg-type]
