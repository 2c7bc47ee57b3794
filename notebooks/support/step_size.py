"""For notebook 12: rows of its tables, the derivative along one step, and its figures, drawn from the data stored beside them."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

import pepg
from pepg import figures
from pepg.algorithms import pepg as ascend
from pepg.theory import curvature


def rounded(table, digits):
    """A table with as many significant digits in its floats."""
    return table.map(lambda x: float(f"{x:.{digits}g}") if isinstance(x, float) else x)


def ascents(env, starts, steps):
    """Runs of exact PePG with constant steps from `starts`, for `steps` {step: iterations}: {step: run}."""
    return {eta: ascend(env, policy=starts, iterations=count, step_size=eta) for eta, count in steps.items()}


def gained(values):
    """First and last of values (T + 1, n), their means, and the mean gain with its 95 % Student t interval."""
    mean, low, high = figures.mean_interval(values[-1] - values[0])
    ends = {"first value": values[0].mean(), "last value": values[-1].mean()}
    return ends | {"gain": mean, "gain low": low, "gain high": high}


def bends(env, policy, widths):
    """The Hessian's eigenvalue of largest absolute value by `widths`, whether it is symmetric, and whether the two last agree to 1 %."""
    hessians = [curvature.hessian(env, policy, h) for h in widths]
    found = [curvature.largest_eigenvalue(hessian) for hessian in hessians]
    return {f"h = {h:g}": bend for h, bend in zip(widths, found)} | {
        "asymmetry above 1e-4": curvature.asymmetry(hessians[-1], found[-1]) > 1e-4,
        "smooth": abs(found[-1] - found[-2]) < 0.01 * abs(found[-1]),
    }


def falls(run, step, common):
    """How often and by how much the values of a run with a constant step fall (by more than 1e-12), and when they first do."""
    change = np.diff(run.values, axis=0)
    fallen = change < -1e-12
    first = np.array([column.argmax() for column in fallen.T if column.any()])
    return {
        "starts": change.shape[1], "iterations": len(change),
        "decreasing iterations in %": 100 * fallen.mean(),
        "starts with a decrease": int(fallen.any(axis=0).sum()),
        "largest decrease": max(0.0, -change.min()) if fallen.any() else np.nan,
        "median first decrease": np.median(first) if first.size else np.nan,
        "step x first": step * np.median(first) if first.size else np.nan,
        "value at common": run.values[common].mean(), "last value": run.values[-1].mean(),
    }


def first_fall(run):
    """The policy (S, A) from which a run with several starts falls for the first time."""
    t, start = np.argwhere(np.diff(run.values, axis=0) < -1e-12)[0]
    return run.policies[t, start]


def along(env, policy, step_size):
    """The directional derivative along a step of the ascent from `policy`, relative to its start, as a function of the share s."""
    logits, gradient = np.log(policy), pepg.performative_gradient(env, policy)

    def slope(shares):
        steps = step_size * np.asarray(shares)[..., None, None] * gradient
        there = pepg.performative_gradient(env, pepg.softmax(logits + steps))
        return (there * gradient).sum(axis=(-2, -1)) / (gradient**2).sum()

    return slope


def largest_drop(function, grid, halvings=20):
    """The ends of the piece of the grid's steepest descent that holds the larger part of it, after so many halvings."""
    drop = np.diff(function(grid)).argmin()
    left, right = grid[drop], grid[drop + 1]
    for _ in range(halvings):
        middle = (left + right) / 2
        at_left, at_middle, at_right = function([left, middle, right])
        left, right = (left, middle) if at_left - at_middle > at_middle - at_right else (middle, right)
    return left, right


def draw_gains(data):
    """Gain over the start, a column a number of followers."""
    followers, paper_steps = list(data["followers"].unique()), list(data["step"].unique())
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.9), sharey=True)
    for ax, n in zip(axes, followers):
        for eta, color in zip(paper_steps, figures.shades("PePG", len(paper_steps))):
            curve = data[(data.followers == n) & (data.step == eta)]
            figures.draw_curve(ax, curve, "PePG", label=f"{eta:g}", color=color)
        ax.set(title=f"{n} followers", xlabel="iteration")
    axes[0].set_ylabel("gain over the start in $V^\\pi_\\pi(\\rho)$")
    axes[0].legend(title="constant step $\\eta$", loc="upper left")
    return figure


