"""What is stored: the same bytes every time, whole or not at all; and the intervals of the bands."""

import hashlib
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose
from scipy import stats

import pepg
from pepg import figures
from pepg.companion import boards
from pepg.companion.figures import Output, curves, draw_curve, mean_interval
from pepg.experiments.files import write_whole

NEGATIVE_ZERO = re.compile(r"-0(\.0*)?(?![.\d])")


@pytest.fixture
def output(tmp_path, monkeypatch):
    """An Output of the notebook "n" in a folder of its own."""
    monkeypatch.setenv("PEPG_OUTPUT", str(tmp_path / "out"))
    return Output("n", seeds=3)


def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"name": ["a_b", "50 %", "c"], "count": [1, 2, 3], "x": rng.normal(size=3)}, index=[5, 6, 7])


def figure():
    figures.use_style()
    fig, axes = plt.subplots()
    draw_curve(axes, curves(range(5), np.random.default_rng(0).normal(size=(5, 3))), "PePG")
    axes.set_xlabel(r"iteration $t$")
    axes.legend()
    plt.close(fig)
    return fig


def save_everything(folder, monkeypatch):
    monkeypatch.setenv("PEPG_OUTPUT", str(folder))
    output = Output("n", seeds=3)
    output.save_data("data", table())
    output.save_figure("figure", figure(), data="data")
    output.save_table("table", table(), "A caption.")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_bytes_twice(tmp_path, monkeypatch):
    """CSV, PNG, PDF, LaTeX and record are byte for byte the same when made again, at any date."""
    first = save_everything(tmp_path / "first", monkeypatch)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert save_everything(tmp_path / "second", monkeypatch) == first
    names = "n_data.csv n_figure.pdf n_figure.png n_table.csv n_table.tex n.record.json"
    assert sorted(first) == sorted(names.split())
    assert first["n_figure.pdf"].startswith(b"%PDF") and b"CreationDate" not in first["n_figure.pdf"]
    assert first["n_figure.png"].startswith(b"\x89PNG") and b"tEXt" not in first["n_figure.png"]


def test_a_users_own_settings_and_compression_stay_out(tmp_path, monkeypatch):
    """What a matplotlibrc says changes no byte, and nothing in a PDF depends on how Python's zlib packs, pictures in it included."""
    first = save_everything(tmp_path / "first", monkeypatch)
    monkeypatch.setitem(plt.rcParams, "axes.facecolor", "red")
    monkeypatch.setitem(plt.rcParams, "axes.linewidth", 9.0)
    assert save_everything(tmp_path / "second", monkeypatch) == first
    assert b"FlateDecode" not in first["n_figure.pdf"]
    with plt.rc_context({"figure.figsize": (2, 2)}):
        fig, axes = plt.subplots()
        axes.pcolormesh(np.eye(3), rasterized=True)
        fig.savefig(tmp_path / "mesh.pdf")
    plt.close(fig)
    assert b"FlateDecode" not in (tmp_path / "mesh.pdf").read_bytes()


def test_a_layout_is_settled_before_it_is_saved(output):
    figures.use_style()
    figure, axes = plt.subplots(1, 2)
    figure.colorbar(axes[0].imshow(np.eye(3)), ax=axes[0])
    axes[1].set(title="two panels", ylabel="and a label")
    output.save_figure("panels", figure)
    for ax in figure.axes:
        corners = ax.get_position(original=True).get_points()
        np.testing.assert_allclose(corners, corners.round(6), rtol=0, atol=1e-12)
    first = (output.folder / f"{output.notebook}_panels.png").read_bytes()
    output.save_figure("panels", figure)
    assert (output.folder / f"{output.notebook}_panels.png").read_bytes() == first


def test_record(output):
    """The record lists each file with its notebook, kind, parameters, checksum and, where there is one, its data."""
    output.save_data("data", table())
    output.save_figure("figure", figure(), data="data")
    output.save_table("table", table(), "A caption.")
    record = json.loads((output.folder / "n.record.json").read_text())
    kinds = {name: (entry["kind"], entry.get("data")) for name, entry in record.items()}
    assert kinds == {
        "n_data.csv": ("data", None),
        "n_figure.pdf": ("figure", "n_data.csv"),
        "n_figure.png": ("figure", "n_data.csv"),
        "n_table.csv": ("data", None),
        "n_table.tex": ("table", "n_table.csv"),
    }
    for name, entry in record.items():
        assert entry["notebook"] == "n" and entry["parameters"] == {"profile": "paper", "seeds": 3}
        assert entry["sha256"] == hashlib.sha256((output.folder / name).read_bytes()).hexdigest()


def test_a_failing_write_leaves_what_was_there(tmp_path):
    """Half a file is never seen: the earlier one stays, and the partial one goes."""
    path = tmp_path / "folder" / "data.csv"
    write_whole(path, lambda partial: partial.write_text("whole"))

    def fail(partial):
        partial.write_text("ha")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["data.csv"]


