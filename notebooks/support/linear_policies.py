r"""The released program's policies, :math:`\pi_x(a|s) \propto \exp(x \cdot \phi(s,a))` with random features: a :class:`pepg.policies.LogLinear`.

Several run side by side, each with features of its own: x (n, k), features (n, S, A, k). Source: released code (brahimdriss/PePG at
66a4005).
"""

import numpy as np

from pepg import algorithms
from pepg.policies import LogLinear


def draw(rngs, env, n_features=32):
    r"""x (n, k) from :math:`N(0, 0.1^2)` and features (n, S, A, k) from :math:`N(0, 0.2^2)`, one draw a generator."""
    x = np.array([rng.normal(0.0, 0.1, n_features) for rng in rngs])
    return x, np.array([rng.normal(0.0, 0.2, (env.n_states, env.n_actions, n_features)) for rng in rngs])


def policy(x, features):
    """The policies (n, S, A)."""
    return LogLinear(features).policy(x)


def to_parameters(gradient, features):
    """A gradient in the logits (n, S, A), carried to x: (n, k)."""
    return LogLinear(features).from_logits(gradient)


def ascend(env, x, features, step_size, iterations, algorithm=algorithms.pepg):
    """Exact ascent in x with a constant step, by `algorithm`: the true values (iterations + 1, n), that of the start first."""
    return algorithm(env, policies=LogLinear(features), parameters=x, step_size=step_size, iterations=iterations).values
