r"""The algorithms that learn from trajectories: performative policy gradients, retraining, and zeroth-order Frank-Wolfe.

Each meets the environment in a :class:`pepg.algorithms.run.Field` only, which counts what it deploys and samples. ``sampled_pepg`` with
`response="exact"` is told one thing more, how the environment bends with the policy.

`seed` is a whole number, or n of them for n runs side by side: policies (n, S, A), from one start or n. Each run is bit for bit what
it is alone; together they take half the time or less in the gridworld.
"""

from copy import copy
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import Seeds, check_count, check_non_negative, check_number, check_positive, described
from ..data import LearnedResponse, PooledModel, advantages, empirical_mdp, returns, temporal_differences, with_entropy_bonus
from ..mdp import PeMDP
from ..performative import Deployment
from ..policies import PolicyClass, Tabular
from .ascent import Adam, Mirror, check_mirror
from .retraining import closest_occupancy, policy_of_occupancy
from .run import Field, Iterate, Run, drawn, repeat, starting_policy, warn_if_deterministic

RESPONSES = ("exact", "learned")
WINDOW = 10  # deployments over which gains and values are averaged
CONFIDENT = 1.645  # standard errors: one-sided, 95 %
ANNEALED = 0.5  # the share of the second stage after which its entropy coefficient is 0
SHORT = 1e-4  # of a step in the parameters, its longest entry: the curvature of a policy does not show


# Policy gradients


def sampled_pepg(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 100, seed: Seeds = None, trajectories: int = 30, horizon: int = 200,
    step_size: float | Mirror | Adam = 1.0, memory: float = 0.95, warm_up: float = 0.8, entropy: float = 0.02,
    response: Literal["exact", "learned"] | PeMDP = "exact", exploration: float = 0.0, policies: PolicyClass | None = None,
    parameters: ArrayLike | None = None,
) -> Run:
    r"""Performative policy gradient from samples (arXiv 2512.20576): deploy, pool, ascend in the logits.

    Each iteration deploys the policy once. The transitions join those of all deployments before in a :class:`PooledModel`, whose weight
    falls by `memory` with every deployment; the two parts of the gradient (R3) are then exact in that model, as those of ``pepg`` in the
    true one. The step is the :class:`Mirror` step. `step_size` says by how many logits an advantage of one standard deviation of the
    rewards moves in a state of average visits, both as in the model at present, so that no unit of value enters; or it is a step itself,
    ``Mirror(80.0)`` or ``Adam(0.1)``.

    **Stages.** The policy's part alone comes first: from near-uniform policies the response's part leads to poor local optima, which a start
    near a stable policy avoids. The stage ends once the gain of a step, estimated on each deployment's data for a direction that does not
    depend on them and summed over ten deployments, is below 1.645 of its standard errors; at the latest after the share `warm_up` of the
    iterations (0: no such stage). Then both parts, with a bonus of `entropy` on the rewards that falls to 0 over half of what remains. The
    last policy is the last iterate, or the last of the first stage where its estimated value (ten deployments each) is above by 1.645
    standard errors of the difference.

    response : ``"exact"``: how the environment bends is known, and asked of it for the estimated occupancy and value.
        ``"learned"``: nothing is known but the data; a :class:`LearnedResponse` is fitted on them. Or any model of one's own: a
        :class:`pepg.PeMDP` with a method ``observe(policy, trajectories)``, which is told of every deployment.
    exploration : with a response that is learned, N(0, exploration²) on the logits of what is deployed; the iterates move as it is

    policies, parameters : a class of policies of :mod:`pepg.policies`, and its start as for ``pepg``: the ascent is in its parameters θ,
        by a step of `step_size` times the gradient, in the unit of value and visits that the model has at present, or by ``Adam(0.1)``;
        the first stage ends by the gain along the class. The noise of `exploration` is on θ.

    Raises ValueError for an argument out of range.
    """
    iterate, field = _placed(env, policy, policies, parameters, seed, trajectories, horizon)
    exploration = check_non_negative("exploration", exploration)
    if isinstance(response, str) and response == "exact":
        return _ascend("sampled_pepg", env, field, iterate, iterations, step_size, memory, warm_up, entropy, env)
    if isinstance(response, str) and response == "learned":
        response = LearnedResponse(env.gamma, env.rho, env.n_actions, lead=iterate.start.shape[:-2])
    if not (isinstance(response, PeMDP) and hasattr(response, "observe")):
        expected = f"{', '.join(map(repr, RESPONSES))}, or a PeMDP with a method observe"
        raise ValueError(f"response: expected one of {expected}, got {described(response)}")
    if (response.n_states, response.n_actions) != (env.n_states, env.n_actions):
        sizes = f"{response.n_states} states and {response.n_actions} actions"
        raise ValueError(f"response: expected a model of {env.n_states} states and {env.n_actions} actions, got one of {sizes}")
    return _ascend("sampled_pepg", env, field, iterate, iterations, step_size, memory, warm_up, entropy, response, exploration)


