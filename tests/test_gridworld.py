"""The gridworld: its board, its response and the response's gradient."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import follower_values, gridworlds, random_policy, seeds

import pepg
from pepg.environments import gridworld
from pepg.theory import curvature

VECTORS = np.load(Path(__file__).parent / "data" / "gridworld_vectors.npz")
SYMMETRIC = np.array([[-0.1, -0.1, -0.1], [-0.1, -0.5, -0.1], [-0.1, -0.1, 1.0]])


def small():
    return pepg.Gridworld(n_followers=3, grid=[[0.0, -0.1, 0.2], [0.1, -0.5, 1.0]])


def undeployed(env):
    """A copy of the environment to which nothing has been deployed."""
    return pepg.Gridworld(env.eps, env.beta, env.n_followers, env.gamma, env.cost, env.grid)


def in_logits(policy, gradient):
    """A gradient in the policy, carried to its logits: what is left is what a policy can follow."""
    return policy * (gradient - (policy * gradient).sum(axis=-1, keepdims=True))


# The board


def test_default_environment():
    """The published defaults and grid: 8x8, the goal last, rho uniform on the first row and column."""
    env = pepg.Gridworld()
    assert (env.eps, env.beta, env.n_followers, env.gamma, env.cost) == (0.5, 5.0, 50, 0.9, 0.05)
    assert (env.n_states, env.n_actions) == (64, 4)
    rows = "eeeeeeee eefeheee eeeheefe efeeehef eeeheefe ehhefehe eheehehe eeehefeG".split()
    assert env.grid.tolist() == [[{"e": -0.01, "f": -0.02, "h": -0.5, "G": 1.0}[c] for c in row] for row in rows]
    border = np.zeros((8, 8), dtype=bool)
    border[0, :] = border[:, 0] = True
    assert_allclose(env.rho, border.ravel() / 15.0)


@given(gridworlds(max_side=6))
def test_board_and_follower_grids(env):
    """Moves and the followers' perturbed grids are those of the description; border, goal and caller's grid stay."""
    before = env.grid.copy()
    assert (env.next_state == worlds.next_states(env.grid.shape)).all()
    grids = env.follower_grids
    assert (grids.reshape(env.n_followers, -1) == worlds.follower_grids(env.grid, env.eps, env.n_followers)).all()
    assert (grids[:, 0] == before[0]).all() and (grids[:, :, 0] == before[:, 0]).all()
    assert (grids[:, -1, -1] == 1.0).all() and (env.grid == before).all()


def test_followers_differ():
    """At eps 0.5 the followers' grids differ from each other and from the grid; at eps 0 they are the grid."""
    grids = pepg.Gridworld(n_followers=3).follower_grids
    assert len({grid.tobytes() for grid in grids} | {pepg.Gridworld().grid.tobytes()}) == 4
    assert (pepg.Gridworld(eps=0.0).follower_grids == pepg.Gridworld().grid).all()


@given(gridworlds())
def test_epsilon_greedy_policy(env):
    """1 - epsilon on a move that is optimal without agent 2 (value iteration), the rest spread evenly."""
    board, entry = env.next_state, env.grid.ravel()[env.next_state]
    value = np.zeros(env.n_states)
    for _ in range(1000):
        action_value = entry + env.gamma * value[board]
        value = action_value.max(axis=1)
        value[-1] = 0.0
    policy = env.epsilon_greedy_policy(0.2)
    best = policy.argmax(axis=1)
    assert_allclose(np.sort(policy, axis=1), np.tile([0.2 / 3] * 3 + [0.8], (env.n_states, 1)))
    assert_allclose(action_value[np.arange(env.n_states), best][:-1], value[:-1], atol=1e-11)
    assert_allclose(env.epsilon_greedy_policy(), np.where(policy > 0.5, 0.9, 0.1 / 3))


# The response


