"""For notebook 25: eight agents who like company and must keep apart, exactly, by the law of how many are where."""

from itertools import product

import autograd.numpy as anp
import numpy as np
import pandas as pd
from autograd import grad

import pepg
from pepg import figures

from .potential_games import climb, start

WEIGHTS = np.array([4.0, 3.0, 2.0, 1.0])  # what one more agent in a facility is worth to each who is there
PENALTY, COST = 100.0, 20.0  # of a step that ends spread, to every agent; of an intervention, to the one who intervenes
SAFE, SPREAD = 0, 1
RHO = np.array([0.5, 0.5])
FACILITIES = len(WEIGHTS)


def divisions(agents):
    """All ways to divide agents among the facilities, as counts (n, 4)."""
    return np.array([counts for counts in product(range(agents, -1, -1), repeat=FACILITIES) if sum(counts) == agents])


def _waves(agents):
    """What an agent in each facility turns a wave by (4, n), and what each wave adds (2, n) to the probability that the next state is spread.

    A probability of counts is a sum of waves over their law, a product over agents. More than half of them can be in one facility
    only, so that four laws of one count do while safe. Once spread, safe follows where every count is a quarter, the only way for all
    counts to leave that remainder on division by a quarter and one.
    """
    period, quarter = agents + 1, agents // 4 + 1
    many = np.arange(agents // 2 + 1, period)
    angle = np.concatenate([np.outer(np.arange(period), row) for row in np.eye(FACILITIES)]) * 2.0 * np.pi / period
    safe = np.exp(-1j * angle.sum(axis=1)[:, None] * many).sum(axis=1) / period
    turned = np.array([(*row, 0) for row in product(range(quarter), repeat=FACILITIES - 1)]) * 2.0 * np.pi / quarter
    spread = (~turned.any(axis=1)) - np.exp(-1j * turned.sum(axis=1) * (agents // 4)) / len(turned)
    angles = np.concatenate([angle, turned]).T
    events = np.zeros((2, angles.shape[1]), dtype=complex)
    events[SAFE, : len(angle)], events[SPREAD, len(angle) :] = safe, spread
    return np.exp(1j * angles), events


def two_states(safe, spread, gamma):
    """Values (..., 2) of two states, from the reward (...) and the moves (..., 2) in each; moves may sum to less than 1."""
    (reward, moves), (other, back) = safe, spread
    stay, leave = 1.0 - gamma * moves[..., SAFE], gamma * moves[..., SPREAD]
    remain, back = 1.0 - gamma * back[..., SPREAD], gamma * back[..., SAFE]
    values = anp.stack([remain * reward + leave * other, stay * other + back * reward], axis=-1)
    return values / (stay * remain - leave * back)[..., None]


class Game:
    """The game of `agents`, a multiple of 4, whose actions are replaced with probability up to `alpha` by who intervenes.

    Policies are (..., agent, state, action): joint policies side by side share the work.

    weighted : whether those who intervene value an action times its probability under the policy, as the source's program does,
        or by what it is worth to them
    """

    def __init__(self, alpha, gamma=0.99, agents=8, weighted=True, seed=0):
        if agents % 4:
            raise ValueError(f"agents: expected a multiple of 4, got {agents}")
        self.alpha, self.gamma, self.agents, self.weighted = alpha, gamma, agents, weighted
        rng = np.random.default_rng(seed)
        shuffled = rng.permuted(np.tile(WEIGHTS, (agents, 1)), axis=1)
        self.wanted = np.where(rng.random(shuffled.shape) > 0.7, shuffled, WEIGHTS)  # of each who intervenes
        self._turns, self._events = _waves(agents)

    def crowding(self, each):
        """The probability (..., agent, state, action) that the next state is spread if an agent does that and the others follow `each`."""
        each = each + 0j
        waves = [anp.dot(each[..., i, :, :], self._turns) for i in range(self.agents)]
        before, after = [self._events], [1.0]
        for i in range(self.agents - 1):
            before.append(before[-1] * waves[i])
            after.append(after[-1] * waves[-1 - i])
        # All agents but one, without a division: a wave can be 0.
        others = anp.stack([a * b for a, b in zip(before, after[::-1])], axis=-3)
        return anp.real(anp.dot(others, self._turns.T))

    def interventions(self, each):
        """The probability (..., agent, state, action) that whoever can replace an agent's action does so by this one."""
        spread, company = self.crowding(each), _company(each)
        forced, free = self.wanted[:, None] * company - PENALTY * spread - COST, WEIGHTS * company - PENALTY * spread
        # A fifth choice, to leave the agent alone.
        if self.weighted:
            reward, mass = _joined(each * forced, (each * free)[..., -1:]), _joined(each, each[..., -1:])
            spread = _joined(spread, spread[..., -1:])
        else:
            reward, mass = _joined(forced, anp.sum(each * free, axis=-1, keepdims=True)), 1.0
            spread = _joined(spread, anp.sum(each * spread, axis=-1, keepdims=True))
        moves = anp.stack([mass * (1.0 - spread), mass * spread], axis=-1)
        # Of the 25 deterministic plans one is best in both states: value iteration's limit, with nothing to iterate.
        safe = reward[..., SAFE, :, None], moves[..., SAFE, :, None, :]
        value = anp.max(two_states(safe, (reward[..., SPREAD, None, :], moves[..., SPREAD, None, :, :]), self.gamma), axis=(-3, -2))
        worth = reward + self.gamma * anp.sum(moves * value[..., None, None, :], axis=-1)
        odds = anp.exp(worth - anp.max(worth, axis=-1, keepdims=True))
        return (odds / anp.sum(odds, axis=-1, keepdims=True))[..., :-1]

    def done(self, each, replaced):
        """What agents end up doing who follow `each` where actions are `replaced`."""
        return (1.0 - self.alpha * anp.sum(replaced, axis=-1, keepdims=True)) * each + self.alpha * replaced

    def value(self, done):
        """The mean reward per agent and step, (1 - γ) V, of what agents do."""
        spread = anp.sum(done * self.crowding(done), axis=-1)[..., 0, :]  # the same from every agent's side
        reward = anp.sum(done * WEIGHTS * _company(done), axis=(-3, -1)) / self.agents - PENALTY * spread
        moves = anp.stack([1.0 - spread, spread], axis=-1)
        values = two_states((reward[..., SAFE], moves[..., SAFE, :]), (reward[..., SPREAD], moves[..., SPREAD, :]), self.gamma)
        return (1.0 - self.gamma) * anp.dot(values, RHO)

    def own(self, each, replaced):
        """The MDPs of all agents, each alone with two states and four actions: the others do what they do, and so do those who intervene."""
        done = self.done(each, replaced)
        spread = self.crowding(done)
        reward = WEIGHTS * _company(done) - PENALTY * spread
        after = [self.done(np.eye(FACILITIES)[a], replaced) for a in range(FACILITIES)]  # what an action turns into
        reward, spread = (np.stack([(x * turned).sum(axis=-1) for turned in after], axis=-1) for x in (reward, spread))
        spread = np.clip(spread, 0.0, 1.0)  # a sum of waves, that may be out by rounding
        return pepg.MDP(np.stack([1.0 - spread, spread], axis=-1), reward, self.gamma, RHO)


def _company(each):
    """The expected number (..., agent, state, action) in a facility if an agent goes there and the others follow `each`."""
    return 1.0 + anp.sum(each, axis=-3, keepdims=True) - each


def _joined(actions, alone):
    return anp.concatenate([actions, alone], axis=-1)


def regret(game, each):
    """What the agent who gains most would gain by a best response, the others and those who intervene as they are, per step."""
    own = game.own(each, game.interventions(each))
    gains = own.expected_return(pepg.best_response(own)) - own.expected_return(each)
    return (1.0 - game.gamma) * np.maximum(gains.max(axis=-1), 0.0)


def leaving(game, each):
    """What the agent who loses least by it loses by going elsewhere once spread in one step alone, by joint policy, per step."""
    own = game.own(each, game.interventions(each))
    worth = own.action_value(each)[..., SPREAD, :]
    there = each[..., SPREAD, :] > 0.5
    elsewhere = np.where(there, -np.inf, worth).max(axis=-1)
    return (1.0 - game.gamma) * ((each[..., SPREAD, :] * worth).sum(axis=-1) - elsewhere).min(axis=-1)


def deployed(game, each):
    """The value of joint policies where they are deployed."""
    return game.value(game.done(each, game.interventions(each)))


def independent(game, each):
    """The policy gradient of each agent in its own value, per step."""
    own = game.own(each, game.interventions(each))
    return (1.0 - game.gamma) * own.occupancy(each).sum(axis=-1, keepdims=True) * own.action_value(each)


def cooperating(game, each):
    """The policy gradient of the mean value, those who intervene held still."""
    replaced = game.interventions(each)
    return grad(lambda policies: anp.sum(game.value(game.done(policies, replaced))))(each)


def joint(game, each):
    """The performative gradient of the mean value."""
    return grad(lambda policies: anp.sum(deployed(game, policies)))(each)


def ascend(kind, game, seeds, iterations, step_size, every, near=None):
    """Ascent from near-uniform agents, or from those who are all but sure to follow `near`, one of a start.

    Returns per-step values (iterations + 1, seeds), regrets and the last agents (seeds, agent, state, action).
    """
    starts = np.stack([start(seed, (game.agents, 2, FACILITIES)) for seed in seeds])
    if near is not None:
        starts = starts + np.log(0.96 * near + 0.01)

    def look(each):
        return deployed(game, each), kind(game, each)

    return climb(look, lambda each: regret(game, each), starts, iterations, step_size, every)


def pure(counts, spread):
    """Deterministic agents (agent, state, action), in order, who divide by counts (4,) while safe and by others once spread."""
    return followed(*(np.repeat(np.arange(FACILITIES), row) for row in (counts, spread)))


def followed(safe, spread):
    """Deterministic agents (..., agent, state, action) from where each goes (..., agent) in both states."""
    return np.eye(FACILITIES)[np.stack([safe, spread], axis=-1)]


def best_divisions(games, spread, pairings):
    """Of the ways to divide while safe, with one once spread, the best and the best that is stable, in games by strength.

    {(strength, which): (counts, value, regret, agents)}. Who goes where in one state may go anywhere in the other, and who intervenes
    has tastes, so that of each way the best of so many random pairings counts.
    """
    found, rng = {}, np.random.default_rng(0)
    for strength, game in games.items():
        counts = divisions(game.agents)
        places = [np.stack([np.repeat(np.arange(FACILITIES), row) for row in rows]) for rows in (counts, [spread] * len(counts))]
        tried = [followed(*(rng.permuted(rows, axis=1) for rows in places)) for _ in range(pairings)]
        values = np.stack([deployed(game, each) for each in tried])
        top = values.round(9).argmax(axis=0), np.arange(len(counts))  # the first of those that rounding alone tells apart
        agents, values = np.stack(tried)[top], values[top]
        regrets = regret(game, agents)
        best = {"best division": values.argmax(), "best stable one": np.where(regrets < 1e-6, values, -np.inf).argmax()}
        found |= {(strength, which): (counts[at], values[at], regrets[at], agents[at]) for which, at in best.items()}
    return found


def ends(found, climbs):
    """A table of what :func:`best_divisions` finds and of where ascents end."""
    rows = [
        (strength, f"{which}: {', '.join(map(str, counts))}", value, np.nan, np.nan, lost, lost)
        for (strength, which), (counts, value, lost, _) in found.items()
    ]
    for (strength, name), (values, regrets, _) in climbs.items():
        rows.append((strength, name, *map(float, figures.mean_interval(values[-1])), regrets[-1].min(), regrets[-1].max()))
    columns = ["α", "policies", "reward", "low", "high", "least regret", "largest regret"]
    return pd.DataFrame(rows, columns=columns).sort_values("α", kind="stable")
