"""The build behind `make figures`: what runs after what, what a reader sees of it, and what it leaves behind."""

import io
import json
import time

import nbformat
import pytest
from rich.console import Console

from pepg.companion import build
from pepg.companion.notebooks import Notebook


def write(root, name, *sources):
    """A notebook `name` in a project of its own, with a parameters cell before `sources`."""
    cells = [nbformat.v4.new_code_cell('profile = "paper"', metadata={"tags": ["parameters"]})]
    head = f"import pandas as pd\nfrom pepg import companion\nout = companion.open({name!r})\n"
    cells += [nbformat.v4.new_code_cell(head + source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (root / "notebooks").mkdir(exist_ok=True)
    (root / "requirements.txt").touch()
    nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


SAVES = "out.save_data('a', pd.DataFrame({'x': [1.0]}));"
READS = "out.save_data('b', 2 * companion.read_published('first_a'));"


@pytest.fixture
def pair(tmp_path):
    """`second` reads what `first` publishes."""
    write(tmp_path, "first", SAVES)
    write(tmp_path, "second", READS)
    return tmp_path


def test_a_notebook_runs_after_what_it_reads(pair, capsys):
    assert build.main(["second"], root=pair) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["first", "first", "second", "second", "2"]
    assert (pair / "figures" / "own" / "second_b.csv").read_text() == "x\n2.0\n"
    write(pair, "first", SAVES.replace("1.0", "3.0"))  # changed: both run again
    assert build.main([], root=pair) == 0
    assert "up to date" not in capsys.readouterr().out
    assert (pair / "figures" / "own" / "second_b.csv").read_text() == "x\n6.0\n"


def test_what_reads_a_failed_notebook_does_not_run(pair, capsys):
    write(pair, "first", SAVES, "import warnings\nwarnings.warn('look here')", "x = 1\nprint(missing,\n      x)")
    assert build.main([], root=pair) == 1
    shown = capsys.readouterr().out
    assert "FAILED in cell 4: print(missing,\n    NameError: name 'missing' is not defined" in shown
    assert "second                       not run: needs first" in shown
    assert not (pair / "figures" / "own").exists()


def test_a_long_message_is_cut(tmp_path, capsys):
    write(tmp_path, "first", "raise ValueError('\\n'.join(f'line {i}' for i in range(20)))")
    assert build.main([], root=tmp_path) == 1
    shown = capsys.readouterr().out
    assert "ValueError: line 0\n" in shown and "line 11\n    ...\n" in shown and "line 12" not in shown


def test_warnings_reach_the_terminal_once(tmp_path, capsys):
    write(tmp_path, "first", "import warnings\nfor _ in range(2):\n    warnings.warn('look here')", "out.save_data('a', pd.DataFrame());")
    assert build.main([], root=tmp_path) == 0
    assert capsys.readouterr().out.count("UserWarning: look here") == 1


def test_what_vanished_notebooks_published_goes(pair):
    assert build.main([], root=pair) == 0
    (pair / "notebooks" / "second.ipynb").unlink()
    assert build.main([], root=pair) == 0
    assert {path.name for path in (pair / "figures" / "own").iterdir()} == {"first_a.csv", "manifest.json"}
    assert set(json.loads((pair / "figures" / "own" / "manifest.json").read_text())) == {"first_a.csv"}


def test_parameters_and_claims_by_profile(tmp_path, capsys):
    write(tmp_path, "first", "pass")
    notebook = nbformat.read(tmp_path / "notebooks" / "first.ipynb", as_version=4)
    notebook.cells[0].source += "\nseeds = 20"
    notebook.cells[1].source = (
        "from pepg import companion\nout = companion.open('first', quick={'seeds': 3}, full={'seeds': 90})\nout.claim('seeds', seeds, 20)"
    )
    nbformat.write(notebook, tmp_path / "notebooks" / "first.ipynb")
    for profile, seeds in {"paper": 20, "quick": 3, "full": 90}.items():
        assert build.main(["--profile", profile], root=tmp_path) == 0
        place = Notebook("first", profile, tmp_path)
        assert (place.published / "first_claims.csv").read_text().splitlines()[1] == f"seeds,20,{seeds:.2f},{seeds == 20},measured"
        entry = json.loads(place.manifest.read_text())["first_claims.csv"]
        assert entry["parameters"] == {"profile": profile, "seeds": seeds}
    notebook.cells[1].source = notebook.cells[1].source.replace(", 20)", ", 21)")
    nbformat.write(notebook, tmp_path / "notebooks" / "first.ipynb")
    assert build.main([], root=tmp_path) == 1
    assert "AssertionError: seeds: stated 21, measured 20.00" in capsys.readouterr().out


def test_unknown_names_and_options(pair):
    for arguments, message in (
        (["third"], "no notebook third; there are first, second"),
        (["--store", "--profile", "quick"], "only the paper profile"),
        (["--jobs", "0"], "--jobs: expected a whole number >= 1, got 0"),
    ):
        with pytest.raises(SystemExit, match=message):
            build.main(arguments, root=pair)


# The board, on jobs that do not run


def jobs(tmp_path, **last):
    return [build.Job(Notebook(name, "paper", tmp_path), (), seconds) for name, seconds in last.items()]


def shown(built):
    console = Console(file=io.StringIO(), width=80)
    console.print(build.board(built))
    return console.file.getvalue()


def test_the_board_says_what_runs_what_waits_and_when_all_is_ready(tmp_path):
    running, done, failed, waiting = listed = jobs(tmp_path, a_one=100.0, b_two=5.0, c_three=5.0, d_four=30.0)
    running.state, running.started, running.cell, running.of = build.RUNNING, time.monotonic() - 61.0, 7, 23
    done.state, failed.state = build.DONE, build.FAILED
    built = build.Build(listed, 1, False, None)
    assert built.remaining() == pytest.approx(69.0, abs=0.5)
    text = shown(built)
    assert "a_one  cell 7/23  1:01  last time 1:40" in " ".join(text.split(" ")).replace("   ", "  ")
    assert "done    b" in text and "failed  c" in text and "waiting d" in text
    assert "all ready in about 1:0" in text
    waiting.last = None
    assert built.remaining() is None and "all ready" not in shown(built)


def test_the_longest_chain_starts_first(tmp_path):
    a, b, c, d = jobs(tmp_path, a=10.0, b=20.0, c=15.0, d=12.0)
    d.needs = ("a",)
    built = build.Build([a, b, c, d], 2, False, None)
    assert sorted([a, b, c, d], key=built._urgency, reverse=True) == [a, b, c, d]  # a and then d take 22
    assert built.remaining() == pytest.approx(32.0)  # beside a the whole of b, then d; c after a


def test_notebooks_side_by_side_share_the_cores(tmp_path, monkeypatch):
    started = []

    class Process:
        def __init__(self, target, args):
            started.append(args[2])

        def start(self):
            pass

    built = build.Build(jobs(tmp_path, a=3.0, b=2.0, c=1.0), 2, False, build.Lines(Console(file=io.StringIO())))
    built.cores = 8
    monkeypatch.setattr(built, "context", type("C", (), {"Process": Process, "Pipe": staticmethod(lambda: (object(), io.StringIO()))}))
    monkeypatch.setattr(Notebook, "is_current", lambda self: False)
    built._start()
    assert started == [4, 4]
    built.connections.clear()
    for job in list(built.jobs.values())[:2]:
        job.state = build.DONE
    built._start()
    assert started == [4, 4, 8]
