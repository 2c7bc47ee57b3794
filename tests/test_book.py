"""The book before it is built: every public name has an example that runs, every claim a cell, every number of its pages a claim."""

import doctest
import inspect
import json
import os
import re
import shutil
import typing
from pathlib import Path

import distributed
import matplotlib as mpl
import pandas as pd
import pytest
from test_notebooks import NOTEBOOKS, decimals, parameters, stated
from test_notebooks import claims as stored_claims

import pepg
from book import charts, pages, reference, stored
from book.docstrings import _escaped, _without_substitutions, listed

PROJECT = Path(__file__).resolve().parent.parent
COMPANION = stored.companion(PROJECT)
PAGES = sorted([*(PROJECT / "book").glob("*.md"), *(PROJECT / "book" / "explore").glob("*.md")])
PUBLIC = list(reference.public())
each = pytest.mark.parametrize("notebook", COMPANION, ids=lambda notebook: notebook.name)


# The reference


@pytest.mark.parametrize("path", sorted(reference.EXAMPLES.glob("*.txt")), ids=lambda path: path.stem)
def test_examples_run(path, monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with mpl.rc_context():
        mpl.use("agg")
        failed, tried = doctest.testfile(str(path), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried > 0 and failed == 0, capsys.readouterr().out


def test_every_public_name_has_an_example():
    """In book/examples/<namespace>.txt, under `@ name`, or in its docstring."""
    lacking = [
        f"{namespace}.{name}" for namespace, name, value in PUBLIC
        if name not in reference.examples(namespace)[1] and ">>>" not in (value.__doc__ or "")
    ]
    assert lacking == []


def test_every_public_name_is_documented():
    assert [f"{namespace}.{name}" for namespace, name, value in PUBLIC if not (value.__doc__ or "").strip()] == []


def _signatures(name, value):
    """(name, function) of a function; of a class those of its constructor, methods and properties, inherited ones of the package included."""
    if inspect.isfunction(value):
        yield name, value
        return
    for kind in value.__mro__:
        for member, found in vars(kind).items() if kind.__module__.startswith("pepg") else ():
            function = getattr(found, "fget", None) or getattr(found, "func", None) or getattr(found, "__func__", found)
            if inspect.isfunction(function) and (member in ("__init__", "__call__") or not member.startswith("_")):
                yield f"{name}.{member}", function


def test_every_public_signature_has_hints_that_resolve():
    """And those of what public functions return."""
    imported_when_asked_for = {"pd": pd, "Client": distributed.Client}
    values = {value: f"{namespace}.{name}" for namespace, name, value in PUBLIC}
    todo, lacking = list(values), []
    for value in todo:
        for name, function in _signatures(values[value], value):
            hints = typing.get_type_hints(function, localns=imported_when_asked_for)
            lacking += [f"{name}: {part}" for part in {*inspect.signature(function).parameters, "return"} - {"self", *hints}]
            given = hints.get("return")
            if inspect.isclass(given) and given.__module__.startswith("pepg") and given not in values:
                values[given] = given.__qualname__
                todo.append(given)
    assert lacking == []
    assert {"Deployment", "EnvironmentReport"} < set(values.values())
    assert (Path(pepg.__file__).parent / "py.typed").exists()


def test_examples_are_of_public_names():
    given = {(path.stem, name) for path in reference.EXAMPLES.glob("*.txt") for name in reference.examples(path.stem)[1]}
    assert given <= {(namespace, name) for namespace, name, _ in PUBLIC}


def test_items_of_a_docstring_become_a_list():
    lines = ["What it is.", "", "x : (S,), one thing", "    and more · of it", "y : another · z : a third", "", "Raises nothing."]
    assert listed(lines) == [
        "What it is.", "", "", "``x``", "    (S,), one thing", "    and more · of it", "", "``y``", "    another", "", "``z``", "    a third",
        "", "Raises nothing.",
    ]
    assert listed(["Parameters", "----------", "P : transitions"]) == [".. rubric:: Parameters", "", "", "``P``", "    transitions"]
    displayed = ["a |b|", "", ".. math:: |x|", "    = |y|", "", "and |c|"]
    assert _escaped(displayed) == [r"a \|b\|", *displayed[1:5], r"and \|c\|"]
    assert _without_substitutions("a |b| of `|c|` and :math:`|d|`") == r"a \|b\| of `|c|` and :math:`|d|`"


# Notebooks, claims, figures


@each
def test_every_claim_is_found_in_the_cell_that_makes_it(notebook):
    """The cell that a claim's link leads to makes claims, itself or by a function of notebooks/support that does."""
    cells = notebook.content["cells"]
    support = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "notebooks" / "support").glob("*.py"))
    functions = [function for function in re.split(r"^def ", support, flags=re.M)[1:] if ".claim(" in function]
    makes = re.compile("|".join([r"\.claim\(", *(rf"\b{function.split('(')[0]}\(" for function in functions)]))
    assert len(notebook.claims) == len(stored_claims(notebook.name))
    for row in notebook.claims:
        assert makes.search("".join(cells[row["cell"]]["source"])), row["statement"]


