r"""Policies with few parameters, as in the released program: :math:`\pi_x(a|s) \propto \exp(x \cdot \phi(s,a))`.

Several run side by side, each with features of its own: x (n, k), features (n, S, A, k). By the chain rule a gradient g in the
logits (n, S, A) is :math:`\sum_{s,a} g(s,a) \phi(s,a)` in x. Source: released code (brahimdriss/PePG at 66a4005).
"""

import numpy as np

import pepg


def draw(rngs, env, n_features=32):
    r"""x (n, k) from :math:`N(0, 0.1^2)` and features (n, S, A, k) from :math:`N(0, 0.2^2)`, one draw a generator."""
    x = np.array([rng.normal(0.0, 0.1, n_features) for rng in rngs])
    return x, np.array([rng.normal(0.0, 0.2, (env.n_states, env.n_actions, n_features)) for rng in rngs])


def policy(x, features):
    """The policies (n, S, A)."""
    return pepg.softmax((features @ x[:, None, :, None])[..., 0])


def to_parameters(gradient, features):
    """A gradient in the logits (n, S, A), carried to x: (n, k)."""
    return np.einsum("nsa,nsak->nk", gradient, features)


def ascend(env, x, features, step_size, iterations, gradient=pepg.performative_gradient):
    """Exact ascent in x with a constant step: the true values (iterations + 1, n), that of the start first.

    gradient : ``pepg.performative_gradient``, or ``pepg.policy_gradient`` for the ascent that ignores the response
    """
    values = []
    for t in range(iterations + 1):
        here = policy(x, features)
        values.append(pepg.performative_value(env, here))
        if t < iterations:
            x = x + step_size * to_parameters(gradient(env, here), features)
    return np.array(values)