@pytest.mark.parametrize(("eps", "beta", "followers"), [(0.5, 5.0, 2), (0.3, 10.0, 3)])
@pytest.mark.parametrize("number", range(3))
def test_recorded_vectors(eps, beta, followers, number):
    """P and r to 1e-4 and V to 2e-4 of what the authors' program computes (its fixed points stop at 1e-5)."""
    name = f"eps{eps}_beta{beta}_K{followers}_{number}_"
    env = pepg.Gridworld(eps, beta, followers)
    policy = VECTORS[name + "policy"]
    mdp = env.respond(policy)
    assert_allclose(mdp.P[:-1], VECTORS[name + "P"][:-1], rtol=0.0, atol=1e-4)
    assert_allclose(mdp.r[:-1], VECTORS[name + "r"][:-1], rtol=0.0, atol=1e-4)
    assert_allclose(mdp.expected_return(policy), VECTORS[name + "V"], rtol=0.0, atol=2e-4)


@given(gridworlds(), seeds)
def test_structure_of_the_response(env, seed):
    """Rows sum to 1, the goal is absorbing and terminal, and r is what P enters."""
    mdp = env.respond(random_policy(env, seed))
    assert_allclose(mdp.P.sum(axis=-1), 1.0, rtol=1e-13)
    assert (mdp.P >= 0.0).all()
    assert (mdp.P[-1] == np.eye(env.n_states)[-1]).all()
    assert mdp.terminal.tolist() == [False] * (env.n_states - 1) + [True]
    assert_allclose(mdp.r[:-1], (mdp.P @ env.grid.ravel())[:-1], atol=1e-13)
    assert mdp.gamma == env.gamma and (mdp.rho == env.rho).all()


@given(gridworlds(), seeds)
def test_response_equals_the_second_gridworld(env, seed):
    """P and r are those of value iteration in the second gridworld; agent 2 is the softmax of the mean."""
    policy = random_policy(env, seed)
    mdp = env.respond(policy)
    P, r = worlds.respond(env, policy)
    assert_allclose(mdp.P[:-1], P[:-1], rtol=0.0, atol=1e-11)
    assert_allclose(mdp.r[:-1], r[:-1], rtol=0.0, atol=1e-11)
    _, choices = follower_values(env, policy)
    sigma = env.agent_two(policy)
    assert sigma.shape == (env.n_states, 5)
    assert_allclose(sigma.sum(axis=1), 1.0, rtol=1e-13)
    expected = pepg.softmax(env.beta * choices.mean(axis=0))
    assert_allclose(sigma[:-1], expected[:-1], rtol=1e-10)


@given(gridworlds(min_beta=0.5), seeds)
def test_followers_values_are_optimal(env, seed):
    """One follower's action values, read off agent 2's log-odds, match value iteration; the Bellman residual is 0."""
    env = pepg.Gridworld(env.eps, env.beta, 1, env.gamma, env.cost, env.grid)
    policy = random_policy(env, seed)
    value, choices = follower_values(env, policy)
    log_odds = np.log(env.agent_two(policy))
    differences = (log_odds - log_odds[:, -1:]) / env.beta
    assert_allclose(differences[:-1], (choices[0] - choices[0, :, -1:])[:-1], rtol=0.0, atol=1e-10)

    # What agent 2's policy does not show, the level of the values, is taken from the work of the response.
    entered = np.moveaxis(env._response(policy).entered, 0, -1)[0, 0]
    rebuilt = np.maximum(entered.max(axis=1) - env.cost, (policy * entered).sum(axis=1))
    rebuilt[-1] = 0.0
    entry = env.follower_grids[0].ravel()[env.next_state]
    assert_allclose(entered, entry + env.gamma * rebuilt[env.next_state], rtol=0.0, atol=1e-10)
    assert_allclose(rebuilt, value[0], rtol=0.0, atol=1e-10)


def test_followers_values_are_optimal_by_default():
    """The same on the 8x8 grid with all its followers."""
    env = pepg.Gridworld()
    policy = random_policy(env, 0)
    _, choices = follower_values(env, policy)
    mean = choices.mean(axis=0)
    log_odds = np.log(env.agent_two(policy))
    differences = (log_odds - log_odds[:, -1:]) / env.beta
    assert_allclose(differences[:-1], (mean - mean[:, -1:])[:-1], rtol=0.0, atol=1e-10)


