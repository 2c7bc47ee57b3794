"""One call runs every algorithm at its best, draws it, and says in words what comes out."""

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import pepg
from pepg import algorithms, figures, theory
from pepg.companion import comparison as companion
from pepg.companion.comparison import Comparison
from pepg.experiments import comparison


def respond(policy):
    drift = anp.exp(2.0 * policy)
    return anp.stack([drift / anp.sum(drift, axis=1, keepdims=True)] * 3, axis=1), np.eye(3) - policy


def scaled(factor):
    def response(policy):
        P, r = respond(policy)
        return P, factor * r

    return pepg.FunctionPeMDP(response, n_states=3, n_actions=3, gamma=0.9, rho=np.ones(3) / 3)


SMALL = {"seeds": range(2), "iterations": 20, "deployments": 30, "trajectories": 10, "horizon": 20, "tuning_seeds": (9,)}


@pytest.fixture(scope="module")
def env():
    return scaled(1.0)


@pytest.fixture(scope="module")
def compared(env):
    return pepg.compare(env, **SMALL)


def test_every_algorithm_runs_as_alone(env, compared):
    exact = [name for knows, name in compared.runs if knows == "exact"]
    sampled = [name for knows, name in compared.runs if knows == "from samples"]
    assert exact == ["PePG", "PG", "RPO", "RGA"] and not compared.left_out
    assert sampled == ["PePG", "PePG, learned", "PG", "RPO-FS", "DRR", "MDRR", "0-FW"]
    assert {run.deployments[-1] for (knows, _), run in compared.runs.items() if knows != "exact"} == {30}
    settings = compared.settings["exact", "RPO"]
    alone = algorithms.repeated_policy_optimization(env, seed=1, iterations=20, **settings)
    np.testing.assert_allclose(compared.runs["exact", "RPO"].values[:, 1], alone.values, rtol=1e-9)
    settings = compared.settings["from samples", "MDRR"]
    alone = algorithms.mixed_delayed_repeated_retraining(env, seed=1, iterations=10, trajectories=10, horizon=20, **settings)
    np.testing.assert_allclose(compared.runs["from samples", "MDRR"].values[:, 1], alone.values, rtol=1e-9)


def test_the_best_of_the_scan_is_taken(compared):
    for (knows, name), settings in compared.settings.items():
        rows = compared.tuning[(compared.tuning.knows == knows) & (compared.tuning.algorithm == name)]
        chosen = rows[(rows["λ"] == settings["regularization"]) & (rows["η"].isna() | (rows["η"] == settings.get("step_size")))]
        assert chosen["value"].item() == pytest.approx(rows["value"].max(), rel=1e-6)
    shares = compared.tuning["η"] * compared.tuning["λ"]
    assert sorted({round(share, 9) for share in shares.dropna()}) == list(comparison.DAMPINGS)


def test_tuning_is_the_mean_of_the_last_policies(env):
    table = comparison.tuning(env, (3, 4), {"iterations": 12, "deployments": 30, "trajectories": 5, "horizon": 10}, (0.1, 1.0))
    assert list(dict.fromkeys(table["algorithm"])) == ["RPO", "RGA", "RPO-FS", "DRR", "MDRR"]
    row = table.set_index(["algorithm", "λ"])["value"].sort_index()
    each = [algorithms.repeated_policy_optimization(env, seed=s, iterations=12, regularization=1.0).values[-10:] for s in (3, 4)]
    assert row["RPO", 1.0].item() == pytest.approx(np.mean(each), abs=1e-9)
    sampling = {"iterations": 10, "regularization": 0.1, "trajectories": 5, "horizon": 10}
    each = [algorithms.mixed_delayed_repeated_retraining(env, seed=s, **sampling).values[-3:] for s in (3, 4)]
    assert row["MDRR", 0.1].item() == pytest.approx(np.mean(each), abs=1e-9)


def test_scaled_rewards_change_nothing_but_the_scale(compared):
    """Steps and penalties follow the rewards: with rewards of a thousandth every run is the same, up to rounding."""
    small = pepg.compare(scaled(1e-3), **SMALL)
    assert small.settings.keys() == compared.settings.keys()
    for key, settings in compared.settings.items():
        assert small.settings[key]["regularization"] == pytest.approx(1e-3 * settings["regularization"], rel=1e-9)
    table, other = compared.table(), small.table(scale=1e3)
    exact = table["knows"] == "exact"
    np.testing.assert_allclose(other.loc[exact, "value"], table.loc[exact, "value"], rtol=1e-4)
    assert small.reached == compared.reached and small.span == pytest.approx(1e-3 * compared.span, rel=1e-3)


def test_curves_table_and_figures(compared):
    curves, ends = compared.curves(scale=2.0), compared.table(scale=2.0)
    last = 2.0 * compared.runs["exact", "PG"].values[-1]
    row = ends[(ends.knows == "exact") & (ends.algorithm == "PG")].iloc[0]
    assert row.value == pytest.approx(last.mean()) and row.low <= row.value <= row.high
    curve = curves[(curves.knows == "exact") & (curves.algorithm == "PG")]
    assert curve["mean"].iloc[-1] == pytest.approx(row.value) and len(curve) == 21
    assert len(compared.policies(["a", "b", "c"], ["x", "y", "z"])) == 2 * (3 + 9)
    for figure in compared.figures():
        figure.canvas.draw()
        plt.close(figure)


