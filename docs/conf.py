"""Sphinx configuration."""

from vsrq import __version__

project = "vsrq"
author = "the vsrq authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
exclude_patterns = ["_build", "residual"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
