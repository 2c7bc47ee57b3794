"""For notebook 06d: fixed transitions and rewards that respond to the occupancy; a value that is concave in it, or not; the figure."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import xlogy

import pepg
from pepg import figures
from pepg.mdp import best_response

SCALE = 2.0  # of the starts' logits
TILT = 0.02  # of the rewards that make an interior policy nearly stationary


@dataclass(frozen=True, eq=False)
class OccupancyRewards(pepg.PeMDP):
    r"""Fixed transitions, and rewards :math:`r_\pi = b - C d_\pi` that respond to the occupancy of the deployed policy.

    P (n, S, A, S), b (n, S, A), C (n, S·A, S·A) symmetric, gamma, rho (n, S): n environments side by side. The value is
    :math:`V(\pi) = F(d_\pi) = \langle b, d_\pi \rangle - d_\pi^\top C d_\pi`, d not normalised.
    """

    P: np.ndarray
    b: np.ndarray
    C: np.ndarray
    gamma: float
    rho: np.ndarray

    @property
    def n_states(self):
        return self.P.shape[-1]

    @property
    def n_actions(self):
        return self.P.shape[-2]

    @property
    def lead(self):
        return self.P.shape[:-3]

    def with_rewards(self, rewards):
        """The fixed MDP with these rewards (..., n, S, A)."""
        return pepg.MDP(self.P, rewards, self.gamma, self.rho)

    def occupancy(self, policy):
        return self.with_rewards(self.b).occupancy(policy)

    def crowding(self, occupancy):
        """C d, (..., n, S, A)."""
        return (self.C @ occupancy.reshape(*occupancy.shape[:-2], -1, 1))[..., 0].reshape(occupancy.shape)

    def respond(self, policy):
        return self.with_rewards(self.b - self.crowding(self.occupancy(policy)))

    def response_gradient(self, policy, occupancy, value):
        """The gradient in π of -⟨C d, d_π⟩, d held fixed: of a return in the fixed MDP, its state occupancies times action values."""
        fixed = self.with_rewards(-self.crowding(occupancy))
        return fixed.occupancy(policy).sum(axis=-1, keepdims=True) * fixed.action_value(policy)

    def gap(self, policy, entropy=0.0):
        r"""The first-order gain :math:`\max_{d'} \langle \nabla F_\lambda(d_\pi), d' - d_\pi \rangle` over all occupancies, (..., n).

        :math:`\nabla F_\lambda(d) = b - 2 C d - \lambda \log \pi`: the maximum is the best return in one MDP. Where
        :math:`F_\lambda` is concave no policy is better than `policy` by more than this. Policies are positive if `entropy` is.
        """
        bonus = entropy * np.log(policy) if entropy else 0.0
        mdp = self.with_rewards(self.b - 2.0 * self.crowding(self.occupancy(policy)) - bonus)
        return mdp.expected_return(best_response(mdp)) - mdp.expected_return(policy)


def directions(P, gamma):
    """An orthonormal basis of the differences of two occupancies, (n, S·A, S·(A - 1)): what the flow between states leaves free.

    The entries of the actions after the first are free, those of the first follow from the flow. Gram-Schmidt on that, with the signs
    that make it unique, so that another machine draws the same environments.
    """
    n_states, n_actions = P.shape[-1], P.shape[-2]
    size = n_states * (n_actions - 1)
    flow = np.eye(n_states)[:, None, :] - gamma * P  # (n, S, A, S)
    rest = np.swapaxes(flow[..., 1:, :].reshape(*P.shape[:-3], size, n_states), -1, -2)
    first = -np.linalg.solve(np.swapaxes(flow[..., 0, :], -1, -2), rest)  # (n, S, size)
    free = np.broadcast_to(np.eye(size).reshape(n_states, n_actions - 1, size), (*P.shape[:-3], n_states, n_actions - 1, size))
    basis, upper = np.linalg.qr(np.concatenate([first[..., None, :], free], axis=-2).reshape(*P.shape[:-3], -1, size))
    return basis * np.sign(np.diagonal(upper, axis1=-2, axis2=-1))[..., None, :]


def random_worlds(rng, size, gamma, least, count, chosen):
    """Random environments whose C has the least eigenvalue `least` · (1 - γ) along the occupancies, the others up to 1 - γ.

    chosen : the rewards b are such that a random policy inside is stationary but for a tilt of 0.02; else b is N(0, 1)
    """
    n_states, n_actions = size
    P, rho = rng.dirichlet(np.ones(n_states), (count, n_states, n_actions)), np.full((count, n_states), 1.0 / n_states)
    basis = directions(P, gamma)
    free = basis.shape[-1]
    turned = basis @ np.linalg.qr(rng.normal(size=(count, free, free)))[0]
    eigenvalues = np.maximum(rng.uniform(size=(count, free)), least)
    eigenvalues[:, 0] = least
    C = (1.0 - gamma) * (turned * eigenvalues[:, None]) @ np.swapaxes(turned, -1, -2)
    b = rng.normal(size=(count, *size))
    inside = pepg.softmax(rng.normal(size=(count, *size)))
    env = OccupancyRewards(P, b, C, gamma, rho)
    return OccupancyRewards(P, 2.0 * env.crowding(env.occupancy(inside)) + TILT * b, C, gamma, rho) if chosen else env


def factor(env):
    r""":math:`\frac{1}{1-\gamma} \big(1 + \frac{\gamma\tau}{1-\gamma}\big)^2`, (n,); τ: the largest total variation between the next states
    of two actions.
    """
    apart = np.abs(env.P[..., :, None, :] - env.P[..., None, :, :]).sum(axis=-1).max(axis=(-3, -2, -1)) / 2.0
    return (1.0 + env.gamma * apart / (1.0 - env.gamma)) ** 2 / (1.0 - env.gamma)


def enough_entropy(env):
    r""":math:`\lambda_C`, above which :math:`F_\lambda` is strictly concave, (n,): :func:`factor` times ε, where :math:`-\epsilon` is the
    least eigenvalue of C along the occupancies, and ε = 0 if none is negative.
    """
    basis = directions(env.P, env.gamma)
    least = np.linalg.eigvalsh(np.swapaxes(basis, -1, -2) @ env.C @ basis)[..., 0]
    return np.maximum(-least, 0.0) * factor(env)


def conditional_entropy(occupancy):
    """h(d) = -Σ d(s,a) log(d(s,a) / d(s)), (...)."""
    visits = occupancy.sum(axis=-1)
    return xlogy(visits, visits).sum(axis=-1) - xlogy(occupancy, occupancy).sum(axis=(-2, -1))


def along(env, policy, other, h=3e-4):
    """The proof's quantities on the segment from d_π to d_π', (n,) each, at d_π.

    The slope of F and what (a) says that it is; the second derivative of the conditional entropy h and what (c) says, -q; and
    2 |δ|² over (λ_C / ε) q, at most 1.
    """
    here, there = env.occupancy(policy), env.occupancy(other)
    change = there - here
    marginal = env.b - 2.0 * env.crowding(here)
    slope = (marginal * change).sum(axis=(-2, -1))
    deployed = pepg.deploy(env, policy)
    visits, arrivals = here.sum(axis=-1, keepdims=True), there.sum(axis=-1, keepdims=True)
    by_policy = visits * deployed.mdp.backup(deployed.value) + env.response_gradient(policy, here, deployed.value)
    turn = arrivals / visits * (other - policy)  # the derivative of the policy along the segment
    q = (visits * turn**2 / policy).sum(axis=(-2, -1))
    line = [conditional_entropy(here + t * h * change) for t in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    bend = np.tensordot([-1.0, 16.0, -30.0, 16.0, -1.0], line, axes=1) / (12.0 * h**2)
    used = 2.0 * (change**2).sum(axis=(-2, -1)) / (q * factor(env))
    return slope, (by_policy * turn).sum(axis=(-2, -1)), bend, -q, used


def random_starts(rng, env, count):
    return pepg.softmax(rng.normal(0.0, SCALE, (count, *env.lead, env.n_states, env.n_actions)))


def ends(env, start, iterations, close, entropy=0.0):
    """PePG from every start (starts, n, S, A): in percent, runs below the best end by more than `close`, environments where some are,
    and environments whose best end has a first-order gain above `close`.
    """
    policy = pepg.algorithms.pepg(env, policy=start, iterations=iterations, entropy=entropy).policy
    value = pepg.performative_value(env, policy, entropy)
    missed = value.max(axis=0) - value > close
    best = policy[value.argmax(axis=0), np.arange(len(env.b))]
    return {
        "runs that miss %": 100.0 * missed.mean(), "PeMDPs with a miss %": 100.0 * missed.any(axis=0).mean(),
        "best end not stationary %": 100.0 * (env.gap(best, entropy) > close).mean(),
    }


def sweep(rng, size, gamma, levels, count, starts, iterations, close):
    """:func:`ends` against the least eigenvalue of C, for random and for chosen rewards: a table."""
    rows = []
    for kind, least in ((kind, least) for kind in ("random", "chosen") for least in levels):
        env = random_worlds(rng, size, gamma, least, count, kind == "chosen")
        rows.append({"rewards": kind, "least eigenvalue": least} | ends(env, random_starts(rng, env, starts), iterations, close))
    return pd.DataFrame(rows)


def entropy_sweep(rng, sizes, gamma, least, shares, count, starts, iterations, close):
    """:func:`ends` with chosen rewards against λ, in units of the largest :func:`enough_entropy` of the environments: a table."""
    rows = []
    for size in sizes:
        env = random_worlds(rng, size, gamma, least, count, True)
        start, enough = random_starts(rng, env, starts), float(enough_entropy(env).max())
        for share in shares:
            row = {"states": size[0], "share": share, "lambda": share * enough}
            rows.append(row | ends(env, start, iterations, close, share * enough))
    return pd.DataFrame(rows)


def draw_conditions(levels, shares):
    """Left: against the least eigenvalue. Right: against the entropy coefficient."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.0), sharey=True)
    column, color = "PeMDPs with a miss %", figures.COLORS["PePG"]
    for (kind, rows), (marker, line) in zip(levels.groupby("rewards", sort=False), (("s", "--"), ("o", "-"))):
        label = f"{kind} rewards"
        for side in (rows[rows["least eigenvalue"] > 0], rows[rows["least eigenvalue"] < 0]):  # not joined across the condition
            axes[0].plot(side["least eigenvalue"], side[column], marker, linestyle=line, color=color, markersize=4, label=label)
            label = None
    axes[0].set_xscale("symlog", linthresh=0.03)
    axes[0].set(xlabel=r"least eigenvalue of $C$ along occupancies, in $1-\gamma$", ylabel="PeMDPs with more than one end (%)")
    axes[0].set_xticks([-1, -0.1, 0, 0.1, 1], ["−1", "−0.1", "0", "0.1", "1"])
    for (states, rows), (marker, line) in zip(shares.groupby("states"), (("D", "-"), ("^", "--"))):
        tone = figures.shades("PePG, entropy", 2)[int(states > 1)]
        label = f"{states} state" + "s" * (states > 1)
        axes[1].plot(rows["share"], rows[column], marker, linestyle=line, color=tone, markersize=4, label=label)
    axes[1].set(xscale="log", xlim=(0.008, 2.0), xlabel=r"entropy coefficient $\lambda$, in $\lambda_C$, enough by proof")
    for axis, edge in zip(axes, (0.0, 1.0)):
        axis.axvline(edge, color="0.4", linewidth=0.8)
        axis.set_ylim(-2, 102)
        axis.minorticks_off()
    axes[0].legend(loc="upper right")
    axes[1].legend(loc="center left")
    return figure
