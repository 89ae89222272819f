"""Counts the instructions that the protocol core takes for a message: ``python -m bench.instructions``, or ``nox -s
instructions``.

Time is different in every run, the number of instructions is not: valgrind counts them, in `bench.core`, once for a few
messages and once for more, so that what happens once cancels out. Each figure must be within 5 % of the one that
instructions.json has for this version of Python; otherwise the exit code is 1. A core that has become that much slower
is mended, or its figures are recorded again and the commit says why; those of a faster one are recorded, so that it
stays fast::

    nox -s instructions -- --record

Another build of the same version differs by up to 12 % (optimised by profiles or not, -O2 or -O3), so what one build
recorded is only shown to another.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

import trio_smtp
from bench.build import ROOT, MissingError, program
from bench.core import READS
from bench.options import conclude

RECORD = Path(__file__).with_suffix(".json")
VERSION = sysconfig.get_python_version()
OPTIMISED = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
BUILD = f"CPython {platform.python_version()}, {platform.python_compiler()}{', optimised' if OPTIMISED else ''}"
FEW, MORE = 20, 70  # messages
TOLERANCE = 5  # percent


class Recorded(TypedDict):
    """The figures of one version of Python, and which build of it."""

    build: str
    instructions: dict[str, int]


def core(what: str, messages: int) -> list[str]:
    return [sys.executable, "-S", "-m", "bench.core", what, str(messages)]


# The same hashes in every run, the same length of what lies on the stack on every machine, and the project without the
# site-packages that -S leaves out.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{Path(trio_smtp.__file__).parent.parent}:{ROOT}"}


def valgrind(log: Path) -> list[str]:
    """A command line, before that of the program, whose instructions are counted into the file.

    Raises:
        MissingError: there is none.
    """
    path = program("valgrind", "apt-get install valgrind")
    return [path, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", f"--log-file={log}"]


def counted(log: Path) -> int:
    match = re.search(r"I\s+refs:\s+([\d,]+)", log.read_text())
    assert match is not None, log.read_text()
    return int(match[1].replace(",", ""))


def count(what: str, messages: int) -> int:
    with tempfile.NamedTemporaryFile() as log:
        command = [*valgrind(Path(log.name)), *core(what, messages)]
        subprocess.run(command, env=ENVIRONMENT, check=True)
        return counted(Path(log.name))


def measure() -> dict[str, int]:
    """Instructions for a message, of each kind.

    Raises:
        MissingError: there is no valgrind.
    """
    for what in READS:
        subprocess.run(core(what, 1), env=ENVIRONMENT, check=True)  # compiles what is imported
    with ThreadPoolExecutor() as pool:
        counts = {(what, messages): pool.submit(count, what, messages) for what in READS for messages in (FEW, MORE)}
        return {what: (counts[what, MORE].result() - counts[what, FEW].result()) // (MORE - FEW) for what in READS}


def compare(measured: Mapping[str, int], recorded: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each figure that is not where it was."""
    for what, figure in measured.items():
        if what not in recorded:
            yield f"{what}: {figure:,} instructions, and no figure to compare it with"
        elif 100 * abs(difference := figure - recorded[what]) > TOLERANCE * recorded[what]:
            change = f"{difference / recorded[what]:+.1%}"
            yield f"{what}: {figure:,} instructions, recorded are {recorded[what]:,}: {change}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.instructions", description="Count the instructions of the core.")
    parser.add_argument("--record", action="store_true", help="write the figures down instead of comparing them")
    arguments = parser.parse_args()

    try:
        measured = measure()
    except MissingError as error:
        sys.exit(f"the instructions are counted by valgrind: {error}")
    everything: dict[str, Recorded] = json.loads(RECORD.read_text())
    recorded = everything.get(VERSION)
    print(f"{BUILD}: instructions of the core for a message")
    for what, figure in measured.items():
        beside = f", recorded {recorded['instructions'].get(what, 0):,}" if recorded else ""
        print(f"  {what:<20}{figure:>12,}{beside}")
    if arguments.record:
        everything[VERSION] = {"build": BUILD, "instructions": measured}
        RECORD.write_text(json.dumps(dict(sorted(everything.items())), indent=2) + "\n")
    elif recorded is None or recorded["build"] != BUILD:
        print(f"Not compared: recorded is {recorded['build'] if recorded else 'nothing'}. To record these:")
        print("  nox -s instructions -- --record")
    else:
        conclude(list(compare(measured, recorded["instructions"])), check=True)


if __name__ == "__main__":
    main()
