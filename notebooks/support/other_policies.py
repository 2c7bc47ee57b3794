"""For notebook 22: classes of policies on the gridworld's board, and the best of a class on small worlds."""

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np

import pepg
from pepg import algorithms, figures
from pepg.experiments import mean_interval, paired_difference
from pepg.policies import FunctionPolicy, LogLinear, Tabular


def tiles(env, n):
    """Log-linear policies on n x n tiles of the board: a feature for each tile and action."""
    rows, columns = env.grid.shape
    row, column = np.divmod(np.arange(env.n_states), columns)
    tile = np.eye(n * n)[row * n // rows * n + column * n // columns]
    return by_action(tile, env.n_actions)


def rows_and_columns(env):
    """Log-linear policies on the number of the row and that of the column: a feature for each and action."""
    rows, columns = env.grid.shape
    row, column = np.divmod(np.arange(env.n_states), columns)
    return by_action(np.concatenate([np.eye(rows)[row], np.eye(columns)[column]], axis=-1), env.n_actions)


def by_action(features, n_actions):
    """Features of a state (S, m), for each action by itself: (S, A, m A)."""
    each = np.einsum("sm,ab->samb", features, np.eye(n_actions))
    return LogLinear(each.reshape(*each.shape[:2], -1))


def network(env, width):
    """One layer of `width` tanh units above the coordinates of a cell in [-1, 1], and a softmax over the moves."""
    places = 2.0 * np.argwhere(np.ones(env.grid.shape)) / (np.array(env.grid.shape) - 1) - 1.0
    inputs = np.column_stack([places, np.ones(env.n_states)])
    cut, n_actions = 3 * width, env.n_actions

    def function(parameters):
        hidden = anp.tanh(anp.dot(inputs, anp.reshape(parameters[:cut], (3, width))))
        logits = anp.dot(hidden, anp.reshape(parameters[cut:], (width, n_actions)))
        weights = anp.exp(logits - anp.max(logits, axis=1, keepdims=True))
        return weights / anp.sum(weights, axis=1, keepdims=True)

    return FunctionPolicy(function, env.n_states, n_actions, cut + width * n_actions)


def random_features(env, k, seeds):
    r"""Log-linear policies on k features drawn from :math:`N(0, 1/k)`, others for each seed: those of the released program up to a factor."""
    shape = (env.n_states, env.n_actions, k)
    return LogLinear(np.array([np.random.default_rng(1000 + seed).normal(0.0, k**-0.5, shape) for seed in seeds]))


def classes(env, seeds, tiled, random, widths):
    """The classes by name, tabular last among those that are linear: {(kind, size): policies}."""
    made = {("tiles", f"{n} x {n}"): tiles(env, n) for n in tiled}
    made |= {("tiles", "rows + columns"): rows_and_columns(env), ("tiles", "tabular"): Tabular(env.n_states, env.n_actions)}
    made |= {("random features", f"{k}"): random_features(env, k, seeds) for k in random}
    return made | {("network", f"width {width}"): network(env, width) for width in widths}


def starts(policies, seeds, scale):
    """Parameters, one draw a seed, of policies whose logits have a standard deviation of about `scale` in each class."""
    if isinstance(policies, Tabular):
        return policies.random_parameters(seeds, scale)
    if isinstance(policies, LogLinear):
        norm = np.sqrt((policies.features**2).sum(axis=-1).mean())
        return policies.random_parameters(seeds, scale / norm)
    width = policies.n_parameters // (3 + policies.n_actions)
    theta = policies.random_parameters(seeds, 1.0)
    theta[:, 3 * width :] *= scale / width**0.5  # a layer that tells cells apart, and outputs of the size asked for
    return theta


def ascents(env, policies, theta, iterations):
    """The runs of PG and of PePG from the same parameters."""
    options = {"policies": policies, "parameters": theta, "iterations": iterations}
    return {"PG": algorithms.policy_gradient(env, **options), "PePG": algorithms.pepg(env, **options)}


def continued(env, policies, run, iterations):
    """By how much PePG ends above PG, both going on from the end of a run: (n,)."""
    onwards = {"policies": policies, "parameters": run.parameters[-1], "iterations": iterations}
    return algorithms.pepg(env, **onwards).values[-1] - algorithms.policy_gradient(env, **onwards).values[-1]


def difference_error(env, policies, theta, width=1e-6):
    """The slope of the value along the gradient in the parameters, against a central difference of it: relative."""
    gradient = policies.gradient(theta, pepg.deploy(env, policies.policy(theta)), env)
    axes = tuple(range(1, theta.ndim))
    direction = gradient / np.sqrt((gradient**2).sum(axis=axes, keepdims=True))
    high, low = (pepg.performative_value(env, policies.policy(theta + h * direction)) for h in (width, -width))
    return np.abs((high - low) / (2.0 * width) / (gradient * direction).sum(axis=axes) - 1.0).max()


def reached(runs, names):
    """A row of the table of one class, named by `names`: values at the end and the gain of PePG, with their intervals."""
    row = dict(names)
    ends = {name: run.values[-1] for name, run in runs.items()}
    for name, values in ends.items():
        mean, low, high = mean_interval(values)
        row |= {name: mean, f"{name} low": low, f"{name} high": high}
    gain, low, high = paired_difference(ends["PePG"], ends["PG"])
    above = int((ends["PePG"] > ends["PG"] + 1e-9).sum())
    return row | {"gain": gain, "gain low": low, "gain high": high, "starts above": above}


# Two states, two actions


def shared():
    """Log-linear policies with one parameter: the same policy in both states, from never action 1 to always."""
    return LogLinear(np.broadcast_to([[[-0.5], [0.5]]], (2, 2, 1)))


def one_random_feature(count, seed):
    """Log-linear policies with one parameter, and random features in each of `count` worlds."""
    return LogLinear(np.random.default_rng(seed).normal(size=(count, 2, 2, 1)))


def best_of_one_parameter(env, policies, points):
    """The highest value (n,) along the one parameter: the best of a grid, and of a second one between the two beside it.

    The first is dense near 0 and reaches 1000, where the policies are all but deterministic.
    """
    grid = 1000.0 * np.sinh(np.linspace(-9.0, 9.0, points)) / np.sinh(9.0)
    values = np.array([pepg.performative_value(env, policies.policy(np.full((*env.lead, 1), theta))) for theta in grid])
    best, place = values.max(axis=0), values.argmax(axis=0)
    low, high = grid[np.maximum(place - 1, 0)], grid[np.minimum(place + 1, points - 1)]
    for share in np.linspace(0.0, 1.0, 41):
        theta = (1.0 - share) * low + share * high
        best = np.maximum(best, pepg.performative_value(env, policies.policy(theta[..., None])))
    return best


def worlds(strength, count, gamma, points, iterations, tolerance):
    """Values (count,) in random worlds: the certified optimum, the uniform policy, and what classes and ascents reach."""
    rng = np.random.default_rng(0)  # the same worlds at every strength
    env = pepg.random_softmax_pemdp(rng, 2, 2, gamma, strength, strength, count=count)
    uniform = env.uniform_policy()
    found = {
        name: algorithm(env, policy=uniform, iterations=iterations)
        for name, algorithm in (("PG, all policies", algorithms.policy_gradient), ("PePG, all policies", algorithms.pepg))
    }
    known = np.stack([run.policy for run in found.values()])
    optimum = pepg.certificate.certified_optimum(env, known, tolerance).value
    values = {"optimum": optimum, "uniform": pepg.performative_value(env, uniform)} | {name: run.values[-1] for name, run in found.items()}
    for name, policies in {"one for both states": shared(), "one random feature": one_random_feature(count, seed=1)}.items():
        values[f"best, {name}"] = best_of_one_parameter(env, policies, points)
        for kind, algorithm in (("PG", algorithms.policy_gradient), ("PePG", algorithms.pepg)):
            run = algorithm(env, policies=policies, parameters=np.zeros((count, 1)), iterations=iterations)
            values[f"{kind}, {name}"] = run.values[-1]
    return values


def losses(values, **labels):
    """How far each of :func:`worlds` ends below the optimum, as a share of what the optimum gains on the uniform policy in the mean."""
    unit = (values["optimum"] - values["uniform"]).mean()
    rows = []
    for name in values.keys() - {"optimum", "uniform"}:
        mean, low, high = mean_interval((values["optimum"] - values[name]) / unit)
        rows.append({**labels, "what": name, "mean": mean, "low": low, "high": high})
    return sorted(rows, key=lambda row: row["what"])


def reaches(values, better, other, share):
    """The share of the worlds in which one is above the other by more than so large a share of what there is to gain."""
    gap = values["optimum"] - values["uniform"]
    return (values[better] > values[other] + share * gap).mean()


# Figures

FAMILIES = ("tiles", "random features", "network")


def draw_reached(table):
    """Values at the end against the number of parameters, a panel a kind of class."""
    figure, axes = plt.subplots(1, len(FAMILIES), figsize=(7.2, 2.9), sharey=True)
    every = table[table["class"] == "tabular"].iloc[0]
    for ax, kind in zip(axes, FAMILIES):
        part = table[table["kind"] == kind].sort_values("parameters", kind="stable")
        ax.axhline(every["PG"], color=figures.COLORS["PG"], linewidth=0.8, linestyle=(0, (1, 2)))
        ax.axhline(every["PePG"], color=figures.COLORS["PePG"], linewidth=0.8, linestyle=(0, (1, 2)))
        places = np.arange(len(part))
        for shift, name in ((-0.08, "PG"), (0.08, "PePG")):
            spread = [part[name] - part[f"{name} low"], part[f"{name} high"] - part[name]]
            ax.errorbar(places + shift, part[name], yerr=np.abs(spread), fmt="o", markersize=4, color=figures.COLORS[name], label=name)
        labels = [f"{size}\n{k}" for size, k in zip(part["class"], part["parameters"])]
        ax.set_xticks(places, [label.replace("rows + columns", "rows,\ncolumns").replace("width ", "") for label in labels])
        ax.tick_params(axis="x", labelsize=7)
        ax.set(title=kind if kind != "network" else "network, by width", xlim=(-0.5, len(part) - 0.5))
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("value at the end")
    axes[1].set_xlabel("class, and its number of parameters")
    axes[0].legend(loc="lower right")
    return figure


LOOKS = {
    "PePG, all policies": (figures.COLORS["PePG"], "-"), "PG, all policies": (figures.COLORS["PG"], figures.LINES["PG"]),
    "best, one for both states": (figures.OTHERS[0], (0, (4, 1))), "best, one random feature": (figures.OTHERS[1], (0, (1, 1))),
}


def draw_losses(table):
    """What a class costs at its best, and what it costs to ignore the response, against the response's strength."""
    figure, ax = plt.subplots(figsize=(4.8, 3.2))
    for name, (color, line) in LOOKS.items():
        figures.draw_curve(ax, table[table["what"] == name], name, x="strength", color=color, linestyle=line)
    ax.set_xscale("log", base=2)
    ticks = sorted(table["strength"].unique())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set(xlabel="strength of the response", ylabel="below the optimum\n(share of what there is to gain)", ylim=(0.0, None))
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 1.3), ncols=2)
    return figure
