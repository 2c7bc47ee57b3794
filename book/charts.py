"""The pages to play with: Vega-Lite charts over the published CSV files, which are put into the page as they are.

A page explore/<name>.md holds a line `@chart <spec>@` where explore/<spec>.json is a Vega-Lite (or Vega) specification. Wherever that
says `"data": {"url": "<file>.csv"}` the text of figures/<file>.csv takes its place, so that a page works without a server too.
"""

import csv
import json
import re
from pathlib import Path

EXPLORE = Path(__file__).resolve().parent / "explore"


def stage(project, source):
    """Write the pages to source/explore."""
    folder = source / "explore"
    folder.mkdir()
    for path in sorted(EXPLORE.glob("*.md")):
        text = re.sub(r"^@chart (\w+)@$", lambda found: chart(found[1], project / "figures"), path.read_text(encoding="utf-8"), flags=re.M)
        (folder / path.name).write_text(text, encoding="utf-8")


def chart(name, figures):
    """A raw block with the specification of a chart, its data in it, and links to the published files."""
    specification = json.loads((EXPLORE / f"{name}.json").read_text(encoding="utf-8"))
    files = []
    filled = _with_data(specification, figures, files)
    content = json.dumps(filled, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    links = " ".join(f'<a href="../figures/{file}" download>{file}</a>' for file in dict.fromkeys(files))
    return f"""```{{raw}} html
<div class="chart" id="{name}" data-spec="{name}-spec"></div>
<script type="application/json" id="{name}-spec">{content}</script>
<script type="module" src="../_static/vega/vega.js"></script>
<p class="chart-data">Data: {links}</p>
```"""


def _with_data(part, figures, files):
    if isinstance(part, dict):
        url = part.get("url")
        if isinstance(url, str) and url.endswith(".csv"):
            files.append(url)
            text = (figures / url).read_text(encoding="utf-8")
            rest = {key: value for key, value in part.items() if key != "url"}
            return rest | {"values": text, "format": {"type": "csv", "parse": _types(text)}}
        return {key: _with_data(value, figures, files) for key, value in part.items()}
    return [_with_data(value, figures, files) for value in part] if isinstance(part, list) else part


def _types(text):
    """{column: "number" or "string"} of a CSV text; Vega would guess, and only for the columns that it draws.

    Without those whose name Vega would read as a path.
    """
    rows = list(csv.DictReader(text.splitlines()))
    return {name: "number" if all(_is_number(row[name]) for row in rows) else "string" for name in rows[0] if not set(name) & set("'\"[].")}


def _is_number(text):
    return not text or re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", text) is not None
