"""One call that compares: every algorithm that applies on an environment, two figures, a table and a verdict."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..algorithms import sampled_policy_gradient
from ..arguments import check_choice, check_instance, check_non_negative, check_seed, check_sequence, described
from ..experiments import mean_interval, paired_difference, plus_minus
from ..experiments.comparison import EXACT, SAMPLED, best_settings, check_budget, run_all, tuning
from ..mdp import PeMDP, check_dense, check_env
from ..theory.report import promised_and_delivered
from . import figures

LITTLE = 0.01  # a difference below this share of the range of values is none
STABLE, OPTIMAL = "stable (PG)", "optimal (PePG)"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare` gives; print it for the table and the verdict.

    runs : {(knows, algorithm): :class:`pepg.Run`, the seeds along its second axis}; knows is "exact" or "from samples"
    settings : the λ and η of the retraining algorithms, the best of `tuning`, a table of what they settle at on other seeds
    left_out : {(knows, algorithm): why it does not apply}
    """

    env: PeMDP
    seeds: tuple
    budget: dict
    tuning: pd.DataFrame
    settings: dict
    runs: dict
    left_out: dict = field(default_factory=dict)

    def __repr__(self):
        return f"Comparison on {self.env!r}: {len(self.runs)} algorithms, {len(self.seeds)} seeds. {self.verdict}"

    def __str__(self):
        return f"{self.table().to_string(index=False, float_format='{:.5g}'.format)}\n\n{self.verdict}"

    def curves(self, scale: float = 1.0) -> pd.DataFrame:
        """The values, times `scale`, over deployments as tidy curves: mean and 95 % interval over the seeds, a row a point."""
        return pd.concat(
            figures.curves(run.deployments, scale * run.values, "deployments", knows=knows, algorithm=name)
            for (knows, name), run in self.runs.items()
        )

    def table(self, scale: float = 1.0) -> pd.DataFrame:
        """Where each algorithm ends: mean and 95 % interval over the seeds, and the mean of the best on the way."""
        rows = []
        for (knows, name), run in self.runs.items():
            symbols = {"regularization": "λ", "step_size": "η"}
            chosen = ", ".join(f"{symbols.get(key, key)} = {x:.3g}" for key, x in self.settings.get((knows, name), {}).items())
            interval = mean_interval(scale * run.values[-1])
            rows.append((knows, name, chosen, run.deployments[-1], *interval, scale * run.values.max(axis=0).mean()))
        columns = ["knows", "algorithm", "settings", "deployments", "value", "low", "high", "best on the way"]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def ends(self) -> dict[str, np.ndarray]:
        """The policies at which stable and optimal are shown, {name: (S, A)}: PG's and PePG's best ends over the seeds."""

        def best(run):  # of ends that are equal up to rounding the first
            return run.policy[np.argmax((run.values[-1] / max(np.abs(run.values).max(), 1e-300)).round(9))]

        return {STABLE: best(self.runs[EXACT, "PG"]), OPTIMAL: best(self.runs[EXACT, "PePG"])}

    def policies(self, states: Iterable[str] | None = None, actions: Iterable[str] | None = None) -> pd.DataFrame:
        """What both `ends` do in each state and are worth, promised and delivered: the data of :func:`figures.stable_and_optimal`."""
        states = [f"state {s}" for s in range(self.env.n_states)] if states is None else states
        actions = [f"action {a}" for a in range(self.env.n_actions)] if actions is None else actions
        values = {name: promised_and_delivered(self.env, policy) for name, policy in self.ends.items()}
        return figures.policy_table(values, self.ends, states, actions)

    def figures(self, states: Iterable[str] | None = None, actions: Iterable[str] | None = None) -> tuple[Figure, Figure]:
        """The two standard figures: values over deployments, and what the stable and the optimal policy do and are worth."""
        figures.use_style()
        return figures.learning_curves(self.curves()), figures.stable_and_optimal(self.policies(states, actions))

    @cached_property
    def gain(self) -> tuple[float, float, float]:
        """PePG's ends less PG's, start by start: mean and the ends of its 95 % interval over the seeds."""
        return paired_difference(self.runs[EXACT, "PePG"].values[-1], self.runs[EXACT, "PG"].values[-1])

    @cached_property
    def span(self) -> float:
        """The range of values: the best less the worst of all policies that the exact algorithms deployed."""
        values = np.concatenate([run.values.ravel() for (knows, _), run in self.runs.items() if knows == EXACT])
        return float(np.ptp(values))

    @cached_property
    def reached(self) -> int:
        """From how many starts PePG ends at the best value that any exact algorithm ends at, up to a hundredth of the range."""
        best = max(run.values[-1].max() for (knows, _), run in self.runs.items() if knows == EXACT)
        return int((self.runs[EXACT, "PePG"].values[-1] >= best - LITTLE * self.span).sum())

    @property
    def verdict(self) -> str:
        """Whether stable and optimal differ here, by how much, and who reaches what: in words."""
        difference = self.runs[EXACT, "PePG"].values[-1] - self.runs[EXACT, "PG"].values[-1]
        n, (mean, low, high) = len(self.seeds), self.gain
        size = f"{_plain(abs(mean), (high - low) / 2)}, {_percent(abs(mean) / max(self.span, 1e-300))} of the range of values"
        reaches = f"PePG reaches the best value found from {self.reached} of {n} starts."
        if np.abs(difference).max() <= LITTLE * self.span or self.span == 0.0:
            return (
                "Stable and optimal are worth the same here, to 1 % of the range of values: your environment barely reacts, or not where it matters. "
                + reaches
            )
        if low > 0.0 or (n == 1 and mean > 0.0):
            above = int((difference > 0).sum())
            return f"Stable and optimal differ by {size}: PePG ends above PG from {above} of {n} starts. {reaches} {self._retraining()}"
        if high < 0.0 or (n == 1 and mean < 0.0):
            return (
                f"PePG ends below PG by {size}: from these starts it comes to rest at poorer local optima. {reaches} "
                f"algorithms.pepg(env), which starts from several policies, may find a better one. {self._retraining()}"
            )
        above, below = (int((sign * difference > LITTLE * self.span).sum()) for sign in (1, -1))
        return (
            f"PePG and PG are level in the mean over {n} starts ({_plain(mean, (high - low) / 2, sign='+')}), but not start by start: PePG "
            f"ends above by more than 1 % of the range of values from {above}, below from {below}. {reaches} {self._retraining()}"
        )

    def _retraining(self):
        """The better of RPO and RGA against PePG, in a sentence."""
        ends = {name: self.runs[EXACT, name].values[-10:].mean(axis=0) for name in ("RPO", "RGA") if (EXACT, name) in self.runs}
        if not ends:
            return "Retraining does not converge here."
        name = max(ends, key=lambda name: ends[name].mean())
        mean, half = plus_minus(paired_difference(self.runs[EXACT, "PePG"].values[-1], ends[name]))
        side = "below" if mean > 0 else "above"
        tried = self.tuning.loc[self.tuning["algorithm"] == name, "λ"]
        edge = " (to the largest tried)" if self.settings[EXACT, name]["regularization"] == tried.max() else ""
        return f"The best retraining, {name} with its λ tuned{edge}, ends {_plain(abs(mean), half)} {side} PePG."


