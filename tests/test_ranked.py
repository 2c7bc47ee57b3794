"""Rewards by rank, mixtures of policies: what jumps and what does not, the certificate, Hedge and its bound."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import random_policy, seeds

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

import pepg
from pepg import algorithms, theory
from support import ranked as support


@st.composite
def worlds(draw):
    """A small ranked grid, and a generator."""
    rng = np.random.default_rng(draw(seeds))
    grid = rng.choice([-0.01, -0.02, -0.5], (draw(st.integers(3, 5)), draw(st.integers(3, 5))))
    grid[-1, -1] = 1.0
    inner = (grid.shape[0] - 1) * (grid.shape[1] - 1) - 1
    ranked, slip, gamma = draw(st.integers(1, inner // 2)), draw(st.floats(0.0, 1.0)), draw(st.floats(0.1, 0.95))
    return pepg.RankedGrid(grid, ranked, slip, gamma), rng


@given(worlds())
@settings(max_examples=40)
def test_a_value_is_that_of_sums_of_largest_visits(world):
    env, rng = world
    policy = random_policy(env, rng)
    occupancy = env.mdp.occupancy(policy)
    visits = np.sort(occupancy.sum(axis=1)[env.inner])[::-1]
    outside = env.grid.ravel().copy()
    outside[env.inner] = 0.0
    n = env.ranked
    inside = 0.01 * visits.sum() + 0.01 * visits[: 2 * n].sum() + 0.48 * visits[:n].sum()
    expected = (occupancy * (env.mdp.P @ outside)).sum() - inside / env.gamma
    assert pepg.performative_value(env, policy) == pytest.approx(expected, abs=1e-7)  # visits are ranked to nine decimals


@given(worlds())
@settings(max_examples=40)
def test_no_frozen_environment_promises_less_than_deployment_delivers(world):
    env, rng = world
    policies = random_policy(env, rng, (4,))
    landscape = theory.decoupled_landscape(env, policies)
    assert (landscape >= np.diag(landscape) - 1e-7).all()
    line = support.between(env, policies[0], policies[1], np.linspace(0.0, 1.0, 7))
    values = pepg.performative_value(env, line)
    assert (np.diff(values, 2) <= 1e-7).all()  # concave in the visits


@given(worlds())
@settings(max_examples=40)
def test_the_optimum_is_certified(world):
    env, rng = world
    optimum = env.certified_optimum()
    assert 0.0 <= optimum.gap < 1e-7  # the linear program is solved to 1e-10 in rewards, times the length of a walk
    assert optimum.value == pytest.approx(pepg.performative_value(env, optimum.policy))
    assert pepg.performative_value(env, random_policy(env, rng, (50,), scale=3.0)).max() <= optimum.value + 1e-7


def test_the_board():
    env = pepg.RankedGrid()
    assert (env.n_states, env.inner.size, env.ranked, env.gamma) == (64, 48, 8, 0.99)
    optimum = env.certified_optimum()
    assert optimum.gap < 1e-9
    entry = env.entry_rewards(env.uniform_policy())[env.inner]
    assert [(entry == level).sum() for level in (-0.5, -0.02, -0.01)] == [8, 8, 32]
    start = env.random_policies([0])[0]
    policy, plain = (
        algorithm(env, policy=start, iterations=40).values for algorithm in (algorithms.pepg, algorithms.policy_gradient)
    )
    assert (policy == plain).all() and optimum.value - 0.1 < policy[-1] < optimum.value


def test_the_gradient_is_that_of_the_value_away_from_ties():
    env = pepg.RankedGrid()
    with pytest.warns(UserWarning, match="^the response jumps: the derivative shows only 0 %"):
        pepg.check_environment(env)
    policy = env.random_policies([1], scale=1.0)[0]
    assert max(support.difference_errors(env, policy, (1e-4,), 20, 0)) < 1e-6


def test_tied_cells_rank_in_their_order():
    """The uniform policy's visits are symmetric, up to rounding that must not decide."""
    env = pepg.RankedGrid(slip=0.3)
    assert (env.entry_rewards(env.uniform_policy()) == env.entry_rewards(0.25 * (1 + 1e-14) * np.ones((64, 4)))).all()


