"""Fitting the models of a report again, and saying which of its printed digits hold."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlace.errors import ConvergenceWarning, InterlaceError
from interlace.reporting.bundle import digest_of_models
from interlace.reporting.comparison import named
from interlace.reporting.data import column_hash
from interlace.reporting.environment import environment
from interlace.reporting.numbers import from_json, leaves, numbers_of
from interlace.reporting.stored import ModelData, data_from, model_data, read_results
from interlace.results.call import GlmerCall
from interlace.results.glmm import glmer_call
from interlace.results.lmm import fit_call
from interlace.results.persist import restored_call

if TYPE_CHECKING:
    import pandas as pd

    from interlace.results.intervals import Intervals

__all__ = ["NumberCheck", "Verification", "verify", "verify_results"]

#: In units of the last printed digit: half of one, and as much again as rounding to the nearest may miss at a tie.
_HALF = 0.501
_MOST_DIGITS = 16.0
_MOST_LISTED = 20


@dataclass(frozen=True)
class NumberCheck:
    """One printed number.

    Attributes
    ----------
    model : str
    path : tuple of str
        Where it is in the record: ``("coefficients", "Days", "estimate")``.
    printed : str
        Its text in the report.
    found : float
        What fitting again gave; not a number where it gave none.
    digits : float
        How many significant digits of the stored number and the one found agree.
    holds : bool
        Whether the number found and the stored one both round to what is printed.
    """

    model: str
    path: tuple[str, ...]
    printed: str
    found: float
    digits: float
    holds: bool


@dataclass(frozen=True)
class Verification:
    """What was found when the models of a report were fitted again.

    Attributes
    ----------
    numbers : tuple of NumberCheck
        Every printed number.
    problems : tuple of str
        What is wrong besides: data or files that were changed, models that cannot be fitted.
    notes : tuple of str
        What is different without being wrong: versions, files that are not there.
    """

    numbers: tuple[NumberCheck, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all printed digits hold, and nothing was changed."""
        return not self.problems and bool(self.numbers) and all(check.holds for check in self.numbers)

    @property
    def digits(self) -> float:
        """Significant digits to which all numbers agree with the stored ones."""
        return min((check.digits for check in self.numbers), default=math.nan)

    def __str__(self) -> str:
        lines = [f"problem: {text}" for text in self.problems]
        failed = [check for check in self.numbers if not check.holds]
        for check in failed[:_MOST_LISTED]:
            where = f"{check.model}: {' / '.join(check.path)}"
            lines.append(f"does not hold: {where}: printed {check.printed}, found {check.found:.10g}")
        if len(failed) > _MOST_LISTED:
            lines.append(f"... and {len(failed) - _MOST_LISTED} more")
        lines += [f"note: {text}" for text in self.notes]
        held = len(self.numbers) - len(failed)
        verdict = "verified" if self.holds else "NOT VERIFIED"
        digits = f"; the stored numbers agree to {self.digits:.0f} digits or more" if self.numbers else ""
        lines.append(f"{verdict}: {held} of {len(self.numbers)} printed numbers hold{digits}")
        return "\n".join(lines)

    def to_frame(self) -> pd.DataFrame:
        """One row a printed number: ``model, number, printed, found, digits, holds``."""
        import pandas as pd

        rows = [(c.model, " / ".join(c.path), c.printed, c.found, c.digits, c.holds) for c in self.numbers]
        return pd.DataFrame(rows, columns=["model", "number", "printed", "found", "digits", "holds"])


