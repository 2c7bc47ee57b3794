"""The two sides of R1, R2 and R5 and the parts of R3: on random environments, in closed form, and by plain loops.

The plain loops use nothing of the package: the response is written out, values and occupancies are summed step by step,
and gradients are differences of those.
"""

from math import exp, log, sqrt, tanh

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from worlds import all_respond_alike, gridworlds, random_policy, seeds

import pepg
from pepg import theory


@st.composite
def softmax_pemdps(draw, max_states=6, max_actions=4, max_gamma=0.99, count=None):
    """A random SoftmaxPeMDP, or `count` of one size side by side; some have rewards or transitions that do not respond."""
    strength = st.sampled_from([0.0, 0.1, 1.0, 5.0])
    return pepg.random_softmax_pemdp(
        np.random.default_rng(draw(seeds)), draw(st.integers(1, max_states)), draw(st.integers(1, max_actions)),
        draw(st.floats(0.0, max_gamma)), draw(strength), draw(strength), count,
    )


def pick(env, j):
    """Instance j of environments side by side."""
    arrays = (env.logits, env.logit_map, env.rewards, env.reward_map)
    return pepg.SoftmaxPeMDP(*(a[j] for a in arrays), env.gamma, env.rho[j], env.transition_strength, env.reward_strength)


def largest_value(env, policy, *others):
    """A bound of |V| in the environments of these policies: the scale of rounding."""
    return max(np.abs(env.respond(p).r).max() for p in (policy, *others)) / (1.0 - env.gamma)


# A second time, by plain loops


def plain_response(env, policy):
    """P[s][a][s'] and r[s][a] of a SoftmaxPeMDP, written out."""
    S, A = range(env.n_states), range(env.n_actions)
    bend, gain = float(env.transition_strength), float(env.reward_strength)
    r = [[env.rewards[s, a] + gain * sum(env.reward_map[s, a, t, b] * policy[t][b] for t in S for b in A) for a in A] for s in S]
    P = []
    for s in S:
        P.append([])
        for a in A:
            weights = [
                exp(env.logits[s, a, n] + bend * sum(env.logit_map[s, a, n, t, b] * policy[t][b] for t in S for b in A)) for n in S
            ]
            P[s].append([weight / sum(weights) for weight in weights])
    return P, r


def plain_softmax(logits):
    return [[exp(x) / sum(exp(y) for y in row) for x in row] for row in logits]


def horizon(gamma):
    return 2 if gamma == 0.0 else 2 + int(log(1e-16 * (1.0 - gamma)) / log(gamma))


def plain_value(model, gamma, policy):
    """V[s], by backward sweeps."""
    P, r = model
    S, A = range(len(r)), range(len(r[0]))
    V = [0.0 for _ in S]
    for _ in range(horizon(gamma)):
        V = [sum(policy[s][a] * (r[s][a] + gamma * sum(P[s][a][n] * V[n] for n in S)) for a in A) for s in S]
    return V


def plain_occupancy(model, gamma, policy, rho):
    """d[s][a], the discounted visits step by step."""
    P, r = model
    S, A = range(len(r)), range(len(r[0]))
    at, weight, d = [float(x) for x in rho], 1.0, [[0.0 for _ in A] for _ in S]
    for _ in range(horizon(gamma)):
        for s in S:
            for a in A:
                d[s][a] += weight * at[s] * policy[s][a]
        at = [sum(at[s] * policy[s][a] * P[s][a][n] for s in S for a in A) for n in S]
        weight *= gamma
    return d


def plain_backup(model, gamma, V, s, a):
    P, r = model
    return r[s][a] + gamma * sum(p * v for p, v in zip(P[s][a], V))


def plain_lipschitz(env):
    """(L_P, L_r) from the definition, row by row."""
    S, A = range(env.n_states), range(env.n_actions)

    def size(row):  # of a row centred in the actions
        return sqrt(sum((row[t][b] - sum(row[t]) / len(row[t])) ** 2 for t in S for b in A))

    L_P = max(size(env.logit_map[s, a, n] - env.logit_map[s, a, m]) for s in S for a in A for n in S for m in S) / 2
    L_r = max(size(env.reward_map[s, a]) for s in S for a in A)
    return abs(env.transition_strength) * L_P, abs(env.reward_strength) * L_r


