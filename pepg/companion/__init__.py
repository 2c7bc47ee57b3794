"""What the notebooks and make need: one style, figures with their data, claims, and the runner."""

import inspect
from typing import Any

try:
    import IPython  # noqa: F401
    import matplotlib  # noqa: F401
    import pandas  # noqa: F401
    import seaborn  # noqa: F401
except ImportError as error:
    raise ImportError(f"pepg.companion, pepg.figures and pepg.compare need {error.name}: pip install pepg[notebooks]") from error

from ..arguments import check_instance
from . import figures
from .output import Output, read_published, show_table

__all__ = ["Output", "figures", "open", "read_published", "show_table"]


def open(notebook: str, quick: dict[str, Any] | None = None, full: dict[str, Any] | None = None) -> Output:
    """Begin a notebook: the companion's style is set, its parameters are recorded, and its :class:`Output` returned.

    Its parameters are what the caller's namespace holds by now: every name with a plain value, as assigned in the cell
    tagged `parameters`. In the quick profile those that `quick` names take its values first, in the full one those of `full`:
    what takes too long to be run with all the rest.

    Raises ValueError for a `quick` or `full` that names no parameter, or a profile that is none of "paper", "quick" and "full".
    """
    profiles = {name: {} if values is None else values for name, values in (("quick", quick), ("full", full))}
    for name, values in profiles.items():
        check_instance(name, values, dict, "a dict {parameter: value}")
    namespace = inspect.currentframe().f_back.f_globals
    parameters = {name: value for name, value in namespace.items() if _is_parameter(name, value)}
    for name, values in profiles.items():
        unknown = set(values) - set(parameters)
        if unknown:
            raise ValueError(f"{name}: expected names of parameters ({', '.join(parameters)}), got {', '.join(sorted(unknown))}")
    chosen = profiles.get(parameters.get("profile"), {})
    parameters |= chosen
    namespace.update(chosen)
    figures.use_style()
    return Output(notebook, **parameters)


def _is_parameter(name, value):
    return not name.startswith("_") and name not in ("In", "Out") and _is_plain(value)


def _is_plain(value):
    if isinstance(value, dict):
        return all(_is_plain(part) for part in [*value, *value.values()])
    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str))
