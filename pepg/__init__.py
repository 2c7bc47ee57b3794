"""Performative policy gradient, exact: performative MDPs, their values, their gradients and the algorithms."""

from . import algorithms, certificate, theory, trajectories
from .algorithms import Run
from .check import check_environment
from .function_pemdp import FunctionPeMDP
from .gridworld import Gridworld
from .mdp import MDP, PeMDP, best_response, softmax
from .performative import deploy, performative_gradient, performative_value, policy_gradient
from .softmax_pemdp import SoftmaxPeMDP, congestion_policies, pigou, random_softmax_pemdp

__all__ = [
    "MDP",
    "PeMDP",
    "FunctionPeMDP",
    "Gridworld",
    "Run",
    "SoftmaxPeMDP",
    "algorithms",
    "best_response",
    "certificate",
    "check_environment",
    "congestion_policies",
    "deploy",
    "performative_gradient",
    "performative_value",
    "pigou",
    "policy_gradient",
    "random_softmax_pemdp",
    "softmax",
    "theory",
    "trajectories",
]
