r"""The algorithms that learn from trajectories: performative policy gradients, retraining, and zeroth-order Frank-Wolfe.

Each meets the environment in a :class:`pepg.algorithms.run.Field` only, which counts what it deploys and samples. ``sampled_pepg`` with
`response="exact"` is told one thing more, how the environment bends with the policy.

`seed` is a whole number, or n of them for n runs side by side: policies (n, S, A), from one start or n. Each run is bit for bit what
it is alone; together they take half the time or less in the gridworld.
"""

import numpy as np

from ..arguments import check_count, check_non_negative, check_number, check_positive
from ..data import (
    LearnedResponse,
    empirical_mdp,
    estimated_value,
    mean_gradient_estimate,
    mean_policy_score,
    returns,
    temporal_differences,
    with_entropy_bonus,
)
from ..mdp import softmax, to_logits
from .ascent import Adam
from .retraining import closest_occupancy, policy_of_occupancy
from .run import Field, drawn, repeat, starting_policy

RESPONSES = ("exact", "learned")


# Policy gradients


def sampled_pepg(
    env, *, policy=None, iterations=100, seed=None, trajectories=30, horizon=200, step_size=0.2, response="exact",
    exploration=1.0,
):
    r"""Performative policy gradient from samples (arXiv 2512.20576): deploy, estimate, ascend in the logits.

    Each iteration deploys the policy once and estimates its value from the transitions (:func:`estimated_value`, drawn to the last
    estimate). The gradient is the estimate of R3 with temporal differences on both scores, unbiased for the true value and up to the
    horizon. An Adam step of `step_size` follows it.

    response : ``"exact"``: the scores of the response, of :math:`P_\pi` and :math:`r_\pi`, are the environment's.
        ``"learned"``: nothing is known but the data. The response is that of a :class:`LearnedResponse` to the policies deployed so far,
        which are the iterates with independent N(0, exploration²) added to their logits.

    Raises ValueError for an argument out of range.
    """
    start = starting_policy(env, policy, seed)
    field = Field(env, start, seed, trajectories, horizon)
    exploration = check_positive("exploration", exploration)
    if response not in RESPONSES:
        raise ValueError(f"response: expected one of {', '.join(map(repr, RESPONSES))}, got {response!r}")
    if response == "exact":

        def gradient(policy, paths, weights, value):
            return mean_gradient_estimate(env, policy, paths, weights)

        return _ascend("sampled_pepg", env, field, start, iterations, step_size, gradient)

    learned = {index: LearnedResponse(env.n_states, env.n_actions) for index in np.ndindex(start.shape[:-2])}

    def gradient(policy, paths, weights, value):
        by_policy, occupancy = mean_policy_score(policy, paths, weights, field.gamma)
        in_policy = np.empty_like(policy)
        for (index, model), own in zip(learned.items(), paths.runs()):
            model.observe(policy[index], own)
            in_policy[index] = model.gradient(occupancy[index], field.gamma * value[index])
        return by_policy + to_logits(policy, in_policy)

    return _ascend("sampled_pepg", env, field, start, iterations, step_size, gradient, exploration)


def sampled_policy_gradient(
    env, *, policy=None, iterations=100, seed=None, trajectories=30, horizon=200, step_size=0.2
):
    """:func:`sampled_pepg` without the environment's part of the gradient."""
    start = starting_policy(env, policy, seed)
    field = Field(env, start, seed, trajectories, horizon)

    def gradient(policy, paths, weights, value):
        return mean_policy_score(policy, paths, weights, field.gamma)[0]

    return _ascend("sampled_policy_gradient", env, field, start, iterations, step_size, gradient)


def _ascend(name, env, field, start, iterations, step_size, gradient, exploration=0.0):
    rule = Adam(check_positive("step_size", step_size))
    with np.errstate(divide="ignore"):
        logits = np.log(start)
    value = np.zeros(start.shape[:-1])

    def step(deployment):
        nonlocal logits, value
        policy = deployment.policy
        if exploration > 0.0:
            policy = softmax(logits + exploration * drawn(field.rng, lambda rng: rng.normal(size=logits.shape[-2:])))
        paths = field.deploy(policy)
        value = estimated_value(paths, field.gamma, prior=value)
        weights = temporal_differences(paths, value, field.gamma)
        logits = logits + rule(gradient(policy, paths, weights, value))
        return softmax(logits)

    return repeat(name, env, start, iterations, step, field=field)


# Retraining


