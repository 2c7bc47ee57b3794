r"""The two sides of each result, so that a reader can check it on an environment of their own in one line.

Every function broadcasts over leading axes of the policies and of the environment. Occupancies are not normalised here,
so that the factors :math:`1/(1-\gamma)` of the normalised statements are inside them. The tags R1 to R8 are those of the
theory notebooks, which state and prove each result.
"""

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import Numbers, check_lipschitz
from ..mdp import PeMDP, best_response, check_env, to_logits
from ..performative import deploy


def performance_difference(env: PeMDP, policy: ArrayLike, other: ArrayLike) -> tuple[Numbers, Numbers]:
    r"""R1, the performative performance difference lemma: both sides, (...) each.

    .. math::

       V^\pi_\pi(\rho) - V^{\pi'}_{\pi'}(\rho) = \sum_{s,a} d^\pi_{\pi'}(s,a) \Big[ A^{\pi'}_{\pi'}(s,a)
       + (r_\pi - r_{\pi'})(s,a) + \gamma \sum_{s'} (P_\pi - P_{\pi'})(s'|s,a) V^\pi_\pi(s') \Big]

    for `policy` π and `other` π'. An identity: the sides differ by rounding.
    """
    new, old = deploy(env, policy), deploy(env, env.check_policy(other, "other"))
    occupancy = old.mdp.occupancy(new.policy)
    advantage = old.mdp.backup(old.value) - old.value[..., None]
    shift = new.mdp.backup(new.value) - old.mdp.backup(new.value)
    return new.expected_return - old.expected_return, (occupancy * (advantage + shift)).sum(axis=(-2, -1))


def performative_shift(env: PeMDP, policy: ArrayLike, other: ArrayLike, lipschitz: tuple[ArrayLike, ArrayLike]) -> tuple[Numbers, Numbers]:
    r"""R2, the bound on what the environment's shift adds: both sides, (...) each, left <= right.

    .. math::

       \Big| V^\pi_\pi(\rho) - V^{\pi'}_{\pi'}(\rho) - \sum_{s,a} d^\pi_{\pi'} A^{\pi'}_{\pi'} \Big| \le
       \frac{1}{1-\gamma} \Big( L_r + \gamma L_P \frac{span(V^\pi_\pi)}{2} \Big) \|\pi - \pi'\|_2

    `lipschitz` is :math:`(L_P, L_r)` in the Euclidean norm of policies, e.g. ``env.lipschitz_constants()``.
    """
    transition, reward = check_lipschitz(lipschitz)
    new, old = deploy(env, policy), deploy(env, env.check_policy(other, "other"))
    occupancy = old.mdp.occupancy(new.policy)
    advantage = old.mdp.backup(old.value) - old.value[..., None]
    left = np.abs(new.expected_return - old.expected_return - (occupancy * advantage).sum(axis=(-2, -1)))
    distance = np.sqrt(((new.policy - old.policy) ** 2).sum(axis=(-2, -1)))
    span = new.value.max(axis=-1) - new.value.min(axis=-1)
    return left, (reward + env.gamma * transition * span / 2.0) * distance / (1.0 - env.gamma)


