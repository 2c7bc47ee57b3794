"""For notebooks 15a, 15b and 15c: retraining measured iterate by iterate, in exact environments and from samples.

A function whose name ends in ``_table`` returns a table and its caption.
"""

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path as File

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import linprog

import pepg
from pepg import algorithms, figures
from pepg.algorithms.retraining import closest_occupancy, policy_of_occupancy
from pepg.algorithms.run import Field
from pepg.data import empirical_mdp

DATA = File(__file__).resolve().parent.parent / "data"
EPS, FOLLOWERS = 0.3, 50  # of the gridworld of Mandal et al., Fig. 2
CONVERGED = 1e-8  # relative change of d
SMALL = dict.fromkeys(["last change", "return", "least visits"], "{:.1e}") | {"factor": "{:.3f}"}
GREY = figures.COLORS["reference"]


def world(beta):
    return pepg.Gridworld(eps=EPS, beta=beta, n_followers=FOLLOWERS)


def recorded(name):
    """Iterates of the released programs, from notebooks/data."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def relative_change(after, before):
    """The norm of the difference of occupancies (..., S, A) over that of the second."""
    return np.linalg.norm(after - before, axis=(-2, -1)) / np.linalg.norm(before, axis=(-2, -1))


# Exact retraining, iterate by iterate


@dataclass
class Path:
    """What retraining did: T + 1 occupancies, policies and true values, T relative changes of the occupancy and gaps."""

    occupancies: list
    policies: list
    values: list
    changes: list = field(default_factory=list)
    gaps: list = field(default_factory=list)


def rpo(regularization):
    return lambda mdp, d: closest_occupancy(mdp, mdp.r, regularization)


def rga(step_size, regularization):
    return lambda mdp, d: closest_occupancy(mdp, (1.0 - step_size * regularization) * d + step_size * mdp.r)


def suboptimality(regularization):
    """The relative gap of the regularised objective that an iterate leaves in the environment in which it was computed."""

    def gap(mdp, d):
        def objective(occupancy):
            return (occupancy * mdp.r).sum() - 0.5 * regularization * (occupancy**2).sum()

        best = objective(closest_occupancy(mdp, mdp.r, regularization))
        return max((best - objective(d)) / abs(best), 0.0)

    return gap


def retrain(env, solve, iterations, start=None, read=lambda d, last: policy_of_occupancy(d), gap=None):
    """Deploy, solve, read the policy, deploy. Stops early once two changes in a row are a tenth of what counts as converged."""
    policy = env.epsilon_greedy_policy(0.1) if start is None else start
    mdp = env.respond(policy)
    path = Path([mdp.occupancy(policy)], [policy], [mdp.expected_return(policy)])
    for _ in range(iterations):
        last = path.occupancies[-1]
        d = solve(mdp, last)
        path.changes.append(np.linalg.norm(d - last) / np.linalg.norm(last))
        if gap is not None:
            path.gaps.append(gap(mdp, d))
        policy = read(d, policy)
        mdp = env.respond(policy)
        path.occupancies.append(d)
        path.policies.append(policy)
        path.values.append(mdp.expected_return(policy))
        if len(path.changes) > 1 and max(path.changes[-2:]) < 0.1 * CONVERGED:
            break
    return path


def classify(path, longest=20):
    """Where retraining ends: converged, a cycle, near a cycle or still moving; with period, contraction factor and range of values."""
    changes, last = np.array(path.changes), path.occupancies[-1]
    row = {"verdict": "converged", "iterations": len(changes), "period": 1, "last change": changes[-1], "return": changes[-1]}
    if changes[-1] < CONVERGED:
        row["iterations"] = int(np.argmax(changes < CONVERGED)) + 1
    else:
        away = [np.linalg.norm(last - d) / np.linalg.norm(last) for d in path.occupancies[-2 : -2 - longest : -1]]
        close = np.flatnonzero(np.array(away) < max(2 * min(away), 1e-9))[0]  # the shortest of equally good returns
        row["period"], row["return"] = int(close) + 1, away[close]
        if row["return"] < 1e-6:
            row["verdict"] = "cycle"
        elif row["return"] < 0.01 * changes[-1]:
            row["verdict"] = "near a cycle"
        else:
            row["verdict"], row["period"] = "still moving", None
    above = changes[changes >= CONVERGED][-6:]
    row["factor"] = (above[-1] / above[0]) ** (1 / max(len(above) - 1, 1)) if row["verdict"] == "converged" else np.nan
    values = path.values[-(row["period"] or longest) :]
    row |= {"start value": path.values[0], "value low": min(values), "value high": max(values)}
    row["least visits"] = min(d.sum(axis=-1)[:-1].min() for d in path.occupancies[1:])
    return row


def tidy(rows):
    """Rounded: small numbers to two digits and not below what is rounding, factors to three decimals, values to four."""
    table = pd.DataFrame(rows)
    for column, floor in (("last change", 1e-9), ("return", 1e-6), ("least visits", 1e-8)):
        table[column] = [float(f"{max(x, floor):.2g}") for x in table[column]]
    for column in ("factor", "start value", "value low", "value high"):
        table[column] = (table[column] + 0.0).round(3 if column == "factor" else 4)
    table["period"] = table["period"].astype("Int64")
    return table


def recorded_table():
    """The eight iterations recorded with the released program against this loop, and the loop against pepg.algorithms."""
    cases = {  # name: (beta, one step, the same through pepg.algorithms)
        "rpo_lam1_beta10": (10.0, rpo(1.0), algorithms.repeated_policy_optimization, {"regularization": 1.0}),
        "rpo_lam0.1_beta5": (5.0, rpo(0.1), algorithms.repeated_policy_optimization, {"regularization": 0.1}),
        "rga_eta1_lam1_beta5": (
            5.0, rga(1.0, 1.0), algorithms.repeated_gradient_ascent, {"step_size": 1.0, "regularization": 1.0}
        ),
        "rga_eta0.1_lam0.1_beta5": (
            5.0, rga(0.1, 0.1), algorithms.repeated_gradient_ascent, {"step_size": 0.1, "regularization": 0.1}
        ),
    }
    rows, theirs = [], recorded("rpo_rga_iterates")
    for name, (beta, solve, algorithm, options) in cases.items():
        env = pepg.Gridworld(eps=0.3, beta=beta, n_followers=3)
        path = retrain(env, solve, 8)
        run = algorithm(env, policy=env.epsilon_greedy_policy(0.1), iterations=8, **options)
        rows.append({
            "case": name,
            "max |d - recorded|": np.abs(path.occupancies[-1] - theirs[name]["d_last"]).max(),
            "max |change - recorded|": np.abs(np.array(path.changes) - theirs[name]["d_diff"]).max(),
            "last change": path.changes[-1], "recorded last change": theirs[name]["d_diff"][-1],
            "policies equal pepg's": "yes" if np.abs(run.policies - path.policies).max() < 1e-10 else "no",
        })
    table = pd.DataFrame(rows)
    return table.assign(**table.select_dtypes(float).map(lambda x: float(f"{x:.2g}"))), (
        "RPO and RGA against the iterates recorded with the released program (eps = 0.3, 3 followers, eight iterations): "
        "largest difference in the last occupancy and in the relative changes; and whether the policies of pepg.algorithms are "
        "those of the loop of this notebook, to 1e-10."
    )


def panels(lambdas, lambda_beta, betas, beta_lambda, etas, eta_beta, eta_lambda, rpo_iterations, rga_iterations):
    """The runs of Mandal et al., Fig. 2a-d, by panel and setting; panel d is the gap of the runs of c."""
    paths = {("a", x): retrain(world(lambda_beta), rpo(x), rpo_iterations) for x in lambdas}
    paths |= {("b", x): retrain(world(x), rpo(beta_lambda), rpo_iterations) for x in betas}
    gap = suboptimality(eta_lambda)
    paths |= {("c", x): retrain(world(eta_beta), rga(x, eta_lambda), rga_iterations, gap=gap) for x in etas}
    return paths


def curves_of(paths):
    """Changes and gaps to three digits, those below 1e-9 as 1e-9 (rounding), and values to five decimals: tidy."""

    def digits(values):
        return [float(f"{max(x, 1e-9):.3g}") for x in values]

    rows = []
    for (panel, setting), path in paths.items():
        steps = len(path.changes)
        rows.append(pd.DataFrame({
            "panel": panel, "setting": setting, "iteration": np.arange(steps + 1), "change": digits(path.changes) + [np.nan],
            "gap": (digits(path.gaps) or [np.nan] * steps) + [np.nan], "value": np.round(path.values, 5),
        }))
    return pd.concat(rows)


NAMES = {"a": "λ", "b": "β", "c": "η"}


def verdict_table(paths):
    rows = [{"panel": p, "setting": f"{NAMES[p]} = {x:g}"} | classify(path) for (p, x), path in paths.items()]
    return tidy(rows), (
        "Retraining at the settings of Mandal et al., Fig. 2a to d (eps = 0.3, 50 followers, from the epsilon-greedy policy): verdict, "
        "iterations until the relative change of d is below 1e-8 (else those run), period, last change, relative distance to the "
        "iterate one period before, mean contraction factor, true performative value at the start and its range over the last period, and the least "
        "discounted visits of a state in any iterate. Changes are stored as 1e-9, returns as 1e-6 and visits as 1e-8 where below."
    )


class Frozen:
    """An environment that no longer responds: that of one policy."""

    def __init__(self, env, policy):
        self.mdp, self.start = env.respond(policy), env.epsilon_greedy_policy(0.1)

    def epsilon_greedy_policy(self, epsilon):
        return self.start

    def respond(self, policy):
        return self.mdp


def step_table(paths, sides, beta, regularization, iterations):
    """RGA around the step 2/λ, and in the stable environment held still; also that last path and its optimum."""
    rows = []
    for step in sorted({*(x for panel, x in paths if panel == "c"), *sides}):
        path = paths.get(("c", step)) or retrain(world(beta), rga(step, regularization), iterations)
        rows.append({"environment": "responds", "η": step, "|1 - ηλ|": round(abs(1 - step * regularization), 4)} | classify(path))
    frozen = Frozen(world(beta), paths["c", 1.0].policies[-1])
    standing = retrain(frozen, rga(2.0 / regularization, regularization), iterations)
    rows.append({"environment": "frozen", "η": 2.0 / regularization, "|1 - ηλ|": 1.0} | classify(standing))
    columns = ["environment", "η", "|1 - ηλ|", "verdict", "iterations", "period", "last change", "return", "factor", "value low", "value high"]
    caption = (
        f"RGA around the step 2/lambda (eps = 0.3, 50 followers, beta = {beta:g}, lambda = {regularization:g}), and in the "
        "environment of the stable policy held fixed. Columns as in the table of verdicts; values in the environment named."
    )
    return tidy(rows)[columns], caption, standing, closest_occupancy(frozen.mdp, frozen.mdp.r, regularization)


def simplex_occupancy(mdp):
    """The solution of RPO's problem at λ = 0 by a dual simplex."""
    n, n_actions = mdp.n_states - 1, mdp.n_actions  # the goal, the last state, has no occupancy
    flow = np.repeat(np.eye(n), n_actions, axis=1) - mdp.gamma * mdp.P[:n, :, :n].reshape(n * n_actions, n).T
    result = linprog(-mdp.r[:n].ravel(), A_eq=flow, b_eq=mdp.rho[:n], method="highs-ds")
    if not result.success:
        raise RuntimeError(f"the dual simplex did not converge: {result.message}")
    return np.vstack([result.x.reshape(n, n_actions), np.zeros(n_actions)])


