"""Two independent derivations of the gradient agree with each other and with the exact one."""

import numpy as np
import pytest

import pepg
from pepg.theory.differences import by_differentiation, central_differences, norm


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_both_derivations_agree_with_the_exact_gradient(entropy):
    rng = np.random.default_rng(5)
    env = pepg.random_softmax_pemdp(rng, 3, 2, 0.8, 3.0, 2.0, 6)
    logits = rng.normal(size=(6, 3, 2))
    exact = pepg.performative_gradient(env, pepg.softmax(logits), entropy)
    assert (norm(by_differentiation(env, logits, entropy) - exact) <= 1e-10 * norm(exact)).all()
    assert (norm(central_differences(env, logits, entropy) - exact) <= 1e-8 * norm(exact)).all()
    wide = norm(central_differences(env, logits, entropy, width=2e-1) - exact)
    narrow = norm(central_differences(env, logits, entropy, width=1e-1) - exact)
    assert 8.0 < np.median(wide / narrow) < 32.0  # of fourth order


def test_differences_without_leading_axes():
    env = pepg.random_softmax_pemdp(np.random.default_rng(6), 3, 2, 0.8)
    logits = np.random.default_rng(7).normal(size=(3, 2))
    np.testing.assert_allclose(
        central_differences(env, logits), pepg.performative_gradient(env, pepg.softmax(logits)), atol=1e-9
    )
