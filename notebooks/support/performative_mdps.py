"""For notebooks 01 and 02b: congestion games, a search for stable policies, matching pennies, and the figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap

import pepg
from pepg import algorithms, figures, theory
from pepg.theory.certificate import certified_optimum

STABLE, OPTIMAL, GREY = figures.COLORS["PG"], figures.COLORS["PePG"], figures.COLORS["reference"]
SMALL_GAIN = 1e-8  # a best-response gain below this counts as none


def two_actions(x):
    """Policies with x = π(1|s) in each state, (..., S) to (..., S, 2)."""
    x = np.asarray(x, dtype=float)
    return np.stack([1.0 - x, x], axis=-1)


def random_instances(seed, count, gamma, transition_strength, reward_strength, ascent_iterations, polish_iterations):
    """Random PeMDPs of two states and actions with the stable policies that PG reaches from the uniform one, and certified optima.

    Returns the environments, the policies, their best-response gains and the certificate. PG takes the adaptive step, then a constant
    step of 0.5 where it is not at rest yet; the certificate is started with a short run of PePG and does not see the stable policies.
    """
    env = pepg.random_softmax_pemdp(np.random.default_rng(seed), 2, 2, gamma, transition_strength, reward_strength, count=count)
    uniform = np.full((count, 2, 2), 0.5)
    stable = algorithms.policy_gradient(env, policy=uniform, iterations=ascent_iterations).policy.copy()
    moving = np.flatnonzero(theory.best_response_gain(env, stable) >= SMALL_GAIN)
    polish = {"policy": stable[moving], "iterations": polish_iterations, "step_size": 0.5}
    stable[moving] = algorithms.policy_gradient(env.select(moving), **polish).policy
    certificate = certified_optimum(env, algorithms.pepg(env, policy=uniform, iterations=30).policy)
    return env, stable, theory.best_response_gain(env, stable), certificate


def widest_gap(env, stable, gain, certificate):
    """The instance with the largest gap, as a share of the value's range, among those with both policies mixed in both states.

    Returns its index, that share, and how many there are.
    """

    def mixed(policy):
        return policy.min(axis=(-2, -1)) >= 0.02

    candidates = np.flatnonzero((gain < SMALL_GAIN) & mixed(stable) & mixed(certificate.policy))
    if not candidates.size:
        raise ValueError("no instance has both policies mixed in both states: draw more, or another seed")
    gap = certificate.value - pepg.performative_value(env, stable)
    coarse = np.linspace(0.0, 1.0, 21)
    square = two_actions(np.stack(np.meshgrid(coarse, coarse, indexing="ij"), axis=-1)).reshape(-1, 1, 2, 2)
    square = np.broadcast_to(square, (len(square), candidates.size, 2, 2))
    heights = pepg.performative_value(env.select(candidates), square)
    share = gap[candidates] / np.ptp(heights, axis=0)
    return int(candidates[share.argmax()]), share.max(), candidates.size


def random_roads(seed, count):
    """Random congestion games of two roads side by side, with their stable and optimal policies in closed form (count, 2, 1, 2)."""
    rng = np.random.default_rng(seed)
    b, c = rng.uniform(-1.0, 0.0, (count, 2)), rng.uniform(0.0, 1.0, (count, 2))
    closed = np.array([pepg.congestion_policies(pepg.pigou(*game)) for game in zip(b, c)])
    crowd = pepg.SoftmaxPeMDP(
        logits=np.zeros((count, 1, 2, 1)), logit_map=np.zeros((count, 1, 2, 1, 1, 2)), rewards=b[:, None],
        reward_map=-(c[:, :, None] * np.eye(2))[:, None, :, None], gamma=0.0, rho=np.ones((count, 1)),
    )
    return crowd, closed


def road_curves(games, roads):
    """Rewards, marginal rewards and values against the share on road 1, closed forms, and the paths of PG and PePG: tidy."""
    shares, rows = np.linspace(0.0, 1.0, 101), []
    for name, game in games.items():
        policy = two_actions(shares[:, None])
        r = game.respond(policy).r[:, 0]
        # A marginal reward is the slope of the value in π(a): the reward and the response through it, at occupancy π.
        m = r + game.response_gradient(policy, policy, np.zeros((101, 1)))[:, 0]
        curves = {"r0": r[:, 0], "r1": r[:, 1], "m0": m[:, 0], "m1": m[:, 1], "value": pepg.performative_value(game, policy)}
        rows += [pd.DataFrame({"game": name, "curve": c, "x": shares, "y": y}) for c, y in curves.items()]
        for kind in ("stable", "optimal"):
            share, value = roads[name][kind][0, 1], pepg.performative_value(game, roads[name][kind])
            rows.append(pd.DataFrame({"game": name, "curve": [kind], "x": [share], "y": [value]}))
        for kind in ("PG", "PePG"):
            path = roads[name][kind].policies[:61, 0, 1]
            rows.append(pd.DataFrame({"game": name, "curve": kind, "x": np.arange(61.0), "y": path}))
    return pd.concat(rows)


def draw_roads(data):
    """Rewards against marginal rewards, the value, and where PG and PePG go, a row a game."""
    games = list(data["game"].unique())
    figure, axes = plt.subplots(len(games), 3, figsize=(7.2, 4.9))
    looks = (("r0", STABLE, "-"), ("r1", STABLE, (0, (4, 1.5))), ("m0", OPTIMAL, "-"), ("m1", OPTIMAL, (0, (4, 1.5))))
    for row, name in zip(axes, games):
        part = {curve: group for curve, group in data[data["game"] == name].groupby("curve")}
        for curve, color, line in looks:
            kind, width = ("reward" if curve[0] == "r" else "marginal reward"), (2.6 if curve == "r0" else 1.4)
            label = f"{kind}, road {curve[1]}"
            row[0].plot(part[curve]["x"], part[curve]["y"], color=color, linestyle=line, lw=width, label=label)
        for kind, color, marker, size, curve in (("stable", STABLE, "s", 6, "r1"), ("optimal", OPTIMAL, "*", 11, "m1")):
            mark = part[kind].iloc[0]
            look = {"color": color, "ms": size, "mec": "black", "mew": 0.6, "zorder": 5, "clip_on": False}
            row[0].plot(mark.x, np.interp(mark.x, part[curve]["x"], part[curve]["y"]), marker, **look)
            row[1].plot(mark.x, mark.y, marker, label=kind, ls="", **look)
            row[2].axhline(mark.x, color=color, lw=0.8, alpha=0.6)
        row[1].plot(part["value"]["x"], part["value"]["y"], color=GREY)
        for kind in ("PG", "PePG"):
            row[2].plot(part[kind]["x"], part[kind]["y"], color=figures.COLORS[kind], linestyle=figures.LINES[kind], label=kind)
        row[0].set(ylabel=f"{name}\nreward per step", xlim=(0, 1))
        row[1].set(ylabel=r"performative value $V(x)$", xlim=(0, 1))
        row[2].set(ylabel="share $x$ on road 1", ylim=(0, 1.03), xlim=(0, 60))
    for panel, title in zip(axes[0], ("rewards against marginal rewards", "value", "PG and PePG")):
        panel.set_title(title)
    for panel, label in zip(axes[-1], ("share $x$ on road 1", "share $x$ on road 1", "iteration (deployments)")):
        panel.set_xlabel(label)
    axes[-1, 2].legend(loc="lower right")
    lines, points = (panel.get_legend_handles_labels() for panel in axes[0, :2])
    figure.legend(lines[0] + points[0], lines[1] + points[1], loc="outside lower center", ncols=3)
    return figure


def landscape_data(world, runs, starts, ends):
    """The surface of the value over the unit square, the paths of `runs` from `starts`, and the policies `ends` by name: tidy."""
    width = np.linspace(0.0, 1.0, 61)
    x0, x1 = (x.ravel() for x in np.meshgrid(width, width, indexing="ij"))
    surface = pepg.performative_value(world, two_actions(np.stack([x0, x1], axis=-1)))
    columns = ["part", "start", "deployments", "x_0", "x_1", "value"]
    rows = [pd.DataFrame(dict(zip(columns, ("surface", "", 0, x0, x1, surface))))]
    for name, run in runs.items():
        for k, start in enumerate(starts):
            x = run.policies[:, k, :, 1]
            place = np.arange(1, len(x) + 1), x[:, 0], x[:, 1], run.values[:, k]
            rows.append(pd.DataFrame(dict(zip(columns, (name, f"{start}", *place)))))
    for name, policy in ends.items():
        place = [policy[0, 1]], [policy[1, 1]], [pepg.performative_value(world, policy)]
        rows.append(pd.DataFrame(dict(zip(columns, (name, "", 0, *place)))))
    return pd.concat(rows)


def draw_landscape(data, starts, weak, strong):
    """The landscape with the paths on it, and the value along each path; `weak` and `strong` name the two runs of RPO."""
    cividis = plt.get_cmap("cividis")(np.linspace(0.0, 1.0, 256))[:, :3]
    pale = ListedColormap(0.45 + 0.55 * cividis)  # half-way to white, still even in lightness: lines stand out on it
    color = figures.COLORS["RPO"]
    styles = {
        "PG": {"color": STABLE, "ls": "-"},
        "PePG": {"color": OPTIMAL, "ls": "-"},
        weak: {"color": color, "ls": ":", "marker": "o", "ms": 2.5, "lw": 1.0},
        strong: {"color": color, "ls": "--", "marker": "o", "ms": 2.5, "lw": 1.0},
    }
    figure = plt.figure(figsize=(7.2, 7.4))
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.75, 1])
    axes = top.subplots()
    height = data[data["part"] == "surface"].pivot(index="x_1", columns="x_0", values="value")
    filled = axes.contourf(height.columns, height.index, height, levels=24, cmap=pale)
    axes.contour(filled, levels=filled.levels[::2], colors="white", linewidths=0.5, linestyles="solid")
    top.colorbar(filled, ax=axes, label=r"performative value $V^\pi_\pi(\rho)$", shrink=0.9, ticks=np.arange(-5.0, 5.0, 0.25))
    marks = {kind: data[data["part"] == kind].iloc[0] for kind in ("stable", "optimal")}
    paths = {(name, start): data[(data["part"] == name) & (data["start"] == f"{start}")] for name in styles for start in starts}
    for (name, start), path in paths.items():
        if name in (weak, strong) and start != starts[-1]:
            continue  # from one start, for legibility; the panels below have all
        label = name if start == starts[-1] else None
        axes.plot(path["x_0"], path["x_1"], label=label, clip_on=False, zorder=3, **styles[name])
    for k, start in enumerate(starts):
        axes.plot(*start, "o", color="white", mec="black", ms=5, zorder=4, label=None if k else "start", ls="")
    axes.plot(marks["stable"].x_0, marks["stable"].x_1, "s", color=STABLE, mec="black", ms=8, zorder=5, label="stable", ls="")
    axes.plot(marks["optimal"].x_0, marks["optimal"].x_1, "*", color=OPTIMAL, mec="black", ms=14, zorder=5, label="optimal", ls="")
    axes.set(xlabel=r"$x_0 = \pi(1|0)$", ylabel=r"$x_1 = \pi(1|1)$", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(False)
    axes.spines[["top", "right"]].set_visible(True)
    top.legend(loc="outside left center")

    panels = bottom.subplots(1, len(starts), sharey=True)
    for panel, start in zip(panels, starts):
        for name, style in styles.items():
            panel.plot(paths[name, start]["deployments"], paths[name, start]["value"], **style)
        panel.axhline(marks["optimal"].value, color=OPTIMAL, lw=0.8)
        panel.axhline(marks["stable"].value, color=STABLE, lw=0.8)
        panel.set(title=f"from $(x_0, x_1)$ = {start}", xlabel="deployments", xscale="log")
        panel.set_xticks([1, 10, 100], ["1", "10", "100"])
    panels[0].set_ylabel(r"value $V^\pi_\pi(\rho)$")
    for kind, color, side, shift in (("optimal", OPTIMAL, "bottom", 2), ("stable", STABLE, "top", -4)):
        place, font = (data["deployments"].max(), marks[kind].value), {"fontsize": 7.5, "color": color}
        panels[0].annotate(kind, place, xytext=(0, shift), textcoords="offset points", ha="right", va=side, **font)
    panels[0].set_ylim(top=marks["optimal"].value + 0.2)
    return figure


# Notebook 02b


def first_order_gain(env, policy):
    """How fast V rises, at most, towards another policy: 0 iff the first-order condition over all policies holds."""
    here = pepg.deploy(env, policy)
    slope = here.occupancy.sum(axis=-1, keepdims=True) * here.mdp.backup(here.value)
    slope = slope + env.response_gradient(policy, here.occupancy, here.value)
    return (slope.max(axis=-1) - (policy * slope).sum(axis=-1)).sum(axis=-1)


def matching_pennies(kappa, gamma):
    """Two states of which one gains from doing what the other does, the other from doing the opposite."""
    sign = np.array([-1.0, 1.0])
    reward_map = np.zeros((2, 2, 2, 2))
    reward_map[0, :, 1, :] = 0.5 * kappa[0] * np.outer(sign, sign)
    reward_map[1, :, 0, :] = -0.5 * kappa[1] * np.outer(sign, sign)
    flat = {"logits": np.zeros((2, 2, 2)), "logit_map": np.zeros((2, 2, 2, 2, 2)), "rewards": np.zeros((2, 2))}
    return pepg.SoftmaxPeMDP(**flat, reward_map=reward_map, gamma=gamma, rho=np.full(2, 0.5))


def ascend_by_smoothness(env, start, multiple, iterations):
    """PePG with the step multiple/L of each instance, L proven: the values (T+1, n) and the gradients' squared norms (T, n)."""
    L = env.smoothness()
    logits, values, squares = np.log(start), [], []
    for _ in range(iterations + 1):
        here = pepg.deploy(env, pepg.softmax(logits))
        g = here.policy_part + here.environment_part(env)
        values.append(here.expected_return)
        squares.append((g**2).sum(axis=(-2, -1)))
        logits = logits + multiple * g / L[:, None, None]
    return np.array(values), np.array(squares)[:-1]


