"""For notebook 10: the gridworld's answer written down from its definition, and how far it moves with the policy."""

from itertools import product

import numpy as np
import pandas as pd

import pepg
from pepg import algorithms, figures, theory

STEPS = np.array([0.01, 0.1, 0.3, 0.5, 0.75, 1.0])  # shares of the way to another policy
REACH = np.array([0.001, 0.01, 0.1, 0.3, 1.0])  # shares of the longest step that stays a policy


def agent_two_from_the_definition(env, policy, rounds=400):
    """Agent 2's answer (S, 5) by plain value iteration of every follower."""
    entry = env.follower_grids.reshape(env.n_followers, -1)[:, env.next_state]
    value = np.zeros(entry.shape[:2])
    for _ in range(rounds):
        entered = entry + env.gamma * value[:, env.next_state]
        none = (policy * entered).sum(axis=-1, keepdims=True)
        action_value = np.concatenate([entered - env.cost, none], axis=-1)
        value = action_value.max(axis=-1)
        value[:, env.goal] = 0.0
    return pepg.softmax(env.beta * action_value.mean(axis=0))


def read_back(env, policy):
    """Agent 2's probabilities of its four moves (S, 4), read off P: the least probability of entering a cell over agent 1's actions."""
    P = env.respond(policy).P
    cells = np.repeat(env.next_state[:, None], env.n_actions, axis=1)  # (S, a, m)
    return np.take_along_axis(P, cells, axis=-1).min(axis=1)


def distance(policy, other):
    """The largest L1 distance over the states, at most 2."""
    return np.abs(policy - other).sum(axis=-1).max(axis=-1)


def changes(env, base, policies):
    """The distance of each policy from `base`, and the largest change of P (L1) and of r over all (s, a) off the goal: (n, 3)."""
    frozen = env.respond(base)
    rows = []
    for policy in policies:
        mdp = env.respond(policy)
        dP = np.abs(mdp.P - frozen.P).sum(axis=-1)[: env.goal].max()
        rows.append((distance(policy, base), dP, np.abs(mdp.r - frozen.r)[: env.goal].max()))
    return np.array(rows)


def steepest_directions(env, base):
    """The greatest slope of P and of r at `base` and the step that attains it: {"P": (slope, step), "r": (slope, step)}."""
    dP, dr = _derivatives(env, base)
    states, actions, cells = np.arange(env.goal), np.arange(env.n_actions), env.next_state[: env.goal]
    entered = dP[:, :, states[:, None, None], actions[:, None], cells[:, None, :]]  # (S, A, s, a, m), the entries that move
    again = [[cell in row[:m] for m, cell in enumerate(row)] for row in cells.tolist()]  # a corner's two ways of staying
    patterns = np.array(list(product([-1.0, 1.0], repeat=4))).T
    return {"P": _steepest((entered * ~np.array(again)[:, None]) @ patterns), "r": _steepest(dr[:, :, : env.goal])}


def _derivatives(env, base, h=1e-5):
    """Forward differences of P (S, A, S, A, S) and r (S, A, S, A) as probability moves to (s, a) from the last action."""
    frozen = env.respond(base)
    dP, dr = np.zeros(base.shape + frozen.P.shape), np.zeros(base.shape + frozen.r.shape)
    for s, a in np.ndindex(env.goal, env.n_actions - 1):
        policy = base.copy()
        policy[s, a] += h
        policy[s, -1] -= h
        mdp = env.respond(policy)
        dP[s, a], dr[s, a] = (mdp.P - frozen.P) / h, (mdp.r - frozen.r) / h
    return dP, dr


def _steepest(gradients):
    """Of linear functions with `gradients` (S, A, ...), the greatest slope and the step that attains it."""
    slopes = 0.5 * (gradients.max(axis=1) - gradients.min(axis=1)).sum(axis=0)
    where = np.unravel_index(slopes.argmax(), slopes.shape)
    gradient = gradients[(slice(None), slice(None), *where)]
    states, step = np.arange(len(gradient)), np.zeros(gradient.shape)
    step[states, gradient.argmax(axis=1)] += 0.5
    step[states, gradient.argmin(axis=1)] -= 0.5
    return slopes[where], step


def mean_span(env):
    """The mean over the followers of a bound U_k on the span of what entering a cell is worth, whatever the policy."""

    def entered(cost):
        entry = env.follower_grids.reshape(env.n_followers, -1)[:, env.next_state]
        value = np.zeros(entry.shape[:2])
        for _ in range(400):
            value = (entry + env.gamma * value[:, env.next_state]).max(axis=-1) - cost
            value[:, env.goal] = 0.0
        return entry + env.gamma * value[:, env.next_state]

    return (entered(0.0).max(axis=-1) - entered(env.cost).min(axis=-1))[:, : env.goal].max(axis=-1).mean()


