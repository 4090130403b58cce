"""Sphinx's settings for the site: make docs. docs/index.md has its order, scripts/site what is made for it."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "daemon")]

from modaliasd import __version__  # noqa: E402

project = "modaliasd and hostbuild"
author = "The modaliasd authors"
release = __version__
extensions = ["myst_parser", "scripts.site.extension"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["man"]
nitpicky = True
smartquotes = False  # -- in running text is an option's

# docs/*.md are read on GitHub, too: its anchors of headings, its tables; lists of terms are the made pages' alone.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
myst_links_external_new_tab = False
suppress_warnings = ["misc.highlighting_failure"]  # the pages' TOML and consoles are often pieces

html_theme = "furo"
html_title = f"modaliasd and hostbuild {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
highlight_language = "none"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