@given(gridworlds(), seeds)
def test_without_temperature_nothing_responds(env, seed):
    """At beta = 0 agent 2 plays uniformly, whatever the policy, and the response gradient is 0."""
    env = pepg.Gridworld(env.eps, 0.0, env.n_followers, env.gamma, env.cost, env.grid)
    policies = random_policy(env, seed, (2,))
    mdps = env.respond(policies)
    assert (mdps.P[0] == mdps.P[1]).all() and (mdps.r[0] == mdps.r[1]).all()
    assert_allclose(env.agent_two(policies), 0.2, rtol=1e-14)
    rng = np.random.default_rng(seed)
    gradient = env.response_gradient(policies, rng.random(policies.shape), rng.normal(size=policies.shape[:-1]))
    assert (gradient == 0.0).all() and gradient.shape == policies.shape


@given(gridworlds(), seeds, st.integers(0, 4))
def test_history_does_not_matter(env, seed, n_before):
    """What was deployed before, singly or in a batch, changes neither response nor gradient."""
    rng = np.random.default_rng(seed)
    policy = random_policy(env, rng) if seed % 3 else env.uniform_policy()
    d, value = rng.random(policy.shape), rng.normal(size=env.n_states)
    fresh = undeployed(env)
    for i in range(n_before):
        env.respond(random_policy(env, rng, (i + 1,) if i % 2 else (), scale=4.0))
    mdp, expected = env.respond(policy), fresh.respond(policy)
    assert_allclose(mdp.P, expected.P, rtol=0.0, atol=1e-12)
    assert_allclose(mdp.r, expected.r, rtol=0.0, atol=1e-12)
    gradients = [e.response_gradient(policy, d, value) for e in (env, fresh)]
    assert_allclose(gradients[0], gradients[1], rtol=1e-10, atol=1e-10 * np.abs(gradients[1]).max())


@given(gridworlds(), seeds)
def test_batch_equals_single(env, seed):
    """Several policies at once give what each gives alone: response, agent 2 and gradient."""
    rng = np.random.default_rng(seed)
    policies = random_policy(env, rng, (2, 3))
    d, value = rng.random(policies.shape), rng.normal(size=policies.shape[:-1])
    mdp, sigma = env.respond(policies), env.agent_two(policies)
    gradient = env.response_gradient(policies, d, value)
    assert mdp.P.shape == (2, 3, env.n_states, 4, env.n_states) and sigma.shape == (2, 3, env.n_states, 5)
    for i in np.ndindex(2, 3):
        single = undeployed(env)
        assert_allclose(mdp.P[i], single.respond(policies[i]).P, rtol=0.0, atol=1e-12)
        assert_allclose(mdp.r[i], single.respond(policies[i]).r, rtol=0.0, atol=1e-12)
        assert_allclose(sigma[i], single.agent_two(policies[i]), rtol=0.0, atol=1e-12)
        alone = single.response_gradient(policies[i], d[i], value[i])
        assert_allclose(gradient[i], alone, rtol=1e-10, atol=1e-10 * np.abs(alone).max())


def test_a_deployed_policy_may_be_overwritten():
    """Writing into a policy after deploying it is deploying another."""
    env = small()
    policy = env.uniform_policy()
    env.respond(policy)
    policy[0] = [1.0, 0.0, 0.0, 0.0]
    assert_allclose(env.respond(policy).P, small().respond(policy).P, rtol=0.0, atol=1e-12)


def test_an_mdp_handed_out_may_be_overwritten():
    """Writing into the MDP that a deployment returned, if it can be written into, changes no later answer."""
    env = small()
    policy = env.uniform_policy()
    first = env.respond(policy)
    for array in (first.P, first.r, first.rho, first.terminal):
        if array.flags.writeable:
            array[...] = 0
    again, expected = env.respond(policy), small().respond(policy)
    for name in ("P", "r", "rho", "terminal"):
        assert (getattr(again, name) == getattr(expected, name)).all(), name


