"""One style for every figure of the companion, and the figures that more than one notebook draws."""

from collections.abc import Iterable, Mapping
from textwrap import fill
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, is_color_like
from matplotlib.figure import Figure
from matplotlib.typing import ColorType, LineStyleType
from numpy.typing import ArrayLike

from ..arguments import (
    Numbers,
    check_choice,
    check_count,
    check_finite,
    check_instance,
    check_mapping,
    check_one_policy,
    check_real,
    check_sequence,
    check_text,
    check_vector,
    described,
)
from ..experiments import mean_interval  # a name that notebooks use as figures.mean_interval
from .output import PROJECT, Output, check_table, read_published, show_table  # noqa: F401 (names that notebooks use as figures.*)

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
# For what is no algorithm: parts of a gradient, quantities, signs, categories. A ramp of one kind takes shades of the last.
OTHERS = ("#882255", "#999933", "#AA4499", "#8C8C8C", "#6A3D9A")
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


def use_style() -> None:
    """Set the companion's style for every figure drawn from here on, from the library's defaults and not a user's matplotlibrc."""
    mpl.rcdefaults()
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
            "figure.figsize": (4.6, 3.2),
            "figure.dpi": 110,
            "savefig.dpi": 144,  # three pixels for two of a page
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
            "pdf.compression": 0,  # whose bytes depend on the zlib that Python was built with
            "svg.hashsalt": "pepg",
        }
    )


def shades(name: str, count: int) -> list[tuple[float, float, float]]:
    """`count` shades of an algorithm's colour, light to dark, for one algorithm under several settings."""
    count = check_count("count", count)
    if not is_color_like(COLORS.get(check_text("name", name), name)):
        raise ValueError(f"name: expected an algorithm ({', '.join(COLORS)}) or a colour, got {name!r}")
    return sns.light_palette(COLORS.get(name, name), n_colors=count + 2)[2:]


def curves(x: ArrayLike, samples: ArrayLike, x_name: str = "iteration", **labels: Any) -> pd.DataFrame:
    """A tidy table of curves: one row per point, with mean, low and high over the last axis of `samples` (T, seeds)."""
    check_vector("x", x)
    samples = check_finite("samples", samples, ())
    if samples.ndim != 2 or len(samples) != len(x):
        raise ValueError(f"samples: expected shape ({len(x)}, seeds) for {len(x)} x, got {samples.shape}")
    check_text("x_name", x_name)
    mean, low, high = mean_interval(samples)
    return pd.DataFrame({**labels, x_name: x, "mean": mean, "low": low, "high": high})


def draw_curve(
    axes: Axes, table: pd.DataFrame, name: str, x: str = "iteration", label: str | None = None, color: ColorType | None = None,
    linestyle: LineStyleType | None = None,
) -> None:
    """Draw one algorithm's curve with its band from the rows of :func:`curves`."""
    check_instance("axes", axes, Axes, "matplotlib Axes"), check_text("x", x)
    check_table("table", table, (x, "mean", "low", "high"))
    if color is None:
        check_choice("name", name, COLORS)
    color = color or COLORS[name]
    line = linestyle or LINES.get(name, "-")
    axes.plot(table[x], table["mean"], color=color, linestyle=line, label=label or name)
    if (table["high"] > table["low"]).any():
        axes.fill_between(table[x], table["low"], table["high"], color=color, alpha=0.18, linewidth=0)


CELL = 0.125  # of a decade: the width of the cells in which `count_sides` counts


def count_sides(left: ArrayLike, right: ArrayLike, low: float, high: float, **labels: Any) -> pd.DataFrame:
    r"""Both sides of a bound as counts, the data of :func:`both_sides`: one row per cell that holds an instance.

    left, right : (n,), the two sides, positive · low, high : the decades that are kept apart; what lies outside
    :math:`[10^{low}, 10^{high}]` counts in the outermost cells. `labels` are columns that all rows share.
    """
    left, right, low, high = check_vector("left", left), check_vector("right", right), check_real("low", low), check_real("high", high)
    if left.shape != right.shape:
        raise ValueError(f"right: expected the shape of left, {left.shape}, got {right.shape}")
    if not low < high:
        raise ValueError(f"high: expected a decade above low = {low:g}, got {high:g}")
    edges = np.arange(low, high + CELL / 2, CELL)
    points = [np.clip(np.log10(np.maximum(side, 10.0**low)), low, high) for side in (right, left)]
    counts = np.histogram2d(*points, [edges, edges])[0].astype(int)
    i, j = np.nonzero(counts)
    return pd.DataFrame({**labels, "log10 right from": edges[i], "log10 left from": edges[j], "instances": counts[i, j]})


