r"""An environment from one function: ``respond(policy)`` returns (P, r), and its derivative follows.

The gradient that a :class:`pepg.PeMDP` owes, of :math:`\sum d\,(r_\pi + \gamma P_\pi V)` with d and V held fixed, is one
product of the response's Jacobian with the weights :math:`\bar P(s,a,s') = \gamma\, d(s,a) V(s')` and
:math:`\bar r(s,a) = d(s,a)`. Automatic differentiation in reverse mode gives it in a single pass backwards through the
operations that `respond` did, at a small multiple of their cost, whatever the number of states. The package is autograd
(https://github.com/HIPS/autograd), which records what is done with ``autograd.numpy`` in place of ``numpy``.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp
from autograd.builtins import tuple as traced_tuple
from autograd.extend import Box
from numpy.typing import ArrayLike

from ..arguments import check_array, check_count, check_distributions, check_finite, check_function, check_gamma, check_size, check_terminal
from ..mdp import MDP, PeMDP, softmax, to_logits

STEP = 1e-4  # of differences, as a share of the way to an action: small beside 1, large beside a solver's tolerance
LONGEST = 100  # characters of what autograd says
AGREEMENT = 1e-3  # of the recorded derivative with a difference, relative: a derivative that is missing is off by about 1


@dataclass(frozen=True, eq=False, repr=False)
class FunctionPeMDP(PeMDP):
    r"""A performative MDP that is given by what a deployed policy brings about.

    Parameters
    ----------
    respond : of a policy (S, A); returns P (S, A, S), the transition probabilities, and r (S, A), the expected rewards.
        Deterministic, and written with ``autograd.numpy``: no assignment into arrays, no conversion to float. Terminal
        states need a row of P that is a distribution; it leads nowhere, and their rewards count as 0. Nested lists will do.
    n_states, n_actions : S and A
    gamma : discount in [0, 1)
    rho : (S,) initial distribution
    terminal : what indexes the terminal states (a state, a sequence of states or a mask (S,)); none by default

    `respond` is written for one policy; for policies (..., S, A) it is called for one after the other. A deployment
    records it, so that the gradient at the policy deployed last is the pass backwards alone, with no call of `respond`.

    **Where autograd cannot follow.** When the environment is made, the recorded derivative is compared with a central
    difference at a random policy (four calls of `respond` in all). If autograd fails or the two disagree, a warning says
    so, and `differentiable` is False. The gradient at a policy π is then made of differences along the moves towards and
    away from each action a in each state s,

    .. math:: D(s,a) = \frac{f(\pi + h u) - f(\pi - h u)}{2h}, \qquad u = e_{s,a} - \pi(\cdot|s),

    with :math:`h = 10^{-4}`; where :math:`\pi(a|s)` is too small to move away from, by
    :math:`(4 f(\pi + hu) - 3 f(\pi) - f(\pi + 2hu)) / 2h`. No policy outside the simplex is asked for, and D differs from
    the gradient by a constant in each row, which means nothing. It costs 2 S A calls of `respond`, and its error is of
    the order :math:`h^2` and of :math:`1/h` times the error of `respond`. A `respond` that ignores the policy has the
    gradient 0, and is no reason for a warning.

    Raises ValueError, naming the argument or the array of `respond`, the first offending index and what was expected.
    """

    function: Callable
    n_states: int
    n_actions: int
    gamma: float
    rho: np.ndarray
    terminal: np.ndarray
    differentiable: bool = field(init=False)
    _last: list = field(init=False, repr=False)  # the last policies, their MDP and what differentiates it, if any

    # By hand, since the function and the method that deploys a policy share the name `respond`.
    def __init__(
        self, respond: Callable[[np.ndarray], tuple[ArrayLike, ArrayLike]], n_states: int, n_actions: int, gamma: float, rho: ArrayLike,
        terminal: ArrayLike | None = None,
    ) -> None:
        check_function("respond", respond)
        n_states, n_actions = check_count("n_states", n_states), check_count("n_actions", n_actions)
        check_size("n_states", n_states**2 * n_actions, "transition probabilities")
        rho = check_array("rho", rho).copy()
        if rho.shape != (n_states,):
            raise ValueError(f"rho: expected shape ({n_states},), got {rho.shape}")
        check_distributions("rho", rho)
        given = {
            "function": respond,
            "n_states": n_states,
            "n_actions": n_actions,
            "gamma": check_gamma(gamma),
            "rho": rho,
            "terminal": check_terminal(terminal, n_states),
            "differentiable": False,
            "_last": [],
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)
        problem = self._why_not_differentiable()
        if problem is None:
            object.__setattr__(self, "differentiable", True)
            self._last.clear()  # a response that was not recorded
        else:
            warnings.warn(
                f"respond cannot be differentiated by autograd ({problem}). Its gradient is made of two-point differences, "
                f"{2 * n_states * n_actions} calls of respond each (2 n_states n_actions). Written with autograd.numpy, "
                "without assignment into arrays, it would cost a small multiple of one call.",
                stacklevel=2,
            )

    def __getstate__(self):
        return self.__dict__ | {"_last": []}  # what differentiates a response cannot be sent to another process

    def respond(self, policy: ArrayLike) -> MDP:
        """Deploy `policy` (..., S, A): the :class:`MDP` of what the function returns.

        Raises ValueError for a policy that is none, or a response that is no MDP.
        """
        return self._deployed(policy)[1]

    def response_gradient(self, policy: ArrayLike, occupancy: ArrayLike, value: ArrayLike) -> np.ndarray:
        policies, mdp, pullbacks = self._deployed(policy)
        occupancy = check_finite("occupancy", occupancy, policies.shape) * ~self.terminal[:, None]
        value = check_finite("value", value, policies.shape[:-1])
        by_transition = self.gamma * occupancy[..., None] * value[..., None, None, :]
        gradient = np.empty_like(policies)
        for index in np.ndindex(policies.shape[:-2]):
            weights = by_transition[index], occupancy[index]
            if self.differentiable:
                gradient[index] = pullbacks[index](weights)
            else:
                gradient[index] = self._differences(policies[index], weights, (mdp.P[index], mdp.r[index]))
        return check_finite("the gradient of respond", gradient, policies.shape)

    def _deployed(self, policy):
        """The policies (..., S, A), their MDP and, where differentiable, the pass backwards of each by its index."""
        policy = check_array("policy", policy)
        last = self._last[0] if self._last else None
        if last is not None and np.array_equal(last[0], policy):
            return last
        policies = self.check_policy(policy).copy()
        lead = policies.shape[:-2]
        P = np.empty((*policies.shape, self.n_states))
        r = np.empty(policies.shape)
        pullbacks = {}
        for index in np.ndindex(lead):
            if self.differentiable:
                pullbacks[index], (P[index], r[index]) = self._recorded(policies[index])
            else:
                P[index], r[index] = self._call(policies[index])
        try:
            mdp = MDP(P, np.where(self.terminal[:, None], 0.0, r), self.gamma, self.rho, self.terminal)
        except ValueError as error:
            raise ValueError(f"respond: {error}") from None
        last = policies, mdp, pullbacks
        self._last[:] = [last]
        return last

    def _call(self, policy):
        """P and r of one policy as the function gives them, of the right shapes."""
        response = self.function(policy if isinstance(policy, Box) else policy.copy())
        if not (isinstance(response, (tuple, list)) and len(response) == 2):
            raise ValueError(f"respond: expected a pair (P, r), got {type(response).__name__}")
        response = [anp.array(part) if isinstance(part, (list, tuple)) else part for part in response]
        shape = (self.n_states, self.n_actions)
        for name, array, expected in zip("Pr", response, ((*shape, self.n_states), shape)):
            if np.shape(array) != expected:
                raise ValueError(f"respond: {name}: expected shape {expected}, got {np.shape(array)}")
        return tuple(array if _is_recorded(array) else check_array(f"respond: {name}", array) for name, array in zip("Pr", response))

    def _recorded(self, policy):
        """The same, and before it the function that carries weights on P and r back to the policy."""
        # With the policy at its end the record is never empty, also where neither P nor r depends on it.
        pullback, (P, r, _) = make_vjp(lambda traced: traced_tuple((*self._call(traced), traced)))(policy)
        if P.dtype == object or r.dtype == object:
            raise TypeError("a numpy function took the policy apart into numbers; autograd.numpy has the same function")
        nothing = np.zeros_like(policy)
        return lambda weights: pullback((*weights, nothing)), (P, r)

    def _differences(self, policy, weights, response):
        """The gradient of <weights, response> by two-point differences, up to a constant in each row; see the class."""
        gradient = np.empty_like(policy)
        for s, a in np.ndindex(policy.shape):
            towards = -policy[s]
            towards[a] += 1.0

            def moved(step, s=s, towards=towards):
                near = policy.copy()
                near[s] += step * towards
                return self._call(near)

            if policy[s, a] >= STEP:
                changes = [high - low for high, low in zip(moved(STEP), moved(-STEP))]
            else:
                points = zip(response, moved(STEP), moved(2.0 * STEP))
                changes = [4.0 * near - 3.0 * here - far for here, near, far in points]
            gradient[s, a] = sum((weight * change).sum() for weight, change in zip(weights, changes)) / (2.0 * STEP)
        return gradient

    def _why_not_differentiable(self):
        """None if the recorded derivative agrees with a difference at a random policy, and else what is wrong."""
        rng = np.random.default_rng(0)
        policy = softmax(rng.normal(size=(self.n_states, self.n_actions)))
        weights = self.gamma * rng.normal(size=(*policy.shape, self.n_states)), rng.normal(size=policy.shape)
        direction = to_logits(policy, rng.choice([-1.0, 1.0], policy.shape))
        self.respond(policy)  # what fails here is the function's own mistake, and is raised
        try:
            recorded = (self._recorded(policy)[0](weights) * direction).sum()
        except Exception as error:  # whatever it does not understand of the object that records it
            said = " ".join(str(error).split())  # numpy puts whole arrays into some of its messages
            return f"{type(error).__name__}: {said if len(said) <= LONGEST else said[:LONGEST] + ' ...'}"
        ends = [self._call(policy + step * direction) for step in (STEP, -STEP)]
        difference = sum((w * (high - low)).sum() for w, high, low in zip(weights, *ends)) / (2.0 * STEP)
        size = sum((np.abs(w) * np.abs(array)).sum() for w, array in zip(weights, ends[0]))
        if abs(recorded - difference) <= AGREEMENT * (abs(recorded) + abs(difference)) + 1e-14 * size / STEP:
            return None
        return f"its derivative along a random direction is {difference:.6g} by differences, {recorded:.6g} as recorded"


def _is_recorded(array):
    """Whether autograd follows an array, or the numbers in it."""
    return isinstance(array, (Box, list, tuple)) or getattr(getattr(array, "dtype", None), "kind", None) == "O"