def test_an_interrupted_figure_leaves_what_was_there(output, monkeypatch):
    """The same through Output, where the reader interrupts the drawing; the record still describes the files."""
    output.save_figure("figure", figure())
    before = {path.name: path.read_bytes() for path in output.folder.iterdir()}
    broken = figure()

    def interrupt(path, **kwargs):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(broken, "savefig", interrupt)
    with pytest.raises(KeyboardInterrupt):
        output.save_figure("figure", broken)
    assert {path.name: path.read_bytes() for path in output.folder.iterdir()} == before


AWKWARD = [-1e-9, -0.0, 1.23456789, 123456.789, 1e-12, -2.5e-17]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_six_digits(output, dtype):
    """A CSV holds six significant digits and no negative zero, and what is returned is what is stored."""
    values = np.array(AWKWARD, dtype=dtype)
    stored = output.save_data("data", pd.DataFrame({"x": values, "n": range(6)}, index=range(6, 0, -1)))
    text = (output.folder / "n_data.csv").read_text()
    assert text.splitlines()[0] == "x,n"
    cells = [line.split(",")[0] for line in text.splitlines()[1:]]
    for cell, value in zip(cells, values):
        assert f"{float(cell):.6g}" == f"{float(value) + 0.0:.6g}"
        assert len(cell.split("e")[0].replace(".0", "").replace(".", "").strip("-0")) <= 6, cell
    assert not NEGATIVE_ZERO.search(text)
    read = pd.read_csv(output.folder / "n_data.csv")
    pd.testing.assert_frame_equal(stored, read, check_exact=True, check_dtype=False)


def test_a_latex_table_says_what_its_csv_says(output):
    """The numbers in the LaTeX table are those of the CSV, with no negative zero; names are escaped."""
    output.save_table("table", pd.DataFrame({"name": list("uvwxyz"), "x": AWKWARD}), "Some $x$.")
    text = (output.folder / "n_table.tex").read_text()
    rows = [line.split("&")[1] for line in text.splitlines() if "&" in line and "name" not in line]
    shown = [float(row.replace("\\", "")) for row in rows]
    assert shown == pd.read_csv(output.folder / "n_table.csv")["x"].tolist()
    assert not NEGATIVE_ZERO.search("\n".join(rows))
    assert r"\caption{Some $x$.}" in text and r"\label{tab:n_table}" in text and r"\toprule" in text
    output.save_table("names", table(), "Names.")
    assert r"a\_b" in (output.folder / "n_names.tex").read_text()
    assert r"50 \%" in (output.folder / "n_names.tex").read_text()


def test_missing_numbers(output):
    """A missing number is an empty cell."""
    output.save_table("table", pd.DataFrame({"a": [1.5, np.nan], "b": ["x", "y"]}), "Gaps.")
    assert (output.folder / "n_table.csv").read_text() == "a,b\n1.5,x\n,y\n"
    assert "nan" not in (output.folder / "n_table.tex").read_text().lower()


def test_mean_interval():
    """Student's t interval: scipy's, a textbook example, and no width for one sample."""
    samples = np.random.default_rng(0).normal(size=(7, 5))
    for axis, n in ((0, 7), (1, 5), (-1, 5)):
        mean, low, high = mean_interval(samples, axis=axis)
        expected = stats.t.interval(0.95, n - 1, loc=samples.mean(axis=axis), scale=stats.sem(samples, axis=axis))
        assert_allclose((low, high), expected, rtol=1e-12)
        assert_allclose(mean, samples.mean(axis=axis), rtol=1e-12)
    # 1..5: mean 3, standard error sqrt(2.5 / 5), t_{0.975, 4} = 2.776.
    half = 2.77645 * 0.5**0.5
    assert_allclose(mean_interval([1, 2, 3, 4, 5]), (3.0, 3.0 - half, 3.0 + half), rtol=1e-5)
    assert mean_interval(samples, level=0.99)[2][0] > mean_interval(samples)[2][0]
    assert [x.tolist() for x in mean_interval([[4.0], [5.0]])] == [[4.0, 5.0]] * 3


def test_curves():
    """One row per point with its interval, and the labels in front."""
    samples = np.array([[1.0, 3.0], [2.0, 2.0]])
    rows = curves([0, 1], samples, algorithm="PePG")
    assert rows.columns.tolist() == ["algorithm", "iteration", "mean", "low", "high"]
    assert rows["algorithm"].tolist() == ["PePG", "PePG"] and rows["mean"].tolist() == [2.0, 2.0]
    assert rows["low"].tolist() == mean_interval(samples)[1].tolist()
    assert rows["high"][1] == rows["low"][1] == 2.0


def test_read_published(tmp_path, monkeypatch):
    """Another notebook's data are read from the folder that make names."""
    monkeypatch.setenv("PEPG_PUBLISHED", str(tmp_path))
    (tmp_path / "other_data.csv").write_text("x\n1.5\n")
    assert figures.read_published("other_data")["x"].tolist() == [1.5]


def test_colours_are_distinct():
    """No two algorithms share a colour, and each that is drawn as a curve has a line of its own."""
    assert len(set(figures.COLORS.values())) == len(figures.COLORS)
    assert len({str(line) for line in figures.LINES.values()}) == len(figures.LINES)
    assert set(figures.LINES) <= set(figures.COLORS)


