"""The steps of the proofs of R1, R2 and R5: in order, between the two sides, and what they are in closed form."""

from math import sqrt, tanh

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import all_respond_alike, gridworlds, random_policy, seeds

import pepg
from pepg import theory
from pepg.experiments import random_instances


@st.composite
def softmax_pemdps(draw):
    strength = st.sampled_from([0.0, 0.1, 1.0, 5.0])
    return pepg.random_softmax_pemdp(
        np.random.default_rng(draw(seeds)), draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.floats(0.0, 0.99)),
        draw(strength), draw(strength), draw(st.sampled_from([None, 2])),
    )


def draw(env, seed, count=2):
    """Policies for every environment of a batch, (count, *env.lead, S, A)."""
    lead = getattr(env, "lead", ())
    return random_policy(env, seed, (count, *lead), scale=2.0)


def largest(env):
    """A bound of |V|: the scale of rounding."""
    low, high = env.reward_range()
    return np.maximum(np.abs(low), np.abs(high)) / (1.0 - env.gamma)


@given(softmax_pemdps(), seeds)
def test_terms_add_up_to_the_difference(env, seed):
    policy, other = draw(env, seed)
    left, right = theory.performance_difference(env, policy, other)
    terms = theory.difference_terms(env, policy, other)
    assert_allclose(terms.sum(axis=0), right, rtol=0.0, atol=1e-11 * largest(env).max())
    assert (np.abs(terms.sum(axis=0) - left) <= 1e-11 * largest(env)).all()


@given(gridworlds(), seeds)
def test_terms_add_up_with_a_terminal_state(env, seed):
    policy, other = draw(env, seed)
    left, _ = theory.performance_difference(env, policy, other)
    assert_allclose(theory.difference_terms(env, policy, other).sum(axis=0), left, rtol=0.0, atol=1e-11 / (1.0 - env.gamma))


@given(softmax_pemdps(), seeds)
def test_steps_of_the_shift_lead_from_left_to_right(env, seed):
    policy, other = draw(env, seed)
    constants = env.lipschitz_constants()
    steps = theory.shift_steps(env, policy, other, constants)
    left, right = theory.performative_shift(env, policy, other, constants)
    slack = 1e-11 * largest(env)
    assert (np.diff(steps, axis=0) >= -slack).all()
    assert_allclose(steps[0], left, rtol=0.0, atol=slack.max())
    assert_allclose(steps[5], right, rtol=1e-9, atol=slack.max())
    sharp = theory.sharp_shift(env, policy, other, constants)
    assert (left <= sharp + slack).all() and (sharp <= right + slack).all()


def test_steps_of_the_shift_keep_the_terms():
    """Two terms that cancel in q_1 do not in q_2, and each goes with its own sign up to q_0."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.9)
    policy, other = draw(env, 1)
    steps = theory.shift_steps(env, policy, other, env.lipschitz_constants())
    _, rewards, transitions = theory.difference_terms(env, policy, other)
    assert_allclose(steps[0], abs(rewards + transitions), rtol=1e-12)
    assert steps[2] >= abs(rewards) + abs(transitions)
    assert (np.diff(steps) > 0.0).all()


@pytest.mark.parametrize(("kappa", "slope", "u"), [(2.0, 0.0, 1.0), (10.0, 0.0, 0.5), (2.0, 3.0, 1.0)])
def test_sharp_shift_is_an_equality_where_all_respond_alike(kappa, slope, u):
    """Two states, P(1|s,a) = sigma(kappa <w, pi>), r = 1[s = 1] + slope <w, pi>, pi - pi' = u w."""
    gamma = 0.9
    env, w = all_respond_alike(kappa, slope, gamma)
    sides = env, 0.5 + u / 2 * w, 0.5 - u / 2 * w, env.lipschitz_constants()
    expected = (slope * u + gamma * tanh(kappa * u / 4)) / (1 - gamma)
    assert_allclose(theory.sharp_shift(*sides), expected, rtol=1e-9)
    assert_allclose(theory.shift_steps(*sides)[:5], expected, rtol=1e-9)


