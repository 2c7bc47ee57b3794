"""For notebook 20: users by group, the formulas without drift, and the figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, figures, theory

COLOURS = figures.OTHERS  # of the categories


def shares(env, policy):
    """Users in each group, discounted; and in the long run, after 2000 recommendations."""
    mdp = env.respond(policy)
    step = np.einsum("sa,sat->st", policy, mdp.P)
    return (1 - env.gamma) * mdp.occupancy(policy).sum(axis=-1), np.linalg.matrix_power(step, 2000)[0]


def variety(env, policy):
    """The effective number of categories that a user is shown: the exponential of the entropy, averaged over the users."""
    entropy = -np.sum(policy * np.log(np.maximum(policy, 1e-300)), axis=-1)
    return np.sum(shares(env, policy)[0] * np.exp(entropy))


def equalised(v, c):
    """The shares with v_a (1 - c share_a) equal where positive, by bisection on the common level."""
    low, high = v.max() * (1 - c), v.max()
    for _ in range(200):
        level = (low + high) / 2
        low, high = (level, high) if np.sum(np.maximum(1 - level / v, 0)) > c else (low, level)
    share = np.maximum(1 - level / v, 0) / c
    return share / share.sum()


# Retraining at its best

SETTLED = 10  # how many of the last policies count: a run may cycle


def by_strength(table):
    """What a page shows of the tuning of :func:`pepg.compare`: a row an algorithm, a column a λ, RGA with its best η."""
    best = table.groupby(["algorithm", "λ"], sort=False)["engagement"].max().unstack()
    return best.rename(columns="λ = {:g}".format).rename_axis(columns=None).reset_index()


# Other recommenders


def draw_parameters(seed, n_categories):
    """The parameters of a recommender, drawn around those of the notebook; `seed` is a whole number."""
    rng = np.random.default_rng(seed)
    ranges = {"other": (0.2, 0.6), "habit": (1.0, 3.0), "drift": (1.0, 6.0), "adoption": (0.05, 0.2), "satiation": (0.3, 0.8)}
    drawn = {name: rng.uniform(*ends) for name, ends in ranges.items()}
    return drawn | {"appeal": np.sort(rng.uniform(0.6, 1.0, n_categories))[::-1]}


def family(worlds, iterations, regularizations):
    """PePG, PG and RPO at the best λ for each world itself, from the uniform policy: engagement, a row a world."""
    rows = []
    for draw, env in worlds.items():
        start = {"policy": env.uniform_policy(), "iterations": iterations}
        rpo = [algorithms.repeated_policy_optimization(env, regularization=strength, **start) for strength in regularizations]
        values = {
            "PePG": algorithms.pepg(env, **start).values[-1],
            "PG": algorithms.policy_gradient(env, **start).values[-1],
            "RPO": max(run.values[-SETTLED:].mean() for run in rpo),
            "at random": pepg.performative_value(env, env.uniform_policy()),
        }
        rows.append({"draw": draw} | {name: (1 - env.gamma) * value for name, value in values.items()})
    return pd.DataFrame(rows)


def _mosaic(panel, table, categories):
    """Each group a row, as high as its share of the users; in it, what the group is shown."""
    bottom, centres, labels = 0.0, [], []
    for row in table.to_dict("records"):
        left = 0.0
        for category, color in zip(categories, COLOURS):
            p = row[f"shown {category}"]
            panel.barh(bottom, p, left=left, height=row["users"], align="edge", color=color, edgecolor="white", linewidth=1.0)
            if p > 0.18 and row["users"] > 0.06:
                text = "black" if category == categories[1] else "white"
                panel.text(left + p / 2, bottom + row["users"] / 2, category, ha="center", va="center", color=text, fontsize=8)
            left += p
        centres.append(bottom + row["users"] / 2)
        labels.append(f"{row['group']} {100 * row['users']:.0f} %")
        bottom += row["users"]
    panel.set_yticks(centres, labels)
    panel.set(xlim=(0, 1), ylim=(1, 0), xlabel="of what the group is shown")
    panel.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    panel.grid(False)
    panel.tick_params(axis="y", length=0)


def draw_main(shown, variety, curves, labels, random):
    """What the two recommenders do, and what the exact algorithms are worth; `random` is the value of recommending at random."""
    categories = [name.removeprefix("shown ") for name in shown if name.startswith("shown ")]
    figure, axes = plt.subplots(1, 3, figsize=(9.2, 3.1), width_ratios=[1, 1, 1.15])
    for panel, (name, table) in zip(axes, shown.groupby("policy", sort=False)):
        _mosaic(panel, table, categories)
        panel.set_title(f"{name}: {variety[name]:.1f} categories a user")
    axes[0].set_ylabel("users by main interest")
    for name, label in labels.items():
        curve, kind = curves[curves["algorithm"] == name], name.split(" λ")[0]
        figures.draw_curve(axes[2], curve, name, x="deployments", color=figures.COLORS[kind], linestyle=figures.LINES[kind])
        place = curve["deployments"].iloc[-1] + 0.7, curve["mean"].iloc[-1]
        axes[2].text(*place, label, color=figures.COLORS[kind], va="center", fontsize=8)
    reference = {"color": figures.COLORS["reference"]}
    axes[2].axhline(random, linewidth=0.8, zorder=0, **reference)
    place = axes[2].get_yaxis_transform()
    axes[2].text(0.985, random + 0.001, "at random", fontsize=8, va="bottom", ha="right", transform=place, **reference)
    axes[2].set(xlim=(0, curves["deployments"].max()), title="what it is worth", xlabel="deployments")
    axes[2].set_ylabel("true engagement per recommendation")
    return figure


def draw_strengths(strengths):
    """The gap, the variety and the largest group against satiation, a shade a drift."""
    drifts = strengths["drift"].unique()
    figure, axes = plt.subplots(1, 3, figsize=(9.2, 3.3))
    figure.get_layout_engine().set(w_pad=0.1)
    tones = zip(figures.shades("PePG", len(drifts)), figures.shades("PG", len(drifts)))
    for (shade, reference), (d, table) in zip(tones, strengths.groupby("drift")):
        axes[0].plot(table["satiation"], table["gap in %"], "o-", color=shade, markersize=3.5)
        for panel, quantity in ((axes[1], "categories"), (axes[2], "largest group")):
            panel.plot(table["satiation"], table[f"{quantity}, optimal"], "o-", color=shade, markersize=3.5, label=f"optimal, drift {d:g}")
            panel.plot(table["satiation"], table[f"{quantity}, stable"], "s--", color=reference, markersize=3, label=f"stable, drift {d:g}")
    for panel, label in zip(axes, ("gap: optimal above stable, %", "effective categories shown", "users in the largest group")):
        panel.set(xlabel="satiation c", ylabel=label)
    axes[2].set_ylim(0, 1)
    handles, labels = axes[1].get_legend_handles_labels()
    order = np.argsort([label.startswith("stable") for label in labels], kind="stable")
    figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=len(drifts))
    return figure


# Tables


def shown_table(env, policies, categories):
    """What each policy shows to each group, and the shares of users that the groups have; a row a policy and group."""
    rows = []
    for name, policy in policies.items():
        discounted, long_run = shares(env, policy)
        rows += [(name, c, discounted[s], long_run[s], *policy[s]) for s, c in enumerate(categories)]
    columns = ["policy", "group", "users", "users, long run", *[f"shown {c}" for c in categories]]
    return pd.DataFrame(rows, columns=columns).round(5)


def end_table(env, policies):
    """Engagement per recommendation, what a best response promises above it, variety, and the largest group; a row a policy."""
    rows = []
    for name, policy in policies.items():
        value, gain = pepg.performative_value(env, policy), theory.best_response_gain(env, policy)
        groups = (np.max(share) for share in shares(env, policy))
        rows.append((name, (1 - env.gamma) * value, (1 - env.gamma) * gain, variety(env, policy), *groups))
    columns = ["policy", "engagement", "promised gain", "effective categories", "largest group", "largest group, long run"]
    return pd.DataFrame(rows, columns=columns).round(5)


def strength_table(worlds, found, names, starts):
    """Engagement, variety and largest group of the better of the starts, by (drift, satiation). found : {((name, start), world, 0): Run}"""
    rows = []
    for (drift, satiation), world in worlds.items():
        row = {"drift": drift, "satiation": satiation}
        for name in names:
            runs = (found[(name, start), (drift, satiation), 0] for start in starts)
            best = max(runs, key=lambda run: round(run.values[-1], 9))
            row[name] = (1 - world.gamma) * best.values[-1]
            row[f"categories, {name}"] = variety(world, best.policy)
            row[f"largest group, {name}"] = np.max(shares(world, best.policy)[0])
        rows.append(row | {"gap in %": 100 * (row["optimal"] / row["stable"] - 1)})
    columns = ["drift", "satiation", "stable", "optimal", "gap in %", "categories, stable", "categories, optimal"]
    return pd.DataFrame(rows)[[*columns, "largest group, stable", "largest group, optimal"]].round(4)