def lambda_zero_table(path, beta):
    """At λ = 0: is each linear program's solution unique, and do two solvers agree?"""
    env, rows = world(beta), []
    for t, d in enumerate(path.occupancies[1:]):
        mdp = env.respond(path.policies[t])
        ranked = np.sort(mdp.action_value(policy_of_occupancy(d))[:-1], axis=-1)
        rows.append({
            "iteration": t + 1, "least visits": float(f"{d.sum(axis=-1)[:-1].min():.3g}"),
            "least lead of the best action": float(f"{(ranked[:, -1] - ranked[:, -2]).min():.2g}"),
            "|interior - simplex| below 1e-6": "yes" if np.abs(d - simplex_occupancy(mdp)).max() < 1e-6 else "no",
        })
    return pd.DataFrame(rows), (
        f"RPO with lambda = 0 (eps = 0.3, beta = {beta:g}, 50 followers): the least discounted visits of a state, the least "
        "lead of a state's best action over the second best, and whether interior point and simplex agree in every entry of d."
    )


def reader(threshold, keep_last=False):
    """How a policy is read from an occupancy where a state is visited less than `threshold`: uniform, or as the last policy."""

    def read(d, last):
        visits = d.sum(axis=-1, keepdims=True)
        seen = visits > threshold
        return np.where(seen, d / np.where(seen, visits, 1.0), last if keep_last else 1.0 / d.shape[-1])

    return read


