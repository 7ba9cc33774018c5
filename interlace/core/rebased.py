"""Cross-products in another basis of a block's columns, without a look at the rows."""

from __future__ import annotations

from dataclasses import replace

from scipy import sparse

from interlace.core.crossproducts import CrossProducts
from interlace.typing import FloatArray

__all__ = ["rebased"]


def rebased(cp: CrossProducts, i: int, Q: FloatArray) -> CrossProducts:
    """Cross-products with Z_i Q in place of Z_i.

    Parameters
    ----------
    cp : CrossProducts
    i : int
        Number of the block.
    Q : ndarray, shape (k_i, k_i)

    Examples
    --------
    >>> import numpy as np
    >>> import interlace
    >>> cp = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).state.problem.cp
    >>> bool(np.allclose(rebased(cp, 0, 2.0 * np.eye(2)).A[0], 4.0 * cp.A[0]))
    True
    """
    structure, s = cp.structure, cp.structure.n_chain
    if i < s:
        A = tuple(Q.T @ part @ Q if j == i else part for j, part in enumerate(cp.A))
        C = tuple(Q.T @ part if j == i else part for j, part in enumerate(cp.C))
        P = {(a, b): Q.T @ part if a == i else part @ Q if b == i else part for (a, b), part in cp.P.items()}
        Cz = cp.Cz
        if Cz is not None and i == 0:
            Cz = sparse.csr_array(_wide(structure.blocks[0].q, Q).T @ Cz)
        return replace(cp, A=A, C=C, P=P, Cz=Cz)
    q, where = structure.blocks[i].q, structure.rest_slices[i - s]
    S = cp.S.copy()
    S[where] = (Q.T @ S[where].reshape(q, Q.shape[0], -1)).reshape(S[where].shape)
    if cp.Szz is None:
        S[:, where] = (S[:, where].reshape(-1, q, Q.shape[0]) @ Q).reshape(S[:, where].shape)
    C = cp.C
    if not structure.storage.sparse:
        C = tuple(part.copy() for part in C)
        for part in C:
            part[:, :, where] = (part[:, :, where].reshape(-1, q, Q.shape[0]) @ Q).reshape(part[:, :, where].shape)
    sizes = [block.size for block in structure.rest]
    wide = sparse.block_diag(
        [_wide(q, Q) if s + j == i else sparse.eye_array(size) for j, size in enumerate(sizes)], format="csr"
    )
    Cz = None if cp.Cz is None else sparse.csr_array(cp.Cz @ wide)
    Szz = None if cp.Szz is None else sparse.csr_array(wide.T @ cp.Szz @ wide)
    return replace(cp, C=C, S=S, Cz=Cz, Szz=Szz)


def _wide(q: int, Q: FloatArray) -> sparse.csr_array:
    """Q for each of q levels, shape (q k, q k)."""
    return sparse.csr_array(sparse.kron(sparse.eye_array(q), Q, format="csr"))