def test_claims_are_found_where_their_statements_are_put_together(tmp_path):
    """In a loop, and by a function beside the notebooks that adds words of its own."""
    sources = [
        'rows = {"a thing": 1.0, "another thing": 2.0}',
        'for name, x in rows.items():\n    out.claim(f"{name}, measured twice", x, 1)',
        'for name, x in rows.items():\n    told(out, f"{name} after the change", x)',
        'tools.told(out, "the last of all", 3.0)\nout.claim("one more", 3.0, 3)',
    ]
    statements = {
        "a thing, measured twice": 1, "another thing, measured twice": 1, "a thing after the change, mean": 2,
        "a thing after the change, by its interval": 2, "another thing after the change, mean": 2, "the last of all, mean": 3,
        "the last of all, by its interval": 3, "one more": 3,
    }
    for folder in ("notebooks/support", "figures"):
        (tmp_path / folder).mkdir(parents=True)
    helper = 'def told(out, what, x):\n    for kind in ("mean",):\n        out.claim(f"{what}, {kind}", x, 1)\n'
    helper += '    out.claim(f"{what}, by its interval", x, 1)\n'
    (tmp_path / "notebooks" / "support" / "tools.py").write_text(helper, encoding="utf-8")
    rows = "".join(f'"{statement}",1,1.0,True,measured\n' for statement in statements)
    (tmp_path / "figures" / "19_new_claims.csv").write_text("statement,stated,measured,holds,source\n" + rows, encoding="utf-8")
    cells = [{"cell_type": "code", "source": source} for source in sources]
    (tmp_path / "notebooks" / "19_new.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    notebook = stored.Notebook(tmp_path / "notebooks" / "19_new.ipynb", {})
    assert {row["statement"]: row["cell"] for row in notebook.claims} == statements


@each
def test_figures_of_a_page_are_links_to_the_published_ones(notebook, tmp_path):
    notebook.stage(tmp_path)
    staged = (tmp_path / f"{notebook.name}.ipynb").read_text(encoding="utf-8")
    assert "image/png" not in staged
    assert {f"../figures/{file}" for file in notebook.figures} == set(re.findall(r'src=\\"(\.\./figures/[^"\\]+\.png)', staged))
    cells = json.loads(staged)["cells"]
    sources = ["".join(cell["source"]) for cell in cells if not cell["id"].startswith("claims-")]
    assert sources == ["".join(cell["source"]) for cell in notebook.content["cells"]]


def test_a_download_is_the_notebook_without_its_pictures(tmp_path):
    notebook = next(notebook for notebook in COMPANION if notebook.figures)
    notebook.write_download(tmp_path / "n.ipynb")
    content = json.loads((tmp_path / "n.ipynb").read_text(encoding="utf-8"))
    assert [cell["source"] for cell in content["cells"]] == [cell["source"] for cell in notebook.content["cells"]]
    assert "image/png" not in (tmp_path / "n.ipynb").read_text(encoding="utf-8")


def test_every_notebook_has_its_part():
    assert {notebook.name for notebook in COMPANION} == set(NOTEBOOKS)
    parts = {notebook.name: notebook.part for notebook in COMPANION}
    assert set(parts.values()) == set(stored.PARTS)
    assert parts["00_overview"] == "start" and parts["06a_ascent"] == "theory" and parts["18_strength"] == "experiments"
    assert parts["21_your_own_environment"] == "own"


def test_pages_name_every_notebook_and_claim(tmp_path):
    pages.stage(PROJECT, tmp_path, COMPANION)
    index = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert all(f"\nnotebooks/{notebook.name}\n" in index for notebook in COMPANION) and "@notebooks" not in index
    claims = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert claims.count("<tr><td") == sum(len(notebook.claims) for notebook in COMPANION)
    gallery = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert all(f'src="figures/{file}"' in gallery for notebook in COMPANION for file in notebook.figures)


# Written pages


def test_every_number_of_a_page_is_claimed():
    known = set().union(*(stated(stored_claims(name)) | parameters(name) for name in NOTEBOOKS))
    for page in PAGES:
        assert decimals(page.read_text(encoding="utf-8")) - known == set(), page.name


def test_examples_of_a_page_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in re.findall(r"```python\n(.*?)```", (PROJECT / "book" / "adapt.md").read_text(encoding="utf-8"), re.S):
        exec(block, names)
    assert "all checks passed" in capsys.readouterr().out
    assert names["left"] == pytest.approx(names["right"], rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("path", sorted((PROJECT / "book" / "explore").glob("*.json")), ids=lambda path: path.stem)
def test_a_chart_has_published_data(path):
    """As they were published, and every column that the chart names is there."""
    block = charts.chart(path.stem, PROJECT / "figures")
    filled = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', block, re.S)[1])
    tables = [part["values"] for part in _parts(filled) if isinstance(part.get("values"), str)]
    published = {file.read_text(encoding="utf-8") for file in (PROJECT / "figures").glob("*.csv")}
    assert tables and set(tables) <= published
    columns = {name.strip('"') for table in tables for name in table.splitlines()[0].split(",")}
    columns |= {name for table in tables for name in re.findall(r'"([^"]*)"', table.splitlines()[0])}
    made = {name for part in _parts(filled) for name in _made(part)}
    assert {part["field"] for part in _parts(filled) if isinstance(part.get("field"), str)} <= columns | made


def _parts(part):
    """Every object of a specification."""
    if isinstance(part, dict):
        yield part
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _parts(value)


def _made(part):
    """The fields that a transform adds, and those of the rows that the page's script puts in."""
    names = part.get("as", [])
    return [names] if isinstance(names, str) else [*names, "step"]


def test_the_gap_can_be_shown_at_every_setting():
    """Its buttons are the sweeps that are published, and its slider reaches the last setting of each."""
    controls = {part["name"]: part["bind"] for part in json.loads((charts.EXPLORE / "gap.json").read_text(encoding="utf-8"))["params"]}
    table = pd.read_csv(PROJECT / "figures" / "18_strength_sweeps.csv")
    assert controls["sweep"]["options"] == table["sweep"].unique().tolist()
    assert controls["k"]["max"] >= table.groupby("sweep")["x"].nunique().max()
    assert (table["draw"] == "paper's").sum() == len(table.groupby(["sweep", "x"]))


def test_a_chart_of_a_file_that_is_gone_is_not_built(tmp_path):
    with pytest.raises(FileNotFoundError, match="18_strength"):
        charts.chart("gap", tmp_path)


def test_a_notebook_without_figures_or_claims_is_a_page_too(tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(PROJECT / "notebooks" / "18_strength.ipynb", tmp_path / "notebooks" / "19_new.ipynb")
    notebook = stored.Notebook(tmp_path / "notebooks" / "19_new.ipynb", {})
    assert notebook.claims == [] and notebook.figures == []
    notebook.stage(tmp_path / "staged")
    assert "image/png" in (tmp_path / "staged" / "19_new.ipynb").read_text(encoding="utf-8")  # as it is stored
