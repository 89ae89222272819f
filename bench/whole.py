"""Count the instructions of a whole server per message, outside the kernel: ``python -m bench.whole``.

This is for servers in Python on a machine that is busy with other things, where processor time varies by half. These
figures vary only by one or two percent, with the number of sessions that are ready in one turn of the loop. As in
`bench.instructions`, valgrind counts the instructions of a short and a longer run, and the difference is taken. It does
not count the work of the kernel, so a server that saves instructions by more system calls looks better than it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.build import CACHE, MissingError, load_generator
from bench.instructions import counted, valgrind
from bench.options import chosen, machine
from bench.process import started
from bench.subjects import BASELINE, ENVIRONMENT, OURS, SUBJECTS, Subject
from bench.tables import table
from bench.workloads import WORKLOADS, Workload

SHORT, LONG = 1, 6  # seconds


def count(subject: Subject, workload: Workload, seconds: float) -> tuple[int, int]:
    """The numbers of messages and of instructions in one run.

    Raises:
        MissingError: if a program is missing.
    """
    load, _ = load_generator()
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        log = Path(folder, "log")
        command = [*valgrind(log), *subject.command()]
        with started(command, cwd=folder, env={**ENVIRONMENT, "PYTHONHASHSEED": "0"}) as server:
            options = [f"--port={server.port}", *workload.arguments, "--warm=0", f"--seconds={seconds}"]
            report = json.loads(subprocess.run([str(load), *options], check=True, stdout=subprocess.PIPE).stdout)
            server.terminate()
            server.wait()
        return report["messages"], counted(log)


def instructions(subject: Subject, workload: Workload) -> float:
    """The instructions per message."""
    few, before = count(subject, workload, SHORT)
    more, after = count(subject, workload, LONG)
    return (after - before) / (more - few)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.whole", description="Count the instructions of whole servers.")
    parser.add_argument("--servers", metavar="NAME,...", default=f"{OURS},{BASELINE}", help="default: %(default)s")
    parser.add_argument(
        "--workloads", metavar="NAME,...", default="1k-pipelined,1k-lockstep", help="default: %(default)s"
    )
    arguments = parser.parse_args()
    subjects = chosen(arguments.servers, SUBJECTS, "server")
    print(f"{machine()}\n")
    rows = []
    try:
        for workload in chosen(arguments.workloads, WORKLOADS, "workload"):
            figures = [instructions(subject, workload) for subject in subjects]
            relative = [f"{figure:,.0f} ({figure / figures[-1]:.3f})" for figure in figures]
            rows.append([f"`{workload.name}`", *relative])
    except MissingError as error:
        sys.exit(f"something is missing: {error}")
    print(table(["workload", *(subject.name for subject in subjects)], rows))


if __name__ == "__main__":
    main()
