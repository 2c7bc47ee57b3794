"""What an estimator has as its mean, and what tells that it has lost a part of the gradient."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import pepg
from pepg import data, theory
from pepg.theory import estimators
from pepg.theory.differences import cosine, inner, norm, slopes


def worlds(count=None, gamma=0.8):
    rng = np.random.default_rng(3)
    env = pepg.random_softmax_pemdp(rng, 4, 3, gamma, 8.0, 0.5, count=count)
    return env, pepg.softmax(rng.normal(size=(*env.lead, 4, 3)))


def test_slopes_of_a_polynomial_are_exact():
    logits = np.random.default_rng(0).normal(size=(5, 2, 3))
    found = slopes(lambda x: (x**4).sum(axis=(-2, -1)), logits, width=0.1)
    assert_allclose(found, 4.0 * logits**3, atol=1e-11)


def test_cosine():
    x, y = np.random.default_rng(1).normal(size=(2, 5, 3, 2))
    assert_allclose(cosine(x, 2.0 * x), 1.0)
    across = y - (inner(x, y) / norm(x) ** 2)[:, None, None] * x
    assert_allclose(cosine(x, across), 0.0, atol=1e-15)
    assert_allclose(cosine(x, x * norm(across)[:, None, None] + across * norm(x)[:, None, None]), np.sqrt(0.5))


def test_visits_of_many_steps_are_the_occupancy():
    env, policy = worlds(5)
    mdp = env.respond(policy)
    assert_allclose(estimators.visits(mdp, policy, 200, env.gamma), mdp.occupancy(policy), atol=1e-12)
    assert_allclose(estimators.visits(mdp, policy, 7, 1.0).sum(axis=(-2, -1)), 7.0)
    for i in range(5):
        assert_allclose(
            estimators.visits(mdp, policy, 9, 0.5)[i], estimators.visits(env.select(i).respond(policy[i]), policy[i], 9, 0.5), atol=1e-14
        )


def test_visits_end_in_terminal_states():
    grid = pepg.Gridworld()
    mdp, policy = grid.respond(grid.uniform_policy()), grid.uniform_policy()
    assert_allclose(estimators.visits(mdp, policy, 2000, grid.gamma), mdp.occupancy(policy), atol=1e-8)


def test_the_expected_update_with_the_occupancy_is_the_gradient():
    env, policy = worlds(6)
    here = pepg.deploy(env, policy)
    complete = estimators.expected_update(env, here, here.occupancy)
    assert_allclose(complete, pepg.performative_gradient(env, policy), atol=1e-13)
    lost = estimators.expected_update(estimators.WithoutTransitions(env), here, here.occupancy)
    assert_allclose(complete - lost, theory.gradient_parts(env, policy)[2], atol=1e-13)


def test_without_transitions_the_environment_is_the_same():
    env, policy = worlds()
    without = estimators.WithoutTransitions(env)
    assert_array_equal(without.respond(policy).P, env.respond(policy).P)
    parts = theory.gradient_parts(without, policy)
    assert_allclose(parts[2], 0.0, atol=1e-14)
    assert_allclose(parts[1], theory.gradient_parts(env, policy)[1], atol=1e-14)


def test_estimates_of_several_estimators_come_from_the_same_trajectories():
    env, policy = worlds()
    here = pepg.deploy(env, policy)

    def weightings(paths):
        total = data.returns(paths, env.gamma)
        return {"discounted": (total,), "not": (total, total, False)}

    found = estimators.estimates(env, here, weightings, 50, 10, np.random.default_rng(4))
    paths = data.sample_trajectories(here.mdp, policy, 50, 10, np.random.default_rng(4))
    total = data.returns(paths, env.gamma)
    assert_array_equal(found["discounted"], data.gradient_estimates(env, policy, paths, total))
    assert_array_equal(found["not"], data.gradient_estimates(env, policy, paths, total, discounted=False))


def test_estimates_refuse_a_count_that_would_be_cut():
    env, policy = worlds()
    with pytest.raises(ValueError, match="count: expected at most 10000 or a multiple"):
        estimators.estimates(env, pepg.deploy(env, policy), dict, 15_000, 10, np.random.default_rng(4))


def test_the_coefficient_and_the_power_see_a_lost_part():
    rng = np.random.default_rng(5)
    env, policy = worlds()
    parts = theory.gradient_parts(env, policy)
    exact, part = sum(parts), parts[2]
    noise = rng.normal(size=(4000, 4, 3))
    noise -= noise.mean(axis=-1, keepdims=True)
    for share in (1.0, 0.0):
        each = exact - (1.0 - share) * part + norm(part) * noise
        middle, low, high = estimators.coefficient(each, exact, part)
        assert low < middle < high and low < share < high
    assert estimators.power(each, part, 4000) > 0.99
    assert estimators.power(each, 0.0 * part, 4000) == pytest.approx(0.01)
    # The noise has the covariance of the projection on rows that sum to 0, times the part's squared length.
    expected = stats.ncx2.sf(stats.chi2.isf(0.01, 8), 8, 10.0)
    assert estimators.power(norm(part) * noise, part, 10) == pytest.approx(expected, rel=0.05)