def unvisited_table(beta, regularization, iterations):
    """RPO from two starts under five rules for states without occupancy."""
    rules = {
        "uniform below 1e-6": reader(1e-6), "uniform below 1e-7": reader(1e-7), "uniform below 1e-8": reader(1e-8),
        "last policy below 1e-8": reader(1e-8, keep_last=True), "last policy below 1e-6": reader(1e-6, keep_last=True),
    }
    sharp, rows = world(beta), []
    for start, policy in {"ε-greedy": sharp.epsilon_greedy_policy(0.1), "uniform": sharp.uniform_policy()}.items():
        for rule, read in rules.items():
            path = retrain(sharp, rpo(regularization), iterations, start=policy, read=read)
            unvisited = int((path.occupancies[-1].sum(axis=-1)[:-1] < 1e-8).sum())
            rows.append({"start": start, "where unvisited": rule} | classify(path) | {"unvisited": unvisited})
    columns = ["start", "where unvisited", "verdict", "iterations", "period", "last change", "value low", "value high", "unvisited"]
    return tidy(rows)[columns], (
        f"RPO at beta = {beta:g}, lambda = {regularization:g} (eps = 0.3, 50 followers) under five rules for states without "
        "occupancy: verdict, iterations, period, last relative change of d, range of the true performative value over the last period, and how many of the 63 states are visited "
        "less than 1e-8 in the last iterate."
    )


def worth_table(verdicts, betas, iterations):
    """What the stable points are worth beside exact PePG from the same start; `betas` by panel and setting. Also PePG's ends by β."""
    ascents = {
        beta: algorithms.pepg(world(beta), policy=world(beta).epsilon_greedy_policy(0.1), iterations=iterations)
        for beta in sorted(set(betas.values()))
    }
    ends = {beta: round(float(run.values[-1]), 4) for beta, run in ascents.items()}
    rows = []
    for row in verdicts.to_dict("records"):
        end = ends[betas[row["panel"], row["setting"]]]
        rows.append({
            "panel": row["panel"], "setting": row["setting"], "start": row["start value"], "low": row["value low"],
            "high": row["value high"], "PePG": end, "PePG - high": end - row["value high"],
            "below its start": "yes" if row["value high"] < row["start value"] else "no",
        })
    caption = (
        "True performative value where retraining ends (its range over the last period), of the epsilon-greedy start, and of exact PePG "
        f"from that start after {iterations} iterations (eps = 0.3, 50 followers)."
    )
    return pd.DataFrame(rows).round(4), caption, ends


def lead_on_draw(draw, beta, iterations):
    """Where PePG ends less where RPO with λ = 0 ends, from the ε-greedy start, on that draw of the followers."""
    env = pepg.Gridworld(eps=EPS, beta=beta, n_followers=FOLLOWERS, seed=draw)
    start = env.epsilon_greedy_policy(0.1)
    retrained = algorithms.repeated_policy_optimization(env, policy=start, iterations=20, regularization=0.0)
    ascended = algorithms.pepg(env, policy=start, iterations=iterations)
    return {"draw": draw, "PePG - RPO": ascended.values[-1] - retrained.values[-1], "last change": max(retrained.shifts[-1], 1e-9)}


def starts_table(settings, count):
    """RPO from several starts at each (λ, β)."""
    rows = []
    for regularization, beta in settings:
        env = world(beta)
        random = env.random_policies(range(count - 2), scale=2.0)
        starts = np.stack([env.epsilon_greedy_policy(0.1), env.uniform_policy(), *random])
        run = algorithms.repeated_policy_optimization(env, policy=starts, iterations=40, regularization=regularization)
        spread = np.abs(run.policies[-1] - run.policies[-1, :1]).max()
        rows.append({
            "λ": regularization, "β": beta, "starts": len(starts), "converged": int((run.shifts[-1] < CONVERGED).sum()),
            "value low": run.values[-1].min().round(4), "value high": run.values[-1].max().round(4),
            "same policy (1e-4)": "yes" if spread < 1e-4 else "no",
        })
    return pd.DataFrame(rows), (
        f"RPO from {count} starting policies (epsilon-greedy, uniform, random; eps = 0.3, 50 followers): how many converge, the range of the "
        "last values, and whether all end at the same policy."
    )


