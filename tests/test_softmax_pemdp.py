"""The softmax PeMDP: its response, the gradient of it, and constants that must never be exceeded.

A bound is tried by random points, by points that a search found, and on instances where it is attained.
"""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import random_policy, seeds

import pepg

entropies = st.sampled_from([0.0, 0.0, 0.1, 2.0])
ROUNDING = 1.0 + 1e-9


@st.composite
def pemdps(draw, count=None, max_gamma=0.95, max_strength=5.0):
    """A random SoftmaxPeMDP of up to 4 states and 3 actions, strengths of either sign; and a generator for more."""
    rng = np.random.default_rng(draw(seeds))
    strengths = [draw(st.one_of(st.just(0.0), st.floats(-max_strength, max_strength))) for _ in range(2)]
    env = pepg.random_softmax_pemdp(
        rng, draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.floats(0.0, max_gamma)), *strengths, count
    )
    return env, rng


STRENGTHS = ("transition_strength", "reward_strength")
ARGUMENTS = ("logits", "logit_map", "rewards", "reward_map", "gamma", "rho", *STRENGTHS)


def distance(a, b):
    return np.sqrt(((a - b) ** 2).sum(axis=(-2, -1)))


# The response


@given(pemdps())
def test_response_equals_its_definition(case):
    """Entry by entry: P softmax in, and r affine in, the policy in every state."""
    env, rng = case
    policy = random_policy(env, rng)
    mdp = env.respond(policy)
    for s, a in np.ndindex(env.n_states, env.n_actions):
        logits = [
            env.logits[s, a, t] + env.transition_strength * np.sum(env.logit_map[s, a, t] * policy) for t in range(env.n_states)
        ]
        weights = np.exp(logits)
        assert_allclose(mdp.P[s, a], weights / weights.sum(), rtol=1e-11)
        assert_allclose(mdp.r[s, a], env.rewards[s, a] + env.reward_strength * np.sum(env.reward_map[s, a] * policy), atol=1e-13)
    assert mdp.gamma == env.gamma and (mdp.rho == env.rho).all() and not mdp.terminal.any()


