"""For notebook 03: shares of the parts, ascents with a constant step, and its figures, each drawn from the data stored beside it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, data, figures, theory
from pepg.theory.differences import by_differentiation, central_differences, cosine, norm, slopes
from pepg.theory.estimators import WithoutTransitions, coefficient, expected_update, power, visits

PARTS = {"policy": (figures.COLORS["PG"], "-"), "rewards": ("#882255", "--"), "transitions": ("#222222", "-.")}
ASCENTS = {
    "PePG": (figures.COLORS["PePG"], "-"),
    "without transitions": ("#AA4499", (0, (3, 1))),
    "PG": (figures.COLORS["PG"], figures.LINES["PG"]),
}
ESTIMATORS = {
    "TD difference": (figures.COLORS["PePG"], "o"),
    "return": (figures.shades("PePG", 2)[0], "s"),
    "advantage, same step": ("#AA4499", "D"),
    "advantage, shifted": ("#999933", "^"),
    "TD difference, no γᵗ": (figures.COLORS["reference"], "v"),
}
PANELS = {  # of the last figure: expected update, title, sampled
    "complete": ("complete update", ("TD difference", "return")),
    "third term lost": ("transitions' term lost", ("advantage, same step", "advantage, shifted")),
    "complete, no γᵗ": ("complete, without γᵗ", ("TD difference, no γᵗ",)),
}


def check(env, logits):
    """Errors of R3 over the instances of `env`, relative to the gradient: the largest by three other ways, the median without a part."""
    policy = pepg.softmax(logits)
    parts, exact = theory.gradient_parts(env, policy), pepg.performative_gradient(env, policy)
    true = by_differentiation(env, logits)
    others = {"differences": central_differences(env, logits), "autodiff": true, "sum of parts": sum(parts)}
    errors = {name: (norm(exact - other) / norm(exact)).max() for name, other in others.items()}
    lost = {f"without {name}": np.median(norm(exact - part - true) / norm(true)) for name, part in zip(PARTS, parts)}
    return errors | lost


def three_ascents(env, policy, iterations):
    """Ascents of the gradient, of the gradient without the transitions' part, and of the policy's part alone."""
    settings = {"policy": policy, "iterations": iterations}
    return {
        "PePG": algorithms.pepg(env, **settings),
        "without transitions": algorithms.pepg(WithoutTransitions(env), **settings),
        "PG": algorithms.policy_gradient(env, **settings),
    }


def ascent_table(share, grid_runs, grid_starts):
    """What the first figure shows: sorted shares of PePG's gain, and the values on the gridworld."""
    rows = [("random PeMDPs", "", name, i, x) for name, each in share.items() for i, x in enumerate(np.sort(each))]
    for name, run in grid_runs.items():
        for k, start in enumerate(grid_starts):
            rows += [("gridworld", start, name, t, x) for t, x in enumerate(run.values[:, k])]
    return pd.DataFrame(rows, columns=["world", "start", "ascends", "index", "number"])


def draw_expected_ascent(table):
    """Left: the distribution of the shares of PePG's gain. Right: value per iteration on the gridworld."""
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.9))
    random, grid = (table[table["world"] == world] for world in ("random PeMDPs", "gridworld"))
    for name, curve in random.groupby("ascends", sort=False):
        color, line = ASCENTS[name]
        height = (np.arange(len(curve)) + 1) / len(curve)
        axes[0].step(curve["number"], height, where="post", color=color, linestyle=line)
    axes[0].axvline(1.0, color=ASCENTS["PePG"][0])
    axes[0].set(xlim=(0.0, 1.15), ylim=(0.0, 1.0), xlabel="share of the gain of PePG", ylabel="instances that end below (share)")
    axes[0].set_title(f"{len(curve)} random PeMDPs")
    for panel, (start, curves) in zip(axes[1:], grid.groupby("start", sort=False)):
        for name, (color, line) in ASCENTS.items():
            curve = curves[curves["ascends"] == name]
            panel.plot(curve["index"], curve["number"], color=color, linestyle=line, label=name)
        panel.set(title=f"gridworld, {start}", xlabel="iteration", ylim=(-0.13, -0.055))
    axes[1].set_ylabel(r"true value $V^\pi_\pi(\rho)$")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def part_rows(env, policy, world, strength, measures=("share", "cosine")):
    """Median and quartiles over the instances of each part's norm relative to the gradient's, and of its cosine to it."""
    parts = theory.gradient_parts(env, policy)
    total = sum(parts)
    rows = []
    for name, part in zip(PARTS, parts):
        found = {"share": norm(part) / norm(total), "cosine": cosine(part, total)}
        for measure in measures:
            low, middle, high = np.quantile(found[measure], (0.25, 0.5, 0.75))
            rows.append((world, measure, name, strength, middle, low, high))
    return rows


