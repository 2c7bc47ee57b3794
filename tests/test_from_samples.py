"""The algorithms that learn from samples: their limits, their accounts, and what each does with its data.

Limits are exact where they can be: a method is handed data whose frequencies are the probabilities. Where trajectories are
sampled the tests are at a level of 1e-4, on fixed seeds that were not chosen by the result.
"""

import inspect
from copy import copy
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import minimize
from worlds import gridworlds, next_states, random_policy, seeds

import pepg
from pepg import algorithms
from pepg.algorithms import from_samples, run
from pepg.algorithms.from_samples import mixed, zeroth_order_gradient
from pepg.algorithms.run import Field
from pepg.data import (
    LearnedResponse,
    PooledModel,
    SteeringResponse,
    Trajectories,
    empirical_mdp,
    hotelling,
    sample_trajectories,
)
from pepg.mdp import to_logits

LEVEL = 1e-4
QP_ERROR = 3e-6  # as in test_algorithms, for a weight of order 1

PEPG, PG = algorithms.sampled_pepg, algorithms.sampled_policy_gradient
FS, DRR = algorithms.repeated_policy_optimization_fs, algorithms.delayed_repeated_retraining
MDRR, ZEROTH = algorithms.mixed_delayed_repeated_retraining, algorithms.zeroth_order_frank_wolfe
RETRAINING = [FS, DRR, MDRR]
ALL = [PEPG, PG, *RETRAINING, ZEROTH]

# Every way of running each, and its deployments in an iteration.
CASES = {
    "sampled_pepg": (PEPG, {}, 1),
    "sampled_pepg, learned": (PEPG, {"response": "learned", "exploration": 1.0}, 1),
    "sampled_policy_gradient": (PG, {}, 1),
    "RPO-FS": (FS, {}, 1),
    "RPO-FS, shifting": (FS, {"w": 0.5}, 1),
    "DRR": (DRR, {"k": 4, "w": 0.3}, 4),
    "MDRR": (MDRR, {"k": 3, "v": 1.5}, 3),
    "0-FW": (ZEROTH, {"directions": 2, "entropy": 0.1}, 4),
}
every_case = pytest.mark.parametrize(("algorithm", "options", "each"), CASES.values(), ids=CASES)


def small(**kwargs):
    grid = [[-0.01, -0.02, -0.01, -0.5], [-0.01, -0.5, -0.02, -0.01], [-0.02, -0.01, -0.5, 1.0]]
    return pepg.Gridworld(**{"n_followers": 4, "grid": grid, **kwargs})


def softmax_world(n_states=3, n_actions=2, gamma=0.5, strength=3.0):
    return pepg.random_softmax_pemdp(np.random.default_rng(0), n_states, n_actions, gamma, strength)


class Counted(pepg.PeMDP):
    """An environment that keeps what it was asked."""

    def __init__(self, env):
        self.env, self.answers, self.gradients = env, [], 0
        self.n_states, self.n_actions, self.gamma, self.rho = env.n_states, env.n_actions, env.gamma, env.rho

    def respond(self, policy):
        self.answers.append(self.env.respond(policy))
        return self.answers[-1]

    def response_gradient(self, policy, occupancy, value):
        self.gradients += 1
        return self.env.response_gradient(policy, occupancy, value)

    def transition_gradient(self, policy, weights):
        self.gradients += 1
        return self.env.transition_gradient(policy, weights)


@pytest.fixture
def sampled(monkeypatch):
    """Every call of the sampler by a run: (mdp, policy, trajectories)."""
    calls = []

    def spy(mdp, policy, count, horizon, rng):
        calls.append((mdp, policy.copy(), sample_trajectories(mdp, policy, count, horizon, rng)))
        assert calls[-1][2].actions.shape == (count, horizon)
        return calls[-1][2]

    monkeypatch.setattr(run, "sample_trajectories", spy)
    return calls


@pytest.fixture
def gradients(monkeypatch):
    """Every gradient that a sampled ascent hands to its step."""
    found = []

    def recorded(step):
        rule = copy(step)

        def record(gradient, *more):
            found.append(gradient)
            return rule(gradient, *more)

        return record

    monkeypatch.setattr(from_samples, "copy", recorded)
    return found


# The accounts


@every_case
def test_every_deployment_and_every_transition_is_counted(sampled, algorithm, options, each):
    """Run.deployments and Run.samples against the sampler's own calls; and the environment is met in no other way.

    It answers the policy of each iterate once for the evaluation, each deployment once, and in a shifting environment the
    start once more; how it bends it is asked once for each step of PePG's second stage.
    """
    env = Counted(small())
    result = algorithm(env, policy=random_policy(env, 0), iterations=5, trajectories=7, horizon=9, seed=3, **options)
    assert_array_equal(result.deployments, each * np.arange(6))
    assert len(sampled) == result.deployments[-1]
    steps = [(~mdp.terminal[paths.states[:, :-1]]).sum() for mdp, _, paths in sampled]
    assert_array_equal(result.samples, np.append(0, np.cumsum(steps))[result.deployments])
    exact = algorithm is PEPG and not options
    shifting = options.get("w", 1.0) < 1.0
    assert len(env.answers) == 6 + len(sampled) + shifting
    assert env.gradients == exact  # in the last of five iterations: the first stage takes four
    for mdp, policy, _ in sampled:
        assert shifting or any(mdp is answer for answer in env.answers)
        assert policy.shape == (12, 4)


@every_case
def test_nothing_is_learned_from_the_evaluation(monkeypatch, algorithm, options, each):
    """With a deployment that holds nothing but its policy, each algorithm does the same."""
    env, repeat = small(), from_samples.repeat
    arguments = {"iterations": 4, "trajectories": 7, "horizon": 9, "seed": 3, **options}
    expected = algorithm(env, **arguments)
    stripped = []

    class PolicyOnly:
        def __init__(self, deployment):
            self.policy = deployment.policy

    def blind(name, env, start, iterations, step, **others):
        def step_in_the_dark(deployment):
            stripped.append(name)
            return step(PolicyOnly(deployment))

        return repeat(name, env, start, iterations, step_in_the_dark, **others)

    monkeypatch.setattr(from_samples, "repeat", blind)
    found = algorithm(env, **arguments)
    assert stripped == [algorithm.__name__] * 4
    assert_array_equal(found.policies, expected.policies)
    assert_array_equal(found.samples, expected.samples)


@every_case
def test_seeds(algorithm, options, each):
    """The same seed gives the same bits, another one others, none is 0; no global generator is touched."""
    env = small()
    arguments = {"policy": random_policy(env, 0), "iterations": 3, "trajectories": 5, "horizon": 20, **options}
    state = repr(np.random.get_state())
    one, again = (algorithm(env, seed=7, **arguments) for env in (env, small()))
    for name in ("policies", "values", "shifts", "deployments", "samples"):
        assert_array_equal(getattr(one, name), getattr(again, name))
    other = algorithm(env, seed=8, **arguments)
    assert_array_equal(one.policies[0], other.policies[0])
    assert (one.policies[1] != other.policies[1]).any() and (one.samples[1:] != other.samples[1:]).any()
    assert_array_equal(algorithm(env, **arguments).policies, algorithm(env, seed=0, **arguments).policies)
    assert repr(np.random.get_state()) == state


@every_case
@pytest.mark.parametrize("env", [small(), softmax_world()], ids=["grid", "softmax"])
def test_side_by_side_as_alone(algorithm, options, each, env):
    """One run for each seed, all at once: every one is what it is alone, bit for bit, from every kind of start."""
    arguments = {"iterations": 4, "trajectories": 5, "horizon": 20, **options}
    several = random_policy(env, 0, (3,))
    for seeds_, policy in (([7, 0, 8], None), (range(3), several[0]), (np.array([5, 5, 9]), several)):
        together = algorithm(env, policy=policy, seed=seeds_, **arguments)
        assert together.samples.shape == together.values.shape == (5, 3) and together.deployments.shape == (5,)
        for i, seed in enumerate(seeds_):
            start = policy if policy is None or policy.ndim == 2 else policy[i]
            alone = algorithm(env, policy=start, seed=seed, **arguments)
            assert_array_equal(together.deployments, alone.deployments)
            for name in ("policies", "values", "shifts", "samples"):
                assert_array_equal(getattr(together, name)[:, i], getattr(alone, name))


@pytest.mark.parametrize("algorithm", ALL)
def test_starts(algorithm):
    """Uniform without a seed, near uniform with one; 30 trajectories of at most 200 steps where nothing else is said."""
    env = small()
    assert_array_equal(algorithm(env, iterations=0).policy, env.uniform_policy())
    assert_array_equal(algorithm(env, iterations=0, seed=5).policy, env.random_policies([5])[0])
    defaults = {name: p.default for name, p in inspect.signature(algorithm).parameters.items()}
    assert defaults["trajectories"] == 30 and defaults["horizon"] == 200


