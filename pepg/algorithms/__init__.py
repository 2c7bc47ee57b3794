r"""The algorithms: functions of an environment that return a :class:`Run`.

All are called alike, ``<name>(env, *, policy=None, iterations=..., seed=None, ...)``, and measured by the same number,
the true performative value :math:`V^\pi_\pi(\rho)` of every policy that they would deploy. Where `policy` is None the
start is the uniform policy, or with an integer `seed` a near-uniform one (softmax of logits drawn from N(0, 0.1²)).
``pepg(env)`` alone does more than one ascent from there: see :func:`pepg`.

**Exact**: `policy` is the start (S, A), or several (..., S, A) that run side by side; nothing else is drawn.

=============================== ========================================================================================
pepg                            ascends the gradient of the performative value (Basu et al., arXiv 2512.20576)
policy_gradient                 ascends without the environment's part; where it converges, to a stable policy
repeated_policy_optimization    solves the regularised problem in the environment of the last policy (Mandal et al. 2023)
repeated_gradient_ascent        takes one projected gradient step on the occupancy there (Mandal et al. 2023)
hedge                           weighs the actions of each state by what they would have gained so far; a mixture (Mandal 2026)
=============================== ========================================================================================

**From samples**: `policy` is one start (S, A), and all that an algorithm learns of the environment are trajectories of the
policies that it deploys, `trajectories` each time, of at most `horizon` steps. They are drawn from `seed`; without one
as with 0, so that a call repeats itself.

==================================== ===================================================================================
sampled_pepg                         performative policy gradient in the model that the data so far suggest, in two stages
sampled_policy_gradient              the same without the environment's part
repeated_policy_optimization_fs      RPO in the MDP that the data suggest (RPO-FS, Mandal et al. 2023)
delayed_repeated_retraining          that on the last of every k deployments of a policy (DRR, Rank et al. 2024)
mixed_delayed_repeated_retraining    that on a mixture of the k (MDRR, Rank et al. 2024)
zeroth_order_frank_wolfe             two-point estimates of the gradient, Frank-Wolfe steps (0-FW, Chen & Huang 2025)
==================================== ===================================================================================

The four policy gradients ascend in the parameters of other policies too: `policies`, a class of :mod:`pepg.policies`, and the start
`parameters`.
"""

from .ascent import Adam, Mirror, pepg, policy_gradient
from .from_samples import (
    delayed_repeated_retraining,
    mixed_delayed_repeated_retraining,
    repeated_policy_optimization_fs,
    sampled_pepg,
    sampled_policy_gradient,
    zeroth_order_frank_wolfe,
)
from .mixtures import hedge
from .retraining import repeated_gradient_ascent, repeated_policy_optimization
from .run import Run

__all__ = [
    "Adam",
    "Mirror",
    "Run",
    "delayed_repeated_retraining",
    "hedge",
    "mixed_delayed_repeated_retraining",
    "pepg",
    "policy_gradient",
    "repeated_gradient_ascent",
    "repeated_policy_optimization",
    "repeated_policy_optimization_fs",
    "sampled_pepg",
    "sampled_policy_gradient",
    "zeroth_order_frank_wolfe",
]
