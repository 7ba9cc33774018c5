"""Residuals and influence in one table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.diagnostics.augmented import hlm_augment
from interlace.diagnostics.influence_tables import hlm_influence
from interlace.diagnostics.residual_tables import hlm_resid

MEASURES = ["cooksd", "mdffits", "covtrace", "covratio", "leverage.overall"]


@pytest.mark.parametrize(("name", "level"), [("weighted", 1), ("weighted", "Subject"), ("nested", "batch/cask")])
def test_residuals_then_measures(models, name, level):
    table = hlm_augment(models[name], level)
    residuals, influence = hlm_resid(models[name], level), hlm_influence(models[name], level, approx=True)
    assert table.columns.tolist() == [*residuals.columns, *MEASURES]
    pd.testing.assert_frame_equal(table[residuals.columns], residuals)
    pd.testing.assert_frame_equal(table[MEASURES], influence[MEASURES])


def test_refits_add_changes_of_variances(models):
    table = hlm_augment(models["slopes"], "Subject", approx=False, include_ls=False)
    exact = hlm_influence(models["slopes"], "Subject")
    assert table.columns.tolist() == ["Subject", ".ranef.intercept", ".ranef.days", *exact.columns[1:]]
    pd.testing.assert_frame_equal(table[exact.columns], exact)


def test_columns_of_the_data_step_aside(unbalanced):
    data = unbalanced.rename(columns={"Days": "cooksd"})
    table = hlm_augment(interlace.fit("Reaction ~ cooksd + (1 | Subject)", data))
    assert table.columns.is_unique
    assert table["cooksd.data"].tolist() == data["cooksd"].tolist()


def test_names_stay_apart_and_warnings_point_here(unbalanced):
    data = unbalanced.assign(rare=np.arange(len(unbalanced)) == 7, **{"cooksd.data": unbalanced["Days"]})
    result = interlace.fit("Reaction ~ cooksd + Q('cooksd.data') + rare + (1 | Subject)", data.assign(cooksd=data["w"]))
    with pytest.warns(interlace.ConvergenceWarning, match="has no estimates without 1 of") as caught:
        table = hlm_augment(result)
    assert caught[0].filename == __file__
    assert table.columns.is_unique
    assert table["cooksd.data"].tolist() == data["Days"].tolist()
    assert table["cooksd.data.data"].tolist() == data["w"].tolist()


def test_generalized_models_are_refused():
    data = interlace.datasets.load("cbpp")
    result = interlace.glmer("incidence / size ~ period", data, "binomial", groups="herd", weights="size")
    with pytest.raises(TypeError, match=r"hlm_augment\(\) is defined for linear mixed models"):
        hlm_augment(result)
