"""Policies with few parameters: the chain rule against differences of the value, and an ascent that ascends."""

import sys
from pathlib import Path

import numpy as np
import pytest

import pepg

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

from support import linear_policies as linear


@pytest.fixture(scope="module")
def env():
    return pepg.random_softmax_pemdp(np.random.default_rng(3), 3, 2, 0.8, 2.0, 2.0, 1).select(0)


@pytest.fixture(scope="module")
def drawn(env):
    return linear.draw([np.random.default_rng(seed) for seed in range(4)], env, n_features=5)


def test_each_generator_draws_what_it_draws_alone(env, drawn):
    x, features = linear.draw([np.random.default_rng(2)], env, n_features=5)
    np.testing.assert_array_equal(x[0], drawn[0][2])
    np.testing.assert_array_equal(features[0], drawn[1][2])


def test_policy_is_the_softmax_of_inner_products(env, drawn):
    x, features = drawn
    expected = pepg.softmax(np.einsum("nsak,nk->nsa", features, x))
    np.testing.assert_allclose(linear.policy(x, features), expected, rtol=1e-12)


def test_gradient_in_the_parameters(env, drawn):
    x, features = drawn
    gradient = linear.to_parameters(pepg.performative_gradient(env, linear.policy(x, features)), features)
    h = 1e-5
    for k, unit in enumerate(np.eye(x.shape[-1])):
        high, low = (pepg.performative_value(env, linear.policy(x + sign * h * unit, features)) for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, k], (high - low) / (2 * h), atol=1e-8)


def test_ascent(env, drawn):
    x, features = drawn
    values = linear.ascend(env, x, features, 0.5, 20)
    assert values.shape == (21, 4) and (np.diff(values, axis=0) > 0).all()
    np.testing.assert_allclose(values[0], pepg.performative_value(env, linear.policy(x, features)))
    plain = linear.ascend(env, x, features, 0.5, 1, pepg.algorithms.policy_gradient)
    there = x + 0.5 * linear.to_parameters(pepg.policy_gradient(env, linear.policy(x, features)), features)
    np.testing.assert_allclose(plain[1], pepg.performative_value(env, linear.policy(there, features)))
