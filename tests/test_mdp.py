"""Values, occupancies and errors of finite MDPs."""

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose
from worlds import mdps

import pepg
from pepg.mdp import best_response

GAMMA, RHO = 0.9, [0.25, 0.75]
P = np.array([[[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]], [[0.0, 1.0], [0.3, 0.7], [0.6, 0.4]]])
R = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
POLICY = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])


def draw_policy(mdp, rng, lead=()):
    return rng.dirichlet(np.full(mdp.n_actions, 0.5), (*lead, mdp.n_states))


@given(mdps())
def test_bellman_identity(world):
    """V = sum_a pi (r + gamma P V) outside the terminal states, 0 inside; Q is the backup of V."""
    mdp, rng = world
    policy = draw_policy(mdp, rng)
    value, action_value = mdp.value(policy), mdp.action_value(policy)
    alive = ~mdp.terminal
    expected = mdp.r + mdp.gamma * np.einsum("sat,t->sa", mdp.P, value)
    assert_allclose(action_value[alive], expected[alive], atol=1e-12)
    assert (action_value[~alive] == 0.0).all() and (value[~alive] == 0.0).all()
    assert_allclose(value[alive], (policy * expected).sum(axis=1)[alive], rtol=1e-10, atol=1e-10)


@given(mdps())
def test_occupancy_identities(world):
    """Flow; <d, r> = rho . V; the sum is 1/(1-gamma) without terminal states; none at a terminal state; d ∝ pi."""
    mdp, rng = world
    policy = draw_policy(mdp, rng)
    d = mdp.occupancy(policy)
    visits = d.sum(axis=1)
    flow = mdp.rho + mdp.gamma * np.einsum("sa,sat->t", d, mdp.P)
    assert_allclose(visits[~mdp.terminal], flow[~mdp.terminal], rtol=1e-10)
    assert (d >= 0.0).all() and (d[mdp.terminal] == 0.0).all()
    assert_allclose(d, visits[:, None] * policy, rtol=1e-14)
    assert_allclose((d * mdp.r).sum(), mdp.rho @ mdp.value(policy), rtol=1e-10, atol=1e-10)
    assert_allclose(mdp.expected_return(policy), mdp.rho @ mdp.value(policy), rtol=1e-14, atol=1e-14)
    if not mdp.terminal.any():
        assert_allclose(d.sum(), 1.0 / (1.0 - mdp.gamma), rtol=1e-10)


@given(mdps())
def test_advantage_has_mean_zero(world):
    """sum_a pi A = 0 in every state, and A = Q - V."""
    mdp, rng = world
    policy = draw_policy(mdp, rng)
    advantage = mdp.advantage(policy)
    scale = 1.0 + np.abs(mdp.value(policy)).max()
    assert_allclose((policy * advantage).sum(axis=1), 0.0, atol=1e-13 * scale)
    assert_allclose(advantage, mdp.action_value(policy) - mdp.value(policy)[:, None], atol=1e-14 * scale)