def repeated_policy_optimization_fs(
    env, *, policy=None, iterations=100, seed=None, trajectories=30, horizon=200, regularization=0.1, coverage=10.0, w=1.0
):
    r"""RPO from finite samples (RPO-FS): the regularised problem in the MDP that the last deployment's data suggest.

    With averages :math:`\hat P, \hat r` over the transitions and the occupancy :math:`\hat d` in that MDP of the actions in the
    proportions in which they were taken, :math:`d_{t+1} = \arg\max_d \langle d, \hat r \rangle - \frac{\lambda}{2} \|d\|_2^2` over the
    flow polytope of :math:`\hat P` with :math:`d \le B \hat d` (`coverage` = B), and :math:`\pi_{t+1}(a|s) \propto d_{t+1}(s,a)`. This is
    the saddle point of the empirical Lagrangian :math:`\hat L(d, h) = -\frac{\lambda}{2} \|d\|^2 + \langle \rho, h \rangle + \sum_{s,a}
    d(s,a) \, (\hat r(s,a) - h(s) + \gamma \sum_{s'} \hat P(s'|s,a) h(s'))` (Mandal, Triantafyllou & Radanovic, ICML 2023), with h = 0 in
    a state that no transition leaves, which they approach by a game of a few rounds between d and h, solved to its end.

    `w` < 1 is a gradually shifting environment (:class:`pepg.algorithms.run.Field`). Raises ValueError for an argument out of range,
    RuntimeError if the QP solver does not converge.
    """
    return _retrain(
        "repeated_policy_optimization_fs", env, policy, iterations, seed, trajectories, horizon, regularization, coverage, w,
        k=1, shares=lambda k: np.eye(1, k)[0],
    )


def delayed_repeated_retraining(
    env, *, policy=None, iterations=33, seed=None, trajectories=30, horizon=200, regularization=0.1, coverage=10.0, w=1.0,
    k=3,
):
    r"""Delayed repeated retraining (DRR): deploy a policy `k` times, then retrain on the data of the last time.

    An iteration is one retraining, as in :func:`repeated_policy_optimization_fs`, and takes k deployments: in a gradually shifting
    environment (`w` < 1) the last finds it closest to its response (Rank, Triantafyllou, Mandal & Radanovic, UAI 2024).
    """
    return _retrain(
        "delayed_repeated_retraining", env, policy, iterations, seed, trajectories, horizon, regularization, coverage, w, k,
        shares=lambda k: np.eye(1, k)[0],
    )


def mixed_delayed_repeated_retraining(
    env, *, policy=None, iterations=33, seed=None, trajectories=30, horizon=200, regularization=0.1, coverage=10.0, w=1.0,
    k=3, v=1.1,
):
    r"""Mixed delayed repeated retraining (MDRR): deploy a policy `k` times, then retrain on a mixture of the data.

    Deployment :math:`t = 1, \dots, k` has weight :math:`w_t = \frac{v-1}{v^k-1} v^{t-1}`, `v` > 1. Transitions are taken newest first,
    as many as keep the share of the newest j deployments at least at their weight, for every j; the rest is left out
    (Rank, Triantafyllou, Mandal & Radanovic, UAI 2024).
    """
    v = float(check_number("v", v, "a finite number > 1", lambda x: x > 1.0))

    def shares(k):
        newest_first = v ** -np.arange(float(k))
        return newest_first / newest_first.sum()

    return _retrain(
        "mixed_delayed_repeated_retraining", env, policy, iterations, seed, trajectories, horizon, regularization, coverage, w, k,
        shares,
    )


def _retrain(
    name, env, policy, iterations, seed, trajectories, horizon, regularization, coverage, w, k, shares
):
    start = starting_policy(env, policy, seed)
    field = Field(env, start, seed, trajectories, horizon, w)
    regularization = check_non_negative("regularization", regularization)
    coverage = float(check_number("coverage", coverage, "a finite number >= 1", lambda x: x >= 1.0))
    shares = shares(check_count("k", k))

    def retrained(deployments):
        """The policy of one run, from the trajectories of its deployments, newest first."""
        newest_first = [paths.transitions for paths in deployments]
        data = [np.concatenate(arrays) for arrays in zip(*mixed(newest_first, shares))]
        mdp, counts = empirical_mdp(data, field.gamma, field.rho, env.n_actions)
        played = policy_of_occupancy(counts.astype(float))
        bound = coverage * mdp.occupancy(played)
        return policy_of_occupancy(closest_occupancy(mdp, mdp.r, regularization, bound))

    def step(deployment):
        newest_first = [field.deploy(deployment.policy).runs() for _ in shares][::-1]
        return np.reshape([retrained(deployments) for deployments in zip(*newest_first)], start.shape)

    return repeat(name, env, start, iterations, step, field=field)


