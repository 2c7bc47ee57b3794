"""The Hessian operator against second differences of the value, and what a kink does to it."""

import numpy as np
import pytest

import pepg
from pepg.theory.curvature import asymmetry, hessian, largest_eigenvalue


@pytest.fixture(scope="module")
def env():
    return pepg.random_softmax_pemdp(np.random.default_rng(3), 3, 2, 0.8, 2.0, 2.0, 1).select(0)


def test_hessian_is_that_of_the_value(env):
    policy = env.random_policies([0], scale=0.5)[0]
    logits, width = np.log(policy), 1e-4
    unit = np.eye(policy.size).reshape(-1, *policy.shape)
    pairs = logits + width * (unit[:, None] + unit), logits + width * (unit[:, None] - unit)
    pairs += (logits - width * (unit[:, None] - unit), logits - width * (unit[:, None] + unit))
    high, cross, other, low = (pepg.performative_value(env, pepg.softmax(pair)) for pair in pairs)
    expected = (high - cross - other + low) / (4 * width**2)
    operator = hessian(env, policy)
    found = operator.matmat(np.eye(policy.size))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    eigenvalues = np.linalg.eigvalsh(found)
    assert largest_eigenvalue(operator) == pytest.approx(eigenvalues[np.abs(eigenvalues).argmax()], rel=1e-3)
    assert asymmetry(operator, eigenvalues.max()) < 1e-6


def test_hessian_errors(env):
    for policy in (env.uniform_policy()[None], np.eye(2)[[0, 1, 0]]):
        with pytest.raises(ValueError, match="policy: expected one"):
            hessian(env, policy)
    with pytest.raises(ValueError, match="width: expected a finite number > 0"):
        hessian(env, env.uniform_policy(), width=0.0)
