"""Docstrings as Sphinx reads them: `name : what it is`, one below the other, becomes a list, and a section's underlined name a rubric.

So a docstring may have numpydoc's sections or none, and an entry may put shape, unit and meaning in one line. A type that has a name for
what would fill lines is shown by its name in a signature.
"""

import re

from matplotlib.typing import ColorType, LineStyleType
from numpy.typing import ArrayLike

NAMED = {"ArrayLike": ArrayLike, "ColorType": ColorType, "LineStyleType": LineStyleType}
ITEM = re.compile(r"(\*{0,2}[^\W\d][\w, *]{0,60}?) : (.+)")
NEXT = re.compile(r" · (?=[^\W\d][\w, ]{0,40} : )")


def setup(app):
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _named)
    return {"parallel_read_safe": True}


def _process(app, what, name, obj, options, lines):
    lines[:] = listed(_escaped(lines))


def _named(app, what, name, obj, options, signature, returned):
    from sphinx.util.typing import stringify_annotation  # here, so that the tests need no Sphinx

    for short, kind in NAMED.items():
        spelled_out = stringify_annotation(kind, "smart")
        signature, returned = (text and text.replace(spelled_out, short) for text in (signature, returned))
    return signature, returned


def listed(lines):
    """The lines of a docstring with its items as definition lists and its sections as rubrics."""
    text = []
    for line, below in zip(lines, [*lines[1:], ""]):
        in_item = bool(text) and text[-1].startswith("    ")
        if re.fullmatch(r"-{3,}", line):
            continue
        if re.fullmatch(r"-{3,}", below):
            text += [f".. rubric:: {line}", ""]
            continue
        for part in NEXT.split(line) if ITEM.match(line) else [line]:
            item = ITEM.match(part)
            if item:
                text += ["", f"``{item[1]}``", f"    {item[2]}"]
                in_item = True
            elif in_item and part.strip():
                text += [f"    {part.strip()}"]
            else:
                text += [part]
    return text


def _escaped(lines):
    """The lines with their bars as bars, but for displayed mathematics as it is."""
    text, inside = [], None  # how far the directive that a line belongs to is indented
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if line.strip() and inside is not None and depth <= inside:
            inside = None
        if line.lstrip().startswith(".. math::"):
            inside = depth
        text.append(line if inside is not None else _without_substitutions(line))
    return text


def _without_substitutions(line):
    """Outside literals and mathematics a bar is a bar."""
    return "".join(part if part.startswith("`") else re.sub(r"(?<!\\)\|", r"\\|", part) for part in re.split(r"(`+[^`]*`+)", line))