def test_the_last_response_is_not_taken_for_another():
    """A policy that is changed in place, or one of another shape, is answered anew; the same policy with the same bytes."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.9)
    policy = random_policy(env, 0)
    before = env.respond(policy).P
    assert (env.respond(policy).P == before).all()
    kept = before.copy()
    policy[0] = [0.5, 0.5]
    fresh = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.9)
    assert (env.respond(policy).P == fresh.respond(policy).P).all() and (env.respond(policy).P != kept).any()
    assert env.respond(policy[None]).P.shape == (1, 3, 2, 3) and (before == kept).all()
    with pytest.raises(ValueError, match="read-only"):
        env.respond(policy).P[0] = 0.0


@given(pemdps(count=3))
def test_response_gradient_equals_differences_and_autograd(case):
    """Of sum d (r + gamma P V) with d and V held fixed, to 1e-7 and 1e-11, along directions that keep the row sums."""
    env, rng = case
    policy = random_policy(env, rng, (3,))
    occupancy, value = rng.exponential(size=policy.shape), rng.normal(size=policy.shape[:-1])
    found = env.response_gradient(policy, occupancy, value)

    def total(x, i):
        flat = anp.reshape(x, (-1,))
        logits = env.logits[i] + env.transition_strength * anp.dot(np.reshape(env.logit_map[i], (*env.logits[i].shape, -1)), flat)
        weights = anp.exp(logits)
        P = weights / anp.sum(weights, axis=-1, keepdims=True)
        r = env.rewards[i] + env.reward_strength * anp.dot(np.reshape(env.reward_map[i], (*env.rewards[i].shape, -1)), flat)
        return anp.sum(occupancy[i] * (r + env.gamma * anp.dot(P, value[i])))

    for i in range(3):
        assert_allclose(found[i], grad(total)(policy[i], i), rtol=1e-11, atol=1e-12)
        direction = rng.normal(size=policy[i].shape)
        direction -= direction.mean(axis=-1, keepdims=True)
        h = 1e-3 * policy[i].min() / (1.0 + np.abs(direction).max())

        def at(t, i=i, direction=direction):
            mdp = env.respond(np.broadcast_to(policy[i] + t * direction, policy.shape))
            return (occupancy[i] * (mdp.r[i] + env.gamma * mdp.P[i] @ value[i])).sum()

        expected = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
        scale = 1.0 + np.abs(at(0.0))
        assert_allclose((found[i] * direction).sum(), expected, rtol=1e-7, atol=1e-14 * scale / h)


@given(pemdps(max_gamma=0.9), entropies)
def test_performative_gradient_equals_differences(case, entropy):
    """The whole gradient in the logits, to 1e-6, with and without entropy."""
    env, rng = case
    logits = rng.normal(size=(env.n_states, env.n_actions))
    gradient = pepg.performative_gradient(env, pepg.softmax(logits), entropy)
    directions = rng.choice([-1.0, 1.0], (5, *logits.shape))
    h = 1e-3
    steps = h * np.array([-2.0, -1.0, 1.0, 2.0])[:, None, None, None]
    value = pepg.performative_value(env, pepg.softmax(logits + steps * directions), entropy)
    expected = (value[0] - 8 * value[1] + 8 * value[2] - value[3]) / (12 * h)
    # The error of the formula is of the order h^4, and grows with the strength and the discount.
    assert_allclose((directions * gradient).sum(axis=(1, 2)), expected, rtol=0, atol=1e-6 * (1 + np.abs(gradient).max()))


@given(pemdps(count=3), st.sampled_from([(), (3,), (2, 3)]), entropies)
def test_batch_equals_single(case, lead, entropy):
    """Environments and policies side by side give what each gives alone: responses, gradients, values, constants."""
    env, rng = case
    policies = random_policy(env, rng, lead)
    wide = np.broadcast_to(policies, (*(lead[:-1] or ()), 3, *policies.shape[-2:]))
    mdp = env.respond(policies)
    gradient = pepg.performative_gradient(env, policies, entropy)
    value = pepg.performative_value(env, policies, entropy)
    assert gradient.shape == wide.shape and value.shape == wide.shape[:-2] and env.lead == (3,)
    for index in np.ndindex(wide.shape[:-2]):
        one = env.select(index[-1])
        alone = one.respond(wide[index])
        assert_allclose(np.broadcast_to(mdp.P, (*wide.shape, env.n_states))[index], alone.P, rtol=1e-12)
        assert_allclose(np.broadcast_to(mdp.r, wide.shape)[index], alone.r, rtol=1e-12, atol=1e-13)
        assert_allclose(value[index], pepg.performative_value(one, wide[index], entropy), rtol=1e-10, atol=1e-12)
        expected = pepg.performative_gradient(one, wide[index], entropy)
        assert_allclose(gradient[index], expected, rtol=1e-9, atol=1e-11)
    for i in range(3):
        one = env.select(i)
        assert one.lead == ()
        for several, alone in (
            (env.lipschitz_constants(), one.lipschitz_constants()),
            (env.reward_range(), one.reward_range()),
            ((env.smoothness(entropy),), (one.smoothness(entropy),)),
        ):
            assert_allclose([np.broadcast_to(x, (3,))[i] for x in several], alone, rtol=1e-12, atol=1e-14)


def test_strengths_along_a_leading_axis():
    """One pair of maps with strengths (n,) is n environments."""
    one = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.8)
    arrays = {name: getattr(one, name) for name in ARGUMENTS if name not in STRENGTHS}
    env = pepg.SoftmaxPeMDP(**arrays, transition_strength=[0.0, 1.0, 2.0], reward_strength=[1.0, 0.0, -2.0])
    assert env.lead == (3,)
    policy = random_policy(one, 1)
    values, L = pepg.performative_value(env, policy), env.smoothness()
    assert_allclose(pepg.performative_value(env.select([2, 0, 0]), policy), values[[2, 0, 0]], rtol=1e-12)
    assert env.select(slice(1, None)).lead == (2,) and env.select(np.array([True, False, True])).lead == (2,)
    for i in range(3):
        single = pepg.SoftmaxPeMDP(
            **arrays, transition_strength=env.transition_strength[i], reward_strength=env.reward_strength[i]
        )
        assert_allclose([values[i], L[i]], [pepg.performative_value(single, policy), single.smoothness()], rtol=1e-12)


@given(pemdps(max_strength=0.0), entropies)
def test_zero_strength_is_an_ordinary_mdp(case, entropy):
    """The response is the same for all policies, its gradient and its Lipschitz constants are exactly 0."""
    env, rng = case
    a, b = env.respond(random_policy(env, rng)), env.respond(random_policy(env, rng))
    assert (a.P == b.P).all() and (a.r == b.r).all()
    policy = random_policy(env, rng)
    zero = env.response_gradient(policy, rng.exponential(size=policy.shape), rng.normal(size=env.n_states))
    assert (zero == 0.0).all() and env.lipschitz_constants() == (0.0, 0.0)
    assert (pepg.performative_gradient(env, policy, entropy) == pepg.policy_gradient(env, policy, entropy)).all()


# The constants


def most(function, shape, rng, width=200, rounds=50, scale=3.0):
    """The largest value of `function`, of a batch (width, *shape), that a random search finds around the best so far."""
    best_x, best = np.zeros(shape), -np.inf
    for _ in range(rounds):
        x = best_x + scale * rng.normal(size=(width, *shape))
        value = function(x)
        if value.max() > best:
            best_x, best = x[value.argmax()], value.max()
        scale *= 0.88
    return best


@given(pemdps(count=20), st.sampled_from([1.0, 1e-3]))
def test_lipschitz_constants_hold(case, near):
    """At pairs of policies far and near, some of them deterministic."""
    env, rng = case
    a = random_policy(env, rng, (50, 20), scale=rng.choice([0.5, 2.0, 200.0]))
    b = (1.0 - near) * a + near * random_policy(env, rng, (50, 20), scale=rng.choice([0.5, 2.0, 200.0]))
    here, there = env.respond(a), env.respond(b)
    transition, reward = env.lipschitz_constants()
    rounding = 1e-12 * (1.0 + np.abs(here.r).max())
    assert (np.abs(here.P - there.P).sum(axis=-1).max(axis=(-2, -1)) <= ROUNDING * transition * distance(a, b) + 1e-12).all()
    assert (np.abs(here.r - there.r).max(axis=(-2, -1)) <= ROUNDING * reward * distance(a, b) + rounding).all()


@pytest.mark.parametrize("seed", range(4))
def test_lipschitz_constants_hold_where_a_search_looks(seed):
    """A search over pairs of policies for the largest ratio: never above 1, and not far below."""
    rng = np.random.default_rng(seed)
    env = pepg.random_softmax_pemdp(rng, 2, 2, 0.5, 2.0, 1.0)
    transition, reward = env.lipschitz_constants()

    def ratio_P(logits):
        a, b = np.moveaxis(pepg.softmax(logits), 1, 0)
        moved = np.abs(env.respond(a).P - env.respond(b).P).sum(axis=-1).max(axis=(-2, -1))
        return moved / (distance(a, b) + 1e-9) / transition

    def ratio_r(logits):
        a, b = np.moveaxis(pepg.softmax(logits), 1, 0)
        return np.abs(env.respond(a).r - env.respond(b).r).max(axis=(-2, -1)) / (distance(a, b) + 1e-9) / reward

    assert 0.3 < most(ratio_P, (2, 2, 2), rng) <= ROUNDING
    assert 0.99 < most(ratio_r, (2, 2, 2), rng) <= ROUNDING


def test_lipschitz_constants_are_attained():
    """Along the worst row, from a policy at which P is one half on two states: the ratio tends to 1."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(5), 3, 3, 0.5, 0.7, -1.3)
    middle, h = env.uniform_policy(), 1e-5
    rows = env.logit_map - env.logit_map.mean(axis=-1, keepdims=True)
    apart = rows[:, :, :, None] - rows[:, :, None, :]  # of two next states
    s, a, i, j = np.unravel_index(np.argmax((apart**2).sum(axis=(-2, -1))), apart.shape[:4])
    logits = np.full(env.logits.shape, -50.0)
    logits[..., [i, j]] = 0.0
    half = logits - env.transition_strength * (env.logit_map * middle).sum(axis=(-2, -1))
    env = pepg.SoftmaxPeMDP(half, env.logit_map, env.rewards, env.reward_map, 0.5, env.rho, 0.7, -1.3)
    transition, reward = env.lipschitz_constants()
    direction = apart[s, a, i, j] / np.linalg.norm(apart[s, a, i, j])
    moved = env.respond(middle + h * direction).P - env.respond(middle).P
    assert_allclose(np.abs(moved).sum(axis=-1).max() / h, transition, rtol=1e-8)
    rows = env.reward_map - env.reward_map.mean(axis=-1, keepdims=True)
    worst = rows.reshape(9, 3, 3)[np.argmax((rows**2).sum(axis=(-2, -1)))]
    moved = env.respond(middle + h * worst / np.linalg.norm(worst)).r - env.respond(middle).r
    assert_allclose(np.abs(moved).max() / h, reward, rtol=1e-8)