def draw_parts(table, instances):
    """The three parts of the gradient against the strength of the response."""
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 3.1))
    panels = (("random PeMDPs", "share"), ("random PeMDPs", "cosine"), ("gridworld", "share"))
    for panel, (world, measure) in zip(axes, panels):
        for name, (color, style) in PARTS.items():
            curve = table[(table["world"] == world) & (table["measure"] == measure) & (table["part"] == name)]
            panel.plot(curve["strength"], curve["median"], color=color, linestyle=style, label=name)
            panel.fill_between(curve["strength"], curve["low"], curve["high"], color=color, alpha=0.15, linewidth=0)
        panel.set_xscale("log")
        panel.set_xlabel("inverse temperature β" if world == "gridworld" else "strength κ of both responses")
        panel.set_ylabel("‖part‖ / ‖gradient‖" if measure == "share" else "cosine to the gradient")
        panel.set_title(f"gridworld, {measure}" if world == "gridworld" else f"{instances} random PeMDPs, {measure}")
        panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title="part of the gradient")
    return figure


def tested(each, exact, part, batch):
    """What estimates (n, S, A) say about their mean: T² and its p-value, batches inside, the coefficient of `part`, spread, angles."""
    statistic, p = data.hotelling(each, exact)
    inside = [data.hotelling(few, exact)[1] > 0.01 for few in each.reshape(-1, batch, *exact.shape)]
    along, low, high = coefficient(each, exact, part)
    mean = each.mean(axis=0)
    angle = cosine(each[: len(each) // 30 * 30].reshape(-1, 30, *exact.shape).mean(axis=1), exact)
    return {
        "bias": norm(mean - exact) / norm(exact), "T2": statistic, "p": max(p, 1e-16), "inside 99 %": "yes" if p > 0.01 else "no",
        "batches inside": np.mean(inside), "along gP": along, "low": low, "high": high,
        "std of one": np.sqrt(each.var(axis=0, ddof=1).sum()) / norm(exact), "cosine of the mean": cosine(mean, exact),
        "cosine of 30": angle.mean(), "5 %": np.quantile(angle, 0.05), "95 %": np.quantile(angle, 0.95),
        "power": power(each, part, len(each)), "power of a batch": power(each, part, batch),
    }


def draw_estimators(table, trajectories):
    """Of each estimator that keeps γᵗ: how much of the third term is in its mean, its spread, its angle to the gradient."""
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.6), sharey=True)
    shown = [name for name in ESTIMATORS if "no γᵗ" not in name]
    for place, name in enumerate(shown):
        row, (color, marker) = table.set_index("estimator").loc[name], ESTIMATORS[name]
        half = (row["high"] - row["low"]) / 2.0
        axes[0].errorbar(row["along gP"], place, xerr=half, color=color, capsize=5, linewidth=1.6, marker=".", markersize=3)
        axes[1].barh(place, row["std of one"], color=color, height=0.55)
        axes[2].plot([row["5 %"], row["95 %"]], [place, place], color=color, linewidth=1.2)
        axes[2].plot(row["cosine of 30"], place, marker, color=color)
        axes[2].plot(row["cosine of the mean"], place, "|", color=color, markersize=12, markeredgewidth=1.8)
    axes[0].set(yticks=range(len(shown)), yticklabels=shown, ylim=(len(shown) - 0.5, -0.5), xlim=(-0.3, 1.3))
    axes[0].set_xticks([0.0, 0.5, 1.0], ["0\n(lost)", "0.5", "1\n(whole)"])
    axes[0].set(title="third term in the mean", xlabel="coefficient of $g_P$,\n99 % interval")
    axes[1].set(title="spread", xlabel="std of one estimate,\nrelative to the gradient")
    axes[2].set(title="cosine to the gradient", xlim=(0.6, 1.03))
    axes[2].set_xlabel(f"symbol: mean of 30 (5–95 %)\nbar: mean of all {trajectories:,}")
    return figure


