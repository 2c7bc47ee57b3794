"""Branch and bound: against optima known otherwise, and each of its bounds against points that could exceed it."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import random_policy, seeds

import pepg
from pepg import certificate, theory
from pepg.theory.certificate import _Instances, box_bounds, certified_optimum

ROUNDING = 1e-11


def at(x):
    """The policies of points x (..., S) of the cube."""
    return np.stack([1.0 - x, x], axis=-1)


def random_pemdps(seed, count, n_states=2, gamma=0.8, transition_strength=1.0, reward_strength=1.0):
    rng = np.random.default_rng(seed)
    return pepg.random_softmax_pemdp(rng, n_states, 2, gamma, transition_strength, reward_strength, count), rng


# Optima known otherwise


@pytest.mark.parametrize("n_states", [1, 2, 3])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9])
def test_without_response_it_is_the_optimum_of_an_mdp(n_states, gamma):
    """Strength 0: the best deterministic policy, by trying all, and no best response gains anything."""
    env, _ = random_pemdps(0, 10, n_states, gamma, 0.0, 0.0)
    tolerance = 0.1 if n_states == 3 else 1e-4
    found = certified_optimum(env, tolerance=tolerance)
    corners = np.array(list(product((0.0, 1.0), repeat=n_states)))
    best = pepg.performative_value(env, at(corners)[:, None]).max(axis=0)
    assert (found.value <= best + ROUNDING).all() and (best <= found.upper + ROUNDING).all()
    assert (theory.best_response_gain(env, found.policy) <= tolerance + ROUNDING).all()


@given(seeds, st.sampled_from([0.0, 0.5, 0.95]))
def test_congestion_optimum_in_closed_form(seed, gamma):
    """One state and two roads: the system optimum, in the interior or at an end."""
    rng = np.random.default_rng(seed)
    games = [pepg.pigou(rng.normal(size=2), rng.exponential(size=2), gamma) for _ in range(20)]
    best = np.array([pepg.performative_value(game, pepg.congestion_policies(game)[1]) for game in games])
    first = games[0]
    env = pepg.SoftmaxPeMDP(
        first.logits, first.logit_map, [g.rewards for g in games], [g.reward_map for g in games], gamma, first.rho
    )
    found = certified_optimum(env, tolerance=1e-5)
    assert (found.value <= best + ROUNDING).all() and (best <= found.upper + ROUNDING).all()
    assert (found.upper <= found.value + 1e-5 + ROUNDING).all()


@pytest.mark.parametrize("gamma, strength", [(0.5, 3.0), (0.8, 1.0), (0.8, -3.0), (0.9, 1.0)])
def test_no_point_of_a_dense_grid_exceeds_upper(gamma, strength):
    """151 x 151 points of each of 20 random PeMDPs; the grid's best is no better than the certified value by the tolerance."""
    env, _ = random_pemdps(1, 20, gamma=gamma, transition_strength=strength, reward_strength=strength)
    found = certified_optimum(env)
    line = np.linspace(0.0, 1.0, 151)
    points = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    best = np.full(20, -np.inf)
    for chunk in np.array_split(points, 10):
        best = np.maximum(best, pepg.performative_value(env, at(chunk)).max(axis=0))
    assert (best <= found.upper + ROUNDING).all()
    assert (best <= found.value + 1e-4 + ROUNDING).all()
    # And the grid comes close, so that the comparison says something.
    assert (best >= found.value - 0.03 / (1.0 - gamma)).all()


@pytest.mark.parametrize("n_states, gamma, count", [(1, 0.9, 40), (2, 0.8, 40), (3, 0.5, 4)])
def test_ascent_does_not_exceed_upper(n_states, gamma, count):
    """PePG from ten starts, certified without knowing them; and the certificate of those that know them agrees."""
    env, rng = random_pemdps(2, count, n_states, gamma, 2.0, 2.0)
    run = pepg.algorithms.pepg(env, policy=random_policy(env, rng, (10, count)), iterations=60)
    blind, seeing = certified_optimum(env), certified_optimum(env, run.policy)
    best = run.values[-1].max(axis=0)
    assert (best <= blind.upper + ROUNDING).all() and (best <= seeing.value + ROUNDING).all()
    assert (seeing.value <= blind.upper + ROUNDING).all() and (blind.value <= seeing.upper + ROUNDING).all()
    assert (blind.value >= best - 1e-4 - ROUNDING).all()
    assert seeing.boxes <= blind.boxes