def test_equal_rows_do_not_respond():
    """A map that moves all next states alike, or all actions alike, has the Lipschitz constant 0: exactly, and to rounding."""
    rng = np.random.default_rng(6)
    env = pepg.random_softmax_pemdp(rng, 3, 2, 0.5)
    alike = np.broadcast_to(env.logit_map[:, :, :1], env.logit_map.shape)
    assert pepg.SoftmaxPeMDP(env.logits, alike, env.rewards, env.reward_map, 0.5, env.rho).lipschitz_constants()[0] == 0.0
    flat = pepg.SoftmaxPeMDP(
        env.logits, env.logit_map[..., :1] + [0, 0], env.rewards, env.reward_map[..., :1] + [0, 0], 0.5, env.rho
    )
    assert_allclose(flat.lipschitz_constants(), 0.0, atol=1e-14)


@given(pemdps(count=4))
def test_reward_range_is_that_of_the_deterministic_policies(case):
    """A reward is affine in the policy, so the extremes are at corners, all of which are tried; none is exceeded."""
    env, rng = case
    corners = np.stack(np.meshgrid(*[np.arange(env.n_actions)] * env.n_states, indexing="ij"), axis=-1).reshape(-1, env.n_states)
    r = env.respond(np.eye(env.n_actions)[corners][:, None]).r
    low, high = env.reward_range()
    assert_allclose(r.min(axis=(0, -2, -1)), low, rtol=1e-12, atol=1e-13)
    assert_allclose(r.max(axis=(0, -2, -1)), high, rtol=1e-12, atol=1e-13)
    inside = env.respond(random_policy(env, rng, (200, 4))).r
    assert (inside >= low[:, None, None] - 1e-12).all() and (inside <= high[:, None, None] + 1e-12).all()


