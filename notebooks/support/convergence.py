"""For notebooks 06a to 06d: exact ascents with a step for each instance, curvature, rates, runs against a certificate, figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

import pepg
from pepg import algorithms, figures
from pepg.theory.certificate import box_bounds, certified_optimum
from support.climbing import climb
from support.performative_mdps import first_order_gain, two_actions

__all__ = ["first_order_gain"]
USES = ("ascent", "curvature", "sweep", "rates", "certificate", "linear", "bootstrap", "search", "power", "kinds")
SCALE = 2.0  # of the random logits


def streams(seed):
    """A seed sequence for each use of chance in notebooks 06a to 06c."""
    return dict(zip(USES, np.random.SeedSequence(seed).spawn(len(USES))))


def random_pemdps(rng, n_states, n_actions, gamma, strength, count):
    """Random PeMDPs with the same strength for transitions and rewards."""
    return pepg.random_softmax_pemdp(rng, n_states, n_actions, gamma, strength, strength, count=count)


def ascend(env, logits, step, iterations, entropy=0.0):
    """Exact ascent with a constant step for each instance: V_λ and |gradient|² of every iterate, (T + 1, ...), and the last logits."""
    step = np.broadcast_to(step, logits.shape[:-2])[..., None, None]
    values, squares = np.empty((2, iterations + 1, *logits.shape[:-2]))
    for t in range(iterations + 1):
        here = pepg.deploy(env, pepg.softmax(logits), entropy)
        gradient = here.policy_part + here.environment_part(env)
        values[t], squares[t] = (here.value * env.rho).sum(axis=-1), (gradient**2).sum(axis=(-2, -1))
        if t < iterations:
            logits = logits + step * gradient
    return values, squares, logits


def hessians(env, logits, entropy=0.0, h=1e-4):
    """The Hessians of V_λ at logits (..., S, A), by central differences of the exact gradient: (..., S A, S A)."""
    size = env.n_states * env.n_actions
    steps = h * np.eye(size).reshape(size, *[1] * (logits.ndim - 2), env.n_states, env.n_actions)
    up, down = (pepg.performative_gradient(env, pepg.softmax(logits + sign * steps), entropy) for sign in (1, -1))
    found = np.moveaxis((up - down) / (2 * h), 0, -3).reshape(*logits.shape[:-2], size, size)
    return (found + np.swapaxes(found, -1, -2)) / 2


def measured_smoothness(env, rng, entropy=0.0, count=20):
    """The largest |eigenvalue| of the Hessian over random logits N(0, 2²), one for each PeMDP."""
    logits = rng.normal(0.0, SCALE, (count, *env.lead, env.n_states, env.n_actions))
    return np.abs(np.linalg.eigvalsh(hessians(env, logits, entropy))).max(axis=(0, -1))


def check_lemma(env, start, iterations, entropy=0.0, share=1.0):
    """Ascent at the step 1/(share L): gains of all steps, what the lemma promises of each if share L held, and the size of rounding."""
    L = share * env.smoothness(entropy)
    values, squares, _ = ascend(env, start, 1.0 / L, iterations, entropy)
    rounding = 1e-13 * (1.0 + np.abs(values[:-1])) / (1.0 - env.gamma)
    return np.diff(values, axis=0), squares[:-1] / (2.0 * L), rounding


SHAPES = {  # of a PeMDP with two states and two actions, and of logits in it
    "logits": (2, 2, 2), "logit_map": (2, 2, 2, 2, 2), "rewards": (2, 2), "reward_map": (2, 2, 2, 2), "rho": (2,),
    "strengths": (2,), "policy": (2, 2),
}
SIZES = [int(np.prod(shape)) for shape in SHAPES.values()]


def steep_instances(x, gamma):
    """The PeMDPs (n,) of parameters x (n, dimension), and logits of a policy in each."""
    parts = np.split(x, np.cumsum(SIZES)[:-1], axis=-1)
    parts = {name: part.reshape(-1, *shape) for (name, shape), part in zip(SHAPES.items(), parts)}
    logits, strengths = parts.pop("policy"), np.exp(parts.pop("strengths"))
    parts["rho"] = pepg.softmax(parts["rho"])
    env = pepg.SoftmaxPeMDP(**parts, gamma=gamma, transition_strength=strengths[:, 0], reward_strength=strengths[:, 1])
    return env, logits


def share_of_smoothness(x, gamma):
    """The largest |eigenvalue| of the Hessian at the logits over the computed L, for each of :func:`steep_instances`."""
    env, logits = steep_instances(x, gamma)
    return np.abs(np.linalg.eigvalsh(hessians(env, logits))).max(axis=-1) / env.smoothness()


def search_table(gammas, climbers, climbs, seed):
    """How much of L a search over PeMDPs and logits finds, a row a discount, and the shares where all climbers end."""
    rows, ends = [], {}
    for gamma in gammas:
        _, path = climb(lambda x, gamma=gamma: share_of_smoothness(x, gamma), sum(SIZES), climbers, climbs, seed)
        ends[gamma] = path[-1]
        rows.append({"gamma": gamma, "first": path[0].max(), "found": path[-1].max(), "median climber": np.median(path[-1])})
    return four_digits(rows), ends


def power_table(rng, ends, divisors, gamma, strength, count, iterations):
    """What a wrong constant, L over each of `divisors`, would show: on random ascents, and where the search has ended."""
    env = random_pemdps(rng, 2, 2, gamma, strength, count)
    start = rng.normal(0.0, SCALE, (count, 2, 2))
    rows = []
    for divisor in divisors:
        gain, promised, rounding = check_lemma(env, start, iterations, share=1 / divisor)
        row = {"constant": "L" if divisor == 1 else f"L/{divisor}", "random steps below": int((gain < promised - rounding).sum())}
        rows.append(row | {f"found, γ = {g:g}": int((found > 1 / divisor).sum()) for g, found in ends.items()})
    return pd.DataFrame(rows), (
        f"Violations if the constant were a part of the computed L: steps of {count} random ascents that gain less than promised (two states "
        f"and actions, gamma {gamma:g}, strength {strength:g}, {iterations} steps each), and climbers of the search, of "
        f"{len(next(iter(ends.values())))} at each discount, where the Hessian exceeds it."
    )


def log_slope(curve, first, last):
    """The slope of log curve (T, n) against log T between two iterations, for each instance."""
    marks = np.unique(np.geomspace(first, last, 30).astype(int)) - 1
    x, y = np.log(1.0 + marks), np.log(np.maximum(curve[marks], 1e-300))
    return ((x - x.mean())[:, None] * (y - y.mean(axis=0))).sum(axis=0) / ((x - x.mean()) ** 2).sum()


def rate_row(step, quantity, slopes, rng):
    """Mean slope with a 95 % bootstrap interval over PeMDPs, and quartiles."""
    interval = stats.bootstrap((slopes,), np.mean, method="percentile", rng=rng).confidence_interval
    lower, median, upper = np.quantile(slopes, (0.25, 0.5, 0.75))
    return {
        "step": step, "quantity": quantity, "runs": slopes.size, "mean slope": slopes.mean(), "low": interval.low,
        "high": interval.high, "lower quartile": lower, "median": median, "upper quartile": upper,
    }


def policies_at(env, logits, step, marks):
    """The policies (marks, n, S, A) of an exact ascent with a constant step (n,), at these iterations, in order."""
    found = []
    for t in range(marks[-1] + 1):
        here = pepg.deploy(env, pepg.softmax(logits))
        if t in marks:
            found.append(here.policy)
        logits = logits + step[:, None, None] * (here.policy_part + here.environment_part(env))
    return np.array(found)


def states_of(policy):
    """Which states (n, S) a limit mixes in (every action above 0.02), and which it is deterministic in (to a millionth)."""
    return policy.min(axis=-1) > 0.02, policy.max(axis=-1) > 1.0 - 1e-6


def kinds_table(rng, gamma, strength, draws, most, first, last):
    """How ascents with the step 1/measured L approach limits that mix in both states, and limits that mix in one: a row each.

    PeMDPs are drawn and their limits found with the adaptive step; the limit of a run is found anew by continuing it.
    """
    env = random_pemdps(rng, 2, 2, gamma, strength, draws)
    start = rng.normal(size=(draws, 2, 2))
    mixed, fixed = states_of(algorithms.pepg(env, policy=pepg.softmax(start), iterations=200).policy)
    rows = []
    for name, count in (("both states", 2), ("one state", 1)):
        pick = np.flatnonzero((mixed.sum(axis=1) == count) & (fixed.sum(axis=1) == 2 - count))[:most]
        some = env.select(pick)
        path = policies_at(some, start[pick], 1.0 / measured_smoothness(some, rng), (first, last))
        limit = algorithms.pepg(some, policy=path[-1], iterations=200).policy
        mixes, _ = states_of(limit)
        kept = mixes.sum(axis=1) == count
        gap = (pepg.performative_value(some, limit) - pepg.performative_value(some, path))[:, kept]
        row = {"limit mixes in": name, "runs": int(kept.sum()), "gap below 1e-9 %": 100.0 * (gap[-1] < 1e-9).mean()}
        if count == 1:
            away = np.abs(path - limit).max(axis=-1)[:, kept]  # (marks, runs, S)
            each = np.log(away[-1] / away[0]) / np.log(last / first)
            row |= {"slope of the gap": np.median(np.log(gap[-1] / gap[0])) / np.log(last / first)}
            row |= {"slope, mixed state": np.median(each[mixes[kept]]), "slope, deterministic state": np.median(each[~mixes[kept]])}
        rows.append(row)
    return four_digits(rows), (
        f"How the step 1/(measured smoothness) approaches its limit without entropy (2 states, 2 actions, gamma {gamma:g}, strength "
        f"{strength:g}; the first {most} of {draws} random PeMDPs of each kind): runs within 1e-9 of the limit's value after {last} "
        f"iterations; median log-log slopes between iterations {first} and {last} of the gap and of the distance to the limit, state by state."
    )


def rate_curves(curves, last):
    """Quartiles over instances of curves (T, n) by (step, quantity), at about 60 iterations up to the last: tidy."""
    shown, frames = np.unique(np.geomspace(1, last, 60).astype(int)) - 1, []
    for (step, quantity), curve in curves.items():
        low, middle, high = np.quantile(np.maximum(curve[shown], 1e-300), [0.25, 0.5, 0.75], axis=1)
        frames.append(pd.DataFrame({"step": step, "quantity": quantity, "T": shown + 1, "low": low, "median": middle, "high": high}))
    return pd.concat(frames, ignore_index=True)


def world(stream, n_pemdps, n_starts, gamma, strength):
    """Random PeMDPs of two states and actions of one strength, with random starts for each; an ordinary MDP is drawn less often."""
    rng = np.random.default_rng(stream)
    count = n_pemdps if strength > 0 else max(n_pemdps // 20, 10)
    env = random_pemdps(rng, 2, 2, gamma, strength, count)
    return env, pepg.softmax(rng.normal(0.0, SCALE, (n_starts, count, 2, 2)))


def rivals(pepg_iterations, pg_iterations, rpo_iterations, rpo_starts):
    """The algorithms by name, as functions of an environment and starts (starts, n, 2, 2)."""
    found = {
        "PePG": lambda env, policy: algorithms.pepg(env, policy=policy, iterations=pepg_iterations),
        "PG": lambda env, policy: algorithms.policy_gradient(env, policy=policy, iterations=pg_iterations),
    }
    for weight, some in rpo_starts.items():
        found[f"RPO, λ = {weight:g}"] = lambda env, policy, weight=weight, some=some: algorithms.repeated_policy_optimization(
            env, policy=policy[:some], iterations=rpo_iterations, regularization=weight
        )
    return found


def certify(env, runs, tolerance):
    """The certified optima, with the ends of all runs as known policies."""
    return certified_optimum(env, np.concatenate([run.policy for run in runs]), tolerance)


def share_row(run, certificate, close):
    """Shares of runs and of PeMDPs that reach the certified optimum, with intervals; and which runs miss it."""
    value = run.values[-1]
    reached = certificate.upper - value < close
    share, low, high = figures.mean_interval(reached.mean(axis=0))
    exact = stats.binomtest(int(reached.any(axis=0).sum()), reached.shape[1]).proportion_ci(method="exact")
    row = {
        "PeMDPs": reached.shape[1], "starts": reached.shape[0], "runs %": 100 * share, "low": 100 * max(low, 0.0),
        "high": 100 * min(high, 1.0), "best iterate %": 100 * (certificate.upper - run.values.max(axis=0) < close).mean(),
        "best start %": 100 * reached.any(axis=0).mean(), "CP low": 100 * exact.low, "CP high": 100 * exact.high,
        "all starts %": 100 * reached.all(axis=0).mean(), "still moving %": 100 * (run.shifts[-1] > 1e-4).mean(),
    }
    return row, ~reached & (certificate.value - value > close)


def ending_row(env, run, certificate, missed, close):
    """Where the runs that miss the optimum end: stationary, only stable, or neither; deterministic or not; and how far below."""
    policy = run.policy
    stationary = first_order_gain(env, policy) < close
    stable = pepg.theory.best_response_gain(env, policy) < close
    corner = (policy > 1 - 1e-3).any(axis=-1).all(axis=-1)
    gaps = (certificate.value - run.values[-1])[missed]
    return {
        "misses %": 100 * missed.mean(), "stationary %": 100 * stationary[missed].mean(),
        "not stationary, stable %": 100 * (~stationary & stable)[missed].mean(),
        "neither %": 100 * (~stationary & ~stable)[missed].mean(), "deterministic %": 100 * corner[missed].mean(),
        **{f"gap, {q} %": f"{np.quantile(gaps, q / 100):.2g}" for q in (10, 50, 90)},
    }


def two_ends(run, close):
    """The PeMDP whose runs end at exactly two values, split between 40 and 60 %, with the largest gap: its index and both policies."""
    value = run.values[-1]
    high, low = value.max(axis=0), value.min(axis=0)
    two = ((high - value < close) | (value - low < close)).all(axis=0)
    split = (high - value < close).mean(axis=0)
    index = int(np.where(two & (split >= 0.4) & (split <= 0.6), high - low, 0.0).argmax())
    return index, run.policy[value[:, index].argmax(), index], run.policy[value[:, index].argmin(), index]


def fence(env, corner, radius, cells=80):
    """Certified bounds of V around a deterministic policy of an environment with two states: on the fence and inside it.

    The fence is what the boundary of the square of side `radius` at the `corner` has inside the square of all policies; it and the
    square are covered by boxes, `cells` to a side.
    """
    half = radius / (2 * cells)
    line, edge = half * (2 * np.arange(cells) + 1), np.full(cells, radius)
    sides = np.concatenate([np.stack([edge, line], axis=-1), np.stack([line, edge], axis=-1)])
    inside = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    at = corner[:, 1].round()
    return [box_bounds(env, two_actions(np.abs(at - distance)), half).max() for distance in (sides, inside)]


def stops(env, policy, certificate, which):
    """Where the proof by gradient domination stops, in shares of the misses: stable, a vanishing greedy action, cancellation.

    Also the share of the stable ones whose residual is at least the gap.
    """
    trapped, best = pepg.deploy(env, policy), certificate.policy[which]
    stable = pepg.theory.best_response_gain(env, policy) < 1e-6
    occupancy, other = trapped.mdp.occupancy(best), pepg.deploy(env, best)
    residual = (occupancy * (other.mdp.backup(other.value) - trapped.mdp.backup(other.value))).sum(axis=(-2, -1))
    gaps = certificate.value[which] - trapped.expected_return
    advantage = trapped.mdp.backup(trapped.value) - trapped.value[..., None]
    greedy = np.take_along_axis(policy, advantage.argmax(axis=-1)[..., None], axis=-1).min(axis=(-2, -1))
    shares = stable.mean(), (~stable & (greedy < 1e-3)).mean(), (~stable & (greedy >= 1e-3)).mean()
    return shares, (residual >= gaps - 1e-5)[stable].mean()


def domination_table(env, trap, optimum):
    """R5 along PePG's way to a local optimum: the gap, the norms, the least probability of a greedy action, and both terms."""
    rows = []
    path = algorithms.pepg(env, policy=0.9 * trap + 0.05, iterations=20).policies
    for t in (0, 5, 10, 15, 20):
        here = pepg.deploy(env, path[t])
        left, right, residual = pepg.theory.gradient_domination(env, path[t], optimum)
        greedy = (here.mdp.backup(here.value) - here.value[:, None]).argmax(axis=-1)
        rows.append({
            "iteration": t, "gap": left, "norm of g": np.linalg.norm(pepg.performative_gradient(env, path[t])),
            "norm of g_env": np.linalg.norm(here.environment_part(env)),
            "least probability of a greedy action": path[t][[0, 1], greedy].min(), "gradient term": right - residual,
            "residual": residual,
        })
    return pd.DataFrame(rows)


