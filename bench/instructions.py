"""Count the instructions that the protocol core executes per message: ``python -m bench.instructions``, or ``nox -s
instructions``.

Unlike time, the number of instructions is the same in every run. valgrind counts them in `bench.core`, once for a few
messages and once for more, so that the start and the end cancel out. Each figure must be within 5 % of the one in
instructions.json for this version of Python; otherwise the exit code is 1. If the core has become slower, fix it, or
record the new figures and explain why in the commit. If it has become faster, record them, so that it stays fast::

    nox -s instructions -- --record

Builds of the same version differ by up to 12 % (by profile-guided optimisation, or -O2 against -O3), so the figures of
another build are only printed, not compared.
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
    """The figures of one version of Python, and the build that they come from."""

    build: str
    instructions: dict[str, int]


def core(what: str, messages: int) -> list[str]:
    return [sys.executable, "-S", "-m", "bench.core", what, str(messages)]


# The same hashes in every run; no variables of this machine, because the environment is on the stack and its size
# affects the counts; and the project itself, because -S leaves out site-packages.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{Path(trio_smtp.__file__).parent.parent}:{ROOT}"}


def valgrind(log: Path) -> list[str]:
    """The words to put before a program's command line so that valgrind writes its number of instructions to `log`.

    Raises:
        MissingError: if valgrind is not installed.
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
    """The instructions per message, for each kind of message.

    Raises:
        MissingError: if valgrind is not installed.
    """
    for what in READS:
        subprocess.run(core(what, 1), env=ENVIRONMENT, check=True)  # so that the imported modules are compiled
    with ThreadPoolExecutor() as pool:
        counts = {(what, messages): pool.submit(count, what, messages) for what in READS for messages in (FEW, MORE)}
        return {what: (counts[what, MORE].result() - counts[what, FEW].result()) // (MORE - FEW) for what in READS}


def compare(measured: Mapping[str, int], recorded: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each figure that has changed too much or is not recorded."""
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
