"""Reports are fitted again, also elsewhere, and nothing that was altered passes."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interlace
from interlace.reporting import verify_results
from interlace.reporting.bundle import digest_of_models
from interlace.reporting.verification import _holds

Copy = Callable[[Path], Path]


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], *, sealed: bool = False) -> None:
    """Change results.json; ``sealed`` makes its own hash fit again."""
    path = folder / "results.json"
    record = json.loads(path.read_text("utf-8"))
    change(record)
    if sealed:
        record["sha256_of_models"] = digest_of_models(record["models"])
    path.write_text(json.dumps(record, indent=1), "utf-8")


def coefficient(record: dict[str, Any]) -> dict[str, float]:
    return record["models"][0]["numbers"]["coefficients"]["Days"]


@pytest.mark.parametrize("report", ["written", "several", "awkward_report"])
def test_untouched_reports_hold(report: str, request: pytest.FixtureRequest) -> None:
    found = interlace.verify(request.getfixturevalue(report))
    assert found.holds, str(found)
    assert len(found.numbers) > 30
    assert found.digits > 8
    assert str(found).startswith("verified: ")
    assert found.to_frame()["holds"].all()


def test_rerun_stands_alone_in_another_process(written: Path, copy_of: Copy) -> None:
    folder = copy_of(written)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(folder / "rerun.py")], capture_output=True, text=True, check=False, cwd="/"
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert "verified: " in run.stdout.splitlines()[-1]
    with (folder / "data.csv").open("a", encoding="utf-8") as file:
        file.write(f"{(folder / 'data.csv').read_text('utf-8').splitlines()[-1]}\n")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(folder / "rerun.py")], capture_output=True, text=True, check=False, cwd="/"
    )
    assert run.returncode == 1
    assert "NOT VERIFIED" in run.stdout.splitlines()[-1]


def test_altered_data_are_found(written: Path, copy_of: Copy) -> None:
    folder = copy_of(written)
    path = folder / "data.csv"
    lines = path.read_text("utf-8").splitlines()
    column = lines[0].split(",").index("Reaction")
    cells = lines[5].split(",")
    cells[column] = str(float(cells[column]) + 50)
    lines[5] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    found = interlace.verify(folder)
    assert not found.holds
    assert found.problems == ("the data of Model 1 are not those of the report: other values in 'Reaction'",)
    assert not found.to_frame().set_index("number")["holds"]["coefficients / Days / estimate"]


def test_data_altered_in_the_last_bit_are_found(written: Path, copy_of: Copy) -> None:
    folder = copy_of(written)
    path = folder / "data.csv"
    first = path.read_text("utf-8").splitlines()[1].split(",")
    number = next(cell for cell in first if "." in cell)
    path.write_text(path.read_text("utf-8").replace(number, repr(np.nextafter(float(number), 1e9).item()), 1), "utf-8")
    found = interlace.verify(folder)
    assert all(check.holds for check in found.numbers)
    assert not found.holds


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (
            lambda text: text.replace("308", "307"),
            "Model 1 cannot be fitted again: column 'Subject' has the value '307'",
        ),
        (lambda text: text.replace("Days", "Tage", 1), "has no column 'Days'"),
        (lambda text: text + "1,2\n", "is damaged"),
        (lambda text: "\n".join(text.splitlines()[:2]), "cannot be fitted again"),
        (lambda text: re.sub(r"^\d[\d.]*,", "much,", text, count=1, flags=re.MULTILINE), "should hold values of type"),
    ],
    ids=["level", "column", "short line", "few rows", "no number"],
)
def test_data_that_cannot_be_fitted(written: Path, copy_of: Copy, alter: Callable[[str], str], message: str) -> None:
    folder = copy_of(written)
    (folder / "data.csv").write_text(alter((folder / "data.csv").read_text("utf-8")), "utf-8")
    found = interlace.verify(folder)
    assert not found.holds
    assert any(message in problem for problem in found.problems)


def test_an_altered_stored_number_is_found(written: Path, copy_of: Copy) -> None:
    folder = copy_of(written)
    rewrite(folder, lambda record: coefficient(record).update(estimate=10.467286))
    found = interlace.verify(folder)
    assert found.problems == ("results.json was changed after it was written",)
    assert not found.holds


def test_an_altered_printed_number_is_found_though_the_hash_was_made_to_fit(written: Path, copy_of: Copy) -> None:
    folder = copy_of(written)

    def change(record: dict[str, Any]) -> None:
        coefficient(record).update(estimate=10.48)
        printed = record["models"][0]["printed"]
        printed[printed.index(["coefficients", "Days", "estimate", "10.47"])][-1] = "10.48"

    rewrite(folder, change, sealed=True)
    found = interlace.verify(folder)
    assert not found.problems
    assert [check.path for check in found.numbers if not check.holds] == [("coefficients", "Days", "estimate")]
    assert found.digits < 4
    assert "does not hold: Model 1: coefficients / Days / estimate: printed 10.48, found 10.46728596" in str(found)


def test_a_stored_number_that_is_not_the_printed_one_is_found(written: Path, copy_of: Copy) -> None:
    folder = copy_of(written)
    rewrite(folder, lambda record: coefficient(record).update(estimate=10.48), sealed=True)
    found = interlace.verify(folder)
    assert [check.path for check in found.numbers if not check.holds] == [("coefficients", "Days", "estimate")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda model: model.update(printed=[]),
        lambda model: model.pop("numbers"),
        lambda model: model["call"].pop("formula"),
        lambda model: model["call"]["call"].update(optimizer="guess"),
        lambda model: model["data"].update(columns=3),
    ],
    ids=["nothing printed", "no numbers", "no formula", "no such optimizer", "no columns"],
)
def test_a_record_that_was_taken_apart_does_not_hold(
    written: Path, copy_of: Copy, damage: Callable[[dict[str, Any]], Any]
) -> None:
    folder = copy_of(written)
    rewrite(folder, lambda record: damage(record["models"][0]), sealed=True)
    assert not interlace.verify(folder).holds


@pytest.mark.parametrize("part", ["models", "environment", "sha256_of_files"])
def test_a_record_without_its_parts_is_refused(written: Path, copy_of: Copy, part: str) -> None:
    folder = copy_of(written)
    rewrite(folder, lambda record: record.pop(part))
    with pytest.raises(ValueError, match=f"is damaged: it has no '{part}'"):
        interlace.verify(folder)


@pytest.mark.parametrize("name", ["report.html", "report.md", "table.tex", "rerun.py", "refs.bib"])
def test_an_altered_file_is_found(written: Path, copy_of: Copy, name: str) -> None:
    folder = copy_of(written)
    path = folder / name
    path.write_text(re.sub(r"\d", "7", path.read_text("utf-8")), "utf-8")
    assert interlace.verify(folder).problems == (f"{name} was changed after it was written",)


def test_a_missing_file_is_noted_only(written: Path, copy_of: Copy) -> None:
    folder = copy_of(written)
    (folder / "report.html").unlink()
    found = interlace.verify(folder)
    assert found.holds
    assert found.notes == ("report.html is not there",)


def test_other_versions_are_noted(written: Path, copy_of: Copy) -> None:
    folder = copy_of(written)
    rewrite(folder, lambda record: record["environment"]["packages"].update(numpy="1.0"))
    found = interlace.verify(folder)
    assert found.holds
    assert any("the report was written with numpy 1.0, here is " in note for note in found.notes)


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "parquet"])
def test_data_from_elsewhere(sleepstudy: interlace.LMMResult, tmp_path: Path, ending: str) -> None:
    folder = interlace.report(sleepstudy, tmp_path / "out", check_r=False, data=False).folder
    assert not (folder / "data.csv").exists()
    assert any("written without its data" in problem for problem in interlace.verify(folder).problems)
    frame = interlace.datasets.load("sleepstudy").assign(other="x")
    frame = frame.reindex([*frame.index[:20], -1, *frame.index[20:]])  # a row without values
    path = tmp_path / f"data.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    found = interlace.verify(folder, path)
    assert found.holds, str(found)
    frame.loc[frame.index[0], "Reaction"] = 0.0
    frame.to_csv(tmp_path / "altered.csv", index=False)
    assert not interlace.verify(folder, tmp_path / "altered.csv").holds


def test_data_without_the_columns(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("Reaction,Day\n1,2\n", "utf-8")
    (problem,) = interlace.verify(written, path).problems
    assert "column 'Days' not found" in problem
    assert "did you mean 'Day'?" in problem


def test_results_made_by_other_means(written: Path, sleepstudy: interlace.LMMResult) -> None:
    assert verify_results(written, [sleepstudy]).holds
    found = verify_results(written, [sleepstudy.update(method="ML")])
    assert not found.problems
    assert not found.holds
    with pytest.raises(ValueError, match="there are 2 results for the 1 models of the report"):
        verify_results(written, [sleepstudy, sleepstudy])


def test_what_is_no_report(tmp_path: Path, written: Path, copy_of: Copy) -> None:
    with pytest.raises(ValueError, match=r"has no file results\.json: it is not a report of interlace"):
        interlace.verify(tmp_path)
    folder = copy_of(written)
    rewrite(folder, lambda record: record.update(version=99))
    with pytest.raises(ValueError, match="has format version 99"):
        interlace.verify(folder)
    (folder / "results.json").write_text("[1]", "utf-8")
    with pytest.raises(ValueError, match=r"was not written by interlace\.report"):
        interlace.verify(folder)
    (folder / "results.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="is damaged"):
        interlace.verify(folder)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("10.47", 10.4651, True),
        ("10.47", 10.4749, True),
        ("10.47", 10.4644, False),
        ("-0.50", -0.504, True),
        ("-0.50", 0.5, False),
        ("3.26e-06", 3.2649e-6, True),
        ("3.26e-06", 3.266e-6, False),
        ("1.00e+16", 1.004e16, True),
        ("180", 181.0, False),
        ("<2e-16", 1e-17, True),
        ("<2e-16", 1e-10, False),
        ("∞", np.inf, True),
        ("∞", 1e300, False),
        ("", np.nan, True),
        ("10.47", np.nan, False),
    ],
)
def test_printed_digits(text: str, value: float, holds: bool) -> None:
    assert _holds(text, value) is holds


def generalized() -> dict[str, Callable[[], Any]]:
    cbpp, ticks = interlace.datasets.load("cbpp"), interlace.datasets.load("grouseticks")
    two = interlace.families.NegativeBinomial(theta=2.0)
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    return {
        "nodes": lambda: interlace.glmer(formula, cbpp, "binomial", nAGQ=9),
        "probit": lambda: interlace.glmer(formula, cbpp, "binomial", link="probit", nAGQ=0),
        "nb": lambda: interlace.glmer_nb("TICKS ~ YEAR + (1 | BROOD)", ticks),
        "theta": lambda: interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", ticks, two),
        "control": lambda: interlace.glmer(
            "TICKS ~ YEAR", ticks, "poisson", groups="BROOD", control=interlace.Control(tol=1e-11), optimizer="lbfgsb"
        ),
    }


@pytest.mark.parametrize("name", list(generalized()))
def test_calls_of_generalized_models_are_made_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interlace.report(generalized()[name](), tmp_path / "out", check_r=False).folder
    assert interlace.verify(folder).holds
    monkeypatch.setattr(sys, "argv", ["rerun.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(folder / "rerun.py"))
    assert ended.value.code == 0, capsys.readouterr().out


def test_calls_of_linear_models_are_made_again(tmp_path: Path) -> None:
    cake = interlace.datasets.load("cake")
    weights = np.linspace(1.0, 2.0, len(cake))
    one = interlace.fit(
        "angle ~ recipe * temp + (1 | recipe:replicate)",
        cake,
        contrasts={"recipe": "sum"},
        weights=weights,
        offset=weights,
        method="ML",
        df_method="residual",
    )
    sleep = interlace.datasets.load("sleepstudy")
    two = interlace.fit(
        "Reaction ~ lag(Days) + (Days | Subject)", sleep, covariance={"Subject": "diagonal"}, df_method="kenward-roger"
    )
    folder = interlace.report([one, two], tmp_path / "out", check_r=False).folder
    found = interlace.verify(folder)
    assert found.holds, str(found)
    source = (folder / "rerun.py").read_text("utf-8")
    for argument in ("contrasts={'recipe': 'sum'}", "weights='(weights)'", "method='ML'", "df_method='kenward-roger'"):
        assert argument in source
