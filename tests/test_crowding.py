"""Crowded worlds: the response, its gradient, Pigou's factor two, and the certificates against other proofs."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from worlds import mdps, random_policy

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

import pepg
from pepg import algorithms, theory
from support import crowding as support

ROUNDING = 1e-9  # of values of at most some thousands


@st.composite
def crowded(draw, max_gamma=0.95):
    mdp, rng = draw(mdps(max_gamma=max_gamma))
    return pepg.CrowdedMDP(mdp, cost=draw(st.floats(0.01, 3.0))), rng


def value_of_visits(env, policy):
    occupancy = env.mdp.occupancy(policy)
    return (occupancy * env.mdp.r).sum() - env.cost * (occupancy.sum(axis=1) ** 2).sum()


# The response


@given(crowded())
@settings(max_examples=40)
def test_a_value_is_that_of_the_visits(world):
    env, rng = world
    policy = random_policy(env, rng)
    assert pepg.performative_value(env, policy) == pytest.approx(value_of_visits(env, policy), rel=1e-10, abs=ROUNDING)


@given(crowded())
@settings(max_examples=20)
def test_environments_pass(world):
    pepg.check_environment(world[0])


@given(crowded())
@settings(max_examples=40)
def test_its_gradient_is_the_policy_gradient_at_twice_the_cost(world):
    """The derivation by occupancies, against the sum of the policy's and the environment's part."""
    env, rng = world
    policy = random_policy(env, rng, (2,))
    gradient = pepg.performative_gradient(env, policy)
    twice = pepg.policy_gradient(pepg.CrowdedMDP(env.mdp, 2.0 * env.cost), policy)
    np.testing.assert_allclose(gradient, twice, atol=1e-10 * max(1.0, np.abs(gradient).max()))


def test_transitions_do_not_respond():
    env, weights = pepg.Crowding(), np.random.default_rng(0).normal(size=(64, 4, 64))
    assert not env.transition_gradient(env.uniform_policy(), weights).any()
    sparse = csr_array(np.reshape(weights, (-1, env.n_states)))
    assert_array_equal(env.transition_gradient(env.uniform_policy(), sparse), np.zeros((env.n_states, env.n_actions)))
    slow = pepg.PeMDP.transition_gradient(env, env.uniform_policy(), weights)
    np.testing.assert_allclose(slow - slow.mean(axis=1, keepdims=True), 0.0, atol=1e-8)


# Certificates


@given(crowded(max_gamma=0.9))
@settings(max_examples=40)
def test_certificates_certify(world):
    """No policy is better than the optimum, none gains against the stable one, and the latter costs at most a third more."""
    env, rng = world
    optimum, stable = env.certified_optimum(), env.certified_stable()
    for one in (optimum, stable):
        assert 0.0 <= one.gap < 1e-9
        assert one.value == pytest.approx(pepg.performative_value(env, one.policy))
        assert one.value == pytest.approx(value_of_visits(env, one.policy))
    assert pepg.performative_value(env, random_policy(env, rng, (50,))).max() <= optimum.value + 1e-9
    assert stable.value <= optimum.value + 1e-9
    assert theory.best_response_gain(env, stable.policy) < 1e-9
    free = env.mdp.expected_return(pepg.best_response(env.mdp))
    assert free - stable.value <= 4.0 / 3.0 * (free - optimum.value) + 1e-9


def test_the_board_is_certified_and_reached():
    env = pepg.Crowding()
    assert (env.n_states, env.n_actions, env.gamma, env.cost, env.mdp.terminal.sum()) == (64, 4, 0.99, 1.0, 1)
    optimum, stable = env.certified_optimum(), env.certified_stable()
    assert max(optimum.gap, stable.gap) < 1e-9 and optimum.value > stable.value + 0.05
    starts = np.stack([env.uniform_policy(), *env.random_policies(range(2), 2.0), 0.9 * stable.policy + 0.025])
    best = algorithms.pepg(env, policy=starts, iterations=300)
    np.testing.assert_allclose(best.values[-1], optimum.value, atol=1e-9)
    rest = algorithms.policy_gradient(env, policy=starts, iterations=300)
    np.testing.assert_allclose(rest.values[-1], stable.value, atol=1e-5)
    ascent = algorithms.repeated_gradient_ascent(env, iterations=60, step_size=0.5, regularization=0.0)
    assert ascent.values[-1] == pytest.approx(stable.value, abs=1e-5)


def test_the_optimum_is_the_stable_point_of_twice_the_cost():
    optimum, stable = pepg.Crowding(cost=0.3).certified_optimum(), pepg.Crowding(cost=0.6).certified_stable()
    np.testing.assert_allclose(optimum.policy, stable.policy, atol=1e-9)
    free = pepg.Crowding(cost=0.0)
    assert free.certified_optimum().value == pytest.approx(free.mdp.expected_return(pepg.best_response(free.mdp)))


def branch_and_bound(env, tolerance):
    r"""The largest value over all policies of two states and two actions, with an upper bound, from the value alone.

    In :math:`x_s = \pi(1|s)` the slope is d(s) times a difference of action values for the rewards R - 2 c d, which is at most
    :math:`L = \frac{1}{(1-\gamma)^2} (span R + \frac{2c}{1-\gamma})`: a box of half width h holds nothing above V(centre) + 2 h L.
    """
    rest, mdp = 1.0 - env.gamma, env.mdp
    slope = (np.ptp(mdp.r) + 2.0 * env.cost / rest) / rest**2
    centres, half, best, upper = np.full((1, 2), 0.5), 0.5, -np.inf, -np.inf
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) / 2
    while len(centres):
        values = pepg.performative_value(env, np.stack([1.0 - centres, centres], axis=-1))
        best, bounds = max(best, values.max()), values + 2.0 * half * slope
        closed = bounds <= best + tolerance
        upper = max(upper, bounds[closed].max(initial=-np.inf))
        centres = (centres[~closed, None] + half * corners).reshape(-1, 2)
        half /= 2.0
    return best, max(upper, best)


@pytest.mark.parametrize("seed", range(5))
def test_the_certificate_agrees_with_branch_and_bound(seed):
    rng = np.random.default_rng(seed)
    P, r = rng.dirichlet(np.ones(2), (2, 2)), rng.uniform(-1.0, 1.0, (2, 2))
    env = pepg.CrowdedMDP(pepg.MDP(P, r, 0.3, rng.dirichlet(np.ones(2))), cost=0.5)
    best, upper = branch_and_bound(env, 5e-3)
    optimum = env.certified_optimum()
    assert best - 1e-9 <= optimum.value <= upper + 1e-9 and upper - best <= 5e-3


# Bad input


def test_bad_arguments_are_named():
    mdp = pepg.Crowding().mdp
    for arguments, name in (((mdp, -1.0), "cost"), ((mdp, np.nan), "cost"), ((None,), "mdp")):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            pepg.CrowdedMDP(*arguments)
    for keywords, name in (({"gamma": 1.0}, "gamma"), ({"grid": np.ones((2, 2))}, "grid"), ({"cost": -0.1}, "cost")):
        with pytest.raises(ValueError, match=f"{name}: "):
            pepg.Crowding(**keywords)
    with pytest.raises(ValueError, match="policy: "):
        pepg.Crowding().respond(np.ones((64, 4)))


# What notebook 23 does with data


def test_corruption_and_trimmed_means():
    rng = np.random.default_rng(0)
    n = 4000
    clean = rng.integers(5, size=n), rng.integers(2, size=n), np.full(n, -1.0), np.zeros(n, dtype=int)
    states, actions, rewards, then = support.corrupted(clean, 0.1, 3.0, 5, rng)
    hit = rewards != -1.0
    assert (states == clean[0]).all() and (actions == clean[1]).all() and (then[~hit] == 0).all()
    assert hit.mean() == pytest.approx(0.1, abs=0.02) and rewards[hit].mean() == pytest.approx(3.0, abs=0.15)
    assert rewards[hit].std() == pytest.approx(0.5, abs=0.1) and (then[hit] == 0).mean() == pytest.approx(0.2, abs=0.08)
    kept = support.trimmed((states, actions, rewards, then), 0.2, 2)
    assert (kept[2] == -1.0).all()  # a tenth at one end goes with the fifth that is cut there
    for pair in range(10):
        count = (2 * states + actions == pair).sum()
        assert (2 * kept[0] + kept[1] == pair).sum() == count - 2 * int(0.2 * count)
    assert all((a == b).all() for a, b in zip(np.sort(support.trimmed(clean, 0.0, 2)), np.sort(clean)))


@pytest.mark.parametrize("name", ["PePG", "PG", "RPO-FS"])
def test_learning_on_corrupted_data_repeats_itself(name):
    env = pepg.Crowding(cost=0.3, grid=np.array([[-0.01, -0.5], [-0.01, 1.0]]))
    settings = {"deployments": 10, "rate": 0.05, "trim": 0.1, "mean": 1.0, "trajectories": 100, "horizon": 30}
    first, second = (support.learn(env, name, env.uniform_policy(), 3, **settings) for _ in range(2))
    assert (first == second).all() and first[0] == pepg.performative_value(env, env.uniform_policy())
    assert first[-1] > first[0] + 1.0