def mixed(newest_first, shares):
    """The first transitions of each deployment, as many as :func:`mixed_delayed_repeated_retraining` takes of it.

    newest_first : a tuple of arrays for each deployment · shares : (k,), their weights, summing to 1
    """
    sizes = np.cumsum([len(arrays[0]) for arrays in newest_first])
    total = int(np.min(sizes / np.cumsum(shares)) + 1e-9)  # a whole number may come out of the division just below itself
    taken = np.diff(np.minimum(sizes, total), prepend=0)
    return [tuple(array[:n] for array in arrays) for arrays, n in zip(newest_first, taken)]


# Zeroth order


def zeroth_order_frank_wolfe(
    env, *, policy=None, iterations=10, seed=None, trajectories=30, horizon=200, directions=5, perturbation=0.01, floor=0.02,
    step_size=0.2, entropy=0.0,
):
    r"""Zeroth-order Frank-Wolfe (0-FW): the performative gradient from values of perturbed policies alone.

    On the policies with every entry at least `floor` = Δ, and with `directions` = N, `perturbation` = δ < Δ and estimates
    :math:`\hat V` of the value regularised by `entropy` = λ, each from one deployment,

    .. math:: g = \frac{|S| (|A| - 1)}{2 N \delta} \sum_{i=1}^N \big( \hat V(\pi + \delta u_i) - \hat V(\pi - \delta u_i) \big) u_i

    for :math:`u_i` uniform on the unit sphere of directions that keep row sums. `step_size` = β is the share of the way to the policy with
    :math:`1 - \Delta (|A|-1)` on the best action of g in each state and Δ on the others (Chen & Huang, arXiv 2510.04430).
    An iteration takes 2 N deployments. The start is drawn to the uniform policy as far as its smallest entry is below Δ.

    Raises ValueError for an argument out of range.
    """
    start = starting_policy(env, policy, seed)
    field = Field(env, start, seed, trajectories, horizon)
    directions = check_count("directions", directions)
    n_actions = env.n_actions
    floor = float(check_number("floor", floor, f"a number in (0, 1/{n_actions})", lambda x: 0.0 < x < 1.0 / n_actions))
    perturbation = float(check_number("perturbation", perturbation, "a number in (0, floor)", lambda x: 0.0 < x < floor))
    step_size = float(check_number("step_size", step_size, "a number in (0, 1]", lambda x: 0.0 < x <= 1.0))
    entropy = check_non_negative("entropy", entropy)
    lowest = start.min(axis=(-2, -1), keepdims=True)
    share = np.maximum(floor - lowest, 0.0) / (1.0 / n_actions - np.minimum(lowest, floor))
    start = np.where(share > 0.0, (1.0 - share) * start + share / n_actions, start)

    def value(policy):
        paths = with_entropy_bonus(field.deploy(policy), policy, entropy)
        return returns(paths, field.gamma)[..., 0].mean(axis=-1)

    def step(deployment):
        gradient = zeroth_order_gradient(value, deployment.policy, directions, perturbation, field.rng)
        target = np.where(np.eye(n_actions)[gradient.argmax(axis=-1)] == 1.0, 1.0 - floor * (n_actions - 1), floor)
        return deployment.policy + step_size * (target - deployment.policy)

    return repeat("zeroth_order_frank_wolfe", env, start, iterations, step, field=field)


def zeroth_order_gradient(value, policy, directions, perturbation, rng):
    r"""The estimate g of :func:`zeroth_order_frank_wolfe`, (..., S, A), from ``value(policy)``; 2 `directions` evaluations.

    rng : a generator; a list of them for policies (n, S, A), whose values are then (n,)

    In expectation over the directions, and as the perturbation vanishes, it is the gradient in π projected on the
    directions that keep row sums: :math:`E[u u^\top]` is that projection over its dimension |S| (|A| - 1).
    """
    n_states, n_actions = policy.shape[-2:]

    def direction(rng):
        u = rng.normal(size=(n_states, n_actions))
        u -= u.mean(axis=-1, keepdims=True)
        return u / (np.linalg.norm(u) or 1.0)  # a single action leaves no direction

    estimate = np.zeros(policy.shape)
    for _ in range(directions):
        u = drawn(rng, direction)
        difference = np.asarray(value(policy + perturbation * u) - value(policy - perturbation * u))
        estimate += difference[..., None, None] * u
    return n_states * (n_actions - 1) / (2.0 * directions * perturbation) * estimate
