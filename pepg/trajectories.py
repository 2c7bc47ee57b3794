r"""Trajectories of a deployed policy, and the estimates of the performative gradient that they give.

With weights :math:`w_t` on the policy's score and :math:`u_t` on the transition's, one trajectory of T steps estimates

.. math::

   \hat g = \sum_{t<T} \gamma^t \big[ w_t \nabla\log\pi_\theta(a_t|s_t) + u_t \nabla\log P_{\pi_\theta}(s_{t+1}|s_t,a_t)
            + \nabla r_{\pi_\theta}(s_t,a_t) \big].

It is unbiased, up to the horizon, where the mean of :math:`w_t` given :math:`(s_t,a_t)` is the action value there and
the mean of :math:`u_t` given :math:`(s_t,a_t,s_{t+1})` is :math:`\gamma V(s_{t+1})`, each up to a baseline: any function of
:math:`s_t`, and of :math:`(s_t,a_t)`. The weights are arrays (count, T), one idea each:

======================================== ==================================================================== ==========
temporal_differences                     :math:`\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)`, for both scores unbiased
returns                                  :math:`G_t = \sum_{k \ge t} \gamma^{k-t} r_k`, for both scores       unbiased
advantages                               :math:`A(s_t,a_t)`, for the policy's score only                      unbiased
======================================== ==================================================================== ==========

On the transition's score :math:`A(s_t,a_t)` has mean zero, since :math:`E_{s'}[\nabla\log P(s'|s,a)] = 0`, and so has
the advantage one step later (:func:`next_step`), since :math:`E_a[A(s,a)] = 0`: both lose the transition's part.

**The transition's score.** Its term is the environment's ``transition_gradient``, that of :math:`\sum C P_\pi`, for
:math:`C(s,a,s') = \sum_t \gamma^t u_t 1[s_t=s, a_t=a, s_{t+1}=s'] / P_\pi(s'|s,a)`. With γ = 0 there is none.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from .mdp import MDP, check_count, to_logits


@dataclass(frozen=True, eq=False)
class Trajectories:
    r"""`count` trajectories of at most `horizon` steps.

    states (count, horizon + 1) · actions (count, horizon) · rewards (count, horizon): :math:`r(s_t,a_t)`
    real : (count, horizon), whether the step was taken: none is in a terminal state. Where not, the state stays, the
        action is 0 and the reward 0.
    """

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    real: np.ndarray

    @property
    def samples(self):
        """How many transitions were sampled."""
        return int(self.real.sum())

    @property
    def transitions(self):
        """The steps taken as arrays (samples,), trajectory by trajectory: states, actions, rewards, next states."""
        steps = self.states[:, :-1], self.actions, self.rewards, self.states[:, 1:]
        return tuple(array[self.real] for array in steps)


def _inverse_cdf(probabilities):
    """Distributions (..., n) as a table (n - 1, ...): as many of its entries are <= u as the outcome that u selects.

    u is uniform on [0, 1); the last entry, 1 after the division, is left out. An outcome of probability 0 is never selected.
    """
    cumulative = np.cumsum(probabilities, axis=-1)
    return np.ascontiguousarray(np.moveaxis(cumulative[..., :-1] / cumulative[..., -1:], -1, 0))


def sample_trajectories(mdp, policy, count, horizon, rng):
    r"""Sample `count` trajectories of `policy` (S, A) in `mdp`, at most `horizon` steps each, exactly in distribution.

    All trajectories advance together, by inversion of the distribution functions: one uniform number each for the start,
    and two for every step, whether it is taken or not.

    Raises ValueError for an MDP or a policy with leading axes, a count or a horizon below 1, or a rng that is not a
    ``numpy.random.Generator``.
    """
    if not isinstance(mdp, MDP):
        raise ValueError(f"mdp: expected a pepg.MDP, got {type(mdp).__name__}")
    for name, array, ndim in (("mdp.P", mdp.P, 3), ("mdp.r", mdp.r, 2), ("mdp.rho", mdp.rho, 1)):
        if array.ndim != ndim:
            raise ValueError(f"{name}: expected one MDP without leading axes, got shape {array.shape}")
    policy = mdp.check_policy(policy)
    if policy.ndim != 2:
        raise ValueError(f"policy: expected shape {(mdp.n_states, mdp.n_actions)}, got {policy.shape}")
    count, horizon = check_count("count", count), check_count("horizon", horizon)
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")

    # A terminal state keeps to itself, so that no step needs to ask.
    n_states, n_actions = policy.shape
    still = mdp.terminal[:, None]
    act = _inverse_cdf(np.where(still, np.eye(1, n_actions), policy))
    P = np.where(still[..., None], np.eye(n_states)[:, None], mdp.P).reshape(-1, n_states)
    reached = np.argsort(P == 0.0, axis=-1, kind="stable")[:, : (P > 0.0).sum(axis=-1).max()]  # those with P > 0 first, in order
    move = _inverse_cdf(np.take_along_axis(P, reached, axis=-1))
    states = np.empty((horizon + 1, count), dtype=np.intp)
    pairs = np.empty((horizon, count), dtype=np.intp)
    states[0] = np.searchsorted(_inverse_cdf(mdp.rho), rng.random(count), side="right")
    for t, (first, second) in enumerate(rng.random((horizon, 2, count))):
        now = states[t]
        pairs[t] = now * n_actions + (act[:, now] <= first).sum(axis=0)
        states[t + 1] = reached[pairs[t], (move[:, pairs[t]] <= second).sum(axis=0)]
    actions, real = pairs % n_actions, ~mdp.terminal[states[:-1]]
    rewards = mdp.r[states[:-1], actions] * real
    return Trajectories(states.T, actions.T, rewards.T, real.T)


# Weights, (count, horizon) each


def with_entropy_bonus(trajectories, policy, entropy):
    r"""The same trajectories, paid :math:`r_t - \lambda \log \pi(a_t|s_t)` with `entropy` = λ (theory: R4)."""
    with np.errstate(divide="ignore"):
        bonus = -entropy * np.log(policy)[trajectories.states[:, :-1], trajectories.actions]
    return replace(trajectories, rewards=np.where(trajectories.real, trajectories.rewards + bonus, 0.0))


def returns(trajectories, gamma):
    r"""What each step and those after it are paid, :math:`G_t = \sum_{k \ge t} \gamma^{k-t} r_k`, up to the horizon."""
    total = trajectories.rewards.astype(float)
    for t in reversed(range(total.shape[1] - 1)):
        total[:, t] += gamma * total[:, t + 1]
    return total


def temporal_differences(trajectories, value, gamma):
    r""":math:`\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)` for a value (S,), 0 where no step was taken."""
    value = np.asarray(value)[trajectories.states]
    return (trajectories.rewards + gamma * value[:, 1:] - value[:, :-1]) * trajectories.real


def advantages(trajectories, advantage):
    """The entry of `advantage` (S, A) at each step, 0 where none was taken."""
    return np.asarray(advantage)[trajectories.states[:, :-1], trajectories.actions] * trajectories.real


def next_step(weights, gamma):
    r"""Weights of one step later, :math:`\gamma w_{t+1}`, 0 at the last.

    As the weight of :math:`\gamma^t \nabla\log P(s_{t+1}|s_t,a_t)` it is :math:`\gamma^{t+1} w_{t+1}`: each :math:`w_t`
    meets the score of the transition that led to :math:`s_t`.
    """
    late = np.zeros_like(weights)
    late[:, :-1] = gamma * weights[:, 1:]
    return late


# Estimates


class _Visits:
    """Discounted sums over the steps of each trajectory, by (s, a) and by the transitions (s, a, s') that occur."""

    def __init__(self, env, policy, trajectories, discounted):
        self.policy = env.check_policy(policy)
        if self.policy.ndim != 2:
            raise ValueError(f"policy: expected shape {(env.n_states, env.n_actions)}, got {self.policy.shape}")
        self.count, self.horizon = trajectories.actions.shape
        self.pairs = (env.n_states, env.n_actions)
        time = env.gamma ** np.arange(self.horizon) if discounted else np.ones(self.horizon)
        self.factor = time * trajectories.real
        self.pair = trajectories.states[:, :-1] * env.n_actions + trajectories.actions
        triple = self.pair * env.n_states + trajectories.states[:, 1:]
        occurs = np.zeros(env.n_states * env.n_actions * env.n_states, dtype=bool)
        occurs[triple[trajectories.real]] = True
        self.triples = np.flatnonzero(occurs)
        self.triple = (np.cumsum(occurs) - 1)[triple] * trajectories.real
        self.probability = env.respond(self.policy).P.ravel()[self.triples]

    def _sums(self, index, size, weights):
        if np.shape(weights) != (self.count, self.horizon):
            raise ValueError(f"weights: expected shape {(self.count, self.horizon)}, got {np.shape(weights)}")
        rows = np.arange(self.count)[:, None] * size + index
        sums = np.bincount(rows.ravel(), (weights * self.factor).ravel(), self.count * size)
        return sums[: self.count * size].reshape(self.count, size)  # size 0 where no step was taken

    def by_pair(self, weights):
        """(count, S, A)"""
        return self._sums(self.pair, self.pairs[0] * self.pairs[1], weights).reshape(-1, *self.pairs)

    def by_transition(self, weights):
        """(count, K) for the K transitions that occur, divided by their probabilities."""
        return self._sums(self.triple, self.triples.size, weights) / self.probability

    def policy_score(self, weights):
        r""":math:`\sum_t \gamma^t w_t \nabla_\theta\log\pi_\theta(a_t|s_t)`, (count, S, A)."""
        weights = self.by_pair(weights)
        return weights - self.policy * weights.sum(axis=-1, keepdims=True)


def gradient_estimates(env, policy, trajectories, weights, transition_weights=None, discounted=True):
    r"""Estimates :math:`\hat g` of the performative gradient, one from each trajectory, in the logits: (count, S, A).

    policy : (S, A), the one that `trajectories` follow in ``env.respond(policy)``
    weights : (count, horizon), :math:`w_t` on the policy's score
    transition_weights : :math:`u_t` on the transition's score; `weights` by default
    discounted : False drops every :math:`\gamma^t`, which is biased

    Asks for the response's gradient once for every transition and every (s, a) that occur. Raises ValueError for a policy or
    weights of the wrong shape.
    """
    visits = _Visits(env, policy, trajectories, discounted)
    n_pairs = env.n_states * env.n_actions
    by_pair = visits.by_pair(np.ones_like(trajectories.rewards)).reshape(-1, n_pairs)
    in_policy = np.zeros_like(by_pair)
    for k in np.flatnonzero(by_pair.any(axis=0)):
        unit = np.eye(1, n_pairs, k).reshape(visits.pairs)
        in_policy += by_pair[:, k, None] * env.response_gradient(visits.policy, unit, np.zeros(env.n_states)).ravel()
    if env.gamma > 0.0:
        size = n_pairs * env.n_states
        units = (np.eye(1, size, k).reshape(*visits.pairs, -1) for k in visits.triples)
        gradients = np.array([env.transition_gradient(visits.policy, unit).ravel() for unit in units]).reshape(-1, n_pairs)
        in_policy += visits.by_transition(weights if transition_weights is None else transition_weights) @ gradients
    return visits.policy_score(weights) + to_logits(visits.policy, in_policy.reshape(-1, *visits.pairs))


def mean_gradient_estimate(env, policy, trajectories, weights, transition_weights=None, discounted=True):
    r"""The mean of :func:`gradient_estimates` over the trajectories, (S, A): one gradient of P and one of r."""
    visits = _Visits(env, policy, trajectories, discounted)
    occupancy = visits.by_pair(np.ones_like(trajectories.rewards)).mean(axis=0)
    in_policy = env.response_gradient(visits.policy, occupancy, np.zeros(env.n_states))
    if env.gamma > 0.0:
        by_transition = np.zeros(env.n_states * env.n_actions * env.n_states)
        mean = visits.by_transition(weights if transition_weights is None else transition_weights).mean(axis=0)
        by_transition[visits.triples] = mean
        in_policy = in_policy + env.transition_gradient(visits.policy, by_transition.reshape(*visits.pairs, -1))
    return visits.policy_score(weights).mean(axis=0) + to_logits(visits.policy, in_policy)


def mean_policy_score(policy, trajectories, weights, gamma):
    r"""What the trajectories say without the environment: the policy's part of the estimate, and the occupancy.

    The means over the trajectories of :math:`\sum_t \gamma^t w_t \nabla_\theta\log\pi_\theta(a_t|s_t)` and of
    :math:`\sum_t \gamma^t 1[s_t=s, a_t=a]`, (S, A) each.
    """
    pairs = (trajectories.states[:, :-1] * policy.shape[-1] + trajectories.actions).ravel()
    time = gamma ** np.arange(trajectories.actions.shape[1]) * trajectories.real / len(trajectories.actions)
    weighted, occupancy = (
        np.bincount(pairs, (time * w).ravel(), policy.size).reshape(policy.shape) for w in (weights, np.ones_like(weights))
    )
    return weighted - policy * weighted.sum(axis=-1, keepdims=True), occupancy


def hotelling(estimates, exact):
    r"""Whether the mean of `estimates` (n, S, A) is `exact` (S, A): Hotelling's :math:`T^2` and its p-value.

    :math:`T^2 = n\, e^\top \Sigma^{-1} e` for the mean error e and the covariance Σ of the estimates, in the
    :math:`k = S (A - 1)` entries that are free in a gradient in the logits of a softmax, whose rows sum to zero.
    :math:`T^2 (n-k) / (k (n-1))` has an F distribution with (k, n - k) degrees of freedom for normal estimates, and
    for large n. The joint region at level α holds `exact` where the p-value is above 1 - α.

    Raises ValueError where n is not above k, or the two do not have matching shapes.
    """
    if np.ndim(exact) != 2 or np.shape(estimates)[1:] != np.shape(exact):
        raise ValueError(f"estimates: expected shape (n, S, A) and (S, A), got {np.shape(estimates)} and {np.shape(exact)}")
    error = np.asarray(estimates) - exact
    error = error[..., :-1].reshape(len(error), -1)
    n, k = error.shape
    if n <= k:
        raise ValueError(f"estimates: expected more than {k} of them, got {n}")
    mean = error.mean(axis=0)
    statistic = n * mean @ np.linalg.solve(np.cov(error.T).reshape(k, k), mean)
    return float(statistic), float(stats.f.sf(statistic * (n - k) / (k * (n - 1)), k, n - k))


# What the data say of the environment


def estimated_value(trajectories, gamma, prior, weight=1.0):
    r"""The value (S,) of the policy that `trajectories` follow, from their transitions alone.

    Least-squares temporal differences in a table, drawn to `prior` (S,) where data are few: with n(s) visits and
    :math:`\hat P` their empirical transitions,

    .. math:: n(s) \Big( V(s) - \gamma \sum_{s'} \hat P(s'|s) V(s') \Big) + w V(s) = \sum_{t: s_t = s} r_t + w \, prior(s),

    so that a state never left keeps its prior. `weight` w > 0 counts as that many visits.
    """
    states, _, rewards, then = trajectories.transitions
    n_states = len(prior)
    moved = np.bincount(states * n_states + then, minlength=n_states**2).reshape(n_states, n_states)
    system = np.diag(moved.sum(axis=-1) + weight) - gamma * moved
    return np.linalg.solve(system, np.bincount(states, rewards, n_states) + weight * np.asarray(prior))


def empirical_mdp(transitions, gamma, rho, n_actions):
    r"""The MDP of averages over `transitions` (states, actions, rewards, next states), and how often each (s, a) occurs.

    A state that no transition leaves is terminal, since nothing is known of what it is worth. A pair (s, a) that does not occur
    in a state that others leave stays there without reward; whoever plans in this MDP is to avoid it.
    """
    states, actions, rewards, then = transitions
    n_states = len(rho)
    pairs = states * n_actions + actions
    size = n_states * n_actions
    moved = np.bincount(pairs * n_states + then, minlength=size * n_states).reshape(n_states, n_actions, n_states)
    paid = np.bincount(pairs, rewards, size).reshape(n_states, n_actions)
    counts = moved.sum(axis=-1)
    some = np.maximum(counts, 1)
    P = np.where((counts > 0)[..., None], moved / some[..., None], np.eye(n_states)[:, None])
    return MDP(P, paid / some, gamma, rho, terminal=counts.sum(axis=-1) == 0), counts