GAPS = 1e-6, 1e-9  # between which a rate is fitted: below, the rounding of the value shows in the gap


def fitted_rates(env, start, step, iterations, entropy):
    """Rates of the log gap of V_λ near the optimum, fitted between two gaps, against those that the Hessian predicts: a table.

    Also the predicted rates of all instances.
    """
    tangent = np.array([[1, -1, 0, 0], [0, 0, 1, -1]]) / np.sqrt(2)  # the directions of logits that move a policy
    values, _, last = ascend(env, start, step, iterations, entropy)
    limit = algorithms.pepg(env, policy=pepg.softmax(last), iterations=200, entropy=entropy).policy
    gap = np.maximum(pepg.performative_value(env, limit, entropy), values[-1]) - values
    eigenvalues = -np.linalg.eigvalsh(tangent @ hessians(env, np.log(limit), entropy) @ tangent.T)
    predicted = -2.0 * np.log(np.abs(1.0 - step[:, None] * eigenvalues).max(axis=-1))
    points = []
    for i in np.flatnonzero(gap[-1] < GAPS[1]):
        after = int(np.argmax(gap[:, i] < GAPS[1]))
        window = np.arange(min(int(np.argmax(gap[:, i] < GAPS[0])), max(after - 10, 0)), after)
        slope = np.polyfit(window, np.log(gap[window, i]), 1)[0]
        points.append({"lambda": entropy, "PeMDP": i, "predicted": predicted[i], "fitted": -slope})
    return pd.DataFrame(points), predicted


