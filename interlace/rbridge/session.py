"""The R process: started once, pinned, and spoken to in plain data."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.errors import DataError, InterlaceError
from interlace.rbridge.columns import Column, column_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RError", "available", "call", "missing", "versions"]

_INSTALL = 'pip install "interlace-lme[r]", R (https://www.r-project.org), and install.packages("lme4") in R'


#: Where R says its libraries are. Child processes would look there too, and might load another Python's library.
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


class RError(InterlaceError, RuntimeError):
    """R stopped with an error; the message is R's."""


class _Session:
    """R with lmer.R and glmer.R loaded into an environment of its own."""

    def __init__(self) -> None:
        for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(variable, "1")  # read when R loads its BLAS; sums then come out the same every time
        paths = {variable: os.environ.get(variable) for variable in _LIBRARY_PATHS}
        self.robjects: Any = importlib.import_module("rpy2.robjects")
        self.interface: Any = importlib.import_module("rpy2.rinterface")
        self.failure: Any = importlib.import_module("rpy2.rinterface_lib.embedded").RRuntimeError
        callbacks: Any = importlib.import_module("rpy2.rinterface_lib.callbacks")
        for name in ("consolewrite_print", "consolewrite_warnerror"):
            setattr(callbacks, name, lambda text: None)
        self.base: Any = self.interface.baseenv
        self.environment = self.base["new.env"](parent=self.interface.globalenv)
        for script in ("lmer.R", "glmer.R"):
            with as_file(files("interlace.rbridge") / script) as path:
                self.base["sys.source"](str(path), envir=self.environment)
        _restore(paths)

    def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return _to_python(self.base["get"](function, envir=self.environment)(**arguments))
        except self.failure as error:
            raise RError(f"R: {str(error).strip()}") from error

    def frame(self, data: pd.DataFrame) -> Any:
        """Build an R data.frame; text becomes a factor with levels in code point order."""
        columns = {str(name): self.column(column_of(data.iloc[:, i])) for i, name in enumerate(data.columns)}
        rows = self.interface.IntSexpVector([self.interface.NA_Integer, -len(data)])
        built = self.list(columns)
        built.do_slot_assign("row.names", rows)
        return self.classed(built, "data.frame")

    def column(self, column: Column) -> Any:
        r = self.interface
        if column.kind == "numeric":
            return r.FloatSexpVector.from_memoryview(np.ascontiguousarray(column.values, dtype=np.float64).data)
        whole = np.ascontiguousarray(column.values, dtype=np.int32)  # R's NA is the smallest 32-bit integer
        if column.kind == "logical":
            missing = np.iinfo(np.int32).min
            return r.BoolSexpVector([r.NA_Logical if v == missing else bool(v) for v in whole.tolist()])
        vector = r.IntSexpVector.from_memoryview(whole.data)
        if column.kind in ("factor", "ordered"):
            vector.do_slot_assign("levels", r.StrSexpVector(list(column.levels)))
            return self.classed(vector, *(["ordered"] if column.kind == "ordered" else []), "factor")
        return vector

    def classed(self, value: Any, *classes: str) -> Any:
        """Set the class through R, which also marks the value as an object; a plain attribute would not."""
        return self.base["class<-"](value, value=self.interface.StrSexpVector(classes))

    def list(self, items: Mapping[str, Any]) -> Any:
        built = self.interface.ListSexpVector(list(items.values()))
        built.do_slot_assign("names", self.interface.StrSexpVector(list(items)))
        return built


def _restore(variables: Mapping[str, str | None]) -> None:
    """Give environment variables the values that they had."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@lru_cache(maxsize=1)
def missing() -> str:
    """Return what keeps R from being used, in words; an empty string when everything is there."""
    try:
        importlib.import_module("rpy2.rinterface")
    except ModuleNotFoundError:
        return f"rpy2 is not installed; {_INSTALL}"
    except Exception as error:  # rpy2 raises whatever its search for R ran into
        return f"rpy2 does not find a working R ({error}); {_INSTALL}"
    try:
        _session()
    except (RError, RuntimeError, OSError) as error:
        return f"R cannot load lme4 ({str(error).strip()}); {_INSTALL}"
    return ""


def available() -> bool:
    """Tell whether R, rpy2 and lme4 can be used here.

    Returns
    -------
    bool
    """
    return not missing()


@lru_cache(maxsize=1)
def _session() -> _Session:
    return _Session()


def require() -> _Session:
    """Return the running session, or raise an ImportError that says what to install."""
    if reason := missing():
        raise ImportError(f"interlace.rbridge runs models in R: {reason}")
    return _session()


def versions() -> dict[str, str]:
    """Versions of R, lme4, Matrix, the optimizers and BLAS in use."""
    return {name: value[0] for name, value in require().call("interlace_versions", {}).items()}


def call(
    function: str,
    formula: str,
    data: pd.DataFrame,
    *,
    contrasts: Mapping[str, str],
    newdata: Mapping[str, pd.DataFrame],
    **options: str | float | bool | None,
) -> dict[str, Any]:
    """Run ``interlace_lmer`` or ``interlace_glmer`` on an R formula.

    Parameters
    ----------
    function : str
    formula : str
        In R's language.
    data : DataFrame
    contrasts : dict from column to name of an R function
    newdata : dict from label to DataFrame
    **options
        The other arguments of the R function; those that are None are left to their defaults there.

    Returns
    -------
    dict
        The record that the R function describes.
    """
    from threadpoolctl import threadpool_limits

    session = require()
    if not len(data):
        raise DataError("the data frame for R has no rows")
    arguments: dict[str, Any] = {
        "formula": formula,
        "data": session.frame(data),
        "newdata": session.list({label: session.frame(frame) for label, frame in newdata.items()}),
    }
    if contrasts:
        named = {name: session.interface.StrSexpVector([value]) for name, value in contrasts.items()}
        arguments["contrasts"] = session.list(named)
    arguments |= {name: value for name, value in options.items() if value is not None}
    with threadpool_limits(1):
        record: dict[str, Any] = session.call(function, arguments)
    return record


def _to_python(value: Any) -> Any:
    """Turn R's nested lists of vectors into dicts, lists, numpy arrays and lists of str."""
    kind = type(value).__name__
    if kind == "NULLType":
        return []
    if kind.startswith("List"):
        items = [_to_python(item) for item in value]
        names = value.names
        return items if type(names).__name__ == "NULLType" else dict(zip(names, items, strict=True))
    if kind.startswith(("Float", "Int", "Bool")):
        # A copy: R may collect the vector, and what numpy would look at is R's own memory.
        return np.array(value, dtype=None if kind.startswith("Float") else np.int64)
    if kind.startswith("Str"):
        return [str(item) for item in value]
    raise InterlaceError(f"R returned a {kind}, which the bridge does not read")
