"""For notebook 02: what is measured on an instance, the search for a tight one, and the closed form that is tight in the limit."""

import numpy as np
import pandas as pd

import pepg
from pepg import theory
from support.climbing import climb

STEPS = [  # of the proof of R2, from q0 to q5
    "1: the signs over (s, a)",
    "2: rewards against transitions",
    "3: half the span for V",
    "4: the worst (s, a) for those visited",
    "5: the Lipschitz constants",
]


def measure(env, policy, other):
    """The two sides of R1 and R2 and what their proofs pass through, a column each.

    scale : the larger of the two values, absolute · difference : of the values, absolute
    all terms, without ..., with the wrong ... : residual of R1, and of R1 with something wrong
    shift, bound, q0 to q5 : the two sides of R2 and the steps of its proof
    tanh, naive, a priori : other right-hand sides of R2 · trivial : the widest distance of two values that the rewards allow
    rewards used, transitions used : of what the Lipschitz constants allow
    """
    new, old = pepg.deploy(env, policy), pepg.deploy(env, other)
    constants = L_P, L_r = env.lipschitz_constants()
    left, right = theory.performance_difference(env, policy, other)
    terms = theory.difference_terms(env, policy, other)
    shift, bound = theory.performative_shift(env, policy, other, constants)
    d, dP = old.mdp.occupancy(policy), new.mdp.P - old.mdp.P

    def total(weights, value):
        """R1's right-hand side with an occupancy and a value of one's choice."""
        drift = env.gamma * (dP @ value[..., None, :, None])[..., 0]
        return (weights * (old.mdp.advantage(other) + new.mdp.r - old.mdp.r + drift)).sum(axis=(-2, -1))

    distance = np.sqrt(((policy - other) ** 2).sum(axis=(-2, -1)))
    low, high = env.reward_range()
    largest = {"naive": np.abs(new.value).max(axis=-1), "a priori": (high - low) / (2 * (1 - env.gamma))}
    used = {"rewards used": (np.abs(new.mdp.r - old.mdp.r), L_r), "transitions used": (np.abs(dP).sum(axis=-1), L_P)}
    return {
        "scale": np.maximum(np.abs(new.expected_return), np.abs(old.expected_return)),
        "difference": np.abs(left),
        "all terms": np.abs(left - right),
        "without the advantage": np.abs(left - terms[1] - terms[2]),
        "without the rewards": np.abs(left - terms[0] - terms[2]),
        "without the transitions": np.abs(left - terms[0] - terms[1]),
        "with the wrong value": np.abs(left - total(d, old.value)),
        "with the wrong occupancy": np.abs(left - total(new.occupancy, new.value)),
        "shift": shift,
        "bound": bound,
        "trivial": (high - low) / (1 - env.gamma),
        "tanh": theory.sharp_shift(env, policy, other, constants),
        **{name: (L_r + env.gamma * L_P * V) * distance / (1 - env.gamma) for name, V in largest.items()},
        **{f"q{k}": step for k, step in enumerate(theory.shift_steps(env, policy, other, constants))},
        **{name: moved.max(axis=(-2, -1)) / np.where(L > 0, L * distance, np.inf) for name, (moved, L) in used.items()},
    }


def below(x):
    """The first of 1e-12, 1e-9, ... that x stays below by a factor of three, so that another machine prints the same."""
    return next(f"below {limit:.0e}" for limit in (1e-12, 1e-9, 1e-6, 1e-3, 1.0) if 3 * np.max(x) < limit)


SHAPES = {"logits": (2, 2, 2), "logit_map": (2, 2, 2, 2, 2), "rewards": (2, 2), "rho": (2,)}
SIZES = [int(np.prod(shape)) for shape in SHAPES.values()]


