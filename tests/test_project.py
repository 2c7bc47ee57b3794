"""The project itself: pins, notebooks, figures and the runner behind `make figures`."""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
import yaml

from pepg.companion import build, new
from pepg.experiments.files import checksum

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]*_*.ipynb"))  # the companion's; a reader's own are the reader's
MANIFEST = json.loads((PROJECT / "figures" / "manifest.json").read_text(encoding="utf-8"))


# Pins


def _pins():
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [re.match(r"([A-Za-z0-9_.-]+)==(\S+)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "requirements.txt: every line pins one version"
    return {pin[1].lower().replace("_", "-"): pin[2] for pin in pins}


def _project():
    import tomllib

    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _direct():
    extras = sum(_project()["optional-dependencies"].values(), [])
    return [re.match(r"[A-Za-z0-9_.-]+", requirement)[0] for requirement in _project()["dependencies"] + extras]


def test_every_dependency_is_pinned_and_installed_as_pinned():
    from importlib.metadata import version

    pins = _pins()
    for name in _direct():
        assert name in pins, f"{name} is not pinned"
        assert version(name) == pins[name], f"{name} is installed as {version(name)}, pinned as {pins[name]}"


def test_conda_environment_agrees_with_the_pins():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert f"python{_project()['requires-python']}" in conda
    assert pip == ["-r requirements.txt"]
    assert not {re.match(r"[a-z0-9-]+", item)[0] for item in conda} & set(_pins()), "one version, in one place"


def test_readme_says_what_each_dependency_is_for():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Dependencies")[1].split("## ")[0]
    named = {name.strip() for row in re.findall(r"^\| ([a-z0-9, -]+) \|", table, re.M) for name in row.split(",")}
    assert named - {"package"} == set(_direct())


def test_ci_runs_the_readmes_test_command():
    assert (PROJECT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "make test"
    assert "    make test " in (PROJECT / "README.md").read_text(encoding="utf-8")


def test_readmes_examples_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    """Without a warning, and with what their comments say."""
    monkeypatch.chdir(tmp_path)
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    names = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in re.findall(r"```python\n(.*?)```", readme, re.S):
            exec(block, names)
    assert "all checks passed" in capsys.readouterr().out
    assert names["left"] == pytest.approx(names["right"], rel=1e-6, abs=1e-10)
    assert len(names["table"]) == 2 * 5 * 51
    ends = names["table"].groupby("algorithm")["value"].last()
    assert ends["PePG"] > 1.6 and ends["PG"] < 0.1


# Notebooks and figures


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_as_it_ran(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run top to bottom, once"
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert notebook.cells[0].source.startswith(f"# {path.stem.split('_')[0]} · ")
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", json.dumps(notebook))


def test_links_lead_somewhere():
    """From the README and from the prose of every notebook to files of the project."""
    pages = {PROJECT / "README.md": (PROJECT / "README.md").read_text(encoding="utf-8")}
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        pages[path] = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for page, text in pages.items():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (page.parent / target).exists(), (page.name, target)


def test_the_map_names_every_notebook():
    overview = nbformat.read(PROJECT / "notebooks" / "00_overview.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in overview.cells if cell.cell_type == "markdown")
    assert set(re.findall(r"^\| \[.*?\]\((\w+)\.ipynb\)", text, re.M)) == {path.stem for path in NOTEBOOKS}


def test_manifest_lists_every_figure_with_its_checksum():
    files = {path.name for path in (PROJECT / "figures").iterdir()} - {"manifest.json"}
    assert files == set(MANIFEST)
    for file, entry in MANIFEST.items():
        assert checksum(PROJECT / "figures" / file) == entry["sha256"], file
        assert (PROJECT / "notebooks" / f"{entry['notebook']}.ipynb").exists(), f"{file}: no notebook behind it"
        assert entry["parameters"]["profile"] == "paper"
        if entry["kind"] == "figure":
            assert entry["data"] in MANIFEST, f"{file}: no data behind it"


# The runner, on a small project of its own


@pytest.fixture
def small(tmp_path):
    """A project with one notebook, whose parameter `fail` makes it stop half-way."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pepg").mkdir()
    (tmp_path / "requirements.txt").write_text("")
    _write(tmp_path)
    return tmp_path


def _write(root, value=1.0, fail=False, second=True):
    parameters = nbformat.v4.new_code_cell('profile = "paper"', metadata={"tags": ["parameters"]})
    source = (
        "import pandas as pd\nfrom pepg import companion\n"
        "out = companion.open('one')\n"
        f"out.save_data('a', pd.DataFrame({{'x': [{value}]}}));\n"
        f"assert not {fail}, 'stopped half-way'\n"
    )
    if second:
        source += "out.save_table('b', pd.DataFrame({'x': [2.0]}), caption='two');\n"
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(source)])
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(notebook, root / "notebooks" / "one.ipynb")


def _published(root):
    return {path.name: path.read_bytes() for path in (root / "figures").iterdir()}


def test_runner_publishes_once_and_again_only_when_out_of_date(small, capsys):
    assert build.main(["one"], root=small) == 0
    first = _published(small)
    assert set(first) == {"one_a.csv", "one_b.csv", "one_b.tex", "manifest.json"}
    assert build.main(["one"], root=small) == 0
    assert "up to date" in capsys.readouterr().out
    (small / "figures" / "one_a.csv").unlink()  # missing: made again, the same bytes
    assert build.main(["one"], root=small) == 0
    assert "up to date" not in capsys.readouterr().out
    assert _published(small) == first
    _write(small, value=3.0, second=False)  # changed: and what it no longer saves goes
    assert build.main(["one"], root=small) == 0
    assert set(_published(small)) == {"one_a.csv", "manifest.json"}
    assert _published(small)["one_a.csv"] == b"x\n3.0\n"


def test_runner_leaves_the_figures_alone_when_a_notebook_fails(small, capsys):
    assert build.main(["one"], root=small) == 0
    before = _published(small)
    _write(small, value=3.0, fail=True)
    assert build.main(["one"], root=small) != 0
    message = capsys.readouterr().out
    assert "FAILED in cell 2: assert not True, 'stopped half-way'\n    AssertionError: stopped half-way" in message
    assert "its executed copy: " in message and "0 of 1 notebooks ready" in message
    assert (small / "build" / "paper" / "one" / "one.ipynb").exists()
    assert _published(small) == before
    _write(small, value=1.0)
    assert build.main(["one"], root=small) == 0
    assert _published(small) == before


def test_quick_profile_writes_under_build(small):
    assert build.main(["one", "--profile", "quick"], root=small) == 0
    assert not (small / "figures").exists()
    manifest = json.loads((small / "build" / "quick" / "figures" / "manifest.json").read_text())
    assert manifest["one_a.csv"]["parameters"] == {"profile": "quick"}


def test_a_killed_run_is_made_up_for(small):
    """Killed between two renames of publishing: the next run gives the bytes of an uninterrupted one."""
    assert build.main(["one"], root=small) == 0
    whole = _published(small)
    (small / "build" / "paper" / "one.json").unlink()
    (small / "figures" / "one_b.tex").unlink()
    (small / "figures" / "one_a.csv").write_text("x\n9.0\n")
    assert build.main(["one"], root=small) == 0
    assert _published(small) == whole


def test_runner_names_the_notebooks_there_are(small):
    with pytest.raises(SystemExit, match="no notebook two; there are one"):
        build.main(["two"], root=small)


def test_stored_outputs_are_those_of_the_run(small):
    assert build.main(["one", "--store"], root=small) == 0
    stored = (small / "notebooks" / "one.ipynb").read_bytes()
    assert b"papermill" not in stored
    assert build.main(["one", "--store"], root=small) == 0
    assert (small / "notebooks" / "one.ipynb").read_bytes() == stored


def test_module_imports_without_the_notebooks_extra():
    """`pip install .` gives a pepg that needs no package of an extra."""
    extras = ("matplotlib", "pandas", "seaborn", "joblib", "gymnasium", "distributed")
    code = f"import sys, pepg; sys.exit(any(name in sys.modules for name in {extras}))"
    subprocess.run([sys.executable, "-c", code], check=True)


# A reader's own notebook


@pytest.fixture
def template(small):
    """The small project with a template notebook that has run, and a Makefile."""
    notebook = nbformat.read(small / "notebooks" / "one.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# 21 · Your own environment\nCopied by `make new`."))
    notebook.cells[-1].source = notebook.cells[-1].source.replace("'one'", f"'{new.TEMPLATE}'")
    notebook.cells[-1].update(outputs=[nbformat.v4.new_output("stream", text="old\n")], execution_count=2)
    nbformat.write(notebook, small / "notebooks" / f"{new.TEMPLATE}.ipynb")
    (small / "Makefile").write_text((PROJECT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    return small


def test_new_notebook_carries_its_own_name_and_runs(template, capsys):
    new.main(["my_experiment"], root=template)
    assert "make my_experiment" in capsys.readouterr().out
    notebook = nbformat.read(template / "notebooks" / "my_experiment.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source == "# my_experiment\nCopied by `make new`."
    assert new.TEMPLATE not in json.dumps(notebook)
    for cell in notebook.cells[1:]:
        assert cell.outputs == [] and cell.execution_count is None
    assert build.main(["my_experiment"], root=template) == 0
    assert "my_experiment_a.csv" in _published(template)


@pytest.mark.parametrize("name", ["my experiment", "22_mine", "../mine", "mein-experiment", "", "test", "figures", "new"])
def test_new_notebook_refuses_a_name_that_make_cannot_use(template, name):
    before = sorted((template / "notebooks").iterdir())
    with pytest.raises(SystemExit, match="NAME: "):
        new.main(["--", name], root=template)
    assert sorted((template / "notebooks").iterdir()) == before


def test_new_notebook_overwrites_none(template):
    (template / "notebooks" / "mine.ipynb").write_text("precious")
    with pytest.raises(SystemExit, match="mine.ipynb exists"):
        new.main(["mine"], root=template)
    assert (template / "notebooks" / "mine.ipynb").read_text() == "precious"
