"""What a notebook leaves behind: figures, the data behind them, tables and claims, each written whole or not at all.

On one platform (:func:`pepg.companion.platform.fingerprint`, which the manifest records) a file holds the same bytes every time: no
dates, floats of six digits, and figures drawn from the rounded data that is stored beside them.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .. import __version__
from ..arguments import check_choice, check_instance, check_name, check_text
from ..experiments.files import checksum, write_whole
from . import claims
from .platform import fingerprint

_ABOVE = Path(__file__).resolve().parent.parent.parent
PROJECT = _ABOVE if (_ABOVE / "notebooks").is_dir() else Path.cwd()  # an installed package writes where it is called
PROFILES = ("paper", "quick", "full")
OWN = "own"  # the folder, in figures/, of what a reader's own notebooks publish
TO_BOUNDS = [[1, 0, -1, 0], [0, 1, 0, -1], [0, 0, 1, 0], [0, 0, 0, 1]]  # from a box's corners to its corner, width and height


class Output:
    """Where one notebook saves its figures, their data, its tables and its claims.

    notebook : its name, which starts every file name
    parameters : the setting of the run, for the manifest; `profile` is "paper", "quick" or "full"

    The folder is that of the environment variable PEPG_OUTPUT, which `make` sets, and build/interactive/ where a reader
    runs the notebook by hand; `make figures` publishes to figures/ once the whole notebook has run.
    """

    def __init__(self, notebook: str, profile: Literal["paper", "quick", "full"] = "paper", **parameters: Any) -> None:
        self.notebook, self.profile = check_name("notebook", notebook), check_choice("profile", profile, PROFILES)
        self.parameters = {"profile": profile, **parameters}
        self.folder = Path(os.environ.get("PEPG_OUTPUT", PROJECT / "build" / "interactive"))
        self._record = {}
        self._claims = {}

    @property
    def sweeps(self) -> Path:
        """A folder for the runs of sweeps: what was interrupted goes on from them. The tests have one of their own (PEPG_SWEEPS)."""
        return Path(os.environ.get("PEPG_SWEEPS", PROJECT / "build" / "sweeps")) / self.notebook

    def save_data(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Store a table as CSV with six digits, and return it as stored: what a figure is drawn from."""
        path = self.folder / f"{self.notebook}_{check_name('name', name)}.csv"
        table = _six_digits(check_table("table", table))
        write_whole(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
        self._add(path, "data")
        return table

    def save_figure(self, name: str, figure: Figure, data: str | None = None) -> None:
        """Store a figure as PDF, for a paper, and PNG, for a page, and show the stored PNG. `data` names the data that it shows."""
        check_name("name", name)
        data = None if data is None else f"{self.notebook}_{check_name('data', data)}.csv"
        _settle(check_instance("figure", figure, Figure, "a matplotlib Figure"))
        for suffix, metadata in ((".pdf", {"CreationDate": None, "Producer": None, "Creator": None}), (".png", {"Software": None})):
            path = self.folder / f"{self.notebook}_{name}{suffix}"
            write_whole(path, lambda p, m=metadata, s=suffix: figure.savefig(p, format=s[1:], metadata=m))
            self._add(path, "figure", data)
        plt.close(figure)
        display(Image(data=path.read_bytes(), width=round(96 * figure.get_figwidth())))

    def save_table(self, name: str, table: pd.DataFrame, caption: str) -> pd.DataFrame:
        """Store a table as CSV and, with its caption, as LaTeX (booktabs), and return it as stored."""
        check_text("caption", caption)
        table = self.save_data(name, table)
        label = f"tab:{self.notebook}_{name}"
        latex = table.to_latex(index=False, escape=True, caption=caption, label=label, na_rep="", float_format="%.6g")
        path = self.folder / f"{self.notebook}_{name}.tex"
        write_whole(path, lambda partial: partial.write_text(latex, encoding="utf-8"))
        self._add(path, "table", f"{self.notebook}_{name}.csv")
        return table

    def claim(self, statement: str, measured: ArrayLike, stated: str | float | bool, source: str = "measured") -> None:
        """Hold a sentence of the text to what was measured; how it is stated and judged: :mod:`pepg.companion.claims`.

        source : where the statement comes from: "paper", "released code", "derived" or, by default, "measured" here

        Raises AssertionError with both numbers where it does not hold in the paper profile; the others only record it.
        """
        claim = claims.check(statement, measured, stated, source)
        self._claims[statement] = asdict(claim)
        path = self.folder / f"{self.notebook}_claims.csv"
        table = pd.DataFrame(self._claims.values())[["statement", "stated", "measured", "holds", "source"]]
        write_whole(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
        self._add(path, "claims")
        if self.profile == "paper" and not claim.holds:
            raise AssertionError(f"{statement}: stated {claim.stated}, measured {claim.measured}")

    def _add(self, path, kind, data=None):
        entry = {"notebook": self.notebook, "kind": kind, "parameters": self.parameters, "platform": fingerprint(), "sha256": checksum(path)}
        self._record[path.name] = entry | {"version": __version__} | ({"data": data} if data else {})
        text = json.dumps(self._record, indent=1, sort_keys=True, default=lambda value: value.tolist()) + "\n"
        write_whole(self.folder / f"{self.notebook}.record.json", lambda partial: partial.write_text(text, encoding="utf-8"))


def show_table(table: pd.DataFrame, default: str = "{:.4f}", **formats: str) -> None:
    """Display a table in a notebook: floats by `default`, columns named in `formats` by theirs, what is missing empty.

    The stored output holds nothing but the table, so that it is the same in every run.
    """
    check_table("table", table), check_text("default", default)
    text = table.astype(object)
    for column in table.columns:
        form = formats.get(column, default if pd.api.types.is_float_dtype(table[column]) else "{}")
        text[column] = ["" if pd.isna(x) else form.format(x) for x in table[column]]
    display(HTML(text.to_html(index=False, border=0)))


def read_published(name: str) -> pd.DataFrame:
    """The data that another notebook published: the table `<name>.csv` of figures/, or of the same profile's.

    `make` reads these calls: a notebook runs after those whose data it reads, so `name` is written out.
    """
    folder = Path(os.environ.get("PEPG_PUBLISHED", PROJECT / "figures"))
    places = [place / f"{check_name('name', name)}.csv" for place in (folder, folder / OWN)]
    for path in places:
        if path.exists():
            return pd.read_csv(path)
    raise ValueError(f"name: expected the name of a table in {folder}, got {name!r}")


def check_table(name, table, columns=()):
    """`table` where it is a pandas DataFrame that has `columns`, or a ValueError."""
    check_instance(name, table, pd.DataFrame, "a pandas DataFrame")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{name}: expected the columns {', '.join(columns)}, got none called {missing[0]!r}")
    return table


def _settle(figure):
    """Lay a figure out, and fix each panel's place to six digits: the solver's last ones depend on addresses in memory."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    for _ in range(2):  # the solver's second pass starts from the first
        engine.execute(figure)
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(ax.get_position(original=True).get_points().round(6).ravel() @ TO_BOUNDS, which="original")


def _six_digits(table):
    table = pd.DataFrame(table).reset_index(drop=True)
    for column in table.select_dtypes("floating").columns:
        # Adding 0.0 turns -0.0 into 0.0.
        table[column] = [float(f"{x:.6g}") + 0.0 for x in table[column]]
    return table
