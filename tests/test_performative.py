"""The performative value, its gradient, and the policy gradient in the frozen environment.

Differences are of fourth order, along random sign vectors, so that a term lost in any one logit shows. A direction on
which some follower's best actions change within the points used crosses a kink of the response, and is left out.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import directional_derivatives, gridworlds, random_policy, seeds

import pepg

entropies = st.sampled_from([0.0, 0.0, 0.05, 1.0])


def signs(rng, env, count):
    return rng.choice([-1.0, 1.0], (count, env.n_states, env.n_actions))


@given(gridworlds(max_gamma=0.9, max_side=3), seeds, entropies)
def test_performative_gradient_equals_differences(env, seed, entropy):
    """To 1e-6 of the largest entry, on small gridworlds of all kinds, with and without entropy."""
    rng = np.random.default_rng(seed)
    policy = random_policy(env, rng)
    directions = signs(rng, env, 6)
    gradient = pepg.performative_gradient(env, policy, entropy)
    expected, smooth = directional_derivatives(
        lambda p: pepg.performative_value(env, p, entropy), env, policy, directions, h=1e-4
    )
    assume(smooth.any())
    found = (directions * gradient).sum(axis=(1, 2))
    # 1e-10: the rounding of a value, divided by h.
    assert_allclose(found[smooth], expected[smooth], rtol=0.0, atol=1e-6 * np.abs(gradient).max() + 1e-10)


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_performative_gradient_equals_differences_by_default(entropy):
    """The same at random policies of the default environment, where most directions meet no kink within 1e-5."""
    env, rng = pepg.Gridworld(), np.random.default_rng(1)
    for policy in (random_policy(env, rng), random_policy(env, rng, scale=0.1)):
        directions = signs(rng, env, 4)
        directions[:2] *= rng.random(directions[:2].shape) < 0.02  # a few logits only
        gradient = pepg.performative_gradient(env, policy, entropy)
        expected, smooth = directional_derivatives(
            lambda p: pepg.performative_value(env, p, entropy), env, policy, directions, h=1e-5
        )
        assert smooth.sum() >= 2
        found = (directions * gradient).sum(axis=(1, 2))
        assert_allclose(found[smooth], expected[smooth], rtol=0.0, atol=1e-6 * np.abs(gradient).max())


@given(gridworlds(max_side=3), seeds, entropies)
def test_policy_gradient_is_exact_in_the_frozen_environment(env, seed, entropy):
    """Along every logit, the derivative of the value in M(pi) held fixed: there is no kink to meet."""
    policy = random_policy(env, seed)
    mdp = env.respond(policy)
    gradient = pepg.policy_gradient(env, policy, entropy)
    h = 1e-3
    steps = h * np.array([-2.0, -1.0, 1.0, 2.0])[:, None, None, None]
    logits = np.log(policy) + steps * np.eye(policy.size).reshape(-1, *policy.shape)
    values = mdp.value(pepg.softmax(logits), entropy) @ env.rho
    if entropy == 0.0:
        assert_allclose(values, mdp.expected_return(pepg.softmax(logits)), rtol=1e-13)
    expected = (values[0] - 8.0 * values[1] + 8.0 * values[2] - values[3]) / (12.0 * h)
    assert_allclose(gradient.ravel(), expected, rtol=0.0, atol=1e-6 * np.abs(gradient).max() + 1e-11)


@given(gridworlds(), seeds, entropies)
def test_gradients_lie_in_the_tangent_space(env, seed, entropy):
    """A softmax is unmoved by a constant added to a row, so each row of a gradient sums to 0; the goal's is 0."""
    policy = random_policy(env, seed)
    for gradient in (pepg.performative_gradient(env, policy, entropy), pepg.policy_gradient(env, policy, entropy)):
        assert_allclose(gradient.sum(axis=-1), 0.0, atol=1e-12 * (1.0 + np.abs(gradient).max()))
        assert (gradient[-1] == 0.0).all()


