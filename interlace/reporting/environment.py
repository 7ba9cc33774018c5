"""Where numbers were computed: versions, platform, BLAS, and when."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from interlace.core.blas import libraries
from interlace.results.persist import library_version

__all__ = ["created", "environment"]

_PACKAGES = ("numpy", "scipy", "pandas", "formulaic", "narwhals")


def environment() -> dict[str, Any]:
    """Versions of Python and packages, the platform, and the BLAS libraries in use.

    Examples
    --------
    >>> sorted(environment())
    ['blas', 'packages', 'platform', 'python']
    """
    packages = {"interlace-lme": library_version()} | {name: metadata.version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "blas": libraries(),
    }


def created() -> str:
    """Time of writing in UTC, or that of ``SOURCE_DATE_EPOCH``, by which builds are made reproducible.

    The variable is defined at https://reproducible-builds.org/specs/source-date-epoch/.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(given), UTC) if given.isdigit() else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
