"""For notebook 25: four agents on two roads at a time, exactly: the game, what each gains, and ascent one by one or together."""

from itertools import product

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import pepg
from pepg import figures
from pepg.algorithms.ascent import Adam

AGENTS, PLACES = 4, 5
LEADS = np.array([[1, 2], [3, 4], [4, 3], [0, 0], [0, 0]])  # where each action leads from each place
PAYS = np.array([0.0, 50.0, 15.0, 5.0, 1.0])  # by how many take the same action at the same place
STATES = np.array([(0,) * AGENTS, *product((1, 2), repeat=AGENTS), *product((3, 4), repeat=AGENTS)])  # (33, 4)
ACTIONS = np.array(list(product((0, 1), repeat=AGENTS)))  # (16, 4)


def _fixed():
    """Rewards (agent, state, joint action), targets and what the response blurs (agent, state, action, place)."""
    same = (STATES[:, None, :, None] == STATES[:, None, None, :]) & (ACTIONS[:, :, None] == ACTIONS[:, None, :])
    target = np.eye(PLACES)[LEADS[STATES.T]]
    both = np.broadcast_to(target.max(axis=2, keepdims=True), target.shape)
    return np.moveaxis(PAYS[same.sum(axis=-1)], -1, 0), target, both


REWARDS, TARGET, BOTH = _fixed()


def shares(joint):
    """What each agent does, (4, 33, 2), of a policy (33, 16) over joint actions."""
    return anp.stack([anp.stack([anp.sum(joint[:, ACTIONS[:, i] == a], axis=1) for a in (0, 1)], axis=1) for i in range(AGENTS)])


def together(each):
    """The joint policy (33, 16) of independent agents (4, 33, 2)."""
    return np.prod([each[i][:, ACTIONS[:, i]] for i in range(AGENTS)], axis=0)


def rewards(each, strength):
    """Of each agent for each joint action, (4, 33, 16): by the load, and a premium on what the agent is known to do."""
    premium = [strength * (each[i][:, ACTIONS[:, i]] - 0.5) for i in range(AGENTS)]
    return REWARDS + anp.stack(premium)


def game(omega, gamma=0.99):
    """The environment of the four, with the mean of their rewards, and the strength c = ω / ((1 - γ) √66) < 2 of its response."""
    strength = omega / ((1.0 - gamma) * np.sqrt(66.0))
    if not 0.0 <= strength < 2.0:
        raise ValueError(f"omega: expected a strength c in [0, 2), at 2 a move has nowhere to go, got {strength:.3g}")

    def respond(joint):
        each = shares(joint)
        # A place is blurred into by c (π - 1/2), in place of the target's own 1; never below 0.
        weight = anp.maximum(TARGET + BOTH * strength * (each - 0.5)[..., None], 0.0)
        moves = weight / anp.sum(weight, axis=-1, keepdims=True)
        P = 1.0
        for i in range(AGENTS):
            P = P * moves[i][:, :, STATES[:, i]][:, ACTIONS[:, i]]
        return P, anp.mean(rewards(each, strength), axis=0)

    env = pepg.FunctionPeMDP(respond, len(STATES), len(ACTIONS), gamma, np.eye(len(STATES))[0])
    return env, strength


def pulled_back(gradient, each):
    """A gradient in the joint policy (33, 16) as one in each agent's (4, 33, 2), the others held."""
    out = np.empty_like(each)
    for i in range(AGENTS):
        others = np.prod([each[j][:, ACTIONS[:, j]] for j in range(AGENTS) if j != i], axis=0)
        out[i] = np.stack([(gradient * others)[:, ACTIONS[:, i] == a].sum(axis=1) for a in (0, 1)], axis=1)
    return out


def own(mdp, each, i, paid):
    """The MDP of agent i alone, 33 states and 2 actions, where the others do what they do and the environment stands still."""
    others = np.prod([each[j][:, ACTIONS[:, j]] for j in range(AGENTS) if j != i], axis=0)
    mine = [ACTIONS[:, i] == a for a in (0, 1)]
    P = np.stack([(others[..., None] * mdp.P)[:, m].sum(axis=1) for m in mine], axis=1)
    r = np.stack([(others * paid)[:, m].sum(axis=1) for m in mine], axis=1)
    return pepg.MDP(P, r, mdp.gamma, mdp.rho)


