"""The classes of notebook 22: their sizes and starts, and the best of a class with one parameter."""

import sys
from pathlib import Path

import numpy as np
import pytest

import pepg

sys.path.append(str(Path(__file__).resolve().parent.parent / "notebooks"))

from support import other_policies as support

ENV = pepg.Gridworld(n_followers=2)
CLASSES = support.classes(ENV, range(3), (1, 4), (8,), (2, 8))
WORLDS = pepg.random_softmax_pemdp(np.random.default_rng(1), 2, 2, 0.8, 2.0, 2.0, count=5)


@pytest.mark.parametrize("name", CLASSES, ids=" ".join)
def test_a_class_has_its_size_and_its_starts_are_near_uniform(name):
    policies, sizes = CLASSES[name], {"1 x 1": 4, "4 x 4": 64, "rows + columns": 64, "tabular": 256, "8": 8, "width 2": 14, "width 8": 56}
    assert np.prod(policies.shape) == sizes[name[1]]
    theta = support.starts(policies, range(3), 0.1)
    logits = np.log(policies.policy(theta))
    spread = (logits - logits.mean(axis=-1, keepdims=True)).std()
    assert 0.02 < spread < 0.2
    assert support.difference_error(ENV, policies, theta) < 1e-5


def test_tiles_share_a_policy():
    policy = support.tiles(ENV, 4).policy(np.random.default_rng(0).normal(size=64)).reshape(8, 8, 4)
    np.testing.assert_array_equal(policy, policy[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))
    assert len(np.unique(policy[..., 0].round(9))) == 16
    one = support.tiles(ENV, 1).policy(np.arange(4.0))
    np.testing.assert_array_equal(one, one[:1].repeat(64, axis=0))


def test_rows_and_columns_add_up():
    logits = support.rows_and_columns(ENV).logits(np.random.default_rng(0).normal(size=64)).reshape(8, 8, 4)
    np.testing.assert_allclose(logits[1:, 1:] - logits[1:, :1], logits[:1, 1:] - logits[:1, :1] + np.zeros((7, 7, 4)), atol=1e-12)


@pytest.mark.parametrize("policies", [support.shared(), support.one_random_feature(5, seed=2)], ids=["shared", "random"])
def test_the_best_of_one_parameter(policies):
    """Against a grid that is finer everywhere; one policy for both states is a line of the square, whose ends are policies too."""
    found = support.best_of_one_parameter(WORLDS, policies, 801)
    dense = np.sinh(np.linspace(-9.0, 9.0, 20_001)) / np.sinh(9.0) * 1000.0
    values = pepg.performative_value(WORLDS, policies.policy(np.broadcast_to(dense[:, None, None], (20_001, 5, 1))))
    np.testing.assert_allclose(found, values.max(axis=0), rtol=1e-4)


def test_losses_are_in_units_of_what_there_is_to_gain():
    values = {"optimum": np.array([3.0, 5.0]), "uniform": np.array([1.0, 3.0]), "PG": np.array([2.0, 4.0])}
    (row,) = support.losses(values, strength=1.0)
    assert (row["what"], row["mean"], row["strength"]) == ("PG", 0.5, 1.0)
    assert support.reaches(values, "optimum", "PG", 0.4) == 1.0 and support.reaches(values, "optimum", "PG", 0.6) == 0.0
