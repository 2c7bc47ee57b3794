"""For notebook 14: how accurate the estimates are, and its four figures."""

import matplotlib.pyplot as plt
import numpy as np

import pepg
from pepg import figures
from pepg.algorithms.run import Field, drawn
from pepg.data import (
    LearnedResponse, estimated_value, mean_gradient_estimate, mean_policy_score, sample_trajectories, temporal_differences,
)
from pepg.experiments import plus_minus
from pepg.mdp import to_logits


def claim_difference(out, what, interval, stated, verdict):
    """Claim a difference as the text has it, "0.0062 ± 0.0012" (or "" where no number is told), and its interval's verdict."""
    for name, measured, number in zip(("mean", "half-width"), plus_minus(interval), stated.split(" ± ") if stated else ()):
        out.claim(f"{what}, {name}", measured, number)
    out.claim(f"{what}, by its interval", interval[1:], verdict)


# Accuracy


def relative_errors(env, here, trajectories, horizon, repeats):
    """Root mean square error of the policy's and the environment's part of the sampled gradient, over the norm of each.

    here : the Deployment at whose policy `repeats` deployments are sampled
    """
    rng = np.random.default_rng(trajectories)
    exact = here.policy_part, here.environment_part(env)
    errors = []
    for _ in range(repeats):
        paths = sample_trajectories(here.mdp, here.policy, trajectories, horizon, rng)
        weights = temporal_differences(paths, estimated_value(paths, env.gamma, np.zeros(env.n_states)), env.gamma)
        by_policy = mean_policy_score(here.policy, paths, weights, env.gamma)[0]
        by_environment = mean_gradient_estimate(env, here.policy, paths, weights) - by_policy
        errors.append([((e - x) ** 2).sum() for e, x in zip((by_policy, by_environment), exact)])
    return np.sqrt(np.mean(errors, axis=0)) / [np.linalg.norm(x) for x in exact]


def cosine(a, b):
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def starts(env, start, repeats):
    """(repeats, S, A): near-uniform policies with the seeds 0, 1, ..., or the ε-greedy one each time."""
    if start == "near-uniform":
        return env.random_policies(range(repeats))
    return np.broadcast_to(env.epsilon_greedy_policy(0.1), (repeats, env.n_states, env.n_actions))


def accuracy(case, deployments, repeats, trajectories, horizon):
    """The environment's part by a learned response: its cosine with the exact one, (len(deployments), repeats).

    case : setting, start, exploration. The response is learned from deployments of the start with N(0, exploration²) on its logits; the
    gradient is taken at the start itself, for the exact occupancy and value. The repeats run side by side.
    """
    setting, start, exploration = case
    env = pepg.Gridworld(*setting)
    policies = starts(env, start, repeats)
    here = [pepg.deploy(env, policy) for policy in policies]
    exact = [one.environment_part(env) for one in here]
    field = Field(env, policies, range(2000, 2000 + repeats), trajectories, horizon)
    models = [LearnedResponse(env.n_states, env.n_actions, memory=1.0) for _ in range(repeats)]
    found = []
    for count in range(1, max(deployments) + 1):
        noise = drawn(field.rng, lambda rng: rng.normal(size=policies.shape[1:]))
        noisy = pepg.softmax(np.log(policies) + exploration * noise)
        for model, policy, paths in zip(models, noisy, field.deploy(noisy).runs()):
            model.observe(policy, paths)
        if count in deployments:
            learned = [model.gradient(one.occupancy, env.gamma * one.value) for model, one in zip(models, here)]
            found.append([cosine(to_logits(one.policy, g), x) for one, g, x in zip(here, learned, exact)])
    return np.array(found)


def ceiling(setting, start, repeats):
    """The cosine of the local part with the exact one, averaged over the same starts."""
    env = pepg.Gridworld(*setting)
    here = [pepg.deploy(env, policy) for policy in starts(env, start, repeats if start == "near-uniform" else 1)]
    return float(np.mean([cosine(local_part(env, one), one.environment_part(env)) for one in here]))


def local_part(env, here, step=1e-4):
    """The environment's part when every state's response reacts to the logits in that state alone, by central differences."""
    s = np.arange(env.n_states)
    gradient = np.empty(here.policy.shape)
    for a in range(env.n_actions):
        logits = np.repeat(np.log(here.policy)[None], env.n_states, axis=0)  # the s-th differs in state s
        nudge = np.zeros_like(logits)
        nudge[s, s, a] = step
        up, down = env.respond(pepg.softmax(logits + nudge)), env.respond(pepg.softmax(logits - nudge))
        worth = (up.r - down.r)[s, s] + env.gamma * (up.P - down.P)[s, s] @ here.value
        gradient[:, a] = (here.occupancy * worth).sum(axis=-1) / (2 * step)
    return gradient


