"""The reference: a page for each public namespace, an entry for each public name with its docstring and an example.

An example stands in examples/<namespace>.txt under a line `@ name`, as a doctest; what stands before the first name is run before
all of them and shown at the head of the page. tests/test_book.py runs them.
"""

import importlib
import inspect
import re
import textwrap
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent / "examples"

# Title of each page and the namespaces on it, as a reader writes them. What is public twice has its entry where it comes first.
PAGES = {
    "algorithms": ("Algorithms and policies", ("pepg.algorithms", "pepg.policies")),
    "environments": ("Values, gradients and environments", ("pepg", "pepg.gymnasium", "pepg.environments")),
    "theory": ("Theory", ("pepg.theory", "pepg.certificate", "pepg.theory.estimators", "pepg.theory.differences")),
    "data": ("Trajectories and models", ("pepg.data",)),
    "experiments": ("Experiments", ("pepg.experiments",)),
    "companion": ("Figures and notebooks", ("pepg.figures", "pepg.companion", "pepg.companion.comparison")),
}

INTRODUCTION = """Reference
=========

Every public name, with shapes, units, errors, sources and an example. A policy is an array (S, A) whose rows are distributions; what is
said to take (..., S, A) works on many policies at once along leading axes.
"""


def module(namespace):
    """The module behind a public name such as pepg.figures."""
    found = importlib.import_module("pepg")
    for part in namespace.split(".")[1:]:
        found = getattr(found, part)
    return found


def public():
    """(namespace, name, object) of every public function and class, each once, in the order of the pages."""
    seen = set()
    for _, namespaces in PAGES.values():
        for namespace in namespaces:
            for name, value in _names(module(namespace)):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield namespace, name, value


def _names(found):
    """What a module offers: its `__all__` and what it imports when asked, or else the functions and classes that it defines."""
    here = [n for n, v in vars(found).items() if not n.startswith("_") and getattr(v, "__module__", "") == found.__name__]
    later = [name for name in dir(found) if "__dir__" in vars(found) and name not in found.__all__]
    values = [(name, getattr(found, name)) for name in [*getattr(found, "__all__", here), *later]]
    return [(name, value) for name, value in values if inspect.isclass(value) or inspect.isfunction(value)]


def examples(namespace):
    """The examples of a namespace: what comes before all of them, and the one of each name."""
    path = EXAMPLES / f"{namespace}.txt"
    head, *rest = re.split(r"^@ (\w+)\n", path.read_text(encoding="utf-8") if path.exists() else "", flags=re.M)
    return head.strip(), dict(zip(rest[::2], (text.strip() for text in rest[1::2])))


def stage(source):
    """Write the pages to source/reference."""
    folder = source / "reference"
    folder.mkdir()
    entries = list(public())
    for page, (title, namespaces) in PAGES.items():
        text = [title, "=" * len(title), ""]
        for namespace in namespaces:
            text += _section(namespace, [(name, value) for where, name, value in entries if where == namespace])
        (folder / f"{page}.rst").write_text("\n".join(text), encoding="utf-8")
    toctree = ".. toctree::\n   :maxdepth: 2\n\n" + "".join(f"   {page}\n" for page in PAGES)
    (folder / "index.rst").write_text(f"{INTRODUCTION}\n{toctree}", encoding="utf-8")


def _section(namespace, entries):
    """reStructuredText of one namespace."""
    where = module(namespace)
    head, given = examples(namespace)
    text = [namespace, "-" * len(namespace), "", inspect.getdoc(where) or "", ""]
    if head:
        text += ["The examples of this section begin with", "", head, ""]
    for name, value in entries:
        kind = "autoclass" if inspect.isclass(value) else "autofunction"
        text += [f".. {kind}:: {namespace}.{name}", *(["   :members:"] if kind == "autoclass" else []), ""]
        if name in given:
            text += [textwrap.indent(".. rubric:: Example\n\n" + given[name], "   "), ""]
    return text
