"""For notebook 05: what is measured on an instance, and its examples in closed form."""

import numpy as np
import pandas as pd

import pepg
from pepg import theory

STEPS = [  # of the proof of R5, from b0 to b5
    "1: greedy for the comparator's actions",
    "2: the mismatch $\\|x/d\\|_\\infty$",
    "3: the factor $1 / \\min_s \\pi(a^*(s)|s)$",
    "4: $\\sqrt{|S|}$, the norm for the sum",
    "5: $\\|g\\| + \\|g_{env}\\|$ for $\\|g_{pol}\\|$",
]


def measure(env, policy, optimum):
    """The two sides of R5, its residual, the steps b0 to b5 of its proof and the factors in them, a column each.

    trivial : the widest distance of two values that the rewards allow
    """
    low, high = env.reward_range()
    left, right, residual = theory.gradient_domination(env, policy, optimum)
    found = theory.domination_steps(env, policy, optimum)
    return {
        "left": left, "right": right, "residual": residual, "mismatch": found.mismatch, "least": found.least,
        "g": found.gradient, "g_env": found.environment_part, "pairs": found.pairs, "trivial": (high - low) / (1 - env.gamma),
        **{f"b{k}": step for k, step in enumerate(found.steps)},
    }


def forms(sample):
    """Right-hand sides {name: (n,)}: R5, its three tightened forms, and R5 with something left out."""
    b4, b5, residual = sample["b4"], sample["b5"], sample["residual"]
    factor = sample["mismatch"] / sample["least"] * np.sqrt(sample["states"])
    sharp = np.sqrt((sample["actions"] - 1) / sample["actions"])
    return {
        "R5": sample["right"],
        "with |g - g_env| for |g| + |g_env|": b4 + residual,
        "and with sqrt(S (A-1)/A) for sqrt(S)": sharp * b4 + residual,
        "the pair form": sample["pairs"] + residual,
        "R5 without the residual": b5,
        "R5 without |g_env|": factor * sample["g"] + residual,
        "R5 without the mismatch": b5 / sample["mismatch"] + residual,
        "R5 without 1/min pi": b5 * sample["least"] + residual,
        "R5 with half of the first term": b5 / 2 + residual,
    }


def compare(sample):
    """The right-hand sides of :func:`forms` against the gap: violations by more than rounding, and how tight what must hold is."""
    slack, better = 1e-10 * sample["trivial"], sample["left"] > 0
    rows = [
        {
            "right-hand side": name, "instances": len(sample), "violations": int((sample["left"] > right + slack).sum()),
            "must hold": "yes" if k < 4 else "no",
            "median left/right": (sample["left"] / right)[better].median() if k < 4 else np.nan,
        }
        for k, (name, right) in enumerate(forms(sample).items())
    ]
    return pd.DataFrame(rows).round(4)


def known(mdp, policy, optimum, chosen):
    """The known right-hand side where nothing responds, without pepg.theory; `chosen` is a deterministic policy, of the actions a*."""
    visits = mdp.occupancy(policy)
    mismatch = (mdp.occupancy(optimum).sum(axis=-1) / visits.sum(axis=-1)).max(axis=-1)
    least = (policy * chosen).sum(axis=-1).min(axis=-1)
    gradient = np.linalg.norm(visits * mdp.advantage(policy), axis=(-2, -1))
    return np.sqrt(mdp.n_states) * mismatch * gradient / least


def even(n_states, n_actions, p, gamma=0.9):
    """The environment that meets the bound, without a response, and its two policies."""
    greedy = np.tile(np.eye(n_actions)[0], (n_states, 1))
    env = pepg.SoftmaxPeMDP(
        logits=np.zeros((n_states, n_actions, n_states)),
        logit_map=np.zeros((n_states, n_actions, n_states, n_states, n_actions)),
        rewards=greedy,
        reward_map=np.zeros((n_states, n_actions, n_states, n_actions)),
        gamma=gamma,
        rho=np.full(n_states, 1 / n_states),
    )
    policy = np.tile(np.r_[p, np.full(n_actions - 1, (1 - p) / (n_actions - 1))], (n_states, 1))
    return env, policy, greedy


def one_state(base, slopes, gamma=0.9):
    """One state, two actions: r_pi = base + slopes pi, with base (2,) and slopes (2, 2)."""
    return pepg.SoftmaxPeMDP(
        logits=np.zeros((1, 2, 1)),
        logit_map=np.zeros((1, 2, 1, 1, 2)),
        rewards=np.array([base]),
        reward_map=np.array(slopes)[None, :, None, :],
        gamma=gamma,
        rho=np.ones(1),
    )


def against_strength(values):
    """Quantiles of the two sides, the residual and the norms of the gradient over the environments of each strength."""
    names = ["left", "residual", "g", "g_env", "right"]
    table = values.groupby("kappa")[names].quantile([0.1, 0.5, 0.9]).unstack().stack(0, future_stack=True)
    table = table.set_axis(["low", "median", "high"], axis=1).rename_axis(["kappa", "quantity"]).reset_index()
    table.loc[table.kappa == 0] = table[table.kappa == 0].round(9)  # what is zero up to rounding
    return table


def where_it_ends(last, distance):
    """Medians over the runs of each strength that end within `distance` of the optimum, and over those that end elsewhere."""
    columns = {"left": "gap", "residual": "residual", "b5": "first term", "pairs": "pair form", "least": "min pi(a*|s)"}
    ends = np.where(last["left"] > distance, "elsewhere", "at the optimum")
    groups = last.assign(ends=ends).groupby(["kappa", "ends"])
    table = pd.concat([groups.size().rename("runs"), groups[list(columns)].median().rename(columns=columns)], axis=1)
    return table.reset_index().round(4)
