"""Sphinx settings: `make docs` builds into site/."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

project = "interlace"
author = "The interlace developers"
copyright = author  # Sphinx reads this name
version = release = installed_version("interlace-lme")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["generated/datasets.md"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
suppress_warnings = ["myst.xref_missing"]

html_theme = "furo"
html_title = f"interlace {release}"


def write_dataset_table() -> None:
    """Write the table of packaged data sets, so that it cannot disagree with the package."""
    from interlace import datasets

    lines = ["| name | rows | content | typical model | from |", "|---|---|---|---|---|"]
    for name in datasets.names():
        about = datasets.describe(name)
        model = about.typical_model.replace("|", "\\|")
        lines.append(f"| {name} | {about.rows} | {about.title}. {about.citation} | `{model}` | {about.source} |")
    target = Path(__file__).resolve().parent / "generated" / "datasets.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n", "utf-8")


write_dataset_table()
