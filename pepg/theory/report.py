"""The results, checked on one environment: what a reader asks of an environment of their own."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import Numbers, check_count, check_mapping
from ..mdp import PeMDP, best_response, check_env, check_one_env
from ..performative import performative_gradient, performative_value
from .differences import central_differences, norm
from .results import best_response_gain, gradient_domination, gradient_parts, performance_difference


def report(env: PeMDP, optimum: ArrayLike, count: int = 20) -> list[dict[str, str | float]]:
    r"""R1, R3 and R5 on `env`, a dict a row: result, check, instances, worst and limit; what is worst is at most the limit.

    R1 on `count` pairs of random policies, the two sides' largest difference over the larger value; R3 at the first of them, the
    exact gradient against central differences, relative; R5 with `optimum` (S, A) as :math:`\pi_O`, how many of the policies break
    the bound. An environment for which one fails has an error in its derivative.
    """
    optimum, count = check_one_env(env).check_policy(optimum, "optimum"), check_count("count", count)
    policies, others = env.random_policies(range(count), scale=1.0), env.random_policies(range(count, 2 * count), scale=1.0)
    left, right = performance_difference(env, policies, others)
    identity = np.abs(left - right).max() / max(np.abs(left).max(), 1e-300)
    gradient = performative_gradient(env, policies[0])
    by_value = central_differences(env, np.log(policies[0]))
    size = norm(by_value)
    error = norm(gradient - by_value) / size if size > 1e-10 else norm(gradient)
    left, right, _ = gradient_domination(env, policies, optimum)
    rows = [
        ("R1", "the two sides, relative", count, identity, 1e-10),
        ("R3", "gradient against central differences, relative", 1, error, 1e-6),
        ("R5", "policies at which the bound is broken", count, int((left > right).sum()), 0),
    ]
    return [dict(zip(("result", "check", "instances", "worst", "limit"), row)) for row in rows]


def parts(env: PeMDP, policies: Mapping[str, ArrayLike]) -> list[dict[str, str | float]]:
    """A dict for each of `policies` (a dict of (S, A) by name): its value, the norms of the gradient's three parts, and the gain that a
    best response promises in the environment that it has brought about (0 where it is stable).
    """
    check_mapping("policies", policies, "policy")
    rows = []
    for name, policy in policies.items():
        policy = check_one_env(env).check_policy(policy, f"policies: {name}")
        sizes = [float(norm(part)) for part in gradient_parts(env, policy)]
        columns = "policy's part", "rewards' part", "transitions' part"
        value, gain = float(performative_value(env, policy)), float(best_response_gain(env, policy))
        rows.append({"policy": name, "value": value, **dict(zip(columns, sizes)), "gain of a best response": gain})
    return rows


def promised_and_delivered(env: PeMDP, policy: ArrayLike) -> tuple[Numbers, Numbers, Numbers]:
    """The value of `policy`, what a best response to its environment promises there, and what that delivers once deployed."""
    policy = check_env(env).check_policy(policy)
    frozen = env.respond(policy)
    response = best_response(frozen)
    return performative_value(env, policy), frozen.expected_return(response), performative_value(env, response)
