"""Trajectories: their distribution, and estimates whose means are exact.

Means are checked without sampling: all trajectories of a short horizon are enumerated with their probabilities, and the
weighted sum of their estimates equals the expectation to rounding. Where trajectories are sampled the tests are normal
or chi-square at a level of 1e-4, on a fixed seed that was not chosen by the result.
"""

import functools
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from worlds import mdps, random_policy, seeds

import pepg
from pepg import theory
from pepg.data import (
    Trajectories,
    advantages,
    empirical_mdp,
    estimated_value,
    gradient_estimates,
    hotelling,
    mean_gradient_estimate,
    mean_policy_score,
    next_step,
    returns,
    sample_trajectories,
    temporal_differences,
    with_entropy_bonus,
)
from pepg.data.trajectories import _inverse_cdf
from pepg.mdp import to_logits

LEVEL = 1e-4
GRID = np.array([[-0.01, 0.3], [-0.5, 1.0]])


def small_world(name, gamma=0.7):
    """An environment whose trajectories can be enumerated, and a policy."""
    if name == "grid":
        env = pepg.Gridworld(n_followers=2, gamma=gamma, grid=GRID)
    else:
        env = pepg.random_softmax_pemdp(np.random.default_rng(3), 2, 2, gamma, 2.0, 1.5)
    return env, random_policy(env, 5, scale=0.8)


def enumerate_trajectories(mdp, policy, horizon):
    """Every trajectory that can happen, once, and its probability."""
    paths = [(p, [s], []) for s, p in enumerate(mdp.rho) if p > 0.0]
    for _ in range(horizon):
        longer = []
        for p, states, actions in paths:
            s = states[-1]
            if mdp.terminal[s]:
                longer.append((p, states + [s], actions + [0]))
                continue
            for a, s2 in product(range(mdp.n_actions), range(mdp.n_states)):
                if policy[s, a] * mdp.P[s, a, s2] > 0.0:
                    longer.append((p * policy[s, a] * mdp.P[s, a, s2], states + [s2], actions + [a]))
        paths = longer
    probability, states, actions = (np.array(part) for part in zip(*paths))
    real = ~mdp.terminal[states[:, :-1]]
    return probability, Trajectories(states, actions, mdp.r[states[:, :-1], actions] * real, real)


def visits(mdp, policy, horizon, gamma):
    """sum over t < horizon of gamma^t Pr(s_t = s, a_t = a), step by step, (S, A)."""
    now, total = mdp.rho.copy(), 0.0
    for t in range(horizon):
        now = np.where(mdp.terminal, 0.0, now)
        pairs = now[:, None] * policy
        total = total + gamma**t * pairs
        now = np.einsum("sa,sat->t", pairs, mdp.P)
    return total


# The trajectories


@given(mdps(), st.integers(1, 40), st.integers(1, 25))
def test_trajectories_are_possible(world, count, horizon):
    """Shapes; no transition of probability 0; rewards of the pair; nothing after a terminal state."""
    mdp, rng = world
    policy = rng.dirichlet(np.full(mdp.n_actions, 0.3), size=mdp.n_states)
    policy[0] = np.eye(mdp.n_actions)[-1]  # some actions are never taken
    found = sample_trajectories(mdp, policy, count, horizon, rng)
    s, a, then = found.states[:, :-1], found.actions, found.states[:, 1:]
    assert s.shape == a.shape == found.rewards.shape == found.real.shape == (count, horizon)
    assert (mdp.rho[s[:, 0]] > 0.0).all()
    assert_array_equal(found.real, ~mdp.terminal[s])
    assert (policy[s, a][found.real] > 0.0).all() and (mdp.P[s, a, then][found.real] > 0.0).all()
    assert_array_equal(found.rewards, np.where(found.real, mdp.r[s, a], 0.0))
    over = ~found.real
    assert (a[over] == 0).all() and (then[over] == s[over]).all()
    assert found.samples == found.real.sum()


@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_paths_have_their_probabilities(name):
    """Chi-square on all paths of three steps: start, policy, transitions and independence in time at once."""
    env, policy = small_world(name)
    mdp = env.respond(policy)
    horizon, count = 3, 100_000
    probability, paths = enumerate_trajectories(mdp, policy, horizon)
    assert abs(probability.sum() - 1.0) < 1e-12
    places = {path: i for i, path in enumerate(zip(*paths.states.T.tolist(), *paths.actions.T.tolist()))}
    found = sample_trajectories(mdp, policy, count, horizon, np.random.default_rng(0))
    sampled = zip(*found.states.T.tolist(), *found.actions.T.tolist())
    observed = np.bincount([places[path] for path in sampled], minlength=len(probability))
    rare = count * probability < 5.0  # pooled
    expected = np.append(count * probability[~rare], count * probability[rare].sum())
    observed = np.append(observed[~rare], observed[rare].sum())
    keep = expected > 0.0
    assert stats.chisquare(observed[keep], expected[keep] * count / expected.sum()).pvalue > LEVEL


