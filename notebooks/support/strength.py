"""For notebook 18: one setting and draw of the response from its runs to its bounds, the tables of the sweeps, and its figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, figures, theory

from .local_optima import PAPERS, stored_policy, world

STARTS = ("ε-greedy", "uniform")
SIZES = (
    "stable", "best known", "gap", "residual", "occupancy bound", "norm bound", "slope bound", "span", "environment's share",
)
BOUNDS = {  # in the order in which they bound the gap
    "slope bound": ("largest slope on the segment × distance (R2)", (0, (1, 1)), "v"),
    "norm bound": ("largest change over (s, a)", (0, (4, 1.5, 1, 1.5)), "D"),
    "occupancy bound": ("change averaged over $d$", (0, (4, 1.5)), "o"),
    "residual": ("residual (R1)", "--", "^"),
    "gap": ("gap: best known − stable", "-", "s"),
}


def small(x, bound=1e-10):
    """Rounding noise as such."""
    return f"below {bound:g}" if np.max(np.abs(x)) < bound else f"{np.max(np.abs(x)):.4g}"


# Without a response


def coincide(count, transition_strength, reward_strength):
    """A row of a table: whether PePG and PG coincide in `count` random PeMDPs with responses that weak."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(18), 4, 3, 0.9, transition_strength, reward_strength, count=count)
    ends, paths = {}, {}
    for name, step_size, length in (("adaptive", None, 150), ("constant", 0.1, 20)):
        ascent = {"policy": np.full((count, 4, 3), 1 / 3), "iterations": length, "step_size": step_size}
        ends[name] = pe, pg = algorithms.pepg(env, **ascent), algorithms.policy_gradient(env, **ascent)
        same = (pe.policies == pg.policies).all(axis=(0, 2, 3))
        paths[name] = "all" if same.all() else "some" if same.any() else "none"
    pe, pg = ends["adaptive"]
    best_responses = pepg.performative_value(env, pepg.best_response(env.respond(pg.policy)))
    return {
        "transitions' strength": transition_strength,
        "rewards' strength": reward_strength,
        "same path, adaptive": paths["adaptive"],
        "same path, constant": paths["constant"],
        "ends differ by": small(pe.values[-1] - pg.values[-1]),
        "a best response gains": small(theory.best_response_gain(env, pe.policy), 1e-8),
        "best response deployed differs by": small(best_responses - pg.values[-1], 1e-8),
    }


# One setting and draw


def best_end(policies, values):
    """The first within 1e-6 of the best of all, so that rounding does not choose."""
    return policies[np.argmax(values >= values.max() - 1e-6)]


def slopes_between(env, policy, other, points):
    """The largest slopes (L_P, L_r) of the response between neighbours among `points` on the segment between two policies."""
    segment = env.respond(policy + np.linspace(0, 1, points)[:, None, None] * (other - policy))
    steps = (points - 1) / max(np.linalg.norm(other - policy), 1e-12)
    return np.abs(np.diff(segment.P, axis=0)).sum(axis=-1).max() * steps, np.abs(np.diff(segment.r, axis=0)).max() * steps


def known(best_known, policies, setting, draw):
    """The best known value of a setting and draw in the published tables of notebook 17, and its policy."""
    at = (best_known.eps == setting[0]) & (best_known.followers == setting[1]) & (best_known.beta == setting[2])
    row = best_known[at & (best_known.draw.astype(str) == draw)]
    return row.value.item(), stored_policy(policies, setting, draw)


def measure(case, best_known, policies, pg_iterations, iterations, segment_points):
    """The runs at one setting, and for each draw all that is measured at its stable and its best known policy.

    case : (setting, [draw]) · best_known, policies : the published tables of notebook 17
    """
    setting, draws = case
    together = world(*case)
    starts = np.stack([together.epsilon_greedy_policy(0.1), together.uniform_policy()])[:, None]
    pg = algorithms.policy_gradient(together, policy=starts, iterations=pg_iterations)
    pe = algorithms.pepg(together, policy=starts, iterations=iterations)
    measured = []
    for i, draw in enumerate(draws):
        env, (value, policy) = world(setting, draw), known(best_known, policies, setting, draw)
        ends = pg.policy[:, i], pg.values[-1, :, i], pe.values[-1, :, i]
        measured.append(measure_one(env, value, policy, *ends, segment_points))
    return measured


def measure_one(env, value, policy, pg_policies, pg_values, pe_values, segment_points):
    """All that is measured in one world: from the best known value and its policy, PG's ends and their values, and those of PePG's."""
    stable, optimum, uniform = (pepg.deploy(env, one) for one in (best_end(pg_policies, pg_values), policy, env.uniform_policy()))
    slopes = slopes_between(env, stable.policy, optimum.policy, segment_points)
    steps = theory.shift_steps(env, optimum.policy, stable.policy, slopes)
    visits = stable.mdp.occupancy(optimum.policy)
    return {
        "stable": stable.expected_return,
        "best known": value,
        "gap": value - stable.expected_return,
        "residual": optimum.expected_return - stable.mdp.expected_return(optimum.policy),
        **dict(zip(("occupancy bound", "norm bound", "slope bound"), steps[3:])),
        "span": np.ptp(optimum.value),
        "environment's share": np.linalg.norm(uniform.environment_part(env)) / np.linalg.norm(uniform.policy_part),
        **{f"gain, {start}": pe_values[i] - pg_values[i] for i, start in enumerate(STARTS)},
        "shortfall, ε-greedy": value - pe_values[0],
        "excess": max(pe_values.max(), pg_values.max()) - value,
        "gain at PG's end": theory.best_response_gain(env, pg_policies).max(),
        "residual again": theory.gradient_domination(env, stable.policy, optimum.policy)[2],
        "reward part": (visits * (optimum.mdp.r - stable.mdp.r)).sum(),
        "from uniform": optimum.expected_return - uniform.expected_return,
        "residual from uniform": optimum.expected_return - uniform.mdp.expected_return(optimum.policy),
    }