# Tables: each function returns one and its caption


def four_digits(rows):
    """Floats to four significant digits."""
    return pd.DataFrame(rows).map(lambda x: float(f"{x:.4g}") if isinstance(x, float) else x)


def one_decimal(rows):
    return pd.DataFrame(rows).map(lambda x: round(x, 1) if isinstance(x, float) else x)


def rates_table(curves, first, last, seed, setting):
    """Log-log slopes of curves (T, n) by (step, quantity), between two iterations."""
    rows = []
    for (step, quantity), curve in curves.items():
        rows.append(rate_row(step, quantity, log_slope(curve, first, last), np.random.default_rng(seed)))
    return pd.DataFrame(rows).map(lambda x: round(x, 3) if isinstance(x, float) else x), (
        f"Log-log slopes for T from {first} to {last} of the runs with a deterministic limit; 95 % "
        f"bootstrap interval of the mean over PeMDPs (2 states, 2 actions, {setting})."
    )


def ascent_table(rng, sizes, strengths, entropies, count, iterations):
    """Steps of 1/L against the ascent lemma; also how many steps were checked and how many violate it."""
    rows, violations, checked = [], 0, 0
    for (n_states, n_actions, discount), strength in ((size, strength) for size in sizes for strength in strengths):
        env = random_pemdps(rng, n_states, n_actions, discount, strength, count)
        start = rng.normal(0.0, SCALE, (count, n_states, n_actions))
        for entropy in entropies:
            gain, promised, rounding = check_lemma(env, start, iterations, entropy)
            violations, checked = violations + int((gain < promised - rounding).sum()), checked + gain.size
            clear = promised > 1e4 * rounding  # where a ratio says something
            rows.append({
                "states": n_states, "actions": n_actions, "gamma": discount, "strength": strength, "lambda": entropy,
                "median L": np.median(env.smoothness(entropy)), "smallest gain": gain[clear].min(),
                "smallest gain / promised": (gain[clear] / promised[clear]).min(),
                "steps compared": f"{100 * clear.mean():.1f} %",
            })
    caption = (
        f"Ascent at step 1/L: {count} random PeMDPs a row, {iterations} steps each from N(0, "
        f"{SCALE:g}²) logits. The promise of the ascent lemma is the squared gradient over 2L; gains are "
        "compared where it is above rounding."
    )
    return four_digits(rows), caption, checked, violations


