"""Sphinx's configuration of the book; `build.py` stages its pages and calls it."""

import pepg

project = "Performative policy gradient, checkable"
author = "the authors of the companion"
copyright = author
version = release = pepg.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "book.docstrings"]
templates_path = []

# Notebooks as they are stored, never executed.
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_dmath_double_inline = True  # a displayed formula may stand within a paragraph, as in Jupyter
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a notebook may skip a level of headings

# Docstrings as they are written; members are listed by the pages themselves.
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 140  # a longer one has a line for each of its arguments

# Everything from this machine: no font, script or style comes from elsewhere.
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}

html_theme = "sphinx_book_theme"
html_title = "Performative policy gradient"
html_favicon = "static/favicon.svg"
html_use_index = False
html_context = {"default_mode": "auto"}
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = [("book.js", {"defer": "defer"})]
html_copy_source = True
html_sourcelink_suffix = ""
html_show_sphinx = False
html_last_updated_fmt = None
html_theme_options = {
    "use_download_button": True,
    "use_fullscreen_button": False,
    "home_page_in_toc": False,
    "navbar_persistent": [],  # the search stands in the sidebar
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