def curvature(env, logits, entropy, h=1e-4):
    """The largest absolute eigenvalue of the Hessian at logits (..., S, A), by central differences of the gradient."""
    size = env.n_states * env.n_actions
    steps = h * np.eye(size).reshape(size, *[1] * (logits.ndim - 2), env.n_states, env.n_actions)
    up, down = (pepg.performative_gradient(env, pepg.softmax(logits + step), entropy) for step in (steps, -steps))
    hessian = np.moveaxis((up - down) / (2 * h), 0, -3).reshape(*logits.shape[:-2], size, size)
    return np.abs(np.linalg.eigvalsh((hessian + np.swapaxes(hessian, -1, -2)) / 2)).max(axis=-1)


@given(pemdps(count=10, max_gamma=0.9), entropies, st.floats(0.1, 4.0))
def test_smoothness_holds(case, entropy, scale):
    """No Hessian is larger at random logits; and gradients at pairs of logits are no further apart."""
    env, rng = case
    L = env.smoothness(entropy)
    logits = rng.normal(0.0, scale, (10, 10, env.n_states, env.n_actions))
    assert (curvature(env, logits, entropy) <= 1.0001 * L + 1e-6).all()
    a, b = (pepg.performative_gradient(env, pepg.softmax(x), entropy) for x in (logits, logits[::-1]))
    assert (distance(a, b) <= ROUNDING * L * distance(logits, logits[::-1])).all()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("entropy", [0.0, 1.0])
