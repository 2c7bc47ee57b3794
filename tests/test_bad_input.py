"""Nothing accepted in silence: every argument of every public function, with every value that is wrong for its kind.

`GOOD` holds a call of each public function, constructor and method that works. Each argument is replaced in turn by the values that
`BAD` holds for its kind, found in `KINDS` by its name; each such call must raise a ValueError or TypeError that names the argument,
says what was expected, and what came. A public name that has no row, or an argument without a kind, fails a test.
"""

import importlib
import inspect
import re
import warnings

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import pepg
from pepg import algorithms, companion, data, experiments, figures, policies, theory
from pepg.algorithms.retraining import closest_occupancy, policy_of_occupancy
from pepg.theory import certificate, curvature, differences, estimators

RNG = np.random.default_rng
ENV = pepg.random_softmax_pemdp(RNG(0), 2, 2, 0.8)
SIDE = pepg.random_softmax_pemdp(RNG(1), 2, 2, 0.8, count=3)
GRID = pepg.Gridworld(n_followers=1, grid=[[0.0, -0.1], [0.0, 1.0]])
POLICY = ENV.random_policies([0], scale=1.0)[0]
HERE = pepg.deploy(ENV, POLICY)
MDP = HERE.mdp
PATHS = data.sample_trajectories(MDP, POLICY, 6, 4, RNG(2))
WEIGHTS = PATHS.rewards
CROWD = pepg.CrowdedMDP(MDP, 0.1)
RANKED = pepg.RankedGrid(grid=[[0.0] * 3, [0.0] * 3, [0.0, 0.0, 1.0]], ranked=1)
RUN = algorithms.pepg(ENV, policy=[POLICY, POLICY], iterations=3)
GRADIENT = pepg.performative_gradient(ENV, POLICY)
NOISY = GRADIENT + RNG(3).normal(size=(20, 2, 2))
HESSIAN = curvature.hessian(ENV, POLICY)
TABLE = pd.DataFrame({"x": [1.0, 2.0]})
CURVE = figures.curves([0, 1], np.ones((2, 3)), "deployments", knows="exact", algorithm="PePG")
COUNTS = figures.count_sides([1.0, 2.0], [2.0, 3.0], -2, 2, gamma=0.5)
STEPS = pd.DataFrame({"instances": ["random"] * 2, "step": ["a", "b"], "low": 0.1, "median": 0.2, "high": 0.3})
SHOWN = figures.policy_table({"PG": (1.0, 1.0, 1.0)}, {"PG": POLICY}, ["s", "t"], ["a", "b"])
AXES = plt.figure().add_subplot()
CONSTANTS = {"logits": MDP.P, "logit_map": np.ones((2, 2, 2, 2, 2)), "rewards": MDP.r, "reward_map": np.ones((2, 2, 2, 2))}


def answer(policy):
    return MDP.P, MDP.r * policy


class Own(pepg.PeMDP):
    """What a reader writes by hand: with the transition gradient that every environment has."""

    n_states, n_actions, gamma, rho = 2, 2, 0.8, MDP.rho

    def respond(self, policy):
        return ENV.respond(policy)

    def response_gradient(self, policy, occupancy, value):
        return ENV.response_gradient(policy, occupancy, value)


def output(folder):
    return companion.Output("test")


def told(model):
    """A model that was told of one deployment."""
    model.observe(POLICY, PATHS)
    return model


def learned():
    return told(data.LearnedResponse(0.8, MDP.rho, 2))


def steering():
    return told(data.SteeringResponse(0.8, MDP.rho, 2))


def deployed():
    env = pepg.gymnasium.DeployedMDP(ENV)
    env.reset(seed=0)
    return env


def even(parameters):
    first = 0.5 + 0.0 * parameters[0]
    return anp.array([[first, 1.0 - first]] * 2)


TABULAR, LINEAR, FUNCTION = policies.Tabular(2, 2), policies.LogLinear(np.ones((2, 2, 3))), policies.FunctionPolicy(even, 2, 2, 3)
POLICIES = {"policy": POLICY}
RESPONSE = {"policy": POLICY, "occupancy": HERE.occupancy, "value": HERE.value}
PAIR = {"env": ENV, "policy": POLICY, "other": ENV.uniform_policy()}
BOUND = PAIR | {"lipschitz": ENV.lipschitz_constants()}
SAMPLED = {"env": ENV, "policy": POLICY, "iterations": 1, "seed": 1, "trajectories": 4, "horizon": 3}
ASCENT = SAMPLED | {"step_size": 0.1, "memory": 0.9, "warm_up": 0.5, "entropy": 0.1}
MODEL = {"gamma": 0.8, "rho": MDP.rho, "n_actions": 2, "lead": ()}
ON_RANKED = {"policy": RANKED.uniform_policy(), "occupancy": np.ones((9, 4)), "value": np.ones(9)}
RETRAINED = SAMPLED | {"regularization": 0.1, "coverage": 10.0, "w": 0.5}
SWEPT = {"algorithms": {"PG": algorithms.policy_gradient}, "environments": {"world": ENV}, "seeds": [0], "jobs": 1, "cluster": None}

