"""The MDP of a deployed policy in Gymnasium: its API, its distribution, and a policy trained in it deployed back."""

import importlib
import sys
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.testing import assert_allclose
from worlds import random_policy

import pepg
from pepg.environments.gymnasium import DeployedMDP


def small_grid():
    return pepg.Gridworld(n_followers=3, gamma=0.8, beta=10.0, grid=[[-0.01, -0.02, -0.01], [-0.02, -0.5, 1.0]])


def example():
    return pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 3, 0.9, 2.0, 2.0)


@pytest.mark.parametrize("env", [small_grid(), example(), pepg.pigou()], ids=["gridworld", "softmax", "pigou"])
@pytest.mark.filterwarnings("error")
def test_gymnasium_finds_nothing_to_warn_of(env):
    check_env(DeployedMDP(env, random_policy(env, 0)))


def test_vector_environments_can_be_made():
    env = example()
    many = gymnasium.make_vec(DeployedMDP(env, random_policy(env, 0), horizon=7).spec, num_envs=2)
    states, _ = many.reset(seed=0)
    assert states.shape == (2,)
    for step in range(7):
        *_, truncated, _ = many.step(np.array([0, 1]))
        assert truncated.all() == (step == 6)
    many.close()


def test_starts_and_steps_follow_the_induced_mdp():
    """Frequencies within 5 standard errors of rho and P, rewards exactly r; under the policy deployed, and no other."""
    env = example()
    policy = random_policy(env, 1)
    mdp = env.respond(policy)
    deployed = DeployedMDP(env, policy)
    count = 4000
    deployed.reset(seed=0)
    starts = np.bincount([deployed.reset()[0] for _ in range(count)], minlength=4) / count
    assert_allclose(starts, mdp.rho, atol=5 * 0.5 / np.sqrt(count))
    for state, action in [(0, 0), (2, 1), (3, 2)]:
        entered = []
        for _ in range(count):
            assert deployed.reset(options={"state": state}) == (state, {})
            following, reward, terminated, truncated, _ = deployed.step(action)
            assert reward == mdp.r[state, action] and not terminated and not truncated
            entered.append(following)
        frequency = np.bincount(entered, minlength=4) / count
        assert_allclose(frequency, mdp.P[state, action], atol=5 * 0.5 / np.sqrt(count))
    assert np.abs(mdp.r - env.respond(env.uniform_policy()).r).max() > 0.1


def test_episodes_end_at_terminal_states_and_at_the_horizon():
    env = small_grid()
    deployed = DeployedMDP(env, horizon=5)
    assert (deployed.mdp.P == env.respond(env.uniform_policy()).P).all()
    deployed.reset(seed=0)
    ends = set()
    for _ in range(200):
        deployed.reset()
        for step in range(1, 6):
            state, reward, terminated, truncated, _ = deployed.step(1)
            assert terminated == (state == env.goal) and truncated == (step == 5)
            if terminated or truncated:
                ends.add((terminated, step))
                break
    assert (True, 1) in ends and (False, 5) in ends
    deployed.reset(options={"state": env.goal})
    assert deployed.step(0) == (env.goal, 0.0, True, False, {})


def test_nothing_leaves_a_terminal_state():
    """Whatever the response says there."""
    leaves = pepg.FunctionPeMDP(lambda policy: (np.full((2, 2, 2), 0.5), policy), 2, 2, 0.9, [0.0, 1.0], terminal=1)
    deployed = DeployedMDP(leaves)
    for seed in range(10):
        assert deployed.reset(seed=seed) == (1, {})
        assert deployed.step(0) == (1, 0.0, True, False, {})


def test_what_has_no_probability_is_never_drawn():
    """Neither by the smallest nor by the largest number that a generator gives."""
    env = pepg.FunctionPeMDP(lambda policy: (np.full((4, 1, 4), 0.25), policy), 4, 1, 0.9, [0.0, 0.5, 0.5, 0.0])
    deployed = DeployedMDP(env)
    for number, state in ((0.0, 1), (np.nextafter(1.0, 0.0), 2)):
        deployed.np_random = SimpleNamespace(random=lambda number=number: number)
        assert deployed.reset() == (state, {})


def test_a_seed_fixes_the_episode():
    env = example()

    def episode(seed):
        deployed = DeployedMDP(env)
        states = [deployed.reset(seed=seed)[0]]
        return states + [deployed.step(t % 3)[0] for t in range(30)]

    assert episode(3) == episode(3) != episode(4)


def q_learning(deployed, episodes, seed):
    """Tabular Q-learning with an exploring behaviour and a step of 1 / visits^0.7; a greedy policy (S, A)."""
    rng = np.random.default_rng(seed)
    n_states, n_actions = deployed.observation_space.n, deployed.action_space.n
    values, visits = np.zeros((n_states, n_actions)), np.zeros((n_states, n_actions))
    state, _ = deployed.reset(seed=seed)
    for _ in range(episodes):
        state, _ = deployed.reset()
        ended = False
        while not ended:
            action = rng.integers(n_actions) if rng.random() < 0.5 else int(values[state].argmax())
            following, reward, terminated, truncated, _ = deployed.step(action)
            visits[state, action] += 1
            target = reward + (0.0 if terminated else deployed.gamma * values[following].max())
            values[state, action] += (target - values[state, action]) / visits[state, action] ** 0.7
            state, ended = following, terminated or truncated
    return np.eye(n_actions)[values.argmax(axis=1)]


def test_a_policy_trained_there_is_deployed_back():
    """Q-learning in the environment of the uniform policy finds its best response, to 0.001; what it promised there
    is not what it delivers."""
    env = small_grid()
    start = env.uniform_policy()
    trained = q_learning(DeployedMDP(env, start, horizon=50), episodes=3000, seed=0)
    mdp = env.respond(start)
    promised, best = mdp.expected_return(trained), mdp.expected_return(pepg.best_response(mdp))
    assert best - 1e-3 < promised <= best + 1e-12 and promised > mdp.expected_return(start) + 0.05
    delivered = pepg.performative_value(env, trained)
    assert abs(delivered - promised) > 0.01  # the environment has moved
    assert DeployedMDP(env, trained).mdp.expected_return(trained) == pytest.approx(delivered, rel=1e-12)


def test_arguments_are_checked():
    env = example()
    with pytest.raises(ValueError, match=r"policy\[0\] sums to 1.5"):
        DeployedMDP(env, np.full((4, 3), 0.5))
    with pytest.raises(ValueError, match=r"policy: expected one policy .* \(2,\)"):
        DeployedMDP(env, random_policy(env, 0, (2,)))
    for horizon in (0, 2.5):
        with pytest.raises(ValueError, match=f"horizon: .* got {horizon}"):
            DeployedMDP(env, horizon=horizon)
    deployed = DeployedMDP(env)
    with pytest.raises(RuntimeError, match="reset"):
        deployed.step(0)
    with pytest.raises(ValueError, match="options: expected a state below 4, got 4"):
        deployed.reset(options={"state": 4})
    deployed.reset(seed=0)
    for action in (3, -1, 0.5):
        with pytest.raises(ValueError, match="action: expected a whole number below 3"):
            deployed.step(action)


def test_without_gymnasium_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "pepg.environments.gymnasium")
    with pytest.raises(ImportError, match=r"pip install pepg\[gymnasium\]"):
        importlib.import_module("pepg.environments.gymnasium")
