# %%
import autograd.numpy as np

import pepg

# %% [markdown]
# **Queueing.** A dispatcher sends each arrival to the fast server's queue or to a slow server that is always free, and announces how.
# Customers decide whether to come at all by the wait that the announced routing lets them expect (Naor, *The Regulation of Queue Size
# by Levying Tolls*, Econometrica 37, 1969; Hassin & Haviv, *To Queue or Not to Queue*, 2003): of those who could, a share comes that
# falls with it as a softmax. The states are the length of the queue; a customer who is taken pays the same wherever they are sent,
# the slow server costs extra, and so does each that waits. The model is ours, its numbers are made up.

# %% parameters
profile = "paper"
model = {"demand": 0.9, "patience": 3.0, "sharpness": 1.5, "slow": 4.0}  # arrivals; the wait that halves them
gamma = 0.95
n_seeds = 10  # starts of the exact algorithms; starts and samples of the others
iterations = 60  # deployments of the exact algorithms
deployments = 30  # of those that learn from samples: a multiple of 30, so that every one of them ends an update
trajectories = 30  # sampled at each deployment
jobs = 1  # processes; None: every core

# %% environment
states, actions = [f"{k} waiting" for k in range(8)], ["queue", "slow server"]
waiting, served = np.arange(8.0), 0.6  # the chance that the fast server finishes one
longer, same, shorter = np.eye(8)[[1, 2, 3, 4, 5, 6, 7, 7]], np.eye(8), np.eye(8)[[0, 0, 1, 2, 3, 4, 5, 6]]


def respond(policy):
    wait = policy[:, 0] * waiting / served + policy[:, 1] * model["slow"]  # expected, by what is announced
    come = (model["demand"] / (1 + np.exp(model["sharpness"] * (wait - model["patience"]))))[:, None]
    more, fewer = come * (1 - served), (1 - come) * served
    queue = more * longer + fewer * shorter + (1 - more - fewer) * same
    slow = served * shorter + (1 - served) * same
    r = np.concatenate([come, 0.7 * come], axis=1) - 0.05 * waiting[:, None]
    return np.stack([queue, slow], axis=1), r


rho = np.eye(len(states))[0]
env = pepg.FunctionPeMDP(respond, n_states=len(states), n_actions=len(actions), gamma=gamma, rho=rho)
