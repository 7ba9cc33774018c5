"""Every model of the catalogue, every quantity, against lme4."""

from __future__ import annotations

import pytest

from parity.bridge import Bridge, manifest, recorded
from parity.case import Case
from parity.catalogue import CASES
from parity.compare import compare_case
from parity.record import EXPECTED, file_hash


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_model_agrees_with_lme4(case: Case, bridge: Bridge) -> None:
    table = compare_case(case, bridge(case)).table
    assert table.agrees, str(table)
    assert table.judged or case.family is None, f"nothing but the criterion was compared:\n{table}"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_reference_is_about_this_model_and_data(case: Case) -> None:
    assert recorded(case).numbers.n_rows > 0


def test_recorded_files_are_the_ones_in_the_manifest() -> None:
    found = {path.relative_to(EXPECTED).with_suffix("").as_posix() for path in EXPECTED.rglob("*.json")}
    told = manifest()["references"]
    assert found == set(told)
    assert [path for path in found if file_hash(path) != told[path]["file"]] == []


def test_catalogue_is_wide_enough() -> None:
    assert len(CASES) >= 25
    assert len({case.name for case in CASES}) == len(CASES)
