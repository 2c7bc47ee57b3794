"""What `make site` does: pages from the stored notebooks, the published figures and the docstrings, and Sphinx on them.

Nothing is executed and nothing comes from the network: the notebooks are shown with the outputs that they are stored with, MathJax
and Vega are copied out of installed packages. The pages are staged under build/book/ and the site is built afresh, so that two builds
of the same project have the same bytes.
"""

import argparse
import re
import shutil
import sys
from importlib.metadata import files
from pathlib import Path

import vl_convert
from sphinx.cmd.build import build_main

from . import charts, pages, reference, stored

BOOK = Path(__file__).resolve().parent
PROJECT = BOOK.parent
LINKED = re.compile(r'(?:href|src)="(?:\.\./)*figures/([^"#]+)"')
DATA = re.compile(r'(<script type="application/json"[^>]*>).*?(</script>)', re.DOTALL)


def stage(source):
    """Write every page of the book, and the scripts that it needs, to the folder `source`."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    shutil.copy(BOOK / "conf.py", source)
    shutil.copytree(BOOK / "static", source / "static")
    companion = stored.companion(PROJECT)
    for notebook in companion:
        notebook.stage(source / "notebooks")
    pages.stage(PROJECT, source, companion)
    charts.stage(PROJECT, source)
    reference.stage(source)
    _mathjax(source / "static" / "mathjax")
    _vega(source / "static" / "vega")


def _mathjax(folder):
    """One file that typesets everything, and its licence."""
    folder.mkdir()
    wanted = {"mathjax/static/mathjax/es5/tex-svg-full.js", "LICENSE"}
    for file in files("django-static-mathjax"):
        if str(file) in wanted or (file.name in wanted and file.parent.name.endswith("info")):
            shutil.copy(file.locate(), folder / file.name)


def _vega(folder):
    """Vega, Vega-Lite and their embedding, as one module whose export is `vegaEmbed`."""
    folder.mkdir()
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed; window.dispatchEvent(new Event('vega'));")
    (folder / "vega.js").write_text(bundle, encoding="utf-8")


def publish(site, companion):
    """Beside the pages: every published file that one of them shows or links to, and each notebook for download.

    Neither maps of the theme's sources nor the data of a chart a second time.
    """
    for path in [*site.rglob("*.map"), site / "_static" / "locales"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    linked = {file for page in site.rglob("*.html") for file in LINKED.findall(page.read_text(encoding="utf-8"))}
    (site / "figures").mkdir()
    for file in sorted(linked):
        shutil.copy(PROJECT / "figures" / file, site / "figures" / file)
    for page in (site / "_sources" / "explore").glob("*.md"):  # their data are in the page, and in figures/
        page.write_text(DATA.sub(r"\1{}\2", page.read_text(encoding="utf-8")), encoding="utf-8")
    for notebook in companion:
        notebook.write_download(site / "_sources" / "notebooks" / f"{notebook.name}.ipynb")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=PROJECT / "build", help="where book/ and site/ are made")
    folder = parser.parse_args(arguments).folder
    source, site = folder / "book" / "source", folder / "site"
    stage(source)
    shutil.rmtree(site, ignore_errors=True)
    options = ["-W", "--keep-going", "-q", "-E", "-b", "html", "-d", str(folder / "book" / "doctrees")]
    if build_main([*options, str(source), str(site)]):
        return 1
    publish(site, stored.companion(PROJECT))
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"{site / 'index.html'}: {sum(1 for _ in site.rglob('*.html'))} pages, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