def curvature_table(rng, gammas, strengths, count):
    """The computed L against the measured curvature."""
    rows = []
    for discount, strength in ((discount, strength) for discount in gammas for strength in strengths):
        env = random_pemdps(rng, 2, 2, discount, strength, count)
        L, found = env.smoothness(), measured_smoothness(env, rng)
        rows.append({
            "gamma": discount, "strength": strength, "median L": np.median(L), "median measured": np.median(found),
            "median measured / L": np.median(found / L), "largest measured / L": (found / L).max(),
        })
    return pd.DataFrame(rows).map(lambda x: float(f"{x:.3g}")), (
        f"The computed L and the largest Hessian eigenvalue over 20 random logits: {count} random PeMDPs of two "
        "states and two actions a row."
    )


def sweep_table(rng, multiples, gamma, strength, count, iterations):
    """Constant steps beyond 1/L, in units of 1 / measured curvature."""
    env = random_pemdps(rng, 2, 2, gamma, strength, count)
    measured = measured_smoothness(env, rng)
    start = np.broadcast_to(rng.normal(size=(count, 2, 2)), (len(multiples), count, 2, 2))
    values, _, _ = ascend(env, start, np.array(multiples)[:, None] / measured, iterations)
    decreases = np.diff(values, axis=0) < -1e-6
    sweep = pd.DataFrame({
        "c": multiples,
        "step in units of 1/L (median)": [c * np.median(env.smoothness() / measured) for c in multiples],
        "PeMDPs with a decrease": decreases.any(axis=0).mean(axis=1),
        "steps that decrease": decreases.mean(axis=(0, 2)),
        "largest decrease": -np.where(decreases, np.diff(values, axis=0), 0.0).min(axis=(0, 2)) + 0.0,
        "mean value at the end": values[-1].mean(axis=1),
    })
    return sweep.map(lambda x: float(f"{x:.3g}")), (
        f"Constant steps c / (measured smoothness): {count} random PeMDPs, gamma {gamma}, strength "
        f"{strength:g}, {iterations} iterations from N(0, 1) logits."
    )