def sampled_policy_gradient(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 100, seed: Seeds = None, trajectories: int = 30, horizon: int = 200,
    step_size: float | Mirror | Adam = 1.0, memory: float = 0.95, warm_up: float = 0.8, entropy: float = 0.02, policies: PolicyClass | None = None,
    parameters: ArrayLike | None = None,
) -> Run:
    """:func:`sampled_pepg` without the environment's part of the gradient: the same stages, the second with its entropy bonus."""
    iterate, field = _placed(env, policy, policies, parameters, seed, trajectories, horizon)
    return _ascend("sampled_policy_gradient", env, field, iterate, iterations, step_size, memory, warm_up, entropy, None)


def _placed(env, policy, policies, parameters, seed, trajectories, horizon):
    """The start of an ascent, and the field in which it deploys: one start, or one for each of n seeds."""
    iterate = Iterate(env, policy, policies, parameters, seed)
    shape = np.shape(seed) + iterate.policies.shape
    if parameters is not None and iterate.parameters.shape != shape:
        raise ValueError(f"parameters: expected shape {shape}, got {iterate.parameters.shape}")
    return iterate, Field(env, iterate.start, seed, trajectories, horizon)


def _ascend(name, env, field, iterate, iterations, step_size, memory, warm_up, entropy, response, exploration=0.0):
    start, policies = iterate.start, iterate.policies
    tabular = isinstance(policies, Tabular)
    if iterate.way is None:
        warn_if_deterministic(env, start)
    mirror = isinstance(step_size, Mirror)
    if mirror:
        check_mirror(step_size, policies)
    elif not isinstance(step_size, Adam):
        step_size = check_positive("step_size", step_size)
    iterations = check_count("iterations", iterations, least=0)
    warm_up = float(check_number("warm_up", warm_up, "a share in [0, 1]", lambda x: 0.0 <= x <= 1.0))
    entropy = check_non_negative("entropy", entropy)
    lead = start.shape[:-2]
    pool = PooledModel(field.gamma, field.rho, env.n_actions, memory, lead=lead)
    relative = isinstance(step_size, float)
    mirror = mirror or relative and tabular
    rule = copy(step_size) if not relative else Mirror(step_size) if mirror else lambda gradient: step_size * gradient
    held_out = HeldOut(field.gamma)
    since = np.full(lead, 0 if warm_up == 0.0 else iterations)  # the iteration at which the second stage begins
    rest = start, iterate.parameters

    def step(deployment):
        nonlocal since, rest
        policy, t = deployment.policy, held_out.count
        deployed, there = policy, iterate.parameters
        if exploration > 0.0:
            there = there + exploration * drawn(field.rng, lambda rng: rng.normal(size=policies.shape))
            deployed = policies.policy(there)
        paths = field.deploy(deployed)
        model = evaluated(pool, deployed)
        held_out.observe(model, paths, None if tabular else slope_along(policies, there, model))
        pool.observe(paths)
        if hasattr(response, "observe"):
            response.observe(deployed, paths)

        rests = (since == iterations) & ((t >= 2 * WINDOW) & ~held_out.gains | (t >= warm_up * iterations))
        since = np.where(rests, t, since)
        rest = _chosen(rests, (policy, iterate.parameters), rest)
        both = (since <= t)[..., None, None]
        share = (t - since) / np.maximum(ANNEALED * (iterations - since), 1.0)
        bonus = entropy * np.maximum(1.0 - share[..., None, None], 0.0) * both
        here = evaluated(pool, policy, bonus)
        gradient = iterate.policy_part(here)
        if response is not None and both.any():
            gradient = gradient + iterate.of_each(both) * iterate.environment_part(here, response)
        unit = unit_of_slopes(here) if relative else 1.0
        gradient = gradient / iterate.of_each(unit)
        pull = bonus * here.occupancy.sum(axis=-1, keepdims=True) / unit
        change = rule(gradient, policy, pull) if mirror else rule(gradient)
        chosen = iterate.move(iterate.parameters + change)
        if t + 1 == iterations and warm_up > 0.0:
            chosen = iterate.back(*_chosen(held_out.higher_before(since), rest, (chosen, iterate.parameters)))
        return chosen

    return iterate.finish(repeat(name, env, start, iterations, step, field=field))


