"""An environment from one function: restated environments, the cost of its gradient, and what happens without autograd."""

import copy
import pickle
import warnings

import autograd.core
import autograd.numpy as anp
import numpy as np
import pytest
import worlds
from autograd.extend import primitive
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import random_policy, seeds

import pepg
from pepg import FunctionPeMDP


def softmax_response(env):
    """The response of a SoftmaxPeMDP as a function of one policy, from its formula."""

    def respond(policy):
        flat = anp.reshape(policy, -1)
        bend = anp.dot(env.logit_map.reshape(*env.logits.shape, -1), flat)
        weights = anp.exp(env.logits + env.transition_strength * bend)
        gain = anp.dot(env.reward_map.reshape(*env.rewards.shape, -1), flat)
        return weights / anp.sum(weights, axis=-1, keepdims=True), env.rewards + env.reward_strength * gain

    return respond


def restated(env):
    return FunctionPeMDP(softmax_response(env), env.n_states, env.n_actions, env.gamma, env.rho)


def example(seed=0, **strengths):
    return pepg.random_softmax_pemdp(np.random.default_rng(seed), 4, 3, 0.9, **strengths)


def weights_for(policy, seed=0):
    rng = np.random.default_rng(seed)
    return rng.exponential(size=policy.shape), rng.normal(size=policy.shape[:-1])


def centred(policy, gradient):
    """A gradient in the policy up to what means nothing, a constant in each row."""
    return gradient - (policy * gradient).sum(axis=-1, keepdims=True)


def plain(function):
    """The same function, opaque to autograd: it takes the numbers alone."""
    return lambda policy: function(np.asarray(policy, dtype=float))


def quadratic(policy):
    return np.full((4, 3, 4), 0.25), policy**2


# Restated environments


@given(st.integers(1, 5), st.integers(1, 3), st.floats(0.0, 0.95), seeds)
def test_softmax_pemdp_restated(n_states, n_actions, gamma, seed):
    """Response, performative value and gradients of the hand-written environment, to 1e-8 and better; several policies."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(seed), n_states, n_actions, gamma, 2.0, -1.5)
    mine = restated(env)
    assert mine.differentiable
    policies = random_policy(env, seed, (2, 2))
    assert_allclose(mine.respond(policies).P, env.respond(policies).P, rtol=1e-11)
    assert_allclose(mine.respond(policies).r, env.respond(policies).r, rtol=1e-11, atol=1e-13)
    occupancy, value = weights_for(policies, seed)
    expected = env.response_gradient(policies, occupancy, value)
    assert_allclose(mine.response_gradient(policies, occupancy, value), expected, rtol=1e-10, atol=1e-12)
    for entropy in (0.0, 0.2):
        expected = pepg.performative_gradient(env, policies, entropy)
        assert_allclose(pepg.performative_gradient(mine, policies, entropy), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("eps, beta", [(0.5, 5.0), (1.0, 20.0)])
def test_gridworld_restated(eps, beta):
    """Smooth followers, in a second program (value iteration, differentiated); the goal is terminal in both."""
    grid = [[-0.01, -0.02, -0.01], [-0.01, -0.5, -0.02], [-0.02, -0.01, 1.0]]
    env = pepg.Gridworld(eps=eps, beta=beta, n_followers=3, gamma=0.8, grid=grid)
    mine = FunctionPeMDP(lambda policy: worlds.respond(env, policy), env.n_states, 4, env.gamma, env.rho, env.goal)
    assert mine.differentiable and mine.terminal.tolist() == [False] * 8 + [True]
    policies = random_policy(env, 3, (2,))
    assert_allclose(mine.respond(policies).P, env.respond(policies).P, atol=1e-12)
    assert_allclose(mine.respond(policies).r, env.respond(policies).r, atol=1e-12)
    assert_allclose(pepg.performative_value(mine, policies), pepg.performative_value(env, policies), rtol=1e-10)
    expected = pepg.performative_gradient(env, policies)
    assert np.abs(expected - pepg.policy_gradient(env, policies)).max() > 1e-3
    assert_allclose(pepg.performative_gradient(mine, policies), expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_algorithms_run_in_it():
    """Pigou's roads: PePG reaches the system optimum, PG the user equilibrium."""
    roads = pepg.pigou()
    mine = restated(roads)
    stable, optimal = pepg.congestion_policies(roads)
    assert_allclose(pepg.algorithms.pepg(mine, iterations=100).policy, optimal, atol=1e-5)
    run = pepg.algorithms.policy_gradient(mine, iterations=100)
    assert_allclose(run.values, pepg.performative_value(roads, run.policies), atol=1e-12)
    assert np.abs(run.policy - stable).max() < 0.05


# What a gradient costs


@pytest.mark.parametrize("n_states, n_actions", [(2, 2), (6, 4)])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_gradient_is_one_pass_forwards_and_one_backwards(n_states, n_actions, lead, monkeypatch):
    """Whatever the number of states: one call of the function a policy, which deployment and gradient share."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), n_states, n_actions, 0.9)
    function, calls, passes = softmax_response(env), [], []
    mine = FunctionPeMDP(lambda policy: calls.append(0) or function(policy), n_states, n_actions, env.gamma, env.rho)
    assert len(calls) == 4  # the check of the derivative, once
    backward_pass = autograd.core.backward_pass
    monkeypatch.setattr(autograd.core, "backward_pass", lambda *args: passes.append(0) or backward_pass(*args))
    policies = random_policy(env, 1, lead)
    count = int(np.prod(lead))
    calls.clear()
    pepg.performative_gradient(mine, policies)
    assert (len(calls), len(passes)) == (count, count)
    mine.response_gradient(policies, *weights_for(policies))
    assert (len(calls), len(passes)) == (count, 2 * count)
    pepg.performative_value(mine, random_policy(env, 2, lead))
    assert (len(calls), len(passes)) == (2 * count, 2 * count)


def test_the_last_response_is_not_taken_for_another():
    """A policy changed in place, or of another shape, is answered anew; nobody can write into what was answered."""
    env = example()
    mine = restated(env)
    policy = random_policy(env, 0)
    before = mine.respond(policy)
    kept = before.P.copy()
    policy[0] = [0.2, 0.3, 0.5]
    assert_allclose(mine.respond(policy).P, env.respond(policy).P, rtol=1e-11)
    gradient = mine.response_gradient(policy, *weights_for(policy))
    assert_allclose(gradient, env.response_gradient(policy, *weights_for(policy)), rtol=1e-10)
    assert mine.respond(policy[None]).P.shape == (1, 4, 3, 4) and (before.P == kept).all()
    with pytest.raises(ValueError, match="read-only"):
        mine.respond(policy).P[0] = 0.0


def test_the_policy_that_the_derivative_was_checked_at_is_deployed_like_any_other():
    env = example()
    policy = env.random_policies([0], scale=1.0)[0]
    gradient = restated(env).response_gradient(policy, *weights_for(policy))
    assert_allclose(gradient, env.response_gradient(policy, *weights_for(policy)), rtol=1e-10)


def test_batch_equals_single():
    mine = restated(example())
    policies = random_policy(mine, 0, (2, 3))
    occupancy, value = weights_for(policies)
    together = mine.response_gradient(policies, occupancy, value)
    for index in np.ndindex(2, 3):
        alone = mine.response_gradient(policies[index], occupancy[index], value[index])
        assert (together[index] == alone).all() and np.abs(alone).max() > 0.0


def test_an_environment_that_has_answered_can_be_copied_and_sent():
    mine = FunctionPeMDP(quadratic, 4, 3, 0.9, np.full(4, 0.25))
    policy = random_policy(mine, 0)
    expected = pepg.performative_gradient(mine, policy)
    for other in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert (pepg.performative_gradient(other, policy) == expected).all()


# Terminal states


def test_terminal_states_have_no_reward_and_no_gradient():
    """Whatever P and r do there: as an environment that stays in place there, for no reward."""
    env = example()
    function, terminal = softmax_response(env), np.array([False, True, False, False])

    def stays(policy):
        P, r = function(policy)
        return anp.where(terminal[:, None, None], np.eye(4)[1], P), anp.where(terminal[:, None], 0.0, r)

    wild = FunctionPeMDP(function, 4, 3, 0.9, env.rho, terminal=1)
    tame = FunctionPeMDP(stays, 4, 3, 0.9, env.rho, terminal=terminal)
    policy = random_policy(env, 0)
    assert (wild.respond(policy).r[1] == 0.0).all() and (wild.respond(policy).r[0] != 0.0).all()
    gradients = [e.response_gradient(policy, *weights_for(policy)) for e in (wild, tame)]
    assert_allclose(*gradients, rtol=1e-12)
    assert np.abs(gradients[0] - env.response_gradient(policy, *weights_for(policy))).max() > 1e-3
    assert_allclose(*(pepg.performative_gradient(e, policy) for e in (wild, tame)), rtol=1e-12)
    run = pepg.algorithms.repeated_policy_optimization(wild, iterations=3)
    assert_allclose(run.values, pepg.performative_value(tame, run.policies), atol=1e-10)


# Where autograd cannot follow


@primitive
def opaque_exp(x):
    """A function without a derivative, as a package of one's own may have."""
    return np.exp(x)


