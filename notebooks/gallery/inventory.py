# %%
import autograd.numpy as np

import pepg

# %% [markdown]
# **Inventory.** A shop sells a stock at the full price or at a discount, and its customers are strategic: who expects a discount once
# less is left waits for it (Su, *Intertemporal Pricing with Strategic Customer Behavior*, Management Science 53, 2007; Aviv & Pazgal,
# *Optimal Pricing of Seasonal Products in the Presence of Forward-Looking Consumers*, Manufacturing & Service Operations Management
# 10, 2008). The states are how much is left; at the full price the chance of a sale falls with the discounts announced for this
# stock and the next lower one. An empty shop is filled again at a cost, and what lies there costs storage. The model is ours, its
# numbers are made up.

# %% parameters
profile = "paper"
model = {"waiting": 0.8, "discount": 0.6, "storage": 0.05, "order": 0.5}  # how many wait; its price; costs
gamma = 0.95
n_seeds = 10  # starts of the exact algorithms; starts and samples of the others
iterations = 60  # deployments of the exact algorithms
deployments = 30  # of those that learn from samples: a multiple of 30, so that every one of them ends an update
trajectories = 30  # sampled at each deployment
jobs = 1  # processes; None: every core

# %% environment
states, actions = ["empty", *(f"{k} left" for k in range(1, 6))], ["full price", "discount"]
left = np.arange(6.0)
less, same, full = np.eye(6)[[0, 0, 1, 2, 3, 4]], np.eye(6), np.ones((6, 1)) * np.eye(6)[5]
empty = np.eye(6)[:, :1]  # a column that is 1 in the empty shop


def respond(policy):
    discounted = policy[:, 1]
    soon = np.concatenate([discounted[:1], discounted[:-1]])  # with one less
    hoped = 0.5 * (discounted + soon)
    sells = np.stack([0.5 * (1 - model["waiting"] * hoped), 0.8 + 0.0 * hoped], axis=1)
    shop = sells[:, :, None] * less[:, None] + (1 - sells[:, :, None]) * same[:, None]
    P = empty[:, :, None] * full[:, None] + (1 - empty[:, :, None]) * shop
    earned = sells * np.array([1.0, model["discount"]]) - model["storage"] * left[:, None]
    return P, (1 - empty) * earned - empty * model["order"]


rho = np.eye(len(states))[-1]
env = pepg.FunctionPeMDP(respond, n_states=len(states), n_actions=len(actions), gamma=gamma, rho=rho)
