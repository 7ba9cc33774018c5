"""The model that a command is about: its options, and the fit that they ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from interlace.reporting.files import read_table

if TYPE_CHECKING:
    from interlace.results.glmm import GLMMResult
    from interlace.results.lmm import LMMResult

__all__ = ["ModelOptions", "takes_model"]

#: Names of the family whose theta is estimated.
_ESTIMATED = ("nb", "negbin", "negative-binomial", "negative.binomial")


@dataclass(frozen=True)
class ModelOptions:
    """Arguments and options of every command that fits a model."""

    formula: Annotated[str, typer.Argument(help='The model, such as "y ~ x + (1 + x | group)".', show_default=False)]
    data: Annotated[Path, typer.Argument(help="A CSV, TSV or Parquet file.", show_default=False)]
    groups: Annotated[
        list[str] | None, typer.Option(help="Column for random intercepts, (1 | GROUPS); may be repeated.")
    ] = None
    family: Annotated[
        str | None,
        typer.Option(help="binomial, poisson, Gamma, inverse.gaussian, gaussian, or nb; a linear model without it."),
    ] = None
    link: Annotated[str | None, typer.Option(help="Link of a generalized model.")] = None
    nagq: Annotated[int | None, typer.Option("--nagq", help="Quadrature nodes of a generalized model.")] = None
    method: Annotated[str | None, typer.Option(help="REML (the default) or ML, for a linear model.")] = None
    df_method: Annotated[
        str | None, typer.Option(help="satterthwaite (the default), kenward-roger, residual or normal.")
    ] = None
    weights: Annotated[str | None, typer.Option(help="Column of weights, or of numbers of trials.")] = None
    offset: Annotated[str | None, typer.Option(help="Column of an offset.")] = None
    optimizer: Annotated[str | None, typer.Option(help="auto (the default), lbfgsb or bobyqa.")] = None

    def fit(self) -> LMMResult | GLMMResult:
        """Read the file and fit the model."""
        from interlace.api import fit, glmer, glmer_nb

        if self.family is None:
            for option, given in (("--link", self.link), ("--nagq", self.nagq)):
                if given is not None:
                    raise ValueError(f"{option} is for generalized models: name their --family too")
        frame = read_table(self.data)
        arguments: dict[str, Any] = {
            "groups": self.groups or None,
            "link": self.link,
            "nAGQ": self.nagq,
            "method": self.method,
            "df_method": self.df_method,
            "weights": self.weights,
            "offset": self.offset,
            "optimizer": self.optimizer,
        }
        options = {name: value for name, value in arguments.items() if value is not None}
        if self.family is None:
            return fit(self.formula, frame, **options)
        if self.family.casefold() in _ESTIMATED:
            return glmer_nb(self.formula, frame, **options)
        return glmer(self.formula, frame, self.family, **options)


def takes_model(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the arguments and options of a model in place of its first parameter, ``model``."""

    @wraps(command)
    def with_options(**given: Any) -> int:
        own = {name: given.pop(name) for name in list(given) if name in parameters}
        return command(ModelOptions(**given), **own)

    hints = get_type_hints(command, include_extras=True)
    _, *rest = inspect.signature(command).parameters.values()
    parameters = {parameter.name: parameter.replace(annotation=hints[parameter.name]) for parameter in rest}
    of_model = inspect.signature(ModelOptions).parameters.values()
    all_hints = get_type_hints(ModelOptions, include_extras=True)
    combined = [parameter.replace(annotation=all_hints[parameter.name]) for parameter in of_model]
    combined += parameters.values()
    combined.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    with_options.__signature__ = inspect.Signature(combined, return_annotation=int)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in combined} | {"return": int}
    return with_options