@pytest.mark.parametrize("algorithm", ALL)
def test_the_start_is_not_drawn_with_the_trajectories(algorithm, sampled):
    """A start drawn from the seed and the trajectories are independent: the start of another seed does not reseed them."""
    env = softmax_world()
    algorithm(env, iterations=1, seed=5, trajectories=4, horizon=3)
    first = sampled[0][2].states[:, 0]
    sampled.clear()
    algorithm(env, policy=env.random_policies([6])[0], iterations=1, seed=5, trajectories=4, horizon=3)
    if algorithm is not ZEROTH:
        assert_array_equal(sampled[0][2].states[:, 0], first)
    assert (np.random.default_rng(5).random(4) != Field(env, env.uniform_policy(), 5, 1, 1).rng.random(4)).all()


BAD = {
    "iterations": [-1, 1.5, np.nan, [3], "3"],
    "seed": [-1, 1.5, "a", [], [0, -1], [None], [[1]]],
    "trajectories": [0, 2.5, np.nan, None],
    "horizon": [0, -1, np.inf, "9"],
    "step_size": [0.0, -0.1, np.nan, np.inf],
    "exploration": [-1.0, np.nan],
    "response": ["guessed", None, pepg.Gridworld],
    "policies": ["tabular", pepg.policies.Tabular],
    "parameters": [0.0, "start"],  # without policies there are none
    "memory": [-0.1, 1.1, np.nan],
    "warm_up": [-0.1, 1.1, np.nan],
    "regularization": [-0.1, np.nan, np.inf],
    "coverage": [0.9, np.nan, np.inf],
    "w": [0.0, -0.1, 1.1, np.nan],
    "k": [0, 1.5, np.nan],
    "v": [1.0, 0.5, np.nan, np.inf],
    "directions": [0, 2.5],
    "perturbation": [0.0, -0.01, 0.02, np.nan],  # 0.02 is the floor
    "floor": [0.0, 0.25, np.nan],
    "entropy": [-0.1, np.nan, np.inf],
}


@pytest.mark.parametrize("algorithm", ALL)
def test_errors(algorithm):
    """Every argument of every algorithm: a ValueError that names it and the value, before anything is deployed."""
    env = Counted(small())
    for name in set(inspect.signature(algorithm).parameters) - {"env", "policy"}:
        for value in [*BAD[name], *([1.5] if name == "step_size" and algorithm is ZEROTH else [])]:
            with pytest.raises(ValueError, match=f"^{name}: expected .*got") as error:
                algorithm(env, **{"iterations": 1, name: value})
            shown = f"the class {value.__name__}" if isinstance(value, type) else str(value)
            assert shown in str(error.value).split("got")[1]
    assert not env.answers


@pytest.mark.parametrize("algorithm", ALL)
def test_policy_errors(algorithm):
    env = small()
    with pytest.raises(ValueError, match=r"^policy: expected shape \(12, 4\), got \(2, 12, 4\)"):
        algorithm(env, policy=random_policy(env, 0, (2,)), iterations=1)
    with pytest.raises(ValueError, match=r"^policy: expected shape \(3, 12, 4\) or \(12, 4\) for 3 seeds, got \(2, 12, 4\)"):
        algorithm(env, policy=random_policy(env, 0, (2,)), seed=range(3), iterations=1)
    bad = env.uniform_policy()
    bad[7, 1] = 0.3
    with pytest.raises(ValueError, match=r"^policy: .*policy\[7\] sums to 1\.05"):
        algorithm(env, policy=bad)


@st.composite
def worlds(draw):
    if draw(st.booleans()):
        return draw(gridworlds(max_gamma=0.9, max_side=3))
    rng = np.random.default_rng(draw(seeds))
    gamma = draw(st.just(0.0) | st.floats(1e-3, 0.9))  # the general transition gradient divides by it
    return pepg.random_softmax_pemdp(rng, draw(st.integers(1, 4)), draw(st.integers(1, 3)), gamma, 2.0)


@pytest.mark.filterwarnings("error")
@every_case
@settings(max_examples=15)
@given(env=worlds(), seed=seeds, trajectories=st.integers(1, 6), horizon=st.sampled_from([1, 5, 60]))
def test_runs_on_any_world(algorithm, options, each, env, seed, trajectories, horizon):
    """Distributions; true values; counts that grow; with few data or none, one row of cells, one state or one action."""
    result = algorithm(env, iterations=3, seed=seed, trajectories=trajectories, horizon=horizon, **options)
    assert result.policies.shape == (4, env.n_states, env.n_actions)
    assert (result.policies >= 0.0).all()
    assert_allclose(result.policies.sum(axis=-1), 1.0, rtol=1e-12)
    assert np.isfinite(result.shifts).all()
    values = [pepg.performative_value(env, policy) for policy in result.policies]
    assert_allclose(result.values, values, rtol=1e-9, atol=1e-11)
    assert_array_equal(result.deployments, each * np.arange(4))
    assert result.samples[0] == 0 and (np.diff(result.samples) >= 0).all()
    assert (result.samples <= result.deployments * trajectories * horizon).all()


@pytest.mark.filterwarnings("error")
@every_case
def test_no_data_at_all(algorithm, options, each):
    """Trajectories that start at the goal of a grid of one row: nothing is observed, and nothing breaks."""
    env = pepg.Gridworld(n_followers=2, grid=[[-0.01, 1.0]])
    seed = next(
        s for s in range(100)
        if algorithm(env, iterations=1, seed=s, trajectories=1, horizon=4, **options).samples[1] == 0
    )
    result = algorithm(env, iterations=1, seed=seed, trajectories=1, horizon=4, **options)
    assert result.deployments[1] == each
    if algorithm in RETRAINING:
        assert_array_equal(result.policy, env.uniform_policy())
    elif algorithm is not ZEROTH:
        assert_allclose(result.policy, result.policies[0], rtol=1e-12)


# Gradients from samples


AT_ONCE = {"warm_up": 0.0, "entropy": 0.0}  # one stage, without a bonus
STEP = algorithms.Mirror(80.0)  # a step that is given is handed its gradients as they are, which `gradients` records
ASCENTS = ["sampled_pepg", "sampled_pepg, learned", "sampled_policy_gradient"]


def repeated_gradients(algorithm, gradients, env, policy, repetitions, **options):
    """Independent estimates of one ascent's first gradient, (repetitions, S, A)."""
    for seed in range(repetitions):
        algorithm(env, policy=policy, iterations=1, seed=seed, step_size=STEP, **AT_ONCE, **options)
    return np.array(gradients)


def test_sampled_gradients_have_the_exact_means(gradients):
    """Hotelling's T² on 40 runs of 4,000 trajectories: each ascends its own exact gradient, and not the other's.

    A plug-in has a bias of order 1/4,000, and the model's own averages count for one visit; the standard error of the mean is of
    order 1/sqrt(160,000), ten times that for constants of the same size.
    """
    env = softmax_world()
    policy = random_policy(env, 1, scale=0.5)
    both = {PEPG: pepg.performative_gradient(env, policy), PG: pepg.policy_gradient(env, policy)}
    p_values = {}
    for algorithm in both:
        gradients.clear()
        found = repeated_gradients(algorithm, gradients, env, policy, 40, trajectories=4_000, horizon=26)  # 0.5^26 < 2e-8
        p_values[algorithm] = [hotelling(found, exact)[1] for exact in both.values()]
    assert p_values[PEPG][0] > LEVEL > p_values[PEPG][1]
    assert p_values[PG][1] > LEVEL > p_values[PG][0]


def test_the_spread_of_the_gradient_falls_with_the_root_of_the_data(gradients):
    """16 times the trajectories, a quarter of the standard deviation over 40 seeds: see test_rpo_fs_error_falls_...: 3.9 of its errors."""
    env = softmax_world()
    policy = random_policy(env, 1, scale=0.5)
    spreads = []
    for trajectories in (200, 3_200):
        gradients.clear()
        found = repeated_gradients(PEPG, gradients, env, policy, 40, trajectories=trajectories, horizon=26)
        spreads.append(np.sqrt(found.var(axis=0, ddof=1).sum()))
    assert 4.0 / np.exp(3.9 / np.sqrt(40.0)) < spreads[0] / spreads[1] < 4.0 * np.exp(3.9 / np.sqrt(40.0))


