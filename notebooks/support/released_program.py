r"""For notebook 16: the procedure of the released PePG program, rebuilt from its description, and changes made to it.

Runs side by side, one a seed: every array leads with an axis n. Policies are log-linear in parameters x (n, k), see
:mod:`support.linear_policies`. A *model* has two methods: ``observe(t, x, mdp)`` is told what iteration t met, and
``part(x, D, C, here)`` is the model's gradient in x, (n, k), of

.. math:: \sum_{s,a} D(s,a)\, \hat r_x(s,a) + \sum_{s,a,s'} C(s,a,s') \log \hat P_x(s'|s,a)

for the weights D (n, S, A) and C (n, S, A, S) of the sampled trajectories; `here` is the deployment of the current policy.
Source: released code (brahimdriss/PePG at 66a4005), read for facts; this code is our own.
"""

from dataclasses import dataclass
from itertools import pairwise

import autograd.numpy as anp
import numpy as np
import pandas as pd
from autograd import make_vjp

import pepg
from pepg.data import Trajectories, mean_policy_score, next_step, returns
from pepg.experiments import mean_interval
from pepg.mdp import to_logits

from . import linear_policies as linear

HIDDEN = 64, 32  # units of every network


@dataclass(frozen=True)
class Setting:
    """What all variants share; `history` and `network_history` are the most entries that a model is fitted to.

    ridge : of the least-squares models, relative to the trace
    """

    env: pepg.PeMDP
    n_seeds: int
    seed: int
    n_features: int = 32
    n_trajectories: int = 30
    horizon: int = 200
    history: int = 50
    network_history: int = 10
    ridge: float = 0.01

    def streams(self):
        """One a seed; the last for the trajectories of all."""
        return np.random.SeedSequence(self.seed).spawn(self.n_seeds + 1)

    def start(self):
        """The parameters (n, k), the features (n, S, A, k), and each seed's generator for what is drawn after them."""
        rngs = [np.random.default_rng(stream) for stream in self.streams()[:-1]]
        return *linear.draw(rngs, self.env, self.n_features), rngs


@dataclass(frozen=True, eq=False)
class Result:
    """reported (T, n): values that the procedure reports, none without a surrogate · true (T + 1, n) · cosine (T, n) of each
    update to the exact gradient in x · the last policy (n, S, A), model and x.
    """

    reported: np.ndarray
    true: np.ndarray
    cosine: np.ndarray
    policy: np.ndarray
    model: object
    x: np.ndarray


def late(advantages, gamma):
    r"""The program's weights on the transition's score: :math:`G_{t+1} - b(s_{t+1})`, with no power of γ."""
    return next_step(advantages, 1.0)


def discounted(advantages, gamma):
    r"""The right ones: :math:`\gamma^t (G_t - b(s_t))` (notebook 03)."""
    return gamma ** np.arange(advantages.shape[-1]) * advantages


def run(setting, step_size, iterations, models=None, surrogate=False, weights=late):
    """The procedure, as a :class:`Result`.

    models : the class of the model; without one only the policy's score is followed
    surrogate : True samples in the model after the first iteration, False in the gridworld that answers the current policy
    weights : of the transition's score, :func:`late` or :func:`discounted`
    """
    env = setting.env
    x, features, rngs = setting.start()
    rng = np.random.default_rng(setting.streams()[-1])
    baseline, model = Baseline(env, rngs), models and models(setting, rngs, features)
    first = _side_by_side(env, env.respond(env.epsilon_greedy_policy(0.1)), setting.n_seeds)
    reported, true, cosines = [], [], []
    for t in range(iterations + 1):
        policy = linear.policy(x, features)
        here = pepg.deploy(env, policy)
        mdp = here.mdp if not surrogate else first if t == 0 else model.mdp(x)
        true.append(here.expected_return)
        if surrogate and t > 0:
            reported.append((first if t == 1 else mdp).expected_return(policy))
        if t == iterations:
            break

        paths = sample(mdp, policy, setting.n_trajectories, setting.horizon, rng)
        advantages = (returns(paths, env.gamma) - baseline.fit(paths, env.gamma)) * paths.real
        update, D = mean_policy_score(policy, paths, advantages, env.gamma)
        update = linear.to_parameters(update, features)
        if model:
            model.observe(t, x, mdp)
        if model and t > 0:
            C = by_transition(paths, env, weights(advantages, env.gamma) / setting.n_trajectories)
            update = update + model.part(x, D, C, here)
        cosines.append(cosine(update, linear.to_parameters(here.policy_part + here.environment_part(env), features)))
        x = x + step_size * update
    return Result(*map(np.array, (reported, true, cosines)), policy, model, x)


