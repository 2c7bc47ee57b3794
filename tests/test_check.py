"""check_environment: passes what is right, prints what it measured, and names what is wrong."""

import re
from dataclasses import dataclass, field

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from test_function_pemdp import plain, restated, softmax_response
from worlds import gridworlds, random_policy, seeds

import pepg


def example(count=None):
    return pepg.random_softmax_pemdp(np.random.default_rng(0), 4, 3, 0.9, count=count)


@given(gridworlds(), seeds)
@settings(max_examples=10)
def test_gridworlds_pass(env, seed):
    """Kinks and all, at random policies."""
    pepg.check_environment(env, random_policy(env, seed, (2,)))


@pytest.mark.parametrize(
    "env",
    [pepg.Gridworld(n_followers=5), example(), example(count=3), pepg.pigou(), restated(example())],
    ids=["gridworld", "softmax", "side by side", "pigou", "function"],
)
def test_environments_pass_and_the_report_says_how_well(env):
    report = pepg.check_environment(env)
    assert report.policies == 4 and len(report.checks) == 8
    text = str(report)
    assert text.startswith(f"{type(env).__name__}: all checks passed at 4 policies")
    assert report.warning == ""
    for check, line in zip(report.checks, text.splitlines()[2:], strict=True):
        assert 0.0 <= check.worst <= check.limit
        assert line.startswith(check.name) and re.search(r" \S+ +\S+$", line)
    assert max(map(len, text.splitlines())) <= 90


def test_differences_pass_too():
    env = example()
    with pytest.warns(UserWarning, match="by autograd"):
        mine = pepg.FunctionPeMDP(plain(softmax_response(env)), 4, 3, 0.9, env.rho)
    report = pepg.check_environment(mine)
    assert report.checks[5].name.startswith("response_gradient against central differences")
    assert report.checks[5].worst < 1e-6


def test_no_response_passes():
    env = pepg.FunctionPeMDP(lambda policy: (np.full((4, 3, 4), 0.25), np.ones((4, 3))), 4, 3, 0.9, np.full(4, 0.25))
    assert pepg.check_environment(env).checks[-1].worst == 0.0


# Corners, and finite moves


UNIFORM = np.full((3, 3, 3), 1 / 3)


def function(response):
    return pepg.FunctionPeMDP(response, 3, 3, 0.9, np.full(3, 1 / 3))


def towards(shares):
    """Transitions to state a with a probability that grows beyond 1 where action a is nearly certain."""
    lead = 1.6 * shares - 0.2
    return anp.stack([lead] * 3, axis=1)


CORNERS = {
    "0 log 0": (lambda policy: (UNIFORM, -policy * anp.log(policy)), r"action 0 in every state: .* r\[0, 1\] is nan .0 log 0\?"),
    "negative rows": (
        lambda policy: (towards(0.999 * policy + 0.001 / 3) if (policy.max() > 0.99) else UNIFORM, policy), "respond: P: each row .*-0.199"
    ),
}


