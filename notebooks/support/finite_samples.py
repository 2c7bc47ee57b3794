"""For notebooks 14 and 14b: every method from samples, runs side by side over starts and draws, and their figures."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, figures
from pepg.algorithms.from_samples import unit_of_slopes
from pepg.data import SteeringResponse
from pepg.experiments import budget_curve, budget_grid, mean_interval, plus_minus, value_at

STARTS = ("near-uniform", "ε-greedy")

# The algorithm, and how many deployments an iteration takes.
METHODS = {
    "PePG": (algorithms.sampled_pepg, lambda options: 1),
    "PePG, learned": (partial(algorithms.sampled_pepg, response="learned"), lambda options: 1),
    "PG": (algorithms.sampled_policy_gradient, lambda options: 1),
    "RPO-FS": (algorithms.repeated_policy_optimization_fs, lambda options: 1),
    "DRR": (algorithms.delayed_repeated_retraining, lambda options: options["k"]),
    "MDRR": (algorithms.mixed_delayed_repeated_retraining, lambda options: options["k"]),
    "0-FW": (algorithms.zeroth_order_frank_wolfe, lambda options: 2 * options["directions"]),
}


def claim_difference(out, what, interval, stated, verdict):
    """Claim a difference as the text has it, "0.0062 ± 0.0012" (or "" where no number is told), and its interval's verdict."""
    for name, measured, number in zip(("mean", "half-width"), plus_minus(interval), stated.split(" ± ") if stated else ()):
        out.claim(f"{what}, {name}", measured, number)
    out.claim(f"{what}, by its interval", interval[1:], verdict)


# Runs


class SideBySide(pepg.PeMDP):
    """n worlds along an axis as one without: of the policies along the leading axis the i-th meets world i modulo n, as runs from samples do."""

    def __init__(self, env):
        self.env = env
        self.n_states, self.n_actions, self.gamma, self.rho = env.n_states, env.n_actions, env.gamma, env.rho

    def _by_world(self, array):
        return array.reshape(-1, *self.env.lead, *array.shape[1:])

    def respond(self, policy):
        mdp = self.env.respond(self._by_world(policy))
        P, r = (array.reshape(-1, *array.shape[2:]) for array in (mdp.P, mdp.r))
        return pepg.MDP(P, r, self.gamma, self.rho, mdp.terminal)

    def response_gradient(self, policy, occupancy, value):
        gradient = self.env.response_gradient(*map(self._by_world, (policy, occupancy, value)))
        return gradient.reshape(policy.shape)


def world(setting, draws):
    """The gridworld of a setting (ε, β, followers): of the paper's followers where `draws` is None, or one for each of `draws`."""
    if draws is None:
        return pepg.Gridworld(*setting)
    return SideBySide(pepg.Gridworld(*setting, seed=list(draws)))


def both_starts(setting, seeds):
    """(2 n, S, A): a near-uniform policy for each of n seeds, then the ε-greedy one as often."""
    env = pepg.Gridworld(*setting)
    greedy = np.broadcast_to(env.epsilon_greedy_policy(0.1), (len(seeds), env.n_states, env.n_actions))
    return np.concatenate([env.random_policies(seeds), greedy])


def sampled_runs(case):
    """The runs of a method from both starts, side by side: near-uniform in the first half of the leading axis, ε-greedy in the second.

    case : method, its options, setting, draws (None, or as many as seeds), seeds, trajectories, deployments
    """
    method, options, setting, draws, seeds, trajectories, deployments = case
    algorithm, each = METHODS[method]
    return algorithm(
        world(setting, draws), policy=both_starts(setting, seeds), seed=[*seeds, *seeds], trajectories=trajectories,
        iterations=deployments // each(options), **options,
    )


def from_uniform(case):
    """By how much PePG ends above PG from the uniform policy, by seed, all else as it comes. case : setting, seeds, trajectories, deployments"""
    setting, seeds, trajectories, deployments = case
    env = pepg.Gridworld(*setting)
    begin = {"policy": env.uniform_policy(), "seed": [*seeds], "trajectories": trajectories, "iterations": deployments}
    return algorithms.sampled_pepg(env, **begin).values[-1] - algorithms.sampled_policy_gradient(env, **begin).values[-1]