def plain_sides(env, policy, other):
    """Left of R1, its advantage term, its shift term; and V of `policy` in its own environment."""
    gamma, new, old = env.gamma, plain_response(env, policy), plain_response(env, other)
    V, W = plain_value(new, gamma, policy), plain_value(old, gamma, other)
    d = plain_occupancy(old, gamma, policy, env.rho)
    left = advantage = shift = 0.0
    for s in range(env.n_states):
        left += env.rho[s] * (V[s] - W[s])
        for a in range(env.n_actions):
            advantage += d[s][a] * (plain_backup(old, gamma, W, s, a) - W[s])
            shift += d[s][a] * (plain_backup(new, gamma, V, s, a) - plain_backup(old, gamma, V, s, a))
    return left, advantage, shift, V


def differences(function, logits, h=1e-4):
    """The gradient of a function of logits by central differences of fourth order."""
    gradient = np.zeros(np.shape(logits))
    for index in np.ndindex(*np.shape(logits)):
        step = np.zeros(np.shape(logits))
        step[index] = h
        f = [function(plain_softmax((logits + k * step).tolist())) for k in (-2, -1, 1, 2)]
        gradient[index] = (f[0] - 8.0 * f[1] + 8.0 * f[2] - f[3]) / (12.0 * h)
    return gradient


def plain_parts(env, policy):
    """The gradient's parts by the policy, the rewards and the transitions, each the difference of what it moves."""
    gamma, logits = env.gamma, np.log(policy)
    model = plain_response(env, policy)
    V, d = plain_value(model, gamma, policy), plain_occupancy(model, gamma, policy, env.rho)
    pairs = list(np.ndindex(*np.shape(policy)))

    def value(p):
        return sum(x * v for x, v in zip(env.rho, plain_value(model, gamma, p)))

    def rewards(p):
        r = plain_response(env, p)[1]
        return sum(d[s][a] * r[s][a] for s, a in pairs)

    def transitions(p):
        P = plain_response(env, p)[0]
        return sum(d[s][a] * gamma * sum(x * v for x, v in zip(P[s][a], V)) for s, a in pairs)

    return [differences(f, logits) for f in (value, rewards, transitions)]


small = softmax_pemdps(max_states=3, max_actions=3, max_gamma=0.9)
smaller = softmax_pemdps(max_states=3, max_actions=2, max_gamma=0.7)


# R1


@given(softmax_pemdps(), seeds)
def test_performance_difference_is_an_identity(env, seed):
    policy, other = random_policy(env, seed, (2,), scale=2.0)
    left, right = theory.performance_difference(env, policy, other)
    scale = largest_value(env, policy, other)
    assert abs(left - right) <= 1e-11 * scale
    expected = pepg.performative_value(env, policy) - pepg.performative_value(env, other)
    assert_allclose(left, expected, rtol=0.0, atol=1e-11 * scale)


@given(gridworlds(), seeds)
def test_performance_difference_is_an_identity_with_a_terminal_state(env, seed):
    """In gridworlds, whose response has kinks."""
    policy, other = random_policy(env, seed, (2,), scale=2.0)
    left, right = theory.performance_difference(env, policy, other)
    assert abs(left - right) <= 1e-11 * largest_value(env, policy, other)
    expected = pepg.performative_value(env, policy) - pepg.performative_value(env, other)
    assert_allclose(left, expected, rtol=0.0, atol=1e-11 / (1.0 - env.gamma))


@given(small, seeds)
def test_performance_difference_by_plain_loops(env, seed):
    """Each side for itself, so that a term lost from both would show."""
    policy, other = random_policy(env, seed, (2,), scale=2.0)
    found = theory.performance_difference(env, policy, other)
    left, advantage, shift, _ = plain_sides(env, policy.tolist(), other.tolist())
    scale = largest_value(env, policy, other)
    assert_allclose(found, [left, advantage + shift], rtol=0.0, atol=1e-11 * scale)