# One call that works of everything public: the object, and its arguments. A method stands as a function of no argument that makes it.
GOOD = {
    "pepg.MDP": (pepg.MDP, {"P": MDP.P, "r": MDP.r, "gamma": 0.8, "rho": MDP.rho, "terminal": [1]}),
    "pepg.MDP.check_policy": (MDP.check_policy, POLICIES),
    "pepg.MDP.backup": (MDP.backup, {"value": HERE.value}),
    "pepg.MDP.with_rewards": (MDP.with_rewards, {"r": MDP.r}),
    "pepg.MDP.value": (MDP.value, {"policy": POLICY, "entropy": 0.1}),
    "pepg.MDP.action_value": (MDP.action_value, POLICIES),
    "pepg.MDP.advantage": (MDP.advantage, POLICIES),
    "pepg.MDP.occupancy": (MDP.occupancy, POLICIES),
    "pepg.MDP.expected_return": (MDP.expected_return, POLICIES),
    "pepg.PeMDP.transition_gradient": (Own().transition_gradient, {"policy": POLICY, "weights": MDP.P}),
    "pepg.PeMDP.check_policy": (Own().check_policy, POLICIES),
    "pepg.PeMDP.random_policies": (Own().random_policies, {"seeds": [0], "scale": 1.0}),
    "pepg.CrowdedMDP": (pepg.CrowdedMDP, {"mdp": MDP, "cost": 0.1}),
    "pepg.CrowdedMDP.respond": (CROWD.respond, POLICIES),
    "pepg.CrowdedMDP.response_gradient": (CROWD.response_gradient, RESPONSE),
    "pepg.CrowdedMDP.transition_gradient": (CROWD.transition_gradient, {"policy": POLICY, "weights": MDP.P}),
    "pepg.Crowding": (pepg.Crowding, {"grid": [[0.0, 1.0]], "cost": 1.0, "gamma": 0.9}),
    "pepg.RankedGrid": (pepg.RankedGrid, {"grid": RANKED.grid, "ranked": 1, "slip": 0.1, "gamma": 0.9}),
    "pepg.RankedGrid.entry_rewards": (RANKED.entry_rewards, {"policy": RANKED.uniform_policy()}),
    "pepg.RankedGrid.respond": (RANKED.respond, {"policy": RANKED.uniform_policy()}),
    "pepg.RankedGrid.paying": (RANKED.paying, {"entry": np.ones(9)}),
    "pepg.RankedGrid.response_gradient": (RANKED.response_gradient, ON_RANKED),
    "pepg.RankedGrid.transition_gradient": (
        RANKED.transition_gradient, {"policy": RANKED.uniform_policy(), "weights": np.ones((9, 4, 9))}
    ),
    "pepg.FunctionPeMDP": (
        pepg.FunctionPeMDP, {"respond": answer, "n_states": 2, "n_actions": 2, "gamma": 0.8, "rho": MDP.rho, "terminal": 1}
    ),
    "pepg.FunctionPeMDP.respond": (pepg.FunctionPeMDP(answer, 2, 2, 0.8, MDP.rho).respond, POLICIES),
    "pepg.FunctionPeMDP.response_gradient": (pepg.FunctionPeMDP(answer, 2, 2, 0.8, MDP.rho).response_gradient, RESPONSE),
    "pepg.Gridworld": (
        pepg.Gridworld, {"eps": 0.5, "beta": 1.0, "n_followers": 2, "gamma": 0.9, "cost": 0.1, "grid": [[0.0, 1.0]], "seed": 1}
    ),
    "pepg.Gridworld.epsilon_greedy_policy": (GRID.epsilon_greedy_policy, {"epsilon": 0.1}),
    "pepg.Gridworld.respond": (GRID.respond, {"policy": GRID.uniform_policy()}),
    "pepg.Gridworld.agent_two": (GRID.agent_two, {"policy": GRID.uniform_policy()}),
    "pepg.Gridworld.response_gradient": (
        GRID.response_gradient, {"policy": GRID.uniform_policy(), "occupancy": np.ones((4, 4)), "value": np.ones(4)}
    ),
    "pepg.Gridworld.transition_gradient": (
        GRID.transition_gradient, {"policy": GRID.uniform_policy(), "weights": np.ones((4, 4, 4))}
    ),
    "pepg.Run": (
        pepg.Run, {name: getattr(RUN, name) for name in ("policies", "values", "shifts", "deployments", "samples")} | {"parameters": RUN.policies}
    ),
    "pepg.SoftmaxPeMDP": (
        pepg.SoftmaxPeMDP, CONSTANTS | {"gamma": 0.8, "rho": MDP.rho, "transition_strength": 1.0, "reward_strength": 2.0}
    ),
    "pepg.SoftmaxPeMDP.select": (SIDE.select, {"index": 1}),
    "pepg.SoftmaxPeMDP.check_policy": (SIDE.check_policy, POLICIES),
    "pepg.SoftmaxPeMDP.respond": (SIDE.respond, POLICIES),
    "pepg.SoftmaxPeMDP.response_gradient": (SIDE.response_gradient, RESPONSE),
    "pepg.SoftmaxPeMDP.smoothness": (SIDE.smoothness, {"entropy": 0.1}),
    "pepg.best_response": (pepg.best_response, {"mdp": MDP}),
    "pepg.check_environment": (pepg.check_environment, {"env": ENV, "policies": [POLICY]}),
    "pepg.compare": (
        pepg.compare,
        {"env": ENV, "seeds": [0], "iterations": 1, "deployments": 30, "trajectories": 1, "horizon": 2, "regularizations": [0.1],
         "tuning_seeds": [1], "ascent": {"step_size": 0.1}, "jobs": 1},
    ),
    "pepg.congestion_policies": (pepg.congestion_policies, {"env": pepg.pigou()}),
    "pepg.deploy": (pepg.deploy, {"env": ENV, "policy": POLICY, "entropy": 0.1}),
    "pepg.performative_gradient": (pepg.performative_gradient, {"env": ENV, "policy": POLICY, "entropy": 0.1}),
    "pepg.performative_value": (pepg.performative_value, {"env": ENV, "policy": POLICY, "entropy": 0.1}),
    "pepg.pigou": (pepg.pigou, {"intercepts": [-1.0, 0.0], "slopes": [0.0, 1.0], "gamma": 0.0}),
    "pepg.policy_gradient": (pepg.policy_gradient, {"env": ENV, "policy": POLICY, "entropy": 0.1}),
    "pepg.random_grid": (pepg.random_grid, {"rows": 2, "columns": 3, "seed": 1}),
    "pepg.random_softmax_pemdp": (
        pepg.random_softmax_pemdp,
        {"rng": RNG(0), "n_states": 2, "n_actions": 2, "gamma": 0.8, "transition_strength": 1.0, "reward_strength": 1.0, "count": 2},
    ),
    "pepg.softmax": (pepg.softmax, {"logits": np.zeros((2, 2))}),
    "pepg.gymnasium.DeployedMDP": (pepg.gymnasium.DeployedMDP, {"env": ENV, "policy": POLICY, "horizon": 3}),
    "pepg.gymnasium.DeployedMDP.reset": (deployed().reset, {"seed": 1, "options": {"state": 1}}),
    "pepg.gymnasium.DeployedMDP.step": (deployed().step, {"action": 1}),
    "algorithms.pepg": (
        algorithms.pepg, {"env": ENV, "policy": POLICY, "iterations": 2, "seed": 1, "step_size": 0.1, "entropy": 0.1}
    ),
    "algorithms.policy_gradient": (
        algorithms.policy_gradient, {"env": ENV, "policy": POLICY, "iterations": 2, "seed": 1, "step_size": 0.1, "entropy": 0.1}
    ),
    "algorithms.repeated_policy_optimization": (
        algorithms.repeated_policy_optimization, {"env": ENV, "policy": POLICY, "iterations": 1, "seed": 1, "regularization": 0.1}
    ),
    "algorithms.repeated_gradient_ascent": (
        algorithms.repeated_gradient_ascent,
        {"env": ENV, "policy": POLICY, "iterations": 1, "seed": 1, "step_size": 1.0, "regularization": 0.1},
    ),
    "algorithms.sampled_pepg": (algorithms.sampled_pepg, ASCENT | {"response": "learned", "exploration": 1.0}),
    "algorithms.sampled_policy_gradient": (algorithms.sampled_policy_gradient, ASCENT),
    "algorithms.Adam": (algorithms.Adam, {"size": 0.1}),
    "algorithms.Mirror": (algorithms.Mirror, {"size": 80.0}),
    "algorithms.hedge": (algorithms.hedge, {"env": ENV, "policy": POLICY, "iterations": 2, "seed": 1, "step_size": 1.0}),
    "algorithms.repeated_policy_optimization_fs": (algorithms.repeated_policy_optimization_fs, RETRAINED),
    "algorithms.delayed_repeated_retraining": (algorithms.delayed_repeated_retraining, RETRAINED | {"k": 2}),
    "algorithms.mixed_delayed_repeated_retraining": (algorithms.mixed_delayed_repeated_retraining, RETRAINED | {"k": 2, "v": 1.1}),
    "algorithms.zeroth_order_frank_wolfe": (
        algorithms.zeroth_order_frank_wolfe,
        SAMPLED | {"directions": 2, "perturbation": 0.01, "floor": 0.02, "step_size": 0.2, "entropy": 0.1},
    ),
    "policies.Tabular": (policies.Tabular, {"n_states": 2, "n_actions": 2}),
    "policies.LogLinear": (policies.LogLinear, {"features": np.ones((2, 2, 3))}),
    "policies.FunctionPolicy": (policies.FunctionPolicy, {"function": even, "n_states": 2, "n_actions": 2, "n_parameters": 3}),
    "policies.Tabular.logits": (TABULAR.logits, {"parameters": POLICY}),
    "policies.LogLinear.logits": (LINEAR.logits, {"parameters": np.ones(3)}),
    "policies.Tabular.check_parameters": (TABULAR.check_parameters, {"parameters": POLICY}),
    "policies.Tabular.from_logits": (TABULAR.from_logits, {"gradient": GRADIENT}),
    "policies.LogLinear.from_logits": (LINEAR.from_logits, {"gradient": GRADIENT}),
    "policies.Tabular.policy": (TABULAR.policy, {"parameters": POLICY}),
    "policies.Tabular.pullback": (TABULAR.pullback, {"parameters": POLICY, "gradient": POLICY}),
    "policies.Tabular.random_parameters": (TABULAR.random_parameters, {"seeds": [0], "scale": 1.0}),
    "policies.LogLinear.policy": (LINEAR.policy, {"parameters": np.ones(3)}),
    "policies.LogLinear.pullback": (LINEAR.pullback, {"parameters": np.ones(3), "gradient": POLICY}),
    "policies.LogLinear.random_parameters": (LINEAR.random_parameters, {"seeds": [0], "scale": 1.0}),
    "policies.FunctionPolicy.policy": (FUNCTION.policy, {"parameters": np.ones(3)}),
    "policies.FunctionPolicy.pullback": (FUNCTION.pullback, {"parameters": np.ones(3), "gradient": POLICY}),
    "policies.FunctionPolicy.random_parameters": (FUNCTION.random_parameters, {"seeds": [0], "scale": 1.0}),
    "retraining.closest_occupancy": (closest_occupancy, {"mdp": MDP, "target": MDP.r, "weight": 1.0, "bound": 10.0}),
    "retraining.policy_of_occupancy": (policy_of_occupancy, {"occupancy": HERE.occupancy}),
    "theory.best_response_gain": (theory.best_response_gain, {"env": ENV, "policy": POLICY}),
    "theory.decoupled_landscape": (theory.decoupled_landscape, {"env": ENV, "policies": [POLICY, POLICY]}),
    "theory.hedge_bound": (theory.hedge_bound, {"env": ENV, "policies": [POLICY, POLICY]}),
    "theory.local_stability": (theory.local_stability, {"env": ENV, "policies": [POLICY, POLICY]}),
    "theory.difference_terms": (theory.difference_terms, PAIR),
    "theory.domination_steps": (theory.domination_steps, {"env": ENV, "policy": POLICY, "optimum": POLICY}),
    "theory.gradient_domination": (theory.gradient_domination, {"env": ENV, "policy": POLICY, "optimum": POLICY}),
    "theory.gradient_parts": (theory.gradient_parts, {"env": ENV, "policy": POLICY, "entropy": 0.1}),
    "theory.parts": (theory.parts, {"env": ENV, "policies": {"one": POLICY}}),
    "theory.performance_difference": (theory.performance_difference, PAIR),
    "theory.performative_shift": (theory.performative_shift, BOUND),
    "theory.promise_and_shift": (theory.promise_and_shift, {"env": ENV, "policies": [POLICY, ENV.uniform_policy()]}),
    "theory.promised_and_delivered": (theory.promised_and_delivered, {"env": ENV, "policy": POLICY}),
    "theory.report": (theory.report, {"env": ENV, "optimum": POLICY, "count": 2}),
    "theory.sharp_shift": (theory.sharp_shift, BOUND),
    "theory.shift_steps": (theory.shift_steps, BOUND),
    "theory.stability_gap": (
        theory.stability_gap, {"env": ENV, "stable": POLICY, "optimum": POLICY, "lipschitz": ENV.lipschitz_constants()}
    ),
    "certificate.box_bounds": (certificate.box_bounds, {"env": ENV, "policies": [[[0.5, 0.5]] * 2], "half_width": 0.1}),
    "certificate.certified_optimum": (certificate.certified_optimum, {"env": ENV, "policies": POLICY, "tolerance": 0.1}),
    "differences.norm": (differences.norm, {"array": GRADIENT}),
    "differences.inner": (differences.inner, {"array": GRADIENT, "other": GRADIENT}),
    "differences.cosine": (differences.cosine, {"array": GRADIENT, "other": GRADIENT}),
    "differences.slopes": (
        differences.slopes, {"function": lambda logits: logits.sum(axis=(-1, -2)), "logits": GRADIENT, "width": 1e-3}
    ),
    "differences.central_differences": (
        differences.central_differences, {"env": ENV, "logits": GRADIENT, "entropy": 0.1, "width": 1e-3}
    ),
    "differences.by_differentiation": (
        differences.by_differentiation, {"env": SIDE, "logits": np.zeros((3, 2, 2)), "entropy": 0.1}
    ),
    "estimators.WithoutTransitions": (estimators.WithoutTransitions, {"env": ENV}),
    "estimators.WithoutTransitions.respond": (estimators.WithoutTransitions(ENV).respond, POLICIES),
    "estimators.WithoutTransitions.response_gradient": (estimators.WithoutTransitions(ENV).response_gradient, RESPONSE),
    "estimators.visits": (estimators.visits, {"mdp": MDP, "policy": POLICY, "horizon": 3, "discount": 1.0}),
    "estimators.expected_update": (estimators.expected_update, {"env": ENV, "here": HERE, "visits": HERE.occupancy}),
    "estimators.estimates": (
        estimators.estimates,
        {"env": ENV, "here": HERE, "weightings": lambda paths: {"a": (paths.rewards,)}, "count": 5, "horizon": 3, "rng": RNG(0)},
    ),
    "estimators.coefficient": (
        estimators.coefficient, {"estimates": NOISY, "exact": GRADIENT, "part": GRADIENT, "level": 0.9}
    ),
    "estimators.power": (estimators.power, {"estimates": NOISY, "part": GRADIENT, "count": 100, "level": 0.9}),
    "curvature.hessian": (curvature.hessian, {"env": ENV, "policy": POLICY, "width": 1e-5}),
    "curvature.largest_eigenvalue": (curvature.largest_eigenvalue, {"operator": HESSIAN}),
    "curvature.asymmetry": (curvature.asymmetry, {"operator": HESSIAN, "scale": 1.0}),
    "data.LearnedResponse": (data.LearnedResponse, MODEL | {"ridge": 1.0, "memory": 0.9}),
    "data.LearnedResponse.observe": (learned().observe, {"policy": POLICY, "trajectories": PATHS}),
    "data.LearnedResponse.slopes": (learned().slopes, {"weights": [1.0, 2.0]}),
    "data.LearnedResponse.respond": (learned().respond, POLICIES),
    "data.LearnedResponse.response_gradient": (learned().response_gradient, RESPONSE),
    "data.PooledModel": (data.PooledModel, MODEL | {"memory": 0.9, "weight": 1.0}),
    "data.PooledModel.observe": (data.PooledModel(0.8, MDP.rho, 2).observe, {"trajectories": PATHS}),
    "data.SteeringResponse": (data.SteeringResponse, MODEL | {"strength": 0.1, "weight": 1.0, "memory": 0.9}),
    "data.SteeringResponse.observe": (steering().observe, {"policy": POLICY, "trajectories": PATHS}),
    "data.SteeringResponse.respond": (steering().respond, POLICIES),
    "data.SteeringResponse.response_gradient": (steering().response_gradient, RESPONSE),
    "data.Trajectories": (
        data.Trajectories, {name: getattr(PATHS, name) for name in ("states", "actions", "rewards", "real")}
    ),
    "data.Trajectories.pairs": (PATHS.pairs, {"n_actions": 2}),
    "data.advantages": (data.advantages, {"trajectories": PATHS, "advantage": MDP.r}),
    "data.empirical_mdp": (
        data.empirical_mdp, {"transitions": PATHS.transitions, "gamma": 0.8, "rho": MDP.rho, "n_actions": 2}
    ),
    "data.estimated_value": (
        data.estimated_value, {"trajectories": PATHS, "gamma": 0.8, "prior": HERE.value, "weight": 1.0}
    ),
    "data.gradient_estimates": (
        data.gradient_estimates,
        {"env": ENV, "policy": POLICY, "trajectories": PATHS, "weights": WEIGHTS, "transition_weights": WEIGHTS, "discounted": True},
    ),
    "data.mean_gradient_estimate": (
        data.mean_gradient_estimate,
        {"env": ENV, "policy": POLICY, "trajectories": PATHS, "weights": WEIGHTS, "transition_weights": WEIGHTS, "discounted": True},
    ),
    "data.mean_policy_score": (
        data.mean_policy_score, {"policy": POLICY, "trajectories": PATHS, "weights": WEIGHTS, "gamma": 0.8}
    ),
    "data.hotelling": (data.hotelling, {"estimates": NOISY, "exact": GRADIENT}),
    "data.next_step": (data.next_step, {"weights": WEIGHTS, "gamma": 0.8}),
    "data.returns": (data.returns, {"trajectories": PATHS, "gamma": 0.8}),
    "data.sample_trajectories": (
        data.sample_trajectories, {"mdp": MDP, "policy": POLICY, "count": 3, "horizon": 2, "rng": RNG(0)}
    ),
    "data.temporal_differences": (data.temporal_differences, {"trajectories": PATHS, "value": HERE.value, "gamma": 0.8}),
    "data.with_entropy_bonus": (data.with_entropy_bonus, {"trajectories": PATHS, "policy": POLICY, "entropy": 0.1}),
    "experiments.budget_curve": (experiments.budget_curve, {"run": RUN, "budgets": [0, 1], "unit": "deployments"}),
    "experiments.budget_difference": (
        experiments.budget_difference, {"run": RUN, "other": RUN, "budget": 1, "unit": "deployments"}
    ),
    "experiments.budget_grid": (experiments.budget_grid, {"run": RUN, "points": 3, "unit": "samples"}),
    "experiments.budget_table": (
        experiments.budget_table, {"runs": {("a",): RUN}, "names": ["algorithm"], "budgets": {"deployments": [1]}}
    ),
    "experiments.mean_interval": (experiments.mean_interval, {"samples": [1.0, 2.0], "axis": 0, "level": 0.9}),
    "experiments.paid_for": (experiments.paid_for, {"spent": [0, 1], "quantity": [1.0, 2.0], "budgets": [1]}),
    "experiments.paired_difference": (
        experiments.paired_difference, {"first": [1.0, 2.0], "second": [1.0, 2.0], "axis": 0, "level": 0.9}
    ),
    "experiments.parallel": (experiments.parallel, {"function": abs, "cases": [1], "jobs": 1, "cluster": None}),
    "experiments.plus_minus": (experiments.plus_minus, {"interval": (1.0, 0.0, 2.0)}),
    "experiments.random_instances": (
        experiments.random_instances,
        {"seed": 0, "states": [2], "actions": [2], "gammas": [0.5], "strengths": [1.0], "count": 2},
    ),
    "experiments.runs": (experiments.runs, SWEPT | {"folder": None}),
    "experiments.sweep": (experiments.sweep, SWEPT | {"folder": None}),
    "experiments.value_at": (experiments.value_at, {"run": RUN, "budgets": [1], "unit": "deployments"}),
    "companion.Output": (companion.Output, {"notebook": "test", "profile": "quick"}),
    "companion.Output.save_data": (companion.Output("test").save_data, {"name": "a", "table": TABLE}),
    "companion.Output.save_figure": (companion.Output("test").save_figure, {"name": "a", "figure": plt.figure(), "data": "a"}),
    "companion.Output.save_table": (companion.Output("test").save_table, {"name": "a", "table": TABLE, "caption": "it"}),
    "companion.Output.claim": (
        companion.Output("test").claim, {"statement": "a number", "measured": 1.0, "stated": 1, "source": "paper"}
    ),
    "companion.open": (companion.open, {"notebook": "test", "quick": {}, "full": {}}),
    "companion.read_published": (companion.read_published, {"name": "07_summary_results"}),
    "companion.show_table": (companion.show_table, {"table": TABLE, "default": "{:.1f}"}),
    "figures.shades": (figures.shades, {"name": "PePG", "count": 3}),
    "figures.curves": (figures.curves, {"x": [0, 1], "samples": np.ones((2, 3)), "x_name": "iteration"}),
    "figures.draw_curve": (figures.draw_curve, {"axes": AXES, "table": CURVE, "name": "PePG", "x": "deployments"}),
    "figures.count_sides": (figures.count_sides, {"left": [1.0], "right": [2.0], "low": -1, "high": 1}),
    "figures.both_sides": (
        figures.both_sides, {"data": COUNTS, "by": "gamma", "title": "{}", "left": "left", "right": "right"}
    ),
    "figures.proof_steps": (
        figures.proof_steps, {"data": STEPS, "labels": {"random": "random"}, "xlabel": "ratio", "xscale": "log"}
    ),
    "figures.step_quantiles": (
        figures.step_quantiles, {"groups": {"a": pd.DataFrame({"q0": [1.0], "q1": [2.0]})}, "steps": ["one"], "letter": "q"}
    ),
    "figures.learning_curves": (figures.learning_curves, {"table": CURVE, "ylabel": "value"}),
    "figures.policy_table": (
        figures.policy_table,
        {"values": {"PG": (1.0, 1.0, 1.0)}, "policies": {"PG": POLICY}, "states": ["s", "t"], "actions": ["a", "b"]},
    ),
    "figures.stable_and_optimal": (figures.stable_and_optimal, {"table": SHOWN}),
}

