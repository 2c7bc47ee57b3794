"""For notebooks 02 and 06a: a search by random changes, many climbers side by side."""

import numpy as np


def climb(score, size, climbers, climbs, seed):
    """Climb on `score`, a function (climbers, size) -> (climbers,): where each climber ends, and the scores (climbs + 1, climbers).

    Each climber proposes a Gaussian change of a tenth of the parameters and keeps it if the score grows; its step grows with a
    success and shrinks with a failure.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(climbers, size))
    best, step = score(x), np.full(climbers, 0.5)
    path = [best]
    for _ in range(climbs):
        change = rng.normal(size=x.shape) * (rng.random(x.shape) < 0.1)
        proposal = x + step[:, None] * change
        scores = score(proposal)
        better = scores > best + 1e-9  # not by rounding
        x, best = np.where(better[:, None], proposal, x), np.where(better, scores, best)
        step = np.maximum(step * np.where(better, 1.3, 1.3**-0.25), 0.003)
        path.append(best)
    return x, np.array(path)
