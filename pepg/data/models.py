"""Models fitted on trajectories: a value, the MDP of averages, a response that moves with the policy."""

from collections.abc import Sequence
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import (
    Numbers,
    check_count,
    check_distributions,
    check_finite,
    check_gamma,
    check_instance,
    check_lead,
    check_number,
    check_positive,
    check_size,
    check_vector,
    check_whole,
    described,
)
from ..mdp import MDP, PeMDP
from .trajectories import Trajectories, check_trajectories


def estimated_value(trajectories: Trajectories, gamma: float, prior: ArrayLike, weight: float = 1.0) -> np.ndarray:
    r"""The value (..., S) of the policy that `trajectories` follow, from their transitions alone.

    Least-squares temporal differences in a table, drawn to `prior` (..., S) where data are few: with n(s) visits and
    :math:`\hat P` their empirical transitions,

    .. math:: n(s) \Big( V(s) - \gamma \sum_{s'} \hat P(s'|s) V(s') \Big) + w V(s) = \sum_{t: s_t = s} r_t + w \, prior(s),

    so that a state never left keeps its prior. `weight` w > 0 counts as that many visits.
    """
    gamma, weight = check_gamma(gamma), float(check_number("weight", weight, "a finite number > 0", lambda x: x > 0.0))
    prior = check_finite("prior", prior, ())
    n_states = prior.shape[-1] if prior.ndim else 0
    lead = check_instance("trajectories", trajectories, Trajectories).real.shape[:-2]
    if prior.shape[:-1] != lead or trajectories.states.max() >= n_states:
        raise ValueError(f"prior: expected a value for each state of the trajectories, after axes {lead}, got shape {prior.shape}")
    check_size("prior", prior.size * n_states, "pairs of states")
    real = trajectories.real
    run = np.arange(prior.size // n_states).reshape(*prior.shape[:-1], 1, 1)
    state = (run * n_states + trajectories.states[..., :-1])[real]  # of run i is i S + s
    moved = np.bincount(state * n_states + trajectories.states[..., 1:][real], minlength=prior.size * n_states)
    moved = moved.reshape(*prior.shape, n_states)
    paid = np.bincount(state, trajectories.rewards[real], prior.size).reshape(prior.shape)
    system = (moved.sum(axis=-1) + weight)[..., None] * np.eye(n_states) - gamma * moved
    return np.linalg.solve(system, (paid + weight * prior)[..., None])[..., 0]


def empirical_mdp(transitions: Sequence[ArrayLike], gamma: float, rho: ArrayLike, n_actions: int) -> tuple[MDP, np.ndarray]:
    r"""The MDP of averages over `transitions` (states, actions, rewards, next states), and how often each (s, a) occurs.

    A state that no transition leaves is terminal, since nothing is known of what it is worth. A pair (s, a) that does not occur
    in a state that others leave stays there without reward; whoever plans in this MDP is to avoid it.
    """
    gamma, n_actions = check_gamma(gamma), check_count("n_actions", n_actions)
    rho = check_vector("rho", rho)
    n_states = len(rho)
    if not (isinstance(transitions, (tuple, list)) and len(transitions) == 4 and len({np.shape(array) for array in transitions}) == 1):
        raise ValueError(f"transitions: expected (states, actions, rewards, next states) of one length, got {described(transitions)}")
    states, actions, rewards, then = map(np.asarray, transitions)
    for name, array, size in (("states", states, n_states), ("actions", actions, n_actions), ("next states", then, n_states)):
        if check_whole(f"transitions: {name}", array).max(initial=0) >= size:
            raise ValueError(f"transitions: expected {name} from 0 to {size - 1} for {n_actions} actions and rho {rho.shape}, got {np.max(array)}")
    if len(rewards):
        check_vector("transitions: rewards", rewards)
    pairs = states * n_actions + actions
    size = n_states * n_actions
    check_size("rho", size * n_states, "transition probabilities of a model")
    moved = np.bincount(pairs * n_states + then, minlength=size * n_states).reshape(n_states, n_actions, n_states)
    paid = np.bincount(pairs, rewards, size).reshape(n_states, n_actions)
    counts = moved.sum(axis=-1)
    some = np.maximum(counts, 1)
    P = np.where((counts > 0)[..., None], moved / some[..., None], np.eye(n_states)[:, None])
    return MDP(P, paid / some, gamma, rho, terminal=counts.sum(axis=-1) == 0), counts


class PooledModel:
    r"""The MDP that all deployments so far suggest, with a weight that falls by `memory` with every deployment.

    With weighted counts :math:`n(s,a,s')` and rewards, drawn to the state's own averages :math:`\bar P(s'|s), \bar r(s)` over its actions as
    if by `weight` w > 0 more visits,

    .. math:: \hat P(s'|s,a) = \frac{n(s,a,s') + w \bar P(s'|s)}{n(s,a) + w}, \qquad
              \hat r(s,a) = \frac{\sum r + w \bar r(s)}{n(s,a) + w}.

    A state that no transition leaves keeps to itself without reward. As counts grow the averages are those of the MDPs deployed, so that
    with one policy deployed they converge to its :math:`M(\pi)`; with policies that move they lag by about 1 / (1 - memory) deployments.

    gamma, rho : of the MDP · n_actions
    lead : (), or (n,) for n runs side by side
    """

    def __init__(self, gamma: float, rho: ArrayLike, n_actions: int, memory: float = 0.95, weight: float = 1.0, lead: tuple[int, ...] = ()) -> None:
        self.gamma, self.rho, n_actions, lead = _sizes(gamma, rho, n_actions, lead)
        n_states = len(self.rho)
        self.memory = float(check_number("memory", memory, "a number in [0, 1]", lambda x: 0.0 <= x <= 1.0))
        self.weight = check_positive("weight", weight)
        self.moved = np.zeros((*lead, n_states, n_actions, n_states))
        self.paid = np.zeros((*lead, n_states, n_actions))

    def observe(self, trajectories: Trajectories) -> None:
        """Take in the transitions of one deployment, (..., count, horizon)."""
        moved, paid = transition_sums(trajectories, self.paid.shape)
        self.moved = self.memory * self.moved + moved
        self.paid = self.memory * self.paid + paid
        for stale in ("left", "mdp"):
            self.__dict__.pop(stale, None)

    @cached_property
    def left(self) -> np.ndarray:
        """The states that some transition left by now, (..., S); read-only."""
        left = self.moved.any(axis=(-2, -1))
        left.flags.writeable = False
        return left

    @cached_property
    def mdp(self) -> MDP:
        """The :class:`pepg.MDP` of the averages by now, (..., S, A, S)."""
        n_states = len(self.rho)
        count = self.moved.sum(axis=-1)
        visits = np.maximum(count.sum(axis=-1), 1e-300)[..., None]  # sums of 0 stay 0
        average = np.where(self.left[..., None], self.moved.sum(axis=-2) / visits, np.eye(n_states))
        paid = self.paid.sum(axis=-1, keepdims=True) / visits
        P = (self.moved + self.weight * average[..., None, :]) / (count + self.weight)[..., None]
        return MDP(P, (self.paid + self.weight * paid) / (count + self.weight), self.gamma, self.rho)


def _sizes(gamma, rho, n_actions, lead):
    """The arguments of a model, checked."""
    rho = check_vector("rho", rho)
    check_distributions("rho", rho)
    n_actions, lead = check_count("n_actions", n_actions), check_lead(lead)
    check_size("n_actions", len(rho) * n_actions**2 * (len(rho) + n_actions), "sums over transitions")
    check_size("lead", prod(lead) * len(rho) * n_actions**2 * (len(rho) + n_actions), "sums over transitions")
    return check_gamma(gamma), rho, n_actions, lead


def _observed(model, policy, lead):
    """The policy (*lead, S, A) of a deployment that `model` is told of, or a ValueError."""
    policy, expected = model.check_policy(policy), (*lead, model.n_states, model.n_actions)
    if policy.shape != expected:
        raise ValueError(f"policy: expected shape {expected}, got {policy.shape}")
    return policy


def transition_sums(trajectories, shape):
    """How often each transition occurs, (..., S, A, S), and what each pair was paid in all, (..., S, A) = `shape`."""
    *lead, n_states, n_actions = shape
    if check_trajectories(trajectories, n_states, n_actions).real.shape[:-2] != tuple(lead):
        raise ValueError(f"trajectories: expected those of {tuple(lead)} runs side by side, got {trajectories.real.shape[:-2]}")
    real = trajectories.real
    run = np.arange(int(np.prod(lead))).reshape(*lead, 1, 1)
    pair = (run * n_states * n_actions + trajectories.pairs(n_actions))[real]
    size = int(np.prod(shape))
    moved = np.bincount(pair * n_states + trajectories.states[..., 1:][real], minlength=size * n_states)
    paid = np.bincount(pair, trajectories.rewards[real], size)
    return moved.reshape(*shape, n_states), paid.reshape(shape)


class LearnedResponse(PeMDP):
    r"""A model of how transitions and rewards move with the policy, fitted on transitions of deployed policies only.

    Affine in what the policy does in the same state,

    .. math:: P_\pi(s'|s,a) = p_{sas'} + \sum_b W_{sas'b} \, \pi(b|s), \qquad r_\pi(s,a) = q_{sa} + \sum_b C_{sab} \, \pi(b|s),

    fitted by least squares over all transitions observed, with a penalty of `ridge` on the squares of W and C and a weight that
    falls by `memory` with every deployment. It is blind to what a state's response owes to the policy elsewhere, and an affine
    function is a response's tangent at best: hence the memory. Probabilities below 0 are cut off in :meth:`respond`, not in the gradient;
    a pair without data stays where it is.

    gamma, rho, n_actions : of the environment · lead : (), or (n,) for n runs side by side
    """

    def __init__(self, gamma: float, rho: ArrayLike, n_actions: int, ridge: float = 1.0, memory: float = 0.97, lead: tuple[int, ...] = ()) -> None:
        self.gamma, self.rho, self.n_actions, lead = _sizes(gamma, rho, n_actions, lead)
        self.n_states = len(self.rho)
        self.ridge = check_positive("ridge", ridge)
        self.memory = float(check_number("memory", memory, "a number in (0, 1]", lambda x: 0.0 < x <= 1.0))
        self.lead, self.shape = lead, (*lead, self.n_states, self.n_actions)
        # Weighted sums, by (s, a): of 1, of the features x = π(·|s), of x x', and of (1, x) times the outcomes (s', then r).
        self.count = np.zeros(self.shape)
        self.features = np.zeros((*self.shape, n_actions))
        self.squares = np.zeros((*self.shape, n_actions, n_actions))
        self.outcomes = np.zeros((*self.shape, self.n_states + 1))
        self.products = np.zeros((*self.shape, n_actions, self.n_states + 1))

    def observe(self, policy: ArrayLike, trajectories: Trajectories) -> None:
        """Take in the transitions of one deployment of `policy` (..., S, A)."""
        policy = _observed(self, policy, self.shape[:-2])
        moved, paid = transition_sums(trajectories, self.shape)
        count, x = moved.sum(axis=-1), policy[..., None, :]
        outcomes = np.concatenate([moved, paid[..., None]], axis=-1)
        news = {
            "count": count,
            "features": count[..., None] * x,
            "squares": count[..., None, None] * x[..., None] * x[..., None, :],
            "outcomes": outcomes,
            "products": x[..., None] * outcomes[..., None, :],
        }
        for name, new in news.items():
            sums = getattr(self, name)
            sums *= self.memory
            sums += new

    def _fit(self, weights):
        r"""Slopes (..., S, A, A, K) in π(·|s) of K sums of the outcomes, with `weights` (..., S + 1, K)."""
        weights = weights[..., None, None, :, :]
        mean = self.features / np.maximum(self.count, 1e-12)[..., None]
        covariance = self.squares - mean[..., None] * self.features[..., None, :]
        product = self.products @ weights - mean[..., None] * (self.outcomes[..., None, :] @ weights)
        return np.linalg.solve(covariance + self.ridge * np.eye(self.n_actions), product)

    def slopes(self, weights: ArrayLike) -> np.ndarray:
        r"""The slope in π(·|s), (..., S, A, A), of :math:`r(s,a) + \sum_{s'} weights(s') P(s'|s,a)`, `weights` (..., S)."""
        weights = check_finite("weights", weights, (self.n_states,))
        return self._fit(np.concatenate([weights, np.ones((*weights.shape[:-1], 1))], axis=-1)[..., None])[..., 0]

    def respond(self, policy: ArrayLike) -> MDP:
        policy = self.check_policy(policy)
        count = np.maximum(self.count, 1e-12)[..., None]
        slope = self._fit(np.eye(self.n_states + 1))
        moves = policy[..., None, :] - self.features / count
        found = self.outcomes / count + (moves[..., None, :] @ slope)[..., 0, :]
        seen = (self.count > 0.0)[..., None]
        P = np.where(seen, np.maximum(found[..., :-1], 0.0), np.eye(self.n_states)[:, None])
        return MDP(P / P.sum(axis=-1, keepdims=True), found[..., -1] * seen[..., 0], self.gamma, self.rho)

    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        policy, value = self.check_policy(policy), check_finite("value", value, (self.n_states,))
        occupancy = check_finite("occupancy", occupancy, policy.shape[-2:])
        return (occupancy[..., None] * self.slopes(self.gamma * value)).sum(axis=-2)


class SteeringResponse(PeMDP):
    r"""A response that looks ahead, with one number: the environment steers to where the policy does well.

    .. math:: P_\pi(s'|s,a) \propto \hat P(s'|s,a) \, e^{\kappa (V^\pi(s') - V^{\pi_0}(s'))}

    for the :class:`PooledModel` :math:`\hat P`, values V in it, and the policy :math:`\pi_0` deployed last; rewards stay. Every state feels
    the policy everywhere, through its value. κ, in units of 1/value, is estimated by one Newton step of maximum likelihood: with the next
    states of every deployment against the model before it, and the change f of the value from its average over earlier deployments,

    .. math:: \hat\kappa = \frac{w \kappa_0 + \sum (f(s') - E_{\hat P}[f])}{w + \sum Var_{\hat P}[f]}.

    strength, weight : :math:`\kappa_0`, and w > 0, the information that it counts for · the others as in :class:`PooledModel`
    """

    def __init__(
        self, gamma: float, rho: ArrayLike, n_actions: int, strength: ArrayLike = 0.0, weight: float = 1.0, memory: float = 0.95,
        lead: tuple[int, ...] = (),
    ) -> None:
        self.gamma, self.rho, self.n_actions, lead = _sizes(gamma, rho, n_actions, lead)
        self.n_states = len(self.rho)
        self.weight = check_positive("weight", weight)
        self.lead, self.pool = lead, PooledModel(gamma, rho, n_actions, memory, lead=lead)
        strength = check_finite("strength", strength, ())
        if strength.shape not in ((), lead):
            raise ValueError(f"strength: expected a number or one for each of the leading axes {lead}, got shape {strength.shape}")
        self.score = np.full(lead, self.weight * strength)
        self.information = np.full(lead, self.weight)
        self.average = np.zeros((*lead, self.n_states))
        self.count = 0.0
        self.policy = None

    @property
    def strength(self) -> Numbers:
        """The estimate of κ, (...)."""
        return self.score / self.information

    def observe(self, policy: ArrayLike, trajectories: Trajectories) -> None:
        """Take in the transitions of one deployment of `policy` (..., S, A)."""
        policy, mdp = _observed(self, policy, self.average.shape[:-1]), self.pool.mdp
        value = mdp.value(policy)
        if self.policy is not None:
            change = (value - self.average)[..., None, :, None]
            moved = transition_sums(trajectories, policy.shape)[0]
            mean, square = (mdp.P @ change)[..., 0], (mdp.P @ change**2)[..., 0]
            self.score = self.score + ((moved @ change)[..., 0] - moved.sum(axis=-1) * mean).sum(axis=(-2, -1))
            self.information = self.information + (moved.sum(axis=-1) * (square - mean**2)).sum(axis=(-2, -1))
        self.pool.observe(trajectories)
        self.policy, self.count = policy, self.pool.memory * self.count + 1.0
        self.average = self.average + (self.pool.mdp.value(policy) - self.average) / self.count

    def _towards(self, policy):
        """P of the model, and P as it is where `policy` is deployed; a ValueError before the first deployment."""
        if self.policy is None:
            raise ValueError("SteeringResponse: expected a deployment to be observed before it responds, got none so far")
        mdp = self.pool.mdp
        rise = mdp.value(policy) - mdp.value(self.policy)
        weighted = mdp.P * np.exp(self.strength[..., None] * rise)[..., None, None, :]
        return mdp, weighted / weighted.sum(axis=-1, keepdims=True)

    def respond(self, policy: ArrayLike) -> MDP:
        mdp, P = self._towards(self.check_policy(policy))
        return MDP(P, mdp.r, self.gamma, self.rho)

    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        # dP = kappa P (dV - P dV), and dV is the adjoint of (I - gamma P_pi): one transposed solve.
        policy, value = self.check_policy(policy), check_finite("value", value, (self.n_states,))
        occupancy = check_finite("occupancy", occupancy, policy.shape[-2:])
        mdp, P = self._towards(policy)
        mean = (P @ value[..., None, :, None])[..., 0]
        pulled = ((occupancy[..., None] * P) * (value[..., None, None, :] - mean[..., None])).sum(axis=(-3, -2))
        pulled = self.gamma * self.strength[..., None] * pulled
        chain = (policy[..., None, :] @ mdp.P)[..., 0, :]
        adjoint = np.linalg.solve(np.eye(self.n_states) - self.gamma * np.swapaxes(chain, -1, -2), pulled[..., None])
        return adjoint * mdp.action_value(policy)
