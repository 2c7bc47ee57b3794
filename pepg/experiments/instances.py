"""Random performative MDPs of many sizes and discounts, to check a statement on: batch by batch, solved side by side."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import check_count, check_gamma, check_seed, check_sequence, check_vector
from ..environments import SoftmaxPeMDP, random_softmax_pemdp


def random_instances(
    seed: int, states: Iterable[int], actions: Iterable[int], gammas: Iterable[float], strengths: ArrayLike, count: int,
) -> Iterator[tuple[dict[str, Any], SoftmaxPeMDP, np.random.Generator]]:
    r"""Batches of `count` random :class:`pepg.SoftmaxPeMDP`, one for each number of states, of actions and each discount.

    seed : an integer; every batch has a generator of its own, spawned from it
    strengths : the values from which :math:`\kappa_P` and :math:`\kappa_r` are drawn, independently and for each instance

    Yields (labels, env, rng): the labels are columns of a table (states, actions, gamma, kappa_P, kappa_r), rng is the batch's
    generator, to draw policies from.
    """
    count, seed = check_count("count", count), check_seed("seed", seed)
    given = {"states": states, "actions": actions}
    states, actions = ([check_count(name, n) for n in check_sequence(name, some, "counts")] for name, some in given.items())
    gammas = [check_gamma(gamma, "gammas") for gamma in check_sequence("gammas", gammas, "discounts")]
    return _batches(seed, list(product(states, actions, gammas)), check_vector("strengths", strengths), count)


def _batches(seed, sizes, strengths, count):
    for (n, m, gamma), child in zip(sizes, np.random.SeedSequence(seed).spawn(len(sizes))):
        rng = np.random.default_rng(child)
        kappa_P, kappa_r = rng.choice(strengths, (2, count))
        env = random_softmax_pemdp(rng, n, m, gamma, kappa_P, kappa_r, count)
        yield {"states": n, "actions": m, "gamma": gamma, "kappa_P": kappa_P, "kappa_r": kappa_r}, env, rng