def test_the_grid_of_the_caller_may_be_overwritten():
    """The environment keeps its own copy of the grid."""
    grid = np.array([[0.0, -0.1, 0.2], [0.1, -0.5, 1.0]])
    env = pepg.Gridworld(n_followers=3, grid=grid)
    expected = pepg.Gridworld(n_followers=3, grid=grid.copy())
    grid[0, 0] = 0.9
    assert (env.respond(env.uniform_policy()).r == expected.respond(env.uniform_policy()).r).all()


def test_a_gradient_at_a_deployed_policy_factors_nothing(monkeypatch):
    """The gradient shares the factors of the response: all factorisations happen when a policy is first deployed."""
    count = []
    factor = gridworld.lapack.dgbtrf
    monkeypatch.setattr(gridworld.lapack, "dgbtrf", lambda *args, **kwargs: count.append(1) or factor(*args, **kwargs))
    env = pepg.Gridworld(n_followers=5)
    policy, other = random_policy(env, 0), random_policy(env, 1)
    d, value = env.respond(policy).occupancy(policy), env.respond(policy).value(policy)
    deployed = len(count)
    assert deployed > 0
    env.response_gradient(policy.copy(), d, value)
    env.response_gradient(policy, 2.0 * d, value)
    pepg.performative_gradient(env, policy)
    pepg.performative_value(env, policy)
    env.agent_two(policy)
    assert len(count) == deployed
    env.response_gradient(other, d, value)
    assert len(count) > deployed


# The gradient of the response


def seen_through(env, policy, d, value, at, precision):
    """The function whose gradient is asked for, in the second gridworld, traced by autograd at `policy`."""
    P, r = worlds.respond(env, policy, at, precision)
    return anp.sum(d * (r + env.gamma * anp.dot(P, value)))


def by_autograd(env, policy, d, value):
    """Differentiate the whole response: value iteration traced from the fixed point until its derivative settles."""
    at, _ = follower_values(env, policy)
    return autograd.grad(lambda p: seen_through(env, p, d, value, at, precision=1e-12))(policy)


@given(gridworlds(max_gamma=0.9, min_beta=0.1), seeds)
def test_response_gradient_equals_automatic_differentiation(env, seed):
    """To 1e-8 in the logits, for any occupancy and value, also where a tie persists."""
    rng = np.random.default_rng(seed)
    policy = random_policy(env, rng)
    d, value = rng.random(policy.shape), rng.normal(size=env.n_states)
    d[-1] = 0.0
    expected = in_logits(policy, by_autograd(env, policy, d, value))
    gradient = in_logits(policy, env.response_gradient(policy, d, value))
    assert_allclose(gradient, expected, rtol=0.0, atol=1e-8 * np.abs(expected).max() + 1e-15)


def test_response_gradient_equals_automatic_differentiation_by_default():
    """The same at a random policy of the default environment, with its own occupancy and value."""
    env = pepg.Gridworld()
    policy = random_policy(env, 3)
    mdp = env.respond(policy)
    d, value = mdp.occupancy(policy), mdp.value(policy)
    expected = in_logits(policy, by_autograd(env, policy, d, value))
    gradient = in_logits(policy, env.response_gradient(policy, d, value))
    assert np.abs(expected).max() > 1e-3
    assert_allclose(gradient, expected, rtol=0.0, atol=1e-8 * np.abs(expected).max())


def differences(env, policy, d, value, directions, h=1e-4):
    """Central differences along `directions` in the logits, with the mask of those that meet no kink."""

    def function(p):
        mdp = env.respond(p)
        return (d * (mdp.r + env.gamma * mdp.P @ value)).sum()

    return worlds.directional_derivatives(function, env, policy, directions, h)


@given(gridworlds(max_gamma=0.9, max_side=3, min_beta=0.1), seeds)
def test_response_gradient_equals_differences(env, seed):
    """To 1e-6 along every logit that meets no kink, and those are nearly all."""
    rng = np.random.default_rng(seed)
    policy = random_policy(env, rng)
    d, value = rng.random(policy.shape), rng.normal(size=env.n_states)
    along_each_logit = np.eye(policy.size).reshape(-1, *policy.shape)
    expected, smooth = differences(env, policy, d, value, along_each_logit)
    gradient = in_logits(policy, env.response_gradient(policy, d, value)).ravel()
    assert smooth.mean() > 0.5
    assert_allclose(gradient[smooth], expected[smooth], rtol=0.0, atol=1e-6 * np.abs(gradient).max() + 1e-10)