def _draw_panel(ax, curves, panel, quantity, shift=0):
    """The five curves of one panel, light to dark in the colour of the algorithm."""
    part = curves[curves.panel == panel]
    lines = ["-", (0, (5, 1)), (0, (4, 1, 1, 1)), (0, (2, 1)), "-"]
    settings = part.setting.unique()
    tones = figures.shades("RGA" if panel == "c" else "RPO", len(settings))
    for i, (value, color, line) in enumerate(zip(settings, tones, lines)):
        curve = part[part.setting == value].dropna(subset=[quantity])
        ax.plot(curve.iteration + shift, curve[quantity], color=color, linestyle=line, label=f"{value:g}", zorder=3 - 0.1 * i)


SYMBOLS = {"a": r"$\lambda$", "b": r"$\beta$", "c": r"$\eta$"}


def draw_panels(curves, titles):
    """The relative change in a, b and c, and the gap of panel d."""
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 5.4))
    drawn = [("a", "a", "change"), ("b", "b", "change"), ("c", "c", "change"), ("d", "c", "gap")]
    for ax, (tag, panel, quantity) in zip(axes.flat, drawn):
        _draw_panel(ax, curves, panel, quantity, shift=1)
        ax.set(yscale="log", title=f"{tag}  {titles[panel]}", xlabel="iteration $t + 1$", ylim=(4e-10, 3))
        ax.set_ylabel(r"$\|d_{t+1} - d_t\| \,/\, \|d_t\|$" if quantity == "change" else "relative suboptimality gap")
        if quantity == "change":
            ax.axhline(CONVERGED, color=GREY, linewidth=0.8)
        if panel == "c":
            ax.set_xscale("log")
        else:
            ax.legend(title=SYMBOLS[panel], loc="center right")
    handles, labels = axes[1, 1].get_legend_handles_labels()
    figure.legend(handles, labels, title=r"$\eta$ in c and d", loc="outside lower center", ncols=len(labels))
    return figure


def draw_values(curves, titles, ends, last):
    """The true value of each deployed policy in a, b and c; `ends` of PePG by panel."""
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 3.3))
    for ax, panel in zip(axes, "abc"):
        _draw_panel(ax, curves, panel, "value")
        ax.set(title=titles[panel], xlabel="iteration (deployments)", xlim=(0, 60))
        if panel in ends:
            ax.axhline(ends[panel], color=figures.COLORS["PePG"], linestyle="--", label="PePG")
        ax.legend(title=SYMBOLS[panel], loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=3)
    axes[2].set(xscale="symlog", xlim=(0, last))
    axes[0].set_xlim(0, 35)
    axes[0].set_ylabel(r"true value $V^\pi_\pi(\rho)$")
    return figure


# From samples


@dataclass(frozen=True)
class Sampling:
    """The setting of retraining from samples."""

    beta: float
    regularization: float
    horizon: int
    iterations: int
    coverage: float


def guess(env):
    """Transitions (S, 1, S) to each of the cells that some move enters, equally likely."""
    entered = np.zeros((env.n_states, env.n_states))
    for state, cells in enumerate(env.next_state):
        entered[state, cells] = 1.0
    return (entered / entered.sum(axis=-1, keepdims=True))[:, None]


def plug_in(env, samples, seed, setting, known):
    """RPO in the averages over `samples` trajectories of each deployed policy; an unseen pair is guessed, or `known`. The policies."""
    policies = [env.epsilon_greedy_policy(0.1)]
    field = Field(env, policies[0], seed, samples, setting.horizon)
    for _ in range(setting.iterations):
        data = field.deploy(policies[-1]).transitions
        estimate, counts = empirical_mdp(data, field.gamma, field.rho, env.n_actions)
        true = env.respond(policies[-1])
        P, r = (true.P, true.r) if known else (guess(env), data[2].mean())
        P, r = np.where(counts[..., None] > 0, estimate.P, P), np.where(counts > 0, estimate.r, r)
        model = pepg.MDP(P, r, field.gamma, field.rho, true.terminal)
        policies.append(policy_of_occupancy(closest_occupancy(model, r, setting.regularization)))
    return np.array(policies)


def rpo_fs(env, samples, seed, setting):
    return algorithms.repeated_policy_optimization_fs(
        env, policy=env.epsilon_greedy_policy(0.1), iterations=setting.iterations, seed=seed, trajectories=samples,
        horizon=setting.horizon, regularization=setting.regularization, coverage=setting.coverage,
    ).policies


METHODS = {"RPO-FS": rpo_fs, "plug-in": partial(plug_in, known=False), "plug-in, unseen known": partial(plug_in, known=True)}


def from_samples(case, setting, limit):
    """One run: changes of the true occupancy, relative distances to the occupancy `limit`, true values, and actions not taken any more."""
    method, samples, seed = case
    env = world(setting.beta)
    policies = METHODS[method](env, samples, seed, setting)
    mdp = env.respond(policies)
    d = mdp.occupancy(policies)
    unused = (policies[-1][~mdp.terminal] < 1e-6).sum()
    return {
        "shift": relative_change(d[1:], d[:-1]), "distance": relative_change(d, limit), "value": mdp.expected_return(policies),
        "unused": unused,
    }


def stack(runs, method, samples, quantity):
    """(iterations, seeds)"""
    return np.stack([run[quantity] for (m, n, _), run in runs.items() if (m, n) == (method, samples)], axis=-1)


def sample_curves(runs, samples, exact, iterations):
    tables = [
        figures.curves(np.arange(1, iterations + 1), stack(runs, method, m, "shift"), method=method, trajectories=m)
        for method in METHODS for m in samples
    ]
    shifts = np.array([float(f"{max(x, 1e-9):.3g}") for x in exact.shifts[:iterations]])
    tables.append(figures.curves(np.arange(1, len(shifts) + 1), shifts[:, None], method="exact RPO", trajectories=0))
    return pd.concat(tables)


def tails(runs, samples, last):
    """Means over the last iterations, (samples, seeds) by method and quantity."""
    return {
        (method, quantity): np.array([stack(runs, method, m, quantity)[-last:].mean(axis=0) for m in samples])
        for method in METHODS for quantity in ("shift", "distance", "value")
    }