# The verdict


def told(pe, pg):
    """A Comparison of runs that end at these values, with the value of the start 0."""

    def run(ends):
        values = np.array([np.zeros(len(ends)), ends])
        policies = np.ones((2, len(ends), 1, 2)) / 2
        return pepg.Run(policies, values, values[1:], np.arange(2), np.zeros((2, len(ends)), dtype=int))

    env = pepg.pigou()
    return Comparison(env, tuple(range(len(pe))), {}, pd.DataFrame(), {}, {("exact", "PePG"): run(pe), ("exact", "PG"): run(pg)})


def test_the_verdict_tells_the_cases_apart():
    verdict = told([1.0, 1.01, 0.99], [0.5, 0.51, 0.52]).verdict
    assert verdict.startswith("Stable and optimal differ by 0.490 ± 0.043, 49 % of the range of values: PePG ends above PG from 3 of 3 starts.")
    assert "PePG reaches the best value found from 2 of 3 starts." in verdict
    assert "your environment barely reacts" in told([1.0, 1.001, 1.0], [1.0, 1.0, 1.0]).verdict
    assert "PePG ends below PG by 0.5000, 50 % of the range" in told([0.5, 0.5, 0.5], [1.0, 1.0, 1.0]).verdict
    level = told([1.0, 0.5, 1.0, 0.5], [0.6, 0.9, 0.6, 0.9]).verdict
    assert level.startswith("PePG and PG are level in the mean over 4 starts") and "from 2, below from 2" in level
    assert "differ by 0.5000, 50 %" in told([1.0], [0.5]).verdict  # one seed has no interval


@pytest.mark.parametrize(
    "mean, half, text", [(0.0131, 0.0012, "0.0131 ± 0.0012"), (4.923, 1e-7, "4.923"), (123.4, 20.0, "123 ± 20"), (0.0, 0.0, "0")]
)
def test_significant_digits(mean, half, text):
    assert companion._plain(mean, half) == text


def test_what_does_not_converge_is_left_out(env, monkeypatch):
    def fails(env, **settings):
        raise RuntimeError("no convergence")

    monkeypatch.setitem(comparison.ALGORITHMS, ("exact", "RPO"), fails)
    monkeypatch.setitem(comparison.ALGORITHMS, ("from samples", "0-FW"), fails)
    compared = pepg.compare(env, **SMALL)
    assert set(compared.left_out) == {("exact", "RPO"), ("from samples", "0-FW")}
    assert "0-FW" not in set(compared.table()["algorithm"]) and "RGA with its λ tuned" in compared.verdict


@pytest.mark.parametrize("states, actions, long", [(2, 2, False), (8, 3, False), (40, 5, True)])
def test_the_layout_holds(states, actions, long):
    """No text outside the figure, no two labels of the states on top of each other."""
    rng = np.random.default_rng(0)
    policies = {name: rng.dirichlet(np.ones(actions), states) for name in ("stable (PG)", "optimal (PePG)")}
    name = "{} with a rather long name {}" if long else "{} {}"
    table = figures.policy_table(
        dict.fromkeys(policies, (1e-3, 2e-3, 1e-3)), policies, [name.format("state", s) for s in range(states)],
        [name.format("action", a) for a in range(actions)],
    )
    figures.use_style()
    figure = figures.stable_and_optimal(table)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(a.y0 >= b.y1 - 1 for a, b in zip(boxes, boxes[1:])) and min(box.x0 for box in boxes) >= 0
    texts = [text.get_window_extent() for ax in figure.axes for text in ax.texts if text.get_text()]
    width, height = figure.canvas.get_width_height()
    assert all(0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height for box in texts)
    plt.close(figure)


# The theory on it


def test_report_and_parts(env, compared):
    rows = theory.report(env, compared.ends["optimal (PePG)"])
    assert [row["result"] for row in rows] == ["R1", "R3", "R5"]
    assert all(row["worst"] <= row["limit"] for row in rows)
    parts = pd.DataFrame(theory.parts(env, compared.ends)).set_index("policy")
    assert parts["gain of a best response"].min() >= -1e-12
    assert parts.loc["optimal (PePG)", "value"] >= parts.loc["stable (PG)", "value"]
    value, promised, delivered = theory.promised_and_delivered(env, compared.ends["optimal (PePG)"])
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
    "settings, message",
    [
        ({"deployments": 40}, "deployments: expected a multiple of 30"),
        ({"seeds": ()}, "seeds: expected at least one"),
        ({"seeds": (3, 9)}, "none that is tuned on"),
        ({"iterations": 0}, "iterations: expected a whole number >= 1"),
    ],
)
def test_errors(env, settings, message):
    with pytest.raises(ValueError, match=message):
        pepg.compare(env, **SMALL | settings)


def test_one_environment_at_a_time():
    several = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.9, count=2)
    with pytest.raises(ValueError, match="env: expected one environment"):
        pepg.compare(several)
    with pytest.raises(ValueError, match="env: expected a PeMDP, got MDP"):
        pepg.compare(pepg.pigou().respond(pepg.pigou().uniform_policy()))
