"""Exact ascent, in the logits of a tabular softmax or the parameters of other policies: with the environment's part of the gradient, and without."""

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from ..arguments import Numbers, Seeds, check_count, check_finite, check_non_negative, check_positive
from ..mdp import PeMDP, softmax
from ..performative import deploy
from ..policies import PolicyClass, Tabular
from .run import Iterate, Run, repeat, starting_policy, warn_if_deterministic

NOISE = 1e-12  # an advantage below this share of the largest value is rounding, and has no sign


class _ConstantStep:
    """The same multiple of the gradient at every iteration."""

    def __init__(self, size):
        self.size = size

    def __call__(self, gradient, noise):
        return self.size * gradient


class _Rprop:
    """A step of its own for every logit, from the signs of its partial derivatives alone.

    Each starts at `first`, grows by 1.2 while the sign stays (up to 0.5) and halves when it changes (down to 1e-6), the
    logit then resting for one iteration. This is resilient backpropagation (Riedmiller & Braun 1993)
    without weight backtracking (iRprop- of Igel & Hüsken 2000), made for exact gradients. No size of a gradient enters, so that the
    vanishing gradient of a nearly deterministic softmax does not slow it down and rounding does not change its path.
    """

    growth, shrinkage, smallest, largest = 1.2, 0.5, 1e-6, 0.5

    def __init__(self, first=0.1):
        self.size, self.last = first, 0.0

    def __call__(self, gradient, noise):
        sign = np.where(np.abs(gradient) > noise, np.sign(gradient), 0.0)
        agreement = sign * self.last
        factor = np.where(agreement > 0, self.growth, np.where(agreement < 0, self.shrinkage, 1.0))
        self.size = np.clip(self.size * factor, self.smallest, self.largest)
        self.last = np.where(agreement < 0, 0.0, sign)
        return self.size * self.last


class Adam:
    """Adam (Kingma & Ba 2015; averages of 0.9 and 0.99), for gradients with noise."""

    def __init__(self, size: float) -> None:
        self.size, self.mean, self.square, self.count = check_positive("size", size), 0.0, 0.0, 0

    def __call__(self, gradient: np.ndarray) -> np.ndarray:
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.99 * self.square + 0.01 * gradient**2
        root = np.sqrt(self.square / (1.0 - 0.99**self.count))
        return self.size * (self.mean / (1.0 - 0.9**self.count)) / (root + 1e-8)


class Mirror:
    r"""The mirror step: :math:`\theta \mathrel{+}= \mathrm{clip}(\eta \, \partial V / \partial \pi, \pm 2)`, the derivative centred in each state.

    Entropic mirror ascent on the product of simplices (Beck & Teboulle, Oper. Res. Lett. 2003; exponentiated gradient, Kivinen &
    Warmuth 1997): where nothing is clipped :math:`\pi_{t+1}` maximises :math:`\langle G, \pi \rangle - \frac{1}{\eta} \sum_s KL(\pi(\cdot|s)
    \| \pi_t(\cdot|s))`. For the policy's part :math:`G(s,a) = d(s) A(s,a)` up to a constant in each state, the natural policy gradient
    (Kakade 2001; Agarwal, Kakade, Lee & Mahajan 2021) with a step proportional to a state's visits.

    size : η > 0, in logits for one unit of value in one discounted visit: with :math:`d(s) = 0.2` and an advantage of 0.05, a step of 80
        moves a logit by 0.8

    A state that is rarely visited, where an estimate of A is mostly noise, has a small d(s) and hardly moves, while Adam, which divides
    by the root mean square of the gradient, moves it as far as any other. Nor does the step vanish with :math:`\pi(a|s)`, as one
    proportional to the gradient in the logits does, so that an action that turns out to be good comes back.

    **An entropy bonus** is taken at :math:`\pi_{t+1}`, not at :math:`\pi_t`. Its part :math:`-\lambda d(s) \log \pi_t(a|s)` of G takes the
    share :math:`\eta \lambda d(s)` of a logit back: above 1 that overshoots, and above 2 the logits swing, ever further but for the clip, so
    that runs which rounding alone tells apart end apart. Instead, with the `pull` :math:`c(s) = \lambda d(s)`,

    .. math:: \theta \mathrel{+}= \mathrm{clip} \big( \tfrac{\eta}{1 + \eta c} G, \pm 2 \big), \qquad \pi_{t+1} = \arg\max_\pi
              \sum_s \Big( \langle G_0, \pi \rangle + c H(\pi) - \tfrac{1}{\eta} KL(\pi \| \pi_t) \Big)(s)

    where nothing is clipped, with :math:`G_0 = G + c \log \pi_t`: the step of policy mirror descent for a regularised value (Lan, Math.
    Program. 2023). It is a step of :math:`\eta / (1 + \eta c) < 1 / c`, which takes back less than the whole of a logit.
    """

    longest = 2.0  # logits in one step

    def __init__(self, size: float) -> None:
        self.size = check_positive("size", size)

    def __call__(self, gradient: np.ndarray, policy: np.ndarray, pull: Numbers = 0.0) -> np.ndarray:
        """The step in the logits (..., S, A), for a gradient in them; `pull` (..., S, 1) or 0 is that of the bonus in the gradient."""
        slope = np.divide(gradient, policy, out=np.zeros_like(gradient), where=policy > 0.0)
        return np.clip(self.size * slope / (1.0 + self.size * pull), -self.longest, self.longest)


