"""The game of notebook 25: its response, and the gradients of each against differences of what each ascends."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

import pepg
from support import potential_games as support

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