def _chosen(these, some, others):
    """Arrays of `some` for the runs in `these` (...), of `others` for the rest."""
    return tuple(np.where(these.reshape(*these.shape, *(1,) * (x.ndim - these.ndim)), x, y) for x, y in zip(some, others))


def evaluated(pool, policy, entropy=0.0):
    """The :class:`Deployment` of `policy` in the model of a :class:`PooledModel`; nothing counts in a state that no data left.

    `entropy` (..., 1, 1) is a coefficient for each run, its bonus a part of the rewards of the model.
    """
    mdp, left = pool.mdp, pool.left[..., None]
    bonus = -entropy * left * np.log(np.where(policy > 0.0, policy, 1.0))
    mdp = mdp.with_rewards(mdp.r + bonus)
    return Deployment(mdp, policy, mdp.value(policy), mdp.occupancy(policy) * left, 0.0)


def unit_of_slopes(here):
    """Visits of an average state that is visited, times the standard deviation of the rewards on the way, (..., 1, 1): 1 where they are all one."""
    visits = here.occupancy.sum(axis=(-2, -1), keepdims=True)
    reached = np.maximum((here.occupancy.sum(axis=-1) > 0.0).sum(axis=-1), 1)[..., None, None]
    share = here.occupancy / np.maximum(visits, 1e-300)
    mean = (share * here.mdp.r).sum(axis=(-2, -1), keepdims=True)
    spread = np.sqrt((share * (here.mdp.r - mean) ** 2).sum(axis=(-2, -1), keepdims=True))
    unit = visits / reached * spread
    return np.where(unit > 1e-12 * (1.0 + np.abs(mean)), unit, 1.0)


def slope_along(policies, parameters, here):
    """How log-probabilities change along the policy's part of the gradient in the parameters, by a short step: (..., S, A)."""
    gradient = policies.policy_part(parameters, here)
    axes = tuple(range(gradient.ndim - len(policies.shape), gradient.ndim))
    longest = np.abs(gradient).max(axis=axes, keepdims=True)
    share = SHORT / np.where(longest > 0.0, longest, 1.0)
    there = policies.policy(parameters + share * gradient)
    taken = (here.policy > 0.0) & (there > 0.0)
    change = np.log(np.where(taken, there, 1.0)) - np.log(np.where(taken, here.policy, 1.0))
    return change / share.reshape(*share.shape[: share.ndim - len(axes)], 1, 1)