class Constant(np.random.Generator):
    """Every uniform number is the same."""

    def __init__(self, value):
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, size):
        return np.full(size, self.value)


def test_an_outcome_of_probability_zero_is_never_selected():
    """Not by the least uniform number, 0, nor by the largest; and each outcome has the length of its interval."""
    rows = np.array([[0.0, 0.0, 0.25, 0.75, 0.0], [0.5, 0.0, 0.0, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4 - 1e-9, 0.0]])
    table = _inverse_cdf(rows)
    ends = np.array([0.0, np.nextafter(1.0, 0.0)])
    selected = (table[..., None] <= ends).sum(axis=0)
    assert_array_equal(selected, [[2, 3], [0, 4], [0, 0], [0, 3]])
    P = np.array([[[0.0, 0.5, 0.5], [0.0, 1.0, 0.0]], [[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]], [[0.0, 0.0, 1.0], [0.3, 0.0, 0.7]]])
    mdp = pepg.MDP(P, np.zeros((3, 2)), 0.9, [0.0, 1.0, 0.0])
    policy = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    for end, states in zip(ends, ([1, 0, 1, 0], [1, 1, 1, 1])):
        found = sample_trajectories(mdp, policy, 1, 3, Constant(end))
        assert_array_equal(found.states[0], states)
        assert_array_equal(found.actions[0], np.array([0, 1, 0]) if end == 0.0 else np.zeros(3))
    u = (np.arange(10_000) + 0.5) / 10_000
    share = [np.bincount((column[:, None] <= u).sum(axis=0), minlength=5) / 10_000 for column in table.T]
    assert_allclose(share, rows, atol=1e-4)


def test_transitions_where_rows_differ_in_their_outcomes():
    """Chi-square for every (s, a), with one to five next states in any order, given how often each (s, a) occurs."""
    rng = np.random.default_rng(0)
    P = rng.exponential(size=(6, 3, 6)) * (rng.random((6, 3, 6)) < 0.5)
    P[0] = 0.0
    P[..., 4] += 0.05  # so that no row is empty, and those of state 0 have one outcome
    P /= P.sum(axis=-1, keepdims=True)
    assert set((P > 0.0).sum(axis=-1).ravel()) >= {1, 2, 3, 4, 5}
    mdp = pepg.MDP(P, rng.normal(size=(6, 3)), 0.9, np.full(6, 1.0 / 6.0), terminal=[2])
    policy = rng.dirichlet(np.ones(3), size=6)
    policy[1] = [0.0, 1.0, 0.0]
    found = sample_trajectories(mdp, policy, 4000, 40, rng)
    states, actions, rewards, then = found.transitions
    assert_array_equal(rewards, mdp.r[states, actions])
    assert not (states == 2).any() and (then == 2).any()
    counts = np.zeros(P.shape)
    np.add.at(counts, (states, actions, then), 1.0)
    tests = []
    for s, a in np.ndindex(6, 3):
        n, possible = counts[s, a].sum(), P[s, a] > 0.0
        assert (counts[s, a, ~possible] == 0.0).all() and (n > 0) == (policy[s, a] > 0.0 and s != 2)
        if n > 0 and possible.sum() > 1:
            tests.append(stats.chisquare(counts[s, a, possible], n * P[s, a, possible]).pvalue)
    by_pair = counts.sum(axis=-1)
    for s in (0, 3, 4, 5):
        tests.append(stats.chisquare(by_pair[s], by_pair[s].sum() * policy[s]).pvalue)
    assert len(tests) > 12 and min(tests) * len(tests) > LEVEL


@given(mdps(), st.integers(1, 8), st.integers(1, 6))
def test_transitions_are_the_steps_taken(world, count, horizon):
    """One by one, trajectory by trajectory."""
    mdp, rng = world
    policy = rng.dirichlet(np.ones(mdp.n_actions), size=mdp.n_states)
    found = sample_trajectories(mdp, policy, count, horizon, rng)
    expected = [
        (found.states[i, t], found.actions[i, t], found.rewards[i, t], found.states[i, t + 1])
        for i, t in np.ndindex(count, horizon)
        if not mdp.terminal[found.states[i, t]]
    ]
    assert list(zip(*found.transitions)) == expected
    assert len(expected) == found.samples


def normal_tests_on_visits(env, mdp, policy, followed):
    """The p-value, Bonferroni over the pairs, of the mean discounted visits of 20,000 trajectories against the occupancy."""
    count, horizon = 20_000, 80  # 0.8^80 / 0.2 < 1e-7
    found = sample_trajectories(mdp, followed, count, horizon, np.random.default_rng(0))
    weight = env.gamma ** np.arange(horizon) * found.real
    pair = np.arange(count)[:, None] * policy.size + found.states[:, :-1] * env.n_actions + found.actions
    each = np.bincount(pair.ravel(), weight.ravel(), count * policy.size).reshape(count, -1)
    exact = mdp.occupancy(policy).ravel()
    assert_array_equal(each[:, exact == 0.0], 0.0)
    each, exact = each[:, exact > 0.0], exact[exact > 0.0]
    z = (each.mean(axis=0) - exact) / (each.std(axis=0, ddof=1) / np.sqrt(count))
    return 2.0 * stats.norm.sf(np.abs(z).max()) * z.size


