"""Pages that are made from the project: the written ones with the lists of notebooks in them, the claims, the gallery."""

import html
from pathlib import Path

from . import stored

BOOK = Path(__file__).resolve().parent


def stage(project, source, companion):
    """Write them to the folder `source`."""
    parts = {part: "\n".join(f"notebooks/{n.name}" for n in companion if n.part == part) for part in stored.PARTS}
    for path in sorted(BOOK.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for part, names in parts.items():
            text = text.replace(f"@notebooks {part}@", names)
        (source / path.name).write_text(text, encoding="utf-8")
    (source / "claims.md").write_text(_claims(companion), encoding="utf-8")
    (source / "gallery.md").write_text(_gallery(companion), encoding="utf-8")
    for name, title in (("CONTRIBUTING", "contributing"), ("CHANGELOG", "changes")):
        (source / f"{title}.md").write_text((project / f"{name}.md").read_text(encoding="utf-8"), encoding="utf-8")


def _claims(companion):
    """One table of all claims, each with a link to the cell that makes it."""
    rows = []
    for notebook in companion:
        for row in notebook.claims:
            link = f'<a href="notebooks/{notebook.name}.html#cell-{row["cell"]}">{notebook.title.split(" · ")[0]}</a>'
            cells = [("", link), ("", html.escape(row["statement"]))]
            cells += [("number", html.escape(row[column])) for column in ("stated", "measured")] + [("", html.escape(row["source"]))]
            rows.append("<tr>" + "".join(f'<td class="{kind}">{text}</td>' for kind, text in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("notebook", "statement", "stated", "measured", "source"))
    return f"""# Claims

Every number and verdict that a notebook tells in its opening and its take-aways is a claim: a cell measures it, and the notebook stops
where the measurement no longer bears out what is written. All {len(rows)} of them, what is stated beside what was measured; the number
of the notebook leads to the cell. `make claims` prints the same table in a terminal.

```{{raw}} html
<div class="claims-tools"><input type="search" id="claims-search" placeholder="Words or numbers, e.g. PePG uniform" aria-label="Search the claims"/>
<span id="claims-count" role="status">{len(rows)} claims</span></div>
<div class="claims-scroll"><table class="claims" id="claims"><thead><tr>{head}</tr></thead><tbody>
{chr(10).join(rows)}
</tbody></table></div>
```
"""


def _gallery(companion):
    """Every published figure, under the notebook that draws it."""
    sections = []
    for notebook in companion:
        figures = [
            stored.figure(file, notebook.manifest, f"{notebook.title}: figure {k}", "", f"notebooks/{notebook.name}.html")
            for k, file in enumerate(notebook.figures, 1)
        ]
        if figures:
            section = f"## [{notebook.title}](notebooks/{notebook.name}.ipynb)\n\n"
            sections.append(section + '```{raw} html\n<div class="gallery">\n' + "\n".join(figures) + "\n</div>\n```\n")
    count = sum(len(notebook.figures) for notebook in companion)
    text = f"All {count} figures, each with its PDF, its PNG and the data behind it. A picture leads to the notebook that draws it."
    return f"# Gallery\n\n{text}\n\n" + "\n".join(sections)
