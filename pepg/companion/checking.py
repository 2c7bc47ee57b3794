"""The checks of a notebook's environment alone; what `make check NAME=my_experiment` calls.

The notebook's code cells run in this process, from the first to the one that makes `env`, and no further.
"""

import argparse
import os
import sys
import tempfile
import traceback
import warnings

from ..environments import check_environment
from ..mdp import PeMDP
from .notebooks import Notebook
from .output import PROJECT


def environment(name, root=PROJECT):
    """The environment `env` of a notebook of that name.

    Raises ValueError where there is no such notebook or no `env` in it; what a cell raises passes, with a note that says where.
    """
    notebook = Notebook(name, "paper", root)
    if not notebook.source.exists():
        raise ValueError(f"NAME: there is no notebooks/{name}.ipynb")
    sys.path.insert(0, str(notebook.source.parent))
    names = {"__name__": "__main__"}
    for number, source in enumerate(notebook.code(), start=1):
        try:
            exec(compile(source, f"{name}, code cell {number}", "exec"), names)
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[1].lineno if len(traceback.extract_tb(error.__traceback__)) > 1 else error.lineno
            error.add_note(f"in code cell {number}, line {line}: {source.splitlines()[line - 1].strip()}")
            raise
        if isinstance(names.get("env"), PeMDP):
            return names["env"]
    raise ValueError(f"NAME: notebooks/{name}.ipynb makes no environment `env`")


def main(arguments=None, root=PROJECT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the notebook, without .ipynb")
    name = parser.parse_args(arguments).name
    with tempfile.TemporaryDirectory(prefix="pepg-") as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        os.environ.setdefault("PEPG_OUTPUT", folder)  # nothing of this is kept
        try:
            report = check_environment(environment(name, root))
        except Exception as error:  # whatever a reader's cells raise
            sys.exit("\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]))
    print(report)
    for message in dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)):
        if message != report.warning:
            print(f"warning: {message}")


if __name__ == "__main__":
    main()