def weightings(here, paths):
    """Of each estimator the weights of the policy's score and of the transitions', and whether they are discounted."""
    gamma = here.mdp.gamma
    delta, total = data.temporal_differences(paths, here.value, gamma), data.returns(paths, gamma)
    now = data.advantages(paths, here.mdp.advantage(here.policy))
    return {
        "TD difference": (delta, delta, True),
        "return": (total, total, True),
        "advantage, same step": (now, now, True),
        "advantage, shifted": (now, data.next_step(now, gamma), True),
        "TD difference, no γᵗ": (delta, delta, False),
        "advantage, same step, no γᵗ": (now, now, False),
        "advantage, shifted, no γᵗ": (now, data.next_step(now, 1.0), False),
    }


def truncated_gradient(env, policy, horizon):
    """The gradient at the uniform `policy` of the expected return of `horizon` steps, by central differences."""

    def value(logits):
        near = pepg.softmax(logits)
        mdp = env.respond(near)
        return (visits(mdp, near, horizon, env.gamma) * mdp.r).sum(axis=(-2, -1))

    return slopes(value, np.zeros_like(policy))


def update_rows(name, env, policy, horizon):
    """Expected updates with and without γᵗ and the third term, against the gradient: relative bias, cosine, bias after rescaling."""
    here, exact = pepg.deploy(env, policy), pepg.performative_gradient(env, policy)
    plain, without = visits(here.mdp, policy, horizon, 1.0), WithoutTransitions(env)
    updates = {
        "with γᵗ, third term lost": expected_update(without, here, here.occupancy),
        "no γᵗ, all terms": expected_update(env, here, plain),
        "no γᵗ, third term lost": expected_update(without, here, plain),
    }
    rows = []
    for label, update in updates.items():
        angle = cosine(update, exact)
        rows.append((name, horizon, label, norm(update - exact) / norm(exact), angle, np.sqrt(max(0.0, 1.0 - angle**2))))
    return rows


def ascend(env, update, policy, iterations):
    """True values along θ <- θ + update(deployment), (iterations + 1, ...), from the uniform `policy`; and the last policy."""
    logits, values = np.zeros(policy.shape), []
    for _ in range(iterations):
        here = pepg.deploy(env, pepg.softmax(logits))
        values.append(here.expected_return)
        logits = logits + update(here)
    last = pepg.softmax(logits)
    return np.array([*values, pepg.performative_value(env, last)]), last


def _rescaling(gamma, horizon):
    """The mean of γᵗ over the steps of the horizon."""
    return (1.0 - gamma**horizon) / (1.0 - gamma) / horizon


def expected_ascents(env, step, iterations, horizon):
    """Ascents of the expected updates, by name: values and the last policy."""
    rescaled = step * _rescaling(env.gamma, horizon)
    without = WithoutTransitions(env)
    updates = {
        "complete": lambda here: step * expected_update(env, here, here.occupancy),
        "third term lost": lambda here: step * expected_update(without, here, here.occupancy),
        "complete, no γᵗ": lambda here: rescaled * expected_update(env, here, visits(here.mdp, here.policy, horizon, 1.0)),
    }
    return {name: ascend(env, update, env.uniform_policy(), iterations) for name, update in updates.items()}


