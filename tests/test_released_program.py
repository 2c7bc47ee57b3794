"""The rebuilt procedure of the released program: its networks, its sampling, and each of its models against differences."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pepg

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

from support import linear_policies as linear
from support import released_program as program


@pytest.fixture(scope="module")
def setting():
    grid = np.array([[-0.01, -0.02, -0.01], [-0.5, -0.01, 1.0]])
    env = pepg.Gridworld(eps=0.5, beta=5.0, n_followers=2, grid=grid)
    return program.Setting(env, n_seeds=3, seed=7, n_features=4, n_trajectories=5, horizon=30)


def rngs(count=3):
    return [np.random.default_rng(seed) for seed in range(count)]


def differences(function, x, h=1e-6):
    """The gradient of function (n, k) -> (n,) by central differences, (n, k)."""
    units = np.eye(x.shape[-1])
    return np.stack([(function(x + h * unit) - function(x - h * unit)) / (2 * h) for unit in units], axis=-1)


def weights(setting, seed=0):
    """Weights D (n, S, A) and C (n, S, A, S), the latter where a transition can happen and not from the goal."""
    env, rng = setting.env, np.random.default_rng(seed)
    D = rng.normal(size=(setting.n_seeds, env.n_states, env.n_actions))
    C = rng.normal(size=(*D.shape, env.n_states)) * (env.respond(env.uniform_policy()).P > 0)
    D[:, env.goal] = C[:, env.goal] = 0.0
    return D, C


def some_models(setting, models):
    """A model that has observed a few policies near each other, and the x of the last."""
    x, features, generators = setting.start()
    model = models(setting, generators, features)
    for t in range(4):
        x = x + 0.1 * np.random.default_rng(t).normal(size=x.shape)
        model.observe(t, x, setting.env.respond(linear.policy(x, features)))
    return model, x, features


# Networks


def test_network_by_hand():
    net = program.Network(rngs(1), 2, 1, 0.1)
    a, a0, b, b0, c, c0 = (array[0] for array in net.parameters)
    assert a.shape == (2, 64) and b.shape == (64, 32) and c.shape == (32, 1)
    for array, bound in ((a, 2), (a0, 2), (b, 64), (b0, 64), (c, 32), (c0, 32)):
        assert np.abs(array).max() <= 1.0 / np.sqrt(bound)
    x = np.array([[0.3, -1.2]])
    hidden = np.maximum(np.maximum(x @ a + a0, 0.0) @ b + b0, 0.0)
    np.testing.assert_allclose(net(x[None])[0], hidden @ c + c0)


def test_network_backward():
    net = program.Network(rngs(), 4, 6, 0.1)
    x, slope = np.random.default_rng(0).normal(size=(3, 4)), np.random.default_rng(1).normal(size=(3, 1, 6))
    found = net.backward(x[:, None], lambda y: slope)[:, 0]
    np.testing.assert_allclose(found, differences(lambda x: (net(x[:, None]) * slope).sum(axis=(1, 2)), x), atol=1e-8)


def test_network_fit_is_adam():
    """The first step moves every parameter by the step size against the sign of its derivative, more of them fit."""
    net = program.Network(rngs(), 4, 2, 0.001)
    x, y = (np.random.default_rng(seed).normal(size=(3, 5, size)) for seed, size in ((0, 4), (1, 2)))
    start, before, slope = ((net(x) - y) ** 2).sum(), net.parameters[-1].copy(), 2 * (net(x) - y)
    net.fit(x, lambda out: 2 * (out - y), steps=1)
    derivative = slope.sum(axis=1, keepdims=True)  # in the last bias
    np.testing.assert_allclose(net.parameters[-1] - before, -0.001 * np.sign(derivative), rtol=1e-5)
    net.fit(x, lambda out: 2 * (out - y), steps=400)
    assert ((net(x) - y) ** 2).sum() < 0.05 * start


# Trajectories


def test_sampled_visits_are_the_occupancy(setting):
    env = setting.env
    policy = env.random_policies(range(3), scale=1.0)
    mdp = env.respond(policy)
    paths = program.sample(mdp, policy, 4000, 60, np.random.default_rng(0))
    ones = np.where(paths.real, env.gamma ** np.arange(60), 0.0) / 4000
    transitions = program.by_transition(paths, env, ones)
    np.testing.assert_allclose(transitions.sum(axis=-1), mdp.occupancy(policy), atol=0.04)
    expected = mdp.occupancy(policy)[..., None] * mdp.P
    np.testing.assert_allclose(transitions, expected, atol=0.04)
    assert transitions[expected == 0.0].max() == 0.0
    assert not paths.rewards[~paths.real].any()


def test_weights():
    advantages = np.arange(1.0, 7.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(program.late(advantages, 0.5), [[[2, 3, 0], [5, 6, 0]]])
    np.testing.assert_array_equal(program.discounted(advantages, 0.5), [[[1, 1, 0.75], [4, 2.5, 1.5]]])


# Models


def test_part_of_the_own_predictions(setting):
    model, x, _ = some_models(setting, program.OwnPredictions)
    D, C = weights(setting)

    def objective(x):
        mdp = model.mdp(x)
        return (D * mdp.r).sum(axis=(1, 2)) + (C * np.log(mdp.P)).sum(axis=(1, 2, 3))

    np.testing.assert_allclose(model.part(x, D, C, None), differences(objective, x), atol=1e-6)


def test_own_predictions_see_one_reward_of_the_gridworld(setting):
    model, _, _ = some_models(setting, program.OwnPredictions)
    x, features, _ = setting.start()
    x = x + 0.1 * np.random.default_rng(0).normal(size=x.shape)
    np.testing.assert_array_equal(model.seen[0], setting.env.respond(linear.policy(x, features)).r)
    assert len(model.xs) == len(model.seen) == 3  # none of iteration 1
    assert model.reward.steps == 20 and model.transition.steps == 0


def test_part_of_the_fitted_networks(setting):
    model, x, _ = some_models(setting, program.FittedNetworks)
    D, C = weights(setting)
    entered = model.entered(C).reshape(3, 4, -1)

    def objective(x):
        raised = np.exp(model.transition(x[:, None])).reshape(3, 4, -1) * ~model.double.reshape(4, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.where(raised > 0, np.log(raised) - np.log(raised.sum(axis=1, keepdims=True)), 0.0)
        return (D * model.reward(x[:, None]).reshape(D.shape)).sum(axis=(1, 2)) + (entered * log).sum(axis=(1, 2))

    np.testing.assert_allclose(model.part(x, D, C, None), differences(objective, x), atol=1e-6)
    np.testing.assert_allclose(entered.sum(axis=(1, 2)), C.sum(axis=(1, 2, 3)), atol=1e-12)  # each cell once


def test_least_squares_finds_a_linear_response(setting):
    """With more deployments than parameters and hardly any ridge, a response that is linear in x."""
    n, n_states, n_actions, k = 2, 3, 2, 4
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(n, n_states, n_actions, k))
    moves = 0.01 * rng.normal(size=(n, n_states, n_actions, n_states, k))
    moves -= moves.mean(axis=3, keepdims=True)  # rows keep their sum
    centre = np.full((n, n_states, n_actions, n_states), 1.0 / n_states)
    model = program.LeastSquares(replace(setting, ridge=1e-12), None, None)
    for t in range(8):
        x = rng.normal(size=(n, k))
        P = centre + np.einsum("nsatk,nk->nsat", moves, x)
        model.observe(t, x, pepg.MDP(P, np.einsum("nsak,nk->nsa", rewards, x), 0.9, np.eye(n_states)[0]))
    D, C = rng.normal(size=P.shape[:-1]), rng.normal(size=P.shape)
    expected = np.einsum("nsa,nsak->nk", D, rewards) + np.einsum("nsat,nsatk->nk", C / P, moves)
    np.testing.assert_allclose(model.part(x, D, C, None), expected, rtol=1e-6)


def test_known_response_at_the_exact_visits(setting):
    model, x, features = some_models(setting, program.KnownResponse)
    here = pepg.deploy(setting.env, linear.policy(x, features))
    expected = linear.to_parameters(here.environment_part(setting.env), features)
    np.testing.assert_allclose(model.part(x, here.occupancy, None, here), expected, atol=1e-12)


# The whole


@pytest.mark.parametrize("models", [program.OwnPredictions, program.FittedNetworks, program.LeastSquares, None])
def test_run(setting, models):
    result = program.run(setting, 0.1, 4, models, surrogate=models is program.OwnPredictions)
    assert result.true.shape == (5, 3) and result.cosine.shape == (4, 3)
    assert len(result.reported) == (4 if models is program.OwnPredictions else 0)
    np.testing.assert_allclose(result.true[-1], pepg.performative_value(setting.env, result.policy))
    again = program.run(setting, 0.1, 4, models, surrogate=models is program.OwnPredictions)
    np.testing.assert_array_equal(result.true, again.true)


def test_without_a_step_nothing_moves(setting):
    result = program.run(setting, 0.0, 3, program.OwnPredictions, surrogate=True)
    np.testing.assert_array_equal(result.true, np.broadcast_to(result.true[0], result.true.shape))


# The update drawn as "RPO FS"


def test_project():
    x = np.random.default_rng(0).normal(size=(200, 4))
    closest = program.project(x)
    assert (closest >= 0).all() and np.allclose(closest.sum(axis=-1), 1.0)
    others = np.random.default_rng(1).dirichlet(np.ones(4), (500, 1))
    assert (((others - x) ** 2).sum(axis=-1) >= ((closest - x) ** 2).sum(axis=-1) - 1e-12).all()
    np.testing.assert_allclose(program.project(closest), closest, atol=1e-12)


def test_projected_update_descends_with_the_sign_as_it_is(setting):
    for step, sign in ((-0.05, -1), (0.05, 1)):
        reported, true, policy = program.projected_update(setting.env, step, 0.0, 10, penalty=0.1)
        assert len(reported) == 10 and len(true) == 11 and sign * (true[-1] - true[0]) > 0
        assert reported[-1] < true[-1]
        assert true[-1] == pytest.approx(pepg.performative_value(setting.env, policy))