def regret(env, strength, each):
    """What the agent who gains most would gain by a best response, the others and the environment as they are, per step."""
    mdp, paid = env.respond(together(each)), rewards(each, strength)
    alone = [own(mdp, each, i, paid[i]) for i in range(AGENTS)]
    gains = [one.expected_return(pepg.best_response(one)) - one.expected_return(each[i]) for i, one in enumerate(alone)]
    return (1 - env.gamma) * max(gains)


def independent(env, strength, deployment, each):
    """The policy gradient of each agent in its own value: nobody sees the response, nor what a step does to the others."""
    paid = rewards(each, strength)
    visits = deployment.occupancy.sum(axis=1)
    alone = [own(deployment.mdp, each, i, paid[i]) for i in range(AGENTS)]
    return visits[None, :, None] * np.stack([one.action_value(each[i]) for i, one in enumerate(alone)])


def joint(env, strength, deployment, each):
    """The performative gradient of the mean value: the others and the response included."""
    visits = deployment.occupancy.sum(axis=1, keepdims=True)
    gradient = visits * deployment.mdp.backup(deployment.value)
    return pulled_back(gradient + env.response_gradient(deployment.policy, deployment.occupancy, deployment.value), each)


def cooperating(env, strength, deployment, each):
    """The policy gradient of the mean value in the environment held still: the others included, the response not."""
    return pulled_back(deployment.occupancy.sum(axis=1, keepdims=True) * deployment.mdp.backup(deployment.value), each)


def start(seed, shape):
    """Logits of near-uniform agents."""
    return np.random.default_rng(seed).normal(0.0, 0.1, shape)


def climb(look, regret, logits, iterations, step_size, every):
    """Adam with a step that falls to 0: per-step values (iterations + 1, ...), regrets and the last agents.

    look : the value per step of agents (agent, state, action), and a gradient in their policies
    """
    rule, values, regrets = Adam(1.0), [], []
    for t in range(iterations + 1):
        each = pepg.softmax(logits)
        value, gradient = look(each)
        values.append(value)
        if t % every == 0:
            regrets.append(regret(each))
        gradient = each * (gradient - (each * gradient).sum(axis=-1, keepdims=True))
        logits = logits + step_size * (1 - t / iterations) * rule(gradient)
    return np.array(values), np.array(regrets), each


def ascend(kind, env, strength, seed, iterations, step_size, every):
    """:func:`climb` of the four, from near-uniform agents."""

    def look(each):
        deployment = pepg.deploy(env, together(each))
        return (1 - env.gamma) * deployment.expected_return, kind(env, strength, deployment, each)

    logits = start(seed, (AGENTS, len(STATES), 2))
    return climb(look, lambda each: regret(env, strength, each), logits, iterations, step_size, every)


# Figures

LOOKS = {"independent PG": "PG", "joint PG": "RPO", "joint PePG": "PePG"}


def tabulate(values, regrets, every, symbol):
    """Curves of values (round, seed) and of regrets, which are known every so many rounds, of {(strength, algorithm): ...}."""
    known = {"value": {key: v[::every] for key, v in values.items()}, "regret": regrets}
    return pd.concat([
        figures.curves(every * np.arange(len(v)), v, "round", **{symbol: strength}, algorithm=name).assign(quantity=quantity)
        for quantity, table in known.items() for (strength, name), v in table.items()
    ]).round(6)


def draw_main(drawn, strengths, symbol="ω", below=0.4, above=0.06, most=1.5):
    """Values and Nash regrets by round, a column a strength; values from `below` under the highest mean to `above` it, regrets up to `most`."""
    figure, axes = plt.subplots(2, len(strengths), figsize=(7.2, 4.6), sharex=True, squeeze=False)
    for column, strength in zip(axes.T, strengths):
        here = drawn[drawn[symbol] == strength]
        for ax, quantity in zip(column, ("value", "regret")):
            for name, part in here[here["quantity"] == quantity].groupby("algorithm", sort=False):
                figures.draw_curve(ax, part, name, x="round", color=figures.COLORS[LOOKS[name]], linestyle=figures.LINES[LOOKS[name]])
        top = here.loc[here["quantity"] == "value", "mean"].max()
        column[0].set(title=f"{symbol} = {strength:g}", ylim=(top - below, top + above))  # all start far below
        column[1].set(xlabel="round", ylim=(0.0, most))
    axes[0, 0].set_ylabel("mean reward per step")
    axes[1, 0].set_ylabel("Nash regret per step")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
