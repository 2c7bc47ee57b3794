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

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import (
    check_any_policy,
    check_count,
    check_discount,
    check_finite,
    check_instance,
    check_non_negative,
    check_size,
    check_whole,
)
from ..mdp import MDP

BLOCK = 10  # steps between two looks at which trajectories have ended


@dataclass(frozen=True, eq=False)
class Trajectories:
    r"""`count` trajectories of at most `horizon` steps, or as many of each of n runs side by side, (n, ...).

    states (..., count, horizon + 1) · actions (..., count, horizon) · rewards (..., count, horizon): :math:`r(s_t,a_t)`
    real : (..., count, horizon), whether the step was taken: none is in a terminal state. Where not, the state stays, the
        action is 0 and the reward 0.
    """

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    real: np.ndarray

    def __post_init__(self):
        states, actions = check_whole("states", self.states), check_whole("actions", self.actions)
        if actions.ndim < 2 or states.shape != (*actions.shape[:-1], actions.shape[-1] + 1):
            raise ValueError(f"states: expected shape (..., count, horizon + 1) for actions {actions.shape}, got {states.shape}")
        if check_finite("rewards", self.rewards, actions.shape).ndim != actions.ndim:
            raise ValueError(f"rewards: expected shape {actions.shape}, that of actions, got {np.shape(self.rewards)}")
        real = check_instance("real", self.real, np.ndarray, "an array of truth values")
        if real.dtype != bool or real.shape != actions.shape or isinstance(real, np.ma.MaskedArray):
            raise ValueError(f"real: expected truth values of shape {actions.shape}, that of actions, got {real.dtype} {real.shape}")

    @property
    def samples(self) -> np.integer | np.ndarray:
        """How many transitions were sampled, (...)."""
        return self.real.sum(axis=(-2, -1))[()]

    @property
    def transitions(self) -> tuple[np.ndarray, ...]:
        """The steps taken as arrays (samples,), trajectory by trajectory: states, actions, rewards, next states."""
        steps = self.states[..., :-1], self.actions, self.rewards, self.states[..., 1:]
        return tuple(array[self.real] for array in steps)

    def runs(self) -> "list[Trajectories]":
        """The trajectories of each run, one after the other; those of the only one where there is no leading axis."""
        if self.real.ndim == 2:
            return [self]
        return [Trajectories(*arrays) for arrays in zip(self.states, self.actions, self.rewards, self.real)]

    def pairs(self, n_actions: int) -> np.ndarray:
        """The index s A + a of each step's pair, (..., count, horizon)."""
        states = self.states[..., :-1].astype(np.intp, copy=False)
        return states * check_count("n_actions", n_actions) + self.actions.astype(np.intp, copy=False)


def _inverse_cdf(probabilities):
    """Distributions (..., n) as a table (n - 1, ...): as many of its entries are <= u as the outcome that u selects.

    u is uniform on [0, 1); the last entry, 1 after the division, is left out. An outcome of probability 0 is never selected.
    """
    cumulative = np.cumsum(probabilities, axis=-1)
    return np.ascontiguousarray(np.moveaxis(cumulative[..., :-1] / cumulative[..., -1:], -1, 0))


def _outcomes(table, where, u):
    """The outcome of each u (N,) under the distribution `where` (N,) of a table of :func:`_inverse_cdf`."""
    return np.add.reduce(table.take(where, axis=1) <= u, axis=0, dtype=np.intp)


