"""For notebook 02: two of its figures, each drawn from the data that is stored beside it."""

import matplotlib.pyplot as plt
import numpy as np

from pepg import figures


def draw_residuals(data):
    """How many instances have which residual of R1, and of R1 with something wrong."""
    share = 100 / data.groupby("residual")["instances"].sum().max()
    names = list(data["residual"].unique())
    exact = data[data.residual == names[0]]
    figure, ax = plt.subplots(figsize=(6.2, 3.2))
    ax.bar(exact["log10 from"], share * exact["instances"], width=0.5, align="edge", color=figures.COLORS["reference"])
    ax.annotate("all terms: every instance\nbelow $10^{-12}$ (rounding)", (-10.9, 88), fontsize=8)
    for name, color, line in zip(names[1:], figures.OTHERS, ["-", "--", "-.", ":", (0, (5, 1))]):
        part = data[data.residual == name]
        ax.plot(part["log10 from"] + 0.25, share * part["instances"], color=color, linestyle=line, label=name)
    ax.set(xlabel="$\\log_{10}$ of the residual, relative to the larger value", ylabel="instances (%) per half decade")
    ax.set(xlim=(-12.2, 2), ylim=(0, 105))
    ax.legend(loc="center left", bbox_to_anchor=(0.12, 0.45))
    return figure


def draw_search(climb, closed, gamma, limit):
    """The ratio of the two sides of R2 along the search, and in the closed form where the transitions alone respond."""
    gammas = list(closed["gamma"].unique())
    colors = dict(zip(gammas, figures.shades(figures.OTHERS[-1], len(gammas))))
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.9), sharey=True)
    axes[0].plot(climb["proposals"], climb["best"], color="black", label="best climber")
    axes[0].plot(climb["proposals"], climb["median"], "--", color="black", label="median climber")
    axes[0].axhline(limit, color=figures.COLORS["reference"], linewidth=1, label="limit, $\\tanh(0.2) / 0.2$")
    axes[0].set(xlabel="proposals per climber", ylabel="left / right of R2", ylim=(0, 1.04), title=f"search, $\\gamma = {gamma}$")
    axes[0].legend(loc="lower right")
    fine = np.linspace(0.01, 5, 200)
    axes[1].plot(fine, np.tanh(fine / 4) / (fine / 4), color=figures.COLORS["reference"], label="$\\tanh(x/4) / (x/4)$")
    for k, (discount, marker) in enumerate(zip(gammas, "osD")):
        part = closed[(closed.c == 0) & (closed.gamma == discount) & (closed.kappa * closed.u <= 5)]
        label = f"$\\gamma = {discount}$"
        axes[1].plot(part["kappa"] * part["u"], part["ratio"], marker, color=colors[discount], markersize=7 - 2 * k, label=label)
    axes[1].set(xlabel="$x = \\kappa u$, the shift in log odds", title="closed form, transitions respond")
    axes[1].legend(loc="lower left")
    return figure
