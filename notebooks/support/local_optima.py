"""For notebook 17: ascents and recipes from many starts, the path between two optima, and its figures; for 11 and 18: worlds and draws."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, figures
from pepg.experiments import parallel

KINDS = {  # of starts, with their colours
    "near-uniform": figures.COLORS["PePG"],
    "wide": figures.COLORS["reference"],
    "ε-greedy": "black",
    "stable": figures.COLORS["PG"],
}
RECIPES = ("search", "best of 5", "stages")
HUES = {"search": figures.COLORS["PePG"], "best of 5": figures.COLORS["reference"], "stages": "black"}
PAPERS = "paper's"  # the draw of the followers in the released program
AT_ONCE = 4  # draws side by side, of up to 54 starts each


def world(setting, draw=PAPERS):
    """The gridworld of a setting (ε, followers, β) and a draw of the followers: PAPERS or a whole number; several with a list of draws."""
    eps, n_followers, beta = setting
    seeds = [None if one == PAPERS else int(one) for one in (draw if isinstance(draw, list) else [draw])]
    return pepg.Gridworld(eps=eps, n_followers=n_followers, beta=beta, seed=seeds if isinstance(draw, list) else seeds[0])


def worlds(settings, draws):
    """[(setting, draw)], each setting on each draw; at ε = 0 no cell is redrawn, and all draws are one world."""
    return [(setting, draw) for setting in settings for draw in draws if setting[0] > 0.0 or draw == PAPERS]


def on_each(function, cases, **options):
    """{case: what `function` finds there} for cases (setting, draw); the draws of a setting go to it as a list, some at a time."""
    cases, parts = list(cases), []
    for setting in dict.fromkeys(setting for setting, _ in cases):
        draws = [draw for one, draw in cases if one == setting]
        parts += [(setting, draws[i : i + AT_ONCE]) for i in range(0, len(draws), AT_ONCE)]
    results = parallel(partial(function, **options), parts)
    found = {(setting, draw): one for (setting, draws), part in zip(parts, results) for draw, one in zip(draws, part)}
    return {case: found[case] for case in cases}


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


# Recipes: functions of an environment and a number of deployments, from no start; all return the value and the policy of the best


def best_met(*runs):
    """The best that any of the runs met, and its policy; starts along the axis before those of the environment."""
    policies = np.concatenate([run.policies for run in runs])
    values = np.concatenate([run.values for run in runs])
    top = np.round(values, 9).argmax(axis=0)[None]
    return np.take_along_axis(values, top, axis=0)[0], np.take_along_axis(policies, top[..., None, None], axis=0)[0]


def search(env, deployments):
    run = algorithms.pepg(env, iterations=deployments)
    return run.values[-1], run.policy


def best_of(env, deployments, count):
    """Ascents from the uniform policy and count - 1 scattered ones, softmax of N(0, 2²) logits."""
    starts = np.stack([env.uniform_policy(), *env.random_policies(range(count - 1), scale=2.0)])
    starts = starts.reshape(count, *(1,) * len(env.lead), *starts.shape[1:])
    run = algorithms.pepg(env, policy=starts, iterations=deployments // count - 1)
    values, policies = best_met(run)
    first = np.round(values, 9).argmax(axis=0)[None]
    return np.take_along_axis(values, first, axis=0)[0], np.take_along_axis(policies, first[..., None, None], axis=0)[0]


def stages(env, deployments, policy=None):
    """PePG, PG, PePG from next to PG's end, and twice from next to the best so far with an entropy coefficient that falls to 0.

    From the uniform policy, or from each of several.
    """
    length, policy = deployments // 5, env.uniform_policy() if policy is None else policy
    runs = [run(env, policy=policy, iterations=length - 1) for run in (algorithms.pepg, algorithms.policy_gradient)]
    runs.append(algorithms.pepg(env, policy=inside(runs[1].policy), iterations=length - 1))
    for coefficient in (0.01, 0.003):
        entropy = coefficient * np.maximum(1.0 - np.arange(length) / (0.5 * length), 0.0)
        runs.append(algorithms.pepg(env, policy=inside(best_met(*runs)[1]), iterations=length - 1, entropy=entropy))
    return best_met(*runs)


def of_recipes(case, deployments, recipes=RECIPES):
    """[(recipe, value, policy)] for each of some draws. case : (setting, [draw])"""
    env = world(*case)
    by_name = {"search": search, "best of 5": lambda env, n: best_of(env, n, 5), "stages": stages}
    return by_draw((name, *by_name[name](env, deployments)) for name in recipes)


def by_draw(found):
    """(name, values, policies) over draws as a list for each draw of (name, value, policy)."""
    return list(zip(*([(name, *one) for one in zip(values, policies)] for name, values, policies in found)))


def one_ascent(case, iterations):
    """[(recipe, value, policy)] of one ascent from the ε-greedy policy, and one from the uniform one, for each draw. case : (setting, [draw])"""
    env = world(*case)
    starts = np.stack([env.epsilon_greedy_policy(0.1), env.uniform_policy()])[:, None]
    run = algorithms.pepg(env, policy=starts, iterations=iterations)
    return by_draw((f"one ascent, {start}", *found) for start, *found in zip(("ε-greedy", "uniform"), *best_met(run)))


def from_other_starts(setting, deployments, count):
    """[(recipe, value, policy)] of the stages from near-uniform starts, on the paper's draw."""
    env = world(setting)
    values, policies = stages(env, deployments, env.random_policies(range(2000, 2000 + count)))
    return [("stages, other start", value, policy) for value, policy in zip(values, policies)]


