"""Which models inference is compared on, and what R finds for each."""

from __future__ import annotations

from dataclasses import dataclass

from parity.case import Case
from parity.catalogue import case as catalogued

__all__ = ["EXACT", "GENERALIZED", "PLANS", "QUICK", "TESTS", "WITH_KENWARD_ROGER", "InferencePlan"]

#: What is quick in R too; Kenward-Roger's numbers exist for fits by REML with equal weights.
TESTS = ("satterthwaite", "wald", "ranova", "effect_sizes")
WITH_KENWARD_ROGER = (*TESTS, "kenward_roger")
#: For models in which performance 0.10.2 overlooks a part of the variance: it takes only the first of two terms on one
#: grouping factor, and of random effects only those that are fixed effects too; and it gives up singular fits.
_WITHOUT_EFFECT_SIZES = ("satterthwaite", "wald", "ranova", "kenward_roger")
#: For (0 + x | g) with a numeric x, of which lmerTest makes (1 | g) when it takes x out: no smaller model.
_WITHOUT_RANDOM_TERMS = ("satterthwaite", "wald", "kenward_roger")
#: Limits of intervals as roots of R's deviance, and R's own from a spline.
EXACT = ("exact_theta", "exact_coefficients", "exact_variances")
_INTERVALS = (*EXACT, "profile")
GENERALIZED = ("anova", "profile", "exact")
#: What R finds in tenths of a second where there are few rows.
QUICK = ("satterthwaite", "kenward_roger", "wald", "means_satterthwaite", "means_kenward_roger")
_FEW_ROWS = 500


@dataclass(frozen=True)
class InferencePlan:
    """A model of the catalogue and the parts of R's inference about it.

    Attributes
    ----------
    name : str
        In the catalogue.
    parts : tuple of str
        Names that ``r_reference/inference.R`` knows.
    factor : str, optional
        Of whose levels to find means and differences.
    delta : float
        Step of R's profile; the shorter, the smaller is the error of its spline.
    """

    name: str
    parts: tuple[str, ...]
    factor: str | None = None
    delta: float = 0.1

    @property
    def case(self) -> Case:
        """The model and its data."""
        return catalogued(self.name)

    @property
    def wanted(self) -> tuple[str, ...]:
        """All parts, those about means included."""
        if self.factor is None:
            return self.parts
        return (*self.parts, *(f"means_{part}" for part in ("satterthwaite", "kenward_roger") if part in self.parts))

    @property
    def quick(self) -> tuple[str, ...]:
        """Parts that may be asked of a live R whenever there is one."""
        if self.case.family is not None or self.case.frame().shape[0] >= _FEW_ROWS:
            return ()
        return tuple(part for part in self.wanted if part in QUICK)


PLANS: tuple[InferencePlan, ...] = (
    InferencePlan("sleep_slopes", (*WITH_KENWARD_ROGER, *_INTERVALS)),
    InferencePlan("sleep_slopes_ml", (*TESTS, *_INTERVALS)),
    InferencePlan("sleep_intercepts", (*WITH_KENWARD_ROGER, *_INTERVALS)),
    InferencePlan("sleep_uncorrelated", (*_WITHOUT_EFFECT_SIZES, *_INTERVALS)),
    InferencePlan("sleep_slope_only", (*_WITHOUT_RANDOM_TERMS, "exact_theta")),
    InferencePlan("sleep_holes", WITH_KENWARD_ROGER),
    InferencePlan("sleep_weights", (*TESTS, *EXACT)),
    InferencePlan("dyestuff", (*WITH_KENWARD_ROGER, *_INTERVALS)),
    InferencePlan("dyestuff2", (*_WITHOUT_EFFECT_SIZES, *EXACT)),
    InferencePlan("penicillin", (*WITH_KENWARD_ROGER, *_INTERVALS)),
    InferencePlan("pastes", (*WITH_KENWARD_ROGER, *_INTERVALS)),
    InferencePlan("cake", (*WITH_KENWARD_ROGER, "exact_theta"), factor="recipe"),
    InferencePlan("cake_poly", WITH_KENWARD_ROGER),
    InferencePlan("machines", (*WITH_KENWARD_ROGER, *EXACT), factor="Machine"),
    InferencePlan("machines_slopes", _WITHOUT_EFFECT_SIZES, factor="Machine"),
    InferencePlan("oats", (*WITH_KENWARD_ROGER, *EXACT), factor="Variety"),
    InferencePlan("orthodont", (*WITH_KENWARD_ROGER, *EXACT), factor="Sex"),
    InferencePlan("ergo_stool", (*WITH_KENWARD_ROGER, *_INTERVALS)),
    InferencePlan("rat_pups", (*WITH_KENWARD_ROGER, *EXACT), factor="Treatment"),
    InferencePlan("pixel", WITH_KENWARD_ROGER),
    InferencePlan("alfalfa", WITH_KENWARD_ROGER, factor="Variety"),
    InferencePlan("exam", (*TESTS, "exact_theta")),
    InferencePlan("classroom", TESTS),
    InferencePlan("cbpp", GENERALIZED),
    InferencePlan("ticks_weights", GENERALIZED, delta=0.3),
    InferencePlan("ticks_double_bar", ("anova",)),
)