SWAP = [2, 3, 0, 1]  # transposing the board swaps left with up and right with down


def transposed(policy):
    return policy.reshape(3, 3, 4).swapaxes(0, 1).reshape(9, 4)[:, SWAP]


def test_a_persistent_tie_does_no_harm():
    """On a symmetric board moves tie at the uniform policy, and go on doing so along symmetric directions: there the
    gradient is that of differences, to 1e-6."""
    env = pepg.Gridworld(eps=0.0, n_followers=1, grid=SYMMETRIC)
    policy = env.uniform_policy()
    assert worlds.best_sets(env, policy)[0, 0].tolist() == [False, True, False, True, False]  # right and down
    rng = np.random.default_rng(0)
    d, value = rng.random(policy.shape), rng.normal(size=env.n_states)
    directions = np.eye(policy.size).reshape(-1, *policy.shape)
    directions = directions + np.array([transposed(direction) for direction in directions])
    expected, smooth = differences(env, policy, d, value, directions)
    assert smooth.all()
    gradient = in_logits(policy, env.response_gradient(policy, d, value))
    found = (directions * gradient).sum(axis=(1, 2))
    assert np.abs(expected).max() > 1e-3
    assert_allclose(found, expected, rtol=0.0, atol=1e-6 * np.abs(expected).max())


def test_at_a_kink_the_gradient_is_that_of_the_first_best_action():
    """Two cells, cost 1/4, gamma 1/2: forcing the move to the goal and letting it happen tie where the policy gives it
    0.6. Forcing comes first, and its branch is best below 0.6: the gradient is the one-sided derivative there."""
    env = pepg.Gridworld(n_followers=1, gamma=0.5, cost=0.25, grid=[[0.0, 1.0]])
    policy = np.array([[0.1, 0.6, 0.1, 0.2], [0.25] * 4])
    assert worlds.best_sets(env, policy)[0, 0].tolist() == [False, True, False, False, True]
    d, value = np.array([[1.0, 2.0, 3.0, 4.0], [0.0] * 4]), np.array([0.3, 0.0])
    direction = np.array([[0.0, 1.0, 0.0, -1.0], [0.0] * 4])

    def function(t):
        mdp = env.respond(policy + t * direction)
        return (d * (mdp.r + env.gamma * mdp.P @ value)).sum()

    h = 1e-4
    below, above = ((-3 * function(0) + 4 * function(s * h) - function(2 * s * h)) / (2 * s * h) for s in (-1, 1))
    gradient = (env.response_gradient(policy, d, value) * direction).sum()
    assert_allclose(gradient, below, rtol=1e-6)
    assert abs(above - below) > 1e-2 * abs(below)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": [[0.0, 0.0], [0.0, 0.0]]}, r"grid: no goal: .*grid\[0, 0\] = 0 .*grid\[1, 1\] = 0"),
        ({"grid": [[0.0, 2.0], [0.0, 1.0]]}, r"grid: no goal: .*grid\[0, 1\] = 2 "),
        ({"grid": [0.0, 1.0]}, r"grid: expected a 2-D array .*got shape \(2,\)"),
        ({"grid": [[1.0]]}, r"grid: expected .* at least two .*got shape \(1, 1\)"),
        ({"grid": np.zeros((0, 3))}, r"grid: expected .*got shape \(0, 3\)"),
        ({"grid": [[0.0, np.nan], [np.nan, 1.0]]}, r"grid: expected finite .*grid\[0, 1\] is nan"),
        ({"grid": [[0.0, 0.0], [0.0, np.inf]]}, r"grid: expected finite .*grid\[1, 1\] is inf"),
        ({"eps": -0.1}, r"eps: .*\[0, 1\], got -0\.1"),
        ({"eps": 1.1}, r"eps: .*got 1\.1"),
        ({"eps": np.nan}, r"eps: .*got nan"),
        ({"beta": -1.0}, r"beta: .*>= 0, got -1"),
        ({"beta": np.inf}, r"beta: .*got inf"),
        ({"beta": np.nan}, r"beta: .*got nan"),
        ({"n_followers": 0}, r"n_followers: .*>= 1, got 0"),
        ({"n_followers": 2.5}, r"n_followers: .*got 2\.5"),
        ({"n_followers": np.nan}, r"n_followers: .*got nan"),
        ({"n_followers": np.inf}, r"n_followers: .*got inf"),
        ({"gamma": 1.0}, r"gamma: .*\[0, 1\), got 1\.0"),
        ({"gamma": -0.5}, r"gamma: .*got -0\.5"),
        ({"gamma": np.nan}, r"gamma: .*got nan"),
        ({"cost": np.nan}, r"cost: .*got nan"),
    ],
)
def test_construction_errors(arguments, message):
    """A ValueError that names the argument and what was expected."""
    with pytest.raises(ValueError, match=f"^{message}"):
        pepg.Gridworld(**arguments)