def plateau_table(runs, tail, samples, setting, last, seeds):
    rows = []
    for method in METHODS:
        for i, m in enumerate(samples):
            row = {"method": method, "samples": m}
            for quantity, name in (("shift", "plateau"), ("distance", "distance to exact"), ("value", "true value")):
                mean, low, high = figures.mean_interval(tail[method, quantity][i])
                row |= {name: mean, f"{name} low": low, f"{name} high": high}
            row["unused"] = np.mean([run["unused"] for (name, count, _), run in runs.items() if (name, count) == (method, m)])
            rows.append(row)
    return pd.DataFrame(rows).round(4), (
        f"Retraining from samples (eps = {EPS:g}, beta = {setting.beta:g}, {FOLLOWERS} followers, lambda = {setting.regularization:g}, epsilon-greedy start, "
        f"{setting.iterations} iterations, trajectories of at most {setting.horizon} steps): the relative change of the true occupancy, its relative distance to that of exact RPO's "
        f"fixed point and the true performative value, means over the last {last} iterations with 95 % Student t intervals over {seeds} seeds; and the actions "
        "(of 252) that the last policy takes with a probability below 1e-6, mean over seeds."
    )


def slope_table(tail, samples, seeds):
    """Slopes in the logarithm of the number of trajectories, from all of them and from the upper half."""

    def slopes(values, first):
        x = np.log(samples[first:]) - np.log(samples[first:]).mean()
        return figures.mean_interval(x @ np.log(values[first:]) / (x @ x)) if len(x) > 1 else 3 * (np.nan,)

    rows = []
    for method in METHODS:
        for first in (0, len(samples) // 2):
            row = {"method": method, "m from": samples[first], "m to": samples[-1]}
            for quantity, name in (("shift", "plateau"), ("distance", "distance")):
                mean, low, high = slopes(tail[method, quantity], first)
                row |= {f"{name} slope": mean, f"{name} low": low, f"{name} high": high}
            rows.append(row)
    return pd.DataFrame(rows).round(3), (
        "Slopes in the logarithm of the number of trajectories: of the logarithm of the plateau, and of that of the distance to exact RPO's fixed point, "
        f"with 95 % Student t intervals over {seeds} seeds (setting as above). Averages of independent samples would give -0.5."
    )


def draw_samples(curves, plateaus, samples):
    """The change of the occupancy per iteration in two methods, and the plateau against the number of trajectories."""
    looks = {"RPO-FS": ("o", figures.COLORS["RPO-FS"], "-"), "plug-in": ("s", GREY, "-"), "plug-in, unseen known": ("^", GREY, ":")}
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.5))
    for ax, method in zip(axes, ("RPO-FS", "plug-in")):
        for m, color in zip(samples, figures.shades(looks[method][1], len(samples))):
            curve = curves[(curves.method == method) & (curves.trajectories == m)]
            figures.draw_curve(ax, curve, method, label=f"{m}", color=color, linestyle="-")
        figures.draw_curve(ax, curves[curves.method == "exact RPO"], "RPO", label="exact")
        ax.set(title=method, xlabel="iteration (deployments)", ylim=(0, 1))
        spacing = {"handlelength": 1.0, "columnspacing": 0.7, "handletextpad": 0.4}
        ax.legend(title="trajectories $m$", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, **spacing)
    axes[0].set_ylabel("relative change of the occupancy")
    for method, part in plateaus.groupby("method", sort=False):
        marker, color, line = looks[method]
        errors = [part.plateau - part["plateau low"], part["plateau high"] - part.plateau]
        look = {"color": color, "marker": marker, "linestyle": line, "markersize": 4, "capsize": 2, "linewidth": 1.2}
        axes[2].errorbar(part.samples, part.plateau, errors, label=method, **look)
    axes[2].set(xscale="log", yscale="log", xlabel="trajectories per deployment $m$", ylabel="plateau of the change", title="Plateau")
    axes[2].set_xticks(samples, labels=samples)
    axes[2].set_yticks([0.1, 0.2, 0.4, 0.8], labels=["0.1", "0.2", "0.4", "0.8"])
    axes[2].minorticks_off()
    axes[2].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def game(mdp, bound, regularization, rounds, delta, every_round=False, grounded=False):
    """The mean of d's best responses to the regularised leader among h.

    every_round : ρ enters in every round and not once · grounded : h is 0 at a terminal state
    """
    radius = 3 * mdp.n_states / (1 - mdp.gamma) ** 2
    linear = np.zeros(mdp.n_states) if every_round else mdp.rho.copy()
    total = np.zeros_like(bound)
    for _ in range(rounds):
        h = -linear / (2 * delta)
        h = h * min(1.0, radius / max(np.linalg.norm(h), 1e-12))
        if grounded:
            h = np.where(mdp.terminal, 0.0, h)
        d = np.clip((mdp.r - h[:, None] + mdp.gamma * mdp.P @ h) / regularization, 0.0, bound)
        linear = linear - d.sum(axis=-1) + mdp.gamma * np.einsum("sa,sat->t", d, mdp.P) + (mdp.rho if every_round else 0.0)
        linear = linear.round(5)  # the rounds are chaotic: a last digit of the BLAS must not grow
        total += d
    return total / rounds


VARIANTS = {
    "released": {}, "ρ every round": {"every_round": True}, "and h(terminal) = 0": {"every_round": True, "grounded": True},
}


