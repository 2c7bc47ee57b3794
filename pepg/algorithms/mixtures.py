"""Mixtures of policies: what retraining can promise where no single policy is stable."""

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import Seeds, check_positive
from ..mdp import PeMDP, softmax
from .run import Run, repeat, starting_policy


def hedge(env: PeMDP, *, policy: ArrayLike | None = None, iterations: int = 300, seed: Seeds = None, step_size: float = 1.0) -> Run:
    r"""Hedge in every state, on the advantages weighted by the visits; its answer is the mixture of all that it deploys.

    .. math:: \pi_{t+1}(a|s) \propto \pi_0(a|s) \exp\Big( \eta_t(s) \sum_{k \le t} d_k(s) A_k(s,a) \Big), \qquad
              \eta_t(s) = c \sqrt{\log |A|} \Big/ \sqrt{\textstyle\sum_{k \le t} \big( d_k(s)\, span\, A_k(s,\cdot) \big)^2}

    with :math:`d_k` and :math:`A_k` the visits and advantages of :math:`\pi_k` where it is deployed, and c = `step_size`. Deployed in
    turn, or drawn with even chances, the policies :math:`\pi_0, \dots, \pi_{T-1}` are a mixture whose value is the mean of ``Run.values``
    and in which no action of any state is better by more than :math:`O(1/\sqrt T)`, whatever the environment's response:
    :func:`pepg.theory.local_stability`. (After the weighted per-state Hedge of Mandal, "Local and Global Stability in Performative
    Reinforcement Learning", arXiv 2609.06467, of which the abstract was at hand; the step is ours.)

    Raises ValueError for a policy or step size out of range.
    """
    start = starting_policy(env, policy, seed)
    scale = check_positive("step_size", step_size) * np.sqrt(np.log(max(env.n_actions, 2)))
    with np.errstate(divide="ignore"):
        logits = np.log(start)
    gained, squares = np.zeros(start.shape), np.zeros((*start.shape[:-1], 1))

    def step(deployment):
        advantage = deployment.mdp.backup(deployment.value) - deployment.value[..., None]
        gain = deployment.occupancy.sum(axis=-1, keepdims=True) * advantage
        gained[...] += gain
        squares[...] += np.ptp(gain, axis=-1, keepdims=True) ** 2
        size = scale / np.sqrt(np.where(squares > 0.0, squares, 1.0))  # nothing was gained where nothing was lost
        return softmax(logits + size * gained)

    return repeat("hedge", env, start, iterations, step)