def test_a_whole_number_of_followers_may_be_a_float():
    """What the constructor accepts works."""
    env = pepg.Gridworld(n_followers=2.0)
    assert (env.respond(env.uniform_policy()).r == pepg.Gridworld(n_followers=2).respond(env.uniform_policy()).r).all()


@pytest.mark.parametrize("deployed_before", [False, True])
@pytest.mark.parametrize("method", ["respond", "agent_two", "response_gradient"])
def test_policy_errors(method, deployed_before):
    """What is no policy is refused with its place, also by an environment that has already answered one."""
    env = small()
    good = env.uniform_policy()
    if deployed_before:
        env.respond(good)
    arguments = (np.ones((6, 4)), np.ones(6)) if method == "response_gradient" else ()
    call = getattr(env, method)
    negative, nan, short = good.copy(), good.copy(), good.copy()
    negative[2], nan[3, 1], short[4, 0] = [-0.25, 0.25, 0.5, 0.5], np.nan, 0.2
    cases = [
        (good.T, r"policy: expected shape \(\.\.\., 6, 4\), got \(4, 6\)"),
        (negative, r"policy: .*policy\[2, 0\] is -0\.25"),
        (nan, r"policy: .*policy\[3, 1\] is nan"),
        (short, r"policy: .*policy\[4\] sums to 0\.95"),
        (np.array([good, short]), r"policy: .*policy\[1, 4\] sums to 0\.95"),
    ]
    for policy, message in cases:
        with pytest.raises(ValueError, match=f"^{message}"):
            call(policy, *arguments)


def test_response_gradient_errors():
    """Occupancy and value must fit the policy and be finite."""
    env = small()
    policy, d, value = env.uniform_policy(), np.ones((6, 4)), np.ones(6)
    d_nan = d.copy()
    d_nan[2, 1] = np.nan
    cases = [
        (d.T, value, r"occupancy: expected shape \(\.\.\., 6, 4\), got \(4, 6\)"),
        (d_nan, value, r"occupancy: .*occupancy\[2, 1\] is nan"),
        (d, value[:5], r"value: expected shape \(\.\.\., 6\), got \(5,\)"),
        (d, value * np.inf, r"value: .*value\[0\] is inf"),
    ]
    for occupancy, value, message in cases:
        with pytest.raises(ValueError, match=f"^{message}"):
            env.response_gradient(policy, occupancy, value)


def test_epsilon_greedy_errors():
    """epsilon is a probability."""
    for epsilon in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"^epsilon: .*\[0, 1\]"):
            small().epsilon_greedy_policy(epsilon)


# Draws of the followers


