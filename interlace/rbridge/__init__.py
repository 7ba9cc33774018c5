"""Run the same model in R's lme4 and compare.

R is optional. Nothing here imports rpy2 before R is asked for something, and every function that needs R raises an
ImportError that says what to install.
"""

from interlace.rbridge.agreement import AgreementTable, compare
from interlace.rbridge.check import check
from interlace.rbridge.names import r_formula, r_name, r_names
from interlace.rbridge.numbers import FitNumbers, RFit
from interlace.rbridge.ours import numbers_of
from interlace.rbridge.run import glmer, lmer
from interlace.rbridge.session import RError, available, versions

__all__ = [
    "AgreementTable",
    "FitNumbers",
    "RError",
    "RFit",
    "available",
    "check",
    "compare",
    "glmer",
    "lmer",
    "numbers_of",
    "r_formula",
    "r_name",
    "r_names",
    "versions",
]