def pooled_by_loops(deployments, env, memory):
    """P, r (S, A, ...) of the pooled model, transition by transition, and which states are left."""
    n, m = env.n_states, env.n_actions
    moved, paid = np.zeros((n, m, n)), np.zeros((n, m))
    for age, paths in enumerate(reversed(deployments)):
        for s, a, reward, then in zip(*paths.transitions):
            moved[s, a, then] += memory**age
            paid[s, a] += memory**age * reward
    P, r, left = np.zeros_like(moved), np.zeros_like(paid), moved.sum(axis=(1, 2)) > 0
    for s, a in np.ndindex(n, m):
        if not left[s]:
            P[s, a, s] = 1.0
            continue
        average, mean = moved[s].sum(axis=0) / moved[s].sum(), paid[s].sum() / moved[s].sum()
        P[s, a] = (moved[s, a] + average) / (moved[s, a].sum() + 1.0)
        r[s, a] = (paid[s, a] + mean) / (moved[s, a].sum() + 1.0)
    return P, r, left


@pytest.mark.parametrize("name", ASCENTS)
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_gradients_are_plug_ins_of_all_deployments(gradients, sampled, name, entropy):
    """From the data of every deployment so far, the model put together by hand, and exact there: value, visits, both parts."""
    algorithm, options, _ = CASES[name]
    env = small()
    result = algorithm(
        env, policy=random_policy(env, 0), iterations=5, trajectories=15, step_size=STEP, memory=0.8, warm_up=0.0, entropy=entropy,
        **options,
    )
    model = LearnedResponse(env.gamma, env.rho, env.n_actions)
    for t, (gradient, policy) in enumerate(zip(gradients, result.policies)):
        coefficient = entropy * max(1.0 - t / 2.5, 0.0)  # gone after half of the five
        P, r, left = pooled_by_loops([paths for *_, paths in sampled[: t + 1]], env, 0.8)
        r = r - coefficient * np.log(policy) * left[:, None]
        chain = np.einsum("sa,sat->st", policy, P)
        value = np.linalg.solve(np.eye(env.n_states) - env.gamma * chain, (policy * r).sum(axis=1))
        visits = np.linalg.solve(np.eye(env.n_states) - env.gamma * chain.T, env.rho) * left
        advantage = r + env.gamma * P @ value - value[:, None]
        expected = visits[:, None] * policy * advantage
        bends = {"sampled_pepg": env, "sampled_pepg, learned": model}.get(name)
        if bends is model:
            model.observe(sampled[t][1], sampled[t][2])
        if bends is not None:
            expected = expected + to_logits(policy, bends.response_gradient(policy, visits[:, None] * policy, value))
        assert_allclose(gradient, expected, atol=1e-11)
        slope = 80.0 * expected / policy / (1.0 + 80.0 * coefficient * visits[:, None])  # the bonus at the next policy: see Mirror
        assert_allclose(result.policies[t + 1], pepg.softmax(np.log(policy) + np.clip(slope, -2.0, 2.0)), rtol=1e-7)
    assert len(gradients) == 5


@pytest.mark.parametrize("name", ASCENTS)
def test_rounding_does_not_grow(name):
    """Two starts apart by rounding, a bonus that is large beside the rewards and long steps: the runs stay together.

    With the bonus taken where the policy stands they part, by 5e-5 to 4e-2: the logits of states often visited swing.
    """
    algorithm, options, _ = CASES[name]
    env = pepg.Gridworld(n_followers=2)
    start = env.random_policies([0])[0]
    near = start * (1.0 + 1e-15 * np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=start.shape))
    near /= near.sum(axis=-1, keepdims=True)
    assert (near != start).any()
    arguments = {"iterations": 60, "trajectories": 10, "entropy": 0.3, "step_size": 2.0, "memory": 0.9, "warm_up": 0.0, **options}
    one, two = (algorithm(env, policy=policy, **arguments).policies for policy in (start, near))
    assert np.abs(one - two).max() < 1e-8


@pytest.mark.parametrize("name", ASCENTS)
@pytest.mark.parametrize("step", [algorithms.Mirror(60.0), algorithms.Adam(0.3)], ids=["mirror", "adam"])
def test_iterates_follow_their_step(gradients, name, step):
    """The logits move as those steps on the gradients handed over, and the rule that was given is as it was."""
    algorithm, options, _ = CASES[name]
    env = small()
    start = random_policy(env, 0)
    arguments = {"policy": start, "iterations": 6, "step_size": step, "trajectories": 20, "entropy": 0.0, **options}
    result = algorithm(env, **arguments)
    logits, mean, square = np.log(start), 0.0, 0.0
    for t, gradient in enumerate(list(gradients), 1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        if isinstance(step, algorithms.Mirror):
            logits = logits + np.clip(60.0 * gradient / result.policies[t - 1], -2.0, 2.0)
        else:
            logits = logits + 0.3 * (mean / (1.0 - 0.9**t)) / (np.sqrt(square / (1.0 - 0.99**t)) + 1e-8)
        assert_allclose(result.policies[t], pepg.softmax(logits), rtol=1e-9)
    assert np.abs(result.policy - start).max() > 0.1
    assert_array_equal(algorithm(env, **arguments).policies, result.policies)


def test_a_step_on_many_trajectories_is_adams_on_the_exact_gradient():
    """Adam's first step is its size times the sign of the gradient, so that where the estimate has the sign it is that step.

    200,000 trajectories know each partial derivative to about 3e-3 of the largest; those of this policy are all above 10 %.
    """
    env = softmax_world(strength=6.0)
    policy = random_policy(env, 2, scale=0.5)
    options = {"step_size": algorithms.Adam(0.1), "trajectories": 200_000, "horizon": 12, **AT_ONCE}
    for algorithm, exact in ((PEPG, pepg.performative_gradient), (PG, pepg.policy_gradient)):
        gradient = exact(env, policy)
        assert np.abs(gradient).min() > 0.1 * np.abs(gradient).max()
        result = algorithm(env, policy=policy, iterations=1, **options)
        step = pepg.softmax(np.log(policy) + 0.1 * gradient / (np.abs(gradient) + 1e-8))
        assert_allclose(result.policy, step, rtol=1e-5)
    opposite = pepg.performative_gradient(env, policy) * pepg.policy_gradient(env, policy)
    assert (opposite < 0.0).any()  # the two ascents differ here


@pytest.mark.parametrize("algorithm", [PEPG, PG])
def test_no_unit_of_value_enters(algorithm):
    """Rewards of another unit, with the bonus in that unit, leave the policies as they are to rounding.

    A power of two, so that only the tolerances of comparisons could differ.
    """
    one = softmax_world(4, 3)
    two = replace(one, rewards=1024.0 * one.rewards, reward_map=1024.0 * one.reward_map)
    arguments = {"iterations": 8, "trajectories": 10, "horizon": 15, "seed": 1}
    found = algorithm(one, entropy=0.01, **arguments).policies, algorithm(two, entropy=10.24, **arguments).policies
    assert_allclose(*found, rtol=1e-9)
    assert np.abs(found[0][-1] - found[0][0]).max() > 0.1


def test_a_relative_step_is_a_mirror_step_of_a_unit(gradients):
    """Its first step: the mirror step of that many logits over the visits of an average state times the spread of the rewards."""
    env = small()
    policy = random_policy(env, 0)
    arguments = {"policy": policy, "iterations": 1, "trajectories": 400, **AT_ONCE}
    relative = PG(env, step_size=0.5, **arguments).policy
    assert not gradients
    PG(env, step_size=STEP, **arguments)
    # The model is close to the truth, where the unit is put together by hand.
    mdp = env.respond(policy)
    d = mdp.occupancy(policy)
    spread = np.sqrt(np.average(mdp.r**2, weights=d) - np.average(mdp.r, weights=d) ** 2)
    slope = gradients[0] / policy / (spread * d.sum() / 11)  # of the 12 states the goal is not visited
    moved = np.log(relative / policy)
    assert_allclose(centred(moved), centred(np.clip(0.5 * slope, -2.0, 2.0)), rtol=0.1, atol=0.02)
    assert np.abs(moved).max() > 0.3


# Stages


def test_the_first_stage_is_the_policy_gradients(gradients):
    """Up to the share `warm_up` the two ascents are one; with all of it they are to the end, with none they part at once."""
    env = small()
    arguments = {"policy": random_policy(env, 0), "iterations": 8, "trajectories": 10, "seed": 2}
    apart = {}
    for warm_up in (0.0, 0.5, 1.0):
        one, other = (algorithm(env, warm_up=warm_up, **arguments).policies for algorithm in (PEPG, PG))
        apart[warm_up] = np.flatnonzero((one != other).any(axis=(1, 2)))
    assert apart[0.0][0] == 1 and apart[0.5][0] == 5 and not apart[1.0].size


def test_held_out_values_and_gains_are_unbiased():
    """From a wrong model: the mean value is the true one; from the right one the mean gain is the slope along the step. t tests.

    And with the model right the value's errors are those of transitions alone, well below those of returns.
    """
    env = softmax_world(strength=2.0)
    policy = random_policy(env, 1, scale=0.5)
    true = env.respond(policy)
    other = env.respond(random_policy(env, 7, scale=2.0))
    here, wrong = (pepg.performative.Deployment(m, policy, m.value(policy), m.occupancy(policy), 0.0) for m in (true, other))
    rng = np.random.default_rng(0)
    found = {"right": from_samples.HeldOut(env.gamma), "wrong": from_samples.HeldOut(env.gamma)}
    returned = []
    for _ in range(300):
        paths = sample_trajectories(true, policy, 40, 26, rng)
        found["right"].observe(here, paths)
        found["wrong"].observe(wrong, paths)
        returned.append(pepg.data.returns(paths, env.gamma)[:, 0].var(ddof=1) / 40)
    gains, values = np.array(found["right"].found).swapaxes(0, 1)
    visits = here.occupancy.sum(axis=1, keepdims=True)
    slope = (here.occupancy * visits * true.advantage(policy) ** 2).sum()
    assert stats.ttest_1samp(gains[:, 0], slope).pvalue > LEVEL > stats.ttest_1samp(gains[:, 0], 0.9 * slope).pvalue
    for each in (values, np.array(found["wrong"].found)[:, 1]):
        assert stats.ttest_1samp(each[:, 0], true.expected_return(policy)).pvalue > LEVEL
        assert_allclose(each[:, 0].var() / each[:, 1].mean(), 1.0, atol=0.35)  # 300 variances: a relative error of 0.08
    assert values[:, 1].mean() < 0.7 * np.mean(returned)


def test_the_first_stage_ends_when_its_gains_are_noise():
    """From a policy at rest it ends at the first test, after 20 deployments; where gains go on, at `warm_up`."""
    env = softmax_world(strength=1.0)
    still = algorithms.policy_gradient(env, iterations=300).policy
    held = []

    class Spy(from_samples.HeldOut):
        def __init__(self, gamma):
            super().__init__(gamma)
            held.append(self)

    original, from_samples.HeldOut = from_samples.HeldOut, Spy
    try:
        PG(env, policy=np.stack([still, env.uniform_policy()]), seed=[0, 1], iterations=22, trajectories=200, horizon=12,
           step_size=algorithms.Mirror(0.01))
    finally:
        from_samples.HeldOut = original
    assert_array_equal(held[0].gains, [False, True])


def test_the_better_stage_is_kept():
    """A value that fell by many standard errors after the first stage is not kept, one that fell by less than they say is."""
    held = from_samples.HeldOut(0.9)
    for t in range(30):
        fallen = np.array([-1.0, -0.01]) * (t > 14)
        held.found.append([(np.zeros(2), np.ones(2)), (fallen, np.full(2, 0.01))])
    assert_array_equal(held.higher_before(np.array([14, 14])), [True, False])
    assert_array_equal(held.higher_before(np.array([29, 29])), [False, False])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ASCENTS)
