r"""Small environments for theory: smooth, with a response in closed form and constants that are computed.

In a :class:`SoftmaxPeMDP` the transition logits and the rewards are affine in the deployed policy,

.. math::

   P_\pi(\cdot|s,a) &= softmax\big( \ell(s,a,\cdot) + \kappa_P \langle W(s,a,\cdot), \pi \rangle \big), \\
   r_\pi(s,a) &= b(s,a) + \kappa_r \langle C(s,a), \pi \rangle,

so that every state's response may depend on the policy in every state. Instances along leading axes are independent
environments that are solved side by side. With one state the transitions are trivial and the environment is a congestion
game: :func:`pigou`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import (
    Numbers,
    check_array,
    check_count,
    check_distributions,
    check_finite,
    check_gamma,
    check_generator,
    check_leading,
    check_non_negatives,
    check_policy,
    check_size,
    described,
)
from ..mdp import MDP, PeMDP, check_env, softmax

# How many axes of an argument belong to one environment; the others lead.
CORE_AXES = {
    "rewards": 2, "logits": 3, "logit_map": 5, "reward_map": 4, "rho": 1, "transition_strength": 0, "reward_strength": 0,
}


@dataclass(frozen=True, eq=False, repr=False)
class SoftmaxPeMDP(PeMDP):
    r"""Transitions softmax in, and rewards affine in, the deployed policy.

    Parameters
    ----------
    logits : (..., S, A, S), :math:`\ell` · logit_map : (..., S, A, S, S, A), W
    rewards : (..., S, A), b · reward_map : (..., S, A, S, A), C
    gamma : discount in [0, 1) · rho : (..., S) initial distribution
    transition_strength, reward_strength : :math:`\kappa_P, \kappa_r`; numbers, or arrays of the leading axes

    The leading axes broadcast, so that one pair of maps with a strength (n,) is n environments.

    Raises ValueError, naming the argument, for a wrong shape, leading axes that do not broadcast, a number that is not
    finite, a rho that is no distribution or a gamma out of range.
    """

    logits: np.ndarray
    logit_map: np.ndarray
    rewards: np.ndarray
    reward_map: np.ndarray
    gamma: float
    rho: np.ndarray
    transition_strength: float = 1.0
    reward_strength: float = 1.0
    lead: tuple = field(init=False, repr=False)  # the leading axes, of all arguments together
    _last: list = field(default_factory=list, init=False, repr=False)  # the last policy and its transitions, if any

    def __post_init__(self):
        rewards = check_array("rewards", self.rewards)
        if rewards.ndim < 2:
            raise ValueError(f"rewards: expected shape (..., S, A), got {rewards.shape}")
        s, a = rewards.shape[-2:]
        shapes = {"rewards": (s, a), "logits": (s, a, s), "logit_map": (s, a, s, s, a), "reward_map": (s, a, s, a), "rho": (s,)}
        lead = ()
        for name, axes in CORE_AXES.items():
            array = check_finite(name, getattr(self, name), shapes.get(name, ()))
            own = array.shape[: array.ndim - axes]
            try:
                lead = np.broadcast_shapes(lead, own)
            except ValueError:
                raise ValueError(f"{name}: its leading axes {own} do not broadcast with {lead}, those of the others") from None
            object.__setattr__(self, name, array)
        object.__setattr__(self, "lead", lead)
        check_distributions("rho", self.rho)
        object.__setattr__(self, "gamma", check_gamma(self.gamma))

    @property
    def n_states(self) -> int:
        return self.rewards.shape[-2]

    @property
    def n_actions(self) -> int:
        return self.rewards.shape[-1]

    def select(self, index: int | slice | Sequence[int] | np.ndarray) -> "SoftmaxPeMDP":
        """The environments at `index` of the leading axes: an integer, a slice, a mask or integers, with repetition.

        Raises ValueError for an index that leads to none of them.
        """
        try:
            known = np.empty(self.lead, dtype=bool)[index].size > 0
        except (IndexError, TypeError, ValueError):
            known = False
        if not known or index is None or isinstance(index, bool):
            raise ValueError(f"index: expected an index into the leading axes {self.lead}, got {described(index)}")
        arrays = {}
        for name, axes in CORE_AXES.items():
            array = getattr(self, name)
            arrays[name] = np.broadcast_to(array, self.lead + array.shape[array.ndim - axes :])[index]
        return SoftmaxPeMDP(**arrays, gamma=self.gamma)

    def _maps(self):
        """W and C with their strengths, as matrices on flattened policies: (..., S A S, S A) and (..., S A, S A)."""
        pairs = self.n_states * self.n_actions
        logit_map = self.logit_map.reshape(*self.logit_map.shape[:-5], pairs * self.n_states, pairs)
        reward_map = self.reward_map.reshape(*self.reward_map.shape[:-4], pairs, pairs)
        return self.transition_strength[..., None, None] * logit_map, self.reward_strength[..., None, None] * reward_map

    def _transitions(self, logit_map, policy):
        # A gradient asks for those of the policy that was just deployed.
        if self._last and np.array_equal(self._last[0], policy):
            return self._last[1]
        bend = (logit_map @ policy.reshape(*policy.shape[:-2], -1, 1))[..., 0]
        P = softmax(self.logits + bend.reshape(*bend.shape[:-1], *self.logits.shape[-3:]))
        P.flags.writeable = False
        self._last[:] = policy.copy(), P
        return P

    def check_policy(self, policy: ArrayLike, name: str = "policy") -> np.ndarray:
        policy = check_policy(policy, self.n_states, self.n_actions, name)
        check_leading(name, policy.shape[:-2], self.lead, "the environments")
        return policy

    def respond(self, policy: ArrayLike) -> MDP:
        policy = self.check_policy(policy)
        logit_map, reward_map = self._maps()
        gain = (reward_map @ policy.reshape(*policy.shape[:-2], -1, 1))[..., 0]
        r = self.rewards + gain.reshape(*gain.shape[:-1], *self.rewards.shape[-2:])
        return MDP(self._transitions(logit_map, policy), r, self.gamma, self.rho)

    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        policy = self.check_policy(policy)
        occupancy = check_finite("occupancy", occupancy, policy.shape[-2:])
        value = check_finite("value", value, policy.shape[-2:-1])[..., None, None, :]
        logit_map, reward_map = self._maps()
        P = self._transitions(logit_map, policy)
        # Through the softmax: dP(s'|s,a) = P(s'|s,a) (dl(s') - mean of dl), so V enters centred.
        by_logits = self.gamma * occupancy[..., None] * P * (value - (P * value).sum(axis=-1, keepdims=True))
        by_logits = by_logits.reshape(*by_logits.shape[:-3], 1, -1)
        by_rewards = occupancy.reshape(*occupancy.shape[:-2], 1, -1)
        gradient = (by_logits @ logit_map + by_rewards @ reward_map)[..., 0, :]
        return gradient.reshape(*gradient.shape[:-1], *policy.shape[-2:])

    # Constants, all in the Euclidean norm of policies

    def lipschitz_constants(self) -> tuple[Numbers, Numbers]:
        r""":math:`(L_P, L_r)`, each (...): how far transitions and rewards move with the policy.

        .. math:: \max_{s,a} \|P_\pi(\cdot|s,a) - P_{\pi'}(\cdot|s,a)\|_1 \le L_P \|\pi - \pi'\|_2, \quad
                  \max_{s,a} |r_\pi(s,a) - r_{\pi'}(s,a)| \le L_r \|\pi - \pi'\|_2.

        :math:`L_r` is the largest norm of a row of :math:`\kappa_r C`, centred in the actions since
        :math:`\pi - \pi'` sums to zero in every state; it is attained. Along the segment from :math:`\pi'` to
        :math:`\pi` a softmax has :math:`\|dP\|_1 = E|d\ell - E d\ell|`, the mean taken under P, which is at most half the
        span of :math:`d\ell`; so :math:`L_P` is half the largest norm of a centred difference of two rows of
        :math:`\kappa_P W` that share (s, a). It is attained where P is one half on the two next states of that pair.
        """
        logit_map, reward_map = self.logit_map, self.reward_map
        reward_map = reward_map - reward_map.mean(axis=-1, keepdims=True)
        largest = np.sqrt((reward_map**2).sum(axis=(-2, -1))).max(axis=(-2, -1))
        logit_map = logit_map - logit_map.mean(axis=-1, keepdims=True)
        rows = logit_map.reshape(*logit_map.shape[:-2], -1)
        # One next state against all at a time. Differences, not products of rows: equal rows are then exactly 0 apart.
        apart = [((rows - rows[..., [i], :]) ** 2).sum(axis=-1).max(axis=(-3, -2, -1)) for i in range(self.n_states)]
        widest = np.sqrt(np.max(apart, axis=0))
        return 0.5 * np.abs(self.transition_strength) * widest, np.abs(self.reward_strength) * largest

    def reward_range(self) -> tuple[Numbers, Numbers]:
        r"""The least and the largest reward that any policy brings about, (...) each.

        A reward is affine in the policy and the policies are a product of simplices, so the extremes over the policies
        are sums over states of extremes over actions.
        """
        bend = self.reward_strength[..., None, None, None, None] * self.reward_map
        low = (self.rewards + bend.min(axis=-1).sum(axis=-1)).min(axis=(-2, -1))
        high = (self.rewards + bend.max(axis=-1).sum(axis=-1)).max(axis=(-2, -1))
        return low, high

    def smoothness(self, entropy: ArrayLike = 0.0) -> Numbers:
        r"""An L, (...), with :math:`\|\nabla^2_\theta V_\lambda(\theta)\|_2 \le L` at all logits; `entropy` is λ.

        :math:`V_\lambda(\theta)` is the performative value of :math:`r - \lambda \log \pi` at
        :math:`\pi = \pi_\theta`. Along a unit direction u of logits write V, P and r for the value, the transitions
        between states under the policy and the mean rewards, entropy included, and primes for derivatives. Then

        .. math:: V' = (I - \gamma P)^{-1} (r' + \gamma P' V), \quad
                  V'' = (I - \gamma P)^{-1} (r'' + \gamma P'' V + 2 \gamma P' V').

        *The softmax.* :math:`\pi' = \pi (u - E u)` has :math:`\|\pi'_s\|_1 \le span(u_s)/2 \le \|u_s\| / \sqrt 2` and
        :math:`\|\pi'\|_2 \le 1/2`; :math:`\pi'' = \pi ((u - E u)^2 - Var\, u)` has
        :math:`\|\pi''_s\|_1 \le 2 Var\, u_s \le \|u_s\|^2`, so :math:`\|\pi''\|_2 \le 1/\sqrt 2`, since its entries sum to 0.

        *The response.* :math:`\|P'(\cdot|s,a)\|_1 \le L_P/2` and
        :math:`\|P''(\cdot|s,a)\|_1 \le L_P^2/2 + L_P/\sqrt 2` (logits with derivatives of span at most :math:`L_P` and
        :math:`\sqrt 2 L_P`); :math:`|r'(s,a)| \le L_r/2` and :math:`|r''(s,a)| \le L_r/\sqrt 2`.

        *The entropy* H of a row is :math:`E \ell` for :math:`\ell = -\log\pi \ge 0`:
        :math:`|H'| = |E (u - Eu) \ell| \le \sqrt 2 \log A` and
        :math:`|H''| = |E ((u - Eu)^2 - Var\, u) \ell - Var\, u| \le 2 \log A + 1/2`.

        Together, with R the width of :meth:`reward_range`, :math:`p_1 = 1/\sqrt 2 + L_P/2` and the span of V at most
        :math:`W = (R + \lambda \log A) / (1-\gamma)`:

        .. math::

           \|P'\|_1 &\le p_1, \qquad \|P''\|_1 \le p_2 = 1 + \sqrt 2 L_P + L_P^2/2 = 2 p_1^2, \\
           |r'| &\le r_1 = \tfrac{R}{2\sqrt 2} + \tfrac{L_r}{2} + \lambda \sqrt 2 \log A, \qquad
           |r''| \le r_2 = \tfrac{R}{2} + \sqrt 2 L_r + \lambda (2 \log A + \tfrac12), \\
           |V'| &\le v_1 = \frac{r_1 + \gamma p_1 W/2}{1 - \gamma}, \qquad
           L = \frac{r_2 + \gamma p_2 W/2 + 2 \gamma p_1 v_1}{1 - \gamma}.

        The rows of P' and P'' sum to zero, so they cost half the span of what they multiply; that of V' is at most twice
        its maximum.
        """
        entropy = check_non_negatives("entropy", entropy)
        check_leading("entropy", entropy.shape, self.lead, "the environments")
        transition, reward = self.lipschitz_constants()
        low, high = self.reward_range()
        span, rest, nats = high - low, 1.0 - self.gamma, np.log(self.n_actions)
        widest = (span + entropy * nats) / rest
        p1 = 1.0 / np.sqrt(2.0) + transition / 2.0
        p2 = 2.0 * p1**2
        r1 = span / (2.0 * np.sqrt(2.0)) + reward / 2.0 + entropy * np.sqrt(2.0) * nats
        r2 = span / 2.0 + np.sqrt(2.0) * reward + entropy * (2.0 * nats + 0.5)
        slope = (r1 + self.gamma * p1 * widest / 2.0) / rest
        return (r2 + self.gamma * p2 * widest / 2.0 + 2.0 * self.gamma * p1 * slope) / rest


def random_softmax_pemdp(
    rng: np.random.Generator, n_states: int, n_actions: int, gamma: float, transition_strength: ArrayLike = 1.0, reward_strength: ArrayLike = 1.0,
    count: int | None = None,
) -> SoftmaxPeMDP:
    r"""One random :class:`SoftmaxPeMDP`, or `count` of them along a leading axis.

    Logits are N(0, 1.5²), rewards uniform on [-1, 1], rho a uniform draw from the simplex; every row of W and of C is
    Gaussian with norm about 1, so that a strength of 1 is a response of the size of the policy's change.

    rng : a ``numpy.random.Generator``
    """
    check_generator("rng", rng)
    s, a, gamma = check_count("n_states", n_states), check_count("n_actions", n_actions), check_gamma(gamma)
    lead = () if count is None else (check_count("count", count),)
    for name, strength in (("transition_strength", transition_strength), ("reward_strength", reward_strength)):
        check_leading(name, check_finite(name, strength, ()).shape, lead, "the environments")
    check_size("n_states", (s * a) ** 2 * s * (lead[0] if lead else 1), "entries of a response's slope")
    scale = 1.0 / np.sqrt(s * a)
    return SoftmaxPeMDP(
        logits=rng.normal(0.0, 1.5, (*lead, s, a, s)),
        logit_map=rng.normal(0.0, scale, (*lead, s, a, s, s, a)),
        rewards=rng.uniform(-1.0, 1.0, (*lead, s, a)),
        reward_map=rng.normal(0.0, scale, (*lead, s, a, s, a)),
        gamma=gamma,
        rho=rng.dirichlet(np.ones(s), size=lead),
        transition_strength=transition_strength,
        reward_strength=reward_strength,
    )


def pigou(intercepts: ArrayLike = (-1.0, 0.0), slopes: ArrayLike = (0.0, 1.0), gamma: float = 0.0) -> SoftmaxPeMDP:
    r"""The congestion game of one state and two roads: :math:`r_\pi(a) = b_a - c_a \pi(a)`.

    The defaults are Pigou's example, a road of constant cost 1 and one whose cost is its share of the traffic. See
    :func:`congestion_policies`.
    """
    intercepts, slopes = check_finite("intercepts", intercepts, (2,)), check_finite("slopes", slopes, (2,))
    for name, pair in (("intercepts", intercepts), ("slopes", slopes)):
        if pair.ndim > 1:
            raise ValueError(f"{name}: expected one number for each of the two roads, got shape {pair.shape}")
    return SoftmaxPeMDP(
        logits=np.zeros((1, 2, 1)),
        logit_map=np.zeros((1, 2, 1, 1, 2)),
        rewards=intercepts[None],
        reward_map=-np.diag(slopes)[None, :, None, :],
        gamma=gamma,
        rho=np.ones(1),
    )


def congestion_policies(env: SoftmaxPeMDP) -> tuple[np.ndarray, np.ndarray]:
    r"""The stable and the optimal policy (1, 2) of a two-road congestion game, in closed form.

    Stable where the rewards are equal, :math:`b_0 - c_0 p = b_1 - c_1 (1-p)` (Wardrop's user equilibrium); optimal where
    the marginal rewards are, with :math:`2c` in place of c (the system optimum); each clipped to [0, 1].

    Raises ValueError unless `env` has one state, two actions and rewards that fall with their own share only.
    """
    check_env(env, SoftmaxPeMDP)
    fall = -(env.reward_strength * env.reward_map).reshape(env.n_states * env.n_actions, -1)
    if fall.shape != (2, 2) or fall[0, 1] or fall[1, 0] or not fall.sum() > 0.0 or (fall < 0.0).any():
        raise ValueError("env: expected one state, two actions and rewards that fall with the action's own share")
    difference = env.rewards[0, 0] - env.rewards[0, 1]

    def balanced(c0, c1):
        share = np.clip((difference + c1) / (c0 + c1), 0.0, 1.0)
        return np.array([[share, 1.0 - share]])

    c0, c1 = np.diag(fall)
    return balanced(c0, c1), balanced(2.0 * c0, 2.0 * c1)
