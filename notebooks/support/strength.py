"""For notebook 18: one setting of the response from its runs to its bounds, the tables of the sweeps, and three figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, figures, theory

SIZES = (
    "stable", "best known", "gap", "residual", "occupancy bound", "norm bound", "slope bound", "L_P", "L_r", "distance", "span",
    "environment's share",
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


# One setting


def best_of(*runs):
    """The first end within 1e-6 of the best of all, so that rounding does not choose."""
    policies, values = (np.concatenate([getattr(run, name)[-1] for run in runs]) for name in ("policies", "values"))
    return policies[np.argmax(values >= values.max() - 1e-6)]


def slopes_between(env, policy, other, points):
    """The largest slopes (L_P, L_r) of the response between neighbours among `points` on the segment between two policies."""
    segment = env.respond(policy + np.linspace(0, 1, points)[:, None, None] * (other - policy))
    steps = (points - 1) / max(np.linalg.norm(other - policy), 1e-12)
    return np.abs(np.diff(segment.P, axis=0)).sum(axis=-1).max() * steps, np.abs(np.diff(segment.r, axis=0)).max() * steps


def measure(case, n_seeds, pg_iterations, iterations, onward_iterations, onward_starts, uniform_share, segment_points):
    """The runs of one setting (ε, β, followers): its stable and its best known policy, and all that is measured at them."""
    eps, beta, n_followers = case
    env = pepg.Gridworld(eps=eps, beta=beta, n_followers=n_followers)
    starts = np.concatenate([env.epsilon_greedy_policy(0.1)[None], env.random_policies(range(n_seeds))])
    pg = algorithms.policy_gradient(env, policy=starts, iterations=pg_iterations)
    pe = algorithms.pepg(env, policy=starts, iterations=iterations)
    mixed = (1 - uniform_share) * pg.policy[:onward_starts] + uniform_share * env.uniform_policy()
    onward = algorithms.pepg(env, policy=mixed, iterations=onward_iterations)

    stable, optimum = pepg.deploy(env, best_of(pg)), pepg.deploy(env, best_of(pe, onward, pg))
    uniform = pepg.deploy(env, env.uniform_policy())
    slopes = slopes_between(env, stable.policy, optimum.policy, segment_points)
    steps = theory.shift_steps(env, optimum.policy, stable.policy, slopes)
    ends = pepg.deploy(env, np.concatenate([pg.policy, pe.policy, onward.policy]))
    visits = stable.mdp.occupancy(ends.policy)
    return {
        "stable": stable.expected_return,
        "best known": optimum.expected_return,
        "gap": theory.stability_gap(env, stable.policy, optimum.policy, slopes)[0],
        "residual": optimum.expected_return - stable.mdp.expected_return(optimum.policy),
        **dict(zip(("occupancy bound", "norm bound", "slope bound"), steps[3:])),
        **dict(zip(("L_P", "L_r"), slopes)),
        "distance": np.linalg.norm(optimum.policy - stable.policy),
        "span": np.ptp(optimum.value),
        "environment's share": np.linalg.norm(uniform.environment_part(env)) / np.linalg.norm(uniform.policy_part),
        # Where each run ends, and what a best response gains there.
        "PG": pg.values[-1],
        "PePG": pe.values[-1],
        "PG then PePG": onward.values[-1],
        "cost of mixing": pg.values[-1, :onward_starts] - onward.values[0],
        "rise": onward.values[-1] - pg.values[-1, :onward_starts],
        "gain at PG's end": theory.best_response_gain(env, pg.policy),
        "gain at PePG's end": theory.best_response_gain(env, pe.policy),
        # Every end against the stable policy: the gap, the residual, and its part through the rewards alone.
        "residual again": theory.gradient_domination(env, stable.policy, optimum.policy)[2],
        "end gaps": ends.expected_return - stable.expected_return,
        "end residuals": ends.expected_return - stable.mdp.expected_return(ends.policy),
        "end reward parts": (visits * (ends.mdp.r - stable.mdp.r)).sum(axis=(-2, -1)),
        "from uniform": optimum.expected_return - uniform.expected_return,
        "residual from uniform": optimum.expected_return - uniform.mdp.expected_return(optimum.policy),
    }


# All settings


def tabulate(sweeps, results):
    """A row for each setting of each sweep, and one for each of its starts; five decimals, and what is below 1e-9 is rounding."""
    rows, starts = [], []
    for k, (sweep, cases) in enumerate(sweeps.items()):
        for case in cases:
            result = results[case]
            rows.append({"sweep": sweep, "x": case[k], **{name: float(result[name]) for name in SIZES}})
            for i, (pg, pe) in enumerate(zip(result["PG"], result["PePG"])):
                onward = result["PG then PePG"][i] if i < len(result["PG then PePG"]) else np.nan
                start = f"near-uniform {i - 1}" if i else "ε-greedy"
                row = {"sweep": sweep, "x": case[k], "start": start, "PG": pg, "PePG": pe, "PG then PePG": onward}
                starts.append({**row, "gain": pe - pg})
    table, ends = pd.DataFrame(rows), pd.DataFrame(starts)
    sizes = table[list(SIZES)]
    table[list(SIZES)] = sizes.where(sizes.abs() > 1e-9, 0.0).round(5)
    numbers = ["PG", "PePG", "PG then PePG", "gain"]
    ends[numbers] = ends[numbers].round(5)
    return table, ends


def settings_table(table, ends):
    """The settings with PePG's mean gain over PG from either kind of start."""
    columns = ["sweep", "x", *SIZES[:9], "environment's share"]
    shown = table[columns].rename(columns={"x": "value"})
    kind = np.where(ends.start == "ε-greedy", "gain, ε-greedy", "gain, near-uniform")
    gains = ends.assign(kind=kind).groupby(["sweep", "x", "kind"]).gain.mean().unstack()
    gains = gains.reindex(pd.MultiIndex.from_frame(table[["sweep", "x"]]))
    shown = shown.assign(**{name: gains[name].to_numpy() for name in ("gain, ε-greedy", "gain, near-uniform")})
    return shown.round({name: 4 for name in shown.columns[2:]})


