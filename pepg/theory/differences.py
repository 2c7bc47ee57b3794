r"""Independent derivations of the performative gradient, against which the exact one is checked.

`central_differences` knows nothing but the value; `by_differentiation` writes the value of a :class:`pepg.SoftmaxPeMDP` down from its
definition and has autograd differentiate it.
"""

from collections.abc import Callable

import autograd.numpy as anp
import numpy as np
from autograd import grad
from numpy.typing import ArrayLike

from ..arguments import Numbers, check_finite, check_function, check_leading, check_non_negative, check_positive
from ..environments.softmax import SoftmaxPeMDP
from ..mdp import PeMDP, check_env, softmax
from ..performative import performative_value


def norm(array: ArrayLike) -> Numbers:
    """The Euclidean norm of the last two axes."""
    return np.sqrt((_matrices("array", array) ** 2).sum(axis=(-2, -1)))


def inner(array: ArrayLike, other: ArrayLike) -> Numbers:
    """The inner product of the last two axes."""
    array, other = _matrices("array", array), _matrices("other", other)
    check_leading("other", other.shape, array.shape, "array")
    return (array * other).sum(axis=(-2, -1))


def cosine(array: ArrayLike, other: ArrayLike) -> Numbers:
    """The cosine of the angle between two arrays of states and actions, (..., S, A) to (...)."""
    return inner(array, other) / norm(array) / norm(other)


def slopes(function: Callable[[np.ndarray], np.ndarray], logits: ArrayLike, width: float = 1e-3) -> np.ndarray:
    """Central differences of fourth order of `function` in every logit, (..., S, A): an error of order width**4.

    `function` takes logits with axes of its own in front, (4, S A, ..., S, A), and returns (4, S A, ...).
    """
    check_function("function", function)
    logits, width = _matrices("logits", logits), check_positive("width", width)
    units = np.eye(logits.shape[-2] * logits.shape[-1]).reshape(-1, *(1,) * (logits.ndim - 2), *logits.shape[-2:])
    steps = width * np.array([-2.0, -1.0, 1.0, 2.0]).reshape(-1, *(1,) * (logits.ndim + 1))
    value = function(logits + steps * units)
    slope = (value[0] - 8.0 * value[1] + 8.0 * value[2] - value[3]) / (12.0 * width)
    return np.moveaxis(slope, 0, -1).reshape(logits.shape)


def central_differences(env: PeMDP, logits: ArrayLike, entropy: float = 0.0, width: float = 1e-3) -> np.ndarray:
    """:func:`slopes` of the performative value, (..., S, A)."""
    logits = check_finite("logits", logits, (check_env(env).n_states, env.n_actions))
    lead = check_leading("logits", logits.shape[:-2], env.lead, "the environments")
    logits, entropy = np.broadcast_to(logits, lead + logits.shape[-2:]), check_non_negative("entropy", entropy)
    return slopes(lambda near: performative_value(env, softmax(near), entropy), logits, width)


def by_differentiation(env: SoftmaxPeMDP, logits: ArrayLike, entropy: float = 0.0) -> np.ndarray:
    r"""The gradient in logits (n, S, A) of :math:`V_\lambda(\rho)`, from its definition in n softmax PeMDPs, by automatic differentiation.

    Raises ValueError for an environment of another kind, or logits that do not fit it.
    """
    logits = check_finite("logits", logits, (check_env(env, SoftmaxPeMDP).n_states, env.n_actions))
    if logits.ndim != 3:
        raise ValueError(f"logits: expected shape (n, {env.n_states}, {env.n_actions}), got {logits.shape}")
    check_leading("logits", logits.shape[:-2], env.lead, "the environments")
    entropy = check_non_negative("entropy", entropy)

    def total(logits):
        weights = anp.exp(logits)
        policy = weights / anp.sum(weights, axis=-1, keepdims=True)
        strength = np.broadcast_to(env.transition_strength, len(logits))[:, None, None, None]
        bent = anp.exp(env.logits + strength * anp.einsum("nsatub,nub->nsat", env.logit_map, policy))
        P = bent / anp.sum(bent, axis=-1, keepdims=True)
        strength = np.broadcast_to(env.reward_strength, len(logits))[:, None, None]
        r = env.rewards + strength * anp.einsum("nsaub,nub->nsa", env.reward_map, policy)
        paid = anp.sum(policy * (r - entropy * anp.log(policy)), axis=-1)
        chain = anp.einsum("nsa,nsat->nst", policy, P)
        value = anp.linalg.solve(np.eye(r.shape[1]) - env.gamma * chain, paid[..., None])[..., 0]
        return anp.sum(env.rho * value)

    return grad(total)(logits)


def _matrices(name, array):
    array = check_finite(name, array, ())
    if array.ndim < 2:
        raise ValueError(f"{name}: expected shape (..., S, A), got {array.shape}")
    return array
