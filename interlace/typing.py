"""Type aliases shared by all layers."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

Structure: TypeAlias = Literal["unstructured", "diagonal"]
Method: TypeAlias = Literal["REML", "ML"]
Optimizer: TypeAlias = Literal["auto", "lbfgsb", "bobyqa"]
Solver: TypeAlias = Literal["auto", "dense", "cholmod", "iterative"]
DfMethod: TypeAlias = Literal["satterthwaite", "kenward-roger", "residual", "normal"]

#: Any eager data frame that narwhals understands, or a mapping from column names to arrays.
FrameLike: TypeAlias = Any
