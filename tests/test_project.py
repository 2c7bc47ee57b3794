"""The project itself: pins, notebooks, figures and the runner behind `make figures`."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
import yaml

import pepg
from pepg.companion import build, checking, forget, lab, new
from pepg.experiments import comparison
from pepg.experiments.files import checksum

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]*_*.ipynb"))  # the companion's; a reader's own are the reader's
MANIFEST = json.loads((PROJECT / "figures" / "manifest.json").read_text(encoding="utf-8"))


# Pins


def _pins(file="requirements.txt"):
    lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
    pins = [re.match(r"([A-Za-z0-9_.-]+)==(\S+)", line) for line in lines if not line.startswith("#")]
    assert all(pins), f"{file}: every line pins one version"
    return {pin[1].lower().replace("_", "-"): pin[2] for pin in pins}


def _pyproject():
    import tomllib

    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def _project():
    return _pyproject()["project"]


def _direct():
    extras = sum(_project()["optional-dependencies"].values(), [])
    return [re.match(r"[A-Za-z0-9_.-]+", requirement)[0] for requirement in _project()["dependencies"] + extras]


def test_every_dependency_is_pinned_and_installed_as_pinned():
    from importlib.metadata import version

    pins = _pins()
    for name in _direct():
        assert name in pins, f"{name} is not pinned"
        assert version(name) == pins[name], f"{name} is installed as {version(name)}, pinned as {pins[name]}"


def _of_the_site():
    return [re.match(r"[A-Za-z0-9_.-]+", requirement)[0] for requirement in _pyproject()["dependency-groups"]["site"]]


def test_what_the_site_takes_is_pinned_beside_the_rest():
    pins, site = _pins(), _pins("book/requirements.txt")
    assert set(_of_the_site()) <= set(site)
    assert {name: site[name] for name in set(site) & set(pins)} == {name: pins[name] for name in set(site) & set(pins)}


def test_conda_environment_agrees_with_the_pins():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert f"python{_project()['requires-python']}" in conda
    lowest, beyond = re.findall(r"3\.\d+", _project()["requires-python"])
    assert f"Python {lowest} to Python 3.{int(beyond[2:]) - 1}" in (PROJECT / "README.md").read_text(encoding="utf-8")
    assert pip == ["-r requirements.txt", "-e ."]
    assert not {re.match(r"[a-z0-9-]+", item)[0] for item in conda} & set(_pins()), "one version, in one place"


def test_readme_says_what_each_dependency_is_for():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Dependencies")[1].split("## ")[0]
    named = {name.strip() for row in re.findall(r"^\| ([a-z0-9, -]+) \|", table, re.M) for name in row.split(",")}
    assert named - {"package"} == {*_direct(), *_of_the_site()}


CI_STUBS = {
    "make": 'echo "make $*" >> "$CALLS"',
    "apt-get": 'echo "apt-get $1" >> "$CALLS"; test -n "$MIRROR" || exit 1; test "$1" != install || { touch "$CHROMIUM"; chmod +x "$CHROMIUM"; }',
    "id": "echo 0",
}


@pytest.fixture
def ci(tmp_path):
    """A call of .ci/run in which make and apt-get only say that they were called: what they were called with, and what was said."""
    for name, body in CI_STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    calls, browser = tmp_path / "calls", tmp_path / "chromium"

    def call(has_browser, mirror):
        calls.unlink(missing_ok=True)
        browser.unlink(missing_ok=True)
        if has_browser:
            shutil.copy(tmp_path / "id", browser)
        environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls), "CHROMIUM": str(browser)}
        environment["MIRROR"] = "up" if mirror else ""
        ended = subprocess.run([PROJECT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=True)
        return calls.read_text(encoding="utf-8").splitlines(), ended.stderr

    return call


@pytest.mark.parametrize("has_browser, mirror", [(True, False), (False, True), (False, False)], ids=["browser", "mirror", "neither"])
def test_ci_runs_the_readmes_commands(ci, has_browser, mirror):
    """The quick figures first, from a clean build/ as a reader would, and `make test` last; between them other processors and the book."""
    calls, said = ci(has_browser, mirror)
    made = [call for call in calls if call.startswith("make ")]
    assert made[0] == "make figures PROFILE=quick" and made[-1] == "make test"
    assert re.fullmatch(r"make test-(avx2|sse) TESTS=test-notebooks NOTEBOOKS=\d\d\w+( \d\d\w+)+", made[1])
    assert made[2:-1] == (["make site-ready", "make test-site"] if has_browser or mirror else [])
    assert ("apt-get update" in calls) != has_browser
    assert ("The book is not looked at in a browser" in said) != (has_browser or mirror)
    assert all(f"make {command}" in README for command in ("figures PROFILE=quick", "test "))


README = (PROJECT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: re.sub(r"\W+", "-", snippet.splitlines()[-1])[:40])
def test_readmes_examples_run_each_alone(snippet, tmp_path, monkeypatch):
    """Without a warning, and with what their comments say."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(snippet, names)
    if "left" in names:
        assert names["left"] == pytest.approx(names["right"], rel=1e-6, abs=1e-10)
    if "table" in names:
        assert len(names["table"]) == 2 * 5 * 51
    if "compared" in names:
        assert len(names["compared"].runs) == 11


