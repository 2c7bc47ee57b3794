"""Performative policy gradient, exact: performative MDPs, their values, their gradients and the algorithms."""

from importlib import import_module
from typing import TYPE_CHECKING

from . import algorithms, data, policies, theory
from .algorithms import Run
from .environments import (
    CrowdedMDP,
    Crowding,
    FunctionPeMDP,
    Gridworld,
    RankedGrid,
    SoftmaxPeMDP,
    check_environment,
    congestion_policies,
    pigou,
    random_grid,
    random_softmax_pemdp,
)
from .mdp import MDP, PeMDP, best_response, softmax
from .performative import deploy, performative_gradient, performative_value, policy_gradient
from .theory import certificate

if TYPE_CHECKING:  # the names of _LATER
    from . import companion as companion
    from . import experiments as experiments
    from .companion import figures as figures
    from .companion.comparison import compare as compare
    from .environments import gymnasium as gymnasium

trajectories = data

__version__ = "0.1.0"

__all__ = [
    "MDP",
    "PeMDP",
    "CrowdedMDP",
    "Crowding",
    "FunctionPeMDP",
    "Gridworld",
    "RankedGrid",
    "Run",
    "SoftmaxPeMDP",
    "algorithms",
    "best_response",
    "certificate",
    "check_environment",
    "congestion_policies",
    "data",
    "deploy",
    "performative_gradient",
    "performative_value",
    "pigou",
    "policies",
    "policy_gradient",
    "random_grid",
    "random_softmax_pemdp",
    "softmax",
    "theory",
    "trajectories",
]

# What needs a package of an extra is imported when it is asked for.
_LATER = {
    "companion": ".companion",
    "compare": ".companion.comparison",
    "experiments": ".experiments",
    "figures": ".companion.figures",
    "gymnasium": ".environments.gymnasium",
}


def __getattr__(name):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LATER[name], __name__)
    return module.compare if name == "compare" else module


def __dir__():
    return sorted([*__all__, *_LATER])
