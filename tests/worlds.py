"""What the tests share: random worlds and policies, the gridworld a second time, and differences.

The second gridworld is written from the description of the environment alone, in another way than the package: loops
for the board, value iteration for the followers, and derivatives by automatic differentiation of the whole response.
"""

from itertools import product

import autograd.numpy as anp
import numpy as np
from hypothesis import strategies as st

import pepg

CELLS = [-0.01, -0.02, -0.5, 0.0, 0.3]
seeds = st.integers(0, 2**32 - 1)


@st.composite
def gridworlds(draw, max_gamma=0.95, max_side=4, min_beta=0.0):
    """Small gridworlds: one row or column, 2x2, ..., with every parameter drawn."""
    shape = draw(st.sampled_from([s for s in product(range(1, max_side + 1), repeat=2) if s != (1, 1)]))
    grid = np.random.default_rng(draw(seeds)).choice(CELLS, shape)
    grid[-1, -1] = 1.0
    return pepg.Gridworld(
        eps=draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        beta=draw(st.floats(min_beta, 20.0)),
        n_followers=draw(st.integers(1, 4)),
        gamma=draw(st.floats(0.0, max_gamma)),
        cost=draw(st.sampled_from([-0.02, 0.0, 0.05, 0.3])),
        grid=grid,
    )


def random_policy(env, seed, lead=(), scale=1.5):
    """A policy (*lead, S, A): softmax of N(0, scale²) logits."""
    return pepg.softmax(np.random.default_rng(seed).normal(0.0, scale, (*lead, env.n_states, env.n_actions)))


@st.composite
def mdps(draw, lead=(), max_gamma=0.99):
    """An MDP with some zero transition probabilities and, sometimes, terminal states; and the generator for more."""
    n_states, n_actions = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(seeds))
    P = rng.exponential(size=(*lead, n_states, n_actions, n_states)) ** 3
    P *= (rng.random(P.shape) < 0.7) | (np.arange(n_states) == rng.integers(n_states))
    P /= P.sum(axis=-1, keepdims=True)
    r = rng.normal(size=(*lead, n_states, n_actions))
    terminal = rng.random(n_states) < draw(st.sampled_from([0.0, 0.3]))
    return pepg.MDP(P, r, draw(st.floats(0.0, max_gamma)), rng.dirichlet(np.ones(n_states)), terminal), rng


def all_respond_alike(kappa, slope, gamma):
    """Two states and actions with P(1|s,a) = sigma(kappa <w, pi>) and r(s,a) = 1[s = 1] + slope <w, pi>; and w, (-1, 1)/2 in both states."""
    w = np.array([[-0.5, 0.5], [-0.5, 0.5]])
    logit_map = np.zeros((2, 2, 2, 2, 2))
    logit_map[:, :, 1] = w
    env = pepg.SoftmaxPeMDP(
        logits=np.zeros((2, 2, 2)), logit_map=logit_map, rewards=np.array([[0.0, 0.0], [1.0, 1.0]]),
        reward_map=np.broadcast_to(w, (2, 2, 2, 2)), gamma=gamma, rho=np.array([0.5, 0.5]),
        transition_strength=kappa, reward_strength=slope,
    )
    return env, w


# The gridworld a second time


def next_states(shape):
    """Where left, right, up and down lead, (S, 4): cell by cell."""
    table = []
    for row, column in np.ndindex(shape):
        targets = [(row, column - 1), (row, column + 1), (row - 1, column), (row + 1, column)]
        inside = [0 <= i < shape[0] and 0 <= j < shape[1] for i, j in targets]
        table.append([i * shape[1] + j if ok else row * shape[1] + column for (i, j), ok in zip(targets, inside)])
    return np.array(table)


