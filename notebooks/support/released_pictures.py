"""For notebook 16: its three figures, each drawn from the data that is stored beside it."""

import matplotlib.pyplot as plt

from pepg import figures

GREY = "#9a9a9a"  # the rebuilt procedure
SIGNS = dict(zip("-+", figures.OTHERS))  # of the gradient's term
RECORDED = {0: "-", 1: (0, (4, 1.5))}  # line of each recorded seed


def draw_curves(curves):
    """Reported and true value of the rebuilt procedure and of the recordings, and the exact ascents from the same starts."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.8, 3.5))
    rebuilt, recorded = (curves[curves.run == run] for run in ("rebuilt", "recorded"))
    count = rebuilt["seed"].nunique()
    exact = [
        _draw_seeds(middle, rebuilt, "exact in class", figures.COLORS["PePG"], "exact PePG"),
        _draw_seeds(right, rebuilt, "exact tabular", figures.COLORS["PePG"], "exact PePG (b: same class and step; c: tabular)"),
    ]
    drawn = (left, "reported"), (middle, "true"), (right, "true")
    grey = [_draw_seeds(ax, rebuilt, column, GREY, f"rebuilt, {count} seeds") for ax, column in drawn]
    black = []
    for ax, column in drawn[:2]:
        for k, line in RECORDED.items():
            curve = recorded[recorded.seed == k]
            look = {"color": "black", "linestyle": line, "linewidth": 1.3}
            black += ax.plot(curve["iteration"], curve[column], label=f"recorded, seed {k}", **look)
    left.set(title="a  value reported", ylabel="value")
    middle.set(title="b  their true value", ylabel=r"$V^\pi_\pi(\rho)$", ylim=(-0.385, -0.355))
    right.set(title="c  true value, wider axis", ylabel=r"$V^\pi_\pi(\rho)$", ylim=(-0.45, -0.1))
    for ax in (left, middle, right):
        ax.set_xlabel("iteration")
    legend = figure.legend(handles=[grey[0], *black[:2], exact[1]], loc="outside lower center", ncols=2)
    for handle in legend.get_lines():
        handle.set(alpha=1.0, linewidth=1.3)
    return figure


def _draw_seeds(ax, curves, column, color, label):
    for _, curve in curves.groupby("seed"):
        (line,) = ax.plot(curve["iteration"], curve[column], color=color, linewidth=0.6, alpha=0.6, label=label)
    return line


def draw_ladder(ladder):
    """Gain in true value of every procedure, a column a step size."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.1))
    for ax, (eta, part), tag in zip(axes, ladder.groupby("η"), "ab"):
        part = part.iloc[::-1]
        for k, row in enumerate(part.itertuples()):
            name = "PePG" if row.procedure.startswith("7") else "PG" if "PG" in row.procedure else "reference"
            error = [[row.mean - row.low], [row.high - row.mean]]
            ax.errorbar(row.mean, k, xerr=error, color=figures.COLORS[name], marker="o", markersize=4, capsize=3)
        ax.set(yticks=range(len(part)), yticklabels=part["procedure"], ylim=(-0.6, len(part) - 0.4))
        ax.set(title=f"{tag}  η = {eta:g}, {part['iterations'].iloc[0]} iterations", xlabel="gain in true value")
        ax.axvline(0.0, color="black", linewidth=0.6)
    return figure


def draw_updates(updates):
    """Reported and true value of the projected update with either sign, with and without the entropy's term."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
    for ax, column, title in zip(axes, ("reported", "true"), ("a  reported (with penalty)", r"b  true value $V^\pi_\pi(\rho)$")):
        for label, curve in updates.groupby("update", sort=False):
            if label == "recorded":
                continue
            name = f"{'as it is' if label[0] == '-' else 'turned'} ({label.replace('-', '−')})"
            line = (0, (3, 1.5)) if label.endswith("ν = 0") else "-"
            ax.plot(curve["iteration"], curve[column], color=SIGNS[label[0]], linestyle=line, label=name)
        ax.set(title=title, xlabel="iteration")
    recorded = updates[updates["update"] == "recorded"]
    axes[0].plot(recorded["iteration"], recorded["reported"], "k.", markersize=3.5, label="recorded")
    axes[0].set_ylabel("value")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title="sign of the gradient's term")
    return figure
