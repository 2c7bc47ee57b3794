"""Policies with parameters: gradients against differences, the tabular softmax bit for bit, and ascents in each class."""

import re
from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import seeds

import pepg
from pepg import algorithms
from pepg.policies import FunctionPolicy, LogLinear, PolicyClass, Tabular

RNG = np.random.default_rng
KINDS = ("tabular", "log-linear", "network")
ENV = pepg.random_softmax_pemdp(RNG(3), 3, 2, 0.8)
ASCENTS = (algorithms.pepg, algorithms.policy_gradient)
SAMPLED = (algorithms.sampled_pepg, algorithms.sampled_policy_gradient)
FEW = {"iterations": 25, "trajectories": 10, "horizon": 30}


def network(n_states, n_actions, width=3):
    """One layer of `width` tanh units above the number of the state, and a softmax."""
    cut = n_states * width

    def function(parameters):
        hidden = anp.tanh(anp.reshape(parameters[:cut], (n_states, width)))
        logits = anp.dot(hidden, anp.reshape(parameters[cut:], (width, n_actions)))
        weights = anp.exp(logits - anp.max(logits, axis=1, keepdims=True))
        return weights / anp.sum(weights, axis=1, keepdims=True)

    return FunctionPolicy(function, n_states, n_actions, cut + width * n_actions)


def made(kind, env, seed=0):
    sizes = env.n_states, env.n_actions
    return {
        "tabular": lambda: Tabular(*sizes), "network": lambda: network(*sizes),
        "log-linear": lambda: LogLinear(RNG(seed).normal(size=(*sizes, 4))),
    }[kind]()


def gradient(env, policies, parameters, entropy=0.0):
    return policies.gradient(parameters, pepg.deploy(env, policies.policy(parameters), entropy), env)


@pytest.fixture(params=KINDS)
def policies(request):
    return made(request.param, ENV)


# Gradients


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=seeds, sizes=st.tuples(st.integers(1, 3), st.integers(2, 3)), gamma=st.sampled_from([0.0, 0.5, 0.9]), entropy=st.sampled_from([0.0, 0.3]))
def test_the_gradient_in_the_parameters_agrees_with_differences(kind, seed, sizes, gamma, entropy):
    env = pepg.random_softmax_pemdp(RNG(seed), *sizes, gamma, 1.5, 1.5)
    policies = made(kind, env, seed)
    theta = RNG(seed).normal(size=policies.shape)
    found = gradient(env, policies, theta, entropy)
    here = pepg.deploy(env, policies.policy(theta), entropy)
    scale = 1.0 + np.abs(found).max()
    parts = policies.policy_part(theta, here) + policies.environment_part(theta, here, env)
    for same in (parts, policies.pullback(theta, here.policy_slope + here.environment_slope(env))):
        np.testing.assert_allclose(same, found, rtol=0.0, atol=1e-11 * scale)
    h = 1e-4
    for index in np.ndindex(theta.shape):
        unit = np.zeros(theta.shape)
        unit[index] = h
        ends = [pepg.performative_value(env, policies.policy(theta + k * unit), entropy) for k in (-2, -1, 1, 2)]
        difference = (ends[0] - 8.0 * ends[1] + 8.0 * ends[2] - ends[3]) / (12.0 * h)
        assert found[index] == pytest.approx(difference, abs=1e-6 * scale)


def test_the_gradient_in_the_gridworld():
    """Where no follower changes its mind within the step: along the whole gradient, of a network over rows and columns."""
    env = pepg.Gridworld(n_followers=3)
    policies = network(env.n_states, env.n_actions)
    theta = policies.random_parameters([1], 1.0)[0]
    found = gradient(env, policies, theta)
    direction = found / np.linalg.norm(found)
    high, low = (pepg.performative_value(env, policies.policy(theta + h * direction)) for h in (1e-6, -1e-6))
    assert found @ direction == pytest.approx((high - low) / 2e-6, rel=1e-6)


def test_the_pullback_is_the_transposed_jacobian(policies):
    theta = RNG(1).normal(size=policies.shape)
    G, direction = RNG(2).normal(size=(ENV.n_states, ENV.n_actions)), RNG(3).normal(size=policies.shape)
    change = (policies.policy(theta + 1e-6 * direction) - policies.policy(theta - 1e-6 * direction)) / 2e-6
    assert (policies.pullback(theta, G) * direction).sum() == pytest.approx((G * change).sum(), rel=1e-7)
    np.testing.assert_allclose(policies.pullback(theta, G + RNG(4).normal(size=(3, 1))), policies.pullback(theta, G), atol=1e-12)


def test_parameters_lead_as_policies_do(policies):
    theta = RNG(1).normal(size=(2, 3, *policies.shape))
    G = RNG(2).normal(size=(2, 3, ENV.n_states, ENV.n_actions))
    policy, pulled = policies.policy(theta), policies.pullback(theta, G)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(policy[index], policies.policy(theta[index]))
        np.testing.assert_allclose(pulled[index], policies.pullback(theta[index], G[index]), rtol=1e-13, atol=1e-15)


def test_features_of_each_run():
    several = LogLinear(RNG(0).normal(size=(4, 3, 2, 5)))
    theta, G = RNG(1).normal(size=5), RNG(2).normal(size=(4, 3, 2))
    alone = [LogLinear(features) for features in several.features]
    np.testing.assert_allclose(several.policy(theta), [one.policy(theta) for one in alone], rtol=1e-14)
    np.testing.assert_allclose(several.pullback(theta, G), [one.pullback(theta, g) for one, g in zip(alone, G)], rtol=1e-12, atol=1e-15)


# The tabular softmax


def test_tabular_is_the_softmax_and_its_draws_those_of_the_environment():
    theta = Tabular(3, 2).random_parameters([0, np.random.SeedSequence(5)], 0.7)
    np.testing.assert_array_equal(Tabular(3, 2).policy(theta), pepg.softmax(theta))
    np.testing.assert_array_equal(Tabular(3, 2).policy(theta), ENV.random_policies([0, np.random.SeedSequence(5)], 0.7))
    never = np.array([[0.0, -np.inf]] * 3)
    np.testing.assert_array_equal(Tabular(3, 2).policy(never), [[1.0, 0.0]] * 3)
    here = pepg.deploy(ENV, pepg.softmax(theta), 0.1)
    np.testing.assert_array_equal(gradient(ENV, Tabular(3, 2), theta, 0.1), pepg.performative_gradient(ENV, here.policy, 0.1))


@pytest.mark.parametrize("step_size", [None, 0.3, algorithms.Mirror(0.5)], ids=["adaptive", "constant", "mirror"])
@pytest.mark.parametrize("ascent", ASCENTS)
def test_an_exact_ascent_of_tabular_policies_is_that_without(ascent, step_size):
    uniform = ENV.uniform_policy()  # whose logarithms give it back bit for bit
    without = ascent(ENV, policy=uniform, iterations=60, step_size=step_size)
    run = ascent(ENV, policies=Tabular(3, 2), parameters=np.log(uniform), iterations=60, step_size=step_size)
    assert without.parameters is None
    for name in ("policies", "values", "shifts"):
        np.testing.assert_array_equal(getattr(run, name), getattr(without, name))
    np.testing.assert_array_equal(pepg.softmax(run.parameters), run.policies)


@pytest.mark.parametrize("step_size", [1.0, algorithms.Adam(0.1), algorithms.Mirror(0.5)], ids=["relative", "adam", "mirror"])
@pytest.mark.parametrize("ascent", SAMPLED)
def test_a_sampled_ascent_of_tabular_policies_is_that_without(ascent, step_size):
    uniform = ENV.uniform_policy()
    without = ascent(ENV, policy=uniform, seed=3, step_size=step_size, **FEW)
    run = ascent(ENV, policies=Tabular(3, 2), parameters=np.log(uniform), seed=3, step_size=step_size, **FEW)
    for name in ("policies", "values", "samples"):
        np.testing.assert_array_equal(getattr(run, name), getattr(without, name))


def test_one_feature_for_each_state_and_action_is_tabular():
    one = LogLinear(np.eye(6).reshape(3, 2, 6))
    start = RNG(0).normal(size=(3, 2))
    runs = [algorithms.pepg(ENV, policies=p, parameters=start.reshape(p.shape), iterations=40) for p in (Tabular(3, 2), one)]
    np.testing.assert_allclose(runs[0].policies, runs[1].policies, rtol=0.0, atol=1e-9)  # an advantage that is rounding has a sign in one of them


# Ascents


@pytest.mark.parametrize("ascent", ASCENTS)
def test_an_exact_ascent_returns_its_parameters(ascent, policies):
    theta = RNG(0).normal(size=(2, *policies.shape))
    run = ascent(ENV, policies=policies, parameters=theta, iterations=40)
    assert run.parameters.shape == (41, 2, *policies.shape)
    np.testing.assert_array_equal(run.parameters[0], theta)
    np.testing.assert_array_equal(policies.policy(run.parameters), run.policies)
    np.testing.assert_allclose(run.values, pepg.performative_value(ENV, run.policies), rtol=1e-12)
    alone = ascent(ENV, policies=policies, parameters=theta[1], iterations=40)
    np.testing.assert_allclose(alone.values, run.values[:, 1], rtol=1e-12)


def test_a_small_constant_step_ascends(policies):
    run = algorithms.pepg(ENV, policies=policies, seed=[0, 1], iterations=60, step_size=0.01)
    assert (np.diff(run.values, axis=0) > 0.0).all()
    theta = run.parameters[0, 1]
    np.testing.assert_allclose(run.parameters[1, 1], theta + 0.01 * gradient(ENV, policies, theta), rtol=0.0, atol=1e-14)


def test_the_policy_gradient_ascends_in_the_environment_held_still(policies):
    run = algorithms.policy_gradient(ENV, policies=policies, seed=0, iterations=1, step_size=0.01)
    here = pepg.deploy(ENV, run.policies[0])
    step = run.parameters[1] - run.parameters[0]
    np.testing.assert_allclose(step, 0.01 * policies.policy_part(run.parameters[0], here), rtol=0.0, atol=1e-14)


def test_seeds_draw_a_start_each(policies):
    run = algorithms.pepg(ENV, policies=policies, seed=[4, 7], iterations=3)
    np.testing.assert_array_equal(run.parameters[0], policies.random_parameters([4, 7]))
    alone = algorithms.pepg(ENV, policies=policies, seed=7, iterations=3)
    np.testing.assert_allclose(alone.parameters, run.parameters[:, 1], rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"response": "learned", "exploration": 0.5}, {"step_size": algorithms.Adam(0.1)}], ids=["exact", "learned", "adam"]
)
def test_each_sampled_run_is_what_it_is_alone(policies, options):
    side = algorithms.sampled_pepg(ENV, policies=policies, seed=[5, 1], **FEW, **options)
    alone = algorithms.sampled_pepg(ENV, policies=policies, seed=1, **FEW, **options)
    np.testing.assert_allclose(side.parameters[:, 1], alone.parameters, rtol=0.0, atol=1e-9)
    np.testing.assert_array_equal(policies.policy(alone.parameters), alone.policies)


@pytest.mark.parametrize("kind", ["log-linear", "network"])
def test_sampled_ascents_gain(kind):
    policies = made(kind, ENV)
    start = policies.random_parameters([0], 1.0)[0]
    for ascent in SAMPLED:
        run = ascent(ENV, policies=policies, parameters=start, seed=0, iterations=60, trajectories=20, horizon=50)
        assert run.values[-1] > run.values[0] + 0.1