@given(softmax_pemdps(), seeds)
def test_steps_of_the_domination_lead_from_left_to_right(env, seed):
    policy, optimum = draw(env, seed)
    left, right, residual = theory.gradient_domination(env, policy, optimum)
    found = theory.domination_steps(env, policy, optimum)
    slack = 1e-11 * largest(env) * np.maximum(1.0, found.mismatch / found.least)
    assert (np.diff(found.steps, axis=0) >= -slack).all()
    assert_allclose(found.steps[0] + residual, left, rtol=0.0, atol=slack.max())
    assert_allclose(found.steps[5] + residual, right, rtol=1e-9, atol=slack.max())
    assert (left <= found.pairs + residual + slack).all()
    parts = pepg.performative_gradient(env, policy), pepg.policy_gradient(env, policy)
    lengths = found.gradient, found.policy_part, found.environment_part
    for length, part in zip(lengths, (*parts, parts[0] - parts[1])):
        assert_allclose(length, np.sqrt((part**2).sum(axis=(-2, -1))), rtol=1e-6, atol=1e-11 * largest(env).max())


@given(gridworlds(), seeds)
def test_steps_of_the_domination_with_a_terminal_state(env, seed):
    """The goal takes no part."""
    policy, optimum = draw(env, seed)
    left, right, residual = theory.gradient_domination(env, policy, optimum)
    found = theory.domination_steps(env, policy, optimum)
    slack = 1e-11 * found.mismatch / found.least / (1.0 - env.gamma)
    assert (np.diff(found.steps) >= -slack).all() and np.isfinite(found.pairs)
    assert_allclose(found.steps[[0, 5]] + residual, [left, right], rtol=1e-7, atol=slack)


@pytest.mark.parametrize(("n", "m"), [(1, 2), (6, 2), (6, 20)])
def test_steps_of_the_domination_in_closed_form(n, m):
    """Nothing responds, the next state is uniform, r = 1[a = 0]: only Cauchy and Schwarz loses, sqrt((m - 1) / m)."""
    env = pepg.SoftmaxPeMDP(
        logits=np.zeros((n, m, n)), logit_map=np.zeros((n, m, n, n, m)), rewards=np.tile(np.eye(m)[0], (n, 1)),
        reward_map=np.zeros((n, m, n, m)), gamma=0.9, rho=np.full(n, 1 / n),
    )
    policy = np.tile([0.3, *[0.7 / (m - 1)] * (m - 1)], (n, 1))
    found = theory.domination_steps(env, policy, np.tile(np.eye(m)[0], (n, 1)))
    assert_allclose(found.steps[:4], 7.0, rtol=1e-12)  # the gap, 0.7 / (1 - gamma)
    assert_allclose(found.steps[4:], 7.0 / sqrt((m - 1) / m), rtol=1e-12)
    assert_allclose([found.mismatch, found.least, found.environment_part], [1.0, 0.3, 0.0], atol=1e-12)


def test_random_instances_are_those_of_their_seed():
    def batches(*states):
        return list(random_instances(7, states, [2], [0.5, 0.9], [0.0, 1.0], 6))

    found = batches(2, 3)
    assert [(labels["states"], labels["gamma"], env.n_states, env.gamma) for labels, env, _ in found] == [
        (2, 0.5, 2, 0.5), (2, 0.9, 2, 0.9), (3, 0.5, 3, 0.5), (3, 0.9, 3, 0.9),
    ]
    for (labels, env, rng), (_, again, other) in zip(found, batches(2, 3)):
        assert env.lead == (6,) and set(labels["kappa_P"]) <= {0.0, 1.0}
        assert_allclose(env.transition_strength, labels["kappa_P"])
        assert_allclose(env.reward_strength, labels["kappa_r"])
        assert (env.logits == again.logits).all() and rng.random() == other.random()
    assert not np.allclose(found[0][1].rewards, found[1][1].rewards)
