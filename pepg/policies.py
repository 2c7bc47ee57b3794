r"""Policies with parameters: the tabular softmax, log-linear ones, and any that autograd can follow.

A class of policies is a map :math:`\theta \mapsto \pi_\theta`. The performative value is a function of the policy, so that by
the chain rule its gradient in the parameters is the one in the policy (theory: R3), carried back,

.. math:: \nabla_\theta V^{\pi_\theta}_{\pi_\theta}(\rho) = J_\theta^\top \nabla_\pi V^\pi_\pi(\rho), \qquad
          J_\theta = \frac{\partial \pi_\theta}{\partial \theta},

whatever the environment: ``pullback`` is the product with :math:`J_\theta^\top`. Both parts of the gradient go the same way, and
the algorithms that take `policies` ascend in :math:`\theta`. Parameters broadcast over leading axes as policies do.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp
from autograd.extend import Box
from numpy.typing import ArrayLike

from .arguments import (
    check_array,
    check_count,
    check_finite,
    check_function,
    check_instance,
    check_leading,
    check_non_negative,
    check_one_policy,
    check_seed,
    check_sequence,
    check_size,
)
from .mdp import PeMDP, softmax, to_logits
from .performative import Deployment

__all__ = ["FunctionPolicy", "LogLinear", "PolicyClass", "Tabular"]

STEP = 1e-5  # of the difference that a recorded derivative is held to
AGREEMENT = 1e-3  # of the two, relative: a derivative that is missing is off by about 1
LONGEST = 100  # characters of what autograd says


class PolicyClass(ABC):
    r"""Policies :math:`\pi_\theta` (S, A) for parameters θ of one shape.

    A subclass has `n_states`, `n_actions`, `shape` (that of θ) and the two methods ``policy`` and ``pullback``; nothing else of it
    is used.
    """

    n_states: int
    n_actions: int
    shape: tuple

    @abstractmethod
    def policy(self, parameters: ArrayLike) -> np.ndarray:
        r""":math:`\pi_\theta` for parameters ``(..., *shape)``, as (..., S, A)."""

    @abstractmethod
    def pullback(self, parameters: ArrayLike, gradient: ArrayLike) -> np.ndarray:
        r""":math:`J_\theta^\top G` for a gradient G in the policy (..., S, A): the gradient in θ, ``(..., *shape)``.

        Of G only the differences within a row mean something, since a policy moves along the simplex.
        """

    def policy_part(self, parameters: ArrayLike, here: Deployment) -> np.ndarray:
        r"""The policy's part of the performative gradient, in θ; `here` is the :class:`pepg.performative.Deployment` of :math:`\pi_\theta`."""
        return self.pullback(parameters, here.policy_slope)

    def environment_part(self, parameters: ArrayLike, here: Deployment, env: PeMDP) -> np.ndarray:
        """The environment's part of it, in θ."""
        return self.pullback(parameters, here.environment_slope(env))

    def gradient(self, parameters: ArrayLike, here: Deployment, env: PeMDP) -> np.ndarray:
        """The performative gradient in θ, both parts together."""
        return self.pullback(parameters, here.policy_slope + here.environment_slope(env))

    def random_parameters(self, seeds: Iterable[int | np.random.SeedSequence], scale: float = 0.1) -> np.ndarray:
        r"""Parameters drawn from N(0, scale²), one draw a seed: ``(len(seeds), *shape)``. `seeds` as in ``PeMDP.random_policies``."""
        scale = check_non_negative("scale", scale)
        seeds = check_sequence("seeds", seeds, "whole numbers")
        seeds = [seed if isinstance(seed, np.random.SeedSequence) else check_seed("seeds", seed) for seed in seeds]
        return np.array([np.random.default_rng(seed).normal(0.0, scale, self.shape) for seed in seeds])

    def check_parameters(self, parameters: ArrayLike, name: str = "parameters") -> np.ndarray:
        """`parameters` as finite floats ``(..., *shape)``, or a ValueError; `name` is what the caller calls them."""
        return check_finite(name, parameters, self.shape)

    def check_gradient(self, gradient: ArrayLike, lead: tuple[int, ...]) -> np.ndarray:
        """`gradient` as finite floats ``(*lead, S, A)``, or a ValueError."""
        gradient = check_finite("gradient", gradient, (self.n_states, self.n_actions))
        if gradient.shape[:-2] != lead:
            raise ValueError(f"gradient: expected shape {(*lead, self.n_states, self.n_actions)}, that of the policies, got {gradient.shape}")
        return gradient


