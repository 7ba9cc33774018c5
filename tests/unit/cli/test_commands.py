"""The command line: what it writes where, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import interlace
from interlace import rbridge
from interlace.cli.app import run
from interlace.cli.output import print_table

Captured = pytest.CaptureFixture[str]
SLEEP = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "sleep.csv"
    interlace.datasets.load("sleepstudy").to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def cbpp(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "cbpp.parquet"
    interlace.datasets.load("cbpp").to_parquet(path)
    return str(path)


@pytest.fixture(scope="module")
def reported(sleep: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "sleep"
    assert run(["report", SLEEP, sleep, str(folder), "--no-check-r", "--title", "Sleep"]) == 0
    return folder


def test_fit_writes_the_summary_once(sleep: str, capsys: Captured) -> None:
    assert run(["fit", SLEEP, sleep]) == 0
    out, err = capsys.readouterr()
    frame = interlace.reporting.read_table(sleep)
    assert out == f"{interlace.fit(SLEEP, frame).summary()}\n"
    assert err == ""


def test_fit_takes_the_options_of_a_linear_model(sleep: str, capsys: Captured) -> None:
    options = ["--groups", "Subject", "--method", "ML", "--df-method", "normal", "--optimizer", "lbfgsb", "--json"]
    assert run(["fit", "Reaction ~ Days", sleep, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    frame = interlace.datasets.load("sleepstudy")
    result = interlace.fit(
        "Reaction ~ Days", frame, groups="Subject", method="ML", df_method="normal", optimizer="lbfgsb"
    )
    assert found["formula"] == "Reaction ~ Days + (1 | Subject)"
    assert found["converged"]
    assert not found["singular"]
    assert found["numbers"]["criteria"]["deviance"] == pytest.approx(result.deviance, rel=1e-12)
    days = found["numbers"]["coefficients"]["Days"]
    assert days["estimate"] == pytest.approx(result.fe_params["Days"], rel=1e-9)
    assert days["df"] == "inf"


@pytest.mark.parametrize(
    ("options", "call"),
    [
        (["--family", "binomial", "--weights", "size"], {"family": "binomial"}),
        (
            ["--family", "binomial", "--weights", "size", "--link", "probit", "--nagq", "5"],
            {"family": "binomial", "link": "probit", "nAGQ": 5},
        ),
    ],
)
def test_fit_takes_the_options_of_a_generalized_model(
    cbpp: str, capsys: Captured, options: list[str], call: dict
) -> None:
    formula = "incidence / size ~ period + (1 | herd)"
    assert run(["fit", formula, cbpp, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["numbers"]
    result = interlace.glmer(formula, interlace.datasets.load("cbpp"), weights="size", **call)
    assert found["criteria"]["-2 log-likelihood"] == pytest.approx(-2 * result.llf, rel=1e-12)


def test_fit_estimates_theta_of_a_negative_binomial(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "ticks.csv"
    interlace.datasets.load("grouseticks").to_csv(path, index=False)
    assert run(["fit", "TICKS ~ factor(YEAR)", str(path), "--groups", "BROOD", "--family", "nb", "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["numbers"]["negative_binomial_theta"] < 100


def test_several_groups(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "penicillin.csv"
    interlace.datasets.load("Penicillin").to_csv(path, index=False)
    assert run(["fit", "diameter ~ 1", str(path), "--groups", "plate", "--groups", "sample", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["numbers"]["levels"] == {"plate": 24, "sample": 6}


def test_a_singular_fit_is_mentioned_once(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "dyestuff.csv"
    interlace.datasets.load("Dyestuff2").to_csv(path, index=False)
    assert run(["fit", "Yield ~ 1 + (1 | Batch)", str(path)]) == 0
    out, err = capsys.readouterr()
    assert " ".join(out.split()).count("is estimated as zero") == 1
    assert err == ""
    assert run(["fit", "Yield ~ 1 + (1 | Batch)", str(path), "--json"]) == 0
    found, err = capsys.readouterr()
    assert [check["check"] for check in json.loads(found)["checks"]] == ["singular"]
    assert err == ""
    assert run(["report", "Yield ~ 1 + (1 | Batch)", str(path), str(tmp_path / "out"), "--no-check-r"]) == 0
    assert capsys.readouterr().err.startswith("interlace: warning: singular fit: ")


def test_a_fit_that_does_not_converge_has_status_1(
    sleep: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(interlace.LMMResult, "converged", property(lambda self: False))
    assert run(["fit", SLEEP, sleep]) == 1
    assert "REML criterion" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "Reaction ~ Dayz + (1 | Subject)", "{sleep}"], "formula refers to unknown variables: 'Dayz'"),
        (["fit", "Reaction ~ Days", "{sleep}", "--groups", "Subjekt"], "groups column 'Subjekt' not found in data"),
        (["fit", "Reaction ~ Days +", "{sleep}"], "the formula ends where a term is expected"),
        (["fit", SLEEP, "nowhere.csv"], "there is no file 'nowhere.csv'"),
        (["fit", SLEEP, "data.xlsx"], "the ending of the name must say what the file is"),
        (["fit", SLEEP, "{sleep}", "--method", "MCMC"], "method must be one of REML, ML; not 'MCMC'"),
        (["fit", SLEEP, "{sleep}", "--link", "log"], "--link is for generalized models"),
        (["fit", SLEEP, "{sleep}", "--family", "poison"], "did you mean 'poisson'?"),
        (["fit", SLEEP, "{sleep}", "--family", "poisson", "--method", "ML"], "fitted by maximum likelihood"),
        (["fit", SLEEP, "{sleep}", "--nagq", "many"], "nagq"),
        (["fit", SLEEP, "{sleep}", "--no-such-option"], "--no-such-option"),
        (["fit", SLEEP], "data"),
        (["nonsense"], "nonsense"),
        (["report", SLEEP, "{sleep}", "{reported}"], "has files in it"),
        (["verify", "nowhere"], "it is not a report of interlace"),
        (["datasets", "sleepstudi"], "did you mean 'sleepstudy'?"),
        (["datasets", "--csv", "x.csv"], "--csv needs the name of a data set"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_errors_are_one_line_with_status_2(
    arguments: list[str], message: str, sleep: str, reported: Path, capsys: Captured
) -> None:
    capsys.readouterr()
    assert run([argument.format(sleep=sleep, reported=reported) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("interlace: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_damaged_file_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    for name, content in (
        ("a.parquet", b"PAR1 nothing"),
        ("b.csv", b""),
        ("c.csv.gz", b"no gzip"),
        ("d.csv", b"\xff\xfe"),
    ):
        (tmp_path / name).write_bytes(content)
        assert run(["fit", SLEEP, str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_report_and_verify(reported: Path, capsys: Captured) -> None:
    assert "<title>Sleep</title>" in (reported / "report.html").read_text("utf-8")
    assert run(["verify", str(reported)]) == 0
    out, err = capsys.readouterr()
    assert "verified: " in out.splitlines()[-1]
    assert err == ""
    assert run(["verify", str(reported), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["holds"]
    assert all(one["holds"] for one in found["numbers"])


def test_verify_fails_on_other_data(reported: Path, tmp_path: Path, capsys: Captured) -> None:
    frame = interlace.datasets.load("sleepstudy")
    frame.to_csv(tmp_path / "same.csv", index=False)
    frame.assign(Reaction=np.sort(frame["Reaction"])).to_csv(tmp_path / "other.csv", index=False)
    assert run(["verify", str(reported), "--data", str(tmp_path / "same.csv")]) == 0
    capsys.readouterr()
    assert run(["verify", str(reported), "--data", str(tmp_path / "other.csv")]) == 1
    out = capsys.readouterr().out
    assert "problem: the data of Model 1 are not those of the report: other values in 'Reaction'" in out
    assert "NOT VERIFIED" in out.splitlines()[-1]


def test_report_without_data(sleep: str, tmp_path: Path, capsys: Captured) -> None:
    assert run(["report", SLEEP, sleep, str(tmp_path / "out"), "--no-check-r", "--no-data"]) == 0
    written = capsys.readouterr().out.split()
    assert sorted(written) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    assert not (tmp_path / "out" / "data.csv").exists()
    assert run(["verify", str(tmp_path / "out")]) == 1
    assert run(["verify", str(tmp_path / "out"), "--data", sleep]) == 0


def test_check_r(sleep: str, capsys: Captured) -> None:
    expected = 0 if rbridge.available() else 3
    assert run(["check-r", SLEEP, sleep]) == expected
    out, err = capsys.readouterr()
    assert ("agrees with lme4" in out) == (expected == 0)
    assert err.count("\n") == (expected == 3)


def test_r_that_differs_has_status_1(sleep: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    row = rbridge.agreement.Row("sigma", 1.0, 1e-5, "relative", "sigma")
    monkeypatch.setattr(
        sys.modules["interlace.rbridge.check"], "check", lambda result: rbridge.AgreementTable((row,), 0.0, "lme4 0.0")
    )
    assert run(["check-r", SLEEP, sleep]) == 1
    assert "interlace DIFFERS from lme4 0.0" in capsys.readouterr().out
    assert run(["check-r", SLEEP, sleep, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["agrees"] is False


def test_r_that_is_missing_has_status_3(sleep: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(rbridge.session, "missing", lambda: "R is not here; install it")
    assert run(["check-r", SLEEP, sleep]) == 3
    out, err = capsys.readouterr()
    assert (out, err) == ("", "interlace: error: interlace.rbridge runs models in R: R is not here; install it\n")


def test_datasets(tmp_path: Path, capsys: Captured) -> None:
    assert run(["datasets"]) == 0
    out = capsys.readouterr().out
    assert all(any(line.startswith(name) for line in out.splitlines()) for name in interlace.datasets.names())
    assert run(["datasets", "Pastes", "--csv", str(tmp_path / "pastes.csv")]) == 0
    assert capsys.readouterr().out == f"{interlace.datasets.describe('Pastes')}\n"
    assert len(interlace.reporting.read_table(tmp_path / "pastes.csv")) == 60


def test_demo(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(rbridge, "available", lambda: False)
    assert run(["demo"]) == 0
    out, err = capsys.readouterr()
    assert "Linear mixed model fit by REML" in out
    assert "Generalized linear mixed model fit by maximum likelihood" in out
    assert out.count("R with lme4 is not here, so nothing was compared") == 2
    assert err == ""


def test_text_in_tables_is_no_markup(capsys: Captured) -> None:
    print_table(["a"], [["[bold]x[/bold] [link=file:///]y[/link]"]])
    assert "[bold]x[/bold] [link=file:///]y[/link]" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["fit", "--help"]])
def test_what_asks_for_no_model_is_status_0(arguments: list[str], capsys: Captured) -> None:
    assert run(arguments) == 0
    assert capsys.readouterr().out


def test_nothing_to_do_shows_help(capsys: Captured) -> None:
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert "verify" in out + err
    assert "error" not in err


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_python_m_interlace_passes_the_status_on(sleep: str) -> None:
    run = python("-m", "interlace", "fit", SLEEP, sleep)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Linear mixed model fit by REML")
    run = python("-m", "interlace", "fit", SLEEP, "nowhere.csv")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "interlace: error: there is no file 'nowhere.csv'\n"


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_the_extra_one_line_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from interlace.__main__ import main; sys.exit(main())"
    run = python("-c", code)
    assert (run.returncode, run.stdout) == (3, "")
    assert run.stderr == 'interlace: the command line needs typer and rich: pip install "interlace-lme[cli]"\n'


def test_a_reader_that_stops_early_is_no_error() -> None:
    code = "import sys; from interlace.__main__ import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, "datasets"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait()
