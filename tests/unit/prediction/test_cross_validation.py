"""Folds on arrays, and refits without rows beside fits of the rows that are left."""

from __future__ import annotations

import numpy as np
import pytest

import interlace
from interlace.estimate.parallel import in_order, whole_number_of_jobs
from interlace.estimate.refits import refit_rows
from interlace.estimate.state import State
from interlace.prediction.cross_validation import Fold, Tally, identifies, left_out, level_sets, rows_by_level, tallies

MODELS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "Penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
    "Pastes": "strength ~ 1 + (1 | batch / cask)",
}


def state_of(name: str) -> State:
    return interlace.fit(MODELS[name], interlace.datasets.load(name)).state


def by_level(state: State, term: int = 0) -> list[Fold]:
    codes = state.problem.design.terms[term].codes
    return [Fold(rows, rows) for rows in rows_by_level(codes, int(codes.max()) + 1)]


@pytest.mark.parametrize(("n", "k"), [(5, 2), (6, 6), (23, 5), (7, None)])
def test_every_level_is_left_out_once_and_folds_are_even(n: int, k: int | None) -> None:
    sets = level_sets(n, k, seed=3)
    assert len(sets) == (n if k is None else k)
    assert sorted(np.concatenate(sets)) == list(range(n))
    sizes = [len(levels) for levels in sets]
    assert max(sizes) - min(sizes) <= 1


def test_the_seed_decides_who_shares_a_fold() -> None:
    first, again, other = ([s.tolist() for s in level_sets(20, 4, seed)] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("n", "k", "kind", "message"),
    [
        (1, None, ValueError, "at least two groups"),
        (4, 5, ValueError, "k must be from 2 to the number of groups, 4; not 5"),
        (4, 1, ValueError, "k must be from 2"),
        (4, 2.5, TypeError, "k must be a whole number of folds"),
        (4, True, TypeError, "k must be a whole number of folds"),
    ],
)
def test_impossible_folds(n: int, k: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        level_sets(n, k, seed=1)  # type: ignore[arg-type]


def test_rows_without_a_level_are_in_no_fold() -> None:
    codes = np.array([2, -1, 0, 2, 1, -1])
    assert [rows.tolist() for rows in rows_by_level(codes, 3)] == [[2], [4], [0, 3]]


def test_levels_of_which_no_row_is_left() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(-1, 9, 60)
    tally = Tally.of(codes, 10)
    for size in (0, 5, 30, 60):
        lost = rng.choice(60, size, replace=False)
        left = set(np.delete(codes, lost))
        expected = sorted(level for level in set(codes[lost]) if level >= 0 and level not in left)
        assert tally.emptied(lost).tolist() == expected


@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_those_of_a_fit_of_the_rows_left(name: str) -> None:
    """Also where levels of the other factors were seen, and where the rows of a level are split."""
    state = state_of(name)
    design = state.problem.design
    thirds = [Fold(np.arange(i, design.y.size, 3), np.arange(i, design.y.size, 3)) for i in (0, 1)]
    for fold in [*by_level(state)[:3], *by_level(state, -1)[:2], *thirds]:
        [found] = left_out(state, [fold])
        keep = np.ones(design.y.size, dtype=bool)
        keep[fold.lost] = False
        alone = refit_rows(state, keep)
        expected = design.X[fold.test] @ alone.beta
        for term, modes in zip(design.terms, alone.modes, strict=True):
            expected += (term.Z[fold.test] * modes[term.codes[fold.test]]).sum(axis=1)
        np.testing.assert_allclose(found.mean, expected, rtol=1e-9)


def test_rows_may_be_lost_without_being_predicted() -> None:
    state = state_of("Penicillin")
    lost = np.arange(40)
    [some] = left_out(state, [Fold(lost[:10], lost)], density=True)
    [every] = left_out(state, [Fold(lost, lost)], density=True)
    np.testing.assert_allclose(some.mean, every.mean[:10], rtol=1e-12)
    assert some.log_density > every.log_density  # of ten rows and of forty, each with a density below 1


@pytest.mark.parametrize("name", MODELS)
def test_processes_do_not_change_the_numbers(name: str) -> None:
    state = state_of(name)
    one, two = (left_out(state, by_level(state), density=True, n_jobs=n_jobs) for n_jobs in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)
        assert a.log_density == b.log_density


def test_singular_folds_say_so() -> None:
    df = interlace.datasets.load("Dyestuff2")
    with pytest.warns(interlace.ConvergenceWarning, match="singular"):
        state = interlace.fit("Yield ~ 1 + (1 | Batch)", df).state
    [found] = left_out(state, by_level(state)[:1])
    assert found.converged
    assert found.messages == ("singular fit: the covariance matrix of (Intercept | Batch) is not of full rank",)


@pytest.mark.filterwarnings("ignore:singular fit:interlace.ConvergenceWarning")
def test_what_the_rows_left_do_not_identify_is_handed_back() -> None:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(6), 5)
    df = {"y": rng.normal(size=30), "x": np.where(g == 2, rng.normal(size=30), 0.0), "g": g}
    state = interlace.fit("y ~ x + (1 | g)", df).state
    found = left_out(state, by_level(state))
    assert [one is None for one in found] == [False, False, True, False, False, False]


def test_too_few_levels_or_rows_are_not_worth_a_try() -> None:
    state = state_of("sleepstudy")
    design = state.problem.design
    rows, counted = np.arange(180), tallies(design)
    assert identifies(design, counted, Fold(rows[:160], rows[:160]))
    assert not identifies(design, counted, Fold(rows[:170], rows[:170]))  # one subject
    few = np.setdiff1d(rows, [0, 10, 20, 21])
    assert not identifies(design, counted, Fold(rows[:1], few))  # six random effects, four rows


def test_tasks_come_back_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [[3], [1, 2], [5, 5, 5]]
    assert list(in_order(sum, tasks)) == list(in_order(sum, tasks, n_jobs=2)) == [3, 3, 15]
    assert not capsys.readouterr().err
    assert list(in_order(sum, tasks, progress="sums")) == [3, 3, 15]
    assert "6/6" in capsys.readouterr().err
    assert whole_number_of_jobs(None) is None
    for wrong in (0, 1.5, True, "2"):
        with pytest.raises(ValueError, match="n_jobs must be a whole number"):
            whole_number_of_jobs(wrong)
