"""Every family with every link that it allows, for the tests of both."""

from __future__ import annotations

from interlace.core.families import Binomial, Gamma, Gaussian, InverseGaussian, NegativeBinomial, Poisson

ALL = [Binomial(), Poisson(), Gamma(), InverseGaussian(), Gaussian(), NegativeBinomial(1.7)]
PAIRS = [(one, name) for one in ALL for name in one.links]
