"""Worlds that respond to a deployed policy."""

from .check import check_environment
from .function import FunctionPeMDP
from .gridworld import Gridworld
from .softmax import SoftmaxPeMDP, congestion_policies, pigou, random_softmax_pemdp

__all__ = [
    "FunctionPeMDP",
    "Gridworld",
    "SoftmaxPeMDP",
    "check_environment",
    "congestion_policies",
    "pigou",
    "random_softmax_pemdp",
]