def verify(out_dir: str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> Verification:
    """Fit the models of a report again, and say which of its printed digits hold.

    Parameters
    ----------
    out_dir : str or path-like
        What `interlace.report` wrote.
    data : str or path-like, optional
        A CSV or Parquet file with the columns of the models, instead of the data file of the report.

    Returns
    -------
    Verification
        ``holds`` is the verdict; ``str()`` lists what does not hold.

    Raises
    ------
    DataError
        The folder holds no report, or one of a later version.

    Notes
    -----
    A printed number holds if the one found lies within half a unit of its last digit (a thousandth of a unit more is
    allowed for ties). Besides, the data must have the hash that the report gives, and its files must be as they were
    written; a file that is missing is only noted.

    Examples
    --------
    >>> import interlace, pathlib, tempfile
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = interlace.report(result, pathlib.Path(folder, "dyestuff"), check_r=False)
    ...     print(interlace.verify(written.folder))
    verified: 21 of 21 printed numbers hold; the stored numbers agree to ... digits or more
    """
    record = read_results(out_dir)
    problems, notes = _files(Path(out_dir), record)
    numbers: list[NumberCheck] = []
    for model in record["models"]:
        try:
            held = data_from(out_dir, model["data"], data)
            problems += _changed(model, held)
            result = _refitted(model["call"], held)
            numbers += _compared(model, result)
        except InterlaceError as error:
            problems.append(f"{model['name']} cannot be fitted again: {error}")
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problems.append(f"what results.json says of {model['name']} is damaged ({type(error).__name__}: {error})")
    return Verification(tuple(numbers), tuple(problems), tuple(notes))


def verify_results(out_dir: str | os.PathLike[str], results: Sequence[Intervals]) -> Verification:
    """Compare fits that were made by other means with the models of a report; ``rerun.py`` does this.

    Parameters
    ----------
    out_dir : str or path-like
    results : sequence of LMMResult or GLMMResult
        One a model, in the order of the report.

    Returns
    -------
    Verification

    Raises
    ------
    DataError
        The folder holds no report.
    ValueError
        There are not as many results as models.
    """
    record = read_results(out_dir)
    models = record["models"]
    given = list(named(results).values())
    if len(given) != len(models):
        raise ValueError(f"there are {len(given)} results for the {len(models)} models of the report")
    problems, notes = _files(Path(out_dir), record)
    numbers: list[NumberCheck] = []
    for model, result in zip(models, given, strict=True):
        problems += _changed(model, model_data(result)[0])
        numbers += _compared(model, result)
    return Verification(tuple(numbers), tuple(problems), tuple(notes))


def _files(folder: Path, record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What is wrong with the files of the report, and what is only different."""
    problems, notes = [], []
    if digest_of_models(record["models"]) != record["sha256_of_models"]:
        problems.append("results.json was changed after it was written")
    for name, digest in record["sha256_of_files"].items():
        path = folder / name
        if not path.is_file():
            notes.append(f"{name} is not there")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            problems.append(f"{name} was changed after it was written")
    here, there = environment(), record["environment"]
    for name, version in there.get("packages", {}).items():
        if here["packages"].get(name) != version:
            notes.append(f"the report was written with {name} {version}, here is {here['packages'].get(name)}")
    return problems, notes


def _changed(model: Mapping[str, Any], held: ModelData) -> Iterator[str]:
    """Which columns are not what the report says."""
    record = model["data"]
    if held.rows != record["rows"]:
        yield f"the data of {model['name']} have {held.rows} complete rows, in the report {record['rows']}"
    changed = [
        column["name"]
        for column in record["columns"]
        if column_hash(held.texts.get(column["name"], ())) != column["sha256"]
    ]
    if changed:
        named_columns = ", ".join(map(repr, changed))
        yield f"the data of {model['name']} are not those of the report: other values in {named_columns}"


def _refitted(call: Mapping[str, Any], held: ModelData) -> Intervals:
    again = restored_call(call, held.frame(), {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report has said what there is to say of the fit
        return glmer_call(again) if isinstance(again, GlmerCall) else fit_call(again)


def _compared(model: Mapping[str, Any], result: Intervals) -> Iterator[NumberCheck]:
    bootstrap = model["numbers"].get("bootstrap", {}).get("replicates", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = dict(leaves(numbers_of(result, bootstrap=bootstrap)))
    stored = dict(leaves(from_json(model["numbers"])))
    for *keys, text in model["printed"]:
        path = tuple(keys)
        value = float(found.get(path, math.nan))
        known = float(stored.get(path, math.nan))
        holds = _holds(text, value) and _holds(text, known)
        yield NumberCheck(model["name"], path, text, value, _digits(known, value), holds)


def _holds(text: str, value: float) -> bool:
    """Whether a number rounds to its printed text."""
    if text in ("", "∞", "-∞"):
        return text == {math.inf: "∞", -math.inf: "-∞"}.get(value, "" if math.isnan(value) else None)
    if text.startswith("<"):
        return value < float(text[1:])
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 10.0 ** ((int(exponent) if exponent else 0) - decimals)
    return abs(value - float(text)) <= _HALF * unit


def _digits(stored: float, found: float) -> float:
    """Number of significant digits in which two numbers agree."""
    if stored == found or (math.isnan(stored) and math.isnan(found)):
        return _MOST_DIGITS
    if not (math.isfinite(stored) and math.isfinite(found)):
        return 0.0
    relative = abs(stored - found) / max(abs(stored), abs(found))
    return min(_MOST_DIGITS, max(0.0, -math.log10(relative)))
