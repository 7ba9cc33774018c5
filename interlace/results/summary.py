"""The printed summary of a fit, as text, HTML and LaTeX."""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interlace.core.dispersion import ProfiledDispersion
from interlace.estimate.glmm_state import GlmmState
from interlace.results.fixed import coefficient_names, residual_df
from interlace.results.latex import booktabs
from interlace.results.rows import residuals
from interlace.results.tables import coefficient_table
from interlace.results.text import abbreviate, align, p_value, significant
from interlace.results.varcorr import correlations, variance_table

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.results.members import Members
    from interlace.results.varcorr import VarianceTable
    from interlace.typing import FloatArray

__all__ = ["Summary", "summarize"]

_WIDTH = 80
_MOST_CORRELATED = 20  # coefficients, above which lme4 too leaves their correlations out
_T_HEADINGS = {
    "estimate": "Estimate",
    "std_error": "Std. Error",
    "df": "df",
    "statistic": "t value",
    "p_value": "Pr(>|t|)",
}
#: How the tests of the fixed effects were made, by ``df_method``.
_TESTS = {
    "satterthwaite": "t tests use Satterthwaite's degrees of freedom.",
    "kenward-roger": "t tests use Kenward and Roger's degrees of freedom and standard errors.",
    "residual": "t tests use the residual degrees of freedom n - p = {residual}.",
    "normal": "z tests use the normal distribution.",
}
_Z_HEADINGS = {"estimate": "Estimate", "std_error": "Std. Error", "statistic": "z value", "p_value": "Pr(>|z|)"}


@dataclass(frozen=True)
class Summary:
    """What a fit found; ``print`` it, show it in a notebook, or take it apart.

    Attributes
    ----------
    title, formula : str
    tables : dict of str to DataFrame
        ``criteria`` (AIC, BIC, logLik; deviance, REML criterion, or for a generalized model ``-2*log(L)``; df.resid),
        ``residuals`` (quantiles of the Pearson residuals over sigma), ``random``, ``fixed``, ``correlation`` (of the
        fixed effects), ``groups`` (levels of each factor).
    variances : VarianceTable
    nobs : int
    reml : bool
    details : tuple of str
        Lines on the model: family and link, what counts as success, weights.
    notes : tuple of str
        How the tests were made, and what the checks of the fit found.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> summary = interlace.fit("Reaction ~ Days + (Days | Subject)", df).summary()
    >>> summary.tables["fixed"].round(3).loc["Days", "Estimate"]
    np.float64(10.467)
    """

    title: str
    formula: str
    tables: dict[str, pd.DataFrame]
    variances: VarianceTable
    nobs: int
    reml: bool
    details: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n\n".join(part for part in self._parts() if part)

    __repr__ = __str__

    def _parts(self) -> list[str]:
        head = [self.title, *textwrap.wrap(f"Formula: {self.formula}", 100, subsequent_indent="    "), *self.details]
        groups = "; ".join(f"{name}, {count}" for name, count in self.tables["groups"]["levels"].items())
        random = self.variances.to_text(variance=True, digits=4, corr_digits=2)
        return [
            "\n".join(head),
            self._criteria(),
            self._residuals(),
            f"Random effects:\n{random}\nNumber of obs: {self.nobs}, groups: {groups}",
            _fixed_text(self.tables["fixed"]),
            _correlation_text(self.tables["correlation"]),
            "\n".join(textwrap.fill(note, 100, subsequent_indent="  ") for note in self.notes),
        ]

    def _residuals(self) -> str:
        if "residuals" not in self.tables:
            return ""
        quantiles = self.tables["residuals"].to_numpy(dtype=float)[0]
        return "Scaled residuals:\n" + _row(self.tables["residuals"], [f"{v:.4f}" for v in quantiles])

    def _criteria(self) -> str:
        table = self.tables["criteria"]
        if self.reml:
            return f"REML criterion at convergence: {table['REML criterion'].iloc[0]:.1f}"
        return _row(table, [cell for _, (cell,) in _criteria_cells(table)])

    def _repr_html_(self) -> str:
        lines = "<br>".join(html.escape(line) for line in (self.formula, *self.details))
        parts = [f"<p><strong>{html.escape(self.title)}</strong><br>{lines}</p>"]
        for columns in (_criteria_cells(self.tables["criteria"]), self._random_cells(), self._named_fixed_cells()):
            table = pd.DataFrame(dict(enumerate(cells for _, cells in columns)))
            table.columns = pd.Index([heading for heading, _ in columns])
            parts.append(table.to_html(index=False, border=0, escape=True))
        groups = ", ".join(f"{html.escape(str(n))}: {c}" for n, c in self.tables["groups"]["levels"].items())
        parts.append(f"<p>Number of obs: {self.nobs}; groups: {groups}</p>")
        parts += [f"<p>{html.escape(note)}</p>" for note in self.notes]
        return "<div>" + "\n".join(parts) + "</div>"

    def to_latex(self) -> str:
        r"""Tables of the fixed and the random effects for a LaTeX document that loads ``booktabs``.

        Returns
        -------
        str
            Two ``tabular`` environments; names are escaped.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> print(interlace.fit("Reaction ~ Days + (Days | Subject)", df).summary().to_latex().splitlines()[0])
        \begin{tabular}{lrrrrr}
        """
        return booktabs(self._named_fixed_cells()) + "\n\n" + booktabs(self._random_cells(), text_columns=2) + "\n"

    def _named_fixed_cells(self) -> list[tuple[str, list[str]]]:
        table = self.tables["fixed"]
        return [("", [str(name) for name in table.index]), *_fixed_cells(table)]

    def _random_cells(self) -> list[tuple[str, list[str]]]:
        random = self.tables["random"]
        cells: list[tuple[str, list[str]]] = [(name, [str(v) for v in random[name]]) for name in ("Groups", "Name")]
        for name in random.columns[2:]:
            values = random[name].to_numpy(dtype=float)
            texts = [f"{v:.2f}" for v in values] if name.startswith("Corr") else significant(values, 4)
            heading = "" if name.startswith("Corr.") else name
            cells.append((heading, ["" if np.isnan(v) else t for v, t in zip(values, texts, strict=True)]))
        return cells


