"""Whether the active environment has every package of pyproject.toml, none older than stated there; make asks before it uses one.

The lower bounds are the versions with which the tests and the quick notebooks have been run. Run by its path: importing the package
needs what this looks for.
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent


def requirements(project=PROJECT):
    """[(name, lower bound)] of the package and all its extras."""
    stated = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = stated["dependencies"] + sum(stated["optional-dependencies"].values(), [])
    return [re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", text).groups() for text in texts]


def problems(project=PROJECT):
    """A line for each package that is missing or too old."""
    for name, least in requirements(project):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield f"{name} is missing, {least} or newer is needed"
            continue
        if _numbers(found) < _numbers(least):
            yield f"{name} is {found}, {least} or newer is needed"


def _numbers(text):
    return [int(number) for number in re.match(r"[0-9.]+", text)[0].strip(".").split(".")]


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
