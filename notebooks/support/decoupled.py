"""For notebooks 01, 23 and 25: what it is worth to follow one policy of a family where another is deployed, as a table and as a figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pepg import figures

KINDS = {"stable": "PG", "optimal": "PePG"}  # whose colours they wear


def tabulate(parameters, values):
    """A row for each pair of a family: the parameters of the deployed and of the followed policy, and the value."""
    i, j = np.indices(values.shape)
    return pd.DataFrame({"deployed": parameters[i.ravel()], "evaluated": parameters[j.ravel()], "value": values.ravel()})


def _best_in_row(values):
    """The best of each row, of those within 1e-5 of it the closest to the diagonal: where supports agree, policies are tied."""
    i, j = np.indices(values.shape)
    return np.where(values >= values.max(axis=1, keepdims=True) - 1e-5, np.abs(i - j), values.size).argmin(axis=1)


def draw(table, marked, parameter, value=r"$V^{\pi_j}_{\pi_i}(\rho)$"):
    """The decoupled landscape as a map, with each row's best policy and the diagonal, and cuts through it.

    marked : {"stable" or "optimal": the parameter of that policy}
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2))
    values = table.pivot(index="deployed", columns="evaluated", values="value")
    x = values.columns.to_numpy()
    ends = x[0] - (x[1] - x[0]) / 2, x[-1] + (x[1] - x[0]) / 2
    look = {"origin": "lower", "aspect": "auto", "interpolation": "none", "cmap": "viridis"}
    mesh = left.imshow(values.to_numpy(), extent=(*ends, *ends), **look)
    left.grid(visible=False)
    left.plot(x, x, color="white", linewidth=1.0)
    left.plot(x[_best_in_row(values.to_numpy())], x, color="black", linewidth=1.0, linestyle=":")
    right.plot(x, np.diag(values), color="black", label="deployed and followed")
    for name, place in marked.items():
        color, row = figures.COLORS[KINDS[name]], np.abs(x - place).argmin()
        left.plot(place, place, "o", color=color, markersize=6)
        right.plot(x, values.iloc[row], color=color, linestyle=(0, (4, 1.5)), label=f"followed where the {name} one is deployed")
        right.plot(place, np.diag(values)[row], "o", color=color, markersize=6)
    left.set(xlabel=f"followed: {parameter}", ylabel=f"deployed: {parameter}")
    figure.colorbar(mesh, ax=left, label=value)
    right.set(xlabel=parameter, ylabel="value")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