def test_every_term_of_the_performance_difference_matters():
    """At unit strengths both terms are far from zero and so is the difference: the identity is no 0 = 0."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.9)
    left, advantage, shift, _ = plain_sides(env, *random_policy(env, 1, (2,), scale=2.0).tolist())
    assert min(abs(left), abs(advantage), abs(shift)) > 0.05


# R2


@given(softmax_pemdps(), seeds)
def test_performative_shift_is_bounded(env, seed):
    policy, other = random_policy(env, seed, (2,), scale=2.0)
    left, right = theory.performative_shift(env, policy, other, env.lipschitz_constants())
    assert left <= right + 1e-11 * largest_value(env, policy, other)


@given(small, seeds)
def test_performative_shift_by_plain_loops(env, seed):
    policy, other = random_policy(env, seed, (2,), scale=2.0)
    left, right = theory.performative_shift(env, policy, other, env.lipschitz_constants())
    _, _, shift, V = plain_sides(env, policy.tolist(), other.tolist())
    scale = largest_value(env, policy, other)
    assert_allclose(left, abs(shift), rtol=0.0, atol=1e-11 * scale)
    L_P, L_r = plain_lipschitz(env)
    distance = sqrt(sum((x - y) ** 2 for x, y in zip(policy.flat, other.flat)))
    bound = (L_r + env.gamma * L_P * (max(V) - min(V)) / 2) * distance / (1 - env.gamma)
    assert_allclose(right, bound, rtol=1e-7, atol=1e-11 * scale)


@given(gridworlds(), seeds)
def test_performative_shift_with_a_terminal_state(env, seed):
    """The terminal state's value 0 counts in the span: mass moves there too."""
    policy, other = random_policy(env, seed, (2,))
    left, right = theory.performative_shift(env, policy, other, (2.0, 3.0))
    here, there = env.respond(policy), env.respond(other)
    value = here.value(policy)
    assert value[-1] == 0.0
    advantage = (there.occupancy(policy) * there.advantage(other)).sum()
    expected = abs(here.expected_return(policy) - there.expected_return(other) - advantage)
    assert_allclose(left, expected, rtol=0.0, atol=1e-11 * largest_value(env, policy, other))
    span = max(value.tolist()) - min(value.tolist())
    distance = np.linalg.norm(policy - other)
    assert_allclose(right, (3.0 + env.gamma * 2.0 * span / 2.0) * distance / (1.0 - env.gamma), rtol=1e-10)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
@pytest.mark.parametrize(("kappa", "slope", "u"), [(2.0, 0.0, 0.01), (2.0, 0.0, 1.0), (10.0, 0.0, 0.5), (0.0, 1.0, 0.5), (2.0, 3.0, 1.0)])
def test_performative_shift_where_it_is_tight(kappa, slope, u, gamma):
    """All state-action pairs respond alike, along pi - pi': only the curvature of the logistic function is lost.

    P(1|s,a) = sigma(kappa <w, pi>), r(s,a) = 1[s = 1] + slope <w, pi>, w = (-1, 1)/2 in both states and
    pi - pi' = u w: left is slope u + gamma tanh(kappa u / 4), right slope u + gamma kappa u / 4, over 1 - gamma.
    """
    env, w = all_respond_alike(kappa, slope, gamma)
    left, right = theory.performative_shift(env, 0.5 + u / 2 * w, 0.5 - u / 2 * w, env.lipschitz_constants())
    assert_allclose(left, (slope * u + gamma * tanh(kappa * u / 4)) / (1 - gamma), rtol=1e-9, atol=1e-12)
    assert_allclose(right, (slope * u + gamma * kappa * u / 4) / (1 - gamma), rtol=1e-9)


# R3, R4: the parts