def test_seeds_draw_other_followers():
    """None is the released program's draw; a seed's followers do not depend on how many there are, and differ between seeds."""
    released = pepg.Gridworld(n_followers=4)
    np.testing.assert_array_equal(released.follower_grids, pepg.Gridworld(n_followers=6).follower_grids[:4])
    draws = [pepg.Gridworld(n_followers=4, seed=seed).follower_grids for seed in (0, 1)]
    np.testing.assert_array_equal(draws[0], pepg.Gridworld(n_followers=6, seed=0).follower_grids[:4])
    grids = [grid for draw in (released.follower_grids, *draws) for grid in draw]
    assert len({grid.tobytes() for grid in grids}) == len(grids)
    changed = np.mean([draw != released.grid for draw in draws], axis=(0, 1))
    assert not changed[0].any() and not changed[:, 0].any() and changed[-1, -1] == 0 and changed[1:, 1:].mean() > 0.2


def test_several_seeds_are_worlds_side_by_side():
    """Bit for bit what each is alone: MDPs, agent 2, both gradients, and an ascent; one policy is deployed in all of them."""
    seeds = [None, 0, 3]
    env, alone = pepg.Gridworld(n_followers=4, seed=seeds), [pepg.Gridworld(n_followers=4, seed=seed) for seed in seeds]
    assert env.lead == (3,) and alone[0].lead == () and pepg.Gridworld(n_followers=1, seed=range(1)).lead == (1,)
    policies = env.random_policies(range(6), 1.0).reshape(2, 3, 64, 4)
    weights = np.random.default_rng(0).normal(size=(2, 3, 64, 4, 64))
    mdp, agent_two = env.respond(policies), env.agent_two(policies)
    gradient, bent = pepg.performative_gradient(env, policies), env.transition_gradient(policies, weights)
    one = env.respond(env.uniform_policy())
    runs = pepg.algorithms.pepg(env, policy=policies, iterations=8)
    for i, world in enumerate(alone):
        np.testing.assert_array_equal(env.follower_grids[i], world.follower_grids)
        np.testing.assert_array_equal(mdp.P[:, i], world.respond(policies[:, i]).P)
        np.testing.assert_array_equal(mdp.r[:, i], world.respond(policies[:, i]).r)
        np.testing.assert_array_equal(agent_two[:, i], world.agent_two(policies[:, i]))
        np.testing.assert_array_equal(gradient[:, i], pepg.performative_gradient(world, policies[:, i]))
        np.testing.assert_array_equal(bent[:, i], world.transition_gradient(policies[:, i], weights[:, i]))
        np.testing.assert_array_equal(one.P[i], world.respond(env.uniform_policy()).P)
        np.testing.assert_allclose(runs.values[:, :, i], pepg.algorithms.pepg(world, policy=policies[:, i], iterations=8).values, rtol=1e-12)
    assert np.abs(mdp.P[:, 1] - mdp.P[:, 2]).max() > 1e-3


def test_several_worlds_where_one_is_expected_and_where_they_are_not():
    env = pepg.Gridworld(n_followers=2, grid=[[-0.01, -0.02], [-0.5, 1.0]], seed=[0, 1])
    policies = env.random_policies(range(2))
    assert repr(env).endswith("2 x 4 states, 4 actions") and pepg.check_environment(env) is not None
    one = np.ones((4, 4))
    np.testing.assert_array_equal(
        env.response_gradient(policies, one, one[0]), env.response_gradient(policies, np.stack([one, one]), np.ones((2, 4)))
    )
    with pytest.raises(ValueError, match="occupancy: expected shape .2, 4, 4., or fewer leading axes, got .3, 2, 4, 4."):
        env.response_gradient(policies, np.ones((3, 2, 4, 4)), one[0])
    for asked in (
        lambda: pepg.theory.decoupled_landscape(env, policies),
        lambda: pepg.theory.local_stability(env, policies),
        lambda: pepg.theory.report(env, policies[0]),
        lambda: curvature.hessian(env, policies[0]),
        lambda: pepg.theory.parts(env, {"uniform": policies[0]}),
        lambda: pepg.algorithms.sampled_pepg(env, seed=[0, 1], policy=policies, iterations=1),
    ):
        with pytest.raises(ValueError, match="env: expected one environment, got 2 of them side by side"):
            asked()