class HeldOut:
    r"""What each deployment's data say of a model that has not seen them: the gain of a step, and the policy's value, with their errors.

    With the model's value V, occupancy d and advantage A, and :math:`\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)`, a trajectory estimates

    .. math:: \text{gain} = \sum_t \gamma^t d(s_t) A(s_t, a_t) \delta_t, \qquad
              \text{value} = V(\rho) + \sum_t \gamma^t (\delta_t - A(s_t, a_t)).

    The first is the slope of the value along the mirror step of the policy's part, the environment held fixed, where V is the true value;
    the second is, up to the horizon, the true value for any V and any A whose mean under the policy is zero, as it is here: both control variates.
    """

    def __init__(self, gamma):
        self.gamma, self.found = gamma, []

    @property
    def count(self):
        return len(self.found)

    def observe(self, here, trajectories, slope=None):
        """here : a :class:`Deployment` in the model before these trajectories, of the policy that they follow
        slope : (..., S, A), how log-probabilities change along the step whose gain is asked for; that of the mirror step by default, d A
        """
        if slope is None:
            slope = np.divide(here.policy_part, here.policy, out=np.zeros_like(here.policy), where=here.policy > 0.0)
        advantage = here.mdp.backup(here.value) - here.value[..., None]
        difference = temporal_differences(trajectories, here.value, self.gamma)
        time = self.gamma ** np.arange(difference.shape[-1])
        gains = (time * advantages(trajectories, slope) * difference).sum(axis=-1)
        values = (time * (difference - advantages(trajectories, advantage))).sum(axis=-1)
        values = values + (here.value * here.mdp.rho).sum(axis=-1)[..., None]
        self.found.append([(x.mean(axis=-1), x.var(axis=-1) / max(x.shape[-1] - 1, 1)) for x in (gains, values)])

    @property
    def gains(self):
        """Whether the gain over the last ten deployments is above zero with 95 % confidence, (...)."""
        mean, variance = np.sum([gain for gain, _ in self.found[-WINDOW:]], axis=0)
        return mean > CONFIDENT * np.sqrt(variance)

    def higher_before(self, since):
        """Whether the value over the ten deployments up to the iteration `since` (...) was above that over the last ten."""
        values = np.array([value for _, value in self.found])  # (T, 2, ...)
        t = np.arange(len(values)).reshape(-1, *np.ones(np.ndim(since), dtype=int))
        before = (t <= since) & (t > since - WINDOW)
        after = (t >= len(values) - WINDOW) & ~before

        def average(chosen):
            count = np.maximum(chosen.sum(axis=0), 1)
            return (values[:, 0] * chosen).sum(axis=0) / count, (values[:, 1] * chosen).sum(axis=0) / count**2

        (old, old_error), (new, new_error) = average(before), average(after)
        return after.any(axis=0) & (old - new > CONFIDENT * np.sqrt(old_error + new_error))


# Retraining


def repeated_policy_optimization_fs(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 100, seed: Seeds = None, trajectories: int = 30, horizon: int = 200,
    regularization: float = 0.1, coverage: float = 10.0, w: float = 1.0,
) -> Run:
    r"""RPO from finite samples (RPO-FS): the regularised problem in the MDP that the last deployment's data suggest.

    With averages :math:`\hat P, \hat r` over the transitions and the occupancy :math:`\hat d` in that MDP of the actions in the
    proportions in which they were taken, :math:`d_{t+1} = \arg\max_d \langle d, \hat r \rangle - \frac{\lambda}{2} \|d\|_2^2` over the
    flow polytope of :math:`\hat P` with :math:`d \le B \hat d` (`coverage` = B), and :math:`\pi_{t+1}(a|s) \propto d_{t+1}(s,a)`. This is
    the saddle point of the empirical Lagrangian :math:`\hat L(d, h) = -\frac{\lambda}{2} \|d\|^2 + \langle \rho, h \rangle + \sum_{s,a}
    d(s,a) \, (\hat r(s,a) - h(s) + \gamma \sum_{s'} \hat P(s'|s,a) h(s'))` (Mandal, Triantafyllou & Radanovic, ICML 2023), with h = 0 in
    a state that no transition leaves, which they approach by a game of a few rounds between d and h, solved to its end.

    `w` < 1 is a gradually shifting environment (:class:`pepg.algorithms.run.Field`). Raises ValueError for an argument out of range,
    RuntimeError if the QP solver does not converge.
    """
    return _retrain(
        "repeated_policy_optimization_fs", env, policy, iterations, seed, trajectories, horizon, regularization, coverage, w,
        k=1, shares=lambda k: np.eye(1, k)[0],
    )


