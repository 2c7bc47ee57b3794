"""For notebook 10: its four figures, each drawn from the data that is stored beside it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from pepg import figures
from pepg.companion import boards


def draw_board(board, follower):
    """The grid, one follower's copy, and how many copies differ."""
    shape = board["row"].max() + 1, board["column"].max() + 1
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.2, 3.9), sharey=True)
    rewards, copy = (board[name].to_numpy().reshape(shape) for name in ("reward", "follower_reward"))
    boards.draw_rewards(left, rewards, "The grid: reward on entering a cell")
    boards.draw_rewards(middle, copy, f"Follower {follower}'s copy", framed=copy != rewards)
    share = board.share_of_followers_that_differ.to_numpy().reshape(shape)
    boards.draw_shares(right, share, "Followers whose copy differs, %")
    first = board[board.start_probability > 0]
    left.plot(first.column - 0.36, first.row - 0.36, "o", markersize=3, color="#444444", clip_on=False, label="start cell")
    left.set_ylabel("row")
    for axes in (left, middle, right):
        axes.set_xlabel("column")
    frame = {"marker": "s", "linestyle": "", "markersize": 8, "markerfacecolor": "none", "markeredgecolor": "black"}
    middle.plot([], [], label="reward differs from the grid's", **frame)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def summarise(answers):
    """Agent 2's interventions by setting and policy."""
    rows = []
    for (setting, name), table in answers.groupby(["setting", "policy"], sort=False):
        intervention = table["intervention"]
        rows.append({
            "setting": setting, "policy": name, "mean probability": intervention.mean(),
            "least": intervention.min(), "most": intervention.max(),
            "share of forced moves right or down": (table["right"] + table["down"]).sum() / intervention.sum(),
            "longest arrow": np.hypot(table["arrow_right"], table["arrow_down"]).max(),
        })
    return pd.DataFrame(rows)


def draw_answers(answers, described):
    """Agent 2's answer to two policies and the difference, a row a setting."""
    figure, panels = plt.subplots(2, 3, figsize=(9.2, 6.5), sharex=True, sharey=True)
    for line, (setting, here) in zip(panels, answers.groupby("setting", sort=False)):
        first, second = (part.reset_index(drop=True) for _, part in here.groupby("policy", sort=False))
        numbers = ["intervention", "arrow_right", "arrow_down"]
        change = first[["row", "column"]].join(second[numbers] - first[numbers])
        longest = np.hypot(here.arrow_right, here.arrow_down).max()
        scale = {"low": 0.1 * np.floor(10 * here.intervention.min()), "longest": longest}
        widest = 0.1 * np.ceil(10 * change.intervention.abs().max())
        _, key = boards.draw_agent_two(line[0], first, "against the uniform policy", **scale)
        cells, _ = boards.draw_agent_two(line[1], second, "against the ε-greedy policy", **scale)
        turn = {"cmap": boards.DIFFERENCE, "low": -widest, "high": widest, "longest": longest}
        turned, _ = boards.draw_agent_two(line[2], change, "difference: ε-greedy minus uniform", **turn)
        line[0].set_ylabel(f"{described[setting]}\nrow")
        line[0].quiverkey(key, 0.78, 1.13, 0.5, "mean forced move 0.5", labelpos="W", fontproperties={"size": 7})
        figure.colorbar(cells, ax=line[:2], label="probability of an intervention", shrink=0.85, pad=0.01)
        figure.colorbar(turned, ax=line[2], label="difference in probability", shrink=0.85, pad=0.02)
    for axes in panels[-1]:
        axes.set_xlabel("column")
    return figure


def draw_moves(moves, policies):
    """Change per distance of the policies."""
    betas = sorted(moves["beta"].unique())
    tones = dict(zip(betas, figures.shades(figures.OTHERS[-1], len(betas))))
    styles = {"other policy": "-", "random": (0, (1, 1)), "steepest": (0, (5, 1.5))}
    figure, panels = plt.subplots(2, 2, figsize=(7.6, 5.4), sharex="col", sharey="row")
    for (quantity, name, beta, direction), part in moves.groupby(["quantity", "from", "beta", "direction"], sort=False):
        axes = panels["Pr".index(quantity), list(policies).index(name)]
        axes.plot(part["distance"], part["ratio"], color=tones[beta], linestyle=styles[direction])
        band = part["low"] / part["distance"], part["high"] / part["distance"]
        axes.fill_between(part["distance"], *band, color=tones[beta], alpha=0.18, linewidth=0)
        axes.set(xscale="log", yscale="log")
        axes.minorticks_off()
    for axes, name in zip(panels[0], policies):
        axes.set_title(f"starting from {name}")
    for axes, quantity in zip(panels[:, 0], "Pr"):
        axes.set_ylabel(f"change of {quantity} / distance")
    for axes in panels[1]:
        axes.set_xlabel("distance of the policies (L1, max s)")
    names = {"other policy": "to the other policy", "random": "random directions, mean", "steepest": "steepest"}
    handles = [Line2D([], [], color=tones[beta], label=f"β = {beta:g}") for beta in betas]
    handles += [Line2D([], [], color="#555555", linestyle=styles[key], label=label) for key, label in names.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def draw_retraining(retraining, described):
    """Promised and delivered values of retraining, a column a setting, a row a start."""
    retrainings = retraining["retraining"].max()
    looks = {"best response": figures.COLORS["reference"], "RPO": figures.COLORS["RPO"]}
    figure, panels = plt.subplots(2, 2, figsize=(8.6, 6.2), sharex=True)
    for (setting, start), here in retraining.groupby(["setting", "start"], sort=False):
        axes = panels[["ε-greedy", "PePG"].index(start), list(described).index(setting)]
        axes.axhline(here["PePG"].iloc[0], color=figures.COLORS["PePG"], linewidth=1.2, linestyle=(0, (6, 2)))
        for way, table in here.groupby("way", sort=False):
            x, promised, delivered = (table[name] for name in ("retraining", "promised", "delivered"))
            axes.vlines(x, promised, delivered, color=looks[way], linewidth=1.0, alpha=0.5)
            axes.plot(x, promised, "o", color=looks[way], markersize=7, markerfacecolor="white")
            axes.plot(x, delivered, "o-", color=looks[way], markersize=3.5)
        began = "PePG's policy" if start == "PePG" else "the ε-greedy policy"
        axes.set_title(f"{described[setting]}\nstarting from {began}")
        axes.set_xticks(range(0, retrainings + 1, 2))
    for axes in panels[:, 0]:
        axes.set_ylabel("value  $V(\\rho)$")
    for axes in panels[1]:
        axes.set_xlabel("retraining")
    handles = [Line2D([], [], color=looks["best response"], label="best response")]
    handles += [Line2D([], [], color=looks["RPO"], label="RPO, λ = 0.1")]
    handles += [Line2D([], [], color="black", marker="o", markersize=7, markerfacecolor="white", ls="", label="promised")]
    handles += [Line2D([], [], color="black", marker="o", markersize=3.5, label="delivered")]
    handles += [Line2D([], [], color=figures.COLORS["PePG"], linestyle=(0, (6, 2)), linewidth=1.2, label="PePG's policy")]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure
