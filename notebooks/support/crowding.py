"""For notebook 23: retraining and ascent on data of which a part is corrupted, with trimmed means and without; the figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pepg import data, figures
from pepg.algorithms.ascent import Adam
from pepg.algorithms.retraining import closest_occupancy, policy_of_occupancy
from pepg.companion import boards
from pepg.mdp import softmax, to_logits
from pepg.performative import Deployment, performative_value

# Corrupted data


def corrupted(transitions, rate, mean, n_states, rng):
    """Each of `transitions` with probability `rate` with a reward from N(mean, 0.5²) and a next state drawn evenly from all."""
    states, actions, rewards, then = transitions
    hit = rng.random(rewards.size) < rate
    rewards = np.where(hit, rng.normal(mean, 0.5, rewards.size), rewards)
    return states, actions, rewards, np.where(hit, rng.integers(n_states, size=rewards.size), then)


def trimmed(transitions, share, n_actions):
    """Without the `share` of least and the `share` of largest rewards of each (s, a), both rounded down: a trimmed mean's data."""
    states, actions, rewards, _ = transitions
    pairs = states * n_actions + actions
    order = np.lexsort((rewards, pairs))
    counts = np.bincount(pairs)
    rank = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
    n = np.repeat(counts, counts)
    cut = np.floor(share * n)
    kept = order[(rank >= cut) & (rank < n - cut)]
    return tuple(array[kept] for array in transitions)


def learn(env, name, start, seed, deployments, rate, trim, mean, trajectories, horizon, step_size=0.2, regularization=2.0, coverage=2.0):
    """The true values (deployments + 1,) of the policies that an algorithm deploys, who sees the corrupted data of each.

    name : "PePG" or "PG", an Adam step along the gradient in the MDP of averages, PePG with the response's derivative known; "RPO-FS"
    trim : the share that is trimmed on either side of the rewards of each (s, a); 0 for plain means
    """
    rng, rule, logits, policy = np.random.default_rng(seed), Adam(step_size), np.log(start), start
    values = [performative_value(env, policy)]
    for _ in range(deployments):
        seen = data.sample_trajectories(env.respond(policy), policy, trajectories, horizon, rng).transitions
        seen = trimmed(corrupted(seen, rate, mean, env.n_states, rng), trim, env.n_actions)
        mdp, counts = data.empirical_mdp(seen, env.gamma, env.rho, env.n_actions)
        played = policy_of_occupancy(counts.astype(float))
        occupancy = mdp.occupancy(played)
        if name == "RPO-FS":
            policy = policy_of_occupancy(closest_occupancy(mdp, mdp.r, regularization, coverage * occupancy))
        else:
            value = mdp.value(played)
            gradient = Deployment(mdp, played, value, occupancy, 0.0).policy_part
            if name == "PePG":
                gradient = gradient + to_logits(policy, env.response_gradient(policy, occupancy, value))
            logits = logits + rule(gradient)
            policy = softmax(logits)
        values.append(performative_value(env, policy))
    return np.array(values)


# Starts and boards


def starts(env, stable):
    """Four starts of each of five kinds, {kind: (4, S, A)}; softmax logits from N(0, σ²), and policies mixed with the uniform one."""
    return {
        "near-uniform (σ = 0.1)": env.random_policies(range(4)),
        "random (σ = 1)": env.random_policies(range(4, 8), scale=1.0),
        "random (σ = 3)": env.random_policies(range(8, 12), scale=3.0),
        "ε-greedy": np.stack([env.board.epsilon_greedy_policy(epsilon) for epsilon in (0.05, 0.1, 0.2, 0.4)]),
        "near the stable policy": np.stack([(1 - share) * stable + share / env.n_actions for share in (0.02, 0.05, 0.1, 0.3)]),
    }


def shuffled(grid, seed):
    """The cells of `grid` in another order; the goal stays."""
    cells = grid.ravel().copy()
    cells[:-1] = np.random.default_rng(seed).permutation(cells[:-1])
    return cells.reshape(grid.shape)


# Figures


LEAST = 1e-5  # the gap below which curves are cut off


