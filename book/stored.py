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
        makers = [(index, _statements(source)) for index, source in self._code() if ".claim(" in source]
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


def _statements(source):
    """What a cell may state, as regular expressions: every string in it, with anything where a value is filled in."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 3:
            found.append(re.escape(node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [re.escape(part.value) if isinstance(part, ast.Constant) else ".*" for part in node.values]
            if sum(map(len, parts)) > 2 * len(parts):
                found.append("".join(parts))
    return found