def _plain(mean, half, sign=""):
    """A mean and the half-width of its interval with two significant digits of it; without it, and four of the mean, where it is narrower."""
    narrow = half <= 5e-4 * abs(mean)
    size = 1e-2 * abs(mean) if narrow else half
    places = int(np.clip(1 - np.floor(np.log10(size)), 0, 12)) if size > 0 else 0
    return f"{mean:{sign}.{places}f}" + ("" if narrow else f" ± {half:.{places}f}")


def _percent(share):
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def _each_once(name, seeds):
    """`seeds` as a tuple of whole numbers, or a ValueError: a seed that is there twice would narrow the intervals."""
    seeds = tuple(check_seed(name, seed) for seed in check_sequence(name, seeds, "whole numbers"))
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{name}: expected every seed once, got {described(list(seeds))}")
    return seeds


def _check_ascent(env, ascent):
    """A ValueError for settings that PePG and PG from samples do not take; before the tuning, which takes long."""
    for key in check_instance("ascent", ascent, dict, "a dict {name: value}"):
        check_choice("ascent", key, ("step_size", "memory", "warm_up", "entropy"))
    try:
        sampled_policy_gradient(env, iterations=0, trajectories=1, horizon=1, **ascent)
    except ValueError as error:
        raise ValueError(f"ascent: {error}") from None


def compare(
    env: PeMDP, seeds: Iterable[int] = range(20), *, iterations: int = 100, deployments: int = 60, trajectories: int = 30, horizon: int | None = None,
    regularizations: Iterable[float] | None = None, tuning_seeds: Iterable[int] = range(1000, 1004), ascent: dict[str, Any] | None = None,
    jobs: int | None = 1,
) -> Comparison:
    r"""Compare every algorithm that applies on `env`, each at its best: a :class:`Comparison`.

    Exact, with the environment's answer known: PePG, PG, RPO and RGA. From trajectories alone: PePG, with the response known and
    with one learned, PG, RPO-FS, DRR, MDRR and 0-FW. A seed is a near-uniform start, and for those that sample the trajectories too.

    seeds : whole numbers · iterations : deployments of an exact algorithm
    deployments : of one that samples (a multiple of 30, so that DRR and MDRR, which take 3 an update, and 0-FW, which takes 10, end one)
    trajectories, horizon : sampled at each deployment, and their most steps; by default until a hundredth of a value is left
    regularizations : λ that the retraining algorithms try; by default in proportion to the rewards, from 0 to far too much
    tuning_seeds : on which their λ, and RGA's step η, are chosen: by the mean value of what they settle at. None of `seeds`
    ascent : {name: value} of settings of PePG and PG from samples; by default the algorithms' own
    jobs : processes; None: every core

    Raises ValueError for an argument out of range, a seed that is tuned on, or several environments in one.
    """
    shown = check_env(env).respond(env.uniform_policy())
    check_dense("env", shown)
    if shown.P.ndim != 3:
        raise ValueError("env: expected one environment, got several along leading axes")
    seeds, tuning_seeds = _each_once("seeds", seeds), _each_once("tuning_seeds", tuning_seeds)
    if set(seeds) & set(tuning_seeds):
        raise ValueError(f"seeds: expected none that is tuned on, got {list(seeds)} and {list(tuning_seeds)}")
    if regularizations is not None:
        regularizations = [check_non_negative("regularizations", x) for x in check_sequence("regularizations", regularizations, "numbers")]
    if ascent is not None:
        _check_ascent(env, ascent)
    budget = check_budget(env, iterations, deployments, trajectories, horizon)
    table = tuning(env, tuning_seeds, budget, regularizations, jobs)
    settings = best_settings(table) | {(SAMPLED, name): dict(ascent) for name in ("PePG", "PePG, learned", "PG") if ascent}
    runs, left_out = run_all(env, seeds, budget, settings, jobs)
    return Comparison(env, seeds, budget, table, settings, runs, left_out)
