"""For notebook 24: ascent on a smoothed value, gaps to the certificate on other worlds, and the figures."""

import matplotlib.pyplot as plt
import numpy as np

import pepg
from pepg import algorithms, figures
from pepg.algorithms.ascent import Adam

HEDGE = "#882255"  # its colour, of Tol's muted palette as those of the other algorithms


def smoothed(env, start, seed, width, iterations, step_size, draws=16):
    """The values (iterations + 1,) of ascent along mean gradients at `draws` policies around the present one, N(0, width²) in logits.

    Adam, with a step that falls linearly to 0.
    """
    rng, rule, logits, policy = np.random.default_rng(seed), Adam(1.0), np.log(start), start
    values = [pepg.performative_value(env, policy)]
    for t in range(iterations):
        around = pepg.softmax(logits + width * rng.normal(size=(draws, *logits.shape)))
        logits = logits + step_size * (1 - t / iterations) * rule(pepg.policy_gradient(env, around).mean(axis=0))
        policy = pepg.softmax(logits)
        values.append(pepg.performative_value(env, policy))
    return np.array(values)


def between(env, first, second, shares):
    """The policies (n, S, A) whose visits are ``(1 - share)`` times those of `first` plus ``share`` times those of `second`."""
    one, two = (env.mdp.occupancy(policy) for policy in (first, second))
    mixed = (1 - shares[:, None, None]) * one + shares[:, None, None] * two
    return algorithms.retraining.policy_of_occupancy(mixed)


def difference_errors(env, policy, widths, directions, seed):
    """How far central differences of a width are from the slope that the gradient says, over the latter's size: a mean for each width."""
    z = np.random.default_rng(seed).normal(size=(directions, *policy.shape))
    slopes = (pepg.performative_gradient(env, policy) * z).sum(axis=(-2, -1))
    logits, errors = np.log(policy), []
    for h in widths:
        high, low = (pepg.performative_value(env, pepg.softmax(logits + sign * h * z)) for sign in (1, -1))
        errors.append(np.abs((high - low) / (2 * h) - slopes).mean() / np.abs(slopes).mean())
    return errors


def gaps(env, iterations, rounds, regularizations):
    """How far below the certified optimum each algorithm ends from the uniform policy; RPO and RGA at their best λ and η."""
    best, start = env.certified_optimum().value, {"policy": env.uniform_policy()}
    hedge = algorithms.hedge(env, iterations=rounds, **start).values[:-1]
    rpo = [algorithms.repeated_policy_optimization(env, iterations=30, regularization=λ, **start) for λ in regularizations["RPO"]]
    rga = [
        algorithms.repeated_gradient_ascent(env, iterations=60, regularization=λ, step_size=η, **start)
        for λ, η in regularizations["RGA"]
    ]
    return {
        "PePG = PG": best - algorithms.pepg(env, iterations=iterations, step_size=None, entropy=0.0, **start).values[-1],
        "RPO": best - max(run.values[-10:].mean() for run in rpo),
        "RGA": best - max(run.values[-10:].mean() for run in rga),
        "Hedge, last": best - hedge[-1],
        "Hedge, mixture": best - hedge.mean(),
    }


# Figures


def draw_main(cuts, curves):
    """What frozen environments promise along a line of visits, with what deployment delivers; and the algorithms' values."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.3))
    lines = cuts[cuts["deployed"] >= 0].groupby("deployed")
    for share, part in lines:
        left.plot(part["followed"], part["value"], color=figures.COLORS["PG"], linewidth=0.8, alpha=0.7)
        left.plot(share, np.interp(share, part["followed"], part["value"]), "o", color=figures.COLORS["PG"], markersize=3)
    diagonal = cuts[cuts["deployed"] < 0]
    left.plot([], [], color=figures.COLORS["PG"], linewidth=0.8, label="promised by a frozen environment (deployed at the dot)")
    left.plot(diagonal["followed"], diagonal["value"], color="black", linewidth=2.0, label=r"delivered, $V^\pi_\pi(\rho)$")
    left.set(xlabel="share of the visits of the second policy", ylabel="value")
    for name, part in curves.groupby("algorithm", sort=False):
        kind = name.split(" ")[0].split(",")[0]
        color = HEDGE if kind == "Hedge" else figures.COLORS[kind]
        line = (0, (1, 1)) if name in ("Hedge, last", "RPO λ=0") else "-"
        right.plot(part["deployments"], part["gap"], color=color, linestyle=line, label=name)
    right.set(xscale="log", yscale="log", xlabel="deployments", ylabel="value below the optimum")
    for ax, place in ((left, "outside lower left"), (right, "outside lower right")):
        figure.legend(*ax.get_legend_handles_labels(), loc=place, ncols=1 if ax is left else 2)
    return figure


def draw_stability(table):
    """The stability gaps of Hedge's mixtures and the bound, on logarithmic axes."""
    figure, ax = plt.subplots(figsize=(4.8, 3.2))
    styles = {"local": "-", "bound on it": (0, (1, 1)), "global": (0, (5, 1.5))}
    for name, line in styles.items():
        part = table[table["gap of"] == name]
        ax.plot(part["deployments"], part["mean"], color=HEDGE, linestyle=line, label=name)
    first = table["deployments"].min()
    top = table[table["gap of"] == "bound on it"]["mean"].iloc[0]
    ends = np.array([first, table["deployments"].max()])
    ax.plot(ends, 1.5 * top * (ends / first) ** -0.5, color="black", linewidth=0.8, label=r"slope of $1/\sqrt{T}$")
    ax.set(xscale="log", yscale="log", xlabel="deployments T in the mixture", ylabel="stability gap")
    ax.legend()
    return figure


def draw_draws(table, names):
    """The gap to the certificate of every algorithm on every drawn world."""
    figure, ax = plt.subplots(figsize=(5.4, 2.8))
    for k, name in enumerate(names):
        kind = name.split(",")[0].split(" =")[0]
        color = HEDGE if kind == "Hedge" else figures.COLORS[kind]
        ax.plot(table[name], np.full(len(table), k), "o", color=color, markersize=3.5, alpha=0.6)
        ax.plot(table[name].mean(), k, "|", color="black", markersize=14, markeredgewidth=2)
    ax.set(xscale="log", yticks=range(len(names)), yticklabels=names, xlabel="value below the certified optimum, one dot a world")
    ax.invert_yaxis()
    return figure
