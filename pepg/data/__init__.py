"""What deployed policies leave behind: trajectories, estimates from them, models fitted on them."""

from .estimates import gradient_estimates, hotelling, mean_gradient_estimate, mean_policy_score
from .models import LearnedResponse, PooledModel, SteeringResponse, empirical_mdp, estimated_value
from .trajectories import (
    Trajectories,
    advantages,
    next_step,
    returns,
    sample_trajectories,
    temporal_differences,
    with_entropy_bonus,
)

__all__ = [
    "LearnedResponse",
    "PooledModel",
    "SteeringResponse",
    "Trajectories",
    "advantages",
    "empirical_mdp",
    "estimated_value",
    "gradient_estimates",
    "hotelling",
    "mean_gradient_estimate",
    "mean_policy_score",
    "next_step",
    "returns",
    "sample_trajectories",
    "temporal_differences",
    "with_entropy_bonus",
]