def game_table(beta, coverage, lambdas, deltas, all_rounds):
    """The game on ideal data against the QP that is its saddle point; also the QP's values and sums by λ."""
    env = world(beta)
    played = env.uniform_policy()
    mdp = env.respond(played)
    bound = coverage * mdp.occupancy(played)
    rows, solved = [], []
    for regularization in lambdas:
        solution = closest_occupancy(mdp, mdp.r, regularization, bound)
        solved.append({"λ": regularization, "value": mdp.expected_return(policy_of_occupancy(solution)), "mass": solution.sum()})
        for delta, rounds in ((delta, rounds) for delta in deltas for rounds in all_rounds):
            ends = {name: game(mdp, bound, regularization, rounds, delta, **options) for name, options in VARIANTS.items()}
            row = {"λ": regularization, "δ": delta, "rounds": rounds}
            row |= {f"error, {name}": relative_change(d, solution) for name, d in ends.items()}
            row |= {f"value, {name}": mdp.expected_return(policy_of_occupancy(d)) for name, d in ends.items()}
            rows.append(row | {f"mass, {name}": d.sum() for name, d in ends.items()})
    caption = (
        f"The game of h and d on ideal data of the uniform policy's environment held fixed (eps = {EPS:g}, beta = {beta:g}, {FOLLOWERS} followers, B = {coverage:g}): relative error of the "
        "mean of the d against the QP's solution, value of its policy in that environment, and sum of its entries; as released, with rho in every round, and with h(terminal) = 0 besides."
    )
    return pd.DataFrame(rows).round(3), caption, pd.DataFrame(solved).round(4).set_index("λ")


# Gradually shifting environments

e, f, h = -0.01, -0.02, -0.5
SMALL_GRID = np.array([[e, e, e, e], [e, f, e, h], [e, e, h, h], [e, f, e, 1.0]])  # of Rank et al.


@dataclass(frozen=True, eq=False)
class OneFollower(pepg.Gridworld):
    """The gridworld with the follower of that number alone."""

    follower: int = 0

    @property
    def follower_grids(self):
        return pepg.Gridworld(self.eps, n_followers=self.follower + 1, grid=self.grid).follower_grids[-1:]


def small_world(seed, **options):
    return OneFollower(**{"eps": EPS, "beta": 1.0, "n_followers": 1, "grid": SMALL_GRID, "follower": seed} | options)


