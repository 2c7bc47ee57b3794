r"""The two-agent gridworld of Mandal, Triantafyllou & Radanovic, "Performative Reinforcement Learning" (ICML 2023).

Agent 1, the policy under study, walks on a grid and is paid the reward of each cell that it enters. Agent 2 is the
environment: in each state it lets agent 1's move happen or forces a move of its own, at a cost. It sees the grid through
the eyes of its followers, each with a perturbed copy of the rewards, who answer the deployed policy optimally.

Follower k solves its own decision problem against the deployed π. With :math:`u_k(s,m) = g_k(\nu(s,m)) +
\gamma V_k(\nu(s,m))`, where :math:`\nu(s,m)` is the cell that move m enters from s and :math:`g_k` its reward,

.. math:: V_k(s) = \max\Big( \max_m u_k(s,m) - c,\; \sum_a \pi(a|s)\, u_k(s,a) \Big), \qquad V_k(goal) = 0,

and agent 2 plays :math:`\sigma = softmax(\beta \bar Q)` on the followers' mean action values. Agent 1 then lives in

.. math:: P_\pi(\cdot|s,a) = \sum_m \sigma(m|s)\, 1_{\nu(s,m)} + \sigma(none|s)\, 1_{\nu(s,a)}, \qquad
          r_\pi(s,a) = \sum_{s'} P_\pi(s'|s,a)\, g(s').

**The response and its gradient.** Policy iteration finds each follower's optimal action, and then :math:`V_k` solves
a linear system whose matrix couples a cell with its neighbours only: it is banded, and all followers together are one
banded system that LAPACK factors in linear time. The optimal action stays put under a small change of π, so the
derivative of the response is that of the linear system, and one solve with the transposed factors (the adjoint) carries
a gradient in :math:`\bar Q` back to π. The factors' size is the number of cells times that of columns; a grid of more than 500
cells is answered at a cost that is linear in its cells, by repeated products in place of factors, and with a sparse MDP
(:mod:`pepg.environments.large_grid`).

**Ties.** Where a follower has several best actions (within 1e-12 of the value's scale), the first of left, right, up,
down, none is taken, and the gradient is that of the branch taken. A tie that persists when π moves does no harm: all
of its branches have the same derivative. One that does not is a kink of the response, and the branch's derivative is
one element of the generalised gradient there (of each follower's value function, in Clarke's sense).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import lapack
from scipy.sparse import csr_array, issparse, sparray

from ..arguments import (
    check_array,
    check_count,
    check_finite,
    check_gamma,
    check_leading,
    check_non_negative,
    check_real,
    check_seed,
    check_share,
    check_size,
)
from ..mdp import MAX_IMPROVEMENTS, MDP, TIE, PeMDP, best_response, check_sparse_weights, first_best, softmax
from . import large_grid

MOVES = ("left", "right", "up", "down")
AT_ONCE = 100  # followers solved for together
NEAR = 64  # policies of an earlier call of another length that are looked at for the nearest
SWEEPS = 3  # of value iteration at most, from the values at a policy nearby, or 0, before the first system is solved
STILL = 1e-2  # relative: where no value moves by more, few actions change
LARGE = 500  # cells: a grid of more is answered in linear time, by a sparse MDP
NONE = len(MOVES)  # agent 2's fifth action: let agent 1's move happen

_LEGEND = {"e": -0.01, "f": -0.02, "h": -0.5, "G": 1.0}
_DEFAULT_MAP = """
    eeeeeeee
    eefeheee
    eeeheefe
    efeeehef
    eeeheefe
    ehhefehe
    eheehehe
    eeehefeG
"""


def default_grid() -> np.ndarray:
    """The 8x8 entry rewards of the paper's experiments: -0.01, -0.02 or -0.5 a cell, and +1 at the goal."""
    return np.array([[_LEGEND[cell] for cell in row] for row in _DEFAULT_MAP.split()])


