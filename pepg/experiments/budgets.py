"""Runs at equal expense: what an algorithm had reached by the time that a number of deployments, or of transitions, was spent.

The seeds of an algorithm lie along the last axis, one column each. Expense is whole, and what counts at a budget is the last
iterate that it paid for in full: a method of three deployments an iteration has at 5 what it had at 3.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ..algorithms import Run
from ..arguments import (
    Numbers,
    check_array,
    check_choice,
    check_count,
    check_finite,
    check_instance,
    check_level,
    check_mapping,
    check_non_negative,
    check_non_negatives,
    check_number,
    check_sequence,
    described,
)

if TYPE_CHECKING:
    import pandas as pd  # which a worker need not load

Unit = Literal["deployments", "samples"]
UNITS = ("deployments", "samples")


def mean_interval(samples: ArrayLike, axis: int = -1, level: float = 0.95) -> tuple[Numbers, Numbers, Numbers]:
    """Mean and the ends of its Student t interval along `axis` (over seeds); no width for one sample.

    Returns three arrays without `axis`.
    """
    samples, level = check_finite("samples", samples, ()), check_level("level", level)
    if not samples.ndim:
        raise ValueError("samples: expected at least one axis, got a number")
    axis = int(check_number("axis", axis, f"an axis of {samples.ndim}", lambda k: k == int(k) and -samples.ndim <= k < samples.ndim))
    n = samples.shape[axis]
    mean = samples.mean(axis=axis)
    if n < 2:
        return mean, mean.copy(), mean.copy()
    half = stats.t.ppf(0.5 + level / 2, n - 1) * samples.std(axis=axis, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def plus_minus(interval: tuple[ArrayLike, ArrayLike, ArrayLike]) -> tuple[Numbers, Numbers]:
    """Mean and half-width of an interval (mean, low, high): plain numbers, or arrays where the three are."""
    if not (isinstance(interval, (tuple, list, np.ndarray)) and len(interval) == 3):
        raise ValueError(f"interval: expected (mean, low, high), got {described(interval)}")
    mean, low, high = (check_array("interval", end) for end in interval)
    half = np.asarray((high - low) / 2)
    return tuple(x if x.ndim else x.item() for x in (mean, half))


def paired_difference(first: ArrayLike, second: ArrayLike, axis: int = -1, level: float = 0.95) -> tuple[Numbers, Numbers, Numbers]:
    """:func:`mean_interval` of ``first - second``, whose entries along `axis` belong together: the same seed, the same start.

    Raises ValueError where the two do not have the same shape.
    """
    first, second = check_finite("first", first, ()), check_finite("second", second, ())
    if first.shape != second.shape:
        raise ValueError(f"second: expected the shape of first, {first.shape}, got {second.shape}")
    return mean_interval(first - second, axis, level)


def paid_for(spent: ArrayLike, quantity: ArrayLike, budgets: ArrayLike) -> np.ndarray:
    """`quantity` of the last iterate that each of `budgets` paid for, (len(budgets), ...).

    spent : (T + 1,), or (T + 1, ...) where each run has its own, not falling from 0 · quantity : (T + 1, ...)

    Raises ValueError for a negative budget, or shapes that do not match.
    """
    check_array("quantity", quantity)
    quantity, spent = np.asarray(quantity), check_finite("spent", spent, ())
    if spent.ndim not in (1, quantity.ndim) or spent.shape != quantity.shape[: spent.ndim]:
        raise ValueError(f"spent: expected shape {quantity.shape[:1]} or {quantity.shape}, got {spent.shape} for quantity")
    budgets = check_array("budgets", budgets)
    if budgets.ndim != 1 or not budgets.size or not (budgets >= 0).all():
        raise ValueError(f"budgets: expected numbers >= 0, got {budgets}")
    if spent.ndim == 1:
        return quantity[np.searchsorted(spent, budgets, side="right") - 1]
    last = (spent <= budgets.reshape(-1, *np.ones(spent.ndim, dtype=int))).sum(axis=1) - 1
    return np.take_along_axis(quantity, last, axis=0)


def value_at(run: Run, budgets: ArrayLike, unit: Unit = "deployments") -> np.ndarray:
    """The true value of what each of `budgets` deployed at last in a :class:`pepg.algorithms.Run`: (len(budgets), ...).

    unit : what is spent, "deployments" or "samples"
    """
    return paid_for(_spent(run, unit), run.values, budgets)


def budget_grid(run: Run, points: int, unit: Unit = "samples") -> np.ndarray:
    """`points` budgets evenly from 0 to the most that every one of the runs side by side in `run` has spent."""
    points = check_count("points", points)
    return np.linspace(0, np.min(_spent(run, unit)[-1]), points)


def budget_curve(run: Run, budgets: ArrayLike, unit: Unit = "deployments", **labels: Any) -> "pd.DataFrame":
    """A tidy table of value against expense, a row for each budget: `labels`, unit, spent, and mean, low, high over seeds."""
    import pandas as pd  # here, so that a worker need not load it

    mean, low, high = mean_interval(value_at(run, budgets, unit))
    return pd.DataFrame({**labels, "unit": unit, "spent": budgets, "mean": mean, "low": low, "high": high})


def budget_difference(run: Run, other: Run, budget: float, unit: Unit = "deployments") -> tuple[Numbers, Numbers, Numbers]:
    """Mean and the ends of the 95 % interval, paired over seeds, of the value of `run` less that of `other` at one budget."""
    budget = check_non_negative("budget", budget)
    values, others = (value_at(check_instance(name, one, Run), [budget], unit)[0] for name, one in (("run", run), ("other", other)))
    if values.shape != others.shape:
        raise ValueError(f"other: expected as many seeds as run, {values.shape}, got {others.shape}")
    return paired_difference(values, others)


def budget_table(runs: Mapping[tuple, Run], names: Iterable[str], budgets: Mapping[str, Sequence[float]]) -> "pd.DataFrame":
    """A row for each of `runs` {labels: Run}: its labels, and at each budget the mean over seeds and the half-width of its interval.

    names : columns of the labels · budgets : {unit: a list of them}; the columns are "deployments 10", "± deployments 10"
    """
    import pandas as pd  # here, so that a worker need not load it

    names = check_sequence("names", names, "names of columns")
    for unit, some in check_mapping("budgets", budgets, "list of budgets").items():
        check_choice("budgets", unit, UNITS)
        check_non_negatives("budgets", some)
    rows = []
    for labels, run in check_mapping("runs", runs, "Run").items():
        if not isinstance(labels, tuple) or len(labels) != len(names):
            raise ValueError(f"runs: expected keys with a label for each of {names}, got {described(labels)}")
        check_instance("runs", run, Run)
        row = dict(zip(names, labels, strict=True))
        for unit, some in budgets.items():
            for budget, values in zip(some, value_at(run, some, unit)):
                mean, half = plus_minus(mean_interval(values))
                row |= {f"{unit} {budget}": mean, f"± {unit} {budget}": half}
        rows.append(row)
    return pd.DataFrame(rows)


def _spent(run, unit):
    check_instance("run", run, Run)
    return np.asarray(getattr(run, check_choice("unit", unit, UNITS)))