def gap_curves(runs, certificates, strengths):
    """The share of runs whose last value is within a gap of the certified optimum: tidy; `runs` by strength and name."""
    levels, frames = np.geomspace(1e-4, 30, 80), []
    for strength, name in ((strength, name) for strength in strengths for name in runs[strength]):
        short = certificates[strength].upper - runs[strength][name].values[-1]
        share = (short < levels[:, None, None]).mean(axis=(1, 2))
        frames.append(pd.DataFrame({"strength": strength, "algorithm": name, "gap": levels, "share": share}))
    return pd.concat(frames, ignore_index=True)


def shares_table(runs, certificates, close, gamma):
    """Runs and PeMDPs that reach the certified optimum; also which runs miss it, by (strength, name)."""
    rows, misses = [], {}
    for strength, name in ((strength, name) for strength in runs for name in runs[strength]):
        row, misses[strength, name] = share_row(runs[strength][name], certificates[strength], close)
        rows.append({"strength": f"{strength:g}", "algorithm": name, **row})
    caption = (
        f"Runs and PeMDPs that reach the certified optimum to {close:g}: two states, two actions, gamma {gamma}, starts "
        "with N(0, 2²) logits. Runs with 95 % Student t intervals over PeMDPs; best start: PeMDPs that some start "
        "reaches it on, with 95 % Clopper-Pearson intervals. Best iterate: some iterate of the run was within reach. "
        "Still moving: the last iteration changed the occupancy by more than 1e-4."
    )
    return one_decimal(rows), caption, misses


