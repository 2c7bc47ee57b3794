"""The book in a real browser, every page of it at two widths; `make test-site` runs this, and it is no part of the unit tests.

Needs Chromium on the path, or where the environment variable CHROMIUM says.
"""

import contextlib
import filecmp
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from playwright.sync_api import sync_playwright

from book import conf

SITE = Path(__file__).resolve().parent.parent / "build" / "site"
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
CHARTS = sorted(page for page in PAGES if page.startswith("explore/") and page != "explore/index.html")
TYPESET = "() => !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"
DRAWN = "() => !document.querySelector('.chart') || window.charts !== undefined"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address():
    """The site on a port of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=SITE))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def browser():
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "no Chromium found: install it, or set CHROMIUM to its path"
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(browser):
    with contextlib.closing(browser.new_context(viewport=WIDE)) as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.troubles = []
        page.on("console", lambda message: message.type in ("error", "warning") and page.troubles.append(message.text))
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("requestfailed", lambda request: page.troubles.append(f"failed: {request.url}"))
        page.on("response", lambda response: response.status >= 400 and page.troubles.append(f"{response.status}: {response.url}"))
        page.on("request", lambda request: _is_foreign(request.url) and page.troubles.append(f"foreign: {request.url}"))
        yield page


def _is_foreign(url):
    return urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).hostname != "127.0.0.1"


def _open(tab, url, size=WIDE):
    tab.troubles.clear()
    tab.set_viewport_size(size)
    tab.goto(url, wait_until="load")
    tab.wait_for_function(TYPESET)
    tab.wait_for_function(DRAWN)


@pytest.mark.parametrize("page", PAGES)
def test_page(tab, address, page):
    """Nothing fails or comes from elsewhere, every formula is typeset, pictures load, and a phone need not scroll sideways."""
    _open(tab, address + page)
    formulas = tab.locator(".math").count()
    assert tab.locator(".math mjx-container").count() >= formulas and tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    for size in (WIDE, PHONE):
        tab.set_viewport_size(size)
        wide = tab.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= size["width"], f"{wide} px on a screen of {size['width']}: {tab.evaluate(_WIDEST)}"
    broken = "async () => { for (const i of document.images) { i.loading = 'eager'; await i.decode(); }; return document.images.length }"
    tab.evaluate(broken)
    assert tab.troubles == []


_WIDEST = """() => [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
    .slice(0, 3).map((e) => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("path", sorted((SITE.parent.parent / "notebooks").glob("[0-9][0-9]*_*.ipynb")), ids=lambda path: path.stem)
def test_formulas_are_those_that_are_written(path):
    """What stands between dollars in a notebook, and nothing else, is a formula for the parser of the book, displayed or not."""
    options = {name: getattr(conf, f"myst_{name}") for name in ("enable_extensions", "dmath_double_inline")}
    parser = create_md_parser(MdParserConfig(**options), RendererHTML)
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            tokens = [token for block in parser.parse(text) for token in (block, *(block.children or [])) if token.type.startswith("math_")]
            shown = [(token.type != "math_inline", "".join(token.content.split())) for token in tokens]
            written = re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", re.sub(r"`[^`]*`", "", text), re.S)
            assert shown == [(bool(display), "".join((display or plain).split())) for display, plain in written]


class _Links(HTMLParser):
    """The targets of a page's links, and what can be linked to on it."""

    def __init__(self, page):
        super().__init__()
        self.targets, self.anchors = set(), set()
        self.feed((SITE / page).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.add(attributes.get("id"))
        if tag == "a" and "href" in attributes:
            self.targets.add(attributes["href"])


def test_every_link_leads_somewhere():
    """Inside the book: to a page or a file that is there, and to an anchor on it."""
    pages = {(SITE / page).resolve(): _Links(page) for page in PAGES}
    dead = []
    for page, links in pages.items():
        for link in links.targets:
            target, anchor = urldefrag(link)
            if urlsplit(target).scheme:
                continue
            path = page.parent.joinpath(unquote(target)).resolve() if target else page
            if not path.is_file() or (anchor and path in pages and anchor not in pages[path].anchors):
                dead.append((page.name, link))
    assert dead == []


def test_built_again_it_has_the_same_bytes(tmp_path):
    subprocess.run([sys.executable, "-m", "book.build", "--folder", str(tmp_path)], cwd=SITE.parent.parent, check=True, timeout=120)
    again = tmp_path / "site"
    files = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*") if path.is_file())
    assert files == sorted(str(path.relative_to(again)) for path in again.rglob("*") if path.is_file())
    assert [name for name in files if not filecmp.cmp(SITE / name, again / name, shallow=False)] == []


def test_it_is_small():
    assert sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) < 30 * 2**20


def test_search_finds(tab, address):
    _open(tab, address + "search.html?q=performance+difference+lemma")
    tab.wait_for_selector("#search-results li")
    assert tab.locator("#search-results a[href*='02_performance_difference']").count() >= 1
    assert tab.troubles == []


@pytest.mark.parametrize("page", CHARTS)
def test_every_slider_changes_its_chart(tab, address, page):
    _open(tab, address + page)
    charts = tab.locator(".chart")
    for k in range(charts.count()):
        chart = charts.nth(k)
        inputs = chart.locator("input[type=range], select, input[type=radio]:not(:checked)")
        assert inputs.count() > 0
        for i in range(inputs.count()):
            before = chart.locator("canvas").evaluate("(canvas) => canvas.toDataURL()")
            inputs.nth(i).evaluate(_MOVE)
            tab.wait_for_function(
                "([place, before]) => place.querySelector('canvas').toDataURL() !== before", arg=[chart.element_handle(), before]
            )
    assert tab.troubles == []


_MOVE = """(input) => {
    if (input.type === 'radio') { input.click(); return; }
    if (input.tagName === 'SELECT') input.selectedIndex = (input.selectedIndex + 1) % input.options.length;
    else input.value = +input.value > +input.min ? +input.value - +input.step : +input.value + +input.step;
    for (const kind of ['input', 'change']) input.dispatchEvent(new Event(kind, { bubbles: true }));
}"""


def test_a_click_starts_an_ascent_that_ends_at_the_optimum(tab, address):
    _open(tab, address + "explore/landscape.html")
    area = tab.locator("#landscape canvas").bounding_box()
    said = tab.locator(".chart-result")
    before = said.text_content()
    tab.mouse.click(area["x"] + 0.35 * area["width"], area["y"] + 0.3 * area["height"])
    tab.wait_for_function("(before) => document.querySelector('.chart-result').textContent !== before", arg=before)
    assert "comes to (0.22, 0.53), worth 1.23" in said.text_content()


def test_theme_switch(tab, address):
    _open(tab, address + "index.html")
    colour = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for mode in ("light", "dark"):
        tab.locator(".theme-switch-button:visible").first.click()
        tab.locator(f".theme-change-button[data-mode={mode}]").click()
        tab.wait_for_function("(mode) => document.documentElement.dataset.theme === mode", arg=mode)
        seen[mode] = tab.evaluate(colour)
    assert seen["light"] != seen["dark"]
    assert tab.troubles == []


def test_claims_are_searched(tab, address):
    _open(tab, address + "claims.html")
    everything = tab.locator("#claims tbody tr:visible").count()
    tab.fill("#claims-search", "best response promises")
    assert 0 < tab.locator("#claims tbody tr:visible").count() < everything
    tab.locator("#claims tbody tr:visible a").first.click()
    tab.wait_for_url("**/notebooks/00_overview.html#cell-*")
    assert tab.locator(".claims-here").count() > 0


def test_code_of_an_experiment_is_folded_and_opens(tab, address):
    _open(tab, address + "notebooks/18_strength.html")
    folded = tab.locator("main .cell details").first
    assert folded.get_attribute("open") is None
    folded.locator("summary").click()
    assert folded.locator("pre").first.is_visible()


def test_a_notebook_can_be_downloaded(tab, address):
    _open(tab, address + "notebooks/18_strength.html")
    link = tab.locator("a[href$='18_strength.ipynb']").first.get_attribute("href")
    assert tab.evaluate("(link) => fetch(link).then((answer) => answer.json()).then((n) => n.cells.length)", link) > 10


def test_own_environment_is_three_clicks_away(tab, address):
    """As a new user would: from the front page to the template."""
    _open(tab, address + "index.html")
    tab.locator("main a:has-text('an environment of your own')").click()
    tab.locator("main a:has-text('21 · Your own environment')").first.click()
    assert "21_your_own_environment" in tab.url