def test_a_policy_with_zeros_stays_on_its_face(name, gradients):
    """An action that is never taken stays so, a deterministic row has no gradient, and the others learn."""
    algorithm, options, _ = CASES[name]
    env = small()
    policy = random_policy(env, 0)
    policy[:, 2] = 0.0
    policy[3] = [0.0, 0.0, 0.0, 1.0]
    policy /= policy.sum(axis=1, keepdims=True)
    result = algorithm(env, policy=policy, iterations=10, step_size=STEP, **options)
    assert np.isfinite(result.values).all()
    assert ((result.policies == 0.0) == (policy == 0.0)).all()
    assert (np.array(gradients)[:, policy == 0.0] == 0.0).all()
    assert_allclose(np.array(gradients)[:, 3], 0.0, atol=1e-12)
    assert np.abs(result.policy - policy).max() > 0.1


def test_learned_ascent_explores_and_is_judged_without(sampled):
    """What is deployed has N(0, exploration²) on the iterate's logits; the run holds the iterates themselves."""
    env = softmax_world(20, 5, strength=0.0)
    result = PEPG(env, iterations=60, response="learned", exploration=0.7, step_size=algorithms.Mirror(1e-9), trajectories=1,
                  horizon=1, entropy=0.0)
    assert_allclose(result.policies, 0.2, rtol=1e-6)
    logits = np.log([policy for _, policy, _ in sampled])
    noise = (logits - logits.mean(axis=-1, keepdims=True)) / 0.7
    # Without its mean over the 5 actions a row of noise has a sum of squares that is chi-square with 4 degrees of freedom.
    squares = (noise**2).sum(axis=-1).ravel()
    assert stats.kstest(squares, stats.chi2(4).cdf).pvalue > LEVEL
    exact = PEPG(env, iterations=2, trajectories=1, horizon=1, seed=0)
    assert_array_equal([policy for _, policy, _ in sampled[60:]], exact.policies[:2])


def test_learned_gradient_nears_the_exact_one(gradients):
    """Where the response is local and affine, the error of the gradient at the iterate is noise, and what exploration costs.

    Over the later 20 of 40 deployments of 4,000 trajectories, a third of what ignoring the response would cost; without the discount
    before the value it would be 80 %.
    """
    env = LocalWorld(gamma=0.5)
    options = {"trajectories": 4_000, "horizon": 20, "step_size": algorithms.Mirror(1e-9), "exploration": 0.5, **AT_ONCE}
    result = PEPG(env, response="learned", iterations=40, **options)
    exact, ignored = (gradient(env, result.policy) for gradient in (pepg.performative_gradient, pepg.policy_gradient))
    errors = np.linalg.norm(np.array(gradients)[20:] - exact, axis=(1, 2))
    assert np.sqrt((errors**2).mean()) < np.linalg.norm(ignored - exact) / 3.0


# The learned response


class LocalWorld(pepg.PeMDP):
    r"""P(.|s,a) and r(s,a) are affine in π(.|source(s)), with probabilities in eighths: :math:`\sum_b \pi(b|source(s)) K(s,a,b)`."""

    def __init__(self, gamma=0.8, n_states=3, n_actions=3, source=None, seed=0):
        rng = np.random.default_rng(seed)
        self.n_states, self.n_actions, self.gamma = n_states, n_actions, gamma
        self.rho = np.full(n_states, 1.0 / n_states)
        self.source = np.arange(n_states) if source is None else np.array(source)
        likely = rng.dirichlet(np.full(n_states, 0.3), (n_states, n_actions, n_actions))
        self.P = rng.multinomial(8, likely) / 8.0
        self.r = 2.0 * rng.normal(size=(n_states, n_actions, 1)) + 0.3 * rng.normal(size=(n_states, n_actions, n_actions))

    def respond(self, policy):
        policy = self.check_policy(policy)[self.source]
        P, r = np.einsum("sb,sabt->sat", policy, self.P), np.einsum("sb,sab->sa", policy, self.r)
        return pepg.MDP(P, r, self.gamma, self.rho)

    def slopes(self, weights):
        return self.r + self.P @ weights

    def response_gradient(self, policy, occupancy, value):
        gradient = np.zeros((self.n_states, self.n_actions))
        np.add.at(gradient, self.source, (occupancy[..., None] * self.slopes(self.gamma * value)).sum(axis=1))
        return gradient


HALVES, THIRDS = np.full(2, 1.0 / 2.0), np.full(3, 1.0 / 3.0)


def steps(states, actions, rewards, then):
    """Transitions as trajectories of one step each."""
    real = np.ones((len(states), 1), dtype=bool)
    return Trajectories(np.stack([states, then], axis=1), actions[:, None], np.asarray(rewards, float)[:, None], real)


def in_proportion(mdp, each=64):
    """`each` transitions of every (s, a) in the proportions of P, which has to be in their fractions."""
    counts = np.rint(each * mdp.P).astype(int)
    assert_allclose(counts, each * mdp.P, atol=1e-9)
    s, a, then = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(mdp.P.shape))
    return steps(s, a, mdp.r[s, a], then)


def centred(array):
    return array - array.mean(axis=-1, keepdims=True)


def corners(n_states, n_actions):
    """A policy for each action, and two in between, with all probabilities in eighths."""
    rows = [*np.eye(n_actions), np.array([4.0, 3.0, 1.0]) / 8.0, np.array([1.0, 2.0, 5.0]) / 8.0]
    return [np.tile(row, (n_states, 1)) for row in rows]


@pytest.mark.parametrize("memory", [1.0, 0.97])
def test_learned_response_recovers_a_local_one(memory):
    """From data in exact proportions of five deployments, with next to no penalty: slopes and gradient to rounding."""
    env = LocalWorld()
    model = LearnedResponse(0.8, THIRDS, 3, ridge=1e-9, memory=memory)
    for policy in corners(3, 3):
        model.observe(policy, in_proportion(env.respond(policy)))
    value, occupancy = np.random.default_rng(1).normal(size=3), np.random.default_rng(2).random((3, 3))
    assert_allclose(centred(model.slopes(value)), centred(env.slopes(value)), atol=1e-8)
    gradient = env.response_gradient(env.uniform_policy(), occupancy, value)
    found = model.response_gradient(env.uniform_policy(), occupancy, value)
    assert_allclose(centred(found), centred(gradient), atol=1e-8)
    assert np.abs(centred(gradient)).max() > 0.1