def endings_table(worlds, runs, certificates, misses, strengths, close):
    """Where the runs that miss the certified optimum end."""
    rows = []
    for strength, name in ((strength, name) for strength in strengths for name in runs[strength]):
        what = worlds[strength][0], runs[strength][name], certificates[strength], misses[strength, name], close
        rows.append({"strength": f"{strength:g}", "algorithm": name, **ending_row(*what)})
    return one_decimal(rows), (
        "Where the runs that miss the certified optimum end: first-order stationary for the performative value in the "
        f"space of policies (FW below {close:g}); else performatively stable (a best response gains less than "
        f"{close:g}); else neither (cycles, regularised or unfinished). Deterministic: every state plays an action with "
        "probability above 0.999. Quantiles of the gap to the certified optimum."
    )


def linear_table(rng, iterations, step, count, gamma, strength):
    """Fitted against predicted rates with entropy; `iterations` by λ. Also the points of all fits."""
    env = random_pemdps(rng, 2, 2, gamma, strength, count)
    start = rng.normal(size=(count, 2, 2))
    rows, points = [], []
    for entropy, some in iterations.items():
        these, predicted = fitted_rates(env, start, step / measured_smoothness(env, rng, entropy), some, entropy)
        points.append(these)
        ratio = these["fitted"] / these["predicted"]
        mean, low, high = figures.mean_interval(ratio)
        rows.append({
            "lambda": entropy, "iterations": some, "runs fitted": len(these),
            "median rate predicted, all runs": np.median(predicted), "median rate fitted": these["fitted"].median(),
            "mean fitted / predicted": mean, "low": low, "high": high,
            "within 1 % of it %": 100 * (np.abs(ratio - 1) < 0.01).mean(),
            "slower by more than 1 %": int((ratio < 0.99).sum()),
        })
    caption = (
        "Linear convergence with entropy: the rate (minus the slope of the log gap against iterations), constant step "
        f"{step:g}/(measured smoothness), {count} random PeMDPs (gamma {gamma}, strength "
        f"{strength:g}), against the prediction from the Hessian; 95 % Student t interval of the mean "
        "ratio."
    )
    return four_digits(rows), caption, pd.concat(points)


def losses_table(env, start, known, best, entropies, iterations, tolerance, close, strength):
    """What the optimum of V_λ loses of the certified value `best` of `known`, against λ log A / (1 − γ); also the violations."""
    count = len(best)
    start = np.concatenate([start, 0.99 * known[None] + 0.005])
    rows, violations = [], 0
    for entropy in entropies:
        ends = algorithms.pepg(env, policy=start, iterations=iterations, entropy=entropy).policy
        regularised = pepg.performative_value(env, ends, entropy)
        loss = best - pepg.performative_value(env, ends[regularised.argmax(axis=0), np.arange(count)])
        beats = regularised.max(axis=0) >= pepg.performative_value(env, known, entropy) - 1e-9
        bound = entropy * np.log(env.n_actions) / (1 - env.gamma)
        violations += int((loss > bound + tolerance)[beats].sum())
        one_end = np.ptp(regularised[:-1], axis=0) < close
        mean, low, high = figures.mean_interval(loss)
        rows.append({
            "lambda": entropy, "mean loss": mean, "low": low, "high": high, "largest loss": loss.max(), "bound": bound,
            "beats the optimum of V in V_lambda %": 100 * beats.mean(), "one end from all starts %": 100 * one_end.mean(),
        })
    caption = (
        f"What the optimum of the regularised value loses of the value itself: {count} PeMDPs of strength "
        f"{strength:g}, best of {len(start)} starts, against the certified optimum; 95 % Student t intervals over "
        "PeMDPs. Last column: PeMDPs on which all random starts end within 0.001 in the regularised value."
    )
    return pd.DataFrame(rows).map(lambda x: float(f"{x:.3g}")), caption, violations


