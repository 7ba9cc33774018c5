"""Tables of results by the maketables package.

``maketables.ETable([result, other])`` takes results as they are, for it finds the names that statsmodels has. It then
knows nothing of random effects; `as_maketables` hands it a result by its plug-in format, with standard deviations of
the random effects among the statistics. Nothing of maketables is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from interlace.results.arguments import state_of_result
from interlace.results.tables import coefficient_table
from interlace.results.varcorr import variance_table

if TYPE_CHECKING:
    import pandas as pd

    from interlace.results.members import Members

__all__ = ["MakeTablesModel", "as_maketables"]

#: Statistics at the foot of a table, with their labels.
_STATISTICS = {"N": "Observations", "ll": "Log-likelihood", "aic": "AIC", "bic": "BIC"}


@dataclass(frozen=True)
class MakeTablesModel:
    """A result in the plug-in format of maketables.

    The format is described at https://github.com/py-econometrics/maketables (PLUGIN_EXTRACTOR_FORMAT.md).
    """

    result: Members

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        """Coefficients with the columns ``b, se, t, p, ci95l, ci95u``."""
        names = {"estimate": "b", "std_error": "se", "statistic": "t", "p_value": "p"}
        names |= {"conf_low": "ci95l", "conf_high": "ci95u"}
        return coefficient_table(self.result)[list(names)].rename(columns=names).rename_axis("Coefficient")

    @property
    def __maketables_depvar__(self) -> str:
        """The response."""
        return self.result.state.problem.design.response

    @property
    def __maketables_vcov_info__(self) -> dict[str, str]:
        """How the standard errors were made."""
        adjusted = self.result.call.df_method == "kenward-roger"
        return {"vcov_type": "Kenward-Roger" if adjusted else "model-based"}

    @property
    def __maketables_stat_labels__(self) -> dict[str, str]:
        """Labels of the statistics."""
        return {key: _STATISTICS.get(key, key) for key in self.statistics}

    @property
    def __maketables_default_stat_keys__(self) -> list[str]:
        """Statistics that a table has if it is not told."""
        return list(self.statistics)

    def __maketables_stat__(self, key: str) -> float | int | None:
        """One of the statistics; None for one that a mixed model does not have."""
        return self.statistics.get(key)

    @cached_property
    def statistics(self) -> dict[str, float | int]:
        """Standard deviations of random effects and residuals, levels, rows, and criteria, by their keys."""
        result = self.result
        table = variance_table(result.state).as_dataframe()
        rows = zip(table["grp"], table["var1"], table["var2"], table["sdcor"], strict=True)
        found: dict[str, float | int] = {
            "SD Residual" if name is None else f"SD {name} | {group}": float(value)
            for group, name, other, value in rows
            if other is None
        }
        found |= {f"Levels of {group}": count for group, count in result.ngroups.items()}
        return found | {"N": result.nobs, "ll": result.llf, "aic": result.aic, "bic": result.bic}


def as_maketables(result: Members) -> MakeTablesModel:
    """Hand a result to the maketables package.

    Parameters
    ----------
    result : LMMResult or GLMMResult

    Returns
    -------
    MakeTablesModel
        ``maketables.ETable([as_maketables(one), as_maketables(two)])`` makes the table.

    Raises
    ------
    TypeError
        It is no result.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> as_maketables(result).statistics["SD Intercept | Batch"].__round__(3)
    42.001
    """
    state_of_result(result)
    return MakeTablesModel(result)
