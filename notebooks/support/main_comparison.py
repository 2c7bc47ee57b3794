"""Notebook 11: retraining at its best, and the comparison over draws of the followers and over settings."""

from functools import partial
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pepg import algorithms, figures

from .local_optima import PAPERS, on_each, world

STARTS = ("uniform", "ε-greedy")
SETTING = ["ε", "followers", "β"]
TAIL = 10  # retraining may cycle: what it deploys is worth the mean over its last iterates


def both_starts(env):
    """The two starts, in the order of STARTS, the same in each world: (2, 1, S, A)."""
    return np.stack([env.uniform_policy(), env.epsilon_greedy_policy(0.1)])[:, None]


def settled(run):
    """The value of what a run goes on deploying: the mean over its last iterates."""
    return run.values[-TAIL:].mean(axis=0)


# Retraining at its best


def scores_of_rpo(case, iterations, regularizations):
    """Rows of what RPO settles at, averaged over both starts, for each λ: a list of them for each draw. case : (setting, [draw])"""
    env = world(*case)
    run = partial(algorithms.repeated_policy_optimization, env, policy=both_starts(env), iterations=iterations)
    found = [(np.nan, strength, settled(run(regularization=strength))) for strength in regularizations]
    return rows_by_draw(case, "RPO", found)


def scores_of_rga(case, iterations, step_sizes, regularization):
    """The same of RGA, for each step size η."""
    env = world(*case)
    run = partial(algorithms.repeated_gradient_ascent, env, policy=both_starts(env), iterations=iterations, regularization=regularization)
    return rows_by_draw(case, "RGA", [(size, regularization, settled(run(step_size=size))) for size in step_sizes])


def rows_by_draw(case, algorithm, found):
    """The rows of each draw, from (η, λ, values by start and draw) for each parameter."""
    setting, draws = case
    return [[(*setting, draw, algorithm, eta, lam, values[:, i].mean()) for eta, lam, values in found] for i, draw in enumerate(draws)]


def tuning(settings, draws, iterations, regularizations, step_sizes):
    """What RPO (every setting) and RGA (the first, smallest λ) settle at, mean over `draws` and both starts: a row a parameter."""
    rpo = on_each(scores_of_rpo, product(settings, draws), iterations=iterations, regularizations=regularizations)
    rga = on_each(scores_of_rga, product(settings[:1], draws), iterations=iterations, step_sizes=step_sizes, regularization=min(regularizations))
    columns = [*SETTING, "draw", "algorithm", "η", "λ", "value"]
    table = pd.DataFrame([row for rows in (*rpo.values(), *rga.values()) for row in rows], columns=columns)
    return table.groupby([*SETTING, "algorithm", "η", "λ"], dropna=False, sort=False)["value"].mean().reset_index()


def best_of(table, algorithm):
    """The row of the highest value for each setting, {setting: row}."""
    rows = table[table["algorithm"] == algorithm]
    best = rows.loc[rows.groupby(SETTING, sort=False)["value"].idxmax()]
    return {(row["ε"], row["followers"], row["β"]): row for _, row in best.iterrows()}


def by_strength(table):
    """RPO's rows of :func:`tuning`, a row a setting and a column a λ."""
    rows = table[table["algorithm"] == "RPO"].pivot(index=SETTING, columns="λ", values="value")
    return rows.rename(columns="λ = {:g}".format).rename_axis(columns=None).reset_index()


# The paper's draw


def curves(runs):
    """Values and changes of the occupancy over iterations, mean and interval over seeds. runs : {(start, panel, algorithm): Run}

    A change below 1e-9 is rounding, and is stored as 1e-9; means and intervals of changes are those of their logarithms.
    """
    tables = []
    for (start, panel, name), run in runs.items():
        labels = {"start": start, "panel": panel, "algorithm": name}
        tables.append(figures.curves(np.arange(len(run.values)), run.values, quantity="value", **labels))
        decades = np.log10(np.maximum(run.shifts, 1e-9))
        change = figures.curves(np.arange(1, len(run.values)), decades, quantity="shift", **labels)
        tables.append(change.assign(**{end: 10 ** change[end] for end in ("mean", "low", "high")}))
    return pd.concat(tables)


def final_values(runs, best_known):
    """Where each run of :func:`curves` ends: mean and interval over seeds, gap to the best known value, last change."""
    rows = []
    for (start, panel, name), run in runs.items():
        mean, low, high = figures.mean_interval(run.values[-1])
        length = "both" if panel == "both" else f"{panel}, {len(run.values) - 1}"
        rows.append((start, length, name, mean, low, high, best_known - mean, np.maximum(run.shifts[-1], 1e-9).max()))
    columns = ["start", "step, iterations", "algorithm", "value", "low", "high", "gap", "last change"]
    return pd.DataFrame(rows, columns=columns)


# Over draws