def exact_runs(case):
    """The same with exact gradients: PePG and PG with a mirror step of the sampled ones' size there, {method: Run}."""
    setting, draws, seeds, options, iterations = case
    starts = both_starts(setting, seeds)
    size = options["step_size"] / unit_of_slopes(pepg.deploy(world(setting, draws), starts)).mean()
    begin = {"policy": starts, "iterations": iterations, "step_size": algorithms.Mirror(size)}
    exact = {"PePG": algorithms.pepg, "PG": algorithms.policy_gradient}
    return {name: algorithm(world(setting, draws), **begin) for name, algorithm in exact.items()}


def halves(values):
    """Of values along a last axis of both starts: {start: values}."""
    return dict(zip(STARTS, np.split(np.asarray(values), 2, axis=-1)))


def ends(run, deployments):
    """The true values of what a run had deployed at last within a budget, by start."""
    return halves(value_at(run, [deployments])[0])


def difference(run, other, deployments):
    """Mean and interval of the one less the other at a budget, paired, by start."""
    one, two = ends(run, deployments), ends(other, deployments)
    return {start: mean_interval(one[start] - two[start]) for start in STARTS}


def steering(env, runs, strength, weight):
    """A :class:`SteeringResponse` of the gridworld for `runs` runs side by side."""
    return SteeringResponse(env.gamma, env.rho, env.n_actions, strength, weight, lead=(runs,))


# Tuning


def one_at_a_time(grids):
    """The settings of a method to try: the middle of every grid, and each parameter at its other values in turn."""
    middle = {name: values[len(values) // 2] for name, values in grids.items()}
    tried = [middle]
    for name, values in grids.items():
        tried += [{**middle, name: value} for value in values if value != middle[name]]
    return tried


def chosen(grids, values):
    """The best value of each parameter, the others at their middle; `values` in the order of :func:`one_at_a_time`."""
    tried = one_at_a_time(grids)
    best = {}
    for name in grids:
        others = [i for i, options in enumerate(tried) if all(options[o] == tried[0][o] for o in grids if o != name)]
        best[name] = tried[max(others, key=lambda i: values[i])][name]
    return best


def said(options):
    """Parameters as text."""
    return ", ".join(f"{name} {value:g}" for name, value in options.items())


# Figures and tables

VALUE = r"true value $V^\pi_\pi(\rho)$"
BOUNDS = {"near-uniform": (-0.31, -0.06), "ε-greedy": (-0.17, -0.06)}  # of the axes


def start_of(run, start):
    """The runs of one start, as a Run."""
    n = run.values.shape[1] // 2
    part = slice(0, n) if start == STARTS[0] else slice(n, 2 * n)
    return algorithms.Run(run.policies[:, part], run.values[:, part], run.shifts[:, part], run.deployments, run.samples[:, part])


def curves(runs, deployments, points=50):
    """Tidy curves of value against deployments and against samples, a row a point, for runs {method: Run} of both starts."""
    tables = []
    for method, run in runs.items():
        for start in STARTS:
            own = start_of(run, start)
            for unit, budgets in (("deployments", range(deployments + 1)), ("samples", budget_grid(own, points))):
                tables.append(budget_curve(own, budgets, unit, method=method, start=start))
    return pd.concat(tables)


def draw_main(table, limits):
    """Value against deployments and against samples, a row a start; dotted where exact gradients are after as many deployments."""
    figure, axes = plt.subplots(2, 2, figsize=(7.4, 5.6), sharey="row")
    units = {"deployments": ("deployments", 1), "samples": ("transitions sampled (thousands)", 1000)}
    for row, start in zip(axes, STARTS):
        for ax, (unit, (label, size)) in zip(row, units.items()):
            for method in table.method.unique():
                part = table[(table.method == method) & (table.start == start) & (table.unit == unit)]
                name = "PePG, response known" if method == "PePG" else method
                figures.draw_curve(
                    ax, part.assign(spent=part.spent / size), name, x="spent", color=figures.COLORS[method],
                    linestyle=figures.LINES[method],
                )
            for limit in limits[limits.start == start].itertuples():
                ax.axhline(limit.value, color=figures.COLORS[limit.method], lw=0.8, ls=":")
            ax.set(title=f"{start} start", xlabel=label, ylim=BOUNDS[start])
            ax.set_xlim(left=0)
    for ax in axes[:, 0]:
        ax.set_ylabel(VALUE)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1.2)
    return figure


def draw_draws(table):
    """Differences on each draw, a row a contrast and a panel a start, with the mean's interval over draws."""
    contrasts = list(table.contrast.unique())
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 0.9 + 0.42 * len(contrasts)), sharey=True)
    for ax, start in zip(axes, STARTS):
        for row, contrast in enumerate(contrasts):
            part = table[(table.start == start) & (table.contrast == contrast)].difference.to_numpy()
            color = figures.COLORS["PePG" if contrast.startswith("PePG, response") else "PePG, learned"]
            color = figures.COLORS["PG"] if contrast.startswith("PG") else color
            places = row + 0.18 * np.linspace(-1.0, 1.0, part.size)
            ax.plot(part, places, ".", color=color, ms=3.5, alpha=0.7)
            mean, low, high = mean_interval(part)
            ax.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color="black", fmt="|", ms=9, capsize=2, lw=1.2)
        ax.axvline(0.0, color=figures.COLORS["reference"], lw=0.8)
        ax.set(title=f"{start} start", xlabel="difference of true values")
    axes[0].set_yticks(range(len(contrasts)), [contrast.replace("PePG, ", "PePG,\n") for contrast in contrasts])
    axes[0].invert_yaxis()
    return figure


