"""Exact ascent in the logits of a tabular softmax: with the environment's part of the gradient, and without."""

import numpy as np

from ..arguments import check_count, check_finite, check_non_negative, check_positive
from ..mdp import softmax
from .run import repeat, starting_policy

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


ROUNDS = (0.0, 0.01, 0.003)  # the entropy coefficients of the recommended rounds (notebook 17), in units of reward
ANNEALED = 0.5  # the share of a round after which its coefficient is 0
INSIDE = 0.05  # the share of the uniform policy in the start of a round: at a vertex a softmax cannot move


def _logits(policy):
    with np.errstate(divide="ignore"):
        return np.log(policy)  # -inf for an action never taken: the softmax cannot leave that face


def _noise(deployment):
    return NOISE * deployment.occupancy * np.abs(deployment.value).max(axis=-1)[..., None, None]


def _policy_part(env, deployment):
    return deployment.policy_part


def _both_parts(env, deployment):
    return deployment.policy_part + deployment.environment_part(env)


def _ascend(name, env, gradient, policy, iterations, seed, step_size, entropy):
    start = starting_policy(env, policy, seed)
    iterations = check_count("iterations", iterations, least=0)
    if np.ndim(entropy):
        entropy = check_finite("entropy", entropy, (iterations + 1,))
        if entropy.ndim > 1 or (entropy < 0.0).any():
            raise ValueError(f"entropy: expected {iterations + 1} coefficients >= 0, got {entropy}")
    else:
        entropy = check_non_negative("entropy", entropy)
    rule = _Rprop() if step_size is None else _ConstantStep(check_positive("step_size", step_size))
    logits = _logits(start)

    def step(deployment):
        nonlocal logits
        logits = logits + rule(gradient(env, deployment), _noise(deployment))
        return softmax(logits)

    return repeat(name, env, start, iterations, step, entropy)


def _ascend_in_rounds(name, env, policy, iterations, seed, rounds):
    """Stages of equal length: PePG from the start, the policy gradient from the start, the rounds; then the best of all."""
    start = starting_policy(env, policy, seed)
    iterations = check_count("iterations", iterations, least=0)
    rounds = [check_non_negative("rounds", coefficient) for coefficient in rounds]
    # The iterates at which a stage begins and the one after the last, which deploys the best policy again.
    begins = np.linspace(0, max(iterations, 1), len(rounds) + 3).astype(int)
    entropy = np.zeros(iterations + 1)
    for coefficient, begin, end in zip(rounds, begins[2:], begins[3:]):
        share = np.arange(end - begin) / max(end - begin, 1)  # of the round that is over
        entropy[begin:end] = coefficient * np.maximum(1.0 - share / ANNEALED, 0.0)

    gradient, rule, logits = _both_parts, _Rprop(), _logits(start)
    best, highest, t = start, np.full(start.shape[:-2], -np.inf), 0

    def step(deployment):
        nonlocal gradient, rule, logits, best, highest, t
        value = deployment.expected_return
        best = np.where((value > highest)[..., None, None], deployment.policy, best)
        highest = np.maximum(value, highest)
        t += 1
        if t == iterations:
            return best
        if t not in begins:
            logits = logits + rule(gradient(env, deployment), _noise(deployment))
            return softmax(logits)
        rule = _Rprop()
        if t == begins[1]:
            gradient, logits = _policy_part, _logits(start)
        else:  # at first from where the policy gradient has come to
            origin = deployment.policy if t == begins[2] else best
            gradient, logits = _both_parts, _logits((1.0 - INSIDE) * origin + INSIDE / env.n_actions)
        return softmax(logits)

    return repeat(name, env, start, iterations, step, entropy)


def pepg(env, *, policy=None, iterations=300, seed=None, step_size=None, entropy=0.0, rounds=None):
    r"""Performative policy gradient: exact ascent of :math:`V^\pi_\pi(\rho)` in the logits of a tabular softmax.

    **From a start**, `policy` or `seed`: :math:`\theta_{t+1} = \theta_t + \eta \nabla_\theta
    V^{\pi_\theta}_{\pi_\theta}(\rho)` (arXiv 2512.20576), with the environment's part of the gradient. `step_size` is
    the constant η of the paper; None, the default, adapts a step to each logit from the signs of the gradient alone
    (resilient backpropagation: 0.1 at first, x1.2 while the sign stays, up to 0.5, and halved when it changes).
    `entropy` = λ, or one λ for each of the iterations + 1 iterates, ascends the value regularised by
    :math:`-\lambda\log\pi`; `Run.values` are those without the bonus all the same.

    **With the environment alone** the recipe of notebook 17, since where an ascent ends depends on where it starts. Five
    stages of equal length: this ascent from the uniform policy; the policy gradient from there, which leads to a stable
    policy where it converges; this ascent from that policy; and twice more from the best policy so far, with an entropy
    coefficient that falls linearly from 0.01 and from 0.003 to 0 in the first half of the stage. The last three begin
    inside the simplex, at a mixture with 5 % of the uniform policy, and the last iterate is the best policy deployed: the
    recipe ends no lower than any policy on its way, the stable one included.
    `rounds` are the coefficients of the stages after the second, in units of reward: (0, 0.01, 0.003). Given, there are
    stages from any start; () is one plain ascent. Stages take the adaptive step.

    Raises ValueError for a policy, step size or coefficient out of range, or rounds together with a step size or entropy.
    """
    if rounds is None:
        alone = policy is None and seed is None and step_size is None and not np.any(entropy)
        rounds = ROUNDS if alone else ()
    if len(rounds) == 0:
        return _ascend("pepg", env, _both_parts, policy, iterations, seed, step_size, entropy)
    if step_size is not None or np.any(entropy):
        raise ValueError("rounds: expected none with a step_size or entropy: they have the adaptive step and their own")
    return _ascend_in_rounds("pepg", env, policy, iterations, seed, rounds)


def policy_gradient(env, *, policy=None, iterations=300, seed=None, step_size=None, entropy=0.0):
    """Policy gradient that ignores the response: one plain ascent of :func:`pepg` without the environment's part."""
    return _ascend("policy_gradient", env, _policy_part, policy, iterations, seed, step_size, entropy)