@pytest.mark.parametrize("response, message", CORNERS.values(), ids=CORNERS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_fails_at_a_corner_alone_is_named(response, message):
    env = function(response)
    pepg.performative_value(env, env.random_policies([0])[0])  # nothing of it is seen inside
    with pytest.raises(ValueError, match=message):
        pepg.check_environment(env)


JUMPS = {
    "argmax": lambda policy: (UNIFORM, np.eye(3)[np.argmax(getattr(policy, "_value", policy), axis=1)] + 0.0 * policy),
    "threshold": lambda policy: (UNIFORM, anp.where(policy > 0.4, 1.0, 0.0) + 0.0 * policy),
    "rounding": lambda policy: (UNIFORM, anp.round(3.0 * policy)),
}


@pytest.mark.parametrize("response", JUMPS.values(), ids=JUMPS)
def test_a_response_that_jumps_is_warned_of(response):
    with pytest.warns(UserWarning, match="the response jumps: the derivative shows only 0 % .* PePG .*does not see the jumps") as caught:
        report = pepg.check_environment(function(response))
    assert report.checks[-1].worst > 0.9 and str(report).endswith(str(caught[0].message))


@pytest.mark.parametrize("sharpness", [5.0, 50.0])
def test_a_smooth_response_is_seen_whole_however_sharp(sharpness):
    report = pepg.check_environment(function(lambda policy: (UNIFORM, 1.0 / (1.0 + anp.exp(sharpness * (0.4 - policy))))))
    assert report.checks[-1].worst < 0.2 and not report.warning


# What is wrong is named


@dataclass(frozen=True, eq=False)
class Wrong(pepg.PeMDP):
    """A right environment with one thing made wrong."""

    gradient: object = staticmethod(lambda right, policy, gradient, occupancy, value: gradient)
    response: object = staticmethod(lambda right, policy, mdp: mdp)
    gamma: float = 0.9
    right: pepg.SoftmaxPeMDP = field(default_factory=example)
    n_states, n_actions = 4, 3

    @property
    def rho(self):
        return self.right.rho

    def respond(self, policy):
        return self.response(self.right, policy, self.right.respond(policy))

    def response_gradient(self, policy, occupancy, value):
        gradient = self.right.response_gradient(policy, occupancy, value)
        return self.gradient(self.right, policy, gradient, occupancy, value)


def rebuilt(mdp, **changes):
    return pepg.MDP(**{name: getattr(mdp, name) for name in ("P", "r", "gamma", "rho")} | changes)


def one_entry(right, policy, gradient, occupancy, value):
    return gradient + 0.01 * (np.arange(12).reshape(4, 3) == 7)


def rewards_only(right, policy, gradient, occupancy, value):
    return right.response_gradient(policy, occupancy, np.zeros_like(value))


NOISE = np.random.default_rng(0)
DIFFERENCES = "against central differences, relative: expected .* at policy 0"
GRADIENTS = {
    "by a percent too long": (lambda right, policy, gradient, *_: 1.01 * gradient, DIFFERENCES),
    "without transitions": (rewards_only, DIFFERENCES),
    "one entry wrong": (one_entry, DIFFERENCES),
    "zero": (lambda right, policy, gradient, *_: 0.0 * gradient, DIFFERENCES),
    "transposed": (
        lambda right, policy, gradient, *_: gradient.swapaxes(-1, -2), r"response_gradient: expected shape .*4, 3"
    ),
    "not finite": (lambda right, policy, gradient, *_: gradient / 0.0, "response_gradient: expected finite numbers"),
    "of the first policy alone": (
        lambda right, policy, gradient, *_: gradient[0] if policy.ndim == 3 else gradient,
        r"policies side by side: response_gradient: expected shape \(4, 4, 3\), got \(4, 3\)",
    ),
    "of one policy for all": (
        lambda right, policy, gradient, *_: gradient[:1] + 0 * gradient if policy.ndim == 3 else gradient,
        "response_gradient of policies side by side, against each alone: expected",
    ),
}
RESPONSES = {
    "noise": (
        lambda right, policy, mdp: rebuilt(mdp, r=mdp.r + 1e-9 * NOISE.normal()), "entries of P and r that differ: .* r"
    ),
    "another discount": (lambda right, policy, mdp: rebuilt(mdp, gamma=0.8), "respond: gamma: expected .* 0.9, got 0.8"),
    "another start": (lambda right, policy, mdp: rebuilt(mdp, rho=np.eye(4)[0]), "respond: rho: expected"),
    "a pair": (lambda right, policy, mdp: (mdp.P, mdp.r), "respond: expected an MDP, got tuple"),
    "one policy at a time": (
        lambda right, policy, mdp: mdp if policy.ndim == 2 else 1 / 0,
        r"policies side by side: expected answers to policies of shape \(4, 4, 3\), got ZeroDivisionError",
    ),
    "mixed up": (
        lambda right, policy, mdp: mdp if policy.ndim == 2 else rebuilt(mdp, P=mdp.P[::-1]),
        "P of policies side by side, against each alone: expected",
    ),
}


def test_right_passes():
    assert len(pepg.check_environment(Wrong()).checks) == 8


@pytest.mark.parametrize("gradient, message", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_wrong_gradient_is_named(gradient, message):
    with pytest.raises(ValueError, match=message):
        pepg.check_environment(Wrong(gradient=gradient))


@pytest.mark.parametrize("response, message", RESPONSES.values(), ids=RESPONSES)
def test_a_wrong_response_is_named(response, message):
    with pytest.raises(ValueError, match=message):
        pepg.check_environment(Wrong(response=response))


def test_a_response_that_depends_on_the_last_is_named():
    """One that remembers its last policy answers twice in a row alike, and is found all the same."""
    past = []

    def response(right, policy, mdp):
        if not (past and np.array_equal(past[-1], policy)):
            past.append(policy)
        return rebuilt(mdp, r=mdp.r + len(past))

    with pytest.raises(ValueError, match="entries of P and r that differ"):
        pepg.check_environment(Wrong(response=response))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="env: expected a PeMDP, got MDP"):
        pepg.check_environment(example().respond(example().uniform_policy()))
    with pytest.raises(ValueError, match="gamma"):
        pepg.check_environment(Wrong(gamma=1.0))
    with pytest.raises(ValueError, match=r"policies: expected shape \(n, 4, 3\), got \(4, 3\)"):
        pepg.check_environment(example(), example().uniform_policy())
