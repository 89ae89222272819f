"""Measure what bad clients can do to a server: ``python -m bench.attack [NAME...]``, or ``nox -s bench -- attack``.

The scenarios are in the table below. Each describes what it does and has its own limits. The server runs in a separate
process: the program ``trio-smtp serve``, or `bench.servers.trio_smtp_target` if a scenario needs more than the program
offers. The clients run on the same machine, so the server is measured on a machine that is also busy with its clients.

A value is the median of three runs, or comes from a single run if that has very many clients. With ``--check`` the exit
code is 1 if a limit is exceeded. All scenarios together take about five minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.attacks import crowds, faults, memory
from bench.attacks.measure import Measure


class Scenario(NamedTuple):
    """A function to run, and how many times."""

    run: Callable[[], Iterator[Measure]]
    times: int = 3


SCENARIOS = {
    "idle": Scenario(crowds.idle_connections, times=1),
    "tls": Scenario(crowds.idle_tls_connections, times=1),
    "rabble": Scenario(crowds.rabble),
    "descriptors": Scenario(crowds.few_descriptors),
    "line": Scenario(memory.endless_line),
    "large": Scenario(memory.large_messages),
    "sessions": Scenario(memory.many_sessions, times=1),
    "raising": Scenario(faults.raising_hooks, times=1),
    "signals": Scenario(faults.signals, times=1),
}


def measure(scenario: Scenario) -> list[Measure]:
    """Run a scenario and return the medians of its measures."""
    runs = [list(scenario.run()) for _ in range(scenario.times)]
    return [
        measures[0]._replace(value=statistics.median(each.value for each in measures))
        for measures in zip(*runs, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.attack", description="Measure what bad clients can do.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of a scenario: {', '.join(SCENARIOS)} (default: all)"
    )
    parser.add_argument("--check", action="store_true", help="fail when a limit is not kept")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - SCENARIOS.keys():
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")

    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
    kept = True
    for name in arguments.names or SCENARIOS:
        scenario = SCENARIOS[name]
        print(f"\n{name}: {scenario.run.__doc__}", flush=True)
        start = time.perf_counter()
        for each in measure(scenario):
            kept &= each.kept
            value, limit = f"{each.value:,.4g}", f"{each.limit:,.4g}"
            print(f"  {'ok' if each.kept else 'MISSED':<8}{each.what:<40}{value:>8} {each.unit} (limit {limit})")
        print(f"  {'':<8}{time.perf_counter() - start:.0f} s", flush=True)
    if arguments.check and not kept:
        sys.exit(1)


if __name__ == "__main__":
    main()