def test_both_sides_of_a_result_in_several_worlds_are_those_in_each():
    """Of one policy in all of them, and of one for each."""
    seeds, one, each = [None, 0, 1], {"n_followers": 2, "eps": 0.8}, pepg.Gridworld(n_followers=2).random_policies(range(3), scale=1.0)
    optimum = each[::-1]
    for function in (pepg.theory.gradient_domination, pepg.theory.performance_difference, pepg.theory.difference_terms):
        for policy in (each[0], each):
            found = np.array(function(pepg.Gridworld(seed=seeds, **one), policy, optimum))
            for i, seed in enumerate(seeds):
                alone = function(pepg.Gridworld(seed=seed, **one), policy if policy.ndim == 2 else policy[i], optimum[i])
                np.testing.assert_allclose(found[..., i], np.array(alone), rtol=1e-12)
    steps = pepg.theory.domination_steps(pepg.Gridworld(seed=seeds, **one), each[0], optimum)
    alone = pepg.theory.domination_steps(pepg.Gridworld(seed=0, **one), each[0], optimum[1])
    np.testing.assert_allclose(steps.steps[:, 1], alone.steps, rtol=1e-12)


def test_many_policies_are_answered_in_memory_linear_in_their_number():
    """Beside their MDPs, whether as many were deployed before or others."""
    env, peaks = pepg.Gridworld(n_followers=1, grid=[[-0.01, -0.02], [-0.5, 1.0]]), []
    for n in (1000, 1001, 4000, 4001):
        policies = random_policy(env, n, (n,))
        tracemalloc.start()
        env.respond(policies), env.respond(policies[::-1])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks[2:]) < 6.0 * min(peaks[:2])


@pytest.mark.parametrize("n_before", [1, 2, 3])
def test_where_the_followers_search_starts_changes_no_bit(n_before):
    """After other numbers of policies, from near and from far, in one world and in several."""
    env, other = (pepg.Gridworld(n_followers=3, eps=0.8, seed=[None, 4, 5]) for _ in range(2))
    policies, rng = env.random_policies(range(4), scale=2.0)[:, None], np.random.default_rng(n_before)
    d, value = rng.random((4, 3, 64, 4)), rng.normal(size=(4, 3, 64))
    for i in range(n_before):
        other.respond(random_policy(other, rng, (i + 2, 3), scale=3.0) if i % 2 else policies[: i + 1] * 0.99 + 0.0025)
    np.testing.assert_array_equal(other.respond(policies).P, env.respond(policies).P)
    gradients = [one.response_gradient(np.broadcast_to(policies, d.shape), d, value) for one in (env, other)]
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"seed": []}, "seed: expected at least one"),
        ({"seed": [0, -1]}, "seed: expected a whole number >= 0"),
        ({"seed": [0, 1], "grid": pepg.random_grid(23, 23, 0)}, "seed: expected a number, no sequence, on a grid of more than 500 cells"),
    ],
)
def test_errors_of_several_seeds(arguments, message):
    with pytest.raises(ValueError, match=message):
        pepg.Gridworld(**arguments)
    with pytest.raises(ValueError, match="policy: expected leading axes that broadcast with .3,., those of the worlds"):
        env = pepg.Gridworld(n_followers=1, seed=[0, 1, 2])
        env.respond(env.random_policies(range(2)))


@pytest.mark.parametrize("seed", [-1, 0.5, "1", np.nan])
def test_seed_errors(seed):
    with pytest.raises(ValueError, match="seed: expected a whole number >= 0"):
        pepg.Gridworld(seed=seed)


@pytest.mark.parametrize("kernel", ["Haswell", "Nehalem", "SkylakeX"])
def test_a_response_does_not_depend_on_those_before_under_any_kernel(kernel):
    """OpenBLAS takes its kernels by the processor; some of them round the ends of a matrix differently from its middle."""
    program = """
import numpy as np, pepg
policies = np.random.default_rng(0).dirichlet(np.ones(4), (21, 64))
walked = pepg.Gridworld(n_followers=5)
walked.respond(policies[0])
for policy in policies[1:]:
    mine, fresh = walked.respond(policy), pepg.Gridworld(n_followers=5).respond(policy)
    assert np.array_equal(mine.P, fresh.P) and np.array_equal(mine.r, fresh.r)
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "OPENBLAS_CORETYPE": kernel})