def test_a_certificate_says_what_it_promises():
    """value is that of the policy, value <= upper <= value + tolerance, and intervals of all tolerances overlap."""
    env, _ = random_pemdps(3, 30)
    low, high = np.full(30, -np.inf), np.full(30, np.inf)
    boxes = []
    for tolerance in (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        found = certified_optimum(env, tolerance=tolerance)
        env.check_policy(found.policy)
        assert_allclose(pepg.performative_value(env, found.policy), found.value, rtol=1e-12, atol=1e-13)
        assert (found.value <= found.upper).all() and (found.upper <= found.value + tolerance * (1.0 + 1e-12)).all()
        low, high = np.maximum(low, found.value), np.minimum(high, found.upper)
        boxes.append(found.boxes)
    assert (low <= high + ROUNDING).all() and boxes == sorted(boxes)


def test_known_policies():
    """None, one for all, one for each or several for each: the best of them is where the search starts."""
    env, rng = random_pemdps(4, 6)
    several = random_policy(env, rng, (7, 6), scale=4.0)
    values = pepg.performative_value(env, several)
    found = certified_optimum(env, several, tolerance=1e6)  # closed at once: what is known is returned
    which = np.where((values.max(axis=0) >= pepg.performative_value(env, env.uniform_policy()))[:, None, None], 1.0, np.nan)
    assert_allclose(found.policy * which, several[values.argmax(axis=0), np.arange(6)] * which, atol=1e-15)
    assert (found.value >= values.max(axis=0) - ROUNDING).all() and found.boxes == 6
    exact = certified_optimum(env)
    for known in (several[0], several[0, 0], several[None]):
        assert (np.abs(certified_optimum(env, known).value - exact.value) <= 1e-4 + ROUNDING).all()


def test_leading_axes():
    """None, two, or those of a strength alone: each environment as if it were by itself."""
    env, _ = random_pemdps(5, 6)
    six = certified_optimum(env)
    single = certified_optimum(env.select(2))
    assert isinstance(float(single.value), float) and np.ndim(single.value) == 0 and single.policy.shape == (2, 2)
    assert_allclose([single.value, single.upper], [six.value[2], six.upper[2]], rtol=1e-12)
    names = ("logits", "logit_map", "rewards", "reward_map", "rho")
    square = {name: getattr(env, name).reshape(2, 3, *getattr(env, name).shape[1:]) for name in names}
    found = certified_optimum(pepg.SoftmaxPeMDP(**square, gamma=env.gamma))
    assert found.policy.shape == (2, 3, 2, 2)
    assert_allclose(found.value.ravel(), six.value, rtol=1e-12)
    one = {name: getattr(env.select(2), name) for name in names} | {"gamma": env.gamma}
    swept = certified_optimum(pepg.SoftmaxPeMDP(**one, transition_strength=[0.0, 1.0], reward_strength=[0.0, 1.0]))
    assert_allclose(swept.value[1], single.value, rtol=1e-12)
    still = pepg.SoftmaxPeMDP(**one, transition_strength=0.0, reward_strength=0.0)
    assert_allclose(swept.value[0], pepg.performative_value(still, swept.policy[0]), rtol=1e-12)


# The bounds


def boxes(rng, env, count):
    """Random boxes inside the cube, of all sizes: the environment of each, its centre and its half width."""
    half = 0.5 * 10.0 ** rng.uniform(-4.0, 0.0, count)
    return rng.integers(env.lead[0], size=count), rng.uniform(half[:, None], 1.0 - half[:, None], (count, env.n_states)), half


def measured(case):
    """200 boxes of 10 random environments: the environment of each, centre, half width, value at the centre and bound; a generator."""
    seed, n_states, gamma, *strengths = case
    env, rng = random_pemdps(seed, 10, n_states, gamma, *strengths)
    i, centre, half = boxes(rng, env, 200)
    return env.select(i), centre, half, *_Instances(env).evaluate(i, centre, half), rng


cases = st.tuples(seeds, st.integers(1, 3), st.floats(0.0, 0.95), st.floats(-4.0, 4.0), st.floats(-4.0, 4.0))


@given(cases)
def test_no_point_of_a_box_exceeds_its_bound(case):
    """40 points inside each, corners, and the corner that the gradient points to."""
    own, centre, half, value, bound, rng = measured(case)
    u = rng.uniform(-1.0, 1.0, (60, *centre.shape))
    u[40:] = np.sign(u[40:])
    u[-1] = np.sign(in_cube(own, centre))
    inside = pepg.performative_value(own, at(np.clip(centre + half[:, None] * u, 0.0, 1.0)))
    rounding = 1e-12 * (1.0 + np.abs(value))
    assert_allclose(value, pepg.performative_value(own, at(centre)), rtol=1e-10, atol=1e-12)
    assert (inside <= bound + rounding).all()


def in_cube(env, x):
    """The derivatives of the value in x, (b, S), from the gradient that the algorithms use."""
    here = pepg.deploy(env, at(x))
    visits = here.occupancy.sum(axis=-1, keepdims=True)
    by_policy = visits * here.mdp.backup(here.value) + env.response_gradient(here.policy, here.occupancy, here.value)
    return by_policy[..., 1] - by_policy[..., 0]


@given(cases)
def test_the_bound_has_the_derivatives_of_the_value(case):
    """With the second-order constants set to 0 the bound is value + h sum |dV/dx|; the gradient against differences."""
    seed, n_states, gamma, *strengths = case
    env, rng = random_pemdps(seed, 10, n_states, gamma, *strengths)
    i, x = np.arange(10), rng.uniform(0.1, 0.9, (10, n_states))
    flat = _Instances(env)
    flat.p1, flat.p2, flat.r2 = 0.0 * flat.p1, 0.0 * flat.p2, 0.0 * flat.r2
    value, bound = flat.evaluate(i, x, 1.0)
    gradient = in_cube(env, x)
    assert_allclose(bound - value, np.abs(gradient).sum(axis=1), rtol=1e-10, atol=1e-11 / (1.0 - gamma))
    h = 1e-3
    for k in range(n_states):
        step = h * np.eye(n_states)[k]
        values = [pepg.performative_value(env, at(x + t * step)) for t in (-2, -1, 1, 2)]
        expected = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        assert_allclose(gradient[:, k], expected, rtol=1e-5, atol=1e-5 / (1.0 - gamma))


@given(cases)
def test_no_second_difference_exceeds_the_bound_on_the_second_derivative(case):
    """V(c + u) - 2 V(c) + V(c - u) <= h² m_2 for |u| <= h, along corners and at random; and V'' is not far below at its best."""
    own, centre, half, value, bound, rng = measured(case)
    bend = 2.0 * (bound - value - half * np.abs(in_cube(own, centre)).sum(axis=1))  # h² m_2
    u = rng.uniform(-1.0, 1.0, (30, *centre.shape))
    u[15:] = np.sign(u[15:])
    u *= half[:, None]
    ends = [pepg.performative_value(own, at(np.clip(centre + sign * u, 0.0, 1.0))) for sign in (-1.0, 1.0)]
    rounding = 1e-11 * (1.0 + np.abs(value)) / (1.0 - own.gamma)
    assert (bend >= -rounding).all()
    assert (np.abs(ends[0] - 2.0 * value + ends[1]) <= bend + rounding).all()


def test_the_bound_on_the_second_derivative_is_attained():
    """One state, rewards that fall with their own share: V'' = -2 (c_0 + c_1) everywhere, and m_2 is its size."""
    env = pepg.pigou((0.3, -0.2), (0.7, 0.5))
    value, bound = _Instances(env).evaluate(np.zeros(1, int), np.array([[0.5]]), 0.25)
    bend = 2.0 * (bound - value - 0.25 * np.abs(in_cube(env, np.array([[0.5]]))).sum(axis=1))
    assert_allclose(bend, 0.25**2 * 2.0 * (0.7 + 0.5), rtol=1e-12)


def test_the_bound_on_the_second_derivative_has_the_right_size():
    """A response of the transitions alone, strong and with a small discount: somewhere a quarter of m_2 is there."""
    strength, h = 12.0, 1e-3
    logit_map = np.zeros((2, 2, 2, 2, 2))
    logit_map[:, :, 1, 0, 1] = 1.0  # all transitions follow the policy in state 0
    logits = np.broadcast_to([0.0, -strength / 2.0], (2, 2, 2))
    env = pepg.SoftmaxPeMDP(logits, logit_map, [[1.0, 1.0], [-1.0, -1.0]], np.zeros((2, 2, 2, 2)), 0.02, [0.5, 0.5], strength)
    x = np.stack([np.linspace(0.1, 0.9, 801), np.full(801, 0.5)], axis=-1)
    value, bound = _Instances(env).evaluate(np.zeros(801, int), x, h)
    bend = 2.0 * (bound - value - h * np.abs(in_cube(env, x)).sum(axis=1))
    ends = [pepg.performative_value(env, at(x + [step, 0.0])) for step in (-h, h)]
    assert 0.25 < (np.abs(ends[0] - 2.0 * value + ends[1]) / bend).max() <= 1.0


def test_a_wrong_bound_is_found_out():
    """With the second-order term left out, points of many boxes exceed their bounds: the checks above have teeth."""
    env, rng = random_pemdps(6, 10, transition_strength=3.0, reward_strength=3.0)
    i, centre, half = boxes(rng, env, 2000)
    instances = _Instances(env)
    value, _ = instances.evaluate(i, centre, half)
    own = env.select(i)
    gradient = in_cube(own, centre)
    reached = pepg.performative_value(own, at(np.clip(centre + half[:, None] * np.sign(gradient), 0.0, 1.0)))
    assert (reached > value + half * np.abs(gradient).sum(axis=1) + 1e-9).mean() > 0.2
    assert (reached <= instances.evaluate(i, centre, half)[1] + ROUNDING).all()


@given(st.tuples(seeds, st.integers(1, 2), st.floats(0.0, 0.95), st.floats(-4.0, 4.0), st.floats(-4.0, 4.0)))
def test_bounds_on_boxes_of_one_environment(case):
    seed, n_states, gamma, *strengths = case
    env, rng = random_pemdps(seed, 3, n_states, gamma, *strengths)
    one, half = env.select(1), 0.07
    centre = rng.uniform(half, 1.0 - half, (50, n_states))
    bound = box_bounds(one, at(centre), half)
    inside = pepg.performative_value(one, at(centre + half * rng.uniform(-1.0, 1.0, (30, 50, n_states))))
    assert bound.shape == (50,) and (inside <= bound + 1e-12 * (1.0 + np.abs(bound))).all()
    assert_allclose(box_bounds(one, at(centre), 0.0), pepg.performative_value(one, at(centre)), rtol=1e-10, atol=1e-12)


# Errors


def test_errors_of_boxes():
    env, _ = random_pemdps(7, 4)
    for wrong in (env, pepg.Gridworld(n_followers=1)):
        with pytest.raises(ValueError, match=r"^env: expected one SoftmaxPeMDP with two actions"):
            box_bounds(wrong, np.full((3, 2, 2), 0.5), 0.1)
    for half in (0.6, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"^half_width: expected boxes within the cube"):
            box_bounds(env.select(0), np.full((3, 2, 2), 0.5), half)


def test_errors(monkeypatch):
    env, _ = random_pemdps(7, 4)
    three = pepg.random_softmax_pemdp(np.random.default_rng(0), 2, 3, 0.8)
    for wrong in (pepg.Gridworld(n_followers=1), three):
        with pytest.raises(ValueError, match=r"^env: expected a SoftmaxPeMDP with two actions"):
            certified_optimum(wrong)
    for tolerance in (0.0, -1e-4, np.nan, np.inf, [1e-4, 1e-4]):
        with pytest.raises(ValueError, match=r"^tolerance: expected a finite number > 0"):
            certified_optimum(env, tolerance=tolerance)
    with pytest.raises(ValueError, match=r"^policies: expected the leading axes \(4,\) .* last, got shape \(4, 5, 2, 2\)"):
        certified_optimum(env, np.full((4, 5, 2, 2), 0.5))
    with pytest.raises(ValueError, match=r"^policies: expected shape \(\.\.\., 2, 2\), got \(4, 3, 2\)"):
        certified_optimum(env, np.full((4, 3, 2), 0.5))
    with pytest.raises(ValueError, match=r"^policies: .*sums to 1\.2"):
        certified_optimum(env, np.full((4, 2, 2), 0.6))
    monkeypatch.setattr(certificate, "MAX_ROUNDS", 3)
    with pytest.raises(RuntimeError, match=r"boxes are left after 3 halvings"):
        certified_optimum(env)
    monkeypatch.setattr(certificate, "MAX_OPEN", 10)
    with pytest.raises(RuntimeError, match=r"more than 10 boxes are open"):
        certified_optimum(env)
