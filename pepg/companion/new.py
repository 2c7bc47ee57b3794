"""Start a notebook of one's own from the template; what `make new NAME=my_experiment` calls.

The copy stands in notebooks/ without outputs, with its name where the template has its own, and `make my_experiment` runs
it like any other. Names that start with a digit are the companion's.
"""

import argparse
import json
import re
import sys

from ..experiments.files import write_whole
from .output import PROJECT

TEMPLATE = "21_your_own_environment"


def create(name, root=PROJECT):
    """Write notebooks/<name>.ipynb from the template and return its path.

    Raises ValueError for a name that cannot be used, FileExistsError for a notebook that is there.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"NAME: expected letters, digits and underscores, a letter first (my_experiment), got {name!r}")
    targets = re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M)
    if name in targets:
        raise ValueError(f"NAME: make {name} means something else; choose another name")
    path = root / "notebooks" / f"{name}.ipynb"
    if path.exists():
        raise FileExistsError(f"notebooks/{path.name} exists, and is left as it is; choose another name")
    notebook = json.loads((root / "notebooks" / f"{TEMPLATE}.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace(TEMPLATE, name).splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    title = notebook["cells"][0]["source"]
    title[0] = re.sub(r"^# .*", f"# {name}", title[0])
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path


def main(arguments=None, root=PROJECT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the notebook, without .ipynb")
    name = parser.parse_args(arguments).name
    try:
        path = create(name, root)
    except (ValueError, FileExistsError) as error:
        sys.exit(str(error))
    print(f"{path.relative_to(root)}: edit it (make lab), then make {name}")


if __name__ == "__main__":
    main()
