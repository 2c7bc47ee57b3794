"""Worlds that respond to a deployed policy."""

from .check import check_environment
from .crowding import CrowdedMDP, Crowding
from .fixed import VisitCertificate
from .function import FunctionPeMDP
from .gridworld import Gridworld, random_grid
from .ranked import RankedGrid
from .softmax import SoftmaxPeMDP, congestion_policies, pigou, random_softmax_pemdp

__all__ = [
    "CrowdedMDP",
    "Crowding",
    "FunctionPeMDP",
    "Gridworld",
    "RankedGrid",
    "SoftmaxPeMDP",
    "VisitCertificate",
    "check_environment",
    "congestion_policies",
    "pigou",
    "random_grid",
    "random_softmax_pemdp",
]
