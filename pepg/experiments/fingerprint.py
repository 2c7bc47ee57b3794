"""What a setting is made of, as a hash: the same in every process, another once anything in it changes."""

import dis
import sys
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType

import joblib

from ..mdp import PeMDP
from .files import checksum

# Wings and modules of this package that no result depends on.
_BESIDE = ("experiments", "companion", "gymnasium.py")
_PACKAGE = Path(__file__).resolve().parent.parent
_UNDER = ("numpy", "scipy", "piqp", "autograd")  # and the packages that results do depend on


def fingerprint(value):
    """Hexadecimal digits that stand for `value`, for the sources of this package and for the versions of those below it.

    A function enters with its settings (defaults, what it encloses, what a partial fills in) and its code: one defined in
    a script or notebook with the global values that it names, any other with the checksum of its file. An environment
    enters as its type and the arguments that made it, or its attributes where it is no dataclass; what it remembers of its
    last response does not matter.

    Raises ValueError for an object of which no hash can be made.
    """
    sources = [path for path in sorted(_PACKAGE.rglob("*.py")) if not set(path.relative_to(_PACKAGE).parts) & set(_BESIDE)]
    below = [version(name) for name in _UNDER]
    return joblib.hash([[checksum(path) for path in sources], below, _contents(value, ())], hash_name="sha1")


def _contents(value, inside):
    """`value` as lists of plain data and arrays; `inside` holds what it is a part of, so that a circle ends."""
    if any(value is outer for outer in inside):
        return "circle", len(inside)
    inside = (*inside, value)

    def parts(values):
        return [_contents(part, inside) for part in values]

    if isinstance(value, partial):
        return ["partial", *parts([value.func, value.args, value.keywords])]
    if isinstance(value, MethodType):
        return ["method", *parts([value.__self__, value.__func__])]
    if isinstance(value, FunctionType):
        enclosed = [cell.cell_contents for cell in value.__closure__ or ()]
        return ["function", *_definition(value, inside), *parts([value.__defaults__, value.__kwdefaults__, enclosed])]
    if isinstance(value, CodeType):
        return ["code", value.co_code, *parts([value.co_names, value.co_varnames, value.co_freevars, value.co_consts])]
    if isinstance(value, property):
        return ["property", *parts([value.fget, value.fset])]
    if isinstance(value, cached_property):
        return ["property", *parts([value.func])]
    if isinstance(value, (staticmethod, classmethod)):
        return [type(value).__name__, *parts([value.__func__])]
    if isinstance(value, ModuleType):
        return ["module", value.__name__]
    if isinstance(value, type):
        return ["type", *_definition(value, inside)]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *parts(value)]
    if isinstance(value, (set, frozenset)):
        return ["set", *sorted(joblib.hash(part) for part in parts(value))]
    if isinstance(value, dict):
        return ["dict", *sorted(joblib.hash(part) for part in parts(value.items()))]
    if is_dataclass(value):
        return [*parts([type(value)]), *parts((f.name, getattr(value, f.name)) for f in fields(value) if f.init)]
    if isinstance(value, PeMDP):
        made = [name for name in value.__getstate__() if not isinstance(getattr(type(value), name, None), cached_property)]
        return [*parts([type(value)]), *parts((name, value.__getstate__()[name]) for name in made)]
    try:
        return [type(value).__qualname__, joblib.hash(value)]
    except Exception as error:
        raise ValueError(f"expected a setting that can be hashed, got {value!r}: {error}") from error


def _definition(value, inside):
    """Where a function or class is defined, and what its definition says."""
    name = [value.__module__, value.__qualname__]
    if value.__module__ != "__main__":
        file = getattr(sys.modules.get(value.__module__), "__file__", None)
        known = file and Path(file).exists() and not Path(file).is_relative_to(_PACKAGE)
        return [*name, checksum(file) if known else None]
    if isinstance(value, type):
        # What Python notes about a class besides its text is kept out: names with underscores that are no functions.
        hidden = [n for n in vars(value) if n[:2] == "__" and not isinstance(vars(value)[n], FunctionType)]
        said = {n: part for n, part in vars(value).items() if n not in (*hidden, "_abc_impl")}
        return [*name, _contents(value.__bases__, inside), _contents(said, inside)]
    named = {name: value.__globals__[name] for name in _globals(value.__code__) if name in value.__globals__}
    return [*name, _contents(value.__code__, inside), _contents(named, inside)]


def _globals(code):
    """The names of global values in `code` and in the functions inside it, in order."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return sorted(names.union(*(_globals(inner) for inner in code.co_consts if isinstance(inner, CodeType))))
