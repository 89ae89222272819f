"""Measure the gain from workers: ``trio-smtp serve`` with one process, and with several on as many processors.

The load generator uses part of a processor too. If there are no more processors than workers, the workers cannot use
that part, so its processor time per message is printed beside the gain. That of the servers is printed too: it shows
whether a missing gain is due to duplicated work or to waiting.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.build import CACHE, MissingError, load_generator
from bench.options import add_check, conclude, machine
from bench.process import started
from bench.tables import number, table
from bench.targets import Round

STORES = {"null:": 1.7, "json:mail": 1.4}
"""The stores to measure, and the least gain in messages per second that two workers must reach."""
LOADS = {
    "pipelined, 10 sessions": ("--mode=pipelined", "--sessions=10"),
    "pipelined, 200 sessions": ("--mode=pipelined", "--sessions=200"),
    "lockstep, 10 sessions": ("--mode=lockstep", "--sessions=10"),
}
CHECKED = "pipelined, 200 sessions"


def measure(load: Path, directory: Path, store: str, workers: int, seconds: float, options: tuple[str, ...]) -> Round:
    """Measure one round with messages of 1 KB."""
    flags = [f"--store={store}", f"--workers={workers}", "--account=demo=demo@example.com"]
    command = [sys.executable, "-m", "trio_smtp", "serve", "--listen=smtp://127.0.0.1:0", *flags]
    with (
        tempfile.TemporaryDirectory(dir=directory) as folder,
        started(command, cwd=folder, stderr=subprocess.DEVNULL) as server,
    ):
        pids = [f"--pid={pid}" for pid in server.tree()]
        arguments = [f"--port={server.port}", f"--seconds={seconds}", "--warm=0.5", "--size=1024", *options, *pids]
        report = json.loads(subprocess.run([load, *arguments], check=True, stdout=subprocess.PIPE).stdout)
        server.terminate()
        server.wait()
    return Round(
        cpu=report["cpu"] / report["messages"] * 1e6,
        rate=report["messages"] / report["seconds"],
        busy=report["own"] / report["messages"] * 1e6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.workers", description="Measure trio-smtp serve --workers.")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of each round (default: %(default)s)")
    parser.add_argument("--directory", type=Path, default=CACHE, help="where stores lie (default: %(default)s)")
    add_check(parser)
    arguments = parser.parse_args()
    try:
        load, _ = load_generator()
    except MissingError as error:
        sys.exit(f"the load generator needs a compiler: {error}")
    arguments.directory.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}, median of {arguments.rounds} rounds of {arguments.seconds:g} s, messages of 1 KB\n")

    rows: list[list[str]] = []
    broken: list[str] = []
    for store, wanted in STORES.items():
        for name, options in LOADS.items():
            rounds: dict[int, list[Round]] = {1: [], arguments.workers: []}
            for turn in range(arguments.rounds):
                for workers in sorted(rounds, reverse=bool(turn % 2)):
                    rounds[workers].append(
                        measure(load, arguments.directory, store, workers, arguments.seconds, options)
                    )
            one, several = rounds.values()
            gain = statistics.median(b.rate / a.rate for a, b in zip(one, several, strict=True))
            rows.append([f"{store} {name}", *describe(one), *describe(several), f"{gain:.2f}"])
            if name == CHECKED and arguments.workers == 2 and gain < wanted:
                broken.append(
                    f"{store} {name}: {gain:.2f} times the messages a second of one, at least {wanted} wanted"
                )
    titles = [
        f"{word} {workers}" for workers in ("1", arguments.workers) for word in ("messages/s", "CPU us", "load us")
    ]
    print(table(["store and load", *titles, "gain"], rows))
    conclude(broken, check=arguments.check)


def describe(rounds: list[Round]) -> list[str]:
    """The messages per second, and the microseconds per message of the servers and of the load generator."""
    return [number(statistics.median(getattr(each, what) for each in rounds)) for what in ("rate", "cpu", "busy")]


if __name__ == "__main__":
    main()
