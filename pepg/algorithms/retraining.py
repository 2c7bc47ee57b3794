"""Retraining in the space of occupancies, until nothing changes: RPO, RGA and the QP that they solve."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csc_array, eye_array, kron

from ..arguments import Seeds, check_array, check_finite, check_instance, check_leading, check_non_negative, check_non_negatives, check_positive
from ..mdp import MDP, PeMDP
from ..quadratic import QP_TOLERANCE, solve_quadratic
from .run import Run, repeat, starting_policy

SPARSE_TOLERANCE = 1e-10  # in place of QP_TOLERANCE, which rounding does not let thousands of states reach; leaves d an error of 1e-8
NO_OCCUPANCY = 1e-6  # a state visited less than this, the error of d, leaves a policy nothing to be read from


def closest_occupancy(mdp, target, weight=1.0, bound=np.inf):
    r"""The occupancy that solves :math:`\max_d \langle d, target \rangle - \frac{weight}{2} \|d\|_2^2` in an MDP.

    d ranges over the flow polytope of `mdp`: :math:`d \ge 0` and :math:`\sum_a d(s,a) = \rho(s) + \gamma
    \sum_{s',a} d(s',a) P(s|s',a)` at the states that are not terminal, none elsewhere. With weight 1 it is the
    Euclidean projection of `target`; with target r and weight λ it is the problem of RPO, a linear program for λ = 0.
    `bound` (..., S, A) adds :math:`d \le bound`; where it is 0 nothing of (s, a) is read.
    A convex QP, solved by PIQP to a duality gap of 1e-12, which for small weights leaves d an error of some 1e-6; the
    problems along leading axes are the blocks of one. Of sparse transitions, some thousand states at most, the gap is
    1e-10. Shapes (..., S, A).

    Raises ValueError for an argument out of range, RuntimeError if the solver does not converge.
    """
    check_instance("mdp", mdp, MDP)
    weight = check_non_negative("weight", weight)
    target, bound = check_finite("target", target, ()), check_array("bound", bound)
    if not (bound >= 0.0).all():
        raise ValueError("bound: expected numbers >= 0 or infinity, but got one that is not")
    shape = (*mdp.P.shape[:-3], mdp.n_states, mdp.n_actions)
    for name, array in (("target", target), ("bound", bound)):
        if check_leading(name, array.shape, shape, "the occupancies") != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    alive = np.flatnonzero(~mdp.terminal)
    n, n_actions = alive.size, mdp.n_actions
    lead = mdp.P.shape[:-3]
    if not alive.size:
        return np.zeros((*lead, mdp.n_states, n_actions))
    count = int(np.prod(lead))
    size = count * n * n_actions
    flow = _sparse_flow(mdp, alive) if mdp.sparse else _flow(mdp, alive, count)
    rho = np.broadcast_to(mdp.rho[..., alive], (*lead, n)).ravel()
    linear = -np.broadcast_to(target, (*lead, mdp.n_states, n_actions))[..., alive, :].ravel()

    upper = np.broadcast_to(bound, (*lead, mdp.n_states, n_actions))[..., alive, :].flatten()
    upper[upper >= 1.0 / (1.0 - mdp.gamma)] = np.inf  # d sums to no more, and on wide bounds PIQP may not converge
    free = np.flatnonzero(upper > QP_TOLERANCE)  # an interior-point method needs an interior
    flow, linear, upper = flow[:, free], linear[free], upper[free]
    occupancy = np.zeros((*lead, mdp.n_states, n_actions))
    solution = np.zeros(size)
    tolerance = SPARSE_TOLERANCE if mdp.sparse else QP_TOLERANCE
    solution[free] = solve_quadratic(csc_array(weight * eye_array(free.size)), linear, flow, rho, upper, tolerance)
    occupancy[..., alive, :] = solution.reshape(*lead, n, n_actions)
    return occupancy


def _flow(mdp, alive, count):
    """The flow constraints of `count` MDPs, block by block: a column for each (s, a), with its rows in order, as CSC storage has them."""
    n, n_actions = alive.size, mdp.n_actions
    inflow = mdp.P[..., alive[:, None, None], np.arange(n_actions)[:, None], alive].reshape(count, n, n_actions, n)
    columns = np.eye(n)[:, None, :] - mdp.gamma * inflow
    rows = n * np.arange(count)[:, None, None, None] + np.broadcast_to(np.arange(n), columns.shape)
    starts = np.arange(0, count * n * n_actions * n + 1, n)
    flow = csc_array((columns.ravel(), rows.ravel(), starts), shape=(count * n, count * n * n_actions))
    flow.eliminate_zeros()
    return flow


def _sparse_flow(mdp, alive):
    """The same of one MDP whose transitions are sparse."""
    pairs = (mdp.n_actions * alive[:, None] + np.arange(mdp.n_actions)).ravel()
    leave = kron(eye_array(alive.size), np.ones((1, mdp.n_actions)))
    flow = csc_array(leave - mdp.gamma * mdp.P[pairs][:, alive].T)
    flow.eliminate_zeros()
    return flow


def policy_of_occupancy(occupancy):
    r""":math:`\pi(a|s) = d(s,a) / \sum_b d(s,b)`, uniform where a state has no occupancy (below 1e-6)."""
    occupancy = check_non_negatives("occupancy", occupancy)
    if occupancy.ndim < 2:
        raise ValueError(f"occupancy: expected shape (..., S, A), got {occupancy.shape}")
    visits = occupancy.sum(axis=-1, keepdims=True)
    seen = visits > NO_OCCUPANCY
    return np.where(seen, occupancy / np.where(seen, visits, 1.0), 1.0 / occupancy.shape[-1])


def repeated_policy_optimization(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 100, seed: Seeds = None, regularization: float = 0.1,
) -> Run:
    r"""Repeated policy optimisation (RPO): solve the regularised problem in the environment of the last policy.

    :math:`d_{t+1} = \arg\max_d \langle d, r_t \rangle - \frac{\lambda}{2} \|d\|_2^2` over the flow polytope of
    :math:`M(\pi_t)`, and :math:`\pi_{t+1}(a|s) \propto d_{t+1}(s,a)`, with `regularization` = λ >= 0 (Mandal,
    Triantafyllou & Radanovic, ICML 2023).

    Raises ValueError for a policy or λ out of range, RuntimeError if the QP solver does not converge.
    """
    start = starting_policy(env, policy, seed)
    regularization = check_non_negative("regularization", regularization)

    def step(deployment):
        return policy_of_occupancy(closest_occupancy(deployment.mdp, deployment.mdp.r, regularization))

    return repeat("repeated_policy_optimization", env, start, iterations, step)


def repeated_gradient_ascent(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 100, seed: Seeds = None, step_size: float = 1.0, regularization: float = 0.1,
) -> Run:
    r"""Repeated gradient ascent (RGA): one projected gradient step of the regularised problem per deployment.

    :math:`d_{t+1}` is the projection of :math:`(1 - \eta\lambda) d_t + \eta r_t` on the flow polytope of
    :math:`M(\pi_t)`, from :math:`d_0 = d^{\pi_0}_{\pi_0}`, and :math:`\pi_{t+1}(a|s) \propto d_{t+1}(s,a)`, with
    `step_size` = η and `regularization` = λ (Mandal, Triantafyllou & Radanovic, ICML 2023).

    Raises as :func:`repeated_policy_optimization`.
    """
    start = starting_policy(env, policy, seed)
    step_size = check_positive("step_size", step_size)
    regularization = check_non_negative("regularization", regularization)
    occupancy = None

    def step(deployment):
        nonlocal occupancy
        last = deployment.occupancy if occupancy is None else occupancy
        target = (1.0 - step_size * regularization) * last + step_size * deployment.mdp.r
        occupancy = closest_occupancy(deployment.mdp, target)
        return policy_of_occupancy(occupancy)

    return repeat("repeated_gradient_ascent", env, start, iterations, step)