@given(mdps(lead=(3,)))
def test_broadcasting_equals_looping(world):
    """Leading axes of P, r, rho and of the policy broadcast against each other as in a loop."""
    mdp, rng = world
    policies = draw_policy(mdp, rng, (2, 3))
    rho = rng.dirichlet(np.ones(mdp.n_states), 3)
    batch = pepg.MDP(mdp.P, mdp.r, mdp.gamma, rho, mdp.terminal)
    one = pepg.MDP(mdp.P[0], mdp.r[0], mdp.gamma, rho[0], mdp.terminal)
    for name in ("value", "action_value", "advantage", "occupancy", "expected_return"):
        full, several = getattr(batch, name)(policies), getattr(one, name)(policies)
        same = getattr(batch, name)(policies[0, 0])
        for i, j in np.ndindex(2, 3):
            single = pepg.MDP(mdp.P[j], mdp.r[j], mdp.gamma, rho[j], mdp.terminal)
            assert_allclose(full[i, j], getattr(single, name)(policies[i, j]), rtol=1e-11, atol=1e-11)
            assert_allclose(several[i, j], getattr(one, name)(policies[i, j]), rtol=1e-11, atol=1e-11)
            assert_allclose(same[j], getattr(single, name)(policies[0, 0]), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batched", ["P", "r", "rho"])
def test_one_argument_alone_may_have_leading_axes(batched):
    """Three P, or three r, or three rho, with one of the others and one policy: as in a loop."""
    rng = np.random.default_rng(0)
    arguments = {"P": P, "r": R, "rho": np.array(RHO)}
    draws = {"P": rng.dirichlet([1, 1], (3, 2, 3)), "r": rng.normal(size=(3, 2, 3)), "rho": rng.dirichlet([1, 1], 3)}
    batch = pepg.MDP(**{**arguments, batched: draws[batched]}, gamma=GAMMA)
    each = [pepg.MDP(**{**arguments, batched: draw}, gamma=GAMMA) for draw in draws[batched]]
    for name in ("value", "advantage", "occupancy", "expected_return"):
        singles = [getattr(mdp, name)(POLICY) for mdp in each]
        found = getattr(batch, name)(POLICY)
        assert_allclose(np.broadcast_to(found, np.shape(singles)), singles, rtol=1e-12)


def test_terminal_by_index_sequence_or_mask():
    """The three ways to name the terminal states agree, and a worked example has its value."""
    for terminal in (1, [1], (1,), np.array([False, True]), [False, True]):
        mdp = pepg.MDP(P, R, GAMMA, RHO, terminal)
        assert mdp.terminal.tolist() == [False, True]
        # From state 0: stays with 0.2 * 0.5 + 0.3 * 1 + 0.5 * 0.2 = 0.5, reward 0.2 + 0.6 + 1.5 = 2.3.
        assert_allclose(mdp.value(POLICY), [2.3 / 0.55, 0.0])
        assert_allclose(mdp.occupancy(POLICY), [POLICY[0] * 0.25 / 0.55, [0.0] * 3])
    assert not pepg.MDP(P, R, GAMMA, RHO).terminal.any()
    assert pepg.MDP(P, R, GAMMA, RHO, [0, 1]).expected_return(POLICY) == 0.0


@given(mdps())
def test_entropy_value(world):
    """With entropy the value is that of the rewards r - lambda log pi; an action never taken leaves it finite."""
    mdp, rng = world
    policy = draw_policy(mdp, rng)
    bonus = pepg.MDP(mdp.P, mdp.r - 0.7 * np.log(np.maximum(policy, 1e-300)), mdp.gamma, mdp.rho, mdp.terminal)
    assert_allclose(mdp.value(policy, entropy=0.7), bonus.value(policy), rtol=1e-10, atol=1e-10)
    always_first = np.eye(mdp.n_actions)[np.zeros(mdp.n_states, dtype=int)]
    assert_allclose(mdp.value(always_first, entropy=0.7), mdp.value(always_first), rtol=1e-14)


@given(mdps())
def test_other_rewards_are_all_that_changes(world):
    """The MDP that is made of the same transitions and the other rewards, bit for bit; the first stays as it is."""
    mdp, rng = world
    policy, r = draw_policy(mdp, rng), rng.normal(size=mdp.r.shape)
    before = mdp.value(policy)
    other, made = mdp.with_rewards(r), pepg.MDP(mdp.P, r, mdp.gamma, mdp.rho, mdp.terminal)
    for name in ("value", "action_value", "occupancy"):
        assert (getattr(other, name)(policy) == getattr(made, name)(policy)).all()
    assert (mdp.value(policy) == before).all() and other.P is mdp.P and not other.r.flags.writeable
    with pytest.raises(ValueError, match=r"r: expected shape \(2, 3\), got \(4, 2, 3\)"):
        pepg.MDP(P, R, GAMMA, RHO).with_rewards(np.zeros((4, 2, 3)))


def test_another_policy_is_solved_for_anew():
    """What is kept of the last policy serves that policy only, and not one that was written into since."""
    mdp, policy = pepg.MDP(P, R, GAMMA, RHO), POLICY.copy()
    first = mdp.value(policy)
    policy[0] = [0.6, 0.3, 0.1]
    changed = mdp.value(policy)
    assert (changed == pepg.MDP(P, R, GAMMA, RHO).value(policy)).all() and (changed != first).any()
    assert (mdp.value(POLICY) == first).all()


def test_expected_return_is_a_float():
    """One policy in one MDP has one number."""
    assert isinstance(pepg.MDP(P, R, GAMMA, RHO).expected_return(POLICY), float)


def changed(array, index, value):
    array = np.array(array, dtype=float)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("P", np.ones((2, 3)), r"P: expected shape \(\.\.\., S, A, S\), got \(2, 3\)"),
        ("P", np.full((2, 3, 4), 0.25), r"P: .*got \(2, 3, 4\)"),
        ("P", np.ones((2, 0, 2)), r"P: .*got \(2, 0, 2\)"),
        ("P", changed(P, (1, 2), [0.5, 0.6]), r"P: .*P\[1, 2\] sums to 1\.1$"),
        ("P", changed(P, (1, 2, 0), 0.6 + 2e-8), r"P: .*P\[1, 2\] sums to 1\.00000002"),
        ("P", changed(changed(P, (0, 1), [1.5, -0.5]), (1, 1, 0), np.nan), r"P: .*P\[0, 1, 1\] is -0\.5"),
        ("P", changed(P, (1, 0, 1), np.nan), r"P: .*P\[1, 0, 1\] is nan"),
        ("P", changed(P, (1, 0, 1), np.inf), r"P: .*P\[1, 0, 1\] is inf"),
        ("r", R.T, r"r: expected shape \(\.\.\., 2, 3\), got \(3, 2\)"),
        ("r", R[0], r"r: .*got \(3,\)"),
        ("r", changed(R, (1, slice(1, 3)), np.nan), r"r: expected finite .*r\[1, 1\] is nan"),
        ("r", changed(R, (0, 2), -np.inf), r"r: expected finite .*r\[0, 2\] is -inf"),
        ("gamma", 1.0, r"gamma: .*\[0, 1\), got 1\.0"),
        ("gamma", -0.1, r"gamma: .*got -0\.1"),
        ("gamma", np.nan, r"gamma: .*got nan"),
        ("gamma", [0.9, 0.9], r"gamma: .*got \[0\.9, 0\.9\]"),
        ("rho", [1.0], r"rho: expected shape \(\.\.\., 2\), got \(1,\)"),
        ("rho", [1.5, -0.5], r"rho: .*rho\[1\] is -0\.5"),
        ("rho", [0.5, 0.4], r"rho: each row must be a distribution .*sums to 0\.9"),
        ("rho", [np.nan, 1.0], r"rho: .*rho\[0\] is nan"),
        ("rho", [[0.5, 0.5], [0.5, 0.6]], r"rho: .*rho\[1\] sums to 1\.1"),
        ("terminal", 2, r"terminal: expected states below 2"),
        ("terminal", [0, -3], r"terminal: expected states below 2"),
        ("terminal", [True, False, True], r"terminal: expected states below 2"),
        ("terminal", [0.5], r"terminal: expected states below 2"),
    ],
)
def test_mdp_errors(argument, value, message):
    """A ValueError that names the argument, the first offending index and what was expected."""
    arguments = {"P": P, "r": R, "gamma": GAMMA, "rho": RHO, "terminal": None}
    with pytest.raises(ValueError, match=f"^{message}"):
        pepg.MDP(**{**arguments, argument: value})


