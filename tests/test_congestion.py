"""The congestion game in closed form, and what stability is measured by: best_response_gain and stability_gap.

The stable and the optimal share are found a second time by bisection and by bounded search; the gain of a best response by
trying every deterministic policy.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq, minimize_scalar
from worlds import gridworlds, random_policy, seeds

import pepg
from pepg import theory


@st.composite
def games(draw):
    """Two roads, one of them free of congestion now and then; intercepts far apart make one road dominate."""
    rng = np.random.default_rng(draw(seeds))
    slopes = rng.exponential(size=2) * draw(st.sampled_from([(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)]))
    return pepg.pigou(rng.normal(0.0, draw(st.sampled_from([0.3, 2.0])), 2), slopes, draw(st.floats(0.0, 0.95)))


@st.composite
def random_worlds(draw, count=None, max_gamma=0.95):
    """Random softmax PeMDPs, and the generator for more."""
    rng = np.random.default_rng(draw(seeds))
    strengths = draw(st.floats(0.0, 4.0)), draw(st.floats(0.0, 2.0))
    sizes = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    return pepg.random_softmax_pemdp(rng, *sizes, draw(st.floats(0.0, max_gamma)), *strengths, count=count), rng


def shares(x):
    return np.array([[1.0 - x, x]])


def road_rewards(env, x):
    """The rewards of both roads when a share x takes road 1, from the environment's answer."""
    return env.respond(shares(x)).r[0]


# The closed forms


@given(games())
def test_stable_is_where_the_rewards_are_equal(env):
    """The root of r_0 - r_1, which rises with the share on road 1, or the end at which it keeps its sign."""
    apart = lambda x: road_rewards(env, x) @ [1.0, -1.0]  # noqa: E731
    expected = 0.0 if apart(0.0) >= 0.0 else 1.0 if apart(1.0) <= 0.0 else brentq(apart, 0.0, 1.0, xtol=1e-14)
    stable, _ = pepg.congestion_policies(env)
    assert_allclose(stable, shares(expected), rtol=0.0, atol=1e-9)
    assert abs(theory.best_response_gain(env, stable)) < 1e-12 * (1.0 + np.abs(env.rewards).max()) / (1.0 - env.gamma)


@given(games())
def test_optimal_is_where_the_value_is_largest(env):
    """By bounded search, which knows a flat maximum to the root of rounding only; no policy of a grid is better."""
    value = lambda x: pepg.performative_value(env, shares(x))  # noqa: E731
    found = minimize_scalar(lambda x: -value(x), bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-12}).x
    best = max((0.0, found, 1.0), key=value)
    _, optimal = pepg.congestion_policies(env)
    top = pepg.performative_value(env, optimal)
    scale = (1.0 + np.abs(env.rewards).max() + np.abs(env.reward_map).max()) / (1.0 - env.gamma)
    assert top >= value(best) - 1e-13 * scale
    curvature = 2.0 * np.abs(env.reward_map).sum() / (1.0 - env.gamma)
    assert abs(optimal[0, 1] - best) <= 1e-6 + np.sqrt(2e-13 * scale / curvature)
    grid = np.linspace(0.0, 1.0, 101)
    assert (pepg.performative_value(env, np.stack([1.0 - grid, grid], axis=-1)[:, None]) <= top + 1e-13 * scale).all()


@given(games())
def test_gradients_vanish_at_the_mixed_policies(env):
    """Inside the simplex PG is at rest at the stable policy and PePG at the optimal one, and not the other way round."""
    stable, optimal = pepg.congestion_policies(env)
    scale = (1.0 + np.abs(env.rewards).max() + np.abs(env.reward_map).max()) / (1.0 - env.gamma)
    if stable.min() > 0.0:
        assert np.abs(pepg.policy_gradient(env, stable)).max() < 1e-13 * scale
    if optimal.min() > 0.0:
        assert np.abs(pepg.performative_gradient(env, optimal)).max() < 1e-13 * scale
    if min(stable.min(), optimal.min()) > 1e-2 and np.abs(stable - optimal).max() > 1e-2:
        assert np.abs(pepg.policy_gradient(env, optimal)).max() > 1e-8
        assert np.abs(pepg.performative_gradient(env, stable)).max() > 1e-8


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
def test_pigou(gamma):
    """Everybody on the congested road against one half: the price of anarchy is 4/3, and the gap 1/4 of a bound of 1/2."""
    env = pepg.pigou(gamma=gamma)
    stable, optimal = pepg.congestion_policies(env)
    assert (stable == [[0.0, 1.0]]).all() and (optimal == [[0.5, 0.5]]).all()
    assert_allclose(pepg.performative_value(env, stable) / pepg.performative_value(env, optimal), 4.0 / 3.0, rtol=1e-13)
    left, right = theory.stability_gap(env, stable, optimal, env.lipschitz_constants())
    assert_allclose([left, right], np.array([0.25, 0.5]) / (1.0 - gamma), rtol=1e-12)


