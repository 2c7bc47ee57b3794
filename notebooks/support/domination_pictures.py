"""For notebook 05: two of its figures, each drawn from the data that is stored beside it."""

import matplotlib.pyplot as plt

from pepg import figures

SHADES = dict(zip(("left", "residual", "g", "g_env", "right"), figures.OTHERS))
QUANTITIES = {
    "left": "gap (left)", "residual": "residual, absolute", "g": "$\\|g\\|$", "g_env": "$\\|g_{env}\\|$", "right": "right of R5",
}
ZERO = 0.004  # where the axis of the strengths has its 0


def draw_strength(data):
    """The two sides and the residual of R5 and the norms of the gradient, against the strength of the response."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.1))
    still, positive = data[data.kappa == 0].set_index("quantity")["median"], data[data.kappa > 0]
    for ax, names in zip(axes, [["right", "left", "residual"], ["g", "g_env"]]):
        for name, line, marker in zip(names, ["-", "--", "-."], "osD"):
            part, color = positive[positive.quantity == name], SHADES[name]
            ax.plot(part["kappa"], part["median"], line, marker=marker, markersize=4, color=color, label=QUANTITIES[name])
            ax.fill_between(part["kappa"], part["low"], part["high"], color=color, alpha=0.15, linewidth=0)
            if still[name] > 0:
                ax.plot([ZERO], [still[name]], marker=marker, markersize=5, fillstyle="none", color=color)
        ax.set(xscale="log", yscale="log", xlabel="strength $\\kappa$ of the response")
        ax.set_xticks([ZERO, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
        ax.minorticks_off()
        ax.legend()
    axes[0].set_ylabel("return")
    axes[1].set_ylabel("return per logit")
    return figure


def draw_examples(line, climb):
    """The value of the coordination example, and exact PePG in the commons."""
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.9))
    axes[0].plot(line["p"], line["value"], color=figures.COLORS["reference"])
    axes[0].plot([0.5, 1.07], [5, 5], color="black", linewidth=0.7, linestyle=":")
    axes[0].plot([0.5], [line["value"].min()], "o", color="black")
    arrow = {"arrowstyle": "->", "color": "black"}
    axes[0].annotate("stationary, stable\nand worst", (0.5, 5.15), xytext=(0.5, 8.3), ha="center", fontsize=8, arrowprops=arrow)
    ends = {"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0, "color": "black"}
    axes[0].annotate("", (1.07, 10), (1.07, 5.0), arrowprops=ends)
    axes[0].text(1.04, 5.3, "gap = residual", ha="right", fontsize=8)
    axes[0].set(xlabel="$p = \\pi(1)$", ylabel="$V^\\pi_\\pi(\\rho)$", title="coordination, $\\gamma = 0.9$", xlim=(-0.03, 1.13))
    for name, label, look, shade in [
        ("first term", "first term of R5", "-", "right"), ("pair form", "first term, pair form", ":", "g_env"),
        ("gap", "gap to the optimum", "--", "left"), ("norm of g", "$\\|g\\|$ (per logit)", "-.", "g"),
    ]:
        axes[1].plot(climb["iteration"], climb[name], look, label=label, color=SHADES[shade])
    axes[1].set(yscale="log", xlabel="iteration of exact PePG", ylabel="return", title="commons, $\\gamma = 0.9$")
    axes[1].set_xticks([0, 5, 10, 15, 20])
    axes[1].legend(loc="lower left")
    return figure
