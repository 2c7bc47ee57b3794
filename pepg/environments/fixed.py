"""Worlds of which the rewards alone respond, and optima over their occupancies with the proof of what they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse, sparray

from ..arguments import check_finite
from ..mdp import MDP, PeMDP, check_sparse_weights

UNSEEN = 1e-9  # of visits: what a solver leaves of a 0


class FixedMoves(PeMDP):
    """A performative MDP whose transitions, start and end are those of `mdp`, an :class:`MDP` without leading axes."""

    mdp: MDP

    @property
    def n_states(self) -> int:
        return self.mdp.n_states

    @property
    def n_actions(self) -> int:
        return self.mdp.n_actions

    @property
    def gamma(self) -> float:
        return self.mdp.gamma

    @property
    def rho(self) -> np.ndarray:
        return self.mdp.rho

    def _with_rewards(self, r):
        """The MDP of these transitions with the rewards `r` (..., S, A)."""
        mdp = self.mdp
        return MDP(np.broadcast_to(mdp.P, r.shape[:-2] + mdp.P.shape), r, mdp.gamma, mdp.rho, mdp.terminal)

    def transition_gradient(self, policy: ArrayLike, weights: ArrayLike | sparray) -> np.ndarray:
        """0: the transitions do not respond."""
        if issparse(weights):
            check_sparse_weights(weights, self)
            return np.zeros(self.check_policy(policy).shape)
        check_finite("weights", weights, (self.n_states, self.n_actions, self.n_states))
        return np.zeros(np.broadcast_shapes(self.check_policy(policy).shape, np.shape(weights)[:-1]))


@dataclass(frozen=True, eq=False)
class VisitCertificate:
    r"""A policy with the proof of what it is.

    policy : (S, A); where it is never, the best response to what it brings about
    value : its performative value :math:`V^\pi_\pi(\rho)`
    gap : >= 0. Of an optimum: no policy has a performative value above ``value + gap``. Of a stable policy: no policy earns more than
        ``value + gap`` in the environment that it brings about.
    """

    policy: np.ndarray
    value: float
    gap: float


def flow(mdp):
    r"""The flow constraints of an MDP without leading axes: the matrix F of :math:`F d = \rho` at the n states that are not terminal.

    Its rows are :math:`\sum_a d(s,a) - \gamma \sum_{s',a} P(s|s',a) d(s',a)`, its columns the n A pairs of these states.
    """
    alive = np.flatnonzero(~mdp.terminal)
    pairs = alive.size * mdp.n_actions
    leave = np.repeat(np.eye(alive.size), mdp.n_actions, axis=0)  # the state of each pair
    return (leave - mdp.gamma * mdp.P[alive][..., alive].reshape(pairs, alive.size)).T


def occupancy_of(mdp, solution):
    """The occupancy (S, A) of a solver's `solution` (n A,) for the states that are not terminal."""
    occupancy = np.zeros((mdp.n_states, mdp.n_actions))
    occupancy[~mdp.terminal] = np.maximum(solution, 0.0).reshape(-1, mdp.n_actions)
    return occupancy


def policy_where_seen(occupancy, elsewhere):
    r""":math:`\pi(a|s) = d(s,a) / \sum_b d(s,b)`, and that of `elsewhere` where a state has no more than 1e-9 visits."""
    visits = occupancy.sum(axis=-1, keepdims=True)
    return np.where(visits > UNSEEN, occupancy / np.maximum(visits, UNSEEN), elsewhere)
