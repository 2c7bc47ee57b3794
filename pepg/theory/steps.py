r"""What each step of a proof gives away: the quantities that the proofs of R1, R2 and R5 pass through.

They stand between the two sides that :mod:`pepg.theory.results` returns, and say where a bound is loose. Everything broadcasts over
leading axes of the policies and of the environment; occupancies are not normalised. Notebooks 02 and 05 have the proofs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import Numbers, check_lipschitz
from ..mdp import PeMDP
from ..performative import deploy


def _length(x):
    """The Euclidean norm over states and actions: (..., S, A) to (...)."""
    return np.sqrt((x**2).sum(axis=(-2, -1)))


def _shift(new, old):
    """The rewards' and the transitions' part of the shift from `old` to `new`, (..., S, A) each; V is that of `new`."""
    rewards, moved = new.mdp.r - old.mdp.r, new.mdp.P - old.mdp.P
    if new.mdp.sparse:
        return rewards, new.mdp.gamma * (moved @ new.value).reshape(rewards.shape)
    return rewards, new.mdp.gamma * (moved @ new.value[..., None, :, None])[..., 0]


def difference_terms(env: PeMDP, policy: ArrayLike, other: ArrayLike) -> np.ndarray:
    r"""R1's right-hand side by terms, (3, ...): the advantage's, the rewards' and the transitions'.

    .. math::

       \sum d^\pi_{\pi'} A^{\pi'}_{\pi'}, \quad \sum d^\pi_{\pi'} (r_\pi - r_{\pi'}), \quad
       \gamma \sum d^\pi_{\pi'} (P_\pi - P_{\pi'}) V^\pi_\pi

    for `policy` π and `other` π'. They add up to the difference of the two performative values.
    """
    new, old = deploy(env, policy), deploy(env, env.check_policy(other, "other"))
    occupancy = old.mdp.occupancy(new.policy)
    terms = (old.mdp.backup(old.value) - old.value[..., None], *_shift(new, old))
    return np.stack([(occupancy * term).sum(axis=(-2, -1)) for term in terms])


def shift_steps(env: PeMDP, policy: ArrayLike, other: ArrayLike, lipschitz: tuple[ArrayLike, ArrayLike]) -> np.ndarray:
    r"""The proof of R2, (6, ...): :math:`q_0 \le q_1 \le \dots \le q_5`, from the left-hand side to the right-hand side.

    With :math:`\Delta r = r_\pi - r_{\pi'}`, :math:`D = \gamma (P_\pi - P_{\pi'}) V^\pi_\pi`, :math:`d = d^\pi_{\pi'}`, half the span h of
    :math:`V^\pi_\pi`, and :math:`m = \gamma \|P_\pi - P_{\pi'}\|_1 h`, all per (s, a),

    .. math::

       q_0 = \Big|\sum d (\Delta r + D)\Big|, \; q_1 = \sum d |\Delta r + D|, \; q_2 = \sum d (|\Delta r| + |D|), \;
       q_3 = \sum d (|\Delta r| + m), \; q_4 = \frac{\max |\Delta r| + \max m}{1 - \gamma}, \;
       q_5 = \frac{L_r + \gamma L_P h}{1 - \gamma} \|\pi - \pi'\|_2 .

    `lipschitz` is :math:`(L_P, L_r)` as in :func:`pepg.theory.performative_shift`.
    """
    transition, reward = check_lipschitz(lipschitz)
    new, old = deploy(env, policy), deploy(env, env.check_policy(other, "other"))
    occupancy, (rewards, drift) = old.mdp.occupancy(new.policy), _shift(new, old)
    half_span = np.ptp(new.value, axis=-1) / 2.0
    distance = np.abs(new.mdp.P - old.mdp.P).sum(axis=-1)
    distance = distance.reshape(rewards.shape) if new.mdp.sparse else distance
    moved = env.gamma * distance * half_span[..., None, None]
    inside = [np.abs(rewards + drift), np.abs(rewards) + np.abs(drift), np.abs(rewards) + moved]
    worst = np.abs(rewards).max(axis=(-2, -1)) + moved.max(axis=(-2, -1))
    bound = (reward + env.gamma * transition * half_span) * _length(new.policy - old.policy)
    first = np.abs((occupancy * (rewards + drift)).sum(axis=(-2, -1)))
    summed = [(occupancy * part).sum(axis=(-2, -1)) for part in inside]
    return np.stack([first, *summed, worst / (1.0 - env.gamma), bound / (1.0 - env.gamma)])


def sharp_shift(env: PeMDP, policy: ArrayLike, other: ArrayLike, lipschitz: tuple[ArrayLike, ArrayLike]) -> Numbers:
    r"""R2's right-hand side where the transitions are a softmax of logits that are affine in the policy, (...).

    .. math:: \frac{1}{1-\gamma} \Big( L_r \|\pi - \pi'\|_2
              + 2 \gamma \tanh\big(\tfrac12 L_P \|\pi - \pi'\|_2\big) \frac{span(V^\pi_\pi)}{2} \Big),

    never above that of :func:`pepg.theory.performative_shift`: :math:`\|P_\pi - P_{\pi'}\|_1 \le 2 \tanh(\tfrac12 L_P \|\pi - \pi'\|_2)`.
    Meant for :class:`pepg.SoftmaxPeMDP` and its ``lipschitz_constants()``.
    """
    transition, reward = check_lipschitz(lipschitz)
    new = deploy(env, policy)
    distance = _length(new.policy - env.check_policy(other, "other"))
    moved = 2.0 * np.tanh(transition * distance / 2.0)
    return (reward * distance + env.gamma * moved * np.ptp(new.value, axis=-1) / 2.0) / (1.0 - env.gamma)


@dataclass(frozen=True, eq=False)
class Domination:
    r"""What R5's first term is made of, (...) each.

    steps : (6, ...), :math:`b_0 \le b_1 \le \dots \le b_5`, from :math:`\sum d^{\pi_O}_\pi A` to the first term of R5
    mismatch : :math:`\|d^{\pi_O}_\pi / d^\pi_\pi\|_\infty` over states · least : :math:`\min_s \pi(a^*(s)|s)`
    gradient, policy_part, environment_part : :math:`\|g\|_2, \|g_{pol}\|_2, \|g_{env}\|_2`
    pairs : the first term of the pair form, :math:`\|d^{\pi_O}_\pi / d^\pi_\pi\|_2 \, \|g_{pol}\|_2`, the first norm over (s, a)
    """

    steps: np.ndarray
    mismatch: np.ndarray
    least: np.ndarray
    gradient: np.ndarray
    policy_part: np.ndarray
    environment_part: np.ndarray
    pairs: np.ndarray


def domination_steps(env: PeMDP, policy: ArrayLike, optimum: ArrayLike) -> Domination:
    r"""The proof of R5 for `policy` π and `optimum` :math:`\pi_O`, as a :class:`Domination`.

    With :math:`x = d^{\pi_O}_\pi`, :math:`d = d^\pi_\pi`, :math:`A = A^\pi_\pi`, :math:`a^*(s) = \arg\max_a A(s,a)`, the `mismatch` c and
    :math:`c' = c / least`,

    .. math::

       b_0 = \sum x A, \; b_1 = \sum_s x(s) A(s, a^*), \; b_2 = c \sum_s d(s) A(s, a^*), \; b_3 = c' \sum_s g_{pol}(s, a^*), \;
       b_4 = c' \sqrt{|S|} \|g_{pol}\|, \; b_5 = c' \sqrt{|S|} (\|g\| + \|g_{env}\|) .

    Factors and sums are over the states that x visits, as in :func:`pepg.theory.gradient_domination`. `policy` is positive everywhere.
    """
    here = deploy(env, policy)
    if not (here.policy > 0.0).all():
        raise ValueError(f"policy: expected one that is positive everywhere, got the smallest entry {here.policy.min():g}")
    reached = here.mdp.occupancy(env.check_policy(optimum, "optimum"))
    visits, arrivals = here.occupancy.sum(axis=-1), reached.sum(axis=-1)
    seen = arrivals > 0.0
    advantage = here.mdp.backup(here.value) - here.value[..., None]
    best = advantage.argmax(axis=-1)[..., None]

    def chosen(x):
        """x(s, a*(s)) where x goes, 0 elsewhere: (..., S)."""
        return np.where(seen, np.take_along_axis(np.broadcast_to(x, advantage.shape), best, axis=-1)[..., 0], 0.0)

    with np.errstate(divide="ignore"):
        mismatch = np.divide(arrivals, visits, out=np.zeros_like(arrivals), where=seen).max(axis=-1)
        ratio = np.divide(reached, here.occupancy, out=np.zeros_like(reached), where=reached > 0.0)
    least = np.where(seen, chosen(here.policy), 1.0).min(axis=-1)
    g_pol, g_env = here.policy_part, here.environment_part(env)
    lengths = [_length(part) for part in (g_pol + g_env, g_pol, g_env)]
    gain, factor, root = chosen(advantage), mismatch / least, np.sqrt(env.n_states)
    steps = [
        (reached * advantage).sum(axis=(-2, -1)),
        (arrivals * gain).sum(axis=-1),
        mismatch * (visits * gain).sum(axis=-1),
        factor * chosen(g_pol).sum(axis=-1),
        factor * root * lengths[1],
        factor * root * (lengths[0] + lengths[2]),
    ]
    return Domination(np.stack(steps), mismatch, least, *lengths, _length(ratio) * lengths[1])