def summarize(result: Members) -> Summary:
    """Collect the summary of a fit."""
    state, design, wording = result.state, result.state.problem.design, _wording(result)
    headings = _Z_HEADINGS if result.call.df_method == "normal" else _T_HEADINGS
    fixed = coefficient_table(result)[list(headings)].rename(columns=headings)
    names = coefficient_names(state)
    of_rows = {}
    if design.has_rows:
        quantiles = np.quantile(residuals(state, "pearson", scaled=True), [0, 0.25, 0.5, 0.75, 1])
        of_rows = {"residuals": pd.DataFrame([quantiles], columns=["Min", "1Q", "Median", "3Q", "Max"])}
    variances = variance_table(state)
    criteria = {"AIC": result.aic, "BIC": result.bic, "logLik": result.llf}
    criteria |= {wording.criterion: state.criterion, "df.resid": result.df_resid}
    return Summary(
        title=wording.title,
        formula=design.formula,
        tables={
            "criteria": pd.DataFrame([criteria]),
            **of_rows,
            "random": variances.frame(),
            "fixed": fixed,
            "correlation": pd.DataFrame(correlations(state.beta_cov), index=names, columns=names),
            "groups": pd.DataFrame({"levels": result.ngroups}),
        },
        variances=variances,
        nobs=result.nobs,
        reml=state.reml,
        details=_details(result, wording),
        notes=_notes(result, wording),
    )


@dataclass(frozen=True)
class _Wording:
    """What linear and generalized models are described with.

    Attributes
    ----------
    title : str
    criterion : str
        Name of what was minimized.
    lines : tuple of str
        Family and link, what counts as success.
    notes : tuple of str
        What limits the numbers, and where lme4 prints others.
    """

    title: str
    criterion: str
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _wording(result: Members) -> _Wording:
    state = result.state
    if isinstance(state, GlmmState):
        return _generalized(result, state)
    method = "REML" if state.reml else "maximum likelihood"
    criterion = "REML criterion" if state.reml else "deviance"
    return _Wording(f"Linear mixed model fit by {method}", criterion, notes=_monte_carlo(state, criterion))


def _monte_carlo(state: State, criterion: str) -> tuple[str, ...]:
    """What there is to know of a criterion that random probes were used for."""
    errors = state.opt.monte_carlo
    if errors is None:
        return ()
    return (
        f"Solved by iteration; the log-determinant in the {criterion} was estimated with {errors.probes.count} random "
        f"probes (seed {errors.probes.seed}), Monte Carlo error {errors.criterion:.2g}. Coefficients and modes given "
        "the variances are exact.",
    )


def _generalized(result: Members, state: GlmmState) -> _Wording:
    design, model, nodes = state.problem.design, state.model, state.problem.nodes
    how = f"Adaptive Gauss-Hermite Quadrature, nAGQ = {nodes}" if nodes > 1 else "Laplace Approximation"
    lines, notes = [f"Family: {model.family.label} ({model.link.name})"], []
    if design.spec.success is not None:
        lines.append(f"Success: {design.response} = {design.spec.success}")
    if nodes == 0:
        how += ", nAGQ = 0"
        notes.append(
            "With nAGQ = 0 the fixed effects are found together with the modes of the random effects, and their "
            "standard errors take the variances of these as known."
        )
    if isinstance(model, ProfiledDispersion):
        notes.append('The residual is lme4\'s, and not a maximum likelihood estimate (Control(dispersion="lme4")).')
    theirs = result.convergence.details.get("lme4_criterion")
    if theirs is not None:
        notes.append(
            f"lme4 1.1 gives {theirs:.1f} for -2*log(L): with nAGQ above 1 it leaves out a constant, "
            f"{state.criterion - theirs:.1f} for this response."
        )
    title = f"Generalized linear mixed model fit by maximum likelihood ({how})"
    return _Wording(title, "-2*log(L)", tuple(lines), tuple(notes))