@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_mean_visits_are_the_occupancy(name):
    """To a joint level of 1e-4; and a policy that is 5 % off is refused."""
    if name == "softmax":
        env = pepg.random_softmax_pemdp(np.random.default_rng(0), 5, 3, 0.8, 2.0)
    else:
        env = pepg.Gridworld(n_followers=2, gamma=0.8, grid=np.pad(GRID, (1, 0), constant_values=-0.02))
    policy = random_policy(env, 1, scale=0.5)
    mdp = env.respond(policy)
    assert_allclose(visits(mdp, policy, 400, env.gamma), mdp.occupancy(policy), atol=1e-12)
    assert normal_tests_on_visits(env, mdp, policy, policy) > LEVEL
    off = 0.95 * policy + 0.05 * np.eye(env.n_actions)[0]
    assert normal_tests_on_visits(env, mdp, policy, off) < LEVEL


def test_same_seed_same_trajectories():
    env, policy = small_world("grid")
    mdp = env.respond(policy)
    one, two, other = (sample_trajectories(mdp, policy, 30, 20, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert_array_equal(one.states, two.states)
    assert_array_equal(one.actions, two.actions)
    assert (one.states != other.states).any()


@given(mdps(lead=(3,)), st.integers(1, 6), st.sampled_from([1, 7, 40]))
def test_side_by_side_as_alone(world, count, horizon):
    """Three MDPs, policies and generators at once: trajectories, weights and estimates are those of each alone, bit for bit."""
    mdps_, rng = world
    shape = mdps_.r.shape
    policy = rng.dirichlet(np.full(shape[-1], 0.3), size=shape[:2])
    policy[1, 0] = np.eye(shape[-1])[-1]
    value, table = rng.normal(size=shape[:2]), rng.normal(size=shape)
    together = sample_trajectories(mdps_, policy, count, horizon, [np.random.default_rng(seed) for seed in range(3)])
    assert len(together.runs()) == 3 and together.samples.shape == (3,)
    for i, own in enumerate(together.runs()):
        mdp = pepg.MDP(mdps_.P[i], mdps_.r[i], mdps_.gamma, mdps_.rho, mdps_.terminal)
        alone = sample_trajectories(mdp, policy[i], count, horizon, np.random.default_rng(i))
        for name in ("states", "actions", "rewards", "real"):
            assert_array_equal(getattr(own, name), getattr(alone, name))
        assert alone.runs() == [alone] and together.samples[i] == alone.samples
        gamma = mdp.gamma
        for function in (
            lambda paths, i: estimated_value(paths, gamma, value[i]),
            lambda paths, i: temporal_differences(paths, value[i], gamma),
            lambda paths, i: returns(paths, gamma),
            lambda paths, i: next_step(advantages(paths, table[i]), gamma),
            lambda paths, i: with_entropy_bonus(paths, 0.9 * policy[i] + 0.1 / shape[-1], 0.3).rewards,
            lambda paths, i: mean_policy_score(policy[i], paths, paths.rewards + 1.0, gamma)[0],
            lambda paths, i: mean_policy_score(policy[i], paths, paths.rewards + 1.0, gamma)[1],
        ):
            assert_array_equal(function(together, slice(None))[i], function(alone, i))


# The weights


@given(mdps(), st.integers(1, 15), st.sampled_from([0.0, 0.3]))
def test_weights_by_loops(world, horizon, entropy):
    """Each weight, with and without bonus, by its definition, step by step."""
    mdp, rng = world
    policy = rng.dirichlet(np.ones(mdp.n_actions), size=mdp.n_states)
    value = rng.normal(size=mdp.n_states)  # any value, also one that is not 0 at a terminal state
    found = sample_trajectories(mdp, policy, 6, horizon, rng)
    paid = with_entropy_bonus(found, policy, entropy)
    table = rng.normal(size=policy.shape)
    by_step = advantages(paid, table)
    late = next_step(by_step, mdp.gamma)
    total = returns(paid, mdp.gamma)
    differences = temporal_differences(paid, value, mdp.gamma)
    for i, t in np.ndindex(found.actions.shape):
        steps = [k for k in range(t, horizon) if found.real[i, k]]
        pairs = [(found.states[i, k], found.actions[i, k]) for k in steps]
        reward = [mdp.r[s, a] - entropy * np.log(policy[s, a]) for s, a in pairs]
        assert_allclose(total[i, t], sum(mdp.gamma ** (k - t) * r for k, r in zip(steps, reward)), atol=1e-12)
        if not found.real[i, t]:
            assert differences[i, t] == by_step[i, t] == 0.0
            continue
        delta = reward[0] + mdp.gamma * value[found.states[i, t + 1]] - value[found.states[i, t]]
        assert_allclose(differences[i, t], delta, atol=1e-12)
        assert by_step[i, t] == table[pairs[0]]
        expected = mdp.gamma * table[pairs[1]] if len(pairs) > 1 else 0.0
        assert_allclose(late[i, t], expected, atol=1e-15)


@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_temporal_differences_have_mean_advantage(name):
    env, policy = small_world(name)
    here = pepg.deploy(env, policy)
    probability, paths = enumerate_trajectories(here.mdp, policy, 1)
    pair = paths.states[:, 0] * env.n_actions + paths.actions[:, 0]
    delta = temporal_differences(paths, here.value, env.gamma)[:, 0]
    mean = np.bincount(pair, probability * delta, policy.size).reshape(policy.shape)
    assert_allclose(mean, env.rho[:, None] * policy * here.mdp.advantage(policy), atol=1e-14)


# The transition's score


@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_transition_gradient_equals_differences(name):
    """Against differences of sum C P_pi in the logits."""
    env, policy = small_world(name)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(env.n_states, env.n_actions, env.n_states))
    gradient = to_logits(policy, env.transition_gradient(policy, weights))
    h = 1e-4
    steps = h * np.array([-2.0, -1.0, 1.0, 2.0])[:, None, None, None]
    logits = np.log(policy) + steps * np.eye(policy.size).reshape(-1, *policy.shape)
    sums = (env.respond(pepg.softmax(logits)).P * weights).sum(axis=(-3, -2, -1))
    expected = (sums[0] - 8.0 * sums[1] + 8.0 * sums[2] - sums[3]) / (12.0 * h)
    assert_allclose(gradient.ravel(), expected, atol=1e-9)


def test_gridworlds_transition_gradient_is_that_of_its_response_gradient():
    """The gridworld's own, one adjoint solve, against the general way by one response gradient for every next state."""
    env = pepg.Gridworld(n_followers=3)
    policy = env.random_policies([0], scale=1.0)[0]
    weights = np.random.default_rng(1).normal(size=(env.n_states, env.n_actions, env.n_states))
    weights[env.goal] = 0.0
    expected = to_logits(policy, pepg.PeMDP.transition_gradient(env, policy, weights))
    assert_allclose(to_logits(policy, env.transition_gradient(policy, weights)), expected, atol=1e-12)
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_transition_gradients_along_leading_axes(name):
    """Each is what it is alone; of the general way too, where some next state has no weight in one of them."""
    env, _ = small_world(name)
    policies = random_policy(env, 2, (2, 3))
    weights = np.random.default_rng(1).normal(size=(*policies.shape, env.n_states))
    weights[0, 1, ..., 0] = weights[1, ..., -1] = 0.0
    for gradient in (env.transition_gradient, functools.partial(pepg.PeMDP.transition_gradient, env)):
        found = gradient(policies, weights)
        assert found.shape == policies.shape
        for i in np.ndindex(2, 3):
            assert_array_equal(found[i], gradient(policies[i], weights[i]))


@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_transition_score_has_mean_zero(name):
    """C(s,a,s') = c(s,a) sums to c(s,a), whatever the policy: no gradient. And V in every row gives the third part of R3."""
    env, policy = small_world(name)
    here = pepg.deploy(env, policy)
    baseline = np.repeat(np.random.default_rng(0).normal(size=policy.shape)[..., None], env.n_states, axis=-1)
    assert_allclose(to_logits(policy, env.transition_gradient(policy, baseline)), 0.0, atol=1e-13)
    weights = env.gamma * here.occupancy[..., None] * here.value
    part = to_logits(policy, env.transition_gradient(policy, weights))
    assert_allclose(part, theory.gradient_parts(env, policy)[2], atol=1e-13)
    assert np.abs(part).max() > 1e-3


# The estimates


def expected_update(env, policy, occupancy, transitions, entropy=0.0):
    """sum d [A grad log pi + grad r + gamma grad P V] for any visits d, with or without its last term."""
    here = pepg.deploy(env, policy, entropy)
    advantage = here.mdp.backup(here.value) - here.value[:, None] - entropy * np.log(policy)
    score = occupancy * advantage
    score -= policy * score.sum(axis=-1, keepdims=True)
    return score + to_logits(policy, env.response_gradient(policy, occupancy, here.value * transitions))


@pytest.mark.parametrize("entropy", [0.0, 0.4])
@pytest.mark.parametrize("name", ["softmax", "grid"])
@pytest.mark.parametrize("discounted", [True, False])
def test_means_are_exact(name, entropy, discounted):
    """TD differences: the three terms of R3 over the steps of the horizon. Advantages: two of them."""
    env, policy = small_world(name)
    horizon = 3
    here = pepg.deploy(env, policy, entropy)
    probability, paths = enumerate_trajectories(here.mdp, policy, horizon)
    paid = with_entropy_bonus(paths, policy, entropy)
    occupancy = visits(here.mdp, policy, horizon, env.gamma if discounted else 1.0)
    table = here.mdp.backup(here.value) - here.value[:, None] - entropy * np.log(policy)
    by_step = advantages(paid, table)
    complete = expected_update(env, policy, occupancy, True, entropy)
    without = expected_update(env, policy, occupancy, False, entropy)
    assert np.abs(complete - without).max() > 1e-2 * np.abs(complete).max()

    def mean(*weights):
        each = gradient_estimates(env, policy, paid, *weights, discounted=discounted)
        assert each.shape == (len(probability), *policy.shape)
        return np.tensordot(probability, each, axes=1)

    assert_allclose(mean(temporal_differences(paid, here.value, env.gamma)), complete, atol=1e-13)
    assert_allclose(mean(by_step), without, atol=1e-13)
    assert_allclose(mean(by_step, next_step(by_step, env.gamma)), without, atol=1e-13)


@pytest.mark.parametrize("entropy", [0.0, 0.4])
@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_returns_estimate_the_gradient_of_the_horizon(name, entropy):
    """Realised returns need no value: their mean is the derivative of the expected return of `horizon` steps."""
    env, policy = small_world(name)
    horizon = 3
    probability, paths = enumerate_trajectories(env.respond(policy), policy, horizon)
    total = returns(with_entropy_bonus(paths, policy, entropy), env.gamma)
    found = np.tensordot(probability, gradient_estimates(env, policy, paths, total), axes=1)

    def value(logits):
        policy = pepg.softmax(logits)
        mdp = env.respond(policy)
        return (visits(mdp, policy, horizon, env.gamma) * (mdp.r - entropy * np.log(policy))).sum()

    h = 1e-4
    for s, a in np.ndindex(policy.shape):
        unit = h * np.eye(1, policy.size, s * env.n_actions + a).reshape(policy.shape)
        four = [value(np.log(policy) + k * unit) for k in (-2.0, -1.0, 1.0, 2.0)]
        expected = (four[0] - 8.0 * four[1] + 8.0 * four[2] - four[3]) / (12.0 * h)
        assert_allclose(found[s, a], expected, atol=1e-10)


@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_mean_of_sampled_estimates(entropy):
    """Hotelling's T² at level 1e-4 on 20,000 trajectories: unbiased weights pass, those that lose the transitions fail."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.7, 3.0)
    policy = random_policy(env, 1, scale=0.5)
    here = pepg.deploy(env, policy, entropy)
    exact = pepg.performative_gradient(env, policy, entropy)
    count, horizon = 20_000, 50  # 0.7^50 < 2e-8
    paths = sample_trajectories(here.mdp, policy, count, horizon, np.random.default_rng(0))
    paid = with_entropy_bonus(paths, policy, entropy)
    by_step = advantages(paid, here.mdp.backup(here.value) - here.value[:, None] - entropy * np.log(policy))

    def p_value(*weights):
        return hotelling(gradient_estimates(env, policy, paid, *weights), exact)[1]

    assert p_value(temporal_differences(paid, here.value, env.gamma)) > LEVEL
    assert p_value(returns(paid, env.gamma)) > LEVEL
    assert p_value(by_step) < LEVEL
    assert p_value(by_step, next_step(by_step, env.gamma)) < LEVEL


def test_hotelling():
    """Against scipy's t test where there is one free entry; and p-values of normal errors are uniform."""
    rng = np.random.default_rng(0)
    one = rng.normal(0.1, 1.0, (50, 1, 1)) * np.array([1.0, -1.0])
    reference = stats.ttest_1samp(one[:, 0, 0], 0.0)
    assert_allclose(hotelling(one, np.zeros((1, 2))), (reference.statistic**2, reference.pvalue), rtol=1e-10)
    mixing = rng.normal(size=(4, 4))
    exact = rng.normal(size=(2, 3))
    free = (rng.normal(size=(1000, 12, 4)) @ mixing).reshape(1000, 12, 2, 2)
    samples = exact + np.concatenate([free, -free.sum(axis=-1, keepdims=True)], axis=-1)
    p_values = [hotelling(sample, exact)[1] for sample in samples]
    assert stats.kstest(p_values, "uniform").pvalue > LEVEL
    with pytest.raises(ValueError, match="^estimates: expected more than 4 of them, got 4"):
        hotelling(samples[0, :4], exact)
    with pytest.raises(ValueError, match=r"^estimates: expected shape .*got \(12, 2, 3\) and \(3, 2\)"):
        hotelling(samples[0], exact.T)


@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_mean_estimates_side_by_side(name):
    """Of three policies at once, those of each alone."""
    env, _ = small_world(name)
    policy = random_policy(env, 2, (3,))
    paths = sample_trajectories(env.respond(policy), policy, 6, 4, [np.random.default_rng(seed) for seed in range(3)])
    weights, others = np.random.default_rng(0).normal(size=(2, 3, 6, 4))
    for options in ({}, {"transition_weights": others, "discounted": False}):
        found = mean_gradient_estimate(env, policy, paths, weights, **options)
        assert found.shape == policy.shape
        for i, own in enumerate(paths.runs()):
            alone = {key: value[i] if key == "transition_weights" else value for key, value in options.items()}
            assert_array_equal(found[i], mean_gradient_estimate(env, policy[i], own, weights[i], **alone))


@given(seeds, st.booleans())
def test_mean_estimate_is_the_mean(seed, discounted):
    """mean_gradient_estimate is the mean of gradient_estimates; rows sum to 0; nothing but the given weights enters."""
    rng = np.random.default_rng(seed)
    env, policy = small_world(rng.choice(["softmax", "grid"]))
    paths = sample_trajectories(env.respond(policy), policy, 7, 6, rng)
    weights, others = rng.normal(size=(2, *paths.actions.shape))
    for both in ((weights,), (weights, others)):
        each = gradient_estimates(env, policy, paths, *both, discounted=discounted)
        mean = mean_gradient_estimate(env, policy, paths, *both, discounted=discounted)
        assert_allclose(mean, each.mean(axis=0), atol=1e-12)
        assert_allclose(each.sum(axis=-1), 0.0, atol=1e-11)
    beyond = np.where(paths.real, weights, 1e3)  # weights of steps that were not taken do not count
    assert_array_equal(
        gradient_estimates(env, policy, paths, weights), gradient_estimates(env, policy, paths, beyond)
    )


def test_no_discount_no_transitions():
    """With gamma = 0 only the first step counts, and the transitions have no part."""
    env, policy = small_world("softmax", gamma=0.0)
    here = pepg.deploy(env, policy)
    probability, paths = enumerate_trajectories(here.mdp, policy, 2)
    weights = returns(paths, 0.0)
    mean = np.tensordot(probability, gradient_estimates(env, policy, paths, weights), axes=1)
    assert_allclose(mean, pepg.performative_gradient(env, policy), atol=1e-14)
    pooled = mean_gradient_estimate(env, policy, paths, weights)
    assert_allclose(pooled, gradient_estimates(env, policy, paths, weights).mean(axis=0), atol=1e-14)
    with pytest.raises(ValueError, match="^env: expected gamma > 0"):
        env.transition_gradient(policy, np.zeros((2, 2, 2)))


def test_mean_policy_score_is_the_estimate_without_a_response():
    """Where nothing responds the two agree; and the occupancy is that of every step taken, discounted."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 3, 0.8, 0.0, 0.0)
    policy = random_policy(env, 1)
    mdp = env.respond(policy)
    mdp = pepg.MDP(mdp.P, mdp.r, mdp.gamma, mdp.rho, terminal=[1])
    rng = np.random.default_rng(0)
    paths = sample_trajectories(mdp, policy, 9, 12, rng)
    assert not paths.real.all()
    weights = rng.normal(size=paths.actions.shape)
    score, occupancy = mean_policy_score(policy, paths, weights, 0.8)
    assert_allclose(score, mean_gradient_estimate(env, policy, paths, weights), atol=1e-13)
    expected = np.zeros((4, 3))
    for i, t in np.argwhere(paths.real):
        expected[paths.states[i, t], paths.actions[i, t]] += 0.8**t / 9
    assert_allclose(occupancy, expected, atol=1e-14)


@pytest.mark.parametrize("name", ["softmax", "grid"])
def test_mean_policy_score_in_expectation(name):
    """Over all trajectories: the policy's part of R3 and the occupancy, each over the steps of the horizon."""
    env, policy = small_world(name)
    here = pepg.deploy(env, policy)
    probability, paths = enumerate_trajectories(here.mdp, policy, 3)
    # The function takes plain means, so that a path's weight is its number times its probability.
    table = advantages(paths, here.mdp.advantage(policy)) * (len(probability) * probability)[:, None]
    occupancy = visits(here.mdp, policy, 3, env.gamma)
    assert_allclose(mean_policy_score(policy, paths, table, env.gamma)[0], occupancy * here.mdp.advantage(policy), atol=1e-14)


def test_no_steps_no_estimates():
    """Trajectories that start in a terminal state say nothing, and no more than that."""
    env = pepg.Gridworld(n_followers=2, grid=[[-0.01, 1.0]])
    policy = env.uniform_policy()
    states = np.ones((5, 4), dtype=int)
    still = Trajectories(states, states[:, 1:] * 0, np.zeros((5, 3)), np.zeros((5, 3), dtype=bool))
    assert still.samples == 0 and all(len(part) == 0 for part in still.transitions)
    weights = np.ones((5, 3))
    assert_array_equal(gradient_estimates(env, policy, still, weights), np.zeros((5, 2, 4)))
    assert_array_equal(mean_gradient_estimate(env, policy, still, weights), np.zeros((2, 4)))
    assert_array_equal(mean_policy_score(policy, still, weights, 0.9), np.zeros((2, 2, 4)))
    assert_array_equal(estimated_value(still, 0.9, prior=[3.0, 4.0]), [3.0, 4.0])
    mdp, counts = empirical_mdp(still.transitions, 0.9, env.rho, 4)
    assert mdp.terminal.all() and not counts.any()


@pytest.mark.parametrize("kind", [np.uint64, np.uint8, np.int16])
def test_states_and_actions_of_any_whole_kind(kind):
    """Small ones do not overflow where pairs of them are counted, and unsigned ones are whole numbers too."""
    n = 100  # states, with three actions: 300 pairs
    states = np.array([[90, 99, 0, 98]])
    paths = [Trajectories(states.astype(k), np.array([[2, 0, 1]]).astype(k), np.ones((1, 3)), np.ones((1, 3), dtype=bool)) for k in (kind, int)]
    value, table = np.arange(float(n)), np.arange(3.0 * n).reshape(n, 3)
    for function, arguments in ((temporal_differences, (value, 0.9)), (advantages, (table,))):
        assert_array_equal(*(function(one, *arguments) for one in paths))
    assert_array_equal(*(one.pairs(3) for one in paths))


# What the data say of the environment


def in_proportion(mdp, policy, each):
    """One step a trajectory, from every state alike: `each` for every (s, a), in the proportions of policy and P."""
    counts = np.rint(each * policy[..., None] * mdp.P).astype(int)
    assert_allclose(counts, each * policy[..., None] * mdp.P, atol=1e-9)
    s, a, then = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(mdp.P.shape))
    alive = ~mdp.terminal[s]
    s, a, then = s[alive], a[alive], then[alive]
    return Trajectories(np.stack([s, then], axis=1), a[:, None], mdp.r[s, a][:, None], np.ones((len(s), 1), dtype=bool))


