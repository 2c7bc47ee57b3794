"""For notebook 17: ascents and recipes from many starts, the path between two optima, and its figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, figures

ANNEALED_FROM = 0.01  # the entropy coefficient that falls to 0
NATURAL_STEP, MIRROR_STEP = 5.0, 20.0
KINDS = {  # of starts, with their colours
    "near-uniform": figures.COLORS["PePG"],
    "wide": figures.COLORS["reference"],
    "ε-greedy": "black",
    "stable": figures.COLORS["PG"],
}
RECIPES = ["PePG", "best of 3", "annealed", "natural", "mirror", "PG, then PePG", "PG, then annealed", "stages"]


def world(setting):
    eps, n_followers, beta = setting
    return pepg.Gridworld(eps=eps, n_followers=n_followers, beta=beta)


def label(setting):
    return "ε = {:g}, {} followers, β = {:g}".format(*setting)


def of(table, setting):
    """The rows of one setting."""
    return table[(table.eps == setting[0]) & (table.followers == setting[1]) & (table.beta == setting[2])]


def inside(policy):
    """5 % inside the simplex: at a vertex a softmax cannot move."""
    return 0.95 * policy + 0.05 / policy.shape[-1]


def ends_of(case, length, pg_length):
    """One ascent from a few starts of one kind at one setting: their table of values, and the last policies."""
    setting, kind, seeds = case
    env = world(setting)
    stable = np.full(len(seeds), np.nan)
    if kind == "near-uniform":
        starts = env.random_policies(seeds)
    elif kind == "wide":
        starts = env.random_policies([1000 + seed for seed in seeds], scale=2.0)
    elif kind == "ε-greedy":
        starts = env.epsilon_greedy_policy(0.1)[None]
    else:  # stable policies that PG reaches: from ε-greedy, near-uniform, wide, near-uniform, wide, ...
        drawn = [env.random_policies([seed], scale=2.0 if seed % 2 == 0 else 0.1) for seed in seeds]
        before = np.concatenate([env.epsilon_greedy_policy(0.1)[None] if seed == 0 else p for seed, p in zip(seeds, drawn)])
        rest = algorithms.policy_gradient(env, policy=before, iterations=pg_length)
        starts, stable = inside(rest.policy), rest.values[-1]
    run = algorithms.pepg(env, policy=starts, iterations=length)
    table = {"kind": kind, "seed": seeds, "start": run.values[0].round(5), "value": run.values[-1].round(5), "stable": stable.round(5)}
    return _row(setting, table), list(zip(run.values[-1], run.policy))


def _row(setting, columns):
    return pd.DataFrame({"eps": setting[0], "followers": setting[1], "beta": setting[2], **columns})


def preconditioned(env, policy, iterations, natural):
    """Constant natural (Kakade 2002) or mirror steps in the logits; the last values and policies.

    Such steps go back and forth across the kinks, which would amplify the last digit of every sum from one processor to another:
    the logits are rounded to four decimals.
    """
    step, logits = NATURAL_STEP if natural else MIRROR_STEP, np.log(policy)
    for _ in range(iterations):
        policy = pepg.softmax(logits)
        now = pepg.deploy(env, policy)
        visits = now.occupancy.sum(axis=-1, keepdims=True)
        bend = env.response_gradient(policy, now.occupancy, now.value)
        bend = bend - (policy * bend).sum(axis=-1, keepdims=True)
        advantage = now.mdp.backup(now.value) - now.value[..., None]
        direction = advantage + bend / np.maximum(visits, 1e-9) if natural else visits * advantage + bend
        logits = np.round(logits + step * np.where(visits > 1e-9, direction, 0.0), 4)
    policy = pepg.softmax(logits)
    return pepg.performative_value(env, policy), policy


def falling(iterations):
    """The entropy coefficient of each iterate."""
    return ANNEALED_FROM * np.maximum(1.0 - np.arange(iterations + 1) / (0.7 * iterations), 0.0)


def ends_by(case, deployments):
    """One recipe from a few near-uniform starts of one setting: the table of their values, and the last policies."""
    setting, recipe, seeds = case
    env = world(setting)
    starts = env.random_policies([2000 + seed for seed in seeds])
    third = deployments // 3
    stable = np.full(len(seeds), np.nan)
    if recipe == "PePG":
        run = algorithms.pepg(env, policy=starts, iterations=deployments)
        values, policies = run.values[-1], run.policy
    elif recipe == "best of 3":
        others = [env.random_policies([2000 + k * 100 + seed for seed in seeds]) for k in (1, 2)]
        run = algorithms.pepg(env, policy=np.stack([starts, *others]), iterations=third)
        which = run.values[-1].argmax(axis=0), np.arange(len(seeds))
        values, policies = run.values[-1][which], run.policy[which]
    elif recipe == "annealed":
        run = algorithms.pepg(env, policy=starts, iterations=deployments, entropy=falling(deployments))
        values, policies = run.values[-1], run.policy
    elif recipe in ("natural", "mirror"):
        values, policies = preconditioned(env, starts, deployments, recipe == "natural")
    elif recipe == "stages":
        run = algorithms.pepg(env, policy=starts, iterations=deployments, rounds=(0.0, 0.01, 0.003))
        values, policies, stable = run.values[-1], run.policy, run.values[2 * deployments // 5 - 1]
    else:
        rest = algorithms.policy_gradient(env, policy=starts, iterations=third)
        entropy = falling(deployments - third) if "annealed" in recipe else 0.0
        run = algorithms.pepg(env, policy=inside(rest.policy), iterations=deployments - third, entropy=entropy)
        values, policies, stable = run.values[-1], run.policy, rest.values[-1]
    table = {"recipe": recipe, "seed": seeds, "value": values.round(5), "stable": stable.round(5)}
    return _row(setting, table), list(zip(values, policies))


def compare(compared, settings):
    """Mean final value of each recipe with its interval, and the lead of the stages, start by start."""
    rows = []
    for setting in settings:
        by_recipe = of(compared, setting).pivot(index="seed", columns="recipe", values="value")
        for recipe in RECIPES:
            lead = figures.mean_interval(by_recipe["stages"] - by_recipe[recipe])
            rows.append((label(setting), recipe, len(by_recipe), *figures.mean_interval(by_recipe[recipe]), *lead))
    columns = ["setting", "recipe", "starts", "value", "low", "high", "lead of stages", "lead low", "lead high"]
    return pd.DataFrame(rows, columns=columns).round(5)


def searched(case, deployments, rounds):
    """The stages with more rounds and deployments, from the uniform or the ε-greedy policy: the last policy."""
    setting, start = case
    env = world(setting)
    policy = env.uniform_policy() if start == "uniform" else env.epsilon_greedy_policy(0.1)
    coefficients = (0.0, 0.01, 0.003, 0.0, 0.01, 0.003) if start == "uniform" else (0.0, 0.003, 0.01, 0.0, 0.003, 0.001)
    few = setting[1] < 50
    run = algorithms.pepg(env, policy=policy, iterations=deployments[not few], rounds=coefficients[:rounds] * (3 if few else 1))
    return pepg.performative_value(env, run.policy), run.policy


def policy_table(policies):
    """Policies by setting as a table, a row a state."""
    moves = ("left", "right", "up", "down")
    tables = [
        _row(setting, {"state": np.arange(len(policy)), **dict(zip(moves, policy.T))}) for setting, policy in policies.items()
    ]
    return pd.concat(tables)


def stored_policy(table, setting):
    """A policy as other notebooks read it: six digits of each probability, rows scaled to sum to 1."""
    policy = of(table, setting)[["left", "right", "up", "down"]].to_numpy()
    return policy / policy.sum(axis=1, keepdims=True)


def on_random(strength, count, deployments):
    """On the same random PeMDPs: where the stages end, where PG is in them, one ascent, and the best of five."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(17), 4, 3, 0.9, strength, strength, count)
    uniform = np.broadcast_to(env.uniform_policy(), (count, 4, 3))
    stages = algorithms.pepg(env, policy=uniform, iterations=deployments, rounds=(0.0, 0.01, 0.003)).values
    one = algorithms.pepg(env, policy=uniform, iterations=deployments).values[-1]
    rng = np.random.default_rng(18)
    five = np.concatenate([uniform[None], pepg.softmax(rng.normal(0.0, 2.0, (4, count, 4, 3)))])
    best_of_five = algorithms.pepg(env, policy=five, iterations=deployments // 5).values[-1].max(axis=0)
    rivals = {"one ascent": one, "best of 5 starts": best_of_five, "PG in the stages": stages[2 * deployments // 5 - 1]}
    rows = []
    for name, rival in rivals.items():
        better, worse = (stages[-1] > rival + 1e-2).sum(), (stages[-1] < rival - 1e-2).sum()
        rows.append((strength, name, count, int(better), int(worse)))
    return rows


# Between two optima


def value_gradient(env, policy):
    """The gradient of V in the entries of the policy itself."""
    now = pepg.deploy(env, policy)
    visits = now.occupancy.sum(axis=-1, keepdims=True)
    return visits * now.mdp.backup(now.value) + env.response_gradient(policy, now.occupancy, now.value)


def curve(begin, bend, end, t):
    t = t[:, None, None]
    return (1 - t) ** 2 * begin + 2 * t * (1 - t) * bend + t**2 * end


def bend_of(env, begin, end, steps):
    """The bend of a quadratic curve from `begin` to `end`, moved up the gradient of the mean value on the curve."""
    bend, knots = inside((begin + end) / 2), np.linspace(0, 1, 14)[1:-1]
    for k in range(steps):
        here = value_gradient(env, curve(begin, bend, end, knots))
        pull = ((2 * knots * (1 - knots))[:, None, None] * here).mean(axis=0)
        pull = pull - (bend * pull).sum(axis=-1, keepdims=True)
        size = (1.0 - k / steps) * 0.5 / np.abs(pull).max(axis=-1, keepdims=True).clip(1e-6)
        bend = pepg.softmax(np.round(np.log(bend) + size * pull, 4))
    return bend


# Figures


def draw_ends(ends, best_known, settings):
    """Cumulative distributions of the final values, a panel a setting."""
    figure, axes = plt.subplots(2, -(-len(settings) // 2), figsize=(7.6, 5.0), squeeze=False)
    for ax, setting in zip(axes.ravel(), settings):
        part = of(ends, setting)
        for kind, color in KINDS.items():
            values = np.sort(part.value[part.kind == kind])
            share = (np.arange(len(values)) + 0.5) / len(values)
            marker, size = ("*", 9) if kind == "ε-greedy" else ("o", 3)
            ax.plot(values, share, marker, linestyle="-", linewidth=0.8, color=color, markersize=size, label=kind)
        best, stable = of(best_known, setting).value.item(), part.stable.dropna()
        ax.axvline(best, color="#444444", linewidth=1.0, linestyle=(0, (4, 2)), label="best known")
        ax.axvline(stable.median(), color=figures.COLORS["PG"], linewidth=1.0, linestyle=(0, (1, 1.5)), label="stable (PG), before the ascent")
        title = "ε = {:g}, {} followers, β = {:g}".format(*setting)
        ax.set(title=title, xlabel=r"final true value $V^\pi_\pi(\rho)$", ylim=(0, 1))
        ax.title.set_fontsize(8.5)
        ax.locator_params(axis="x", nbins=4)
    for ax in axes[:, 0]:
        ax.set_ylabel("share of the starts below")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    for ax in axes.ravel()[len(settings) :]:
        ax.axis("off")
    axes.ravel()[-1].legend(handles, labels, loc="center")
    return figure


def draw_recipes(compared, comparison, best_known, settings):
    """Gap of each recipe to the best known value, a panel a setting."""
    figure, axes = plt.subplots(1, len(settings), figsize=(1.2 + 1.45 * len(settings), 3.0), sharey=True, squeeze=False)
    order = RECIPES[::-1]
    for ax, setting in zip(axes[0], settings):
        best = of(best_known, setting).value.item()
        part = comparison[comparison.setting == label(setting)].set_index("recipe").loc[order]
        dots = of(compared, setting)
        for i, recipe in enumerate(order):
            color = figures.COLORS["PePG"] if recipe == "stages" else figures.COLORS["reference"]
            gaps = np.maximum(best - dots.value[dots.recipe == recipe], 1e-5)
            ax.plot(gaps, np.full(len(gaps), i) + np.linspace(-0.2, 0.2, len(gaps)), "o", markersize=2, color=color, alpha=0.5)
            ax.plot(max(best - part.value[recipe], 1e-5), i, "D", markersize=5, color=color)
        ax.set(xscale="log", xlim=(7e-6, 2e-1), xticks=[1e-5, 1e-3, 1e-1])
        ax.set_title("ε = {:g},\n{} followers, β = {:g}".format(*setting), fontsize=8)
    axes[0, 0].set_yticks(range(len(order)), order)
    figure.supxlabel("gap of the final value to the best known", fontsize=9)
    return figure


def draw_slice(surface, paths, kinks):
    """The triangle of three policies, the value on two paths, and the slope where kinks are easy to see."""
    figure, axes = plt.subplots(1, 3, figsize=(8.8, 2.9), width_ratios=(1.3, 1, 1))
    x, y = surface.B + 0.5 * surface.S, np.sqrt(0.75) * surface.S
    filled = axes[0].tricontourf(x, y, surface.value, levels=24, cmap="cividis")
    axes[0].tricontour(x, y, surface.value, levels=24, colors="white", linewidths=0.3, linestyles="solid")
    figure.colorbar(filled, ax=axes[0], label=r"true value $V^\pi_\pi(\rho)$", shrink=0.85)
    for name, place, shift in (("A", (0, 0), (-0.09, -0.03)), ("B", (1, 0), (0.04, -0.03)), ("S", (0.5, np.sqrt(0.75)), (0.05, -0.05))):
        axes[0].plot(*place, "o", color="black", markersize=4, clip_on=False)
        axes[0].text(place[0] + shift[0], place[1] + shift[1], name, fontsize=11)
    axes[0].plot([0, 1], [0, 0], color="#222222", linewidth=2, clip_on=False)
    axes[0].set_aspect("equal")
    axes[0].axis("off")
    axes[0].set_title("the triangle of A, B and S", pad=10)
    for name, line in (("segment", "-"), ("curve", (0, (4, 1.5)))):
        part = paths[paths.path == name]
        axes[1].plot(part.t, part.value, color="#222222", linestyle=line, label=name)
    axes[1].legend()
    axes[1].set(xlabel="t, from A (0) to B (1)", ylabel=r"true value $V^\pi_\pi(\rho)$", title="along two paths")
    axes[2].plot(kinks.t, kinks.slope, ".", markersize=2, color="#222222")
    axes[2].set(xlabel="t, to the best known (1)", ylabel="slope dV/dt", title="kinks, 2 followers, β = 5")
    return figure