def sampled_ascents(env, step, iterations, horizon, trajectories, seeds, name):
    """Ascents of one estimator, a run per seed side by side: values (iterations + 1, seeds) and the last policies."""
    rngs = [np.random.default_rng(seed) for seed in seeds]

    def update(here):
        paths = data.sample_trajectories(here.mdp, here.policy, trajectories, horizon, rngs)
        *weights, discounted = weightings(here, paths)[name]
        size = step if discounted else step * _rescaling(env.gamma, horizon)
        return size * data.mean_gradient_estimate(env, here.policy, paths, *weights, discounted)

    return ascend(env, update, np.stack([env.uniform_policy()] * len(seeds)), iterations)


def end_table(env, expected, sampled, start, iterations):
    """Where each ascent ends, and where exact PePG with the adaptive step goes from there.

    How many seeds reach the end of the complete expected ascent within 2 % of its gain over `start`, the mean value after the exact
    ascent, and how many are then within 1 % of that gain of where it leads from the end of the complete one.
    """
    values, policy = expected["complete"]
    goal, margin = values[-1], values[-1] - start
    best = algorithms.pepg(env, policy=policy, iterations=iterations).values[-1]
    rows = []
    for kind, runs in (("expected", expected), ("sampled", sampled)):
        for name, (values, last) in runs.items():
            ends, after = (np.atleast_1d(x) for x in (values[-1], algorithms.pepg(env, policy=last, iterations=iterations).values[-1]))
            interval = figures.mean_interval(ends) if ends.size > 1 else (ends[0], np.nan, np.nan)
            near, as_high = (ends > goal - 0.02 * margin).sum(), (after > best - 0.01 * margin).sum()
            rows.append((
                f"{kind}: {name}", *map(float, interval), norm(last - policy).mean(), f"{near} of {ends.size}", after.mean(),
                f"{as_high} of {ends.size}",
            ))
    columns = ["ascends", "value", "low", "high", "distance of policies", "at the end of the complete", "then exact PePG", "at its best"]
    return pd.DataFrame(rows, columns=columns)


def curve_table(expected, sampled):
    """What the last figure shows: value per iteration of the expected updates, and of each seed of the sampled ones."""
    rows = []
    for kind, runs in (("expected", expected), ("sampled", sampled)):
        for name, (values, _) in runs.items():
            for k, value in enumerate(np.atleast_2d(values.T)):
                seed = -1 if kind == "expected" else k
                columns = {"kind": kind, "update": name, "seed": seed, "iteration": np.arange(len(value)), "value": value}
                rows.append(pd.DataFrame(columns))
    return pd.concat(rows)


def draw_ascent(table):
    """Value per iteration: the expected updates dashed, the sampled ones a line each."""
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 3.0), sharey=True)
    kinds = {kind: rows.set_index("update") for kind, rows in table.groupby("kind")}
    goal = kinds["expected"].loc["complete", "value"].iloc[-1]
    for panel, (key, (title, shown)) in zip(axes, PANELS.items()):
        for name in shown:
            for seed, curve in kinds["sampled"].loc[name].groupby("seed"):
                label = f"sampled: {name}" if seed == 0 else None
                panel.plot(curve["iteration"], curve["value"], color=ESTIMATORS[name][0], linewidth=0.8, label=label)
        curve = kinds["expected"].loc[key]
        panel.plot(curve["iteration"], curve["value"], color="black", linewidth=1.4, linestyle=(0, (4, 2)), label="expected update")
        panel.axhline(goal, color=figures.COLORS["PePG"], linewidth=0.8, linestyle=":")
        panel.set(title=title, xlabel="iteration (deployments)")
        panel.legend(loc="lower right", fontsize=7)
    axes[0].set_ylabel(r"true value $V^\pi_\pi(\rho)$")
    return figure