def by_sweep(table, ends):
    """A row for each sweep: the gap at its ends, how many of its steps rise and fall, and the range of PePG's gains over PG's ends."""
    rows = []
    for sweep, part in table.groupby("sweep", sort=False):
        change, dots = np.diff(part.gap), ends[ends.sweep == sweep]
        kinds = dots.gain[dots.start == "ε-greedy"], dots.gain[dots.start != "ε-greedy"]
        gains = [f"{gain.min():.4f} to {gain.max():.4f}" for gain in kinds]
        gaps = part.gap.iloc[0], part.gap.iloc[-1]
        rows.append((sweep, *gaps, (change > 1e-4).sum(), (change < -1e-4).sum(), *gains))
    names = ["sweep", "gap, first", "gap, last", "steps up", "steps down", "gain, ε-greedy", "gain, near-uniform"]
    return pd.DataFrame(rows, columns=names)


def against_the_gap(table, bound):
    """The steps of the sweeps at which the gap moves by more than 1e-4 and `bound` in the other direction, [(sweep, from, to)]."""
    steps = []
    for sweep, part in table.groupby("sweep", sort=False):
        gap, bounds = np.diff(part.gap), np.diff(part[bound])
        steps += [(sweep, *part.x.iloc[i : i + 2]) for i in np.flatnonzero((gap * bounds < 0) & (np.abs(gap) > 1e-4))]
    return steps


# Figures


def _panels(table, base, ylabel):
    """Three panels, one a sweep, with the axes of the swept parameter; the other two of `base` (ε, β, followers) in the title."""
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 3.5), sharey=True)
    labels = {"ε": "ε: chance that a cell is redrawn", "β": "β: sharpness of agent 2", "followers": "number of followers"}
    titles = {"ε": "β = {1:g}, {2} followers", "β": "ε = {0:g}, {2} followers", "followers": "ε = {0:g}, β = {1:g}"}
    for ax, (sweep, part) in zip(axes, table.groupby("sweep", sort=False)):
        if sweep == "β":
            ax.set_xscale("symlog", linthresh=0.1, linscale=0.4)
            ax.set_xlim(-0.03, part.x.max() * 1.35)
        elif sweep == "followers":
            ax.set_xscale("log")
        if sweep != "ε":
            ax.set_xticks(part.x, [f"{x:g}" for x in part.x])
            ax.minorticks_off()
        ax.set(title=titles[sweep].format(*base), xlabel=labels[sweep])
    axes[0].set_ylabel(ylabel)
    return figure, zip(axes, (part for _, part in table.groupby("sweep", sort=False)))


