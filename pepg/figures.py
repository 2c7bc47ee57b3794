"""One style for every figure of the companion, and one way to store figures, their data and tables.

A notebook opens an :class:`Output` and saves through it. Every file is written whole or not at all, and holds the same
bytes every time: no dates, floats of six digits, and figures drawn from the rounded data that is stored beside them.
"""

import json
import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, display
from scipy import stats

from .files import checksum, write_whole

PROJECT = Path(__file__).resolve().parent.parent

# The same colour for the same algorithm everywhere: Okabe & Ito's palette, with three dark or pale colours of Tol's muted one where its
# eight do not suffice. Colour-blind readers can tell them apart; the line styles differ too. A finite-sample PePG or PG wears the exact one's.
COLORS = {
    "PePG": "#D55E00",
    "PePG, entropy": "#E69F00",
    "PePG, learned": "#661100",
    "PG": "#0072B2",
    "RPO": "#009E73",
    "RPO-FS": "#56B4E9",
    "RGA": "#CC79A7",
    "DRR": "#332288",
    "MDRR": "#000000",
    "0-FW": "#DDCC77",
    "reference": "#555555",
}
LINES = {
    "PePG": "-",
    "PePG, entropy": (0, (5, 1)),
    "PePG, learned": (0, (6, 1, 1, 1)),
    "PG": (0, (4, 1.5, 1, 1.5)),
    "RPO": (0, (2, 1)),
    "RPO-FS": (0, (3, 1)),
    "RGA": (0, (1, 1)),
    "DRR": (0, (3, 1, 1, 1, 1, 1)),
    "MDRR": (0, (7, 1.5)),
    "0-FW": (0, (1, 0.6)),
}


def use_style():
    """Set the companion's style for every figure drawn from here on."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
            "figure.figsize": (4.6, 3.2),
            "figure.dpi": 110,
            "savefig.dpi": 200,
            "figure.constrained_layout.use": True,
            "font.size": 9.0,
            "axes.titlesize": 9.5,
            "axes.labelsize": 9.0,
            "legend.fontsize": 8.0,
            "xtick.labelsize": 8.0,
            "ytick.labelsize": 8.0,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.6,
            "pdf.fonttype": 42,
            "svg.hashsalt": "pepg",
        }
    )


def shades(name, count):
    """`count` shades of an algorithm's colour, light to dark, for one algorithm under several settings."""
    return sns.light_palette(COLORS.get(name, name), n_colors=count + 2)[2:]


def mean_interval(samples, axis=-1, level=0.95):
    """Mean and the ends of its Student t interval along `axis` (over seeds); no width for one sample.

    Returns three arrays without `axis`.
    """
    samples = np.asarray(samples, dtype=float)
    n = samples.shape[axis]
    mean = samples.mean(axis=axis)
    if n < 2:
        return mean, mean.copy(), mean.copy()
    half = stats.t.ppf(0.5 + level / 2, n - 1) * samples.std(axis=axis, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def curves(x, samples, x_name="iteration", **labels):
    """A tidy table of curves: one row per point, with mean, low and high over the last axis of `samples` (T, seeds)."""
    mean, low, high = mean_interval(samples)
    return pd.DataFrame({**labels, x_name: x, "mean": mean, "low": low, "high": high})


def draw_curve(axes, table, name, x="iteration", label=None, color=None, linestyle=None):
    """Draw one algorithm's curve with its band from the rows of :func:`curves`."""
    color = color or COLORS[name]
    line = linestyle or LINES.get(name, "-")
    axes.plot(table[x], table["mean"], color=color, linestyle=line, label=label or name)
    if (table["high"] > table["low"]).any():
        axes.fill_between(table[x], table["low"], table["high"], color=color, alpha=0.18, linewidth=0)


class Output:
    """Where one notebook saves its figures, their data and its tables.

    notebook : its name, which starts every file name
    parameters : the setting of the run, for the manifest

    The folder is that of the environment variable PEPG_OUTPUT, which `make` sets, and build/interactive/ where a reader
    runs the notebook by hand; `make figures` publishes to figures/ once the whole notebook has run.
    """

    def __init__(self, notebook, **parameters):
        self.notebook = notebook
        self.parameters = parameters
        self.folder = Path(os.environ.get("PEPG_OUTPUT", PROJECT / "build" / "interactive"))
        self._record = {}

    def save_data(self, name, table):
        """Store a table as CSV with six digits, and return it as stored: what a figure is drawn from."""
        path = self.folder / f"{self.notebook}_{name}.csv"
        table = _six_digits(table)
        write_whole(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
        self._add(path, "data")
        return table

    def save_figure(self, name, figure, data=None):
        """Store a figure as PDF, for a paper, and PNG, for a page. `data` is the name of the data that it shows."""
        data = None if data is None else f"{self.notebook}_{data}.csv"
        for suffix, metadata in ((".pdf", {"CreationDate": None, "Producer": None, "Creator": None}), (".png", {"Software": None})):
            path = self.folder / f"{self.notebook}_{name}{suffix}"
            write_whole(path, lambda p, m=metadata, s=suffix: figure.savefig(p, format=s[1:], metadata=m))
            self._add(path, "figure", data)

    def save_table(self, name, table, caption):
        """Store a table as CSV and, with its caption, as LaTeX (booktabs), and return it as stored."""
        table = self.save_data(name, table)
        label = f"tab:{self.notebook}_{name}"
        latex = table.to_latex(index=False, escape=True, caption=caption, label=label, na_rep="", float_format="%.6g")
        path = self.folder / f"{self.notebook}_{name}.tex"
        write_whole(path, lambda partial: partial.write_text(latex, encoding="utf-8"))
        self._add(path, "table", f"{self.notebook}_{name}.csv")
        return table

    def _add(self, path, kind, data=None):
        entry = {"notebook": self.notebook, "kind": kind, "parameters": self.parameters, "sha256": checksum(path)}
        self._record[path.name] = entry | ({"data": data} if data else {})
        text = json.dumps(self._record, indent=1, sort_keys=True, default=lambda value: value.tolist()) + "\n"
        write_whole(self.folder / f"{self.notebook}.record.json", lambda partial: partial.write_text(text, encoding="utf-8"))


def show_table(table, default="{:.4f}", **formats):
    """Display a table in a notebook: floats by `default`, columns named in `formats` by theirs, what is missing empty.

    The stored output holds nothing but the table, so that it is the same in every run.
    """
    text = table.astype(object)
    for column in table.columns:
        form = formats.get(column, default if pd.api.types.is_float_dtype(table[column]) else "{}")
        text[column] = ["" if pd.isna(x) else form.format(x) for x in table[column]]
    display(HTML(text.to_html(index=False, border=0)))


def read_published(name):
    """The data that another notebook published: the table `<name>.csv` of figures/ (of the quick profile's in its runs)."""
    return pd.read_csv(Path(os.environ.get("PEPG_PUBLISHED", PROJECT / "figures")) / f"{name}.csv")


def _six_digits(table):
    table = pd.DataFrame(table).reset_index(drop=True)
    for column in table.select_dtypes("floating").columns:
        # Adding 0.0 turns -0.0 into 0.0.
        table[column] = [float(f"{x:.6g}") + 0.0 for x in table[column]]
    return table
