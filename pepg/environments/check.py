r"""Is an environment what the algorithms take it for? Measured, with the limit of each check beside it."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import ROW_SUM_TOLERANCE, check_count, check_finite, check_gamma, check_policy
from ..mdp import MDP, PeMDP, check_dense, check_env, to_logits

ROUNDING = 1e-12  # of a response computed again: another start of a search, another order of sums
SAME = 1e-9  # of policies side by side against each alone: rounding of sums in another order
DERIVATIVE = 1e-5  # of a gradient against differences: what rounding and curvature leave of them
STEPS = (1e-3, 1e-4, 1e-5)  # of the differences, in the logits
DIRECTIONS = 3
NEARLY = 0.999  # of a deterministic policy, in a mixture with the uniform one
MISSED = 0.5  # the share of a finite move that the derivative may miss: kinks leave up to a fifth, jumps nearly all
PIECES, MOVES = 12, 3  # of a move, and how many moves


@dataclass(frozen=True)
class Check:
    """One property: the worst that was measured, and the limit that it keeps."""

    name: str
    worst: float
    limit: float


@dataclass(frozen=True)
class EnvironmentReport:
    """What :func:`check_environment` measured; print it."""

    environment: str
    policies: int
    checks: tuple
    warning: str = ""  # what PePG will not see, if anything

    def __str__(self):
        lines = [f"{self.environment}: all checks passed at {self.policies} policies", f"{'':<64}{'worst':>9}{'limit':>9}"]
        lines += [f"{c.name:<64}{c.worst:>9.1g}{c.limit:>9.1g}" for c in self.checks]
        return "\n".join([*lines, *([f"but {self.warning}"] if self.warning else [])])


def check_environment(env: PeMDP, policies: ArrayLike | None = None) -> EnvironmentReport:
    r"""Check that `env` does what a :class:`pepg.PeMDP` promises; any, hand-written or not.

    At every policy: the response is an MDP with distributions in its rows and finite rewards, of the environment's own
    shapes, γ and rho; deployed again it is the same up to rounding (1e-12); policies side by side give what each gives alone; and
    `response_gradient` agrees with central differences of

    .. math:: f(\pi) = \sum_{s,a} d(s,a) \Big( r_\pi(s,a) + \gamma \sum_{s'} P_\pi(s'|s,a) V(s') \Big)

    for random d > 0 and V, along three random directions :math:`u = \pi (z - E_\pi z)`, which do not leave the simplex.
    The error is :math:`|\langle D, u \rangle - f'| / (\|D\| \|u\|)` with D the gradient centred in each row, and must be
    below 1e-5, up to rounding. It is the best of three steps (1e-3, 1e-4, 1e-5), because a response may have kinks, as the
    gridworld's has, and a shorter step is less likely to straddle one. Exactly at a kink no gradient agrees.

    At the corners, too: at deterministic policies, which best responses and RPO deploy, and at mixtures of 0.999 of one with the
    uniform policy, the response is an MDP and, at the mixtures, the gradient finite. And along moves from one policy to another,
    cut into 12 pieces: :math:`\sum_k |f_{k+1} - f_k - \langle D_{k+1/2}, \pi_{k+1} - \pi_k \rangle|` over :math:`\sum_k |f_{k+1} - f_k|`,
    the share of the response's way that the derivative misses. Above 0.5 a warning says so: an argmax, a threshold or a rounding is
    flat between jumps, and what the derivative does not show PePG does not see.

    policies : (n, S, A); by default two near-uniform and two random ones, from fixed seeds

    Returns an :class:`EnvironmentReport`. Raises ValueError that names the first check that fails, and where, and for an environment
    whose MDPs are sparse, of which a small one is to be checked; warns of a response that jumps.
    """
    check_env(env)
    check_gamma(env.gamma)
    n_states, n_actions = check_count("n_states", env.n_states), check_count("n_actions", env.n_actions)
    if policies is None:
        policies = np.concatenate([env.random_policies(range(2)), env.random_policies(range(2, 4), scale=1.5)])
    policies = check_policy(policies, n_states, n_actions, "policies")
    if policies.ndim != 3:
        raise ValueError(f"policies: expected shape (n, {n_states}, {n_actions}), got {policies.shape}")

    rng = np.random.default_rng(0)
    alone = [_deploy(env, policy, i) for i, policy in enumerate(policies)]
    occupancy = rng.uniform(0.1, 1.0, policies[0].shape) * ~alone[0].terminal[:, None]
    value = rng.normal(size=env.n_states)
    gradients = np.array([_gradient(env, policy, occupancy, value, i) for i, policy in enumerate(policies)])
    checks = (
        Check("rows of P sum to 1; all entries finite", max(_row_error(mdp.P) for mdp in alone), ROW_SUM_TOLERANCE),
        _check_repeated(env, policies, alone),
        *_check_side_by_side(env, policies, alone, occupancy, value, gradients),
        _check_differences(env, policies, occupancy, value, gradients, rng),
        _check_corners(env, occupancy, value, rng),
    )
    missed = _check_moves(env, policies, occupancy, value)
    warning = ""
    if missed.worst > missed.limit:
        warning = (
            f"the response jumps: the derivative shows only {100 * max(1.0 - missed.worst, 0.0):.0f} % of how it moves between two policies. PePG "
            "climbs what the derivative shows and does not see the jumps (an argmax, a threshold, a rounding?); values, PG and RPO "
            "are right all the same. A smooth response (a softmax for the argmax, a sigmoid for the threshold) is seen whole."
        )
        warnings.warn(warning, stacklevel=2)
    return EnvironmentReport(type(env).__name__, len(policies), (*checks, missed), warning)


def _row_error(P):
    return float(np.abs(P.sum(axis=-1) - 1.0).max())


def _within(name, worst, limit, where=""):
    if not worst <= limit:  # a NaN fails
        raise ValueError(f"{name}: expected at most {limit:.0e}, got {worst:.3g}{where}")
    return Check(name, float(worst), limit)


def _deploy(env, policy, i):
    """The response to policy i, which must have the environment's own shapes, γ and ρ; an MDP has checked its numbers."""
    mdp = env.respond(policy)
    if not isinstance(mdp, MDP):
        raise ValueError(f"respond: expected an MDP, got {type(mdp).__name__} at policy {i}")
    check_dense("respond", mdp)
    for name in ("n_states", "n_actions", "gamma", "rho"):
        found, expected = getattr(mdp, name), getattr(env, name)
        if not np.array_equal(found, expected):
            raise ValueError(f"respond: {name}: expected the environment's own {expected}, got {found} at policy {i}")
    return mdp


def _gradient(env, policy, occupancy, value, i):
    gradient = np.asarray(env.response_gradient(policy, occupancy, value))
    if gradient.shape[-2:] != policy.shape:
        raise ValueError(f"response_gradient: expected shape (..., {policy.shape}), got {gradient.shape} at policy {i}")
    return check_finite("response_gradient", gradient, policy.shape)


def _norm(array):
    return np.sqrt((array**2).sum(axis=(-2, -1)))


def _check_repeated(env, policies, alone):
    """Deployed again, after the others: an environment that only remembers its last response is not spared."""
    name = "respond twice at one policy: entries of P and r that differ"
    for i in reversed(range(len(policies))):
        mdp = env.respond(policies[i])
        for array, before, again in (("P", alone[i].P, mdp.P), ("r", alone[i].r, mdp.r)):
            differ = np.argwhere(np.abs(before - again) > ROUNDING * max(1.0, np.abs(before).max()))
            if differ.size:
                raise ValueError(f"{name}: expected none, but {array}{differ[0].tolist()} does at policy {i}")
    return Check(name, 0.0, 0.0)


def _check_side_by_side(env, policies, alone, occupancy, value, gradients):
    """Policies along a leading axis, before those that the environment may have itself."""
    own = alone[0].P.ndim - 3
    stack = policies.reshape(len(policies), *(1,) * own, *policies.shape[1:])
    try:
        mdp = env.respond(stack)
        gradient = env.response_gradient(
            stack, np.broadcast_to(occupancy, stack.shape), np.broadcast_to(value, stack.shape[:-1])
        )
    except Exception as error:
        raise ValueError(
            f"policies side by side: expected answers to policies of shape {stack.shape}, "
            f"got {type(error).__name__}: {error}"
        ) from error
    expected = {
        "P": (mdp.P, np.array([one.P for one in alone])),
        "r": (mdp.r, np.array([one.r for one in alone])),
        "response_gradient": (gradient, gradients),
    }
    for name, (found, one_by_one) in expected.items():
        if np.shape(found) != one_by_one.shape:
            raise ValueError(f"policies side by side: {name}: expected shape {one_by_one.shape}, got {np.shape(found)}")
        worst = np.abs(found - one_by_one).max() / max(1.0, np.abs(one_by_one).max())
        yield _within(f"{name} of policies side by side, against each alone", worst, SAME)


def _check_differences(env, policies, occupancy, value, gradients, rng):
    """The gradient against central differences; see :func:`check_environment`."""
    name, worst = "response_gradient against central differences, relative", 0.0

    def total(policy):
        mdp = env.respond(policy)
        return (occupancy * (mdp.r + env.gamma * mdp.P @ value)).sum(axis=(-2, -1)), np.abs(mdp.r).max()

    for i, (policy, gradient) in enumerate(zip(policies, gradients)):
        gradient = gradient - gradient.mean(axis=-1, keepdims=True)
        for k in range(DIRECTIONS):
            direction = to_logits(policy, rng.choice([-1.0, 1.0], policy.shape))
            slope = (gradient * direction).sum(axis=(-2, -1))
            errors = []
            for step in STEPS:
                (high, size), (low, _) = total(policy + step * direction), total(policy - step * direction)
                difference = (high - low) / (2.0 * step)
                rounding = 1e-15 * occupancy.sum() * (size + np.abs(value).max()) / step
                error = np.maximum(np.abs(slope - difference) - rounding, 0.0)
                scale = np.maximum(_norm(gradient) * _norm(direction), np.abs(difference))
                errors.append((error / np.where(scale > 0.0, scale, 1.0)).max())
                if errors[-1] <= 0.1 * DERIVATIVE:
                    break
            worst = max(worst, _within(name, min(errors), DERIVATIVE, f" at policy {i}, direction {k}").worst)
    return Check(name, worst, DERIVATIVE)


def _check_corners(env, occupancy, value, rng):
    """Deterministic policies, and mixtures of nearly all of one with the uniform policy."""
    n, m = env.n_states, env.n_actions
    chosen = [(f"action {a} in every state", np.full(n, a)) for a in range(min(m, 3))]
    chosen += [(f"the actions {row.tolist()}", row) for row in rng.integers(m, size=(3, n))]
    worst = 0.0
    for name, actions in chosen:
        corner = np.eye(m)[actions]
        for policy, where in ((corner, name), (NEARLY * corner + (1.0 - NEARLY) / m, f"{NEARLY:g} of {name}")):
            try:
                worst = max(worst, _row_error(_deploy(env, policy, "").P))
                if policy is not corner:  # at a corner itself a derivative may be infinite, and no ascent is there
                    _gradient(env, policy, occupancy, value, "")
            except ValueError as error:
                hint = " (0 log 0? log of policy + 1e-300 is finite)" if " nan" in str(error) else ""
                raise ValueError(f"at the policy with {where}: {str(error).removesuffix(' at policy ')}{hint}") from error
    return Check("the same at deterministic policies and at 0.999 of them", worst, ROW_SUM_TOLERANCE)


def _check_moves(env, policies, occupancy, value):
    """How much of a finite move the derivative misses; see :func:`check_environment`."""

    def total(policy):
        mdp = env.respond(policy)
        return (occupancy * (mdp.r + env.gamma * mdp.P @ value)).sum(axis=(-2, -1))

    size = np.abs(total(policies[0])).max() + 1.0
    last, worst = np.eye(env.n_actions)[np.arange(env.n_states) % env.n_actions], 0.0
    for start, end in list(zip(policies, [*policies[1:], last]))[-MOVES:]:
        shares = np.linspace(0.0, NEARLY, PIECES + 1)
        values = np.array([total((1 - share) * start + share * end) for share in shares])
        moved, promised = np.diff(values, axis=0), []
        for share, width in zip((shares[1:] + shares[:-1]) / 2, np.diff(shares)):
            gradient = np.asarray(env.response_gradient((1 - share) * start + share * end, occupancy, value))
            promised.append(width * (gradient * (end - start)).sum(axis=(-2, -1)))
        way = np.abs(moved).sum(axis=0)
        missed = np.where(way > 1e-9 * size, np.abs(moved - np.array(promised)).sum(axis=0) / np.maximum(way, 1e-300), 0.0)
        worst = max(worst, float(missed.max()))
    return Check("moves from one policy to another: missed by the derivative", worst, MISSED)