def draw_levels(table, deployments):
    """Value after the last deployment against the trajectories of each, a panel a start."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)
    levels, methods = sorted(table.trajectories.unique()), list(table.method.unique())
    for ax, start in zip(axes, STARTS):
        for i, method in enumerate(methods):
            part = table[(table.method == method) & (table.start == start)]
            x = part.trajectories * np.exp(0.08 * (i - (len(methods) - 1) / 2))  # beside each other
            errors = [part["mean"] - part.low, part.high - part["mean"]]
            name = "PePG, response known" if method == "PePG" else method
            ax.errorbar(
                x, part["mean"], errors, color=figures.COLORS[method], linestyle=figures.LINES[method], marker="o", ms=3,
                capsize=2, lw=1.4, label=name,
            )
        ax.set(title=f"{start} start", xlabel="trajectories a deployment", xscale="log")
        ax.set_xticks(levels, levels)
        ax.minorticks_off()
    axes[0].set_ylabel(f"true value after {deployments} deployments")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(methods))
    return figure


def draw_ingredients(table):
    """What the end loses when one ingredient is taken out: a row an ingredient, a colour a start, intervals over draws."""
    names = list(table["taken out"].unique())
    figure, ax = plt.subplots(figsize=(5.6, 0.9 + 0.5 * len(names)))
    for i, (start, color) in enumerate(zip(STARTS, (figures.COLORS["PePG"], figures.COLORS["reference"]))):
        part = table[table.start == start]
        errors = [part["mean"] - part.low, part.high - part["mean"]]
        look = {"marker": "os"[i], "linestyle": "none", "color": color, "ms": 4, "capsize": 2}
        ax.errorbar(part["mean"], np.arange(len(names)) + 0.16 * (2 * i - 1), xerr=errors, label=start, **look)
    ax.axvline(0.0, color=figures.COLORS["reference"], lw=0.8)
    ax.set_yticks(range(len(names)), [name.replace(" (", "\n(") for name in names])
    ax.invert_yaxis()
    ax.set_xlabel("value without it minus value with all")
    ax.legend(loc="best")
    return figure


def end_table(runs, methods, deployments):
    """The ends by method and start: mean and half-width over the last axis, and PePG and PG contrasts beside them."""
    rows = []
    for method in methods:
        row = {"method": method}
        for start, values in ends(runs[method], deployments).items():
            row[start], row[f"± {start}"] = plus_minus(mean_interval(values))
        rows.append(row)
    return pd.DataFrame(rows)


def contrast_rows(runs, deployments, contrasts):
    """Differences on each draw (or seed), tidy: contrast, start, difference."""
    rows = []
    for label, one, other in contrasts:
        first, second = ends(runs[one], deployments), ends(runs[other], deployments)
        for start in STARTS:
            rows += [(label, start, i, d) for i, d in enumerate(first[start] - second[start])]
    return pd.DataFrame(rows, columns=["contrast", "start", "draw", "difference"])