def rational_world():
    """Policy and transitions in eighths, with a terminal state."""
    rng = np.random.default_rng(0)
    P = rng.multinomial(8, np.full(4, 0.25), (4, 2)) / 8.0
    mdp = pepg.MDP(P, rng.normal(size=(4, 2)), 0.9, np.full(4, 0.25), terminal=[3])
    policy = np.array([[3.0, 5.0], [8.0, 0.0], [1.0, 7.0], [4.0, 4.0]]) / 8.0
    return mdp, policy


def test_estimated_value_in_the_limit():
    """From data in exact proportions, with next to no weight on the prior: the exact value. With all weight: the prior."""
    mdp, policy = rational_world()
    paths = in_proportion(mdp, policy, 64)
    prior = np.array([5.0, -5.0, 1.0, 0.0])
    assert_allclose(estimated_value(paths, mdp.gamma, prior, weight=1e-9), mdp.value(policy), atol=1e-8)
    assert_allclose(estimated_value(paths, mdp.gamma, prior, weight=1e12), prior, atol=1e-8)


@given(mdps(max_gamma=0.95), st.integers(1, 8), st.floats(0.1, 5.0))
def test_estimated_value_solves_its_equation(world, count, weight):
    """n(s) (V(s) - gamma mean V(s')) + w V(s) = sum of rewards + w prior(s), state by state; never left: the prior."""
    mdp, rng = world
    policy = rng.dirichlet(np.ones(mdp.n_actions), size=mdp.n_states)
    paths = sample_trajectories(mdp, policy, count, 6, rng)
    prior = rng.normal(size=mdp.n_states)
    value = estimated_value(paths, mdp.gamma, prior, weight)
    residual = weight * (value - prior)
    for s, _, reward, then in zip(*paths.transitions):
        residual[s] += value[s] - mdp.gamma * value[then] - reward
    assert_allclose(residual, 0.0, atol=1e-10)
    never = np.setdiff1d(np.arange(mdp.n_states), paths.transitions[0])
    assert_allclose(value[never], prior[never], atol=1e-14)


