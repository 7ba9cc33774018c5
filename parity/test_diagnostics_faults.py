"""What docs/influence-differences.md says about HLMdiag, worked out again from what HLMdiag printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from parity.diagnostics_reference import GENERATED, MODELS, recorded

EVERYTHING = (*MODELS, *GENERATED)


def group_tables(kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Model, factor and record of each group-level table of HLMdiag that has numbers."""
    for name in EVERYTHING:
        for level, parts in recorded(name)["influence"].items():
            if level != "1" and "values" in parts[kind]:
                yield name, level, parts[kind]


def test_leverages_stand_beside_the_wrong_labels() -> None:
    """The printed columns are those of the right groups, taken in the order of the factor's levels (fault 1)."""
    wrong = moved = tables = 0
    for name, level, table in group_tables("approx_TRUE"):
        tables += "leverage.overall" in table["values"]
        if "package_table_as_printed" not in table:
            continue
        wrong += 1
        position = {label: row for row, label in enumerate(table["group"])}
        by_level = [position[label] for label in recorded(name)["model"]["groups"][level]["levels_in_factor_order"]]
        for column, right in table["values"].items():
            printed = np.array(table["package_table_as_printed"][column])
            order = by_level if column.startswith("leverage") else slice(None)
            np.testing.assert_array_equal(printed, np.array(right)[order])
            if column == "leverage.overall":
                moved += int((printed != np.array(right)).sum())
    assert (wrong, tables) == (22, 44)
    assert moved > 1000


def test_all_measures_from_refits_stand_beside_the_wrong_labels() -> None:
    tables = [table["package_table_labels_wrong"] for _, _, table in group_tables("approx_FALSE")]
    assert (sum(tables), len(tables)) == (22, 43)


def test_refits_stop_before_the_optimum() -> None:
    """How often ``lmer`` with its defaults ends above the optimum by more than 1e-6, wages left out (fault 2)."""
    excess = {
        (name, level): (table["refits"], table["default_optimizer_criterion_excess"])
        for name, level, table in group_tables("approx_FALSE")
        if name != "wages_rs"
    }
    assert sum(refits for refits, _ in excess.values()) == 1708
    missed = {key: entry["groups_where_more_than_1e_6"] for key, (_, entry) in excess.items()}
    assert sum(map(len, missed.values())) == 83
    assert len({name for (name, _), groups in missed.items() if groups}) == 15
    assert len({name for (name, _), (_, entry) in excess.items() if entry["max"] > 1e-3}) == 9
    assert missed["radon_rs", "county"] == ["9", "43", "61", "62"]
    assert min(entry["min"] for _, entry in excess.values()) > -1e-10, "the optimum is the lower one, up to rounding"


@pytest.mark.parametrize(("county", "true", "printed"), [("9", 0.0215, 0.2014), ("43", 0.0379, 0.3940)])
def test_a_refit_at_a_false_boundary_looks_influential(county: str, true: float, printed: float) -> None:
    table = recorded("radon_rs")["influence"]["county"]["approx_FALSE"]
    row = table["group"].index(county)
    stock = table["values_with_default_optimizer"]
    assert table["values"]["cooksd"][row] == pytest.approx(true, abs=5e-5)
    assert stock["cooksd"][row] == pytest.approx(printed, abs=5e-5)
    assert stock["rvc.D11"][row] == -1.0
    assert abs(table["values"]["rvc.D11"][row]) < 0.05


def test_even_the_whole_fit_stops_early_in_one_model() -> None:
    excess = {name: recorded(name)["fit"]["default_optimizer_criterion_excess"] for name in EVERYTHING}
    assert [name for name, value in excess.items() if value > 1e-3] == ["generated/gen_23"]
    assert excess["generated/gen_23"] == pytest.approx(1.04, abs=5e-3)


def test_a_component_that_vanishes_shifts_the_others() -> None:
    """Vectors of different lengths are divided by each other (fault 4)."""
    notes = {name: table["rvc_note"] for name, _, table in group_tables("approx_FALSE") if "rvc_note" in table}
    assert list(notes) == ["generated/gen_07", "generated/gen_38"]


def test_transformed_columns_are_not_found() -> None:
    parts = recorded("autism_centred")["influence"]["childid"]
    assert parts["approx_FALSE"]["error"] == "object 'age2' not found"
    assert "object 'age2' not found" in recorded("autism_centred")["hlm_resid"]["childid"]["standardize_FALSE"]["error"]


def test_refits_are_by_reml_whatever_the_fit_was() -> None:
    """Those of the ML fit are those of the REML fit, so its variance ratios are not around zero (fault 6)."""
    ml, reml = (
        recorded(name)["influence"]["Subject"]["approx_FALSE"] for name in ("sleepstudy_rs_ml", "sleepstudy_rs")
    )
    np.testing.assert_allclose(ml["varcomp_delete"]["values"], reml["varcomp_delete"]["values"], rtol=1e-6)
    assert np.mean(ml["values"]["rvc.D11"]) == pytest.approx(0.082, abs=5e-4)
    assert abs(np.mean(reml["values"]["rvc.D11"])) < 1e-10


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("sleepstudy_uncorrelated", ("hlm_resid", "Subject", "standardize_TRUE", "error"), "'dims' cannot be"),
        ("wages_rs", ("influence", "1", "approx_TRUE", "hlm_influence_error"), "Column name `id` must not be"),
        ("penicillin_crossed", ("influence", "plate", "approx_FALSE", "error"), "models with crossed random effects"),
        ("penicillin_crossed", ("hlm_resid", "1", "standardize_FALSE", "error"), "non-nested models"),
        ("penicillin_crossed", ("pull_resid", "ls", "error"), "crossed random effects"),
        ("ahd_rs", ("hlm_resid", "subject", "standardize_FALSE", "error"), "rank deficient"),
        ("autism_rs", ("hlm_resid", "childid", "standardize_FALSE", "error"), "rank deficient"),
    ],
)  # fmt: skip
def test_these_calls_stop(name: str, path: tuple[str, ...], text: str) -> None:
    found = recorded(name)
    for key in path:
        found = found[key]
    assert text in found


def test_leverage_of_crossed_models_is_left_out() -> None:
    parts = recorded("penicillin_crossed")["influence"]["plate"]["approx_TRUE"]
    assert not [column for column in parts["values"] if column.startswith("leverage")]