# Both sides of a bound


def test_count_sides_counts_every_instance_in_its_cell():
    left, right = np.array([0.0, 1e-9, 1.0, 1.1, 1e7]), np.array([1.0, 1.0, 10.0, 10.1, 1e9])
    table = figures.count_sides(left, right, -3, 6, gamma=0.9)
    assert table["gamma"].eq(0.9).all() and table["instances"].sum() == 5
    cells = {(row[1], row[2]): row[3] for row in table.itertuples(index=False)}
    assert cells == {(0.0, -3.0): 2, (1.0, 0.0): 2, (5.875, 5.875): 1}


def test_both_sides_draws_a_panel_for_each_value():
    rng = np.random.default_rng(0)
    right = 10.0 ** rng.uniform(-1, 2, (2, 50))
    data = pd.concat(figures.count_sides(0.5 * side, side, -3, 3, gamma=gamma) for side, gamma in zip(right, (0.5, 0.9)))
    drawn = figures.both_sides(data, "gamma", "discount {}", "left (return)", "right (return)")
    plt.close(drawn)
    panels = [ax for ax in drawn.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == ["discount 0.5", "discount 0.9"]
    for ax, (_, part) in zip(panels, data.groupby("gamma")):
        assert ax.collections[0].get_array().sum() == part["instances"].sum() == 50


def test_proof_steps_marks_every_group_at_every_step():
    rows = [{"instances": name, "step": f"{k}", "low": 0.1, "median": 0.5, "high": 0.9} for name in "ab" for k in range(3)]
    rows += [{"instances": "found", "step": f"{k}", "median": 1.0} for k in range(3)]
    drawn = figures.proof_steps(pd.DataFrame(rows), {"a": "random", "b": "strong", "found": "found"}, "left after the step")
    plt.close(drawn)
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["random", "strong", "found"]
    assert [line.get_xdata().tolist() for line in drawn.axes[0].lines] == [[0.5] * 3, [0.5] * 3, [1.0] * 3]


def test_step_quantiles_are_those_of_the_ratios():
    part = pd.DataFrame({"q0": np.arange(101.0), "q1": np.full(101, 100.0), "q2": np.full(101, 200.0)})
    table = figures.step_quantiles({"all": part}, ["first", "second"], "q")
    assert table["step"].tolist() == ["first", "second"] and (table["instances"] == "all").all()
    assert_allclose(table[["low", "median", "high"]], [[0.05, 0.5, 0.95], [0.5, 0.5, 0.5]])


# Colours


def distance(first, second):
    """The largest difference of two colours in red, green or blue, on a scale of 0 to 255."""
    return 255 * np.abs(np.subtract(to_rgb(first), to_rgb(second))).max()


def test_a_board_shows_its_cells_as_squares_and_holds_no_image(tmp_path):
    """An image would be as large as the figure's resolution makes it, and PDFs are stored uncompressed."""
    env = pepg.Gridworld(n_followers=2)
    board = boards.agent_two_table(env, env.uniform_policy())
    drawn, (left, middle, right) = plt.subplots(1, 3)
    cells, _ = boards.draw_agent_two(left, board, "interventions")
    boards.draw_rewards(middle, env.grid, "rewards")
    boards.draw_shares(right, np.full((8, 8), 0.3), "shares")
    assert_allclose(cells.get_array().ravel().compressed(), board["intervention"])
    assert cells.get_array().mask.ravel().tolist() == [False] * 63 + [True]  # the goal, at the lower right
    assert all((axes.get_xlim(), axes.get_ylim()) == ((-0.5, 7.5), (7.5, -0.5)) for axes in (left, middle, right))
    drawn.savefig(tmp_path / "board.pdf")
    assert b"/Subtype /Image" not in (tmp_path / "board.pdf").read_bytes()


def test_an_algorithms_colour_means_nothing_else():
    """Every other colour that the package or a notebook names is told apart from PG's blue, RPO's green and the rest."""
    root = Path(__file__).resolve().parent.parent
    pages = [*(root / "notebooks").glob("[0-9]*.ipynb"), *(root / "notebooks" / "support").glob("*.py"), *(root / "pepg").rglob("*.py")]
    known = set(figures.COLORS.values())
    named = {color for page in pages for color in re.findall(r'"(#[0-9A-Fa-f]{6})\\?"', page.read_text(encoding="utf-8"))} - known
    assert set(figures.OTHERS) <= named
    hues = {color for color in named if max(to_rgb(color)) - min(to_rgb(color)) > 0.1}  # no greys
    assert min((distance(one, other), one, other) for one in hues for other in known)[0] > 20


def test_groups_and_quantities_do_not_borrow_the_cycle_of_a_palette():
    """The style's own cycle holds a blue and a green: sequential maps are for surfaces, not for lines."""
    root = Path(__file__).resolve().parent.parent
    for page in [*(root / "notebooks" / "support").glob("*.py"), *(root / "pepg" / "companion").glob("*.py")]:
        assert "color_palette(" not in page.read_text(encoding="utf-8"), page.name
