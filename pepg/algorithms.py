r"""The algorithms: functions of an environment that return a :class:`Run`.

All are called alike, ``<name>(env, *, policy=None, iterations=..., seed=None, ...)``, and measured by the same number,
the true performative value :math:`V^\pi_\pi(\rho)` of every policy that they would deploy. `policy` is the start
(S, A), or several (..., S, A) that run side by side. Where it is None the start is the uniform policy, or with an
integer `seed` a near-uniform one (softmax of logits drawn from N(0, 0.1²)); an exact algorithm draws nothing else.

=============================== ========================================================================================
pepg                            ascends the gradient of the performative value (Basu et al., arXiv 2512.20576)
policy_gradient                 ascends without the environment's part; where it converges, to a stable policy
repeated_policy_optimization    solves the regularised problem in the environment of the last policy (Mandal et al. 2023)
repeated_gradient_ascent        takes one projected gradient step on the occupancy there (Mandal et al. 2023)
=============================== ========================================================================================
"""

from dataclasses import dataclass

import numpy as np
import piqp
from scipy.sparse import csc_array, eye_array
from tqdm import tqdm

from .mdp import softmax
from .performative import deploy

QP_TOLERANCE = 1e-12  # residuals and duality gap; d itself is then exact to about the root of it
NO_OCCUPANCY = 1e-6  # a state visited less than this, the error of d, leaves a policy nothing to be read from
NOISE = 1e-12  # an advantage below this share of the largest value is rounding, and has no sign


@dataclass(frozen=True, eq=False)
class Run:
    r"""What an algorithm did, iterate by iterate; T iterations, and the leading axes of the start after the first.

    policies : (T + 1, ..., S, A), the start included
    values : (T + 1, ...), the true :math:`V^\pi_\pi(\rho)` of each, without any bonus or penalty
    shifts : (T, ...), the relative change of the occupancy, :math:`\|d_{t+1} - d_t\|_2 / \|d_t\|_2` with
        :math:`d_t = d^{\pi_t}_{\pi_t}`
    deployments, samples : (T + 1,), how many deployments, and transitions sampled, each iterate took so far
    """

    policies: np.ndarray
    values: np.ndarray
    shifts: np.ndarray
    deployments: np.ndarray
    samples: np.ndarray

    @property
    def policy(self):
        """The last policy, (..., S, A)."""
        return self.policies[-1]


def _starting_policy(env, policy, seed):
    if policy is not None:
        return env.check_policy(policy)
    if seed is None:
        return env.uniform_policy()
    return env.random_policies([seed])[0]


def _check_number(name, value, expected, good):
    if not (np.ndim(value) == 0 and np.isfinite(value) and good(value)):
        raise ValueError(f"{name}: expected {expected}, got {value}")
    return value


def _check_positive(name, value):
    return float(_check_number(name, value, "a finite number > 0", lambda x: x > 0))


def _check_non_negative(name, value):
    return float(_check_number(name, value, "a finite number >= 0", lambda x: x >= 0))


def _repeat(name, env, start, iterations, step, entropy=0.0):
    """Deploy, evaluate, step: the loop of every exact algorithm. `step` maps a Deployment to the next policy."""
    iterations = int(_check_number("iterations", iterations, "a whole number >= 0", lambda n: n >= 0 and n == int(n)))
    policies = np.empty((iterations + 1, *start.shape))
    values = np.empty((iterations + 1, *start.shape[:-2]))
    shifts = np.empty((iterations, *start.shape[:-2]))
    policies[0] = start
    occupancy = None
    for t in tqdm(range(iterations + 1), desc=name, leave=False, disable=None):
        deployment = deploy(env, policies[t], entropy)
        values[t] = deployment.expected_return
        if t > 0:
            change = np.linalg.norm(deployment.occupancy - occupancy, axis=(-2, -1))
            shifts[t - 1] = change / np.linalg.norm(occupancy, axis=(-2, -1))
        occupancy = deployment.occupancy
        if t < iterations:
            policies[t + 1] = step(deployment)
    count = np.arange(iterations + 1)
    return Run(policies, values, shifts, deployments=count, samples=np.zeros_like(count))


# Ascent in the logits


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


def _ascend(name, env, gradient, policy, iterations, seed, step_size, entropy):
    start = _starting_policy(env, policy, seed)
    entropy = _check_non_negative("entropy", entropy)
    rule = _Rprop() if step_size is None else _ConstantStep(_check_positive("step_size", step_size))
    with np.errstate(divide="ignore"):
        logits = np.log(start)  # -inf for an action never taken: the softmax cannot leave that face

    def step(deployment):
        nonlocal logits
        noise = NOISE * deployment.occupancy * np.abs(deployment.value).max(axis=-1)[..., None, None]
        logits = logits + rule(gradient(deployment), noise)
        return softmax(logits)

    return _repeat(name, env, start, iterations, step, entropy)


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


# Retraining in the space of occupancies


