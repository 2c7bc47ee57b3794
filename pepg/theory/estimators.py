r"""What estimators of the performative gradient have as their mean, and what a sample of their estimates tells about it.

Weights on the scores that look alike have different means: notebook 03 derives which lose a part of the gradient (R3).
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ..arguments import check_count, check_discount, check_finite, check_function, check_instance, check_level
from ..data import Trajectories, gradient_estimates, sample_trajectories
from ..mdp import MDP, PeMDP, check_env, to_logits
from ..performative import Deployment
from .differences import inner, norm

CHUNK = 10_000  # trajectories sampled at a time


class WithoutTransitions(PeMDP):
    """The environment `env`, with a response gradient that lacks the transitions' part.

    What ascends there ascends what it would of `env` with the true advantage as the weight of the score of the transitions.
    """

    def __init__(self, env: PeMDP) -> None:
        check_env(env)
        self.env, self.n_states, self.n_actions = env, env.n_states, env.n_actions
        self.gamma, self.rho, self.lead = env.gamma, env.rho, env.lead

    def respond(self, policy: ArrayLike) -> MDP:
        return self.env.respond(policy)

    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        value = check_finite("value", value, (self.n_states,))
        return self.env.response_gradient(policy, occupancy, np.zeros_like(value))


def visits(mdp: MDP, policy: ArrayLike, horizon: int, discount: float) -> np.ndarray:
    r"""Visits of finitely many steps, :math:`\sum_{t<T} c^t \Pr(s_t = s, a_t = a)` for the `discount` c, (..., S, A)."""
    policy = check_instance("mdp", mdp, MDP).check_policy(policy)
    horizon, discount = check_count("horizon", horizon), check_discount("discount", discount)
    now, total = np.where(mdp.terminal, 0.0, mdp.rho), np.zeros(policy.shape)
    for t in range(horizon):
        pairs = now[..., None] * policy
        total = total + discount**t * pairs
        arrived = pairs.ravel() @ mdp.P if mdp.sparse else np.einsum("...sa,...sat->...t", pairs, mdp.P)
        now = np.where(mdp.terminal, 0.0, arrived)
    return total


def expected_update(env: PeMDP, here: Deployment, visits: ArrayLike) -> np.ndarray:
    r"""The performative gradient (R3) of the deployment `here`, with any `visits` in place of its occupancy, (..., S, A).

    .. math:: \sum_{s,a} c(s,a) \Big[ A \nabla\log\pi + \nabla r_\pi + \gamma \sum_{s'} \nabla P_\pi V \Big]

    With undiscounted visits c it is the mean of an estimator that drops :math:`\gamma^t`.
    """
    check_env(env), check_instance("here", here, Deployment)
    visits = check_finite("visits", visits, here.policy.shape[-2:])
    score = visits * (here.mdp.backup(here.value) - here.value[..., None])
    score = score - here.policy * score.sum(axis=-1, keepdims=True)
    return score + to_logits(here.policy, env.response_gradient(here.policy, visits, here.value))


def estimates(
    env: PeMDP, here: Deployment, weightings: Callable[[Trajectories], Mapping[str, tuple]], count: int, horizon: int, rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Estimates of the gradient from the same `count` trajectories by several estimators: name to (count, S, A).

    here : the :class:`pepg.performative.Deployment` of a policy (S, A)
    weightings : takes trajectories; returns, by name, what :func:`pepg.data.gradient_estimates` takes after them

    Trajectories are sampled 10,000 at a time. Raises ValueError for a count above that is no multiple of it.
    """
    check_env(env), check_instance("here", here, Deployment), check_function("weightings", weightings)
    count, horizon = check_count("count", count), check_count("horizon", horizon)
    if count > CHUNK and count % CHUNK:
        raise ValueError(f"count: expected at most {CHUNK} or a multiple of it, got {count}")
    found, chunk = {}, min(count, CHUNK)
    for _ in range(count // chunk):
        paths = sample_trajectories(here.mdp, here.policy, chunk, horizon, rng)
        for name, arguments in weightings(paths).items():
            found.setdefault(name, []).append(gradient_estimates(env, here.policy, paths, *arguments))
    return {name: np.concatenate(chunks) for name, chunks in found.items()}


def coefficient(estimates: ArrayLike, exact: ArrayLike, part: ArrayLike, level: float = 0.99) -> tuple[float, float, float]:
    r"""How much of the `part` :math:`g_P` of the gradient `exact` a sample of estimates (n, S, A) has in its mean.

    :math:`1 + \langle e, g_P \rangle / \|g_P\|^2` for the mean error e: 1 where the part is whole and 0 where it is lost. Returns
    the coefficient and the ends of its normal interval.
    """
    estimates, exact, part = _gradients(estimates, exact, part)
    level = check_level("level", level)
    if not part.any():
        raise ValueError("part: expected a part other than 0, got zeros")
    each = 1.0 + inner(estimates - exact, part) / norm(part) ** 2
    half = stats.norm.isf((1.0 - level) / 2.0) * each.std(ddof=1) / np.sqrt(len(each))
    return each.mean(), each.mean() - half, each.mean() + half


def power(estimates: ArrayLike, part: ArrayLike, count: int, level: float = 0.99) -> float:
    r"""With what probability the joint test on `count` trajectories finds that exactly `part` is lost.

    For :func:`pepg.data.hotelling` at `level`, from the noncentral :math:`\chi^2` distribution with the covariance of `estimates`
    (n, S, A).
    """
    estimates, _, part = _gradients(estimates, part, part)
    count, level = check_count("count", count), check_level("level", level)
    free = estimates[..., :-1].reshape(len(estimates), -1)
    lost = part[..., :-1].ravel()
    distance = count * lost @ np.linalg.solve(np.cov(free.T).reshape(lost.size, lost.size), lost)
    return stats.ncx2.sf(stats.chi2.isf(1.0 - level, lost.size), lost.size, distance)


def _gradients(estimates, exact, part):
    """Estimates (n, S, A), at least two, with gradients (S, A)."""
    part = check_finite("part", part, ())
    if part.ndim != 2:
        raise ValueError(f"part: expected a gradient (S, A), got shape {part.shape}")
    estimates, exact = check_finite("estimates", estimates, part.shape), check_finite("exact", exact, part.shape)
    if estimates.ndim != 3 or len(estimates) < 2:
        raise ValueError(f"estimates: expected shape (n, {part.shape[0]}, {part.shape[1]}) with n >= 2, got {estimates.shape}")
    return estimates, exact, part
