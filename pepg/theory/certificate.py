r"""The global optimum of the performative value on small problems, with a proof: branch and bound.

With two actions a policy is a point x of the cube :math:`[0,1]^S`, :math:`x_s = \pi(1|s)`. On a box with centre c and half
width h, Taylor's formula to the second order and a bound on the second derivative give an upper bound of the value,

.. math:: V(x) \le V(c) + h \sum_s |\partial_s V(c)| + \tfrac{1}{2} h^2 m_2 .

A box whose bound is at most the best known value plus the tolerance is closed: it holds nothing that is better by more
than the tolerance. The others are cut in :math:`2^S`. When none is left, the bounds of the closed boxes are an upper
bound over the whole cube: no box was judged by samples.

**The bound** :math:`m_2` (for :class:`pepg.SoftmaxPeMDP`). Move from c along u with :math:`|u_s| \le h`; primes are
derivatives along u, and all bounds hold on the whole box. Write :math:`D_k(s,a,\cdot)` for the derivative of the
transition logits in :math:`x_k`, :math:`\sigma(s,a) = \sum_k span\, D_k(s,a,\cdot)` and
:math:`\epsilon(s,a) = \sum_k |\partial_k r(s,a)|`, which do not depend on x, since logits and rewards are affine in x. A
softmax p of logits with derivative z has :math:`p' = p (z - Ez)` and :math:`p'' = p ((z - Ez)^2 - Var\,z)`, so
:math:`\|p'\|_1 \le span\,z/2` and :math:`\|p''\|_1 \le 2 Var\,z \le (span\,z)^2/2`. Hence
:math:`\|P'(\cdot|s,a)\|_1 \le h \sigma / 2` and :math:`\|P''(\cdot|s,a)\|_1 \le h^2 \sigma^2 / 2`. With
:math:`\pi' = (-u_s, u_s)` and :math:`\pi'' = 0`, for the chain and the mean reward in state s

.. math::

   \|P'\|_1 \le h\, p_1 &= h \big( 2 + \max_a \sigma/2 \big), &
   \|P''\|_1 \le h^2 p_2 &= h^2 \big( \textstyle\sum_a \sigma + \max_a \sigma^2/2 \big), \\
   |r'| \le h\, r_1 &= h \big( \max |r(s,1) - r(s,0)| + \max_a \epsilon \big), &
   |r''| \le h^2 r_2 &= 2 h^2 \textstyle\sum_k |\partial_k (r(s,1) - r(s,0))|,

with the maximum over the cube in :math:`r_1`. From :math:`V' = (I - \gamma P)^{-1}(r' + \gamma P' V)` and
:math:`V'' = (I - \gamma P)^{-1}(r'' + \gamma P'' V + 2 \gamma P' V')`, and since the rows of P' and P'' sum to zero, so that
each costs half the span of what it multiplies, :math:`|V''| \le h^2 m_2` with

.. math:: m_2 = \frac{1}{1-\gamma} \max_s \Big( r_2 + \gamma p_2 \frac{span V}{2} + 2 \gamma p_1 \frac{span V'}{2 h} \Big).

Both spans are taken on the box: that at the centre, for V' at most :math:`h \sum_k span\, \partial_k V(c)`, plus twice
what an entry can change. An entry of V changes by at most :math:`h v_1` and one of V' by at most :math:`h^2 v_2`, by the
same formulas over the whole cube, where :math:`span V \le W = R/(1-\gamma)` for rewards within R of each other:

.. math::

   v_1 = \frac{1}{1-\gamma} \max_s \Big( r_1 + \gamma p_1 \frac{W}{2} \Big), \quad
   v_2 = \frac{1}{1-\gamma} \max_s \Big( r_2 + \gamma p_2 \frac{W}{2} + 2 \gamma p_1 v_1 \Big).

The proof is one in real numbers: what is evaluated has the rounding of double precision, about :math:`10^{-13}` of the
largest value for moderate discounts, which the tolerance must exceed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import check_number, check_policy, described
from ..environments.softmax import SoftmaxPeMDP

CHUNK = 10_000  # boxes evaluated at a time
MAX_ROUNDS = 40
MAX_OPEN = 10_000_000  # boxes of one round


@dataclass(frozen=True, eq=False)
class Certificate:
    r"""What branch and bound proved, for environments with leading axes (...).

    value, policy : (...) and (..., S, 2), the best policy found and its performative value
    upper : (...), a bound that no policy exceeds, at most `value` plus the tolerance
    boxes : how many were looked at
    """

    value: np.ndarray
    policy: np.ndarray
    upper: np.ndarray
    boxes: int


class _Instances:
    """The n environments along the leading axes, with two actions, as functions of x in the cube.

    Every array has the instances last, so that sums over states and actions run over whole rows of instances.
    """

    def __init__(self, env):
        def last(array, core):
            core = array.shape[array.ndim - core :]
            return np.moveaxis(np.broadcast_to(array, env.lead + core).reshape(-1, *core), 0, -1).copy()

        logit_map = last(env.transition_strength[..., None, None, None, None, None] * env.logit_map, 5)
        reward_map = last(env.reward_strength[..., None, None, None, None] * env.reward_map, 4)
        self.logits = last(env.logits, 3) + logit_map[..., 0, :].sum(axis=3)  # (S, 2, S', n)
        self.by_x = logit_map[..., 1, :] - logit_map[..., 0, :]  # D, (S, 2, S', k, n)
        self.rewards = last(env.rewards, 2) + reward_map[..., 0, :].sum(axis=2)  # (S, 2, n)
        self.reward_by_x = reward_map[..., 1, :] - reward_map[..., 0, :]  # (S, 2, k, n)
        self.rho, self.gamma, self.n_states = last(env.rho, 1), env.gamma, env.n_states  # rho (S, n)

        rest = 1.0 - self.gamma
        sigma = np.ptp(self.by_x, axis=2).sum(axis=2)  # (S, 2, n)
        apart = self.rewards[:, 1] - self.rewards[:, 0]
        apart_by_x = self.reward_by_x[:, 1] - self.reward_by_x[:, 0]
        largest = np.maximum(
            np.abs(apart + np.minimum(apart_by_x, 0.0).sum(axis=1)), np.abs(apart + np.maximum(apart_by_x, 0.0).sum(axis=1))
        )
        self.p1 = 2.0 + sigma.max(axis=1) / 2.0  # (S, n), as p2, r1 and r2
        self.p2 = sigma.sum(axis=1) + (sigma**2).max(axis=1) / 2.0
        self.r1 = largest + np.abs(self.reward_by_x).sum(axis=2).max(axis=1)
        self.r2 = 2.0 * np.abs(apart_by_x).sum(axis=1)
        low, high = env.reward_range()
        widest = last((high - low) / rest, 0)  # (n,)
        # v_1 and v_2: over the whole cube the largest |V'| per unit of h, and the largest |V''| per unit of h squared.
        self.slope = ((self.r1 + self.gamma * self.p1 * widest / 2.0) / rest).max(axis=0)
        bend = self.r2 + self.gamma * (self.p2 * widest / 2.0 + 2.0 * self.p1 * self.slope)
        self.bend = (bend / rest).max(axis=0)

    def evaluate(self, i, x, h):
        """Value at the centres x (b, S) of boxes of half width h in the instances i (b,), and upper bounds on the boxes."""
        gamma, eye, x = self.gamma, np.eye(self.n_states)[..., None], np.ascontiguousarray(x.T)
        by_x, reward_by_x, rho = self.by_x[..., i], self.reward_by_x[..., i], self.rho[:, i]
        logits = self.logits[..., i] + (by_x * x).sum(axis=3)
        P = np.exp(logits - logits.max(axis=2, keepdims=True))
        P /= P.sum(axis=2, keepdims=True)
        r = self.rewards[..., i] + (reward_by_x * x).sum(axis=2)
        policy = np.stack([1.0 - x, x], axis=1)  # (S, 2, b)
        system = np.moveaxis(eye - gamma * (policy[:, :, None] * P).sum(axis=1), -1, 0)
        value = np.linalg.solve(system, (policy * r).sum(axis=1).T[..., None])[..., 0].T  # (S, b)
        # Derivatives in every x_k at once, (S, k, b).
        P_by_x = P[:, :, :, None] * (by_x - (P[:, :, :, None] * by_x).sum(axis=2, keepdims=True))
        q_by_x = reward_by_x + gamma * (P_by_x * value[:, None]).sum(axis=2)
        q = r + gamma * (P * value).sum(axis=2)
        right = (policy[:, :, None] * q_by_x).sum(axis=1) + eye * (q[:, 1] - q[:, 0])[:, None]
        value_by_x = np.moveaxis(np.linalg.solve(system, np.moveaxis(right, -1, 0)), 0, -1)
        gradient = (rho[:, None] * value_by_x).sum(axis=0)

        span = np.ptp(value, axis=0) + 2.0 * h * self.slope[i]
        span_by_x = np.ptp(value_by_x, axis=0).sum(axis=0) + 2.0 * h * self.bend[i]
        bend = (self.r2[:, i] + gamma * (self.p2[:, i] * span / 2.0 + self.p1[:, i] * span_by_x)).max(axis=0) / (1.0 - gamma)
        mean = (rho * value).sum(axis=0)
        return mean, mean + h * np.abs(gradient).sum(axis=0) + 0.5 * h**2 * bend


def box_bounds(env: SoftmaxPeMDP, policies: ArrayLike, half_width: float) -> np.ndarray:
    r"""Upper bounds of :math:`V^\pi_\pi(\rho)` on boxes of policies of one two-action environment: (b,).

    policies : (b, S, 2), the centres · half_width : of the boxes in every :math:`x_s = \pi(1|s)`; they lie in the cube

    Raises ValueError for an environment of another kind or with leading axes, and for boxes that leave the cube.
    """
    if not isinstance(env, SoftmaxPeMDP) or env.n_actions != 2 or env.lead:
        raise ValueError(f"env: expected one SoftmaxPeMDP with two actions, got {described(env)}")
    half_width = check_number("half_width", half_width, "boxes within the cube of policies, of a half width in [0, 1/2]", lambda x: 0.0 <= x <= 0.5)
    x = env.check_policy(policies, "policies")[..., 1].reshape(-1, env.n_states)
    if not (np.minimum(x, 1.0 - x) >= half_width - 1e-12).all():
        raise ValueError(f"half_width: expected boxes within the cube of policies, got {half_width}")
    return _Instances(env).evaluate(np.zeros(len(x), int), x, half_width)[1]


def certified_optimum(env: SoftmaxPeMDP, policies: ArrayLike | None = None, tolerance: float = 1e-4) -> Certificate:
    r"""The global optimum of :math:`V^\pi_\pi(\rho)` in two-action environments, certified to `tolerance`.

    env : a :class:`pepg.SoftmaxPeMDP` with two actions; its leading axes (...) are solved side by side
    policies : (..., S, 2), policies already known, or several for each environment along axes before its own. Good ones
        save work, and the result is at least as good as the best of them. None: no policy is known.

    Returns a :class:`Certificate`: no policy has a value above ``upper``, and ``value <= upper <= value + tolerance``. The
    work grows like a power S of :math:`1/h` for the half width h of the smallest boxes: meant for two or three states.
    Raises ValueError for an environment of another kind, policies that do not fit it or a tolerance that is not positive,
    RuntimeError if boxes are left after 40 halvings or more than ten million are open at once.
    """
    if not isinstance(env, SoftmaxPeMDP) or env.n_actions != 2:
        raise ValueError(f"env: expected a SoftmaxPeMDP with two actions, got {described(env)}")
    tolerance = check_number("tolerance", tolerance, "a finite number > 0", lambda x: x > 0.0)
    lead, n_states = env.lead, env.n_states
    known = check_policy(env.uniform_policy() if policies is None else policies, n_states, 2, "policies")[..., 1]
    expected = (*lead, n_states)
    if known.shape[max(known.ndim - len(expected), 0) :] != expected[max(len(expected) - known.ndim, 0) :]:
        raise ValueError(f"policies: expected the leading axes {lead} of the environment last, got shape {known.shape + (2,)}")
    known = np.broadcast_to(known, np.broadcast_shapes(known.shape, expected)).reshape(-1, n_states)
    instances = _Instances(env)
    n = instances.rho.shape[-1]
    index = np.tile(np.arange(n), len(known) // n)
    best, best_x = np.full(n, -np.inf), np.full((n, n_states), 0.5)

    def look(index, x, value):
        """Keep the best of each instance where it is better than the best known."""
        better = np.flatnonzero(value > best[index])
        better = better[np.lexsort((value[better], index[better]))]
        better = better[np.diff(index[better], append=n) > 0]  # the last, and so the best, of each instance
        best[index[better]], best_x[index[better]] = value[better], x[better]

    look(index, known, instances.evaluate(index, known, 0.0)[0])
    upper = best.copy()
    index, centre, half = np.arange(n), np.full((n, n_states), 0.5), 0.5
    corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * n_states, indexing="ij"), axis=-1).reshape(-1, n_states)
    boxes = 0
    for _ in range(MAX_ROUNDS):
        boxes += index.size
        chunks = np.array_split(np.arange(index.size), index.size // CHUNK + 1)
        results = [instances.evaluate(index[c], centre[c], half) for c in chunks]
        value, bound = (np.concatenate(part) for part in zip(*results))
        look(index, centre, value)
        closed = bound <= best[index] + tolerance  # a NaN stays open
        np.maximum.at(upper, index[closed], bound[closed])
        index, centre = np.repeat(index[~closed], len(corners)), centre[~closed]
        if not index.size:
            policy = np.stack([1.0 - best_x, best_x], axis=-1)
            upper = np.maximum(upper, best)
            return Certificate(best.reshape(lead)[()], policy.reshape(*lead, n_states, 2), upper.reshape(lead)[()], boxes)
        if index.size > MAX_OPEN:
            raise RuntimeError(f"more than {MAX_OPEN} boxes are open at half width {half:.2g}; use a larger tolerance")
        centre = (centre[:, None] + half * corners).reshape(-1, n_states)
        half /= 2.0
    raise RuntimeError(f"{index.size} boxes are left after {MAX_ROUNDS} halvings; the tolerance may be below rounding")
