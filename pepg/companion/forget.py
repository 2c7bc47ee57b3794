"""Take back what a notebook of one's own published; what `make forget NAME=my_experiment` calls. The notebook itself stays."""

import argparse
import os
import shutil
import sys

from .notebooks import Notebook, is_companions, read_json
from .output import PROFILES, PROJECT


def forget(name, root=PROJECT):
    """Remove the figures, data and tables of a reader's own notebook in every profile, its runs and its stages; what was removed.

    Raises ValueError for a notebook of the companion, or one that has left nothing.
    """
    if is_companions(name):
        raise ValueError(f"NAME: {name} is the companion's; only what your own notebooks published is taken back")
    record = root / "build" / "interactive" / f"{name}.record.json"  # of runs by hand
    interactive = [record, *(record.parent / file for file in read_json(record))] if record.exists() else []
    folders = [root / "build" / "sweeps" / name, *(Notebook(name, profile, root).stage for profile in PROFILES)]
    known = interactive + [folder for folder in folders if folder.exists()]
    gone = [Notebook(name, profile, root).published / file for profile in PROFILES for file in Notebook(name, profile, root).forget()]
    for path in interactive:
        path.unlink(missing_ok=True)
    shutil.rmtree(folders[0], ignore_errors=True)
    if not (gone or known):
        raise ValueError(f"NAME: {name} has left nothing to take back")
    return gone


def main(arguments=None, root=PROJECT):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the notebook, without .ipynb")
    name = parser.parse_args(arguments).name
    try:
        gone = forget(name, root)
    except ValueError as error:
        sys.exit(str(error))
    print(f"{len(gone)} files of {name} taken back" + (f" from {os.path.relpath(gone[0].parent)}/" if gone else ""))
    if Notebook(name, "paper", root).source.exists():
        print(f"notebooks/{name}.ipynb stays; delete it where you do not want it any more")


if __name__ == "__main__":
    main()
