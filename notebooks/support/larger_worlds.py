"""For notebook 19: what larger worlds cost, ascents on random grids of growing size, and three figures."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import figures, theory

BENCH = Path(__file__).resolve().parent.parent / "data" / "larger_worlds_bench.csv"
LONG = BENCH.with_name("larger_worlds_full.csv")
KINDS = {"dense": (":", "s"), "sparse": ("-", "o")}
OPERATIONS = {"value": figures.COLORS["reference"], "gradient": figures.COLORS["PePG"], "RPO step": figures.COLORS["RPO"]}


def as_dense(mdp):
    """The same MDP with its transitions as an array (S, A, S)."""
    return pepg.MDP(mdp.P.toarray().reshape(*mdp.r.shape, -1), mdp.r, mdp.gamma, mdp.rho, mdp.terminal)


def exponents(costs, states):
    """From the first to the last of `states`, how cost grows: the slope of its logarithm, by transitions and operation."""
    rows = []
    for kind, (first, last) in states.items():
        table = costs[costs["transitions"] == kind].set_index("states")
        growth = {name: np.log(table[name][last] / table[name][first]) / np.log(last / first) for name in ("value", "gradient", "peak MB")}
        rows.append({"transitions": kind, "from": first, "to": last} | growth)
    return pd.DataFrame(rows)


def retrained(env, policy, rounds):
    """The best response to the environment that the last one brought about, so many times in turn."""
    for _ in range(rounds):
        policy = pepg.best_response(env.respond(policy))
    return policy


def climb(side, seed, gamma, followers, iterations, rounds):
    """One random grid: its environment, the retrained policy, and the runs of PePG and PG from the ε-greedy start."""
    env = pepg.Gridworld(n_followers=followers, grid=pepg.random_grid(side, side, seed), gamma=gamma)
    start = env.epsilon_greedy_policy(0.1)
    run = {"policy": start, "iterations": iterations}
    return env, retrained(env, start, rounds), pepg.algorithms.pepg(env, **run), pepg.algorithms.policy_gradient(env, **run)


def summary(side, seed, climbed):
    """A row of the table of gaps. A gain below 1e-12 is rounding, which differs from one processor to another: 0."""
    env, stable, ascent, plain = climbed
    value, best = pepg.performative_value(env, stable), ascent.values[-1]
    return {
        "side": side, "γ": env.gamma, "grid": seed, "start": ascent.values[0], "stable": value,
        "gain left": max(round(theory.best_response_gain(env, stable), 12), 0.0), "PG": plain.values[-1], "PePG": best,
        "gap": best - value, "gap per step": (1.0 - env.gamma) * (best - value),
    }


def by_side(gaps):
    """Means over the grids of a size, and on how many of them PePG ends above PG."""
    gaps = gaps.assign(above=gaps["PePG"] > gaps["PG"], grids=1)
    how = dict.fromkeys(("stable", "PG", "PePG", "gap"), "mean") | {"above": "sum", "grids": "sum"}
    return gaps.groupby(["discount", "side"], as_index=False).agg(how)


def far_visits(env, policy, distance):
    """The share of the discounted visits further than `distance` from the first row and the first column, where walks start."""
    visits = pepg.deploy(env, policy).occupancy.sum(axis=-1).reshape(env.grid.shape)
    return visits[distance:, distance:].sum() / visits.sum()


def forced_into_holes(env, policy):
    """The share of the discounted steps of `policy` in which agent 2 forces a move into a cell of the lowest reward."""
    visits = pepg.deploy(env, policy).occupancy.sum(axis=-1)
    hole = env.grid.ravel()[env.next_state] == env.grid.min()
    return (visits * (env.agent_two(policy)[:, :-1] * hole).sum(axis=-1)).sum() / visits.sum()


def influence(env, stable, best):
    """By cell: agent 2's interventions against `stable`, how many more there are against `best`, and the visits of `best`."""
    forced = [1.0 - env.agent_two(policy)[:, -1] for policy in (stable, best)]
    row, column = np.divmod(np.arange(env.n_states), env.grid.shape[1])
    visits = pepg.deploy(env, best).occupancy.sum(axis=-1)
    table = pd.DataFrame({"row": row, "column": column, "stable": forced[0], "change": forced[1] - forced[0], "visits": visits})
    return table[row + column < row.max() + column.max()].reset_index(drop=True)  # the goal's row means nothing


def draw_costs(costs):
    """Seconds and memory against the number of states."""
    figure, (times, memory) = plt.subplots(1, 2, figsize=(7.4, 3.2))
    for kind, (line, marker) in KINDS.items():
        table = costs[costs["transitions"] == kind]
        for name, color in OPERATIONS.items():
            times.plot(table["states"], table[name], line, marker=marker, markersize=4, color=color)
        memory.plot(table["states"], table["peak MB"], line, marker=marker, markersize=4, color="black", label=kind)
    for name, color in OPERATIONS.items():
        times.plot([], [], color=color, label=name)
    times.set(ylabel="processor time, s")
    memory.set(ylabel="peak of memory, MB")
    for ax in (times, memory):
        ax.set(xscale="log", yscale="log", xlabel="states")
        ax.minorticks_off()
        ax.legend()
    return figure


def draw_gaps(table):
    """The gap by side, a dot a grid, a panel for each way to choose the discount."""
    figure, panels = plt.subplots(1, 2, figsize=(7.4, 3.2))
    titles = {"fixed": "γ = 0.9", "growing": "γ = 1 − 0.8 / side"}
    for ax, (kind, title) in zip(panels, titles.items()):
        part = table[table["discount"] == kind]
        for name in ("PePG", "PG"):
            gap = (1.0 - part["γ"]) * (part[name] - part["stable"])
            ax.plot(part["side"] * (1.06 if name == "PG" else 1.0), gap, "o", markersize=4, alpha=0.7, color=figures.COLORS[name], label=name)
            mean = gap.groupby(part["side"]).mean()
            ax.plot(mean.index, mean, color=figures.COLORS[name], linestyle=figures.LINES[name])
        ax.axhline(0.0, color="#444444", linewidth=0.8)
        ax.set(xscale="log", title=title, xlabel="side of the grid", ylim=(-0.0004, 0.0026))
        ax.set_xticks(sorted(table["side"].unique()), [str(side) for side in sorted(table["side"].unique())])
        ax.minorticks_off()
    panels[0].set_ylabel(r"$(1 - \gamma)$ (end − stable)")
    panels[0].legend()
    return figure


def draw_influence(table):
    """The three columns of :func:`influence` as maps."""
    shape = table["row"].max() + 1, table["column"].max() + 1
    figure, panels = plt.subplots(1, 3, figsize=(9.2, 3.1), sharey=True)
    widest = table["change"].abs().max()
    looks = {
        "stable": ("interventions, stable policy", {"cmap": "Blues", "vmin": 0.4, "vmax": 1.0}),
        "change": ("PePG's minus stable", {"cmap": "RdBu_r", "vmin": -widest, "vmax": widest}),
        "visits": ("visits of PePG, log10", {"cmap": "Greys", "vmin": -8.0, "vmax": 0.0}),
    }
    for ax, (name, (title, colors)) in zip(panels, looks.items()):
        cells = np.full(shape, np.nan)
        shown = np.log10(np.maximum(table["visits"], 1e-8)) if name == "visits" else table[name]
        cells[table["row"], table["column"]] = shown
        image = ax.imshow(cells, interpolation="none", **colors)
        figure.colorbar(image, ax=ax, shrink=0.75, pad=0.02)
        ax.set(title=title, xlabel="column")
        ax.grid(False)
    panels[0].set_ylabel("row")
    return figure