def cosine(a, b):
    """Of vectors (..., k): (...)."""
    return (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def _side_by_side(env, mdp, n):
    P, r = (np.broadcast_to(array, (n, *array.shape)) for array in (mdp.P, mdp.r))
    return pepg.MDP(P, r, env.gamma, env.rho, mdp.terminal)


# Trajectories


def sample(mdp, policy, count, horizon, rng):
    """`count` trajectories of each policy (n, S, A) in its MDP, as ``pepg.data.Trajectories``, all from one generator.

    ``pepg.data.sample_trajectories`` draws each run from a generator of its own; the stored numbers rest on this order.
    """
    n, n_states, n_actions = policy.shape
    act, move = _inverse_cdf(policy), _inverse_cdf(mdp.P)
    states, actions = np.empty((horizon + 1, n, count), dtype=np.intp), np.zeros((horizon, n, count), dtype=np.intp)
    states[0] = rng.choice(n_states, (n, count), p=mdp.rho)
    uniform = rng.random((horizon, 2, n, count))
    run = np.arange(n)[:, None] * n_states
    for t in range(horizon):
        actions[t] = _outcome(act, run + states[t], n_actions, uniform[t, 0])
        then = _outcome(move, (run + states[t]) * n_actions + actions[t], n_states, uniform[t, 1])
        states[t + 1] = np.where(mdp.terminal[states[t]], states[t], then)
    states, actions = np.moveaxis(states, 0, -1), np.moveaxis(actions, 0, -1)
    real = ~mdp.terminal[states[..., :-1]]
    rewards = mdp.r[np.arange(n)[:, None, None], states[..., :-1], actions] * real
    return Trajectories(states, actions * real, rewards, real)


def _inverse_cdf(probabilities):
    """Distributions (..., m) as one sorted list: row k holds k + its distribution function."""
    rows = probabilities.reshape(-1, probabilities.shape[-1])
    cumulative = np.cumsum(rows, axis=1)
    return (cumulative / cumulative[:, -1:] + np.arange(len(rows))[:, None]).ravel()


def _outcome(table, rows, width, uniform):
    return np.minimum(np.searchsorted(table, rows + uniform, side="right") - rows * width, width - 1)


def _sums(index, size, weights):
    """Weights (n, count, T) summed by index, each run for itself: (n, size)."""
    rows = np.arange(len(index))[:, None, None] * size + index
    return np.bincount(rows.ravel(), weights.ravel(), len(index) * size).reshape(-1, size)


def by_transition(paths, env, weights):
    """Weights (n, count, T), 0 where no step was taken, summed by (s, a, s'): (n, S, A, S)."""
    triples = paths.pairs(env.n_actions) * env.n_states + paths.states[..., 1:]
    shape = env.n_states, env.n_actions, env.n_states
    return _sums(triples, np.prod(shape), weights * paths.real).reshape(-1, *shape)


# Networks


class Network:
    """A fully connected network with rectified hidden units for every run, fitted with Adam (averages of 0.9 and 0.999).

    Weights and biases are uniform within 1/√(inputs) at first. The averages of Adam live on from one fit to the next.
    """

    def __init__(self, rngs, n_inputs, n_outputs, step_size):
        sizes = (n_inputs, *HIDDEN, n_outputs)
        shapes = [shape for inputs, outputs in pairwise(sizes) for shape in ((inputs, outputs), (1, outputs))]
        draws = [[rng.uniform(-1.0, 1.0, shape) for shape in shapes] for rng in rngs]
        bounds = np.repeat(sizes[:-1], 2)
        self.parameters = [np.array(arrays) / np.sqrt(bound) for arrays, bound in zip(zip(*draws), bounds)]
        self.step_size, self.steps = step_size, 0
        self.means, self.squares = ([np.zeros(p.shape) for p in self.parameters] for _ in range(2))

    def __call__(self, x):
        """(n, m, inputs) to (n, m, outputs)."""
        return _forward(self.parameters, x)

    def backward(self, x, slope):
        """The gradient in x of what has the gradient ``slope(y)`` in the outputs y at x."""
        gradient, y = make_vjp(lambda x: _forward(self.parameters, x))(x)
        return gradient(slope(y))

    def fit(self, x, slope, steps=10):
        """Some steps of Adam against the loss whose gradient in the outputs y at x is ``slope(y)``."""
        for _ in range(steps):
            gradient, y = make_vjp(lambda parameters: _forward(parameters, x))(self.parameters)
            self._adam(gradient(slope(y)))

    def _adam(self, gradients):
        self.steps += 1
        bias = np.sqrt(1.0 - 0.999**self.steps)
        rate = self.step_size * bias / (1.0 - 0.9**self.steps)
        for p, g, mean, square in zip(self.parameters, gradients, self.means, self.squares):
            mean *= 0.9
            mean += 0.1 * g
            square *= 0.999
            square += 0.001 * np.square(g, out=g)  # in place, which saves a third of the time
            p -= rate * mean / (np.sqrt(square, out=g) + 1e-8 * bias)


def _forward(parameters, x):
    last = len(parameters) // 2 - 1
    for k in range(last + 1):
        x = x @ parameters[2 * k] + parameters[2 * k + 1]
        x = x if k == last else anp.maximum(x, 0.0)
    return x


class Baseline:
    """b(s), fitted to the returns of the trajectories at hand: mean squared error, 10 steps of 0.1."""

    def __init__(self, env, rngs):
        self.net = Network(rngs, env.n_states, 1, 0.1)
        self.states = np.broadcast_to(np.eye(env.n_states), (len(rngs), env.n_states, env.n_states))

    def fit(self, paths, gamma):
        """b at each step, (n, count, T)."""
        states = paths.states[..., :-1]
        size = self.states.shape[-1]
        count, total = (_sums(states, size, w)[..., None] for w in (paths.real * 1.0, returns(paths, gamma)))
        self.net.fit(self.states, lambda b: 2.0 * (count * b - total) / count.sum(axis=1, keepdims=True))
        return self.net(self.states)[np.arange(len(states))[:, None, None], states, 0]


def fit_rewards(net, x, rewards):
    """10 steps on the mean squared error of r̂ at the pairs of x (n, k) and r (n, S, A) given.

    Residuals and, after the fit, parameters are rounded to six decimals, a thousandth of a step: repeated fits amplify
    rounding errors, and would carry those of the linear algebra library into the printed digits.
    """
    x, y = np.stack(x, axis=1), np.stack(rewards, axis=1)
    y = y.reshape(*x.shape[:2], -1)
    net.fit(x, lambda prediction: (prediction - y).round(6) * (2.0 / y[0].size))
    net.parameters = [p.round(6) for p in net.parameters]


# Models


class OwnPredictions:
    """The program's: r̂ refitted on its own predictions and one reward of the gridworld, P̂ never fitted."""

    def __init__(self, setting, rngs, features):
        self.env, self.history = setting.env, setting.history
        self.shape = self.env.n_states, self.env.n_actions
        n_pairs = np.prod(self.shape)
        self.reward = Network(rngs, setting.n_features, n_pairs, 0.001)
        self.transition = Network(rngs, setting.n_features, n_pairs * self.env.n_states, 0.001)
        self.xs, self.seen = [], []

    def rewards(self, x):
        """r̂ at x, (n, S, A)."""
        return self.reward(x[:, None]).reshape(-1, *self.shape)

    def mdp(self, x):
        """The surrogate at x: n MDPs."""
        P = pepg.softmax(self.transition(x[:, None]).reshape(-1, *self.shape, self.env.n_states))
        return pepg.MDP(P, self.rewards(x), self.env.gamma, self.env.rho, self.env.goal)

    def observe(self, t, x, mdp):
        if t != 1:
            self.xs.append(x)
            self.seen.append(mdp.r if t == 0 else self.rewards(x))
        if t > 1:
            fit_rewards(self.reward, self.xs[-self.history:], self.seen[-self.history:])

    def part(self, x, D, C, here):
        def score(outputs):
            P = pepg.softmax(outputs.reshape(C.shape))
            return (C - P * C.sum(axis=-1, keepdims=True)).reshape(outputs.shape)

        x = x[:, None]
        reward = self.reward.backward(x, lambda r: D.reshape(r.shape))
        return (reward + self.transition.backward(x, score))[:, 0]


class FittedNetworks:
    """r̂ and P̂ fitted to the gridworld's; P̂ is a softmax over the cells, at most four, that can be entered from s."""

    def __init__(self, setting, rngs, features):
        env = setting.env
        self.history = setting.network_history
        self.n_pairs = env.n_states * env.n_actions
        cells = np.sort(env.next_state, axis=1).T  # (4, S)
        self.index = cells[:, :, None] + env.n_states * np.arange(self.n_pairs).reshape(env.n_states, env.n_actions)
        self.double = np.zeros(self.index.shape, dtype=bool)
        self.double[1:] = (cells[1:] == cells[:-1])[..., None]  # a move off the grid in a corner
        self.double[:, env.goal] = True
        self.reward = Network(rngs, setting.n_features, self.n_pairs, 0.001)
        self.transition = Network(rngs, setting.n_features, 4 * self.n_pairs, 0.001)
        self.xs, self.rewards, self.entries = [], [], []

    def entered(self, weights):
        """Weights (n, S, A, S) by cell that can be entered, (n, 4 S A), each cell once."""
        by_cell = weights.reshape(len(weights), -1)[:, self.index]
        return np.where(self.double, 0.0, by_cell).reshape(len(weights), -1)

    def score(self, outputs, weights):
        """The gradient of sum(weights * log P̂) in the outputs of the network; both (n, m, 4 S A)."""
        shape = (*weights.shape[:-1], 4, self.n_pairs)
        raised = np.exp(outputs).reshape(shape) * ~self.double.reshape(4, -1)
        weights = weights.reshape(shape)
        share = weights.sum(axis=-2) / np.maximum(raised.sum(axis=-2), 1e-300)
        return (weights - raised * share[..., None, :]).reshape(outputs.shape)

    def observe(self, t, x, mdp):
        for seen, new in ((self.xs, x), (self.rewards, mdp.r), (self.entries, self.entered(mdp.P))):
            seen.append(new)
        last = slice(-self.history, None)
        fit_rewards(self.reward, self.xs[last], self.rewards[last])
        x, y = np.stack(self.xs[last], axis=1), np.stack(self.entries[last], axis=1)
        self.transition.fit(x, lambda outputs: -self.score(outputs, y) / (x.shape[1] * self.n_pairs))

    def part(self, x, D, C, here):
        x, weights = x[:, None], self.entered(C)[:, None]
        reward = self.reward.backward(x, lambda r: D.reshape(r.shape))
        return (reward + self.transition.backward(x, lambda outputs: self.score(outputs, weights)))[:, 0]


class LeastSquares:
    """r and P linear in x around what was met last, by ridge regression on what the last deployments showed."""

    def __init__(self, setting, rngs, features):
        self.history, self.ridge = setting.history, setting.ridge
        self.seen = []

    def observe(self, t, x, mdp):
        self.seen = [*self.seen, (x, mdp.r, mdp.P)][-self.history:]

    def part(self, x, D, C, here):
        *earlier, (_, r_now, P_now) = self.seen
        C = np.divide(C, P_now, out=np.zeros_like(C), where=C != 0.0)  # ∇log P = ∇P / P
        moves = np.stack([other - x for other, _, _ in earlier], axis=1)
        changes = [(D * (r - r_now)).sum(axis=(1, 2)) + (C * (P - P_now)).sum(axis=(1, 2, 3)) for _, r, P in earlier]
        transposed = moves.swapaxes(-1, -2)
        gram = transposed @ moves
        gram = gram + self.ridge * np.trace(gram, axis1=-2, axis2=-1)[:, None, None] * np.eye(x.shape[-1])
        return np.linalg.solve(gram, transposed @ np.stack(changes, axis=1)[..., None])[..., 0]


class KnownResponse:
    """The environment's part along the sampled visits D and the exact value, from ``response_gradient``."""

    def __init__(self, setting, rngs, features):
        self.env, self.features = setting.env, features

    def observe(self, t, x, mdp):
        pass

    def part(self, x, D, C, here):
        in_policy = self.env.response_gradient(here.policy, D, here.value)
        return linear.to_parameters(to_logits(here.policy, in_policy), self.features)


# The update drawn as "RPO FS"


def project(x):
    """The closest distributions to the rows of x (..., A)."""
    ordered = -np.sort(-x, axis=-1)
    excess = (np.cumsum(ordered, axis=-1) - 1.0) / np.arange(1, x.shape[-1] + 1)
    last = (ordered > excess).sum(axis=-1, keepdims=True) - 1
    return np.maximum(x - np.take_along_axis(excess, last, axis=-1), 0.0)


def penalised(mdp, policy, penalty):
    r""":math:`\langle d, r \rangle - \frac{\lambda}{2} \|d\|^2` of policies (..., S, A), with `penalty` = λ: (...)."""
    d = mdp.occupancy(policy)
    return (d * mdp.r).sum(axis=(-2, -1)) - 0.5 * penalty * (d**2).sum(axis=(-2, -1))


def projected_update(env, step_size, entropy, iterations, penalty):
    r"""Reported (T,) and true values (T + 1,) and the last policy of the projected update from the ε-greedy policy.

    step_size : −η as the program has it, +η with the sign of the gradient's term turned · entropy : ν
    """
    policy = env.epsilon_greedy_policy(0.1)
    mdp = env.respond(policy)
    reported, true = [], [mdp.expected_return(policy)]
    for _ in range(iterations):
        gradient = mdp.occupancy(policy).sum(axis=-1, keepdims=True) * mdp.action_value(policy)
        policy = project(policy + step_size * gradient - entropy * (1.0 + np.log(policy))) + 1e-7
        policy = policy / policy.sum(axis=-1, keepdims=True)
        reported.append(penalised(mdp, policy, penalty))
        mdp = env.respond(policy)
        true.append(mdp.expected_return(policy))
    return np.array(reported), np.array(true), policy


# Rows of tables


def gained(values):
    """Of true values (T + 1, n): the mean gain over the start with its 95 % Student t interval, and where it ends."""
    mean, low, high = mean_interval(values[-1] - values[0])
    return {"iterations": len(values) - 1, "mean": mean, "low": low, "high": high, "last true value": values[-1].mean()}


def behaviour(reported, true):
    """How one run's reported and true values moved, both (T,), after each iteration."""
    reported, true = np.asarray(reported), np.asarray(true)
    return {
        "first reported": reported[0], "second": reported[1], "lowest after": reported[1:].min(), "last reported": reported[-1],
        "rise": reported[-1] - reported[0], "of it at the switch": reported[1] - reported[0], "first true": true[0],
        "last true": true[-1], "true moved by": true[-1] - true[0],
    }


# Tables


def curve_table(described, exact, tabular, recorded):
    """Reported and true values by iteration: the rebuilt procedure with the exact ascents from its starts, and recorded runs."""
    rows = []
    for k in range(described.true.shape[1]):
        rows.append(pd.DataFrame({
            "run": "rebuilt", "seed": k, "iteration": np.arange(len(exact)), "reported": [np.nan, *described.reported[:, k]],
            "true": described.true[:, k], "exact in class": exact[:, k], "exact tabular": tabular[:, k],
        }))
    for k, run in enumerate(recorded):
        columns = {"reported": run["reported_value"], "true": run["true_value"]}
        iteration = np.arange(1, len(run["true_value"]) + 1)
        rows.append(pd.DataFrame({"run": "recorded", "seed": k, "iteration": iteration, **columns}))
    return pd.concat(rows)


def ladder_rows(env, theta, features, step_size, iterations, results, exact):
    """What each rung gains at one step: the procedures, and the exact ascents of PePG (given) and of PG in the same class."""
    rows = []
    for name, result in results.items():
        reported = result.reported[-1].mean() if name.startswith("1") else np.nan
        row = {"η": step_size, "procedure": name, "reported": reported, "cosine": result.cosine[1:].mean()}
        rows.append(row | gained(result.true))
    plain = linear.ascend(env, theta, features, step_size, iterations, pepg.algorithms.policy_gradient)
    rows.append({"η": step_size, "procedure": "7 exact gradient, same class", "cosine": 1.0} | gained(exact))
    return [*rows, {"η": step_size, "procedure": "exact PG, same class"} | gained(plain)]


def step_rows(results):
    """Paired differences of the last true value: each rung of the ladder to the next, and from no model, the last, to each."""
    names = list(results)
    pairs = {f"{a[0]} → {b[0]}": (a, b) for a, b in pairwise(names[:-1])}
    pairs |= {f"no model → {b[0]}": (names[-1], b) for b in names[:-1]}
    rows = []
    for step, (a, b) in pairs.items():
        mean, low, high = mean_interval(results[b].true[-1] - results[a].true[-1])
        rows.append({"step": step, "gain": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def sign_rows(updates, recorded):
    """First and last values of the projected updates, reported and true, beside what was recorded."""
    rows = [
        {
            "update": label, "first reported": reported[0], "last reported": reported[-1], "first true": true[0],
            "last true": true[-1], "true moved by": true[-1] - true[0],
        }
        for label, (reported, true, _) in updates.items()
    ]
    rows.append({"update": "recorded (-η, ν = 0.1)", "first reported": recorded[0], "last reported": recorded[-1]})
    return pd.DataFrame(rows)