def test_learned_response_is_unbiased():
    """Sampled transitions of 12 policies, 40 times: the mean slopes of each (s, a) are the environment's."""
    env = LocalWorld(n_states=2, n_actions=2)
    value = np.array([0.5, -1.0])
    found = []
    for seed in range(40):
        rng, model = np.random.default_rng(seed), LearnedResponse(0.8, HALVES, 2, ridge=1e-9, memory=1.0)
        for policy in random_policy(env, 0, (12,)):
            model.observe(policy, sample_trajectories(env.respond(policy), policy, 30, 20, rng))
        found.append(centred(model.slopes(value)).reshape(4, 2))
    exact = centred(env.slopes(value)).reshape(4, 2)
    assert hotelling(np.array(found), exact)[1] > LEVEL
    assert hotelling(np.array(found), 0.8 * exact)[1] < LEVEL


def test_learned_response_is_blind_to_other_states():
    """A response to what the policy does elsewhere, in a balanced design: the model's slopes are 0, the true gradient is not."""
    env = LocalWorld(n_states=2, n_actions=2, source=[1, 0])
    model = LearnedResponse(0.8, HALVES, 2, ridge=1e-9, memory=1.0)
    for rows in product(np.eye(2), np.eye(2)):
        model.observe(np.array(rows), in_proportion(env.respond(np.array(rows))))
    value = np.array([1.0, -2.0])
    assert_allclose(centred(model.slopes(value)), 0.0, atol=1e-8)
    assert np.abs(centred(env.response_gradient(env.uniform_policy(), np.ones((2, 2)), value))).max() > 0.1


def test_learned_response_is_weighted_ridge_regression():
    """Slopes against the regression on single transitions: memory^age as weights, a penalty on all but the constant."""
    env = LocalWorld()
    rng = np.random.default_rng(0)
    model, rows = LearnedResponse(0.8, THIRDS, 3, ridge=0.7, memory=0.8), []
    for t, policy in enumerate(random_policy(env, 0, (6,))):
        paths = sample_trajectories(env.respond(policy), policy, 4, 5, rng)
        model.observe(policy, paths)
        rows += [(0.8 ** (5 - t), policy, *one) for one in zip(*paths.transitions)]
    weights = rng.normal(size=3)
    found = model.slopes(weights)
    for s, a in np.ndindex(3, 3):
        here = [(w, np.append(1.0, policy[s]), reward + weights[then]) for w, policy, *at, reward, then in rows if at == [s, a]]
        weight, X, y = (np.array(part) for part in zip(*here))
        system = (X.T * weight) @ X + np.diag([0.0, 0.7, 0.7, 0.7])
        assert_allclose(found[s, a], np.linalg.solve(system, (X.T * weight) @ y)[1:], atol=1e-10)


def test_memory_forgets():
    """After the response has changed, a short memory has the new slopes and a long one those in between."""
    before, after = LocalWorld(seed=1), LocalWorld(seed=2)
    value = np.array([1.0, 0.0, -1.0])
    found = {}
    for memory in (0.5, 1.0):
        model = LearnedResponse(0.8, THIRDS, 3, ridge=1e-9, memory=memory)
        for env in [before] * 8 + [after] * 8:
            for policy in corners(3, 3):
                model.observe(policy, in_proportion(env.respond(policy)))
        found[memory] = centred(model.slopes(value))
    old, new = (centred(env.slopes(value)) for env in (before, after))
    # 40 deployments later the old data weigh 2^-40.
    assert_allclose(found[0.5], new, atol=1e-8)
    assert_allclose(found[1.0], (old + new) / 2.0, atol=1e-8)
    assert np.abs(old - new).max() > 0.5


def test_learned_gradient_is_that_of_the_models_own_response():
    """Its P and r, put together from unit weights, are affine: differences of any size are their gradient."""
    env = softmax_world(3, 3)
    rng, model = np.random.default_rng(0), LearnedResponse(0.8, THIRDS, 3)
    for policy in random_policy(env, 0, (9,)):
        model.observe(policy, sample_trajectories(env.respond(policy), policy, 10, 10, rng))
    C = model.slopes(np.zeros(3))
    W = np.stack([model.slopes(unit) - C for unit in np.eye(3)], axis=2)  # (S, A, S, A)
    assert_allclose(W.sum(axis=2), 0.0, atol=1e-12)  # probabilities keep their sum
    occupancy, value = rng.random((3, 3)), rng.normal(size=3)

    def total(policy):
        return (occupancy * (np.einsum("sab,sb->sa", C, policy) + np.einsum("satb,sb,t->sa", W, policy, value))).sum()

    units = np.eye(9).reshape(9, 3, 3)
    policy = env.uniform_policy()
    expected = [(total(policy + unit) - total(policy - unit)) / 2.0 for unit in units]
    found = model.response_gradient(policy, occupancy, value / model.gamma)
    assert_allclose(found.ravel(), expected, atol=1e-12)
    assert np.abs(expected).max() > 0.01


def test_learned_response_without_data():
    """No slopes before the first observation, and from one policy alone: nothing varied. Bad settings are named."""
    env = LocalWorld()
    model = LearnedResponse(0.8, THIRDS, 3)
    assert_array_equal(model.slopes(np.ones(3)), np.zeros((3, 3, 3)))
    policy = random_policy(env, 0)
    model.observe(policy, sample_trajectories(env.respond(policy), policy, 50, 20, np.random.default_rng(0)))
    assert_allclose(model.slopes(np.ones(3)), 0.0, atol=1e-9)
    for name, bad in (("ridge", [0.0, -1.0, np.nan]), ("memory", [0.0, 1.1, np.nan])):
        for value in bad:
            with pytest.raises(ValueError, match=f"^{name}: expected .*got"):
                LearnedResponse(0.8, THIRDS, 3, **{name: value})


# Retraining


def empirical_by_loops(transitions, env):
    """P, r, counts (S, A) and which states are left, transition by transition."""
    P, r = np.zeros((env.n_states, env.n_actions, env.n_states)), np.zeros((env.n_states, env.n_actions))
    counts = np.zeros_like(r)
    for s, a, reward, then in zip(*transitions):
        P[s, a, then], r[s, a], counts[s, a] = P[s, a, then] + 1.0, r[s, a] + reward, counts[s, a] + 1.0
    seen = counts > 0
    P[seen], r[seen] = P[seen] / counts[seen][:, None], r[seen] / counts[seen]
    return P, r, counts, counts.any(axis=1)


def dual_solution(P, r, rho, gamma, left, weight, bound):
    r"""min over h of max over 0 <= d <= bound of the empirical Lagrangian: the minimum and its d, by scipy's L-BFGS.

    The inner maximum is at d = clip(slope / weight) for the slope r - h + gamma P h, and the gradient in h is the flow's
    residual there; h is 0 in the states that are not left.
    """
    rho, upper = rho * left, np.where(left[:, None], bound, 0.0)

    def best(h):
        slope = r - h[:, None] + gamma * P @ h
        return np.clip(slope / weight, 0.0, upper), slope

    def function(h):
        h = h * left
        d, slope = best(h)
        flow = rho - d.sum(axis=1) + gamma * np.einsum("sa,sat->t", d, P)
        return rho @ h + (d * slope - weight / 2.0 * d**2).sum(), flow * left

    options = {"maxiter": 20_000, "maxfun": 20_000, "ftol": 0.0, "gtol": 1e-11, "maxcor": 50}
    found = minimize(function, np.zeros(len(rho)), jac=True, method="L-BFGS-B", options=options)
    return found.fun, best(found.x * left)[0]


