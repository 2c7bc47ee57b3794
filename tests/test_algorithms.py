"""The algorithms: each against its own definition, recorded iterates, and what a run promises."""

import json
from pathlib import Path

import numpy as np
import piqp
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from worlds import gridworlds, mdps, random_policy, seeds

import pepg
from pepg import algorithms
from pepg.algorithms import ascent
from pepg.algorithms.retraining import closest_occupancy, policy_of_occupancy

RECORDED = Path(__file__).parent.parent / "notebooks" / "data" / "rpo_rga_iterates.json"
ASCENTS = {algorithms.pepg: pepg.performative_gradient, algorithms.policy_gradient: pepg.policy_gradient}
RETRAINING = [algorithms.repeated_policy_optimization, algorithms.repeated_gradient_ascent]
ALL = [*ASCENTS, *RETRAINING]

# The QP solver stops at a duality gap of 1e-12 and the objective is strongly convex with the weight of its quadratic
# term, so that a solution is within sqrt(2e-12 / weight) of the optimum, and two of the same problem within twice that.
QP_ERROR = 3e-6


def small(**kwargs):
    grid = [[-0.01, -0.02, -0.01, -0.5], [-0.01, -0.5, -0.02, -0.01], [-0.02, -0.01, -0.5, 1.0]]
    return pepg.Gridworld(**{"n_followers": 4, "grid": grid, **kwargs})


# Ascent


@pytest.mark.parametrize("algorithm", ASCENTS)
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_constant_step_equals_a_loop(algorithm, entropy):
    """theta + eta * gradient of the softmax, iterated by hand."""
    env = small()
    policy = random_policy(env, 0)
    run = algorithm(env, policy=policy, iterations=15, step_size=0.7, entropy=entropy)
    theta = np.log(policy)
    for t in range(16):
        by_hand = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
        assert_allclose(run.policies[t], by_hand, rtol=1e-11)
        theta = theta + 0.7 * ASCENTS[algorithm](env, by_hand, entropy)
    assert np.abs(run.policies[-1] - policy).max() > 0.01


@pytest.mark.parametrize("algorithm", ASCENTS)
def test_adaptive_step_equals_a_loop(algorithm):
    """The step of each logit from the signs of its partial derivatives, written out entry by entry.

    For few enough iterations that no probability, and so no partial derivative, comes near rounding.
    """
    env = small()
    policy = random_policy(env, 2)
    run = algorithm(env, policy=policy, iterations=25)
    theta, size, last = np.log(policy), np.full(policy.shape, 0.1), np.zeros(policy.shape)
    shrunk = 0
    for t in range(26):
        assert_allclose(run.policies[t], pepg.softmax(theta), rtol=1e-9)
        gradient = ASCENTS[algorithm](env, pepg.softmax(theta))
        for i in np.ndindex(*policy.shape[:1], 4):
            if i[0] == env.goal:
                continue
            sign = np.sign(gradient[i])
            if sign * last[i] > 0:
                size[i] = min(1.2 * size[i], 0.5)
            if sign * last[i] < 0:
                size[i], sign, shrunk = max(0.5 * size[i], 1e-6), 0.0, shrunk + 1
            last[i] = sign
            theta[i] += size[i] * sign
    assert shrunk > 0 and size.max() == 0.5


def steps_of(signs, noise=0.0):
    rule = ascent._Rprop()
    return [float(rule(np.array([g]), np.array([noise]))[0]) for g in signs]


def test_adaptive_rule():
    """0.1 at first, x1.2 up to 0.5 while the sign stays; halved down to 1e-6 when it changes, with a rest."""
    assert_allclose(steps_of([7.0, 1e-9, 3.0]), [0.1, 0.12, 0.144])
    assert_allclose(steps_of([-1.0] * 20)[-10:], [-0.5] * 10)
    # A change of sign: rest once with half the step, go on the other way, then grow again.
    assert_allclose(steps_of([1.0, -1.0, -1.0, -1.0]), [0.1, 0.0, -0.05, -0.06])
    assert_allclose(steps_of([1.0, -1.0, 1.0, 1.0]), [0.1, 0.0, 0.05, 0.06])
    alternating = steps_of([1.0, -1.0, -1.0, 1.0, 1.0, -1.0] * 30 + [-1.0])
    assert_allclose(alternating[-1], -1e-6)
    # What is within the noise has no sign: no step, and the step size waits.
    assert steps_of([1e-3, -1e-3, 0.0], noise=1e-3) == [0.0, 0.0, 0.0]
    assert_allclose(steps_of([1.0, 0.0, 1.0, 1.0]), [0.1, 0.0, 0.1, 0.12])


def test_adaptive_rule_treats_each_logit_alone():
    """Two logits in one array behave as two arrays of one."""
    rule, first, second = ascent._Rprop(), [1.0, 1.0, -1.0, -1.0], [-1.0, 1.0, 1.0, 0.0]
    together = [rule(np.array(pair), np.zeros(2)) for pair in zip(first, second)]
    assert_allclose(together, np.transpose([steps_of(first), steps_of(second)]))