BAD_POLICIES = [
    (POLICY.T, r"policy: expected shape \(\.\.\., 2, 3\), got \(3, 2\)"),
    (POLICY[0], r"policy: .*got \(3,\)"),
    (changed(POLICY, (1, slice(0, 2)), [1.2, -0.2]), r"policy: .*policy\[1, 1\] is -0\.2"),
    (changed(POLICY, (0, 2), np.nan), r"policy: .*policy\[0, 2\] is nan"),
    (changed(POLICY, (1, 1), 0.25), r"policy: .*policy\[1\] sums to 1\.25"),
    (np.array([POLICY, changed(POLICY, (0, 0), 0.1)]), r"policy: .*policy\[1, 0\] sums to 0\.9"),
]


@pytest.mark.parametrize("method", ["value", "action_value", "advantage", "occupancy", "expected_return"])
@pytest.mark.parametrize(("policy", "message"), BAD_POLICIES)
def test_policy_errors(method, policy, message):
    """Every method refuses what is no policy, and says where."""
    with pytest.raises(ValueError, match=f"^{message}"):
        getattr(pepg.MDP(P, R, GAMMA, RHO), method)(policy)


def test_a_small_rounding_error_of_a_row_is_no_offence():
    """Rows may miss 1 by the tolerance of 1e-8, and not by more."""
    mdp = pepg.MDP(P, R, GAMMA, RHO)
    mdp.value(POLICY + 1e-9)
    with pytest.raises(ValueError, match=r"policy\[0\] sums to 1\.00000003"):
        mdp.value(POLICY + 1e-8)


def test_environments_must_respond():
    """An environment without `respond` or `response_gradient` cannot be made."""

    class Silent(pepg.PeMDP):
        n_states, n_actions, gamma, rho = 2, 3, GAMMA, np.array(RHO)

    with pytest.raises(TypeError, match="respond"):
        Silent()


def test_random_policies():
    """Near-uniform policies, one per seed, the same for the same seed; the uniform policy is uniform."""
    env = pepg.Gridworld(n_followers=1)
    policies = env.random_policies([1, 2, 1])
    assert policies.shape == (3, 64, 4)
    assert (policies[0] == policies[2]).all() and (policies[0] != policies[1]).all()
    assert_allclose(policies.sum(axis=-1), 1.0)
    assert np.abs(policies - 0.25).max() < 0.2 and np.abs(policies - 0.25).max() > 0.02
    assert (env.random_policies([1, 2])[1] == env.random_policies([2])[0]).all()
    assert (env.uniform_policy() == 0.25).all() and env.uniform_policy().shape == (64, 4)


def test_policy_iteration_ends_where_a_tie_is_on_the_edge_of_rounding():
    """Staying (action 0) is worse than leaving by less than a tie, but once chosen for good by more than one."""
    gamma, short = 0.9, 5e-13
    P = np.zeros((2, 2, 2))
    P[0, 0, 0] = P[0, 1, 1] = P[1, :, 1] = 1.0
    mdp = pepg.MDP(P, np.array([[1 - gamma - short, 1.0], [0.0, 0.0]]), gamma, np.array([1.0, 0.0]))
    policy = best_response(mdp)
    assert mdp.expected_return(policy) == pytest.approx(1.0, abs=1e-11)
