"""Without a response PePG is PG, bit for bit, and a stable policy is optimal; with one, neither holds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import gridworlds, random_policy, seeds

import pepg
from pepg import algorithms, theory


@st.composite
def deaf_worlds(draw):
    """Environments that do not respond: small gridworlds with beta = 0, and PeMDPs of strengths 0, one or three side by side."""
    if draw(st.booleans()):
        return replace(draw(gridworlds()), beta=0.0), ()
    count = draw(st.sampled_from([None, 3]))
    rng, sizes = np.random.default_rng(draw(seeds)), (draw(st.integers(1, 5)), draw(st.integers(1, 4)))
    return pepg.random_softmax_pemdp(rng, *sizes, draw(st.floats(0.0, 0.95)), 0.0, 0.0, count), () if count is None else (count,)


@given(deaf_worlds(), seeds)
def test_every_policy_is_answered_alike(world, seed):
    """The same P and r for any two policies, and no gradient through the response: exact zeros."""
    env, lead = world
    one, other = random_policy(env, seed, lead), random_policy(env, seed + 1, lead)
    first, second = env.respond(one), env.respond(other)
    assert (first.P == second.P).all() and (first.r == second.r).all()
    assert (pepg.deploy(env, one).environment_part(env) == 0.0).all()
    assert (pepg.performative_gradient(env, one) == pepg.policy_gradient(env, one)).all()


@pytest.mark.parametrize("settings", [{}, {"step_size": 0.5}, {"entropy": 0.1}, {"step_size": 0.5, "entropy": 0.1}])
@given(world=deaf_worlds(), seed=seeds)
def test_pepg_is_pg(settings, world, seed):
    """Step by step and bit by bit, with either step rule, with entropy and without."""
    env, lead = world
    start = random_policy(env, seed, lead)
    runs = [run(env, policy=start, iterations=8, **settings) for run in (algorithms.pepg, algorithms.policy_gradient)]
    assert (runs[0].policies == runs[1].policies).all() and (runs[0].values == runs[1].values).all()


@given(deaf_worlds(), seeds)
def test_the_shift_costs_nothing(world, seed):
    """R1 is the ordinary lemma and R2 holds with constants 0: the gap to any policy is its advantage, so a stable one is optimal."""
    env, lead = world
    one, other = random_policy(env, seed, lead), random_policy(env, seed + 1, lead)
    scale = np.abs(env.respond(one).r).max() / (1.0 - env.gamma) ** 2
    left, right = theory.performative_shift(env, one, other, (0.0, 0.0))
    assert_allclose(left, 0.0, atol=1e-13 * scale)
    assert (right == 0.0).all()
    best = pepg.best_response(env.respond(one))
    assert (pepg.performative_value(env, best) >= pepg.performative_value(env, other) - 1e-13 * scale).all()
    assert_allclose(theory.best_response_gain(env, best), 0.0, atol=1e-13 * scale)


@pytest.mark.parametrize("algorithm", [algorithms.pepg, algorithms.policy_gradient])
@pytest.mark.parametrize(
    "env",
    [pepg.Gridworld(beta=0.0, n_followers=2), pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 3, 0.8, 0.0, 0.0)],
    ids=["gridworld", "softmax"],
)
def test_where_they_rest_is_optimal(algorithm, env):
    """The ends from three starts are stable, and worth what the optimal policy of the one environment is worth."""
    run = algorithm(env, policy=random_policy(env, 0, (3,), scale=0.1), iterations=200)
    assert_allclose(theory.best_response_gain(env, run.policy), 0.0, atol=1e-10)
    best = pepg.best_response(env.respond(env.uniform_policy()))
    assert_allclose(run.values[-1], pepg.performative_value(env, best), rtol=0.0, atol=1e-10)


@pytest.mark.parametrize(
    "env",
    [
        pepg.Gridworld(beta=0.01, n_followers=2),
        pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 3, 0.8, 0.01, 0.0),
        pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 3, 0.8, 0.0, 0.01),
    ],
    ids=["gridworld", "transitions", "rewards"],
)
def test_the_weakest_response_tells_them_apart(env):
    """With any response the environment's part is there and the two ascents part."""
    start = random_policy(env, 0)
    assert (pepg.deploy(env, start).environment_part(env) != 0.0).any()
    runs = [run(env, policy=start, iterations=3, step_size=1.0) for run in (algorithms.pepg, algorithms.policy_gradient)]
    assert (runs[0].policies[1:] != runs[1].policies[1:]).any(axis=(1, 2)).all()
    assert not np.array_equal(env.respond(start).P, env.respond(runs[0].policy).P) or not np.array_equal(
        env.respond(start).r, env.respond(runs[0].policy).r
    )
