"""What an exact value, an exact gradient and a linear solve cost on this machine: `make bench`, and what they cost in larger worlds.

All in one process on one BLAS thread, side by side: each round times every operation once, on fresh random policies, so
that nothing is answered from the last deployment. What is counted is the processor's time, which on one thread is the
time taken on an idle machine, and does not grow by waiting for a busy one. Each larger world is measured in a process of its
own, for its peak of memory; `python tests/bench.py FILE.csv` measures these alone and stores them, for notebook 19.
"""

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import multiprocessing
import platform
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from time import process_time

import autograd.numpy as anp
import numpy as np
from scipy.linalg import solve_banded

import pepg
from pepg.algorithms.retraining import closest_occupancy

REPETITIONS, WARM_UP = 200, 20
FOLLOWERS, FRESH = 10, 3  # of the larger worlds: followers, and new policies, of which the median counts
LARGER = {"dense": (8, 16, 32, 64), "sparse": (32, 64, 128, 256)}  # sides of their grids
RPO_UP_TO = 64  # its quadratic program is solved on grids of this side


def response_of(env):
    """What a SoftmaxPeMDP answers, as a function that autograd can follow."""

    def respond(policy):
        bend = anp.tensordot(env.logit_map, policy, 2)
        weights = anp.exp(env.logits + bend)
        return weights / anp.sum(weights, axis=-1, keepdims=True), env.rewards + anp.tensordot(env.reward_map, policy, 2)

    return respond


class Dense(pepg.Gridworld):
    """Answered as a small grid is, by banded systems and with dense transitions, whatever its size."""

    _large = False