def delayed_repeated_retraining(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 33, seed: Seeds = None, trajectories: int = 30, horizon: int = 200,
    regularization: float = 0.1, coverage: float = 10.0, w: float = 1.0, k: int = 3,
) -> Run:
    r"""Delayed repeated retraining (DRR): deploy a policy `k` times, then retrain on the data of the last time.

    An iteration is one retraining, as in :func:`repeated_policy_optimization_fs`, and takes k deployments: in a gradually shifting
    environment (`w` < 1) the last finds it closest to its response (Rank, Triantafyllou, Mandal & Radanovic, UAI 2024).
    """
    return _retrain(
        "delayed_repeated_retraining", env, policy, iterations, seed, trajectories, horizon, regularization, coverage, w, k,
        shares=lambda k: np.eye(1, k)[0],
    )


def mixed_delayed_repeated_retraining(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 33, seed: Seeds = None, trajectories: int = 30, horizon: int = 200,
    regularization: float = 0.1, coverage: float = 10.0, w: float = 1.0, k: int = 3, v: float = 1.1,
) -> Run:
    r"""Mixed delayed repeated retraining (MDRR): deploy a policy `k` times, then retrain on a mixture of the data.

    Deployment :math:`t = 1, \dots, k` has weight :math:`w_t = \frac{v-1}{v^k-1} v^{t-1}`, `v` > 1. Transitions are taken newest first,
    as many as keep the share of the newest j deployments at least at their weight, for every j; the rest is left out
    (Rank, Triantafyllou, Mandal & Radanovic, UAI 2024).
    """
    v = float(check_number("v", v, "a finite number > 1", lambda x: x > 1.0))

    def shares(k):
        newest_first = v ** -np.arange(float(k))
        return newest_first / newest_first.sum()

    return _retrain(
        "mixed_delayed_repeated_retraining", env, policy, iterations, seed, trajectories, horizon, regularization, coverage, w, k,
        shares,
    )


def _retrain(
    name, env, policy, iterations, seed, trajectories, horizon, regularization, coverage, w, k, shares
):
    start = starting_policy(env, policy, seed)
    field = Field(env, start, seed, trajectories, horizon, w)
    regularization = check_non_negative("regularization", regularization)
    coverage = float(check_number("coverage", coverage, "a finite number >= 1", lambda x: x >= 1.0))
    shares = shares(check_count("k", k))

    def retrained(deployments):
        """The policy of one run, from the trajectories of its deployments, newest first."""
        newest_first = [paths.transitions for paths in deployments]
        data = [np.concatenate(arrays) for arrays in zip(*mixed(newest_first, shares))]
        mdp, counts = empirical_mdp(data, field.gamma, field.rho, env.n_actions)
        played = policy_of_occupancy(counts.astype(float))
        bound = coverage * mdp.occupancy(played)
        return policy_of_occupancy(closest_occupancy(mdp, mdp.r, regularization, bound))

    def step(deployment):
        newest_first = [field.deploy(deployment.policy).runs() for _ in shares][::-1]
        return np.reshape([retrained(deployments) for deployments in zip(*newest_first)], start.shape)

    return repeat(name, env, start, iterations, step, field=field)


def mixed(newest_first, shares):
    """The first transitions of each deployment, as many as :func:`mixed_delayed_repeated_retraining` takes of it.

    newest_first : a tuple of arrays for each deployment · shares : (k,), their weights, summing to 1
    """
    sizes = np.cumsum([len(arrays[0]) for arrays in newest_first])
    total = int(np.min(sizes / np.cumsum(shares)) + 1e-9)  # a whole number may come out of the division just below itself
    taken = np.diff(np.minimum(sizes, total), prepend=0)
    return [tuple(array[:n] for array in arrays) for arrays, n in zip(newest_first, taken)]


