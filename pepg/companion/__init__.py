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


def open(notebook: str, quick: dict[str, Any] | None = None) -> Output:
    """Begin a notebook: the companion's style is set, its parameters are recorded, and its :class:`Output` returned.

    Its parameters are what the caller's namespace holds by now: every name with a plain value, as assigned in the cell
    tagged `parameters`. In the quick profile those that `quick` names take its values first.

    Raises ValueError for a `quick` that names no parameter, or a profile that is neither "paper" nor "quick".
    """
    if quick is not None:
        check_instance("quick", quick, dict, "a dict {parameter: value}")
    namespace = inspect.currentframe().f_back.f_globals
    parameters = {name: value for name, value in namespace.items() if _is_parameter(name, value)}
    unknown = set(quick or {}) - set(parameters)
    if unknown:
        raise ValueError(f"quick: expected names of parameters ({', '.join(parameters)}), got {', '.join(sorted(unknown))}")
    if parameters.get("profile") == "quick":
        parameters |= quick or {}
        namespace.update(quick or {})
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
