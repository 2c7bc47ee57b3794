# %%
import autograd.numpy as np

import pepg

# %% [markdown]
# **Lending.** A bank refuses or grants an applicant, and the bands of applicants move with who is granted: a loan that is paid back
# raises an applicant by a band, a default lowers them (Liu, Dean, Rolf, Simchowitz & Hardt, *Delayed Impact of Fair Machine Learning*,
# ICML 2018). Applicants react to the rule itself: where the next band is granted more than their own, those who are refused work on
# their score rather than on their finances (Hardt, Megiddo, Papadimitriou & Wootters, *Strategic Classification*, ITCS 2016; credit is
# the example of Perdomo, Zrnic, Mendler-Dünner & Hardt, *Performative Prediction*, ICML 2020). They climb, and the band that they
# reach pays back less. The model is ours, its numbers are made up.

# %% parameters
profile = "paper"
model = {"effort": 0.6, "dilution": 0.5, "interest": 0.3, "loss": 1.0}  # who climbs; what that costs a band
gamma = 0.9
n_seeds = 10  # starts of the exact algorithms; starts and samples of the others
iterations = 60  # deployments of the exact algorithms
deployments = 30  # of those that learn from samples: a multiple of 30, so that every one of them ends an update
trajectories = 30  # sampled at each deployment
jobs = 1  # processes; None: every core

# %% environment
states, actions = [f"band {k}" for k in range(1, 7)], ["refuse", "grant"]
pays_back = np.linspace(0.6, 0.98, 6)  # of those who did not climb
up, stay, down = np.eye(6)[[1, 2, 3, 4, 5, 5]], np.eye(6), np.eye(6)[[0, 0, 1, 2, 3, 4]]


def respond(policy):
    grant = policy[:, 1]
    above = np.concatenate([grant[1:], grant[-1:]])
    climb = model["effort"] * above * (1 - grant)  # refused, and the next band is not
    climbers = np.concatenate([np.zeros(1), climb[:-1]])
    paid = pays_back * (1 - model["dilution"] * climbers)
    refused = climb[:, None] * up + (1 - climb[:, None]) * stay
    granted = paid[:, None] * up + (1 - paid[:, None]) * down
    r = np.stack([np.zeros(6), paid * model["interest"] - (1 - paid) * model["loss"]], axis=1)
    return np.stack([refused, granted], axis=1), r


rho = np.ones(len(states)) / len(states)
env = pepg.FunctionPeMDP(respond, n_states=len(states), n_actions=len(actions), gamma=gamma, rho=rho)
