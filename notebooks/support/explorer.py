"""For notebook 30: one look at the gridworld under a deployed policy, its picture, and the sliders that ask for another."""

import io
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

import pepg
from pepg import figures
from pepg.companion import boards

BOARD, VALUES, PARTS = (0.04, 0.10, 0.42, 0.78), (0.58, 0.62, 0.40, 0.26), (0.58, 0.16, 0.40, 0.22)  # left, bottom, width, height


@lru_cache(maxsize=32)
def world(eps, beta, followers):
    """The gridworld at a setting; one that was asked for before is at hand."""
    return pepg.Gridworld(eps=eps, beta=beta, n_followers=followers)


def mix(policy, weight):
    """`policy` (S, A) with this weight, and the uniform one with the rest."""
    return weight * policy + (1.0 - weight) / policy.shape[-1]


def look(env, policy):
    """What deploying `policy` (S, A) does: agent 2's answer, the values and the two parts of the gradient, as one tidy table.

    The rows of part "board" are those of :func:`pepg.companion.boards.agent_two_table`. Those of part "value": what the policy earns,
    what a best response to the environment that it has brought about promises there, and what that one delivers. Those of part
    "gradient": the Euclidean norms of the two parts in the logits, and the cosine of the angle between them.
    """
    here = pepg.deploy(env, policy)
    answer = pepg.best_response(here.mdp)
    own, world_part = here.policy_part, here.environment_part(env)
    norms = np.linalg.norm(own), np.linalg.norm(world_part)
    numbers = [
        ("value", "deployed", here.expected_return),
        ("value", "promised", here.mdp.expected_return(answer)),
        ("value", "delivered", pepg.performative_value(env, answer)),
        ("gradient", "policy", norms[0]),
        ("gradient", "environment", norms[1]),
        ("gradient", "cosine", (own * world_part).sum() / max(norms[0] * norms[1], 1e-300)),
    ]
    board = boards.agent_two_table(env, policy).assign(part="board")
    return pd.concat([board, pd.DataFrame(numbers, columns=["part", "name", "number"])], ignore_index=True)


def numbers(table):
    """The values and norms of a look, by name."""
    return table.dropna(subset=["number"]).set_index("name")["number"]


def draw(table, title):
    """The picture of a look, laid out by hand: it is drawn anew at every move of a slider."""
    figure = Figure(figsize=(7.6, 3.7), layout=PlaceHolderLayoutEngine(True, False))  # saving a figure without any gives it the style's
    axes = figure.add_axes(BOARD)
    board = table[table["part"] == "board"].astype({"row": int, "column": int})
    boards.draw_agent_two(axes, board, f"agent 2 against {title}")
    for place, part, label in ((VALUES, "value", "performative value"), (PARTS, "gradient", "norm of the gradient's part")):
        rows = table[(table["part"] == part) & (table["name"] != "cosine")].iloc[::-1]
        axes = figure.add_axes(place)
        colors = [figures.COLORS["PePG" if name in ("deployed", "environment") else "PG"] for name in rows["name"]]
        axes.barh(rows["name"], rows["number"], color=colors, height=0.6)
        axes.axvline(0.0, color="black", linewidth=0.6)
        axes.set_xlabel(label)
        for y, number in enumerate(rows["number"]):
            side = {"ha": "left", "x": number} if number >= 0 else {"ha": "right", "x": number}
            axes.text(y=y, s=f" {number:.4f} ".replace("-", "−"), va="center", fontsize=7.5, **side)
        axes.margins(x=0.28)
    return figure


def sliders(eps, betas, followers, policies):
    """Controls above a picture that follows them: β, the number of followers, the policy and how much of it.

    policies : {name: (S, A)}
    """
    controls = {
        "beta": widgets.SelectionSlider(options=betas, value=betas[len(betas) // 2], description="β"),
        "count": widgets.SelectionSlider(options=followers, value=followers[-1], description="followers"),
        "name": widgets.Dropdown(options=list(policies), description="policy"),
        "weight": widgets.FloatSlider(1.0, min=0.0, max=1.0, step=0.05, description="of it", readout_format=".0%"),
    }
    picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))

    def update(_=None):
        beta, count, name, weight = (control.value for control in controls.values())
        table = look(world(eps, beta, count), mix(policies[name], weight))
        file = io.BytesIO()
        draw(table, name if weight == 1.0 else f"{weight:.0%} of {name}").savefig(file, format="png", dpi=100)
        picture.value = file.getvalue()

    for control in controls.values():
        control.observe(update, names="value")
    update()
    return widgets.VBox([*controls.values(), picture], model_id="explorer")  # its own name, so that the stored output has no random one


def show(box):
    """Display widgets with a line of text for where none can be shown."""
    view = {"model_id": box.model_id, "version_major": 2, "version_minor": 0}
    display({"application/vnd.jupyter.widget-view+json": view, "text/plain": "Sliders: run this notebook in JupyterLab."}, raw=True)