def reward_of(function):
    """A world of 4 states and 3 actions whose rewards alone answer, by `function`."""
    return lambda policy: (np.full((4, 3, 4), 0.25), function(policy))


def opaque_rewards(policy):
    return np.array([[float(p) ** 2 + policy[0, 0] for p in row] for row in policy])


BROKEN = {
    "conversion to float": reward_of(opaque_rewards),
    "assignment": reward_of(lambda policy: [r := np.zeros((4, 3)), r.__setitem__(0, policy[0] ** 2)][0]),
    "method of arrays": reward_of(lambda policy: policy.copy() ** 2),
    "numpy takes it apart": reward_of(lambda policy: np.einsum("sa,ab->sb", policy, np.arange(9.0).reshape(3, 3)) ** 2),
    "no derivative known": reward_of(opaque_exp),
    "the record lost": reward_of(lambda policy: anp.exp(getattr(policy, "_value", policy))),
    "the record lost in part": reward_of(lambda policy: policy + anp.exp(getattr(policy, "_value", policy))),
}


@pytest.mark.parametrize("function", BROKEN.values(), ids=BROKEN)
def test_a_function_that_autograd_cannot_follow_is_differenced(function):
    """With one warning that says what it costs; and never silently wrong."""
    with pytest.warns(UserWarning, match=r"cannot be differentiated by autograd .*24 calls of respond each") as caught:
        mine = FunctionPeMDP(function, 4, 3, 0.9, np.full(4, 0.25))
    assert not mine.differentiable and len(caught) == 1 and caught[0].filename == __file__
    policy = random_policy(mine, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mine.response_gradient(policy, *weights_for(policy))
    direction = centred(policy, policy * random_policy(mine, 1))
    direction -= direction.mean(axis=-1, keepdims=True)
    ends = [(weights_for(policy)[0] * function(policy + h * direction)[1]).sum() for h in (1e-5, -1e-5)]
    expected = (ends[0] - ends[1]) / 2e-5
    assert abs(expected) > 1e-3
    assert_allclose((found * direction).sum(), expected, rtol=1e-6)


def test_the_warning_says_what_to_do_about_a_numpy_function():
    with pytest.warns(UserWarning, match="a numpy function took the policy apart .*; autograd.numpy has the same function"):
        pepg.FunctionPeMDP(BROKEN["numpy takes it apart"], 4, 3, 0.9, np.full(4, 0.25))


def test_a_function_without_answer_is_differentiable():
    """It ignores the policy, in full or but for a step: the gradient is 0, and there is no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rewards in (lambda policy: np.ones((4, 3)), lambda policy: np.floor(4 * policy), lambda policy: 0.0 * policy):
            mine = FunctionPeMDP(reward_of(rewards), 4, 3, 0.9, np.full(4, 0.25))
            policy = random_policy(mine, 0)
            assert mine.differentiable and (mine.response_gradient(policy, *weights_for(policy)) == 0.0).all()
            assert_allclose(pepg.performative_gradient(mine, policy), pepg.policy_gradient(mine, policy), rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["inside", "vertex", "nearly"])
def test_differences_equal_the_gradient(kind, seed):
    """To 1e-7 inside the simplex and at its boundary, from policies inside it alone, with 2 S A calls."""
    env = example(seed)
    asked = []

    def respond(policy):
        asked.append(policy)
        return softmax_response(env)(policy)

    with pytest.warns(UserWarning, match="by autograd"):
        mine = FunctionPeMDP(plain(respond), 4, 3, 0.9, env.rho)
    rng = np.random.default_rng(seed)
    policies = {
        "inside": random_policy(env, seed, (2,)),
        "vertex": np.eye(3)[rng.integers(3, size=(2, 4))],
        "nearly": pepg.softmax(12.0 * rng.normal(size=(2, 4, 3))),
    }[kind]
    occupancy, value = weights_for(policies, seed)
    expected = centred(policies, env.response_gradient(policies, occupancy, value))
    mine.respond(policies)
    asked.clear()
    found = mine.response_gradient(policies, occupancy, value)
    assert len(asked) == 2 * 2 * 4 * 3
    assert min(policy.min() for policy in asked) >= 0.0
    assert_allclose(np.sum(asked, axis=-1), 1.0, atol=1e-12)
    assert_allclose(found, expected, rtol=0, atol=1e-7 * (1.0 + np.abs(expected).max()))
    assert_allclose(
        pepg.performative_gradient(mine, policies), pepg.performative_gradient(env, policies), rtol=0, atol=1e-6
    )


def test_a_function_cannot_write_into_the_policy_deployed():
    def writes(policy):
        P, r = quadratic(policy)
        policy[:] = 1.0  # its own copy
        return P, r

    with pytest.warns(UserWarning, match="by autograd"):
        mine = FunctionPeMDP(writes, 4, 3, 0.9, np.full(4, 0.25))
    policy = random_policy(mine, 0)
    kept = policy.copy()
    expected = pepg.performative_gradient(FunctionPeMDP(quadratic, 4, 3, 0.9, np.full(4, 0.25)), policy)
    assert_allclose(pepg.performative_gradient(mine, policy), expected, atol=1e-7)
    assert (policy == kept).all()


# Errors


UNIFORM = np.full((4, 3, 4), 0.25)
BAD_RESPONSES = {
    r"respond: expected a pair \(P, r\), got ndarray": lambda policy: policy,
    r"respond: P: expected shape \(4, 3, 4\), got \(4, 3\)": lambda policy: (policy, policy),
    r"respond: P: expected shape \(4, 3, 4\), got \(1, 4, 3, 4\)": lambda policy: (UNIFORM[None], policy),
    r"respond: r: expected shape \(4, 3\), got \(4,\)": lambda policy: (UNIFORM, policy[:, 0]),
    r"respond: P: each row .* P\[2, 1\] sums to 1.1": lambda policy: (
        UNIFORM + 0.025 * np.eye(12)[7].reshape(4, 3, 1), policy
    ),
    r"respond: P: each row .* P\[0, 0, 1\] is -0.25": lambda policy: (UNIFORM * [1, -1, 2, 2], policy),
    r"respond: r: expected finite numbers, but r\[3, 2\] is nan": lambda policy: (
        UNIFORM, policy + np.where(np.arange(12).reshape(4, 3) == 11, np.nan, 0.0)
    ),
}


@pytest.mark.parametrize("message", BAD_RESPONSES)
def test_a_response_that_is_none_is_refused_at_the_door(message):
    with pytest.raises(ValueError, match=message):
        FunctionPeMDP(BAD_RESPONSES[message], 4, 3, 0.9, np.full(4, 0.25))


def test_a_response_is_checked_at_every_policy():
    def respond(policy):
        return UNIFORM, anp.where(policy > 0.9, np.inf, policy)

    mine = FunctionPeMDP(respond, 4, 3, 0.9, np.full(4, 0.25))
    policies = np.stack([mine.uniform_policy(), np.eye(3)[[0, 0, 2, 0]]])
    with pytest.raises(ValueError, match=r"respond: r: expected finite numbers, but r\[1, 0, 0\] is inf"):
        mine.respond(policies)
    with pytest.raises(ValueError, match=r"policy\[1\] sums to 0"):
        mine.respond(np.eye(4, 3)[[0, 3, 1, 2]])


def test_a_derivative_that_is_not_finite_is_refused():
    mine = FunctionPeMDP(lambda policy: (UNIFORM, anp.sqrt(policy)), 4, 3, 0.9, np.full(4, 0.25))
    policy = np.eye(3)[[0, 0, 2, 0]]
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"gradient of respond: .*\[0, 1\] is"):
        mine.response_gradient(policy, *weights_for(policy))


GOOD = {"respond": lambda policy: (UNIFORM, policy), "n_states": 4, "n_actions": 3, "gamma": 0.9, "rho": np.full(4, 0.25)}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"respond": 3}, "respond: expected a function"),
        ({"n_states": 0}, "n_states: expected a whole number >= 1, got 0"),
        ({"n_actions": 2.5}, "n_actions: expected a whole number >= 1, got 2.5"),
        ({"gamma": 1.0}, "gamma: "),
        ({"rho": np.full(3, 1 / 3)}, r"rho: expected shape \(4,\), got \(3,\)"),
        ({"rho": np.array([0.5, 0.5, 0.5, -0.5])}, r"rho.*\[3\] is -0.5"),
        ({"terminal": 4}, "terminal: expected states below 4"),
    ],
)
def test_constructor_names_the_argument(change, message):
    FunctionPeMDP(**GOOD)
    with pytest.raises(ValueError, match=message):
        FunctionPeMDP(**GOOD | change)


@pytest.mark.parametrize("differentiable", [True, False])
def test_weights_are_checked(differentiable):
    function = GOOD["respond"] if differentiable else plain(GOOD["respond"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine = FunctionPeMDP(**GOOD | {"respond": function})
    policy = mine.uniform_policy()
    occupancy, value = weights_for(policy)
    with pytest.raises(ValueError, match=r"occupancy: expected shape \(..., 4, 3\), got \(4,\)"):
        mine.response_gradient(policy, occupancy[:, 0], value)
    with pytest.raises(ValueError, match=r"value: expected finite numbers, but value\[0\] is nan"):
        mine.response_gradient(policy, occupancy, value * np.nan)


def test_a_mistake_of_the_function_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError):
        FunctionPeMDP(**GOOD | {"respond": lambda policy: 1 / 0})


# What a newcomer meets


def test_lists_will_do():
    env = example()
    response = softmax_response(env)

    def listed(policy):
        P, r = response(policy)
        return P, [[r[s, a] for a in range(3)] for s in range(4)]

    mine = pepg.FunctionPeMDP(listed, 4, 3, 0.9, env.rho)
    assert mine.differentiable
    policy = random_policy(env, 0)
    np.testing.assert_allclose(pepg.performative_gradient(mine, policy), pepg.performative_gradient(env, policy), rtol=1e-9)
    plain_lists = pepg.FunctionPeMDP(lambda policy: (np.full((2, 1, 2), 0.5).tolist(), [[1.0], [0.0]]), 2, 1, 0.9, [1, 0])
    assert pepg.performative_value(plain_lists, [[1.0], [1.0]]) == pytest.approx(1.0 + 0.9 * 5.0)


def test_messages_are_short():
    with pytest.raises(ValueError, match=r"respond: expected a function, got an array of numbers of shape \(40, 40\)$"):
        pepg.FunctionPeMDP(np.zeros((40, 40)), 2, 2, 0.9, [0.5, 0.5])
    with pytest.raises(ValueError, match="but rho sums to 6$"):
        pepg.FunctionPeMDP(lambda policy: None, 3, 2, 0.9, [1, 2, 3])

    def in_place(policy):
        r = np.eye(3)
        r -= 0.5 * policy
        return np.full((3, 3, 3), 1 / 3), r

    with pytest.warns(UserWarning, match="by autograd") as caught:
        pepg.FunctionPeMDP(in_place, 3, 3, 0.9, np.full(3, 1 / 3))
    assert "\n" not in str(caught[0].message) and len(str(caught[0].message)) < 500


def test_actions_are_no_policy():
    env = example()
    with pytest.raises(ValueError, match=r"expected probabilities .* got one action a state; np.eye\(3\)\[policy\] has them"):
        env.respond(np.array([0, 1, 2, 0]))


@pytest.mark.parametrize("algorithm", ["pepg", "policy_gradient", "sampled_pepg", "sampled_policy_gradient"])
def test_a_deterministic_start_is_warned_of(algorithm):
    env = example()
    corner = np.eye(3)[[0, 1, 2, 0]]
    with pytest.warns(UserWarning, match=r"deterministic, .*0.95 \* policy \+ 0.05 \* env.uniform_policy\(\)"):
        run = getattr(pepg.algorithms, algorithm)(env, policy=corner, iterations=2)
    np.testing.assert_array_equal(run.policy, corner)
    mixed = 0.95 * corner + 0.05 * env.uniform_policy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.array_equal(getattr(pepg.algorithms, algorithm)(env, policy=mixed, iterations=2).policy, mixed)


def test_one_line_says_what_something_is():
    env = example()
    mine = pepg.FunctionPeMDP(softmax_response(env), 4, 3, 0.9, env.rho)
    run = pepg.algorithms.policy_gradient(env, seed=0, iterations=2)
    side = pepg.algorithms.sampled_policy_gradient(env, seed=[0, 1], iterations=2, trajectories=2, horizon=5)
    said = {
        repr(pepg.Gridworld(n_followers=2)): "Gridworld(eps=0.5, beta=5, n_followers=2, gamma=0.9, cost=0.05): 64 states, 4 actions",
        repr(pepg.Crowding(cost=0.5)): "Crowding(cost=0.5, gamma=0.99): 64 states, 4 actions",
        repr(pepg.RankedGrid()): "RankedGrid(ranked=8, slip=0.1, gamma=0.99): 64 states, 4 actions",
        repr(mine): "FunctionPeMDP(n_states=4, n_actions=3, gamma=0.9): 4 states, 3 actions",
        repr(env.respond(env.uniform_policy())): "MDP: 4 states, 3 actions, gamma 0.9",
        repr(run): f"Run: 4 states, 3 actions, 2 iterations, 2 deployments, value {run.values[0]:.6g} → {run.values[-1]:.6g}",
    }
    for found, expected in said.items():
        assert found == expected
    assert repr(side).startswith("Run: 2 side by side, 4 states") and "samples, mean value" in repr(side)
    assert "\n" not in repr(env) and "array" not in repr(env)
