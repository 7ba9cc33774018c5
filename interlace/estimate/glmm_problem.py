"""A design with its family, in the basis and the shape in which a generalized model is optimized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.dispersion import FreeDispersion, FreeTheta, ProfiledDispersion
from interlace.core.familybase import Family
from interlace.core.glm import glm_coefficients
from interlace.core.laplace import Laplace
from interlace.core.linkbase import Link
from interlace.core.pirls import Pirls
from interlace.core.quadrature import MAX_COLUMNS, MAX_NODES, Quadrature
from interlace.core.scaling import FixedBasis
from interlace.core.structure import Structure
from interlace.core.working import WorkingModel
from interlace.errors import DataError, ModelError
from interlace.estimate import refusals
from interlace.estimate.control import Control
from interlace.estimate.problem import Problem, core_terms, lay_out
from interlace.typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from interlace.frames.design import Design

__all__ = ["LOGARITHMIC", "GlmmProblem", "prepare_glmm", "target"]


@dataclass(frozen=True)
class GlmmProblem(Problem):
    """A generalized model in the inner basis.

    Attributes
    ----------
    model : WorkingModel
        Response, family and link.
    nodes : int
        lme4's ``nAGQ``: 1 for the Laplace approximation, more for quadrature, 0 for beta among the modes.
    X : ndarray, shape (n, p)
        Fixed-effects columns, orthogonal and of equal length.
    beta : ndarray, shape (p,)
        Coefficients of the model without random effects.
    offset : ndarray, shape (n,)
    codes : sequence of ndarray of int64, shapes (n,)
        Per block of the structure.
    Z : sequence of ndarray, shapes (n, k_i)
    """

    model: WorkingModel
    nodes: int
    X: FloatArray
    beta: FloatArray
    offset: FloatArray
    codes: Sequence[IntArray]
    Z: Sequence[FloatArray]

    def some_rows(self, keep: BoolArray) -> GlmmProblem:
        """The same problem with some of its n rows, in the same inner basis; levels without rows keep their places.

        Parameters
        ----------
        keep : ndarray of bool, shape (n,)
        """
        model = self.model
        trials = None if model.trials is None else model.trials[keep]
        return replace(
            self,
            design=self.design.some_rows(keep),
            model=replace(model, y=model.y[keep], weights=model.weights[keep], trials=trials),
            X=self.X[keep],
            offset=self.offset[keep],
            codes=[codes[keep] for codes in self.codes],
            Z=[Z[keep] for Z in self.Z],
        )


def prepare_glmm(
    design: Design,
    family: Family,
    link: Link,
    *,
    nodes: int = 1,
    free_theta: bool = False,
    control: Control | None = None,
) -> GlmmProblem:
    """Check design and response, and change to the inner basis.

    Parameters
    ----------
    design : Design
    family : Family
    link : Link
    nodes : int
    free_theta : bool
        Whether the theta of a negative binomial family is estimated.
    control : Control, optional
    """
    control = control or Control()
    n = design.y.size
    model = _working_model(design, family, link, free_theta=free_theta, control=control)
    problem = family.check_response(model.y, model.weights)
    if problem:
        raise DataError(f"the response {design.response!r} does not fit the family {family.name!r}: {problem}")
    refusals.identifiable(design, residual=family.has_dispersion)
    basis = FixedBasis.of(design.X / np.sqrt(n), tol=control.rank_tol)
    if basis.kept.size >= n:
        raise ModelError(f"{basis.kept.size} fixed-effects coefficients for {n} rows: nothing is left to estimate")
    offset = np.zeros(n) if design.offset is None else design.offset
    X = basis.forward(design.X)
    beta, scale = _without_random_effects(model, X, offset)
    basis = FixedBasis(basis.kept, scale * basis.R)
    found = lay_out(core_terms(design), X.shape[1], typical_weight=scale * scale, linear=False)
    _quadrature_possible(nodes, found.structure, design)
    rows = Rows(found.codes, found.Z, np.column_stack([X / np.sqrt(n), design.y]))
    refusals.absorbed(design, found.bases, CrossProducts.from_rows(found.structure, rows))
    return GlmmProblem(
        design=design,
        control=control,
        terms=found.terms,
        bases=found.bases,
        basis=basis,
        structure=found.structure,
        model=_first_extra(model, X @ beta + offset),
        nodes=nodes,
        X=X / scale,
        beta=scale * beta,
        offset=offset,
        codes=found.codes,
        Z=found.Z,
    )


#: Densities for one evaluation of the deviance; so many take a few seconds.
_MOST_DENSITIES = 1e8

#: Links on whose scale a change of 1 means something whatever the units of the response.
LOGARITHMIC = ("logit", "probit", "cloglog", "cauchit", "log")


def _without_random_effects(model: WorkingModel, X: FloatArray, offset: FloatArray) -> tuple[FloatArray, float]:
    """Coefficients, and the factor that makes linear predictors free of the units of the response."""
    beta = glm_coefficients(model, X, offset)
    if model.link.name in LOGARITHMIC:
        return beta, 1.0
    working = model.at(X @ beta + offset)
    phi = model.family.dispersion_estimate(model.y, working.mu, model.weights)
    return beta, float(np.sqrt(np.median(working.fisher) / phi)) or 1.0


def _first_extra(model: WorkingModel, eta: FloatArray) -> WorkingModel:
    """Response with dispersion or theta by moments."""
    mu = model.link.mu(eta)
    if isinstance(model, FreeDispersion):
        return model.with_extra(np.log([max(model.family.dispersion_estimate(model.y, mu, model.weights), 1e-100)]))
    if isinstance(model, FreeTheta):
        excess = float(np.sum(model.weights * ((model.y - mu) ** 2 - mu)) / np.sum(model.weights * mu * mu))
        return model.with_extra(-np.log(np.clip([excess], 1e-2, 20.0)))
    return model


def _working_model(design: Design, family: Family, link: Link, *, free_theta: bool, control: Control) -> WorkingModel:
    """Response with the further parameter that is estimated, if any."""
    kind: type[WorkingModel] = WorkingModel
    if free_theta:
        kind = FreeTheta
    elif family.has_dispersion:
        kind = FreeDispersion if control.dispersion == "ml" else ProfiledDispersion
    weights = np.ones(design.y.size) if design.weights is None else design.weights
    return kind(family, link, design.y, weights, design.trials, control.information)


def _quadrature_possible(nodes: int, structure: Structure, design: Design) -> None:
    """Refuse quadrature where the integral is not a product of small ones."""
    if not 0 <= nodes <= MAX_NODES:
        raise ValueError(f"nAGQ must be a whole number from 0 to {MAX_NODES}, not {nodes}")
    if nodes <= 1:
        return
    if len(structure.blocks) > 1:
        factors = ", ".join(repr(name) for name in dict.fromkeys(t.group for t in design.terms))
        raise ModelError(
            f"nAGQ={nodes} needs a model with one grouping factor, and this one has {factors}: the integrals over "
            "their random effects do not separate; use nAGQ=1 (Laplace)"
        )
    k = structure.blocks[0].k
    if k > MAX_COLUMNS:
        raise ModelError(
            f"nAGQ={nodes} would need {nodes}^{k} nodes for the {k} random effects of every level of "
            f"{design.terms[0].group!r}; at most {MAX_COLUMNS} are supported: use nAGQ=1 (Laplace)"
        )
    if nodes**k * design.y.size > _MOST_DENSITIES:
        fitting = int((_MOST_DENSITIES / design.y.size) ** (1.0 / k))
        raise ModelError(
            f"nAGQ={nodes} with {k} random effects a level needs {nodes}^{k} densities of each of the {design.y.size} "
            f"rows at every step of the optimizer; at most nAGQ={max(fitting, 1)} is affordable here, and more than 9 "
            "are seldom needed"
        )


def target(problem: GlmmProblem) -> Laplace:
    """Deviance in the inner basis."""
    n = problem.offset.size
    joint = problem.nodes == 0
    pirls = Pirls(problem.structure, problem.codes, problem.Z, problem.model, problem.X if joint else None)
    if joint:
        pirls.begin_at(problem.beta)
    laplace = Laplace(pirls, np.empty((n, 0)) if joint else problem.X, problem.offset)
    return Quadrature(laplace, problem.nodes) if problem.nodes > 1 else laplace
