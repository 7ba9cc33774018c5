"""The equation of a model, for LaTeX and as MathML, which browsers show without scripts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interlace.core.families import NegativeBinomial
from interlace.results.fixed import coefficient_names
from interlace.results.glmm import GLMMResult
from interlace.results.text import latex_escape

if TYPE_CHECKING:
    from interlace.frames.design import RandomTerm
    from interlace.results.intervals import Intervals

__all__ = ["Math", "equation"]

#: More terms than this are written with matrices.
_MOST_TERMS = 10
_GREEK = {"beta": "β", "sigma": "σ", "epsilon": "ε", "Sigma": "Σ", "mu": "μ", "theta": "θ"}  # noqa: RUF001
_OPERATORS = {"\\sim": "∼", "\\mid": "|"}  # noqa: RUF001
_DISTRIBUTIONS = {
    "binomial": "Binomial",
    "poisson": "Poisson",
    "Gamma": "Gamma",
    "inverse.gaussian": "InverseGaussian",
    "gaussian": "N",
    "negative.binomial": "NegativeBinomial",
}


@dataclass(frozen=True)
class Math:
    """A formula, or a part of one, in both languages."""

    latex: str
    mathml: str

    def __add__(self, other: Math) -> Math:
        """One after the other."""
        return Math(f"{self.latex} {other.latex}".strip(), self.mathml + other.mathml)

    @property
    def block(self) -> str:
        """A MathML element of its own line."""
        return f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"><mrow>{self.mathml}</mrow></math>'


_EMPTY = Math("", "")


def _letter(name: str) -> Math:
    if name in _GREEK:
        return Math(f"\\{name}", f"<mi>{_GREEK[name]}</mi>")
    return Math(name, f"<mi>{name}</mi>")


def _operator(text: str) -> Math:
    return Math(text, f"<mo>{html.escape(_OPERATORS.get(text, text))}</mo>")


def _words(text: str) -> Math:
    return Math(f"\\text{{{latex_escape(text)}}}", f"<mtext>{html.escape(text)}</mtext>")


def _number(value: int) -> Math:
    return Math(str(value), f"<mn>{value}</mn>")


def _joined(parts: Iterable[Math]) -> Math:
    return sum(parts, _EMPTY)


def _with(base: Math, *, below: Math | None = None, above: Math | None = None) -> Math:
    """A base with an index, an exponent, or both."""
    latex = base.latex
    latex += f"_{{{below.latex}}}" if below else ""
    latex += f"^{{{above.latex}}}" if above else ""
    tag = "msubsup" if below and above else "msub" if below else "msup"
    inner = "".join(f"<mrow>{part.mathml}</mrow>" for part in (base, below, above) if part)
    return Math(latex, f"<{tag}>{inner}</{tag}>")


def _of(name: Math, *arguments: Math) -> Math:
    out = name + _operator("(")
    for i, argument in enumerate(arguments):
        out = out + (_operator(",") if i else _EMPTY) + argument
    return out + _operator(")")


def equation(result: Intervals) -> list[Math]:
    r"""Lines of the equation: the mean, the random effects, the residuals or the response.

    Parameters
    ----------
    result : LMMResult or GLMMResult

    Returns
    -------
    list of Math

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> for line in equation(result):
    ...     print(line.latex)
    \text{Yield}_{i} = \beta_{0} + b_{0 , \text{Batch[i]}} + \epsilon_{i}
    b_{0 , \text{Batch}} \sim N ( 0 , \sigma_{\text{Batch}}^{2} )
    \epsilon_{i} \sim N ( 0 , \sigma^{2} )
    """
    terms = result.state.problem.design.terms
    return [_mean(result), *(_random(term) for term in terms), _response(result)]


def _mean(result: Intervals) -> Math:
    design = result.state.problem.design
    y = _observed(design.response)
    if isinstance(result, GLMMResult):
        y = _of(_words(result.link.name), _of(_words("E"), y + _operator("\\mid") + _letter("b")))
    names = coefficient_names(result.state)
    summands = [_product(_with(_letter("beta"), below=_number(j)), name) for j, name in enumerate(names)]
    for term in design.terms:
        summands += [_product(_effect(f"{term.key}[i]", j), name) for j, name in enumerate(term.names)]
    if len(summands) > _MOST_TERMS:
        row = [_with(_letter(letter), below=_letter("i")) for letter in ("x", "z")]
        summands = [row[0] + _letter("beta"), row[1] + _letter("b")]
    if design.offset is not None:
        summands.append(_with(_words("offset"), below=_letter("i")))
    if not isinstance(result, GLMMResult):
        summands.append(_with(_letter("epsilon"), below=_letter("i")))
    right = _joined([summands[0], *(_operator("+") + summand for summand in summands[1:])])
    return y + _operator("=") + right


def _observed(response: str) -> Math:
    """The response of row i; an expression stands in parentheses."""
    return _with(_words(response if response.isidentifier() else f"({response})"), below=_letter("i"))


def _product(coefficient: Math, name: str) -> Math:
    return coefficient if name == "Intercept" else coefficient + _with(_words(name), below=_letter("i"))


def _effect(group: str, j: int) -> Math:
    return _with(_letter("b"), below=_number(j) + _operator(",") + _words(group))


def _random(term: RandomTerm) -> Math:
    """Distribution of the effects of a term."""
    group, k = _words(term.key), len(term.names)
    if k == 1:
        effects, spread = _effect(term.key, 0), _with(_letter("sigma"), below=group, above=_number(2))
    else:
        effects = _of(_EMPTY, *_shortened([_effect(term.key, j) for j in range(k)]))
        spread = _with(_letter("Sigma"), below=group)
        if term.structure == "diagonal":
            spread = spread + _words(" (diagonal)")
    return effects + _operator("\\sim") + _of(_letter("N"), _number(0), spread)


def _shortened(effects: Sequence[Math]) -> list[Math]:
    if len(effects) <= 4:
        return list(effects)
    return [*effects[:2], Math("\\dots", "<mo>…</mo>"), effects[-1]]


def _response(result: Intervals) -> Math:
    design, i = result.state.problem.design, _letter("i")
    variance = _with(_letter("sigma"), above=_number(2))
    if not isinstance(result, GLMMResult):
        if design.weights is not None:
            variance = variance + _operator("/") + _with(_letter("w"), below=i)
        return _with(_letter("epsilon"), below=i) + _operator("\\sim") + _of(_letter("N"), _number(0), variance)
    family = result.family
    parameters = [_with(_letter("mu"), below=i)]
    if family.name == "binomial" and design.weights is not None:
        parameters = [_with(_letter("n"), below=i), *parameters]
    if isinstance(family, NegativeBinomial):
        parameters.append(_letter("theta"))
    if family.has_dispersion:
        parameters.append(variance)
    y = _observed(design.response)
    if family.name == "binomial" and design.weights is not None:
        y = _with(_letter("n"), below=i) + y
    distribution = _of(_words(_DISTRIBUTIONS.get(family.name, family.name)), *parameters)
    return y + _operator("\\mid") + _letter("b") + _operator("\\sim") + distribution
