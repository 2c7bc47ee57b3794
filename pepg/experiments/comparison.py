"""Every algorithm of the comparison on one environment, with one call."""

from functools import partial

from .. import algorithms
from ..arguments import check_count
from .sweeps import runs

EXACT, SAMPLED = "exact", "from samples"  # what an algorithm knows: the environment's answer, or trajectories alone


def compare(
    env,
    seeds,
    *,
    iterations=60,
    deployments=30,
    trajectories=30,
    horizon=50,
    regularizations=(0.01,),
    retraining=None,
    rga=None,
    folder,
    jobs=None,
):
    r"""Run every algorithm on `env` with every seed: {(knows, algorithm): its runs, one a seed}.

    knows : "exact" for PePG, PG, RPO (one for each λ of `regularizations`) and RGA, which know the environment's answer to what they
        deploy (PePG also how it bends); "from samples" for PePG, PePG with a learned response, PG, RPO-FS, DRR, MDRR and 0-FW,
        which see trajectories only
    seeds : whole numbers; a seed is a near-uniform start, and for those that sample the trajectories too
    iterations : deployments of an exact algorithm · deployments : of one that samples (a multiple of 30, so that DRR and MDRR, which
        take 3 an update, and 0-FW, which takes 10, end a round)
    trajectories, horizon : sampled at each deployment; γ^horizon should be small
    regularizations : λ of RPO
    retraining : {name: λ} of RPO-FS, DRR and MDRR; by default, for each, the last λ of RPO
    rga : settings of RGA; by default the last λ and the algorithm's own step
    folder, jobs : as in :func:`pepg.experiments.runs`, which stores each run as soon as it has ended

    Raises ValueError for an argument out of range.
    """
    if check_count("deployments", deployments) % 30:
        raise ValueError(f"deployments: expected a multiple of 30, got {deployments}")
    if not len(regularizations):
        raise ValueError("regularizations: expected at least one coefficient, got none")
    seeds = list(seeds)
    strengths = dict.fromkeys(("RPO-FS", "DRR", "MDRR"), regularizations[-1])
    unknown = sorted(set(retraining or {}) - set(strengths))
    if unknown:
        raise ValueError(f"retraining: expected λ of {', '.join(strengths)}, got {', '.join(map(repr, unknown))}")
    strengths |= retraining or {}
    exact = {
        "PePG": partial(algorithms.pepg, iterations=iterations),
        "PG": partial(algorithms.policy_gradient, iterations=iterations),
    }
    for strength in regularizations:
        name = "RPO" if len(regularizations) == 1 else f"RPO λ={strength:g}"
        exact[name] = partial(algorithms.repeated_policy_optimization, iterations=iterations, regularization=strength)
    rga = {"regularization": regularizations[-1]} if rga is None else rga
    exact["RGA"] = partial(algorithms.repeated_gradient_ascent, iterations=iterations, **rga)
    sampling = {"trajectories": trajectories, "horizon": horizon}
    sampled = {
        "PePG": partial(algorithms.sampled_pepg, iterations=deployments, **sampling),
        "PePG, learned": partial(algorithms.sampled_pepg, iterations=deployments, response="learned", **sampling),
        "PG": partial(algorithms.sampled_policy_gradient, iterations=deployments, **sampling),
        "RPO-FS": partial(algorithms.repeated_policy_optimization_fs, iterations=deployments, **sampling),
        "DRR": partial(algorithms.delayed_repeated_retraining, iterations=deployments // 3, **sampling),
        "MDRR": partial(algorithms.mixed_delayed_repeated_retraining, iterations=deployments // 3, **sampling),
        "0-FW": partial(algorithms.zeroth_order_frank_wolfe, iterations=deployments // 10, **sampling),
    }
    sampled |= {name: partial(sampled[name], regularization=strength) for name, strength in strengths.items()}
    compared = {}
    for knows, chosen in ((EXACT, exact), (SAMPLED, sampled)):
        results = runs(chosen, {"env": env}, seeds, folder, jobs=jobs)
        compared |= {(knows, name): [results[name, "env", seed] for seed in seeds] for name in chosen}
    return compared


def stable_and_optimal(compared):
    """The policies at which the runs of :func:`compare` show stable and optimal: PG's and PePG's best ends over the seeds."""

    def best(name):
        return max(compared[EXACT, name], key=lambda run: round(run.values[-1], 9)).policy

    return {"stable (PG)": best("PG"), "optimal (PePG)": best("PePG")}
