"""What the notebooks just saved, against the committed figures: the same bytes where the manifest names this platform, else the same results.

`make test` runs this after nbval has run every notebook with PEPG_OUTPUT set; it is no part of the unit tests.
"""

import json
import os
import re
from pathlib import Path

import pytest
from agreement import csv_disagreements, text_disagreements

from pepg.companion.platform import fingerprint
from pepg.experiments.files import checksum

FIGURES = Path(__file__).resolve().parent.parent / "figures"
MANIFEST = {  # of the companion's notebooks, whose names start with two digits, and not of a reader's own
    file: entry
    for file, entry in json.loads((FIGURES / "manifest.json").read_text(encoding="utf-8")).items()
    if entry["notebook"][:2].isdigit()
}


# What rests on rounding, and so differs between processors: an ascent that forks, counts of steps that decrease by rounding, half-widths
# of fits that are as small as it, and claims that something is as small.
ON_ROUNDING = re.compile(
    r"03_policy_gradient_theorem_(ascent|ends)|06a_ascent_(smoothness|sweep)|06c_entropy_linear|07_summary_results|(06a|06c|10|12|21)_\w+_claims"
)


@pytest.mark.parametrize("file", sorted(MANIFEST))
def test_regenerated(file):
    """Pictures elsewhere are not compared: they are drawn from the data, which is."""
    regenerated = Path(os.environ["PEPG_OUTPUT"]) / file
    assert regenerated.exists(), f"no notebook saved {file}"
    assert checksum(FIGURES / file) == MANIFEST[file]["sha256"]
    elsewhere = MANIFEST[file]["platform"] != fingerprint()
    if file.endswith((".csv", ".tex")) and not (elsewhere and ON_ROUNDING.match(file)):
        measured, stored = (path.read_text(encoding="utf-8") for path in (regenerated, FIGURES / file))
        disagreements = csv_disagreements if file.endswith(".csv") else text_disagreements
        assert disagreements(measured, stored) == []
    if not elsewhere:
        assert checksum(regenerated) == checksum(FIGURES / file)


def test_nothing_else_was_saved():
    saved = {path.name for path in Path(os.environ["PEPG_OUTPUT"]).iterdir() if not path.name.endswith(".record.json")}
    assert saved == set(MANIFEST)