@given(gridworlds(), seeds, entropies)
def test_values_are_those_of_the_environment_brought_about(env, seed, entropy):
    """performative_value is rho . V in M(pi), a float; deploy has the same MDP, value, occupancy and return."""
    policy = random_policy(env, seed)
    mdp = env.respond(policy)
    value = pepg.performative_value(env, policy, entropy)
    assert isinstance(value, float)
    assert_allclose(value, env.rho @ mdp.value(policy, entropy), rtol=1e-12, atol=1e-13)
    assert pepg.performative_value(env, policy) == mdp.expected_return(policy)
    deployment = pepg.deploy(env, policy, entropy)
    assert_allclose(deployment.value, mdp.value(policy, entropy), rtol=1e-13)
    assert_allclose(deployment.occupancy, mdp.occupancy(policy), rtol=1e-13)
    assert_allclose(deployment.expected_return, mdp.expected_return(policy), rtol=1e-10, atol=1e-12)
    assert deployment.entropy == entropy and (deployment.policy == policy).all()
    parts = deployment.policy_part + deployment.environment_part(env)
    assert_allclose(parts, pepg.performative_gradient(env, policy, entropy), rtol=1e-13, atol=1e-15)


@given(gridworlds(), seeds, entropies)
def test_batch_equals_single(env, seed, entropy):
    """Several policies at once give the values and gradients that each gives alone."""
    policies = random_policy(env, seed, (2, 2))
    for function in (pepg.performative_value, pepg.performative_gradient, pepg.policy_gradient):
        batch = function(env, policies, entropy)
        singles = [function(env, p, entropy) for p in policies.reshape(4, *policies.shape[2:])]
        assert_allclose(batch.reshape(np.shape(singles)), singles, rtol=1e-9, atol=1e-9 * np.abs(singles).max())


def test_the_environment_part_matters():
    """On the default grid the response is a real part of the gradient, and gone at beta = 0."""
    policy = random_policy(pepg.Gridworld(), 0)
    env, deaf = pepg.Gridworld(), pepg.Gridworld(beta=0.0)
    part = pepg.deploy(env, policy).environment_part(env)
    assert np.abs(part).max() > 0.05 * np.abs(pepg.policy_gradient(env, policy)).max()
    assert (pepg.performative_gradient(deaf, policy) == pepg.policy_gradient(deaf, policy)).all()


FUNCTIONS = [pepg.deploy, pepg.performative_value, pepg.performative_gradient, pepg.policy_gradient]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_errors(function):
    """A negative or infinite entropy coefficient, or what is no policy, is refused by name."""
    env = pepg.Gridworld(n_followers=1)
    policy = env.uniform_policy()
    for entropy in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"^entropy: .*got {entropy}"):
            function(env, policy, entropy)
    with pytest.raises(ValueError, match=r"^policy: expected shape \(\.\.\., 64, 4\), got \(4, 64\)"):
        function(env, policy.T)
    policy[5] = [0.5, 0.5, 0.5, -0.5]
    with pytest.raises(ValueError, match=r"^policy: .*policy\[5, 3\] is -0\.5"):
        function(env, policy)


def test_one_entropy_coefficient_for_each_environment_side_by_side():
    env = pepg.random_softmax_pemdp(np.random.default_rng(1), 3, 2, 0.8, count=3)
    policy, coefficients = random_policy(env, 2, (3,)), np.array([0.0, 0.1, 0.7])
    deployment = pepg.deploy(env, policy, coefficients)
    for i, coefficient in enumerate(coefficients):
        alone = pepg.deploy(env.select(i), policy[i], coefficient)
        assert_allclose(deployment.value[i], alone.value, rtol=1e-12)
        assert_allclose(deployment.policy_part[i], alone.policy_part, rtol=1e-10, atol=1e-14)
    with pytest.raises(ValueError, match="^entropy: expected numbers >= 0"):
        pepg.deploy(env, policy, np.array([0.0, 0.1, -0.7]))
