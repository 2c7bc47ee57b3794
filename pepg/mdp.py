r"""Finite Markov decision processes, and the environments that answer a policy with one.

A policy is an array (S, A) whose rows are distributions. Every function broadcasts over leading axes, as
``numpy.linalg`` does: policies (..., S, A) in MDPs with P (..., S, A, S) give values (..., S). Where P is a ``scipy.sparse`` array
(S A, S) there are no leading axes, and all else is the same.

Notation: :math:`P_\pi(s'|s) = \sum_a \pi(a|s) P(s'|s,a)`, and the value of :math:`\pi` solves
:math:`(I - \gamma P_\pi) V = r_\pi`. A terminal state has value 0 and no occupancy.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field, fields, is_dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csc_array, csr_array, eye_array, issparse, sparray
from scipy.sparse.linalg import splu
from scipy.special import xlogy

from .arguments import (
    Numbers,
    check_array,
    check_distributions,
    check_finite,
    check_gamma,
    check_instance,
    check_leading,
    check_non_negative,
    check_non_negatives,
    check_policy,
    check_seed,
    check_sequence,
    check_sparse_distributions,
    check_terminal,
    described,
)

TIE = 1e-12  # action values this close, relative to their scale, are equal
MAX_IMPROVEMENTS = 1000  # of a policy iteration, which needs a handful


def softmax(logits: ArrayLike) -> np.ndarray:
    r"""The policy :math:`\pi(a|s) \propto e^{\theta(s,a)}` of logits (..., S, A); one of :math:`-\infty` is never taken."""
    logits = check_array("logits", logits)
    if not (logits.ndim and logits.size):
        raise ValueError(f"logits: expected shape (..., S, A), got {logits.shape}")
    highest = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(highest).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(highest))[0]][:-1]
        raise ValueError(f"logits: expected numbers, in each row one that is finite, but row {index} has the maximum {highest[(*index, 0)]}")
    weights = np.exp(logits - highest)
    return weights / weights.sum(axis=-1, keepdims=True)


def to_logits(policy, gradient):
    r"""Carry a gradient in the policy to the logits of its softmax.

    :math:`\partial_{\theta(s,a)} = \pi(a|s) (G(s,a) - \sum_b \pi(b|s) G(s,b))` for :math:`G = \nabla_\pi`; both
    (..., S, A).
    """
    weighted = policy * gradient
    return weighted - policy * weighted.sum(axis=-1, keepdims=True)


@dataclass(frozen=True, eq=False)
class MDP:
    r"""A finite MDP :math:`(P, r, \gamma, \rho)`.

    Parameters
    ----------
    P : (..., S, A, S) transition probabilities :math:`P(s'|s,a)`; or a ``scipy.sparse`` array (S A, S), row s A + a for action a in
        state s, where most are 0 and S is large
    r : (..., S, A) expected rewards
    gamma : discount in [0, 1)
    rho : (..., S) initial distribution
    terminal : what indexes the terminal states (a state, a sequence of states or a mask (S,)); none by default

    An array is not copied: it is the MDP's from then on, and read-only in it. The system :math:`I - \gamma P_\pi` is kept for the policy
    that was last asked about, which its value, its advantages and its occupancy share. With a sparse P nothing else has leading axes, and
    what is kept are the factors by SuperLU, of about :math:`S \log S` entries on a grid.

    Raises
    ------
    ValueError : naming the argument, the first offending index and what was expected
    """

    P: np.ndarray | csr_array
    r: np.ndarray
    gamma: float
    rho: np.ndarray
    terminal: np.ndarray | None = None
    _kept: list = field(default_factory=list, init=False, repr=False)  # the last policy, and its system; of a sparse P its factors

    def __post_init__(self):
        if issparse(self.P):
            P = check_sparse_distributions("P", self.P)
            n_states, n_actions = P.shape[1], P.shape[0] // P.shape[1]
        else:
            P = check_array("P", self.P)
            if P.ndim < 3 or P.shape[-1] != P.shape[-3] or 0 in P.shape:
                raise ValueError(f"P: expected shape (..., S, A, S), got {P.shape}")
            check_distributions("P", P)
            n_states, n_actions = P.shape[-3:-1]
        rho = check_finite("rho", self.rho, (n_states,))
        check_distributions("rho", rho)
        terminal = check_terminal(self.terminal, n_states)
        r = check_finite("r", self.r, (n_states, n_actions))
        lead = check_leading("r", r.shape[:-2], P.shape[:-3], "P")
        check_leading("rho", rho.shape[:-1], lead, "P and r")
        for name, array in (("r", r), ("rho", rho), ("terminal", terminal), *([] if issparse(P) else [("P", P)])):
            array = array.view()
            array.flags.writeable = False  # an environment may hand the same MDP out again
            object.__setattr__(self, name, array)
        if issparse(P):
            for name, array, axes in (("r", r, 2), ("rho", rho, 1)):
                self._check_alone(name, array, axes)
            for array in (P.data, P.indices, P.indptr):
                array.flags.writeable = False
            object.__setattr__(self, "P", P)
        object.__setattr__(self, "gamma", check_gamma(self.gamma))

    def __getstate__(self):
        return self.__dict__ | {"_kept": []}  # neither copied nor sent to another process: SuperLU's factors cannot be

    @property
    def n_states(self) -> int:
        return self.P.shape[-1]

    @property
    def n_actions(self) -> int:
        return self.r.shape[-1]

    @property
    def sparse(self) -> bool:
        """Whether P is a ``scipy.sparse`` array (S A, S)."""
        return issparse(self.P)

    def __repr__(self):
        lead = "".join(f"{n} x " for n in self.P.shape[:-3])
        kind = ", sparse" if self.sparse else ""
        return f"MDP: {lead}{self.n_states} states, {self.n_actions} actions, gamma {self.gamma:g}{kind}"

    def _check_alone(self, name, array, axes):
        """Raise a ValueError for leading axes where P is sparse."""
        if array.ndim > axes:
            raise ValueError(f"{name}: expected no leading axes, as P is sparse, got shape {array.shape}")

    def with_rewards(self, r: ArrayLike) -> "MDP":
        """The same MDP with other rewards `r`, of the same shape as its own; the transitions are not checked anew."""
        r = check_finite("r", r, self.r.shape)
        if r.shape != self.r.shape:
            raise ValueError(f"r: expected shape {self.r.shape}, got {r.shape}")
        other = copy(self)
        r = r.view()
        r.flags.writeable = False
        object.__setattr__(other, "r", r)
        object.__setattr__(other, "_kept", self._kept)  # which hangs on the transitions alone
        return other

    def check_policy(self, policy: ArrayLike) -> np.ndarray:
        """`policy` as an array (..., S, A), or a ValueError."""
        policy = check_policy(policy, self.n_states, self.n_actions)
        if self.sparse:
            self._check_alone("policy", policy, 2)
        check_leading("policy", policy.shape[:-2], self.P.shape[:-3], "the MDP")
        return policy

    def _system(self, policy):
        """I - gamma P_pi (..., S, S), with nothing leaving a terminal state."""
        if self._kept and np.array_equal(self._kept[0], policy):
            return self._kept[1]
        chain = (policy[..., None, :] @ self.P)[..., 0, :]
        chain[..., self.terminal, :] = 0.0
        system = np.eye(self.n_states) - self.gamma * chain
        if policy.ndim < self.P.ndim:  # of many policies in one MDP it would be larger than P
            self._kept[:] = [policy.copy(), system]
        return system

    def _factors(self, policy):
        """The factors of the same where P is sparse.

        The matrix is diagonally dominant by rows, and an M-matrix, so that elimination along the diagonal is stable in any order,
        and the order can be the one that fills least.
        """
        if self._kept and np.array_equal(self._kept[0], policy):
            return self._kept[1]
        n, m = self.n_states, self.n_actions
        leaving = np.where(self.terminal[:, None], 0.0, self.gamma * policy)
        chain = csr_array((leaving.ravel(), np.arange(n * m), np.arange(0, n * m + 1, m)), (n, n * m)) @ self.P
        symmetric = {"diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        factors = splu((eye_array(n) - chain).tocsc(), permc_spec="MMD_AT_PLUS_A", **symmetric)
        self._kept[:] = [policy.copy(), factors]
        return factors

    def backup(self, value: ArrayLike) -> np.ndarray:
        r"""The action values that state values promise: :math:`r(s,a) + \gamma \sum_{s'} P(s'|s,a) V(s')`.

        (..., S) to (..., S, A); 0 at a terminal state.
        """
        value = check_finite("value", value, (self.n_states,))
        if self.sparse:
            self._check_alone("value", value, 1)
            action_value = self.r + self.gamma * (self.P @ value).reshape(self.r.shape)
        else:
            action_value = self.r + self.gamma * (self.P @ value[..., None, :, None])[..., 0]
        action_value[..., self.terminal, :] = 0.0
        return action_value

    def value(self, policy: ArrayLike, entropy: ArrayLike = 0.0) -> np.ndarray:
        r""":math:`V^\pi` (..., S): the expected sum of :math:`\gamma^t (r_t - \lambda \log \pi(a_t|s_t))`.

        `entropy` is :math:`\lambda \ge 0`, a number or one for each of the leading axes; one linear solve (theory: R4 for :math:`\lambda > 0`).
        """
        policy = self.check_policy(policy)
        return self._value(policy, check_entropy(entropy, policy, check_leading("r", self.r.shape[:-2], self.P.shape[:-3], "P")))

    def _value(self, policy, entropy):
        reward = (policy * self.r - np.asarray(entropy)[..., None, None] * xlogy(policy, policy)).sum(axis=-1)
        reward[..., self.terminal] = 0.0
        if self.sparse:
            return self._factors(policy).solve(reward)
        return np.linalg.solve(self._system(policy), reward[..., None])[..., 0]

    def action_value(self, policy: ArrayLike) -> np.ndarray:
        r""":math:`Q^\pi(s,a) = r(s,a) + \gamma \sum_{s'} P(s'|s,a) V^\pi(s')`, shape (..., S, A)."""
        return self.backup(self.value(policy))

    def advantage(self, policy: ArrayLike) -> np.ndarray:
        r""":math:`A^\pi = Q^\pi - V^\pi`, shape (..., S, A); its mean under :math:`\pi` is 0 in every state."""
        value = self.value(policy)
        return self.backup(value) - value[..., None]

    def occupancy(self, policy: ArrayLike) -> np.ndarray:
        r"""Discounted visits :math:`d(s,a) = \sum_t \gamma^t \Pr(s_t = s, a_t = a)` from rho, shape (..., S, A).

        Not normalised: without terminal states it sums to :math:`1/(1-\gamma)`.
        """
        return self._occupancy(self.check_policy(policy))

    def _occupancy(self, policy):
        if self.sparse:
            visits = self._factors(policy).solve(self.rho, trans="T")
        else:
            transposed = np.swapaxes(self._system(policy), -1, -2)
            visits = np.linalg.solve(transposed, self.rho[..., None])[..., 0]
        visits[..., self.terminal] = 0.0
        return visits[..., None] * policy

    def expected_return(self, policy: ArrayLike) -> Numbers:
        r""":math:`V^\pi(\rho) = \sum_s \rho(s) V^\pi(s)`: a float, or an array of the leading axes."""
        return (self.value(policy) * self.rho).sum(axis=-1)[()]


def first_best(action_value, axis=-1, tie=TIE):
    """The first action within rounding (`tie` of the scale) of the best along `axis`."""
    best = action_value.max(axis=axis, keepdims=True)
    below = np.moveaxis(action_value < best - tie * (1.0 + np.abs(best)), axis, 0)
    first = below[0].astype(np.intp)  # one action after the other, and not argmax, which is slow along a short axis
    for action in range(1, len(below) - 1):
        below[action] &= below[action - 1]
        first += below[action]
    return first


def best_response(mdp: MDP) -> np.ndarray:
    """A policy (..., S, A) that is optimal in `mdp`, by policy iteration: deterministic, the first action of each tie.

    Raises ValueError for what is no MDP, RuntimeError if the iteration does not end.
    """
    check_instance("mdp", mdp, MDP, "a pepg.MDP")
    chosen = first_best(mdp.r)
    if mdp.sparse:  # whose factors are dear: steps of value iteration first, as long as they change an action
        chosen = _greedy_at_rest(mdp, chosen)
    for _ in range(MAX_IMPROVEMENTS):
        action_value = mdp.action_value(np.eye(mdp.n_actions)[chosen])
        best = first_best(action_value)
        # an action is left for one that is better beyond rounding only: among ties the iteration could go round
        greedy = action_value.max(axis=-1)
        kept = np.take_along_axis(action_value, chosen[..., None], axis=-1)[..., 0]
        better = greedy > kept + TIE * (1.0 + np.abs(greedy))
        if not better.any():
            return np.eye(mdp.n_actions)[best]
        chosen = np.where(better, best, chosen)
    raise RuntimeError(f"policy iteration did not end in {MAX_IMPROVEMENTS} improvements")


def _greedy_at_rest(mdp, chosen):
    """Greedy actions of value iteration, stopped at the first step that changes none; `chosen` are those best for one step.

    A reward at a terminal state counts here at first: the start of a policy iteration, which it leads to the same end, is all that this is.
    """
    value = mdp.r.max(axis=-1)
    for _ in range(MAX_IMPROVEMENTS):
        action_value = mdp.backup(value)
        before, chosen, value = chosen, first_best(action_value), action_value.max(axis=-1)
        if (chosen == before).all():
            break
    return chosen


class PeMDP(ABC):
    r"""A performative MDP: it answers a deployed policy with the MDP that the policy induces.

    A subclass has `n_states`, `n_actions`, `gamma`, `rho` (S,) and the two methods below; nothing else of an
    environment is used anywhere in this package. One that is several environments side by side says how many in `lead`,
    its leading axes: its MDPs, and the policies that it answers, then have them.
    """

    lead: tuple[int, ...] = ()

    n_states: int
    n_actions: int
    gamma: float
    rho: np.ndarray

    @abstractmethod
    def respond(self, policy: ArrayLike) -> MDP:
        r"""Deploy `policy` (..., S, A): the :class:`MDP` :math:`M(\pi) = (P_\pi, r_\pi, \gamma, \rho)`."""

    @abstractmethod
    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        r"""How the MDP bends with the policy, seen through `occupancy` (..., S, A) and `value` (..., S).

        The gradient in :math:`\pi`, shape (..., S, A), of

        .. math:: \sum_{s,a} d(s,a) \Big( r_\pi(s,a) + \gamma \sum_{s'} P_\pi(s'|s,a) V(s') \Big)

        with the occupancy d and the value V held fixed (theory: R3). Only its differences within a row mean
        something: a policy moves along the simplex.
        """

    def transition_gradient(self, policy: ArrayLike, weights: ArrayLike | sparray) -> np.ndarray:
        r"""The gradient in π, (..., S, A), of :math:`\sum_{s,a,s'} C(s,a,s') P_\pi(s'|s,a)` with the `weights` C held fixed.

        policy (..., S, A) · weights (..., S, A, S), or for one policy a ``scipy.sparse`` array (S A, S). With :math:`R(d, V)` for
        :meth:`response_gradient`, which is linear in d and affine in V for a given d,

        .. math:: \nabla_\pi \sum C P_\pi = \frac{1}{\gamma} \Big( \sum_{s'} R(C(\cdot,\cdot,s'), e_{s'})
                  - R\big(\textstyle\sum_{s'} C(\cdot,\cdot,s'), 0\big) \Big).

        So it takes one response gradient for every s' that has a weight, and one more, where an environment has no
        shorter way. Like that one's, only its differences within a row mean something.

        Raises ValueError for γ = 0, where ``response_gradient`` does not see the transitions.
        """
        if not self.gamma > 0.0:
            raise ValueError(f"env: expected gamma > 0 (with none the transitions have no part in a value), got {self.gamma}")
        if issparse(weights):
            return self._sparse_transition_gradient(self.check_policy(policy), check_sparse_weights(weights, self))
        weights = check_finite("weights", weights, (self.n_states, self.n_actions, self.n_states))
        policy = self.check_policy(policy)
        lead = weights.shape[:-3]
        unit = np.broadcast_to(np.eye(self.n_states), (*lead, self.n_states, self.n_states))
        gradient = -self.response_gradient(policy, weights.sum(axis=-1), np.zeros((*lead, self.n_states)))
        for s in np.flatnonzero(weights.reshape(-1, self.n_states).any(axis=0)):
            gradient = gradient + self.response_gradient(policy, weights[..., s], unit[..., s, :])
        return gradient / self.gamma

    def _sparse_transition_gradient(self, policy, weights):
        """The same of weights (S A, S) that are sparse."""
        nowhere = np.zeros(self.n_states)
        gradient = -self.response_gradient(policy, weights.sum(axis=1).reshape(policy.shape), nowhere)
        for s in np.unique(weights.tocoo().col):
            unit = nowhere.copy()
            unit[s] = 1.0
            gradient = gradient + self.response_gradient(policy, weights[:, [s]].toarray().reshape(policy.shape), unit)
        return gradient / self.gamma

    def __repr__(self):
        """One line: the kind, its settings that are numbers, and its sizes."""
        given = [f.name for f in fields(self) if f.init] if is_dataclass(self) else []
        numbers = {name: getattr(self, name) for name in given if np.ndim(getattr(self, name)) == 0} | {"gamma": self.gamma}
        settings = ", ".join(f"{name}={x:g}" for name, x in numbers.items() if isinstance(x, (int, float, np.number)))
        lead = "".join(f"{n} x " for n in self.lead)
        return f"{type(self).__name__}({settings}): {lead}{self.n_states} states, {self.n_actions} actions"

    def check_policy(self, policy: ArrayLike, name: str = "policy") -> np.ndarray:
        """`policy` as an array (..., S, A), or a ValueError that names the first offence; `name` is what the caller calls it."""
        return check_policy(policy, self.n_states, self.n_actions, name)

    def uniform_policy(self) -> np.ndarray:
        """Every action equally often, (S, A)."""
        return np.full((self.n_states, self.n_actions), 1.0 / self.n_actions)

    def random_policies(self, seeds: Iterable[int | np.random.SeedSequence], scale: float = 0.1) -> np.ndarray:
        r"""Softmax policies of logits drawn from N(0, scale²), one per seed: (len(seeds), S, A).

        `seeds` are integers or ``numpy.random.SeedSequence``; with the default scale the policies are near uniform.
        """
        scale = check_non_negative("scale", scale)
        seeds = check_sequence("seeds", seeds, "whole numbers")
        seeds = [seed if isinstance(seed, np.random.SeedSequence) else check_seed("seeds", seed) for seed in seeds]
        draws = [np.random.default_rng(seed).normal(0.0, scale, (self.n_states, self.n_actions)) for seed in seeds]
        return softmax(np.array(draws))


def check_dense(name, mdp):
    """Raise a ValueError where the transitions of `mdp` are sparse, for what reads them as an array (..., S, A, S)."""
    if mdp.sparse:
        raise ValueError(f"{name}: expected transitions as an array (..., S, A, S), got sparse ones, of {mdp!r}")


def check_sparse_weights(weights, env):
    """Sparse `weights` on the transitions of `env` as a CSC array (S A, S) of finite numbers, or a ValueError."""
    shape = env.n_states * env.n_actions, env.n_states
    if weights.shape != shape:
        raise ValueError(f"weights: expected shape {shape} of an array that is sparse, got {weights.shape}")
    check_array("weights", weights.data)
    if not np.isfinite(weights.data).all():
        raise ValueError("weights: expected finite numbers, got some that are not")
    return csc_array(weights)


def check_entropy(entropy, policy, lead):
    """`entropy`, a coefficient >= 0 or one for each of the leading axes of `policy` and the environment's, as floats, or a ValueError."""
    if np.ndim(entropy) == 0:
        return check_non_negative("entropy", entropy)
    entropy = check_non_negatives("entropy", entropy)
    lead = check_leading("policy", policy.shape[:-2], lead, "the environment")
    if check_leading("entropy", entropy.shape, lead, "the policy") != lead:
        raise ValueError(f"entropy: expected a number, or one for each of the leading axes {lead} of the policy, got shape {entropy.shape}")
    return entropy


def check_env(env, kind=PeMDP):
    """`env` where it is an environment of class `kind`, or a ValueError that says what else it is."""
    if isinstance(env, type) and issubclass(env, kind):
        raise ValueError(f"env: expected a {kind.__name__}, got {described(env)} itself, of which {env.__name__}(...) makes one")
    return check_instance("env", env, kind)


def check_one_env(env):
    """The same where it is not several side by side."""
    if check_env(env).lead:
        raise ValueError(f"env: expected one environment, got {' x '.join(map(str, env.lead))} of them side by side")
    return env