# Zeroth order


def zeroth_order_frank_wolfe(
    env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 10, seed: Seeds = None, trajectories: int = 30, horizon: int = 200,
    directions: int = 5, perturbation: float = 0.01, floor: float = 0.02, step_size: float = 0.2, entropy: float = 0.0,
) -> Run:
    r"""Zeroth-order Frank-Wolfe (0-FW): the performative gradient from values of perturbed policies alone.

    On the policies with every entry at least `floor` = Δ, and with `directions` = N, `perturbation` = δ < Δ and estimates
    :math:`\hat V` of the value regularised by `entropy` = λ, each from one deployment,

    .. math:: g = \frac{|S| (|A| - 1)}{2 N \delta} \sum_{i=1}^N \big( \hat V(\pi + \delta u_i) - \hat V(\pi - \delta u_i) \big) u_i

    for :math:`u_i` uniform on the unit sphere of directions that keep row sums. `step_size` = β is the share of the way to the policy with
    :math:`1 - \Delta (|A|-1)` on the best action of g in each state and Δ on the others (Chen & Huang, arXiv 2510.04430).
    An iteration takes 2 N deployments. The start is drawn to the uniform policy as far as its smallest entry is below Δ.

    Raises ValueError for an argument out of range.
    """
    start = starting_policy(env, policy, seed)
    field = Field(env, start, seed, trajectories, horizon)
    directions = check_count("directions", directions)
    n_actions = env.n_actions
    floor = float(check_number("floor", floor, f"a number in (0, 1/{n_actions})", lambda x: 0.0 < x < 1.0 / n_actions))
    perturbation = float(check_number("perturbation", perturbation, "a number in (0, floor)", lambda x: 0.0 < x < floor))
    step_size = float(check_number("step_size", step_size, "a number in (0, 1]", lambda x: 0.0 < x <= 1.0))
    entropy = check_non_negative("entropy", entropy)
    lowest = start.min(axis=(-2, -1), keepdims=True)
    share = np.maximum(floor - lowest, 0.0) / (1.0 / n_actions - np.minimum(lowest, floor))
    start = np.where(share > 0.0, (1.0 - share) * start + share / n_actions, start)

    def value(policy):
        paths = with_entropy_bonus(field.deploy(policy), policy, entropy)
        return returns(paths, field.gamma)[..., 0].mean(axis=-1)

    def step(deployment):
        gradient = zeroth_order_gradient(value, deployment.policy, directions, perturbation, field.rng)
        target = np.where(np.eye(n_actions)[gradient.argmax(axis=-1)] == 1.0, 1.0 - floor * (n_actions - 1), floor)
        return deployment.policy + step_size * (target - deployment.policy)

    return repeat("zeroth_order_frank_wolfe", env, start, iterations, step, field=field)


def zeroth_order_gradient(value, policy, directions, perturbation, rng):
    r"""The estimate g of :func:`zeroth_order_frank_wolfe`, (..., S, A), from ``value(policy)``; 2 `directions` evaluations.

    rng : a generator; a list of them for policies (n, S, A), whose values are then (n,)

    In expectation over the directions, and as the perturbation vanishes, it is the gradient in π projected on the
    directions that keep row sums: :math:`E[u u^\top]` is that projection over its dimension |S| (|A| - 1).
    """
    n_states, n_actions = policy.shape[-2:]

    def direction(rng):
        u = rng.normal(size=(n_states, n_actions))
        u -= u.mean(axis=-1, keepdims=True)
        return u / (np.linalg.norm(u) or 1.0)  # a single action leaves no direction

    estimate = np.zeros(policy.shape)
    for _ in range(directions):
        u = drawn(rng, direction)
        difference = np.asarray(value(policy + perturbation * u) - value(policy - perturbation * u))
        estimate += difference[..., None, None] * u
    return n_states * (n_actions - 1) / (2.0 * directions * perturbation) * estimate
