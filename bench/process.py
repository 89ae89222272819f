"""A server in a separate process, and what the kernel reports about it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


class Server:
    """A running server that has printed its port."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self._process = process
        self._proc = Path("/proc", str(process.pid))

    def tree(self) -> list[int]:
        """The process IDs of the server and of all its descendants."""
        pids = [self._process.pid]
        for pid in pids:  # the list grows during the loop
            for children in Path("/proc", str(pid), "task").glob("*/children"):
                pids += map(int, children.read_text().split())
        return pids

    def resident(self) -> float:
        """The resident memory of the whole process tree, in MiB."""
        return self._status("VmRSS")

    def peak(self) -> float:
        """The peak resident memory of the whole process tree, since the start or since `forget_peak`, in MiB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Reset `peak` to the resident memory."""
        for pid in self.tree():
            Path("/proc", str(pid), "clear_refs").write_text("5")

    def descriptors(self) -> int:
        """The number of open file descriptors."""
        return len(list(self._proc.joinpath("fd").iterdir()))

    def ask(self) -> dict[str, Any]:
        """Send an empty line to the server's standard input and return its answer, for servers that answer in JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def terminate(self) -> None:
        """Send SIGTERM to the server."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until the server ends and return its exit code."""
        return self._process.wait(60)

    def finish(self) -> str:
        """Close the server's standard input and return its output, for servers that print measurements at the end."""
        return self._process.communicate()[0]

    def _status(self, field: str) -> float:
        total = 0
        for pid in self.tree():
            match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc", str(pid), "status").read_text())
            assert match is not None
            total += int(match[1])
        return total / 1024


@contextmanager
def running(
    module: str,
    *arguments: str,
    descriptors: int | None = None,
    environment: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> Iterator[Server]:
    """Start a server module, and kill the server at the end of the block.

    Args:
        module: a module that prints its port at the end of a line, alone or after a colon.
        *arguments: its command line.
        descriptors: the limit on its open files; by default that of this process.
        environment: variables to add to those of this process.
        quiet: whether to drop its log.
    """
    limit = (
        None if descriptors is None else partial(resource.setrlimit, resource.RLIMIT_NOFILE, (descriptors, descriptors))
    )
    with started(
        [sys.executable, "-m", module, *arguments],
        stderr=subprocess.DEVNULL if quiet else None,
        env={**os.environ, **(environment or {})},
        preexec_fn=limit,  # safe, because this process has no other thread at that time
    ) as server:
        yield server


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[Server]:
    """Start any server program, and kill it at the end of the block.

    Args:
        command: a program that prints its port at the end of a line, alone or after a colon.
        **options: options for `subprocess.Popen`.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if match := re.search(r"(?:^|:)(\d+)$", line):
                break
        else:
            sys.exit(f"{' '.join(command)} did not start")
        yield Server(process, int(match[1]))
    finally:
        process.kill()
        process.communicate()