def draw_values(data, L):
    """Value per iteration for constant steps and the adaptive rule, a column a number of followers."""
    followers = list(data["followers"].unique())
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 4.0))
    for ax, n in zip(axes, followers):
        steps = [step for step in data[data.followers == n].step.unique() if step != "adaptive"]
        colors = sns.blend_palette(["#fbd0b0", figures.COLORS["PePG"], "#3d1a00"], len(steps))
        for eta, color in zip(steps, colors):
            curve = data[(data.followers == n) & (data.step == eta)]
            label = f"{float(eta):g}" + (" (paper's largest)" if eta == steps[0] else "")
            figures.draw_curve(ax, curve, "PePG", label=label, color=color, linestyle="-")
        curve = data[(data.followers == n) & (data.step == "adaptive")]
        figures.draw_curve(ax, curve, "PePG", label="adaptive rule", color="black", linestyle=(0, (1, 1)))
        ax.set(title=f"{n} followers, $1/L$ = {1 / L[n]:.0f}", xlabel="iteration")
        ax.legend(title="constant step $\\eta$", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=3, fontsize=8, columnspacing=1.2)
    axes[0].set_ylabel("performative value $V^\\pi_\\pi(\\rho)$")
    return figure


def draw_sweep(sweep, L, curves):
    """Against the step: share and size of the decreases, and the value at iteration 40 with the adaptive rule's in `curves`."""
    followers = list(sweep["followers"].unique())
    figure, axes = plt.subplots(3, 2, figsize=(7.2, 6.4), sharex=True)
    quantities = {
        "decreasing iterations in %": "decreasing\niterations (%)",
        "largest decrease": "largest decrease\nin one iteration",
        "value at common": "value at\niteration 40",
    }
    for column, n in enumerate(followers):
        part, top, middle, bottom = sweep[sweep.followers == n], *axes[:, column]
        for ax, (name, label) in zip(axes[:, column], quantities.items()):
            ax.axvline(1 / L[n], color="#444444", linewidth=1.0, linestyle="--")
            ax.axvline(2 / L[n], color="#444444", linewidth=1.0, linestyle=":")
            ax.plot(part.step, part[name], "o-", color=figures.COLORS["PePG"], markersize=4)
            ax.set_xscale("log")
            ax.minorticks_off()
            ax.set_ylabel(label if column == 0 else "")
        top.set(title=f"{n} followers", ylim=(-2, 45))
        for text, side, shift in (("$1/L$", "right", -3), ("$2/L$", "left", 3)):
            place = ((1 if side == "right" else 2) / L[n], 44)
            top.annotate(text, place, (shift, -2), textcoords="offset points", ha=side, va="top")
        middle.set(yscale="log", ylim=(1e-6, 1e-2))
        middle.minorticks_off()
        adaptive = (curves.followers == n) & (curves.step == "adaptive") & (curves.iteration == 40)
        level = curves["mean"][adaptive].item()
        bottom.axhline(level, color="black", linewidth=1.0, linestyle=(0, (1, 1)))
        bottom.annotate("adaptive rule", (0.01, level), (0, -3), textcoords="offset points", va="top", fontsize=8)
        bottom.set_xlabel("constant step $\\eta$")
    return figure


def draw_step(line):
    """The derivative along one step, and the least that a bounded curvature allows."""
    figure, ax = plt.subplots()
    ax.axhline(0, color="#444444", linewidth=0.8)
    ax.plot(line.s, line.derivative, color=figures.COLORS["PePG"], label="measured")
    ax.plot(line.s, line["smooth bound"], color="#444444", linestyle="--", label="least possible with curvature $L$")
    ax.set(xlabel="share $s$ of the step", ylabel="derivative along the step\n(relative to its start)")
    ax.legend(loc="upper right")
    return figure