@pytest.mark.parametrize("kind", ["grid", "softmax"])
@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("trajectories", [2, 30])
def test_rpo_fs_solves_the_empirical_lagrangian(sampled, kind, weight, trajectories):
    r"""Its d has the saddle point's value: no h makes the inner maximum smaller than the objective of d.

    For any h, max_d L(d, h) - objective(d*) >= (weight / 2) ||d(h) - d*||² where d* is feasible, since L is strongly concave in
    d and L(d*, h) is the objective of d*. So a small gap proves d* optimal, and bounds its distance.
    """
    env = small() if kind == "grid" else softmax_world(5, 3, 0.8)
    start = random_policy(env, 4)
    result = FS(env, policy=start, iterations=1, seed=1, trajectories=trajectories, horizon=40, regularization=weight, coverage=2.0)
    P, r, counts, left = empirical_by_loops(sampled[0][2].transitions, env)
    P[~left, 0] = np.eye(env.n_states)[~left]
    played = np.where(left[:, None], counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0), np.eye(1, env.n_actions))
    chain = np.einsum("sa,sat->st", played, P) * left[:, None]
    visits = np.linalg.solve(np.eye(env.n_states) - env.gamma * chain.T, env.rho) * left
    bound = 2.0 * visits[:, None] * played * left[:, None]
    minimum, d = dual_solution(P, r, env.rho, env.gamma, left, weight, bound)

    # The run's d is its policy's occupancy in the empirical MDP.
    policy = np.where(left[:, None], result.policy, 0.0)
    chain = np.einsum("sa,sat->st", policy, P)
    own = np.linalg.solve(np.eye(env.n_states) - env.gamma * chain.T, env.rho * left)[:, None] * policy
    assert (own <= bound + QP_ERROR / weight).all() and ((own > bound - 1e-7) & (bound > 1e-3)).any()  # and the bound binds
    gap = minimum - ((own * r).sum() - weight / 2.0 * (own**2).sum())
    assert -1e-6 < gap < 1e-6
    assert np.linalg.norm(d - own) < np.sqrt(2.0 * 2e-6 / weight)


def test_full_coverage_leaves_the_policy_that_was_played(sampled):
    """With B = 1 the data's own occupancy is the only one: the next policy is what was played, state by state."""
    env = small()
    result = FS(env, policy=random_policy(env, 0), iterations=1, trajectories=40, coverage=1.0)
    _, _, counts, left = empirical_by_loops(sampled[0][2].transitions, env)
    assert_allclose(result.policy[left], counts[left] / counts[left].sum(axis=1, keepdims=True), atol=1e-3)
    assert_array_equal(result.policy[~left], 0.25)


@pytest.mark.parametrize("algorithm", RETRAINING)
@pytest.mark.parametrize("env", [small(), softmax_world(5, 3, 0.8)], ids=["grid", "softmax"])
def test_retraining_on_the_exact_mdp_is_rpo(monkeypatch, algorithm, env):
    """With data that are the MDP itself, and a bound that does not bind, the iterates are those of RPO."""
    deployed = []

    def exact(mdp, policy, count, horizon, rng):
        deployed.append((mdp, policy))
        return sample_trajectories(mdp, policy, 1, 1, rng)

    def empirical(transitions, gamma, rho, n_actions):
        mdp, policy = deployed[-1]
        return mdp, policy

    monkeypatch.setattr(run, "sample_trajectories", exact)
    monkeypatch.setattr(from_samples, "empirical_mdp", empirical)
    start = random_policy(env, 0)
    found = algorithm(env, policy=start, iterations=4, regularization=20.0, coverage=1e15)
    expected = algorithms.repeated_policy_optimization(env, policy=start, iterations=4, regularization=20.0)
    # No action's probability falls to 0, so that no bound does. The two QPs are each solved to sqrt(2e-12 / 20) = 3e-7,
    # over visits of at least 0.14: 5e-6 in the policy, and the iteration contracts.
    assert expected.policies.min() > 1e-13 and (np.diff(expected.shifts) < 0.0).all()
    assert_allclose(found.policies, expected.policies, atol=2e-5)
    assert_allclose(found.values, expected.values, atol=2e-5)
    assert np.abs(expected.policy - start).max() > 0.1


def test_rpo_fs_error_falls_with_the_root_of_the_data():
    r"""64 times the trajectories, an eighth of the error, over 40 seeds each.

    With λ = 5 no constraint is active, and d is a smooth function of the data: its error is normal to first order. The square of
    such an error has a relative variance of at most 2, so that the ratio of the two root mean squares has a relative standard
    deviation of at most 1/sqrt(40); the interval is 3.9 of these in the logarithm.
    """
    env = softmax_world(4, 2, 0.7)
    start = random_policy(env, 2, scale=0.5)
    exact = algorithms.repeated_policy_optimization(env, policy=start, iterations=1, regularization=5.0).policy
    assert exact.min() > 0.05
    options = {"policy": start, "iterations": 1, "horizon": 25, "regularization": 5.0, "coverage": 1e6}

    def error(trajectories):
        found = [FS(env, seed=seed, trajectories=trajectories, **options).policy for seed in range(40)]
        return np.sqrt(np.mean((np.array(found) - exact) ** 2)), np.abs(np.mean(found, axis=0) - exact).max()

    (few, _), (many, bias) = error(50), error(3200)
    spread = np.exp(3.9 / np.sqrt(40.0))
    assert 8.0 / spread < few / many < 8.0 * spread
    assert bias < 4.0 * many  # the largest of 8 mean errors, each of standard deviation below many * sqrt(8) / sqrt(40)


# The samples of several deployments


def numbered(sizes):
    """Transitions that say where they come from: the deployment and their place in it."""
    return [(np.full(n, j), np.arange(n)) for j, n in enumerate(sizes)]


def shares_of(v, k):
    """Weights w_t = (v-1) / (v^k-1) v^(t-1) of t = 1, ..., k, newest first."""
    return np.array([(v - 1.0) / (v**k - 1.0) * v ** (t - 1) for t in range(k, 0, -1)])


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.floats(1.001, 4.0))
def test_mixture(sizes, v):
    """Newest first; the share of the newest j is never below its weight; and one more would break that, or there is none."""
    shares = shares_of(v, len(sizes))
    assert_allclose(shares.sum(), 1.0)
    taken = mixed(numbered(sizes), shares)
    counts = np.array([len(part[0]) for part in taken])
    for j, (deployment, place) in enumerate(taken):
        assert (deployment == j).all()
        assert_array_equal(place, np.arange(len(place)))
    assert (counts <= sizes).all()
    last = np.flatnonzero(counts)[-1] if counts.any() else 0
    assert_array_equal(counts[:last], sizes[:last])  # an older one only where the newer are used up
    total, need = counts.sum(), np.cumsum(shares)
    assert (np.cumsum(counts) >= total * need - 1e-6).all()
    more = total + 1.0
    assert total == sum(sizes) or (np.minimum(np.cumsum(sizes), more) < more * need - 1e-9).any()


def test_mixture_of_equal_sizes():
    """k = 3, v = 1.1: 2.736 n transitions in shares .366, .366, .269."""
    taken = [len(part[0]) for part in mixed(numbered([10_000] * 3), shares_of(1.1, 3))]
    assert taken == [10_000, 10_000, 7355]
    assert_allclose(np.array(taken) / sum(taken), [0.366, 0.366, 0.269], atol=5e-4)
    # A large v leaves the last alone, nearly; equal weights take all.
    assert [len(part[0]) for part in mixed(numbered([900] * 3), shares_of(1e9, 3))] == [900, 0, 0]
    assert [len(part[0]) for part in mixed(numbered([900, 900, 900]), np.full(3, 1.0 / 3.0))] == [900] * 3


@pytest.mark.parametrize(("algorithm", "options"), [(DRR, {"k": 4}), (MDRR, {"k": 4, "v": 1.5})])
def test_what_is_retrained_on(monkeypatch, sampled, algorithm, options):
    """DRR sees the transitions of the last of its k deployments only; MDRR the mixture, newest first."""
    seen = []

    def spy(transitions, *others):
        seen.append(transitions)
        return empirical_mdp(transitions, *others)

    monkeypatch.setattr(from_samples, "empirical_mdp", spy)
    env = small()
    result = algorithm(env, iterations=3, trajectories=10, horizon=30, w=0.5, **options)
    for t, found in enumerate(seen):
        deployments = sampled[4 * t : 4 * t + 4]
        for _, policy, _ in deployments:
            assert_array_equal(policy, result.policies[t])
        newest_first = [paths.transitions for _, _, paths in deployments[::-1]]
        expected = newest_first[:1] if algorithm is DRR else mixed(newest_first, shares_of(1.5, 4))
        for array, parts in zip(found, zip(*expected), strict=True):
            assert_array_equal(array, np.concatenate(parts))
    assert len(seen) == 3


@pytest.mark.parametrize("options", [{}, {"w": 0.4}, {"regularization": 1.0, "coverage": 3.0, "horizon": 7}])
def test_one_deployment_is_rpo_fs(options):
    """With k = 1 DRR and MDRR are RPO-FS, bit for bit."""
    env = small()
    plain, delayed, mixture = (
        algorithm(env, iterations=4, seed=2, **options, **one) for algorithm, one in ((FS, {}), (DRR, {"k": 1}), (MDRR, {"k": 1}))
    )
    for other in (delayed, mixture):
        for name in ("policies", "values", "deployments", "samples"):
            assert_array_equal(getattr(other, name), getattr(plain, name))


# The shifting environment


