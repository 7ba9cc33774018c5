"""Print the optional requirements that fit this machine, one install line each.

Some extras build against system libraries: rpy2 against R, scikit-sparse against SuiteSparse. ``make setup`` installs
what this prints and goes on without whatever cannot be built.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

HEADER_FOLDERS = ("/usr/include/suitesparse", "/usr/local/include/suitesparse", "/usr/local/include", "/usr/include")
BREW_FOLDERS = ("/opt/homebrew/include/suitesparse", "/opt/homebrew/include")


def r_version() -> tuple[int, int] | None:
    """Version of R on the path, or None."""
    if shutil.which("R") is None:
        return None
    text = subprocess.run(["R", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"R version (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def suitesparse_version() -> tuple[int, int] | None:
    """Version of the SuiteSparse headers, or None."""
    for folder in (*HEADER_FOLDERS, *BREW_FOLDERS):
        header = Path(folder) / "SuiteSparse_config.h"
        if header.exists() and (Path(folder) / "cholmod.h").exists():
            text = header.read_text("utf-8", errors="replace")
            main = re.search(r"define\s+SUITESPARSE_MAIN_VERSION\s+(\d+)", text)
            sub = re.search(r"define\s+SUITESPARSE_SUB_VERSION\s+(\d+)", text)
            return (int(main[1]), int(sub[1])) if main and sub else None
    return None


def requirements() -> list[str]:
    """Install lines for the extras ``r`` and ``cholmod``."""
    lines = []
    if (version := r_version()) is not None:
        # Newer builds of the interface use symbols that R has from 4.5 on.
        lines.append("rpy2>=3.6,<3.7" + (" rpy2-rinterface<3.6.6" if version < (4, 5) else ""))
    if (version := suitesparse_version()) is not None:
        lines.append("scikit-sparse>=0.5" if version >= (7, 4) else "scikit-sparse>=0.4.12,<0.5")
    return lines


if __name__ == "__main__":
    print("\n".join(requirements()))
