"""One style for every figure of the companion, and the figures that more than one notebook draws."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm

from ..experiments import mean_interval  # a name that notebooks use as figures.mean_interval
from .output import PROJECT, Output, read_published, show_table  # noqa: F401 (names that notebooks use as figures.*)

# The same colour for the same algorithm everywhere: Okabe & Ito's palette, with three dark or pale colours of Tol's muted one where its
# eight do not suffice. Colour-blind readers can tell them apart; the line styles differ too. A finite-sample PePG or PG wears the exact one's.
COLORS = {
    "PePG": "#D55E00",
    "PePG, entropy": "#E69F00",
    "PePG, learned": "#661100",
    "PG": "#0072B2",
    "RPO": "#009E73",
    "RPO-FS": "#56B4E9",
    "RGA": "#CC79A7",
    "DRR": "#332288",
    "MDRR": "#000000",
    "0-FW": "#DDCC77",
    "reference": "#555555",
}
LINES = {
    "PePG": "-",
    "PePG, entropy": (0, (5, 1)),
    "PePG, learned": (0, (6, 1, 1, 1)),
    "PG": (0, (4, 1.5, 1, 1.5)),
    "RPO": (0, (2, 1)),
    "RPO-FS": (0, (3, 1)),
    "RGA": (0, (1, 1)),
    "DRR": (0, (3, 1, 1, 1, 1, 1)),
    "MDRR": (0, (7, 1.5)),
    "0-FW": (0, (1, 0.6)),
}


def use_style():
    """Set the companion's style for every figure drawn from here on."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
            "figure.figsize": (4.6, 3.2),
            "figure.dpi": 110,
            "savefig.dpi": 200,
            "figure.constrained_layout.use": True,
            "font.size": 9.0,
            "axes.titlesize": 9.5,
            "axes.labelsize": 9.0,
            "legend.fontsize": 8.0,
            "xtick.labelsize": 8.0,
            "ytick.labelsize": 8.0,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.6,
            "pdf.fonttype": 42,
            "svg.hashsalt": "pepg",
        }
    )


def shades(name, count):
    """`count` shades of an algorithm's colour, light to dark, for one algorithm under several settings."""
    return sns.light_palette(COLORS.get(name, name), n_colors=count + 2)[2:]


def curves(x, samples, x_name="iteration", **labels):
    """A tidy table of curves: one row per point, with mean, low and high over the last axis of `samples` (T, seeds)."""
    mean, low, high = mean_interval(samples)
    return pd.DataFrame({**labels, x_name: x, "mean": mean, "low": low, "high": high})


def draw_curve(axes, table, name, x="iteration", label=None, color=None, linestyle=None):
    """Draw one algorithm's curve with its band from the rows of :func:`curves`."""
    color = color or COLORS[name]
    line = linestyle or LINES.get(name, "-")
    axes.plot(table[x], table["mean"], color=color, linestyle=line, label=label or name)
    if (table["high"] > table["low"]).any():
        axes.fill_between(table[x], table["low"], table["high"], color=color, alpha=0.18, linewidth=0)


CELL = 0.125  # of a decade: the width of the cells in which `count_sides` counts


def count_sides(left, right, low, high, **labels):
    r"""Both sides of a bound as counts, the data of :func:`both_sides`: one row per cell that holds an instance.

    left, right : (n,), the two sides, positive · low, high : the decades that are kept apart; what lies outside
    :math:`[10^{low}, 10^{high}]` counts in the outermost cells. `labels` are columns that all rows share.
    """
    edges = np.arange(low, high + CELL / 2, CELL)
    points = [np.clip(np.log10(np.maximum(side, 10.0**low)), low, high) for side in (right, left)]
    counts = np.histogram2d(*points, [edges, edges])[0].astype(int)
    i, j = np.nonzero(counts)
    return pd.DataFrame({**labels, "log10 right from": edges[i], "log10 left from": edges[j], "instances": counts[i, j]})


def both_sides(data, by, title, left, right):
    """A figure of both sides of a bound, on logarithmic axes, with the line of equality, that no instance crosses.

    data : rows of :func:`count_sides`; one panel for each value of its column `by`, headed by `title` with the value for {}
    left, right : what the two sides are, with their unit
    """
    panels = list(data.groupby(by))
    figure, axes = plt.subplots(1, len(panels), figsize=(0.9 + 2.1 * len(panels), 2.9), sharex=True, sharey=True, squeeze=False)
    sides = data[["log10 right from", "log10 left from"]]
    lowest, highest = np.floor(sides.min()), np.ceil(sides.max() + CELL)
    edges = np.arange(lowest.min(), highest.max() + CELL / 2, CELL)
    for ax, (value, part) in zip(axes[0], panels):
        counts = np.full((edges.size - 1, edges.size - 1), np.nan)
        column, row = ((part[side] - edges[0]) / CELL for side in sides)
        counts[row.round().astype(int), column.round().astype(int)] = part["instances"]
        mesh = ax.pcolormesh(
            10**edges, 10**edges, counts, norm=LogNorm(1, max(2, data["instances"].max())), cmap="viridis_r", rasterized=True
        )
        ax.axline((1.0, 1.0), (10.0, 10.0), color="black", linewidth=0.9)
        ax.set(xscale="log", yscale="log", title=title.format(value), xlabel=right)
    (x_low, y_low), (x_high, y_high) = 10.0**lowest, 10.0**highest
    ax.set(xlim=(x_low, x_high), ylim=(y_low, 10 * y_high))
    axes[0, 0].set_ylabel(left)
    axes[0, 0].text(0.03, 0.97, "line: equality", transform=axes[0, 0].transAxes, fontsize=7.5, va="top")
    figure.colorbar(mesh, ax=axes[0], label="instances per cell")
    return figure


def proof_steps(data, labels, xlabel, xscale="linear"):
    """A figure of what each step of a proof leaves: median and range, a row a step, a mark a group of instances.

    data : columns instances (the group), step, low, median, high; a group whose low is missing is a single instance
    labels : what the legend calls the groups, {name: label}, in the order of the marks
    """
    steps = list(data["step"].unique())
    rows = np.arange(len(steps))[::-1]
    palette = dict(zip(labels, sns.color_palette("viridis", 4)))
    figure, ax = plt.subplots(figsize=(6.6, 3.1))
    for k, ((name, label), marker) in enumerate(zip(labels.items(), "osD")):
        part = data[data["instances"] == name]
        single = part["low"].isna().all()
        color, height = "black" if single else palette[name], rows - 0.2 * (k - 1)
        ax.hlines(height, part["low"], part["high"], color=color)
        ax.plot(part["median"], height, marker, color=color, label=label, markersize=5)
    ax.set(xscale=xscale, yticks=rows, yticklabels=steps, ylim=(-0.5, len(steps) - 0.5), xlabel=xlabel)
    ax.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def step_quantiles(groups, steps, letter):
    """What each step of a proof leaves, the data of :func:`proof_steps`: the 5 %, 50 % and 95 % quantile of its ratio.

    groups : {name: table}, the table's columns letter + "0", letter + "1", ... being what stands before and after the steps
    steps : what the steps are called, in their order
    """
    rows = []
    for name, part in groups.items():
        for k, step in enumerate(steps):
            low, median, high = (part[f"{letter}{k}"] / part[f"{letter}{k + 1}"]).quantile([0.05, 0.5, 0.95])
            rows.append({"instances": name, "step": step, "low": low, "median": median, "high": high})
    return pd.DataFrame(rows)


# Any environment: what `experiments.compare` gives, as data and as pictures


def value_curves(runs, scale=1.0):
    """The values of :func:`pepg.experiments.compare`, times `scale`, as tidy curves over deployments: a row a point."""
    tables = []
    for (knows, name), seeds in runs.items():
        values = scale * np.stack([run.values for run in seeds], axis=-1)
        tables.append(curves(seeds[0].deployments, values, "deployments", knows=knows, algorithm=name))
    return pd.concat(tables)