def test_field_with_all_weight_on_the_response_has_no_history(sampled):
    """With w = 1 what was deployed before does not matter."""
    env = small()
    one, two = random_policy(env, 0, (2,))
    field = Field(env, one, 0, trajectories=2, horizon=3)
    for policy in (one, two, one):
        field.deploy(policy)
    for (mdp, _, _), policy in zip(sampled, (one, two, one), strict=True):
        expected = env.respond(policy)
        assert_array_equal(mdp.P, expected.P)
        assert_array_equal(mdp.r, expected.r)
    assert field.deployments == 3 and field.samples == sum(paths.samples for _, _, paths in sampled)


def test_field_moves_part_of_the_way(sampled):
    """w = 0.3: (1-w) of the last MDP and w of the response, from that of the start; the weights of the history written out."""
    env = softmax_world()
    start, *policies = random_policy(env, 0, (4,))
    field = Field(env, start, 0, trajectories=2, horizon=3, w=0.3)
    for policy in policies:
        field.deploy(policy)
    answers = [env.respond(policy) for policy in (start, *policies)]
    history = {0: [0.7, 0.3], 1: [0.49, 0.21, 0.3], 2: [0.343, 0.147, 0.21, 0.3]}
    for t, weights in history.items():
        mdp = sampled[t][0]
        assert_allclose(mdp.P, sum(w * m.P for w, m in zip(weights, answers)), atol=1e-14)
        assert_allclose(mdp.r, sum(w * m.r for w, m in zip(weights, answers)), atol=1e-14)


def test_field_in_the_gridworld_mixes_agent_twos_policy(sampled):
    """(1-w) old + w response in agent two's policy: the same transitions and rewards."""
    env = small()
    start, *policies = random_policy(env, 0, (4,), scale=3.0)
    field = Field(env, start, 0, trajectories=2, horizon=3, w=0.15)
    sigma = env.agent_two(start)
    lands = np.eye(env.n_states)[next_states(env.grid.shape)]  # (S, 4, S)
    for t, policy in enumerate(policies):
        field.deploy(policy)
        sigma = 0.85 * sigma + 0.15 * env.agent_two(policy)
        P = np.einsum("sm,smt->st", sigma[:, :4], lands)[:, None] + sigma[:, 4, None, None] * lands
        r = P @ env.grid.ravel()
        assert_allclose(sampled[t][0].P[:-1], P[:-1], atol=1e-13)
        assert_allclose(sampled[t][0].r[:-1], r[:-1], atol=1e-13)
        assert_array_equal(sampled[t][0].terminal, env.respond(policy).terminal)
    assert np.abs(sigma - env.agent_two(policy)).max() > 0.01


# Zeroth order


class Basis:
    """For a random generator: the directions of an orthonormal basis of the tangent space, up to length and a constant a row."""

    def __init__(self, n_states, n_actions):
        tangent = np.linalg.svd(np.ones((1, n_actions)))[2][1:]  # orthonormal rows orthogonal to (1, ..., 1)
        self.units = [np.outer(e, u) for e, u in product(np.eye(n_states), tangent)]
        self.calls = 0

    def normal(self, size):
        self.calls += 1
        unit = self.units[(self.calls - 1) % len(self.units)]
        assert unit.shape == size
        return 3.0 * unit + np.arange(size[0])[:, None]


def projected_gradient(env, policy, entropy=0.0):
    """The gradient in π on the directions that keep row sums, from the exact one in the logits."""
    return centred(pepg.performative_gradient(env, policy, entropy) / policy)


@pytest.mark.parametrize("entropy", [0.0, 0.2])
@pytest.mark.parametrize("env", [small(), softmax_world(4, 3, 0.8)], ids=["grid", "softmax"])
def test_zeroth_order_over_a_basis_is_the_projected_gradient(env, entropy):
    """With exact values and each basis direction once: the projected exact gradient, up to the perturbation squared."""
    policy = random_policy(env, 1, scale=0.5)
    exact = projected_gradient(env, policy, entropy)

    def value(policy):
        return pepg.performative_value(env, policy, entropy)

    dimension = env.n_states * (env.n_actions - 1)
    errors = []
    for perturbation in (1e-3, 5e-4):
        basis = Basis(env.n_states, env.n_actions)
        found = zeroth_order_gradient(value, policy, dimension, perturbation, basis)
        assert basis.calls == dimension
        errors.append(np.abs(found - exact).max())
    assert errors[0] < 1e-3 * np.abs(exact).max()
    assert_allclose(errors[0] / errors[1], 4.0, rtol=0.02)  # central differences: of second order
    assert_allclose(found.sum(axis=-1), 0.0, atol=1e-10)


def test_zeroth_order_over_random_directions():
    """Of a linear value differences are exact: the mean over 20,000 directions is its centred slope (Hotelling's T²)."""
    rng = np.random.default_rng(0)
    slope = rng.normal(size=(3, 3))
    policy = np.full((3, 3), 1.0 / 3.0)
    found = np.array([zeroth_order_gradient(lambda p: (slope * p).sum(), policy, 1, 0.01, rng) for _ in range(20_000)])
    assert hotelling(found, centred(slope))[1] > LEVEL
    assert hotelling(found, 0.95 * centred(slope))[1] < LEVEL


def test_zeroth_order_directions():
    """Unit vectors of the tangent space, each with its opposite, at the given distance."""
    visited = []
    policy = np.full((4, 3), 1.0 / 3.0)

    def value(policy):
        visited.append(policy)
        return 0.0

    zeroth_order_gradient(value, policy, 5, 0.07, np.random.default_rng(0))
    moves = np.array(visited) - policy
    assert moves.shape == (10, 4, 3)
    assert_allclose(moves.sum(axis=-1), 0.0, atol=1e-14)
    assert_allclose(np.linalg.norm(moves, axis=(1, 2)), 0.07, rtol=1e-12)
    assert_allclose(moves[::2], -moves[1::2], atol=1e-15)
    assert len({tuple(move.ravel()) for move in moves}) == 10


def test_frank_wolfe_step(monkeypatch):
    """π + β (target - π), the target with 1 - Δ (|A| - 1) on the best action of the gradient and Δ on the others."""
    env = small()
    handed, estimates = [], np.random.default_rng(0).normal(size=(3, 12, 4))

    def stub(value, policy, directions, perturbation, rng):
        handed.append((directions, perturbation))
        return estimates[len(handed) - 1]

    monkeypatch.setattr(from_samples, "zeroth_order_gradient", stub)
    start = random_policy(env, 0, scale=0.3)
    result = ZEROTH(env, policy=start, iterations=3, directions=6, perturbation=0.02, floor=0.05, step_size=0.4)
    assert handed == [(6, 0.02)] * 3
    policy = start
    for t, estimate in enumerate(estimates):
        target = np.full((12, 4), 0.05)
        for s in range(12):
            target[s, np.argmax(estimate[s])] = 0.85
        policy = 0.6 * policy + 0.4 * target
        assert_allclose(result.policies[t + 1], policy, atol=1e-14)


@pytest.mark.parametrize("step_size", [0.3, 1.0])
def test_frank_wolfe_stays_above_the_floor(sampled, step_size):
    """A start with zeros is drawn to the uniform policy, just as far; no iterate falls below the floor, and none deployed below 0."""
    env = small()
    start = env.epsilon_greedy_policy(0.0)
    result = ZEROTH(env, policy=start, iterations=4, trajectories=5, floor=0.03, perturbation=0.029, step_size=step_size)
    assert_allclose(result.policies[0], 0.88 * start + 0.03, atol=1e-14)
    assert result.policies.min() >= 0.03 - 1e-15
    inside = 0.5 * start + 0.125
    assert_array_equal(ZEROTH(env, policy=inside, iterations=0).policy, inside)
    deployed = np.array([policy for _, policy, _ in sampled])
    assert deployed.shape == (40, 12, 4) and deployed.min() > 0.0
    assert_allclose(np.linalg.norm(deployed - np.repeat(result.policies[:-1], 10, axis=0), axis=(1, 2)), 0.029)


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_zeroth_order_values_are_regularised_performative_values(monkeypatch, sampled, entropy):
    """What 0-FW takes for a policy's value: the mean discounted return of one deployment; a t test against the exact value."""
    env = softmax_world()
    found = {}

    def stub(value, policy, directions, perturbation, rng):
        for other in random_policy(env, 5, (2,)):
            found[other.tobytes()] = (other, [value(other) for _ in range(200)])
        return np.zeros_like(policy)

    monkeypatch.setattr(from_samples, "zeroth_order_gradient", stub)
    result = ZEROTH(env, iterations=1, trajectories=50, horizon=26, entropy=entropy)  # 0.5^26 < 2e-8
    assert_array_equal(result.deployments, [0, 400])
    assert_array_equal(result.samples, [0, 400 * 50 * 26])
    for (_, policy, paths), value in zip(sampled, [value for _, values in found.values() for value in values], strict=True):
        paid = paths.rewards - entropy * np.log(policy)[paths.states[:, :-1], paths.actions]
        assert_allclose(value, (paid * 0.5 ** np.arange(26)).sum(axis=1).mean(), rtol=1e-12)
    for policy, values in found.values():
        assert stats.ttest_1samp(values, pepg.performative_value(env, policy, entropy)).pvalue > LEVEL
        assert stats.ttest_1samp(values, pepg.performative_value(env, policy, entropy + 0.1)).pvalue < LEVEL
    assert_allclose(result.values, pepg.performative_value(env, result.policies), rtol=1e-12)