def random_corners(env, count, seed):
    """`count` deterministic policies, one uniformly drawn move in each cell."""
    streams = np.random.SeedSequence(seed).spawn(count)
    return [np.eye(env.n_actions)[np.random.default_rng(stream).integers(0, env.n_actions, env.n_states)] for stream in streams]


def measure(worlds, policies, corners):
    """How P and r change along lines from each of two `policies` (by name) in each of `worlds` (by beta).

    Returns a tidy table of the changes along the lines, one of the largest ratios of change and distance, and, for every
    shortest step along a steepest direction, its ratio over the slope predicted for it.
    """
    lines, points, predicted = [], [], []
    for (beta, env), (name, base) in product(worlds.items(), policies.items()):
        (other,) = (policy for key, policy in policies.items() if key != name)
        ends = [[(1 - t) * base + t * end for t in STEPS] for end in (other, *corners)]
        along, *random = (changes(env, base, line) for line in ends)
        random = np.array(random)
        steepest = steepest_directions(env, base)
        moved = {q: changes(env, base, [base + d * step for d in 2.0 * base.min() * REACH]) for q, (_, step) in steepest.items()}
        for k, quantity in enumerate("Pr", start=1):
            label, steep = {"beta": beta, "from": name, "quantity": quantity}, moved[quantity]
            bands = {
                "other policy": (along[:, 0], (along[:, k],) * 3),
                "steepest": (steep[:, 0], (steep[:, k],) * 3),
                "random": (random[:, :, 0].mean(axis=0), figures.mean_interval(random[:, :, k], axis=0)),
            }
            for direction, (x, (mean, low, high)) in bands.items():
                change = {"distance": x, "change": mean, "low": low, "high": high, "ratio": mean / x}
                lines.append(pd.DataFrame({**label, "direction": direction, **change}))
            largest = [(found[..., k] / found[..., 0]).max() for found in (along, random, steep)]
            slope = steepest[quantity][0]
            points.append({
                **label, "to the other policy": largest[0], "random directions": largest[1], "slope predicted": slope,
                "along the steepest direction": largest[2], "largest ratio": max(largest),
            })
            predicted.append(steep[0, k] / steep[0, 0] / slope)
    return pd.concat(lines), pd.DataFrame(points).sort_values(["quantity", "beta"], kind="stable"), predicted


def retraining_on_draw(draw, setting, starts, seed, iterations):
    """Best responses on that draw of the followers: from random starts (mean gains of the first two), and to PePG's policy."""
    env = pepg.Gridworld(**setting, seed=draw)
    first = env.random_policies(np.random.SeedSequence(seed + 1).spawn(starts), scale=1.0)
    values, promised, _ = theory.promise_and_shift(env, best_responses(env, first, 2))
    found = algorithms.pepg(env, policy=env.epsilon_greedy_policy(0.1), iterations=iterations)
    answer = pepg.performative_value(env, pepg.best_response(env.respond(found.policy)))
    return {
        "draw": draw, "first, delivered - promised": (values[1] - promised[0]).mean(),
        "second, delivered": (values[2] - values[1]).mean(), "best response to PePG, delivered": answer - found.values[-1],
    }


# Retraining


def best_responses(env, policy, count):
    """The policy, the best response to where it is deployed, the best response to where that is deployed, ...: (count + 1, ...)."""
    deployed = [policy]
    for _ in range(count):
        deployed.append(pepg.best_response(env.respond(deployed[-1])))
    return np.array(deployed)


def retraining_curves(env, policy, rpo, count, **labels):
    """Promised and delivered value by retraining, with best responses and with RPO, and by how much R1 fails there: table, residual."""
    rows, residual = [], 0.0
    for way, deployed in (("best response", best_responses(env, policy, count)), ("RPO", rpo.policies[: count + 1])):
        values, promised, shift = theory.promise_and_shift(env, deployed)
        residual = max(residual, np.abs(values[1:] - promised - shift).max())
        rows.append(pd.DataFrame({
            **labels, "way": way, "retraining": np.arange(count + 1), "promised": np.r_[np.nan, promised], "delivered": values,
        }))
    return pd.concat(rows), residual


def gain_rows(env, starts, count, **labels):
    """What each of `count` best responses promises and delivers, means with intervals over the starts, and how often it is less."""
    values, promised, _ = theory.promise_and_shift(env, best_responses(env, starts, count))
    gains = {"promised": (promised - values[:-1]).round(8), "delivered": (values[1:] - values[:-1]).round(8)}
    rows = []
    for k in range(count):
        line = {**labels, "retraining": k + 1}
        for name, gain in gains.items():
            mean, low, high = figures.mean_interval(gain[k])
            line |= {f"gain {name}": mean, f"gain {name}, low": low, f"gain {name}, high": high}
        line["share below the promise"] = (gains["delivered"][k] < gains["promised"][k] - 1e-6).mean()
        line["share below the policy replaced"] = (gains["delivered"][k] < -1e-6).mean()
        rows.append(line)
    return rows