@pytest.mark.parametrize(
    "keywords, name", [({"ranked": 25}, "ranked"), ({"ranked": 0}, "ranked"), ({"slip": 1.1}, "slip"), ({"gamma": 1.0}, "gamma")]
)
def test_bad_arguments_are_named(keywords, name):
    with pytest.raises(ValueError, match=f"{name}: "):
        pepg.RankedGrid(**keywords)


# Mixtures


def jumping(threshold, seed):
    """Transitions and rewards that jump where a policy crosses a threshold, each (s, a) at one of its own."""
    rng = np.random.default_rng(seed)
    P, r = rng.dirichlet(np.ones(3), (2, 3, 2)), rng.uniform(-1.0, 1.0, (2, 3, 2))

    def respond(policy):
        side = int((policy[:, 0] > threshold).sum() % 2)
        return P[side], r[side]

    return pepg.FunctionPeMDP(respond, 3, 2, 0.8, np.ones(3) / 3)


def environments():
    yield pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 3, 0.9, 3.0, 3.0)
    yield pepg.RankedGrid(np.array([[-0.01] * 3, [-0.01] * 3, [-0.01, -0.01, 1.0]]), ranked=1)
    yield from (jumping(0.5, seed) for seed in range(3))


@pytest.mark.parametrize("env", list(environments()), ids=lambda env: type(env).__name__)
def test_hedge_keeps_its_promise_whatever_the_response(env):
    run = algorithms.hedge(env, iterations=300)
    gap, bound = (f(env, run.policies[:-1]) for f in (theory.local_stability, theory.hedge_bound))
    assert (gap <= bound + 1e-12).all() and bound[-1] < 0.25 * bound[9]  # 1/sqrt(30) is 0.18


def test_hedge_by_hand():
    env = pepg.pigou()
    run = algorithms.hedge(env, iterations=3, step_size=2.0)
    policy, gained, squares = np.array([0.5, 0.5]), np.zeros(2), 0.0
    for t in range(3):
        np.testing.assert_allclose(run.policies[t][0], policy, atol=1e-12)
        r = np.array([-1.0, -policy[1]])
        gain = r - policy @ r
        gained, squares = gained + gain, squares + np.ptp(gain) ** 2
        weights = np.exp(2.0 * np.sqrt(np.log(2) / squares) * gained)
        policy = weights / weights.sum()


def test_local_stability_is_that_of_single_policies():
    env = pepg.Crowding(cost=0.5, grid=np.array([[-0.01, -0.5], [-0.01, 1.0]]))
    stable = env.certified_stable().policy
    assert theory.local_stability(env, stable[None])[0] == pytest.approx(0.0, abs=1e-9)
    other = env.uniform_policy()
    here = pepg.deploy(env, other)
    advantage = here.mdp.advantage(other)
    gap = (here.occupancy.sum(axis=1) * advantage.max(axis=1)).sum()
    assert theory.local_stability(env, np.stack([other, other])) == pytest.approx([gap, gap])
    assert gap > 0.1


def test_a_mixture_is_nearly_stable_where_its_policies_are_not():
    """The action that is played more pays less, and there is no policy that balances them for its own good."""

    def respond(policy):
        return np.ones((1, 2, 1)), np.where(policy > 0.5, -1.0, 0.0)

    env = pepg.FunctionPeMDP(respond, 1, 2, 0.5, np.ones(1))
    policies = np.array([[[0.51, 0.49]], [[0.49, 0.51]]])
    assert theory.local_stability(env, policies[:1])[0] == pytest.approx(2 * 0.51)
    assert theory.local_stability(env, policies[1:])[0] == pytest.approx(2 * 0.51)
    assert theory.local_stability(env, policies)[-1] == pytest.approx(2 * 0.01)


def test_bad_step_size_is_named():
    with pytest.raises(ValueError, match="step_size: "):
        algorithms.hedge(pepg.pigou(), step_size=0.0)
