r"""Every algorithm on one environment, retraining at its best: the runs behind :func:`pepg.compare`.

Exact ones know the environment's answer to what they deploy (PePG also how it bends), the others see trajectories alone. All seeds
of an algorithm run side by side. The gradient methods take steps of their own size, whatever the rewards are; the penalty
:math:`\tfrac\lambda2 \|d\|^2` of the retraining ones does not, and is scanned in units of

.. math:: \lambda_1 = (1 - \gamma) \, (\max r - \min r),

at which penalty and reward are of one size for an occupancy on one state and action. RGA's step η is scanned as its damping ηλ < 1:
with ηλ = 1 it is RPO.
"""

from functools import partial

import numpy as np
import pandas as pd

from .. import algorithms
from ..arguments import check_count
from .sweeps import parallel

EXACT, SAMPLED = "exact", "from samples"  # what an algorithm knows: the environment's answer, or trajectories alone
STRENGTHS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of the penalty, in units of λ_1
DAMPINGS = (0.03, 0.1, 0.3)  # ηλ of RGA
SETTLED = {EXACT: 10, SAMPLED: 3}  # how many of the last policies count in the tuning: a run may cycle
UPDATES = {"DRR": 3, "MDRR": 3, "0-FW": 10}  # deployments for one update
ALGORITHMS = {
    (EXACT, "PePG"): algorithms.pepg,
    (EXACT, "PG"): algorithms.policy_gradient,
    (EXACT, "RPO"): algorithms.repeated_policy_optimization,
    (EXACT, "RGA"): algorithms.repeated_gradient_ascent,
    (SAMPLED, "PePG"): algorithms.sampled_pepg,
    (SAMPLED, "PePG, learned"): partial(algorithms.sampled_pepg, response="learned"),
    (SAMPLED, "PG"): algorithms.sampled_policy_gradient,
    (SAMPLED, "RPO-FS"): algorithms.repeated_policy_optimization_fs,
    (SAMPLED, "DRR"): algorithms.delayed_repeated_retraining,
    (SAMPLED, "MDRR"): algorithms.mixed_delayed_repeated_retraining,
    (SAMPLED, "0-FW"): algorithms.zeroth_order_frank_wolfe,
}
RETRAINING = ("RPO", "RGA", "RPO-FS", "DRR", "MDRR")


def reward_span(env):
    """Largest less smallest reward at the uniform and eight random policies; the largest in size where all are equal, 1 where all are 0."""
    policies = [env.uniform_policy(), *env.random_policies(range(8), scale=2.0)]
    rewards = np.array([mdp.r[..., ~mdp.terminal, :] for mdp in map(env.respond, policies)])
    return float(np.ptp(rewards)) or float(np.abs(rewards).max()) or 1.0


def tuning(env, seeds, budget, strengths=None, jobs=None):
    """What every retraining algorithm settles at for each of its settings: a row a setting, the value a mean over `seeds`.

    budget : :class:`dict` with iterations, deployments, trajectories and horizon · strengths : λ; by default STRENGTHS times λ_1
    A setting at which a solver fails is missing from the table.
    """
    if strengths is None:
        strengths = [x * (1.0 - env.gamma) * reward_span(env) for x in STRENGTHS]
    cases = []
    for key in [key for key in ALGORITHMS if key[1] in RETRAINING]:
        for strength in strengths:
            if key[1] == "RGA":  # without a penalty there is no scale for its step
                cases += [(key, {"regularization": strength, "step_size": share / strength}) for share in DAMPINGS if strength > 0.0]
            else:
                cases.append((key, {"regularization": strength}))
    rows = []
    for ((knows, name), settings), run in zip(cases, parallel(partial(_run, env, seeds, budget), cases, jobs)):
        if not isinstance(run, str):
            settled = run.values[-SETTLED[knows] :].mean()
            rows.append((knows, name, settings["regularization"], settings.get("step_size", np.nan), settled))
    return pd.DataFrame(rows, columns=["knows", "algorithm", "λ", "η", "value"])


def best_settings(table):
    """The best row of each algorithm of :func:`tuning`, as settings {(knows, algorithm): {...}}; of equal ones the first."""
    best = {}
    for (knows, name), rows in table.groupby(["knows", "algorithm"], sort=False):
        scale = max(rows["value"].abs().max(), 1e-300)
        row = rows.loc[(rows["value"] / scale).round(6).idxmax()]
        best[knows, name] = {"regularization": float(row["λ"])} | ({"step_size": float(row["η"])} if row["η"] == row["η"] else {})
    return best


def run_all(env, seeds, budget, settings, jobs=None):
    """The runs of every algorithm, {(knows, algorithm): Run with the seeds side by side}, and why the others are left out, as text."""
    cases = [(key, settings.get(key, {})) for key in ALGORITHMS if key[1] not in RETRAINING or key in settings]
    results = dict(zip((key for key, _ in cases), parallel(partial(_run, env, seeds, budget), cases, jobs)))
    left_out = {key: run for key, run in results.items() if isinstance(run, str)}
    left_out |= {key: "no setting at which its solver converges" for key in ALGORITHMS if key not in results}
    return {key: run for key, run in results.items() if key not in left_out}, left_out


def check_budget(env, iterations, deployments, trajectories, horizon):
    """The arguments of :func:`pepg.compare` as a dict; by default the horizon after which a hundredth of a value is left."""
    deployments = check_count("deployments", deployments)
    if deployments % 30:
        raise ValueError(f"deployments: expected a multiple of 30, so that every algorithm ends an update, got {deployments}")
    if horizon is None:
        horizon = int(np.clip(np.ceil(np.log(0.01) / np.log(max(env.gamma, 1e-3))), 1, 500))
    return {
        "iterations": check_count("iterations", iterations),
        "deployments": deployments,
        "trajectories": check_count("trajectories", trajectories),
        "horizon": check_count("horizon", horizon),
    }


def _run(env, seeds, budget, case):
    """A Run, or why there is none: a solver that did not converge."""
    (knows, name), settings = case
    if knows == EXACT:
        start = {"policy": env.random_policies(seeds), "iterations": budget["iterations"]}
    else:
        start = {"seed": list(seeds), "iterations": budget["deployments"] // UPDATES.get(name, 1)}
        start |= {"trajectories": budget["trajectories"], "horizon": budget["horizon"]}
    try:
        return ALGORITHMS[knows, name](env, **start, **settings)
    except RuntimeError as error:
        return str(error)