# What is only given back, or takes nothing of a caller's
RECORDS = {"theory.Domination", "certificate.Certificate", "figures.use_style"}
# Given to matplotlib as they are, or keywords of any name
FREE = {"label", "color", "linestyle", "formats"}


# What is wrong, by kind


class Strange:
    """An object of nobody's."""


def masked(array):
    return np.ma.masked_array(array, mask=np.zeros(np.shape(array), bool) | (np.arange(np.size(array)).reshape(np.shape(array)) == 0))


NO_NUMBER = ["3", None, True, 1j, [1.0, 2.0], {}, Strange(), float, np.array([1.0, 2.0]), float("nan"), float("inf"), -float("inf")]
NO_COUNT = [*NO_NUMBER, -1, 1.5, 10**13, 1e300, 10**400]
NO_ARRAY = ["text", None, {}, Strange(), [[0.5, 0.5], [0.5]], Own, abs]
ENVIRONMENT = [None, "gridworld", 3, pepg.Gridworld, MDP, {}, [ENV], POLICY, ENV.respond, Strange()]
PROBABILITIES = [[0.5, 0.6], [1.5, -0.5], [0.5, np.nan], [np.inf, 0.0], [1.0], [1 + 0j, 0j], ["1", "0"], [True, False], masked([0.5, 0.5])]


