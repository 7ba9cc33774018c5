"""The commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from scipy.linalg import LinAlgWarning

from interlace.cli.model import ModelOptions, takes_model
from interlace.cli.output import complain, print_json, print_table, print_text, warnings_on_stderr
from interlace.errors import ConvergenceWarning, InterlaceError, RankDeficiencyWarning
from interlace.results.persist import library_version

__all__ = ["app", "run"]

YES, NO, CANNOT, NOT_INSTALLED = 0, 1, 2, 3
#: What a summary says among its notes.
_IN_SUMMARY = (ConvergenceWarning, RankDeficiencyWarning, LinAlgWarning)
#: The wrong options and arguments of every version of typer.
_USAGE_ERROR: type[Any] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="interlace",
    help="Mixed-effects models, every number checked against R.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit status: 0 yes; 1 no (not converged, digits do not hold, R differs); 2 impossible; 3 not installed.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.callback(invoke_without_command=True)
def version_of(
    version: Annotated[bool, typer.Option("--version", help="Write the version and stop.")] = False,
) -> int:
    """Mixed-effects models, every number checked against R."""
    if version:
        print_text(f"interlace {library_version()}")
        raise typer.Exit(YES)
    return YES


@app.command("fit")
@takes_model
def fit(model: ModelOptions, as_json: AsJson = False) -> int:
    """Fit a model and show its summary."""
    from interlace.reporting.numbers import numbers_of

    with warnings_on_stderr(*_IN_SUMMARY):
        result = model.fit()
        if as_json:
            found = {"formula": result.formula, "converged": result.converged, "singular": result.is_singular}
            checks = [
                {"severity": check.severity, "check": check.code, "term": check.term, "message": check.message}
                for check in result.checks
            ]
            print_json({**found, "checks": checks, "numbers": numbers_of(result, influence=False)})
        else:
            print_text(result.summary())
    return YES if result.converged else NO


@app.command("report")
@takes_model
def report(
    model: ModelOptions,
    out_dir: Annotated[Path, typer.Argument(help="The folder to write.", show_default=False)],
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    check_r: Annotated[
        bool | None, typer.Option("--check-r/--no-check-r", help="Fit in R too; by default where R is there.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Replicates for intervals of all parameters.", min=0)] = 0,
    with_data: Annotated[bool, typer.Option("--data/--no-data", help="Copy the columns used into the report.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report.")] = False,
) -> int:
    """Fit a model and write a report that others can check."""
    from interlace.reporting.bundle import report as write

    asked: Literal["auto"] | bool = "auto" if check_r is None else check_r
    with warnings_on_stderr():
        result = model.fit()
        written = write(
            result, out_dir, title=title, check_r=asked, bootstrap=bootstrap, data=with_data, overwrite=overwrite
        )
    for name in written.files:
        print_text(written.folder / name)
    return YES if result.converged else NO


@app.command("verify")
def verify(
    out_dir: Annotated[Path, typer.Argument(help="A folder that `report` wrote.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option(help="A file with the columns of the models, instead of the report's own.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Fit the models of a report again, and say which printed digits hold."""
    from interlace.reporting.verification import verify as check

    with warnings_on_stderr():
        found = check(out_dir, data)
    if as_json:
        numbers = [
            {"model": one.model, "path": list(one.path), "printed": one.printed, "found": one.found}
            | {"digits": one.digits, "holds": one.holds}
            for one in found.numbers
        ]
        lists = {"problems": list(found.problems), "notes": list(found.notes), "numbers": numbers}
        print_json({"holds": found.holds, **lists})
    else:
        print_text(found)
    return YES if found.holds else NO


@app.command("check-r")
@takes_model
def check_r(model: ModelOptions, as_json: AsJson = False) -> int:
    """Fit a model here and in R's lme4, and compare all numbers."""
    from interlace.rbridge.check import check
    from interlace.reporting.agreement import Agreement

    with warnings_on_stderr():
        result = model.fit()
        table = check(result)
    if as_json:
        print_json({"formula": result.formula, **Agreement(table).record()})
    else:
        print_text(table)
    return YES if table.agrees else NO


@app.command("datasets")
def datasets(
    name: Annotated[str | None, typer.Argument(help="Describe this one.", show_default=False)] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the data set to this CSV file.")] = None,
) -> int:
    """List the packaged data sets, describe one, or write one to a file."""
    from interlace import datasets as packaged

    if name is None:
        if csv is not None:
            raise ValueError("--csv needs the name of a data set")
        about = [packaged.describe(one) for one in packaged.names()]
        print_table(
            ("name", "rows", "content", "typical model"),
            [(one.name, str(one.rows), one.title, one.typical_model) for one in about],
        )
        return YES
    if csv is not None:
        packaged.load(name).to_csv(csv, index=False)
    print_text(packaged.describe(name))
    return YES


@app.command("demo")
def demo() -> int:
    """Fit two models to packaged data, and compare with R where it is there."""
    from interlace import rbridge
    from interlace.cli.demonstration import fitted_models

    agrees = True
    for call, result in fitted_models():
        print_text(f">>> {call}\n{result.summary()}\n")
        if rbridge.available():
            table = rbridge.check(result)
            agrees = agrees and table.agrees
            print_text(f"{str(table).splitlines()[0]}: largest differences of {len(table.rows)} quantities in limits\n")
        else:
            print_text("R with lme4 is not here, so nothing was compared\n")
    return YES if agrees else NO


def run(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process by default.

    Returns
    -------
    int
        Exit status, see `interlace.cli`.

    Examples
    --------
    >>> run(["datasets", "Penicillin"])
    Penicillin: ...
    0
    """
    try:
        status: Any = app(arguments, prog_name="interlace", standalone_mode=False)
    except ImportError as error:
        complain(f"error: {error}")
        return NOT_INSTALLED
    except BrokenPipeError:  # who reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return YES
    except (InterlaceError, ValueError, TypeError, OSError) as error:
        complain(f"error: {error}")
        return CANNOT
    except typer.Abort:
        return CANNOT
    except Exception as error:
        if not isinstance(error, _USAGE_ERROR):
            raise
        if said := error.format_message():  # nothing where help was shown instead
            complain(f"error: {said} (interlace --help shows commands and options)")
        return CANNOT
    return int(status or YES)
