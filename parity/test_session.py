"""What starting R leaves behind in the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import os
before = os.environ.get("LD_LIBRARY_PATH"), os.environ.get("DYLD_FALLBACK_LIBRARY_PATH")
import interlace.rbridge
interlace.rbridge.versions()
after = os.environ.get("LD_LIBRARY_PATH"), os.environ.get("DYLD_FALLBACK_LIBRARY_PATH")
assert before == after, (before, after)
"""


@pytest.mark.needs_r
def test_child_processes_load_the_libraries_they_would_load_without_r() -> None:
    """R's library path led worker processes to another Python's shared library."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
