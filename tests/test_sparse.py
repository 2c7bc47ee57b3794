"""Sparse transitions, and grids of any size: what dense transitions and small grids say, at a cost that is linear in the states."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose
from scipy.sparse import coo_array, csc_array, csr_array
from test_mdp import GAMMA, RHO, P, R, changed, draw_policy
from worlds import gridworlds, mdps, random_policy, seeds

import pepg
from pepg import algorithms, data, theory
from pepg.algorithms.retraining import closest_occupancy
from pepg.environments import gridworld, large_grid
from pepg.theory import estimators, steps


def sparse(mdp):
    """The same MDP with sparse transitions."""
    return pepg.MDP(csr_array(mdp.P.reshape(-1, mdp.n_states)), mdp.r, mdp.gamma, mdp.rho, mdp.terminal)


def dense(mdp):
    """The same MDP with an array of transitions."""
    return pepg.MDP(mdp.P.toarray().reshape(*mdp.r.shape, -1), mdp.r, mdp.gamma, mdp.rho, mdp.terminal)


def linear(env, large=True):
    """A copy of a gridworld that is answered as a large one is, or as a small one, whatever its size."""

    class Forced(pepg.Gridworld):
        _large = large

    return Forced(env.eps, env.beta, env.n_followers, env.gamma, env.cost, env.grid, env.seed)


def side(n, followers=10, seed=0):
    return pepg.Gridworld(n_followers=followers, grid=pepg.random_grid(n, n, seed))


# MDPs


@given(mdps())
def test_a_sparse_mdp_is_the_dense_one(world):
    """Values with and without entropy, advantages, occupancies, returns and best responses."""
    mdp, rng = world
    same, policy = sparse(mdp), draw_policy(mdp, rng)
    assert same.sparse and not mdp.sparse and (same.n_states, same.n_actions) == (mdp.n_states, mdp.n_actions)
    for name in ("value", "action_value", "advantage", "occupancy", "expected_return"):
        assert_allclose(getattr(same, name)(policy), getattr(mdp, name)(policy), rtol=1e-10, atol=1e-10)
    assert_allclose(same.value(policy, entropy=0.7), mdp.value(policy, entropy=0.7), rtol=1e-10, atol=1e-10)
    value = rng.normal(size=mdp.n_states)
    assert_allclose(same.backup(value), mdp.backup(value), rtol=1e-12, atol=1e-12)
    assert_allclose(same.expected_return(pepg.best_response(same)), mdp.expected_return(pepg.best_response(mdp)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", [csr_array, csc_array, coo_array])
def test_any_sparse_form_is_taken_and_none_is_shared(form):
    """The formats of scipy agree, entries given twice add up, and what is kept cannot be written into."""
    given = form(P.reshape(6, 2))
    mdp = pepg.MDP(given, R, GAMMA, RHO)
    given.data[:] = 0.0
    assert_allclose(mdp.P.toarray(), P.reshape(6, 2))
    with pytest.raises(ValueError, match="read-only"):
        mdp.P.data[0] = 1.0
    row, column = np.divmod(np.arange(12), 2)
    halves = coo_array((np.tile(P.ravel() / 2, 2), (np.tile(row, 2), np.tile(column, 2))), (6, 2))
    assert_allclose(pepg.MDP(halves, R, GAMMA, RHO).P.toarray(), P.reshape(6, 2))


def test_one_factorisation_serves_a_policy(monkeypatch):
    """Value, advantage, occupancy and return share it; another policy, or one that was written into, has its own."""
    count = []
    factor = pepg.mdp.splu
    monkeypatch.setattr(pepg.mdp, "splu", lambda *args, **kwargs: count.append(1) or factor(*args, **kwargs))
    mdp = sparse(pepg.MDP(P, R, GAMMA, RHO))
    policy = np.full((2, 3), 1 / 3)
    for name in ("value", "advantage", "occupancy", "expected_return"):
        getattr(mdp, name)(policy)
    assert len(count) == 1
    policy[0] = [1.0, 0.0, 0.0]
    assert_allclose(mdp.value(policy), pepg.MDP(P, R, GAMMA, RHO).value(policy), rtol=1e-12)
    assert_allclose(mdp.with_rewards(2.0 * R).value(policy), 2.0 * mdp.value(policy), rtol=1e-12)  # by the same factors
    assert len(count) == 2


def test_a_sparse_mdp_is_copied_and_sent_without_its_factors():
    mdp = sparse(pepg.MDP(P, R, GAMMA, RHO))
    value = mdp.value(np.full((2, 3), 1 / 3))
    for other in (copy.deepcopy(mdp), pickle.loads(pickle.dumps(mdp))):
        assert (other.value(np.full((2, 3), 1 / 3)) == value).all()


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("P", csr_array(np.full((5, 2), 0.5)), r"P: expected shape \(S A, S\) of an array that is sparse.*got \(5, 2\)"),
        ("P", csr_array((0, 2)), r"P: expected shape \(S A, S\).*got \(0, 2\)"),
        ("P", csr_array(np.full((2, 3), 1 / 3)), r"P: expected shape \(S A, S\).*got \(2, 3\)"),
        ("P", csr_array(changed(P, (1, 2), [0.5, 0.6]).reshape(6, 2)), r"P: .*P\[1, 2\] sums to 1\.1$"),
        ("P", csr_array(changed(P, (1, 2), [0.0, 0.0]).reshape(6, 2)), r"P: .*P\[1, 2\] sums to 0$"),
        ("P", csr_array(changed(P, (0, 1), [1.5, -0.5]).reshape(6, 2)), r"P: .*P\[0, 1, 1\] is -0\.5$"),
        ("P", csr_array(changed(P, (1, 0, 1), np.nan).reshape(6, 2)), r"P: .*P\[1, 0, 1\] is nan$"),
        ("P", csr_array(changed(P, (1, 0, 1), np.inf).reshape(6, 2)), r"P: .*P\[1, 0, 1\] is inf$"),
        ("P", csr_array(P.reshape(6, 2) * 1j), r"P: expected an array of real numbers, got complex numbers"),
        ("r", np.stack([R, R]), r"r: expected no leading axes, as P is sparse, got shape \(2, 2, 3\)"),
        ("r", R.T, r"r: expected shape \(\.\.\., 2, 3\), got \(3, 2\)"),
        ("rho", [RHO, RHO], r"rho: expected no leading axes, as P is sparse, got shape \(2, 2\)"),
    ],
)
def test_errors_name_state_and_action(argument, value, message):
    arguments = {"P": csr_array(P.reshape(6, 2)), "r": R, "gamma": GAMMA, "rho": RHO}
    with pytest.raises(ValueError, match=f"^{message}"):
        pepg.MDP(**{**arguments, argument: value})


def test_several_policies_or_values_are_refused():
    mdp = sparse(pepg.MDP(P, R, GAMMA, RHO))
    with pytest.raises(ValueError, match=r"^policy: expected no leading axes, as P is sparse, got shape \(2, 2, 3\)"):
        mdp.value(np.full((2, 2, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"^value: expected no leading axes, as P is sparse, got shape \(3, 2\)"):
        mdp.backup(np.ones((3, 2)))


# Large grids


@given(gridworlds(), seeds)
def test_the_linear_answer_is_the_banded_one(env, seed):
    """P, r, agent 2, both gradients of the response and the greedy policy, on grids of one row, one column and more."""
    rng = np.random.default_rng(seed)
    policy = random_policy(env, rng) if seed % 3 else env.uniform_policy()
    same = linear(env)
    mdp, other = env.respond(policy), same.respond(policy)
    assert_allclose(dense(other).P, mdp.P, rtol=0.0, atol=1e-11)
    assert_allclose(other.r, mdp.r, rtol=0.0, atol=1e-11)
    assert (other.terminal == mdp.terminal).all()
    assert_allclose(same.agent_two(policy), env.agent_two(policy), rtol=0.0, atol=1e-11)
    d, value, weights = rng.random(policy.shape), rng.normal(size=env.n_states), rng.normal(size=mdp.P.shape)
    gradient = env.response_gradient(policy, d, value)
    assert_allclose(same.response_gradient(policy, d, value), gradient, rtol=0.0, atol=1e-9 * np.abs(gradient).max())
    gradient = env.transition_gradient(policy, weights)
    found = same.transition_gradient(policy, csr_array(weights.reshape(-1, env.n_states)))
    assert_allclose(found, gradient, rtol=0.0, atol=1e-9 * np.abs(gradient).max())
    assert (same.epsilon_greedy_policy() == env.epsilon_greedy_policy()).all()


@pytest.mark.parametrize("gamma", [0.0, 0.99, 0.999])
def test_the_linear_answer_at_other_discounts(gamma):
    """What is left of 1e-15 is divided by 1 - gamma, and by it again."""
    env = pepg.Gridworld(gamma=gamma, n_followers=2, grid=pepg.random_grid(5, 4, 1))
    policy = random_policy(env, 0)
    atol = 1e-15 / (1.0 - gamma) ** 2 + 1e-12
    assert_allclose(dense(linear(env).respond(policy)).P, env.respond(policy).P, rtol=0.0, atol=atol)


def test_dense_and_sparse_agree_with_1024_states():
    """To 1e-9: the value and the gradient, in the same MDP as an array and by the followers' banded systems."""
    env = side(32)
    assert env.n_states == 1024 and env.respond(env.uniform_policy()).sparse
    banded = linear(env, large=False)
    policy = random_policy(env, 2)
    mdp = dense(env.respond(policy))
    assert_allclose(mdp.P, banded.respond(policy).P, rtol=0.0, atol=1e-12)
    here = pepg.deploy(env, policy)
    assert_allclose(here.value, mdp.value(policy), rtol=0.0, atol=1e-12)
    assert_allclose(here.occupancy, mdp.occupancy(policy), rtol=0.0, atol=1e-12)
    gradient = pepg.performative_gradient(banded, policy)
    assert_allclose(pepg.performative_gradient(env, policy), gradient, rtol=0.0, atol=1e-9 * np.abs(gradient).max())
    assert pepg.performative_value(env, policy) == pytest.approx(pepg.performative_value(banded, policy), rel=1e-9)


