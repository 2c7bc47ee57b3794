"""Exact ascent in the logits of a tabular softmax: with the environment's part of the gradient, and without."""

import numpy as np

from .mdp import softmax
from .run import check_non_negative, check_positive, repeat, starting_policy

NOISE = 1e-12  # an advantage below this share of the largest value is rounding, and has no sign


class _ConstantStep:
    """The same multiple of the gradient at every iteration."""

    def __init__(self, size):
        self.size = size

    def __call__(self, gradient, noise):
        return self.size * gradient


class _Rprop:
    """A step of its own for every logit, from the signs of its partial derivatives alone.

    Each starts at 0.1, grows by 1.2 while the sign stays (up to 0.5) and halves when it changes (down to 1e-6), the
    logit then resting for one iteration. This is resilient backpropagation without weight backtracking (Riedmiller &
    Braun 1993; iRprop- of Igel & Hüsken 2000), made for exact gradients. No size of a gradient enters, so that the
    vanishing gradient of a nearly deterministic softmax does not slow it down and rounding does not change its path.
    """

    first, growth, shrinkage, smallest, largest = 0.1, 1.2, 0.5, 1e-6, 0.5

    def __init__(self):
        self.size, self.last = self.first, 0.0

    def __call__(self, gradient, noise):
        sign = np.where(np.abs(gradient) > noise, np.sign(gradient), 0.0)
        agreement = sign * self.last
        factor = np.where(agreement > 0, self.growth, np.where(agreement < 0, self.shrinkage, 1.0))
        self.size = np.clip(self.size * factor, self.smallest, self.largest)
        self.last = np.where(agreement < 0, 0.0, sign)
        return self.size * self.last


class Adam:
    """Adam (Kingma & Ba 2015; averages of 0.9 and 0.99), for gradients with noise."""

    def __init__(self, size):
        self.size, self.mean, self.square, self.count = size, 0.0, 0.0, 0

    def __call__(self, gradient):
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.99 * self.square + 0.01 * gradient**2
        root = np.sqrt(self.square / (1.0 - 0.99**self.count))
        return self.size * (self.mean / (1.0 - 0.9**self.count)) / (root + 1e-8)


def _ascend(name, env, gradient, policy, iterations, seed, step_size, entropy):
    start = starting_policy(env, policy, seed)
    entropy = check_non_negative("entropy", entropy)
    rule = _Rprop() if step_size is None else _ConstantStep(check_positive("step_size", step_size))
    with np.errstate(divide="ignore"):
        logits = np.log(start)  # -inf for an action never taken: the softmax cannot leave that face

    def step(deployment):
        nonlocal logits
        noise = NOISE * deployment.occupancy * np.abs(deployment.value).max(axis=-1)[..., None, None]
        logits = logits + rule(gradient(deployment), noise)
        return softmax(logits)

    return repeat(name, env, start, iterations, step, entropy)


def pepg(env, *, policy=None, iterations=300, seed=None, step_size=None, entropy=0.0):
    r"""Performative policy gradient: exact ascent of :math:`V^\pi_\pi(\rho)` in the logits of a tabular softmax.

    :math:`\theta_{t+1} = \theta_t + \eta \nabla_\theta V^{\pi_\theta}_{\pi_\theta}(\rho)` (arXiv 2512.20576), with
    the environment's part of the gradient. `step_size` is the constant η of the paper; None, the default, adapts a step
    to each logit from the signs of the gradient alone (resilient backpropagation: 0.1 at first, x1.2 while the sign
    stays, up to 0.5, and halved when it changes). `entropy` = λ ascends the value regularised by :math:`-\lambda\log\pi`;
    `Run.values` are those without the bonus all the same.

    Raises ValueError for a policy, step size or coefficient out of range.
    """

    def gradient(deployment):
        return deployment.policy_part + deployment.environment_part(env)

    return _ascend("pepg", env, gradient, policy, iterations, seed, step_size, entropy)


def policy_gradient(env, *, policy=None, iterations=300, seed=None, step_size=None, entropy=0.0):
    """Policy gradient that ignores the response: :func:`pepg` without the environment's part of the gradient."""
    return _ascend(
        "policy_gradient", env, lambda deployment: deployment.policy_part, policy, iterations, seed, step_size, entropy
    )