def sample_trajectories(
    mdp: MDP, policy: ArrayLike, count: int, horizon: int, rng: np.random.Generator | Sequence[np.random.Generator],
) -> Trajectories:
    r"""Sample `count` trajectories of `policy` (S, A) in `mdp`, at most `horizon` steps each, exactly in distribution.

    All trajectories advance together, by inversion of the distribution functions: one uniform number each for the start,
    and two for every step, whether it is taken or not.

    rng : a ``numpy.random.Generator``; or n of them, one for each run of n side by side, of `policy` (n, S, A) in `mdp` with n along
        its leading axis. A run's trajectories are then those that its generator gives alone.

    Raises ValueError for an MDP or a policy with other leading axes, a count or a horizon below 1, or a rng that is none.
    """
    if not isinstance(mdp, MDP):
        raise ValueError(f"mdp: expected a pepg.MDP, got {type(mdp).__name__}")
    alone = isinstance(rng, np.random.Generator)
    rngs = [rng] if alone else rng
    if not (isinstance(rngs, (list, tuple)) and rngs and all(isinstance(one, np.random.Generator) for one in rngs)):
        raise ValueError(f"rng: expected a numpy.random.Generator, or a list of them, got {type(rng).__name__}")
    lead = () if alone else (len(rngs),)
    for name, array, ndim, fits in (("mdp.P", mdp.P, 3, [lead]), ("mdp.r", mdp.r, 2, [lead]), ("mdp.rho", mdp.rho, 1, [(), lead])):
        if array.shape[:-ndim] not in fits:
            expected = "one MDP without leading axes" if alone else f"one MDP for each of {len(rngs)} generators"
            raise ValueError(f"{name}: expected {expected}, got shape {array.shape}")
    policy = mdp.check_policy(policy)
    n_states, n_actions = policy.shape[-2:]
    if policy.shape[:-2] != lead:
        raise ValueError(f"policy: expected shape {(*lead, n_states, n_actions)}, got {policy.shape}")
    count, horizon = check_count("count", count), check_count("horizon", horizon)
    check_size("count", count * horizon, "steps of all trajectories together")

    # A terminal state keeps to itself, so that no step needs to ask. State s of run i is i S + s.
    n = len(rngs)
    still = mdp.terminal[:, None]
    act = _inverse_cdf(np.where(still, np.eye(1, n_actions), policy).reshape(-1, n_actions))
    row, to, chance = _transitions(mdp)
    place = np.arange(row.size) - np.searchsorted(row, row)
    table = n * n_states * n_actions, place.max() + 1
    chances, reached = np.zeros(table), np.zeros(table, dtype=np.intp)
    chances[row, place], reached[row, place] = chance, row // (n_states * n_actions) * n_states + to
    move, width, reached = _inverse_cdf(chances), reached.shape[1], reached.ravel()
    ended = np.tile(mdp.terminal, n)

    starts = [_inverse_cdf(rho) for rho in np.broadcast_to(mdp.rho, (n, n_states))]
    first = [np.searchsorted(start, one.random(count), side="right") for start, one in zip(starts, rngs)]
    uniform = np.stack([one.random((horizon, 2, count)) for one in rngs], axis=2).reshape(horizon, 2, -1)
    states = np.empty((horizon + 1, n * count), dtype=np.intp)
    pairs = np.empty((horizon, n * count), dtype=np.intp)
    states[0] = (np.array(first) + n_states * np.arange(n)[:, None]).ravel()
    going = np.arange(n * count)
    for t in range(horizon):
        if t % BLOCK == 0:
            now = states[t, going]
            over = ended[now]
            states[t:, going[over]], pairs[t:, going[over]] = now[over], now[over] * n_actions
            going, now = going[~over], now[~over]
        if not going.size:
            break
        pair = now * n_actions + _outcomes(act, now, uniform[t, 0].take(going))
        now = reached.take(pair * width + _outcomes(move, pair, uniform[t, 1].take(going)))
        pairs[t, going], states[t + 1, going] = pair, now
    return _as_trajectories(mdp, states, pairs, (*lead, count))


