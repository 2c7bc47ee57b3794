"""Notebook 06d's environments: their gradient, the certificate of a concave value, and how much entropy makes it concave."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import pepg
from pepg.algorithms.retraining import closest_occupancy
from pepg.theory.differences import central_differences, norm

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

from support import concave

sizes = st.tuples(st.integers(1, 3), st.integers(2, 3))
seeds = st.integers(0, 2**32 - 1)
gammas = st.sampled_from([0.0, 0.5, 0.9])


def world(seed, size, gamma, least, count=4, chosen=False):
    rng = np.random.default_rng(seed)
    return concave.random_worlds(rng, size, gamma, least, count, chosen), rng


def policies(rng, env, *lead):
    return pepg.softmax(rng.normal(size=(*lead, *env.b.shape)))


@given(seeds, sizes, gammas, st.floats(-1.0, 1.0))
def test_the_gradient_is_the_derivative_of_the_value(seed, size, gamma, least):
    env, rng = world(seed, size, gamma, least)
    logits = rng.normal(size=env.b.shape)
    exact = pepg.performative_gradient(env, pepg.softmax(logits))
    assert (norm(central_differences(env, logits) - exact) <= 1e-7 * (1.0 + norm(exact))).all()


@given(seeds, sizes, gammas, st.booleans())
def test_the_value_is_the_function_of_the_occupancy(seed, size, gamma, chosen):
    env, rng = world(seed, size, gamma, -0.5, chosen=chosen)
    policy = policies(rng, env)
    d = env.occupancy(policy)
    assert_allclose(pepg.performative_value(env, policy), ((env.b - env.crowding(d)) * d).sum(axis=(-2, -1)), rtol=1e-10, atol=1e-10)


@given(seeds, sizes, gammas)
def test_directions_are_those_of_occupancies(seed, size, gamma):
    """The differences of occupancies lie in the basis, which is orthonormal and no larger than they need."""
    env, rng = world(seed, size, gamma, 0.0)
    basis = concave.directions(env.P, gamma)
    one, other = (env.occupancy(policies(rng, env)).reshape(4, -1, 1) for _ in range(2))
    change = one - other
    assert basis.shape == (4, size[0] * size[1], size[0] * (size[1] - 1))
    assert_allclose(np.swapaxes(basis, -1, -2) @ basis, np.broadcast_to(np.eye(basis.shape[-1]), (4, *[basis.shape[-1]] * 2)), atol=1e-12)
    assert_allclose(basis @ (np.swapaxes(basis, -1, -2) @ change), change, atol=1e-10 / (1.0 - gamma))


@given(seeds, sizes, gammas, st.floats(0.0, 1.0), st.booleans())
def test_no_policy_exceeds_the_certificate(seed, size, gamma, least, chosen):
    env, rng = world(seed, size, gamma, least, chosen=chosen)
    policy, others = policies(rng, env), policies(rng, env, 50)
    upper = pepg.performative_value(env, policy) + env.gap(policy)
    assert (pepg.performative_value(env, others) <= upper + 1e-9).all()


def test_the_certificate_needs_concavity():
    env, rng = world(1, (3, 2), 0.8, -1.0, count=100, chosen=True)
    policy, others = policies(rng, env), policies(rng, env, 50) ** 8
    others /= others.sum(axis=-1, keepdims=True)
    upper = pepg.performative_value(env, policy) + env.gap(policy)
    assert (pepg.performative_value(env, others) > upper + 1e-6).any()


@given(seeds, sizes, gammas, st.floats(-2.0, -0.01))
def test_enough_entropy_makes_the_value_concave_in_the_occupancy(seed, size, gamma, least):
    """Second differences along segments of occupancies are not positive at λ_C."""
    env, rng = world(seed, size, gamma, least)
    coefficient = concave.enough_entropy(env)
    one, other = (env.occupancy(pepg.softmax(rng.normal(0.0, 2.0, env.b.shape))) for _ in range(2))

    def value(t):
        d = one + t * (other - one)
        return ((env.b - env.crowding(d)) * d).sum(axis=(-2, -1)) + coefficient * concave.conditional_entropy(d)

    line = np.array([value(t) for t in np.linspace(0.0, 1.0, 21)])
    assert (np.diff(line, 2, axis=0) <= 1e-9 * (1.0 + np.abs(line).max())).all()


@given(seeds, sizes, gammas)
def test_the_formulas_of_the_proof(seed, size, gamma):
    env, rng = world(seed, size, gamma, -1.0)
    slope, by_policy, bend, minus_q, used = concave.along(env, policies(rng, env), policies(rng, env))
    assert_allclose(slope, by_policy, rtol=1e-9, atol=1e-9)
    assert_allclose(bend, minus_q, rtol=1e-3, atol=1e-4)
    assert (used <= 1.0 + 1e-12).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9])
def test_one_state_is_sharp(gamma):
    """Coordination, r_π(a) = π(a): λ_C is 1; just below it the uniform policy is a minimum, at it a maximum."""
    C, P = -(1.0 - gamma) * np.eye(2)[None], np.ones((1, 1, 2, 1))
    env = concave.OccupancyRewards(P, np.zeros((1, 1, 2)), C, gamma, np.ones((1, 1)))
    assert_allclose(concave.enough_entropy(env), 1.0, rtol=1e-12)
    near = pepg.softmax(np.array([[[[0.0, 0.0]]], [[[0.3, 0.0]]]]))
    for coefficient, rises in ((0.95, True), (1.0, False)):
        value = pepg.performative_value(env, near, coefficient)
        assert (value[1] > value[0]) == rises


def test_within_the_condition_pepg_solves_the_quadratic_program():
    env, rng = world(3, (3, 3), 0.8, 0.1, count=10)
    env = concave.OccupancyRewards(env.P, env.b, np.broadcast_to(0.1 * np.eye(9), (10, 9, 9)), 0.8, env.rho)
    d = closest_occupancy(env.with_rewards(env.b), env.b, 0.2)
    best = ((env.b - env.crowding(d)) * d).sum(axis=(-2, -1))
    run = pepg.algorithms.pepg(env, policy=concave.random_starts(rng, env, 3), iterations=300)
    assert_allclose(run.values[-1], np.broadcast_to(best, (3, 10)), atol=1e-7)