def test_the_gradient_equals_differences_with_1024_states():
    """To 1e-6 along five random directions of all logits, where no follower's action changes between the points."""
    env, rng = side(32), np.random.default_rng(1)
    logits, h = rng.normal(size=(1024, 4)), 1e-5
    gradient = pepg.performative_gradient(env, pepg.softmax(logits))
    action = env._response(pepg.softmax(logits)).action
    for direction in rng.normal(size=(5, 1024, 4)):
        values = []
        for sign in (1.0, -1.0):
            policy = pepg.softmax(logits + sign * h * direction)
            values.append(pepg.performative_value(env, policy))
            assert (env._response(policy).action == action).all()
        assert (gradient * direction).sum() == pytest.approx((values[0] - values[1]) / (2.0 * h), rel=1e-6)


def test_what_was_deployed_before_changes_no_bit():
    env, policy = side(23, followers=2), None
    policies = random_policy(env, 0, (3,))
    fresh = side(23, followers=2).respond(policies[0])
    for policy in policies[::-1]:
        mdp = env.respond(policy)
    assert (mdp.P.data == fresh.P.data).all() and (mdp.r == fresh.r).all()


def cost_of(n, monkeypatch):
    """The products that a gradient takes for each follower, and the memory it needs at most."""
    env, count = side(n, followers=3), []
    taken = large_grid.Walks._steps_of
    monkeypatch.setattr(large_grid.Walks, "_steps_of", lambda self, *args: count.append(self._steps) or taken(self, *args))
    policy = random_policy(env, 0)
    tracemalloc.start()
    pepg.performative_gradient(env, policy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    monkeypatch.undo()
    return sum(count) / env.n_followers, peak


def test_cost_and_memory_are_linear_in_the_states(monkeypatch):
    """With four times the cells as many products with matrices of four entries a row, and four times the memory."""
    (few, small), (many, large) = (cost_of(n, monkeypatch) for n in (32, 64))
    assert many <= 1.25 * few
    assert large <= 4.2 * small


def test_leading_axes_and_what_needs_them_are_refused():
    """By name, and with the reason."""
    env = side(23, followers=1)
    for call in (env.respond, lambda p: pepg.performative_gradient(env, p), lambda p: algorithms.pepg(env, policy=p, iterations=1)):
        with pytest.raises(ValueError, match=r"policy: expected one policy \(529, 4\), since a grid of more than 500 .*got shape \(2, 529, 4\)"):
            call(random_policy(env, 0, (2,)))
    with pytest.raises(ValueError, match=r"respond: expected transitions as an array \(\.\.\., S, A, S\), got sparse ones"):
        pepg.check_environment(env)
    with pytest.raises(ValueError, match="env: expected transitions as an array"):
        pepg.compare(env)
    mdp, policy = env.respond(env.uniform_policy()), env.uniform_policy()
    with pytest.raises(ValueError, match="mdp: expected a pepg.MDP without leading axes whose P is an array"):
        pepg.CrowdedMDP(mdp)
    paths = data.sample_trajectories(mdp, policy, 2, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="policy: expected transitions as an array"):
        data.gradient_estimates(env, policy, paths, paths.rewards)
    with pytest.raises(ValueError, match=r"weights: expected shape \(2116, 529\) of an array that is sparse, got \(4, 529\)"):
        env.transition_gradient(policy, csr_array(np.ones((4, 529))))
    with pytest.raises(ValueError, match="weights: expected finite numbers"):
        env.transition_gradient(policy, csr_array(([np.nan], ([0], [0])), (2116, 529)))


# What is built on them


def test_the_sides_of_the_results_are_those_of_dense_transitions():
    """R1, R2, R3, R5 and the steps of their proofs on one grid, answered both ways."""
    env = pepg.Gridworld(n_followers=2, grid=pepg.random_grid(6, 5, 0))
    policy, other, same = *random_policy(env, 0, (2,)), linear(env)
    for function, arguments in (
        (theory.performance_difference, (policy, other)),
        (theory.performative_shift, (policy, other, (1.0, 1.0))),
        (theory.gradient_parts, (policy,)),
        (theory.gradient_domination, (policy, other)),
        (theory.best_response_gain, (policy,)),
        (steps.difference_terms, (policy, other)),
        (steps.shift_steps, (policy, other, (1.0, 1.0))),
    ):
        for found, expected in zip(np.atleast_1d(function(same, *arguments)), np.atleast_1d(function(env, *arguments))):
            assert_allclose(found, expected, rtol=1e-8, atol=1e-11, err_msg=function.__name__)
    visits = [estimators.visits(one.respond(policy), policy, 5, 0.9) for one in (env, same)]
    assert_allclose(*visits, atol=1e-11)


def test_retraining_solves_a_sparse_quadratic_program():
    """The same occupancy as with dense transitions, in the flow polytope."""
    env = side(23, followers=1)
    mdp = env.respond(env.uniform_policy())
    for target, weight in ((mdp.r, 0.1), (mdp.r, 1.0)):
        found = closest_occupancy(mdp, target, weight)
        assert_allclose(found, closest_occupancy(dense(mdp), target, weight), atol=1e-6)
        inflow = mdp.rho + mdp.gamma * found.ravel() @ mdp.P
        assert_allclose(found.sum(axis=1)[~mdp.terminal], inflow[~mdp.terminal], atol=1e-9)


def test_the_exact_algorithms_run_on_a_large_grid():
    """PePG and PG climb, RPO, RGA and Hedge take their steps."""
    env = side(23, followers=2)
    start = env.epsilon_greedy_policy(0.1)
    climbed = algorithms.pepg(env, policy=start, iterations=5).values
    assert (np.diff(climbed) > 0.0).all()
    plain = algorithms.policy_gradient(env, policy=start, iterations=5).values
    assert plain[-1] > plain[0] and climbed[-1] != plain[-1]
    for name in ("repeated_policy_optimization", "repeated_gradient_ascent", "hedge"):
        assert np.isfinite(getattr(algorithms, name)(env, policy=start, iterations=1).values).all()


def test_samples_are_those_of_dense_transitions():
    """Trajectories step by step, the estimate of the gradient from them, and the walk that Gymnasium takes."""
    env = pepg.Gridworld(n_followers=2, grid=pepg.random_grid(6, 5, 0))
    policy, same = random_policy(env, 0), linear(env)
    paths, others = (data.sample_trajectories(one.respond(policy), policy, 40, 60, np.random.default_rng(3)) for one in (env, same))
    assert (paths.states == others.states).all() and (paths.actions == others.actions).all()
    assert_allclose(others.rewards, paths.rewards, atol=1e-12)
    weights = data.returns(paths, env.gamma)
    expected = data.mean_gradient_estimate(env, policy, paths, weights)
    assert_allclose(data.mean_gradient_estimate(same, policy, paths, weights), expected, rtol=0.0, atol=1e-9 * np.abs(expected).max())
    walks = []
    for one in (env, same):
        walk = pepg.gymnasium.DeployedMDP(one, policy)
        walk.reset(seed=5)
        walks.append([walk.step(action)[0] for action in range(4)])
    assert walks[0] == walks[1]


def test_any_environment_takes_sparse_weights_on_its_transitions():
    """The default of a PeMDP gives what dense weights give."""
    env = pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 3, 0.8)
    policy, weights = random_policy(env, 1), np.random.default_rng(2).normal(size=(4, 3, 4))
    expected = pepg.PeMDP.transition_gradient(env, policy, weights)
    found = pepg.PeMDP.transition_gradient(env, policy, csr_array(weights.reshape(12, 4)))
    assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_models_of_what_was_sampled_are_refused_where_no_memory_holds_them():
    nothing = (np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0), np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="rho: expected at most 1,000,000,000 transition probabilities of a model"):
        data.empirical_mdp(nothing, 0.9, np.full(20_000, 1 / 20_000), 4)


# Random grids


def test_random_grids_are_like_the_paper_s():
    """The border and the goal are as on the 8x8 grid, and the other rewards about as frequent; a seed draws the same grid again."""
    grid, given = pepg.random_grid(60, 80, 3), gridworld.default_grid()
    assert grid.shape == (60, 80) and grid[-1, -1] == 1.0
    assert (grid[0] == -0.01).all() and (grid[:, 0] == -0.01).all()
    for reward in np.unique(given)[:-1]:
        share = (given[1:, 1:].ravel()[:-1] == reward).mean()
        assert (grid[1:, 1:].ravel()[:-1] == reward).mean() == pytest.approx(share, abs=0.03)
    assert (pepg.random_grid(60, 80, 3) == grid).all() and (pepg.random_grid(60, 80, 4) != grid).any()
    assert pepg.random_grid(1, 2, 0).tolist() == [[-0.01, 1.0]]
    with pytest.raises(ValueError, match="rows: expected at least two cells, got 1 x 1"):
        pepg.random_grid(1, 1, 0)
