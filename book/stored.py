"""The companion's notebooks as pages: which part of the book each belongs to, its figures with what lies behind them, its claims."""

import ast
import base64
import copy
import csv
import hashlib
import html
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

TEMPLATE = "21_your_own_environment"
PARTS = ("start", "theory", "experiments", "own")


def companion(project):
    """Every notebook whose name starts with a digit, in the order of the names; a reader's own are the reader's."""
    manifest = json.loads((project / "figures" / "manifest.json").read_text(encoding="utf-8"))
    return [Notebook(path, manifest) for path in sorted((project / "notebooks").glob("[0-9][0-9]*_*.ipynb"))]


@dataclass(frozen=True)
class Notebook:
    """One stored notebook; `manifest` says what each published file is."""

    path: Path
    manifest: dict

    @property
    def name(self):
        return self.path.stem

    @cached_property
    def content(self):
        return json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def title(self):
        """`# 18 · The strength of the response` without its mark."""
        return "".join(self.content["cells"][0]["source"]).splitlines()[0].removeprefix("# ")

    @property
    def part(self):
        """Of the book: 00 opens it, 01 to 09 are theory, 10 to 29 experiments, the template and what comes after is a reader's."""
        number = int(self.name[:2])
        if self.name == TEMPLATE or number >= 30:
            return "own"
        return "start" if number == 0 else "theory" if number < 10 else "experiments"

    @property
    def figures(self):
        """The published pictures, by name."""
        return [file for file, entry in sorted(self.manifest.items()) if entry["notebook"] == self.name and file.endswith(".png")]

    # Claims

    @cached_property
    def claims(self):
        """The rows of its claims, each with the `cell` that makes it."""
        path = self.path.parent.parent / "figures" / f"{self.name}_claims.csv"
        if not path.exists():
            return []
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        helpers = _helpers(self.path.parent / "support")
        makers = [(index, _stated(source, helpers)) for index, source in self._code() if _claims(source, helpers)]
        at = 0  # claims are stored in the order in which they are made
        for row in rows:
            found = [k for k in range(len(makers)) if any(re.fullmatch(s, row["statement"], re.S) for s in makers[k][1])]
            at = min((k for k in found if k >= at), default=found[0] if found else at)
            row["cell"] = makers[at][0] if makers else 0
        return rows

    def _code(self):
        cells = enumerate(self.content["cells"])
        return [(index, "".join(cell["source"])) for index, cell in cells if cell["cell_type"] == "code"]

    # Pages

    def stage(self, folder):
        """Write the notebook as the book shows it: figures as links to the published files, an anchor where a claim is made."""
        folder.mkdir(exist_ok=True)
        claimed = {row["cell"] for row in self.claims}
        cells = []
        for index, cell in enumerate(copy.deepcopy(self.content["cells"])):
            if index in claimed:
                cells.append(_markdown(f'<span class="claims-here" id="cell-{index}"></span>', f"claims-{index}"))
            if cell["cell_type"] == "code":
                cell["outputs"] = [self._output(output) for output in cell["outputs"]]
                if self.part == "experiments":
                    cell["metadata"].setdefault("tags", []).append("hide-input")
            cells.append(cell)
        path = folder / f"{self.name}.ipynb"
        path.write_text(json.dumps(self.content | {"cells": cells}, ensure_ascii=False, indent=1), encoding="utf-8")

    def write_download(self, path):
        """The notebook as it is stored but for its pictures, which the book has beside it."""
        content = copy.deepcopy(self.content)
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = [output for output in cell["outputs"] if "image/png" not in output.get("data", {})]
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def _output(self, output):
        """A picture that is published as that file, with links to it; of widgets, which need a kernel, their text; any other as it is."""
        if any("widget" in kind for kind in output.get("data", {})):
            return output | {"data": {"text/plain": output["data"]["text/plain"]}}
        picture = output.get("data", {}).get("image/png")
        if picture is None:
            return output
        checksum = hashlib.sha256(base64.b64decode("".join(picture))).hexdigest()
        files = [file for file in self.figures if self.manifest[file]["sha256"] == checksum]
        if not files:
            return output
        shown = figure(files[0], self.manifest, f"{self.title}: figure", "../")
        return output | {"data": {"text/html": shown}, "metadata": {}}


def figure(file, manifest, description, root, link=None):
    """HTML of the published picture `file` with links to what lies behind it; `root` leads from the page to the site's."""
    links = {"PDF": file.removesuffix(".png") + ".pdf", "PNG": file, "Data (CSV)": manifest[file].get("data")}
    downloads = [f'<a href="{root}figures/{target}" download>{name}</a>' for name, target in links.items() if target]
    image = f'<img src="{root}figures/{file}" alt="{html.escape(description)}" loading="lazy"/>'
    image = f'<a href="{link}">{image}</a>' if link else image
    return f'<figure class="figure-of">{image}<figcaption>{" ".join(downloads)}</figcaption></figure>'


def _markdown(source, name):
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


def _helpers(folder):
    """{name: its tree} of the functions in the modules beside the notebooks that make claims for those who call them."""
    sources = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]
    trees = [ast.parse(source) for source in sources if ".claim(" in source]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {node.name: node for node in functions if ".claim(" in ast.unparse(node)}


def _claims(source, helpers):
    """Whether a cell makes claims, itself or by one of the `helpers`."""
    return ".claim(" in source or any(re.search(rf"\b{name}\(", source) for name in helpers)


def _stated(source, helpers):
    """What a cell may state, as regular expressions: its strings, and those of the helpers that it calls, with its own filled in."""
    tree = ast.parse(source)
    found = _statements(tree)
    named = {node.id if isinstance(node, ast.Name) else node.attr for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute))}
    given = f"(?:{'|'.join(found)})" if found else ".*"
    for name in named & set(helpers):
        parameters = {argument.arg for argument in helpers[name].args.args}
        found = found + _statements(helpers[name], dict.fromkeys(parameters, given))
    return found


def _statements(tree, filled=None):
    """Every string of a tree as a regular expression: where a name of `filled` is put in what that maps it to, anything for another value."""
    filled, found = filled or {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 3:
            found.append(re.escape(node.value))
        elif isinstance(node, ast.JoinedStr):
            constant = [re.escape(part.value) for part in node.values if isinstance(part, ast.Constant)]
            if sum(map(len, constant)) > 2 * len(constant):
                parts = (part.value for part in node.values)
                found.append("".join(re.escape(part) if isinstance(part, str) else filled.get(getattr(part, "id", None), ".*") for part in parts))
    return found
