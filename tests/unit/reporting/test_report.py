"""What is in a report."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from decimal import ROUND_HALF_EVEN, Decimal
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

import interlace
from interlace.reporting.equation import equation
from interlace.reporting.numbers import leaves, numbers_of
from interlace.reporting.references import bibtex
from interlace.reporting.tables import fixed_text
from interlace.results.latex import booktabs
from tests.unit.reporting.conftest import AWKWARD

FILES = {"report.html", "report.md", "table.tex", "results.json", "rerun.py", "refs.bib", "data.csv", "diagnostics.png"}


class Reader(HTMLParser):
    """Text of a page, its table cells, and its elements; fails where elements are not closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.cells: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def read(folder: Path, name: str) -> str:
    return (folder / name).read_text("utf-8")


def record(folder: Path) -> dict:
    return json.loads(read(folder, "results.json"))


def test_files(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == FILES


def test_numbers_are_those_of_the_result_to_the_last_bit(written: Path, sleepstudy: interlace.LMMResult) -> None:
    numbers = record(written)["models"][0]["numbers"]
    for name in ("Intercept", "Days"):
        row = numbers["coefficients"][name]
        assert row["estimate"] == sleepstudy.fe_params[name]
        assert row["std_error"] == sleepstudy.fe_bse[name]
        assert row["df"] == sleepstudy.fe_df[name]
        assert row["p_value"] == sleepstudy.fe_pvalues[name]
        np.testing.assert_allclose([row["conf_low"], row["conf_high"]], sleepstudy.fe_conf_int.loc[name], rtol=1e-14)
    table = interlace.VarCorr(sleepstudy).as_dataframe()["sdcor"].tolist()
    term = numbers["random_effects"]["Subject"]
    assert [*term["sd"].values(), term["correlation"]["Days"]["Intercept"], numbers["sigma"]] == table
    assert numbers["criteria"] == {
        "REML criterion": sleepstudy.reml_criterion,
        "log-likelihood": sleepstudy.llf,
        "AIC": sleepstudy.aic,
        "BIC": sleepstudy.bic,
    }
    assert list(numbers["theta"].values()) == sleepstudy.theta.tolist()
    ends = sleepstudy.bootstrap(50, seed=1).ci()
    assert numbers["bootstrap"]["intervals"]["sigma"]["conf_low"] == ends.loc["sigma", "2.5 %"]
    cooks = interlace.influence.cooks_distance(sleepstudy, "Subject", approx=True)
    assert numbers["influence"]["Subject"] == {str(k): v for k, v in cooks.nlargest(5).items()}


def test_every_printed_number_is_the_stored_one_rounded(written: Path) -> None:
    model = record(written)["models"][0]
    stored = dict(leaves(model["numbers"]))
    assert len(model["printed"]) > 40
    for *path, text in model["printed"]:
        value = Decimal(float(stored[tuple(path)]))
        if text.startswith("<"):
            assert value < Decimal(text[1:])
        elif path[-1] == "p_value":
            assert f"{value:.2e}" == f"{Decimal(text):.2e}"
        else:
            assert value.quantize(Decimal(text), ROUND_HALF_EVEN) == Decimal(text)


def test_printed_numbers_are_in_every_language(written: Path) -> None:
    printed = {text for *_, text in record(written)["models"][0]["printed"]}
    cells = {cell.replace("−", "-") for cell in Reader(read(written, "report.html")).cells}
    assert printed <= cells
    markdown = read(written, "report.md").replace("\\<", "<")
    assert all(f" {text} |" in markdown for text in printed)
    tex = read(written, "table.tex")
    assert all(text in tex for text in ("251.41", "6.82", "17.0", "36.84", "13.73", "24.74", "5.922", "25.59"))


def test_html_stands_alone(written: Path) -> None:
    page = Reader(read(written, "report.html"))
    assert not page.seen & {"script", "link", "iframe"}
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "@import" not in read(written, "report.html")
    assert "url(" not in read(written, "report.html")


def test_record_says_where_the_numbers_come_from(written: Path) -> None:
    found = record(written)
    assert found["environment"]["packages"]["interlace-lme"]
    assert found["environment"]["blas"]
    model = found["models"][0]
    assert model["call"]["call"]["method"] == "REML"
    assert model["formula"] == "Reaction ~ Days + (Days | Subject)"
    assert model["numbers"]["bootstrap"]["seed"] == 1
    assert model["agreement"] == {"checked": False, "reason": "this was not asked for"}


def test_methods_paragraph_names_what_was_done(written: Path) -> None:
    text = " ".join(Reader(read(written, "report.html")).text.split())
    for said in (
        "for Reaction was fitted to 180 observations by restricted maximum likelihood (Patterson & Thompson, 1971)",
        "The fixed effects are an intercept and Days, and a random intercept and random slope of Days for Subject (18",
        "t tests with Satterthwaite's degrees of freedom (Satterthwaite, 1946; Kuznetsova et al., 2017)",
        "50 replicates of a parametric bootstrap (Davison & Hinkley, 1997) with the seed 1",
        "The fit was not checked against R: this was not asked for.",
    ):
        assert said in text


def test_cited_works_are_the_ones_listed(written: Path) -> None:
    entries = re.findall(r"^@\w+\{(\w+),$", read(written, "refs.bib"), re.MULTILINE)
    assert entries == sorted(entries)
    assert {"bates2015", "satterthwaite1946", "davison1997", "interlace"} <= set(entries)
    assert "kenward1997" not in entries
    for entry in read(written, "refs.bib").split("\n\n"):
        assert entry.count("{") == entry.count("}")
        assert entry.isascii()


@pytest.mark.parametrize(
    ("change", "said", "cites"),
    [
        ({"method": "ML"}, "by maximum likelihood", "bates2015"),
        ({"df_method": "kenward-roger"}, "Kenward and Roger's degrees of freedom and covariance", "kenward1997"),
        ({"df_method": "residual"}, "the residual degrees of freedom n - p = 178", "laird1982"),
        ({"df_method": "normal"}, "Wald's z tests", "laird1982"),
        ({"weights": "Days2"}, "Rows have prior weights (Days2)", "laird1982"),
    ],
)
def test_methods_follow_the_options(change: dict[str, str], said: str, cites: str) -> None:
    from interlace.reporting.environment import environment
    from interlace.reporting.prose import methods

    data = interlace.datasets.load("sleepstudy").assign(Days2=lambda frame: frame["Days"] + 1)
    prose = methods(interlace.fit("Reaction ~ Days + (1 | Subject)", data, **change), environment())
    assert said in prose.text
    assert cites in prose.keys
    assert ("patterson1971" in prose.keys) == ("method" not in change)
    assert bibtex(prose.keys)


def test_generalized_report(cbpp: interlace.GLMMResult, tmp_path: Path) -> None:
    folder = interlace.report(cbpp, tmp_path / "cbpp", check_r=False).folder
    text = " ".join(Reader(read(folder, "report.html")).text.split())
    assert "with a binomial response and the logit link was fitted to 56 observations by maximum likelihood" in text
    assert "approximated by Laplace's method (Tierney & Kadane, 1986; Bates et al., 2015)" in text
    ratios = record(folder)["models"][0]["numbers"]["ratios"]
    assert list(ratios) == ["period[T.2]", "period[T.3]", "period[T.4]"]
    assert ratios["period[T.2]"]["estimate"] == np.exp(cbpp.fe_params["period[T.2]"])
    assert "Odds ratios" in text
    assert record(folder)["models"][0]["numbers"]["coefficients"]["Intercept"]["df"] == "inf"


def test_several_models(several: Path) -> None:
    assert {"model-1-diagnostics.png", "model-2-diagnostics.png", "data.csv"} <= {
        path.name for path in several.iterdir()
    }
    models = record(several)["models"]
    assert [model["name"] for model in models] == ["slopes", "inter_cepts"]
    assert {model["data"]["file"] for model in models} == {"data.csv"}
    tex = read(several, "table.tex")
    assert r" & slopes & inter\_cepts \\" in tex
    assert "251.41 (6.82)" in tex
    assert ["coefficients", "Days", "estimate", "10.467"] in models[1]["printed"]


def test_models_of_different_data_have_files_of_their_own(sleepstudy: interlace.LMMResult, tmp_path: Path) -> None:
    part = sleepstudy.update(data=interlace.datasets.load("sleepstudy").query("Days > 2"))
    folder = interlace.report([sleepstudy, part], tmp_path / "out", check_r=False).folder
    assert [model["data"]["file"] for model in record(folder)["models"]] == ["data-1.csv", "data-2.csv"]
    assert interlace.verify(folder).holds


def test_the_same_input_gives_the_same_bytes(
    cbpp: interlace.GLMMResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one, two = (interlace.report(cbpp, tmp_path / name, check_r=False) for name in ("one", "two"))
    assert one.files == two.files
    for name in one.files:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes(), name
    assert record(one.folder)["created"] == "2023-11-14T22:13:20Z"


def test_awkward_names_stay_text_in_html(awkward_report: Path) -> None:
    page = Reader(read(awkward_report, "report.html"))
    assert not page.seen & {"script", "b", "i"}
    assert f"Title {AWKWARD}" in page.text
    for cell in ("a<b&_%#$|c", "f[T.<i>]", "f[T.x & y_1%]", "g <script>|_%&"):
        assert cell in page.cells
    assert any(cell.startswith(AWKWARD) for cell in page.cells)


def test_awkward_names_stay_text_in_markdown(awkward_report: Path) -> None:
    text = read(awkward_report, "report.md")
    plain = [re.sub(r"\\[\\`*_{}\[\]<>#|~$&!]", "", line) for line in text.splitlines()]
    tables = [list(rows) for is_table, rows in groupby(plain, lambda line: line.startswith("|")) if is_table]
    assert len(tables) >= 6
    for rows in tables:
        assert len({row.count("|") for row in rows}) == 1
        assert not set("<>$`*~#[]{}") & set("".join(rows))
    assert "### Most influential levels of g \\<script\\>\\|\\_%\\&" in text


def test_awkward_names_stay_text_in_latex(awkward_report: Path) -> None:
    nodes, *_ = LatexWalker(read(awkward_report, "table.tex"), tolerant_parsing=False).get_latex_nodes()
    (table,) = (node for node in nodes if isinstance(node, LatexEnvironmentNode))
    tabulars = [node for node in table.nodelist if isinstance(node, LatexEnvironmentNode)]
    assert [node.environmentname for node in tabulars] == ["tabular", "tabular"]
    for node in tabulars:
        rows = [row for row in node.latex_verbatim().splitlines() if row.endswith(r"\\")]
        widths = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
        assert len(widths) == 1
        for row in rows:
            outside = re.sub(r"\$[^$]*\$", "", re.sub(r"\\[%#_$&{}]", "", row))
            assert not set("%#_$<>|") & set(outside)


def test_awkward_names_stay_text_in_python(awkward_report: Path) -> None:
    source = read(awkward_report, "rerun.py")
    compile(source, "rerun.py", "exec")
    assert repr("y ~ `a<b&_%#$|c` + f + (1 | `g <script>|_%&`)") in source


@pytest.mark.parametrize("text", ["-0.03 (1.2)", "-1.5e-07 (0.2)", "<2e-16"])
def test_latex_sets_only_the_number_as_mathematics(text: str) -> None:
    cell = booktabs([("", ["x"]), ("b", [text])]).splitlines()[4]
    number, _, rest = text.partition(" ")
    assert cell.startswith(f"x & ${number.partition('e')[0]}")
    assert cell.endswith(f"$ {rest} \\\\" if rest else "$ \\\\")


@pytest.mark.parametrize("name", ["[x]", "*"])
def test_latex_does_not_take_a_name_for_an_argument_of_the_rule_above(name: str) -> None:
    assert booktabs([("", [name]), ("b", ["1"])]).splitlines()[4] == f"{{}}{name} & 1 \\\\"


def test_equations_are_well_formed(
    sleepstudy: interlace.LMMResult, cbpp: interlace.GLMMResult, awkward: interlace.LMMResult
) -> None:
    for result in (sleepstudy, cbpp, awkward):
        for line in equation(result):
            ET.fromstring(line.block)
            LatexWalker(f"${line.latex}$", tolerant_parsing=False).get_latex_nodes()
    mean, random, response = (line.latex for line in equation(cbpp))
    assert mean.startswith(
        r"\text{logit} ( \text{E} ( \text{(incidence / size)}_{i} \mid b ) ) = \beta_{0} + \beta_{1}"
    )
    assert random == r"b_{0 , \text{herd}} \sim N ( 0 , \sigma_{\text{herd}}^{2} )"
    assert response.endswith(r"\sim \text{Binomial} ( n_{i} , \mu_{i} )")


def test_long_equations_are_written_with_matrices() -> None:
    data = interlace.datasets.load("sleepstudy")
    result = interlace.fit("Reaction ~ factor(Days) + (1 | Subject)", data)
    assert equation(result)[0].latex == r"\text{Reaction}_{i} = x_{i} \beta + z_{i} b + \epsilon_{i}"


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(1234.5, 0, "1234"), (-0.004, 2, "0.00"), (1.5e-12, 14, "1.50e-12"), (2e15, 0, "2.00e+15"), (np.inf, 2, "∞")],
)
def test_numbers_as_text(value: float, decimals: int, text: str) -> None:
    assert fixed_text(value, decimals) == text


