"""What a run of an algorithm is, the loop that all of them share, and the door through which some see only samples."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from ..arguments import check_any_policy, check_array, check_count, check_finite, check_leading, check_number, check_size, described
from ..data import sample_trajectories
from ..mdp import MDP, check_env, check_one_env
from ..performative import deploy
from ..policies import Tabular, check_policies


@dataclass(frozen=True, eq=False)
class Run:
    r"""What an algorithm did, iterate by iterate; T iterations, and the leading axes of the start after the first.

    policies : (T + 1, ..., S, A), the start included
    values : (T + 1, ...), the true :math:`V^\pi_\pi(\rho)` of each, without any bonus or penalty
    shifts : (T, ...), the relative change of the occupancy, :math:`\|d_{t+1} - d_t\|_2 / \|d_t\|_2` with
        :math:`d_t = d^{\pi_t}_{\pi_t}`
    deployments : (T + 1,), how many deployments each iterate took so far
    samples : (T + 1, ...), how many transitions were sampled for it
    parameters : ``(T + 1, ..., *shape)``, those of each in the class of policies that the algorithm was given; None without one
    """

    policies: np.ndarray
    values: np.ndarray
    shifts: np.ndarray
    deployments: np.ndarray
    samples: np.ndarray
    parameters: np.ndarray | None = None

    def __post_init__(self):
        arrays = {name: check_finite(name, getattr(self, name), ()) for name in ("values", "deployments", "samples")}
        arrays["policies"] = check_any_policy(self.policies, "policies")
        arrays["shifts"] = check_array("shifts", self.shifts)  # none, where the occupancy before is 0
        if arrays["policies"].ndim < 3:
            raise ValueError(f"policies: expected shape (T + 1, ..., S, A), got {arrays['policies'].shape}")
        count, *lead = arrays["policies"].shape[:-2]
        for name, shape in (("values", (count, *lead)), ("shifts", (count - 1, *lead)), ("deployments", (count,)), ("samples", (count, *lead))):
            if arrays[name].shape != shape:
                raise ValueError(f"{name}: expected shape {shape} for policies of shape {arrays['policies'].shape}, got {arrays[name].shape}")
        if self.parameters is not None:
            parameters = check_array("parameters", self.parameters)
            if parameters.shape[: 1 + len(lead)] != (count, *lead) or not (parameters < np.inf).all():
                raise ValueError(f"parameters: expected numbers of shape {(count, *lead)} and more axes, got {described(self.parameters)}")

    def __repr__(self):
        """One line: how much of what, and the value at the start and at the end."""
        shape, count = self.policies.shape, int(np.prod(self.values.shape[1:]))
        side = f"{count} side by side, " if self.values.ndim > 1 else ""
        sampled = f", {int(self.samples[-1].mean())} samples" if self.samples.any() else ""
        ends = " → ".join(f"{values.mean():.6g}" for values in (self.values[0], self.values[-1]))
        mean = "mean value" if self.values.ndim > 1 else "value"
        made = f"{shape[0] - 1} iterations, {self.deployments[-1]} deployments{sampled}"
        return f"Run: {side}{shape[-2]} states, {shape[-1]} actions, {made}, {mean} {ends}"

    @property
    def policy(self) -> np.ndarray:
        """The last policy, (..., S, A)."""
        return self.policies[-1]


def starting_policy(env, policy, seed):
    """`policy` where there is one; else the uniform policy, or a near-uniform one for a whole number as seed.

    For n seeds, of runs side by side, the start of each: (n, S, A). Where the environment is several, the leading axes of
    `policy` are broadcast with its own, and the start of each seed is one in all of them: ``(n, *lead, S, A)``.
    """
    check_env(env)
    start = _one_start(env, policy, seed)
    lead = check_leading("policy", start.shape[:-2], env.lead, "the environment")
    return np.broadcast_to(start, (*lead, *start.shape[-2:])) if env.lead else start


def _one_start(env, policy, seed):
    several = isinstance(seed, (list, tuple, range)) or isinstance(seed, np.ndarray) and seed.ndim == 1
    seeds = list(seed) if several else [seed]
    if not (seeds and all(_is_seed(one) or one is None and not several for one in seeds)):
        raise ValueError(f"seed: expected a whole number >= 0, a sequence of them, or None, got {described(seed)}")
    if policy is not None:
        policy = env.check_policy(policy)
        shape = (len(seeds), *policy.shape[-2:])
        if several and policy.shape not in (shape, shape[1:]):
            raise ValueError(f"policy: expected shape {shape} or {shape[1:]} for {len(seeds)} seeds, got {policy.shape}")
        return np.broadcast_to(policy, shape) if several else policy
    if seed is None:
        return env.uniform_policy()
    starts = env.random_policies(seeds)
    return starts.reshape(-1, *(1,) * len(env.lead), *starts.shape[1:]) if several else starts[0]


class Iterate:
    """Where an ascent is: the parameters of a class of policies, those of the start at first, and where it has been.

    policies : None, for the tabular softmax, whose start is the policy that :func:`starting_policy` makes of `policy` and `seed`; or a
        class of policies, which starts from `parameters`, or from a draw for each seed
    """

    def __init__(self, env, policy, policies, parameters, seed):
        self.start = starting_policy(env, policy, seed)
        if policies is None:
            if parameters is not None:
                raise ValueError(f"parameters: expected none without policies, got {described(parameters)}")
            self.policies, self.way = Tabular(env.n_states, env.n_actions), None
            with np.errstate(divide="ignore"):
                self.parameters = np.log(self.start)  # -inf for an action never taken: the softmax cannot leave that face
            return
        self.policies = check_policies(policies, env)
        if policy is not None:
            raise ValueError(f"policy: expected none with policies, which start from parameters, got {described(policy)}")
        start = _parameters(policies, parameters, seed, len(env.lead))
        self.start = policies.policy(start)
        lead = check_leading("parameters", self.start.shape[:-2], env.lead, "the environment")
        self.start = np.broadcast_to(self.start, (*lead, *self.start.shape[-2:]))
        self.parameters = np.broadcast_to(start, (*lead, *policies.shape))
        self.way = [self.parameters]

    def policy_part(self, deployment):
        return self.policies.policy_part(self.parameters, deployment)

    def gradient(self, deployment, env):
        """Both parts of the gradient."""
        return self.policies.gradient(self.parameters, deployment, env)

    def environment_part(self, deployment, env):
        return self.policies.environment_part(self.parameters, deployment, env)

    def of_each(self, numbers):
        """Numbers (..., 1, 1), one for each run or one for all, as (..., 1, ..., 1) beside the parameters."""
        return np.reshape(numbers, np.shape(numbers)[:-2] + (1,) * len(self.policies.shape)) if np.ndim(numbers) else numbers

    def move(self, parameters):
        """Go there; the policy (..., S, A)."""
        self.parameters = parameters
        if self.way is not None:
            self.way.append(parameters)
        return self.policies.policy(parameters)

    def back(self, policy, parameters):
        """Go where it has been instead of where it is; that policy."""
        self.parameters = parameters
        if self.way is not None:
            self.way[-1] = parameters
        return policy

    def finish(self, run):
        """The Run with the parameters of each iterate, where a class of policies was given."""
        return run if self.way is None else replace(run, parameters=np.array(self.way))


def _parameters(policies, parameters, seed, n_axes):
    """The parameters of the start, as :func:`_one_start` has the policy; `n_axes` are those of an environment that is several."""
    several = np.ndim(seed) > 0
    if parameters is None:
        if seed is None:
            raise ValueError(f"parameters: expected a start of shape {policies.shape} or a seed that draws one, got neither")
        drawn = policies.random_parameters(seed if several else [seed])
        return drawn.reshape(-1, *(1,) * n_axes, *policies.shape) if several else drawn[0]
    parameters = policies.check_parameters(parameters)
    if not several:
        return parameters
    shape = (len(seed), *policies.shape)
    if parameters.shape not in (shape, shape[1:]):
        raise ValueError(f"parameters: expected shape {shape} or {shape[1:]} for {len(seed)} seeds, got {parameters.shape}")
    return np.broadcast_to(parameters, shape)


def _is_seed(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0


def warn_if_deterministic(env, start):
    """Warn of a start at which an ascent stands still: a softmax cannot move away from a deterministic policy."""
    if env.n_actions > 1 and (start.max(axis=(-1)) == 1.0).all(axis=-1).any():
        warnings.warn(
            "policy: the start is deterministic, and a softmax cannot move away from it: the run will be flat. Mix it with the "
            "uniform policy, e.g. 0.95 * policy + 0.05 * env.uniform_policy()",
            stacklevel=4,
        )


def repeat(name, env, start, iterations, step, entropy=0.0, field=None):
    """Evaluate, step: the loop of every algorithm. `step` maps the Deployment of a policy to the next policy.

    `entropy` is one coefficient, or one per iterate (iterations + 1,).

    An exact algorithm learns all from that one deployment. One that learns from samples reads nothing but the policy from it,
    deploys in its `field`, and is charged what the field has counted: the evaluation is ours, not its own.

    Raises ValueError that names the iterate where a value or a gradient is not finite, or the environment's answer is none.
    """
    iterations = check_count("iterations", iterations, least=0)
    check_size("iterations", (iterations + 1) * start.size, "entries of all policies together")
    policies = np.empty((iterations + 1, *start.shape))
    values = np.empty((iterations + 1, *start.shape[:-2]))
    shifts = np.empty((iterations, *start.shape[:-2]))
    deployments = np.arange(iterations + 1)
    samples = np.zeros(values.shape, dtype=int)
    entropy = np.broadcast_to(entropy, iterations + 1)
    policies[0] = start
    occupancy = None
    for t in tqdm(range(iterations + 1), desc=name, leave=False, disable=None):
        try:
            deployment = deploy(env, policies[t], entropy[t])
            if t < iterations:
                policies[t + 1] = step(deployment)
        except ValueError as error:
            raise ValueError(f"{name} in {type(env).__name__}, iterate {t}: {error}") from error
        values[t] = deployment.expected_return
        if t > 0:
            change = np.linalg.norm(deployment.occupancy - occupancy, axis=(-2, -1))
            shifts[t - 1] = change / np.linalg.norm(occupancy, axis=(-2, -1))
        occupancy = deployment.occupancy
        if t < iterations and field is not None:
            deployments[t + 1], samples[t + 1] = field.deployments, field.samples
    return Run(policies, values, shifts, deployments, samples)


def drawn(rng, numbers):
    """``numbers(rng)`` of one generator; of a list of them, one for each of n runs side by side, an array (n, ...)."""
    return np.array([numbers(one) for one in rng]) if isinstance(rng, list) else numbers(rng)


class Field:
    r"""Where an algorithm that sees only samples deploys its policies: every deployment and every transition is counted.

    trajectories, horizon : how many trajectories each deployment yields, and their most steps
    start : (S, A), the policy at which the environment rests at first; (n, S, A) for n runs side by side
    seed : a whole number or None; n whole numbers for n runs, each of which is then what it would be alone
    w : in (0, 1], how much of the way to its response the environment goes at each deployment: with
        :math:`M_0 = M(\pi_{start})`, :math:`M_t = (1 - w) M_{t-1} + w M(\pi_t)` in transitions and rewards (Rank et al., UAI
        2024, for the second agent of the gridworld, where the two mean the same). 1 is the environment itself.
    """

    def __init__(self, env, start, seed, trajectories, horizon, w=1.0):
        check_one_env(env)
        lead = (len(seed),) if np.ndim(seed) else ()
        if start.shape != (*lead, env.n_states, env.n_actions):
            raise ValueError(f"policy: expected shape {(*lead, env.n_states, env.n_actions)}, got {start.shape}")
        self.rho, self.gamma = env.rho, env.gamma
        self.trajectories, self.horizon = check_count("trajectories", trajectories), check_count("horizon", horizon)
        check_size("trajectories", self.trajectories * self.horizon, "steps of all trajectories of a deployment together")
        self.deployments = self.samples = 0
        self._env = env
        self._w = float(check_number("w", w, "a number in (0, 1]", lambda x: 0.0 < x <= 1.0))
        self._mdp = env.respond(start) if self._w < 1.0 else None
        # A near-uniform start is drawn from the seed itself, so that the trajectories take a child of it.
        sources = [np.random.SeedSequence(0 if one is None else int(one)) for one in (seed if lead else [seed])]
        rngs = [np.random.default_rng(source.spawn(1)[0]) for source in sources]
        self.rng = rngs if lead else rngs[0]

    def deploy(self, policy):
        """Trajectories of `policy` (S, A), or of each of n runs (n, S, A), in the environment that answers it."""
        mdp = self._env.respond(policy)
        if self._w < 1.0:
            last, w = self._mdp, self._w
            mdp = MDP((1 - w) * last.P + w * mdp.P, (1 - w) * last.r + w * mdp.r, mdp.gamma, mdp.rho, mdp.terminal)
        self._mdp = mdp
        paths = sample_trajectories(mdp, policy, self.trajectories, self.horizon, self.rng)
        self.deployments += 1
        self.samples += paths.samples
        return paths
