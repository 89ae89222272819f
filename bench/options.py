"""What every benchmark does with its limits: ``--check``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Collection


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="fail when a limit is not kept")


def machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} cores"


def conclude(broken: Collection[str], *, check: bool) -> None:
    """Print a sentence for each limit that was not kept; with ``--check`` the exit code is 1 then."""
    if broken:
        print("", *broken, sep="\n")
    if check and broken:
        sys.exit(1)
