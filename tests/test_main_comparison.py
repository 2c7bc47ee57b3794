"""What notebook 11 tunes and compares with: rows that say what was run, and the intervals over draws."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

from pepg import algorithms, figures
from support import main_comparison as comparison
from support.local_optima import PAPERS, world

SMALL = (0.3, 2, 5.0)


def test_where_algorithms_end_is_what_they_give_alone():
    """With draws side by side, in their order, as in one world with one start."""
    draws = ["7", PAPERS]
    for draw, rows in zip(draws, comparison.ends((SMALL, draws), 3, 4, {SMALL: 0.01})):
        env = world(SMALL, draw)
        for row, policy in zip(rows, (env.uniform_policy(), env.epsilon_greedy_policy(0.1)), strict=True):
            assert row[3] == draw and row[5] == 0.01
            assert row[6] == pytest.approx(algorithms.pepg(env, policy=policy, iterations=3).values[-1], abs=1e-12)
            assert row[7] == pytest.approx(algorithms.policy_gradient(env, policy=policy, iterations=3).values[-1], abs=1e-12)
            rpo = algorithms.repeated_policy_optimization(env, policy=policy, iterations=4, regularization=0.01)
            assert row[8] == pytest.approx(rpo.values.mean(), abs=1e-9)  # five deployments: fewer than the last ten


def test_tuning_keeps_the_best_mean_over_draws():
    columns = [*comparison.SETTING, "algorithm", "η", "λ", "value"]
    rows = [(*SMALL, "RPO", np.nan, 0.0, -0.2), (*SMALL, "RPO", np.nan, 0.1, -0.1), (*SMALL, "RGA", 1.0, 0.0, 0.0)]
    best = comparison.best_of(pd.DataFrame(rows, columns=columns), "RPO")
    assert list(best) == [SMALL] and best[SMALL]["λ"] == 0.1
    table = comparison.tuning([SMALL], (3, 4), 2, (0.0, 1.0), (1.0, 2.0))
    assert table["algorithm"].tolist() == ["RPO", "RPO", "RGA", "RGA"]
    each = [comparison.scores_of_rpo((SMALL, [draw]), 2, (1.0,))[0][0][-1] for draw in (3, 4)]
    assert table["value"][1] == pytest.approx(np.mean(each), abs=1e-9)


def test_gains_are_over_the_numbered_draws():
    columns = [*comparison.SETTING, "draw", "start", "λ of RPO", "PePG", "PG", "RPO"]
    rows = [(*SMALL, draw, "uniform", 0.0, value, 0.0, 1.0) for draw, value in (("paper's", 9.0), ("0", 1.0), ("1", -0.5), ("2", 2.5))]
    row = comparison.gains(pd.DataFrame(rows, columns=columns)).iloc[0]
    mean, low, high = figures.mean_interval(np.array([1.0, -0.5, 2.5]))
    assert (row["PePG − PG"], row["PePG − PG, low"], row["PePG − PG, high"]) == (mean, low, high)
    assert row["PePG − PG, draws above 0"] == 2 and row["PePG − PG, paper's draw"] == 9.0
    assert row["PePG − RPO"] == pytest.approx(0.0)