class _Softmax(PolicyClass):
    """Softmax policies, of logits that are linear in θ.

    The parts of a gradient come in the logits, where the mean of an advantage is 0 already and nothing has to be subtracted.
    """

    def policy(self, parameters: ArrayLike) -> np.ndarray:
        return softmax(self.logits(parameters))

    def pullback(self, parameters: ArrayLike, gradient: ArrayLike) -> np.ndarray:
        policy = self.policy(parameters)
        return self.from_logits(to_logits(policy, self.check_gradient(gradient, policy.shape[:-2])))

    def policy_part(self, parameters: ArrayLike, here: Deployment) -> np.ndarray:
        return self.from_logits(here.policy_part)

    def environment_part(self, parameters: ArrayLike, here: Deployment, env: PeMDP) -> np.ndarray:
        return self.from_logits(here.environment_part(env))

    def gradient(self, parameters: ArrayLike, here: Deployment, env: PeMDP) -> np.ndarray:
        return self.from_logits(here.policy_part + here.environment_part(env))


@dataclass(frozen=True)
class Tabular(_Softmax):
    r"""The tabular softmax: :math:`\pi_\theta(a|s) \propto e^{\theta(s,a)}`, a parameter for each state and action.

    What the algorithms ascend in without `policies`. An action of :math:`-\infty` is never taken.
    """

    n_states: int
    n_actions: int

    def __post_init__(self):
        for name in ("n_states", "n_actions"):
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        check_size("n_states", self.n_states * self.n_actions, "entries of a policy")

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_states, self.n_actions

    def check_parameters(self, parameters: ArrayLike, name: str = "parameters") -> np.ndarray:
        """`parameters` as floats (..., S, A), finite or −∞ and in each row one that is finite, or a ValueError."""
        parameters = check_array(name, parameters)
        check_finite(name, np.where(parameters == -np.inf, 0.0, parameters), self.shape)
        if (parameters.max(axis=-1) == -np.inf).any():
            raise ValueError(f"{name}: expected in each row one that is finite, but there is a row of −∞ only")
        return parameters

    def logits(self, parameters: ArrayLike) -> np.ndarray:
        """θ itself."""
        return self.check_parameters(parameters)

    def from_logits(self, gradient: ArrayLike) -> np.ndarray:
        """A gradient in the logits (..., S, A), which is one in θ."""
        return check_finite("gradient", gradient, self.shape)


@dataclass(frozen=True, eq=False)
class LogLinear(_Softmax):
    r"""Log-linear policies, :math:`\pi_\theta(a|s) \propto e^{\theta \cdot \phi(s,a)}`, with k parameters.

    features : φ, (S, A, k); with leading axes (..., S, A, k) each of several runs side by side has features of its own

    A gradient g in the logits is :math:`\sum_{s,a} g(s,a)\, \phi(s,a)` in θ. At θ = 0 the policy is uniform. Raises ValueError
    for features of another shape, or not finite.
    """

    features: np.ndarray

    def __post_init__(self):
        features = check_finite("features", self.features, ())
        if features.ndim < 3:
            raise ValueError(f"features: expected shape (..., S, A, k), got {features.shape}")
        object.__setattr__(self, "features", features)

    @property
    def n_states(self) -> int:
        return self.features.shape[-3]

    @property
    def n_actions(self) -> int:
        return self.features.shape[-2]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.features.shape[-1:]

    def __repr__(self):
        return f"LogLinear: {self.n_states} states, {self.n_actions} actions, {self.shape[0]} features"

    def logits(self, parameters: ArrayLike) -> np.ndarray:
        r""":math:`\theta \cdot \phi`, (..., S, A)."""
        parameters = self.check_parameters(parameters)
        check_leading("parameters", parameters.shape[:-1], self.features.shape[:-3], "the features")
        return (self.features @ parameters[..., None, :, None])[..., 0]

    def from_logits(self, gradient: ArrayLike) -> np.ndarray:
        """A gradient in the logits (..., S, A), carried to θ: (..., k)."""
        gradient = check_finite("gradient", gradient, (self.n_states, self.n_actions))
        check_leading("gradient", gradient.shape[:-2], self.features.shape[:-3], "the features")
        return np.einsum("...sa,...sak->...k", gradient, self.features)


