"""The command line: ``python -m interlace`` and ``interlace`` are the same."""

from __future__ import annotations

import sys

__all__ = ["main"]

#: Packages of the extra ``[cli]``.
_NEEDED = ("typer", "rich")
_NOT_INSTALLED = 3


def main() -> int:
    """Run the command line, and return its exit status (see `interlace.cli`)."""
    try:
        from interlace.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write('interlace: the command line needs typer and rich: pip install "interlace-lme[cli]"\n')
        return _NOT_INSTALLED
    return run()


if __name__ == "__main__":
    sys.exit(main())
