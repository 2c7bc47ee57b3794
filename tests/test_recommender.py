"""What notebook 20 tunes and draws."""

import sys
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

import pepg
from pepg import algorithms
from support import recommender as support


@pytest.fixture(scope="module")
def env():
    def respond(policy):
        pull = anp.exp(2.0 * policy)
        return anp.stack([pull / anp.sum(pull, axis=1, keepdims=True)] * 3, axis=1), anp.eye(3) * (1 - 0.5 * policy)

    return pepg.FunctionPeMDP(respond, n_states=3, n_actions=3, gamma=0.8, rho=np.ones(3) / 3)


def test_drawn_parameters_stay_in_their_ranges_and_follow_the_seed():
    drawn = [support.draw_parameters(seed, 4) for seed in range(50)]
    assert all(1.0 <= d["drift"] <= 6.0 and 0.3 <= d["satiation"] <= 0.8 and 0.05 <= d["adoption"] <= 0.2 for d in drawn)
    assert all((np.diff(d["appeal"]) <= 0).all() and d["appeal"].min() >= 0.6 for d in drawn)
    assert len({d["habit"] for d in drawn}) == 50
    assert drawn[7]["habit"] == support.draw_parameters(7, 4)["habit"]


def test_a_family_is_measured_world_by_world(env):
    rows = support.family({5: env}, 20, (0.5, 2.0)).iloc[0]
    start = {"policy": env.uniform_policy(), "iterations": 20}
    assert rows["draw"] == 5
    assert rows["PG"] == pytest.approx(0.2 * algorithms.policy_gradient(env, **start).values[-1])
    rpo = [algorithms.repeated_policy_optimization(env, regularization=s, **start).values[-10:].mean() for s in (0.5, 2.0)]
    assert rows["RPO"] == pytest.approx(0.2 * max(rpo), abs=1e-9)
