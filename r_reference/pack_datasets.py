"""Turn exported CSV files into the compressed files and the provenance record that the package ships.

    Rscript r_reference/datasets.R EXPORT_DIR
    python r_reference/pack_datasets.py EXPORT_DIR [--extra DIR]

``--extra`` names a folder with the CSV files of sets that no R package of Debian holds (``EXTRA`` below); without it
their packed files are kept as they are. The same input always gives the same bytes: no time stamps, sorted names.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

TARGET = Path(__file__).resolve().parents[1] / "interlace" / "datasets" / "data"
HLMDIAG = {"package": "HLMdiag", "version": "0.5.1", "license": "GPL-2"}

#: Sets that come as CSV: where they are from, and their factors (None: levels in alphabetical or numerical order).
EXTRA: dict[str, dict[str, Any]] = {
    "radon": {**HLMDIAG, "factors": {"county.name": None}},
    "autism": {
        **HLMDIAG,
        "factors": {"sicdegp": ["low", "med", "high"], "gender": None, "race": None, "bestest2": None},
    },
    "ahd": {**HLMDIAG, "factors": {"treatment": None}},
    "wages": {**HLMDIAG, "factors": {}},
    "classroom": {"package": "WWGbook", "version": "not recorded", "license": "GPL (>= 2)", "factors": {}},
    "kb_like": {"package": "interlace", "version": "0.1.0", "license": "CC0-1.0", "factors": {"s": None, "i": None}},
}


def short_levels(levels: list[str]) -> list[str] | dict[str, int]:
    """Consecutive whole numbers as their first and last; other levels as they are."""
    if len(levels) > 2 and all(text.isascii() and text.isdigit() for text in levels):
        first = int(levels[0])
        if levels == [str(first + step) for step in range(len(levels))]:
            return {"first": first, "last": first + len(levels) - 1}
    return levels


def extra_types(raw: bytes, factors: dict[str, list[str] | None]) -> tuple[int, dict[str, Any]]:
    """Count the rows of a CSV and find the type of each column."""
    frame = pd.read_csv(io.BytesIO(raw), keep_default_na=False, na_values=[""])
    types: dict[str, Any] = {}
    for name in frame.columns:
        if name in factors:
            levels = factors[name] or [str(value) for value in sorted(frame[name].dropna().unique())]
            types[name] = {"type": "category", "ordered": False, "levels": levels}
        else:
            types[name] = {"type": str(frame[name].dtype)}
    return len(frame), types


def pack(name: str, raw: bytes, entry: dict[str, Any]) -> dict[str, Any]:
    """Write one compressed file and return its provenance entry."""
    (TARGET / f"{name}.csv.gz").write_bytes(gzip.compress(raw, compresslevel=9, mtime=0))
    columns = {
        column: {**kind, "levels": short_levels(kind["levels"])} if kind["type"] == "category" else kind
        for column, kind in entry["columns"].items()
    }
    origin = {key: entry[key] for key in ("package", "version", "license", "rows")}
    return {**origin, "sha256": hashlib.sha256(raw).hexdigest(), "columns": columns}


def main() -> None:
    """Pack every exported set and write provenance.json, one set a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--extra", type=Path)
    options = parser.parse_args()
    record = TARGET / "provenance.json"
    known: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.exists() else {}
    for name, entry in json.loads((options.export / "types.json").read_text("utf-8"))["datasets"].items():
        known[name] = pack(name, (options.export / f"{name}.csv").read_bytes(), entry)
    for name, entry in EXTRA.items() if options.extra else ():
        raw = (options.extra / f"{name}.csv").read_bytes()
        rows, columns = extra_types(raw, entry["factors"])
        known[name] = pack(name, raw, {**entry, "rows": rows, "columns": columns})
    lines = [f"{json.dumps(name)}: {json.dumps(known[name], ensure_ascii=False)}" for name in sorted(known)]
    record.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
