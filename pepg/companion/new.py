"""Start a notebook of one's own; what `make new NAME=my_experiment FROM=lending` calls.

The copy of the template stands in notebooks/ without outputs, with its name where the template has its own, and the model of
notebooks/gallery/ that FROM names in its cells. `make my_experiment` runs it like any other. Names that start with a digit are the
companion's.
"""

import argparse
import json
import re
import sys

from ..experiments.files import write_whole
from .output import PROJECT

TEMPLATE = "21_your_own_environment"
MODEL = "pricing"  # the template's own
PARTS = {"[markdown]": "markdown", "parameters": "parameters", "environment": "environment"}


def gallery(root=PROJECT):
    """The names of the models to start from."""
    return sorted(path.stem for path in (root / "notebooks" / "gallery").glob("*.py"))


def model_cells(name, root=PROJECT):
    """The cells of a model of the gallery, {"markdown", "parameters", "environment": source}: a script in the percent format.

    Raises ValueError for a name that is not there, or a script that lacks one of the three.
    """
    if name not in gallery(root):
        raise ValueError(f"FROM: expected one of {', '.join(gallery(root))}, got {name!r}")
    text = (root / "notebooks" / "gallery" / f"{name}.py").read_text(encoding="utf-8")
    cells = {PARTS[title.strip()]: body.strip() for title, body in re.findall(r"^# %% ([^\n]+)\n(.*?)(?=^# %%|\Z)", text, re.M | re.S)}
    if set(cells) != set(PARTS.values()):
        raise ValueError(f"FROM: {name}.py: expected the cells {', '.join(PARTS)}, got {', '.join(cells)}")
    return cells | {"markdown": re.sub(r"^# ?", "", cells["markdown"], flags=re.M)}


def fill(notebook, model):
    """Put the cells of a model into a template: those tagged `model`, `parameters` and `environment`."""
    tags = {"markdown": "model", "parameters": "parameters", "environment": "environment"}
    for part, tag in tags.items():
        (cell,) = [cell for cell in notebook["cells"] if tag in cell["metadata"].get("tags", [])]
        cell["source"] = model[part].splitlines(keepends=True)


def create(name, model=MODEL, root=PROJECT):
    """Write notebooks/<name>.ipynb from the template and a model of the gallery, and return its path.

    Raises ValueError for a name that cannot be used, FileExistsError for a notebook that is there.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"NAME: expected letters, digits and underscores, a letter first (my_experiment), got {name!r}")
    targets = re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M)
    if name in targets:
        raise ValueError(f"NAME: make {name} means something else; choose another name")
    cells = model_cells(model, root)
    path = root / "notebooks" / f"{name}.ipynb"
    if path.exists():
        raise FileExistsError(f"notebooks/{path.name} exists, and is left as it is; choose another name")
    notebook = json.loads((root / "notebooks" / f"{TEMPLATE}.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace(TEMPLATE, name).splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    fill(notebook, cells)
    title = notebook["cells"][0]["source"]
    title[0] = re.sub(r"^# .*", f"# {name}", title[0])
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path


def main(arguments=None, root=PROJECT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the notebook, without .ipynb")
    parser.add_argument("--from", dest="model", default=MODEL, help=f"the model to start from: {', '.join(gallery(root))}")
    options = parser.parse_args(arguments)
    try:
        path = create(options.name, options.model, root)
    except (ValueError, FileExistsError) as error:
        sys.exit(str(error))
    print(f"{path.relative_to(root)}, with the model of notebooks/gallery/{options.model}.py: edit it (make lab), then")
    print(f"  make check NAME={options.name}    its environment alone, in seconds")
    print(f"  make {options.name}    the whole, into figures/own/")


if __name__ == "__main__":
    main()
