"""What notebook 12 measures of a run and along a step, on cases with a known answer."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import pepg

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

from support import step_size


@pytest.fixture(scope="module")
def env():
    return pepg.random_softmax_pemdp(np.random.default_rng(3), 3, 2, 0.8, 2.0, 2.0, 1).select(0)


def test_falls():
    values = np.array([[0.0, 0.0], [0.5, 0.1], [0.25, 0.2], [0.75, 0.3]])
    policies = np.arange(4 * 2 * 6).reshape(4, 2, 3, 2)
    run = SimpleNamespace(values=values, policies=policies)
    found = step_size.falls(run, 10.0, 2)
    assert found["starts"] == 2 and found["iterations"] == 3 and found["starts with a decrease"] == 1
    assert found["decreasing iterations in %"] == pytest.approx(100 / 6)
    assert found["largest decrease"] == 0.25 and found["median first decrease"] == 1 and found["step x first"] == 10.0
    assert found["value at common"] == pytest.approx(0.225) and found["last value"] == pytest.approx(0.525)
    np.testing.assert_array_equal(step_size.first_fall(run), policies[1, 0])
    rising = step_size.falls(SimpleNamespace(values=np.sort(values, axis=0)), 10.0, 2)
    assert rising["starts with a decrease"] == 0 and np.isnan(rising["largest decrease"])


def test_gained():
    found = step_size.gained(np.array([[0.0, 1.0], [1.0, 4.0]]))
    assert (found["first value"], found["last value"], found["gain"]) == (0.5, 2.5, 2.0)
    assert found["gain low"] < 2.0 < found["gain high"]


def test_rounded():
    table = step_size.rounded(pd.DataFrame({"a": [1.23456, 0.000123456], "b": [12345, 7]}), 3)
    assert table.a.tolist() == [1.23, 0.000123] and table.b.tolist() == [12345, 7]


def test_slope_along_a_step(env):
    policy, eta, h = env.random_policies([0], scale=0.5)[0], 0.5, 1e-5
    gradient = pepg.performative_gradient(env, policy)
    slope = step_size.along(env, policy, eta)
    assert slope(0.0) == pytest.approx(1.0)
    for share in (0.3, 0.8):
        high, low = (
            pepg.performative_value(env, pepg.softmax(np.log(policy) + eta * (share + sign * h) * gradient))
            for sign in (1, -1)
        )
        assert slope([share])[0] == pytest.approx((high - low) / (2 * h) / (eta * (gradient**2).sum()), rel=1e-5)


def test_largest_drop_is_found():
    """Two jumps down on a slope that rises: the larger is at 0.61803."""
    jump = 0.61803
    left, right = step_size.largest_drop(
        lambda s: np.asarray(s) - 1.0 * (np.asarray(s) > 0.25) - 2.0 * (np.asarray(s) > jump), np.linspace(0.0, 1.0, 11)
    )
    assert left <= jump < right and right - left < 1e-6


def test_bends(env):
    found = step_size.bends(env, env.uniform_policy(), [1e-3, 1e-4])
    assert found["smooth"] and not found["asymmetry above 1e-4"]
    assert found["h = 0.001"] == pytest.approx(found["h = 0.0001"], rel=1e-2)


def test_ascents(env):
    starts = env.random_policies(range(2))
    runs = step_size.ascents(env, starts, {0.1: 3, 1.0: 2})
    assert [run.values.shape for run in runs.values()] == [(4, 2), (3, 2)]