# The search of pepg with the environment alone, as notebook 17 measures it; lengths in deployments.
SHORTEST = 100  # with fewer iterations one plain ascent gets further
TOWARDS_STABLE = 20  # of the policy gradient, at first
SCREENED, BRIEF, LONG = (9 / 50, 1), (4 / 75, 6), (1 / 50, 11)  # how many starts, as a share of all deployments; how long each
BRISK = 0.5  # the first step of an ascent that has few
WIDTH = 2.0  # the standard deviation of the logits of scattered starts
ROUNDS = (0.3, 0.1)  # the entropy coefficients at the end, in units of the mean size of an advantage
ANNEALED = 0.5  # the share of a round after which its coefficient is 0
INSIDE = 0.05  # the share of the uniform policy where an ascent starts from one found: at a vertex a softmax cannot move


def _logits(policy):
    with np.errstate(divide="ignore"):
        return np.log(policy)  # -inf for an action never taken: the softmax cannot leave that face


def _noise(deployment):
    return NOISE * deployment.occupancy * np.abs(deployment.value).max(axis=-1)[..., None, None]


def _policy_part(env, deployment):
    return deployment.policy_part


def _both_parts(env, deployment):
    return deployment.policy_part + deployment.environment_part(env)


def _ascend(name, env, responds, policy, iterations, seed, step_size, entropy, policies, parameters):
    iterate = Iterate(env, policy, policies, parameters, seed)
    tabular = isinstance(iterate.policies, Tabular)
    if policies is None:
        warn_if_deterministic(env, iterate.start)
    iterations = check_count("iterations", iterations, least=0)
    if np.ndim(entropy):
        entropy = check_finite("entropy", entropy, (iterations + 1,))
        if entropy.ndim > 1 or (entropy < 0.0).any():
            raise ValueError(f"entropy: expected {iterations + 1} coefficients >= 0, got {entropy}")
    else:
        entropy = check_non_negative("entropy", entropy)
    mirror = isinstance(step_size, Mirror)
    if mirror:
        rule = check_mirror(step_size, iterate.policies)
    else:
        rule = _Rprop() if step_size is None else _ConstantStep(check_positive("step_size", step_size))

    def step(deployment):
        gradient = iterate.gradient(deployment, env) if responds else iterate.policy_part(deployment)
        if mirror:
            return iterate.move(iterate.parameters + rule(gradient, deployment.policy, deployment.entropy_pull))
        noise = _noise(deployment) if tabular else iterate.of_each(_noise(deployment).sum(axis=(-2, -1), keepdims=True))
        return iterate.move(iterate.parameters + rule(gradient, noise))

    return iterate.finish(repeat(name, env, iterate.start, iterations, step, entropy))


