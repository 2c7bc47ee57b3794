"""Mixtures of policies: how far they are from being stable."""

import numpy as np
from numpy.typing import ArrayLike

from ..mdp import PeMDP, check_one_env
from ..performative import deploy


def local_stability(env: PeMDP, policies: ArrayLike) -> np.ndarray:
    r"""How much the mixtures of the first t = 1, ..., T `policies` (T, S, A) leave to be gained state by state: (T,) gaps.

    Deploy :math:`\pi_1, \dots, \pi_t` with even chances, each in the environment that it brings about, with visits :math:`d_k` and
    advantages :math:`A_k`. The gap is the sum over the states of what the best fixed action would gain there,

    .. math:: \sum_s \max_a \frac1t \sum_{k \le t} d_k(s) A_k(s, a) .

    For a single policy it is 0 exactly where no action has an advantage: at a stable one. A mixture's can be 0, or below, where none of
    its policies is stable. (Local stability of Mandal, arXiv 2609.06467, as we read its abstract.)
    """
    here = deploy(env, _checked(env, policies))
    advantage = here.mdp.backup(here.value) - here.value[..., None]
    gains = here.occupancy.sum(axis=-1, keepdims=True) * advantage
    count = np.arange(1, len(gains) + 1)
    return (np.cumsum(gains, axis=0).max(axis=-1).sum(axis=-1)) / count


def hedge_bound(env: PeMDP, policies: ArrayLike) -> np.ndarray:
    r"""What :func:`pepg.algorithms.hedge` guarantees of :func:`local_stability` for its first t = 1, ..., T policies: (T,).

    With :math:`R_k(s) = d_k(s)\, span\, A_k(s,\cdot)`, steps :math:`\eta_k(s) = c \sqrt{\log|A|} / \sqrt{\sum_{j<k} R_j(s)^2}` that do not
    grow (:math:`\eta_1 = \eta_2`, since the first has no part in the first policy) and a uniform start, the regret of Hedge in a state is
    at most :math:`\log|A| / \eta_t + \frac18 \sum_{k \le t} \eta_k R_k^2` for *any* sequence of gains (Hoeffding's lemma for each round's
    mix loss; the sums telescope). Dividing by t and adding the states gives the bound, for c = 1.
    """
    here = deploy(env, _checked(env, policies))
    advantage = here.mdp.backup(here.value) - here.value[..., None]
    spread = here.occupancy.sum(axis=-1) * np.ptp(advantage, axis=-1)
    squares, nats = np.cumsum(spread**2, axis=0), np.log(env.n_actions)
    before = np.concatenate([squares[:1], squares[:-1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        stable = np.cumsum(np.where(spread > 0.0, np.sqrt(nats / before) * spread**2, 0.0), axis=0) / 8.0
    regret = np.sqrt(nats * before) + stable
    return regret.sum(axis=-1) / np.arange(1, len(regret) + 1)


def _checked(env, policies):
    """`policies` (T, S, A) of one environment, or a ValueError."""
    policies = check_one_env(env).check_policy(policies, "policies")
    if policies.ndim != 3:
        raise ValueError(f"policies: expected shape (T, {env.n_states}, {env.n_actions}), got {policies.shape}")
    return policies
