"""Models fitted on trajectories: a value, the MDP of averages, a response that moves with the policy."""

import numpy as np

from ..arguments import check_number, check_positive
from ..mdp import MDP


def estimated_value(trajectories, gamma, prior, weight=1.0):
    r"""The value (..., S) of the policy that `trajectories` follow, from their transitions alone.

    Least-squares temporal differences in a table, drawn to `prior` (..., S) where data are few: with n(s) visits and
    :math:`\hat P` their empirical transitions,

    .. math:: n(s) \Big( V(s) - \gamma \sum_{s'} \hat P(s'|s) V(s') \Big) + w V(s) = \sum_{t: s_t = s} r_t + w \, prior(s),

    so that a state never left keeps its prior. `weight` w > 0 counts as that many visits.
    """
    prior = np.asarray(prior)
    n_states = prior.shape[-1]
    real = trajectories.real
    run = np.arange(prior.size // n_states).reshape(*prior.shape[:-1], 1, 1)
    state = (run * n_states + trajectories.states[..., :-1])[real]  # of run i is i S + s
    moved = np.bincount(state * n_states + trajectories.states[..., 1:][real], minlength=prior.size * n_states)
    moved = moved.reshape(*prior.shape, n_states)
    paid = np.bincount(state, trajectories.rewards[real], prior.size).reshape(prior.shape)
    system = (moved.sum(axis=-1) + weight)[..., None] * np.eye(n_states) - gamma * moved
    return np.linalg.solve(system, (paid + weight * prior)[..., None])[..., 0]


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


class LearnedResponse:
    r"""A model of how transitions and rewards move with the policy, fitted on transitions of deployed policies only.

    Affine in what the policy does in the same state,

    .. math:: P_\pi(s'|s,a) = p_{sas'} + \sum_b W_{sas'b} \, \pi(b|s), \qquad r_\pi(s,a) = q_{sa} + \sum_b C_{sab} \, \pi(b|s),

    fitted by least squares over all transitions observed, with a penalty of `ridge` on the squares of W and C and a weight that
    falls by `memory` with every deployment. It is blind to what a state's response owes to the policy elsewhere, and an affine
    function is a response's tangent at best: hence the memory.
    """

    def __init__(self, n_states, n_actions, ridge=1.0, memory=0.97):
        self.ridge = check_positive("ridge", ridge)
        self.memory = float(check_number("memory", memory, "a number in (0, 1]", lambda x: 0.0 < x <= 1.0))
        self.shape = s, a = n_states, n_actions
        # Weighted sums, by (s, a): of 1, of the features x = π(·|s), of x x', and of (1, x) times the outcomes (s', then r).
        self.count = np.zeros((s, a))
        self.features = np.zeros((s, a, a))
        self.squares = np.zeros((s, a, a, a))
        self.outcomes = np.zeros((s, a, s + 1))
        self.products = np.zeros((s, a, a, s + 1))

    def observe(self, policy, trajectories):
        """Take in the transitions of one deployment of `policy` (S, A)."""
        n_states, n_actions = self.shape
        states, actions, rewards, then = trajectories.transitions
        pairs = states * n_actions + actions
        moved = np.bincount(pairs * n_states + then, minlength=n_states**2 * n_actions)
        paid = np.bincount(pairs, rewards, n_states * n_actions)
        outcomes = np.concatenate([moved.reshape(*self.shape, -1), paid.reshape(*self.shape, 1)], axis=-1)
        count, x = outcomes[..., :-1].sum(axis=-1), policy[:, None]
        news = {
            "count": count,
            "features": count[..., None] * x,
            "squares": count[..., None, None] * x[..., None] * x[..., None, :],
            "outcomes": outcomes,
            "products": x[..., None] * outcomes[..., None, :],
        }
        for name, new in news.items():
            setattr(self, name, self.memory * getattr(self, name) + new)

    def slopes(self, weights):
        r"""The slope in π(·|s), (S, A, A), of :math:`r(s,a) + \sum_{s'} weights(s') P(s'|s,a)`."""
        weights = np.append(weights, 1.0)
        mean = self.features / np.maximum(self.count, 1e-12)[..., None]
        covariance = self.squares - mean[..., None] * self.features[..., None, :]
        product = self.products @ weights - mean * (self.outcomes @ weights)[..., None]
        system = covariance + self.ridge * np.eye(self.shape[1])
        return np.linalg.solve(system, product[..., None])[..., 0]

    def gradient(self, occupancy, weights):
        r"""The gradient in π, (S, A), of :math:`\sum d(s,a) (r_\pi(s,a) + \sum_{s'} weights(s') P_\pi(s'|s,a))`."""
        return (occupancy[..., None] * self.slopes(weights)).sum(axis=1)
