"""What the benchmarks share: options, the description of the machine, and the exit code."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol, TypeVar


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="fail when a limit is not kept")


class Named(Protocol):
    """Anything that an option chooses by its name."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def chosen(names: str, there_are: Sequence[N], what: str) -> list[N]:
    """The items with the names in a comma-separated list. An unknown name ends the program."""
    known = {each.name: each for each in there_are}
    for name in names.split(","):
        if name not in known:
            sys.exit(f"there is no {what} {name!r}, but these: {', '.join(known)}")
    return [known[name] for name in names.split(",")]


def machine() -> str:
    processor = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    model = f" of {processor[1]}" if processor else ""
    return f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores{model}"


def conclude(broken: Collection[str], *, check: bool) -> None:
    """Print a sentence for each limit that was exceeded. With ``--check``, exit with 1 if there is any."""
    if broken:
        print("", *broken, sep="\n")
    if check and broken:
        sys.exit(1)