def follower_grids(grid, eps, n_followers):
    """The followers' perturbed grids, (K, S): one uniform draw a cell, then one choice for each cell redrawn."""
    choices = sorted({reward for reward in grid.flat if reward != grid[-1, -1]})
    copies = []
    for k in range(n_followers):
        rng, copy = np.random.default_rng(k), grid.copy()
        draws = rng.random(grid.shape)
        for cell in product(range(1, grid.shape[0]), range(1, grid.shape[1])):
            if draws[cell] <= eps and cell != (grid.shape[0] - 1, grid.shape[1] - 1):
                copy[cell] = rng.choice(choices)
        copies.append(copy.ravel())
    return np.array(copies)


def follower_values(env, policy, value=0.0, precision=1e-15):
    """The followers' optimal values (..., K, S) and action values (..., K, S, 5) by value iteration from `value`.

    `policy` (..., S, 4) may be traced by autograd. The iteration stops after the sweeps that `precision` asks for.
    """
    board = next_states(env.grid.shape)
    grids = follower_grids(env.grid, env.eps, env.n_followers)
    alive = np.arange(env.n_states) < env.n_states - 1
    value = np.zeros(policy.shape[:-2] + grids.shape) + value
    sweeps = 2 if env.gamma == 0.0 else 2 + int(np.log(precision) / np.log(env.gamma))
    entry = [grids[:, board[:, m]] for m in range(4)]
    arrive = [np.eye(env.n_states)[board[:, m]].T for m in range(4)]
    probability = [policy[..., None, :, m] for m in range(4)]
    for _ in range(sweeps):
        worth = [entry[m] + env.gamma * anp.dot(value, arrive[m]) for m in range(4)]
        let = sum(probability[m] * worth[m] for m in range(4))
        forced = anp.maximum(anp.maximum(worth[0], worth[1]), anp.maximum(worth[2], worth[3])) - env.cost
        value = anp.maximum(forced, let) * alive
    return value, anp.stack([*(w - env.cost for w in worth), let], axis=-1)


def respond(env, policy, value=0.0, precision=1e-15):
    """Agent 1's P (S, 4, S) and r (S, 4) where agent 2 answers `policy` (S, 4), which may be traced by autograd."""
    _, choices = follower_values(env, policy, value, precision)
    mean = env.beta * anp.mean(choices, axis=0)
    weight = anp.exp(mean - anp.max(mean, axis=-1, keepdims=True))
    sigma = weight / anp.sum(weight, axis=-1, keepdims=True)
    lands = np.eye(env.n_states)[next_states(env.grid.shape)]
    forced = anp.sum(sigma[:, :4, None] * lands, axis=1)
    P = forced[:, None] + sigma[:, 4, None, None] * lands
    goal = np.arange(env.n_states) == env.n_states - 1
    P = anp.where(goal[:, None, None], np.eye(env.n_states)[-1], P)
    return P, anp.dot(P, env.grid.ravel())


# Differences


def best_sets(env, policy, **start):
    """Which of its five actions are best for each follower in each state, (..., K, S, 5), ties included."""
    _, choices = follower_values(env, policy, **start)
    best = choices >= choices.max(axis=-1, keepdims=True) - 1e-10
    best[..., -1, :] = True  # nothing happens at the goal
    return best


def directional_derivatives(function, env, policy, directions, h):
    """Derivatives along `directions` (D, S, A) in the logits, by central differences of fourth order.

    Returns them with a mask (D,) of the directions on which no follower's set of best actions changes within the
    points used: elsewhere the response has a kink, and differences across it are no derivative.
    """
    steps = h * np.array([-2.0, -1.0, 1.0, 2.0])[:, None, None, None]
    policies = pepg.softmax(np.log(policy) + steps * directions)
    values = np.array([[function(p) for p in row] for row in policies])
    derivative = (values[0] - 8.0 * values[1] + 8.0 * values[2] - values[3]) / (12.0 * h)
    near, _ = follower_values(env, policy)
    smooth = (best_sets(env, policies, value=near, precision=1e-8) == best_sets(env, policy)).all(axis=(0, 2, 3, 4))
    return derivative, smooth
