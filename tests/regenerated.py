"""What the notebooks just saved, against the committed figures: the same bytes where the manifest names this platform, else the same results.

`make test` runs this after nbval has run every notebook with PEPG_OUTPUT set; it is no part of the unit tests.
"""

import json
import os
from pathlib import Path

import pytest
from agreement import csv_disagreements, text_disagreements

from pepg.companion.platform import fingerprint
from pepg.experiments.files import checksum

FIGURES = Path(__file__).resolve().parent.parent / "figures"
NOTEBOOKS = os.environ["PEPG_NOTEBOOKS"].split()
MANIFEST = {  # of the companion's notebooks that ran, whose names start with two digits, and not of a reader's own
    file: entry
    for file, entry in json.loads((FIGURES / "manifest.json").read_text(encoding="utf-8")).items()
    if entry["notebook"][:2].isdigit() and entry["notebook"] in NOTEBOOKS
}


@pytest.mark.parametrize("file", sorted(MANIFEST))
def test_regenerated(file):
    """Pictures elsewhere are not compared: they are drawn from the data, which is."""
    regenerated = Path(os.environ["PEPG_OUTPUT"]) / file
    assert regenerated.exists(), f"no notebook saved {file}"
    assert checksum(FIGURES / file) == MANIFEST[file]["sha256"]
    if file.endswith((".csv", ".tex")):
        measured, stored = (path.read_text(encoding="utf-8") for path in (regenerated, FIGURES / file))
        disagreements = csv_disagreements if file.endswith(".csv") else text_disagreements
        assert disagreements(measured, stored) == []
    if MANIFEST[file]["platform"] == fingerprint():
        assert checksum(regenerated) == checksum(FIGURES / file)


def test_nothing_else_was_saved():
    saved = {path.name for path in Path(os.environ["PEPG_OUTPUT"]).iterdir() if not path.name.endswith(".record.json")}
    assert saved == set(MANIFEST)
