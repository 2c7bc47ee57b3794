r"""The curvature of the performative value in the logits: the Hessian by central differences of the exact gradient.

With :math:`f(\theta) = V^{\pi_\theta}_{\pi_\theta}(\rho)` and a half-width h,
:math:`\nabla^2 f(\theta)\, v \approx (\nabla f(\theta + h v) - \nabla f(\theta - h v)) / 2h` for :math:`\|v\| = 1`. Where the response has a
kink within h the quotient depends on h and is not symmetric: :func:`asymmetry` shows it. Source: the descent lemma (theory: R6).
"""

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from ..arguments import check_instance, check_number, check_positive
from ..mdp import check_one_env, softmax
from ..performative import performative_gradient


def hessian(env, policy, width=1e-5):
    """The Hessian at `policy` (S, A), positive everywhere, as a ``scipy.sparse.linalg.LinearOperator`` on the S·A logits.

    Raises ValueError for a policy with an entry of 0 or a leading axis, or a `width` that is not positive.
    """
    width = check_positive("width", width)
    policy = check_one_env(env).check_policy(policy)
    if policy.ndim != 2 or not (policy > 0.0).all():
        raise ValueError(f"policy: expected one (S, A) policy, positive everywhere, got shape {policy.shape}, smallest entry {policy.min()}")
    logits = np.log(policy)

    def apply(vector):
        norm = np.linalg.norm(vector)
        move = width / norm * vector.reshape(logits.shape)
        plus, minus = performative_gradient(env, softmax(np.stack([logits + move, logits - move])))
        return (norm / (2 * width) * (plus - minus)).ravel()

    return LinearOperator((logits.size, logits.size), matvec=apply, dtype=float)


def largest_eigenvalue(operator):
    """The eigenvalue of largest absolute value of a symmetric operator, to a thousandth, by Lanczos iteration from a fixed start."""
    check_instance("operator", operator, LinearOperator)
    start = np.random.default_rng(0).normal(size=operator.shape[0])
    return eigsh(operator, k=1, which="LM", v0=start, tol=1e-3, return_eigenvectors=False)[0]


def asymmetry(operator, scale):
    r""":math:`|u^\top H v - v^\top H u| / (\|u\| \|v\| |scale|)` for a random pair u, v: 0 for a symmetric operator."""
    check_instance("operator", operator, LinearOperator)
    scale = check_number("scale", scale, "a finite number other than 0", lambda x: x != 0)
    u, v = np.random.default_rng(1).normal(size=(2, operator.shape[0]))
    difference = u @ operator.matvec(v) - v @ operator.matvec(u)
    return abs(difference) / (np.linalg.norm(u) * np.linalg.norm(v) * abs(scale))
