"""Sphinx settings: `make docs` builds into site/."""

from __future__ import annotations

import os
import sys
import tomllib
from datetime import date
from importlib.metadata import version as installed_version
from importlib.resources import files
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
    "matplotlib.sphinxext.plot_directive",
]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = [
    "generated/datasets.md",
    "generated/tolerances.md",
    "generated/inference_tolerances.md",
    "generated/diagnostics_tolerances.md",
    "generated/parity_report.md",
]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# The gallery is drawn from the code on its page.
plot_include_source = True
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 90)]

html_theme = "furo"
html_title = f"interlace {release}"


GENERATED = Path(__file__).resolve().parent / "generated"


def write_table(name: str, heading: list[str], rows: list[list[str]]) -> None:
    """Write a Markdown table that a page includes."""
    lines = [heading, ["---"] * len(heading), *rows]
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    GENERATED.mkdir(exist_ok=True)
    (GENERATED / f"{name}.md").write_text(text + "\n", "utf-8")


def write_dataset_table() -> None:
    """The packaged data sets, so that the table cannot disagree with the package."""
    from interlace import datasets

    rows = []
    for about in map(datasets.describe, datasets.names()):
        content = f"{about.title}. {about.citation}"
        model = f"`{about.typical_model}`" + ("" if about.family == "gaussian" else f" ({about.family})")
        rows.append([about.name, str(about.rows), content, model, about.source])
    write_table("datasets", ["name", "rows", "content", "typical model", "from"], rows)


def write_tolerance_tables() -> None:
    """The limits of the comparison with lme4, and with R's packages for tests and intervals, with their reasons."""
    from interlace.rbridge.agreement import limits

    text = (files("interlace.rbridge") / "tolerances.toml").read_text("utf-8")
    tables = {"tolerances": limits()}
    tables |= {f"{part}_tolerances": tomllib.loads(text)[part] for part in ("inference", "diagnostics")}
    for table, entries in tables.items():
        rows = [
            [name.replace("_", " "), f"{entry['limit']:.0e}" if entry["limit"] else "0", entry["unit"], entry["reason"]]
            for name, entry in entries.items()
        ]
        write_table(table, ["quantity", "limit", "in units of", "why"], rows)


def write_parity_report() -> None:
    """The last report of `make parity`, without its title and its longest table; none is made for the pages."""
    report = GENERATED.parents[1] / "parity" / "out" / "report.md"
    text = "No report was there when these pages were built: `make parity` writes one.\n"
    if report.exists():
        made = date.fromtimestamp(report.stat().st_mtime).isoformat()
        body = report.read_text("utf-8").partition("\n## All quantities")[0].partition("\n")[2]
        text = f"Made on {made}.\n{body}\n"
    (GENERATED / "parity_report.md").write_text(text, "utf-8")


write_dataset_table()
write_tolerance_tables()
write_parity_report()