# All settings


def tabulate(sweeps, results):
    """A row for each setting of each sweep and each draw, at ε = 0 of the one world. sweeps : {name: [(x, setting)]}"""
    draws = list(dict.fromkeys(draw for _, draw in results))
    rows = [
        {"sweep": sweep, "x": x, "draw": draw, **results[setting, draw if setting[0] > 0.0 else PAPERS]}
        for sweep, points in sweeps.items() for x, setting in points for draw in draws
    ]
    return pd.DataFrame(rows).map(lambda x: round(float(x), 6) if isinstance(x, (float, np.floating)) else x)


def over_draws(table, column):
    """Mean over the numbered draws with its 95 % interval, and the paper's draw, a row a point of a sweep."""
    rows = []
    for (sweep, x), part in table.groupby(["sweep", "x"], sort=False):
        own = part.draw == PAPERS
        rows.append((sweep, x, *figures.mean_interval(part[column][~own].to_numpy()), part[column][own].item()))
    return pd.DataFrame(rows, columns=["sweep", "x", "mean", "low", "high", "paper's draw"])


def settings_table(table):
    """Gap, gains, residual over the gap and the environment's share over the draws, a row a point of a sweep."""
    gap, greedy, uniform = (over_draws(table, name) for name in ("gap", "gain, ε-greedy", "gain, uniform"))
    shown = gap.rename(columns={"mean": "gap", "paper's draw": "gap, paper's draw"})
    for name, part in (("ε-greedy", greedy), ("uniform", uniform)):
        shown = shown.assign(**{f"gain, {name}": part["mean"], f"{name}, low": part["low"], f"{name}, high": part["high"]})
    return shown.assign(residual=over_draws(table, "residual")["mean"], share=over_draws(table, "environment's share")["mean"])


# Figures


def _panels(table, base, ylabel):
    """Three panels, one a sweep, with the axes of the swept parameter; the other two of `base` (ε, β, followers) in the title."""
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 3.5), sharey=True)
    labels = {"ε": "ε: chance that a cell is redrawn", "β": "β: sharpness of agent 2", "followers": "number of followers"}
    titles = {"ε": "β = {1:g}, {2} followers", "β": "ε = {0:g}, {2} followers", "followers": "ε = {0:g}, β = {1:g}"}
    for ax, (sweep, part) in zip(axes, table.groupby("sweep", sort=False)):
        if sweep != "ε":
            ax.set_xscale("log")
            ax.set_xticks(part.x.unique(), [f"{x:g}" for x in part.x.unique()])
            ax.minorticks_off()
        ax.set(title=titles[sweep].format(*base), xlabel=labels[sweep])
    axes[0].set_ylabel(ylabel)
    return figure, zip(axes, (part for _, part in table.groupby("sweep", sort=False)))


def draw_gap(table, base):
    figure, panels = _panels(table, base, r"difference of values $V^\pi_\pi(\rho)$")
    series = (
        ("gap", "#222222", "-", "s", "gap: best known − stable"),
        ("gain, ε-greedy", figures.COLORS["PePG"], "-", "o", "gain: PePG − PG, ε-greedy start"),
        ("gain, uniform", figures.COLORS["PePG"], ":", "o", "the same, uniform start"),
    )
    for ax, part in panels:
        ax.axhline(0, color="#999999", linewidth=0.8)
        for column, color, line, marker, label in series:
            points = over_draws(part, column)
            face = "white" if line == ":" else color
            ax.plot(points.x, points["mean"], linestyle=line, color=color, marker=marker, markersize=4, markerfacecolor=face, label=label)
            ax.fill_between(points.x, points.low, points.high, color=color, alpha=0.18, linewidth=0)
            ax.plot(points.x, points["paper's draw"], marker="x", linestyle="", color=color, markersize=5)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_bounds(table, base):
    figure, panels = _panels(table, base, "bound on the gap (log scale)")
    colors = [*figures.shades("reference", 4), "#222222"]
    for ax, part in panels:
        for (name, (label, line, marker)), color in zip(BOUNDS.items(), colors):
            groups = part[part.draw != PAPERS].groupby("x")[name]
            middle, low, high = groups.median(), groups.min(), groups.max()
            ax.plot(middle.index, middle, linestyle=line, marker=marker, markersize=3.5, color=color, label=label)
            ax.fill_between(middle.index, low, high, color=color, alpha=0.15, linewidth=0)
        span = part[part.draw != PAPERS].groupby("x")["span"].median()
        ax.plot(span.index, span, color="#222222", linewidth=0.8, label="span of the value over the cells")
        ax.set_yscale("log")
        ax.yaxis.minorticks_off()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
