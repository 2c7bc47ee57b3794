"""For notebook 13: what is measured along a run, and its tables."""

import numpy as np
import pandas as pd
from scipy.special import xlogy

import pepg
from pepg import figures

TIE = 1e-4  # final values that are closer than this are level


def measure(env, policies, coefficient):
    """Regularised value, mean entropy under the occupancy (nats) and discounted steps of policies (..., S, A): (3, ...)."""
    regularised = pepg.performative_value(env, policies, entropy=coefficient)
    occupancy = env.respond(policies).occupancy(policies)
    steps = occupancy.sum(axis=(-2, -1))
    return np.array([regularised, -xlogy(occupancy, policies).sum(axis=(-2, -1)) / steps, steps])


def rounded(rows, digits):
    """A table of rows, its floats to `digits` significant digits."""
    return pd.DataFrame(rows).map(lambda x: float(f"{x:.{digits}g}") if isinstance(x, float) else x)


def final(runs, measured):
    """One row per number of followers and coefficient: the values at the end, over the starts but the last, and from the last."""
    rows = []
    for n in runs:
        for c, run in runs[n].items():
            plain, (regularised, nats, steps) = run.values[-1], measured[n][c][-1]
            mean, low, high = figures.mean_interval(plain[:-1])
            rows.append({
                "followers": n, "coefficient": float(c), "plain": mean, "plain low": low, "plain high": high,
                "regularised": regularised[:-1].mean(), "regularised at start": measured[n][c][0][0, :-1].mean(),
                "entropy": nats[:-1].mean(), "steps": steps[:-1].mean(), "plain, greedy start": plain[-1],
                "regularised, greedy start": regularised[-1], "entropy, greedy start": nats[-1],
            })
    return rounded(rows, 5)


def curves(runs, measured, drawn):
    """Plain and regularised values per iteration, those of the starts but the last with their interval, and those of the last."""
    pieces = []
    for n in runs:
        for c, run in runs[n].items():
            for name, values in (("plain", run.values[drawn[n]]), ("regularised", measured[n][c][:, 0])):
                labels = {"followers": n, "coefficient": float(c), "value": name}
                pieces.append(figures.curves(drawn[n], values[:, :-1], **labels, start="near uniform"))
                pieces.append(figures.curves(drawn[n], values[:, -1:], **labels, start="epsilon-greedy"))
    return pd.concat(pieces)


def early(env, starts, runs, measured, at, short, step):
    """Plain and regularised values after `short` iterations with the constant `step` and with the adaptive one of `runs`.

    measured : {coefficient: (T, 3, starts)}, of which row `at` is that after `short` iterations
    """
    rows = []
    for c, run in runs.items():
        constant = pepg.algorithms.pepg(env, policy=starts, iterations=short, step_size=step, entropy=c)
        plain, regularised = run.values[:, :-1].mean(axis=1), measured[c][:, 0, :-1].mean(axis=1)
        rows.append({
            "coefficient": float(c), "plain: start": plain[0], "eta 0.1": constant.values[-1].mean(),
            "adaptive": plain[short], "adaptive, end": plain[-1], "regularised: start": regularised[0],
            "eta 0.1, regularised": measure(env, constant.policy, c)[0].mean(), "adaptive, regularised": regularised[at],
        })
    return rounded(rows, 5)


def places(ends, schedules):
    """Where the final values of the schedules, {followers: {schedule: (starts,)}}, are drawn: one row per start."""
    tables = []
    for n in ends:
        for k, name in enumerate(schedules):
            count = len(ends[n][name]) - 1
            tables.append(pd.DataFrame({
                "followers": n, "schedule": name, "start": [*map(str, range(count)), "epsilon-greedy"],
                "place": k + np.append(np.linspace(-0.3, 0.1, count), 0.3), "value": ends[n][name],
            }))
    return pd.concat(tables)


def gains(ends, control):
    """Final values of each schedule minus those of the control, start by start: mean, interval, and how many are better or worse."""
    rows = []
    for n in ends:
        for name, values in ends[n].items():
            gain = values - ends[n][control]
            mean, low, high = figures.mean_interval(gain[:-1])
            rows.append({
                "followers": n, "schedule": name, "gain": mean, "gain low": low, "gain high": high,
                "better": int((gain[:-1] > TIE).sum()), "worse": int((gain[:-1] < -TIE).sum()), "starts": len(gain) - 1,
                "gain, greedy start": gain[-1],
            })
    return rounded(rows, 3).query("schedule != @control")
