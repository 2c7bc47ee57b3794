"""Pictures of the gridworld: its cells, and what agent 2 does in them."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

KINDS = {-0.01: ("e", "#f2f2f2"), -0.02: ("f", "#f0d58c"), -0.5: ("h", "#c9654a"), 1.0: ("goal", "#6db591")}  # of the default grid
STEPS = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]])  # row and column of left, right, up, down
PROBABILITY = sns.light_palette("#3f97cb", as_cmap=True)  # light enough for black arrows
DIFFERENCE = sns.diverging_palette(275, 45, s=80, l=62, as_cmap=True)


def _map(axes, values, title, **colors):
    """Axes that show a grid (rows, columns): a colour, a tick a cell, white lines between the cells. Returns the cells, for a colour bar.

    The cells are squares and no image, which a PDF would hold at a figure's full resolution.
    """
    rows, columns = values.shape
    cells = axes.pcolormesh(np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5, values, **colors)
    axes.set_aspect("equal")
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_title(title)
    axes.grid(False)
    axes.set_xticks(range(columns))
    axes.set_yticks(range(rows))
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, color="white", linewidth=0.8)
    axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, color="white", linewidth=0.8)
    return cells


def draw_rewards(axes, rewards, title, framed=None):
    """The entry rewards of a grid (rows, columns) with the default grid's kinds of cells; `framed` cells get a frame."""
    levels = sorted(KINDS)
    colors = ListedColormap([KINDS[reward][1] for reward in levels])
    _map(axes, np.searchsorted(levels, rewards), title, cmap=colors, vmin=0, vmax=len(levels) - 1)
    for (i, j), reward in np.ndenumerate(rewards):
        axes.text(j, i, f"{KINDS[reward][0]}\n{reward:+g}", ha="center", va="center", fontsize=5.8, linespacing=1.1)
    for i, j in np.argwhere(framed) if framed is not None else ():
        axes.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, edgecolor="black", linewidth=1.1))


def draw_shares(axes, shares, title, highest=0.6):
    """A share in each cell of a grid (rows, columns), in percent."""
    _map(axes, shares, title, cmap="Purples", vmin=0.0, vmax=highest)
    for (i, j), value in np.ndenumerate(shares):
        color = "white" if value > 0.55 * highest else "black"
        axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5, color=color)


def agent_two_table(env, policy):
    """Agent 2's answer to `policy` (S, A), one row a cell but the goal: a tidy table.

    Columns: row, column, the probabilities of left, right, up, down and none, that of an intervention, and the mean forced
    move as arrow_right and arrow_down (in cells).
    """
    sigma = env.agent_two(policy)
    row, column = np.divmod(np.arange(env.n_states), env.grid.shape[1])
    down, right = (sigma[:, :4] @ STEPS).T
    actions = dict(zip(("left", "right", "up", "down", "none"), sigma.T))
    arrows = {"intervention": 1.0 - sigma[:, 4], "arrow_right": right, "arrow_down": down}
    return pd.DataFrame({"row": row, "column": column, **actions, **arrows}).drop(index=env.goal)


def draw_agent_two(axes, table, title, cmap=PROBABILITY, low=0.0, high=1.0, longest=1.0):
    """The rows of :func:`agent_two_table` as colours (interventions) and arrows (mean forced moves, `longest` across a cell).

    Returns the coloured cells, for a colour bar, and the arrows, for a key.
    """
    shape = table["row"].max() + 1, table["column"].max() + 1
    intervention = np.full(shape, np.nan)
    intervention[table["row"], table["column"]] = table["intervention"]
    cells = _map(axes, intervention, title, cmap=cmap, vmin=low, vmax=high)
    arrows = axes.quiver(
        table["column"], table["row"], table["arrow_right"], table["arrow_down"], angles="xy", scale_units="xy",
        scale=longest / 0.85, pivot="mid", width=0.009, headwidth=3.6, headlength=4.0, headaxislength=3.6, color="black",
    )
    axes.text(shape[1] - 1, shape[0] - 1, "goal", ha="center", va="center", fontsize=6)
    return cells, arrows