def value_table(runs, scale=1.0):
    """Where each algorithm of :func:`pepg.experiments.compare` ends: mean and interval over the seeds, and the best on the way."""
    rows = []
    for (knows, name), seeds in runs.items():
        interval = mean_interval(scale * np.array([run.values[-1] for run in seeds]))
        best = np.mean([scale * run.values.max() for run in seeds])
        rows.append((knows, name, seeds[0].deployments[-1], *interval, best))
    return pd.DataFrame(rows, columns=["knows", "algorithm", "deployments", "value", "low", "high", "best on the way"])


def learning_curves(table, ylabel=r"true value $V^\pi_\pi(\rho)$"):
    """A figure of :func:`value_curves`: a panel for those that know the environment's answer, one for those that see samples."""
    figure, axes = plt.subplots(1, table["knows"].nunique(), figsize=(7.2, 3.6), sharey=True, squeeze=False)
    dashes = ("-", (0, (4, 1.5)), (0, (1, 1)))
    for panel, (knows, rows) in zip(axes[0], table.groupby("knows", sort=False)):
        names = list(rows["algorithm"].unique())
        several = [name for name in names if " λ" in name]
        for name, curve in rows.groupby("algorithm", sort=False):
            kind = name.split(" λ")[0]
            line = dashes[several.index(name) % len(dashes)] if name in several else LINES[kind]
            draw_curve(panel, curve, name, x="deployments", color=COLORS[kind], linestyle=line)
        panel.set(title=knows, xlabel="deployments")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, columnspacing=1.0, handlelength=2.4)
    axes[0, 0].set_ylabel(ylabel)
    return figure


def policy_table(values, policies, states, actions):
    """Policies and their values as one tidy table, the data of :func:`stable_and_optimal`.

    values : {name: (its value, what a best response promises, what that delivers)} · policies : {name: (S, A)}
    """
    rows = []
    for name, policy in policies.items():
        quantities = ("its value", "best response: promised", "best response: delivered")
        rows += [(name, quantity, "", "", value) for quantity, value in zip(quantities, values[name])]
        rows += [(name, "probability", s, a, policy[i, j]) for i, s in enumerate(states) for j, a in enumerate(actions)]
    return pd.DataFrame(rows, columns=["policy", "quantity", "state", "action", "value"]).round(6)


def stable_and_optimal(table):
    """A figure of :func:`policy_table`: what each policy does in each state, and what it is worth, promised and delivered."""
    shown = table[table["quantity"] == "probability"]
    states, actions = list(shown["state"].unique()), list(shown["action"].unique())
    names = list(table["policy"].unique())
    height = max(2.8, 0.8 + 0.22 * len(states))
    figure, axes = plt.subplots(1, len(names) + 1, figsize=(7.2, height), width_ratios=[*[1] * len(names), 1.5])
    looks = {name: "PePG" if "PePG" in name else "PG" for name in names}
    for panel, name in zip(axes, names):
        shares = shown[shown["policy"] == name].pivot(index="state", columns="action", values="value").loc[states, actions]
        left = np.zeros(len(states))
        for action, shade in zip(actions, shades(looks[name], len(actions))):
            bars = panel.barh(states, shares[action], left=left, color=shade, height=0.7, edgecolor="white")
            text = "white" if action == actions[-1] else "black"
            panel.bar_label(bars, [action if p > 0.15 else "" for p in shares[action]], label_type="center", color=text, fontsize=8)
            left = left + shares[action].to_numpy()
        panel.set(title=name, xlabel="probability of the action", xlim=(0, 1), xticks=[0, 0.5, 1])
        panel.invert_yaxis()
        panel.grid(False)
        if panel is not axes[0]:
            panel.set_yticklabels([])
    marks = {"its value": "o", "best response: promised": "^", "best response: delivered": "v"}
    for x, name in enumerate(names):
        values = table[table["policy"] == name].set_index("quantity")["value"]
        for dx, (quantity, mark) in zip((-0.3, 0.0, 0.3), marks.items()):
            axes[-1].plot(x + dx, values[quantity], mark, color=COLORS[looks[name]], markersize=7)
            axes[-1].annotate(f"{values[quantity]:.3g}", (x + dx, values[quantity]), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    for quantity, mark in marks.items():
        axes[-1].plot([], [], mark, color=COLORS["reference"], label=quantity)
    axes[-1].set(xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5), ylabel="value")
    axes[-1].margins(y=0.15)
    axes[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure
