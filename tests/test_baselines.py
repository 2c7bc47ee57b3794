"""What notebooks 15a, 15b and 15c measure retraining with."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

import pepg
from support import baselines


def path(occupancies):
    changes = [baselines.relative_change(after, before) for before, after in zip(occupancies, occupancies[1:])]
    return baselines.Path(list(occupancies), [], [float(d.sum()) for d in occupancies], changes)


def test_a_run_that_contracts_converges_at_its_factor():
    d = np.ones((3, 2))
    row = baselines.classify(path([d + 0.5**t for t in range(40)]))
    assert row["verdict"] == "converged" and row["period"] == 1
    assert row["factor"] == pytest.approx(0.5, rel=1e-6)
    assert row["iterations"] == 27  # the change from iterate 26 to 27, 2^-27 of a norm, is the first below 1e-8


@pytest.mark.parametrize("period", [2, 3, 5])
def test_a_cycle_has_its_period(period):
    row = baselines.classify(path([np.ones((3, 2)) + (t % period) for t in range(60)]))
    assert row["verdict"] == "cycle" and row["period"] == period
    assert row["value high"] - row["value low"] == pytest.approx(6 * (period - 1))


def test_a_drift_is_still_moving():
    row = baselines.classify(path([np.ones((3, 2)) * (1 + 0.1 * t) for t in range(60)]))
    assert row["verdict"] == "still moving" and row["period"] is None


def test_this_loop_is_the_packages_algorithm():
    env = pepg.Gridworld(eps=0.3, beta=2.0, n_followers=2)
    ours = baselines.retrain(env, baselines.rpo(0.5), 4)
    run = pepg.algorithms.repeated_policy_optimization(
        env, policy=env.epsilon_greedy_policy(0.1), iterations=4, regularization=0.5
    )
    np.testing.assert_allclose(ours.policies, run.policies, atol=1e-10)
    np.testing.assert_allclose(ours.values, run.values, atol=1e-12)


def test_the_gap_is_that_of_the_regularised_objective():
    env = pepg.Gridworld(eps=0.3, beta=2.0, n_followers=2)
    mdp, gap = env.respond(env.uniform_policy()), baselines.suboptimality(0.5)
    best = baselines.rpo(0.5)(mdp, None)
    other = mdp.occupancy(env.uniform_policy())
    objective = [(d * mdp.r).sum() - 0.25 * (d**2).sum() for d in (best, other)]
    assert gap(mdp, best) == pytest.approx(0.0, abs=1e-6)
    assert gap(mdp, other) == pytest.approx((objective[0] - objective[1]) / abs(objective[0]), abs=1e-6)


def test_the_simplex_solves_the_linear_program():
    env = pepg.Gridworld(eps=0.3, beta=2.0, n_followers=2)
    mdp = env.respond(env.uniform_policy())
    best = mdp.expected_return(pepg.mdp.best_response(mdp))
    assert (baselines.simplex_occupancy(mdp) * mdp.r).sum() == pytest.approx(best, abs=1e-9)


def test_an_unseen_pair_is_guessed_to_lead_to_a_cell_around():
    env = pepg.Gridworld(eps=0.3, beta=2.0, n_followers=2)
    rows = baselines.guess(env)
    np.testing.assert_allclose(rows.sum(axis=-1), 1.0)
    for state in range(env.n_states):
        assert set(np.flatnonzero(rows[state, 0])) == set(np.unique(env.next_state[state]))


def test_one_follower_is_that_of_its_number():
    three = pepg.Gridworld(0.3, n_followers=3, grid=baselines.SMALL_GRID).follower_grids
    np.testing.assert_array_equal(baselines.small_world(2).follower_grids, three[2:])


def test_retraining_without_lag_settles_at_once():
    """With w = 1 the environment is the response, and RR is exact RPO."""
    env = baselines.small_world(0)
    run = pepg.algorithms.repeated_policy_optimization(env, policy=env.uniform_policy(), iterations=40, regularization=0.1)
    goal = env.respond(run.policy).occupancy(run.policy)
    away = baselines.relative_change(env.respond(run.policies).occupancy(run.policies), goal)
    assert baselines.settling(env, 1.0, 1, None, 0.1) == int(np.argmax(away < 0.01))


def test_findings_are_judged_by_their_corrected_p():
    import pandas as pd

    def verdict(*differences):
        labels = {"grid": "4x4", "trajectories": 10, "difference": "a - b"}
        rows = [labels | {"w": w, "early": d, "early low": d - 1, "early high": d + 1} for w, (d, _) in zip(("0.5", "0.15"), differences)]
        shares, p = (0.5, 0.15)[: len(differences)], [p for _, p in differences]
        return baselines.finding(pd.DataFrame(rows), "a is faster", "a - b", "early", shares, ("4x4", 10), p, True)["verdict"]

    assert verdict((-2.0, 0.01), (-2.0, 0.04)) == "holds"
    assert verdict((-2.0, 0.01), (-1.0, 0.06)) == "holds in part"
    assert verdict((2.0, 0.01)) == "the reverse holds"
    assert verdict((-2.0, 0.01), (2.0, 0.01)) == "both ways"
    assert verdict((-2.0, 0.06)) == "not shown"


def test_holm_steps_down():
    np.testing.assert_allclose(baselines.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(baselines.holm([0.5, 0.9]), [1.0, 1.0])
    assert baselines.holm([0.02]) == pytest.approx(0.02)