def larger_world(kind, side):
    """Seconds for a value, a gradient and a step of RPO at new policies, and the peak of memory in MB, with square grids."""
    env = (Dense if kind == "dense" else pepg.Gridworld)(n_followers=FOLLOWERS, grid=pepg.random_grid(side, side, 0))
    rng, row = np.random.default_rng(1), {"transitions": kind, "states": env.n_states}
    operations = {
        "value": lambda policy: pepg.performative_value(env, policy),
        "gradient": lambda policy: pepg.performative_gradient(env, policy),
    }
    if side <= RPO_UP_TO and kind == "sparse":
        operations["RPO step"] = lambda policy: pepg.algorithms.repeated_policy_optimization(env, policy=policy, iterations=1)
    env.respond(env.uniform_policy())  # the followers' grids are drawn once
    for name, run in operations.items():
        times = []
        for _ in range(FRESH):
            policy = pepg.softmax(rng.normal(size=(env.n_states, env.n_actions)))
            start = process_time()
            run(policy)
            times.append(process_time() - start)
        row[name] = median(times)
        if name == "gradient":
            row["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return row


def larger_worlds():
    """A row for each of them."""
    for kind, sides in LARGER.items():
        for side in sides:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                yield alone.submit(larger_world, kind, side).result()


def difference_error(side=128, h=1e-5):
    """The gradient against central differences along five random directions: the largest relative error."""
    env, rng = pepg.Gridworld(n_followers=FOLLOWERS, grid=pepg.random_grid(side, side, 0)), np.random.default_rng(1)
    logits = rng.normal(size=(env.n_states, env.n_actions))
    gradient, errors = pepg.performative_gradient(env, pepg.softmax(logits)), []
    for direction in rng.normal(size=(5, *logits.shape)):
        high, low = (pepg.performative_value(env, pepg.softmax(logits + step * direction)) for step in (h, -h))
        slope = (gradient * direction).sum()
        errors.append(abs((high - low) / (2.0 * h) - slope) / abs(slope))
    return max(errors)


def print_larger_worlds():
    print(f"\nLarger worlds: square grids, {FOLLOWERS} followers, median of {FRESH} new policies")
    print(f"{'transitions':<12}{'states':>8}{'value s':>10}{'gradient s':>12}{'RPO step s':>12}{'peak MB':>10}")
    rows = {}
    for row in larger_worlds():
        rows[row["transitions"], row["states"]] = row
        step = f"{row['RPO step']:>12.2f}" if "RPO step" in row else f"{'':>12}"
        print(f"{row['transitions']:<12}{row['states']:>8}{row['value']:>10.3f}{row['gradient']:>12.3f}{step}{row['peak MB']:>10.0f}")
    last, before = rows["sparse", 256**2], rows["sparse", 128**2]
    print(f"\n{'with 65,536 states':<44}{'':>10}{'target':>8}")
    print(f"{'gradient at a new policy, s':<44}{last['gradient']:>10.1f}{'<= 20':>8}")
    print(f"{'peak of memory, MB':<44}{last['peak MB']:>10.0f}{'<= 1000':>8}")
    print(f"{'gradient / value':<44}{last['gradient'] / last['value']:>10.2f}{'<= 2':>8}")
    for name in ("value", "gradient"):
        exponent = np.log(last[name] / before[name]) / np.log(4.0)
        print(f"{'exponent from 16,384 states, ' + name:<44}{exponent:>10.2f}{'<= 1.15':>8}")
    print(f"{'gradient against differences, 16,384 states':<44}{difference_error():>10.0e}{'<= 1e-6':>8}")


def store_larger_worlds(path):
    """The same as a table; notebook 19 says on which machine."""
    names = ("transitions", "states", "value", "gradient", "RPO step", "peak MB")
    lines = [",".join(names)]
    for row in larger_worlds():
        lines.append(",".join(str(row[n]) if n in ("transitions", "states") else f"{row[n]:.3g}" if n in row else "" for n in names))
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    env, ascent_env = pepg.Gridworld(), pepg.Gridworld()
    rng = np.random.default_rng(0)
    rounds = REPETITIONS + WARM_UP
    values, gradients, retrained = pepg.softmax(rng.normal(size=(3, rounds, env.n_states, env.n_actions)))
    ascent = pepg.algorithms.pepg(env, policy=env.uniform_policy(), iterations=rounds).policies
    systems = np.eye(env.n_states) - env.gamma * rng.dirichlet(np.ones(env.n_states), (50, env.n_states))
    right_hand_sides = rng.normal(size=(50, env.n_states, 1))
    band = rng.random((17, right_hand_sides.size)) / 17.0
    band[8] += 2.0  # a system that is well-conditioned, as the followers' are

    smooth = pepg.random_softmax_pemdp(rng, 16, env.n_actions, env.gamma)
    function_env = pepg.FunctionPeMDP(response_of(smooth), 16, env.n_actions, env.gamma, smooth.rho)
    answered, bent = pepg.softmax(rng.normal(size=(2, rounds, 16, env.n_actions)))
    occupancy, state_value = np.ones((16, env.n_actions)), rng.normal(size=16)

    operations = {
        "value": ("exact value at a new policy", lambda i: pepg.performative_value(env, values[i])),
        "gradient": ("exact gradient at a new policy", lambda i: pepg.performative_gradient(env, gradients[i])),
        "solve": ("numpy.linalg.solve, 50 systems of size 64", lambda i: np.linalg.solve(systems, right_hand_sides)),
        "banded": ("50 banded systems of size 64, in one band", lambda i: solve_banded((8, 8), band, right_hand_sides.ravel())),
        "ascent": ("exact gradient along an ascent", lambda i: pepg.performative_gradient(ascent_env, ascent[i])),
        "function": ("a function that answers, 16 states", lambda i: function_env.function(answered[i])),
        "response": ("its response as a FunctionPeMDP, recorded", lambda i: function_env.respond(answered[i])),
        "bend": (
            "the gradient of it, at a new policy",
            lambda i: function_env.response_gradient(bent[i], occupancy, state_value),
        ),
        "qp": ("quadratic program of RPO (lambda 0.1)", lambda i: closest_occupancy(mdp, mdp.r, 0.1)),
    }
    times = {name: [] for name in operations}
    for i in range(rounds):
        mdp = env.respond(retrained[i])
        for name, (_, run) in operations.items():
            start = process_time()
            run(i)
            times[name].append(process_time() - start)

    print(f"Gridworld: 8x8, eps {env.eps}, beta {env.beta}, {env.n_followers} followers, gamma {env.gamma}")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}, one BLAS thread")
    print(f"Median and quartiles of processor time in {REPETITIONS} rounds, after {WARM_UP} to warm up\n")
    print(f"{'operation':<44}{'median ms':>10}{'25 %':>8}{'75 %':>8}")
    medians = {}
    for name, (label, _) in operations.items():
        sample = [1e3 * t for t in times[name][WARM_UP:]]
        medians[name] = median(sample)
        low, _, high = quantiles(sample, n=4)
        print(f"{label:<44}{medians[name]:>10.2f}{low:>8.2f}{high:>8.2f}")
    start = process_time()
    pepg.algorithms.sampled_pepg(pepg.Gridworld(), seed=range(20))
    print(f"\nsampled PePG, 20 seeds x 100 deployments x 30 trajectories: {process_time() - start:.1f} s (target <= 9 s)")
    print(f"\n{'ratio':<44}{'':>10}{'target':>8}")
    ratios = (
        ("gradient / value", "gradient", "value", 3),
        ("gradient / 50 solves", "gradient", "solve", 6),
        ("gradient / 50 banded solves", "gradient", "banded", None),
        ("FunctionPeMDP: gradient / response", "bend", "response", 10),
    )
    for label, one, other, target in ratios:
        print(f"{label:<44}{medians[one] / medians[other]:>10.2f}{f'<= {target}' if target else '':>8}")
    print_larger_worlds()


if __name__ == "__main__":
    store_larger_worlds(sys.argv[1]) if len(sys.argv) > 1 else main()
