"""What an exact value, an exact gradient and a linear solve cost on this machine: `make bench`.

All in one process on one BLAS thread, side by side: each round times every operation once, on fresh random policies, so
that nothing is answered from the last deployment. What is counted is the processor's time, which on one thread is the
time taken on an idle machine, and does not grow by waiting for a busy one.
"""

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import platform
from statistics import median, quantiles
from time import process_time

import autograd.numpy as anp
import numpy as np

import pepg
from pepg.algorithms.retraining import closest_occupancy

REPETITIONS, WARM_UP = 200, 20


def response_of(env):
    """What a SoftmaxPeMDP answers, as a function that autograd can follow."""

    def respond(policy):
        bend = anp.tensordot(env.logit_map, policy, 2)
        weights = anp.exp(env.logits + bend)
        return weights / anp.sum(weights, axis=-1, keepdims=True), env.rewards + anp.tensordot(env.reward_map, policy, 2)

    return respond


def main():
    env, ascent_env = pepg.Gridworld(), pepg.Gridworld()
    rng = np.random.default_rng(0)
    rounds = REPETITIONS + WARM_UP
    values, gradients, retrained = pepg.softmax(rng.normal(size=(3, rounds, env.n_states, env.n_actions)))
    ascent = pepg.algorithms.pepg(env, policy=env.uniform_policy(), iterations=rounds).policies
    systems = np.eye(env.n_states) - env.gamma * rng.dirichlet(np.ones(env.n_states), (50, env.n_states))
    right_hand_sides = rng.normal(size=(50, env.n_states, 1))

    smooth = pepg.random_softmax_pemdp(rng, 16, env.n_actions, env.gamma)
    function_env = pepg.FunctionPeMDP(response_of(smooth), 16, env.n_actions, env.gamma, smooth.rho)
    answered, bent = pepg.softmax(rng.normal(size=(2, rounds, 16, env.n_actions)))
    occupancy, state_value = np.ones((16, env.n_actions)), rng.normal(size=16)

    operations = {
        "value": ("exact value at a new policy", lambda i: pepg.performative_value(env, values[i])),
        "gradient": ("exact gradient at a new policy", lambda i: pepg.performative_gradient(env, gradients[i])),
        "solve": ("numpy.linalg.solve, 50 systems of size 64", lambda i: np.linalg.solve(systems, right_hand_sides)),
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
        ("FunctionPeMDP: gradient / response", "bend", "response", 10),
    )
    for label, one, other, target in ratios:
        print(f"{label:<44}{medians[one] / medians[other]:>10.2f}{f'<= {target}':>8}")


if __name__ == "__main__":
    main()
