"""Packaged data sets with their provenance.

>>> from interlace import datasets
>>> datasets.load("sleepstudy").shape
(180, 3)
>>> datasets.describe("sleepstudy").typical_model
'Reaction ~ Days + (Days | Subject)'
"""

from __future__ import annotations

from interlace.datasets.catalogue import Dataset, describe, names
from interlace.datasets.reader import load

__all__ = ["Dataset", "describe", "load", "names"]