def cycle_data(env, runs):
    """Paths, values and best-response gains of runs by name from two starts, every third iterate: tidy."""
    rows = []
    for name, run in runs.items():
        gain = theory.best_response_gain(env, run.policies)
        for k, start in enumerate(run.policies[0, :, 0, 1]):
            x = run.policies[:, k, :, 1]
            columns = {"iteration": np.arange(len(x)), "x_0": x[:, 0], "x_1": x[:, 1], "value": run.values[:, k], "gain": gain[:, k]}
            rows.append(pd.DataFrame({"algorithm": name, "start": start, **columns}))
    data = pd.concat(rows)
    return data[data["iteration"] % 3 == 0]


def draw_cycle(data):
    """Orbits of PG and ascents of PePG: the paths, the value, and the distance from stability."""
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.8))
    first = data["start"].iloc[0]
    for (name, start), path in data.groupby(["algorithm", "start"], sort=False):
        label, line = (name if start == first else None), ("-" if start == first else "--")
        axes[0].plot(path["x_0"], path["x_1"], color=figures.COLORS[name], linestyle=line)
        axes[0].plot(start, 0.5, "o", color="white", mec="black", ms=4, zorder=4)
        for panel, column in ((axes[1], "value"), (axes[2], "gain")):
            panel.plot(path["iteration"], path[column], color=figures.COLORS[name], linestyle=line, label=label)
    axes[0].plot(0.5, 0.5, "s", color=STABLE, mec="black", ms=6)
    axes[0].plot([0, 1], [0, 1], "*", color=OPTIMAL, mec="black", ms=11, clip_on=False, ls="")
    axes[0].set(xlabel=r"$x_0$", ylabel=r"$x_1$", xlim=(0, 1), ylim=(0, 1), aspect="equal", title="paths (□ stable, ★ optimal)")
    axes[1].set(xlabel="iteration (deployments)", ylabel=r"value $V^\pi_\pi(\rho)$", title="value")
    axes[2].set(xlabel="iteration (deployments)", ylabel="best-response gain", title="distance from stability")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_gap(data):
    """What stability costs against its bound, and how much of it PePG wins back from the stable policy."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.1))
    axes[0].loglog(data["bound"], data["gap"], ".", color="#444444", ms=3.5, alpha=0.6)
    ends = [data["gap"].min(), data["bound"].max()]
    axes[0].plot(ends, ends, color=GREY, lw=1.0)
    axes[0].annotate("gap = bound", (0.05, 0.05), rotation=38, xytext=(-8, 6), textcoords="offset points", fontsize=7.5, color=GREY)
    axes[0].set(xlabel=r"bound of R2 at $(\pi_O, \pi_S)$", ylabel=r"$V(\pi_O) - V(\pi_S)$", title="what stability costs")
    share = np.arange(1, len(data) + 1) / len(data)
    for column, line, label in (("closed_adaptive", "-", "adaptive step"), ("closed_constant", ":", "step 1/L")):
        axes[1].step(np.sort(data[column]), share, color=OPTIMAL, linestyle=line, where="post", label=label)
    axes[1].set(xlabel="part of the gap closed by PePG\nfrom the stable policy", ylabel="share of instances (cumulative)", xlim=(-0.05, 1.05))
    axes[1].set_title("PePG from the stable policy")
    axes[1].legend(loc="upper left")
    return figure
