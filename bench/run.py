"""Measures trio-smtp beside other servers: ``python -m bench.run``, or ``nox -s bench`` for the short version.

Each server runs alone, fresh for every measurement, on a free loopback port; the load comes from load.c, which is
compiled at need. The rounds of a workload go through all its servers in turn. In the tables,

- the processor time is the *least* of the rounds: user and system time of the server's processes for each message,
  connections and warm-up not counted. What else the machine does can only add to it, by what it drives out of the
  caches;
- a ratio is the *median* of the ratios within one round (see `bench.targets`);
- messages a second, latencies and memory are medians.

``--servers`` and ``--workloads`` choose, e.g. one server on one workload, which takes ten seconds::

    python -m bench.run --servers drop --workloads 1k-pipelined --rounds 5

A server whose program is missing is left out, with a line that says how to install it. With ``--check`` the exit code
is 1 if a target is missed. The tables are Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.build import CACHE, MissingError, load_generator
from bench.options import add_check, conclude, machine
from bench.subjects import BASELINE, SUBJECTS, Subject
from bench.targets import Results, Round, judge, median, ratio
from bench.workloads import KIB, WORKLOADS, Workload
from trio_smtp.cli.self_signed import self_signed
from trio_smtp.cli.settings import StoreURL

T = TypeVar("T", Subject, Workload)


@dataclass(frozen=True)
class Bench:
    """How everything is measured.

    Args:
        load: the load generator.
        directory: where the servers keep what they keep.
        certificate: theirs.
        seconds: how long each is measured.
    """

    load: Path
    directory: Path
    certificate: Path
    seconds: float

    def measure(self, subject: Subject, workload: Workload) -> Round:
        """One round of it.

        Raises:
            subprocess.CalledProcessError: the server did not do what it should.
        """
        with (
            tempfile.TemporaryDirectory(dir=self.directory) as folder,
            subject.running(Path(folder), self.certificate, workload.tls) as server,
        ):
            command = [str(self.load), f"--port={server.port}", f"--seconds={self.seconds}", *workload.arguments]
            if workload.hold:
                with holding([*command, "--sessions=50"]):
                    pass  # what happens once has happened
                before = server.resident()
                with holding(command):
                    each = (server.resident() - before) * KIB / workload.sessions
                    return Round(each=each, peak=server.peak())
            before = server.peak()
            pids = [f"--pid={pid}" for pid in server.tree()]
            report = json.loads(subprocess.run([*command, *pids], check=True, stdout=subprocess.PIPE).stdout)
            peak = server.peak()
        return Round(
            cpu=report["cpu"] / report["messages"] * 1e6,
            rate=report["messages"] / report["seconds"],
            p50=report["p50"] * 1e3,
            p99=report["p99"] * 1e3,
            peak=peak,
            growth=peak - before,
            busy=report["own"] / report["seconds"],
        )

    def rounds(self, workload: Workload, subjects: Sequence[Subject], count: int) -> dict[str, list[Round]]:
        """All of a workload; a server that fails is left out."""
        results: dict[str, list[Round]] = {subject.name: [] for subject in subjects}
        for number in range(count):
            for subject in subjects[:: -1 if number % 2 else 1]:  # nobody always follows the same one
                if subject.name in results:
                    try:
                        results[subject.name].append(self.measure(subject, workload))
                    except subprocess.CalledProcessError:
                        print(f"\n{subject.name} failed in {workload.name}")
                        del results[subject.name]
        return results


@contextmanager
def holding(command: Sequence[str]) -> Iterator[None]:
    """The load generator has opened all its sessions, and keeps them open for the length of the block."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise subprocess.CalledProcessError(process.wait(), command)
        yield