def test_smoothness_holds_where_a_search_looks(gamma, entropy):
    """The largest Hessian that a search over the logits finds is below L."""
    rng = np.random.default_rng(7)
    env = pepg.random_softmax_pemdp(rng, 2, 2, gamma, 2.0, 2.0)
    assert most(lambda logits: curvature(env, logits, entropy), (2, 2), rng) <= 1.0001 * env.smoothness(entropy)


@pytest.mark.parametrize("n_actions", [2, 3, 6])
def test_smoothness_has_the_right_size(n_actions):
    """One state, no discount: L is within a small factor of the truth, for rewards, response and entropy each alone."""
    rng = np.random.default_rng(8)
    shape, corner = (1, n_actions), np.eye(n_actions)[0]
    reward_map = np.zeros((*shape, *shape))
    reward_map[0, 0, 0, 0] = 1.0
    cases = {
        "rewards": (corner[None], 0.0, 0.0, 0.3),
        "response": (np.zeros(shape), 1.0, 0.0, 0.1),
        "entropy": (np.zeros(shape), 0.0, 1.0, 0.1),
    }
    for name, (rewards, strength, entropy, least) in cases.items():
        env = pepg.SoftmaxPeMDP(
            np.zeros((*shape, 1)), np.zeros((*shape, 1, *shape)), rewards, reward_map, 0.0, [1.0], reward_strength=strength
        )
        found = most(lambda logits, env=env, entropy=entropy: curvature(env, logits, entropy), shape, rng)
        assert least < found / env.smoothness(entropy) <= 1.0001, name


@given(pemdps(count=5), entropies)
def test_a_step_of_one_over_L_ascends(case, entropy):
    """By at least |g|^2 / 2L, ten times in a row: the ascent lemma with the computed L."""
    env, rng = case
    L = np.maximum(env.smoothness(entropy), 1e-6)  # 0 where there is nothing to choose
    logits = rng.normal(0.0, 2.0, (4, 5, env.n_states, env.n_actions))
    value = pepg.performative_value(env, pepg.softmax(logits), entropy)
    rounding = 1e-12 * (1.0 + np.abs(value).max())
    for _ in range(10):
        gradient = pepg.performative_gradient(env, pepg.softmax(logits), entropy)
        logits = logits + gradient / L[..., None, None]
        last, value = value, pepg.performative_value(env, pepg.softmax(logits), entropy)
        assert (value - last >= (gradient**2).sum(axis=(-2, -1)) / (2.0 * L) * (1.0 - 1e-9) - rounding).all()


# The generator