def _transitions(mdp):
    """The rows (s, a), the next states and the probabilities of all transitions that occur, row by row, in order."""
    n_states, n_actions = mdp.n_states, mdp.n_actions
    if not mdp.sparse:
        P = np.where(mdp.terminal[:, None, None], np.eye(n_states)[:, None], mdp.P).reshape(-1, n_states)
        row, to = np.divmod(np.flatnonzero(P != 0.0), n_states)
        return row, to, P[row, to]
    P = mdp.P.tocoo()
    goes_on = ~mdp.terminal[P.row // n_actions] & (P.data > 0.0)
    stays = np.flatnonzero(np.repeat(mdp.terminal, n_actions))
    parts = (P.row[goes_on], stays), (P.col[goes_on], stays // n_actions), (P.data[goes_on], np.ones(stays.size))
    row, to, chance = map(np.concatenate, parts)
    order = np.argsort(row, kind="stable")
    return row[order], to[order], chance[order]


def _as_trajectories(mdp, states, pairs, shape):
    """States (horizon + 1, N) and pairs of state and action, counted over all runs, as :class:`Trajectories` of `shape`."""
    actions = pairs % mdp.n_actions
    rewards = mdp.r.reshape(-1).take(pairs)
    states = states % mdp.n_states
    real = ~mdp.terminal[states[:-1]]
    rewards *= real
    return Trajectories(*(np.ascontiguousarray(array.T).reshape(*shape, -1) for array in (states, actions, rewards, real)))


# Weights, (count, horizon) each, or (n, count, horizon) of runs side by side


def with_entropy_bonus(trajectories: Trajectories, policy: ArrayLike, entropy: float) -> Trajectories:
    r"""The same trajectories, paid :math:`r_t - \lambda \log \pi(a_t|s_t)` with `entropy` = λ (theory: R4)."""
    entropy = check_non_negative("entropy", entropy)
    policy = _fitting("policy", check_any_policy(policy), trajectories)
    with np.errstate(divide="ignore"):
        bonus = -entropy * _at(np.log(policy), trajectories)
    return replace(trajectories, rewards=np.where(trajectories.real, trajectories.rewards + bonus, 0.0))


def returns(trajectories: Trajectories, gamma: float) -> np.ndarray:
    r"""What each step and those after it are paid, :math:`G_t = \sum_{k \ge t} \gamma^{k-t} r_k`, up to the horizon."""
    gamma = check_discount("gamma", gamma)
    check_instance("trajectories", trajectories, Trajectories)
    total = trajectories.rewards.astype(float)
    for t in reversed(range(total.shape[-1] - 1)):
        total[..., t] += gamma * total[..., t + 1]
    return total


def temporal_differences(trajectories: Trajectories, value: ArrayLike, gamma: float) -> np.ndarray:
    r""":math:`\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)` for a value (..., S), 0 where no step was taken."""
    gamma, value = check_discount("gamma", gamma), _fitting("value", value, trajectories, axes=1)
    value = _entries(value, trajectories.states)
    return (trajectories.rewards + gamma * value[..., 1:] - value[..., :-1]) * trajectories.real


def advantages(trajectories: Trajectories, advantage: ArrayLike) -> np.ndarray:
    """The entry of `advantage` (..., S, A) at each step, 0 where none was taken."""
    return _at(_fitting("advantage", advantage, trajectories), trajectories) * trajectories.real


def next_step(weights: ArrayLike, gamma: float) -> np.ndarray:
    r"""Weights of one step later, :math:`\gamma w_{t+1}`, 0 at the last.

    As the weight of :math:`\gamma^t \nabla\log P(s_{t+1}|s_t,a_t)` it is :math:`\gamma^{t+1} w_{t+1}`: each :math:`w_t`
    meets the score of the transition that led to :math:`s_t`.
    """
    gamma, weights = check_discount("gamma", gamma), check_finite("weights", weights, ())
    if not weights.ndim:
        raise ValueError("weights: expected shape (..., horizon), got a number")
    late = np.zeros_like(weights)
    late[..., :-1] = gamma * weights[..., 1:]
    return late


def check_trajectories(trajectories, n_states, n_actions):
    """`trajectories` where their states and actions are those of an environment of this size, or a ValueError."""
    check_instance("trajectories", trajectories, Trajectories)
    for name, array, size in (("states", trajectories.states, n_states), ("actions", trajectories.actions, n_actions)):
        if array.max() >= size:
            raise ValueError(f"trajectories: expected {name} from 0 to {size - 1}, got {array.max()}: those of another environment")
    return trajectories


def _fitting(name, table, trajectories, axes=2):
    """A table over states, or over states and actions, that has an entry for each that trajectories visit."""
    check_instance("trajectories", trajectories, Trajectories)
    table = check_finite(name, table, ())
    lead = trajectories.real.shape[:-2]
    sizes = [array.max() + 1 for array in (trajectories.states, trajectories.actions)][:axes]
    if table.ndim < axes or table.shape[:-axes] not in ((), lead) or any(n < m for n, m in zip(table.shape[table.ndim - axes :], sizes)):
        raise ValueError(f"{name}: expected an entry for each state{' and action' * (axes == 2)} of the trajectories, got shape {table.shape}")
    return table


def _at(table, trajectories):
    """The entry of `table` (..., S, A) at each step."""
    return _entries(table.reshape(*table.shape[:-2], -1), trajectories.pairs(table.shape[-1]))


def _entries(table, index):
    """The entries of a table (N,) at `index` (..., count, steps), or of one for each run (n, N) at (n, count, steps)."""
    run = table.shape[-1] * np.arange(table.size // table.shape[-1]).reshape(*table.shape[:-1], 1, 1)
    return table.reshape(-1).take(index.astype(np.intp, copy=False) + run)