def test_an_existing_folder_is_kept_unless_told(cbpp: interlace.GLMMResult, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(ValueError, match="has files in it: name another, or pass overwrite=True"):
        interlace.report(cbpp, tmp_path, check_r=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    interlace.report(cbpp, tmp_path, check_r=False, overwrite=True)
    assert (tmp_path / "mine.txt").read_text("utf-8") == "mine"
    with pytest.raises(ValueError, match="is a file; name a folder"):
        interlace.report(cbpp, tmp_path / "mine.txt", check_r=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"bootstrap": -1}, ValueError, "bootstrap must be a number of replicates"),
        ({"bootstrap": True}, ValueError, "bootstrap must be a number of replicates"),
        ({"check_r": "yes"}, ValueError, "check_r must be 'auto', True or False"),
        ({"title": 3}, TypeError, "title must be text"),
        ({"data": "data.csv"}, TypeError, "data must be True"),
    ],
)
def test_wrong_arguments(
    cbpp: interlace.GLMMResult, tmp_path: Path, arguments: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        interlace.report(cbpp, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("given", "error"), [([], ValueError), (3, TypeError), ("text", TypeError), ([1], TypeError)])
def test_what_is_no_result_is_refused(given: object, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match="result"):
        interlace.report(given, tmp_path / "out")


def test_numbers_of_a_model_without_scale_or_correlation(cbpp: interlace.GLMMResult) -> None:
    numbers = numbers_of(cbpp)
    assert "sigma" not in numbers
    assert "correlation" not in numbers["random_effects"]["herd"]
    assert numbers["criteria"]["-2 log-likelihood"] == -2 * cbpp.llf