# Figures

VALUE = r"true performative value $V^\pi_\pi(\rho)$"


def draw_main(table, limits):
    """Value against deployments and against samples, a row a start; dotted the limits of exact gradients."""
    methods, starts_ = table.method.unique(), table.start.unique()
    figure, axes = plt.subplots(2, 2, figsize=(7.4, 5.6), sharey="row")
    units = {"deployments": ("deployments", 1), "samples": ("transitions sampled (thousands)", 1000)}
    for row, start in zip(axes, starts_):
        for ax, (unit, (label, size)) in zip(row, units.items()):
            for method in methods:
                part = table[(table.method == method) & (table.start == start) & (table.unit == unit)]
                figures.draw_curve(ax, part.assign(spent=part.spent / size), method, x="spent")
            for limit in limits[limits.start == start].itertuples():
                ax.axhline(limit.value, color=figures.COLORS[limit.method], lw=0.8, ls=":")
            ax.set(title=f"{start} start", xlabel=label)
            ax.set_xlim(left=0)
    axes[0, 0].set_ylim(-0.29, -0.05)
    axes[1, 0].set_ylim(-0.155, -0.055)
    for ax in axes[:, 0]:
        ax.set_ylabel(VALUE)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=7, columnspacing=1.2)
    return figure


def _bars(ax, part, x, color, line, label):
    errors = [part["mean"] - part.low, part.high - part["mean"]]
    ax.errorbar(x, part["mean"], errors, color=color, linestyle=line, marker="o", ms=3, capsize=2, lw=1.4, label=label)


def _beside(x, index, count, width=0.12):
    """Places beside x on a logarithmic axis, so that intervals do not cover each other."""
    return x * np.exp(width * (index - (count - 1) / 2))


def draw_trajectories(table, limits, deployments):
    """Value after the last deployment against the trajectories of each; dotted `limits` {method: value}."""
    figure, ax = plt.subplots(figsize=(5.2, 3.4))
    methods, levels = table.method.unique(), table.trajectories.unique()
    for i, method in enumerate(methods):
        part = table[table.method == method]
        x = _beside(part.trajectories, i, len(methods), 0.04)
        _bars(ax, part, x, figures.COLORS[method], figures.LINES[method], method)
    ax.set_xscale("log")
    ax.set_xlim(levels[0] * 0.8, levels[-1] * 1.25)
    for name, value in limits.items():
        ax.axhline(value, color=figures.COLORS[name], lw=0.8, ls=":")
        ax.text(levels[0] * 0.83, value, f"exact {name}", color=figures.COLORS[name], fontsize=7, va="bottom")
    ax.set_xticks(levels, levels)
    ax.minorticks_off()
    ax.set(xlabel="trajectories a deployment", ylabel=f"true value after {deployments} deployments")
    ax.legend(loc="lower right", ncols=2)
    return figure


def draw_strong(table):
    """Value against deployments, a panel a start."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)
    for ax, start in zip(axes, table.start.unique()):
        for method in table.method.unique():
            figures.draw_curve(ax, table[(table.method == method) & (table.start == start)], method, x="deployments")
        ax.set(title=f"{start} start", xlabel="deployments")
    axes[0].set(ylabel=VALUE, ylim=(-0.25, 0.0))
    axes[1].legend(loc="lower right")
    return figure


def draw_response(table, settings):
    """Cosines against deployments, a panel a setting; dashed each start's ceiling."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.1), sharey=True)
    colors = {"near-uniform": figures.COLORS["PePG"], "ε-greedy": figures.COLORS["PG"]}
    counts = table.deployments.unique()
    for ax, setting in zip(axes, settings):
        curves = table[table.setting == str(setting)].groupby(["start", "exploration"], sort=False)
        for i, ((start, noise), part) in enumerate(curves):
            line = "-" if noise == table.exploration.max() else (0, (1, 1))
            _bars(ax, part, _beside(part.deployments, i, len(curves), 0.07), colors[start], line, f"{start}, noise {noise:g}")
            ax.axhline(part.ceiling.iloc[0], color=colors[start], lw=0.8, ls=(0, (6, 3)))
        ax.set(title=f"ε = {setting[0]:g}, β = {setting[1]:g}, {setting[2]} followers", xlabel="deployments", xscale="log")
        ax.set_xticks(counts, counts)
        ax.minorticks_off()
    axes[0].set(ylabel="cosine with the exact part", ylim=(-0.45, 1.05))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