def _starts(ends, sweep):
    """The rows of one sweep from the ε-greedy start, and from the near-uniform ones."""
    part = ends[ends.sweep == sweep]
    return part[part.start == "ε-greedy"], part[part.start != "ε-greedy"]


def _legend(figure, order=None, **options):
    handles, labels = figure.axes[0].get_legend_handles_labels()
    order = range(len(handles)) if order is None else order
    figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=2, **options)


def draw_gap(table, ends, base):
    figure, panels = _panels(table, base, r"difference of values $V^\pi_\pi(\rho)$")
    color = figures.COLORS["PePG"]
    for ax, part in panels:
        greedy, others = _starts(ends, part.sweep.iloc[0])
        ax.axhline(0, color="#999999", linewidth=0.8)
        residual = {"color": figures.COLORS["reference"], "marker": "^", "markersize": 4}
        ax.plot(part.x, part.residual, "--", **residual, label="residual (R1), at the best known policy")
        ax.plot(part.x, part.gap, "-", color="#222222", marker="s", markersize=4, label="gap: best known − stable")
        ax.plot(greedy.x, greedy.gain, "o", color=color, markersize=4.5, label="gain: PePG − PG, ε-greedy start")
        hollow = {"markerfacecolor": "white", "markersize": 4.5}
        ax.plot(others.x, others.gain, "o", color=color, **hollow, label="the same, near-uniform starts (each)")
        cross = {"color": figures.COLORS["PG"], "markersize": 6, "markeredgewidth": 1.4}
        ax.plot(greedy.x, greedy["PG then PePG"] - greedy.PG, "x", **cross, label="gain: PePG from PG's end − PG's end")
    _legend(figure, (1, 0, 2, 3, 4))
    return figure


def draw_bounds(table, base):
    figure, panels = _panels(table, base, "bound on the gap (log scale)")
    colors = [*figures.shades("reference", 4), "#222222"]
    for ax, part in panels:
        if (part.gap == 0).any():
            zero = part.x[part.gap == 0].iloc[0]
            ax.text(zero, 2e-4, "all zero", rotation=90, ha="center", va="bottom", fontsize=7, color="#555555")
        part = part[part.gap > 0]
        for (name, (label, line, marker)), color in zip(BOUNDS.items(), colors):
            ax.plot(part.x, part[name], linestyle=line, marker=marker, markersize=3.5, color=color, label=label)
        ax.plot(part.x, part.span, color="#222222", linewidth=0.8, label="span of the value over the cells")
        ax.set_yscale("log")
        ax.yaxis.minorticks_off()
    _legend(figure)
    return figure


def draw_values(table, ends, base):
    figure, panels = _panels(table, base, r"true value $V^\pi_\pi(\rho)$")
    color = figures.COLORS["PePG"]
    for ax, part in panels:
        greedy, others = _starts(ends, part.sweep.iloc[0])
        ax.plot(part.x, part["best known"], color="#222222", linewidth=1.0, label="best known")
        ax.plot(greedy.x, greedy.PePG, "o", color=color, markersize=4.5, label="PePG, ε-greedy start")
        spread = others.groupby("x").PePG.agg(["mean", "min", "max"])
        errors = [spread["mean"] - spread["min"], spread["max"] - spread["mean"]]
        bars = {"fmt": "o", "markerfacecolor": "white", "markersize": 4.5, "capsize": 2, "linewidth": 1}
        label = f"PePG, {others.start.nunique()} near-uniform starts (mean, range)"
        ax.errorbar(spread.index, spread["mean"], errors, color=color, **bars, label=label)
        ax.plot(part.x, part.stable, color=figures.COLORS["PG"], linestyle=figures.LINES["PG"], label="stable (PG)")
    _legend(figure)
    return figure