@given(softmax_pemdps() | gridworlds(), seeds, st.sampled_from([0.0, 0.3]))
def test_gradient_parts_add_up(env, seed, entropy):
    policy = random_policy(env, seed)
    parts = theory.gradient_parts(env, policy, entropy)
    gradient = pepg.performative_gradient(env, policy, entropy)
    scale = max(np.abs(part).max() for part in parts)
    assert_allclose(sum(parts), gradient, rtol=0.0, atol=1e-12 * scale)
    assert_allclose(parts[0], pepg.policy_gradient(env, policy, entropy), rtol=0.0, atol=1e-12 * scale)


@settings(max_examples=15)
@given(smaller, seeds)
def test_gradient_parts_by_plain_loops(env, seed):
    """Each part is the derivative of what it moves, all else held fixed."""
    policy = random_policy(env, seed)
    expected = plain_parts(env, policy.tolist())
    for found, part in zip(theory.gradient_parts(env, policy), expected):
        assert_allclose(found, part, rtol=0.0, atol=1e-9 * largest_value(env, policy))


@pytest.mark.parametrize(("transition_strength", "reward_strength"), [(0.0, 1.0), (1.0, 0.0)])
def test_gradient_parts_vanish_with_their_response(transition_strength, reward_strength):
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.9, transition_strength, reward_strength)
    policy, rewards, transitions = theory.gradient_parts(env, random_policy(env, 1))
    assert (np.abs(rewards).max() > 0.01) == (reward_strength > 0) and (np.abs(transitions).max() > 0.01) == (transition_strength > 0)
    assert np.abs(transitions if reward_strength else rewards).max() < 1e-13 and np.abs(policy).max() > 0.01


# R5


@given(softmax_pemdps(), seeds, st.sampled_from([0.3, 2.0]), st.sampled_from([0.3, 2.0, 20.0]))
def test_gradient_domination_holds(env, seed, scale, other_scale):
    """For any comparator: as near uniform, random or nearly deterministic as they come, the better of two."""
    rng = np.random.default_rng(seed)
    policy = random_policy(env, rng, scale=scale)
    options = random_policy(env, rng, (2,), scale=other_scale)
    optimum = options[pepg.performative_value(env, options).argmax()]
    left, right, residual = theory.gradient_domination(env, policy, optimum)
    rounding = 1e-11 * largest_value(env, policy, optimum)
    assert left <= right + rounding
    expected = pepg.performative_value(env, optimum) - pepg.performative_value(env, policy)
    assert_allclose(left, expected, rtol=0.0, atol=rounding)
    _, identity = theory.performance_difference(env, optimum, policy)
    mdp = env.respond(policy)
    advantage = (mdp.occupancy(optimum) * mdp.advantage(policy)).sum()
    assert_allclose(residual, identity - advantage, rtol=0.0, atol=rounding)


@given(gridworlds(), seeds, st.sampled_from([0.3, 2.0, 20.0]))
def test_gradient_domination_holds_with_a_terminal_state(env, seed, scale):
    """The goal has no occupancy and takes no part: the factors are those of the cells that the comparator visits."""
    rng = np.random.default_rng(seed)
    policy, optimum = random_policy(env, rng), random_policy(env, rng, scale=scale)
    left, right, residual = theory.gradient_domination(env, policy, optimum)
    assert np.isfinite(right) and left <= right + 1e-11 * largest_value(env, policy, optimum)
    mdp = env.respond(policy)
    reached, visits = (mdp.occupancy(p).sum(axis=-1) for p in (optimum, policy))
    seen = [s for s in range(env.n_states) if reached[s] > 0.0]
    mismatch = max(reached[s] / visits[s] for s in seen)
    least = min(policy[s, mdp.advantage(policy)[s].argmax()] for s in seen)
    g_env = pepg.performative_gradient(env, policy) - pepg.policy_gradient(env, policy)
    norms = np.linalg.norm(pepg.performative_gradient(env, policy)) + np.linalg.norm(g_env)
    assert_allclose(right - residual, np.sqrt(env.n_states) * mismatch / least * norms, rtol=1e-7, atol=1e-9 * mismatch / least)


