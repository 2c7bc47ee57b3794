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


class Walks:
    """The walks that agent 2's actions make of the deployed policy, and what is to be summed along them.

    next_state : (S, A), where each move leads; `policy` (S, A), with rows of zeros where the walk ends
    """

    def __init__(self, policy, next_state, gamma):
        self.gamma = gamma
        self._policy, self._to = policy, next_state
        self._steps = int(np.ceil(STEPS_BETWEEN / (1.0 - gamma)))
        self._alive = policy.any(axis=1)

    def moves(self, action):
        """The probability of each move, (S, A), where `action` (S,) is a move to force or the number of moves for none."""
        n_moves = self._policy.shape[1]
        forced = (action[:, None] == np.arange(n_moves)) & self._alive[:, None]
        return np.where((action == n_moves)[:, None], self._policy, forced)

    def few(self, moves, reward, value):
        """Some steps from `value` (S,) towards what `reward` (S,) sums to where moves have these probabilities."""
        return self._steps_of(self._chain(moves), reward, value)[0]

    def sum(self, moves, reward, value):
        """The sum of `reward` (S,) along the walk, from the guess `value`."""
        return self._settled(self._chain(moves), reward, value, np.max)

    def sum_back(self, moves, seed):
        """The adjoint: what `seed` (S,), on such sums, is on the rewards."""
        return self._settled(self._chain(moves).T, seed, seed, np.sum)

    def _settled(self, chain, source, total, norm):
        """Steps until they are shorter than rounding, or no longer become shorter; in `norm` the matrix is a contraction."""
        before = np.inf
        while True:
            total, last = self._steps_of(chain, source, total)
            change = norm(np.abs(total - last))
            if change <= ROUNDING * norm(np.abs(total)) or change >= before:
                return total
            before = change

    def _steps_of(self, chain, source, total):
        for _ in range(self._steps):
            total, last = source + chain @ total, total
        return total, last

    def _chain(self, moves):
        n, m = moves.shape
        return csr_array((self.gamma * moves.ravel(), self._to.ravel(), np.arange(0, n * m + 1, m)), (n, n))


class Adjoint:
    """The walks of all followers at their best actions (K, S): what a gradient needs of the response."""

    def __init__(self, walks, action):
        self._walks, self._action = walks, action

    def solve_transposed(self, right_hand_side, n_parts):
        """Of right-hand sides (K, S), one for each follower; `n_parts` is the one policy that was deployed."""
        return np.array([self._walks.sum_back(self._walks.moves(a), seed) for a, seed in zip(self._action, right_hand_side)])


def answer(policy, next_state, alive, entries, gamma, cost):
    """The optimal answers to `policy` (S, A) of followers who are paid `entries`, an iterable of (S, A), for entering cells.

    Returns the best actions (K, S), what entering a cell is worth (A, K, S), the :class:`Adjoint` and the mean action values
    (A + 1, S). Of actions tied within 1e-12 of the values' scale the first is taken, as on small grids.
    """
    walks = Walks(np.where(alive[:, None], policy, 0.0), next_state, gamma)
    found = [_best(walks, policy, next_state, alive, entry, gamma, cost) for entry in entries]
    action = np.array([action for action, _, _ in found])
    entered = np.stack([worth for _, worth, _ in found], axis=1)
    mean_value = sum(choices for _, _, choices in found) / len(found)
    return action, entered, Adjoint(walks, action), mean_value


def _best(walks, policy, next_state, alive, entry, gamma, cost):
    """One follower's best actions (S,), what entering a cell is worth (A, S) and the action values (A + 1, S)."""
    policy, entry, to, n_moves = policy.T, entry.T, next_state.T, next_state.shape[1]

    def look_ahead(value):
        worth = entry + gamma * value[to]
        return worth, np.concatenate([worth - cost, (policy * worth).sum(axis=0)[None]])

    def summand(action):
        moves = walks.moves(action)
        return moves, (moves * entry.T).sum(axis=1) - cost * ((action != n_moves) & alive)

    value = np.zeros(len(alive))
    for _ in range(MAX_IMPROVEMENTS):
        _, choices = look_ahead(value)
        best = np.where(alive, choices.max(axis=0), 0.0)
        if np.abs(best - value).max() <= ROUNDING * (1.0 + np.abs(value).max()) / (1.0 - walks.gamma):
            break
        value = walks.few(*summand(choices.argmax(axis=0)), best)
    else:
        raise RuntimeError(f"the followers' policy iteration did not end in {MAX_IMPROVEMENTS} improvements")
    action = np.where(alive, first_best(choices, axis=0), n_moves)  # the first of each tie
    return action, *look_ahead(walks.sum(*summand(action), value))
