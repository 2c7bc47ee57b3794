"""What the notebooks look like: short cells between prose, and no number in the prose that nothing measures."""

import ast
import csv
import json
import re
import statistics
from collections import Counter
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from pepg.companion.claims import number

PROJECT = Path(__file__).resolve().parent.parent
FIGURES = PROJECT / "figures"
PATHS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]*_*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4).cells for path in PATHS}
MANIFEST = json.loads((FIGURES / "manifest.json").read_text(encoding="utf-8"))
TAKE_AWAY = "## What to take away"

each = pytest.mark.parametrize("name", NOTEBOOKS)


def sources(name, kind):
    return [cell.source for cell in NOTEBOOKS[name] if cell.cell_type == kind]


def lines(source):
    return [line for line in source.splitlines() if line.strip()]


# Code


def test_code_is_short():
    lengths = sorted(len(lines(source)) for name in NOTEBOOKS for source in sources(name, "code"))
    assert sum(lengths) <= 120 * len(NOTEBOOKS)
    assert statistics.median(lengths) <= 8
    assert lengths[int(0.9 * len(lengths))] <= 22
    assert lengths[-1] <= 30


@each
def test_lines_can_be_read(name):
    for source in sources(name, "code"):
        assert all(len(line) <= 120 for line in source.splitlines()), source


@each
def test_what_is_shown_is_asked_for(name):
    """No trailing semicolon hides a result: whether it does depends on the kernel's history, which may be off."""
    assert not any(source.rstrip().endswith(";") for source in sources(name, "code"))


@each
def test_prose_is_typed(name):
    """No Markdown comes out of code."""
    for cell in NOTEBOOKS[name]:
        if cell.cell_type == "code":
            assert "Markdown" not in cell.source
            assert not any("text/markdown" in output.get("data", {}) for output in cell.outputs)


def test_no_function_is_defined_in_two_notebooks():
    defined = Counter()
    for name in NOTEBOOKS:
        trees = [ast.parse(source) for source in sources(name, "code")]
        defined.update({node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)})
    assert [function for function, count in defined.items() if count > 1] == []


@each
def test_parameters_are_written_once(name):
    """`companion.open` reads them; it names the notebook, and in `quick` and `full` only what the parameters cell assigns."""
    code = sources(name, "code")
    opened = [node for source in code for node in ast.walk(ast.parse(source)) if _calls(node, "open")]
    assert [call.args[0].value for call in opened] == [name]
    quick = [keyword.value for keyword in opened[0].keywords if keyword.arg in ("quick", "full")]
    names = {target.id for node in ast.parse(code[0]).body for target in ast.walk(node) if isinstance(target, ast.Name)}
    assert {key.value for keys in quick for key in keys.keys} <= names


def _calls(node, method):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method


# Figures and tables


class _Size(HTMLParser):
    """Rows of a table's body and columns of its head."""

    rows = columns = 0
    body = False

    def handle_starttag(self, tag, attributes):
        self.body |= tag == "tbody"
        self.rows += self.body and tag == "tr"
        self.columns += not self.body and tag == "th"


@each
def test_four_figures_and_four_tables_at_most(name):
    outputs = [output for cell in NOTEBOOKS[name] if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    tables = [output.data["text/html"] for output in outputs if "<table" in output.get("data", {}).get("text/html", "")]
    assert len(pictures) <= 4 and len(tables) <= 4
    for table in tables:
        size = _Size()
        size.feed(table)
        assert size.rows <= 12 and size.columns <= 8, table


@each
def test_the_figure_on_the_page_is_the_one_in_the_file(name):
    import base64

    shown = [
        base64.b64decode(output.data["image/png"])
        for cell in NOTEBOOKS[name] if cell.cell_type == "code"
        for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    stored = {path.read_bytes() for path in FIGURES.glob(f"{name}_*.png")}
    assert set(shown) == stored


# Claims


def claims(name):
    path = FIGURES / f"{name}_claims.csv"
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def decimals(text):
    """The numbers with a decimal point in a text, formulas, code, links and names of papers aside."""
    for noise in (
        r"```.*?```", r"(?m)^    .*$", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]*\$", r"\]\([^)]*\)", r"arXiv[ :]*[\d.]+", r"Python [\d.]+",
    ):
        text = re.sub(noise, " ", text, flags=re.S)
    return {Decimal(found.replace("−", "-")) for found in re.findall(r"(?<![\w.,/])[−-]?\d+\.\d+(?![\w.]*\d)", text)}


def stated(rows):
    """What claims state as numbers, with and without their sign: prose may say "by 0.0189 below"."""
    found = set()
    for row in rows:
        try:
            value = number(re.sub(r"^[<>]=?", "", row["stated"]))
        except ValueError:
            continue
        found |= {value, -value}
    return found


def settings(value):
    """The numbers among a notebook's parameters."""
    if isinstance(value, dict):
        return set().union(*map(settings, value.values()), set())
    if isinstance(value, list):
        return set().union(*map(settings, value), set())
    return {Decimal(str(value))} if isinstance(value, (int, float)) and not isinstance(value, bool) else set()


def parameters(name):
    return set().union(*(settings(entry["parameters"]) for entry in MANIFEST.values() if entry["notebook"] == name), set())


def prose(name):
    """The opening and the take-aways: where results are told."""
    cells = sources(name, "markdown")
    return "\n".join([cells[0], *(cell for cell in cells if TAKE_AWAY in cell)])


@each
def test_every_number_that_is_told_is_claimed(name):
    assert any(TAKE_AWAY in cell for cell in sources(name, "markdown"))
    assert decimals(prose(name)) - stated(claims(name)) - parameters(name) == set()


def test_every_number_of_the_readme_is_claimed():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    known = set().union(*(stated(claims(name)) | parameters(name) for name in NOTEBOOKS))
    assert decimals(text) - known == set()


@each
def test_claims_hold(name):
    for row in claims(name):
        assert row["holds"] == "True", row
        assert row["source"] in ("paper", "released code", "derived", "measured"), row


def test_numbers_are_found_where_they_are():
    text = "ends at −0.0685 (0.50 ± 0.3), `0.1`, $x = 0.2$, [01](a_0.7.ipynb), arXiv 2512.20576, 3.14.\n\n    0.9"
    assert decimals(text) == {Decimal("-0.0685"), Decimal("0.50"), Decimal("0.3"), Decimal("3.14")}
