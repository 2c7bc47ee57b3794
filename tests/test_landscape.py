"""The decoupled landscape: its diagonal, its rows, and where its stable and optimal points are."""

import numpy as np
import pytest
from hypothesis import given, settings
from worlds import gridworlds, random_policy, seeds

import pepg
from pepg import theory


@given(gridworlds(), seeds)
@settings(max_examples=10)
def test_rows_are_frozen_environments_and_the_diagonal_is_the_performative_value(env, seed):
    policies = random_policy(env, seed, (3,))
    values = theory.decoupled_landscape(env, policies)
    np.testing.assert_allclose(np.diag(values), pepg.performative_value(env, policies), atol=1e-12)
    for i, j in ((0, 2), (2, 1)):
        assert values[i, j] == pytest.approx(env.respond(policies[i]).expected_return(policies[j]), abs=1e-12)


def test_pigou():
    """Following q where p is deployed earns -(1 - q) - p q on its roads: the stable row is flat, the optimum is at one half."""
    env, share = pepg.pigou(), np.linspace(0.0, 1.0, 5)
    values = theory.decoupled_landscape(env, np.stack([1.0 - share, share], axis=-1)[:, None])
    np.testing.assert_allclose(values, -(1.0 - share) - share[:, None] * share, atol=1e-12)
    assert np.ptp(values[-1]) < 1e-12 and np.diag(values).argmax() == 2


def test_one_policy_is_no_family():
    env = pepg.pigou()
    with pytest.raises(ValueError, match=r"policies: expected shape \(n, 1, 2\), got \(1, 2\)"):
        theory.decoupled_landscape(env, env.uniform_policy())
