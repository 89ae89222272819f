"""What every benchmark does with its limits: ``--check``."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Collection
from pathlib import Path


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="fail when a limit is not kept")


def machine() -> str:
    processor = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    model = f" of {processor[1]}" if processor else ""
    return f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores{model}"


def conclude(broken: Collection[str], *, check: bool) -> None:
    """Print a sentence for each limit that was not kept; with ``--check`` the exit code is 1 then."""
    if broken:
        print("", *broken, sep="\n")
    if check and broken:
        sys.exit(1)
