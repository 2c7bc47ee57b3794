"""Deployed against evaluated: the two places that a policy has in a performative value, one along each axis."""

import numpy as np
from numpy.typing import ArrayLike

from ..mdp import PeMDP, check_one_env


def decoupled_landscape(env: PeMDP, policies: ArrayLike) -> np.ndarray:
    r"""The values :math:`V^{\pi_j}_{\pi_i}(\rho)` of following policy j in the environment that policy i has brought about: (n, n).

    policies : (n, S, A), those of a family, in the order of its parameter

    A row is an environment held still; the diagonal is the performative value. A policy of the family that is best in its own row
    is stable within the family; the largest entry of the diagonal is the family's optimum. Raises ValueError for policies of another
    shape, or several environments side by side. (For losses of predictors: the decoupled risk of performative prediction.)
    """
    policies = check_one_env(env).check_policy(policies, "policies")
    if policies.ndim != 3:
        raise ValueError(f"policies: expected shape (n, {env.n_states}, {env.n_actions}), got {policies.shape}")
    return np.array([env.respond(policy).expected_return(policies) for policy in policies])
