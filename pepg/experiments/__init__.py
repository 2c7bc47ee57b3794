"""Many runs: side by side, resumable, compared."""

from .budgets import (
    budget_curve,
    budget_difference,
    budget_grid,
    budget_table,
    mean_interval,
    paid_for,
    paired_difference,
    plus_minus,
    value_at,
)
from .comparison import compare, stable_and_optimal
from .instances import random_instances
from .sweeps import parallel, runs, sweep

__all__ = [
    "budget_curve",
    "budget_difference",
    "budget_grid",
    "budget_table",
    "compare",
    "mean_interval",
    "paid_for",
    "paired_difference",
    "parallel",
    "plus_minus",
    "random_instances",
    "runs",
    "stable_and_optimal",
    "sweep",
    "value_at",
]