def check_mirror(step_size, policies):
    """A :class:`Mirror` where `policies` are those whose step it is, or a ValueError."""
    if not isinstance(policies, Tabular):
        raise ValueError(f"step_size: expected another than Mirror, a step in tabular logits, for {type(policies).__name__} policies, but got it")
    return step_size


class _Search:
    """Ascents of many starts side by side, (K, ..., S, A), and a record of all that was deployed, in the order of a :class:`Run`."""

    def __init__(self, env, iterations):
        self.env, self.policies, self.values, self.occupancies = env, [], [], []
        self.bar = tqdm(total=iterations + 1, desc="pepg", leave=False, disable=None)

    def climb(self, starts, length, gradient=_both_parts, first=0.1, entropy=None):
        """Deploy `length` policies of the ascent from each of `starts`; the first Deployment and the last."""
        rule, logits, policy, met = _Rprop(first), _logits(starts), starts, []
        for t in range(length):
            deployment = deploy(self.env, policy, 0.0 if entropy is None else entropy[t])
            met.append((policy, deployment.expected_return, deployment.occupancy))
            if t == 0:
                first_met = deployment
            if t < length - 1:
                logits = logits + rule(gradient(self.env, deployment), _noise(deployment))
                policy = softmax(logits)
            self.bar.update(len(starts))
        for record, parts in zip((self.policies, self.values, self.occupancies), zip(*met)):
            parts = np.stack(parts, axis=1)  # a start's ascent in one piece, and then the next one's
            record.append(parts.reshape(-1, *parts.shape[2:]))
        return first_met, deployment

    def best(self, scale):
        """The best policy deployed so far, (1, ..., S, A)."""
        return _highest(np.concatenate(self.policies), np.concatenate(self.values), 1, scale)

    def run(self):
        self.bar.close()
        policies, values, occupancies = map(np.concatenate, (self.policies, self.values, self.occupancies))
        change = np.linalg.norm(np.diff(occupancies, axis=0), axis=(-2, -1))
        shifts = change / np.linalg.norm(occupancies[:-1], axis=(-2, -1))
        return Run(policies, values, shifts, np.arange(len(values)), np.zeros(values.shape, dtype=int))


def _highest(policies, values, count, scale):
    """The `count` policies of the highest values along the first axis; the first of those that rounding alone tells apart."""
    order = np.argsort(-np.round(values / scale, 9), axis=0, kind="stable")[:count]
    return np.take_along_axis(policies, order[..., None, None], axis=0)


def _inside(policy):
    return (1.0 - INSIDE) * policy + INSIDE / policy.shape[-1]


