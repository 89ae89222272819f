"""A server in a process of its own, and what the kernel knows about it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A server that has said where it listens."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self._process = process
        self._proc = Path("/proc", str(process.pid))

    def cpu(self) -> float:
        """Seconds of user and system time so far."""
        fields = self._proc.joinpath("stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak(self) -> float:
        """The most memory that was resident at any time, in MiB."""
        match = re.search(r"VmHWM:\s+(\d+) kB", self._proc.joinpath("status").read_text())
        assert match is not None
        return int(match[1]) / 1024

    def finish(self) -> str:
        """End its standard input, and return what it says then, for servers that measure something themselves."""
        return self._process.communicate()[0]


@contextmanager
def running(module: str, *arguments: str) -> Iterator[Server]:
    """Start a server module, which prints its port on a line; it is killed at the end of the block."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = process.stdout.readline()
        if not port:
            sys.exit(f"{module} did not start")
        yield Server(process, int(port))
    finally:
        process.kill()
        process.communicate()
