"""What HLMdiag and lme4 said about recorded models: files, hashes, and the models to fit to the same data."""

from __future__ import annotations

import gzip
import hashlib
import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import interlace
from interlace.estimate.lmm import at_theta
from parity.bridge import StaleReferenceError, manifest
from parity.case import Case
from parity.record import EXPECTED

__all__ = [
    "DELETIONS", "FOLDER", "GENERATED", "LME4", "MODELS", "ROTATION", "at_recorded_theta", "case_of", "file_hashes",
    "fitted", "recorded",
]  # fmt: skip

FOLDER = EXPECTED / "hlmdiag"
MODELS = (
    "sleepstudy_rs", "sleepstudy_ri", "sleepstudy_uncorrelated", "sleepstudy_rs_ml", "sleepstudy_shuffled",
    "penicillin_crossed", "radon_rs", "radon_ri", "autism_rs", "autism_centred", "ahd_ri", "ahd_rs", "wages_rs",
    "classroom_3level",
)  # fmt: skip
GENERATED = tuple(f"generated/{path.name.removesuffix('.json.gz')}" for path in sorted(FOLDER.glob("generated/*.gz")))
#: What ``case_delete`` returns, sets of units included; lme4's ``influence``; rotated random effects.
DELETIONS = ("sleepstudy_rs_case_delete", "sleepstudy_ri_case_delete")
LME4 = ("lme4_influence_sleepstudy_rs", "lme4_influence_sleepstudy_ri")
ROTATION = "rotate_ranef_gen_19"


@cache
def recorded(name: str) -> dict[str, Any]:
    """Read a recorded reference; its data and itself must be the files of the manifest.

    Parameters
    ----------
    name : str
        Path below ``expected/hlmdiag`` without endings.

    Returns
    -------
    dict
        Laid out as ``expected/hlmdiag/README.md`` says.
    """
    content: dict[str, Any] = json.loads(gzip.decompress(_read(FOLDER / f"{name}.json.gz")))
    return content


def case_of(name: str) -> Case:
    """Return the model of a recorded reference; the labels of its rows are those of the CSV file, from 1.

    Parameters
    ----------
    name : str
        Also of a file that has only a data file and a formula.
    """
    model = recorded(name)["model"]
    categories = dict(model.get("categorical_columns") or {})
    path = _data_file((FOLDER / name).parent / model["data_file"])
    _read(path)
    frame = pd.read_csv(path)
    for column, levels in categories.items():
        frame[column] = pd.Categorical(frame[column].astype(str), levels)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Case(name, model["formula"], frame, method="REML" if model.get("REML", True) else "ML")


@cache
def fitted(name: str, method: str | None = None) -> Any:
    """Fit the model of a recorded reference, once.

    Parameters
    ----------
    name : str
    method : {"REML", "ML"}, optional
        Another one than that of the reference.
    """
    case = case_of(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular fits
        return case.fit(case.frame(), **({} if method is None else {"method": method}))


def at_recorded_theta(name: str) -> Any:
    """Return the model of a recorded reference at lme4's theta, without an optimizer."""
    result, record = fitted(name), recorded(name)
    theta = np.array(record["fit"]["theta"], dtype=float)
    return interlace.LMMResult(at_theta(result.state.problem.design, theta, reml=result.state.reml), result.call)


def file_hashes() -> dict[str, str]:
    """Hash of every record and data file in the folder, by its path there."""
    files = (path for path in FOLDER.rglob("*") if path.suffix in (".gz", ".csv"))
    return {path.relative_to(FOLDER).as_posix(): _hash(path.read_bytes()) for path in sorted(files)}


def _data_file(plain: Path) -> Path:
    return plain if plain.exists() else plain.with_name(f"{plain.name}.gz")


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    name = path.relative_to(FOLDER).as_posix()
    if manifest()["hlmdiag"]["files"].get(name) != _hash(content):
        raise StaleReferenceError(f"{name} is not the file of r_reference/manifest.json")
    return content


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