def no_array(good):
    """What is wrong in place of an array: of its shape too, with one entry that is not finite, or hidden, or no number."""
    good = np.asarray(good, dtype=float)
    hole, far = good.copy(), good.copy()
    hole.flat[0], far.flat[-1] = np.nan, np.inf
    kinds = [masked(good), good + 1j, good.astype(str), good > 0, good.astype(object)]
    return [*NO_ARRAY, hole, far, *kinds, np.ones((3, *good.shape[:-1], 7)), good[:0]]


def no_policy(good):
    good = np.asarray(good, dtype=float)
    low, short = good.copy(), good.copy()
    low.flat[0], short.flat[0] = -0.1, short.flat[0] + 0.01
    return [*no_array(good), low, short, good[..., :-1], good[None][:0]]


def no_mapping(good):
    return [None, "text", 3, [1], {}, Strange(), {1: 2}, dict]


BAD = {
    "env": lambda good: ENVIRONMENT,
    "mdp": lambda good: [None, "mdp", 3, pepg.MDP, ENV, {}, MDP.P, Strange()],
    "run": lambda good: [None, "run", 3, pepg.Run, ENV, RUN.values, [RUN], Strange()],
    "here": lambda good: [None, "here", 3, MDP, ENV, POLICY, pepg.deploy],
    "trajectories of": lambda good: [None, "paths", 3, data.Trajectories, MDP, WEIGHTS, PATHS.transitions],
    "their policy": lambda good: [*no_policy(good), np.stack([good, good])],
    "policy": no_policy,
    "policies": lambda good: [*no_policy(good), 3],
    "array": no_array,
    "distribution": lambda good: [*NO_ARRAY, *PROBABILITIES],
    "distribution of any size": lambda good: [*NO_ARRAY, *(bad for bad in PROBABILITIES if len(bad) == 2)],
    "transitions": lambda good: [*no_policy(good), np.ones((2, 3))],
    "terminal": lambda good: ["1", 1.0, 2, -1, True, [True], [0, 7], [0.0], {}, Strange(), masked([1, 0]), np.ones((2, 2), bool)],
    "gamma": lambda good: [*NO_NUMBER, 1.0, 1.5, -0.1],
    "discount": lambda good: [*NO_NUMBER, 1.5, -0.1],
    "share": lambda good: [*NO_NUMBER, 1.5, -0.1],
    "level": lambda good: [*NO_NUMBER, 0.0, 1.0, 95],
    "positive": lambda good: [*NO_NUMBER, 0.0, -1.0, 1e300],
    "non-negative": lambda good: [*NO_NUMBER, -1.0, 1e300],
    "coefficients": lambda good: ["3", True, 1j, {}, Strange(), float, [1.0, np.nan], float("nan"), float("inf"), -1.0, [-1.0]],
    "strength": lambda good: ["3", None, True, 1j, {}, Strange(), [1.0, np.nan], float("nan"), float("inf"), masked([1.0, 2.0])],
    "real": lambda good: NO_NUMBER,
    "count": lambda good: [*NO_COUNT, 0],
    "steps": lambda good: NO_COUNT,
    "seed": lambda good: ["3", True, 1j, 1.5, -1, {}, Strange(), int, float("nan"), [], [1, -1], [0.5], np.ones(2)],
    "several policies": lambda good: [*no_policy(good), 3, good[0], [good]],
    "one mdp": lambda good: [*BAD["mdp"](good), SIDE.respond(SIDE.uniform_policy())],
    "numbers >= 0": lambda good: [None, 3, "ab", {}, [], Strange(), [-0.1], [np.nan], ["0.1"], [True], [None], [[0.1]]],
    "ascent": lambda good: [3, "fast", [], Strange(), {1: 2}, {"seed": 1}, {"step_size": -1.0}, {"memory": "long"}],
    "deployments": lambda good: [*NO_COUNT, 0, 31],
    "lead": lambda good: [None, 3, "ab", {}, Strange(), (-1,), (0,), (1.5,), (True,), ("2",), (10**13,), (10**6, 10**6), np.ones(2)],
    "response": lambda good: [None, 3, "nothing", [], True, ENV, data.LearnedResponse, data.LearnedResponse(0.8, [1.0], 2)],
    "strength of one": lambda good: [*BAD["strength"](good), [1.0, 2.0]],
    "seeds": lambda good: [None, "01", True, 3, {}, Strange(), [], [0.5], [-1], ["0"], [True], [None]],
    "seeds, each once": lambda good: [None, "01", True, 3, {}, Strange(), [], [0.5], [-1], ["0"], [True], [None], [0, 0]],
    "rng": lambda good: [None, 3, "rng", np.random, np.random.Generator, [], np.random.RandomState(0)],
    "function": lambda good: [None, 3, "f", [], POLICY],
    "lipschitz": lambda good: [None, 3, "ab", (1.0,), (1.0, 2.0, 3.0), (-1.0, 1.0), (1.0, np.nan), (1.0, "2"), (True, 1.0), {}],
    "choice": lambda good: [None, 3, "nothing", [], True],
    "name": lambda good: [None, 3, "", "a/b", "../../x", "/tmp/x", ".x", [], Strange()],
    "text": lambda good: [None, 3, [], Strange(), True],
    "flag": lambda good: [None, 1, "yes", [], 0.0],
    "folder": lambda good: [None, 3, "", [], Strange()],
    "jobs": lambda good: [0, -1, 1.5, "2", True, float("nan"), [1], Strange()],
    "cluster": lambda good: [3, [], {}, True, Strange()],
    "cases": lambda good: [None, 3, "abc", {}, Strange()],
    "mapping": no_mapping,
    "table": lambda good: [None, 3, "table", [[1.0]], {"x": [1.0]}, POLICY, pd.DataFrame, pd.Series([1.0])],
    "columns": lambda good: [None, 3, "table", [[1.0]], {"x": [1.0]}, POLICY, pd.DataFrame, pd.DataFrame({"other": [1.0]})],
    "figure": lambda good: [None, 3, "figure", plt, AXES],
    "axes": lambda good: [None, 3, "axes", plt, plt.figure()],
    "sequence": lambda good: [None, 3, "ab", {}, [], Strange()],
    "counts": lambda good: [None, 3, "23", {}, [], [0], [1.5], ["2"], [True], Strange()],
    "gammas": lambda good: [None, 0.5, "5", {}, [], [1.0], [-0.1], ["0.5"], [np.nan], [True]],
    "operator": lambda good: [None, 3, "hessian", np.eye(4), ENV],
    "index": lambda good: [None, "a", 7, -7, 1.5, True, [], {}, Strange(), slice(5, 9)],
    "action": lambda good: [None, "a", 2, -1, 0.5, True, [0], Strange()],
    "options": lambda good: [3, "state", [], {"stat": 1}, {"state": 9}, {"state": None}, {"state": True}, {"state": 1, "more": 2}],
    "stated": lambda good: [None, [], {}, Strange(), "much", "> x", 1j],
    "measured": lambda good: [None, "1", [1.0, 2.0], {}, Strange(), True, 1j],
    "axis": lambda good: ["0", None, 1.5, 3, -4, True, [0]],
    "budgets": lambda good: [None, "1", {}, Strange(), [], [-1], [np.nan], 3, [True], ["1"], masked([1.0, 2.0])],
    "interval": lambda good: [None, 3, "abc", (1.0, 2.0), (1.0, 2.0, "3"), {}, Strange()],
    "quick": lambda good: [3, "seeds", [], {"no such parameter": 1}],
}
KINDS = {
    "env": "env", "mdp": "mdp", "run": "run", "here": "here", "policy": "policy", "other": "policy", "optimum": "policy",
    "stable": "policy", "policies": "policies", "P": "transitions", "r": "array", "rho": "distribution", "terminal": "terminal",
    "gamma": "gamma", "value": "array", "weights": "array", "transition_weights": "array", "occupancy": "array", "target": "array",
    "visits": "array", "exact": "array", "estimates": "array", "part": "array", "array": "array", "logits": "array",
    "logit_map": "array", "rewards": "array", "reward_map": "array", "grid": "array", "intercepts": "array", "slopes": "array",
    "prior": "array", "advantage": "array", "states": "array", "actions": "array", "real": "array", "first": "array",
    "second": "array", "samples": "array", "values": "array", "shifts": "array", "deployments": "array", "spent": "array",
    "quantity": "array", "strengths": "array", "x": "array", "left": "array", "right": "array",
    "entropy": "non-negative", "scale": "non-negative", "regularization": "non-negative", "weight": "non-negative", "budget": "non-negative",
    "beta": "non-negative", "cost": "real", "eps": "share", "epsilon": "share", "discount": "discount", "level": "level",
    "transition_strength": "strength", "reward_strength": "strength", "width": "positive", "step_size": "positive",
    "tolerance": "positive, however large", "coverage": "positive, however large", "v": "positive, however large", "w": "share",
    "ridge": "positive", "memory": "share", "warm_up": "share", "exploration": "non-negative", "size": "positive",
    "perturbation": "share", "floor": "share", "bound": "coefficients", "slip": "share", "half_width": "share",
    "n_states": "count", "n_actions": "count", "n_followers": "count", "count": "count", "horizon": "count", "trajectories": "count",
    "iterations": "steps", "k": "count", "directions": "count", "points": "count", "seed": "seed", "seeds": "seeds", "rng": "rng",
    "respond": "function", "function": "function", "weightings": "function", "lipschitz": "lipschitz", "response": "response",
    "unit": "choice", "profile": "choice", "notebook": "name", "name": "name", "data": "name", "caption": "text", "statement": "text",
    "source": "text", "default": "text", "x_name": "text", "by": "text", "title": "text", "xlabel": "text", "ylabel": "text",
    "xscale": "choice", "letter": "text", "discounted": "flag", "folder": "folder", "jobs": "jobs", "cluster": "cluster",
    "cases": "cases", "algorithms": "mapping", "environments": "mapping", "runs": "mapping", "groups": "mapping", "labels": "mapping",
    "ascent": "ascent", "tuning_seeds": "seeds, each once", "lead": "lead", "strength": "strength of one", "entry": "array",
    "ranked": "count", "rows": "count", "columns": "count", "table": "table", "figure": "figure", "axes": "axes",
    "names": "sequence", "steps": "sequence", "regularizations": "numbers >= 0", "gammas": "gammas", "operator": "operator",
    "index": "index", "action": "action", "options": "options", "stated": "stated", "measured": "measured", "axis": "axis",
    "low": "real", "high": "real", "budgets": "budgets", "interval": "interval", "quick": "quick", "full": "quick", "transitions": "sequence",
    "n_parameters": "count", "features": "array", "parameters": "array", "gradient": "array",
}  # fmt: skip
# Where an argument means something else than its name elsewhere
OTHERWISE = {
    "theory.parts": {"policies": "mapping"},
    "figures.policy_table": {"policies": "mapping", "values": "mapping", "states": "sequence", "actions": "sequence"},
    "differences.inner": {"other": "array"},
    "differences.cosine": {"other": "array"},
    "experiments.budget_difference": {"other": "run"},
    "experiments.budget_table": {"budgets": "mapping"},
    "experiments.random_instances": {"states": "counts", "actions": "counts", "seed": "count from 0"},
    "pepg.compare": {"deployments": "deployments", "seeds": "seeds, each once", "iterations": "count"},
    "pepg.CrowdedMDP": {"cost": "non-negative", "mdp": "one mdp"},
    "pepg.Crowding": {"cost": "non-negative"},
    "data.LearnedResponse": {"rho": "distribution of any size"},
    "data.PooledModel": {"rho": "distribution of any size", "weight": "positive"},
    "data.SteeringResponse": {"rho": "distribution of any size", "weight": "positive"},
    "theory.decoupled_landscape": {"policies": "several policies"},
    "theory.hedge_bound": {"policies": "several policies"},
    "theory.local_stability": {"policies": "several policies"},
    "data.PooledModel.observe": {"trajectories": "trajectories of"},
    "data.LearnedResponse.observe": {"trajectories": "trajectories of", "policy": "their policy"},
    "data.SteeringResponse.observe": {"trajectories": "trajectories of", "policy": "their policy"},
    "experiments.runs": {"seeds": "seeds, each once"},
    "experiments.sweep": {"seeds": "seeds, each once"},
    "figures.both_sides": {"data": "columns", "left": "text", "right": "text"},
    "figures.proof_steps": {"data": "columns"},
    "figures.learning_curves": {"table": "columns"},
    "figures.stable_and_optimal": {"table": "columns"},
    "figures.draw_curve": {"table": "columns", "name": "choice", "x": "text"},
    "figures.shades": {"name": "choice"},
    "curvature.asymmetry": {"scale": "real"},
    "curvature.hessian": {"policy": "their policy"},
    "data.estimated_value": {"trajectories": "trajectories of", "weight": "positive, however large"},
    "differences.norm": {"array": "array of any shape"},
    "differences.slopes": {"logits": "array of any shape"},
    "data.next_step": {"weights": "array of any shape", "gamma": "discount"},
    "data.returns": {"trajectories": "trajectories of", "gamma": "discount"},
    "data.temporal_differences": {"trajectories": "trajectories of", "gamma": "discount"},
    "pepg.softmax": {"logits": "array of any shape"},
    **{f"algorithms.{name}": {"policies": "policy class", "parameters": "nothing"} for name in (
        "pepg", "policy_gradient", "sampled_pepg", "sampled_policy_gradient")},
    "policies.LogLinear": {"features": "array of any shape"},
    "pepg.SoftmaxPeMDP": {"rewards": "array of any shape"},  # it says which shape the others are to have
    "pepg.Run": {"shifts": "array with holes"},
    "retraining.policy_of_occupancy": {"occupancy": "array of any shape"},
    "retraining.closest_occupancy": {"bound": "bound"},
    "experiments.mean_interval": {"samples": "array of any shape"},
    "experiments.paid_for": {"quantity": "array with holes"},
    "pepg.SoftmaxPeMDP.smoothness": {"entropy": "coefficients"},
    "pepg.Gridworld": {"seed": "one seed or several"},
    "pepg.gymnasium.DeployedMDP": {"policy": "their policy"},
    "pepg.gymnasium.DeployedMDP.reset": {"seed": "one seed"},
    "data.Trajectories": {"states": "indices", "actions": "indices", "real": "mask"},
    "data.sample_trajectories": {"policy": "their policy"},
    **{f"data.{name}": {"trajectories": "trajectories of"} for name in (
        "advantages", "with_entropy_bonus", "mean_policy_score")},
    "data.gradient_estimates": {"trajectories": "trajectories of", "policy": "their policy"},
    "data.mean_gradient_estimate": {"trajectories": "trajectories of", "policy": "their policy"},
}  # fmt: skip
BAD |= {
    "array of any shape": lambda good: no_array(good)[:-2],
    "array with holes": lambda good: [*NO_ARRAY, *no_array(good)[len(NO_ARRAY) + 2 :]],
    "positive, however large": lambda good: [*NO_NUMBER, 0.0, -1.0],
    "policy class": lambda good: [3, "tabular", policies.Tabular, [TABULAR], POLICY, {}, Strange(), policies.Tabular(3, 2)],
    "nothing": lambda good: [3, "start", POLICY, [], {}, Strange()],
    "bound": lambda good: [*NO_ARRAY, True, 1j, -1.0, float("nan"), np.ones(7), masked([1.0, 2.0])],
    "one seed": lambda good: ["3", True, 1j, 1.5, -1, {}, Strange(), int, float("nan"), [], [1], np.ones(2)],
    "one seed or several": lambda good: ["3", True, 1j, 1.5, -1, {}, Strange(), int, float("nan"), [], [None, -1], [[1]], np.ones(2)],
    "count from 0": lambda good: [None, "3", True, 1j, 1.5, -1, {}, Strange(), int, float("nan"), [], [1]],
    "indices": lambda good: [*NO_ARRAY, -np.asarray(good) - 1, np.asarray(good) + 0.5, masked(good), good.astype(str)],
    "mask": lambda good: [*NO_ARRAY, good[:-1], masked(good), good.astype(str), good + 0.5],
}