def gradient_parts(env: PeMDP, policy: ArrayLike, entropy: ArrayLike = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""R3 and R4, the three parts of the performative gradient in the logits, (..., S, A) each.

    The policy's, the rewards' and the transitions':
    :math:`\sum d A \nabla\log\pi`, :math:`\sum d \nabla r_\pi` and :math:`\gamma \sum d\, \nabla P_\pi V`. They add up to
    :func:`pepg.performative_gradient`.
    """
    here = deploy(env, policy, entropy)
    rewards = to_logits(here.policy, env.response_gradient(here.policy, here.occupancy, np.zeros_like(here.value)))
    return here.policy_part, rewards, here.environment_part(env) - rewards


def gradient_domination(env: PeMDP, policy: ArrayLike, optimum: ArrayLike) -> tuple[Numbers, Numbers, Numbers]:
    r"""R5, gradient domination with a performative residual: both sides and the residual, (...) each.

    For :math:`g = g_{pol} + g_{env}` in the logits, :math:`a^*(s) = \arg\max_a A^\pi_\pi(s,a)` and any :math:`\pi_O`,

    .. math::

       V^{\pi_O}_{\pi_O}(\rho) - V^\pi_\pi(\rho) \le \sqrt{|S|}
       \Big\| \frac{d^{\pi_O}_\pi}{d^\pi_\pi} \Big\|_\infty \frac{\|g\|_2 + \|g_{env}\|_2}{\min_s \pi(a^*(s)|s)} +
       \underbrace{\sum_{s,a} d^{\pi_O}_\pi \Big[ r_{\pi_O} - r_\pi + \gamma (P_{\pi_O} - P_\pi) V^{\pi_O}_{\pi_O}
       \Big]}_{\text{residual}}.

    The norm and the minimum are over the states that :math:`d^{\pi_O}_\pi` visits: the others, terminal states among
    them, do not enter the proof. `policy` is a softmax policy, positive everywhere. Returns left, right, residual.
    """
    here, best = deploy(env, policy), deploy(env, env.check_policy(optimum, "optimum"))
    if not (here.policy > 0.0).all():
        raise ValueError(f"policy: expected one that is positive everywhere, got the smallest entry {here.policy.min():g}")
    occupancy = here.mdp.occupancy(best.policy)
    visits, reached = here.occupancy.sum(axis=-1), occupancy.sum(axis=-1)
    advantage = here.mdp.backup(here.value) - here.value[..., None]
    environment = here.environment_part(env)
    norm = [np.sqrt((g**2).sum(axis=(-2, -1))) for g in (here.policy_part + environment, environment)]
    with np.errstate(divide="ignore"):  # infinite where the optimum goes and the policy never does: no bound
        mismatch = np.divide(reached, visits, out=np.zeros_like(reached), where=reached > 0.0).max(axis=-1)
    greedy = np.take_along_axis(np.broadcast_to(here.policy, advantage.shape), advantage.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    greedy = np.where(reached > 0.0, greedy, 1.0).min(axis=-1)
    residual = (occupancy * (best.mdp.backup(best.value) - here.mdp.backup(best.value))).sum(axis=(-2, -1))
    right = np.sqrt(env.n_states) * mismatch / greedy * (norm[0] + norm[1]) + residual
    return best.expected_return - here.expected_return, right, residual


def stability_gap(env: PeMDP, stable: ArrayLike, optimum: ArrayLike, lipschitz: tuple[ArrayLike, ArrayLike]) -> tuple[Numbers, Numbers]:
    r"""R8, what stability costs: both sides, (...) each; 0 <= left <= right if `stable` and `optimum` are what they say.

    :math:`V(\pi_O) - V(\pi_S)` against the right-hand side of R2 at :math:`(\pi_O, \pi_S)`: the advantage term of R1 is
    not positive where :math:`\pi_S` is a best response to its own environment.
    """
    optimum, stable = (check_env(env).check_policy(policy, name) for policy, name in ((optimum, "optimum"), (stable, "stable")))
    _, right = performative_shift(env, optimum, stable, lipschitz)
    return deploy(env, optimum).expected_return - deploy(env, stable).expected_return, right


def best_response_gain(env: PeMDP, policy: ArrayLike) -> Numbers:
    r"""How much a best response to the environment of `policy` promises above its own value there, (...): 0 if stable.

    :math:`\max_{\pi'} V^{\pi'}_\pi(\rho) - V^\pi_\pi(\rho)`, by :func:`pepg.best_response` in M(π).
    """
    here = deploy(env, policy)
    return here.mdp.expected_return(best_response(here.mdp)) - here.expected_return


def promise_and_shift(env: PeMDP, policies: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""R1 along policies (T + 1, ..., S, A) deployed in turn: what each deployment promised the next, and the shift.

    Returns the values (T + 1, ...) and, for t < T, :math:`V^{\pi_{t+1}}_{\pi_t}(\rho)`, which the environment frozen at :math:`\pi_t`
    promises, and :math:`\sum d^{\pi_{t+1}}_{\pi_t} [ r_{\pi_{t+1}} - r_{\pi_t} + \gamma (P_{\pi_{t+1}} - P_{\pi_t})
    V^{\pi_{t+1}}_{\pi_{t+1}} ]`, (T, ...) each: a value is what was promised plus the shift.
    """
    policies = check_env(env).check_policy(policies, "policies")
    if policies.ndim < 3 or len(policies) < 2:
        raise ValueError(f"policies: expected at least two, of shape (T + 1, ..., S, A), got shape {policies.shape}")
    deployed = [deploy(env, policy) for policy in policies]
    promised, shifts = [], []
    for before, after in zip(deployed, deployed[1:]):
        promised.append(before.mdp.expected_return(after.policy))
        moved = after.mdp.backup(after.value) - before.mdp.backup(after.value)
        shifts.append((before.mdp.occupancy(after.policy) * moved).sum(axis=(-2, -1)))
    return np.array([one.expected_return for one in deployed]), np.array(promised), np.array(shifts)
