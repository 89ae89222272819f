"""What the benchmarks share: options, the machine they run on, how they end."""

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
    """What is chosen by its name."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def chosen(names: str, there_are: Sequence[N], what: str) -> list[N]:
    """Those with the names in a comma-separated list; an unknown one ends the program."""
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
    """Print a sentence for each limit that was not kept; with ``--check`` the exit code is 1 then."""
    if broken:
        print("", *broken, sep="\n")
    if check and broken:
        sys.exit(1)
