"""Performative policy gradient, exact: performative MDPs, their values, their gradients and the algorithms."""

from . import algorithms
from .algorithms import Run
from .gridworld import Gridworld
from .mdp import MDP, PeMDP, softmax
from .performative import deploy, performative_gradient, performative_value, policy_gradient

__all__ = [
    "MDP",
    "PeMDP",
    "Gridworld",
    "Run",
    "algorithms",
    "deploy",
    "performative_gradient",
    "performative_value",
    "policy_gradient",
    "softmax",
]