@dataclass(frozen=True, eq=False)
class FunctionPolicy(PolicyClass):
    r"""Policies that are given by a function of their parameters: a network over features of the states, say.

    function : of parameters (n_parameters,); returns the policy (S, A), whose rows are distributions. Deterministic, and written with
        ``autograd.numpy``: no assignment into arrays, no conversion to float.
    n_states, n_actions, n_parameters : the sizes

    ``pullback`` is one pass backwards through what the function did, at a small multiple of its cost. Parameters with leading
    axes are taken one after the other. When the policies are made, the recorded derivative is compared with a central difference
    along a random direction at parameters from N(0, 1) (three calls).

    Raises ValueError for a function that autograd cannot follow, or whose derivative disagrees with the difference, or that
    returns something else than a policy of these sizes.
    """

    function: Callable
    n_states: int
    n_actions: int
    n_parameters: int

    def __post_init__(self):
        check_function("function", self.function)
        for name in ("n_states", "n_actions", "n_parameters"):
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        check_size("n_states", self.n_states * self.n_actions, "entries of a policy")
        rng = np.random.default_rng(0)
        here, direction = rng.normal(size=(2, self.n_parameters))
        weights = rng.normal(size=(self.n_states, self.n_actions))
        high, low = (self.policy(here + step * direction) for step in (STEP, -STEP))  # what fails here is the function's own mistake
        difference = (weights * (high - low)).sum() / (2.0 * STEP)
        try:
            recorded = self.pullback(here, weights) @ direction
        except Exception as error:  # whatever it does not understand of the object that records it
            said = " ".join(str(error).split())
            said = said if len(said) <= LONGEST else said[:LONGEST] + " ..."
            raise ValueError(
                "function: expected one that autograd can follow, written with autograd.numpy and without assignment into "
                f"arrays, but got {type(error).__name__}: {said}"
            ) from error
        if not abs(recorded - difference) <= AGREEMENT * (abs(recorded) + abs(difference)) + 1e-14 * np.abs(weights).sum() / STEP:
            raise ValueError(
                f"function: expected a derivative that agrees with differences, {difference:.6g} along a random direction, but "
                f"autograd got {recorded:.6g}"
            )

    @property
    def shape(self) -> tuple[int]:
        return (self.n_parameters,)

    def policy(self, parameters: ArrayLike) -> np.ndarray:
        parameters = self.check_parameters(parameters)
        lead = parameters.shape[:-1]
        policies = np.empty((*lead, self.n_states, self.n_actions))
        for index in np.ndindex(lead):
            policies[index] = self._checked(self.function(parameters[index].copy()))
        return policies

    def pullback(self, parameters: ArrayLike, gradient: ArrayLike) -> np.ndarray:
        parameters = self.check_parameters(parameters)
        gradient = self.check_gradient(gradient, parameters.shape[:-1])
        carried = np.empty(parameters.shape)
        for index in np.ndindex(parameters.shape[:-1]):
            back, policy = make_vjp(self._recorded)(parameters[index])
            self._checked(policy)
            carried[index] = back(gradient[index])
        return check_finite("the derivative of function", carried, self.shape)

    def _recorded(self, parameters):
        policy = self.function(parameters)
        policy = anp.array(policy) if isinstance(policy, (list, tuple)) else policy
        if not isinstance(policy, Box) and np.asarray(policy).dtype.kind == "O":
            raise TypeError("a numpy function took the parameters apart into numbers; autograd.numpy has the same function")
        return policy

    def _checked(self, policy):
        return check_one_policy(policy, self.n_states, self.n_actions, "function")


def check_policies(policies, env):
    """`policies` where it is a :class:`PolicyClass` of the sizes of `env`, or a ValueError."""
    check_instance("policies", policies, PolicyClass, "a class of policies of pepg.policies")
    if (policies.n_states, policies.n_actions) != (env.n_states, env.n_actions):
        sizes = f"{policies.n_states} states and {policies.n_actions} actions"
        raise ValueError(f"policies: expected those of {env.n_states} states and {env.n_actions} actions, got {sizes}")
    return policies