@given(games())
def test_price_of_anarchy_is_at_most_four_thirds(env):
    """Roughgarden and Tardos: for costs that are not negative (rewards shifted so that both intercepts are <= 0)."""
    env = replace(env, rewards=-np.abs(env.rewards))
    stable, optimal = pepg.congestion_policies(env)
    assert pepg.performative_value(env, stable) >= 4.0 / 3.0 * pepg.performative_value(env, optimal) * (1.0 + 1e-12)


def test_algorithms_end_at_the_closed_forms():
    """PG at the stable policy, PePG at the optimal one, from the uniform policy."""
    env = pepg.pigou(intercepts=(-1.0, -0.2), slopes=(0.5, 1.5), gamma=0.3)
    stable, optimal = pepg.congestion_policies(env)
    assert_allclose(pepg.algorithms.policy_gradient(env).policy, stable, atol=1e-5)
    assert_allclose(pepg.algorithms.pepg(env).policy, optimal, atol=1e-5)


def test_congestion_policies_refuses_what_is_no_congestion_game():
    """More states or actions, a batch, rewards that rise or follow the other road's share, or none that move."""
    pattern = "^env: expected one state, two actions and rewards that fall"
    rng = np.random.default_rng(0)
    game = pepg.pigou(slopes=(1.0, 1.0))
    crossed = game.reward_map.copy()
    crossed[0, 0, 0, 1] = -0.1
    refused = [
        pepg.random_softmax_pemdp(rng, 2, 2, 0.5),
        pepg.random_softmax_pemdp(rng, 1, 3, 0.5),
        pepg.random_softmax_pemdp(rng, 1, 2, 0.5, count=3),
        pepg.pigou(slopes=(-1.0, 2.0)),
        pepg.pigou(slopes=(0.0, 0.0)),
        replace(game, reward_map=crossed),
        replace(game, reward_strength=-1.0),
        replace(game, reward_strength=0.0),
    ]
    for env in refused:
        with pytest.raises(ValueError, match=pattern):
            pepg.congestion_policies(env)
    halved = replace(pepg.pigou(slopes=(2.0, 6.0)), reward_strength=0.5)
    for found, expected in zip(pepg.congestion_policies(halved), pepg.congestion_policies(pepg.pigou(slopes=(1.0, 3.0)))):
        assert_allclose(found, expected, rtol=1e-15)


# The gain of a best response


def best_of_all(env, policy):
    """The gain over `policy` (S, A) of the best deterministic policy in its environment, by trying all of them."""
    mdp = env.respond(policy)
    choices = np.array(list(product(range(env.n_actions), repeat=env.n_states)))
    return mdp.expected_return(np.eye(env.n_actions)[choices]).max() - mdp.expected_return(policy)


@given(random_worlds())
def test_best_response_gain_is_that_of_the_best_deterministic_policy(world):
    env, rng = world
    policies = [env.uniform_policy(), random_policy(env, rng), np.eye(env.n_actions)[rng.integers(env.n_actions, size=env.n_states)]]
    for policy in policies:
        expected = best_of_all(env, policy)
        assert_allclose(theory.best_response_gain(env, policy), expected, rtol=1e-9, atol=1e-9 / (1.0 - env.gamma))
        assert expected >= -1e-12 / (1.0 - env.gamma)


@given(gridworlds(max_gamma=0.9, max_side=2))
def test_best_response_gain_in_a_gridworld(env):
    """An environment of another kind, with a terminal state and moves that tie."""
    policy = random_policy(env, 1)
    assert_allclose(theory.best_response_gain(env, policy), best_of_all(env, policy), rtol=1e-9, atol=1e-10)


@given(random_worlds(count=4))
def test_best_response_gain_broadcasts(world):
    """Policies (2, 4, S, A) in 4 environments at once, like one by one."""
    env, rng = world
    policies = random_policy(env, rng, (2, 4))
    gains = theory.best_response_gain(env, policies)
    names = ("logits", "logit_map", "rewards", "reward_map", "rho")
    for i, j in np.ndindex(2, 4):
        single = replace(env, **{name: getattr(env, name)[j] for name in names})
        expected = theory.best_response_gain(single, policies[i, j])
        assert_allclose(gains[i, j], expected, rtol=1e-9, atol=1e-10 / (1.0 - env.gamma))