def time_sync(directory: Path) -> float:
    """Seconds that it takes to make a kilobyte last."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(200):
            file.write(bytes(KIB))
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times)


# --- what is printed


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown that can be read as it is: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return f"| {first[0]:<{first[1]}} | " + " | ".join(f"{cell:>{width}}" for cell, width in others) + " |"

    rule = f"|{'-' * (widths[0] + 2)}|" + "|".join(f"{'-' * (width + 1)}:" for width in widths[1:]) + "|"
    return "\n".join([line(headings), rule, *map(line, rows)])


def describe(workload: Workload, measured: dict[str, list[Round]], subjects: Sequence[Subject]) -> str:
    """The table of a workload."""
    measure = "each" if workload.hold else "cpu"
    rows = []
    for subject in subjects:
        if rounds := measured.get(subject.name):
            relation = f"{ratio(rounds, measured[BASELINE], measure):.3f}" if measured.get(BASELINE) else ""
            peak = f"{median(rounds, 'peak'):,.0f}"
            if workload.hold:
                rows.append([subject.name, f"{median(rounds, 'each'):,.1f}", relation, peak])
                continue
            rows.append(
                [
                    subject.name,
                    f"{min(each.cpu for each in rounds):,.1f}",
                    relation,
                    f"{median(rounds, 'rate'):,.0f}",
                    f"{median(rounds, 'p50'):,.2f}",
                    f"{median(rounds, 'p99'):,.2f}",
                    peak,
                    f"{median(rounds, 'growth'):+,.1f}",
                ]
            )
    relative = f"x {BASELINE}"
    if workload.hold:
        headings = ["server", "KiB each", relative, "peak MiB"]
    else:
        headings = ["server", "CPU us", relative, "messages/s", "p50 ms", "p99 ms", "peak MiB", "growth"]
    return f"\n**{workload.title}** (`{workload.name}`)\n\n{table(headings, rows)}"


def busy(workload: Workload, measured: dict[str, list[Round]]) -> Iterator[str]:
    """Yield a line for each server that the load generator may not have kept busy."""
    for name, rounds in measured.items():
        if (share := median(rounds, "busy")) > 0.9:
            yield f"\n{workload.name}: the load generator itself was busy for {share:.0%} of the time with {name}."


def conclusions(results: Results) -> list[str]:
    """Print the targets; a sentence for each that is missed."""
    verdicts = list(judge(results))
    if verdicts:
        rows = [[v.workload, v.what, v.measured, v.wanted, "yes" if v.kept else "**no**"] for v in verdicts]
        print("\n**Targets**\n\n" + table(["workload", "server, measure", "measured", "wanted", "kept"], rows))
    return [f"{v.workload}: {v.what}: {v.measured}, wanted {v.wanted}" for v in verdicts if not v.kept]


# --- what is chosen


def chosen(names: str | None, there_are: Sequence[T], what: str) -> list[T] | None:
    """Those with the names in a comma-separated list; None if there is no list."""
    if names is None:
        return None
    known = {each.name: each for each in there_are}
    for name in names.split(","):
        if name not in known:
            sys.exit(f"there is no {what} {name!r}, but these: {', '.join(known)}")
    return [known[name] for name in names.split(",")]


def available(subjects: Sequence[Subject]) -> list[Subject]:
    """Those that can be started; a line for each of the others."""
    found = []
    for subject in subjects:
        try:
            subject.command()
        except MissingError as error:
            print(f"{subject.name} is left out: {error}")
        else:
            found.append(subject)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.run", description="Measure trio-smtp beside other servers.")
    parser.add_argument("--servers", metavar="NAME,...", help=", ".join(subject.name for subject in SUBJECTS))
    parser.add_argument("--workloads", metavar="NAME,...", help=", ".join(workload.name for workload in WORKLOADS))
    parser.add_argument("--rounds", type=int, help="of each workload (default: 5; 3 with --quick)")
    parser.add_argument("--seconds", type=float, help="of each measurement (default: 1; 0.5 with --quick)")
    parser.add_argument(
        "--quick", action="store_true", help="the short version: the most telling workloads, less of it"
    )
    parser.add_argument("--directory", type=Path, default=CACHE, help="where stores lie (default: %(default)s)")
    add_check(parser)
    arguments = parser.parse_args()
    count = arguments.rounds or (3 if arguments.quick else 5)
    seconds = arguments.seconds or (0.5 if arguments.quick else 1)
    named = chosen(arguments.servers, SUBJECTS, "server")
    workloads = chosen(arguments.workloads, WORKLOADS, "workload")
    workloads = workloads or [workload for workload in WORKLOADS if workload.quick or not arguments.quick]

    try:
        load, has_tls = load_generator()
    except MissingError as error:
        sys.exit(f"the load generator needs a compiler: {error}")
    print(f"{machine()}, {count} rounds of {seconds:g} s")
    subjects = available(named or SUBJECTS)
    if not has_tls and any(workload.tls != "none" for workload in workloads):
        print("TLS is left out: apt-get install libssl-dev")
        workloads = [workload for workload in workloads if workload.tls == "none"]
    arguments.directory.mkdir(parents=True, exist_ok=True)
    if any(subject.stores for subject in subjects) and any(workload.stores or named for workload in workloads):
        print(f"a sync of {arguments.directory} takes {time_sync(arguments.directory) * 1e3:.2f} ms")

    results: dict[str, dict[str, list[Round]]] = {}
    broken: list[str] = []
    with self_signed(StoreURL("null"), "localhost") as (certificate, _):
        bench = Bench(load, arguments.directory, certificate, seconds)
        for workload in workloads:
            measured = [s for s in subjects if s.can(workload) and (named or workload.stores or not s.stores)]
            results[workload.name] = bench.rounds(workload, measured, count)
            print(
                describe(workload, results[workload.name], measured), *busy(workload, results[workload.name]), sep="\n"
            )
            broken += [f"{workload.name}: {s.name} failed" for s in measured if s.name not in results[workload.name]]
    broken += conclusions(results)
    conclude(broken, check=arguments.check)


if __name__ == "__main__":
    main()
