"""For notebook 04: rest points, the path of the regularised optimum, the estimators with a bonus, and the figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, data, figures
from pepg.theory.certificate import certified_optimum
from pepg.theory.differences import by_differentiation, central_differences, norm


def check(env, logits, entropy):
    """Errors of R4 over the instances of `env`, relative to the gradient: the largest by two other ways, the median without a bonus."""
    policy = pepg.softmax(logits)
    exact, true = pepg.performative_gradient(env, policy, entropy), by_differentiation(env, logits, entropy)
    here, plain = pepg.deploy(env, policy, entropy), pepg.deploy(env, policy)
    score = here.occupancy * np.log(policy)
    forgotten = exact + entropy * (score - policy * score.sum(axis=-1, keepdims=True))
    half = here.policy_part + plain.environment_part(env)
    return {
        "differences": (norm(exact - central_differences(env, logits, entropy)) / norm(exact)).max(),
        "autodiff": (norm(exact - true) / norm(exact)).max(),
        "response without bonus": np.median(norm(half - true) / norm(true)),
        "policy without bonus": np.median(norm(forgotten - true) / norm(true)),
    }


def right_side(env, policy, entropy):
    """The right side of equation (1), and the softmax without the response's term."""
    here = pepg.deploy(env, policy, entropy)
    action_value = here.mdp.backup(here.value)
    response = env.response_gradient(policy, here.occupancy, here.value) / here.occupancy.sum(axis=-1, keepdims=True)
    return pepg.softmax((action_value + response) / entropy), pepg.softmax(action_value / entropy)


def at_rest(env, start, entropy, strength):
    """Where the ascent from `start` comes to rest: 200 steps, then equation (1), damped the more the stronger the response."""
    policy = algorithms.pepg(env, policy=start, iterations=200, entropy=entropy).policy
    share = 0.1 / (1.0 + strength / 2.0)
    for _ in range(int(40 / share)):
        policy = pepg.softmax((1.0 - share) * np.log(policy) + share * np.log(right_side(env, policy, entropy)[0]))
    return policy


def soft_value_iteration(mdp, entropy):
    """The optimal policy of a regularised MDP that does not respond."""
    value = np.zeros(mdp.rho.shape)
    for _ in range(300):
        value = entropy * np.log(np.exp(mdp.backup(value) / entropy).sum(axis=-1))
    return pepg.softmax(mdp.backup(value) / entropy)


def best_of(policies, values):
    """Of several policies (m, n, S, A) for n instances the best in each, (n, S, A)."""
    return np.take_along_axis(policies, values.argmax(axis=0)[None, :, None, None], axis=0)[0]


def regularised_path(env, lambdas):
    """On n PeMDPs of two states and actions: the certified optimum, and the optimum of V_λ for each λ, (λ, n, 2, 2)."""
    x = 1.0 / (1.0 + np.exp(-np.linspace(-10.0, 10.0, 41)))
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    count = env.rho.shape[0]
    grid = np.broadcast_to(np.stack([1.0 - grid, grid], axis=-1)[:, None], (len(grid), count, 2, 2))
    value = pepg.performative_value(env, grid)
    bonus = pepg.performative_value(env, grid, 1.0) - value
    polished = algorithms.pepg(env, policy=best_of(grid, value), iterations=300).policy
    optimum = certified_optimum(env, polished)
    path = []
    for entropy in lambdas:
        starts = np.stack([best_of(grid, value + entropy * bonus), 0.999 * optimum.policy + 0.0005])
        ends = algorithms.pepg(env, policy=starts, iterations=150, entropy=entropy).policy
        path.append(best_of(ends, pepg.performative_value(env, ends, entropy)))
    return optimum, np.array(path)


def distances(env, policy, entropy):
    """How far the probabilities of `policy` are from the right side of (1), and from the softmax without the response's term, (n,) each."""
    return [np.abs(policy - other).max(axis=(-2, -1)) for other in right_side(env, policy, entropy)]


def soft_step(env, policy, entropy):
    """By how much a step of soft policy iteration changes the regularised value in the frozen MDP, and in the true environment."""
    improved = right_side(env, policy, entropy)[1]
    before = pepg.performative_value(env, policy, entropy)
    frozen = (env.respond(policy).value(improved, entropy) * env.rho).sum(axis=-1)
    return frozen - before, pepg.performative_value(env, improved, entropy) - before