def random_grid(rows: int, columns: int, seed: int) -> np.ndarray:
    """Entry rewards of a grid like the paper's in any size, (rows, columns), drawn from a whole number `seed`.

    As on the 8x8 grid every cell of the first row and column costs 0.01 and the last cell, the goal, pays 1. The others are drawn
    with replacement from the 48 inner cells of the 8x8 grid that are not the goal, so that the rewards are as frequent as there.

    Raises ValueError for a grid of less than two cells or a seed that is none.
    """
    shape = check_count("rows", rows), check_count("columns", columns)
    check_size("rows", shape[0] * shape[1], "cells")
    if shape == (1, 1):
        raise ValueError(f"rows: expected at least two cells, got {shape[0]} x {shape[1]}")
    drawn_from = default_grid()[1:, 1:].ravel()[:-1]
    grid = np.full(shape, _LEGEND["e"])
    grid[1:, 1:] = np.random.default_rng(check_seed("seed", seed)).choice(drawn_from, (shape[0] - 1, shape[1] - 1))
    grid[-1, -1] = _LEGEND["G"]
    return grid


def _check_grid(grid):
    grid = check_array("grid", grid).copy()  # which nobody else can write into
    if grid.ndim != 2 or grid.size < 2:
        raise ValueError(f"grid: expected a 2-D array of at least two entry rewards, got shape {grid.shape}")
    check_finite("grid", grid, grid.shape)
    others = np.delete(grid.ravel(), -1)
    if not grid[-1, -1] > others.max():
        index = [int(i) for i in np.unravel_index(others.argmax(), grid.shape)]
        raise ValueError(
            f"grid: no goal: expected the last cell to hold the largest reward, but grid{index} = {others.max():.6g} "
            f"is not below grid{[n - 1 for n in grid.shape]} = {grid[-1, -1]:.6g}"
        )
    return grid


@dataclass(frozen=True, eq=False)
class _Response:
    """The forward work of one deployment, which the gradient at the same policy shares.

    n deployed policies, K followers, S states; actions lead so that each operation runs over contiguous memory.
    """

    policy: np.ndarray  # (..., S, A) as deployed
    moves: np.ndarray  # (A, n, 1, S): the same, actions first
    action: np.ndarray  # (n, K, S): each follower's best action
    entered: np.ndarray  # (A, n, K, S): u_k(s, m), what entering a cell is worth to a follower
    systems: "_Systems | large_grid.Adjoint"  # the followers' linear systems
    sigma: np.ndarray  # (5, n, S): agent 2's policy
    mdp: MDP


@dataclass(frozen=True, eq=False, repr=False)
class Gridworld(PeMDP):
    r"""The gridworld above, as an environment that responds to agent 1's policy.

    Parameters
    ----------
    eps : in [0, 1], the probability that a follower's copy of a cell off the first row and column is redrawn
    beta : >= 0, inverse temperature of agent 2 (0: it ignores values, and so the policy)
    n_followers : number of followers
    gamma : discount in [0, 1)
    cost : what agent 2 pays for an intervention (agent 1 is not charged)
    grid : 2-D entry rewards whose last cell, the goal, holds the largest; the 8x8 grid of the paper by default (others: :func:`random_grid`)
    seed : which followers are drawn. None: those of the released program, follower k from ``numpy.random.default_rng(k)``; a whole
        number >= 0: follower k from the k-th child of that ``SeedSequence``, so that draws with different seeds are independent. A
        sequence of these is as many worlds side by side, whose policies and MDPs have an axis for it: ``lead`` = (len(seed),);
        algorithms from samples take one world

    The states are the cells, row by row; the actions left, right, up, down (a move off the grid stays in place). rho is
    uniform on the first row and column. A response costs the factoring of some banded systems of `n_followers` x S
    unknowns and bandwidth the number of columns; the gradient at the policy deployed last adds one transposed solve.
    On a small grid the search for the followers' best actions starts from their values at the nearest policy of the last two calls: that
    saves time and changes no result (beyond 64 columns, where LAPACK works in blocks, none but by rounding).

    A grid of more than 500 cells answers one policy (S, A), without leading axes, with a sparse MDP, in time and memory linear in
    `n_followers` x S and, in time, in :math:`1/(1 - \gamma)`. With 65,536 cells and 10 followers a gradient takes seconds.

    Raises ValueError, naming the argument, for anything outside these ranges.
    """

    eps: float = 0.5
    beta: float = 5.0
    n_followers: int = 50
    gamma: float = 0.9
    cost: float = 0.05
    grid: ArrayLike | None = None
    seed: int | Sequence[int | None] | np.ndarray | None = None
    _last: list = field(default_factory=list, init=False, repr=False)  # the last _Response, if any
    _answers: list = field(default_factory=list, init=False, repr=False)  # of the last two calls: policies (m, worlds, S A), followers' values

    def __post_init__(self):
        object.__setattr__(self, "grid", default_grid() if self.grid is None else _check_grid(self.grid))
        checked = {
            "gamma": check_gamma(self.gamma),
            "eps": check_share("eps", self.eps),
            "beta": check_non_negative("beta", self.beta),
            "cost": check_real("cost", self.cost),
            "n_followers": check_count("n_followers", self.n_followers),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        check_size("n_followers", self.n_followers * self.grid.size, "cells of the followers' grids")
        several = isinstance(self.seed, (list, tuple, range)) or isinstance(self.seed, np.ndarray) and self.seed.ndim == 1
        seeds = list(self.seed) if several else [self.seed]
        seeds = [None if seed is None else check_seed("seed", seed) for seed in seeds]
        if not seeds or several and self._large:
            expected = f"a number, no sequence, on a grid of more than {LARGE} cells" if seeds else "at least one"
            raise ValueError(f"seed: expected {expected}, got {self.seed!r}")
        check_size("seed", len(seeds) * self.n_followers * self.grid.size, "cells of the followers' grids")
        object.__setattr__(self, "seed", tuple(seeds) if several else seeds[0])

    # The board

    @property
    def lead(self) -> tuple[int, ...]:
        return (len(self.seed),) if isinstance(self.seed, tuple) else ()

    @property
    def n_states(self) -> int:
        return self.grid.size

    @property
    def n_actions(self) -> int:
        return len(MOVES)

    @property
    def goal(self) -> int:
        """The terminal state."""
        return self.n_states - 1

    @cached_property
    def rho(self) -> np.ndarray:
        rows, columns = np.indices(self.grid.shape)
        border = ((rows == 0) | (columns == 0)).ravel()
        return border / border.sum()

    @cached_property
    def next_state(self) -> np.ndarray:
        """The cell that each move enters, (S, 4)."""
        n_rows, n_columns = self.grid.shape
        row, column = np.divmod(np.arange(self.n_states), n_columns)
        left = row * n_columns + np.maximum(column - 1, 0)
        right = row * n_columns + np.minimum(column + 1, n_columns - 1)
        up = np.maximum(row - 1, 0) * n_columns + column
        down = np.minimum(row + 1, n_rows - 1) * n_columns + column
        return np.stack([left, right, up, down], axis=1)

    @cached_property
    def follower_grids(self) -> np.ndarray:
        """The followers' perturbed rewards, (K, rows, columns); with several seeds (worlds, K, rows, columns)."""
        if self.lead:
            return np.stack([self._follower_grids(seed) for seed in self.seed])
        return self._follower_grids(self.seed)

    def _follower_grids(self, seed):
        goal_reward = self.grid[-1, -1]
        choices = np.unique(self.grid[self.grid != goal_reward])
        grids = np.repeat(self.grid[None], self.n_followers, axis=0)
        seeds = range(self.n_followers) if seed is None else np.random.SeedSequence(seed).spawn(self.n_followers)
        for grid, seed in zip(grids, seeds):
            rng = np.random.default_rng(seed)
            redrawn = rng.random(grid.shape) <= self.eps
            redrawn[0, :] = redrawn[:, 0] = redrawn[-1, -1] = False
            grid[redrawn] = rng.choice(choices, redrawn.sum())  # row by row, as if one by one: it fixes the environment
        return grids

    @cached_property
    def _entry(self):
        """Agent 1's reward for each move, (A, S)."""
        return self.grid.ravel()[self.next_state.T]

    @cached_property
    def _follower_entry(self):
        """Each follower's reward for each move, (A, K, S); with several seeds those of each world in turn."""
        grids = self.follower_grids.reshape(-1, self.n_states)
        return np.ascontiguousarray(np.moveaxis(grids[:, self.next_state], -1, 0))

    @cached_property
    def _alive(self):
        return np.arange(self.n_states) != self.goal

    @cached_property
    def _arrivals(self):
        """(A S, S), one entry a row: where each move leads."""
        index = np.arange(NONE * self.n_states)
        return csr_array((np.ones(index.size), (index, self.next_state.T.ravel())), (index.size, self.n_states))

    def epsilon_greedy_policy(self, epsilon: float = 0.1) -> np.ndarray:
        """1 - epsilon on the best move where there is no agent 2, the rest spread evenly over the other three.

        "Best" on this grid's own rewards; the first of left, right, up, down where several are.
        """
        epsilon = check_share("epsilon", epsilon)
        if self._large:
            P = self._sparse(np.ones((self.n_states * self.n_actions, 1)), self.next_state.reshape(-1, 1))
        else:
            P = np.zeros((self.n_states, self.n_actions, self.n_states))
            np.put_along_axis(P, self.next_state[:, :, None], 1.0, axis=-1)
        alone = MDP(P, self._entry.T, self.gamma, self.rho, self.goal)
        policy = np.full((self.n_states, self.n_actions), epsilon / (self.n_actions - 1))
        return np.where(best_response(alone) == 1.0, 1.0 - epsilon, policy)

    @property
    def _large(self):
        return self.n_states > LARGE

    def _sparse(self, weights, states):
        """Rows s A + a of transitions with `weights` to `states`, (S A, k) both, as a sparse array (S A, S)."""
        starts = np.arange(0, weights.size + 1, weights.shape[1])
        return csr_array((weights.ravel(), states.ravel(), starts), (len(weights), self.n_states))

    # The response

    def respond(self, policy: ArrayLike) -> MDP:
        r"""Deploy `policy` (..., S, A): agent 2 answers, and agent 1 lives in the :class:`MDP` of that answer.

        Raises ValueError for a policy that is none, RuntimeError if a follower's policy iteration does not end.
        """
        return self._response(policy).mdp

    def agent_two(self, policy: ArrayLike) -> np.ndarray:
        """Agent 2's answer to `policy`, (..., S, 5): the probabilities of forcing left, right, up, down, and of none.

        The row of the goal means nothing.
        """
        response = self._response(policy)
        return np.moveaxis(response.sigma, 0, -1).reshape(response.policy.shape[:-1] + (NONE + 1,))

    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        response = self._response(policy)
        shape = response.policy.shape
        n, n_states = response.sigma.shape[1:]
        occupancy = _for_each("occupancy", occupancy, shape, 2).reshape(n, n_states, -1)
        value = _for_each("value", value, shape[:-1], 1).reshape(n, n_states)
        occupancy = np.moveaxis(occupancy, -1, 0) * self._alive  # (A, n, S)

        # From P and r to agent 2's policy.
        worth = self._entry[:, None] + self.gamma * value[:, self.next_state.T].swapaxes(0, 1)
        by_action = np.concatenate([occupancy.sum(axis=0) * worth, (occupancy * worth).sum(axis=0)[None]])
        return self._through_followers(response, by_action)

    def transition_gradient(self, policy: ArrayLike, weights: ArrayLike | sparray) -> np.ndarray:
        response = self._response(policy)
        if issparse(weights):
            return self._through_followers(response, self._by_action(check_sparse_weights(weights, self).tocsr()))
        weights = _for_each("weights", weights, (*response.policy.shape, self.n_states), 3)
        weights = weights.reshape(-1, *weights.shape[-3:])
        entered = np.take_along_axis(weights, self.next_state[None, :, None], axis=-1) * self._alive[:, None, None]
        by_action = [np.moveaxis(entered.sum(axis=2), -1, 0), np.einsum("nsaa->ns", entered)[None]]  # entered: (n, S, A, move)
        return self._through_followers(response, np.concatenate(by_action))

    def _by_action(self, weights):
        """The gradient in agent 2's policy, (5, 1, S), of sparse `weights` (S A, S) on the transitions."""
        n, m = self.n_states, self.n_actions
        to = np.repeat(self.next_state, m, axis=0).ravel()
        entered = weights[np.repeat(np.arange(n * m), m), to].reshape(n, m, m) * self._alive[:, None, None]  # (S, A, move)
        return np.concatenate([entered.sum(axis=1).T, np.einsum("saa->s", entered)[None]])[:, None]

    def _through_followers(self, response, by_action):
        """Carry a gradient in agent 2's policy (5, n, S) back to the deployed ones, (..., S, A)."""
        moves, sigma = response.moves, response.sigma
        n = sigma.shape[1]
        by_mean = self.beta * sigma * (by_action - (sigma * by_action).sum(axis=0)) / self.n_followers

        # From the action values to each follower's values: the same right-hand side for all, one transposed solve.
        weight = by_mean[:NONE] + by_mean[NONE] * moves[:, :, 0]
        by_value = self.gamma * (weight.swapaxes(0, 1).reshape(n, -1) @ self._arrivals)
        seeds = np.repeat(by_value, self.n_followers, axis=0)
        adjoint = response.systems.solve_transposed(seeds, n).reshape(response.action.shape)

        # The policy enters a follower's problem wherever agent 2 lets its move happen.
        let = by_mean[NONE][:, None] + adjoint * ((response.action == NONE) & self._alive)
        return np.einsum("nks,anks->nsa", let, response.entered).reshape(response.policy.shape)

    def _response(self, policy):
        policy = check_array("policy", policy)
        if self.lead and policy.ndim > 1:
            policy = np.broadcast_to(policy, check_leading("policy", policy.shape[:-2], self.lead, "the worlds") + policy.shape[-2:])
        last = self._last[0] if self._last else None
        if last is not None and np.array_equal(last.policy, policy):
            return last
        policy = self.check_policy(policy).copy()
        if self._large:
            response = self._large_response(policy)
            self._last[:] = [response]
            return response
        moves = np.moveaxis(policy.reshape(-1, self.n_states, self.n_actions), -1, 0)[:, :, None]
        moves = np.ascontiguousarray(moves)
        by_world = policy.reshape(-1, max(1, int(np.prod(self.lead))), self.n_states * self.n_actions)
        action, entered, systems, value, mean_value = self._answer(moves, self._guess(by_world))
        sigma = softmax(self.beta * mean_value.T).T
        mdp = self._induced(sigma, policy.shape[:-2])
        response = _Response(policy, moves, action, entered, systems, sigma, mdp)
        self._last[:] = [response]
        self._answers[:] = [(by_world, value.reshape(*by_world.shape[:2], *value.shape[1:])), *self._answers[:1]]
        return response

    def _guess(self, policy):
        """For each policy of (m, worlds, S A) the followers' values at the nearest of the last two calls, 0 before the first: (n, K, S).

        Of a call with as many policies the one in the same place counts, of another the nearest of at most NEAR.
        """
        world = np.arange(policy.shape[1])
        guess, away = np.zeros((*policy.shape[:2], self.n_followers, self.n_states)), np.full(policy.shape[:2], np.inf)
        for known, value in self._answers:
            if len(known) == len(policy):
                at = np.arange(len(known))[:, None]
            else:
                some = np.unique(np.linspace(0, len(known) - 1, NEAR).astype(int))
                apart = (known[some] ** 2).sum(axis=-1) - 2.0 * np.einsum("mwx,kwx->mkw", policy, known[some])
                at = some[apart.argmin(axis=1)]
            distance = ((policy - known[at, world]) ** 2).sum(axis=-1)
            nearer = distance < away
            guess[nearer], away[nearer] = value[at, world][nearer], distance[nearer]
        return guess.reshape(-1, *guess.shape[2:])

    def _large_response(self, policy):
        """The same on a large grid, of one policy (S, A)."""
        if policy.ndim > 2:
            raise ValueError(
                f"policy: expected one policy {policy.shape[-2:]}, since a grid of more than {LARGE} cells answers with a sparse MDP, "
                f"which has no leading axes (an algorithm takes one start), got shape {policy.shape}"
            )
        grids = self.follower_grids.reshape(-1, self.n_states)
        action, entered, adjoint, mean_value = large_grid.answer(policy, self.next_state, self._alive, grids, self.gamma, self.cost)
        sigma = softmax(self.beta * mean_value.T).T[:, None]
        moves = np.ascontiguousarray(policy.T)[:, None, None]
        return _Response(policy, moves, action[None], entered[:, None], adjoint, sigma, self._induced_sparse(sigma[:, 0]))

    def _answer(self, moves, guess):
        """The followers' optimal answer to the policies `moves` (A, n, 1, S) by policy iteration.

        Returns the best actions (n, K, S), what entering a cell is worth (A, n, K, S), the factors of the final systems, the values
        (n, K, S) and the mean action values (5, n, S). The `guess` (n, K, S) of the values only saves time: a tie ends at its first
        action in any case. Every follower is a problem of its own, so that each round solves for those only that moved in the last, and
        takes them in groups that stay in the processor's cache.
        """
        shape = guess.shape
        values = guess.reshape(-1, self.n_states)
        systems = _Systems(len(values), self.gamma, self.next_state, self.grid.shape[1])
        action = np.empty(values.shape, dtype=np.int8)
        entered = np.empty((NONE, *values.shape))
        action_value = np.empty((NONE + 1, *values.shape))
        settled = np.zeros(len(values), dtype=bool)
        todo = np.arange(len(values))
        for group in _in_groups(todo):
            value, move, entry = values[group], *self._problems(moves, group)
            for _ in range(SWEEPS):
                _, choices = self._look_ahead(entry, move, value)
                last, value = value, np.where(self._alive, choices.max(axis=0), 0.0)
                if np.abs(value - last).max() <= STILL * np.abs(value).max():
                    break
            action[group] = np.where(self._alive, first_best(choices, axis=0), NONE)
        for _ in range(MAX_IMPROVEMENTS):
            again = np.zeros(len(values), dtype=bool)
            for group in _in_groups(todo):
                now, move, entry = action[group], *self._problems(moves, group)
                weight = np.where(now == NONE, move, now == np.arange(NONE, dtype=np.int8)[:, None, None]) * self._alive
                reward = (weight * entry).sum(axis=0) - self.cost * ((now != NONE) & self._alive)
                value = systems.solve(group, weight, reward)

                worth, choices = self._look_ahead(entry, move, value)
                values[group], entered[:, group], action_value[:, group] = value, worth, choices
                best = np.where(self._alive, first_best(choices, axis=0), NONE)
                improves = (choices.max(axis=0) - value > TIE * (1.0 + np.abs(value))) & self._alive
                improved = improves.any(axis=-1)
                # Where nothing improves, the first of each tie is taken and solved for once more.
                action[group] = np.where(improves | ~improved[:, None], best, now)
                again[group] = (action[group] != now).any(axis=-1) & ~settled[group]
                settled[group] = ~improved
            todo = np.flatnonzero(again)
            if not todo.size:
                break
        else:
            raise RuntimeError(f"the followers' policy iteration did not end in {MAX_IMPROVEMENTS} improvements")
        mean_value = action_value.reshape(-1, *shape).mean(axis=2)
        return action.reshape(shape), entered.reshape(-1, *shape), systems, values.reshape(shape), mean_value

    def _problems(self, moves, group):
        """The policies (A, t, S) and the rewards of each move (A, t, S) of the followers `group` (t,), counted over all policies."""
        return moves[:, group // self.n_followers, 0], self._follower_entry[:, group % self._follower_entry.shape[1]]

    def _look_ahead(self, entry, move, value):
        return large_grid.look_ahead(entry, move, value, self.next_state.T, self.gamma, self.cost)

    def _induced(self, sigma, shape):
        """Agent 1's MDP where agent 2 plays `sigma` (5, n, S)."""
        sigma = sigma * self._alive
        n, n_states = sigma.shape[1:]
        states = np.arange(n_states)
        forced = np.zeros((n, n_states, n_states))
        for m in range(NONE):
            forced[:, states, self.next_state[:, m]] += sigma[m]
        forced[:, self.goal, self.goal] = 1.0
        P = np.repeat(forced[:, :, None, :], self.n_actions, axis=2)
        for a in range(self.n_actions):
            P[:, states, a, self.next_state[:, a]] += sigma[NONE]
        r = (sigma[:NONE] * self._entry[:, None]).sum(axis=0)[..., None] + sigma[NONE][..., None] * self._entry.T
        P, r = P.reshape(*shape, *P.shape[1:]), r.reshape(*shape, *r.shape[1:])
        return MDP(P, r, self.gamma, self.rho, self.goal)

    def _induced_sparse(self, sigma):
        """The same MDP of one policy (5, S), with sparse transitions."""
        sigma = sigma * self._alive
        lands = np.repeat(sigma[:NONE].T[:, None], self.n_actions, axis=1)  # (S, A, move)
        lands += sigma[NONE][:, None, None] * np.eye(self.n_actions)
        lands[self.goal, :, MOVES.index("right")] = 1.0  # off the grid: it stays
        r = (lands * self._entry.T[:, None]).sum(axis=-1) * self._alive[:, None]
        rows = self.n_states * self.n_actions
        P = self._sparse(lands.reshape(rows, -1), np.repeat(self.next_state, self.n_actions, axis=0))
        return MDP(P, r, self.gamma, self.rho, self.goal)


def _in_groups(followers):
    return np.array_split(followers, -(-followers.size // AT_ONCE))


def _for_each(name, array, shape, axes):
    """`array` (..., *core) for each of the policies: its leading axes may be fewer; core are the last `axes` of `shape`."""
    lead = shape[: len(shape) - axes]
    array = check_finite(name, array, shape[len(lead) :])
    if check_leading(name, array.shape[: array.ndim - axes], lead, "the policies") != lead:
        raise ValueError(f"{name}: expected shape {shape}, or fewer leading axes, got {array.shape}")
    return np.broadcast_to(array, shape)


class _Systems:
    """The linear systems I - gamma P of many chains on the grid, factored side by side.

    A move couples a cell with its neighbours only, so each system is banded with bandwidth b, the number of columns.
    Chained one after the other they are one band matrix, which LAPACK factors at a cost linear in its size; no entry
    crosses from one chain to the next. Some BLAS kernels round differently at the ends of a matrix, so an identity stands at
    both: a chain is rounded alike wherever it stands (with at most 64 columns; beyond, LAPACK works in blocks).
    Band storage holds row i, column j of the matrix at [2 b + i - j, j].
    """

    def __init__(self, n_chains, gamma, next_state, n_columns):
        self.gamma, self.bandwidth = gamma, n_columns
        n_states = len(next_state)
        self._moves_on = (next_state != np.arange(n_states)[:, None]).T[:, None]
        self._factors = np.empty((n_chains, n_states, 3 * n_columns + 1))
        self._pivots = np.empty((n_chains, n_states), dtype=np.int32)  # relative to the chain's first row

    def solve(self, chains, weight, right_hand_side):
        """Factor anew the systems of `chains` (t,), which take move m with probability weight[m] (4, t, S); solve."""
        b, n_states = self.bandwidth, self._factors.shape[1]
        size = chains.size * n_states
        padded = np.zeros((size + 2 * n_states, 3 * b + 1))
        padded[:, 2 * b] = 1.0
        band = padded[n_states:-n_states]
        step = self.gamma * weight * self._moves_on
        band[:, 2 * b] = 1.0 - (self.gamma * weight - step).sum(axis=0).ravel()
        # Left, right, up, down; with one column left and up share a diagonal (so do right and down): hence -=.
        for along, offset in zip(step.reshape(len(step), size), (-1, 1, -b, b)):
            source = slice(max(0, -offset), size - max(0, offset))
            target = slice(max(0, offset), size - max(0, -offset))
            band[target, 2 * b - offset] -= along[source]
        factors, pivots, info = lapack.dgbtrf(padded.T, b, b, overwrite_ab=True)
        if info != 0:
            raise RuntimeError(f"the followers' linear systems could not be factored (LAPACK info {info})")
        self._factors[chains] = factors.T[n_states:-n_states].reshape(chains.size, n_states, -1)
        first_rows = n_states * np.arange(1, chains.size + 1)
        self._pivots[chains] = pivots[n_states:-n_states].reshape(chains.size, n_states) - first_rows[:, None]
        padded = np.zeros((chains.size + 2, n_states))
        padded[1:-1] = right_hand_side
        return self._substitute(factors, pivots, padded, transposed=False)[1:-1]

    def solve_transposed(self, right_hand_side, n_parts):
        """Solve all the transposed systems for (n_chains, S), from the factors at hand.

        In `n_parts` of equal size: a dot product of LAPACK's may start in the chain before, where the factor is zero, and which of
        its terms are added first then depends on where a chain is; the solution of a part is the same whatever lies beside it.
        """
        height = self._factors.shape[-1]
        parts = []
        for factors, pivots, right in zip(*(np.split(x, n_parts) for x in (self._factors, self._pivots, right_hand_side))):
            pivots = pivots + pivots.shape[1] * np.arange(len(pivots), dtype=np.int32)[:, None]
            parts.append(self._substitute(factors.reshape(-1, height).T, pivots.ravel(), right, transposed=True))
        return np.concatenate(parts)

    def _substitute(self, factors, pivots, right_hand_side, transposed):
        b = self.bandwidth
        solution, info = lapack.dgbtrs(factors, b, b, right_hand_side.ravel(), pivots, trans=int(transposed))
        if info != 0:
            raise RuntimeError(f"the followers' linear systems could not be solved (LAPACK info {info})")
        return solution.reshape(right_hand_side.shape)
