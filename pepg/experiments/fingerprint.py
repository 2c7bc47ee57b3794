"""What a setting is made of, as a hash: the same in every process, another once anything in it changes."""

import ast
import dis
import sys
import sysconfig
from dataclasses import fields, is_dataclass
from functools import cache, cached_property, partial
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType

import joblib
import numpy as np

from ..mdp import PeMDP
from .files import checksum

# Wings and modules of this package that no result depends on.
_BESIDE = ("experiments", "companion", "gymnasium.py")
_PACKAGE = Path(__file__).resolve().parent.parent
_UNDER = ("numpy", "scipy", "piqp", "autograd")  # and the packages that results do depend on
_INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def fingerprint(value):
    """Hexadecimal digits that stand for `value`, for the sources of this package and for the versions of those below it.

    A function enters with its settings (defaults, what it encloses, what a partial fills in), its code and the global values
    that the code names. One from a file enters with that file and all that it imports: other files by their checksums,
    installed packages by their versions. An object whose class is defined in a script or file enters as its class and its
    attributes; an environment as its type and the arguments that made it, or its attributes where it is no dataclass: what it
    remembers of its last response does not matter. Names that a program makes up as it runs, and files that it reads, are
    beyond what can be seen.

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
        return ["module", value.__name__, _reached(value.__name__)]
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
    if isinstance(getattr(value, "__wrapped__", None), FunctionType):  # a cache around it, say
        return [type(value).__qualname__, *parts([value.__wrapped__])]
    if _is_own(type(value).__module__) and isinstance(getattr(value, "__dict__", None), dict):
        return ["object", *parts([type(value), vars(value)])]
    try:
        return [type(value).__qualname__, joblib.hash(value)]
    except Exception as error:
        raise ValueError(f"expected a setting that can be hashed, got {value!r}: {error}") from error


def _definition(value, inside):
    """Where a function or class is defined, and what its definition says."""
    name = [value.__module__, value.__qualname__]
    if not _is_own(value.__module__):
        return name
    if isinstance(value, type):
        if value.__module__ != "__main__":
            return [*name, _reached(value.__module__)]
        # What Python notes about a class besides its text is kept out: names with underscores that are no functions.
        hidden = [n for n in vars(value) if n[:2] == "__" and not isinstance(vars(value)[n], FunctionType)]
        said = {n: part for n, part in vars(value).items() if n not in (*hidden, "_abc_impl")}
        return [*name, _contents(value.__bases__, inside), _contents(said, inside)]
    names, imported = _names(value.__code__)
    named = {name: value.__globals__[name] for name in names if name in value.__globals__}
    # Of a module that is named, what may be read of it, since a script can set that.
    for module in [part for part in named.values() if isinstance(part, ModuleType) and _is_own(part.__name__)]:
        named |= {f"{module.__name__}.{n}": vars(module)[n] for n in names if n in vars(module)}
    reached = {module: _reached(module) for module in imported}
    if value.__module__ == "__main__":
        return [*name, _contents(value.__code__, inside), _contents(named, inside), reached]
    plain = {name: part for name, part in named.items() if isinstance(part, (bool, int, float, complex, str, np.ndarray, list, tuple, dict))}
    return [*name, _reached(value.__module__), _contents(plain, inside), reached]


def _names(code):
    """The names of global values and of attributes in `code` and the functions inside it, and the modules imported there; in order."""
    steps = list(dis.get_instructions(code))
    names = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD")}
    imported = {step.argval for step in steps if step.opname == "IMPORT_NAME" and step.argval}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            more, others = _names(inner)
            names, imported = names.union(more), imported.union(others)
    return sorted(names), sorted(imported)


# Modules: those of a reader's own are files that may change from one call to the next


def _is_own(module):
    """Whether a module is neither this package nor installed: a script, a notebook, or a file beside one."""
    return module == "__main__" or isinstance(_origin(module), Path)


def _origin(module):
    """The file of a module of the reader's own; the version of one that is installed; None for Python's and this package's."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if module not in sys.modules:
        try:
            file = getattr(find_spec(module), "origin", None)
        except (ImportError, AttributeError, ValueError):
            file = None
    if file is None or not Path(file).is_file():
        return None
    if any(Path(file).resolve().is_relative_to(place.resolve()) for place in _INSTALLED):
        return _version(top)
    return Path(file)


@cache
def _version(top):
    return [f"{name} {version(name)}" for name in sorted(set(packages_distributions().get(top, [])))]


def _reached(module):
    """What a module of the reader's own is made of: [name, checksum or version] of it and of all that it imports, at any place."""
    found, ahead = {}, [module]
    while ahead:
        name = ahead.pop()
        origin = _origin(name)
        if name in found or origin is None:
            continue
        found[name] = checksum(origin) if isinstance(origin, Path) else origin
        if isinstance(origin, Path) and origin.suffix == ".py":
            ahead += _imports(name, origin)
    return sorted(found.items())


def _imports(module, file):
    """The names of the modules that a file may import: of ``from a import b`` both a and a.b."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = resolve_name(base, package) if node.level else base
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
