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
from scipy.special import xlogy

from .mdp import MDP, to_logits


@dataclass(frozen=True, eq=False)
class Deployment:
    r"""What one deployment of a policy tells: the MDP that it induces, and the policy's value and occupancy there.

    mdp : M(π) · policy (..., S, A) · value (..., S): :math:`V^\pi_\pi` with the entropy bonus · occupancy (..., S, A)
    · entropy: the λ in value
    """

    mdp: MDP
    policy: np.ndarray
    value: np.ndarray
    occupancy: np.ndarray
    entropy: float

    @property
    def expected_return(self):
        r""":math:`V^\pi_\pi(\rho)` without the entropy bonus, as :math:`\langle d, r_\pi \rangle`: (...)."""
        return (self.occupancy * self.mdp.r).sum(axis=(-1, -2))

    @property
    def policy_part(self):
        """The gradient in the logits as if the environment stood still, (..., S, A)."""
        advantage = self.mdp.backup(self.value) - self.value[..., None]
        visits = self.occupancy.sum(axis=-1, keepdims=True)
        return self.occupancy * advantage - self.entropy * visits * xlogy(self.policy, self.policy)

    def environment_part(self, env):
        """The gradient in the logits through the response of `env`, (..., S, A)."""
        return to_logits(self.policy, env.response_gradient(self.policy, self.occupancy, self.value))


def deploy(env, policy, entropy=0.0):
    """Deploy `policy` in `env` and evaluate it there: one response and two linear solves.

    Raises ValueError for a policy that is none, or a negative entropy coefficient.
    """
    if not (np.isfinite(entropy) and entropy >= 0.0):
        raise ValueError(f"entropy: expected a coefficient >= 0, got {entropy}")
    policy = env.check_policy(policy)
    mdp = env.respond(policy)
    return Deployment(mdp, policy, mdp.value(policy, entropy), mdp.occupancy(policy), float(entropy))


def performative_value(env, policy, entropy=0.0):
    r""":math:`V^\pi_\pi(\rho)`, the expected return of `policy` in the environment that it brings about.

    With `entropy` = λ > 0 the value of :math:`r - \lambda \log \pi` (theory: R4). A float for a policy (S, A), an
    array for policies (..., S, A).
    """
    if not (np.isfinite(entropy) and entropy >= 0.0):
        raise ValueError(f"entropy: expected a coefficient >= 0, got {entropy}")
    mdp = env.respond(policy)
    return (mdp.value(policy, entropy) * mdp.rho).sum(axis=-1)[()]


def performative_gradient(env, policy, entropy=0.0):
    r"""The exact gradient of :func:`performative_value` in the logits of a tabular softmax, (..., S, A)."""
    deployment = deploy(env, policy, entropy)
    return deployment.policy_part + deployment.environment_part(env)


def policy_gradient(env, policy, entropy=0.0):
    r"""The same without the environment's part: the policy gradient in M(π) held fixed, (..., S, A).

    A policy that ascending it converges to from finite logits is performatively stable (theory: R8).
    """
    return deploy(env, policy, entropy).policy_part