def annealing_table(worlds, runs, certificates, schedule, plain, close):
    """Shares that reach the certified optimum annealed, without entropy, and so from the uniform start; also unrounded by (strength, name)."""
    rows, reach = [], {}
    for strength, (env, start) in worlds.items():
        policy = start
        for entropy, evaluations in schedule:
            policy = algorithms.pepg(env, policy=policy, iterations=evaluations, entropy=entropy).policy
        uniform = np.broadcast_to(env.uniform_policy(), (1, *env.lead, 2, 2))
        ends = {"annealed": policy, "without entropy": runs[strength].policy}
        ends["without entropy, uniform start"] = plain(env, uniform).policy
        for name, end in ends.items():
            reached = certificates[strength].upper - pepg.performative_value(env, end) < close
            share, low, high = figures.mean_interval(reached.mean(axis=0))
            reach[strength, name] = 100 * share
            rows.append({
                "strength": f"{strength:g}", "PePG": name, "starts": len(reached), "runs %": 100 * share, "low": 100 * low,
                "high": 100 * min(high, 1.0), "best of the starts %": 100 * reached.any(axis=0).mean(),
                "all starts %": 100 * reached.all(axis=0).mean(),
            })
    budget, sequence = sum(evaluations for _, evaluations in schedule), ", ".join(f"{lam:g}" for lam, _ in schedule)
    caption = (
        f"Share that reaches the certified optimum to {close:g} with lambda {sequence} in turn and without entropy: "
        f"{budget} gradient evaluations each, {reached.shape[1]} PeMDPs, 95 % Student t intervals over PeMDPs."
    )
    return one_decimal(rows), caption, reach


# Figures


def draw_smoothness(data, strengths, multiples, iterations):
    """How much of L is there, and what constant steps beyond it do."""
    figure, axes = plt.subplots(1, 3, figsize=(7.8, 2.8), gridspec_kw={"wspace": 0.08})
    left, right = data[data.panel == "L"], data[data.panel == "steps"]
    for strength, color in zip([0.0, *strengths], figures.shades("PePG", 3)):
        rows = left[left.strength == strength]
        axes[0].plot(rows["gamma"], rows["median measured / L"], "o-", color=color, label=f"strength {strength:g}")
    axes[0].set(xlabel=r"discount $\gamma$", ylabel=r"measured $\hat L$ / computed $L$", yscale="log")
    axes[0].legend()
    axes[1].plot(right["c"], 100 * right["PeMDPs with a decrease"], "o-", color=figures.COLORS["PePG"], label="PeMDPs with any decrease")
    axes[1].plot(right["c"], 100 * right["steps that decrease"], "s--", color=figures.COLORS["reference"], label="steps that decrease")
    axes[1].set(ylabel="share (%)", ylim=(-1, 35))
    axes[1].legend(loc="upper right", fontsize=7)
    axes[2].plot(right["c"], right["mean value at the end"], "o-", color=figures.COLORS["PePG"])
    axes[2].set(ylabel=f"mean value after {iterations} iterations")
    for axis in axes[1:]:
        axis.axvline(2, color="0.4", linewidth=0.8)
        axis.set(xlabel=r"step, in units of $1/\hat L$", xscale="log")
        axis.set_xticks(multiples[1::2], [f"{c:g}" for c in multiples[1::2]])
        axis.minorticks_off()
    return figure


