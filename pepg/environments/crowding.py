r"""Worlds in which a state pays less the more it is visited, and whose optimal and stable policies are certified by one QP each.

The transitions P are fixed, the rewards fall with the visits :math:`d_\pi(s) = \sum_t \gamma^t \Pr(s_t = s)` of the deployed policy:

.. math:: r_\pi(s,a) = R(s,a) - c\, d_\pi(s).

On the board of :class:`pepg.Gridworld` this is after the crowded grid of Pollatos, Mandal & Radanovic, "On Corruption-Robustness in
Performative Reinforcement Learning" (AAAI 2025, arXiv 2505.05609).

**Normalisation.** d is not normalised, here as everywhere in this package. With the distribution :math:`\bar d = (1-\gamma) d` in its
place, :math:`r_\pi = R - \bar c\, \bar d_\pi`, the same world has :math:`\bar c = c / (1-\gamma)`.

**The optimum is a convex QP.** A policy enters its value by its occupancy d alone, and the occupancies are the flow polytope of P:

.. math:: V^\pi_\pi(\rho) = \langle d, r_\pi \rangle = \langle d, R \rangle - c \sum_s d(s)^2 .

**Stable policies solve it with c/2** (Pigou's factor two). d is stable if no d' earns more in the rewards that d has brought about,
:math:`\langle d' - d, R - c\,d \rangle \le 0` for all d'. Here :math:`R - c\,d` is the gradient of the concave function
:math:`\langle d, R \rangle - \frac c2 \sum_s d(s)^2`, so that this is the condition for its maximum: it is the potential of a congestion
game. At the optimum :math:`R - 2 c\, d` stands in its place: a visit counts what it costs the other visits as well.

**The gradient.** With :math:`\nabla_d V = R - 2 c\, d`, the performative gradient of a crowded world is the policy gradient of the world
with twice the cost. Its environment part, for weights w on the visits, comes from one adjoint solve: :math:`\sum_s w(s) d_\pi(s)` is the
value of π for the reward w, whose gradient in π is :math:`d_\pi(s) Q^w(s,a)`.

**The certificate** of a d for a strength k (c or c/2), whatever computed it, is its duality gap
:math:`\max_{d'} \langle d' - d, R - 2k\,d \rangle \ge F_k(d^*) - F_k(d)` with :math:`F_k(d) = \langle d, R \rangle - k \sum_s d(s)^2`,
which is concave. The maximum is what a best response gains in the MDP with the rewards :math:`R - 2k\,d`; policy iteration finds it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csc_array

from ..arguments import check_finite, check_non_negative
from ..mdp import MDP, best_response
from ..quadratic import solve_quadratic
from .fixed import FixedMoves, VisitCertificate, flow, occupancy_of, policy_where_seen
from .gridworld import Gridworld


@dataclass(frozen=True, eq=False, repr=False)
class CrowdedMDP(FixedMoves):
    """Any MDP, `mdp` without leading axes, in which a visit costs `cost` = c >= 0 for every visit to the same state; see above.

    Raises ValueError, naming the argument, for a cost out of range or an `mdp` that is none.
    """

    mdp: MDP
    cost: float = 1.0

    def __post_init__(self):
        if not isinstance(self.mdp, MDP) or self.mdp.sparse or self.mdp.P.ndim != 3 or self.mdp.r.ndim != 2 or self.mdp.rho.ndim != 1:
            raise ValueError(f"mdp: expected a pepg.MDP without leading axes whose P is an array (S, A, S), got {self.mdp!r:.80}")
        object.__setattr__(self, "cost", check_non_negative("cost", self.cost))

    def respond(self, policy: ArrayLike) -> MDP:
        r"""Deploy `policy` (..., S, A): the MDP with the rewards :math:`R - c\, d_\pi`, one linear solve."""
        visits = self.mdp.occupancy(policy).sum(axis=-1)
        return self._with_rewards(self.mdp.r - self.cost * visits[..., None])

    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        policy = self.check_policy(policy)
        weights = check_finite("occupancy", occupancy, policy.shape[-2:]).sum(axis=-1, keepdims=True)
        check_finite("value", value, policy.shape[-2:-1])  # the transitions do not respond
        weighed = self._with_rewards(np.broadcast_to(-self.cost * weights, np.broadcast_shapes(weights.shape, policy.shape)))
        return self.mdp.occupancy(policy).sum(axis=-1, keepdims=True) * weighed.action_value(policy)

    def certified_optimum(self) -> VisitCertificate:
        """The performatively optimal policy: a :class:`VisitCertificate`. Raises RuntimeError if the QP is not solved."""
        return self._certified(self.cost)

    def certified_stable(self) -> VisitCertificate:
        """A performatively stable policy: a :class:`VisitCertificate`. Raises RuntimeError if the QP is not solved.

        For c > 0 all stable policies share their visits, which the potential, strictly concave in them, determines; so their value.
        """
        return self._certified(self.cost / 2.0)

    def _certified(self, strength):
        occupancy = visit_optimum(self.mdp, strength)
        visits = occupancy.sum(axis=-1, keepdims=True)
        marginal = self._with_rewards(self.mdp.r - 2.0 * strength * visits)
        policy = policy_where_seen(occupancy, best_response(marginal))
        visits = self.mdp.occupancy(policy).sum(axis=-1, keepdims=True)  # those of the policy, whatever the solver left undone
        marginal = self._with_rewards(self.mdp.r - 2.0 * strength * visits)
        gap = marginal.expected_return(best_response(marginal)) - marginal.expected_return(policy)
        return VisitCertificate(policy, float(self.respond(policy).expected_return(policy)), max(float(gap), 0.0))


def visit_optimum(mdp, strength):
    r"""The occupancy (S, A) that maximises :math:`\langle d, r \rangle - k \sum_s d(s)^2` over the flow polytope, k = `strength`.

    A sparse convex QP in d(s,a) >= 0 with :math:`\sum_a d(s,a) - \gamma \sum_{s',a} P(s|s',a) d(s',a) = \rho(s)` at the states that are
    not terminal, solved by PIQP. Raises RuntimeError if it does not converge.
    """
    alive = ~mdp.terminal
    state = np.repeat(np.eye(alive.sum()), mdp.n_actions, axis=0)  # of each pair (s, a)
    linear = -mdp.r[alive].ravel()
    quadratic, constraints = csc_array(2.0 * strength * state @ state.T), csc_array(flow(mdp))
    return occupancy_of(mdp, solve_quadratic(quadratic, linear, constraints, mdp.rho[alive], np.full(linear.size, np.inf)))


class Crowding(CrowdedMDP):
    r"""The crowded grid: :class:`CrowdedMDP` on the board of :class:`pepg.Gridworld`, with deterministic moves and no second agent.

    Parameters
    ----------
    grid : 2-D entry rewards whose last cell, the goal, holds the largest and ends the walk; the 8x8 grid of the gridworld by default
    cost : c >= 0, per visit, of visits that are not normalised
    gamma : discount in [0, 1)

    From the source: the 8x8 grid, the deterministic moves, the form of the reward, γ = 0.99 and c = 1. Ours, where the source is not at
    hand: the rewards of the cells, the start, uniform on the first row and column, and the end at the goal, all as in the gridworld.

    Raises ValueError, naming the argument, for anything outside these ranges.
    """

    def __init__(self, grid: ArrayLike | None = None, cost: float = 1.0, gamma: float = 0.99) -> None:
        board = Gridworld(eps=0.0, n_followers=1, gamma=gamma, grid=grid)
        P = np.zeros((board.n_states, board.n_actions, board.n_states))
        np.put_along_axis(P, board.next_state[:, :, None], 1.0, axis=-1)
        mdp = MDP(P, board.grid.ravel()[board.next_state], board.gamma, board.rho, board.goal)
        object.__setattr__(self, "board", board)
        super().__init__(mdp, cost)
