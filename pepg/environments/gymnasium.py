"""The MDP that a deployed policy induces, as a Gymnasium environment: any RL library can train in it.

The environment is that of the policy deployed, and stands still while an agent trains in it: one round of retraining.
The trained policy, as an (S, A) array, is deployed back with ``pepg.performative_value(env, policy)`` or in the next
:class:`DeployedMDP`. Needs the extra: ``pip install pepg[gymnasium]``.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import check_count, check_instance, check_seed, described
from ..mdp import PeMDP, check_env

try:
    import gymnasium
except ImportError as error:
    raise ImportError("pepg.gymnasium needs the package gymnasium: pip install pepg[gymnasium]") from error


class DeployedMDP(gymnasium.Env):
    r"""Episodes in :math:`M(\pi)`, the MDP that the policy π induces once it is deployed in `env`.

    env : a :class:`pepg.PeMDP`, of one environment
    policy : (S, A), the policy deployed; the uniform one by default
    horizon : steps after which an episode is truncated

    Observations are the states, ``Discrete(S)``, and actions ``Discrete(A)``. An episode starts from rho, or at
    ``reset(options={"state": s})``. A step pays the expected reward :math:`r_\pi(s,a)`, moves by :math:`P_\pi(\cdot|s,a)`
    and ends the episode in a terminal state (`terminated`) or after `horizon` steps (`truncated`). Rewards are not
    discounted: the agent discounts them with ``env.gamma``. Where rho starts in a terminal state an episode has one
    step, without reward.

    Raises ValueError for a policy that is none, several policies, or a horizon below 1.
    """

    metadata = {"render_modes": []}

    def __init__(self, env: PeMDP, policy: ArrayLike | None = None, horizon: int = 200) -> None:
        check_env(env)
        policy = env.uniform_policy() if policy is None else env.check_policy(policy)
        self.mdp = env.respond(policy)
        if not self.mdp.sparse and self.mdp.P.ndim != 3:
            raise ValueError(f"policy: expected one policy in one environment, got {self.mdp.P.shape[:-3]} of them")
        self.horizon = check_count("horizon", horizon)
        self.gamma = self.mdp.gamma
        self.observation_space = gymnasium.spaces.Discrete(self.mdp.n_states)
        self.action_space = gymnasium.spaces.Discrete(self.mdp.n_actions)
        # How another copy is made: Gymnasium's vector environments and its checker ask for it.
        arguments = {"env": env, "policy": policy.copy(), "horizon": self.horizon}
        self.spec = gymnasium.envs.registration.EnvSpec("DeployedMDP-v0", entry_point=DeployedMDP, kwargs=arguments)
        self._cumulative = None if self.mdp.sparse else self.mdp.P.cumsum(axis=-1)
        self._state, self._steps = None, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Start an episode: (state, {}). `seed` seeds the generator of starts and transitions.

        Raises ValueError for options other than {"state": s}, or a seed that is no whole number >= 0.
        """
        if options is not None and set(check_instance("options", options, dict)) - {"state"}:
            raise ValueError(f"options: expected {{'state': s}} or none, got {described(options)}")
        super().reset(seed=None if seed is None else check_seed("seed", seed))
        self._steps = 0
        if options:
            state = options["state"]
            if isinstance(state, (bool, np.bool_)) or not self.observation_space.contains(state):
                raise ValueError(f"options: expected a state below {self.mdp.n_states}, got {described(state)}")
            self._state = int(state)
        else:
            self._state = self._draw(self.mdp.rho.cumsum())
        return self._state, {}

    def step(self, action: int | np.integer) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Take `action`: (state, reward, terminated, truncated, {})."""
        if self._state is None:
            raise RuntimeError("reset() starts an episode, and comes before step()")
        if isinstance(action, (bool, np.bool_)) or not self.action_space.contains(action):
            raise ValueError(f"action: expected a whole number below {self.mdp.n_actions}, got {described(action)}")
        state, self._steps = self._state, self._steps + 1
        reward = 0.0
        if not self.mdp.terminal[state]:
            reward = float(self.mdp.r[state, action])
            self._state = self._moved(state, action)
        terminated = bool(self.mdp.terminal[self._state])
        return self._state, reward, terminated, self._steps >= self.horizon, {}

    def _moved(self, state, action):
        if not self.mdp.sparse:
            return self._draw(self._cumulative[state, action])
        P, row = self.mdp.P, state * self.mdp.n_actions + int(action)
        entries = slice(P.indptr[row], P.indptr[row + 1])
        return int(P.indices[entries][self._draw(P.data[entries].cumsum())])

    def _draw(self, cumulative):
        """An index with the probabilities of which `cumulative` are the sums; never one of probability 0."""
        return int(np.searchsorted(cumulative, self.np_random.random() * cumulative[-1], side="right"))
