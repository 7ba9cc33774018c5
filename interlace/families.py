"""Response distributions for `interlace.glmer`: the families, their links, and how to write your own.

``glmer(..., family=)`` takes a name or an object from here, ``glmer(..., link=)`` a name or a `Link`. A name is enough
unless a family has a parameter of its own:

==================  =========================  =====================================  ======================
name                object                     links, the default first               response
==================  =========================  =====================================  ======================
binomial            `Binomial()`               logit, probit, cloglog, cauchit, log   two kinds, proportions
poisson             `Poisson()`                log, identity, sqrt                    counts
Gamma               `Gamma()`                  inverse, log, identity                 positive amounts
inverse.gaussian    `InverseGaussian()`        1/mu^2, inverse, log, identity         positive amounts
gaussian            `Gaussian()`               identity, log, inverse                 any numbers
(none)              `NegativeBinomial(theta)`  log, identity, sqrt                    counts
==================  =========================  =====================================  ======================

Names may be in any case. `NegativeBinomial` has no name because its theta must be given; ``interlace.glmer_nb``
estimates it. A `Link` object may be used with any family, also where its name may not.

A family of your own is a subclass of `Family`. It must be an exponential family: the derivative of its log density with
respect to the mean mu has to be ``weights * (y - mu) / (dispersion * variance(mu))`` (McCullagh and Nelder, Generalized
Linear Models, 2nd ed., section 2.2). You write

* ``name``, and as you like ``default_link``, ``canonical_link``, ``links`` (empty: all) and ``mu_domain``, the open
  interval of means that can be;
* ``variance``, ``d_variance`` and ``d2_variance``: the variance function and its first two derivatives;
* ``loglik``: the log density of every row with all its constants, and ``unit_deviance``: twice what it lacks to its
  value at ``mu = y``, at weight 1;
* ``start_mu`` where the response itself may not be a mean (a count of 0); ``check_response`` to refuse impossible
  responses; ``simulate`` to draw new ones; ``has_dispersion`` and ``d_dispersion`` if there is a dispersion.

All arrays have one entry a row. `validate_family` compares the functions with finite differences of one another, so
that a slip is found before a fit goes wrong.

Examples
--------
Geometric counts, failures before the first success, with mean mu and variance ``mu + mu**2``:

>>> import numpy as np
>>> from scipy.special import rel_entr, xlogy
>>> from interlace.families import Family, link, validate_family
>>> class Geometric(Family):
...     name = "geometric"
...     default_link = "log"
...     mu_domain = (0.0, np.inf)
...
...     def variance(self, mu):
...         return mu + mu**2
...
...     def d_variance(self, mu):
...         return 1.0 + 2.0 * mu
...
...     def d2_variance(self, mu):
...         return np.full_like(mu, 2.0)
...
...     def loglik(self, y, mu, weights, dispersion=1.0):
...         return weights * (xlogy(y, mu) - (y + 1.0) * np.log1p(mu))
...
...     def unit_deviance(self, y, mu):
...         return 2.0 * (rel_entr(y, mu) - rel_entr(y + 1.0, mu + 1.0))
...
...     def start_mu(self, y, weights):
...         return y + 0.5
...
...     def check_response(self, y, weights):
...         impossible = np.any((y < 0.0) | (y != np.round(y)))
...         return "a geometric response must be a count" if impossible else super().check_response(y, weights)
>>> validate_family(Geometric(), link("log"), np.array([0.0, 1.0, 7.0]))

A wrong derivative is found:

>>> class Slip(Geometric):
...     def d_variance(self, mu):
...         return 1.0 + mu
>>> validate_family(Slip(), link("log"), np.array([0.0, 1.0, 7.0]))
Traceback (most recent call last):
    ...
interlace.errors.ModelError: family 'geometric': d_variance() is wrong at mu = 0.5: finite differences give 2, ...

The model is then ``interlace.glmer("count ~ x + (1 | site)", data, family=Geometric())``.
"""

from __future__ import annotations

from interlace.core.customfamily import validate_family
from interlace.core.families import Binomial, Family, Gamma, Gaussian, InverseGaussian, NegativeBinomial, Poisson
from interlace.core.links import Link, link

__all__ = [
    "Binomial",
    "Family",
    "Gamma",
    "Gaussian",
    "InverseGaussian",
    "Link",
    "NegativeBinomial",
    "Poisson",
    "link",
    "validate_family",
]
