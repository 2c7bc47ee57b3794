# %%
import autograd.numpy as np

import pepg

# %% [markdown]
# **Pricing.** A shop sets its prices, and its customers learn what to expect: the states are how many customers it has, an action is
# a price. In state $s$ they have learnt to expect $\bar p_s = \sum_a \pi(a|s) p_a$, and the price that they feel is
# $m \bar p_s + (1 - m) p_a$ with $m$ their memory. They become more with probability $1 - \text{felt}^2$, else fewer. A period pays
# customers times price. If they remember well, a high price today costs little today and much once it is the rule; retraining does
# not see the difference. Reference prices: Popescu & Wu, *Dynamic Pricing Strategies with Reference Effects*, Operations Research 55
# (2007). The model is ours, its numbers are made up.

# %% parameters
profile = "paper"
model = {"memory": 0.7}  # how much of the price that customers react to is the one they expect; 0: an ordinary MDP
gamma = 0.9
n_seeds = 10  # starts of the exact algorithms; starts and samples of the others
iterations = 60  # deployments of the exact algorithms
deployments = 30  # of those that learn from samples: a multiple of 30, so that every one of them ends an update
trajectories = 30  # sampled at each deployment
jobs = 1  # processes; None: every core

# %% environment
states, actions = ["few customers", "some", "many"], ["low price", "middle", "high"]
price, customers = np.array([0.2, 0.6, 1.0]), np.array([1.0, 2.0, 3.0])
more, fewer = np.eye(3)[[1, 2, 2]], np.eye(3)[[0, 0, 1]]  # where each state leads


def respond(policy):
    expected = policy @ price
    felt = model["memory"] * expected[:, None] + (1 - model["memory"]) * price
    content = (1 - felt**2)[:, :, None]
    P = content * more[:, None] + (1 - content) * fewer[:, None]
    r = customers[:, None] * price
    return P, r


rho = np.ones(len(states)) / len(states)
env = pepg.FunctionPeMDP(respond, n_states=len(states), n_actions=len(actions), gamma=gamma, rho=rho)