def test_random_environments():
    """The same seed gives the same environment; strengths scale one response; a strength of 1 has rows of norm about 1."""
    a, b = (pepg.random_softmax_pemdp(np.random.default_rng(3), 3, 2, 0.9, k, k, count=4) for k in (1.0, 3.0))
    assert a.lead == (4,) and a.rho.shape == (4, 3) and a.n_states == 3 and a.n_actions == 2
    assert all((getattr(a, name) == getattr(b, name)).all() for name in ("logits", "logit_map", "rewards", "reward_map", "rho"))
    assert_allclose(b.lipschitz_constants(), 3.0 * np.array(a.lipschitz_constants()), rtol=1e-14)
    assert pepg.random_softmax_pemdp(np.random.default_rng(3), 3, 2, 0.9).lead == ()
    many = pepg.random_softmax_pemdp(np.random.default_rng(3), 3, 2, 0.9, count=500)
    for array in (many.logit_map, many.reward_map):
        assert_allclose(np.sqrt((array**2).sum(axis=(-2, -1))).mean(), 1.0, atol=0.05)


# Errors


def arguments(**changes):
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.9, count=4)
    return {name: getattr(env, name) for name in ARGUMENTS} | changes


def spoiled(name, number):
    array = arguments()[name].copy()
    array.flat[-1] = number
    return {name: array}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rewards": np.zeros(3)}, r"^rewards: expected shape \(\.\.\., S, A\), got \(3,\)"),
        ({"logits": np.zeros((3, 2, 2))}, r"^logits: expected shape \(\.\.\., 3, 2, 3\), got \(3, 2, 2\)"),
        ({"logit_map": np.zeros((3, 2, 3, 2, 3))}, r"^logit_map: expected shape \(\.\.\., 3, 2, 3, 3, 2\)"),
        ({"reward_map": np.zeros((3, 2, 3))}, r"^reward_map: expected shape"),
        ({"rho": np.full((4, 2), 0.5)}, r"^rho: expected shape \(\.\.\., 3\), got \(4, 2\)"),
        ({"rho": [0.5, 0.6, -0.1]}, r"^rho: .*rho\[2\] is -0\.1"),
        ({"rho": [0.5, 0.6, 0.1]}, r"^rho: .*sums to 1\.2"),
        (spoiled("logits", np.nan), r"^logits: .*logits\[3, 2, 1, 2\] is nan"),
        (spoiled("logit_map", np.inf), r"^logit_map: .*is inf"),
        (spoiled("rewards", -np.inf), r"^rewards: .*rewards\[3, 2, 1\] is -inf"),
        (spoiled("reward_map", np.nan), r"^reward_map: .*is nan"),
        ({"transition_strength": np.nan}, r"^transition_strength: .*nan"),
        ({"reward_strength": np.ones(3)}, r"^reward_strength: its leading axes \(3,\) do not broadcast with \(4,\)"),
        ({"logits": np.zeros((5, 3, 2, 3))}, r"^logits: its leading axes \(5,\) do not broadcast"),
        ({"gamma": 1.0}, r"^gamma: .*got 1\.0"),
    ],
)
def test_errors_name_the_argument(changes, message):
    with pytest.raises(ValueError, match=message):
        pepg.SoftmaxPeMDP(**arguments(**changes))


def test_errors_of_methods():
    env = pepg.SoftmaxPeMDP(**arguments())
    policy = env.uniform_policy()
    with pytest.raises(ValueError, match=r"^policy: expected shape \(\.\.\., 3, 2\), got \(2, 3\)"):
        env.respond(policy.T)
    with pytest.raises(ValueError, match=r"^policy: .*policy\[0\] sums to 2"):
        env.respond(2.0 * policy)
    with pytest.raises(ValueError, match=r"^occupancy: expected shape"):
        env.response_gradient(policy, np.ones((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match=r"^value: .*value\[1\] is nan"):
        env.response_gradient(policy, policy, np.array([0.0, np.nan, 0.0]))
    for entropy in (-0.1, np.nan):
        with pytest.raises(ValueError, match=r"^entropy: "):
            env.smoothness(entropy)