def ends(case, iterations, retrainings, strengths):
    """Rows of where PePG, PG and RPO end from both starts, for each draw. case : (setting, [draw])"""
    setting, draws = case
    env, strength = world(*case), strengths[setting]
    begin = {"policy": both_starts(env)}
    values = (
        algorithms.pepg(env, iterations=iterations, **begin).values[-1],
        algorithms.policy_gradient(env, iterations=iterations, **begin).values[-1],
        settled(algorithms.repeated_policy_optimization(env, iterations=retrainings, regularization=strength, **begin)),
    )
    return [
        [(*setting, draw, start, strength, *(end[i, j] for end in values)) for i, start in enumerate(STARTS)]
        for j, draw in enumerate(draws)
    ]


def over_draws(strengths, draws, iterations, retrainings):
    """Where the algorithms end, a row for each setting, draw and start. strengths : {setting: λ of RPO}

    The released program's followers, draw "paper's", come beside the numbered `draws`.
    """
    cases = product(strengths, (PAPERS, *map(str, draws)))
    found = on_each(ends, cases, iterations=iterations, retrainings=retrainings, strengths=strengths)
    columns = [*SETTING, "draw", "start", "λ of RPO", "PePG", "PG", "RPO"]
    return pd.DataFrame([row for rows in found.values() for row in rows], columns=columns)


def gains(table):
    """PePG minus PG and minus RPO for each setting and start: mean over the numbered draws, its 95 % interval, and the paper's draw."""
    rows = []
    for labels, part in table.groupby([*SETTING, "start"], sort=False):
        own = part["draw"] == PAPERS
        row = dict(zip([*SETTING, "start"], labels)) | {"λ of RPO": part["λ of RPO"].iloc[0]}
        for other in ("PG", "RPO"):
            difference = part["PePG"] - part[other]
            mean, low, high = figures.mean_interval(difference[~own].to_numpy())
            name = f"PePG − {other}"
            row |= {name: mean, f"{name}, low": low, f"{name}, high": high}
            row |= {f"{name}, draws above 0": int((difference[~own] > 0).sum()), f"{name}, paper's draw": difference[own].iloc[0]}
        rows.append(row)
    return pd.DataFrame(rows)


def gains_over_pg(table):
    """The columns of :func:`gains` that a page shows."""
    names = {f"PePG − PG, {name}": name for name in ("low", "high", "draws above 0")}
    return table[[*SETTING, "start", "PePG − PG", *names]].rename(columns=names)


def draw_gains(ax, parts, labels):
    """PePG minus PG, a column of dots for each part of :func:`over_draws`: a dot a draw, a bar the mean's 95 % interval."""
    for x, part in enumerate(parts):
        own = (part["draw"] == PAPERS).to_numpy()
        difference = (part["PePG"] - part["PG"]).to_numpy()
        order = np.argsort(difference[~own])
        spread = 0.12 * np.sin(2.4 * np.arange(order.size))  # beside each other where they would hide each other
        ax.plot(x - 0.1 + spread, difference[~own][order], "o", color="0.6", markersize=3.2, markeredgewidth=0)
        mean, low, high = figures.mean_interval(difference[~own])
        ax.errorbar(x + 0.22, mean, [[mean - low], [high - mean]], fmt="_", color="black", markersize=8, capsize=3)
        ax.plot(x + 0.36, difference[own], "D", color=figures.COLORS["PePG"], markersize=5)
    ax.axhline(0.0, color="black", linewidth=0.8)
    ax.set(xticks=range(len(labels)), xticklabels=labels, xlim=(-0.5, len(labels) - 0.3))
    ax.grid(axis="x", visible=False)


def gain_key(ax):
    """What the marks of :func:`draw_gains` are, in a panel of its own."""
    marks = (("o", "0.6", "a draw of the followers"), ("_", "black", "their mean, 95 % interval"), ("D", figures.COLORS["PePG"], "the paper's draw"))
    handles = [plt.Line2D([], [], linestyle="", marker=mark, color=color, label=label) for mark, color, label in marks]
    ax.legend(handles=handles, loc="center", frameon=False)


# The worlds of notebook 00


def as_worlds(ends, best_known, cases):
    """Rows of a table of worlds for the paper's draw: the stable value is the better of PG's two ends. cases : (ε, followers, β, start)"""
    rows = []
    for eps, followers, beta, start in cases:
        part = ends[(ends["ε"] == eps) & (ends["followers"] == followers) & (ends["β"] == beta) & (ends["draw"] == PAPERS)]
        known = best_known[(best_known["eps"] == eps) & (best_known["followers"] == followers) & (best_known["beta"] == beta)]
        rows.append({
            "world": f"gridworld, β = {beta:g}, {start} start", "stable": part["PG"].max(),
            "optimal": known.loc[known["draw"] == PAPERS, "value"].item(),
            "PePG": part.loc[part["start"] == start, "PePG"].item(), "evidence": "best known",
        })
    return pd.DataFrame(rows)


def with_shares(worlds):
    """The worlds with what PePG makes up of the gap between stable and optimal; none where there is no gap."""
    gap = worlds["optimal"] - worlds["stable"]
    share = ((worlds["PePG"] - worlds["stable"]) / gap.where(gap > 0.0)).round(4)
    return worlds[["world", "stable", "optimal", "PePG"]].assign(**{"PePG's share of the gap": share, "evidence": worlds["evidence"]})
