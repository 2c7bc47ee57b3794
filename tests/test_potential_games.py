"""The games of notebook 25: their responses, and the gradients of each against differences of what each ascends."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

import pepg
from support import potential_games as support
from support import safe_distancing as distancing

GAME = support.game(0.1)


@pytest.fixture
def each():
    return pepg.softmax(np.random.default_rng(0).normal(size=(4, 33, 2)))


def test_loads_pay_and_moves_lead_where_they_should():
    env, strength = support.game(0.0)
    assert strength == 0.0
    mdp = env.respond(support.together(np.tile([1.0, 0.0], (4, 33, 1))))
    all_first = 0  # of the joint actions, that in which everybody takes action 0
    assert support.REWARDS[:, 0, all_first].tolist() == [1.0] * 4
    ends = [tuple(support.STATES[s]) for s in np.flatnonzero(mdp.P[0, all_first])]
    assert ends == [(1, 1, 1, 1)]
    split = next(s for s, state in enumerate(support.STATES) if tuple(state) == (1, 1, 2, 2))
    mixed = next(a for a, action in enumerate(support.ACTIONS) if tuple(action) == (0, 1, 0, 0))
    assert support.REWARDS[:, split, mixed].tolist() == [50.0, 50.0, 15.0, 15.0]
    assert tuple(support.STATES[mdp.P[split, mixed].argmax()]) == (3, 4, 4, 4)
    assert (mdp.P[17:, :, 0] == 1.0).all()


def test_the_response(each):
    """A premium of c (π - 1/2), and the same weight on both places of the next layer, not below 0."""
    env, c = GAME
    assert c == pytest.approx(0.1 / (0.01 * np.sqrt(66)))
    mdp = env.respond(support.together(each))
    assert support.shares(support.together(each)) == pytest.approx(each)
    delta = np.array([each[i, 0, 0] - 0.5 for i in range(4)])
    assert mdp.r[0, 0] == pytest.approx(1.0 + c * delta.mean())
    stays = (1 + c * delta) / (1 + c * delta + np.maximum(c * delta, 0.0))
    assert mdp.P[0, 0, 1] == pytest.approx(stays.prod())
    with pytest.raises(ValueError, match="omega: "):
        support.game(0.2)


def test_gradients_are_those_of_what_each_ascends(each):
    env, c = GAME
    deployment = pepg.deploy(env, support.together(each))
    frozen, paid = deployment.mdp, support.rewards(each, c)
    rng, h = np.random.default_rng(1), 1e-5
    logits = np.log(each)
    kinds = {
        support.joint: lambda p, i: pepg.performative_value(env, support.together(p)),
        support.cooperating: lambda p, i: frozen.expected_return(support.together(p)),
        support.independent: lambda p, i: pepg.MDP(frozen.P, paid[i], 0.99, frozen.rho).expected_return(support.together(p)),
    }
    for kind, value in kinds.items():
        gradient = kind(env, c, deployment, each)
        gradient = each * (gradient - (each * gradient).sum(axis=-1, keepdims=True))
        for i in range(4):
            z = np.zeros_like(logits)
            z[i] = rng.normal(size=z[i].shape)
            slope = (value(pepg.softmax(logits + h * z), i) - value(pepg.softmax(logits - h * z), i)) / (2 * h)
            assert (gradient * z).sum() == pytest.approx(slope, rel=1e-5), kind.__name__


def test_regret_is_what_a_best_response_gains(each):
    env, c = GAME
    regret = support.regret(env, c, each)
    assert regret > 0.0
    mdp, paid = env.respond(support.together(each)), support.rewards(each, c)
    for i in range(4):
        own = pepg.MDP(mdp.P, paid[i], 0.99, mdp.rho)
        stays = own.expected_return(support.together(each))
        for _ in range(20):
            other = each.copy()
            other[i] = np.eye(2)[np.random.default_rng(i).integers(2, size=33)]
            assert 0.01 * (own.expected_return(support.together(other)) - stays) <= regret + 1e-9


# Safe distancing

FOUR = np.array(list(product(range(4), repeat=4)))  # joint actions of four agents
COUNTS = (FOUR[:, :, None] == np.arange(4)).sum(axis=1)
SPREADS = np.stack([COUNTS.max(axis=1) > 2, COUNTS.max(axis=1) > 1])
PAID = np.take_along_axis(COUNTS * distancing.WEIGHTS, FOUR, axis=1)  # (joint action, agent), without the penalty


def distancers(agents, *lead, seed=0):
    return pepg.softmax(np.random.default_rng(seed).normal(size=(*lead, agents, 2, 4)))


def probabilities(done):
    """Of the joint actions of four agents, (2, 256)."""
    return np.prod([done[i][:, FOUR[:, i]] for i in range(4)], axis=0)


def told_in_full(done, reward):
    """(1 - γ) V of rewards (2, 256, ...) that four agents get who do `done`, by joint actions."""
    chances = probabilities(done)
    spread = (chances * SPREADS).sum(axis=1)
    moves = np.stack([1.0 - spread, spread], axis=1)
    values = np.linalg.solve(np.eye(2) - 0.99 * moves, np.einsum("sa,sa...->s...", chances, reward))
    return 0.01 * values.mean(axis=0)


def test_company_pays_and_crowds_spread():
    """Of eight: 4 + 4 may stay while safe, and pay 16 and 12; once spread only 2 + 2 + 2 + 2 lead back."""
    game = distancing.Game(0.0)
    counts = distancing.divisions(8)
    assert len(counts) == 165 and (counts.sum(axis=1) == 8).all()
    for counts, value, regret, agents in distancing.best_divisions({0.0: game}, (2, 2, 2, 2), pairings=2).values():
        assert counts.tolist() == agents[:, 0].sum(axis=0).tolist() == [4, 4, 0, 0] and (agents[:, 1].sum(axis=0) == 2).all()
        assert value == pytest.approx(0.5 * 14.0 + 0.5 * (0.01 * 5.0 + 0.99 * 14.0)) == distancing.deployed(game, agents)
        assert regret == pytest.approx(0.0, abs=1e-9)
    assert distancing.deployed(game, distancing.pure((8, 0, 0, 0), (8, 0, 0, 0))) == pytest.approx(8 * 4.0 - 100.0)
    nobody_leaves_alone = distancing.regret(game, distancing.pure((4, 4, 0, 0), (8, 0, 0, 0)))
    assert nobody_leaves_alone == pytest.approx(0.0, abs=1e-9)
    # Who leaves a crowd of eight is alone instead, where its weight is at best 3 in place of 8 · 4, and is penalised all the same.
    assert distancing.leaving(game, distancing.pure((4, 4, 0, 0), (8, 0, 0, 0))) == pytest.approx(0.01 * (32.0 - 3.0))


def test_pairings_matter_where_somebody_intervenes():
    """The best of some pairings of a division is worth more than that of the agents in order, and is what it is said to be."""
    game = distancing.Game(0.15)
    counts, value, regret, agents = distancing.best_divisions({0.15: game}, (2, 2, 2, 2), pairings=5)[0.15, "best division"]
    assert value > distancing.deployed(game, distancing.pure(counts, (2, 2, 2, 2))) + 0.2
    assert value == pytest.approx(distancing.deployed(game, agents)) and regret == pytest.approx(distancing.regret(game, agents))


@pytest.mark.parametrize("agents", [4, 8])
def test_crowding_is_that_of_all_joint_actions(agents):
    each = distancers(agents)
    crowding = distancing.Game(0.1, agents=agents).crowding(each)
    joint = np.array(list(product(range(4), repeat=agents)))
    most = (joint[:, :, None] == np.arange(4)).sum(axis=1).max(axis=1)
    for state, capacity in enumerate((agents // 2, agents // 4)):
        chances = np.prod([each[i, state][joint[:, i]] for i in range(agents)], axis=0)
        mine = joint[:, 1] == 2
        assert crowding[1, state, 2] == pytest.approx(chances[mine & (most > capacity)].sum() / chances[mine].sum())
        assert (each[:, state] * crowding[:, state]).sum(axis=1) == pytest.approx(chances[most > capacity].sum())


@pytest.mark.parametrize("weighted", [True, False])
def test_who_intervenes_values_what_value_iteration_finds(weighted):
    game, each = distancing.Game(0.3, gamma=0.9, weighted=weighted), distancers(8)
    replaced = game.interventions(each)
    assert replaced.shape == (8, 2, 4) and (replaced >= 0.0).all() and (replaced.sum(axis=2) <= 1.0).all()
    assert game.done(each, replaced).sum(axis=2) == pytest.approx(1.0)
    spread, company, worth = game.crowding(each), 1.0 + each.sum(axis=0) - each, np.zeros((8, 2, 5))
    for _ in range(600):
        best = worth.max(axis=2)[:, None, None]
        later = 0.9 * ((1.0 - spread) * best[..., 0] + spread * best[..., 1]) - 100.0 * spread
        forced, free = game.wanted[:, None] * company - 20.0 + later, distancing.WEIGHTS * company + later
        alone = (each * free)[..., -1:] if weighted else (each * free).sum(axis=2, keepdims=True)
        worth = np.concatenate([each * forced if weighted else forced, alone], axis=2)
    assert pepg.softmax(worth)[..., :4] == pytest.approx(replaced, abs=1e-9)


@pytest.mark.parametrize("weighted", [True, False])
def test_values_and_regret_are_those_of_all_joint_actions(weighted):
    """The regret against each of the 16 deterministic plans of each of four agents."""
    game, each = distancing.Game(0.2, agents=4, weighted=weighted), distancers(4)
    replaced = game.interventions(each)
    reward = PAID - 100.0 * SPREADS[..., None]
    values = told_in_full(game.done(each, replaced), reward)
    assert distancing.deployed(game, each) == pytest.approx(values.mean())
    assert 0.01 * game.own(each, replaced).expected_return(each) == pytest.approx(values)
    gains = []
    for i, plan in product(range(4), product(range(4), repeat=2)):
        other = each.copy()
        other[i] = np.eye(4)[list(plan)]
        gains.append(told_in_full(game.done(other, replaced), reward)[i] - values[i])
    assert distancing.regret(game, each) == pytest.approx(max(gains))


@pytest.mark.parametrize("weighted", [True, False])
def test_gradients_of_distancers_are_those_of_what_each_ascends(weighted):
    game, each = distancing.Game(0.15, weighted=weighted), distancers(8)
    replaced, logits, h = game.interventions(each), np.log(each), 1e-5
    own = game.own(each, replaced)
    kinds = {
        distancing.joint: lambda p, i: distancing.deployed(game, p),
        distancing.cooperating: lambda p, i: game.value(game.done(p, replaced)),
        distancing.independent: lambda p, i: 0.01 * own.expected_return(p)[i],
    }
    for kind, value in kinds.items():
        gradient = kind(game, each)
        gradient = each * (gradient - (each * gradient).sum(axis=-1, keepdims=True))
        for i in range(8):
            z = np.zeros_like(logits)
            z[i] = np.random.default_rng(i).normal(size=z[i].shape)
            slope = (value(pepg.softmax(logits + h * z), i) - value(pepg.softmax(logits - h * z), i)) / (2 * h)
            assert (gradient * z).sum() == pytest.approx(slope, rel=1e-5, abs=1e-8), kind.__name__


def test_distancers_have_no_names():
    """Agents who change places, with those who intervene, change nothing; joint policies side by side are answered one by one."""
    game, other, order = distancing.Game(0.15), distancing.Game(0.15), np.random.default_rng(3).permutation(8)
    other.wanted = game.wanted[order]
    several = distancers(8, 2)
    for each in several:
        assert distancing.deployed(other, each[order]) == pytest.approx(distancing.deployed(game, each))
        assert distancing.regret(other, each[order]) == pytest.approx(distancing.regret(game, each))
        assert distancing.joint(other, each[order]) == pytest.approx(distancing.joint(game, each)[order])
    for what in (distancing.deployed, distancing.regret, distancing.independent, distancing.cooperating, distancing.joint):
        assert what(game, several) == pytest.approx(np.stack([what(game, each) for each in several]))


def test_the_potential_of_safe_distancing():
    """Without interventions each state's game has a potential, n (n + 1) / 2 of each weight less the penalty.

    So do the values, as long as the others do the same in both states: what an agent's reward lacks to the potential is then the same
    wherever it leads. Where the others tell the states apart the values have no such potential.
    """
    game = distancing.Game(0.0, agents=4)
    reward = PAID - 100.0 * SPREADS[..., None]
    potential = (COUNTS * (COUNTS + 1) / 2) @ distancing.WEIGHTS - 100.0 * SPREADS
    i, away = 2, (FOUR + 3 * np.eye(4, dtype=int)[2]) % 4  # agent 2 goes one facility further
    led = (away * 4 ** np.arange(3, -1, -1)).sum(axis=1)
    assert reward[:, led, i] - reward[:, :, i] == pytest.approx(potential[:, led] - potential)

    def changes(each, other):
        own = told_in_full(other, reward)[i] - told_in_full(each, reward)[i]
        return own, told_in_full(other, potential) - told_in_full(each, potential)

    each = distancers(4)
    other = each.copy()
    other[i] = distancers(4, seed=1)[i]
    own, shared = changes(each, other)
    assert abs(own - shared) > 1e-3
    others = [j for j in range(4) if j != i]
    for policies in (each, other):
        policies[others] = each[others][:, :1]
    own, shared = changes(each, other)
    assert own == pytest.approx(shared, abs=1e-9)
    assert own == pytest.approx(0.01 * np.diff([game.own(p, np.zeros_like(p)).expected_return(p)[i] for p in (each, other)])[0])