def settling(env, w, k, v, regularization, first=None, deployments=100):
    """Deployments until the occupancy is within 1 % of exact RPO's fixed point for three retrainings; no sampling. MDRR where v is given.

    first : the environment from which agent 2 starts, that of its response where None
    """
    policy = env.uniform_policy()
    mdp = (first or env).respond(policy)
    goal = algorithms.repeated_policy_optimization(env, policy=policy, iterations=40, regularization=regularization).policy
    goal = env.respond(goal).occupancy(goal)
    shares = np.eye(1, k, k - 1)[0] if v is None else v ** np.arange(float(k)) / (v ** np.arange(float(k))).sum()
    away = []
    for _ in range(deployments // k):
        met = []
        for _ in range(k):
            target = env.respond(policy)
            away.append(relative_change(target.occupancy(policy), goal))
            mdp = pepg.MDP((1 - w) * mdp.P + w * target.P, (1 - w) * mdp.r + w * target.r, mdp.gamma, mdp.rho, mdp.terminal)
            met.append(mdp)
        P, r = (np.tensordot(shares, [getattr(m, name) for m in met], axes=1) for name in ("P", "r"))
        mixed = pepg.MDP(P, r, mdp.gamma, mdp.rho, mdp.terminal)
        policy = policy_of_occupancy(closest_occupancy(mixed, r, regularization))
        if max(away[-3 * k :]) < 0.01 and len(away) > 3 * k:
            return len(away) - int(np.argmax(np.array(away[::-1]) > 0.01))
    return np.nan


LAG_PLANS = {"RR": (1, None), "DRR, k = 3": (3, None), "MDRR, k = 3": (3, 1.1), "DRR, k = 10": (10, None), "MDRR, k = 10": (10, 1.1)}


def lag_case(case, regularization):
    grid, never, w, (k, v) = case
    make = partial(small_world, 0) if grid == "4x4" else pepg.Gridworld
    return settling(make(), w, k, v, regularization, first=make(cost=1e4) if never else None)  # nobody pays 10^4


def lag_table(parallel, grids, shares, regularization):
    """Without sampling: deployments until settled, by grid, by where agent 2 starts, and by w."""
    rows = [(grid, never, w) for grid in grids for never in (False, True) for w in shares]
    cases = [(*row, plan) for row in rows for plan in LAG_PLANS.values()]
    counts = parallel(partial(lag_case, regularization=regularization), cases)
    table = pd.DataFrame(rows, columns=["grid", "agent 2 at first", "w"]).replace({False: "at rest", True: "never intervenes"})
    table[list(LAG_PLANS)] = np.reshape(counts, (len(rows), len(LAG_PLANS)))
    return table, (
        f"Without sampling: deployments until the true occupancy stays within 1 % of exact RPO's fixed point (uniform start, lambda = {regularization:g}; MDRR with v = 1.1; empty where not in 100). 4x4: one "
        f"follower, eps = {EPS:g}, beta = 1; 8x8: 50 followers, eps = 0.5, beta = 5."
    )


def bend(env, regularization):
    """The largest share of a transition's probability that exact RPO's fixed point moves, against the uniform policy."""
    policy = env.uniform_policy()
    goal = algorithms.repeated_policy_optimization(env, policy=policy, iterations=20, regularization=regularization).policy
    return 0.5 * np.abs(env.respond(goal).P - env.respond(policy).P).sum(axis=-1).max()


def plan_name(kind, k, v):
    return kind + (f", k = {k}" if kind != "RR" else "") + (f", v = {v:g}" if kind == "MDRR" else "")


def _shifting_run(env, kind, k, v, **options):
    if kind == "RR":
        return algorithms.repeated_policy_optimization_fs(env, **options)
    if kind == "DRR":
        return algorithms.delayed_repeated_retraining(env, **options, k=k)
    return algorithms.mixed_delayed_repeated_retraining(env, **options, k=k, v=v)


def shifting_case(case, regularization, coverage):
    """One run by deployments: what the policy then deployed is worth, and how far it is from two occupancies.

    case : (kind, k, v), w, seed, (grid, trajectories, deployments, horizon)
    """
    (kind, k, v), w, seed, (grid, trajectories, deployments, horizon) = case
    env = small_world(seed) if grid == "4x4" else pepg.Gridworld()
    run = _shifting_run(
        env, kind, k, v, policy=env.uniform_policy(), iterations=deployments // k, seed=seed, trajectories=trajectories,
        horizon=horizon, regularization=regularization, coverage=coverage, w=w,
    )
    d = env.respond(run.policies).occupancy(run.policies)
    goal = algorithms.repeated_policy_optimization(env, policy=run.policies[0], iterations=20, regularization=regularization)
    goal_d = env.respond(goal.policy).occupancy(goal.policy)
    at = np.searchsorted(run.deployments, np.arange(run.deployments[-1] + 1), side="right") - 1
    at = np.append(at, np.full(deployments + 1 - len(at), at[-1]))
    return {
        "distance": np.linalg.norm(d - d[-5:].mean(axis=0), axis=(-2, -1))[at], "value": run.values[at],
        "lead": run.values[at] - goal.values[-1], "from exact": relative_change(d, goal_d)[at],
    }


@dataclass(frozen=True)
class Shifting:
    """The runs of notebook 15c: by (plan, w, seed, scale), with the seeds of each scale."""

    runs: dict
    seeds: dict

    def stacked(self, plan, w, scale, quantity):
        """(deployments + 1, seeds)"""
        return np.stack([self.runs[plan, w, seed, scale][quantity] for seed in range(self.seeds[scale])], axis=-1)

    def curves(self, groups):
        tables = []
        for plan, w, scale in groups:
            for quantity in ("distance", "value", "lead", "from exact"):
                labels = {"grid": scale[0], "trajectories": scale[1], "algorithm": plan_name(*plan), "w": w, "quantity": quantity}
                values = self.stacked(plan, w, scale, quantity)
                tables.append(figures.curves(np.arange(scale[2] + 1), values, "deployments", **labels))
        return pd.concat(tables)

    def summary(self, plan, w, scale):
        """By seed: early and late distance to the own last iterates, value and distance from exact at the end."""
        third = scale[2] // 3
        return {
            "early": self.stacked(plan, w, scale, "distance")[1 : third + 1].mean(axis=0),
            "late": self.stacked(plan, w, scale, "distance")[third + 1 : 2 * third + 1].mean(axis=0),
            "value": self.stacked(plan, w, scale, "value")[-third:].mean(axis=0),
            "from exact": self.stacked(plan, w, scale, "from exact")[-third:].mean(axis=0),
        }

    def level_table(self, groups, counts):
        rows = []
        for plan, w, scale in groups:
            row = {"grid": scale[0], "trajectories": scale[1], "w": w, "algorithm": plan_name(*plan)}
            for name, values in self.summary(plan, w, scale).items():
                mean, low, high = figures.mean_interval(values)
                row |= {name: mean, f"{name} ±": high - mean}
            rows.append(row)
        return pd.DataFrame(rows).round(4), (
            "Retraining in gradually shifting environments (setting as in the figure; 8x8: eps = 0.5, beta = 5, 50 followers): mean distance to the run's own last iterates in the first and second third of the "
            "deployments, true value and relative distance to exact RPO's fixed point in the last third, with the half-widths of 95 % Student t intervals over "
            f"{counts[0]} seeds ({counts[1]} with {counts[2]} trajectories, {counts[3]} in the 8x8 grid)."
        )

    def paired_table(self, pairs, between, base, slow, fast):
        """Differences over common seeds with intervals: `pairs` of (label, plan, plan, w, scale), and between two w of those in `between`."""
        rows = []

        def differences(a, b, w, scale):
            one, other = self.summary(a, w, scale), self.summary(b, w, scale)
            return {name: one[name] - other[name] for name in one}

        def add(label, values):
            for name, x in values.items():
                mean, low, high = figures.mean_interval(x)
                label = label | {name: round(mean, 4), f"{name} low": round(low, 4), f"{name} high": round(high, 4)}
                label |= {f"{name} p": stats.ttest_1samp(x, 0.0).pvalue}
            rows.append(label)

        for claim, a, b, w, scale in pairs:
            label = {"grid": scale[0], "trajectories": scale[1], "w": f"{w:g}", "difference": claim}
            add(label, differences(a, b, w, scale))
        for claim, a, b in between:
            less, more = differences(a, b, slow, base), differences(a, b, fast, base)
            label = {"grid": base[0], "trajectories": base[1], "w": f"{slow:g} - {fast:g}", "difference": claim}
            add(label, {name: less[name] - more[name] for name in less})
        return pd.DataFrame(rows), (
            "Paired differences over common seeds with 95 % Student t intervals and their p values: distance to the run's own last iterates early and late, true value, and distance to exact RPO's fixed point (settings as in the "
            "table before). The last two rows are differences between the two w of the difference named."
        )


def holm(p):
    """Adjusted p values (Holm 1979): below α with a chance of at most α that any of all true null hypotheses is rejected."""
    p = np.asarray(p)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def paired_row(paired, difference, w, scale):
    """The row of :meth:`Shifting.paired_table` for a difference at one w."""
    keep = (paired.difference == difference) & (paired.w == (w if isinstance(w, str) else f"{w:g}"))
    return paired[keep & (paired.grid == scale[0]) & (paired.trajectories == scale[1])].iloc[0]


def finding(paired, text, difference, name, ws, scale, adjusted, published):
    """A statement and the differences that it expects to be below zero: holds, the reverse, in part, or not shown.

    adjusted : the p value of each difference, one for each of `ws`, corrected for the number of all
    """
    said = []
    for w, p in zip(ws, adjusted):
        row = paired_row(paired, difference, w, scale)
        mean, low, high = row[name], row[f"{name} low"], row[f"{name} high"]
        says = "no difference shown" if p >= 0.05 else "lower" if mean < 0 else "higher"
        said.append(f"{says} ({mean:+.2f} [{low:+.2f}, {high:+.2f}], p = {p:.2g})")
    lower, higher = (sum(x.startswith(word) for x in said) for word in ("lower", "higher"))
    if lower and higher:
        verdict = "both ways"
    elif lower or higher:
        verdict = ("holds" if lower else "the reverse holds") + ("" if lower + higher == len(said) else " in part")
    else:
        verdict = "not shown"
    evidence = "; ".join(f"w = {w if isinstance(w, str) else format(w, 'g')}: {x}" for w, x in zip(ws, said))
    source = "abstract" if published else "no"
    setting = f"{scale[0]}, {scale[1]} trajectories"
    return {"statement": text, "published": source, "setting": setting, "verdict": verdict, "difference": evidence}


def findings_table(paired, shares, base, more, large):
    """The statements on delayed retraining, each with its verdict."""
    fast, slow = shares
    both, small, between = tuple(shares), (slow,), (f"{slow:g} - {fast:g}",)
    rr, drr = "MDRR - RR, k = 3", "MDRR - DRR, k = 3"
    asked = [  # statement, difference, quantity, w, scale
        *(("MDRR converges faster than RR (k = 3, early)", rr, "early", w, scale) for w, scale in ((both, base), (small, more), (small, large))),
        *(("MDRR converges faster than DRR (k = 3, early)", drr, "early", w, scale) for w, scale in ((both, base), (small, more), (small, large))),
        ("MDRR converges faster than DRR (k = 10, early)", "MDRR - DRR, k = 10", "early", both, base),
        ("the more so for small w: against RR", rr, "early", between, base),
        ("the more so for small w: against DRR", drr, "early", between, base),
        *(("MDRR ends less noisy than RR (k = 3, late)", rr, "late", w, scale) for w, scale in ((both, base), (small, more))),
        *(("MDRR ends less noisy than DRR (k = 3, late)", drr, "late", w, scale) for w, scale in ((both, base), (small, more))),
        ("MDRR ends less noisy than DRR (k = 10, late)", "MDRR - DRR, k = 10", "late", both, base),
        ("MDRR: larger k, faster (early)", "MDRR, k = 10 - k = 3", "early", both, base),
        ("MDRR: larger k, less noise (late)", "MDRR, k = 10 - k = 3", "late", both, base),
        ("DRR: larger k, less noise (late)", "DRR, k = 10 - k = 3", "late", both, base),
        ("MDRR: larger v, faster (early)", "MDRR, k = 5, v = 1.8 - 1.1", "early", (fast,), base),
        ("MDRR: larger v, less noise (late)", "MDRR, k = 5, v = 1.8 - 1.1", "late", (fast,), base),
    ]
    published = ("converges faster", "small w")  # what the abstract speaks of
    p = [paired_row(paired, difference, w, scale)[f"{name} p"] for _, difference, name, ws, scale in asked for w in ws]
    adjusted = iter(holm(p))
    rows = [finding(paired, *row, [next(adjusted) for _ in row[3]], any(words in row[0] for words in published)) for row in asked]
    return pd.DataFrame(rows), (
        "Statements on delayed retraining, those of the abstract of Rank et al. and some that their figures ask about. Paired differences of the distance to the run's own last iterates over common "
        f"seeds: mean, 95 % Student t interval, and p value corrected for the {len(p)} differences together (Holm). A statement holds where every difference is below zero at 5 %, its reverse where every one is above, in part where some are."
    )


def curve_of(curves, plan, w, quantity, scale):
    keep = (curves.algorithm == plan_name(*plan)) & (curves.w == w) & (curves.quantity == quantity)
    return curves[keep & (curves.grid == scale[0]) & (curves.trajectories == scale[1])]


def reach_table(curves, plans, shares, levels, scale, seeds):
    """Deployments until the mean distance to the own last iterates is at or below a level for the first time."""
    rows = []
    for w in shares:
        for level in levels:
            row = {"w": w, "level": level}
            for plan in plans:
                below = curve_of(curves, plan, w, "distance", scale)
                below = below[below["mean"] <= level]
                row[plan_name(*plan)] = below.deployments.min() if len(below) else np.nan
            rows.append(row)
    return pd.DataFrame(rows), (
        f"Deployments until the mean distance to the run's own last iterates over {seeds} seeds is at or below the level for the first time (4x4 grid, {scale[1]} trajectories, setting as above)."
    )


def _draw_columns(curves, columns):
    """Distance to the own last iterates above value less exact RPO's, a column a (title, w, scale, looks of the plans)."""
    figure, axes = plt.subplots(2, len(columns), figsize=(1.2 + 2.5 * len(columns), 5.2), sharey="row")
    for column, (title, w, scale, looks) in zip(axes.T, columns):
        for ax, quantity in zip(column, ("distance", "lead")):
            for plan, (name, color, line) in looks.items():
                curve = curve_of(curves, plan, w, quantity, scale)
                figures.draw_curve(ax, curve, name, "deployments", plan_name(*plan), color, line)
        column[0].set_title(title)
        column[1].set_xlabel("deployments")
    axes[0, 0].set(yscale="log", ylabel="distance to own last iterates")
    axes[1, 0].set(ylim=(-0.03, 0.04), ylabel="true value less exact RPO's")
    return figure, axes


def draw_shifting(curves, columns):
    """Columns of the same plans, with exact RPO's value as a line."""
    figure, axes = _draw_columns(curves, columns)
    for ax in axes[1]:
        ax.axhline(0.0, color=figures.COLORS["RPO"], linewidth=1, label="exact RPO")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def draw_mixing(curves, columns):
    """Columns of different plans, each with its own key."""
    figure, axes = _draw_columns(curves, columns)
    for ax in axes[1]:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure
