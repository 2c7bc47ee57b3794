r"""The followers' answer on a grid of many cells, at a cost linear in cells times followers.

A move couples a cell with its neighbours only, so that a row of a chain's transition matrix W has four entries, and a product with
it costs as much as four vectors. Modified policy iteration (Puterman & Shin, Management Science 1978) makes nothing but such products:
take in each cell the action that is best for the values at hand, follow these for some steps, :math:`V \leftarrow r + \gamma W V`, and so
again until no value moves by more than rounding. The adjoint is the same sum with :math:`W^\top`.

Either takes about :math:`\log(10^{15}) / (1 - \gamma)` products, whatever the size of the grid; a factorisation of the same matrices
takes fewer operations where :math:`1/(1 - \gamma)` is large, and its fill grows faster than the grid. What stops it bounds the error: where
no value moves by more than δ, none is further than :math:`\delta / (1 - \gamma)` from the fixed point. Nothing starts from an earlier
answer, so that an answer depends on the policy alone, bit for bit.
"""

import numpy as np
from scipy.sparse import csr_array

from ..mdp import MAX_IMPROVEMENTS, first_best

ROUNDING = 1e-15  # relative: what moves by less has settled
STEPS_BETWEEN = 1.6  # of the walk's mean length 1 / (1 - gamma), from one choice of actions to the next
AT_ONCE = 20_000  # cells of the followers that walk side by side, which the processor's cache holds


class Walks:
    """The walks of k followers side by side that agent 2's actions make of the deployed policy, and what is to be summed along them.

    next_state : (S, A), where each move leads; `policy` (S, A), with rows of zeros where the walk ends
    """

    def __init__(self, policy, next_state, gamma):
        n_states, n_moves = policy.shape
        alive = policy.any(axis=1, keepdims=True)
        forced = [alive * one for one in np.eye(n_moves)]
        self._leaving = gamma * np.concatenate([*forced, policy])  # row m S + s: what agent 2's action m makes of state s
        self._to = next_state
        self._steps = int(np.ceil(STEPS_BETWEEN / (1.0 - gamma)))

    def few(self, action, reward, value):
        """Some steps from `value` (k, S) towards what `reward` (k, S) sums to where agent 2 takes `action` (k, S)."""
        return self._steps_of(self._chain(action), reward.ravel(), value.ravel())[0].reshape(value.shape)

    def sum(self, action, reward, value):
        """The sum of `reward` along the walks, from the guess `value`, (k, S) both."""
        return self._settled(self._chain(action), reward, value, np.max)

    def sum_back(self, action, seed):
        """The adjoint: what `seed` (k, S), on such sums, is on the rewards."""
        return self._settled(self._chain(action).T, seed, seed, np.sum)

    def _settled(self, chain, source, total, norm):
        """Steps until each follower's are shorter than rounding, or no longer become shorter; in `norm` the matrix is a contraction."""
        shape, source, total = source.shape, source.ravel(), total.ravel()
        before, done = np.inf, np.zeros(shape[0], dtype=bool)
        while not done.all():
            total, last = self._steps_of(chain, source, total)
            change = norm(np.abs(total - last).reshape(shape), axis=1)
            done |= (change <= ROUNDING * norm(np.abs(total).reshape(shape), axis=1)) | (change >= before)
            before = change
        return total.reshape(shape)

    def _steps_of(self, chain, source, total):
        for _ in range(self._steps):
            total, last = source + chain @ total, total
        return total, last

    def _chain(self, action):
        """Where the walks go, (k S, k S), one block for each follower."""
        (k, n), m = action.shape, self._to.shape[1]
        leaving = self._leaving.take(n * action.astype(np.intp) + np.arange(n), axis=0)
        to = self._to + n * np.arange(k)[:, None, None]
        return csr_array((leaving.ravel(), to.ravel(), np.arange(0, k * n * m + 1, m)), (k * n, k * n))


class Adjoint:
    """The walks of all followers at their best actions (K, S): what a gradient needs of the response."""

    def __init__(self, walks, action):
        self._walks, self._action = walks, action

    def solve_transposed(self, right_hand_side, n_parts):
        """Of right-hand sides (K, S), one for each follower; `n_parts` is the one policy that was deployed."""
        solution = np.empty_like(right_hand_side)
        for some in _side_by_side(np.arange(len(solution)), solution.shape[1]):
            solution[some] = self._walks.sum_back(self._action[some], right_hand_side[some])
        return solution


def _side_by_side(followers, n_states):
    """The numbers of followers in parts of as many as walk together."""
    return np.array_split(followers, -(-len(followers) // max(1, AT_ONCE // n_states)))


def where_moves_lead(cells, to):
    """The entries of `cells` (k, S) at the cells `to` (A, S) that each move enters: (A, k, S)."""
    return np.array([cells.take(place, axis=1) for place in to])


def look_ahead(entry, policy, value, to, gamma, cost):
    """What entering a cell is worth to followers of these values (k, S), who are paid `entry` (A, k, S): (A, k, S); :func:`action_values`."""
    worth = where_moves_lead(value, to)
    worth *= gamma
    worth += entry
    return worth, action_values(worth, policy, cost)


def action_values(worth, policy, cost):
    """What agent 2's actions are worth, (A + 1, k, S): to force a move, at a cost, or none, where `policy` (A, k or 1, S) moves."""
    return np.concatenate([worth - cost, (policy * worth).sum(axis=0)[None]])


def answer(policy, next_state, alive, grids, gamma, cost):
    """The optimal answers to `policy` (S, A) of followers who are paid `grids` (K, S) for entering cells.

    Returns the best actions (K, S), what entering a cell is worth (A, K, S), the :class:`Adjoint` and the mean action values
    (A + 1, S). Of actions tied within 1e-12 of the values' scale the first is taken, as on small grids.
    """
    walks = Walks(np.where(alive[:, None], policy, 0.0), next_state, gamma)
    (n_followers, n_states), n_moves = grids.shape, policy.shape[1]
    action = np.empty((n_followers, n_states), dtype=np.int8)
    entered, total = np.empty((n_moves, n_followers, n_states)), np.zeros((n_moves + 1, n_states))
    for some in _side_by_side(np.arange(n_followers), n_states):
        action[some], entered[:, some], action_value = _best(walks, policy, next_state, alive, grids[some], gamma, cost)
        total += action_value.sum(axis=1)
    return action, entered, Adjoint(walks, action), total / n_followers


def _best(walks, policy, next_state, alive, grids, gamma, cost):
    """The best actions (k, S) of some followers, what entering a cell is worth (A, k, S) and the action values (A + 1, k, S)."""
    policy, to, n_moves = policy.T[:, None], next_state.T, next_state.shape[1]
    entry = where_moves_lead(grids, to)
    at_once = action_values(entry, policy, cost) * alive

    def walk(action):
        """The arguments of a walk: agent 2's action, none where the walk ends, and what it is paid at once."""
        action = np.where(alive, action, n_moves)
        return action, np.take_along_axis(at_once, action[None], axis=0)[0]

    value = np.zeros(entry.shape[1:])
    for _ in range(MAX_IMPROVEMENTS):
        _, action_value = look_ahead(entry, policy, value, to, gamma, cost)
        best = np.where(alive, action_value.max(axis=0), 0.0)
        if (np.abs(best - value).max(axis=1) <= ROUNDING * (1.0 + np.abs(value).max(axis=1)) / (1.0 - gamma)).all():
            break
        value = walks.few(*walk(first_best(action_value, axis=0, tie=0.0)), best)
    else:
        raise RuntimeError(f"the followers' policy iteration did not end in {MAX_IMPROVEMENTS} improvements")
    action, reward = walk(first_best(action_value, axis=0))  # the first of each tie
    return action, *look_ahead(entry, policy, walks.sum(action, reward, value), to, gamma, cost)