def test_the_last_of_the_first_stage_comes_with_its_parameters(policies, monkeypatch):
    """Where it is the last iterate by its value."""
    from pepg.algorithms import from_samples

    monkeypatch.setattr(from_samples.HeldOut, "higher_before", lambda self, since: np.ones(np.shape(since), bool))
    run = algorithms.sampled_pepg(ENV, policies=policies, seed=2, **FEW)
    assert (run.parameters[:-1] == run.parameters[-1]).all(axis=tuple(range(1, run.parameters.ndim))).sum() == 1
    np.testing.assert_array_equal(policies.policy(run.parameters[-1]), run.policy)


def test_the_gain_of_a_class_is_that_of_its_own_step(policies):
    """The direction of the held-out gain: how log-probabilities change along the policy's part."""
    from pepg.algorithms.from_samples import slope_along

    theta = RNG(0).normal(size=(2, *policies.shape))
    here = pepg.deploy(ENV, policies.policy(theta))
    step = policies.policy_part(theta, here)
    change = (policies.policy(theta + 1e-6 * step) - policies.policy(theta - 1e-6 * step)) / 2e-6
    np.testing.assert_allclose(slope_along(policies, theta, here), change / here.policy, rtol=1e-3, atol=1e-4)


def test_environments_side_by_side(policies):
    several = pepg.random_softmax_pemdp(RNG(3), 3, 2, 0.8, count=4)
    run = algorithms.pepg(several, policies=policies, seed=[1, 2], iterations=15)
    assert run.parameters.shape == (16, 2, 4, *policies.shape)
    alone = algorithms.pepg(several.select(2), policies=policies, seed=2, iterations=15)
    np.testing.assert_allclose(alone.values, run.values[:, 1, 2], rtol=1e-11)


class Shares(PolicyClass):
    """A subclass of a reader's: the same probability of action 0 in every state, θ itself where it is in (0, 1)."""

    n_states, n_actions, shape = 3, 2, (1,)

    def policy(self, parameters):
        share = np.clip(parameters, 0.0, 1.0)[..., None, :]
        return np.concatenate([share, 1.0 - share], axis=-1).repeat(3, axis=-2)

    def pullback(self, parameters, gradient):
        return (gradient[..., 0] - gradient[..., 1]).sum(axis=-1, keepdims=True)


def test_a_class_of_ones_own():
    """On this segment of policies the value is convex: an ascent ends at the end that it starts towards."""
    run = algorithms.pepg(ENV, policies=Shares(), parameters=[[0.2], [0.8]], iterations=100, step_size=0.002)
    values = pepg.performative_value(ENV, Shares().policy(np.linspace(0.0, 1.0, 101)[:, None]))
    assert (np.diff(values, 2) > 0.0).all()
    np.testing.assert_allclose(run.values[-1], values[[0, -1]], rtol=1e-12)


def test_a_sweep_stores_and_reads_the_parameters(tmp_path):
    from pepg import experiments

    few = partial(algorithms.pepg, iterations=3)
    swept = {"log-linear": partial(few, policies=made("log-linear", ENV)), "tabular": few}
    for _ in range(2):
        found = experiments.runs(swept, {"world": ENV}, seeds=[0], folder=tmp_path, jobs=1)
        assert found["log-linear", "world", 0].parameters.shape == (4, 4)
        assert found["tabular", "world", 0].parameters is None


# What is wrong


@pytest.mark.parametrize("ascent", [*ASCENTS, *SAMPLED])
def test_what_an_ascent_refuses(ascent):
    policies = made("log-linear", ENV)
    right = {"policies": policies, "parameters": np.zeros(4), "iterations": 2}
    for changed, message in [
        ({"parameters": None}, r"parameters: expected a start of shape \(4,\) or a seed that draws one, got neither"),
        ({"policies": None}, "parameters: expected none without policies, got an array of numbers of shape"),
        ({"policy": ENV.uniform_policy()}, "policy: expected none with policies, which start from parameters, got an array"),
        ({"policies": LogLinear}, "policies: expected a class of policies of pepg.policies, got the class LogLinear"),
        ({"policies": Tabular(2, 2)}, "policies: expected those of 3 states and 2 actions, got 2 states and 2 actions"),
        ({"parameters": np.zeros(5)}, r"parameters: expected shape \(\.\.\., 4\), got \(5,\)"),
        ({"parameters": [0.0, 1.0, np.nan, 0.0]}, r"parameters: expected finite numbers, but parameters\[2\] is nan"),
        ({"parameters": np.zeros((3, 4)), "seed": [0, 1]}, r"parameters: expected shape \(2, 4\) or \(4,\) for 2 seeds, got \(3, 4\)"),
        ({"step_size": algorithms.Mirror(1.0)}, "step_size: expected another than Mirror, a step in tabular logits, for LogLinear policies"),
    ]:
        with pytest.raises(ValueError, match=message):
            ascent(ENV, **right | changed)


