"""For notebook 22: classes of policies on the gridworld's board, and the best of a class on small worlds."""

import autograd.numpy as anp
import numpy as np

import pepg
from pepg import algorithms
from pepg.policies import FunctionPolicy, LogLinear, Tabular


def tiles(env, n):
    """Log-linear policies on n x n tiles of the board: a feature for each tile and action."""
    rows, columns = env.grid.shape
    row, column = np.divmod(np.arange(env.n_states), columns)
    tile = np.eye(n * n)[row * n // rows * n + column * n // columns]
    return by_action(tile, env.n_actions)


def rows_and_columns(env):
    """Log-linear policies on the number of the row and that of the column: a feature for each and action."""
    rows, columns = env.grid.shape
    row, column = np.divmod(np.arange(env.n_states), columns)
    return by_action(np.concatenate([np.eye(rows)[row], np.eye(columns)[column]], axis=-1), env.n_actions)


def by_action(features, n_actions):
    """Features of a state (S, m), for each action by itself: (S, A, m A)."""
    each = np.einsum("sm,ab->samb", features, np.eye(n_actions))
    return LogLinear(each.reshape(*each.shape[:2], -1))


def network(env, width):
    """One layer of `width` tanh units above the coordinates of a cell in [-1, 1], and a softmax over the moves."""
    places = 2.0 * np.argwhere(np.ones(env.grid.shape)) / (np.array(env.grid.shape) - 1) - 1.0
    inputs = np.column_stack([places, np.ones(env.n_states)])
    cut, n_actions = 3 * width, env.n_actions

    def function(parameters):
        hidden = anp.tanh(anp.dot(inputs, anp.reshape(parameters[:cut], (3, width))))
        logits = anp.dot(hidden, anp.reshape(parameters[cut:], (width, n_actions)))
        weights = anp.exp(logits - anp.max(logits, axis=1, keepdims=True))
        return weights / anp.sum(weights, axis=1, keepdims=True)

    return FunctionPolicy(function, env.n_states, n_actions, cut + width * n_actions)


def random_features(env, k, seeds):
    r"""Log-linear policies on k features drawn from :math:`N(0, 1/k)`, others for each seed: those of the released program up to a factor."""
    shape = (env.n_states, env.n_actions, k)
    return LogLinear(np.array([np.random.default_rng(1000 + seed).normal(0.0, k**-0.5, shape) for seed in seeds]))


def classes(env, seeds, tiled, random, widths):
    """The classes by name, tabular last among those that are linear: {(kind, size): policies}."""
    made = {("tiles", f"{n} x {n}"): tiles(env, n) for n in tiled}
    made |= {("tiles", "rows + columns"): rows_and_columns(env), ("tiles", "tabular"): Tabular(env.n_states, env.n_actions)}
    made |= {("random features", f"{k}"): random_features(env, k, seeds) for k in random}
    return made | {("network", f"width {width}"): network(env, width) for width in widths}


def starts(policies, seeds, scale):
    """Parameters, one draw a seed, of policies whose logits have a standard deviation of about `scale` in each class."""
    if isinstance(policies, Tabular):
        return policies.random_parameters(seeds, scale)
    if isinstance(policies, LogLinear):
        norm = np.sqrt((policies.features**2).sum(axis=-1).mean())
        return policies.random_parameters(seeds, scale / norm)
    width = policies.n_parameters // (3 + policies.n_actions)
    theta = policies.random_parameters(seeds, 1.0)
    theta[:, 3 * width :] *= scale / width**0.5  # a layer that tells cells apart, and outputs of the size asked for
    return theta


def ascents(env, policies, theta, iterations, first):
    """Values (T + 1, n) of PG, of PePG, and of PePG from where PG is after `first` iterations, as many in all."""
    options = {"policies": policies}
    plain = algorithms.policy_gradient(env, parameters=theta, iterations=iterations, **options)
    both = algorithms.pepg(env, parameters=theta, iterations=iterations, **options)
    later = algorithms.pepg(env, parameters=plain.parameters[first], iterations=iterations - first, **options)
    return {"PG": plain.values, "PePG": both.values, "PG, then PePG": np.concatenate([plain.values[:first], later.values])}


# Two states, two actions


def shared():
    """Log-linear policies with one parameter: the same policy in every state, from never action 1 to always."""
    return LogLinear(np.broadcast_to([[[-0.5], [0.5]]], (2, 2, 1)))


def one_random_feature(count, seed):
    """Log-linear policies with one parameter, and random features in each of `count` worlds."""
    return LogLinear(np.random.default_rng(seed).normal(size=(count, 2, 2, 1)))


def best_of_one_parameter(env, policies, points):
    """The highest value (n,) on a grid of the one parameter that is dense near 0 and ends where the policies are all but deterministic."""
    grid = 60.0 * np.sinh(np.linspace(-6.0, 6.0, points)) / np.sinh(6.0)
    best = np.full(env.lead, -np.inf)
    for theta in grid:
        best = np.maximum(best, pepg.performative_value(env, policies.policy(np.full((*env.lead, 1), theta))))
    return best
