"""Reports in HTML, Markdown, LaTeX and Python, with everything that comes from data escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from interlace.core.families import NegativeBinomial
from interlace.estimate.control import Control
from interlace.results.text import latex_escape

if TYPE_CHECKING:
    import jinja2

    from interlace.reporting.tables import Table

__all__ = ["escape_markdown", "latex_document_part", "render", "require_jinja2", "rerun_call"]

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")
_NEGATIVE = re.compile(r"-(?=[\d.∞])")
#: Arguments of a call in the order of the signature, with what they are when nothing is given.
_DEFAULTS = {
    "link": None,
    "nAGQ": 1,
    "method": None,
    "weights": None,
    "offset": None,
    "optimizer": "auto",
    "covariance": None,
    "contrasts": None,
    "df_method": None,
    "na_action": "drop",
}


class _Verbatim(str):
    """Text that is Markdown already."""


def escape_markdown(text: str) -> str:
    r"""Text in which no character is special to Markdown, on one line.

    Examples
    --------
    >>> print(escape_markdown("a_b | <c>"))
    a\_b \| \<c\>
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _for_markdown(value: Any) -> Any:
    return value if isinstance(value, _Verbatim) else escape_markdown(str(value))


def _fenced(text: str) -> _Verbatim:
    """A block of code, fenced by more backticks than the text has in a row."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return _Verbatim(f"{fence}text\n{text}\n{fence}")


def _with_minus(text: str) -> str:
    """A number with a minus sign in place of the hyphen."""
    return _NEGATIVE.sub("−", text, count=1) if _NEGATIVE.match(text) else text  # noqa: RUF001


def require_jinja2() -> Any:
    """Import jinja2, or say how to install it."""
    try:
        import jinja2
    except ImportError as error:
        raise ImportError('reports need jinja2: pip install "interlace-lme[report]"') from error
    return jinja2


@lru_cache(maxsize=3)
def _environment(language: str) -> jinja2.Environment:
    jinja = require_jinja2()
    options: dict[str, Any] = {"undefined": jinja.StrictUndefined, "keep_trailing_newline": True}
    loader = jinja.FunctionLoader(_source)
    if language == "html":
        from markupsafe import Markup

        html: jinja2.Environment = jinja.Environment(loader=loader, autoescape=True, **options)
        html.filters |= {"verbatim": Markup, "minus": _with_minus}
        return html
    # What is not HTML has no use for HTML's escapes: Markdown has its own, and Python gets literals.
    finalize = _for_markdown if language == "md" else str
    text: jinja2.Environment = jinja.Environment(loader=loader, autoescape=False, finalize=finalize, **options)
    text.filters |= {"verbatim": _Verbatim, "code": _fenced}
    return text


def _source(name: str) -> str:
    return (files("interlace.reporting") / "templates" / name).read_text(encoding="utf-8")


def render(name: str, context: Mapping[str, Any]) -> str:
    """Fill in a template.

    Parameters
    ----------
    name : str
        ``report.html``, ``report.md`` or ``rerun.py``.
    context : mapping

    Returns
    -------
    str

    Raises
    ------
    ImportError
        jinja2 is not there.
    """
    environment = _environment(name.rpartition(".")[2])
    text = environment.get_template(f"{name}.jinja").render(**context, style=_source("style.css"))
    return re.sub(r"\n{3,}", "\n\n", text) if name.endswith(".md") else text


def rerun_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Write a call of the library from its record: the function, and its arguments as Python."""
    given = call["call"]
    arguments = [repr(call["formula"]), "data"]
    function = "fit"
    if call["model"] == "glmm":
        function = "glmer_nb" if given["free_theta"] else "glmer"
        if not given["free_theta"]:
            arguments.append(f"family={_family(given['family'])}")
    for name, default in _DEFAULTS.items():
        if name in given and given[name] != default:
            arguments.append(f"{name}={given[name]!r}")
    if call["control"] is not None:
        plain = Control()
        changed = [f"{name}={value!r}" for name, value in call["control"].items() if value != getattr(plain, name)]
        arguments.append(f"control=interlace.Control({', '.join(changed)})")
    return {"function": function, "arguments": arguments}


def _family(family: str | Mapping[str, float]) -> str:
    if isinstance(family, str):
        return repr(family)
    return f"interlace.families.{NegativeBinomial.__name__}(theta={family['theta']!r})"


def latex_document_part(tables: Sequence[Table], caption: str) -> str:
    r"""Write a ``table`` environment for a document that loads booktabs, with tables below each other."""
    parts = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{latex_escape(caption)}}}",
        r"\label{tab:interlace}",
    ]
    for number, table in enumerate(tables):
        if number:
            parts.append(r"\par\medskip")
        parts.append(table.to_latex())
        if table.note:
            parts.append(rf"\par\smallskip {{\footnotesize {latex_escape(table.note)}}}")
    head = "% Needs \\usepackage{booktabs} and, for text with accents, an engine that reads UTF-8.\n"
    return head + "\n".join([*parts, r"\end{table}"]) + "\n"