def test_an_advantage_within_rounding_has_no_sign():
    """An action of probability 1 - 3e-14 has an advantage of that order: its logit rests, and the others take 0.1."""
    env = small()
    policy = np.full((12, 4), 1e-14)
    policy[:, 1] = 1.0 - 3e-14
    advantage = env.respond(policy).advantage(policy)
    assert (np.abs(advantage[:-1, 1]) < 1e-12).all()
    run = algorithms.policy_gradient(env, policy=policy, iterations=1)
    ratios = np.log(run.policies / run.policies[..., 1:2])
    moved = np.abs(advantage) > 1e-6
    assert moved.sum() > 10
    assert_allclose((ratios[1] - ratios[0])[moved], 0.1 * np.sign(advantage[moved]), rtol=1e-10)


def test_adam():
    """Entry by entry from the averages of all gradients so far; the first step is the size, whatever the gradient's."""
    gradients = np.random.default_rng(0).normal(size=(7, 2, 3)) * [1e-3, 1.0, 1e3]
    rule = ascent.Adam(0.2)
    found = [rule(gradient) for gradient in gradients]
    for t in range(1, 8):
        # The averages written out: weights 0.9^age and 0.99^age, normalised to sum to 1.
        first, second = (decay ** np.arange(t - 1, -1, -1.0)[:, None, None] for decay in (0.9, 0.99))
        mean = (first * gradients[:t]).sum(axis=0) / first.sum()
        square = (second * gradients[:t] ** 2).sum(axis=0) / second.sum()
        assert_allclose(found[t - 1], 0.2 * mean / (np.sqrt(square) + 1e-8), rtol=1e-9)
    assert_allclose(found[0], 0.2 * np.sign(gradients[0]), rtol=1e-3)
    assert_allclose(ascent.Adam(0.2)(np.zeros(3)), 0.0)


def test_mirror_step_is_mirror_ascent():
    """Where nothing is clipped the next policy maximises ⟨G, π⟩ - KL / η in every state: its optimality condition, and the clip."""
    rng = np.random.default_rng(0)
    policy, slope = pepg.softmax(rng.normal(size=(5, 3))), rng.normal(size=(5, 3))
    gradient = policy * (slope - (policy * slope).sum(axis=-1, keepdims=True))
    new = pepg.softmax(np.log(policy) + ascent.Mirror(0.4)(gradient, policy))
    condition = slope - np.log(new / policy) / 0.4
    assert_allclose(condition, np.broadcast_to(condition[:, :1], (5, 3)), atol=1e-12)
    assert np.abs(ascent.Mirror(1e9)(gradient, policy)).max() == 2.0
    policy[:, 0] = 0.0
    assert (ascent.Mirror(1.0)(gradient * (policy > 0.0), policy)[:, 0] == 0.0).all()
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="^size: expected"):
            ascent.Mirror(bad)