def test_estimated_value_from_many_trajectories():
    """t tests on 40 estimates from 4,000 trajectories each: the exact value, and not that of a policy 5 % off."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 2, 0.6, 2.0)
    policy = random_policy(env, 1)
    mdp = env.respond(policy)
    found = [
        estimated_value(sample_trajectories(mdp, policy, 4000, 20, np.random.default_rng(seed)), 0.6, np.zeros(4)) for seed in range(40)
    ]
    off = mdp.value(0.95 * policy + 0.05 * np.eye(2)[0])
    for value, good in ((mdp.value(policy), True), (off, False)):
        assert (4 * stats.ttest_1samp(found, value, axis=0).pvalue.min() > LEVEL) == good


@given(mdps(), st.integers(1, 8), st.integers(1, 8))
def test_empirical_mdp_by_loops(world, count, horizon):
    """Averages where there are data; a state never left is terminal; a pair never taken elsewhere stays, unpaid."""
    mdp, rng = world
    policy = rng.dirichlet(np.full(mdp.n_actions, 0.5), size=mdp.n_states)
    transitions = sample_trajectories(mdp, policy, count, horizon, rng).transitions
    found, counts = empirical_mdp(transitions, mdp.gamma, mdp.rho, mdp.n_actions)
    for s, a in np.ndindex(mdp.n_states, mdp.n_actions):
        here = [(reward, then) for *pair, reward, then in zip(*transitions) if pair == [s, a]]
        assert counts[s, a] == len(here)
        if here:
            assert_allclose(found.r[s, a], np.mean([reward for reward, _ in here]), atol=1e-14)
            assert_allclose(found.P[s, a], np.mean([np.eye(mdp.n_states)[then] for _, then in here], axis=0), atol=1e-14)
        else:
            assert found.r[s, a] == 0.0 and found.P[s, a, s] == 1.0
    assert_array_equal(found.terminal, [s not in transitions[0] for s in range(mdp.n_states)])
    assert_array_equal(found.rho, mdp.rho)
    assert found.gamma == mdp.gamma


def test_empirical_mdp_in_the_limit():
    """From data in exact proportions: the MDP, with its terminal state."""
    mdp, policy = rational_world()
    found, counts = empirical_mdp(in_proportion(mdp, policy, 64).transitions, mdp.gamma, mdp.rho, 2)
    taken = (policy > 0.0) & ~mdp.terminal[:, None]
    assert_allclose(found.P[taken], mdp.P[taken], atol=1e-15)
    assert_allclose(found.r[taken], mdp.r[taken], atol=1e-14)
    assert_array_equal(found.terminal, mdp.terminal)
    assert_array_equal(counts, np.where(mdp.terminal[:, None], 0.0, 64 * policy))
    assert_allclose(found.value(policy), mdp.value(policy), atol=1e-13)


# Errors


def test_sampling_errors():
    env, policy = small_world("softmax")
    mdp, rng = env.respond(policy), np.random.default_rng(0)
    both = np.stack([policy, policy])
    for arguments, match in (
        ((env, policy, 3, 4, rng), "^mdp: expected a pepg.MDP, got SoftmaxPeMDP"),
        ((env.respond(both), policy, 3, 4, rng), r"^mdp\.P: .*without leading axes, got shape \(2, 2, 2, 2\)"),
        ((pepg.MDP(mdp.P, np.stack([mdp.r] * 2), 0.5, mdp.rho), policy, 3, 4, rng), r"^mdp\.r: .*got shape \(2, 2, 2\)"),
        ((pepg.MDP(mdp.P, mdp.r, 0.5, np.stack([mdp.rho] * 2)), policy, 3, 4, rng), r"^mdp\.rho: .*got shape \(2, 2\)"),
        ((mdp, both, 3, 4, rng), r"^policy: expected shape \(2, 2\), got \(2, 2, 2\)"),
        ((mdp, policy - 1.0, 3, 4, rng), r"^policy: .*policy\[0, 0\]"),
        ((mdp, policy, 0, 4, rng), "^count: .*got 0"),
        ((mdp, policy, 2.5, 4, rng), "^count: .*got 2.5"),
        ((mdp, policy, 3, -1, rng), "^horizon: .*got -1"),
        ((mdp, policy, 3, np.nan, rng), "^horizon: .*got nan"),
        ((mdp, policy, 3, 4, 0), "^rng: .*got int"),
        ((mdp, policy, 3, 4, []), "^rng: .*got list"),
        ((mdp, policy, 3, 4, [rng, 0]), "^rng: .*got list"),
        ((mdp, policy, 3, 4, [rng, rng]), r"^mdp\.P: expected one MDP for each of 2 generators, got shape \(2, 2, 2\)"),
        ((env.respond(both), both, 3, 4, [rng]), r"^mdp\.P: expected one MDP for each of 1 generators, got shape \(2, 2, 2, 2\)"),
        ((env.respond(both), policy, 3, 4, [rng, rng]), r"^policy: expected shape \(2, 2, 2\), got \(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=match):
            sample_trajectories(*arguments)


@pytest.mark.parametrize("function", [gradient_estimates, mean_gradient_estimate])
def test_estimate_errors(function):
    env, policy = small_world("softmax")
    paths = sample_trajectories(env.respond(policy), policy, 3, 4, np.random.default_rng(0))
    weights = returns(paths, env.gamma)
    with pytest.raises(ValueError, match=r"^weights: expected shape \(3, 4\), got \(3, 3\)"):
        function(env, policy, paths, weights[:, :-1])
    with pytest.raises(ValueError, match=r"^transition_weights: expected shape \(3, 4\), got \(3,\)"):
        function(env, policy, paths, weights, weights[:, 0])
    with pytest.raises(ValueError, match=r"^policy: expected shape \(2, 2\), got \(2, 2, 2\)"):
        function(env, np.stack([policy, policy]), paths, weights)
    with pytest.raises(ValueError, match=r"^weights: expected shape \(\.\.\., 2, 2, 2\), got \(2, 2\)"):
        env.transition_gradient(policy, policy)