def weightings(env, policy, entropy):
    """The weights of the two scores by name, as a function of trajectories: three unbiased, four that lack a part."""
    gamma = env.gamma
    here, plain = pepg.deploy(env, policy, entropy), pepg.deploy(env, policy)
    soft_advantage = here.mdp.backup(here.value) - here.value[:, None] - entropy * np.log(policy)

    def weights(paths):
        paid = data.with_entropy_bonus(paths, policy, entropy)
        delta = data.temporal_differences(paid, here.value, gamma)
        total, now = data.returns(paid, gamma), data.advantages(paid, soft_advantage)
        return {
            "TD difference": (delta, delta),
            "TD difference, extra score term": (delta - entropy, delta),
            "return": (total, total),
            "no bonus on the policy's score": (data.temporal_differences(paths, here.value, gamma), delta),
            "no bonus in the transitions' weight": (delta, data.temporal_differences(paths, plain.value, gamma)),
            "advantage on both, same step": (now, now),
            "advantage on both, shifted": (now, data.next_step(now, gamma)),
        }

    return weights


def landscape(env):
    """The performative value of one PeMDP of two states and actions on a grid of policies, a row each."""
    mesh = np.stack(np.meshgrid(*[np.linspace(0.0, 1.0, 41)] * 2, indexing="ij"), axis=-1)
    value = pepg.performative_value(env, np.stack([1.0 - mesh, mesh], axis=-1))
    return pd.DataFrame({"x0": mesh[..., 0].ravel(), "x1": mesh[..., 1].ravel(), "value": value.ravel()})


def gap_table(gap, bound, lambdas, inside):
    """Quantiles over the instances of the gap (λ, n), where the optimum is `inside` in some state and where it is a vertex."""
    rows = []
    for kind, which in (("inside", inside), ("vertex", ~inside)):
        for entropy, gaps, top in zip(lambdas, np.maximum(gap[:, which], 1e-8), bound):
            numbers = (*np.quantile(gaps, (0.5, 0.1, 0.9)), gaps.max(), top)
            rows.append((kind, int(which.sum()), entropy, *(float(f"{x:.3g}") for x in numbers)))
    return pd.DataFrame(rows, columns=["optimum", "instances", "lambda", "median", "low", "high", "max", "bound"])


def draw_gap(gaps, bound, path, landscape, optimum):
    """The gap against λ with its bound, and the path of the regularised optimum on one landscape."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.3))
    looks = {"inside": (figures.COLORS["PePG, entropy"], "stochastic in a state"), "vertex": ("#7f7f7f", "deterministic")}
    for kind, curve in gaps.groupby("optimum", sort=False):
        color, label = looks[kind]
        axes[0].plot(curve["lambda"], curve["median"], color=color, label=f"optimum {label} ({curve['instances'].iloc[0]})")
        axes[0].fill_between(curve["lambda"], curve["low"], curve["high"], color=color, alpha=0.18, linewidth=0)
    largest = gaps.groupby("lambda")["max"].max()
    axes[0].plot(largest.index, largest, ":", color="black", label="largest of all")
    axes[0].plot(largest.index, bound, "--", color=figures.COLORS["reference"], label="bound (2)")
    axes[0].set(xscale="log", yscale="log", ylim=(3e-9, 1e3), xlabel="λ", ylabel=r"gap $V(\pi_O) - V(\pi_\lambda)$")
    axes[0].legend(loc="upper left", fontsize=7)
    axes[0].set_title("random PeMDPs, 2 states, 2 actions")
    surface = landscape.pivot(index="x1", columns="x0", values="value")
    drawn = axes[1].contourf(surface.columns, surface.index, surface, levels=14, cmap="Greys", alpha=0.75)
    figure.colorbar(drawn, ax=axes[1], label=r"$V^\pi_\pi(\rho)$")
    axes[1].plot(path["x0"], path["x1"], "-o", color=figures.COLORS["PePG, entropy"], markersize=3.5)
    axes[1].plot(*optimum, "*", color=figures.COLORS["PePG"], markersize=11, label=r"certified $\pi_O$")
    axes[1].annotate("λ = 10", (path["x0"].iloc[-1], path["x1"].iloc[-1]), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes[1].set(xlabel=r"$\pi(1|s_0)$", ylabel=r"$\pi(1|s_1)$", title=r"$\pi_\lambda$ on one of them")
    axes[1].set(xlim=(-0.03, 1.03), ylim=(-0.04, 1.02))
    axes[1].legend(loc="upper left", frameon=True, framealpha=0.9, bbox_to_anchor=(0.02, 0.98))
    axes[1].grid(False)
    return figure
