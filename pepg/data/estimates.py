"""Estimates of the performative gradient from trajectories, and whether an estimator is unbiased."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.sparse import csr_array, issparse

from ..arguments import check_any_policy, check_finite, check_flag, check_gamma
from ..mdp import PeMDP, check_dense, check_env, to_logits
from .trajectories import Trajectories, check_trajectories


class _Visits:
    """Discounted sums over the steps of each trajectory, by (s, a) and by the transitions (s, a, s') that occur.

    policy (S, A), in the transitions P (S, A, S) that answer it, or (S A, S) where they are sparse
    """

    def __init__(self, policy, P, trajectories, gamma, discounted=True):
        self.policy = policy
        self.count, self.horizon = trajectories.actions.shape
        self.pairs = n_states, n_actions = policy.shape
        time = gamma ** np.arange(self.horizon) if discounted else np.ones(self.horizon)
        self.factor = time * trajectories.real
        self.pair = trajectories.pairs(n_actions)
        triple = self.pair * n_states + trajectories.states[:, 1:]
        if issparse(P):
            self.triples = np.unique(triple[trajectories.real])
            self.triple = np.searchsorted(self.triples, triple) * trajectories.real
            self.probability = P[self.rows_and_columns]
        else:
            occurs = np.zeros(P.size, dtype=bool)
            occurs[triple[trajectories.real]] = True
            self.triples = np.flatnonzero(occurs)
            self.triple = (np.cumsum(occurs) - 1)[triple] * trajectories.real
            self.probability = P.ravel()[self.triples]

    @property
    def rows_and_columns(self):
        """Where the transitions that occur stand in an array (S A, S)."""
        return np.divmod(self.triples, self.pairs[0])

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


def gradient_estimates(
    env: PeMDP, policy: ArrayLike, trajectories: Trajectories, weights: ArrayLike, transition_weights: ArrayLike | None = None,
    discounted: bool = True,
) -> np.ndarray:
    r"""Estimates :math:`\hat g` of the performative gradient, one from each trajectory, in the logits: (count, S, A).

    policy : (S, A), the one that `trajectories` follow in ``env.respond(policy)``
    weights : (count, horizon), :math:`w_t` on the policy's score
    transition_weights : :math:`u_t` on the transition's score; `weights` by default
    discounted : False drops every :math:`\gamma^t`, which is biased

    Asks for the response's gradient once for every transition and every (s, a) that occur. Raises ValueError for a policy or
    weights of the wrong shape.
    """
    policy, weights, transition_weights, discounted = _checked(env, policy, trajectories, weights, transition_weights, discounted)
    if policy.ndim != 2:
        raise ValueError(f"policy: expected one policy and its trajectories, got shape {policy.shape}")
    mdp = env.respond(policy)
    check_dense("policy", mdp)
    visits = _Visits(policy, mdp.P, trajectories, env.gamma, discounted)
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
        in_policy += visits.by_transition(transition_weights) @ gradients
    return visits.policy_score(weights) + to_logits(visits.policy, in_policy.reshape(-1, *visits.pairs))


def mean_gradient_estimate(
    env: PeMDP, policy: ArrayLike, trajectories: Trajectories, weights: ArrayLike, transition_weights: ArrayLike | None = None,
    discounted: bool = True,
) -> np.ndarray:
    r"""The mean of :func:`gradient_estimates` over the trajectories, (S, A): one gradient of P and one of r.

    Of n runs side by side, with policy (n, S, A) and weights (n, count, horizon), that of each: (n, S, A).
    """
    policy, weights, transition_weights, discounted = _checked(env, policy, trajectories, weights, transition_weights, discounted)
    mdp = env.respond(policy)
    occupancy, score = np.empty_like(policy), np.empty_like(policy)
    if mdp.sparse:
        return _sparse_mean(env, policy, mdp, trajectories, weights, transition_weights, discounted)
    by_transition = np.zeros(mdp.P.shape)
    lead = policy.shape[:-2]
    for index, paths in zip(np.ndindex(lead), trajectories.runs(), strict=True):
        visits = _Visits(policy[index], mdp.P[index], paths, env.gamma, discounted)
        occupancy[index] = visits.by_pair(np.ones_like(paths.rewards)).mean(axis=0)
        score[index] = visits.policy_score(weights[index]).mean(axis=0)
        by_transition[index].flat[visits.triples] = visits.by_transition(transition_weights[index]).mean(axis=0)
    in_policy = env.response_gradient(policy, occupancy, np.zeros((*lead, env.n_states)))
    if env.gamma > 0.0:
        in_policy = in_policy + env.transition_gradient(policy, by_transition)
    return score + to_logits(policy, in_policy)


def _sparse_mean(env, policy, mdp, trajectories, weights, transition_weights, discounted):
    """The same for one policy in sparse transitions."""
    visits = _Visits(policy, mdp.P, trajectories, env.gamma, discounted)
    occupancy = visits.by_pair(np.ones_like(trajectories.rewards)).mean(axis=0)
    in_policy = env.response_gradient(policy, occupancy, np.zeros(env.n_states))
    if env.gamma > 0.0:
        by_transition = visits.by_transition(transition_weights).mean(axis=0)
        in_policy = in_policy + env.transition_gradient(policy, csr_array((by_transition, visits.rows_and_columns), mdp.P.shape))
    return visits.policy_score(weights).mean(axis=0) + to_logits(policy, in_policy)


def _checked(env, policy, trajectories, weights, transition_weights, discounted):
    policy = check_env(env).check_policy(policy)
    check_trajectories(trajectories, env.n_states, env.n_actions)
    expected = (*trajectories.actions.shape[:-2], env.n_states, env.n_actions)
    if policy.shape != expected:
        raise ValueError(f"policy: expected shape {expected}, got {policy.shape}")
    weights = _steps("weights", weights, trajectories)
    transition_weights = weights if transition_weights is None else _steps("transition_weights", transition_weights, trajectories)
    return policy, weights, transition_weights, check_flag("discounted", discounted)


def _steps(name, weights, trajectories):
    """Weights, one for each step of trajectories."""
    weights, shape = check_finite(name, weights, ()), trajectories.actions.shape
    if weights.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {weights.shape}")
    return weights


def mean_policy_score(policy: ArrayLike, trajectories: Trajectories, weights: ArrayLike, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    r"""What the trajectories say without the environment: the policy's part of the estimate, and the occupancy.

    The means over the trajectories of :math:`\sum_t \gamma^t w_t \nabla_\theta\log\pi_\theta(a_t|s_t)` and of
    :math:`\sum_t \gamma^t 1[s_t=s, a_t=a]`, (S, A) each; (n, S, A) of n runs side by side.
    """
    gamma = check_gamma(gamma)
    policy = check_any_policy(policy)
    *lead, n_states, n_actions = policy.shape
    weights = _steps("weights", weights, check_trajectories(trajectories, n_states, n_actions))
    if tuple(lead) != weights.shape[:-2]:
        raise ValueError(f"policy: expected shape {(*weights.shape[:-2], n_states, n_actions)}, got {policy.shape}")
    run = np.arange(policy.size // (n_states * n_actions)).reshape(*lead, 1, 1)
    pairs = (run * (n_states * n_actions) + trajectories.pairs(n_actions)).ravel()
    count, horizon = trajectories.actions.shape[-2:]
    time = gamma ** np.arange(horizon) * trajectories.real / count
    weighted, occupancy = (
        np.bincount(pairs, (time * w).ravel(), policy.size).reshape(policy.shape) for w in (weights, np.ones_like(weights))
    )
    return weighted - policy * weighted.sum(axis=-1, keepdims=True), occupancy


def hotelling(estimates: ArrayLike, exact: ArrayLike) -> tuple[float, float]:
    r"""Whether the mean of `estimates` (n, S, A) is `exact` (S, A): Hotelling's :math:`T^2` and its p-value.

    :math:`T^2 = n\, e^\top \Sigma^{-1} e` for the mean error e and the covariance Σ of the estimates, in the
    :math:`k = S (A - 1)` entries that are free in a gradient in the logits of a softmax, whose rows sum to zero.
    :math:`T^2 (n-k) / (k (n-1))` has an F distribution with (k, n - k) degrees of freedom for normal estimates, and
    for large n. The joint region at level α holds `exact` where the p-value is above 1 - α.

    Raises ValueError where n is not above k, or the two do not have matching shapes.
    """
    estimates, exact = check_finite("estimates", estimates, ()), check_finite("exact", exact, ())
    if exact.ndim != 2:
        raise ValueError(f"exact: expected a gradient (S, A), got shape {exact.shape}")
    if np.shape(estimates)[1:] != np.shape(exact):
        raise ValueError(f"estimates: expected shape (n, S, A) and (S, A), got {np.shape(estimates)} and {np.shape(exact)}")
    error = np.asarray(estimates) - exact
    error = error[..., :-1].reshape(len(error), -1)
    n, k = error.shape
    if n <= k:
        raise ValueError(f"estimates: expected more than {k} of them, got {n}")
    mean = error.mean(axis=0)
    statistic = n * mean @ np.linalg.solve(np.cov(error.T).reshape(k, k), mean)
    return float(statistic), float(stats.f.sf(statistic * (n - k) / (k * (n - 1)), k, n - k))
