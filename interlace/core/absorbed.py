"""What the fixed effects leave of the random-effects columns: without it a variance is not identified."""

from __future__ import annotations

from interlace.core.crossproducts import CrossProducts
from interlace.typing import FloatArray

__all__ = ["left_of_blocks"]


def left_of_blocks(cp: CrossProducts) -> list[tuple[FloatArray, FloatArray]]:
    """Products of each block's columns, summed over levels, before and after projection off the fixed effects.

    Parameters
    ----------
    cp : CrossProducts
        In the inner basis, where the columns of X are orthonormal.

    Returns
    -------
    list of (ndarray, ndarray), shapes (k_i, k_i)
        Sums over levels l of Z_l'Z_l and of Z_l'(I - XX')Z_l.
    """
    out = []
    for i in range(len(cp.structure.blocks)):
        total = cp.own(i).sum(axis=0)
        to_x = cp.with_xy(i)[:, :, :-1].transpose(1, 0, 2).reshape(total.shape[0], -1)
        out.append((total, total - to_x @ to_x.T))
    return out
