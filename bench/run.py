"""Measures trio-smtp beside other servers: processor time, messages per second, latency and memory.

Each server runs alone in a process of its own, fresh for every measurement; the load comes from load.c, which
is compiled first. Rounds alternate between the servers, so that a machine that slows down slows all of them,
and the table shows the median round. Processor time is the server's own, user and system, from /proc, so the
load generator and other programs do not count. All traffic stays on the loopback interface.

A further server is a line in SERVERS (a module that prints its port), a further load a line in WORKLOADS.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.process import Server, running

HERE = Path(__file__).parent
MIB = 1 << 20


@dataclass(frozen=True)
class Workload:
    """A load, and what the subject may need for it: a share of the baseline's processor time, MiB of memory."""

    name: str
    mode: str
    sessions: int
    messages: int
    size: int
    limit_share: float | None = None
    limit_growth: float | None = None


SUBJECT, BASELINE = "trio-smtp", "aiosmtpd"
SERVERS = {
    SUBJECT: "bench.servers.trio_smtp_null",
    BASELINE: "bench.servers.aiosmtpd_sink",
}
WORKLOADS = [
    Workload("1 KB, pipelined", "pipelined", sessions=10, messages=10_000, size=1024, limit_share=0.25),
    Workload("1 KB, lockstep", "lockstep", sessions=10, messages=10_000, size=1024, limit_share=0.40),
    Workload("25 MB body", "lockstep", sessions=1, messages=1, size=25 * MIB, limit_growth=4.0),
]


@dataclass(frozen=True)
class Result:
    """What one round cost. Times in seconds, memory in MiB."""

    cpu: float
    rate: float
    p50: float
    p99: float
    growth: float


def compile_load(directory: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("the load generator needs a C compiler: install gcc")
    load = directory / "load"
    subprocess.run([compiler, "-O2", "-std=c11", "-o", load, HERE / "load.c"], check=True)
    return load


def measure(load: Path, server: Server, workload: Workload) -> Result:
    def run(messages: int) -> dict[str, float]:
        counts = [workload.sessions, messages, workload.size]
        command = [str(load), str(server.port), workload.mode, *map(str, counts)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        return dict(json.loads(output))

    if workload.messages > workload.sessions:
        run(workload.sessions)  # whatever happens once, happens here
    cpu, peak = server.cpu(), server.peak()
    report = run(workload.messages)
    return Result(
        cpu=(server.cpu() - cpu) / workload.messages,
        rate=workload.messages / report["seconds"],
        p50=report["p50"],
        p99=report["p99"],
        growth=server.peak() - peak,
    )


def median(results: list[Result]) -> Result:
    columns = zip(*(vars(result).values() for result in results), strict=True)
    return Result(*map(statistics.median, columns))


def failures(workload: Workload, results: dict[str, Result]) -> Iterator[str]:
    """Yield a sentence for each limit of the workload that the subject does not keep."""
    subject, baseline = results[SUBJECT], results[BASELINE]
    if workload.limit_share is not None and subject.cpu > workload.limit_share * baseline.cpu:
        yield (
            f"{workload.name}: {subject.cpu / baseline.cpu:.0%} of the processor time of {BASELINE}, "
            f"the limit is {workload.limit_share:.0%}"
        )
    if workload.limit_growth is not None and subject.growth > workload.limit_growth:
        yield f"{workload.name}: {subject.growth:.1f} MiB more memory, the limit is {workload.limit_growth} MiB"


HEADINGS = f"{'server':<12}{'CPU/message':>14}{'share':>8}{'messages/s':>13}{'p50':>12}{'p99':>12}{'memory':>12}"


def row(name: str, result: Result, share: float) -> str:
    return (
        f"{name:<12}{result.cpu * 1e6:>11,.0f} us{share:>8.0%}{result.rate:>13,.0f}"
        f"{result.p50 * 1e3:>9,.2f} ms{result.p99 * 1e3:>9,.2f} ms{result.growth:>+8.1f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="Measure trio-smtp beside other servers.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take the median of")
    parser.add_argument("--check", action="store_true", help="fail when trio-smtp exceeds its limits")
    arguments = parser.parse_args()

    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, median of {arguments.rounds} rounds")
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        load = compile_load(Path(directory))
        for workload in WORKLOADS:
            rounds: dict[str, list[Result]] = {name: [] for name in SERVERS}
            for _ in range(arguments.rounds):
                for name, module in SERVERS.items():
                    with running(module) as server:
                        rounds[name].append(measure(load, server, workload))
            results = {name: median(results) for name, results in rounds.items()}
            print(f"\n{workload.name}: {workload.messages:,} messages, {workload.sessions} sessions\n{HEADINGS}")
            for name, result in results.items():
                print(row(name, result, result.cpu / results[BASELINE].cpu))
            broken += failures(workload, results)
    if broken:
        print("", *broken, sep="\n")
    if arguments.check and broken:
        sys.exit(1)


if __name__ == "__main__":
    main()