def candidates(x, gamma):
    """The PeMDPs (n,) of parameters x (n, dimension), with L_P = 1 and rewards that do not respond."""
    parts = np.split(x, np.cumsum(SIZES)[:-1], axis=-1)
    parts = {name: part.reshape(-1, *shape) for (name, shape), part in zip(SHAPES.items(), parts)}
    parts |= {"rewards": np.tanh(parts["rewards"]), "rho": pepg.softmax(parts["rho"]), "gamma": gamma}
    parts["reward_map"] = np.zeros((len(x), 2, 2, 2, 2))
    unit, _ = pepg.SoftmaxPeMDP(**parts).lipschitz_constants()
    return pepg.SoftmaxPeMDP(**parts, transition_strength=1 / unit)


def search(policy, other, gamma, climbers, climbs, seed):
    """Climb on the ratio of the two sides of R2: the best instance, (1,), and the ratios (climbs + 1, climbers) on the way."""

    def ratio(x):
        left, right = theory.performative_shift(candidates(x, gamma), policy, other, (1.0, 0.0))
        return left / right

    x, path = climb(ratio, sum(SIZES), climbers, climbs, seed)
    return candidates(x[[path[-1].argmax()]], gamma), path


def aligned(kappa, c, u, gamma):
    """The closed form: an environment whose pairs (s, a) all respond alike, and two policies, for arrays kappa, c, u (n,)."""
    kappa, c, u = np.broadcast_arrays(*np.atleast_1d(kappa, c, u))
    w = np.array([[-0.5, 0.5], [-0.5, 0.5]])
    n, ones = len(u), np.ones((2, 2))
    env = pepg.SoftmaxPeMDP(
        logits=np.zeros((n, 2, 2, 2)),
        logit_map=np.tile(np.einsum("sa,x,tb->saxtb", ones, [0.0, 1.0], w), (n, 1, 1, 1, 1, 1)),
        rewards=np.tile([[0.0, 0.0], [1.0, 1.0]], (n, 1, 1)),
        reward_map=np.tile(np.einsum("sa,tb->satb", ones, w), (n, 1, 1, 1, 1)),
        gamma=gamma,
        rho=np.full((n, 2), 0.5),
        transition_strength=kappa,
        reward_strength=c,
    )
    return env, 0.5 + 0.5 * u[:, None, None] * w, 0.5 - 0.5 * u[:, None, None] * w


def closed_form(kappa, c, gamma):
    """Left over right of R2 (ratio) and of its sharper form (sharp) in the closed form, for policies that are u apart."""
    u = np.array([0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0])
    found = measure(*aligned(kappa, c, u, gamma))
    sides = {"ratio": found["shift"] / found["bound"], "sharp": found["shift"] / found["tanh"]}
    return pd.DataFrame({"gamma": gamma, "kappa": kappa, "c": c, "u": u, **sides})


# Tables


def identity_table(sample):
    """How exactly R1 holds by discount: the worst residual, and how large the differences are that it is about."""
    relative, apart = sample["all terms"] / sample["scale"], sample["difference"] / sample["scale"]
    return pd.DataFrame([
        {
            "gamma": gamma,
            "instances": len(part),
            "worst residual, of the values": below(relative[part.index]),
            "worst residual, of the difference": below(part["all terms"] / part["difference"]),
            "smallest difference, of the values": f"{apart[part.index].min():.1e}",
            "median difference, of the values": round(apart[part.index].median(), 3),
        }
        for gamma, part in sample.groupby("gamma")
    ])


def halved_table(cases):
    """Left over right of R2, and with one constant halved. cases : {instance: (env, policy, other)}"""
    rows = []
    for name, (env, *policies) in cases.items():
        L_P, L_r = env.lipschitz_constants()
        left, right = theory.performative_shift(env, *policies, (L_P, L_r))
        halved = {"L_P/2, or span/4": (L_P / 2, L_r), "L_r/2": (L_P, L_r / 2), "1/(2(1-gamma))": (L_P / 2, L_r / 2)}
        ratios = {key: left / theory.performative_shift(env, *policies, pair)[1] for key, pair in halved.items()}
        rows.append(pd.DataFrame({"instance": name, "left / right of R2": left / right, **ratios}))
    return pd.concat(rows)