def both_sides(data: pd.DataFrame, by: str, title: str, left: str, right: str) -> Figure:
    """A figure of both sides of a bound, on logarithmic axes, with the line of equality, that no instance crosses.

    data : rows of :func:`count_sides`; one panel for each value of its column `by`, headed by `title` with the value for {}
    left, right : what the two sides are, with their unit
    """
    check_text("by", by), check_text("title", title), check_text("left", left), check_text("right", right)
    check_table("data", data, (by, "log10 right from", "log10 left from", "instances"))
    panels = list(data.groupby(by))
    figure, axes = plt.subplots(1, len(panels), figsize=(0.9 + 2.1 * len(panels), 2.9), sharex=True, sharey=True, squeeze=False)
    sides = data[["log10 right from", "log10 left from"]]
    lowest, highest = np.floor(sides.min()), np.ceil(sides.max() + CELL)
    corners, norm = CELL * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]), LogNorm(1, max(2, data["instances"].max()))
    for ax, (value, part) in zip(axes[0], panels):
        squares = 10.0 ** (part[[*sides]].to_numpy()[:, None] + corners)
        cells = PolyCollection(squares, array=part["instances"], norm=norm, cmap="viridis_r", edgecolors="face", linewidths=0.1)
        ax.add_collection(cells)
        ax.axline((1.0, 1.0), (10.0, 10.0), color="black", linewidth=0.9)
        ax.set(xscale="log", yscale="log", title=title.format(value), xlabel=right)
    (x_low, y_low), (x_high, y_high) = 10.0**lowest, 10.0**highest
    ax.set(xlim=(x_low, x_high), ylim=(y_low, 10 * y_high))
    axes[0, 0].set_ylabel(left)
    axes[0, 0].text(0.03, 0.97, "line: equality", transform=axes[0, 0].transAxes, fontsize=7.5, va="top")
    figure.colorbar(cells, ax=axes[0], label="instances per cell")
    return figure


def proof_steps(data: pd.DataFrame, labels: Mapping[str, str], xlabel: str, xscale: Literal["linear", "log"] = "linear") -> Figure:
    """A figure of what each step of a proof leaves: median and range, a row a step, a mark a group of instances.

    data : columns instances (the group), step, low, median, high; a group whose low is missing is a single instance
    labels : what the legend calls the groups, {name: label}, in the order of the marks
    """
    check_table("data", data, ("instances", "step", "low", "median", "high"))
    if not set(check_mapping("labels", labels, "label")) <= set(data["instances"]):
        raise ValueError(f"labels: expected names of instances ({', '.join(data['instances'].unique())}), got {described(labels)}")
    check_text("xlabel", xlabel), check_choice("xscale", xscale, ("linear", "log"))
    steps = list(data["step"].unique())
    rows = np.arange(len(steps))[::-1]
    palette = dict(zip(labels, shades(OTHERS[-1], 3)))
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


def step_quantiles(groups: Mapping[str, pd.DataFrame], steps: Iterable[str], letter: str) -> pd.DataFrame:
    """What each step of a proof leaves, the data of :func:`proof_steps`: the 5 %, 50 % and 95 % quantile of its ratio.

    groups : {name: table}, the table's columns letter + "0", letter + "1", ... being what stands before and after the steps
    steps : what the steps are called, in their order
    """
    steps = check_sequence("steps", steps, "names of steps")
    columns = [f"{check_text('letter', letter)}{k}" for k in range(len(steps) + 1)]
    rows = []
    for name, part in check_mapping("groups", groups, "table").items():
        check_table(f"groups: {name}", part, columns)
        for k, step in enumerate(steps):
            low, median, high = (part[f"{letter}{k}"] / part[f"{letter}{k + 1}"]).quantile([0.05, 0.5, 0.95])
            rows.append({"instances": name, "step": step, "low": low, "median": median, "high": high})
    return pd.DataFrame(rows)


# Any environment: what `pepg.compare` gives, as pictures


def learning_curves(table: pd.DataFrame, ylabel: str = r"true value $V^\pi_\pi(\rho)$") -> Figure:
    """A figure of the curves of a :class:`pepg.companion.comparison.Comparison`, a panel for those that know the environment's answer,
    one for those that see samples.
    """
    check_table("table", table, ("knows", "algorithm", "deployments", "mean", "low", "high")), check_text("ylabel", ylabel)
    figure, axes = plt.subplots(1, table["knows"].nunique(), figsize=(7.2, 3.6), sharey=True, squeeze=False)
    for panel, (knows, rows) in zip(axes[0], table.groupby("knows", sort=False)):
        for name, curve in rows.groupby("algorithm", sort=False):
            draw_curve(panel, curve, name, x="deployments")
        panel.set(title=knows, xlabel="deployments")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, columnspacing=1.0, handlelength=2.4)
    axes[0, 0].set_ylabel(ylabel)
    return figure


