"""Compare trio-smtp with other servers: ``python -m bench.run``, or ``nox -s bench`` for the short version.

Each server runs alone on a free loopback port and is started anew for every measurement. load.c, which is compiled when
needed, makes the load. Each round of a workload measures all its servers in turn. In the tables,

- the processor time is the *minimum* over the rounds of the user and system time of the server's processes per message,
  without connections and warm-up. Other activity of the machine can only increase it, by evicting data from the caches;
- a ratio is the *median* of the ratios within each round (see `bench.targets`);
- messages per second, latencies and memory are medians.

``--servers`` and ``--workloads`` select what is measured. One server with one workload takes ten seconds::

    python -m bench.run --servers drop --workloads 1k-pipelined --rounds 5

A server whose program is missing is left out, and a line says how to install it. With ``--check`` the exit code is 1 if
a target is missed. The tables are in Markdown; ``--write docs/performance.md`` writes them to that page.
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

from bench.build import CACHE, MissingError, load_generator
from bench.options import add_check, chosen, conclude, machine
from bench.subjects import SUBJECTS, Subject
from bench.tables import describe, judgement, summary
from bench.targets import Round, judge
from bench.workloads import KIB, WORKLOADS, Workload
from trio_smtp.cli.self_signed import self_signed
from trio_smtp.cli.settings import StoreURL

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


@dataclass(frozen=True)
class Bench:
    """The settings of all measurements.

    Args:
        load: the load generator.
        directory: where the servers store mail.
        certificate: the certificate of the servers.
        seconds: the duration of each measurement.
    """

    load: Path
    directory: Path
    certificate: Path
    seconds: float

    def measure(self, subject: Subject, workload: Workload) -> Round:
        """Measure a server with a workload once.

        Raises:
            subprocess.CalledProcessError: if the load generator fails, because the server did something unexpected.
        """
        with (
            tempfile.TemporaryDirectory(dir=self.directory) as folder,
            subject.running(Path(folder), self.certificate, workload.tls) as server,
        ):
            command = [str(self.load), f"--port={server.port}", f"--seconds={self.seconds}", *workload.arguments]
            if workload.hold:
                with holding([*command, "--sessions=50"]):
                    pass  # so that one-time allocations are not counted
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
        """All rounds of a workload. A server that fails is left out."""
        results: dict[str, list[Round]] = {subject.name: [] for subject in subjects}
        for number in range(count):
            for subject in subjects[:: -1 if number % 2 else 1]:  # no server always follows the same one
                if subject.name in results:
                    try:
                        results[subject.name].append(self.measure(subject, workload))
                    except subprocess.CalledProcessError:
                        print(f"\n{subject.name} failed in {workload.name}")
                        del results[subject.name]
        return results


@contextmanager
def holding(command: Sequence[str]) -> Iterator[None]:
    """Let the load generator open all its sessions and keep them open until the block ends."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise subprocess.CalledProcessError(process.wait(), command)
        yield


def time_sync(directory: Path) -> float:
    """The seconds that it takes to sync a kilobyte to disk."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(200):
            file.write(bytes(KIB))
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def available(subjects: Sequence[Subject]) -> tuple[list[Subject], list[str]]:
    """The servers that can be started, and a line for each of the others."""
    found, lines = [], []
    for subject in subjects:
        try:
            subject.command()
        except MissingError as error:
            lines.append(f"{subject.name} is left out: {error}")
        else:
            found.append(subject)
    return found, lines


def write(page: Path, report: str) -> None:
    """Replace the report in the page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{page} has no {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n\n{report}\n\n{end}{after}")


def main() -> None:
    names = [
        *("servers:", *(f"  {subject.name:<26}{subject.what}" for subject in SUBJECTS)),
        *("workloads:", *(f"  {workload.name:<26}{workload.title}" for workload in WORKLOADS)),
    ]
    parser = argparse.ArgumentParser(
        prog="bench.run",
        description="Measure trio-smtp beside other servers.",
        epilog="\n".join(names),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--servers", metavar="NAME,...", help="instead of all that the workload is for")
    parser.add_argument("--workloads", metavar="NAME,...", help="instead of all")
    parser.add_argument("--rounds", type=int, help="of each workload (default: 5; 3 with --quick)")
    parser.add_argument("--seconds", type=float, help="of each measurement (default: 1; 0.5 with --quick)")
    parser.add_argument("--quick", action="store_true", help="the short version: the most telling workloads")
    parser.add_argument("--directory", type=Path, default=CACHE, help="where stores lie (default: %(default)s)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help=f"put the tables between {BEGIN} and {END} there")
    add_check(parser)
    arguments = parser.parse_args()
    count = arguments.rounds or (3 if arguments.quick else 5)
    seconds = arguments.seconds or (0.5 if arguments.quick else 1)
    named = arguments.servers and chosen(arguments.servers, SUBJECTS, "server")
    workloads = (
        chosen(arguments.workloads, WORKLOADS, "workload")
        if arguments.workloads
        else [workload for workload in WORKLOADS if workload.quick or not arguments.quick]
    )

    try:
        load, has_tls = load_generator()
    except MissingError as error:
        sys.exit(f"the load generator needs a compiler: {error}")
    subjects, missing = available(named or SUBJECTS)
    if not has_tls and any(workload.tls != "none" for workload in workloads):
        missing.append("TLS is left out: apt-get install libssl-dev")
        workloads = [workload for workload in workloads if workload.tls == "none"]
    arguments.directory.mkdir(parents=True, exist_ok=True)
    conditions = [
        f"{time.strftime('%Y-%m-%d')}, {machine()}, {count} rounds of {seconds:g} s",
        f"load average {os.getloadavg()[0]:.1f} before it began",
        f"a sync of the disk takes {time_sync(arguments.directory) * 1e3:.2f} ms",
    ]
    head = "; ".join([*conditions, *missing])
    print(head)

    results: dict[str, dict[str, list[Round]]] = {}
    details: list[str] = []
    broken: list[str] = []
    with self_signed(StoreURL("null"), "localhost") as (certificate, _):
        bench = Bench(load, arguments.directory, certificate, seconds)
        for workload in workloads:
            chosen_ones = [s for s in subjects if s.can(workload) and (named or workload.stores or not s.stores)]
            measured = results[workload.name] = bench.rounds(workload, chosen_ones, count)
            details.append(describe(workload, measured, chosen_ones))
            print(f"\n{details[-1]}", flush=True)
            broken += [f"{workload.name}: {s.name} failed" for s in chosen_ones if s.name not in measured]
    verdicts = list(judge(results))
    overview = [summary(results, workloads, subjects), *[judgement(verdicts)] * bool(verdicts)]
    print("", *overview, sep="\n\n")
    if arguments.write:
        write(arguments.write, "\n\n".join([head, *overview, *details]))
    broken += [f"{v.workload}: {v.what}: {v.measured}, wanted {v.wanted}" for v in verdicts if not v.kept]
    if arguments.check:
        conclude(broken, check=True)


if __name__ == "__main__":
    main()