def test_the_readme_and_the_page_that_it_leads_to_have_an_example_of_each_door():
    assert "(book/adapt.md)" in README
    page = re.findall(r"```python\n(.*?)```", (PROJECT / "book" / "adapt.md").read_text(encoding="utf-8"), re.S)
    for door in ("pepg.algorithms.pepg(", "sampled_pepg(", "FunctionPeMDP(", "pepg.theory.", "pepg.compare(", "experiments.sweep(", "DeployedMDP("):
        assert any(door in snippet for snippet in [*SNIPPETS, *page]), door


def test_the_version_is_one():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = re.findall(r"^## (\S+)", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert pepg.__version__ == citation["version"] == changes[0]


def test_binder_installs_the_pins_and_the_module():
    binder = yaml.safe_load((PROJECT / ".binder" / "environment.yml").read_text(encoding="utf-8"))
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    assert [item for item in binder["dependencies"] if isinstance(item, str)] == [
        item for item in environment["dependencies"] if isinstance(item, str) and item != "make"
    ]
    assert binder["dependencies"][-1] == {"pip": ["-r ../requirements.txt"]}
    assert "pip install --no-deps -e ." in (PROJECT / ".binder" / "postBuild").read_text(encoding="utf-8")


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
    files = {path.name for path in (PROJECT / "figures").iterdir() if path.is_file()} - {"manifest.json"}
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
    return {path.name: path.read_bytes() for path in (root / "figures" / "own").iterdir()}


def test_runner_publishes_once_and_again_only_when_out_of_date(small, capsys):
    assert build.main(["one"], root=small) == 0
    first = _published(small)
    assert set(first) == {"one_a.csv", "one_b.csv", "one_b.tex", "manifest.json"}
    assert build.main(["one"], root=small) == 0
    assert "up to date" in capsys.readouterr().out
    (small / "figures" / "own" / "one_a.csv").unlink()  # missing: made again, the same bytes
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
    manifest = json.loads((small / "build" / "quick" / "figures" / "own" / "manifest.json").read_text())
    assert manifest["one_a.csv"]["version"] == pepg.__version__
    assert manifest["one_a.csv"]["parameters"] == {"profile": "quick"}


def test_a_killed_run_is_made_up_for(small):
    """Killed between two renames of publishing: the next run gives the bytes of an uninterrupted one."""
    assert build.main(["one"], root=small) == 0
    whole = _published(small)
    (small / "build" / "paper" / "one.json").unlink()
    (small / "figures" / "own" / "one_b.tex").unlink()
    (small / "figures" / "own" / "one_a.csv").write_text("x\n9.0\n")
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


@pytest.mark.parametrize(
    "missing, asked, extra",
    [
        ("joblib", "from pepg import experiments", "sweep"),
        ("seaborn", "import pepg; pepg.compare", "notebooks"),
        ("gymnasium", "import pepg; pepg.gymnasium", "gymnasium"),
    ],
)
def test_what_is_missing_names_its_extra(missing, asked, extra):
    code = f"import sys; sys.modules[{missing!r}] = None; {asked}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode != 0
    assert re.search(rf"ImportError: .* need.* {missing}: pip install pepg\[{extra}\]", ended.stderr), ended.stderr
    assert extra in _project()["optional-dependencies"]


def test_an_installed_package_writes_where_it_is_called(tmp_path):
    """Not into site-packages: the package alone, in a folder without notebooks."""
    site, here = tmp_path / "site", tmp_path / "here"
    shutil.copytree(PROJECT / "pepg", site / "pepg", ignore=shutil.ignore_patterns("__pycache__"))
    here.mkdir()
    code = "import pandas as pd; from pepg import figures; figures.Output('n').save_data('a', pd.DataFrame({'x': [1.0]}))"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PEPG_")} | {"PYTHONPATH": str(site)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=here, env=environment)
    assert (here / "build" / "interactive" / "n_a.csv").exists()
    assert {path.name for path in site.iterdir()} == {"pepg"}


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", pepg.__version__)
    assert "version" in _project()["dynamic"] and "version" not in _project()
    assert {"compare", "gymnasium", "figures", "experiments"} <= set(dir(pepg))


WITHOUT_PIQP = """
import sys
sys.modules["piqp"] = None  # importing it raises ImportError
import autograd.numpy as np
import pepg
interest = np.eye(3)
def respond(policy):
    drift = np.exp(2.0 * (policy @ interest))
    return np.stack([drift / np.sum(drift, axis=1, keepdims=True)] * 3, axis=1), interest - policy
for env in (pepg.FunctionPeMDP(respond, 3, 3, 0.9, np.ones(3) / 3), pepg.Gridworld(n_followers=2)):
    policy = env.uniform_policy()
    assert np.isfinite(pepg.performative_value(env, policy))
    assert np.isfinite(pepg.performative_gradient(env, policy)).all()
    for algorithm in (pepg.algorithms.pepg, pepg.algorithms.policy_gradient):
        run = algorithm(env, policy=policy, iterations=5)
        assert run.values[-1] > run.values[0]
try:
    pepg.algorithms.repeated_policy_optimization(env, iterations=1)
except ImportError:
    sys.exit(0)
sys.exit("a quadratic program was solved without PIQP")
"""


def test_all_but_retraining_runs_without_piqp():
    """PIQP has no build for a browser's Python; numpy, scipy and autograd have."""
    subprocess.run([sys.executable, "-c", WITHOUT_PIQP], check=True)


# A reader's own notebook


@pytest.fixture
def template(small):
    """The small project with a template notebook that has run, and a Makefile."""
    notebook = nbformat.read(small / "notebooks" / "one.ipynb", as_version=4)
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# 21 · Your own environment\nCopied by `make new`."))
    notebook.cells.insert(2, nbformat.v4.new_markdown_cell("the model", metadata={"tags": ["model"]}))
    imports = nbformat.v4.new_code_cell("import autograd.numpy as np\nimport pepg")
    notebook.cells[3:3] = [imports, nbformat.v4.new_code_cell("env = None", metadata={"tags": ["environment"]})]
    notebook.cells[-1].source = notebook.cells[-1].source.replace("'one'", f"'{new.TEMPLATE}'")
    notebook.cells[-1].update(outputs=[nbformat.v4.new_output("stream", text="old\n")], execution_count=2)
    nbformat.write(notebook, small / "notebooks" / f"{new.TEMPLATE}.ipynb")
    (small / "Makefile").write_text((PROJECT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    shutil.copytree(PROJECT / "notebooks" / "gallery", small / "notebooks" / "gallery")
    return small


def test_new_notebook_carries_its_own_name_and_runs(template, capsys):
    new.main(["my_experiment"], root=template)
    assert "make my_experiment" in capsys.readouterr().out
    notebook = nbformat.read(template / "notebooks" / "my_experiment.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source == "# my_experiment\nCopied by `make new`."
    assert new.TEMPLATE not in json.dumps(notebook)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        assert cell.outputs == [] and cell.execution_count is None
    assert build.main(["my_experiment"], root=template) == 0
    assert "my_experiment_a.csv" in _published(template)


@pytest.mark.parametrize("name", ["my experiment", "22_mine", "../mine", "mein-experiment", "", "test", "figures", "new"])
def test_new_notebook_refuses_a_name_that_make_cannot_use(template, name):
    before = sorted((template / "notebooks").iterdir())
    with pytest.raises(SystemExit, match="NAME: "):
        new.main(["--", name], root=template)
    assert sorted((template / "notebooks").iterdir()) == before


@pytest.mark.parametrize("model", new.gallery())
def test_new_notebook_starts_from_a_model_of_the_gallery(template, model, capsys):
    new.main(["--from", model, "mine"], root=template)
    cells = nbformat.read(template / "notebooks" / "mine.ipynb", as_version=4).cells
    by_tag = {cell.metadata["tags"][0]: cell.source for cell in cells if "tags" in cell.metadata}
    assert by_tag == {"parameters": new.model_cells(model)["parameters"], "environment": new.model_cells(model)["environment"]} | {
        "model": new.model_cells(model)["markdown"]
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is here to copy from is followed by autograd, and does not jump
        checking.main(["mine"], root=template)
    assert capsys.readouterr().out.splitlines()[3].startswith("FunctionPeMDP: all checks passed")


def test_new_notebook_names_the_models_there_are(template):
    with pytest.raises(SystemExit, match="FROM: expected one of inventory, lending, pricing, queueing, got 'banking'"):
        new.main(["--from", "banking", "mine"], root=template)
    assert not (template / "notebooks" / "mine.ipynb").exists()


def test_the_template_is_the_models_two_cells_and_nothing_else():
    """What `make new` replaces, the template holds itself: nothing else in it knows the model."""
    cells = nbformat.read(PROJECT / "notebooks" / f"{new.TEMPLATE}.ipynb", as_version=4).cells
    tagged = {cell.metadata["tags"][0]: cell.source for cell in cells if "tags" in cell.metadata}
    model = new.model_cells(new.MODEL)
    assert tagged == {"model": model["markdown"], "parameters": model["parameters"], "environment": model["environment"]}
    elsewhere = "\n".join(cell.source for cell in cells if "tags" not in cell.metadata)
    assert not re.search(r"memory|price|customer|shop", elsewhere)


@pytest.mark.parametrize("model", new.gallery())
def test_the_template_runs_with_every_model_in_its_two_cells(model, tmp_path, monkeypatch):
    """Exactly the cells Parameters and The environment are replaced, by those of each model; the rest is run as it is."""
    monkeypatch.setenv("PEPG_OUTPUT", str(tmp_path))
    monkeypatch.setattr(comparison, "STRENGTHS", (0.1, 1.0))  # in place of eight: the scan is tested elsewhere
    monkeypatch.setattr(comparison, "DAMPINGS", (0.3,))
    cells = [cell for cell in nbformat.read(PROJECT / "notebooks" / f"{new.TEMPLATE}.ipynb", as_version=4).cells if cell.cell_type == "code"]
    given = new.model_cells(model)
    names = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for cell in cells:
            tag = cell.metadata.get("tags", [""])[0]
            source = given.get(tag, cell.source)
            if tag == "parameters":
                source += "\nprofile, iterations, n_seeds, trajectories = 'quick', 15, 2, 5"
            exec(source, names)
    saved = {path.name.removeprefix(f"{new.TEMPLATE}_") for path in tmp_path.glob("*.csv")}
    assert saved == {"values.csv", "final.csv", "stable_optimal.csv", "parts.csv", "claims.csv"}
    verdict = names["compared"].verdict
    assert verdict.startswith("Stable and optimal differ by") and "PePG ends above PG from 2 of 2 starts" in verdict


@pytest.mark.parametrize("model", new.gallery())
def test_a_model_of_the_gallery_says_where_it_comes_from_and_is_short(model):
    cells = new.model_cells(model)
    assert re.search(r"\*.+?\*, [^*]*\d{4}|\(\d{4}\)", cells["markdown"].replace("\n", " ")), "a citation for its ingredients"
    lines = [line for line in cells["environment"].splitlines() if line.strip()]
    assert len(lines) <= 24 and max(map(len, lines)) <= 120


def test_check_names_what_fails_and_where(template, capsys):
    new.main(["mine"], root=template)
    path = template / "notebooks" / "mine.ipynb"
    whole = path.read_text(encoding="utf-8")
    for old, changed, message in (
        ("return P, r", "return -P, r", r"ValueError: respond: P: .* a distribution.*\nin code cell 3, line \d+: env = pepg.FunctionPeMDP"),
        ("r = customers", "r = missing", r"NameError: name 'missing' is not defined\nin code cell 3, line"),
        ("env = pepg", "world = pepg", "NAME: notebooks/mine.ipynb makes no environment `env`"),
    ):
        assert old in whole
        path.write_text(whole.replace(old, changed), encoding="utf-8")
        with pytest.raises(SystemExit, match=message):
            checking.main(["mine"], root=template)
    with pytest.raises(SystemExit, match="there is no notebooks/yours.ipynb"):
        checking.main(["yours"], root=template)
    assert not (template / "build").exists() and not (template / "figures").exists()


def test_forget_takes_back_what_a_notebook_published(template, capsys):
    new.main(["mine"], root=template)
    new.main(["mine_too"], root=template)
    assert build.main(["mine", "mine_too"], root=template) == 0
    assert build.main(["mine", "--profile", "quick"], root=template) == 0
    forget.main(["mine"], root=template)
    assert "3 files of mine taken back" not in capsys.readouterr().out  # those of the quick profile as well
    left = json.loads((template / "figures" / "own" / "manifest.json").read_text(encoding="utf-8"))
    assert {entry["notebook"] for entry in left.values()} == {"mine_too"}
    assert {path.name for path in (template / "figures" / "own").iterdir()} == {"manifest.json", *left}
    assert not list((template / "build").rglob("mine_[ab]*")) and (template / "notebooks" / "mine.ipynb").exists()
    with pytest.raises(SystemExit, match="mine has left nothing to take back"):
        forget.main(["mine"], root=template)
    with pytest.raises(SystemExit, match="is the companion's"):
        forget.main(["11_comparison"], root=template)


def test_own_figures_are_not_tracked():
    assert "/figures/own/" in (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_own_notebooks_read_what_the_companion_published(small):
    """And what another of the reader's own has published."""
    (small / "figures").mkdir()
    (small / "figures" / "1_one_a.csv").write_text("x\n5.0\n")
    _write(small, value="companion.read_published('1_one_a')['x'][0]")
    assert build.main(["one"], root=small) == 0
    shutil.copy(small / "notebooks" / "one.ipynb", small / "notebooks" / "two.ipynb")
    text = (small / "notebooks" / "two.ipynb").read_text(encoding="utf-8")
    (small / "notebooks" / "two.ipynb").write_text(text.replace("open('one')", "open('two')").replace("1_one_a", "one_a"), encoding="utf-8")
    assert build.main(["two"], root=small) == 0
    assert _published(small)["two_a.csv"] == b"x\n5.0\n"


def test_looking_at_a_notebook_changes_nothing(tmp_path):
    """Opened and saved as JupyterLab does, which puts the kernel's version into the metadata."""
    from jupyter_server.services.contents.filemanager import FileContentsManager

    name = f"{new.TEMPLATE}.ipynb"
    shutil.copy(PROJECT / "notebooks" / name, tmp_path)
    before = (tmp_path / name).read_bytes()
    for hook, same in (("pepg.companion.lab.as_stored", True), (None, False)):
        manager = FileContentsManager(root_dir=str(tmp_path), **({"pre_save_hook": hook} if hook else {}))
        model = manager.get(name)
        metadata = model["content"]["metadata"]
        metadata["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
        metadata["language_info"] = {"name": "python", "version": "3.13.1", "file_extension": ".py", "mimetype": "text/x-python"}
        manager.save(model, name)
        assert ((tmp_path / name).read_bytes() == before) == same
    assert "--FileContentsManager.pre_save_hook=pepg.companion.lab.as_stored" in (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert callable(lab.as_stored)


def test_new_notebook_overwrites_none(template):
    (template / "notebooks" / "mine.ipynb").write_text("precious")
    with pytest.raises(SystemExit, match="mine.ipynb exists"):
        new.main(["mine"], root=template)
    assert (template / "notebooks" / "mine.ipynb").read_text() == "precious"
