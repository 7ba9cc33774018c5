"""What a new process waits for: the import of each library, and its first fit of the sleepstudy data from a CSV file.

The time is that of the whole process, so it has the start of the interpreter (Python or R) in it. A library that
imports its parts later is asked for the functions that a fit needs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.linear_jobs import Job

__all__ = ["SCRIPTS", "command", "fresh_job"]

#: Import; and the fit that follows it, with the name of the file for {path}.
SCRIPTS = {
    "interlace": (
        "from interlace import fit, glmer",
        "import pandas; fit('{formula}', pandas.read_csv('{path}'))",
    ),
    "lme4": (
        "suppressPackageStartupMessages(library(lme4))",
        "m <- lmer({formula}, read.csv('{path}'))",
    ),
    "lme-python": (
        "from lme_python import lmer, glmer",
        "import polars; "
        "lmer('{formula}', polars.read_csv('{path}', schema_overrides={{'Subject': polars.String}}), True)",
    ),
    "mixedlm": (
        "from mixedlm import lmer, glmer",
        "import pandas; lmer('{formula}', pandas.read_csv('{path}', dtype={{'Subject': str}}))",
    ),
    "statsmodels": (
        "from statsmodels.regression.mixed_linear_model import MixedLM",
        "import pandas; MixedLM.from_formula("
        "'Reaction ~ Days', pandas.read_csv('{path}'), re_formula='~Days', groups='Subject').fit()",
    ),
    "gpboost": ("from gpboost import GPModel", None),
}


def command(library: str, code: str) -> list[str]:
    """Run code in a new process of the library's language."""
    if library == "lme4":
        return [shutil.which("Rscript") or "Rscript", "--vanilla", "-e", code]
    return [sys.executable, "-W", "ignore", "-c", code]


def fresh_job(library: str, case: Case) -> Job | None:
    """Run the library's script in a process of its own."""
    code, fit = SCRIPTS[library]
    folder = tempfile.TemporaryDirectory(prefix="interlace-")  # there as long as the job
    if case.kind == "first_fit":
        if fit is None:
            return None
        path = Path(folder.name, "rows.csv")
        case.data().to_csv(path, index=False)
        code += "\n" + fit.format(formula=case.formula, path=path.as_posix())

    def work() -> None:
        subprocess.run(command(library, code), check=True, stdout=subprocess.DEVNULL, cwd=folder.name)

    return work, None