def recipe_table(results):
    """Rows of what each recipe reaches. results : {(setting, draw): what of_recipes returns}"""
    rows = [(*setting, draw, name, value) for (setting, draw), found in results.items() for name, value, _ in found]
    return pd.DataFrame(rows, columns=["eps", "followers", "beta", "draw", "recipe", "value"]).round({"value": 6})


def compare(recipes, settings):
    """A row a setting: the search below the best recipe in the mean over the numbered draws, and its lead over the others."""
    rows = []
    for setting in settings:
        part = of(recipes, setting).pivot(index="draw", columns="recipe", values="value").drop(index=PAPERS)
        best = part.mean()
        row = {"setting": label(setting), "draws": len(part), "search, below the best mean": best.max() - best["search"]}
        for name in RECIPES[1:]:
            mean, low, high = figures.mean_interval((part["search"] - part[name]).to_numpy())
            row |= {f"− {name}": mean, f"− {name}, low": low, f"− {name}, high": high}
        rows.append(row)
    return pd.DataFrame(rows).round(6)


def best_known_of(results, policies):
    """The table of best known values, each that of its stored policy. results as in recipe_table, with more candidates"""
    rows = []
    for (setting, draw), found in results.items():
        value = pepg.performative_value(world(setting, draw), stored_policy(policies, setting, draw))
        rows.append((*setting, draw, round(value, 6), best_of_all(found)[0]))
    return pd.DataFrame(rows, columns=["eps", "followers", "beta", "draw", "value", "recipe"])


def best_of_all(found):
    """The first of the [(name, value, policy)] that are the best when rounded, so that rounding does not choose."""
    return max(found, key=lambda one: round(float(one[1]), 6))


def policy_table(results):
    """The best policy of each (setting, draw), a row a state."""
    moves = ("left", "right", "up", "down")
    tables = []
    for (setting, draw), found in results.items():
        policy = best_of_all(found)[2]
        tables.append(_row(setting, {"draw": draw, "state": np.arange(len(policy)), **dict(zip(moves, policy.T.round(6)))}))
    return pd.concat(tables)


def stored_policy(table, setting, draw=PAPERS):
    """A policy as other notebooks read it: six digits of each probability, rows scaled to sum to 1."""
    part = of(table, setting)
    policy = part[part.draw.astype(str) == str(draw)][["left", "right", "up", "down"]].to_numpy()
    return policy / policy.sum(axis=1, keepdims=True)


# Random PeMDPs


