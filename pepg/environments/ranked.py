r"""A world whose rewards jump: the cells of a grid pay by their rank among the most visited.

A discontinuous variant, ours, of the crowded grid of Pollatos, Mandal & Radanovic, "On Corruption-Robustness in Performative
Reinforcement Learning" (AAAI 2025, arXiv 2505.05609). The transitions are fixed. Of the *inner* cells, those off the first row and
column and not the goal, ranked by the visits :math:`d_\pi(s) = \sum_t \gamma^t \Pr(s_t = s)` of the deployed policy, the n most visited
pay -0.5, the next n -0.02 and the others -0.01 when they are entered. Cells that are not inner pay what the grid says.

**The rewards jump, the value does not.** A walk starts at no inner cell, so that one is entered :math:`d(s)/\gamma` times, and with
:math:`T_k(d)` the sum of the k largest visits to inner cells

.. math:: V^\pi_\pi(\rho) = \langle d, R_0 \rangle - \frac{1}{\gamma} \Big( 0.01 \sum_{inner} d(s) + 0.01\, T_{2n}(d) + 0.48\, T_n(d) \Big),

where :math:`R_0` pays nothing in inner cells. Where two cells change ranks their visits are equal. A sum of largest entries is convex, so
the value is concave in d and piecewise linear: **its optimum is a linear program**, by :math:`T_k(d) = \min_t\, k t + \sum_s (d(s) -
t)_+`.

**Stability costs nothing here.** T is also a maximum, :math:`T_k(d) = \max \{ \langle p, d \rangle : 0 \le p \le 1, \sum p = k \}`, so that
:math:`V^\pi_\pi(\rho) = \min_g V^\pi_g(\rho)` over the ways g to hand out the levels, shares of a level allowed: whoever ranks the cells
does the worst to the policy that is deployed. For every g the best response to it is worth at least what the optimum is,
:math:`\max_\pi V^\pi_g \ge V^*`, with equality for some g, which is a mixture of rankings. Hence also the certificate: the dual solution of
the linear program is such a g, and policy iteration finds its best response.

**The gradient.** Where the ranking stays the response does not move, so the response's part of the gradient is 0 and PePG is the policy
gradient: ascent along a supergradient of a concave function, with kinks where cells are tied.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag
from scipy.optimize import linprog

from ..arguments import check_count, check_finite, check_number
from ..mdp import MDP, best_response
from .fixed import FixedMoves, VisitCertificate, flow, occupancy_of, policy_where_seen
from .gridworld import Gridworld

LEVELS = (-0.5, -0.02, -0.01)  # of the most, the next and the least visited
LP_TOLERANCES = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
SAME_VISITS = 9  # decimals: visits that agree to these are tied, and the first cell counts as visited more


@dataclass(frozen=True, eq=False, repr=False)
class RankedGrid(FixedMoves):
    r"""The world above, on the board of :class:`pepg.Gridworld`, with moves that slip.

    Parameters
    ----------
    grid : 2-D entry rewards whose last cell, the goal, holds the largest and ends the walk; the 8x8 grid of the gridworld by default
    ranked : n, how many cells the first and the second level have each, at most half of the inner cells together
    slip : in [0, 1], the probability that one of the four moves, drawn evenly, happens in place of the one that was chosen
    gamma : discount in [0, 1)

    From the source: fixed transitions that slip, the three levels, and that they go by rank. Ours, where the source is not at hand: n = 8 of
    the 48 inner cells of the 8x8 grid (with 16, a third each, it is best never to leave the first cell), slip = 0.1, γ = 0.99 as in the
    crowded grid, and the board.

    Raises ValueError, naming the argument, for anything outside these ranges.
    """

    grid: np.ndarray | None = None
    ranked: int = 8
    slip: float = 0.1
    gamma: float = 0.99
    board: Gridworld = field(init=False, repr=False)
    mdp: MDP = field(init=False, repr=False)  # with the rewards that the grid says

    def __post_init__(self):
        board = Gridworld(eps=0.0, n_followers=1, gamma=self.gamma, grid=self.grid)
        slip = float(check_number("slip", self.slip, "a probability in [0, 1]", lambda x: 0.0 <= x <= 1.0))
        inside = (board.grid.shape[0] - 1) * (board.grid.shape[1] - 1) - 1
        ranked = check_count("ranked", self.ranked)
        if 2 * ranked > inside:
            raise ValueError(f"ranked: expected at most half of the {max(inside, 0)} inner cells, got {ranked}")
        lands = np.eye(board.n_states)[board.next_state]
        P = (1.0 - slip) * lands + slip * lands.mean(axis=1, keepdims=True)
        mdp = MDP(P, P @ board.grid.ravel(), board.gamma, board.rho, board.goal)
        for name, value in (("grid", board.grid), ("ranked", ranked), ("slip", slip), ("board", board), ("mdp", mdp)):
            object.__setattr__(self, name, value)

    @property
    def inner(self) -> np.ndarray:
        """The cells that are ranked, as states."""
        row, column = np.divmod(np.arange(self.n_states), self.grid.shape[1])
        return np.flatnonzero((row > 0) & (column > 0) & ~self.mdp.terminal)

    def entry_rewards(self, policy: ArrayLike) -> np.ndarray:
        """What entering each cell pays once `policy` (..., S, A) is deployed, (..., S)."""
        visits = self.mdp.occupancy(policy).sum(axis=-1)[..., self.inner].round(SAME_VISITS)
        order = self.inner[np.argsort(-visits, axis=-1, kind="stable")]
        rewards = np.broadcast_to(self.grid.ravel(), (*visits.shape[:-1], self.n_states)).copy()
        np.put_along_axis(rewards, order, np.broadcast_to(self._by_rank, order.shape), axis=-1)
        return rewards

    @property
    def _by_rank(self):
        n = self.ranked
        return np.repeat(LEVELS, [n, n, self.inner.size - 2 * n])

    def respond(self, policy: ArrayLike) -> MDP:
        return self.paying(self.entry_rewards(policy))

    def paying(self, entry: ArrayLike) -> MDP:
        """The :class:`MDP` of the fixed moves in which entering the cells pays `entry` (..., S)."""
        entry = check_finite("entry", entry, (self.n_states,))
        return self._with_rewards((self.mdp.P @ entry[..., None, :, None])[..., 0])

    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        """0, the derivative wherever the ranking does not change."""
        policy = self.check_policy(policy)
        check_finite("occupancy", occupancy, policy.shape[-2:])
        check_finite("value", value, policy.shape[-2:-1])
        return np.zeros(np.broadcast_shapes(policy.shape, np.shape(occupancy)))

    def certified_optimum(self) -> VisitCertificate:
        """The performatively optimal policy: a :class:`VisitCertificate`. Raises RuntimeError if the linear program is not solved."""
        occupancy, entry = self._solved()
        frozen = self.paying(entry)
        response = best_response(frozen)
        policy = policy_where_seen(occupancy, response)
        value = float(self.respond(policy).expected_return(policy))
        return VisitCertificate(policy, value, max(float(frozen.expected_return(response)) - value, 0.0))

    def _solved(self):
        """The occupancy (S, A) of the linear program and the entry rewards (S,) of its dual: shares of the levels.

        Unknowns: d(s, a) at the cells that are not the goal; t and, for each inner cell s, :math:`u(s) \\ge d(s) - t`, of each T_k.
        """
        mdp, inner, n, gamma = self.mdp, self.inner, self.ranked, self.gamma
        alive = np.flatnonzero(~mdp.terminal)
        pairs, m = alive.size * self.n_actions, inner.size
        visits = np.repeat((alive == inner[:, None]).astype(float), self.n_actions, axis=1)  # (m, pairs): d of the inner cells
        drops = {n: LEVELS[1] - LEVELS[0], 2 * n: LEVELS[2] - LEVELS[1]}  # what each T_k costs
        entry = self.grid.ravel().copy()
        entry[inner] = LEVELS[2]
        cost = [-self.paying(entry).r[alive].ravel(), *(drop / gamma * np.r_[k, np.ones(m)] for k, drop in drops.items())]
        above = np.hstack([-np.ones((m, 1)), -np.eye(m)])  # d(s) - t - u(s) <= 0
        limits = np.hstack([np.tile(visits, (2, 1)), block_diag(above, above)])
        solved = linprog(
            np.concatenate(cost), A_ub=limits, b_ub=np.zeros(2 * m), A_eq=np.hstack([flow(mdp), np.zeros((alive.size, 2 * m + 2))]),
            b_eq=self.rho[alive], method="highs", options=LP_TOLERANCES,
        )
        if solved.status != 0:
            raise RuntimeError(f"the linear program over the occupancies was not solved: {solved.message}")
        entry[inner] += gamma * solved.ineqlin.marginals.reshape(2, m).sum(axis=0)
        return occupancy_of(mdp, solved.x[:pairs]), entry