def draw_rates(data, first):
    """The smallest gradient and the gap against iterations, with the lemma's bound and the slopes of a softmax."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.0), sharex=True)
    styles = {"1/L": ("-", r"step $1/L$"), "1/measured L": ((0, (5, 1.5)), r"step $1/\hat L$")}
    for name, (line, label) in styles.items():
        for axis, quantity in zip(axes, ("min |g|²", "gap")):
            rows = data[(data.step == name) & (data.quantity == quantity)]
            axis.plot(rows["T"], rows["median"], color=figures.COLORS["PePG"], linestyle=line, label=label)
            axis.fill_between(rows["T"], rows["low"], rows["high"], color=figures.COLORS["PePG"], alpha=0.15, linewidth=0)
    rows = data[(data.step == "1/L") & (data.quantity == "bound")]
    axes[0].plot(rows["T"], rows["median"], color=figures.COLORS["reference"], linestyle=":", label=r"bound $2L(V^*-V_0)/T$")
    for axis, power, level, quantity in ((axes[0], -2, 0.1, "min |g|²"), (axes[1], -1, 0.35, "gap")):
        reference = data[(data.step == "1/measured L") & (data.quantity == quantity)]
        end = reference[reference["T"] >= first / 2]
        height = level * end["median"].iloc[0]
        axis.plot(end["T"], height * (end["T"] / end["T"].iloc[0]) ** float(power), color="0.3", linewidth=0.8)
        axis.text(end["T"].iloc[0] / 1.15, height, f"$T^{{{power}}}$", fontsize=8, ha="right", va="center")
        axis.set(xscale="log", yscale="log", xlabel="iterations $T$")
    axes[0].set_ylabel(r"$\min_{t<T}\|\nabla V\|^2$")
    axes[1].set_ylabel("gap to the value of the limit")
    axes[0].legend(loc="lower left")
    axes[1].legend(loc="upper right")
    return figure


def draw_gaps(data, close):
    """The share of runs within a gap of the certified optimum, a panel a strength."""
    strengths, names = data["strength"].unique(), list(data["algorithm"].unique())
    figure, axes = plt.subplots(1, len(strengths), figsize=(7.4, 3.0), sharey=True)
    dashes = dict(zip([name for name in names if name.startswith("RPO")], (figures.LINES["RPO"], (0, (6, 1, 1, 1)))))
    for axis, strength in zip(axes, strengths):
        for name in names:
            rows, kind = data[(data.strength == strength) & (data.algorithm == name)], name.split(",")[0]
            line = dashes.get(name, figures.LINES[kind])
            axis.plot(rows["gap"], 100 * rows["share"], color=figures.COLORS[kind], linestyle=line, label=name)
        axis.axvline(close, color="0.4", linewidth=0.8)
        axis.set(xscale="log", xlabel="gap to the certified optimum", title=f"strength of the response {strength:g}", ylim=(0, 101))
    axes[0].set_ylabel("runs within the gap (%)")
    axes[0].legend(loc="lower right")
    return figure


def draw_basins(landscape, basins, optimum, trap, values):
    """One landscape, and where PePG ends from a grid of starts; `optimum` and `trap` are points of the square."""
    figure, axis = plt.subplots(figsize=(5.4, 4.2))
    surface = landscape.pivot(index="x_1", columns="x_0", values="value")
    filled = axis.contourf(surface.columns, surface.index, surface, levels=24, cmap="Greys", alpha=0.6)
    axis.contour(surface.columns, surface.index, surface, levels=24, colors="white", linewidths=0.5, linestyles="solid")
    figure.colorbar(filled, ax=axis, label=r"performative value $V^\pi_\pi(\rho)$")
    best, other = figures.COLORS["PePG"], "black"
    looks = {
        "optimum": (best, "o", "PePG from here ends at the optimum"), "trap": (other, "s", "... at the other local optimum"),
    }
    for end, (color, marker, label) in looks.items():
        rows = basins[basins.end == end]
        axis.scatter(rows["x_0"], rows["x_1"], s=6, color=color, marker=marker, linewidths=0, label=label)
    point = {"clip_on": False, "linestyle": "none"}
    axis.plot(*optimum, "*", color=best, markersize=16, markeredgecolor="black", label=f"certified optimum, {values[0]:.2f}", **point)
    axis.plot(*trap, "X", color=other, markersize=11, markeredgecolor="white", label=f"other local optimum, {values[1]:.2f}", **point)
    axis.set(xlabel="probability of action 1 in state 0", ylabel="probability of action 1 in state 1", xlim=(0, 1), ylim=(0, 1))
    axis.grid(False)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=0.8)
    return figure


def draw_entropy(points, losses):
    """Fitted against predicted rates, and what the regularised optimum loses against its bound."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.0))
    count = points["lambda"].nunique()
    for (entropy, rows), color, marker in zip(points.groupby("lambda"), figures.shades("PePG, entropy", count), "osD"):
        look = {"color": color, "markersize": 4, "linestyle": "none", "label": f"$\\lambda$ = {entropy:g}"}
        axes[0].plot(rows["predicted"], rows["fitted"], marker, **look)
    ends = np.array([points["predicted"].min(), points["predicted"].max()])
    axes[0].plot(ends, ends, color=figures.COLORS["reference"], linewidth=0.8)
    axes[0].set(xscale="log", yscale="log", xlabel="predicted rate per iteration", ylabel="fitted rate per iteration")
    axes[0].legend(loc="upper left")
    color = figures.COLORS["PePG, entropy"]
    bound = r"bound $\lambda\log A/(1-\gamma)$"
    axes[1].plot(losses["lambda"], losses["bound"], color=figures.COLORS["reference"], linestyle=":", label=bound)
    axes[1].plot(losses["lambda"], losses["largest loss"], "^", color=figures.shades("PePG, entropy", 3)[2], label="largest loss")
    axes[1].plot(losses["lambda"], losses["mean loss"], "o-", color=color, label="mean loss, 95 % interval")
    axes[1].fill_between(losses["lambda"], losses["low"].clip(lower=1e-7), losses["high"], color=color, alpha=0.2, linewidth=0)
    axes[1].set(xscale="log", yscale="log", xlabel=r"$\lambda$", ylabel=r"loss $V^* - V(\pi_\lambda)$")
    axes[1].legend(loc="lower right")
    return figure
