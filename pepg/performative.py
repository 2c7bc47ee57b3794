r"""The performative value and its gradient: the yardstick, and the direction that PePG follows.

With :math:`d = d^\pi_\pi` (not normalised) and :math:`V = V^\pi_\pi`, the gradient in the logits of a tabular softmax
is the sum of two parts (Performative Policy Gradient, arXiv 2512.20576, policy gradient theorem; theory: R3, R4):

.. math::

   g_{pol}(s,a) &= d(s,a) \, (Q(s,a) - \lambda \log \pi(a|s) - V(s)), \\
   g_{env} &= \nabla_\theta \sum_{s,a} d(s,a) \Big( r_{\pi_\theta}(s,a)
              + \gamma \sum_{s'} P_{\pi_\theta}(s'|s,a) V(s') \Big) \text{ with d and V held fixed.}

Here :math:`Q = r + \gamma P V` for the V that contains the entropy bonus. Everything is exact, nothing is sampled.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from .arguments import Numbers, check_array
from .mdp import MDP, PeMDP, check_entropy, check_env, to_logits


@dataclass(frozen=True, eq=False)
class Deployment:
    r"""What one deployment of a policy tells: the MDP that it induces, and the policy's value and occupancy there.

    mdp : M(π) · policy (..., S, A) · value (..., S): :math:`V^\pi_\pi` with the entropy bonus · occupancy (..., S, A)
    · entropy: the λ in value, a number or (...)
    """

    mdp: MDP
    policy: np.ndarray
    value: np.ndarray
    occupancy: np.ndarray
    entropy: float | np.ndarray

    @property
    def expected_return(self) -> Numbers:
        r""":math:`V^\pi_\pi(\rho)` without the entropy bonus, as :math:`\langle d, r_\pi \rangle`: (...)."""
        return (self.occupancy * self.mdp.r).sum(axis=(-1, -2))

    @property
    def entropy_pull(self) -> np.ndarray:
        r"""How much of a logit the entropy bonus takes back per unit of step in the policy: :math:`\lambda d(s)`, (..., S, 1)."""
        return np.asarray(self.entropy)[..., None, None] * self.occupancy.sum(axis=-1, keepdims=True)

    @property
    def policy_part(self) -> np.ndarray:
        """The gradient in the logits as if the environment stood still, (..., S, A)."""
        advantage = self.mdp.backup(self.value) - self.value[..., None]
        visits = self.occupancy.sum(axis=-1, keepdims=True)
        return self.occupancy * advantage - np.asarray(self.entropy)[..., None, None] * visits * xlogy(self.policy, self.policy)

    @property
    def policy_slope(self) -> np.ndarray:
        r"""The same as a gradient in the policy, up to a constant in each state: :math:`d(s) (A(s,a) - \lambda \log \pi(a|s))`, (..., S, A).

        The logarithm counts as 0 where an action is never taken: a softmax has no derivative there.
        """
        advantage = self.mdp.backup(self.value) - self.value[..., None]
        surprise = np.asarray(self.entropy)[..., None, None] * np.log(np.where(self.policy > 0.0, self.policy, 1.0))
        return self.occupancy.sum(axis=-1, keepdims=True) * (advantage - surprise)

    def environment_part(self, env: PeMDP) -> np.ndarray:
        """The gradient in the logits through the response of `env`, (..., S, A).

        Raises ValueError where the environment's gradient has another shape, or an entry that is not finite.
        """
        return to_logits(self.policy, self.environment_slope(env))

    def environment_slope(self, env: PeMDP) -> np.ndarray:
        """The same as a gradient in the policy, up to a constant in each state, (..., S, A)."""
        name = f"the response_gradient of {type(check_env(env)).__name__}"
        gradient = check_array(name, env.response_gradient(self.policy, self.occupancy, self.value))
        if gradient.shape != self.occupancy.shape:
            raise ValueError(f"{name}: expected shape {self.occupancy.shape}, got {gradient.shape}")
        return _all_finite(gradient, "response_gradient", env)


def deploy(env: PeMDP, policy: ArrayLike, entropy: ArrayLike = 0.0) -> Deployment:
    """Deploy `policy` in `env` and evaluate it there: one response and two linear solves.

    `entropy` is one coefficient, or one for each of the leading axes (...).

    Raises ValueError for a policy that is none, a negative entropy coefficient, or an environment that answers with something
    other than an MDP of its own size, with values that are not finite, or by writing into the policy.
    """
    policy = check_env(env).check_policy(policy)
    entropy = check_entropy(entropy, policy, env.lead)
    mdp = _answer(env, policy)
    value = _all_finite(mdp._value(policy, entropy), "value", env)
    return Deployment(mdp, policy, value, mdp._occupancy(policy), entropy)


def _answer(env, policy):
    """The MDP of a policy, which is handed over such that an environment that writes into it is found out."""
    shown = policy.view()
    shown.flags.writeable = False
    try:
        mdp = env.respond(shown)
    except ValueError as error:
        if "read-only" in str(error):
            name = f"the respond of {type(env).__name__}"
            raise ValueError(f"{name}: expected the policy to be left as it is; copy it before writing into it ({error})") from error
        raise
    if not isinstance(mdp, MDP):
        raise ValueError(f"the respond of {type(env).__name__}: expected a pepg.MDP, got {type(mdp).__name__}")
    if (mdp.n_states, mdp.n_actions) != policy.shape[-2:]:
        name = f"the respond of {type(env).__name__}"
        raise ValueError(f"{name}: expected an MDP of {env.n_states} states and {env.n_actions} actions, got P of shape {mdp.P.shape}")
    return mdp


def _all_finite(array, what, env):
    if not np.isfinite(array.sum()):  # one that is not makes the sum so
        bad = np.argwhere(~np.isfinite(array))
        if bad.size:
            index = tuple(int(i) for i in bad[0])
            name = f"the {what} of {type(env).__name__}"
            raise ValueError(f"{name}: expected finite numbers, but entry {list(index)} is {array[index]}")
    return array


def performative_value(env: PeMDP, policy: ArrayLike, entropy: ArrayLike = 0.0) -> Numbers:
    r""":math:`V^\pi_\pi(\rho)`, the expected return of `policy` in the environment that it brings about.

    With `entropy` = λ > 0 the value of :math:`r - \lambda \log \pi` (theory: R4). A float for a policy (S, A), an
    array for policies (..., S, A).
    """
    policy = check_env(env).check_policy(policy)
    entropy = check_entropy(entropy, policy, env.lead)
    mdp = _answer(env, policy)
    return (_all_finite(mdp._value(policy, entropy), "value", env) * mdp.rho).sum(axis=-1)[()]


def performative_gradient(env: PeMDP, policy: ArrayLike, entropy: ArrayLike = 0.0) -> np.ndarray:
    r"""The exact gradient of :func:`performative_value` in the logits of a tabular softmax, (..., S, A)."""
    deployment = deploy(env, policy, entropy)
    return deployment.policy_part + deployment.environment_part(env)


def policy_gradient(env: PeMDP, policy: ArrayLike, entropy: ArrayLike = 0.0) -> np.ndarray:
    r"""The same without the environment's part: the policy gradient in M(π) held fixed, (..., S, A).

    A policy that ascending it converges to from finite logits is performatively stable (theory: R8).
    """
    return deploy(env, policy, entropy).policy_part