def test_a_sampled_ascent_has_one_start_a_seed():
    for ascent in SAMPLED:
        with pytest.raises(ValueError, match=r"parameters: expected shape \(4,\), got \(3, 4\)"):
            ascent(ENV, policies=made("log-linear", ENV), parameters=np.zeros((3, 4)), iterations=2)


def wrong_derivative():
    from autograd.extend import defvjp, primitive

    square = primitive(lambda x: x**2)
    defvjp(square, lambda answer, x: lambda g: 3.0 * g * x)
    return lambda theta: anp.stack([1.0 / (1.0 + square(theta)), 1.0 - 1.0 / (1.0 + square(theta))], axis=1)


def entry_by_entry(theta):
    policy = np.empty((2, 2))
    policy[:, 0] = 1.0 / (1.0 + np.exp(-theta))
    policy[:, 1] = 1.0 - policy[:, 0]
    return policy


FUNCTIONS = {
    "one row": (lambda theta: np.array([0.5, 0.5]), r"function: expected shape \(\.\.\., 2, 2\), got \(2,\)"),
    "no distribution": (lambda theta: anp.ones((2, 2)) * theta[0], "function: each row must be a distribution .* but function.* sums to"),
    "nothing": (lambda theta: None, "function: expected an array of real numbers, got objects: None"),
    "assignment": (entry_by_entry, "function: expected one that autograd can follow, .* but got"),
    "another derivative": (wrong_derivative(), "function: expected a derivative that agrees with differences, .* but autograd got"),
}


@pytest.mark.parametrize("function, message", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_that_are_no_policies(function, message):
    with pytest.raises(ValueError, match=message):
        FunctionPolicy(function, 2, 2, 2)


def test_a_policy_that_turns_bad_on_the_way_is_named_with_its_iterate():
    def function(theta):
        first = 0.5 + theta[0] / 4.0  # no probability from theta = 2 on
        return anp.array([[first, 1.0 - first]] * 3)

    policies = FunctionPolicy(function, 3, 2, 1)
    with pytest.raises(ValueError, match=r"pepg in SoftmaxPeMDP, iterate \d+: function: each row must be a distribution"):
        algorithms.pepg(ENV, policies=policies, parameters=[0.0], step_size=10.0, iterations=50)


def test_shapes_are_refused_by_name():
    with pytest.raises(ValueError, match=re.escape("features: expected shape (..., S, A, k), got (3, 2)")):
        LogLinear(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=re.escape("gradient: expected shape (5, 3, 2), that of the policies, got (3, 2)")):
        Tabular(3, 2).pullback(np.zeros((5, 3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="parameters: expected in each row one that is finite"):
        Tabular(3, 2).policy(np.full((3, 2), -np.inf))
    for bad in (np.inf, np.nan):
        with pytest.raises(ValueError, match="parameters: expected finite numbers"):
            Tabular(3, 2).policy(np.full((3, 2), bad))
    run = algorithms.pepg(ENV, policies=Tabular(3, 2), seed=0, iterations=2)
    with pytest.raises(ValueError, match=re.escape("parameters: expected numbers of shape (3,) and more axes, got an array")):
        pepg.Run(run.policies, run.values, run.shifts, run.deployments, run.samples, run.parameters[1:])