def closest_occupancy(mdp, target, weight=1.0):
    r"""The occupancy that solves :math:`\max_d \langle d, target \rangle - \frac{weight}{2} \|d\|_2^2` in an MDP.

    d ranges over the flow polytope of `mdp`: :math:`d \ge 0` and :math:`\sum_a d(s,a) = \rho(s) + \gamma
    \sum_{s',a} d(s',a) P(s|s',a)` at the states that are not terminal, none elsewhere. With weight 1 it is the
    Euclidean projection of `target`; with target r and weight λ it is the problem of RPO, a linear program for λ = 0.
    A convex QP, solved by PIQP to a duality gap of 1e-12, which for small weights leaves d an error of some 1e-6; the
    problems along leading axes are the blocks of one. Shapes (..., S, A).

    Raises RuntimeError if the solver does not converge.
    """
    alive = np.flatnonzero(~mdp.terminal)
    n, n_actions = alive.size, mdp.n_actions
    lead = mdp.P.shape[:-3]
    count = int(np.prod(lead))
    size = count * n * n_actions
    # The flow constraints, block by block: a column for each (s, a), with its rows in order, as CSC storage has them.
    inflow = mdp.P[..., alive[:, None, None], np.arange(n_actions)[:, None], alive].reshape(count, n, n_actions, n)
    columns = np.eye(n)[:, None, :] - mdp.gamma * inflow
    rows = n * np.arange(count)[:, None, None, None] + np.broadcast_to(np.arange(n), columns.shape)
    starts = np.arange(0, size * n + 1, n)
    flow = csc_array((columns.ravel(), rows.ravel(), starts), shape=(count * n, size))
    flow.eliminate_zeros()
    rho = np.broadcast_to(mdp.rho[..., alive], (*lead, n)).ravel()
    linear = -np.broadcast_to(target, (*lead, mdp.n_states, n_actions))[..., alive, :].ravel()

    solver = piqp.SparseSolver()
    settings = solver.settings
    settings.eps_abs = settings.eps_rel = QP_TOLERANCE
    settings.eps_duality_gap_abs = settings.eps_duality_gap_rel = QP_TOLERANCE
    # PIQP regularises the KKT system; with its own lower limits it can stall short of this tolerance.
    settings.reg_lower_limit, settings.reg_finetune_lower_limit = 1e-13, 1e-15
    solver.setup(csc_array(weight * eye_array(size)), linear, flow, rho, x_l=np.zeros(size))
    status = solver.solve()
    if status != piqp.PIQP_SOLVED:
        raise RuntimeError(f"PIQP did not solve the problem over the occupancies: {status}")
    occupancy = np.zeros((*lead, mdp.n_states, n_actions))
    occupancy[..., alive, :] = np.maximum(solver.result.x, 0.0).reshape(*lead, n, n_actions)
    return occupancy


def policy_of_occupancy(occupancy):
    r""":math:`\pi(a|s) = d(s,a) / \sum_b d(s,b)`, uniform where a state has no occupancy (below 1e-6)."""
    visits = occupancy.sum(axis=-1, keepdims=True)
    seen = visits > NO_OCCUPANCY
    return np.where(seen, occupancy / np.where(seen, visits, 1.0), 1.0 / occupancy.shape[-1])


def repeated_policy_optimization(env, *, policy=None, iterations=100, seed=None, regularization=0.1):
    r"""Repeated policy optimisation (RPO): solve the regularised problem in the environment of the last policy.

    :math:`d_{t+1} = \arg\max_d \langle d, r_t \rangle - \frac{\lambda}{2} \|d\|_2^2` over the flow polytope of
    :math:`M(\pi_t)`, and :math:`\pi_{t+1}(a|s) \propto d_{t+1}(s,a)`, with `regularization` = λ >= 0 (Mandal,
    Triantafyllou & Radanovic, ICML 2023).

    Raises ValueError for a policy or λ out of range, RuntimeError if the QP solver does not converge.
    """
    start = _starting_policy(env, policy, seed)
    regularization = _check_non_negative("regularization", regularization)

    def step(deployment):
        return policy_of_occupancy(closest_occupancy(deployment.mdp, deployment.mdp.r, regularization))

    return _repeat("repeated_policy_optimization", env, start, iterations, step)


def repeated_gradient_ascent(
    env, *, policy=None, iterations=100, seed=None, step_size=1.0, regularization=0.1
):
    r"""Repeated gradient ascent (RGA): one projected gradient step of the regularised problem per deployment.

    :math:`d_{t+1}` is the projection of :math:`(1 - \eta\lambda) d_t + \eta r_t` on the flow polytope of
    :math:`M(\pi_t)`, from :math:`d_0 = d^{\pi_0}_{\pi_0}`, and :math:`\pi_{t+1}(a|s) \propto d_{t+1}(s,a)`, with
    `step_size` = η and `regularization` = λ (Mandal, Triantafyllou & Radanovic, ICML 2023).

    Raises as :func:`repeated_policy_optimization`.
    """
    start = _starting_policy(env, policy, seed)
    step_size = _check_positive("step_size", step_size)
    regularization = _check_non_negative("regularization", regularization)
    occupancy = None

    def step(deployment):
        nonlocal occupancy
        last = deployment.occupancy if occupancy is None else occupancy
        target = (1.0 - step_size * regularization) * last + step_size * deployment.mdp.r
        occupancy = closest_occupancy(deployment.mdp, target)
        return policy_of_occupancy(occupancy)

    return _repeat("repeated_gradient_ascent", env, start, iterations, step)