# The pooled model


@pytest.mark.parametrize("lead", [(), (3,)])
def test_pooled_model_is_weighted_averages(lead):
    """P and r against sums transition by transition, run by run."""
    env = small()
    model = PooledModel(env.gamma, env.rho, env.n_actions, memory=0.7, lead=lead)
    seen = {index: [] for index in np.ndindex(lead)}
    rng = np.random.default_rng(0)
    for policy in random_policy(env, 0, (4,)):
        paths = [sample_trajectories(env.respond(policy), policy, 3, 8, rng) for _ in seen]
        for own, one in zip(seen.values(), paths):
            own.append(one)
        arrays = (np.reshape([getattr(one, name) for one in paths], (*lead, *getattr(paths[0], name).shape))
                  for name in ("states", "actions", "rewards", "real"))
        model.observe(Trajectories(*arrays))
    for index, own in seen.items():
        P, r, left = pooled_by_loops(own, env, 0.7)
        assert_allclose(model.mdp.P[index], P, atol=1e-14)
        assert_allclose(model.mdp.r[index], r, atol=1e-14)
        assert_array_equal(model.left[index], left)
    assert not left.all()


def test_pooled_model_without_data_stands_still():
    model = PooledModel(0.9, THIRDS, 2)
    assert_array_equal(model.mdp.P, np.repeat(np.eye(3)[:, None], 2, axis=1))
    assert_array_equal(model.mdp.r, np.zeros((3, 2)))
    for name, bad in (("memory", [-0.1, 1.1, np.nan]), ("weight", [0.0, np.nan])):
        for value in bad:
            with pytest.raises(ValueError, match=f"^{name}: expected .*got"):
                PooledModel(0.9, THIRDS, 2, **{name: value})


def test_pooled_plug_ins_converge_to_exact_values():
    """With more and more data in exact proportions value, visits and advantages go to those of M(π), in proportion to 1 / n.

    What is left is the visit that the state's averages count for.
    """
    env = LocalWorld()
    policy = random_policy(env, 0)
    mdp, errors = env.respond(np.array(corners(3, 3)[3])), []
    for deployments in (1, 10, 100):
        model = PooledModel(env.gamma, env.rho, 3, memory=1.0)
        for _ in range(deployments):
            model.observe(in_proportion(mdp))
        found = model.mdp
        errors.append([
            np.abs(found.value(policy) - mdp.value(policy)).max(),
            np.abs(found.occupancy(policy) - mdp.occupancy(policy)).max(),
            np.abs(found.advantage(policy) - mdp.advantage(policy)).max(),
        ])
    assert_allclose(np.array(errors[:-1]) / errors[1:], 10.0, rtol=0.1)


# Responses as environments


def exact_in(model, policy, occupancy, value):
    """Central differences of the sum that defines `response_gradient`, along random directions of the simplex."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(5):
        direction = centred(rng.normal(size=policy.shape)) * policy.min()
        totals = []
        for sign in (1e-4, -1e-4):
            mdp = model.respond(policy + sign * direction)
            totals.append((occupancy * (mdp.r + model.gamma * mdp.P @ value)).sum())
        found.append(((totals[0] - totals[1]) / 2e-4, (model.response_gradient(policy, occupancy, value) * direction).sum()))
    return np.array(found).T


@pytest.mark.parametrize("kind", ["local", "steering"])
def test_a_learned_response_is_an_environment(kind):
    """Its gradient is that of its own response, by central differences; and exact PePG ascends in it."""
    env = softmax_world(3, 3)
    model = {"local": LearnedResponse(env.gamma, env.rho, 3, ridge=20.0), "steering": SteeringResponse(env.gamma, env.rho, 3, 2.0, 50.0)}
    model, rng = model[kind], np.random.default_rng(0)
    for policy in random_policy(env, 0, (9,)):
        model.observe(policy, sample_trajectories(env.respond(policy), policy, 60, 10, rng))
    policy = random_policy(env, 8, scale=0.5)
    assert model.respond(policy).P.min() > 1e-3  # nothing is cut off
    differences, found = exact_in(model, policy, rng.random((3, 3)), rng.normal(size=3))
    assert_allclose(found, differences, rtol=1e-5, atol=1e-8)
    assert np.abs(found).max() > 1e-3
    ascent = algorithms.pepg(model, policy=policy, iterations=30, step_size=algorithms.Mirror(0.3))
    assert (np.diff(ascent.values) > -1e-12).all() and ascent.values[-1] > ascent.values[0] + 1e-3


class Steering(pepg.PeMDP):
    """P_π ∝ P0 e^{κ V^π}, V^π the value in (P0, r): what `SteeringResponse` is made for."""

    def __init__(self, strength):
        base = softmax_world(4, 3, 0.7, strength=0.0)
        self.n_states, self.n_actions, self.gamma, self.rho, self.strength = 4, 3, base.gamma, base.rho, strength
        self.base = base.respond(base.uniform_policy())

    def respond(self, policy):
        P = self.base.P * np.exp(self.strength * self.base.value(policy))
        return pepg.MDP(P / P.sum(axis=-1, keepdims=True), self.base.r, self.gamma, self.rho)

    def response_gradient(self, policy, occupancy, value):
        raise NotImplementedError


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_steering_is_found_where_it_is(strength):
    """From 60 deployments of random policies the estimate of κ is within four standard errors, and 0 is not where it is 1."""
    env, rng = Steering(strength), np.random.default_rng(0)
    model = SteeringResponse(env.gamma, env.rho, 3, weight=1e-6, memory=1.0)
    for policy in random_policy(env, 0, (60,), scale=2.0):
        model.observe(policy, sample_trajectories(env.respond(policy), policy, 200, 20, rng))
    error = 1.0 / np.sqrt(model.information)
    # The model's values stand for those at rest, so that what it finds is not κ itself but close to it.
    assert abs(model.strength - strength) < 4.0 * error + 0.3 * strength
    assert strength == 0.0 or model.strength > 4.0 * error


def test_a_prior_of_steering_holds_without_evidence():
    env, rng = Steering(0.0), np.random.default_rng(0)
    model = SteeringResponse(env.gamma, env.rho, 3, strength=1.5, weight=1e9)
    policy = random_policy(env, 0)
    for _ in range(3):
        model.observe(policy, sample_trajectories(env.respond(policy), policy, 5, 5, rng))
    assert_allclose(model.strength, 1.5, rtol=1e-6)
    assert_allclose(model.respond(policy).P, model.pool.mdp.P, atol=1e-14)  # what is deployed gets what was seen
    for name, bad in (("weight", [0.0, np.nan]), ("strength", [np.nan, np.inf])):
        for value in bad:
            with pytest.raises(ValueError, match=f"^{name}: expected .*"):
                SteeringResponse(0.9, THIRDS, 2, **{name: value})


def test_any_response_that_observes_is_asked():
    """A model of one's own is told of every deployment and asked for the second stage; told the truth it is the exact response."""
    env = small()

    class Told(Counted):
        seen = 0

        def observe(self, policy, trajectories):
            self.seen += 1

    told = Told(env)
    arguments = {"iterations": 6, "trajectories": 10, "seed": 1, "exploration": 0.0, "warm_up": 0.5}
    one, other = (PEPG(env, response=response, **arguments) for response in (told, "exact"))
    assert_array_equal(one.policies, other.policies)
    assert told.seen == 6 and told.gradients == 3


def test_learned_models_say_how_many_they_are_and_when_they_know_nothing():
    env = small()
    arguments = env.gamma, env.rho, env.n_actions
    assert LearnedResponse(*arguments, lead=(3,)).lead == SteeringResponse(*arguments, lead=(3,)).lead == (3,)
    with pytest.raises(ValueError, match="SteeringResponse: expected a deployment to be observed before it responds"):
        SteeringResponse(*arguments).respond(env.uniform_policy())


def test_an_empirical_mdp_of_lists():
    mdp, counts = empirical_mdp(([0, 0, 1], [0, 1, 0], [1.0, 2.0, 3.0], [1, 1, 0]), 0.5, [1.0, 0.0], 2)
    assert_array_equal(counts, [[1, 1], [1, 0]])
    assert_array_equal(mdp.r, [[1.0, 2.0], [3.0, 0.0]])