@settings(max_examples=15)
@given(smaller, seeds)
def test_gradient_domination_by_plain_loops(env, seed):
    policy, optimum = random_policy(env, seed, (2,), scale=1.0)
    S, A = range(env.n_states), range(env.n_actions)
    value, _, shift, _ = plain_sides(env, optimum.tolist(), policy.tolist())
    model = plain_response(env, policy.tolist())
    V = plain_value(model, env.gamma, policy.tolist())
    d = plain_occupancy(model, env.gamma, policy.tolist(), env.rho)
    x = plain_occupancy(model, env.gamma, optimum.tolist(), env.rho)
    mismatch = max(sum(x[s]) / sum(d[s]) for s in S)
    least = min(policy[s, max(A, key=lambda a, s=s: plain_backup(model, env.gamma, V, s, a))] for s in S)
    by_policy, by_rewards, by_transitions = plain_parts(env, policy.tolist())
    g_env = by_rewards + by_transitions
    norms = np.linalg.norm(by_policy + g_env) + np.linalg.norm(g_env)
    found = theory.gradient_domination(env, policy, optimum)
    expected = [value, sqrt(env.n_states) * mismatch / least * norms + shift, shift]
    assert_allclose(found, expected, rtol=0.0, atol=1e-8 * largest_value(env, policy, optimum) * mismatch / least)


@given(st.integers(1, 5), st.integers(2, 5), st.floats(0.05, 0.95), st.floats(0.0, 0.95))
def test_gradient_domination_where_it_is_tight(n_states, n_actions, p, gamma):
    """No response, the next state uniform, one good action of probability p, the others alike: sqrt((A-1)/A) is lost."""
    s, a = n_states, n_actions
    good = np.tile(np.eye(a)[0], (s, 1))
    env = pepg.SoftmaxPeMDP(
        logits=np.zeros((s, a, s)), logit_map=np.zeros((s, a, s, s, a)), rewards=good, reward_map=np.zeros((s, a, s, a)),
        gamma=gamma, rho=np.full(s, 1.0 / s),
    )
    policy = np.tile(np.r_[p, np.full(a - 1, (1.0 - p) / (a - 1))], (s, 1))
    left, right, residual = theory.gradient_domination(env, policy, good)
    assert_allclose(left, (1.0 - p) / (1.0 - gamma), rtol=1e-10)
    assert_allclose(left / right, np.sqrt((a - 1) / a), rtol=1e-10)
    assert abs(residual) < 1e-12 / (1.0 - gamma)


def one_state(base, slopes, gamma):
    """One state, two actions: r_pi = base + slopes pi."""
    return pepg.SoftmaxPeMDP(
        logits=np.zeros((1, 2, 1)), logit_map=np.zeros((1, 2, 1, 1, 2)), rewards=np.array([base]),
        reward_map=np.array(slopes)[None, :, None, :], gamma=gamma, rho=np.ones(1),
    )


@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_gradient_domination_where_all_of_the_gap_is_residual(gamma):
    """Coordination, r(a) = pi(a): the uniform policy is stationary, stable and worst, and R5 is an equality."""
    env = one_state([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], gamma)
    found = theory.gradient_domination(env, np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]]))
    assert_allclose(found, 0.5 / (1.0 - gamma), rtol=1e-12)


@pytest.mark.parametrize("p", [0.9, 0.5, 1e-3])
def test_gradient_domination_where_the_environment_outweighs_the_policy(p):
    """Commons, r(a) = 1[a = 1] - 3 pi(1): both norms and min pi in closed form, with g and g_env of opposite signs.

    (1 - gamma) V = -2p, g = p (1-p) (2, -2), g_env = p (1-p) (3, -3), and the best action against A has probability p.
    """
    env = one_state([0.0, 1.0], [[0.0, -3.0], [0.0, -3.0]], 0.9)
    left, right, residual = theory.gradient_domination(env, np.array([[1.0 - p, p]]), np.array([[1.0, 0.0]]))
    assert_allclose([left, residual], [20.0 * p, 30.0 * p], rtol=1e-9)
    assert_allclose(right - residual, 50.0 * np.sqrt(2.0) * (1.0 - p), rtol=1e-9)


