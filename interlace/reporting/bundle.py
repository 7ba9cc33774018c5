"""The folder that a report is: what is in each file, and how it is written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlace.errors import DataError
from interlace.reporting.comparison import named, side_by_side
from interlace.reporting.environment import created, environment
from interlace.reporting.references import bibtex, listed
from interlace.reporting.rendering import latex_document_part, render, require_jinja2, rerun_call
from interlace.reporting.sections import Section, section
from interlace.reporting.stored import FORMAT, RESULTS, VERSION
from interlace.reporting.tables import Cell, Table
from interlace.results.persist import library_version

if TYPE_CHECKING:
    from interlace.reporting.agreement import CheckR
    from interlace.results.intervals import Intervals

__all__ = ["ReportFiles", "digest_of_models", "report"]

_FIRST_IN_LATEX = 2  # fixed and random effects; the other tables are for the report


@dataclass(frozen=True)
class ReportFiles:
    """What was written.

    Attributes
    ----------
    folder : Path
    files : tuple of str
        Names within the folder.
    """

    folder: Path
    files: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.folder}: {', '.join(self.files)}"

    @property
    def html(self) -> Path:
        """The report to read."""
        return self.folder / "report.html"


def report(
    result: Intervals | Sequence[Intervals] | Mapping[str, Intervals],
    out_dir: str | os.PathLike[str],
    *,
    title: str | None = None,
    check_r: CheckR = "auto",
    bootstrap: int = 0,
    data: bool = True,
    overwrite: bool = False,
) -> ReportFiles:
    """Write a report on fitted models that others can check.

    Parameters
    ----------
    result : LMMResult or GLMMResult, or a sequence or mapping of them
        Several models are put side by side; the keys of a mapping name them.
    out_dir : str or path-like
        A folder that does not exist or is empty.
    title : str, optional
        The formula, or ``Comparison of models``, by default.
    check_r : {"auto", True, False}
        Whether to fit the models in R's lme4 too: where R is there, always, or never.
    bootstrap : int
        Replicates of a parametric bootstrap for intervals of all parameters; 0 for none.
    data : bool
        Whether to copy the columns that the models use into the folder. Without them the report has their hash, and
        who checks it needs the data from elsewhere. Labels of grouping factors are in the report all the same: levels
        of categorical columns in ``results.json``, those of influential levels in the report.
    overwrite : bool
        Whether to replace files of an earlier report in the folder. Others stay.

    Returns
    -------
    ReportFiles
        ``report.html`` (in one file, with figures), ``report.md`` and figures as PNG files, ``table.tex``,
        ``results.json``, ``rerun.py``, ``refs.bib``, and ``data.csv``.

    Raises
    ------
    ImportError
        jinja2 or matplotlib is not there, or R is not and ``check_r=True``.
    ValueError
        The folder has files in it, or a model cannot be fitted again from a file: one with functions of yours in its
        formula or family, or with another response than its data have (after ``refit``).
    TypeError
        ``result`` is no fitted model, or an argument is of another type.

    See Also
    --------
    interlace.verify : Fit the models of a report again, and say which printed digits hold.

    Examples
    --------
    >>> import interlace, pathlib, tempfile
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = interlace.report(result, pathlib.Path(folder, "dyestuff"), check_r=False)
    ...     written.html.name, interlace.verify(written.folder).holds
    ('report.html', True)
    """
    require_jinja2()
    models = _models(result)
    _check_arguments(title, check_r, bootstrap, data)
    folder = _usable(Path(out_dir), overwrite)
    where = environment()
    single = len(models) == 1
    sections = [
        section(name, fitted, where, check_r=check_r, bootstrap=bootstrap, prefix="" if single else f"model-{number}-")
        for number, (name, fitted) in enumerate(models.items(), start=1)
    ]
    headline = title or (sections[0].formula if single else "Comparison of models")
    data_files = _data_files(sections) if data else [None] * len(sections)
    contents = _contents(sections, data_files, headline, where)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    written = dict(zip(data_files, sections, strict=True))
    for file, model in written.items():
        if file is not None:
            model.data.write_csv(folder / file)
    return ReportFiles(folder, (*contents, *(file for file in written if file is not None)))


def _models(result: Any) -> dict[str, Intervals]:
    if isinstance(result, Mapping):
        return named(list(result.values()), [str(name) for name in result])
    if isinstance(result, Sequence) and not isinstance(result, str):
        return named(result)
    return named([result])


def _check_arguments(title: object, check_r: object, bootstrap: object, data: object) -> None:
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title must be text, not {type(title).__name__}")
    if check_r not in ("auto", True, False) or (isinstance(check_r, int) and not isinstance(check_r, bool)):
        raise ValueError(f"check_r must be 'auto', True or False, not {check_r!r}")
    if isinstance(bootstrap, bool) or not isinstance(bootstrap, int) or bootstrap < 0:
        raise ValueError(f"bootstrap must be a number of replicates, 0 for none, not {bootstrap!r}")
    if not isinstance(data, bool):
        raise TypeError(
            f"data must be True (copy the columns used into the report) or False, not {type(data).__name__}; "
            "a result knows its data"
        )


def _usable(folder: Path, overwrite: bool) -> Path:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"out_dir {os.fspath(folder)!r} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise DataError(
            f"the folder {os.fspath(folder)!r} has files in it: name another, or pass overwrite=True (--overwrite) to "
            "replace an earlier report"
        )
    return folder


def _data_files(sections: Sequence[Section]) -> list[str | None]:
    """Name of each model's data file; models of the same data share one."""
    hashes = [json.dumps(model.data.record(), sort_keys=True) for model in sections]
    distinct = list(dict.fromkeys(hashes))
    if len(distinct) == 1:
        return ["data.csv"] * len(sections)
    return [f"data-{distinct.index(one) + 1}.csv" for one in hashes]