def parameters(function):
    return {name: p for name, p in inspect.signature(function).parameters.items() if name not in FREE or p.default is p.empty}


def cases():
    for name, (function, good) in GOOD.items():
        for argument, parameter in parameters(function).items():
            if parameter.kind is parameter.VAR_KEYWORD or (argument == "name" and name.endswith(("check_policy", "check_parameters"))):
                continue  # what a caller calls a policy
            kind = OTHERWISE.get(name, {}).get(argument) or KINDS.get(argument)
            yield name, function, good, argument, kind, parameter.default


CALLS = list(cases())


def accepted(argument, default, bad):
    """Whether a value of the list is no mistake here: the argument's own default, or an empty choice where none is a choice."""
    return bad is None is default or isinstance(bad, (list, dict)) and len(bad) == 0 and argument in ("options", "quick", "full")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where good calls may write."""
    monkeypatch.setenv("PEPG_OUTPUT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


def complete(good, folder):
    return {name: folder / "cells" if name == "folder" else value for name, value in good.items()}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_call_works(name, place, monkeypatch):
    function, good = GOOD[name]
    if "folder" in vars(getattr(function, "__self__", None) or Strange):
        monkeypatch.setattr(function.__self__, "folder", place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(**complete(good, place))


@pytest.mark.parametrize("name, function, good, argument, kind, default", CALLS, ids=[f"{call[0]}-{call[3]}" for call in CALLS])
def test_what_is_wrong_is_refused_by_its_name(name, function, good, argument, kind, default, place):
    assert kind, f"{name}: no kind for the argument {argument}"
    for bad in BAD[kind](good.get(argument)):
        if accepted(argument, default, bad):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                function(**complete(good, place) | {argument: bad})
            except (ValueError, TypeError) as error:
                problem = unclear(argument, str(error), error)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                problem = "nothing raised"
        assert problem is None, f"{name}({argument}={bad!r}): {problem}"


def unclear(argument, message, error):
    """Why a message leaves a reader without the argument, what was expected or what came; None if it does not."""
    if not re.search(rf"(?<![\w.]){re.escape(argument)}\b", message):
        return f"does not name {argument}: {message}"
    if "expected" not in message:
        return f"does not say what was expected: {message}"
    if not re.search(r"\bgot\b|\bbut\b", message):
        return f"does not say what came: {message}"
    return None


def test_there_are_enough_of_them():
    calls = [(argument, default, bad) for _, _, good, argument, kind, default in CALLS for bad in BAD[kind](good.get(argument))]
    assert sum(not accepted(*call) for call in calls) >= 2000


WALKED = {
    "pepg": pepg,
    "pepg.gymnasium": pepg.gymnasium,
    "algorithms": algorithms,
    "policies": policies,
    "theory": theory,
    "certificate": certificate,
    "curvature": curvature,
    "differences": differences,
    "estimators": estimators,
    "data": data,
    "experiments": experiments,
    "companion": companion,
    "figures": figures,
}


def public(module):
    """The names of a module that are for its readers: those of __all__, else those defined there."""
    return getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    ]


@pytest.mark.parametrize("place", WALKED)
def test_nothing_public_is_left_out(place):
    module, missing = WALKED[place], set()
    known = {id(function) for function, _ in GOOD.values()}
    for name in public(module):
        value, full = getattr(module, name), f"{place}.{name}"
        if inspect.ismodule(value) or full in RECORDS or name.startswith("check_") and place == "figures":
            continue
        if not inspect.isabstract(value) and id(value) not in known:
            missing.add(full)
        if inspect.isclass(value) and id(value) in known | {id(pepg.PeMDP)}:
            methods = [m for m, f in vars(value).items() if m[0] != "_" and inspect.isfunction(f) and len(inspect.signature(f).parameters) > 1]
            abstract = getattr(value, "__abstractmethods__", ())
            missing |= {f"{full}.{m}" for m in methods if m not in abstract and f"{full}.{m}" not in GOOD and not _known_elsewhere(value, m)}
    assert missing == set()


def _known_elsewhere(cls, method):
    """The same class walked under another name of its module."""
    return any(name.endswith(f".{cls.__name__}.{method}") for name in GOOD)


def test_no_row_is_of_something_that_is_gone():
    homes = WALKED | {"retraining": importlib.import_module("pepg.algorithms.retraining")}
    for name in GOOD:
        home = next(home for home in sorted(homes, key=len, reverse=True) if name.startswith(f"{home}."))
        found = homes[home]
        for part in name.removeprefix(f"{home}.").split("."):
            found = getattr(found, part)


# What an environment hands over


class Wrong(Own):
    """An environment with one mistake: what it answers, or the gradient that it gives."""

    def __init__(self, respond=None, gradient=None):
        self._respond, self._gradient = respond, gradient

    def respond(self, policy):
        return self._respond(policy) if self._respond else ENV.respond(policy)

    def response_gradient(self, policy, occupancy, value):
        right = ENV.response_gradient(policy, occupancy, value)
        return self._gradient(right) if self._gradient else right


def written(policy):
    policy[..., 0] = 0.5
    return ENV.respond(np.full_like(policy, 0.5))


def with_nan(right):
    right = right.copy()
    right[..., 1, 0] = np.nan
    return right


def huge(policy):
    return pepg.MDP(MDP.P, np.full((2, 2), 1.7e308), 0.8, MDP.rho)


EXACT = ("pepg", "policy_gradient", "repeated_policy_optimization", "repeated_gradient_ascent", "hedge")
SAMPLING = tuple(name for name in algorithms.__all__ if name not in (*EXACT, "Adam", "Mirror", "Run"))
ANSWERS = {
    "none": (lambda policy: None, "the respond of Wrong: expected a pepg.MDP, got NoneType"),
    "a pair": (lambda policy: (MDP.P, MDP.r), "the respond of Wrong: expected a pepg.MDP, got tuple"),
    "another size": (lambda policy: GRID.respond(GRID.uniform_policy()), "the respond of Wrong: expected an MDP of 2 states and 2 actions"),
    "written into": (written, "the respond of Wrong: expected the policy to be left as it is"),
    "a value that overflows": (huge, r"the value of Wrong: expected finite numbers, but entry \[\d\] is (inf|nan)"),
    "its own error": (lambda policy: pepg.MDP(MDP.P, MDP.r * np.nan, 0.8, MDP.rho), r"r: expected finite numbers, but r\[0, 0\] is nan"),
}
GRADIENTS = {
    "nan": (with_nan, r"the response_gradient of Wrong: expected finite numbers, but entry \[1, 0\] is nan"),
    "a row": (lambda right: right[0], r"the response_gradient of Wrong: expected shape \(2, 2\), got \(2,\)"),
    "none": (lambda right: None, "the response_gradient of Wrong: expected an array of real numbers, got objects: None"),
    "complex": (lambda right: right + 0j, "the response_gradient of Wrong: expected an array of real numbers, got complex numbers"),
}


@pytest.mark.parametrize("respond, message", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("name", [*EXACT, *SAMPLING])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_an_answer_that_is_none_stops_every_algorithm_at_its_iterate(name, respond, message):
    with pytest.raises(ValueError, match=f"{name} in Wrong, iterate 0: {message}"):
        getattr(algorithms, name)(Wrong(respond=respond), policy=POLICY, iterations=2)


@pytest.mark.parametrize("gradient, message", GRADIENTS.values(), ids=GRADIENTS)
def test_a_gradient_that_is_none_stops_an_ascent_at_its_iterate(gradient, message):
    with pytest.raises(ValueError, match=f"pepg in Wrong, iterate 0: {message}"):
        algorithms.pepg(Wrong(gradient=gradient), policy=POLICY, iterations=2)
    with pytest.raises(ValueError, match=message):
        pepg.performative_gradient(Wrong(gradient=gradient), POLICY)


def test_a_response_that_turns_bad_on_the_way_is_named_with_its_iterate():
    start = []

    def respond(policy):
        start.append(policy)
        return ENV.respond(policy) if len(start) < 4 else None

    with pytest.raises(ValueError, match="policy_gradient in Wrong, iterate 3: "):
        algorithms.policy_gradient(Wrong(respond=respond), policy=POLICY, iterations=9)


def test_trajectories_of_another_environment_are_refused():
    others = data.sample_trajectories(GRID.respond(GRID.uniform_policy()), GRID.uniform_policy(), 6, 4, RNG(0))
    for call in (data.gradient_estimates, data.mean_gradient_estimate):
        with pytest.raises(ValueError, match="trajectories: expected (states|actions) from 0 to 1, got 3: those of another environment"):
            call(ENV, POLICY, others, others.rewards)


def test_an_output_keeps_to_its_folder(place):
    for wrong in ("a/b", "../../x", "/tmp/x", None):
        with pytest.raises(ValueError, match="notebook: expected a name"):
            companion.Output(wrong)
        with pytest.raises(ValueError, match="name: expected a name"):
            companion.Output("test").save_data(wrong, TABLE)
    assert not any(place.iterdir())


def test_sizes_that_no_memory_holds():
    with pytest.raises(ValueError, match="trajectories: expected at most 1,000,000,000, got 1e"):
        algorithms.sampled_pepg(ENV, trajectories=1e13)
    with pytest.raises(ValueError, match="trajectories: expected at most 1,000,000,000 steps"):
        algorithms.sampled_pepg(ENV, trajectories=10**8, horizon=100)
    with pytest.raises(ValueError, match="iterations: expected at most 1,000,000,000 entries"):
        algorithms.pepg(ENV, policy=POLICY, iterations=10**9)
    with pytest.raises(ValueError, match="n_states: expected at most 1,000,000,000 entries"):
        pepg.random_softmax_pemdp(RNG(0), 1000, 1000, 0.9)
