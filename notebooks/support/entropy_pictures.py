"""For notebook 13: its three figures, each drawn from the data that is stored beside it."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from pepg import figures


def draw_final(final):
    """Plain value, entropy and steps after the last iteration, against λ."""
    followers = list(final["followers"].unique())
    figure, axes = plt.subplots(1, 3, figsize=(8.2, 2.9))
    quantities = {"plain": "final plain value $V^\\pi_\\pi(\\rho)$", "entropy": "final mean entropy (nats)", "steps": "discounted steps"}
    for n, marker, color in zip(followers, "os", (figures.COLORS["PePG, entropy"], figures.COLORS["reference"])):
        part = final[final.followers == n]
        for ax, name in zip(axes, quantities):
            ax.plot(part.coefficient, part[name], marker + "-", color=color, markersize=4, label=f"{n} followers")
        axes[0].fill_between(part.coefficient, part["plain low"], part["plain high"], color=color, alpha=0.2)
        for ax, name in zip(axes, ("plain, greedy start", "entropy, greedy start")):
            ax.plot(part.coefficient, part[name], "*:", color=color, markersize=5)
    for ax, label in zip(axes, quantities.values()):
        ax.set_xscale("symlog", linthresh=0.003)
        ax.set_xlim(-0.001, 3)
        ax.set_xticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
        ax.minorticks_off()
        ax.set(xlabel="entropy coefficient $\\lambda$", ylabel=label)
    axes[1].axhline(np.log(4), color="#444444", linewidth=0.8, linestyle="--")
    axes[1].annotate("$\\ln 4$", (0, np.log(4)), (0, 3), textcoords="offset points", fontsize=8)
    axes[1].set_ylim(-0.05, 1.55)
    axes[0].plot([], [], "*:", color="#555555", markersize=5, label="from ε-greedy")
    axes[0].legend(loc="lower left")
    return figure


def draw_values(data):
    """Plain and regularised value per iteration, a column a number of followers."""
    followers, coefficients = list(data["followers"].unique()), list(data["coefficient"].unique())
    shades = sns.blend_palette(["#f7dfa8", figures.COLORS["PePG, entropy"], "#3d2900"], len(coefficients) - 1)
    colors = dict(zip(coefficients, [figures.COLORS["PePG"], *shades]))
    figure, axes = plt.subplots(2, 2, figsize=(7.4, 5.4), sharex="col")
    for (n, c, name, start), part in data.groupby(["followers", "coefficient", "value", "start"]):
        ax = axes[["plain", "regularised"].index(name), list(followers).index(n)]
        if start == "near uniform":
            figures.draw_curve(ax, part, "PePG, entropy", label=f"{c:g}", color=colors[c], linestyle="-")
        else:
            ax.plot(part.iteration, part["mean"], color=colors[c], linestyle=(0, (1, 1)), linewidth=1.2)
    for column, n in enumerate(followers):
        axes[0, column].set_title(f"{n} followers")
        axes[1, column].set_xlabel("iteration")
        axes[1, column].set_yscale("symlog", linthresh=0.1)
    axes[0, 0].set_ylabel("plain value $V^\\pi_\\pi(\\rho)$")
    axes[1, 0].set_ylabel("regularised value $V_\\lambda$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    handles.append(plt.Line2D([], [], color="#555555", linestyle=(0, (1, 1)), linewidth=1.2))
    figure.legend(handles, [*labels, "from ε-greedy"], title="$\\lambda$", loc="outside right center")
    return figure


def draw_annealing(points):
    """Final plain values after two stages, a point a start."""
    followers, names = list(points["followers"].unique()), list(points["schedule"].unique())
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.2))
    for ax, n in zip(axes, followers):
        part = points[points.followers == n]
        greedy = part.start == "epsilon-greedy"
        near, color = part[~greedy], figures.COLORS["PePG, entropy"]
        ax.plot(near.place, near.value, "o", markersize=3, color=color, label="near-uniform starts")
        ax.plot(part.place[greedy], part.value[greedy], "*", markersize=8, color="black", label="from ε-greedy")
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
        ax.grid(axis="x", visible=False)
        ax.set(title=f"{n} followers", xlabel="$\\lambda$ of the two stages")
    axes[0].set_ylabel("final plain value $V^\\pi_\\pi(\\rho)$")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