def test_a_stable_policy_of_its_own_making_has_no_gain():
    """Iterating best responses until they repeat gives deterministic stable policies; their gain is 0, elsewhere not."""
    rng = np.random.default_rng(2)
    env = pepg.random_softmax_pemdp(rng, 3, 3, 0.8, 0.5, 0.3, count=50)
    policy = np.full((50, 3, 3), 1.0 / 3.0)
    assert (theory.best_response_gain(env, policy) > 1e-3).all()
    for _ in range(40):
        last, mdp = policy, env.respond(policy)
        value = np.zeros((50, 3))
        for _ in range(200):  # value iteration, not the policy iteration of the function
            value = mdp.backup(value).max(axis=-1)
        policy = np.eye(3)[mdp.backup(value).argmax(axis=-1)]
    settled = (policy == last).all(axis=(-2, -1))
    assert settled.sum() > 30
    gain = theory.best_response_gain(env, policy)
    assert np.abs(gain[settled]).max() < 1e-10 and (gain[~settled] > 1e-10).all()


# What stability costs


def two_sides(env, stable, optimum):
    """The gap and the bound from their definitions, loops over states and actions included."""
    here, there = env.respond(stable), env.respond(optimum)
    gap = there.expected_return(optimum) - here.expected_return(stable)
    transition, reward = env.lipschitz_constants()
    values = there.value(optimum)
    distance = np.linalg.norm(optimum - stable)
    return gap, (reward + env.gamma * transition * (max(values) - min(values)) / 2.0) * distance / (1.0 - env.gamma)


@given(random_worlds())
def test_stability_gap_is_what_it_says(world):
    env, rng = world
    stable, optimum = random_policy(env, rng), random_policy(env, rng)
    found = theory.stability_gap(env, stable, optimum, env.lipschitz_constants())
    assert_allclose(found, two_sides(env, stable, optimum), rtol=1e-9, atol=1e-11 / (1.0 - env.gamma))


@given(random_worlds())
def test_gap_is_at_most_the_bound_and_the_gain(world):
    """For any two policies: V(π_O) - V(π) <= bound + best-response gain of π, which is R8 where the gain is 0."""
    env, rng = world
    policies, others = random_policy(env, rng, (50,)), random_policy(env, rng, (50,), scale=4.0)
    left, right = theory.stability_gap(env, policies, others, env.lipschitz_constants())
    slack = 1e-10 / (1.0 - env.gamma) ** 2
    assert (left <= right + theory.best_response_gain(env, policies) + slack).all()


def test_stability_gap_needs_stability():
    """With stable policies no violation against any comparator; with uniform ones there are: the check can fail."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 2, 2, 0.5, 2.0, 1.0, count=100)
    uniform = np.full((100, 2, 2), 0.5)
    stable = pepg.algorithms.policy_gradient(env, policy=uniform, iterations=200).policy
    found = theory.best_response_gain(env, stable) < 1e-8
    assert found.sum() > 60
    better = pepg.algorithms.pepg(env, policy=uniform, iterations=100).policy
    comparators = [better, *random_policy(env, 1, (20, 100))]
    left, right = (np.array(side) for side in zip(*(theory.stability_gap(env, stable, c, env.lipschitz_constants()) for c in comparators)))
    assert (left <= right + 1e-8)[:, found].all()
    left, right = theory.stability_gap(env, uniform, better, env.lipschitz_constants())
    assert (left > right).sum() >= 2


@given(games())
def test_stability_gap_in_closed_form(env):
    """Inside the simplex the gap of a congestion game is (c_0 + c_1) times the squared difference of the shares."""
    stable, optimal = pepg.congestion_policies(env)
    left, right = theory.stability_gap(env, stable, optimal, env.lipschitz_constants())
    slopes = -np.diag(env.reward_map[0, :, 0])
    difference = abs(stable[0, 0] - optimal[0, 0])
    scale = (1.0 + np.abs(env.rewards).max() + slopes.max()) / (1.0 - env.gamma)
    if optimal.min() > 0.0:
        assert_allclose(left, slopes.sum() * difference**2 / (1.0 - env.gamma), rtol=0.0, atol=1e-13 * scale)
    assert_allclose(right, slopes.max() * difference / (1.0 - env.gamma), rtol=1e-12)
    assert -1e-13 * scale <= left <= right + 1e-13 * scale