def _contents(
    sections: Sequence[Section], data_files: Sequence[str | None], title: str, where: dict[str, Any]
) -> dict[str, bytes]:
    """Content of every file but the data's."""
    comparison = None
    if len(sections) > 1:
        comparison = side_by_side({model.name: model.numbers for model in sections})
    keys = dict.fromkeys(key for model in sections for key in model.prose.keys)
    moment = created()
    context = {
        "title": title,
        "version": library_version(),
        "created": moment,
        "models": sections,
        "comparison": comparison,
        "provenance": _provenance(sections, data_files, where),
        "references": listed(keys),
        "calls": [rerun_call(model.call) for model in sections],
        "has_data": None not in data_files,
    }
    in_latex = [comparison] if comparison else sections[0].tables[:_FIRST_IN_LATEX]
    texts = {name: render(name, context) for name in ("report.html", "report.md", "rerun.py")}
    texts["table.tex"] = latex_document_part(in_latex, title)
    texts["refs.bib"] = bibtex(keys) + "\n"
    contents = {name: text.encode("utf-8") for name, text in texts.items()}
    contents |= {figure.file: figure.image for model in sections for figure in model.figures}
    models = [model.record(file) for model, file in zip(sections, data_files, strict=True)]
    if comparison is not None:
        for (number, *path), text in comparison.printed.items():
            models[int(number)]["printed"].append([*path, text])
    record = {
        "format": FORMAT,
        "version": VERSION,
        "title": title,
        "created": moment,
        "environment": where,
        "models": models,
        "sha256_of_models": digest_of_models(models),
        "sha256_of_files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    return contents | {RESULTS: (text + "\n").encode("utf-8")}


def digest_of_models(models: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of what ``results.json`` says of the models, as JSON with sorted keys and without spaces."""
    text = json.dumps(models, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _provenance(sections: Sequence[Section], data_files: Sequence[str | None], where: Mapping[str, Any]) -> Table:
    rows = []
    for model, file in zip(sections, data_files, strict=True):
        data = model.data.record()
        held = f"{file}, " if file else "not copied into this report; "
        of_model = f" of {model.name}" if len(sections) > 1 else ""
        rows.append((f"Data{of_model}", f"{held}{data['rows']} rows of {len(data['columns'])} columns"))
        rows.append((f"SHA-256 of the data{of_model}", data["sha256"]))
    rows.append(("Python", where["python"]))
    rows.append(("Packages", ", ".join(f"{name} {version}" for name, version in where["packages"].items())))
    rows.append(("BLAS", ", ".join(where["blas"])))
    rows.append(("Platform", where["platform"]))
    return Table(
        "Where the numbers come from", ("", "Value"), tuple((Cell(a), Cell(b)) for a, b in rows), text_columns=2
    )