@given(seeds, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_mirror_step_takes_the_bonus_at_the_next_policy(seed, size, pull):
    """The optimality condition of ⟨G, π⟩ + c H(π) - KL / η; where c is large beside the slope no step is long, and η may be anything."""
    rng = np.random.default_rng(seed)
    policy = pepg.softmax(0.3 * rng.normal(size=(5, 3)))
    slope = pull * 0.3 * rng.normal(size=(5, 3))
    bent = slope - pull * np.log(policy)
    gradient = policy * (bent - (policy * bent).sum(axis=-1, keepdims=True))
    new = pepg.softmax(np.log(policy) + ascent.Mirror(size)(gradient, policy, np.full((5, 1), pull)))
    condition = (slope - pull * np.log(new) - np.log(new / policy) / size) / (pull + 1.0 / size)
    assert_allclose(condition, np.broadcast_to(condition[:, :1], (5, 3)), atol=1e-10)


@pytest.mark.parametrize("algorithm", ASCENTS)
def test_the_mirror_step_with_a_bonus_does_not_swing(algorithm):
    """In one state without a future the optimum is softmax(r / λ): a step that takes the bonus where it stands is past it by 19 times."""
    rewards = np.array([[0.3, -0.1, 0.05]])
    env = pepg.FunctionPeMDP(lambda policy: (np.ones((1, 3, 1)), rewards), 1, 3, 0.0, [1.0])
    run = algorithm(env, iterations=12, step_size=algorithms.Mirror(20.0), entropy=1.0)
    distance = np.abs(run.policies - pepg.softmax(rewards)).max(axis=(-2, -1))
    assert distance[0] > 0.05 and distance[-1] < 1e-12
    assert (np.diff(distance[:8]) < 0.0).all()


@pytest.mark.parametrize("algorithm", [algorithms.pepg, algorithms.policy_gradient])
def test_the_mirror_step_with_exact_gradients_ascends(algorithm):
    """Small enough it never loses value where the ascent is that of one function: PePG anywhere, PG without a response."""
    strength = 0.0 if algorithm is algorithms.policy_gradient else 3.0
    env = pepg.random_softmax_pemdp(np.random.default_rng(1), 5, 3, 0.8, strength)
    run = algorithm(env, iterations=200, step_size=algorithms.Mirror(0.05))
    assert (np.diff(run.values) > -1e-12).all() and run.values[-1] > run.values[0] + 0.1


@pytest.mark.parametrize("algorithm", ASCENTS)
@pytest.mark.parametrize("step_size", [None, 2.0])
@pytest.mark.filterwarnings("error")
def test_a_policy_with_zeros_stays_on_its_face(algorithm, step_size):
    """An action that is never taken stays so, the others learn, and nothing is divided by zero."""
    env = small()
    policy = random_policy(env, 0)
    policy[:, 2] = 0.0
    policy[3] = [0.0, 0.0, 0.0, 1.0]
    policy /= policy.sum(axis=1, keepdims=True)
    run = algorithm(env, policy=policy, iterations=20, step_size=step_size, entropy=0.1)
    assert np.isfinite(run.policies).all() and np.isfinite(run.values).all()
    assert ((run.policies == 0.0) == (policy == 0.0)).all()
    assert np.abs(run.policy - policy).max() > 0.01


def test_ascent_ascends():
    """A small constant step never loses value, and the entropy-regularised value rises with entropy > 0."""
    env = small()
    run = algorithms.pepg(env, iterations=60, step_size=5.0)
    assert (np.diff(run.values) > 0.0).all() and run.values[-1] > run.values[0] + 0.05
    run = algorithms.pepg(env, iterations=60, step_size=0.5, entropy=0.2)
    values = pepg.performative_value(env, run.policies, 0.2)
    assert (np.diff(values) > 0.0).all()


def test_default_gridworld_from_epsilon_greedy():
    """Within 300 iterations PePG reaches -0.0605 and ends above PG, which ends above RPO (lambda = 0.1)."""
    env = pepg.Gridworld()
    start = env.epsilon_greedy_policy(0.1)
    performative = algorithms.pepg(env, policy=start, iterations=300)
    ignoring = algorithms.policy_gradient(env, policy=start, iterations=300)
    retraining = algorithms.repeated_policy_optimization(env, policy=start, iterations=15)
    assert performative.values[-1] >= -0.0605
    assert performative.values[-1] > ignoring.values[-1] > retraining.values[-1]
    # The tabulated ends of 300 Adam steps and of the fixed point of retraining.
    assert_allclose(ignoring.values[-1], -0.0686, atol=1e-3)
    assert_allclose(retraining.values[-1], -0.0874, atol=1e-4)


# The search, what pepg does with the environment alone


def inside(policy):
    return 0.95 * policy + 0.05 / policy.shape[-1]


def brisk(env, policy, length):
    """The adaptive ascent with a first step of 0.5 instead of 0.1, by hand."""
    rule, logits, path = ascent._Rprop(0.5), np.log(policy), [policy]
    for _ in range(length - 1):
        logits = logits + rule(pepg.performative_gradient(env, path[-1]), 1e-14)
        path.append(pepg.softmax(logits))
    return path


def test_the_search_equals_its_stages_run_apart():
    """100 deployments: 20 of PG, 18 starts, the best 5 for 6, the best 2 ends for 11, two rounds of 5, and the best again."""
    env = small()
    run, uniform = algorithms.pepg(env, iterations=100), env.uniform_policy()
    towards, screened, brief, long, first, second = np.split(run.policies[:-1], [20, 38, 68, 90, 95])
    assert_allclose(towards, algorithms.policy_gradient(env, policy=uniform, iterations=19).policies, rtol=1e-9)
    best = towards[run.values[:20].argmax()]
    assert_allclose(screened, [uniform, inside(best), *env.random_policies(range(16), 2.0)], rtol=1e-12)
    chosen = screened[np.argsort(-run.values[20:38])[:5]]
    for start, path in zip(chosen, np.split(brief, 5)):
        assert_allclose(path, brisk(env, start, 6), rtol=1e-8)
    ends = brief[5::6][np.argsort(-run.values[38:68][5::6])[:2]]
    for start, path in zip(ends, np.split(long, 2)):
        assert_allclose(path, brisk(env, start, 11), rtol=1e-8)
    # The mean size of an advantage from the first policy, by its definition.
    mdp = env.respond(uniform)
    visits = mdp.occupancy(uniform)
    scale = (visits * np.abs(mdp.advantage(uniform))).sum() / visits.sum()
    for stage, begin, coefficient in ((first, 90, 0.3), (second, 95, 0.1)):
        fading = [coefficient * scale * max(0.0, 1.0 - t / 2.5) for t in range(5)]
        start = inside(run.policies[run.values[:begin].argmax()])
        assert_allclose(stage, algorithms.pepg(env, policy=start, iterations=4, entropy=fading).policies, rtol=1e-8)
    assert (run.policy == run.policies[run.values[:-1].argmax()]).all()


@pytest.mark.parametrize("iterations", [100, 101, 137, 149, 300])
def test_the_search_makes_the_deployments_that_it_is_given(iterations):
    """And ends at the best of them, so never below the policies on the way to a stable one."""
    env = small(beta=20.0)
    run = algorithms.pepg(env, iterations=iterations)
    assert run.values.shape == (iterations + 1,) and run.deployments[-1] == iterations
    assert_allclose(run.values[-1], run.values.max(), rtol=1e-12)
    assert_allclose(run.values, pepg.performative_value(env, run.policies), rtol=1e-10, atol=1e-12)
    change = np.linalg.norm(np.diff(env.respond(run.policies).occupancy(run.policies), axis=0), axis=(1, 2))
    norms = np.linalg.norm(env.respond(run.policies[:-1]).occupancy(run.policies[:-1]), axis=(1, 2))
    assert_allclose(run.shifts, change / norms, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("iterations", [0, 1, 5, 10, 30, 99])
def test_a_short_search_is_one_plain_ascent(iterations):
    env = small()
    plain = algorithms.pepg(env, policy=env.uniform_policy(), iterations=iterations)
    assert (algorithms.pepg(env, iterations=iterations).policies == plain.policies).all()


@pytest.mark.parametrize("setting", [{"seed": 3}, {"step_size": 1.0}, {"entropy": 0.1}, {"policy": np.full((12, 4), 0.25)}])
def test_with_a_setting_of_ones_own_pepg_is_one_ascent(setting):
    """The first step from the start follows the gradient there, and so on to the end: no policy is deployed twice."""
    run = algorithms.pepg(small(), iterations=120, **setting)
    start = small().random_policies([3])[0] if "seed" in setting else small().uniform_policy()
    assert (run.policies[0] == start).all()
    step = np.log(run.policies[1] / run.policies[0])[:-1]
    gradient = pepg.performative_gradient(small(), start, setting.get("entropy", 0.0))[:-1]
    assert ((step - step.mean(axis=1, keepdims=True)) * gradient).sum() > 0.0
    assert np.abs(np.diff(run.policies, axis=0)).max() < 0.5


def test_the_search_does_not_depend_on_the_units_of_the_rewards():
    env = pepg.random_softmax_pemdp(np.random.default_rng(3), 4, 3, 0.9, 2.0, 2.0)
    scaled = pepg.SoftmaxPeMDP(
        env.logits, env.logit_map, 1024.0 * env.rewards, 1024.0 * env.reward_map, env.gamma, env.rho, 2.0, 2.0
    )
    one, other = algorithms.pepg(env, iterations=100), algorithms.pepg(scaled, iterations=100)
    assert_allclose(other.values, 1024.0 * one.values, rtol=1e-6, atol=1e-6)


def test_the_search_leaves_the_local_optimum_below_the_stable_policy():
    """beta = 20, 50 followers: from the uniform policy one ascent rests at 0.10, the policy gradient at 0.158."""
    env = pepg.Gridworld(eps=0.5, beta=20.0, n_followers=50)
    assert algorithms.pepg(env).values[-1] > 0.172


def test_the_search_beats_the_best_of_five_starts():
    """On 60 random PeMDPs side by side, at equal numbers of deployments, it misses less in the mean."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(60), 5, 3, 0.9, 3.0, 3.0, count=60)
    starts = np.stack([env.uniform_policy(), *env.random_policies(range(4), scale=2.0)])[:, None]
    five = algorithms.pepg(env, policy=starts, iterations=59).values.max(axis=(0, 1))
    found = algorithms.pepg(env, iterations=300).values[-1]
    assert (found - five).mean() > 0.02


@pytest.mark.parametrize("algorithm", ALL)
def test_environments_side_by_side(algorithm):
    """No start, a start, a seed and seeds: each environment runs as it does alone; other leading axes are refused."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(8), 3, 2, 0.8, 1.0, 1.0, count=3)
    iterations = 100 if algorithm is algorithms.pepg else 4
    tolerance = 1e-9 if algorithm in ASCENTS else 10.0 * QP_ERROR
    for setting in ({}, {"policy": np.full((3, 2), 0.5)}, {"seed": 4}):
        run = algorithm(env, iterations=iterations, **setting)
        assert run.policies.shape == (iterations + 1, 3, 3, 2) and run.values.shape == (iterations + 1, 3)
        alone = algorithm(env.select(1), iterations=iterations, **setting)
        assert_allclose(run.values[:, 1], alone.values, rtol=0.0, atol=tolerance)
    several = algorithm(env, iterations=3, seed=[4, 5])
    assert several.values.shape == (4, 2, 3)
    assert_allclose(several.values[:, 0], algorithm(env, iterations=3, seed=4).values, rtol=0.0, atol=tolerance)
    with pytest.raises(ValueError, match=r"^policy: expected leading axes that broadcast with \(3,\)"):
        algorithm(env, policy=np.full((2, 3, 2), 0.5))


@pytest.mark.parametrize("algorithm", ASCENTS)
def test_one_entropy_coefficient_for_each_iterate(algorithm):
    env, start = small(), random_policy(small(), 6)
    coefficients = np.array([0.5, 0.4, 0.0, 0.2])
    run = algorithm(env, policy=start, iterations=3, step_size=0.7, entropy=coefficients)
    theta = np.log(start)
    for policy, coefficient in zip(run.policies, coefficients):
        assert_allclose(policy, pepg.softmax(theta), rtol=1e-11)
        theta = theta + 0.7 * ASCENTS[algorithm](env, policy, coefficient)
    constant = algorithm(env, policy=start, iterations=3, entropy=np.full(4, 0.3))
    assert (constant.policies == algorithm(env, policy=start, iterations=3, entropy=0.3).policies).all()
    for wrong in ([0.1, 0.1], [0.1, 0.1, 0.1, -0.1], [0.1, np.nan, 0.1, 0.1], np.ones((2, 4))):
        with pytest.raises(ValueError, match="^entropy: expected"):
            algorithm(env, policy=start, iterations=3, entropy=wrong)


# What every run promises


@pytest.mark.parametrize("algorithm", ALL)
def test_run(algorithm):
    """Shapes; the start first; true values; shifts of the occupancy; one deployment an iterate; no samples."""
    env = small()
    start = random_policy(env, 1)
    run = algorithm(env, policy=start, iterations=6)
    assert run.policies.shape == (7, 12, 4) and run.values.shape == (7,) and run.shifts.shape == (6,)
    assert (run.policies[0] == start).all() and (run.policy == run.policies[-1]).all()
    assert_allclose(run.policies.sum(axis=-1), 1.0, rtol=1e-12)
    assert_allclose(run.values, [pepg.performative_value(small(), p) for p in run.policies], rtol=1e-10, atol=1e-12)
    occupancies = np.array([env.respond(p).occupancy(p) for p in run.policies])
    change = [np.sqrt(((after - before) ** 2).sum()) for before, after in zip(occupancies, occupancies[1:])]
    assert_allclose(run.shifts, change / np.sqrt((occupancies[:-1] ** 2).sum(axis=(1, 2))), rtol=1e-9)
    assert run.deployments.tolist() == [0, 1, 2, 3, 4, 5, 6] and run.samples.tolist() == [0] * 7


@pytest.mark.parametrize("algorithm", ASCENTS)
def test_values_carry_no_bonus(algorithm):
    """With entropy the values of a run are those without it all the same."""
    env = small()
    run = algorithm(env, iterations=5, entropy=1.0)
    assert_allclose(run.values, pepg.performative_value(env, run.policies), rtol=1e-11)


@pytest.mark.parametrize("algorithm", ALL)
def test_batch_equals_singles(algorithm):
    """Starts that run side by side run as each does alone, to the solver's precision over a state's visits."""
    tolerance = 1e-9 if algorithm in ASCENTS else 10.0 * QP_ERROR
    env = small()
    starts = random_policy(env, 3, (2, 2))
    batch = algorithm(env, policy=starts, iterations=5)
    assert batch.policies.shape == (6, 2, 2, 12, 4) and batch.policy.shape == (2, 2, 12, 4)
    assert batch.values.shape == (6, 2, 2) and batch.shifts.shape == (5, 2, 2) and batch.deployments.shape == (6,)
    for i in np.ndindex(2, 2):
        single = algorithm(env, policy=starts[i], iterations=5)
        assert_allclose(batch.policies[:, *i], single.policies, rtol=0.0, atol=tolerance)
        assert_allclose(batch.values[:, *i], single.values, rtol=0.0, atol=tolerance)
        assert_allclose(batch.shifts[:, *i], single.shifts, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("algorithm", ALL)
def test_no_iterations(algorithm):
    """A run of no iterations is its start, evaluated."""
    env = small()
    run = algorithm(env, iterations=0)
    assert run.policies.shape == (1, 12, 4) and run.values.shape == (1,) and run.shifts.shape == (0,)
    assert (run.policy == env.uniform_policy()).all()
    assert_allclose(run.values[0], pepg.performative_value(env, env.uniform_policy()), rtol=1e-12)


@pytest.mark.parametrize(
    ("algorithm", "iterations", "settings"),
    [
        (algorithms.policy_gradient, 300, {"step_size": None, "entropy": 0.0}),
        (algorithms.repeated_policy_optimization, 100, {"regularization": 0.1}),
        (algorithms.repeated_gradient_ascent, 100, {"step_size": 1.0, "regularization": 0.1}),
    ],
)
def test_defaults(algorithm, iterations, settings):
    """Called with an environment alone: the documented settings, from the uniform policy."""
    env = small()
    run = algorithm(env)
    spelt_out = algorithm(env, policy=env.uniform_policy(), iterations=iterations, seed=None, **settings)
    assert run.values.shape == (iterations + 1,)
    assert (run.policies == spelt_out.policies).all()
    assert (run.policies[0] == env.uniform_policy()).all()


@pytest.mark.parametrize("algorithm", ALL)
def test_seeds(algorithm):
    """A seed fixes the start and nothing else is drawn; a start that is given wins; no global generator is touched."""
    env = small()
    state = repr(np.random.get_state())
    run = algorithm(env, iterations=3, seed=5)
    assert (run.policies[0] == env.random_policies([5])[0]).all()
    assert (run.policies == algorithm(small(), iterations=3, seed=5).policies).all()
    assert (run.policies[0] != algorithm(env, iterations=0, seed=6).policies[0]).all()
    given_start = algorithm(env, iterations=0, seed=5, policy=env.uniform_policy())
    assert (given_start.policy == env.uniform_policy()).all()
    several = algorithm(env, iterations=3, seed=[5, 6])
    assert (several.policies[0] == env.random_policies([5, 6])).all() and several.samples.shape == (4, 2)
    assert_allclose(several.values[:, 0], run.values, rtol=0.0, atol=10.0 * QP_ERROR)
    assert repr(np.random.get_state()) == state


@pytest.mark.parametrize("algorithm", ALL)
def test_runs_do_not_touch_their_start(algorithm):
    """The policy that a caller hands in is left as it was."""
    env = small()
    start = random_policy(env, 1)
    kept = start.copy()
    algorithm(env, policy=start, iterations=3)
    assert (start == kept).all()


# Retraining


def alive_problem(mdp, occupancy):
    """The flow matrix, its right-hand side and d on the states that are not terminal."""
    alive = np.flatnonzero(~mdp.terminal)
    flow = np.zeros((alive.size, alive.size, mdp.n_actions))
    for i, s in enumerate(alive):
        for j, t in enumerate(alive):
            flow[i, j] = (s == t) - mdp.gamma * mdp.P[t, :, s]
    return flow.reshape(alive.size, -1), mdp.rho[alive], occupancy[alive].ravel(), alive


@given(mdps(max_gamma=0.95), st.sampled_from([0.05, 1.0, 10.0]))
def test_closest_occupancy_satisfies_the_optimality_conditions(world, weight):
    """Flow, non-negativity, stationarity with least-squares multipliers, complementary slackness."""
    mdp, rng = world
    assume(not mdp.terminal.all())
    target = rng.normal(size=(mdp.n_states, mdp.n_actions))
    occupancy = closest_occupancy(mdp, target, weight)
    assert (occupancy >= 0.0).all() and (occupancy[mdp.terminal] == 0.0).all()
    flow, inflow, d, alive = alive_problem(mdp, occupancy)
    assert_allclose(flow @ d, inflow, rtol=0.0, atol=1e-8)
    # Every state has a start probability, so that some action of each is taken and the multipliers are determined.
    slope = target[alive].ravel() - weight * d
    taken = d > 1e-6
    multiplier = np.linalg.lstsq(flow[:, taken].T, slope[taken], rcond=None)[0]
    reduced_cost = flow.T @ multiplier - slope
    assert_allclose(reduced_cost[taken], 0.0, atol=1e-6)
    assert (reduced_cost > -1e-6).all()
    assert_allclose(reduced_cost * d, 0.0, atol=1e-6)


@given(mdps(lead=(2, 2), max_gamma=0.95), st.sampled_from([0.1, 1.0]))
def test_closest_occupancy_of_several_at_once(world, weight):
    """MDPs along leading axes are solved as each is alone."""
    mdp, rng = world
    assume(not mdp.terminal.all())
    target = rng.normal(size=mdp.r.shape)
    batch = closest_occupancy(mdp, target, weight)
    for i in np.ndindex(2, 2):
        single = pepg.MDP(mdp.P[i], mdp.r[i], mdp.gamma, mdp.rho, mdp.terminal)
        alone = closest_occupancy(single, target[i], weight)
        scale = 1.0 + np.abs(alone).max()
        assert_allclose(batch[i], alone, rtol=0.0, atol=scale * QP_ERROR / np.sqrt(weight))


def optimal_return(mdp, reward):
    """The best expected return for `reward` in the MDP, by policy iteration."""
    world = pepg.MDP(mdp.P, reward, mdp.gamma, mdp.rho, mdp.terminal)
    policy = np.eye(mdp.n_actions)[np.zeros(mdp.n_states, dtype=int)]
    for _ in range(100):
        action_value = world.action_value(policy)
        better = action_value.max(axis=1) > (policy * action_value).sum(axis=1) + 1e-12
        if not better.any():
            return world.expected_return(policy)
        policy[better] = np.eye(mdp.n_actions)[action_value.argmax(axis=1)[better]]
    raise AssertionError("policy iteration did not end")


@given(mdps(max_gamma=0.95), st.sampled_from([0.05, 1.0]), st.sampled_from([1.5, 5.0]))
def test_bounded_closest_occupancy_satisfies_the_optimality_conditions(world, weight, coverage):
    """With d <= B d' for an occupancy d': as without, and the reduced cost is at most 0 where the bound holds d back."""
    mdp, rng = world
    policy = rng.dirichlet(np.ones(mdp.n_actions), size=mdp.n_states)
    policy[0] = np.eye(mdp.n_actions)[0]  # some bounds are 0
    target = rng.normal(size=policy.shape)
    bound = coverage * mdp.occupancy(policy)
    occupancy = closest_occupancy(mdp, target, weight, bound)
    assert (occupancy >= 0.0).all() and (occupancy <= bound).all()
    if mdp.terminal.all():
        return
    flow, inflow, d, alive = alive_problem(mdp, occupancy)
    assert_allclose(flow @ d, inflow, rtol=0.0, atol=1e-8)
    # Multipliers and conditions as a linear program: the least t with |reduced cost| <= t where d is free, >= -t at 0, <= t at
    # the bound.
    upper = bound[alive].ravel()
    slope = target[alive].ravel() - weight * d
    falls, rises = d < upper - 1e-6, d > 1e-6  # d may still rise: reduced cost >= 0; may fall: <= 0
    rows = np.vstack([np.c_[-flow.T[falls], -np.ones(falls.sum())], np.c_[flow.T[rises], -np.ones(rises.sum())]])
    sides = np.concatenate([-slope[falls], slope[rises]])
    found = linprog(np.append(np.zeros(alive.size), 1.0), rows, sides, bounds=[(None, None)] * alive.size + [(0.0, None)])
    assert found.status == 0 and found.fun < 1e-6


@given(mdps(max_gamma=0.95))
def test_bounds_that_cannot_bind_change_nothing(world):
    """d sums to 1/(1-gamma) at most: from there on, and however large, a bound gives the same bits as none."""
    mdp, rng = world
    target = rng.normal(size=(mdp.n_states, mdp.n_actions))
    free = closest_occupancy(mdp, target, 0.1)
    for bound in (1.0 / (1.0 - mdp.gamma), 1e3 / (1.0 - mdp.gamma), 1e9, 1e15, np.full(target.shape, 1e12)):
        assert_array_equal(closest_occupancy(mdp, target, 0.1, bound), free)


def test_bounded_closest_occupancy_edges():
    """An occupancy as its own bound is the only one left; an action with bound 0 is not taken; leading axes; no live state."""
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(4), (3, 4, 2))
    mdp = pepg.MDP(P, rng.normal(size=(3, 4, 2)), 0.8, np.full(4, 0.25), terminal=[3])
    policy = rng.dirichlet(np.ones(2), size=(3, 4))
    policy[:, 1] = [0.0, 1.0]
    occupancy = mdp.occupancy(policy)
    # d' - d >= 0 obeys the flow without inflow, so it is 0; the solver's residual of 1e-12 over 1 - gamma is what remains.
    assert_allclose(closest_occupancy(mdp, mdp.r, 0.1, occupancy), occupancy, atol=1e-8)
    bounded = closest_occupancy(mdp, mdp.r, 1.0, 1.7 * occupancy)
    assert (bounded[:, 1, 0] == 0.0).all() and (bounded <= 1.7 * occupancy).all()
    assert np.abs(bounded - closest_occupancy(mdp, mdp.r, 1.0)).max() > 0.01
    for i in range(3):
        single = pepg.MDP(P[i], mdp.r[i], 0.8, mdp.rho, mdp.terminal)
        assert_allclose(closest_occupancy(single, single.r, 1.0, 1.7 * occupancy[i]), bounded[i], atol=QP_ERROR)
    over = pepg.MDP(P, mdp.r, 0.8, mdp.rho, terminal=[0, 1, 2, 3])
    assert_array_equal(closest_occupancy(over, mdp.r, 0.1), np.zeros((3, 4, 2)))


@given(mdps(max_gamma=0.95))
def test_without_regularisation_the_occupancy_is_optimal(world):
    """At lambda = 0 its reward is the optimal value of the MDP."""
    mdp, _ = world
    assume(not mdp.terminal.all())
    occupancy = closest_occupancy(mdp, mdp.r, 0.0)
    scale = 1.0 / (1.0 - mdp.gamma)
    assert_allclose((occupancy * mdp.r).sum(), optimal_return(mdp, mdp.r), rtol=0.0, atol=1e-7 * scale)
    best = mdp.expected_return(policy_of_occupancy(occupancy))
    assert_allclose(best, optimal_return(mdp, mdp.r), rtol=0.0, atol=1e-6 * scale)


def test_closest_occupancy_where_states_cannot_be_reached():
    """No occupancy reaches states 2 and 3; the optimum is one at which no other occupancy has a better slope."""
    rng = np.random.default_rng(0)
    P = np.zeros((4, 2, 4))
    P[:, :, :2] = rng.dirichlet([1.0, 1.0], (4, 2))
    mdp = pepg.MDP(P, rng.normal(size=(4, 2)), 0.9, [0.5, 0.5, 0.0, 0.0])
    occupancy = closest_occupancy(mdp, mdp.r, 0.1)
    assert_allclose(occupancy[2:], 0.0, atol=1e-8)
    slope = mdp.r - 0.1 * occupancy
    assert_allclose((occupancy * slope).sum(), optimal_return(mdp, slope), rtol=1e-7)
    assert (policy_of_occupancy(occupancy)[2:] == 0.5).all()


@given(gridworlds(max_gamma=0.9), seeds)
def test_projection_leaves_an_occupancy_alone(env, seed):
    """What is in the polytope is its own projection; so is what was projected (to the solver's precision)."""
    rng = np.random.default_rng(seed)
    policy = random_policy(env, rng)
    mdp = env.respond(policy)
    occupancy = mdp.occupancy(policy)
    assert_allclose(closest_occupancy(mdp, occupancy), occupancy, rtol=0.0, atol=QP_ERROR)
    once = closest_occupancy(mdp, rng.normal(size=policy.shape))
    assert_allclose(closest_occupancy(mdp, once), once, rtol=0.0, atol=QP_ERROR)


@pytest.mark.parametrize(
    ("name", "beta", "algorithm", "settings"),
    [
        ("rpo_lam1_beta10", 10.0, RETRAINING[0], {"regularization": 1.0}),
        ("rpo_lam0.1_beta5", 5.0, RETRAINING[0], {"regularization": 0.1}),
        ("rga_eta1_lam1_beta5", 5.0, RETRAINING[1], {"step_size": 1.0, "regularization": 1.0}),
        ("rga_eta0.1_lam0.1_beta5", 5.0, RETRAINING[1], {"step_size": 0.1, "regularization": 0.1}),
    ],
)
def test_recorded_iterates(name, beta, algorithm, settings):
    """Eight iterations at eps = 0.3 with three followers: d to 1e-4 of the record, and its relative changes too."""
    recorded = json.loads(RECORDED.read_text())[name]
    env = pepg.Gridworld(eps=0.3, beta=beta, n_followers=3)
    run = algorithm(env, policy=env.epsilon_greedy_policy(0.1), iterations=8, **settings)
    # The d of retraining is an occupancy in the environment of the policy before; that of the start in its own.
    before = [run.policies[0], *run.policies[:-1]]
    d = np.array([env.respond(old).occupancy(new) for old, new in zip(before, run.policies)])
    assert_allclose(d[-1], recorded["d_last"], rtol=0.0, atol=1e-4)
    changes = np.linalg.norm(np.diff(d, axis=0), axis=(1, 2)) / np.linalg.norm(d[:-1], axis=(1, 2))
    assert_allclose(changes, recorded["d_diff"], rtol=0.0, atol=1e-4)


def test_a_fixed_point_of_retraining_stays():
    """Where RPO comes to rest it stays, and RGA started there stays too: both have the same fixed points."""
    env = pepg.Gridworld(eps=0.3, n_followers=3)
    rest = algorithms.repeated_policy_optimization(env, iterations=40)
    assert rest.shifts[0] > 0.1 and rest.shifts[-1] < 1e-7
    again = algorithms.repeated_policy_optimization(env, policy=rest.policy, iterations=2)
    ascent = algorithms.repeated_gradient_ascent(env, policy=rest.policy, iterations=3, regularization=0.1)
    for run in (again, ascent):
        d = [env.respond(p).occupancy(p) for p in run.policies]
        assert_allclose(d, np.broadcast_to(d[0], np.shape(d)), rtol=0.0, atol=1e-6)


def test_policy_of_occupancy():
    """Actions in proportion to d; uniform where a state is not visited."""
    occupancy = np.array([[[1.0, 3.0], [0.0, 0.0], [0.0, 2.0]], [[5e-7, 0.0], [1e-6, 3e-6], [1.0, 0.0]]])
    expected = [[[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]], [[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]]
    assert_allclose(policy_of_occupancy(occupancy), expected)
    env = small()
    policy = random_policy(env, 0)
    found = policy_of_occupancy(env.respond(policy).occupancy(policy))
    assert_allclose(found[:-1], policy[:-1], rtol=1e-12)
    assert (found[-1] == 0.25).all()


class Impatient(piqp.SparseSolver):
    """A solver that stops after one iteration."""

    def __init__(self):
        super().__init__()
        self.settings.max_iter = 1


@pytest.mark.parametrize("algorithm", RETRAINING)
def test_a_solver_that_does_not_converge_raises(monkeypatch, algorithm):
    """The last iterate of a solver that has not converged is never returned."""
    monkeypatch.setattr(piqp, "SparseSolver", Impatient)
    with pytest.raises(RuntimeError, match="PIQP.*MAX_ITER"):
        algorithm(small(), iterations=1)


# Errors


@pytest.mark.parametrize(
    ("names", "argument", "bad"),
    [
        (ALL, "iterations", [-1, 1.5, np.nan, np.inf, [3]]),
        ([*ASCENTS, RETRAINING[1]], "step_size", [0.0, -0.1, np.nan, np.inf]),
        (ASCENTS, "entropy", [-0.1, np.nan, np.inf]),
        (RETRAINING, "regularization", [-0.1, np.nan, np.inf]),
    ],
)
def test_errors(names, argument, bad):
    """A ValueError that names the argument and the value, before anything is deployed."""
    env = small()
    for algorithm in names:
        for value in bad:
            with pytest.raises(ValueError, match=f"^{argument}: expected .*got") as error:
                algorithm(env, **{"iterations": 1, argument: value})
            assert str(error.value).endswith(f"got {value}")


@pytest.mark.parametrize("algorithm", ALL)
def test_policy_errors(algorithm):
    """A start that is no policy is refused with its place."""
    env = small()
    with pytest.raises(ValueError, match=r"^policy: expected shape \(\.\.\., 12, 4\), got \(4, 12\)"):
        algorithm(env, policy=env.uniform_policy().T)
    bad = env.uniform_policy()
    bad[7, 1] = 0.3
    with pytest.raises(ValueError, match=r"^policy: .*policy\[7\] sums to 1\.05"):
        algorithm(env, policy=bad)
