"""Many runs: side by side, resumable, at equal expense."""

try:
    import joblib  # noqa: F401 (what every module here needs, of the extra)
except ImportError as error:
    raise ImportError("pepg.experiments needs the package joblib: pip install pepg[sweep]") from error

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
from .instances import random_instances
from .sweeps import parallel, runs, sweep

__all__ = [
    "budget_curve",
    "budget_difference",
    "budget_grid",
    "budget_table",
    "mean_interval",
    "paid_for",
    "paired_difference",
    "parallel",
    "plus_minus",
    "random_instances",
    "runs",
    "sweep",
    "value_at",
]
