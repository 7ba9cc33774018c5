"""The data of a model beside columns of its diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlace.results.rows import model_frame

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

    from interlace.estimate.state import State

__all__ = ["beside", "data_columns", "stepped_aside"]


def data_columns(state: State, taken: Collection[str]) -> pd.DataFrame:
    """Model frame, with columns renamed whose names are taken.

    Parameters
    ----------
    state : State
    taken : collection of str
        Names of the columns that will stand beside it.

    Returns
    -------
    DataFrame, shape (n, columns used)
        A column ``x`` whose name is taken is called ``x.data``.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy").rename(columns={"Subject": "id"})
    >>> state = interlace.fit("Reaction ~ Days + (Days | id)", df).state
    >>> data_columns(state, ["id", "cooksd"]).columns.tolist()
    ['Reaction', 'Days', 'id.data']
    """
    return stepped_aside(model_frame(state), taken)


def stepped_aside(frame: pd.DataFrame, taken: Collection[str]) -> pd.DataFrame:
    """A frame with columns renamed whose names are taken; all names stay apart."""
    known = {*taken, *frame.columns}
    new: dict[str, str] = {}
    for name in frame.columns:
        if name in taken:
            new[name] = beside(name, known)
            known.add(new[name])
    return frame.rename(columns=new)


def beside(name: str, taken: Collection[str]) -> str:
    """Name of a column of the data beside columns whose names are taken."""
    while name in taken:
        name = f"{name}.data"
    return name