@given(softmax_pemdps(), seeds)
def test_without_a_response_the_known_inequality_returns(env, seed):
    """sqrt(S) |d^O / d| |grad V| / min pi(a*|s), the residual gone."""
    arrays = (env.logits, env.logit_map, env.rewards, env.reward_map)
    env = pepg.SoftmaxPeMDP(*arrays, env.gamma, env.rho, transition_strength=0.0, reward_strength=0.0)
    policy, optimum = random_policy(env, seed, (2,))
    mdp = env.respond(policy)
    left, right, residual = theory.gradient_domination(env, policy, optimum)
    assert abs(residual) <= 1e-12 * largest_value(env, policy)
    mismatch = (mdp.occupancy(optimum).sum(axis=-1) / mdp.occupancy(policy).sum(axis=-1)).max()
    least = policy[np.arange(env.n_states), mdp.advantage(policy).argmax(axis=-1)].min()
    gradient = np.linalg.norm(mdp.occupancy(policy) * mdp.advantage(policy))
    assert_allclose(right, np.sqrt(env.n_states) * mismatch * gradient / least, rtol=1e-9, atol=1e-10 * largest_value(env, policy) / least)
    assert_allclose(left, mdp.expected_return(optimum) - mdp.expected_return(policy), rtol=0.0, atol=1e-11 * largest_value(env, policy))


# Side by side, and what is refused

FUNCTIONS = {
    "performance_difference": theory.performance_difference,
    "performative_shift": lambda env, *policies: theory.performative_shift(env, *policies, env.lipschitz_constants()),
    "gradient_domination": theory.gradient_domination,
    "gradient_parts": lambda env, policy, other: theory.gradient_parts(env, policy),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=10)
@given(softmax_pemdps(max_gamma=0.95, count=3), seeds)
def test_batch_equals_single(name, env, seed):
    """Four policies in each of three environments at once give what each pair gives alone."""
    rng = np.random.default_rng(seed)
    policies, others = (random_policy(env, rng, (4, 3), scale=1.5) for _ in range(2))
    batch = FUNCTIONS[name](env, policies, others)
    for i, j in np.ndindex(4, 3):
        single = FUNCTIONS[name](pick(env, j), policies[i, j], others[i, j])
        for found, expected in zip(batch, single):
            assert found.shape[:2] == (4, 3)
            assert_allclose(found[i, j], expected, rtol=1e-8, atol=1e-10 * (1.0 + np.abs(expected).max()))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("bad", [np.full((2, 2), 0.4), np.full((3, 2), 0.5), np.array([[0.5, 0.5], [np.nan, 1.0]])])
def test_what_is_no_policy_is_refused(name, bad):
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 2, 2, 0.9)
    with pytest.raises(ValueError, match="policy"):
        FUNCTIONS[name](env, bad, env.uniform_policy())
    if name != "gradient_parts":
        with pytest.raises(ValueError, match="other|optimum"):
            FUNCTIONS[name](env, env.uniform_policy(), bad)


def test_promise_and_shift_add_up():
    """Along best responses on many PeMDPs at once: a value is the promise plus the shift, and a best response promises no loss."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(8), 3, 2, 0.9, 2.0, 2.0, 5)
    policies = [np.broadcast_to(env.uniform_policy(), (5, 3, 2))]
    for _ in range(4):
        policies.append(pepg.best_response(env.respond(policies[-1])))
    values, promised, shifts = theory.promise_and_shift(env, policies)
    assert values.shape == (5, 5) and promised.shape == shifts.shape == (4, 5)
    np.testing.assert_allclose(values, [pepg.performative_value(env, policy) for policy in policies], rtol=1e-12)
    np.testing.assert_allclose(values[1:], promised + shifts, atol=1e-10)
    assert (promised >= values[:-1] - 1e-10).all() and np.abs(shifts).max() > 1e-3
