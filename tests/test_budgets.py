"""Runs at equal expense, against the definition: the last iterate whose cost is within the budget."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from pepg.algorithms import Run
from pepg.experiments import (
    budget_curve,
    budget_difference,
    budget_grid,
    budget_table,
    mean_interval,
    paid_for,
    paired_difference,
    plus_minus,
    value_at,
)


def runs(n=3, iterations=7, each=2, seed=0):
    """Made-up runs side by side: `each` deployments an iteration, transitions of their own, some iterations without any."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 4, (iterations, n))
    samples = np.concatenate([np.zeros((1, n), dtype=int), np.cumsum(steps, axis=0)])
    values = rng.normal(size=(iterations + 1, n))
    policies, shifts = np.ones((*values.shape, 1, 1)), np.zeros(values[1:].shape)
    return Run(policies, values, shifts, each * np.arange(iterations + 1), samples)


def by_hand(spent, values, budget):
    kept = [value for cost, value in zip(spent, values) if cost <= budget]
    return kept[-1]


def test_paid_for_is_the_last_iterate_within_the_budget():
    run = runs()
    budgets = np.array([0, 0.5, 1, 2, 3.999, 4, 9, 14, 1000])
    for unit, spent in (("deployments", np.repeat(run.deployments[:, None], 3, axis=1)), ("samples", run.samples)):
        expected = [[by_hand(spent[:, k], run.values[:, k], budget) for k in range(3)] for budget in budgets]
        assert_array_equal(value_at(run, budgets, unit), expected)
        for k in range(3):  # a run of its own
            alone = Run(run.policies[:, k], run.values[:, k], run.shifts[:, k], run.deployments, run.samples[:, k])
            assert_array_equal(value_at(alone, budgets, unit), np.array(expected)[:, k])


def test_paid_for_takes_any_quantity():
    quantity = np.arange(24.0).reshape(4, 3, 2)
    assert_array_equal(paid_for([0, 2, 2, 5], quantity, [0, 1, 2, 4, 5, 6]), quantity[[0, 0, 2, 2, 3, 3]])
    spent = np.array([0, 2, 2, 5])[:, None, None] * np.array([1, 10])
    expected = np.stack([quantity[[0, 2, 3], :, 0], quantity[[0, 0, 0], :, 1]], axis=-1)
    assert_array_equal(paid_for(np.broadcast_to(spent, quantity.shape), quantity, [0, 3, 10]), expected)


def test_curves_and_grids():
    run = runs(n=5)
    grid = budget_grid(run, 6)
    assert grid[0] == 0 and grid[-1] == run.samples[-1].min()
    assert_allclose(np.diff(grid), grid[1])
    assert_array_equal(budget_grid(run, 8, "deployments"), run.deployments)
    table = budget_curve(run, grid, "samples", method="PePG", start="uniform")
    assert list(table) == ["method", "start", "unit", "spent", "mean", "low", "high"]
    assert set(table.method) == {"PePG"} and set(table.unit) == {"samples"}
    mean, low, high = mean_interval(value_at(run, grid, "samples"))
    for name, expected in (("spent", grid), ("mean", mean), ("low", low), ("high", high)):
        assert_array_equal(table[name], expected)


def test_paired_difference_is_the_paired_t_interval():
    rng = np.random.default_rng(1)
    first = rng.normal(size=(4, 12))
    second = first + 0.1 * rng.normal(size=(4, 12)) - 0.3
    mean, low, high = paired_difference(first, second, level=0.9)
    for k in range(4):
        interval = stats.ttest_rel(first[k], second[k]).confidence_interval(0.9)
        assert_allclose([low[k], high[k]], interval, rtol=1e-12)
    assert_allclose(mean, (first - second).mean(axis=-1))
    assert (high - low < np.subtract(*mean_interval(first)[:0:-1])).all()  # paired: narrower than either alone
    by_column = paired_difference(first.T, second.T, axis=0, level=0.9)
    assert_allclose(by_column, (mean, low, high), rtol=1e-12)


def test_differences_and_tables_at_a_budget():
    one, other = runs(n=5), runs(n=5, each=3, seed=1)
    for unit in ("deployments", "samples"):
        values, others = (value_at(run, [7], unit)[0] for run in (one, other))
        assert budget_difference(one, other, 7, unit) == paired_difference(values, others)
    table = budget_table({("a", 1): one, ("b", 2): other}, ["name", "rank"], {"deployments": [3, 7], "samples": [5]})
    assert list(table) == [
        "name", "rank", "deployments 3", "± deployments 3", "deployments 7", "± deployments 7", "samples 5", "± samples 5",
    ]
    assert table["name"].tolist() == ["a", "b"] and table["rank"].tolist() == [1, 2]
    mean, low, high = mean_interval(value_at(other, [5], "samples")[0])
    assert table["samples 5"][1] == mean and table["± samples 5"][1] == (high - low) / 2 == plus_minus((mean, low, high))[1]


def test_errors():
    run = runs()
    with pytest.raises(ValueError, match=r"^unit: expected one of 'deployments', 'samples', got 'hours'"):
        value_at(run, [1], "hours")
    for bad in ([-1], 3, [[1]], [np.nan]):
        with pytest.raises(ValueError, match=r"^budgets: expected numbers >= 0"):
            value_at(run, bad)
    with pytest.raises(ValueError, match=r"^spent: expected shape \(8,\) or \(8, 3\), got \(7,\)"):
        paid_for(np.arange(7), run.values, [1])
    with pytest.raises(ValueError, match=r"^second: expected the shape of first, \(8, 3\), got \(8,\)"):
        paired_difference(run.values, run.values[:, 0])