def missing(values, best, **labels):
    """How far `values` (T + 1, starts) are below `best`, not less than 1e-5: median and range over the starts, a row a deployment."""
    gap = np.maximum(best - values, LEAST)
    table = {"deployments": np.arange(len(gap)), "median": np.median(gap, axis=1), "low": gap.min(axis=1), "high": gap.max(axis=1)}
    return pd.DataFrame({**labels, **table})


def draw_main(visits, curves, gap):
    """Where the stable and the optimal policy go, and how far below the certified optimum the exact algorithms are; `gap`: the stable."""
    figure, axes = plt.subplots(1, 3, figsize=(7.6, 3.0), width_ratios=(1, 1, 1.35))
    for ax, (name, part) in zip(axes, visits.groupby("policy", sort=False)):
        grid = part.pivot(index="row", columns="column", values="visits").to_numpy()
        boards.draw_shares(ax, grid, f"{name}: visits of 100 walkers", highest=0.5)
        ax.set(xticks=[], yticks=[])
    for name, curve in curves.groupby("algorithm", sort=False):
        kind = name.split(" λ")[0]
        axes[2].plot(curve["deployments"], curve["median"], color=figures.COLORS[kind], linestyle=figures.LINES[kind], label=name)
        axes[2].fill_between(curve["deployments"], curve["low"], curve["high"], color=figures.COLORS[kind], alpha=0.15, linewidth=0)
    axes[2].axhline(gap, color="black", linewidth=0.8, linestyle=":")
    axes[2].annotate("stable, certified", (148, gap), (0, 3), textcoords="offset points", ha="right", fontsize=7)
    axes[2].set(yscale="log", xlim=(0, 150), ylim=(LEAST, 100), xlabel="deployments", ylabel="value below the optimum")
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside lower right", ncols=4)
    return figure


def draw_price(table, marks):
    """The value that stability loses, and the ratio of losses that is at most 4/3, against the cost of crowding."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
    color = figures.COLORS["reference"]
    left.plot(table["cost"], table["optimum"] - table["stable"], color=color)
    left.set(xscale="log", xlabel="cost $c$ of a visit", ylabel="optimal minus stable value")
    right.plot(table["cost"], table["price"], color=color)
    right.axhline(4 / 3, color="black", linewidth=0.9, linestyle=":")
    right.annotate("4/3: no MDP above", (table["cost"].min(), 4 / 3), (0, 3), textcoords="offset points", fontsize=8)
    right.set(xscale="log", xlabel="cost $c$ of a visit", ylabel="loss, stable over optimal", ylim=(0.99, 1.37))
    for ax in (left, right):
        for cost in marks:
            ax.axvline(cost, color="black", linewidth=0.6, linestyle=(0, (4, 3)))
    return figure


def draw_corruption(table, certificates):
    """What each algorithm reaches on corrupted data, against the rate, with plain and with trimmed means."""
    figure, ax = plt.subplots(figsize=(5.2, 3.3))
    rates = sorted(table["rate"].unique())
    for (name, trim), part in table.groupby(["algorithm", "trim"], sort=False):
        line, label = ("-", f"{name}, trimmed") if trim else (":", f"{name}, plain")
        color = figures.COLORS[name]
        place = [rates.index(rate) for rate in part["rate"]]
        ax.errorbar(place, part["value"], [part["value"] - part["low"], part["high"] - part["value"]], color=color, linestyle=line,
                    marker="o" if trim else "x", markersize=4, capsize=2, label=label)
    for name, value in certificates.items():
        ax.axhline(value, color="black", linewidth=0.8, linestyle=":")
        above = name == "optimal"
        ax.annotate(
            f"{name}, certified", (0.1, value), (0, 2 if above else -2), textcoords="offset points", va="bottom" if above else "top", fontsize=7,
        )
    ax.set(ylim=(None, -1.58), xticks=range(len(rates)), xticklabels=[f"{rate:g}" for rate in rates], xlabel="share of corrupted transitions",
           ylabel=r"true value $V^\pi_\pi(\rho)$ at the end")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