def on_random(case, count, deployments):
    """What the recipes reach on random PeMDPs of one kind, a row each. case : ((S, A), γ, strength)"""
    (n_states, n_actions), gamma, strength = case
    seed = [17, n_states, n_actions, round(100 * gamma), round(100 * strength)]
    env = pepg.random_softmax_pemdp(np.random.default_rng(seed), n_states, n_actions, gamma, strength, strength, count)
    values = {
        "uniform": pepg.performative_value(env, np.broadcast_to(env.uniform_policy(), (count, n_states, n_actions))),
        "search": search(env, deployments)[0],
        "best of 5": best_of(env, deployments, 5)[0],
        "best of 10": best_of(env, deployments, 10)[0],
        "stages": stages(env, deployments)[0],
        "one ascent": algorithms.pepg(env, policy=env.uniform_policy(), iterations=deployments).values[-1],
    }
    return pd.DataFrame({"states": n_states, "actions": n_actions, "gamma": gamma, "strength": strength, **values})


def missed(elsewhere):
    """The share of the climb from the uniform policy to the best of all recipes that each misses, in %, and the values × (1 − γ)."""
    names = list(elsewhere.columns[5:])
    best = elsewhere[names].max(axis=1)
    climb = best - elsewhere["uniform"]
    shares = 100.0 * elsewhere[names].rsub(best, axis=0).div(climb, axis=0)
    return shares, elsewhere[names].mul(1.0 - elsewhere["gamma"], axis=0)


def against(elsewhere):
    """A row a rival: what it misses, by how much less the search misses, and where it is ahead and behind by more than 1 %."""
    shares, values = missed(elsewhere)
    rows = []
    for name in shares.columns:
        lead, gain = shares[name] - shares["search"], values["search"] - values[name]
        counts = (lead > 1.0).sum(), (lead < -1.0).sum()
        intervals = (*figures.mean_interval(lead), *figures.mean_interval(gain)[1:]) if name != "search" else (np.nan,) * 5
        rows.append((name, shares[name].mean(), *intervals, *counts))
    columns = ["recipe", "missed, %", "search less by", "low", "high", "(1 − γ) V, low", "high ", "search ahead", "behind"]
    return pd.DataFrame(rows, columns=columns)


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


def draw_recipes(recipes, best_known, elsewhere, settings):
    """Left: gaps to the best known on the gridworld, a dot a draw. Right: what is missed on random PeMDPs."""
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.9), width_ratios=(1.5, 1))
    keys = ["eps", "followers", "beta", "draw"]
    gaps = recipes.merge(best_known[[*keys, "value"]], on=keys, suffixes=("", " known"))
    gaps["gap"] = (gaps["value known"] - gaps["value"]).clip(lower=1e-5)
    for x, setting in enumerate(settings):
        for k, name in enumerate(RECIPES):
            part = of(gaps, setting)
            part = part[part.recipe == name]
            own, place = (part.draw == PAPERS).to_numpy(), x + 0.27 * (k - 1)
            spread = 0.07 * np.sin(2.4 * np.arange((~own).sum()))
            label = name if x == 0 else None
            axes[0].plot(place + spread, part.gap[~own], "o", color=HUES[name], markersize=2.6, alpha=0.7, markeredgewidth=0, label=label)
            axes[0].plot(place, part.gap[own], "D", color=HUES[name], markersize=5, markeredgecolor="white")
            axes[0].plot([place - 0.11, place + 0.11], [part.gap[~own].mean()] * 2, color=HUES[name], linewidth=1.6)
    ticks = ["ε {:g}\n{} foll.\nβ {:g}".format(*setting) for setting in settings]
    axes[0].set(yscale="log", xticks=range(len(settings)), xticklabels=ticks, ylabel="gap to the best known value", title="gridworld")
    axes[0].grid(axis="x", visible=False)
    shares = missed(elsewhere)[0]
    for name in RECIPES:
        missing = np.sort(shares[name].clip(lower=1e-2))[::-1]
        axes[1].plot(missing, 100.0 * np.arange(1, len(missing) + 1) / len(missing), color=HUES[name], drawstyle="steps-post")
    axes[1].set(xscale="log", xlim=(0.02, 100), ylim=(0, 30), title="random PeMDPs")
    axes[1].set(xlabel="missed share of the climb, %", ylabel="share of PeMDPs that miss more, %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
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