def _details(result: Members, wording: _Wording) -> tuple[str, ...]:
    """What stands below the formula."""
    given = result.call.weights
    if given is None:
        return wording.lines
    return (*wording.lines, f"Weights: {given if isinstance(given, str) else 'given as an array'}")


def _notes(result: Members, wording: _Wording) -> tuple[str, ...]:
    """How the tests were made, what limits the numbers, and what the checks found."""
    state = result.state
    notes = []
    if len(state.beta):
        notes.append(_TESTS[result.call.df_method].format(residual=residual_df(state)))
    notes += wording.notes
    for check in state.checks:
        advice = f". What to try: {check.advice}" if check.advice and check.severity != "info" else ""
        notes.append(f"{check.severity.capitalize()}: {check.message}{advice}.")
    return tuple(notes)


def _row(table: pd.DataFrame, cells: list[str]) -> str:
    return "\n".join(
        align([(str(name), [cell], ">") for name, cell in zip(table.columns, cells, strict=True)], gap="  ")
    )


def _criteria_cells(table: pd.DataFrame) -> list[tuple[str, list[str]]]:
    values = table.iloc[0].items()
    return [(str(name), [f"{v:.1f}" if name != "df.resid" else str(int(v))]) for name, v in values]


def _fixed_cells(table: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Texts of the coefficient table; estimates and standard errors share their decimals."""
    estimate, se = table["Estimate"].to_numpy(), table["Std. Error"].to_numpy()
    statistic, probability = table.columns[-2:]
    shown = significant(_rounded(np.concatenate([estimate, se])), 4)
    cells = [("Estimate", shown[: len(estimate)]), ("Std. Error", shown[len(estimate) :])]
    if "df" in table:
        decimals = 0 if (table["df"] % 1 == 0).all() else 1
        cells.append(("df", [f"{v:.{decimals}f}" for v in table["df"]]))
    cells.append((statistic, significant(np.round(table[statistic].to_numpy(), 3), 4)))
    cells.append((probability, [p_value(v) for v in table[probability]]))
    return cells


def _rounded(values: FloatArray) -> FloatArray:
    """Values with the decimals that the smallest needs for four digits, but not more than R shows of the others."""
    finite = np.abs(values[np.isfinite(values) & (values != 0)])
    if not finite.size:
        return values
    smallest = 1 + int(np.floor(np.log10(finite.min())))
    return np.asarray(np.round(values, max(1, 4 - smallest)))


def _fixed_text(table: pd.DataFrame) -> str:
    if table.empty:
        return "No fixed-effects coefficients"
    columns = [(name, cells, ">") for name, cells in _fixed_cells(table)]
    return "Fixed effects:\n" + "\n".join(align([("", list(map(str, table.index)), "<"), *columns]))


def _correlation_text(table: pd.DataFrame) -> str:
    """Lower triangle, in blocks of columns that fit the width."""
    names, p = [str(name) for name in table.index], len(table)
    if p < 2:
        return ""
    if p > _MOST_CORRELATED:
        return f"Correlation of Fixed Effects: {p} coefficients, see .fe_cov"
    short, values = abbreviate(names), table.to_numpy()
    labels = names if not short[0].startswith("[") else [f"[{j + 1}] {name}" for j, name in enumerate(names)]
    per_block = max(1, (_WIDTH - max(map(len, labels))) // 7)
    lines = ["Correlation of Fixed Effects:"]
    for start in range(0, p - 1, per_block):
        block = range(start, min(start + per_block, p - 1))
        columns = [
            (short[j], [f"{values[i, j]:.3f}" if i > j else "" for i in range(start + 1, p)], ">") for j in block
        ]
        lines += align([("", labels[start + 1 :], "<"), *columns])
    return "\n".join(lines)


def short_text(result: Members) -> str:
    """Write the few lines that lme4 prints for a fit itself."""
    state, design, wording = result.state, result.state.problem.design, _wording(result)
    criterion = wording.criterion
    groups = "; ".join(f"{name}, {count}" for name, count in result.ngroups.items())
    lines = [
        wording.title,
        f"Formula: {design.formula}",
        *_details(result, wording),
        f"{criterion[0].upper()}{criterion[1:]} at convergence: {state.criterion:.4f}",
        "Random effects:",
        variance_table(state).to_text(digits=4, corr_digits=2),
        f"Number of obs: {result.nobs}, groups: {groups}",
    ]
    if len(state.beta):
        lines += ["Fixed effects:", *_side_by_side(coefficient_names(state), significant(state.beta, 4))]
    return "\n".join(lines)


def _side_by_side(names: list[str], cells: list[str]) -> list[str]:
    """Each number under its name, as many columns in a line as fit the width."""
    lines: list[str] = []
    block: list[tuple[str, list[str], str]] = []
    used = 0
    for name, cell in zip(names, cells, strict=True):
        width = max(len(name), len(cell)) + 2
        if block and used + width > _WIDTH + 2:
            lines += align(block, gap="  ")
            block, used = [], 0
        block.append((name, [cell], ">"))
        used += width
    return lines + align(block, gap="  ")