def _searched(env, iterations):
    """The search that :func:`pepg` describes, with `iterations` + 1 deployments: a Run whose last policy is its best."""
    search = _Search(env, iterations)
    start = starting_policy(env, None, None)[None]
    uniform, _ = search.climb(start, TOWARDS_STABLE, _policy_part)
    # The mean size of an advantage at the uniform policy: what an entropy coefficient is measured against.
    scale = (np.abs(uniform.policy_part).sum(axis=(-2, -1)) / uniform.occupancy.sum(axis=(-2, -1)))[0]
    unit = np.where(scale > 0.0, scale, 1.0)

    counts = [int(share * iterations + 1e-9) for share, _ in (SCREENED, BRIEF, LONG)]
    scattered = env.random_policies(range(counts[0] - 2), WIDTH)
    scattered = scattered.reshape(len(scattered), *(1,) * len(env.lead), *scattered.shape[1:])
    scattered = np.broadcast_to(scattered, (len(scattered), *start.shape[1:]))
    _, found = search.climb(np.concatenate([start, _inside(search.best(unit)), scattered]), SCREENED[1])
    for count, (_, length) in zip(counts[1:], (BRIEF, LONG)):
        _, found = search.climb(_highest(found.policy, found.expected_return, count, unit), length, first=BRISK)

    left = iterations - TOWARDS_STABLE - sum(count * length for count, (_, length) in zip(counts, (SCREENED, BRIEF, LONG)))
    for coefficient, length in zip(ROUNDS, (left - left // 2, left // 2)):
        fading = np.maximum(1.0 - np.arange(length) / (ANNEALED * length), 0.0)
        search.climb(_inside(search.best(unit)), length, entropy=coefficient * np.multiply.outer(fading, scale[None]))
    search.climb(search.best(unit), 1)
    return search.run()


def pepg(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 300, seed: Seeds = None, step_size: float | Mirror | None = None,
    entropy: ArrayLike = 0.0, policies: PolicyClass | None = None, parameters: ArrayLike | None = None,
) -> Run:
    r"""Performative policy gradient: exact ascent of :math:`V^\pi_\pi(\rho)` in the logits of a tabular softmax.

    **From a start**, `policy` or `seed`: :math:`\theta_{t+1} = \theta_t + \eta \nabla_\theta
    V^{\pi_\theta}_{\pi_\theta}(\rho)` (arXiv 2512.20576), with the environment's part of the gradient. `step_size` is
    the constant η of the paper; None, the default, adapts a step to each logit from the signs of the gradient alone
    (resilient backpropagation: 0.1 at first, x1.2 while the sign stays, up to 0.5, and halved when it changes); a
    :class:`Mirror` takes its step, the gradient in the policy.
    `entropy` = λ, or one λ for each of the iterations + 1 iterates, ascends the value regularised by
    :math:`-\lambda\log\pi`; `Run.values` are those without the bonus all the same.

    **With the environment alone** a search, since where an ascent ends depends on where it starts. All its ascents take the
    adaptive step, those of one stage side by side, and together they make `iterations` deployments (here for 300):

    1. 20 of the policy gradient from the uniform policy, towards a stable one;
    2. 54 starts deployed once: the uniform policy, the best of stage 1 mixed with 5 % of it, and softmax policies of logits
       from N(0, 2²), always the same ones; the best 16 of them climb for 6 deployments, the best 6 of those ends for 11
       more, with a first step of 0.5;
    3. 32 and 32 from the best policy so far, mixed with 5 % of the uniform one, with an entropy coefficient that falls
       linearly from 0.3 and from 0.1 to 0 in the first half, in units of the mean size of an advantage at the uniform
       policy, so that the units of the rewards do not matter.

    The last iterate is the best policy, deployed: no policy on the way is better. `iterations` scales the numbers of starts
    in stage 2, and stage 3 has what is left; below 100 the search is one plain ascent from the uniform policy. At equal
    numbers of deployments it ends above the best of five ascents, on the gridworld and on random PeMDPs (notebook 17).
    `Run` holds every deployment, an ascent in one piece after the other.

    **In a class of policies** of :mod:`pepg.policies`, `policies`, the ascent is in its parameters θ, by the same rules and steps (a
    Mirror's is for tabular ones). It starts from `parameters`, one θ or several side by side, or from a draw for each `seed` from
    N(0, 0.1²), and ``Run.parameters`` are those of every iterate. There is no search: without a start a ValueError says so.

    Raises ValueError for a policy, parameters, step size or coefficient out of range.
    """
    alone = policy is None and seed is None and step_size is None and not np.any(entropy) and policies is None and parameters is None
    if alone and check_count("iterations", iterations, least=0) >= SHORTEST:
        return _searched(env, iterations)
    return _ascend("pepg", env, True, policy, iterations, seed, step_size, entropy, policies, parameters)


def policy_gradient(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 300, seed: Seeds = None, step_size: float | Mirror | None = None,
    entropy: ArrayLike = 0.0, policies: PolicyClass | None = None, parameters: ArrayLike | None = None,
) -> Run:
    """Policy gradient that ignores the response: one plain ascent of :func:`pepg` without the environment's part."""
    return _ascend("policy_gradient", env, False, policy, iterations, seed, step_size, entropy, policies, parameters)