def policy_table(
    values: Mapping[str, tuple[Numbers, Numbers, Numbers]], policies: Mapping[str, ArrayLike], states: Iterable[str], actions: Iterable[str],
) -> pd.DataFrame:
    """Policies and their values as one tidy table, the data of :func:`stable_and_optimal`.

    values : {name: (its value, what a best response promises, what that delivers)} · policies : {name: (S, A)}
    """
    check_mapping("values", values, "triple")
    states, actions = check_sequence("states", states, "names"), check_sequence("actions", actions, "names")
    rows = []
    for name, policy in check_mapping("policies", policies, "policy").items():
        policy = check_one_policy(policy, len(states), len(actions), f"policies: {name}")
        if len(check_vector(f"values: {name}", values.get(name))) != 3:
            raise ValueError(f"values: expected three numbers for {name!r}, got {described(values[name])}")
        quantities = ("its value", "best response: promised", "best response: delivered")
        rows += [(name, quantity, "", "", float(f"{value:.6g}")) for quantity, value in zip(quantities, values[name])]
        rows += [(name, "probability", s, a, policy[i, j].round(6)) for i, s in enumerate(states) for j, a in enumerate(actions)]
    return pd.DataFrame(rows, columns=["policy", "quantity", "state", "action", "value"])


def stable_and_optimal(table: pd.DataFrame) -> Figure:
    """A figure of :func:`policy_table`: what each policy does in each state, and what it is worth, promised and delivered.

    An action's name stands in its bar where it fits, else its number, with a key below; 40 states and long names have room.
    """
    check_table("table", table, ("policy", "quantity", "state", "action", "value"))
    shown = table[table["quantity"] == "probability"]
    states, actions = list(shown["state"].unique()), list(shown["action"].unique())
    names = list(table["policy"].unique())
    figure, axes = plt.subplots(1, len(names) + 1, figsize=(7.4, 2.2 + 0.2 * len(states)), width_ratios=[*[1] * len(names), 1.3])
    looks = {name: "PePG" if "PePG" in name else "PG" for name in names}
    long = max(map(len, actions)) > LETTERS
    for panel, name in zip(axes, names):
        shares = shown[shown["policy"] == name].pivot(index="state", columns="action", values="value").loc[states, actions]
        _action_bars(panel, shares, shades(looks[name], len(actions)), long)
        panel.set(title=name, xlabel="probability of the action", xlim=(0, 1), xticks=[0, 0.5, 1])
    half = STATE_LETTERS // 2
    labels = [state if len(state) <= STATE_LETTERS else f"{state[:half]} … {state[-half:]}" for state in states]
    axes[0].set_yticks(range(len(states)), labels, fontsize=8 if len(states) <= 20 else 6.5)
    for panel in axes[1 : len(names)]:
        panel.set_yticks(range(len(states)), [])
    _value_marks(axes[-1], table, {name: COLORS[looks[name]] for name in names})
    if long:
        key = [f"{k}: {action}".replace(" ", "\xa0") for k, action in enumerate(actions, start=1)]  # a name stays on one line
        figure.suptitle(fill(" · ".join(key), 110).replace("\xa0", " "), fontsize=8)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


LETTERS, STATE_LETTERS = 10, 28  # that a bar, and the margin, have room for


def _action_bars(panel, shares, colors, long):
    """A bar a state, divided as its actions' `shares`; names, or numbers where names are `long`, where they fit."""
    left, rows = np.zeros(len(shares)), range(len(shares))
    for k, (action, color) in enumerate(zip(shares, colors)):
        bars = panel.barh(rows, shares[action], left=left, color=color, height=0.8, edgecolor="white", linewidth=0.5)
        label, last = str(k + 1) if long else action, k == len(colors) - 1
        room = 0.05 + 0.045 * len(label)  # of the panel's width
        text = [label if p > room else "" for p in shares[action]]
        panel.bar_label(bars, text, label_type="center", color="white" if last else "black", fontsize=8 if len(shares) <= 20 else 6.5)
        left = left + shares[action].to_numpy()
    panel.set_ylim(len(shares) - 0.4, -0.6)
    panel.grid(False)


def _value_marks(panel, table, colors):
    """Each policy's value, and what a best response to it promises and delivers, with as many digits as tell them apart."""
    marks = {"its value": "o", "best response: promised": "^", "best response: delivered": "v"}
    worth = table[table["quantity"].isin(marks)].pivot(index="policy", columns="quantity", values="value").loc[list(colors)]
    spread = float(np.ptp(worth.to_numpy())) or float(np.abs(worth.to_numpy()).max()) or 1.0
    places = int(np.clip(2 - np.floor(np.log10(spread)), 0, 12))
    for x, (name, color) in enumerate(colors.items()):
        for dx, (quantity, mark) in zip((-0.3, 0.0, 0.3), marks.items()):
            value = worth.loc[name, quantity]
            panel.plot(x + dx, value, mark, color=color, markersize=6)
            place = {"textcoords": "offset points", "ha": "center", "va": "bottom", "rotation": 90, "fontsize": 7.5}
            panel.annotate(f"{value:.{places}f}", (x + dx, value), (0, 6), **place)
    for quantity, mark in marks.items():
        panel.plot([], [], mark, color=COLORS["reference"], label=quantity)
    labels = [name.replace(" (", "\n(") for name in colors]
    panel.set(xticks=range(len(colors)), xticklabels=labels, xlim=(-0.6, len(colors) - 0.4), ylabel="value")
    panel.margins(y=0.35)
