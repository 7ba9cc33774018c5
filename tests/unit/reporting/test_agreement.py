"""What reports say of R: that it agrees, that it differs, or why it was not asked."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import interlace
from interlace import rbridge
from interlace.rbridge.agreement import Row
from interlace.rbridge.ours import numbers_of
from interlace.reporting import agreement as module
from interlace.reporting.agreement import agreement


@pytest.fixture
def standing_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """R that finds what we find, but for one coefficient a tenth of a standard error off."""

    def counterpart(result: interlace.LMMResult) -> rbridge.FitNumbers:
        ours = numbers_of(result)
        return replace(ours, beta=ours.beta + ours.se * [0.0, 0.1], rows=np.arange(result.nobs))

    monkeypatch.setattr(module, "missing", lambda: "")
    monkeypatch.setattr(module, "counterpart", counterpart)
    monkeypatch.setattr(import_module("interlace.rbridge.check"), "reference", lambda: "lme4 0.0 (R 0.0)")


def test_values_of_both_sides_and_differences_in_standard_errors(
    sleepstudy: interlace.LMMResult, standing_in: None
) -> None:
    found = agreement(sleepstudy)
    assert found.outcome == "differs"
    assert found.sentence.endswith("by lme4 0.0 (R 0.0), which DIFFERS in: coefficients.")
    coefficients, deviations = found.values
    estimate, error = sleepstudy.fe_params["Days"], sleepstudy.fe_bse["Days"]
    shown = [f"{value:.9g}" for value in (estimate, estimate + 0.1 * error, error, error)]
    assert coefficients.texts[1] == ["Days", *shown, "-1.0e-01"]
    assert [row[0] for row in deviations.texts] == ["Subject: Intercept", "Subject: Days", "Residual", "REML criterion"]
    assert all(row[1] == row[2] for row in deviations.texts)
    record = found.record()
    assert record["checked"]
    assert not record["agrees"]
    assert {row["quantity"]: row["difference"] for row in record["rows"]}["coefficients"] == pytest.approx(0.1)


def test_a_worse_optimum_of_lme4_is_named() -> None:
    fine, far = Row("deviance", 0.0, 1e-7, "relative", ""), Row("theta", 0.3, 1e-5, "absolute", "")
    found = module.Agreement(rbridge.AgreementTable((fine, far), 12.5, "lme4 0.0 (R 0.0)", judged=False))
    assert found.outcome == "agrees"
    assert "which stopped at a worse optimum: its criterion is 12.5 above the one here" in found.sentence
    assert found.limits is not None
    assert [row[-3:] for row in found.limits.texts] == [["0", "1e-07", "yes"], ["3.0e-01", "1e-05", "NO"]]


def test_a_report_that_differs_says_so(sleepstudy: interlace.LMMResult, standing_in: None, tmp_path: Path) -> None:
    folder = interlace.report(sleepstudy, tmp_path / "out").folder
    assert '<p class="differs">' in (folder / "report.html").read_text("utf-8")
    assert "which DIFFERS in: coefficients" in (folder / "report.md").read_text("utf-8")
    assert (folder / "agreement.png").read_bytes()[:4] == b"\x89PNG"


def test_without_r_reports_say_so(sleepstudy: interlace.LMMResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missing", lambda: "R is not here")
    found = agreement(sleepstudy)
    assert (found.outcome, found.limits, found.values) == ("unchecked", None, ())
    assert found.sentence == "The fit was not checked against R: R with lme4 was not available."


def test_r_that_is_needed_must_be_there(sleepstudy: interlace.LMMResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlace.rbridge.session.missing", lambda: "R is not here")
    with pytest.raises(ImportError, match="R is not here"):
        agreement(sleepstudy, True)


def test_models_that_lme4_does_not_have_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = interlace.datasets.load("sleepstudy")
    diagonal = interlace.fit("Reaction ~ Days + (Days | Subject)", data, covariance={"Subject": "diagonal"})
    monkeypatch.setattr(module, "missing", lambda: "")
    monkeypatch.setattr(import_module("interlace.rbridge.check"), "require", lambda: None)
    assert "lme4 has no diagonal covariance within one term" in agreement(diagonal).sentence


def test_adjusted_standard_errors_are_not_held_against_r() -> None:
    """Kenward and Roger's covariance is not lme4's; the model-based one is."""
    data = interlace.datasets.load("sleepstudy").sample(140, random_state=1)
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", data, df_method="kenward-roger")
    plain = result.update(df_method="normal")
    np.testing.assert_array_equal(numbers_of(result).vcov, plain.fe_cov)
    assert not np.allclose(result.fe_cov, plain.fe_cov, rtol=1e-4)
    assert not rbridge.available() or rbridge.check(result).agrees


def test_live(cbpp: interlace.GLMMResult) -> None:
    found = agreement(cbpp)
    assert found.outcome == ("agrees" if rbridge.available() else "unchecked")
    assert (found.limits is None) is not rbridge.available()
