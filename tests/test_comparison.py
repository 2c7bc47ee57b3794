"""One call runs every algorithm, draws it, and checks the theory."""

import autograd.numpy as anp
import numpy as np
import pandas as pd
import pytest

import pepg
from pepg import algorithms, experiments, figures, theory


def respond(policy):
    drift = anp.exp(2.0 * policy)
    return anp.stack([drift / anp.sum(drift, axis=1, keepdims=True)] * 3, axis=1), np.eye(3) - policy


@pytest.fixture(scope="module")
def env():
    return pepg.FunctionPeMDP(respond, n_states=3, n_actions=3, gamma=0.9, rho=np.ones(3) / 3)


@pytest.fixture(scope="module")
def compared(env, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return experiments.compare(env, range(2), iterations=20, regularizations=(0.1, 1.0), retraining={"DRR": 0.5}, folder=folder, jobs=1)


def test_every_algorithm_runs_as_alone(env, compared):
    exact = [name for knows, name in compared if knows == "exact"]
    sampled = [name for knows, name in compared if knows == "from samples"]
    assert exact == ["PePG", "PG", "RPO λ=0.1", "RPO λ=1", "RGA"]
    assert sampled == ["PePG", "PePG, learned", "PG", "RPO-FS", "DRR", "MDRR", "0-FW"]
    assert all(len(runs) == 2 for runs in compared.values())
    assert {runs[0].deployments[-1] for (knows, _), runs in compared.items() if knows != "exact"} == {30}
    alone = algorithms.repeated_policy_optimization(env, seed=1, iterations=20, regularization=0.1)
    np.testing.assert_array_equal(compared["exact", "RPO λ=0.1"][1].values, alone.values)
    for name, algorithm, strength in (
        ("DRR", algorithms.delayed_repeated_retraining, 0.5),
        ("MDRR", algorithms.mixed_delayed_repeated_retraining, 1.0),
    ):
        alone = algorithm(env, seed=1, iterations=10, trajectories=30, horizon=50, regularization=strength)
        np.testing.assert_array_equal(compared["from samples", name][1].values, alone.values)


def test_curves_tables_and_figures(env, compared):
    table = figures.value_curves(compared, scale=2.0)
    ends = figures.value_table(compared, scale=2.0)
    last = 2.0 * np.array([run.values[-1] for run in compared["exact", "PG"]])
    row = ends[(ends.knows == "exact") & (ends.algorithm == "PG")].iloc[0]
    assert row.value == pytest.approx(last.mean()) and row.low <= row.value <= row.high
    curve = table[(table.knows == "exact") & (table.algorithm == "PG")]
    assert curve["mean"].iloc[-1] == pytest.approx(row.value) and len(curve) == 21
    policies = experiments.stable_and_optimal(compared)
    values = {name: theory.promised_and_delivered(env, policy) for name, policy in policies.items()}
    shown = figures.policy_table(values, policies, ["a", "b", "c"], ["x", "y", "z"])
    assert len(shown) == 2 * (3 + 9)
    for figure in (figures.learning_curves(table), figures.stable_and_optimal(shown)):
        figure.canvas.draw()


def test_report_and_parts(env, compared):
    policies = experiments.stable_and_optimal(compared)
    rows = theory.report(env, policies["optimal (PePG)"])
    assert [row["result"] for row in rows] == ["R1", "R3", "R5"]
    assert all(row["worst"] <= row["limit"] for row in rows)
    parts = pd.DataFrame(theory.parts(env, policies)).set_index("policy")
    assert parts["gain of a best response"].min() >= -1e-12
    assert parts.loc["optimal (PePG)", "value"] >= parts.loc["stable (PG)", "value"]
    value, promised, delivered = theory.promised_and_delivered(env, policies["optimal (PePG)"])
    assert promised == pytest.approx(value + parts.loc["optimal (PePG)", "gain of a best response"])
    assert delivered <= value + 1e-6


def test_a_wrong_derivative_is_reported(env):
    class Wrong(pepg.PeMDP):
        n_states, n_actions, gamma, rho = 3, 3, 0.9, env.rho

        def respond(self, policy):
            return env.respond(policy)

        def response_gradient(self, policy, occupancy, value):
            return 1.1 * env.response_gradient(policy, occupancy, value)

    worst = {row["result"]: row["worst"] / max(row["limit"], 1) for row in theory.report(Wrong(), env.uniform_policy())}
    assert worst["R3"] > 1e-3 and worst["R1"] < 1e-10


@pytest.mark.parametrize(
    "settings, message", [({"deployments": 40}, "deployments: expected a multiple of 30"), ({"regularizations": ()}, "regularizations")]
)
def test_errors(env, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        experiments.compare(env, [0], folder=tmp_path, **settings)
